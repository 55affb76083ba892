"""Written as the classic evaluation scripts are: NumPy, sentinels at both ends, a loop from the right."""

import numpy as np
import torch


def _overlaps(box, boxes):
    iw = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    ih = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    inter = np.clip(iw, 0, None) * np.clip(ih, 0, None)
    union = (box[2] - box[0]) * (box[3] - box[1]) + (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) - inter
    return np.where(union > 0, inter / np.where(union > 0, union, 1), 0.0)


def match(boxes, scores, truths, iou_threshold=0.5):
    b, t = boxes.numpy(), truths.numpy()
    free = np.ones(len(t), dtype=bool)
    hits = np.zeros(len(b), dtype=bool)
    for d in np.argsort(-scores.numpy(), kind="mergesort"):
        if not free.any():
            break
        ov = np.where(free, _overlaps(b[d], t), -1.0)
        j = ov.argmax()
        if ov[j] >= iou_threshold:
            hits[d] = True
            free[j] = False
    return torch.from_numpy(hits)


def average_precision(scores, hits, num_truths, points=None):
    if num_truths == 0:
        return float("nan")
    order = np.argsort(-scores.numpy(), kind="stable")
    tp = np.cumsum(hits.numpy()[order].astype(float))
    fp = np.cumsum(1 - hits.numpy()[order].astype(float))
    rec = tp / num_truths
    prec = tp / np.maximum(tp + fp, np.finfo(np.float64).eps)
    if points is not None:
        total = 0.0
        for k in range(points):
            ok = rec >= k / (points - 1)
            total += prec[ok].max() if ok.any() else 0.0
        return float(total / points)
    mrec = np.concatenate([[0.0], rec, [1.0]])
    mpre = np.concatenate([[0.0], prec, [0.0]])
    for i in range(len(mpre) - 1, 0, -1):
        mpre[i - 1] = max(mpre[i - 1], mpre[i])
    step = np.where(mrec[1:] != mrec[:-1])[0]
    return float(np.sum((mrec[step + 1] - mrec[step]) * mpre[step + 1]))


def mean_average_precision(detections, targets, iou_thresholds=None):
    if iou_thresholds is None:
        iou_thresholds = np.linspace(0.5, 0.95, 10).tolist()
    labels = np.unique(np.concatenate([np.zeros(0, dtype=np.int64)] + [t["labels"].numpy() for t in targets]))
    wanted = sorted({*iou_thresholds, 0.5, 0.75})
    table = {}
    for c in labels.tolist():
        for thr in wanted:
            scores, hits, n = torch.zeros(0), torch.zeros(0, dtype=torch.bool), 0
            for d, t in zip(detections, targets):
                mine = d["labels"] == c
                gt = t["boxes"][t["labels"] == c]
                scores = torch.cat([scores, d["scores"][mine]])
                hits = torch.cat([hits, match(d["boxes"][mine], d["scores"][mine], gt, thr)])
                n += gt.shape[0]
            table[c, thr] = average_precision(scores, hits, n)

    def over(classes, thresholds):
        values = [table[c, t] for c in classes for t in thresholds]
        return float(np.mean(values)) if values else float("nan")

    return {
        "map": over(labels.tolist(), iou_thresholds),
        "map_50": over(labels.tolist(), [0.5]),
        "map_75": over(labels.tolist(), [0.75]),
        "per_class": {c: over([c], iou_thresholds) for c in labels.tolist()},
    }

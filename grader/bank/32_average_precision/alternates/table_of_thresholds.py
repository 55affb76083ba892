"""A table of APs by class and threshold first, then means over it; recall points by NumPy's linspace, as COCO has them."""

from collections import defaultdict

import numpy as np
import torch


def _ious(a, b):
    sides = torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])
    both = sides.relu().prod(-1)
    size = lambda x: (x[:, 2:] - x[:, :2]).prod(-1)  # noqa: E731
    union = size(a)[:, None] + size(b) - both
    return both / union.where(union > 0, torch.ones_like(union))


def match(boxes, scores, truths, iou_threshold=0.5):
    ious, free = _ious(boxes, truths).tolist(), list(range(len(truths)))
    hits = np.zeros(len(boxes), dtype=bool)
    for i in np.argsort(-scores.numpy(), kind="stable"):
        if not free:
            break
        j = max(free, key=ious[i].__getitem__)  # max takes the first of equals
        # compared in float32, as the IoU is
        if torch.tensor(ious[i][j]) >= iou_threshold:
            hits[i] = True
            free.remove(j)
    return torch.from_numpy(hits)


def average_precision(scores, hits, num_truths, points=None):
    if not num_truths:
        return float("nan")
    right = hits.numpy()[np.argsort(-scores.numpy(), kind="stable")]
    recall = np.cumsum(right) / num_truths
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    if points is None:
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))
    places = np.searchsorted(recall, np.linspace(0, 1, points), side="left")
    return float(np.mean([precision[i] if i < len(precision) else 0.0 for i in places]))


def mean_average_precision(detections, targets, iou_thresholds=None):
    asked = np.linspace(0.5, 0.95, 10).tolist() if iou_thresholds is None else list(iou_thresholds)
    table = defaultdict(dict)
    for c in np.unique([x for t in targets for x in t["labels"].tolist()]).astype(int).tolist():
        for threshold in {*asked, 0.5, 0.75}:
            scores, hits, total = [], [], 0
            for d, t in zip(detections, targets):
                own, truths = d["labels"] == c, t["boxes"][t["labels"] == c]
                scores.append(d["scores"][own])
                hits.append(match(d["boxes"][own], d["scores"][own], truths, threshold))
                total += len(truths)
            table[c][threshold] = average_precision(torch.cat(scores), torch.cat(hits), total)

    def mean(values):
        return float(np.mean(values)) if values else float("nan")

    per_class = {c: mean([row[t] for t in asked]) for c, row in table.items()}
    return {
        "map": mean(list(per_class.values())),
        "map_50": mean([row[0.5] for row in table.values()]),
        "map_75": mean([row[0.75] for row in table.values()]),
        "per_class": per_class,
    }

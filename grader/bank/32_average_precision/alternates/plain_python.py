"""Lists, sets and loops: nothing here is large, and readability wins."""

import torch


def _iou(p, q):
    w = min(p[2], q[2]) - max(p[0], q[0])
    h = min(p[3], q[3]) - max(p[1], q[1])
    inter = w * h if w > 0 and h > 0 else 0.0
    union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - inter
    return inter / union if union else 0.0


def match(boxes, scores, truths, iou_threshold=0.5):
    hits = [False] * len(boxes)
    free = list(enumerate(truths.tolist()))
    ranked = sorted(zip(scores.tolist(), range(len(boxes)), boxes.tolist()), key=lambda r: -r[0])
    for _, i, box in ranked:
        best, best_iou = None, iou_threshold
        for entry in free:
            value = _iou(box, entry[1])
            if value > best_iou or (best is None and value == best_iou):
                best, best_iou = entry, value
        if best is not None:
            hits[i] = True
            free.remove(best)
    return torch.tensor(hits, dtype=torch.bool)


def average_precision(scores, hits, num_truths, points=None):
    if not num_truths:
        return float("nan")
    ranked = sorted(zip(scores.tolist(), hits.tolist()), key=lambda r: r[0], reverse=True)
    curve, tp = [], 0
    for n, (_, hit) in enumerate(ranked, 1):
        tp += bool(hit)
        curve.append((tp, tp / n))
    best = 0.0
    smooth = []
    for tp, precision in reversed(curve):
        best = max(best, precision)
        smooth.append((tp, best))
    smooth.reverse()
    if points is None:
        area, previous = 0.0, 0
        for tp, precision in smooth:
            area += (tp - previous) * precision
            previous = tp
        return area / num_truths
    samples = []
    for k in range(points):
        samples.append(next((p for tp, p in smooth if tp * (points - 1) >= k * num_truths), 0.0))
    return sum(samples) / points


def mean_average_precision(detections, targets, iou_thresholds=None):
    thresholds = list(iou_thresholds) if iou_thresholds else [x / 100 for x in range(50, 100, 5)]
    classes = set()
    for t in targets:
        classes.update(t["labels"].tolist())

    def class_ap(c, thr):
        pool, n = [], 0
        for d, t in zip(detections, targets):
            dm, tm = d["labels"] == c, t["labels"] == c
            n += int(tm.sum())
            hit = match(d["boxes"][dm], d["scores"][dm], t["boxes"][tm], thr)
            pool.extend(zip(d["scores"][dm].tolist(), hit.tolist()))
        return average_precision(torch.tensor([s for s, _ in pool]), torch.tensor([h for _, h in pool]), n)

    def average(xs):
        xs = list(xs)
        return sum(xs) / len(xs) if xs else float("nan")

    per_class = {c: average(class_ap(c, t) for t in thresholds) for c in classes}
    return dict(
        per_class=per_class,
        map=average(per_class.values()),
        map_50=average(class_ap(c, 0.5) for c in classes),
        map_75=average(class_ap(c, 0.75) for c in classes),
    )

"""Recall and precision in float tensors; the area as a dot product of recall steps; classes grouped beforehand."""

from collections import defaultdict

import torch


def _table(a, b):
    lt = torch.max(a[:, None, :2], b[:, :2])
    wh = (torch.min(a[:, None, 2:], b[:, 2:]) - lt).clamp(min=0)
    inter = wh[:, :, 0] * wh[:, :, 1]
    area = lambda x: (x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1])
    return (inter / (area(a)[:, None] + area(b) - inter)).nan_to_num(0.0)


def match(boxes, scores, truths, iou_threshold=0.5):
    n, m = boxes.shape[0], truths.shape[0]
    hits = torch.zeros(n, dtype=torch.bool)
    if n == 0 or m == 0:
        return hits
    table = _table(boxes, truths)
    used = torch.zeros(m, dtype=torch.bool)
    for i in torch.sort(scores, descending=True, stable=True).indices:
        row = table[i].masked_fill(used, float("-inf"))
        value, j = row.max(dim=0)
        if value >= iou_threshold:
            hits[i], used[j] = True, True
    return hits


def average_precision(scores, hits, num_truths, points=None):
    if num_truths == 0:
        return float("nan")
    if len(scores) == 0:
        return 0.0
    hits = hits[torch.sort(scores, descending=True, stable=True).indices].double()
    tp = hits.cumsum(0)
    recall = tp / num_truths
    precision = tp / (tp + (1 - hits).cumsum(0))
    precision = torch.flip(torch.cummax(torch.flip(precision, [0]), 0)[0], [0])
    if points is None:
        steps = torch.diff(recall, prepend=torch.zeros(1, dtype=torch.float64))
        return torch.dot(steps, precision).item()
    wanted = torch.linspace(0, 1, points, dtype=torch.float64)
    at = torch.searchsorted(recall, wanted - 1e-12)
    padded = torch.cat([precision, torch.zeros(1, dtype=torch.float64)])
    return padded[at].mean().item()


def mean_average_precision(detections, targets, iou_thresholds=None):
    thresholds = torch.linspace(0.5, 0.95, 10).tolist() if iou_thresholds is None else iou_thresholds
    truths = defaultdict(dict)  # class -> image -> boxes
    for image, target in enumerate(targets):
        for c in target["labels"].unique().tolist():
            truths[c][image] = target["boxes"][target["labels"] == c]

    def one(c, threshold):
        parts = []
        for image, d in enumerate(detections):
            mask = d["labels"] == c
            gt = truths[c].get(image, torch.zeros(0, 4))
            parts.append((d["scores"][mask], match(d["boxes"][mask], d["scores"][mask], gt, threshold)))
        scores, hits = (torch.cat(x) for x in zip(*parts))
        return average_precision(scores, hits, sum(len(b) for b in truths[c].values()))

    ap = torch.tensor([[one(c, t) for t in (*thresholds, 0.5, 0.75)] for c in truths], dtype=torch.float64)
    if not truths:
        nan = float("nan")
        return {"map": nan, "map_50": nan, "map_75": nan, "per_class": {}}
    return {
        "map": ap[:, :-2].mean().item(),
        "map_50": ap[:, -2].mean().item(),
        "map_75": ap[:, -1].mean().item(),
        "per_class": {c: row[:-2].mean().item() for c, row in zip(truths, ap)},
    }

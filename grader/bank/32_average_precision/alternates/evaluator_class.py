"""A small class that gathers what belongs to a class, as evaluation tools are built."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


def _pairwise(a: Tensor, b: Tensor) -> Tensor:
    x = (torch.minimum(a[:, 2, None], b[:, 2]) - torch.maximum(a[:, 0, None], b[:, 0])).clamp(min=0)
    y = (torch.minimum(a[:, 3, None], b[:, 3]) - torch.maximum(a[:, 1, None], b[:, 1])).clamp(min=0)
    inter = x * y
    size_a, size_b = ((t[:, 2] - t[:, 0]) * (t[:, 3] - t[:, 1]) for t in (a, b))
    union = size_a.unsqueeze(1) + size_b.unsqueeze(0) - inter
    return inter / union.masked_fill(union == 0, 1.0)


def match(boxes: Tensor, scores: Tensor, truths: Tensor, iou_threshold: float = 0.5) -> Tensor:
    remaining = list(range(len(truths)))
    ious = _pairwise(boxes, truths)
    result = torch.full((len(boxes),), False)
    for i in torch.argsort(scores, descending=True, stable=True):
        if remaining:
            own = ious[i, remaining]
            k = int(own.argmax())
            if float(own[k]) >= iou_threshold:
                result[i] = True
                del remaining[k]
    return result


@dataclass
class Ranking:
    scores: list[Tensor] = field(default_factory=list)
    hits: list[Tensor] = field(default_factory=list)
    truths: int = 0

    def ap(self) -> float:
        return average_precision(torch.cat(self.scores), torch.cat(self.hits), self.truths)


def average_precision(scores: Tensor, hits: Tensor, num_truths: int, points: int | None = None) -> float:
    if num_truths == 0:
        return float("nan")
    ranked = hits[torch.argsort(scores, descending=True, stable=True)]
    counts = ranked.cumsum(0)
    precision = counts / torch.arange(1, len(counts) + 1)
    # By the number of hits: the best precision with at least k of them, for k = 1 ... num_truths
    best = torch.zeros(num_truths + 1, dtype=torch.float64)
    for k, p in zip(counts.tolist(), precision.tolist()):
        if k <= num_truths:
            best[k] = max(best[k].item(), p)
    for k in range(num_truths - 1, -1, -1):
        best[k] = max(best[k], best[k + 1])
    if points is None:
        return best[1:].mean().item()
    needed = [-(-k * num_truths // (points - 1)) for k in range(points)]  # rounded up
    return best[needed].mean().item()


def mean_average_precision(detections, targets, iou_thresholds=None):
    chosen = [round(0.5 + 0.05 * i, 2) for i in range(10)] if iou_thresholds is None else list(iou_thresholds)

    def aps(threshold: float) -> dict[int, float]:
        rankings: dict[int, Ranking] = {}
        for target in targets:
            for label in target["labels"].tolist():
                rankings.setdefault(label, Ranking()).truths += 1
        for found, target in zip(detections, targets):
            for label, ranking in rankings.items():
                of_found, of_target = found["labels"].eq(label), target["labels"].eq(label)
                scores = found["scores"][of_found]
                ranking.scores.append(scores)
                ranking.hits.append(match(found["boxes"][of_found], scores, target["boxes"][of_target], threshold))
        return {label: ranking.ap() for label, ranking in rankings.items()}

    def mean(values) -> float:
        values = list(values)
        return sum(values) / len(values) if values else float("nan")

    by_threshold = [aps(t) for t in chosen]
    per_class = {label: mean(table[label] for table in by_threshold) for label in by_threshold[0]}
    return {
        "map": mean(mean(table.values()) for table in by_threshold),
        "map_50": mean(aps(0.5).values()),
        "map_75": mean(aps(0.75).values()),
        "per_class": per_class,
    }

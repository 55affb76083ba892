"""Classification metrics without a loop over examples, and without the classic ways of averaging wrongly.

Everything is a ratio of two counts. Count over the whole data set, divide once, at the end: a mean of batch means
is a different number as soon as one batch is smaller.

    metrics = StreamingMetrics(num_classes=10, k=5)
    for images, targets in loader:
        metrics.update(model(images), targets)
    metrics.compute()["accuracy"]
"""

from __future__ import annotations

import math

import torch


def _ratio(part: int, whole: int) -> float:
    """Given, complete: part / whole, and nan instead of a ZeroDivisionError when there is nothing to count."""
    return part / whole if whole else math.nan


def _counted(
    logits: torch.Tensor, targets: torch.Tensor, ignore_index: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A helper, yours to use or to delete: the examples that count, with int64 targets."""
    # solution: begin drop the examples whose target is ignore_index
    targets = targets.long()  # uint8 would overflow in arithmetic, and is taken for a mask in an index
    if ignore_index is not None:
        keep = targets != ignore_index
        logits, targets = logits[keep], targets[keep]
    return logits, targets
    # solution: end


def _topk_hits(logits: torch.Tensor, targets: torch.Tensor, k: int) -> torch.Tensor:
    """A helper, yours to use or to delete: (N,) bool, is the target among the k largest logits of its row?"""
    # solution: begin rank the classes, smaller index first among equals
    # topk promises nothing about ties. A stable sort does: equal logits stay in the order of their classes.
    order = logits.sort(dim=1, descending=True, stable=True).indices  # (N, C)
    return (order[:, :k] == targets[:, None]).any(dim=1)  # a slice may ask for more columns than there are
    # solution: end


def accuracy(logits: torch.Tensor, targets: torch.Tensor, ignore_index: int | None = None) -> float:
    """The fraction of counted examples whose largest logit is at the target. (N, C), (N,) -> float."""
    # solution: begin hits / counted examples, a Python float; nan for none
    logits, targets = _counted(logits, targets, ignore_index)
    hits = logits.argmax(dim=1) == targets  # argmax takes the first of equal maxima
    # Counted as an integer: a float16 mean would be off from the fourth digit on.
    return _ratio(int(hits.sum()), targets.numel())
    # solution: end


def topk_accuracy(logits: torch.Tensor, targets: torch.Tensor, k: int = 5, ignore_index: int | None = None) -> float:
    """The fraction of counted examples whose target is among the k largest logits. (N, C), (N,) -> float."""
    # solution: begin hits / counted examples, as for accuracy
    logits, targets = _counted(logits, targets, ignore_index)
    hits = _topk_hits(logits, targets, k)
    return _ratio(int(hits.sum()), len(hits))
    # solution: end


def confusion_matrix(logits: torch.Tensor, targets: torch.Tensor, ignore_index: int | None = None) -> torch.Tensor:
    """(C, C) int64: how many examples of class `row` were predicted as class `column`."""
    # solution: begin count the (target, prediction) pairs, rows are targets
    num_classes = logits.shape[1]
    logits, targets = _counted(logits, targets, ignore_index)
    cell = targets * num_classes + logits.argmax(dim=1)  # each pair is one number: its cell, row by row
    return torch.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)
    # solution: end


def per_class_recall(matrix: torch.Tensor) -> torch.Tensor:
    """(C, C) -> (C,) float: of the examples of each class, the fraction that was found; nan where none is."""
    # solution: begin diagonal over row sums
    return matrix.diagonal().double() / matrix.sum(dim=1)  # 0 / 0 is nan: unknown, which isn't the same as bad
    # solution: end


def macro_f1(matrix: torch.Tensor) -> float:
    """The plain mean of the F1 of every class that occurs, as a target or as a prediction; nan for none."""
    # solution: begin F1 = 2 TP / (2 TP + FP + FN) for each class, then the mean
    hits = matrix.diagonal().double()
    involved = matrix.sum(dim=0) + matrix.sum(dim=1)  # (TP + FP) + (TP + FN)
    occurs = involved > 0
    # This form of F1 has no trouble with a precision or a recall of 0 / 0.
    return (2 * hits[occurs] / involved[occurs]).mean().item()  # the mean of nothing is nan
    # solution: end


class StreamingMetrics:
    """The same metrics over batches of any sizes, in memory that doesn't grow with the number of examples."""

    def __init__(self, num_classes: int, k: int = 5, ignore_index: int | None = None) -> None:
        self.num_classes = num_classes
        self.k = k
        self.ignore_index = ignore_index
        self.reset()

    def reset(self) -> None:
        """Forget everything seen so far."""
        # solution: begin all counts to zero
        self.matrix = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)
        self.topk_hits = 0  # the matrix knows only the first guess
        # solution: end

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Take in one batch: (n, C), (n,); n may differ from batch to batch, and be 0."""
        # solution: begin add this batch's counts; never its ratios
        self.matrix += confusion_matrix(logits, targets, self.ignore_index).cpu()
        logits, targets = _counted(logits, targets, self.ignore_index)
        self.topk_hits += int(_topk_hits(logits, targets, self.k).sum())
        # solution: end

    def compute(self) -> dict[str, float | torch.Tensor]:
        """The metrics of everything since the last reset; may be called at any time, and changes nothing."""
        # solution: begin accuracy, topk_accuracy, per_class_recall, macro_f1
        counted = int(self.matrix.sum())
        return {
            "accuracy": _ratio(int(self.matrix.trace()), counted),
            "topk_accuracy": _ratio(self.topk_hits, counted),
            "per_class_recall": per_class_recall(self.matrix),
            "macro_f1": macro_f1(self.matrix),
        }
        # solution: end

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
    raise NotImplementedError("TODO: drop the examples whose target is ignore_index")


def _topk_hits(logits: torch.Tensor, targets: torch.Tensor, k: int) -> torch.Tensor:
    """A helper, yours to use or to delete: (N,) bool, is the target among the k largest logits of its row?"""
    raise NotImplementedError("TODO: rank the classes, smaller index first among equals")


def accuracy(logits: torch.Tensor, targets: torch.Tensor, ignore_index: int | None = None) -> float:
    """The fraction of counted examples whose largest logit is at the target. (N, C), (N,) -> float."""
    raise NotImplementedError("TODO: hits / counted examples, a Python float; nan for none")


def topk_accuracy(logits: torch.Tensor, targets: torch.Tensor, k: int = 5, ignore_index: int | None = None) -> float:
    """The fraction of counted examples whose target is among the k largest logits. (N, C), (N,) -> float."""
    raise NotImplementedError("TODO: hits / counted examples, as for accuracy")


def confusion_matrix(logits: torch.Tensor, targets: torch.Tensor, ignore_index: int | None = None) -> torch.Tensor:
    """(C, C) int64: how many examples of class `row` were predicted as class `column`."""
    raise NotImplementedError("TODO: count the (target, prediction) pairs, rows are targets")


def per_class_recall(matrix: torch.Tensor) -> torch.Tensor:
    """(C, C) -> (C,) float: of the examples of each class, the fraction that was found; nan where none is."""
    raise NotImplementedError("TODO: diagonal over row sums")


def macro_f1(matrix: torch.Tensor) -> float:
    """The plain mean of the F1 of every class that occurs, as a target or as a prediction; nan for none."""
    raise NotImplementedError("TODO: F1 = 2 TP / (2 TP + FP + FN) for each class, then the mean")


class StreamingMetrics:
    """The same metrics over batches of any sizes, in memory that doesn't grow with the number of examples."""

    def __init__(self, num_classes: int, k: int = 5, ignore_index: int | None = None) -> None:
        self.num_classes = num_classes
        self.k = k
        self.ignore_index = ignore_index
        self.reset()

    def reset(self) -> None:
        """Forget everything seen so far."""
        raise NotImplementedError("TODO: all counts to zero")

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Take in one batch: (n, C), (n,); n may differ from batch to batch, and be 0."""
        raise NotImplementedError("TODO: add this batch's counts; never its ratios")

    def compute(self) -> dict[str, float | torch.Tensor]:
        """The metrics of everything since the last reset; may be called at any time, and changes nothing."""
        raise NotImplementedError("TODO: accuracy, topk_accuracy, per_class_recall, macro_f1")

"""Keeps true positives, supports and predictions by class; the matrix isn't needed for the stream."""

import torch

NAN = float("nan")


def _flat(logits, targets, ignore_index):
    targets = targets.long()
    if ignore_index is None:
        return logits, targets
    kept = torch.nonzero(targets != ignore_index).squeeze(1)
    return logits.index_select(0, kept), targets.index_select(0, kept)


def accuracy(logits, targets, ignore_index=None):
    logits, targets = _flat(logits, targets, ignore_index)
    if len(targets) == 0:
        return NAN
    return (logits.max(dim=1).indices == targets).double().mean().item()


def topk_accuracy(logits, targets, k=5, ignore_index=None):
    logits, targets = _flat(logits, targets, ignore_index)
    if len(targets) == 0:
        return NAN
    # k rounds: take the best class away from each row, k times
    left = logits.double().clone()
    hit = torch.zeros(len(targets), dtype=torch.bool)
    for _ in range(min(k, logits.shape[1])):
        best = left.argmax(dim=1, keepdim=True)
        hit |= best.squeeze(1) == targets
        left.scatter_(1, best, float("-inf"))
    return hit.double().mean().item()


def confusion_matrix(logits, targets, ignore_index=None):
    c = logits.shape[1]
    logits, targets = _flat(logits, targets, ignore_index)
    predicted = logits.argmax(1)
    m = torch.zeros(c, c, dtype=torch.int64)
    for j in range(c):  # one pass for each class
        m[:, j] = torch.bincount(targets[predicted == j], minlength=c)
    return m


def per_class_recall(matrix):
    return torch.true_divide(matrix.diagonal(), matrix.sum(dim=1))


def _f1(tp, support, predicted):
    both = (support + predicted).double()
    return (2 * tp / both)[both > 0].mean().item() if bool((both > 0).any()) else NAN


def macro_f1(matrix):
    return _f1(matrix.diagonal(), matrix.sum(1), matrix.sum(0))


class StreamingMetrics:
    def __init__(self, num_classes, k=5, ignore_index=None):
        self.num_classes = num_classes
        self.k = k
        self.ignore_index = ignore_index
        self.reset()

    def reset(self):
        self.tp = torch.zeros(self.num_classes, dtype=torch.int64)
        self.support = torch.zeros_like(self.tp)
        self.predicted = torch.zeros_like(self.tp)
        self.topk = 0

    def update(self, logits, targets):
        logits, targets = _flat(logits, targets, self.ignore_index)
        if targets.numel() == 0:
            return
        guess = logits.argmax(dim=1)
        count = lambda t: torch.bincount(t, minlength=self.num_classes)
        self.tp += count(targets[guess == targets])
        self.support += count(targets)
        self.predicted += count(guess)
        self.topk += round(topk_accuracy(logits, targets, self.k) * len(targets))

    def compute(self):
        n = self.support.sum().item()
        return {
            "accuracy": self.tp.sum().item() / n if n else NAN,
            "topk_accuracy": self.topk / n if n else NAN,
            "per_class_recall": self.tp / self.support,
            "macro_f1": _f1(self.tp, self.support, self.predicted),
        }

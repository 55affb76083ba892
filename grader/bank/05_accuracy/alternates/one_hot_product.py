"""The matrix as a product of one-hot encodings; a mask as a weight instead of a selection."""

import math

import torch
import torch.nn.functional as F


def _weights(targets, ignore_index):
    if ignore_index is None:
        return torch.ones(targets.shape, dtype=torch.bool)
    return targets != ignore_index


def _ratio(a, b):
    a, b = int(a), int(b)
    return float(a / b) if b > 0 else math.nan


def accuracy(logits, targets, ignore_index=None):
    m = confusion_matrix(logits, targets, ignore_index)
    return _ratio(m.trace(), m.sum())


def _topk_hits(logits, targets, k, ignore_index):
    counted = _weights(targets, ignore_index)
    order = torch.argsort(logits, dim=-1, descending=True, stable=True)
    hit = order[:, : min(k, logits.shape[1])].eq(targets.long().unsqueeze(-1)).sum(-1) > 0
    return (hit & counted).sum(), counted.sum()


def topk_accuracy(logits, targets, k=5, ignore_index=None):
    return _ratio(*_topk_hits(logits, targets, k, ignore_index))


def confusion_matrix(logits, targets, ignore_index=None):
    c = logits.shape[1]
    counted = _weights(targets, ignore_index)
    truth = F.one_hot(torch.where(counted, targets.long(), torch.zeros((), dtype=torch.long)), c)
    truth = truth * counted.unsqueeze(1)
    predicted = F.one_hot(torch.max(logits, 1)[1], c)
    return truth.t() @ predicted


def per_class_recall(matrix):
    recalls = []
    for c in range(matrix.shape[0]):  # over classes: fine
        total = matrix[c].sum().item()
        recalls.append(matrix[c, c].item() / total if total else float("nan"))
    return torch.tensor(recalls)


def macro_f1(matrix):
    scores = []
    for c in range(len(matrix)):
        tp = matrix[c, c].item()
        fn = matrix[c].sum().item() - tp
        fp = matrix[:, c].sum().item() - tp
        if tp + fp + fn > 0:
            scores.append(2 * tp / (2 * tp + fp + fn))
    return sum(scores) / len(scores) if scores else float("nan")


class StreamingMetrics(object):
    def __init__(self, num_classes, k=5, ignore_index=None):
        self.num_classes = num_classes
        self.k = k
        self.ignore_index = ignore_index
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.topk = torch.zeros(2, dtype=torch.int64)

    def reset(self):
        self.matrix.zero_()
        self.topk.zero_()

    def update(self, logits, targets):
        self.matrix += confusion_matrix(logits, targets, self.ignore_index)
        self.topk += torch.stack(_topk_hits(logits, targets, self.k, self.ignore_index))

    def compute(self):
        result = dict(macro_f1=macro_f1(self.matrix), per_class_recall=per_class_recall(self.matrix))
        result["accuracy"] = _ratio(self.matrix.diagonal().sum(), self.matrix.sum())
        result["topk_accuracy"] = _ratio(self.topk[0], self.topk[1])
        return result

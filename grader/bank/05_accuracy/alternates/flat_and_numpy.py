"""NumPy for the counting: a common habit."""

import numpy as np
import torch


def _prepare(logits, targets, ignore_index):
    scores = logits.detach().double().cpu().numpy()
    truth = targets.cpu().numpy().astype(np.int64)
    if ignore_index is not None:
        keep = truth != ignore_index
        scores, truth = scores[keep], truth[keep]
    return scores, truth


def _mean(hits):
    return float(hits.mean()) if hits.size else float("nan")


def accuracy(logits, targets, ignore_index=None):
    scores, truth = _prepare(logits, targets, ignore_index)
    return _mean(scores.argmax(axis=1) == truth)


def _hits(logits, targets, k, ignore_index):
    scores, truth = _prepare(logits, targets, ignore_index)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return (order == truth[:, None]).any(axis=1)


def topk_accuracy(logits, targets, k=5, ignore_index=None):
    return _mean(_hits(logits, targets, k, ignore_index))


def confusion_matrix(logits, targets, ignore_index=None):
    scores, truth = _prepare(logits, targets, ignore_index)
    c = logits.shape[1]
    m = np.zeros((c, c), dtype=np.int64)
    np.add.at(m, (truth, scores.argmax(axis=1)), 1)
    return torch.from_numpy(m)


def per_class_recall(matrix):
    rows = matrix.sum(dim=1)
    recall = matrix.diag() / rows.clamp(min=1)
    recall[rows == 0] = float("nan")
    return recall


def macro_f1(matrix):
    tp = matrix.diag().float()
    fp = matrix.sum(0) - tp
    fn = matrix.sum(1) - tp
    denominator = 2 * tp + fp + fn
    present = denominator > 0
    if not present.any():
        return float("nan")
    return float((2 * tp[present] / denominator[present]).mean())


class StreamingMetrics:
    def __init__(self, num_classes, k=5, ignore_index=None):
        self.num_classes, self.k, self.ignore_index = num_classes, k, ignore_index
        self.reset()

    def reset(self):
        self.m = torch.zeros((self.num_classes, self.num_classes), dtype=torch.long)
        self.hits = 0
        self.seen = 0

    def update(self, logits, targets):
        self.m = self.m + confusion_matrix(logits, targets, self.ignore_index)
        hits = _hits(logits, targets, self.k, self.ignore_index)
        self.hits += int(hits.sum())
        self.seen += len(hits)

    def compute(self):
        nan = float("nan")
        return {
            "accuracy": int(self.m.diag().sum()) / self.seen if self.seen else nan,
            "topk_accuracy": self.hits / self.seen if self.seen else nan,
            "per_class_recall": per_class_recall(self.m),
            "macro_f1": macro_f1(self.m),
        }

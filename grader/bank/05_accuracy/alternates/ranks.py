"""Top-k by the target's rank, the matrix by index_put_ with accumulate."""

import torch


def _rank(logits, targets):
    """How many classes come before the target."""
    own = logits.gather(1, targets.unsqueeze(1))
    classes = torch.arange(logits.size(1))
    before = (logits > own) | ((logits == own) & (classes < targets.unsqueeze(1)))
    return before.sum(1)


def _select(logits, targets, ignore_index):
    targets = targets.to(torch.int64)
    mask = torch.ones_like(targets, dtype=torch.bool) if ignore_index is None else targets.ne(ignore_index)
    return logits[mask], targets[mask]


def topk_accuracy(logits, targets, k=5, ignore_index=None):
    logits, targets = _select(logits, targets, ignore_index)
    return (_rank(logits, targets) < k).double().mean().item()


def accuracy(logits, targets, ignore_index=None):
    return topk_accuracy(logits, targets, 1, ignore_index)


def confusion_matrix(logits, targets, ignore_index=None):
    c = logits.size(1)
    logits, targets = _select(logits, targets, ignore_index)
    m = torch.zeros(c, c, dtype=torch.int64)
    m.index_put_((targets, logits.argmax(1)), torch.ones_like(targets), accumulate=True)
    return m


def per_class_recall(matrix):
    return torch.diagonal(matrix).to(torch.float32) / matrix.sum(1).to(torch.float32)


def macro_f1(matrix):
    m = matrix.double()
    precision = m.diagonal() / m.sum(0)
    recall = m.diagonal() / m.sum(1)
    f1 = 2 * precision * recall / (precision + recall)
    f1 = f1.nan_to_num(0.0)  # 0/0 in any of the three: no hit
    occurs = (m.sum(0) + m.sum(1)) > 0
    return f1[occurs].mean().item()


class StreamingMetrics:
    def __init__(self, num_classes, k=5, ignore_index=None):
        self.num_classes = num_classes
        self.k = k
        self.ignore_index = ignore_index
        self.reset()

    def reset(self):
        # ranks[r]: how often r classes came before the target; every top-k follows from it
        self.ranks = torch.zeros(self.num_classes, dtype=torch.int64)
        self.matrix = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)

    @torch.no_grad()
    def update(self, logits, targets):
        self.matrix.add_(confusion_matrix(logits, targets, self.ignore_index))
        rank = _rank(*_select(logits, targets, self.ignore_index))
        self.ranks.add_(torch.bincount(rank, minlength=self.num_classes))

    def compute(self):
        total = self.ranks.sum().double()
        return {
            "accuracy": (self.ranks[0] / total).item(),
            "topk_accuracy": (self.ranks[: self.k].sum() / total).item(),
            "per_class_recall": per_class_recall(self.matrix),
            "macro_f1": macro_f1(self.matrix),
        }

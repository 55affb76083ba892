"""Fetches log-probabilities, losses and gradients. Judges nothing."""

from __future__ import annotations

import contextlib
import sys

from torch.overrides import TorchFunctionMode

from grader.checking import probing


def log_probabilities(candidate, cases):
    return [probing.call(candidate.log_softmax, logits.clone(), **options) for logits, options in cases]


def losses(candidate, cases):
    return [_loss(candidate, *case) for case in cases]


def _loss(candidate, logits, targets, options):
    return probing.call(candidate.cross_entropy, logits.clone(), targets.clone(), **options)


def gradients(candidate, cases):
    """For each (logits, targets, options): the loss and the gradient of its sum; None for none."""
    found = []
    for logits, targets, options in cases:
        leaf = logits.clone().requires_grad_()
        loss = probing.call(candidate.cross_entropy, leaf, targets.clone(), **options)
        total = loss.sum()
        if total.requires_grad:
            total.backward()
        found.append([loss, leaf.grad])
    return found


def log_softmax_gradients(candidate, cases):
    """For each (logits, upstream): the gradient of the weighted sum; None for none."""
    found = []
    for logits, upstream in cases:
        leaf = logits.clone().requires_grad_()
        total = (probing.call(candidate.log_softmax, leaf, dim=1) * upstream).sum()
        if total.requires_grad:
            total.backward()
        found.append(leaf.grad)
    return found


def inputs_afterwards(candidate, logits, targets, weight):
    """The inputs, once each function has seen them."""
    given = [logits.clone()]
    candidate.log_softmax(given[0], dim=1)
    seen = {"log_softmax": given}
    given = [logits.clone(), targets.clone(), weight.clone()]
    options = {"weight": given[2], "label_smoothing": 0.1, "ignore_index": 255}
    probing.call(candidate.cross_entropy, given[0], given[1], **options)
    seen["cross_entropy"] = given
    return seen


class _Operations(TorchFunctionMode):
    """Notes the names of all calls into torch."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def operations(candidate, logits, targets, weight):
    """The names of the functions of torch that are called, by function of the candidate.

    What is called counts, also by a call that then fails: whether it works is another check's business.
    """
    cases = [{}, {"weight": weight, "label_smoothing": 0.1}, {"ignore_index": 1, "reduction": "none"}]
    with _Operations() as first, _tolerant():
        candidate.log_softmax(logits.clone(), dim=1)
    names = []
    for options in cases:
        with _Operations() as seen, _tolerant():
            _loss(candidate, logits, targets, options)
        names += seen.names
    return {"log_softmax": sorted(set(first.names)), "cross_entropy": sorted(set(names))}


@contextlib.contextmanager
def _tolerant():
    try:
        yield
    except NotImplementedError:
        raise
    except Exception:
        return


def _lines(call):
    """How many lines of Python run during the call, in any function."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def cost(candidate, cases):
    """For each size: operations, and lines of Python run."""
    found = []

    def call(logits, targets, weight):
        candidate.cross_entropy(logits, targets, weight=weight, label_smoothing=0.1, ignore_index=0)

    call(*cases[0])  # whatever happens only once, happens here
    for case in cases:
        with _Operations() as seen:
            call(*case)
        found.append({"operations": len(seen.names), "lines": _lines(lambda case=case: call(*case))})
    return found

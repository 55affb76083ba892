"""Fetches log-probabilities, losses and gradients. Judges nothing."""

from __future__ import annotations

import contextlib

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


def operations(candidate, logits, targets, weight):
    """The names of the functions of torch that are called, by function of the candidate.

    What is called counts, also by a call that then fails: whether it works is another check's business.
    """
    cases = [{}, {"weight": weight, "label_smoothing": 0.1}, {"ignore_index": 1, "reduction": "none"}]
    with probing.Calls() as first, _tolerant():
        candidate.log_softmax(logits.clone(), dim=1)
    names = []
    for options in cases:
        with probing.Calls() as seen, _tolerant():
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


def cost(candidate, cases):
    """For each size: operations, and lines of Python run."""
    found = []

    def call(logits, targets, weight):
        candidate.cross_entropy(logits, targets, weight=weight, label_smoothing=0.1, ignore_index=0)

    call(*cases[0])  # whatever happens only once, happens here
    for case in cases:
        found.append(probing.cost(lambda case=case: call(*case)))
    return found

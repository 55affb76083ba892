"""Fetches what the candidate's metrics return. Judges nothing."""

from __future__ import annotations

import gc
import types

import torch

from grader.checking import probing


def accuracies(candidate, cases):
    return [candidate.accuracy(x.clone(), y.clone(), **kwargs) for x, y, kwargs in cases]


def topk_accuracies(candidate, cases):
    return [candidate.topk_accuracy(x.clone(), y.clone(), **kwargs) for x, y, kwargs in cases]


def matrices(candidate, cases):
    return [candidate.confusion_matrix(x.clone(), y.clone(), **kwargs) for x, y, kwargs in cases]


def recalls(candidate, given):
    return [candidate.per_class_recall(matrix.clone()) for matrix in given]


def macro_f1s(candidate, given):
    return [candidate.macro_f1(matrix.clone()) for matrix in given]


def everything(candidate, cases):
    """All three functions of logits and targets."""
    found = []
    for x, y, k, ignore in cases:
        found.append(
            {
                "accuracy": candidate.accuracy(x.clone(), y.clone(), ignore_index=ignore),
                "topk_accuracy": candidate.topk_accuracy(x.clone(), y.clone(), k=k, ignore_index=ignore),
                "confusion_matrix": candidate.confusion_matrix(x.clone(), y.clone(), ignore_index=ignore),
            }
        )
    return found


def functions(candidate, cases):
    """The three functions of logits and targets; `strided` gives them views that aren't contiguous."""
    found = []
    for x, y, strided in cases:
        if strided:
            x, y = x.t().contiguous().t(), torch.stack([y, y], dim=1)[:, 0]
        row = [candidate.accuracy(x, y), candidate.topk_accuracy(x, y, k=3), candidate.confusion_matrix(x, y)]
        found.append(dict(zip(("accuracy", "topk_accuracy", "confusion_matrix"), row, strict=True)))
    return found


def inputs_afterwards(candidate, logits, targets, ignore_index):
    """The inputs, once each function has seen them."""
    seen = {}
    calls = {
        "accuracy": candidate.accuracy,
        "topk_accuracy": lambda x, y, ignore_index: candidate.topk_accuracy(x, y, 2, ignore_index),
        "confusion_matrix": candidate.confusion_matrix,
    }
    for name, call in calls.items():
        x, y = logits.clone(), targets.clone()
        call(x, y, ignore_index=ignore_index)
        seen[name] = [x, y]
    matrix = torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 5]])
    for name in ("per_class_recall", "macro_f1"):
        given = matrix.clone()
        getattr(candidate, name)(given)
        seen[name] = [given]
    return seen


def streamed(candidate, num_classes, k, ignore_index, orders):
    """One fresh instance for each list of batches; compute() at the end. No k: the default is to be used."""
    found = []
    for batches in orders:
        options = {} if k is None else {"k": k}
        metrics = candidate.StreamingMetrics(num_classes, ignore_index=ignore_index, **options)
        for x, y in batches:
            metrics.update(x.clone(), y.clone())
        found.append(metrics.compute())
    return found


def life_of_an_instance(candidate, num_classes, k, first, second, nothing):
    """What compute() says at several moments, while another instance gets other batches; the inputs afterwards."""
    metrics = candidate.StreamingMetrics(num_classes, k=k)
    other = candidate.StreamingMetrics(num_classes, k=k)
    moments = {"before any update": metrics.compute()}
    metrics.update(*first)
    other.update(*second)
    moments["after the first batch"] = metrics.compute()
    moments["asked a second time"] = metrics.compute()
    metrics.update(*nothing)
    moments["after an empty batch"] = metrics.compute()
    metrics.update(*second)
    moments["after the second batch"] = metrics.compute()
    moments["in the other instance"] = other.compute()
    metrics.reset()
    moments["after reset"] = metrics.compute()
    metrics.update(*second)
    moments["after reset and the second batch"] = metrics.compute()
    moments["in the other instance, at the end"] = other.compute()
    return {"moments": moments, "batches": [first, second]}


def cost(candidate, batches):
    """For each function and each batch: operations, lines of Python run, elements of the largest result."""

    def streaming(x, y):
        metrics = candidate.StreamingMetrics(x.shape[1], k=3, ignore_index=0)
        metrics.update(x, y)
        metrics.compute()

    calls = {
        "accuracy": lambda x, y: candidate.accuracy(x, y, ignore_index=0),
        "topk_accuracy": lambda x, y: candidate.topk_accuracy(x, y, k=3, ignore_index=0),
        "confusion_matrix": lambda x, y: candidate.confusion_matrix(x, y, ignore_index=0),
        "StreamingMetrics": streaming,
    }
    found = {}
    for name, call in calls.items():
        call(*batches[0])  # whatever happens only once, happens here
        found[name] = []
        for x, y in batches:
            found[name].append(probing.cost(lambda call=call, x=x, y=y: call(x, y)))
    return found


_NOT_STATE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType)


def _held(obj):
    """How many objects and tensor elements can be reached from an instance's own attributes."""
    todo, seen, count = [vars(obj)], set(), 0
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, _NOT_STATE):
            continue
        seen.add(id(one))
        count += one.numel() if isinstance(one, torch.Tensor) else 1
        if not isinstance(one, torch.Tensor):
            todo.extend(gc.get_referents(one))
    return count


def cost_and_memory(candidate, batches, num_classes, batch, updates):
    return {"cost": cost(candidate, batches), "held": memory(candidate, num_classes, batch, updates)}


def memory(candidate, num_classes, batch, updates):
    """What an instance holds after each of the given numbers of updates with the same batch."""
    metrics = candidate.StreamingMetrics(num_classes, k=2)
    held, done = [], 0
    for target in updates:
        while done < target:
            metrics.update(*(t.clone() for t in batch))
            done += 1
        metrics.compute()
        held.append(_held(metrics))
    return held

"""Fetches parts, trained weights and reports of the candidate's pipeline. Judges nothing."""

from __future__ import annotations

import inspect

import torch
from torch import nn

from grader.checking import probing


def pieces(candidate, images, labels, counts, seed):
    """What the small functions give, each with a generator of its own from `seed`."""

    def generator():
        return torch.Generator().manual_seed(seed)

    model = candidate.build_model(images, 5)
    with torch.no_grad():
        logits = model(images)
    return {
        "augment": list(candidate.augment(images.clone(), labels.clone(), generator())),
        "split": [dict(candidate.split(count, generator())) for count in counts],
        "state": probing.state(model),
        "logits": logits,
    }


class _Scripted(nn.Module):
    """Answers with the first pixels of each image as its logits; in train mode with their negatives."""

    def forward(self, images):
        logits = images.flatten(1)[:, :3]
        return -logits if self.training else logits


def accuracies(candidate, cases):
    """For each (images, labels): the accuracy of a model that reads its logits from the pixels."""
    return [candidate.accuracy(_Scripted(), images, labels) for images, labels in cases]


def prepared(candidate, images, labels, seeds):
    """The parts for each seed (None: the default), as name → [images, labels], and the inputs afterwards."""
    given = [images.clone(), labels.clone()]
    found = []
    for seed in seeds:
        parts = candidate.prepare(*given) if seed is None else candidate.prepare(*given, seed)
        found.append({name: list(part) for name, part in dict(parts).items()})
    return {"parts": found, "afterwards": given}


def prepared_each(candidate, cases):
    """For each (images, labels): the parts, as name → [images, labels]."""
    found = (candidate.prepare(images.clone(), labels.clone(), 3) for images, labels in cases)
    return [{name: list(part) for name, part in dict(parts).items()} for parts in found]


def _model(state):
    hidden, pixels = state["1.weight"].shape
    classes = state["5.weight"].shape[0]
    layers = [nn.Flatten(), nn.Linear(pixels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.3)]
    model = nn.Sequential(*layers, nn.Linear(hidden, classes)).double()
    model.load_state_dict(state)
    return model


def fitted(candidate, state, cases):
    """For each (parts, options): the model's state after `fit`, and what `fit` returned."""
    found = []
    for parts, options in cases:
        model = _model(state)
        for p in model.parameters():
            p.grad = torch.ones_like(p)  # left over from something before
        torch.manual_seed(5)
        history = candidate.fit(model, {name: tuple(part) for name, part in parts.items()}, **options)
        found.append({"state": probing.state(model), "history": history})
    return found


def reports(candidate, images, labels, seeds):
    """What `run` returns for each seed."""
    found = []
    for i, seed in enumerate(seeds):
        found.append(dict(candidate.run(images, labels, seed)))
        probing.progress(i + 1, len(seeds))
    return found


def by_hand(candidate, images, labels, classes, cases):
    """For each case of options: `run`, and then step by step what it is made of, with the logits for two parts."""
    original, calls = candidate.fit, []

    def noted(*args, **kwargs):
        bound = inspect.signature(original).bind(*args, **kwargs)
        bound.apply_defaults()
        calls.append({name: bound.arguments.get(name) for name in ("epochs", "lr", "patience", "seed")})
        return original(*args, **kwargs)

    found = []
    for options in cases:
        candidate.fit = noted
        try:
            reported = dict(candidate.run(images, labels, **options))
        finally:
            candidate.fit = original
        seed, epochs = options.get("seed", 0), options.get("epochs", 30)
        parts = candidate.prepare(images, labels, seed)
        torch.manual_seed(seed)
        model = candidate.build_model(images, classes)
        original(model, parts, epochs=epochs, seed=seed)
        model.eval()
        with torch.no_grad():
            logits = {name: model(parts[name][0]) for name in ("val", "test")}
        given = {name: parts[name][0] for name in logits}
        found.append({"reported": reported, "logits": logits, "images": given, "calls": list(calls)})
        calls.clear()
    return found

"""Fetches what the exhibits compute, each on its own. Judges nothing."""

from __future__ import annotations

import copy
import inspect

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from grader.checking import probing

FUNCTIONS = ("train", "draw_splits", "top_k_probabilities", "loader_options", "channel_stats", "accuracy")
CLASSES = ("Adam", "Dropout", "DigitNet", "Windows", "Trainer", "BatchNorm")


def signatures(candidate):
    """The parameters and defaults of everything that the script defines."""
    found = {}
    for name in FUNCTIONS + CLASSES:
        try:
            parameters = inspect.signature(getattr(candidate, name)).parameters.values()
        except (AttributeError, TypeError, ValueError):
            found[name] = None
            continue
        empty = inspect.Parameter.empty
        found[name] = [[p.name, "" if p.default is empty else repr(p.default)] for p in parameters]
    return found


# --- Room 1 ------------------------------------------------------------------------------------------------


class _Rows(nn.Module):
    """Class scores by a matrix whose rows are parameters of their own."""

    def __init__(self, weight, scale=1.0):
        super().__init__()
        self.rows = nn.ParameterList(row.clone() for row in weight)
        self.register_buffer("scale", torch.tensor(scale))

    @property
    def weight(self):
        return torch.stack(list(self.rows))

    def forward(self, inputs):
        return self.scale * (inputs @ self.weight.T)


class _Watched(_Rows):
    """Its scores are half as large in train mode; notes each pass."""

    def __init__(self, weight):
        super().__init__(weight)
        self.inner = nn.Identity()  # the mode has to reach what lies inside
        self.passes = []

    def forward(self, inputs):
        outputs = super().forward(inputs) * (0.5 if self.inner.training else 1.0)
        seen = {"training": self.inner.training, "grad": torch.is_grad_enabled(), "inputs": inputs.clone()}
        self.passes.append({**seen, "outputs": outputs.detach().clone()})
        return outputs


def reports(candidate, weight, splits, options):
    """What `train` returns, the weights after each step, and every pass through the model."""
    model, weights = _Watched(weight), []
    handle = register_optimizer_step_post_hook(lambda *_: weights.append(model.weight.detach().clone()))
    try:
        history = candidate.train(model, {name: tuple(split) for name, split in splits.items()}, **options)
    finally:
        handle.remove()
    return {"history": [_plain(epoch) for epoch in history], "weights": weights, "passes": model.passes}


def _plain(epoch):
    return {"".join(name): list(pair) for name, pair in dict(epoch).items()}


# --- Room 2 ------------------------------------------------------------------------------------------------


class _Name(str):
    """A string whose hash is set, as PYTHONHASHSEED would set it in another process."""

    __slots__ = ("number",)

    def __new__(cls, text, number):
        name = super().__new__(cls, text)
        name.number = number
        return name

    def __hash__(self):
        return self.number

    def __str__(self):
        return self


def draws(candidate, images, labels, hashes, seeds, count):
    """draw_splits for each of the hash values given to the names, and each seed; `hashes`: one mapping per case."""
    found = []
    for numbers in hashes:
        names = {text: _Name(text, number) if number >= 0 else text for text, number in numbers.items()}
        for seed in seeds:
            torch.manual_seed(len(found))  # whatever is drawn from elsewhere differs
            options = {} if seed is None else {"seed": seed}
            first = {names[text]: t.clone() for text, t in images.items()}
            second = {names[text]: t.clone() for text, t in labels.items()}
            drawn = candidate.draw_splits(first, second, count, **options)
            found.append({"".join(name): list(pair) for name, pair in dict(drawn).items()})
    return found


# --- Room 3 ------------------------------------------------------------------------------------------------


def adam_steps(candidate, cases):
    """For each (tensors, gradients of each step, options): the tensors after each step."""
    found = []
    for starts, gradients, options in cases:
        params = [p.clone().requires_grad_() for p in starts]
        optimizer = candidate.Adam(iter(params), **options)
        trace = []
        for step in gradients:
            for p, gradient in zip(params, step, strict=True):
                p.grad = gradient.clone()
            optimizer.step()
            trace.append([p.detach().clone() for p in params])
        found.append(trace)
    return found


# --- Room 4 ------------------------------------------------------------------------------------------------


def dropped(candidate, x, rates, large):
    """For each p (None: the default) Dropout's outputs and gradients, in evaluation on x, in training on `large`."""
    found = []
    for p in rates:
        layer = candidate.Dropout() if p is None else candidate.Dropout(p)
        case = {}
        for mode, given in (("training", large), ("evaluation", x)):
            layer.train(mode == "training")
            given = given.clone().requires_grad_()
            outputs = layer(given)
            outputs.sum().backward()
            case |= {mode: outputs, f"{mode} gradient": given.grad}
        found.append(case)
    return found


# --- Room 5 ------------------------------------------------------------------------------------------------


def windows_seen(candidate, images, few):
    """By mode: what enters the convolution, and the pixels that gradients of `few` come back to."""
    model = candidate.DigitNet()
    caught = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args: caught.append(args[0].detach().clone()))
            break
    found = {}
    for mode in ("training", "evaluation"):
        model.train(mode == "training")
        caught.clear()
        given = few.clone().requires_grad_()
        model(given).square().sum().backward()
        with torch.no_grad():
            outputs = model(images.clone())
        entered = caught[1] if len(caught) == 2 else None
        found[mode] = {"entered": entered, "outputs": outputs, "read": given.grad.abs().sum((0, 1)) > 0}
    return {**found, "state": probing.state(model)}


def bare_scores(candidate, images):
    """The scores of a network without cropping, and its weights."""
    model = candidate.DigitNet(crop=False)
    with torch.no_grad():
        scores = model(images)
    trainable = all(p.requires_grad for p in model.parameters())
    return {"scores": scores, "state": probing.state(model), "trainable": trainable}


# --- Rooms 6 to 9 ------------------------------------------------------------------------------------------


def top_k(candidate, cases):
    """For each (logits, k, options): the probabilities, and the logits afterwards."""
    found = []
    for logits, k, options in cases:
        given = logits.clone()
        found.append([probing.call(candidate.top_k_probabilities, given, k, **options), given])
    return found


def windows(candidate, cases):
    """For each (tokens, block): the length of the data set, and its items."""
    found = []
    for tokens, block in cases:
        data = candidate.Windows(tokens.clone(), block)
        length = probing.outcome(len, data)
        items = [list(data[i]) for i in range(length.get("value", 0))]
        found.append({"length": length, "items": items})
    return found


def loaders(candidate, devices, cases, count):
    """For each case and device: a few of the loaders' options, and two epochs' orders, without workers."""
    found = []
    for options in cases:
        found.append({})
        for device in devices:
            made = candidate.loader_options(device, **options)
            for name in ("train", "test"):
                found[-1][f"{name} {device}"] = _loader(dict(made[name]), count)
    return found


def _loader(given, count):
    told = {key: given.get(key) for key in ("batch_size", "num_workers", "pin_memory")}
    for key in ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor"):
        given.pop(key, None)
    loader = DataLoader(torch.arange(count), **given)
    return {"options": told, "orders": [torch.cat(list(loader)).tolist() for _ in range(2)]}


def statistics(candidate, cases):
    """channel_stats of each tensor of images."""
    return [list(candidate.channel_stats(images.clone())) for images in cases]


# --- Room 10 -----------------------------------------------------------------------------------------------


def interrupted(candidate, weight, other, batches, cases):
    """For each plan, the epochs after which training is stopped and resumed: learning rates and weights.

    Every Trainer after the first gets a model with other weights, and a copy of the checkpoint, as from a disk.
    """
    found = []
    for plan, options in cases:
        steps, parts, weights, resumed = [], [], [], []

        def note(optimizer, *_, steps=steps):
            steps.append({"lr": optimizer.param_groups[0]["lr"], "kind": type(optimizer).__name__})

        handle = register_optimizer_step_post_hook(note)
        try:
            saved = None
            for stop in [*plan, None]:
                model = _Rows(weight) if saved is None else _Rows(other, scale=2.0)
                trainer = candidate.Trainer(model, **options)
                if saved is not None:
                    trainer.resume(saved)
                    resumed.append(model.weight.detach().clone())
                before = len(steps)
                result = trainer.run(batches) if stop is None else trainer.run(batches, stop=stop)
                saved = copy.deepcopy(result)
                parts.append(len(steps) - before)
                weights.append(model.weight.detach().clone())
                if not saved:
                    break
        finally:
            handle.remove()
        found.append({"steps": steps, "parts": parts, "weights": weights, "resumed": resumed})
    return found


# --- Rooms 11 and 12 ---------------------------------------------------------------------------------------


class _Scripted(nn.Module):
    """Answers with its inputs as logits; in train mode with their negatives. Notes the mode of each pass."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()
        self.seen = []

    def forward(self, inputs):
        self.seen.append([self.inner.training, torch.is_grad_enabled()])
        return -inputs if self.inner.training else inputs


def accuracies(candidate, cases):
    """The accuracy of a model that reads its logits from the inputs; the second time from an iterator."""
    found = []
    for number, batches in enumerate(cases):
        model = _Scripted().train()
        loader = [tuple(batch) for batch in batches]
        found.append([candidate.accuracy(model, iter(loader) if number == 1 else loader), model.seen])
    return found


def normalised(candidate, batches, weight, bias, cases):
    """Batch norm on each batch in training: outputs, the input's gradient, buffers; then in evaluation."""
    return [
        _normalised(candidate.BatchNorm(batches[0].shape[1], **options), batches, weight, bias) for options in cases
    ]


def _normalised(layer, batches, weight, bias):
    layer = layer.double()
    trainable = all(p.requires_grad for p in layer.parameters())
    names = {name: list(t.shape) for name, t in probing.state(layer).items()}
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    found = []
    for batch in batches:
        given = batch.clone().requires_grad_()
        outputs = layer(given)
        (outputs**3).sum().backward()
        found.append({"outputs": outputs, "gradient": given.grad, "buffers": probing.buffers(layer)})
    trainable = trainable and not any(b.requires_grad for b in layer.buffers())
    layer.eval()
    with torch.no_grad():
        evaluation = layer(batches[0].clone())
    return {
        "names": names,
        "passes": found,
        "evaluation": evaluation,
        "afterwards": probing.buffers(layer),
        "trainable": trainable,
    }

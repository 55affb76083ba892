"""Evidence for 72_lenet_1989, gathered next to the candidate's code. Nothing here judges or knows an answer."""

from __future__ import annotations

import torch
from torch import nn

from grader.checking import probing

LAYERS = ("h1", "h2", "h3", "out")


# --- data ----------------------------------------------------------------------------------------------


def small_digits(candidate, batches):
    """What `digits_1989` makes of each batch, and the batch afterwards."""
    return [{"made": probing.call(candidate.digits_1989, images), "after": images} for images in batches]


def wanted(candidate, batches):
    return [probing.call(candidate.targets, labels) for labels in batches]


# --- the network ---------------------------------------------------------------------------------------


def shapes(candidate, inputs):
    """Shapes of each layer's and the network's output for a few batches; outputs one by one, and layer by layer."""
    model = candidate.LeNet1989()
    if not isinstance(model, nn.Module):
        return {"module": False, "type": type(model).__name__}
    missing = [name for name in LAYERS if not callable(getattr(model, name, None))]
    if missing:
        return {"module": True, "missing": missing}
    cases = []
    for size in (3, 1, 5):
        case = {"size": size, "layers": {}}
        for name in LAYERS:
            case["layers"][name] = probing.outcome(getattr(model, name), inputs[name][:size])
        case["whole"] = probing.outcome(model, inputs["h1"][:size])
        cases.append(case)
    found = {"module": True, "missing": [], "cases": cases}
    if all("value" in part for case in cases for part in (case["whole"], *case["layers"].values())):
        x = inputs["h1"]
        found["single"] = torch.cat([model(x[i : i + 1]) for i in range(len(x))])
        found["together"] = model(x)
        found["again"] = model(x)
        for name in LAYERS:
            x = getattr(model, name)(x)
        found["in_turn"] = x
    return found


def counts(candidate, inputs):
    """The parameters behind each layer's output, how many of their numbers get a gradient, and what is registered.

    "idle": the indices along a parameter's first dimension under which no number gets one.
    """
    model = candidate.LeNet1989()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.05)  # so small that no unit is in a flat end of tanh, where gradients are 0
    names = {id(p): name for name, p in model.named_parameters()}
    layers = {}
    for name in LAYERS:
        output = getattr(model, name)(inputs[name])
        leaves, layers[name] = probing.leaves(output), []
        total = (output * torch.randn_like(output)).sum()
        gradients = torch.autograd.grad(total, leaves, allow_unused=True) if leaves else ()
        for leaf, gradient in zip(leaves, gradients, strict=True):
            used = torch.zeros_like(leaf, dtype=torch.bool) if gradient is None else gradient != 0
            idle = (~used.reshape(len(used), -1).any(1)).nonzero().flatten().tolist() if leaf.dim() else []
            part = {"name": names.get(id(leaf), ""), "shape": list(leaf.shape), "used": int(used.sum()), "idle": idle}
            layers[name].append(part)
    registered = [{"name": n, "shape": list(p.shape), "trained": p.requires_grad} for n, p in model.named_parameters()]
    return {"layers": layers, "registered": registered}


def starts(candidate, inputs, seeds):
    """For each new network: all the numbers behind each layer, in one row."""
    found = []
    for _ in probing.seeds(seeds):
        model = candidate.LeNet1989()
        layers = {}
        for name in LAYERS:
            leaves = probing.leaves(getattr(model, name)(inputs[name]))
            layers[name] = torch.cat([leaf.detach().flatten() for leaf in leaves])
        found.append(layers)
    return found


def _network(candidate, noise):
    """A new network. With `noise`, every parameter is moved by that much of a normal number.

    Parameters that start far too large are made smaller then, so that tanh can still be undone.
    """
    model = candidate.LeNet1989()
    with torch.no_grad():
        for p in model.parameters() if noise else ():
            p.mul_(min(1.0, 0.5 / max(float(p.abs().max()), 1e-9)))
            p.add_(noise * torch.randn_like(p))
    return model


def responses(candidate, noise, inputs):
    """Each layer's output for its inputs."""
    model = _network(candidate, noise)
    with torch.no_grad():
        return {name: getattr(model, name)(x) for name, x in inputs.items()}


def plane_gradients(candidate, planes):
    """Row j: the gradient of plane j of H2 with respect to each plane of H1, its absolute values summed."""
    found = []
    for noise in (0.0, 0.1):
        model, rows = _network(candidate, noise), []
        for j in range(12):
            x = planes.clone().requires_grad_(True)
            output = model.h2(x)[:, j].sum()
            gradient = torch.autograd.grad(output, x, allow_unused=True)[0] if output.requires_grad else None
            rows.append(torch.zeros(12) if gradient is None else gradient.abs().sum((0, 2, 3)))
        found.append(torch.stack(rows))
    return found


# --- training ------------------------------------------------------------------------------------------


class OneLayer(nn.Module):
    """tanh(weight · image + bias), which notes the first pixels of the images that it was given."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.given = []

    def forward(self, x):
        self.given.append(x.detach()[:, 0, 0, 0].clone())
        return torch.tanh(x.flatten(1) @ self.weight.T + self.bias)


def passes(candidate, weight, bias, images, wanted, options):
    """`train_pass` with each of the options, twice in a row on the same model, which comes with old gradients."""
    found = []
    for given in options:
        model = OneLayer(weight, bias)
        for p in model.parameters():
            p.grad = torch.full_like(p, 0.5)
        runs = []
        for _ in range(2):
            model.given.clear()
            loss = candidate.train_pass(model, images, wanted, **given)
            runs.append({"loss": loss, "given": list(model.given), "after": probing.parameters(model)})
        found.append(runs)
    return found


class Pixels(nn.Module):
    """The first ten pixels of the first row as ten outputs."""

    def forward(self, x):
        return x[:, 0, 0, :10]


def missed(candidate, cases):
    return [probing.call(candidate.misses, Pixels(), images, labels) for images, labels in cases]


def learned(candidate, images, labels, unseen, probe_images, rates, batch_size):
    """From MNIST's images to the outputs for unseen ones, all with the candidate's functions."""
    x, y, unseen = candidate.digits_1989(images), candidate.targets(labels), candidate.digits_1989(unseen)
    model = candidate.LeNet1989()
    losses = []
    with probing.live(total=len(rates) * -(-len(x) // batch_size)):
        for lr in rates:
            losses.append(candidate.train_pass(model, x, y, lr=lr, batch_size=batch_size))
    with torch.no_grad():
        return {"losses": losses, "outputs": model(unseen), "filters": model.h1(probe_images)}

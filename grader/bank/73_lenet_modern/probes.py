"""Evidence for 73_lenet_modern, gathered next to the candidate's code. Nothing here judges or knows an answer."""

from __future__ import annotations

import contextlib
import random

import torch
from torch import nn

from grader.checking import probing

# --- the network ---------------------------------------------------------------------------------------


def networks(candidate):
    """Parameters of new networks: of 1989 as given, and of the modern one."""
    found = {}
    for name, options in (("tanh", {}), ("relu", {"activation": "relu", "dropout": 0.25})):
        model = candidate.LeNetModern(**options)
        if not isinstance(model, nn.Module):
            return {"type": type(model).__name__}
        found[name] = {
            "parameters": probing.parameters(model),
            "frozen": [n for n, p in model.named_parameters() if not p.requires_grad],
        }
    found["given"] = {"parameters": probing.parameters(candidate.LeNet1989())}
    kinds = (candidate.LeNet1989, candidate.LeNetModern)
    found["more"] = [[probing.parameters(make()) for make in kinds] for _ in probing.seeds(range(200, 208))]
    return found


def _loaded(model, state):
    """The model with these parameters; names that it lacks are passed over."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in state:
                p.copy_(state[name])
    return model


def _with_gradients(model, images):
    """Outputs, and the gradients of their sum, weighted by class, for every parameter."""
    output = model(images)
    if isinstance(output, torch.Tensor) and output.requires_grad and output.shape == (len(images), 10):
        (output * torch.linspace(-1, 1, 10)).sum().backward()
    return output, probing.gradients(model)


def logits(candidate, state, images, options):
    """Outputs and gradients in eval mode of networks with these parameters, and of the network of 1989."""
    found = []
    for given in options:
        model = _loaded(candidate.LeNetModern(**given), state).eval()
        together, gradients = _with_gradients(model, images)
        found.append({
            "together": together,
            "gradients": gradients,
            "single": torch.cat([model(images[i : i + 1]) for i in range(len(images))]),
        })
    given, gradients = _with_gradients(_loaded(candidate.LeNet1989(), state), images)
    return {"modern": found, "given": given, "given_gradients": gradients}


def dropped(candidate, state, image, count, options):
    """Outputs for `count` copies of one image: in training mode twice, in eval mode twice."""
    found = []
    for given in options:
        model = _loaded(candidate.LeNetModern(**given), state)
        images = image.expand(count, *image.shape[1:])
        with torch.no_grad():
            row = {"training": [model.train()(images) for _ in range(2)]}
            row["evaluation"] = [model.eval()(images[:50]) for _ in range(2)]
        found.append(row)
    return found


# --- loss, optimizer, rate -----------------------------------------------------------------------------


def losses(candidate, cases):
    found = []
    for logits, labels in cases:
        leaf = logits.clone().requires_grad_(True)
        value = probing.call(candidate.loss, leaf, labels)
        row = {"value": value, "gradient": None}
        if isinstance(value, torch.Tensor) and value.numel() == 1 and value.requires_grad:
            (row["gradient"],) = torch.autograd.grad(value, leaf)
        found.append(row)
    return found


class Two(nn.Module):
    """Two parameters and nothing to do."""

    def __init__(self, state):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(state[name].clone()) for name in ("weight", "bias"))


def optimized(candidate, state, gradients, options):
    """The parameters after each of a few steps with given gradients; None where a gradient is None."""
    found = []
    for given in options:
        model = Two(state)
        optimizer = candidate.optimizer_for(model, **given)
        if not isinstance(optimizer, torch.optim.Optimizer):
            return {"type": type(optimizer).__name__}
        after = []
        for gradient in gradients:
            for name, p in model.named_parameters():
                p.grad = gradient[name].clone()
            optimizer.step()
            after.append(probing.parameters(model))
        found.append(after)
    return {"after": found}


def rates(candidate, cases):
    return [probing.call(candidate.rate, *case) for case in cases]


# --- shifts --------------------------------------------------------------------------------------------


def shifts(candidate, images, single):
    """`shifted` of the images, of a single one many times, and what its random numbers hang on."""
    given = images.clone()
    found = {"made": candidate.shifted(given), "given_after": given}
    found["single"] = torch.cat([candidate.shifted(single) for _ in range(60)])
    torch.manual_seed(5)
    random.seed(1)
    _numpy_seed(1)
    found["once"] = candidate.shifted(images)
    torch.manual_seed(5)
    random.seed(2)
    _numpy_seed(2)
    found["same_seed"] = candidate.shifted(images)
    random.seed(2)
    _numpy_seed(2)
    torch.manual_seed(6)
    found["other_seed"] = candidate.shifted(images)
    return found


def _numpy_seed(value):
    import numpy as np

    np.random.seed(value)  # the global generator is the one that a candidate would use by mistake


# --- training ------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """Logits by one linear layer; notes what it was given, and in which mode."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.drop = nn.Dropout(0.5)  # a part, whose mode has to follow
        self.given, self.modes = [], []

    def forward(self, x):
        self.given.append(x.detach().clone())
        self.modes.append(self.training and self.drop.training)
        return x.flatten(1) @ self.weight.T + self.bias


class Darker:
    """Makes a batch darker, the next one even more; notes the sizes of the batches."""

    def __init__(self):
        self.sizes = []

    def __call__(self, x):
        self.sizes.append(len(x))
        return x * 0.9 ** len(self.sizes)


def passes(candidate, weight, bias, images, labels, options):
    """`train_pass` twice in a row on a model that comes in eval mode, with old gradients."""
    found = []
    for given in options:
        given = dict(given)
        augment = Darker() if given.pop("darker", False) else None
        model = Linear(weight, bias).eval()
        optimizer = torch.optim.SGD(model.parameters(), lr=given.pop("lr"), momentum=0.5)
        for p in model.parameters():
            p.grad = torch.full_like(p, 0.5)
        if augment is not None:
            given["augment"] = augment
        runs = []
        kept = images.clone()
        for _ in range(2):
            model.given.clear()
            loss = candidate.train_pass(model, images, labels, optimizer, **given)
            runs.append({
                "loss": loss,
                "firsts": [x[:, 0, 0, 0] for x in model.given],
                "modes": list(model.modes),
                "sizes": [] if augment is None else list(augment.sizes),
                "after": probing.parameters(model),
                "untouched": torch.equal(images, kept),
            })
            images.copy_(kept)
        found.append(runs)
    return found


@contextlib.contextmanager
def _steps():
    """The rates and the optimizers of all steps that any optimizer of torch takes."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    steps, optimizers = [], []

    def before(optimizer, args, kwargs):
        if all(optimizer is not known for known in optimizers):
            optimizers.append(optimizer)
        number = next(i for i, known in enumerate(optimizers) if known is optimizer)
        steps.append({"rate": float(optimizer.param_groups[0]["lr"]), "optimizer": number})

    handle = register_optimizer_step_pre_hook(before)
    try:
        yield steps
    finally:
        handle.remove()


def fits(candidate, weight, bias, images, labels, options):
    """`fit` on a linear model: rates and optimizers of the steps, what the model was given, where it ended."""
    found = []
    for given in options:
        model = Linear(weight, bias)
        given = dict(given)
        if given.pop("as_it_is", False):
            given["augment"] = None
        count = given.pop("count", len(images))
        torch.manual_seed(given.pop("seed", 0))
        with _steps() as steps:
            losses = candidate.fit(model, images[:count], labels[:count], **given)
        found.append({
            "steps": steps,
            "losses": losses,
            "given": torch.cat(model.given) if model.given else torch.zeros(0),
            "modes": list(model.modes),
            "after": probing.parameters(model),
        })
    return found


class Fickle(nn.Module):
    """The first ten pixels as logits; in training mode those of another class."""

    def __init__(self):
        super().__init__()
        self.drop, self.scale = nn.Dropout(0.5), nn.Parameter(torch.ones(()))
        self.recorded, self.given = [], []

    def forward(self, x):
        self.recorded.append(torch.is_grad_enabled())
        self.given.append(x.detach().clone())
        rows = self.scale * x[:, 0, 0, :10]
        return rows.roll(1, 1) if self.training or self.drop.training else rows


def missed(candidate, cases):
    found = []
    for images, labels in cases:
        for training in (False, True):
            model = Fickle().train(training)
            count = probing.call(candidate.misses, model, images, labels)
            found.append({
                "count": count,
                "came_in": training,
                "left_in": model.training,
                "parts": model.drop.training,
                "recorded": any(model.recorded),
                "as_given": torch.equal(torch.cat(model.given), images) if model.given else True,
                "recording_afterwards": torch.is_grad_enabled(),
            })
            torch.set_grad_enabled(True)
    return found


def learned(candidate, images, labels, unseen, options, passes, batch_size, rates):
    """Outputs in eval mode for the training images and unseen ones, and the mean loss of each pass."""
    model = candidate.LeNetModern(**options)
    with probing.live(total=passes * -(-len(images) // batch_size)):
        given = {"passes": passes, "batch_size": batch_size, "first": rates[0], "last": rates[1]}
        losses = candidate.fit(model, images, labels, **given)
    model.eval()
    with torch.no_grad():
        return {"losses": losses, "unseen": model(unseen), "seen": model(images)}

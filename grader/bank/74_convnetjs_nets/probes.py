"""What the worker runs next to the learner's code: calls it, watches it, and returns plain evidence."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from grader.checking import probing

NETS = ("MnistNet", "CifarNet")


# --- the networks --------------------------------------------------------------------------------------


def states(candidate):
    """Names and shapes of each network's parameters and buffers."""
    found = {}
    for name in NETS:
        net = getattr(candidate, name)()
        found[name] = {
            "module": isinstance(net, nn.Module),
            "shapes": {k: list(v.shape) for k, v in net.state_dict().items()},
            "parameters": [k for k, p in net.named_parameters() if p.requires_grad],
            "count": sum(p.numel() for p in net.parameters()),
        }
    return found


def _loaded(candidate, case):
    net = getattr(candidate, case["net"])().to(torch.float64)
    net.load_state_dict(case["state"])
    return net.train(case["training"])


def values(candidate, cases):
    """Outputs of networks with given weights."""
    found = []
    for case in cases:
        x = case["x"].clone()
        forward = partial(_loaded(candidate, case))
        forward.__name__ = f"{case['net']}()"  # what an exception's note calls it
        with torch.no_grad():
            found.append({"logits": probing.call(forward, x), "x": x})
    return found


def gradients(candidate, cases):
    found = []
    for case in cases:
        net, x = _loaded(candidate, case), case["x"].clone().requires_grad_(True)
        net(x).backward(case["upstream"])
        found.append({"x": x.grad, **probing.gradients(net)})
    return found


# --- the start -----------------------------------------------------------------------------------------


def started(candidate, count):
    """Many fresh networks, and what init_ makes of layers that the networks don't have."""
    found = {}
    for name in NETS:
        nets = [probing.parameters(getattr(candidate, name)()) for _ in range(count)]
        found[name] = {key: torch.stack([net[key] for net in nets]) for key in nets[0]}

    def others():
        parts = [nn.Conv2d(4, 10, (3, 7)), nn.Conv2d(8, 20, 3, groups=4, bias=False), nn.BatchNorm2d(5)]
        net = nn.Sequential(nn.Sequential(*parts), nn.Linear(60, 20), nn.Linear(20, 1))
        with torch.no_grad():
            net[0][2].weight.fill_(3.0)
        before = dict(net.named_parameters())
        candidate.init_(net)
        exchanged.update(name for name, p in net.named_parameters() if p is not before.get(name))
        return probing.parameters(net)

    exchanged = set()
    nets = [others() for _ in range(count)]
    found["exchanged"] = sorted(exchanged)
    found["others"] = {key: torch.stack([net[key] for net in nets]) for key in nets[0]}
    return found


# --- pixels --------------------------------------------------------------------------------------------


def scaled(candidate, images):
    given = images.clone()
    return {"out": candidate.scale(given), "images": given}


def repeated(candidate, name, cases):
    """`random_crop` or `jitter`: many draws for each case, once more with the same seed, and the input afterwards.

    `shares`: whether a result lies in the input's memory.
    """
    function = getattr(candidate, name)
    found = []
    for case in cases:
        images = case["images"].clone()
        runs, shares = [], False
        for _ in range(2):
            torch.manual_seed(case["seed"])
            runs.append([])
            for _ in range(case["draws"]):
                drawn = probing.call(function, images, *case["more"])
                runs[-1].append(drawn)
                shares = shares or _same_memory(drawn, images)
                if not torch.equal(images, case["images"]):  # a second call may undo it
                    return [*found, {"draws": [], "again": [], "images": images, "shares": False}]
        found.append({"draws": runs[0], "again": runs[1], "images": images, "shares": shares})
    return found


def _same_memory(a, b):
    return isinstance(a, torch.Tensor) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def views(candidate, mnist, cifar):
    found = {}
    for name, images in (("mnist_views", mnist), ("cifar_views", cifar)):
        given = images.clone()
        result = getattr(candidate, name)(given)
        again = getattr(candidate, name)(given)
        usable = isinstance(result, (list, tuple, torch.Tensor))
        found[name] = {
            "views": [v.clone() if isinstance(v, torch.Tensor) else v for v in result] if usable else result,
            "again": [v.clone() if isinstance(v, torch.Tensor) else v for v in again] if usable else again,
            "images": given,
        }
    return found


# --- test time -----------------------------------------------------------------------------------------


class Toy(nn.Module):
    """A linear model with dropout and a layer inside; notes in which state it is called."""

    def __init__(self, weight):
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
        self.weight = nn.Parameter(weight.clone())
        self.calls = []

    def forward(self, x):
        modes = [module.training for module in self.modules()]
        self.calls.append({"training": any(modes), "grad": torch.is_grad_enabled(), "images": len(x)})
        return self.inner(x) @ self.weight


def averages(candidate, cases):
    found = []
    for case in cases:
        model = Toy(case["weight"])
        model.train(case["training"])
        given = [view.clone() for view in case["views"]]
        out = probing.call(candidate.average, model, given)
        left_on = torch.is_grad_enabled()
        torch.set_grad_enabled(True)
        found.append(
            {
                "out": out,
                "records": bool(getattr(out, "requires_grad", False)),
                "calls": model.calls,
                "left on": left_on,
                "modes": [module.training for module in model.modules()],
                "views": given,
            }
        )
    return found


# --- training ------------------------------------------------------------------------------------------


def optimized(candidate, state, gradients, l2):
    """Parameters after each step with given gradients, and the optimizer's class."""
    norm = nn.BatchNorm2d(3, track_running_stats=False)  # its weight has one axis
    model = nn.Sequential(nn.Conv2d(2, 3, 2), norm, nn.Flatten(), nn.Linear(4, 3)).to(torch.float64)
    model.load_state_dict(state)
    optimizer = candidate.make_optimizer(model, l2)
    steps = []
    for step in gradients:
        for name, p in model.named_parameters():
            p.grad = step[name].clone()
        optimizer.step()
        steps.append(probing.parameters(model))
    return steps, type(optimizer).__name__


class Recorder(nn.Module):
    """A linear model that notes with each call what it saw and what its parameters were."""

    def __init__(self, weight, bias):
        super().__init__()
        self.inner = nn.Dropout(0.0)
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())
        self.calls = []

    def forward(self, x):
        modes = [module.training for module in self.modules()]
        seen = x.detach().clone() if isinstance(x, torch.Tensor) else x
        self.calls.append({"x": seen, "training": all(modes), "parameters": probing.parameters(self)})
        return x.to(torch.float64).flatten(1) @ self.weight + self.bias


def trained(candidate, cases):
    """One run of `train` per case; the model records, and has old gradients in it; the augmentation records."""
    found = []
    for case in cases:
        model = Recorder(case["weight"], case["bias"])
        model.train(case["training"])
        model.inner.train(case["training"])
        for p in model.parameters():
            p.grad = torch.full_like(p, case["old gradient"])
        torch.manual_seed(case["seed"])
        augmented = []

        def augment(images, augmented=augmented):
            augmented.append(images.detach().clone())
            return images * 2 + 1

        images, labels = case["images"].clone(), case["labels"].clone()
        candidate.train(model, images, labels, augment, case["epochs"], case["batch_size"], case["l2"])
        found.append(
            {
                "calls": model.calls,
                "augmented": augmented,
                "parameters": probing.parameters(model),
                "untouched": bool(torch.equal(images, case["images"]) and torch.equal(labels, case["labels"])),
            }
        )
    return found


def learned(candidate, name, images, labels, unseen, epochs, batch_size, l2):
    """Trains a network for real; probabilities of each view of the unseen images, and of their average."""
    mnist = name == "MnistNet"
    net = getattr(candidate, name)()

    def crop(images):
        return candidate.random_crop(images, 24)

    with probing.live(total=epochs * -(-len(images) // batch_size)):
        candidate.train(net, images, labels, crop if mnist else candidate.jitter, epochs, batch_size, l2)
    scaled = candidate.scale(unseen)
    views = list((candidate.mnist_views if mnist else candidate.cifar_views)(scaled))
    middle = scaled[:, :, 2:26, 2:26] if mnist else scaled
    averaged = candidate.average(net, views)
    net.eval()
    with torch.no_grad():
        singles = [F.softmax(net(view), dim=1) for view in (*views, middle)]
    return {"averaged": averaged, "singles": singles[:-1], "middle": singles[-1]}

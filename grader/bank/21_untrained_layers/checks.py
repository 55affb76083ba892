"""Checks for the layers that never train. First what a repair leaves alone, then each bug by itself, then the whole.

The oracles are the script's data drawn one by one, the layers as functions, and plain gradient descent.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_number,
    expect_shape,
    expect_tensor,
    fail,
)

from . import probes

F64 = torch.float64
REPAIR = "a repair, not a rewrite: "
PLANTED = ["test_registered", "test_gradients", "test_new_head", "test_trainable"]
NAMED = {
    "stem.0.weight": [8, 1, 5, 5],
    "stem.0.bias": [8],
    "neck.weight": [32, 8],
    "neck.bias": [32],
    "norm.weight": [32],
    "norm.bias": [32],
}
BLOCKS = [[8], [8], [8, 8, 3, 3], [8, 8, 3, 3]]


def _pictures(count, seed):
    """The script's images, one after the other."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(6, (count,), generator=g)
    tilt = torch.randn(count, generator=g)
    phases = torch.rand(count, generator=g)
    noise = torch.randn(count, 16, 16, generator=g)
    images = torch.empty(count, 1, 16, 16)
    rows, columns = torch.arange(16)[:, None].float(), torch.arange(16)[None].float()
    for i, label in enumerate(labels.tolist()):
        angle = label % 3 * math.pi / 3 + 0.2 * tilt[i].item()
        along = rows * math.sin(angle) + columns * math.cos(angle)
        images[i, 0] = torch.sin((1.7 if label > 2 else 1.1) * along + 2 * math.pi * phases[i]) + noise[i]
    return images, labels


def _edges():
    """The stem's eight filters."""
    filters = torch.zeros(8, 1, 5, 5)
    for i in range(8):
        for row in range(-2, 3):
            for column in range(-2, 3):
                slope = row * math.sin(i * math.pi / 4) + column * math.cos(i * math.pi / 4)
                filters[i, 0, row + 2, column + 2] = 0.3 * slope * math.exp(-(row * row + column * column) / 3)
    return filters


def _part(name):
    """stem, neck, norm, fc, or blocks for all others: these may be registered under other names."""
    first = name.split(".")[0]
    return first if first in ("stem", "neck", "norm", "fc") else "blocks"


def _blocks(shapes):
    return sorted(shape for name, shape in shapes.items() if _part(name) == "blocks")


def _expect_losses(losses, count):
    expect(
        isinstance(losses, (list, tuple)) and len(losses) == count,
        expected=f"a list of {count} losses, one for each epoch",
        actual=f"{len(losses)} losses" if isinstance(losses, (list, tuple)) else describe(losses),
        because=f"{REPAIR}train returns the losses.",
    )


# --- what a repair leaves alone ----------------------------------------------------------------------------


@check(
    "The network keeps its layers",
    points=5,
    why="A new architecture may hide a bug, but it doesn't find it; and saved weights no longer fit.",
)
def test_architecture(sandbox):
    found = sandbox.run(probes.network)
    for which, classes in (("every", 9), ("loaded", 20)):
        shapes = found[which]
        named = NAMED | {"fc.weight": [classes, 32], "fc.bias": [classes]}
        got = {name: shape for name, shape in shapes.items() if _part(name) != "blocks"}
        for name in sorted(named.keys() | got.keys()):
            expect(
                named.get(name) == got.get(name),
                expected=f"{name} of shape {tuple(named[name])}" if name in named else f"no {name}",
                actual=f"shape {tuple(got[name])}" if name in got else "no such parameter",
                because=f"{REPAIR}stem, neck, norm and fc keep their names and shapes.",
                looks_like="a rewritten network",
            )
        expect_equal(
            _blocks(shapes),
            BLOCKS,
            because=f"{REPAIR}two blocks, each with the weight and the bias of one convolution.",
            looks_like="a rewritten network",
        )
    expect_equal(
        found["kinds"],
        {"norm": "LayerNorm", "stem": ["Conv2d", "ReLU", "MaxPool2d"]},
        because=f"{REPAIR}the layers stay of their kind.",
        looks_like="a rewritten network",
    )
    frozen = [name for name, yes in found["trainable"].items() if not yes and _part(name) != "stem"]
    expect(
        not frozen,
        expected="a new network that is trainable behind its stem",
        actual=f"{', '.join(frozen)} frozen",
        because=f"{REPAIR}a new network hasn't frozen anything; adapt does that.",
    )
    for name, spread in found["spread"].items():
        usual = (3 * math.prod(found["every"][name][1:])) ** -0.5
        expect(
            usual / 3 < spread < usual * 3,
            expected=f"{name} to start with a standard deviation of about {usual:.3f}",
            actual=f"{spread:.3g}",
            because=f"{REPAIR}the layers start as PyTorch starts them.",
        )


@check(
    "The data and the loaded filters are the same",
    points=5,
    why="Easier data make any script look healthy.",
)
def test_data(sandbox):
    wanted = [(1, 3), (50, 1), (37, 12)]
    found = sandbox.run(probes.materials, wanted)
    for (count, seed), pair in zip(wanted, found["pictures"], strict=True):
        images, labels = _pictures(count, seed)
        said = f"make_images({count}, seed={seed}): {REPAIR}"
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            fail(expected="(images, labels)", actual=describe(pair), because=said + "it returns what it returned.")
        expect_close(pair[0], images, because=said + "the images stay the same.", atol=1e-4)
        expect_equal(pair[1], labels, because=said + "the labels stay the same.")
    because = f"{REPAIR}load_pretrained gives the stem its edge filters."
    expect_close(found["stem"].get("stem.0.weight"), _edges(), because=because, atol=1e-5)
    expect_close(found["stem"].get("stem.0.bias"), torch.zeros(8), because=because)


@check(
    "Optimizer, learning rate, batches and epochs are the same",
    points=5,
    why="With other settings something else may learn a little more. The bugs stay.",
)
def test_settings(sandbox):
    images, labels = _pictures(139, 21)
    found = sandbox.run(probes.settings, images, labels)
    expect(
        found["optimizer"] is None,
        expected="an optimizer, returned by adapt",
        actual=f"{found['optimizer']}",
        because=f"{REPAIR}adapt changes the model, and returns the optimizer alone.",
    )
    wanted = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.001, "dampening": 0, "nesterov": False, "maximize": False}
    for options in found["options"]:
        because = f"{REPAIR}the optimizer stays SGD."
        expect_equal(options["kind"], "SGD", because=because, looks_like="another optimizer")
        for group in options["groups"]:
            for name, value in wanted.items():
                because = f"{REPAIR}all groups keep the optimizer's {name}, from first to last."
                if isinstance(value, bool):
                    expect_equal(group[name], value, because=because)
                else:
                    expect_close(group[name], value, because=because, looks_like=f"another {name}")
    expect_equal(found["steps"], 25, because=f"{REPAIR}139 images make 5 batches; 5 epochs make 25 steps.")
    _expect_losses(found["losses"], 5)
    sizes = [len(m) for m in found["marks"]]
    expect_equal(sizes, [32, 32, 32, 32, 11] * 5, because=f"{REPAIR}batches of 32; the last one is what is left.")
    marks = images.flatten(1).double().sum(1)
    seen = torch.cat(found["marks"]).reshape(5, 139)
    orders = (seen[:, :, None] - marks).abs().argmin(2).tolist()
    expect(
        all(sorted(order) == list(range(139)) for order in orders),
        expected="each image once in each epoch",
        actual=f"{len(set(orders[0]))} different images in the first",
        because=f"{REPAIR}train goes through all images.",
    )
    expect(
        len({tuple(order) for order in orders}) == 5 and orders[0] != sorted(orders[0]),
        expected="another order of the images in each epoch",
        actual="an order twice, or none",
        because=f"{REPAIR}train shuffles.",
    )


# --- the bugs ----------------------------------------------------------------------------------------------


@check(
    "Nothing of the network is lost when its parameters are asked for, or saved",
    points=15,
    why="What is missing there is neither trained nor saved nor moved to the GPU, and nothing tells you.",
    after=["test_architecture"],
)
def test_registered(sandbox):
    found = sandbox.run(probes.network)
    for which, said in (("registered", "parameters()"), ("saved", "state_dict()")):
        missing = [n for n in found["every"] if n not in found[which]]
        shapes = {n: s for n, s in found[which].items() if n in found["registered"]}
        if _blocks(shapes) != BLOCKS:
            fail(
                expected=f"the parameters of both blocks in {said}",
                actual="missing: " + (", ".join(missing) or "some of them"),
                because="nn.Module finds modules that are assigned as attributes; it looks into no other containers.",
                looks_like="layers in a plain Python list (or tuple, or dict); nn.ModuleList is looked into",
            )


@check(
    "The loss leaves a gradient at every layer behind the stem",
    points=15,
    why="A layer without one doesn't move, and backward() doesn't complain.",
    after=["test_architecture"],
)
def test_gradients(sandbox):
    images, labels = _pictures(24, 31)
    found = sandbox.run(probes.gradients, images, labels % 5)
    lost = sorted({_part(name) for name, size in found.items() if not size and _part(name) != "stem"})
    looks = None
    if lost == ["blocks", "neck"]:
        looks = "the graph is cut behind the neck: detach (or .data, or no_grad) on the way to the loss"
    elif lost == ["blocks"]:
        looks = "the graph is cut between the blocks and the neck"
    elif lost:
        looks = "the graph is cut on the way from the loss to " + " and ".join(lost)
    for name, size in found.items():
        if _part(name) != "stem":
            expect(
                size is not None and math.isfinite(size) and size > 0,
                expected=f"a gradient at {name}",
                actual="none" if size is None else f"of size {size:g}",
                because="with requires_grad everywhere, backward from the loss reaches each layer that took part.",
                looks_like=looks,
            )


@check(
    "The new last layer has the right size, and learns",
    points=15,
    why="The layer that is new knows nothing yet: it has the most to learn.",
    after=["test_architecture"],
)
def test_new_head(sandbox):
    for classes in (6, 3):
        found = sandbox.run(probes.adapted, classes)
        expect_equal(
            found["shapes"].get("fc.weight"),
            [classes, 32],
            because=f"adapt(model, {classes}) gives the model a last layer for {classes} classes.",
        )
        size = found["out_features"]
        expect(
            size in (None, classes),
            expected=f"a new last layer with out_features={classes}",
            actual=f"out_features={size}, with a weight of {classes} rows",
            because=f"adapt(model, {classes}) gives the model a new layer: what it says of itself fits its weight.",
            looks_like="new tensors were put into the old layer, which still calls itself one for 20 classes"
            if size == 20
            else None,
        )
        for name in ("fc.weight", "fc.bias"):
            looks = None
            if not found["held"].get(name) and found["strangers"]:
                looks = "the optimizer was made before the new layer: it still holds the old one"
            expect(
                bool(found["held"].get(name)),
                expected=f"the new {name} among the optimizer's parameters",
                actual=f"it isn't; {found['strangers']} of them no longer belong to the model",
                because="step() changes the tensors that the optimizer was given, and no others.",
                looks_like=looks,
            )


@check(
    "adapt leaves everything behind the stem ready to learn",
    points=15,
    why="What can't move looks like a network that has nothing more to learn.",
    after=["test_architecture"],
)
def test_trainable(sandbox):
    found = sandbox.run(probes.adapted, 6)["trainable"]
    frozen = [name for name, yes in found.items() if not yes and _part(name) != "stem"]
    parts = sorted({_part(name) for name in frozen})
    expect(
        not frozen,
        expected="requires_grad=True for the blocks, neck, norm and fc after adapt",
        actual="False for " + ", ".join(frozen),
        because="only the stem keeps what it knows; everything behind it is to learn.",
        looks_like=f"the freezing rule catches {' and '.join(parts)} as well as the stem",
    )


# --- the whole ---------------------------------------------------------------------------------------------


@check(
    "The stem keeps its filters",
    points=6,
    why="Unfreezing everything makes the loss fall, too, and answers another question.",
    after=["test_trainable"],
)
def test_frozen(sandbox):
    images, labels = _pictures(70, 41)
    found = sandbox.run(probes.trained, images, labels, 2)
    for name, before in found["before"].items():
        if _part(name) == "stem":
            expect(
                torch.equal(found["loaded"][name], before),
                expected=f"{name} as load_pretrained gave it, after adapt",
                actual=f"changed by up to {(found['loaded'][name] - before).abs().max().item():.2g}",
                because="the filters are what is kept of the old network.",
                looks_like="adapt starts the stem anew",
            )
    moved, count = _moved_stem(found)
    looks = f"only a part of the stem was frozen; {' and '.join(moved)} {'is' if len(moved) == 1 else 'are'} trained"
    if len(moved) == count:
        looks = "everything was unfrozen, instead of everything but the stem"
    _expect_still(found, moved, "", looks)
    other = sandbox.run(probes.trained, images, labels, 1, loaded=False)
    moved, _ = _moved_stem(other)
    looks = "the stem is frozen where it is loaded; adapt itself doesn't freeze it"
    _expect_still(other, moved, "in a new TextureNet(20) that was given to adapt, ", looks)


def _moved_stem(found):
    """The names of the stem's parameters that changed in training, and how many there are."""
    names = [name for name in found["before"] if _part(name) == "stem"]
    return [name for name in names if not torch.equal(found["before"][name], found["after"][name])], len(names)


def _expect_still(found, moved, said, looks):
    for name in moved:
        change = (found["before"][name] - found["after"][name]).abs().max().item()
        fail(
            expected=f"{said}{name} as it was, bit for bit, after training",
            actual=f"changed by up to {change:.2g}",
            because="whatever network adapt is given, the stem keeps what it knows.",
            looks_like=looks,
        )


@check(
    "model.features is kept without its graph",
    points=3,
    why="The detach was there for a reason. Removing it whole keeps each batch's activations alive.",
    after=["test_gradients"],
)
def test_features(sandbox):
    found = sandbox.run(probes.features, _pictures(5, 42)[0])
    kept = expect_tensor(found["features"], because=f"{REPAIR}model.features holds the neck's output of the last pass.")
    expect_shape(kept, (5, 32), because="32 features for each image.")
    expect(
        not found["graph"],
        expected="model.features without a graph",
        actual="a tensor with a grad_fn",
        because="what is kept for plots must not keep the graph of the whole pass alive.",
        looks_like="detach was removed instead of moved: what is kept needs it, the way to the loss doesn't",
    )
    if found["neck"] is not None:
        because = f"{REPAIR}the features are the neck's output after ReLU."
        expect_close(kept, found["neck"].relu(), because=because)


@check(
    "Every parameter behind the stem moves",
    points=4,
    why="The test that would have found all four bugs: copy, step, compare.",
    after=[*PLANTED, "test_frozen"],
)
def test_moves(sandbox):
    images, labels = _pictures(32, 43)
    found = sandbox.run(probes.trained, images, labels, 1)
    held = sandbox.run(probes.adapted, 6)["held"]
    for name, before in found["before"].items():
        if _part(name) != "stem":
            expect(
                not torch.equal(before, found["after"][name]),
                expected=f"{name} changed by one step",
                actual="exactly as before",
                because="known, trainable, reached by the gradient and held by the optimizer: then it moves.",
                looks_like=None if held.get(name) else f"the optimizer was given only a part; {name} is missing",
            )


@check(
    "train makes plain updates and reports true losses",
    points=4,
    why="There was nothing wrong with it; it has to stay so.",
    after=PLANTED,
)
def test_train(sandbox):
    g = torch.Generator().manual_seed(51)
    inputs, labels = torch.randn(71, 6, generator=g, dtype=F64), torch.randint(4, (71,), generator=g)
    weight, bias = torch.randn(4, 6, generator=g, dtype=F64), torch.randn(4, generator=g, dtype=F64)
    found = sandbox.run(probes.updates, weight, bias, inputs, labels, 0.4, 0.7, 2)
    expect_equal([len(x) for x in found["asked"]], [32, 32, 7] * 2, because="two epochs of 71 images in batches of 32.")
    _expect_losses(found["losses"], 2)
    w, b, sums = weight, bias, [0.0, 0.0]
    speed_w, speed_b = torch.zeros_like(w), torch.zeros_like(b)
    for number, (x, now) in enumerate(zip(found["asked"], found["weights"], strict=True)):
        y = labels[(x[:, None] - inputs).abs().sum(2).argmin(1)]
        scores = x @ w.T + b
        sums[number // 3] += F.cross_entropy(scores, y, reduction="sum").item()
        error = (F.softmax(scores, 1) - F.one_hot(y, 4)) / len(y)
        speed_w, speed_b = 0.7 * speed_w + error.T @ x, 0.7 * speed_b + error.sum(0)
        w, b = w - 0.4 * speed_w, b - 0.4 * speed_b
        because = f"{REPAIR}step {number + 1}, with momentum, takes up its own batch's gradient of mean cross-entropy."
        expect_close(now, w, because=because, rtol=1e-8, atol=1e-10)
    for number, (loss, total) in enumerate(zip(found["losses"], sums, strict=True), 1):
        because = f"{REPAIR}the mean loss of an image in epoch {number}."
        expect_close(expect_number(loss, because=because), total / 71, because=because, rtol=1e-8)


@check(
    "The network computes what its layers say, and survives saving",
    points=4,
    why="The last look: nothing was lost, or added, between the layers.",
    after=PLANTED,
)
def test_outputs(sandbox):
    images, labels = _pictures(6, 61)
    found = sandbox.run(probes.outputs, images, labels)
    p = {name: t.requires_grad_(True) for name, t in found["parameters"].items()}
    kernels = [t for name, t in p.items() if _part(name) == "blocks"]
    x = F.max_pool2d(F.conv2d(images, p["stem.0.weight"], p["stem.0.bias"], padding=2).relu(), 2)
    for weight, bias in zip(kernels[::2], kernels[1::2], strict=True):
        x = x + F.conv2d(x, weight, bias, padding=1).relu()
    x = F.linear(x.mean((2, 3)), p["neck.weight"], p["neck.bias"]).relu()
    x = F.layer_norm(x, (32,), p["norm.weight"], p["norm.bias"])
    right = F.linear(x, p["fc.weight"], p["fc.bias"])
    because = f"{REPAIR}stem, x + relu(conv(x)) twice, mean over the picture, neck with ReLU, norm, fc."
    expect_close(found["outputs"], right, because=because, rtol=1e-3, atol=1e-4)
    because = "state_dict() loaded into a new TextureNet gives the same network."
    expect_close(found["again"], right, because=because, rtol=1e-3, atol=1e-4)
    F.cross_entropy(right, labels).backward()
    for name, gradient in found["gradients"].items():
        if _part(name) != "stem":
            because = f"the gradient at {name} comes by every way that leads there from the loss."
            looks = "the graph is cut on one of several ways"
            expect_close(gradient, p[name].grad, because=because, looks_like=looks, rtol=1e-2, atol=1e-4)


@check(
    "The repaired script learns",
    points=4,
    why="The proof: the same settings that looked hopeless are good.",
    after=[*PLANTED, "test_settings", "test_moves", "test_train"],
)
def test_learns(sandbox):
    images, labels = _pictures(1500, 71)
    unseen, truth = _pictures(600, 72)
    found = sandbox.run(probes.learnt, images, labels, unseen)
    expect_shape(found["answers"], (600, 6), because="six scores for each image.")
    accuracy = (found["answers"].argmax(1) == truth).double().mean().item()
    sandbox.measure("accuracy", accuracy)
    sandbox.measure("loss", found["losses"][-1])
    said = "five epochs of 1,500 images, as in the script; "
    expect_at_most(found["losses"][-1], 0.6, because=f"{said}the last loss of the repaired script is about 0.1.")
    expect_at_least(accuracy, 0.8, because=f"{said}the share of 600 new images that are recognised is about 0.97.")

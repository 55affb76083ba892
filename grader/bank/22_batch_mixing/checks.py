"""Checks for the pictures that mix. First what a repair leaves alone, then each bug by itself, then the whole.

The oracles are the answers that the candidate's own network gives, the network's layers as functions, and sums by hand.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch.nn import functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_number,
    expect_shape,
    fail,
    misconception,
)

from . import probes

REPAIR = "a repair, not a rewrite: "
PLANTED = ["test_isolation", "test_loss", "test_error"]


def _pictures(count, seed):
    """The script's pictures, one after the other."""
    g = torch.Generator().manual_seed(seed)
    heights = torch.rand(count, generator=g)
    sideways = torch.rand(count, 1, 1, generator=g).flatten()
    noise = torch.randn(count, 16, 16, generator=g)
    images = torch.empty(count, 1, 16, 16)
    rows, columns = torch.arange(16.0)[:, None], torch.arange(16.0)[None]
    for i in range(count):
        square = (rows - 15 * heights[i]) ** 2 + (columns - 15 * sideways[i]) ** 2
        images[i, 0] = torch.exp(-square / 6) + 0.2 * noise[i]
    return images, heights


def _expect_losses(losses, count):
    expect(
        isinstance(losses, (list, tuple)) and len(losses) == count,
        expected=f"a list of {count} losses, one for each epoch",
        actual=f"{len(losses)} losses" if isinstance(losses, (list, tuple)) else describe(losses),
        because=f"{REPAIR}fit returns the network, and then the losses.",
    )


# --- what a repair leaves alone ----------------------------------------------------------------------------

TENSORS = {
    "read.weight": [16, 64],
    "read.bias": [16],
    "head.0.weight": [32, 64],
    "head.0.bias": [32],
    "head.2.weight": [1, 32],
    "head.2.bias": [1],
}


@check(
    "The network keeps its layers",
    points=5,
    why="A new architecture may hide a bug, but it doesn't find it; and saved weights no longer fit.",
)
def test_architecture(sandbox):
    found = sandbox.run(probes.network)
    because = f"{REPAIR}all parameters keep their names and shapes."
    expect_equal(found["tensors"], TENSORS, because=because, looks_like="a rewritten network")
    because = f"{REPAIR}two linear layers, a ReLU, and the layer that reads the strips."
    layers = ["Linear", "Linear", "ReLU", "Linear"]
    expect_equal(found["layers"], layers, because=because, looks_like="a rewritten network")
    expect_equal(found["trainable"], True, because=f"{REPAIR}all parameters are trained.")
    for name, spread in found["spread"].items():
        usual = (3 * math.prod(TENSORS[name][1:])) ** -0.5
        expect(
            usual / 3 < spread < usual * 3,
            expected=f"{name} to start with a standard deviation of about {usual:.3f}",
            actual=f"{spread:.3g}",
            because=f"{REPAIR}the layers start as PyTorch starts them.",
        )


@check(
    "The data are the same",
    points=3,
    why="Easier data make any script look healthy.",
)
def test_data(sandbox):
    wanted = [(1, 3), (50, 1), (37, 12)]
    for (count, seed), pair in zip(wanted, sandbox.run(probes.pictures, wanted), strict=True):
        images, heights = _pictures(count, seed)
        said = f"make_images({count}, seed={seed}): {REPAIR}"
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            fail(expected="(images, heights)", actual=describe(pair), because=said + "it returns what it returned.")
        expect_close(pair[0], images, because=said + "the pictures stay the same.", atol=1e-4)
        columns = type(pair[1]) is torch.Tensor and pair[1].dim() != 1
        looks = "the heights have another shape here; the script's data are (N,)" if columns else None
        expect_close(pair[1], heights, because=said + "the heights stay the same, (N,).", looks_like=looks)


@check(
    "Optimizer, learning rate, batches and epochs are the same",
    points=3,
    why="Other settings can make a symptom milder, or hide it. The bugs stay.",
)
def test_settings(sandbox):
    images, heights = _pictures(139, 21)
    found = sandbox.run(probes.settings, images, heights)
    expect(bool(found["options"]), expected="optimizer steps in fit", actual="none", because=f"{REPAIR}fit trains.")
    wanted = {"lr": 0.003, "eps": 1e-8, "weight_decay": 0}
    for step in found["options"]:
        expect_equal(step["kind"], "Adam", because=f"{REPAIR}the optimizer stays Adam.", looks_like="another optimizer")
        for name, value in wanted.items():
            because = f"{REPAIR}the optimizer keeps its {name}, from first to last."
            expect_close(step["options"][name], value, because=because, looks_like=f"another {name}", atol=0)
        expect_equal(list(step["options"]["betas"]), [0.9, 0.999], because=f"{REPAIR}the optimizer keeps its betas.")
        for name in ("amsgrad", "maximize"):
            expect_equal(step["options"][name], False, because=f"{REPAIR}the optimizer keeps its options.")
        expect_equal(step["held"], 6, because=f"{REPAIR}the optimizer holds all six parameters.")
    sizes = [len(m) for m in found["marks"]]
    epochs = len(sizes) // 5
    looks = "one picture at a time: the bugs are hidden, not mended" if sizes and max(sizes) == 1 else None
    if epochs != 8 and sizes == [32, 32, 32, 32, 11] * epochs:
        looks = f"the number of epochs was changed: {epochs} instead of 8"
    because = f"{REPAIR}139 pictures make 5 batches; 8 epochs make 40 steps."
    expect_equal(found["steps"], 40, because=because, looks_like=looks)
    _expect_losses(found["losses"], 8)
    because = f"{REPAIR}the network is asked for 32 pictures at once, at last for 11."
    expect_equal(sizes, [32, 32, 32, 32, 11] * 8, because=because, looks_like=looks)
    marks = images.flatten(1).double().sum(1)
    seen = torch.cat(found["marks"]).reshape(8, 139)
    orders = (seen[:, :, None] - marks).abs().argmin(2).tolist()
    expect(
        all(sorted(order) == list(range(139)) for order in orders),
        expected="each picture once in each epoch",
        actual=f"{len(set(orders[0]))} different pictures in the first",
        because=f"{REPAIR}fit goes through all pictures.",
    )
    expect(
        len({tuple(order) for order in orders}) == 8 and orders[0] != sorted(orders[0]),
        expected="another order of the pictures in each epoch",
        actual="an order twice, or none",
        because=f"{REPAIR}fit shuffles.",
    )
    because = f"{REPAIR}fit calls train_step for each batch."
    expect_equal([n for n, _ in found["reported"]], [32, 32, 32, 32, 11] * 8, because=because)
    for epoch, loss in enumerate(found["losses"]):
        parts = found["reported"][5 * epoch : 5 * epoch + 5]
        mean = sum(n * expect_number(part, because="train_step returns a float.") for n, part in parts) / 139
        because = f"{REPAIR}the losses of the batches, weighted by their sizes: the mean loss of a picture."
        expect_close(loss, mean, because=because, rtol=1e-5)


@check(
    "One number for each picture, also for a batch of one",
    points=4,
    why="The last batch of an epoch may hold a single picture; squeeze() without an axis takes the batch axis, too.",
)
def test_shapes(sandbox):
    counts = [5, 2, 1]
    for n, shape in zip(counts, sandbox.run(probes.shapes, counts), strict=True):
        looks = None
        if n == 1 and shape == []:
            looks = "squeeze() without an axis: for a batch of one it removes the batch axis as well"
        expect(
            shape in ([n, 1], [n]),
            expected=f"shape ({n}, 1) or ({n},) for {n} picture{'s' * (n > 1)}",
            actual=f"shape {tuple(shape)}",
            because="the answers of several batches are joined along the batch axis, which therefore has to be there.",
            looks_like=looks,
        )


# --- the bugs ----------------------------------------------------------------------------------------------


@check(
    "A picture's number depends on this picture alone",
    points=30,
    why="d out[i] / d x[j] has to be 0: the sharpest test there is for mixed-up axes, and it needs no reference.",
    after=["test_shapes"],
)
def test_isolation(sandbox):
    for n, seed in ((2, 31), (5, 32), (8, 33)):
        images = _pictures(n, seed)[0]
        orders = [torch.arange(n).flip(0), torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
        found = sandbox.run(probes.isolation, images, orders, seed=seed)
        sizes = found["sizes"]
        foreign = sizes * (1 - torch.eye(n))
        looks = None
        if bool((foreign > 0).any()):
            rows = (torch.arange(4)[:, None] * n + torch.arange(n)).flatten()  # where (strip, picture) lies in memory
            mixed = torch.zeros(n, n)
            for row, cells in enumerate(rows.sort().indices.reshape(n, 4) % n):
                mixed[row, cells] = 1
            if torch.equal((sizes > 0).float(), mixed):
                looks = (
                    "view (or reshape) on (strips, N, width), with or without contiguous() in front: each row gets the "
                    "strips of neighbours in memory"
                )
            i, j = (int(k) for k in foreign.nonzero()[0])
            fail(
                expected="a gradient of 0 for every other picture of the batch",
                actual=f"in a batch of {n}: |d out[{i}] / d x[{j}]| = {sizes[i, j]:.3g}",
                because="each picture is a question of its own; the batch is only for speed.",
                looks_like=looks,
            )
        deaf = (sizes.diagonal() == 0).nonzero().flatten().tolist()
        expect(
            not deaf,
            expected="each answer to change with its own picture",
            actual=f"in a batch of {n}: |d out[i] / d x[i]| = 0 for i in {deaf}",
            because="an answer that depends on no picture isn't mixed, but it is no answer either.",
        )
        because = "a shuffled batch gives the same answers, shuffled alike."
        for order, other in zip(orders, found["other"], strict=True):
            expect_close(other, found["answers"][order], because=because, rtol=1e-3, atol=1e-5)
        because = f"a picture gets the same answer alone as in a batch of {n}."
        expect_close(found["answers"], found["singles"], because=because, rtol=1e-3, atol=1e-5)


def _mean_of_means(values, size):
    return torch.stack([part.mean() for part in values.split(size)]).mean().item()


ALL_PAIRS = "(N, 1) against (N,): broadcasting makes (N, N), every guess against every height"


@check(
    "train_step returns the mean of N squares",
    points=20,
    why="What the network learns is what this number says, and nothing else.",
    after=["test_shapes"],
)
def test_loss(sandbox):
    cases = [(_pictures(9, 41)[0], None), _pictures(9, 42), _pictures(2, 43), _pictures(1, 44)]
    for (_, heights), found in zip(cases, sandbox.run(probes.steps, cases), strict=True):
        guesses = found["answers"].double()
        said = f"{len(guesses)} pictures: "
        if heights is None:
            heights, said = guesses, "a network whose 9 guesses are exactly right: "
        heights = heights.double()
        right = ((guesses - heights) ** 2).mean().item()
        pairs = (guesses[:, None] - heights[None]) ** 2
        wrong = {
            ALL_PAIRS: pairs.mean().item(),
            "the sum of N squares instead of their mean": right * len(guesses),
            "the sum over all pairs, divided by N": pairs.sum().item() / len(guesses),
            "the mean of the distances, not of the squares": (guesses - heights).abs().mean().item(),
        }
        because = f"{said}the mean squared error is the mean of N squares, (guess i - height i)²."
        loss = expect_number(found["loss"], because=f"{said}train_step returns a float.", name="the loss")
        expect_close(loss, right, because=because, looks_like=misconception(loss, right, wrong), rtol=1e-4, atol=1e-6)


@check(
    "mean_error returns the mean of N distances, whatever the batch size",
    points=20,
    why="A wrong measurement misjudges every network: a perfect one may be called a bad one.",
    after=["test_shapes"],
)
def test_error(sandbox):
    first = _pictures(7, 51)
    cases = [(first[0], None, 3), (*first, 3), (*first, 100), (*_pictures(51, 52), None), (*_pictures(1, 53), None)]
    found = sandbox.run(probes.errors, cases)
    for (_, heights, size), row in zip(cases, found, strict=True):
        guesses = row["answers"].double()
        n = len(guesses)
        said = f"{n} picture{'s' * (n > 1)}, " + (f"batch_size={size}: " if size else "the default batch size: ")
        if heights is None:
            heights, said = guesses, f"a network whose {n} guesses are exactly right: "
        heights = heights.double()
        if "raised" in row["got"]:
            joined = "zero-dimensional" in row["got"]["message"]
            fail(
                expected="a mean error",
                actual=f"{row['got']['raised']}: {row['got']['message']}",
                because=f"{said}the last batch may hold one picture.",
                looks_like="squeeze() without an axis removes the batch axis of a batch of one" if joined else None,
            )
        error = expect_number(row["got"]["value"], because=f"{said}mean_error returns a float.", name="the error")
        right = (guesses - heights).abs().mean().item()
        pairs = (guesses[:, None] - heights[None]).abs()
        wrong = {
            ALL_PAIRS: pairs.mean().item(),
            "the root of the mean square instead of the mean distance": ((guesses - heights) ** 2).mean().sqrt().item(),
            "the mean of the squares": ((guesses - heights) ** 2).mean().item(),
            "distances of both signs cancel: abs is missing": (guesses - heights).mean().item(),
            "the mean of the batches' means: a picture in a small last batch counts more": _mean_of_means(
                (guesses - heights).abs(), size or 50
            ),
        }
        because = f"{said}the mean error is the mean of N distances, |guess i - height i|."
        expect_close(error, right, because=because, looks_like=misconception(error, right, wrong), rtol=1e-4, atol=1e-6)
        expect(
            not any(row["graphs"]),
            expected="no graph while measuring",
            actual="gradients are recorded",
            because=f"{REPAIR}no_grad stays.",
        )
        sizes = [min(size or 50, n - start) for start in range(0, n, size or 50)]
        expect_equal(row["sizes"], sizes, because=f"{REPAIR}{said}so many pictures are looked at together, at most.")


# --- the whole ---------------------------------------------------------------------------------------------


def _answers(state, images, order=(0, 1, 2, 3), axis=0):
    """The network for one picture after the other: strip by strip, in their order."""
    rows = []
    for image in images:
        parts = image[0].split(4, dim=axis)
        strips = [F.linear(parts[i].flatten(), state["read.weight"], state["read.bias"]).relu() for i in order]
        hidden = F.linear(torch.cat(strips), state["head.0.weight"], state["head.0.bias"]).relu()
        rows.append(F.linear(hidden, state["head.2.weight"], state["head.2.bias"]))
    return torch.cat(rows)


def _same(a, b):
    return type(a) is torch.Tensor and a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-5)


@check(
    "For a single picture the network says what it always said",
    points=5,
    why="A network that says something else can be trained again, but the weights that exist no longer fit.",
    after=["test_isolation", "test_architecture"],
)
def test_same_network(sandbox):
    images = _pictures(4, 61)[0]
    found = sandbox.run(probes.answers, images)
    right = _answers(found["state"], images)
    swapped = dict(found["state"])
    swapped["head.0.weight"] = swapped["head.0.weight"].reshape(32, 16, 4).mT.reshape(32, 64)
    looks = None
    if torch.allclose(_answers(swapped, images), found["singles"], rtol=1e-3, atol=1e-5):
        looks = "the features are in another order: width before strips; permute(1, 2, 0) instead of (1, 0, 2)"
    for order in itertools.permutations(range(4)):
        if _same(_answers(found["state"], images, order), found["singles"]) and not _same(found["singles"], right):
            looks = "the strips are in another order: " + ", ".join(str(i + 1) for i in order)
    if _same(_answers(found["state"], images, axis=1), found["singles"]):
        looks = "the pictures are cut across: strips lie side by side, instead of one below the other"
    because = f"{REPAIR}the head gets the 16 numbers of the first strip, then those of the second, and so on."
    expect_close(found["singles"], right, because=because, looks_like=looks, rtol=1e-3, atol=1e-5)


@check(
    "Each update goes against the gradient of that loss",
    points=3,
    why="A number that is right while something else is minimised helps nobody.",
    after=[*PLANTED, "test_same_network"],
)
def test_update(sandbox):
    cases = [_pictures(6, 71), _pictures(1, 72)]
    for (images, heights), found in zip(cases, sandbox.run(probes.steps, cases, times=2), strict=True):
        state, speed = found["before"], {name: torch.zeros_like(t) for name, t in found["before"].items()}
        expect_equal(len(found["gradients"]), 2, because="one update for each of two calls.")
        for gradients in found["gradients"]:
            state = {name: t.clone().requires_grad_(True) for name, t in state.items()}
            ((_answers(state, images) - heights) ** 2).mean().backward()
            for name, t in state.items():
                because = f"{REPAIR}the gradient of the mean squared error at {name}, without any older one."
                expect_close(gradients[name], t.grad, because=because, rtol=1e-3, atol=1e-5)
                speed[name] = 0.9 * speed[name] + t.grad
                state[name] = t.detach() - 0.1 * speed[name]
        for name, t in state.items():
            because = f"{REPAIR}two steps of the optimizer that was given, with its momentum, change {name}."
            expect_close(found["after"][name], t, because=because, rtol=1e-3, atol=1e-5)


@check(
    "The repaired script learns",
    points=7,
    why="The proof: the same network, which looked too small, is large enough.",
    after=[*PLANTED, "test_settings", "test_update"],
)
def test_learns(sandbox):
    images, heights = _pictures(1500, 81)
    unseen, truth = _pictures(600, 82)
    found = sandbox.run(probes.learnt, images, heights, unseen)
    expect_shape(found["answers"], (600,), because="one number for each picture.")
    error = (found["answers"] - truth).abs().mean().item()
    sandbox.measure("mean_error", error)
    said = "eight epochs of 1,500 pictures, as in the script; "
    loss = expect_number(found["losses"][-1], because="the losses are floats.")
    sandbox.measure("loss", loss)
    expect(math.isfinite(loss), expected="a finite loss", actual=f"{loss}", because="nothing here can overflow.")
    because = f"{said}the last epoch's loss of the repaired script is about 0.0025; to say 0.5 always costs 0.083."
    expect_at_most(loss, 0.012, because=because)
    because = f"{said}the mean error for 600 new pictures is about 0.045; that of saying 0.5 is 0.25."
    expect_at_most(error, 0.1, because=because)

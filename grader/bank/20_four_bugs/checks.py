"""Checks for the script with four bugs. First what a repair leaves alone, then each bug by itself, then the whole.

Oracles: the script's data drawn anew, SGD steps computed one by one, the network's layers as functions.
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
CLASSES = 10
REPAIR = "a repair, not a rewrite: "
PLANTED = ["test_fresh_gradients", "test_sure_and_right", "test_evaluation_mode", "test_axes"]
HUES = torch.tensor([[1.0, 0.2, 0.2], [0.2, 1.0, 0.2], [0.2, 0.2, 1.0], [1.0, 1.0, 0.2], [0.2, 1.0, 1.0]])


def _pictures(count, seed):
    """The script's images, one after the other."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=g)
    images = 0.3 * torch.rand(count, 16, 16, 3, generator=g)
    middles = torch.randint(5, 11, (count, 2, 1, 1), generator=g).flatten(1).tolist()
    radii = torch.randint(3, 5, (count, 1, 1), generator=g).flatten().tolist()
    places = torch.arange(16)
    for image, label, (row, column), radius in zip(images, labels.tolist(), middles, radii, strict=True):
        down, across = (places[:, None] - row).abs(), (places[None] - column).abs()
        if label % 2:
            inside = ((down == 0) & (across <= radius)) | ((across == 0) & (down <= radius))
        else:
            inside = down**2 + across**2 <= radius**2
        image[inside] += 0.7 * HUES[label // 2]
    return images, labels


# --- what a repair leaves alone ----------------------------------------------------------------------------

TENSORS = {
    "conv1.weight": [16, 3, 3, 3],
    "conv1.bias": [16],
    "conv2.weight": [32, 16, 3, 3],
    "conv2.bias": [32],
    "fc.weight": [10, 512],
    "fc.bias": [10],
}
for _name, _channels in (("bn1", 16), ("bn2", 32)):
    TENSORS |= {f"{_name}.{part}": [_channels] for part in ("weight", "bias", "running_mean", "running_var")}
    TENSORS[f"{_name}.num_batches_tracked"] = []


@check(
    "The network keeps its layers",
    points=5,
    why="A new architecture may hide a bug, but it doesn't find it; and saved weights no longer fit.",
)
def test_architecture(sandbox):
    found = sandbox.run(probes.network)
    for name in sorted(TENSORS.keys() | found["tensors"].keys()):
        wanted, got = TENSORS.get(name), found["tensors"].get(name)
        expect(
            wanted == got,
            expected=f"{name} of shape {tuple(wanted)}" if wanted is not None else f"no {name}",
            actual="no such tensor" if got is None else f"shape {tuple(got)}",
            because=f"{REPAIR}all parameters and buffers keep their names and shapes.",
            looks_like="a rewritten network",
        )
    layers = ["BatchNorm2d", "BatchNorm2d", "Conv2d", "Conv2d", "Dropout(p=0.5)", "Linear"]
    expect_equal(
        found["layers"],
        layers,
        because=f"{REPAIR}dropout with p=0.5 stays, and nothing is added.",
        looks_like="a rewritten network",
    )
    expect(
        found["trainable"] and found["training"],
        expected="a new network in training mode, all of its parameters trainable",
        actual=f"training={found['training']}, all trainable: {found['trainable']}",
        because=f"{REPAIR}a network that is frozen, or in evaluation mode from the start, doesn't learn.",
    )
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
    points=5,
    why="Easier data make any script look healthy.",
)
def test_data(sandbox):
    wanted = [(1, 3), (64, 1), (37, 12)]
    for (count, seed), found in zip(wanted, sandbox.run(probes.pictures, wanted), strict=True):
        images, labels = _pictures(count, seed)
        said = f"make_images({count}, seed={seed}): {REPAIR}"
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            fail(expected="(images, labels)", actual=describe(found), because=said + "it returns what it returned.")
        first = expect_tensor(found[0], because=said + "images are a tensor.")
        looks = None
        if first.shape == (count, 3, 16, 16):
            looks = "the axes were moved here; images are delivered with the colours last, and Net takes them so"
        expect_shape(first, (count, 16, 16, 3), because=said + "the images keep their shape.", looks_like=looks)
        expect_close(first, images, because=said + "the images stay the same, number for number.", atol=1e-6)
        expect_equal(found[1], labels, because=said + "the labels stay the same.")


def _small_run(sandbox, options, seed=0):
    train, test = _pictures(75, 21), _pictures(60, 22)
    found = sandbox.run(probes.run_of_fit, train, test, options, seed=seed)
    return train, test, found


@check(
    "Optimizer, learning rate, batches and epochs are the same",
    points=5,
    why="Other settings can make a symptom milder. The bugs stay.",
)
def test_settings(sandbox):
    train, test, found = _small_run(sandbox, {})
    steps = found["steps"]
    expect(
        bool(steps),
        expected="optimizer steps inside fit",
        actual="none",
        because=f"{REPAIR}fit trains a network with torch.optim.SGD.",
    )
    for step in steps:
        expect_equal(step["kind"], "SGD", because=f"{REPAIR}the optimizer stays SGD.", looks_like="another optimizer")
        lr = step["options"]["lr"]
        looks = None
        if lr < 0.02:
            looks = "the learning rate was lowered: the symptom gets milder, the bug stays"
        elif lr > 0.02:
            looks = "the learning rate was raised"
        expect_close(lr, 0.02, because=f"{REPAIR}the learning rate stays 0.02, from first to last.", looks_like=looks)
        for option in ("momentum", "weight_decay", "dampening", "nesterov", "maximize"):
            value = step["options"][option]
            expect(
                not value,
                expected=f"{option} off, as it was",
                actual=f"{option}={value}",
                because=f"{REPAIR}the optimizer keeps its options.",
            )
        expect_equal(step["held"], 10, because=f"{REPAIR}the optimizer holds all ten parameters of the network.")
    _expect_no_graph(test[0], found)
    for passes in _epochs(found):
        sizes = [len(p["marks"]) for p in passes]
        expect_equal(sizes, [32, 32, 11], because=f"{REPAIR}75 images make batches of 32, 32 and 11 in each epoch.")
    expect_equal(found["count"], 18, because=f"{REPAIR}6 epochs of 3 batches, one step for each.")
    _expect_order(train[0], found)
    _expect_tests(test[0], found)


def _epochs(found):
    """The passes of training, by epoch: those of the same epoch follow each other, the test comes between."""
    epochs, before = [], None
    for p in found["passes"]:
        if p["grad"]:
            if before is None:
                epochs.append([])
            epochs[-1].append(p)
        before = p if p["grad"] else None
    return epochs


def _expect_no_graph(images, found):
    """No test image passes while gradients are recorded, without a backward pass that would use them."""
    marks = images.flatten(1).double().sum(1)
    idle = [p for p in found["passes"] if p["grad"] and "loss" not in p]
    measured = [p for p in idle if bool(((p["marks"][:, None] - marks).abs().amin(1) < 1e-9).all())]
    expect(
        not measured,
        expected="no graph while the test images are evaluated",
        actual="gradients are recorded",
        because=f"{REPAIR}no_grad stays on evaluate; eval() and no_grad() are about different things.",
        looks_like="no_grad is gone from evaluate",
    )


def _expect_order(images, found):
    """Each epoch hands out each training image once, in an order of its own."""
    marks = images.flatten(1).double().sum(1)
    orders = []
    for passes in _epochs(found):
        seen = torch.cat([p["marks"] for p in passes])
        distance = (seen[:, None] - marks[None]).abs()
        order = distance.argmin(1)
        orders.append(order.tolist())
        expect(
            bool((distance.min(1).values < 1e-9).all()) and sorted(orders[-1]) == list(range(len(marks))),
            expected="every training image once in each epoch",
            actual=f"{len(set(orders[-1]))} different images of {len(marks)} in one epoch",
            because=f"{REPAIR}the network is trained on the whole training set, and on nothing else.",
        )
    expect(
        len({tuple(o) for o in orders}) == len(orders) and orders[0] != sorted(orders[0]),
        expected="the training images in a new order in each epoch",
        actual="the same order again",
        because=f"{REPAIR}the training set stays shuffled.",
        looks_like="shuffle=True is gone",
    )


def _expect_tests(images, found):
    marks = images.flatten(1).double().sum(1)
    seen = [p["marks"] for p in found["passes"] if not p["grad"]]
    count = sum(len(s) for s in seen)
    same = count == 6 * len(marks) and torch.equal(
        torch.cat(seen).sort().values, marks.repeat_interleave(6).sort().values
    )
    expect(
        same,
        expected=f"the {len(marks)} test images once after each of the 6 epochs, without a graph",
        actual=f"{count} images evaluated without a graph",
        because=f"{REPAIR}the accuracy is measured on the whole test set, after every epoch, under no_grad.",
    )


# --- the bugs ----------------------------------------------------------------------------------------------


def _draw_batches(seed, sizes, features=6, classes=4):
    g = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(n, features, generator=g, dtype=F64), torch.randint(classes, (n,), generator=g)) for n in sizes
    ]


def _sgd(weight, bias, epochs, lr, clear):
    """The weights after each step. `clear`: "batch", "epoch", "never", or "step" (between backward and step)."""
    w, b = weight.clone(), bias.clone()
    total_w, total_b, trace = torch.zeros_like(w), torch.zeros_like(b), []
    for batches in epochs:
        if clear == "epoch":
            total_w, total_b = torch.zeros_like(w), torch.zeros_like(b)
        for x, y in batches:
            error = (F.softmax(x @ w.T + b, 1) - F.one_hot(y, len(b))) / len(y)
            keep = 0.0 if clear == "batch" else 1.0
            total_w, total_b = keep * total_w + error.T @ x, keep * total_b + error.sum(0)
            if clear == "step":
                total_w, total_b = torch.zeros_like(w), torch.zeros_like(b)
            w, b = w - lr * total_w, b - lr * total_b
            trace.append(w)
    return trace


UPDATES = {
    "never": "the gradients of earlier batches are still in .grad: backward() adds, and nothing clears them",
    "epoch": "the gradients are cleared once in an epoch; every batch needs it",
    "step": "the gradients are cleared between backward and step: there is nothing left to step with",
}


@check(
    "Each step depends on its own batch alone",
    points=15,
    why="The first thing that a reader of a training loop looks for.",
)
def test_fresh_gradients(sandbox):
    epochs = [_draw_batches(1, (5, 4, 2)), _draw_batches(2, (3, 3))]
    g = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(4, 6, generator=g, dtype=F64), torch.randn(4, generator=g, dtype=F64)
    found = sandbox.run(probes.updates, weight, bias, epochs, 0.3)
    trace, right = found["weights"], _sgd(weight, bias, epochs, 0.3, "batch")
    moved = len(trace) == len(right)
    looks = None
    for clear, text in UPDATES.items():
        guess = _sgd(weight, bias, epochs, 0.3, clear)
        if moved and all(torch.allclose(a, b, rtol=1e-8) for a, b in zip(trace, guess, strict=True)):
            looks = text
            break
    expect_equal(len(trace), len(right), because="two epochs of 3 and 2 batches make 5 steps, one for each batch.")
    for number, (now, wanted) in enumerate(zip(trace, right, strict=True), 1):
        because = f"step {number} of 5 goes against the gradient of batch {number} alone, with nothing of earlier ones."
        expect_close(now, wanted, because=because, looks_like=looks, rtol=1e-8, atol=1e-10)
    expect_close(found["last"], right[-1], because="nothing changes the weights but the optimizer's steps.", rtol=1e-8)


def _bias(margin, label, classes=CLASSES):
    bias = torch.zeros(classes)
    bias[label] = margin
    return bias


@check(
    "A network that is sure and right has a loss of nearly 0",
    points=15,
    why="A loss with a floor is a bug with a fingerprint: 1.4612 for ten classes.",
    after=["test_architecture"],
)
def test_sure_and_right(sandbox):
    cases = [(20.0, 3), (20.0, 9), (5.0, 0), (1.0, 4), (-6.0, 2), (0.0, 7)]
    images = _pictures(3, 31)[0]
    found = sandbox.run(probes.decided, images, [_bias(m, k) for m, k in cases])
    for (margin, label), outputs in zip(cases, found, strict=True):
        expect_shape(outputs, (3, CLASSES), because="one row of ten numbers for each image goes into the loss.")
        loss = F.cross_entropy(outputs.to(F64), torch.full((3,), label)).item()
        right = math.log1p((CLASSES - 1) * math.exp(-margin))
        looks = None
        sums = outputs.sum(1)
        if bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones(3), atol=1e-4):
            looks = "softmax before cross-entropy, which takes the softmax itself: the loss can't fall below 1.4612"
        elif bool(((outputs >= 0) & (outputs <= 1)).all()):
            looks = "a squashing function, such as sigmoid, on the logits; cross-entropy takes any numbers"
        elif bool((outputs >= 0).all()) and margin < 0:
            looks = "negative logits are cut off"
        ahead = f"{margin:g} ahead of" if margin > 0 else f"{-margin:g} behind" if margin < 0 else "level with"
        because = (
            f"the right class' score is {ahead} the nine others, whatever the picture; cross-entropy of what Net "
            f"returns is ln(1 + 9·exp({-margin:g}))."
        )
        if math.isnan(loss) or abs(loss - right) > 1e-3 + 1e-3 * right:
            fail(expected=f"a loss of {right:.4f}", actual=f"{loss:.4f}", because=because, looks_like=looks)


def _evaluation(seed=5, sizes=(9, 9, 4)):
    g = torch.Generator().manual_seed(seed)
    state = {
        "norm.weight": 1 + 0.2 * torch.randn(8, generator=g),
        "norm.bias": torch.randn(8, generator=g),
        "norm.running_mean": torch.randn(8, generator=g),
        "norm.running_var": 0.5 + torch.rand(8, generator=g),
        "norm.num_batches_tracked": torch.tensor(7),
        "linear.weight": torch.randn(5, 8, generator=g),
        "linear.bias": torch.randn(5, generator=g),
    }
    batches = [
        (2 * torch.randn(n, 8, generator=g) + 1, torch.randint(5, (n,), generator=g)) for n in sizes
    ]
    # about half of the targets are what the model really says, so that the accuracy is no chance level
    for x, y in batches:
        said = _scores(state, x).argmax(1)
        y[::2] = said[::2]
    return state, batches


def _scores(state, x):
    scaled = (x - state["norm.running_mean"]) / (state["norm.running_var"] + 1e-5).sqrt()
    return (scaled * state["norm.weight"] + state["norm.bias"]) @ state["linear.weight"].T + state["linear.bias"]


@check(
    "evaluate measures the network as it would be put to use",
    points=15,
    why="Otherwise the number says little about the network that will be used.",
)
def test_evaluation_mode(sandbox):
    state, batches = _evaluation()
    found = sandbox.run(probes.evaluations, state, batches, 3)
    norm, dropout = ({s[i] for s in found["seen"]} for i in (0, 1))
    looks = None
    if norm == dropout == {True}:
        looks = "evaluate runs in training mode: dropout drops, batch norm uses the batch; no_grad doesn't change that"
    elif norm == {True} or dropout == {True}:
        looks = "only some layers were switched to evaluation; model.eval() reaches all of them"
    changed = [n for n in state if not torch.equal(found["state"][n], state[n])]
    expect(
        not changed,
        expected="a model whose running statistics are the same after evaluate",
        actual=f"{changed[0]} has changed" if changed else "",
        because="measuring must not train: batch norm in training mode takes up the test images.",
        looks_like=looks,
    )
    answers = [expect_number(a, because="the share is a plain number.") for a in found["answers"]]
    expect(
        len(set(answers)) == 1,
        expected="the same accuracy each time the same model is evaluated",
        actual=", ".join(f"{a:.4f}" for a in answers),
        because="nothing in an evaluation is left to chance: all units take part.",
        looks_like=looks,
    )
    expect(
        norm == dropout == {False},
        expected="model.eval() before the first image is asked for",
        actual=f"training: batch norm {sorted(norm)}, dropout {sorted(dropout)}",
        because="the network is measured as it would be put to use.",
        looks_like=looks,
    )


@check(
    "The network sees the picture that it was given",
    points=15,
    why="Nobody looks at the tensor that enters the network, as long as something learns.",
    after=["test_architecture"],
)
def test_axes(sandbox):
    g = torch.Generator().manual_seed(41)
    drawn = torch.rand(3, 16, 16, 3, generator=g)
    red = torch.zeros(2, 16, 16, 3)
    red[..., 0] = 1.0
    dot = torch.zeros(1, 16, 16, 3)
    dot[0, 2, 13, 1] = 1.0
    for said, images in (("an image that is only red", red), ("one green dot", dot), ("random images", drawn)):
        found = sandbox.run(probes.entering, images)
        caught, right = found["caught"], images.permute(0, 3, 1, 2)
        n = len(images)
        expect_shape(found["outputs"], (n, CLASSES), because=f"{n} images in, {n} rows of scores out.")
        expect_tensor(caught, because=f"{REPAIR}Net begins with its convolution conv1.")
        looks, flat = None, images.reshape(n, 3, 16, 16)
        if torch.equal(right, flat):
            continue
        if caught.shape == right.shape:
            guesses = {
                "view (or reshape) instead of permute: it cuts the numbers anew and moves none, with or without "
                "contiguous() in front": flat,
                "height and width have changed places: transpose(1, 3) exchanges only two axes": images.transpose(1, 3),
                "the order of the colours is reversed": right.flip(1),
            }
            looks = next((t for t, w in guesses.items() if _same(caught, w) and not _same(w, right)), None)
        expect_shape(caught, (n, 3, 16, 16), because="convolutions want (N, channels, height, width).")
        because = f"({said}) channel c at row h, column w is images[n, h, w, c]: the axes move, the picture stays."
        expect_close(caught, right, because=because, looks_like=looks, atol=1e-6)


def _same(a, b):
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-6)


# --- the whole ---------------------------------------------------------------------------------------------


@check(
    "Every epoch of fit trains as the first one does",
    points=5,
    why="A repair may break something else, and only from the second epoch on.",
    after=["test_evaluation_mode", "test_settings"],
)
def test_training_mode(sandbox):
    _, _, found = _small_run(sandbox, {"epochs": 3})
    for number, passes in enumerate(_epochs(found), 1):
        modes = sorted({p["mode"] for p in passes})
        expect(
            modes == ["train"],
            expected=f"training mode in every batch of epoch {number}",
            actual=f"{' and '.join(modes)} mode",
            because="dropout and the batches' own statistics are part of training, in every epoch.",
            looks_like="evaluate leaves the model in evaluation mode, and nothing switches it back"
            if number > 1
            else None,
        )
    modes = sorted({p["mode"] for p in found["passes"] if not p["grad"]})
    expect_equal(modes, ["eval"], because="inside fit the test set is measured in evaluation mode, too.")


@check(
    "The losses and the accuracy that are reported are the true ones",
    points=5,
    why="The numbers were right about what they measured. They have to stay so.",
    after=PLANTED,
)
def test_reports(sandbox):
    epochs = [_draw_batches(51, (6, 6, 1)), _draw_batches(52, (7,))]
    g = torch.Generator().manual_seed(53)
    weight, bias = 2 * torch.randn(4, 6, generator=g, dtype=F64), torch.randn(4, generator=g, dtype=F64)
    lr = 0.5
    found = sandbox.run(probes.updates, weight, bias, epochs, lr, momentum=0.8)
    w, b = weight, bias
    speed_w, speed_b = torch.zeros_like(w), torch.zeros_like(b)
    for number, (batches, returned) in enumerate(zip(epochs, found["returned"], strict=True), 1):
        losses = []
        for x, y in batches:
            scores = x @ w.T + b
            losses += F.cross_entropy(scores, y, reduction="none").tolist()
            error = (F.softmax(scores, 1) - F.one_hot(y, 4)) / len(y)
            speed_w, speed_b = 0.8 * speed_w + error.T @ x, 0.8 * speed_b + error.sum(0)
            w, b = w - lr * speed_w, b - lr * speed_b
        means = [sum(part) / len(part) for part in _parts(losses, [len(y) for _, y in batches])]
        looks = None
        if isinstance(returned, float) and abs(returned - sum(means) / len(means)) < 1e-9 and len(means) > 1:
            looks = "the mean of the batches' means: the image in the last batch counts six times"
        because = f"train_one_epoch returns the mean loss of an example, a float: epoch {number}."
        expect_close(returned, sum(losses) / len(losses), because=because, looks_like=looks, rtol=1e-6)
    because = "one epoch is one pass over the batches; a second one costs as much as the first."
    expect_equal(found["begun"], [1, 1], because=because)
    for sizes in ((9, 9, 4), (1,)):
        state, batches = _evaluation(54 + len(sizes), sizes)
        answers = sandbox.run(probes.evaluations, state, batches, 1)
        hits = [(_scores(state, x).argmax(1) == y).tolist() for x, y in batches]
        flat = [hit for part in hits for hit in part]
        because = f"evaluate: {sum(flat)} of {len(flat)} images, in batches of {sizes}, are right."
        expect_close(answers["answers"][0], sum(flat) / len(flat), because=because, rtol=1e-6)
        expect(
            not any(s[2] for s in answers["seen"]),
            expected="no graph while evaluating",
            actual="gradients are recorded",
            because=f"{REPAIR}no_grad stays; nothing is trained here.",
        )
        expect_equal(answers["begun"], 1, because="one evaluation is one pass over the batches.")


def _parts(values, sizes):
    parts, at = [], 0
    for size in sizes:
        parts.append(values[at : at + size])
        at += size
    return parts


@check(
    "fit returns the network it trained, and what it measured",
    points=5,
    why="A repaired part is worth nothing when the whole uses another one.",
    after=[*PLANTED, "test_training_mode"],
)
def test_fit(sandbox):
    train, test, found = _small_run(sandbox, {"epochs": 2}, seed=4)
    expect(found["is_net"], expected="a Net", actual="something else", because="fit returns the network first.")
    epochs, history = _epochs(found), found["history"]
    expect_equal(len(history), 2, because="one (loss, accuracy) for each of 2 epochs.")
    marks = train[0].flatten(1).double().sum(1)
    for passes, row in zip(epochs, history, strict=True):
        losses = []
        for p in passes:
            labels = train[1][(p["marks"][:, None] - marks[None]).abs().argmin(1)]
            loss = F.cross_entropy(p["outputs"], labels).item()
            because = f"{REPAIR}the loss stays plain cross-entropy of the network's outputs, its mean over the batch."
            expect_close(p.get("loss"), loss, because=because, looks_like="another loss", rtol=1e-4)
            losses += [loss] * len(labels)
        expect_close(
            row[0], sum(losses) / len(losses), because="the history's first number is the epoch's loss.", rtol=1e-4
        )
    scores = found["answers"]
    accuracy = (scores.argmax(1) == test[1]).double().mean().item()
    because = "the last accuracy in the history is that of the network that is returned, on the test set."
    expect_close(history[-1][1], accuracy, because=because, rtol=1e-6)


@check(
    "In and out, the network computes what its layers say",
    points=5,
    why="The last look: nothing was lost, or added, between the layers.",
    after=PLANTED,
)
def test_outputs(sandbox):
    images = _pictures(6, 61)[0]
    found = sandbox.run(probes.outputs, images, 0.1)
    s = found["state"]
    x = images.permute(0, 3, 1, 2)
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
        x = F.conv2d(x, s[f"{conv}.weight"], s[f"{conv}.bias"], padding=1)
        x = F.batch_norm(x, *(s[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))
        x = F.max_pool2d(x.relu(), 2)
    right = x.flatten(1) @ s["fc.weight"].T + s["fc.bias"]
    for name in ("eval", "single"):
        expect_shape(found[name], (6, CLASSES), because="one row of scores for each image.")
        centred = found[name] - found[name].mean(1, keepdim=True)  # cross-entropy doesn't see a shift of a whole row
        because = f"{REPAIR}conv, norm, ReLU, pooling, twice; then the linear layer"
        because += "." if name == "eval" else ", for a batch of one, too."
        expect_close(centred, right - right.mean(1, keepdim=True), because=because, rtol=1e-3, atol=1e-4)
    first, second = found["train"]
    expect(
        not torch.equal(first, second),
        expected="two different answers to the same batch in training mode",
        actual="twice the same",
        because=f"{REPAIR}in training dropout is at work between the convolutions and the linear layer.",
        looks_like="dropout was taken out of forward",
    )
    for norm in ("bn1", "bn2"):
        name = f"{norm}.running_mean"
        expect(
            not torch.equal(found["afterwards"][name], s[name]),
            expected=f"{name} moved by a pass in training mode",
            actual="unchanged",
            because=f"{REPAIR}batch norm collects its statistics while training.",
        )


@check(
    "The repaired script learns",
    points=5,
    why="The proof: the same settings that looked hopeless are good.",
    after=[*PLANTED, "test_training_mode", "test_settings", "test_fit"],
)
def test_learns(sandbox):
    train, test = _pictures(1000, 71), _pictures(100, 72)
    unseen, labels = _pictures(600, 73)
    found = sandbox.run(probes.learnt, train, test, unseen)
    expect_shape(found["answers"], (600, CLASSES), because="ten scores for each image.")
    accuracy = (found["answers"].argmax(1) == labels).double().mean().item()
    sandbox.measure("accuracy", accuracy)
    loss = found["history"][-1][0]
    sandbox.measure("loss", loss)
    said = "six epochs of 1,000 images, as in the script; "
    expect_at_most(loss, 0.5, because=f"{said}the last epoch's loss of the repaired script is about 0.15.")
    expect_at_least(accuracy, 0.8, because=f"{said}the share of 600 new images that are recognised is about 0.98.")

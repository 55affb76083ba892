"""Checks for the two ConvNetJS networks. The oracles are the same layers written out, slices, and updates by hand."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from functools import partial

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_least,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
    misconception,
    resembles,
)

from . import probes

F64 = torch.float64
TIGHT = {"rtol": 1e-7, "atol": 1e-10}
COUNTS = {"MnistNet": 5_994, "CifarNet": 22_466}
SIZES = {"MnistNet": (1, 24), "CifarNet": (3, 32)}
POOLS = {"MnistNet": (2, 3), "CifarNet": (2, 2, 2)}
SHAPES = {
    "MnistNet": {"conv1": [8, 1, 5, 5], "conv2": [16, 8, 5, 5], "fc": [10, 256]},
    "CifarNet": {"conv1": [16, 3, 5, 5], "conv2": [20, 16, 5, 5], "conv3": [20, 20, 5, 5], "fc": [10, 320]},
}


def _random(seed):
    return torch.Generator().manual_seed(seed)


def _state_shapes(name):
    shapes = {}
    for layer, weight in SHAPES[name].items():
        shapes |= {f"{layer}.weight": weight, f"{layer}.bias": weight[:1]}
    return shapes


# --- the networks --------------------------------------------------------------------------------------

FLAT = {
    ("MnistNet", 400): "the second pooling has stride 2: 5 × 5 positions instead of 4 × 4",
    ("MnistNet", 576): "the second pooling is 2 × 2: 6 × 6 positions instead of 4 × 4",
    ("MnistNet", 1024): "the second pooling is left out, or of another size: 8 × 8 positions instead of 4 × 4",
    ("MnistNet", 64): "convolutions without padding: they take 4 off each side, and 2 × 2 positions are left",
    ("MnistNet", 784): "7 × 7 positions: that is 28 × 28 images with two poolings by 2; this network reads 24 × 24",
    ("CifarNet", 1280): "a pooling is missing: 8 × 8 positions instead of 4 × 4",
    ("CifarNet", 20): "convolutions without padding: one position is left of 32 × 32",
    ("CifarNet", 80): "poolings by 3 or one too many: 2 × 2 positions instead of 4 × 4",
    ("CifarNet", 180): "a pooling by 3: 3 × 3 positions instead of 4 × 4",
}


@check(
    "The layers: 5,994 and 22,466 parameters under the names of the statement",
    points=8,
    why="Counting a network's parameters by hand is the quickest test of whether you have built the one you meant.",
)
def test_layers(sandbox):
    found = sandbox.run(probes.states)
    for name, wanted in ((name, _state_shapes(name)) for name in COUNTS):
        one = found[name]
        expect(
            one["module"],
            expected=f"{name} an nn.Module",
            actual="something else",
            because="train and average move it like any other module.",
        )
        shapes = one["shapes"]
        missing, extra = ([k for k in wanted if k not in shapes], [k for k in shapes if k not in wanted])
        if missing or extra:
            looks = None
            if not extra and all(k.endswith("bias") for k in missing):
                looks = "a layer has no bias: here all of them do"
            elif not extra:
                looks = "a layer in a plain list or dict isn't registered: no optimizer will see it"
            actual = "; ".join(f"{word} {', '.join(n)}" for word, n in (("no", missing), ("also", extra)) if n)
            because = f"{name}: checks load weights of their own by these names, as a checkpoint does."
            said = f"the state_dict of {name} with {', '.join(wanted)}"
            fail(expected=said, actual=actual, because=because, looks_like=looks)
        for key, shape in wanted.items():
            looks = None
            if key == "fc.weight" and len(shapes[key]) == 2:
                looks = FLAT.get((name, shapes[key][1]))
            elif key.startswith("conv") and key.endswith("weight") and shapes[key][:2] == shape[1::-1]:
                looks = "channels in and out are swapped"
            expect(
                shapes[key] == shape,
                expected=f"{name}: {key} of shape {tuple(shape)}",
                actual=f"shape {tuple(shapes[key])}; {one['count']:,} parameters instead of {COUNTS[name]:,}",
                because="kernels 5 × 5 with padding 2 keep the size, poolings divide it, down to 4 × 4 positions.",
                looks_like=looks,
            )
        frozen = sorted(set(wanted) - set(one["parameters"]))
        because = "the optimizer is to move all of them."
        expect(not frozen, expected=f"all of {name} trained", actual=f"frozen: {', '.join(frozen)}", because=because)


def _net(name, state, x, how=""):
    """The network written out. `how` names a mistake to make."""
    layers = list(SHAPES[name])
    for i, (layer, pool) in enumerate(zip(layers, POOLS[name], strict=False)):
        weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
        padded = F.pad(x, [2] * 4, mode=how) if how in ("replicate", "reflect", "circular") else F.pad(x, [2] * 4)
        x = F.conv2d(padded, weight, bias)
        last = i == len(POOLS[name]) - 1
        if not (how == "no relu" or (how == "no last relu" and last) or (how == "no first relu" and i == 0)):
            x = {"tanh": x.tanh, "leaky": lambda x=x: F.leaky_relu(x)}.get(how, x.relu)()
        if how == "average" or (how == "last average" and last):
            x = F.avg_pool2d(x, pool)
        elif how == "adaptive" and last:
            x = F.adaptive_max_pool2d(F.max_pool2d(x, 2) if name == "MnistNet" else x, 4)
        elif how == "overlap" and pool == 3:
            x = F.adaptive_avg_pool2d(F.max_pool2d(x, 3, 2), 4)
        else:
            x = F.max_pool2d(x, pool)
    logits = x.flatten(1) @ state["fc.weight"].T + state["fc.bias"]
    ends = {"softmax": logits.softmax(1), "log-softmax": logits.log_softmax(1), "relu": logits.relu()}
    return ends.get(how, logits)


NET_WRONG = {
    "softmax": "a softmax at the end: cross_entropy and average apply it",
    "log-softmax": "a log-softmax at the end: average takes a softmax of logits",
    "relu": "a ReLU on the logits: they can't be negative",
    "no relu": "the ReLUs are missing: without them only the poolings aren't linear",
    "no first relu": "the first ReLU is missing",
    "no last relu": "the last ReLU is missing",
    "tanh": "tanh instead of ReLU",
    "leaky": "leaky ReLU instead of ReLU",
    "average": "average pooling instead of max pooling",
    "last average": "average pooling at the end instead of max pooling",
    "adaptive": "adaptive pooling instead of the stated one: it gives the right size from other windows",
    "replicate": "padding with the border's pixels instead of zeros",
    "reflect": "padding with mirrored pixels instead of zeros",
    "circular": "padding with the pixels of the opposite side instead of zeros",
}


def _case(name, n, seed, training=False):
    g = _random(seed)
    state = {}
    for key, shape in _state_shapes(name).items():
        scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.5
        state[key] = scale * torch.randn(shape, generator=g, dtype=F64)
    channels, size = SIZES[name]
    x = torch.randn(n, channels, size, size, generator=g, dtype=F64)
    upstream = torch.randn(n, 10, generator=g, dtype=F64)
    return {"net": name, "state": state, "x": x, "training": training, "upstream": upstream}


@check(
    "The logits are what the weights say",
    points=8,
    why="A forgotten ReLU, another pooling: no name and no count shows them, and both nets would still learn.",
    after=["test_layers"],
)
def test_logits(sandbox):
    cases = [_case(*which) for which in (("MnistNet", 3, 1), ("CifarNet", 2, 2))]
    cases += [_case(*which, True) for which in (("MnistNet", 1, 3), ("CifarNet", 1, 4))]
    for case, found in zip(cases, sandbox.run(probes.values, cases), strict=True):
        name, mode = case["net"], "training" if case["training"] else "evaluation"
        right = _net(name, case["state"], case["x"])
        guesses = {text: partial(_net, name, case["state"], case["x"], how) for how, text in NET_WRONG.items()}
        looks = misconception(found["logits"], right, guesses, rtol=1e-6, atol=1e-9)
        because = f"({name}, {mode} mode, {len(right)} images) the statement's layers written out, same weights."
        expect_shape(found["logits"], tuple(right.shape), because=f"({name}) one row of ten logits for each image.")
        expect_close(found["logits"], right, because=because, looks_like=looks, **TIGHT)
        expect_equal(found["x"], case["x"], because=f"({name}) the input stays as it is.", looks_like=None)


@check(
    "Every layer hears from the loss",
    points=4,
    why="A detached layer stays as it was drawn, and those after it learn to live with that: only accuracy suffers.",
    after=["test_logits"],
)
def test_gradients(sandbox):
    cases = [_case("MnistNet", 2, 5, True), _case("CifarNet", 2, 6, True)]
    for case, found in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        leaves = {k: v.clone().requires_grad_(True) for k, v in case["state"].items()}
        x = case["x"].clone().requires_grad_(True)
        named = {**leaves, "x": x}
        out = _net(case["net"], leaves, x)
        right = dict(zip(named, torch.autograd.grad(out, list(named.values()), case["upstream"]), strict=True))
        for key, gradient in right.items():
            looks = "a detach() or no_grad() in forward, behind this layer" if found[key] is None else None
            because = f"({case['net']}) the gradient of {key}, against autograd through the same layers written out."
            expect_close(found[key], gradient, because=because, looks_like=looks, **TIGHT)


# --- the start -----------------------------------------------------------------------------------------

FRESH = 40


def _normal_guess(weights, shape, groups):
    """Which known mistake gives this deviation; `shape` is that of one weight."""
    w = weights.to(F64)
    fan_in, std = math.prod(shape[1:]), float(w.std())
    area = math.prod(shape[2:])
    candidates = {
        "the kernel's area is missing in fan_in: each output adds up channels · height · width products": shape[1]
        ** -0.5,
        "1/fan_in is the variance; the deviation is its square root": 1 / fan_in,
        "2/fan_in, which is Kaiming's start; the demos take 1/fan_in": (2 / fan_in) ** 0.5,
        "fan_out instead of fan_in": (shape[0] * area) ** -0.5,
        "the output channels instead of fan_in": shape[0] ** -0.5,
        "Xavier's mean of fan_in and fan_out": (2 / (fan_in + shape[0] * area)) ** 0.5,
        "a deviation of 1, whatever the size of the layer": 1.0,
        "a fixed deviation of 0.01, whatever the size of the layer": 0.01,
        "PyTorch's own start: a uniform distribution of variance 1/(3 · fan_in)": (3 * fan_in) ** -0.5,
    }
    if groups > 1:
        text = "all input channels are counted, groups or not: one output adds up those of its own group"
        candidates = {text: (groups * fan_in) ** -0.5} | candidates
    if abs(float(w.mean())) > 0.3 * std:
        return "rand, between 0 and 1, instead of a normal distribution around 0"
    right = fan_in**-0.5
    for text, guess in candidates.items():
        if abs(std / guess - 1) < 0.05 and abs(guess / right - 1) > 0.05:
            return text
    return None


def _expect_start(key, drawn, said, conv, groups=1):
    """All draws of one parameter (draws first)."""
    expect_tensor(drawn, because=f"{said}: {key} is a tensor.")
    values = drawn.to(F64)
    if key.endswith("bias"):
        wanted = 0.1 if conv else 0.0
        default = float(values.std()) > 1e-3
        looks = "PyTorch's own random biases: they aren't set" if default else None
        if not default and conv and not values.any():
            looks = "biases of 0 before a ReLU: 0.1 keeps most units on at first"
        if not default and not conv and resembles(float(values.mean()), 0.1):
            looks = "0.1 for the linear layer, too; it has no ReLU behind it"
        because = f"{said}: {key}; convolutions have a ReLU behind them, the linear layer hasn't."
        right = torch.full_like(values, wanted)
        expect_close(values, right, because=because, looks_like=looks, rtol=1e-5, atol=1e-7)
        return
    shape = list(drawn.shape[1:])
    fan_in = math.prod(shape[1:])
    expect(
        bool((values[0] != values[1]).any()),
        expected=f"{said}: other weights in every new network",
        actual=f"the same {key} twice",
        because="starts are drawn; a seed set inside takes that decision from the caller.",
    )
    looks = _normal_guess(drawn, shape, groups)
    ratio = float(values.std()) * fan_in**0.5
    because = f"{said}: √fan_in times the deviation of {key} in {FRESH} draws; fan_in is {fan_in}."
    expect_close(ratio, 1.0, because=because, looks_like=looks, rtol=0, atol=0.05)
    because = f"{said}: √fan_in times the mean of {key}; the distribution is centred on 0."
    expect_close(float(values.mean()) * fan_in**0.5, 0.0, because=because, looks_like=looks, rtol=0, atol=0.06)
    tail = float((values.abs() > 2 * fan_in**-0.5).double().mean())  # normal: 4.6 %, uniform: none
    looks = "a uniform distribution: it has no tails" if tail < 0.001 else None
    because = f"{said}: 4.6 % of a normal distribution lie more than two deviations from its mean ({key})."
    expect_close(tail, 0.0455, because=because, looks_like=looks, rtol=0, atol=0.015)


@check(
    "The start: weights N(0, 1/fan_in), biases 0.1 in front of a ReLU, 0 at the end",
    points=8,
    why="Too large, and the first loss is far above ln 10; too small, and nothing of the image reaches the end.",
    after=["test_layers"],
)
def test_start(sandbox):
    found = sandbox.run(probes.started, FRESH)
    for name in COUNTS:
        for key, drawn in found[name].items():
            _expect_start(key, drawn, f"a new {name}", key.startswith("conv"))
    others, exchanged = found["others"], found["exchanged"]
    said = "init_ on other layers"
    inner, outer = (float(others[key][0].std()) * fan_in**0.5 for key, fan_in in (("0.0.weight", 84), ("1.weight", 60)))
    expect(
        abs(inner - 0.577) > 0.06 or abs(outer - 1) > 0.2,
        expected="init_(net) sets the layers inside nested modules, too",
        actual="only those directly in net; the others are as PyTorch made them",
        because="nets are built from blocks; modules() walks through all of them, apply() as well.",
        looks_like="children() doesn't go into blocks",
    )
    for key, conv in (("0.0.weight", 1), ("0.0.bias", 1), ("0.1.weight", 1), ("1.weight", 0), ("1.bias", 0)):
        _expect_start(key, others[key], said, bool(conv), groups=4 if key == "0.1.weight" else 1)
    because = f"{said}: a batch norm is no convolution and stays as it is."
    looks = "every module with a weight is set; only Conv2d and Linear are asked for"
    expect_equal(others["0.2.weight"], torch.full((FRESH, 5), 3.0), because=because, looks_like=looks)
    expect(
        not exchanged,
        expected=f"{said}: the parameters that were there, with other values in them",
        actual=f"new ones in place of {', '.join(exchanged)}",
        because="in place: an optimizer made before goes on training the old ones, which nothing uses any more.",
        looks_like="a new nn.Parameter is assigned; nn.init, or normal_() under no_grad, write into the one there is",
    )


# --- pixels --------------------------------------------------------------------------------------------


@check(
    "scale: bytes to −0.5 … 0.5",
    points=4,
    why="Crops and shifts fill with 0, and 0 has to be the middle of the range for that to be grey.",
)
def test_scale(sandbox):
    images = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    found = sandbox.run(probes.scaled, images)
    right = images.float() / 255 - 0.5
    guesses = {
        "0.5 isn't subtracted": images / 255,
        "the division by 255 is missing": images - 0.5,
        "scaled to −1 … 1": images / 127.5 - 1,
        "divided by 256": images / 256 - 0.5,
        "the subtraction comes first: (pixel − 0.5) / 255": (images - 0.5) / 255,
    }
    looks = misconception(found["out"], right, guesses)
    because = "pixel / 255 − 0.5 for each of the 256 bytes."
    expect_close(found["out"], right, because=because, looks_like=looks, rtol=1e-5, atol=1e-6)
    expect_dtype(found["out"], torch.float32, because="the weights are float32.")
    expect_equal(found["images"], images, because="the stored images stay as they are.")


def _marked(n, channels, height, width, dtype=torch.float32):
    """Images in which each pixel is another number, so that a piece tells where it comes from."""
    count = n * channels * height * width
    numbers = torch.arange(count).reshape(n, channels, height, width)
    return (numbers % 251).to(torch.uint8) if dtype == torch.uint8 else numbers.to(dtype) + 1


def _crop_place(image, piece, size):
    """Where the piece was cut, or None."""
    for top in range(image.shape[1] - size + 1):
        for left in range(image.shape[2] - size + 1):
            if torch.equal(image[:, top : top + size, left : left + size], piece):
                return top, left
    return None


RARE = 6.5
"""Standard deviations that no count of fair draws is away from its mean: one in ten thousand million."""


def _expect_even(counts, total, places, because, looks):
    """Each of the places got about its share of the draws."""
    share = 1 / places
    slack = RARE * math.sqrt(total * share * (1 - share))
    for place, count in counts.items():
        expect(
            abs(count - total * share) <= slack,
            expected=f"about {total * share:.0f} of {total} draws (±{slack:.0f}) for {place}",
            actual=f"{count}",
            because=because,
            looks_like=looks,
        )


def _expect_draws(found, case, said, shape, function):
    """What all random functions have in common; returns the draws."""
    images = case["images"]
    because = f"{said}: the caller's images stay as they are; the next epoch needs them."
    expect_equal(found["images"], images, because=because, looks_like=f"{function} writes into its argument")
    for draw in (*found["draws"], *found["again"]):
        expect_shape(draw, shape, because=f"{said}: one piece for each image.")
        made = draw.dtype is torch.float32 and images.dtype is not torch.float32
        looks = "float32, whatever comes in: torch.zeros and torch.empty need dtype=images.dtype" if made else None
        expect_dtype(draw, images.dtype, because=f"{said}: pixels keep their type.", looks_like=looks)
    expect(
        not found["shares"],
        expected=f"{said}: a new tensor",
        actual="the memory of the images that were given",
        because="who writes into the result would change the stored images with it.",
        looks_like="the argument itself, or a slice of it, is returned: clone() makes a tensor of its own",
    )
    same = all(torch.equal(a, b) for a, b in zip(found["draws"], found["again"], strict=True))
    expect(
        same,
        expected=f"{said}: the same draws again after the same torch.manual_seed",
        actual="other draws",
        because="torch's generator makes the choice, so one seed repeats a whole training run.",
        looks_like="the numbers come from Python's random or from NumPy",
    )
    return found["draws"]


def _channel_places(image, piece, size):
    return [_crop_place(image[c : c + 1], piece[c : c + 1], size) for c in range(len(image))]


def _not_a_crop(image, piece, size):
    """What a piece is that isn't a crop."""
    transposed = _crop_place(image, piece.transpose(1, 2), size)
    if transposed:
        return "rows and columns of the pieces are swapped"
    if None not in _channel_places(image, piece, size):
        return "each channel is cut at a place of its own: the colours come apart"
    if any(_crop_place(image, piece.flip(axis), size) for axis in (1, 2)):
        return "the pieces are mirrored; a digit mirrored is another digit"
    return None


def _totals(counts, axis):
    """How often each value of one coordinate came."""
    totals = Counter()
    for place, count in counts.items():
        totals[place[axis]] += count
    return totals


def _rare_ends(counts, axis):
    """Whether the first and the last place along an axis come more seldom than those between them."""
    totals = _totals(counts, axis)
    ends, between = ((totals[0], totals[max(totals)]), [totals[i] for i in range(1, max(totals))])
    return bool(between) and max(ends) < 0.85 * min(between)


@check(
    "random_crop: each image is cut at a place of its own, all places equally likely",
    points=10,
    why="The network sees each digit in 25 places: that is 24 × 24 pixels against 28 × 28, and 25 times the images.",
)
def test_random_crop(sandbox):
    images = [_marked(60, 1, 7, 7), _marked(50, 2, 6, 9), _marked(3, 3, 5, 5, torch.uint8), _marked(1, 1, 4, 8)]
    sizes, draws = [5, 4, 5, 3], [50, 60, 1, 400]
    cases = [
        {"images": one, "more": [size], "draws": count, "seed": 10 + i}
        for i, (one, size, count) in enumerate(zip(images, sizes, draws, strict=True))
    ]
    for case, found in zip(cases, sandbox.run(probes.repeated, "random_crop", cases), strict=False):
        given, size = case["images"], case["more"][0]
        n, channels, height, width = given.shape
        said = f"random_crop of {n} images {channels}×{height}×{width}, size={size}"
        pieces = _expect_draws(found, case, said, (n, channels, size, size), "random_crop")
        rows, columns = height - size + 1, width - size + 1
        by_code = {  # all places by the first pixel of the piece
            int(given[i, 0, top, left]): (i, top, left)
            for i in range(n)
            for top in range(rows)
            for left in range(columns)
        }
        counts = dict.fromkeys(itertools.product(range(rows), range(columns)), 0)
        together = 0
        for draw in pieces:
            places = []
            for i in range(n):
                code = by_code.get(int(draw[i, 0, 0, 0]))
                place = code[1:] if code and code[0] == i else None
                cut = None if place is None else given[i, :, place[0] : place[0] + size, place[1] : place[1] + size]
                if cut is None or not torch.equal(cut, draw[i]):
                    other = code is not None and code[0] != i
                    expect(
                        False,
                        expected=f"{said}: a piece of image {i}, its pixels as they were",
                        actual="pixels of another image" if other else "pixels that no crop of it has",
                        because="a crop moves nothing and mixes nothing: row i stays image i, as its label does.",
                        looks_like=_not_a_crop(given[i], draw[i], size),
                    )
                places.append(place)
                counts[place] += 1
            together += len(set(places)) == 1
        if len(counts) == 1 or n * len(pieces) < 100:
            continue
        seen = {place for place, count in counts.items() if count}
        looks = None
        if len(seen) == 1 and seen == {((rows - 1) // 2, (columns - 1) // 2)}:
            looks = "the centre crop: nothing random is left, and the network never sees the edges"
        elif len(seen) == 1:
            looks = "always the same place: nothing is random"
        elif seen <= set(itertools.product(range(rows - 1), range(columns - 1))):
            looks = "the last row and column are never reached: randint excludes its upper end, H − size + 1 places"
        elif rows == columns and all(a == b for a, b in seen):
            looks = "one number for both axes: only places on the diagonal"
        elif rows != columns and max(b for _, b in seen) < rows:
            looks = "the columns' places are drawn from the number of rows"
        elif any(_rare_ends(counts, axis) for axis in (0, 1)):
            looks = "a place at the edge gets half its share: rounding, instead of whole numbers drawn directly"
        if together < len(pieces) and all(torch.equal(pieces[0], other) for other in pieces[1:]):
            looks = "a seed is set inside: every call draws the same"
        if n > 1 and together == len(pieces):
            looks = looks or "one place for the whole batch, drawn once in each call"
            expect(
                False,
                expected=f"{said}: places of their own for the images of one call",
                actual="the same place for all",
                because="a batch of shifted copies tells the network as little as one image does.",
                looks_like=looks,
            )
        because = f"{said}: {rows} × {columns} places, each equally likely; all of them can be seen at test time."
        for axis, name in ((0, "row"), (1, "column")):
            totals = _totals(counts, axis)
            told = {f"{name} {place}": count for place, count in totals.items()}
            _expect_even(told, n * len(pieces), len(totals), because, looks)
        told = {f"the corner at row {a}, column {b}": c for (a, b), c in counts.items()}
        _expect_even(told, n * len(pieces), len(counts), because, looks)


def _shifted(image, down, right):
    """One image C×H×W moved by whole pixels; what comes in is 0."""
    far = max(abs(down), abs(right))
    height, width = image.shape[1:]
    return F.pad(image, [far] * 4)[:, far - down : far - down + height, far - right : far - right + width]


def _outcomes(image, most):
    """Everything that jitter may make of an image: (mirrored, down, right) → pixels."""
    moves = range(-most, most + 1)
    return {
        (mirrored, down, right): _shifted(image.flip(2) if mirrored else image, down, right)
        for mirrored in (False, True)
        for down in moves
        for right in moves
    }


UPSIDE_DOWN = "turned upside down: only left and right are mirrored"


def _jitter_guess(image, result, most):
    """What a result is that jitter can't have."""
    moves = list(itertools.product(range(-most, most + 1), repeat=2))
    pad = [most] * 4

    def cut(padded, down, right):
        size = image.shape[1]
        top, left = most - down, most - right
        return padded[:, top : top + size, left : left + size]

    sources = [image, image.flip(2)]
    for text, mode in (
        ("the edge's pixels are repeated into the gap: it is to be 0", "replicate"),
        ("mirrored pixels fill the gap: it is to be 0", "reflect"),
        ("torch.roll: what leaves on one side comes in on the other", "circular"),
    ):
        for one in sources:
            padded = F.pad(one[None], pad, mode=mode)[0]
            if any(torch.equal(cut(padded, *move), result) for move in moves):
                return text
    for fill in (-0.5, float(image.min()), float(image.mean()), 0.5, -1.0, 1.0):
        for one in sources:
            padded = F.pad(one, pad, value=fill)
            if any(torch.allclose(cut(padded, *move), result) for move in moves):
                return f"the gap is filled with {fill:.3g} instead of 0"
    for one in (image.flip(1), image.flip(1).flip(2)):
        if any(torch.equal(cut(F.pad(one, pad), *move), result) for move in moves):
            return UPSIDE_DOWN
    far = list(itertools.product(range(-2 * most - 1, 2 * most + 2), repeat=2))
    for one in sources:
        if any(torch.equal(_shifted(one, *move), result) for move in far):
            return f"moved by more than `most`, here {most}"
    for turned in (image.transpose(1, 2), image.transpose(1, 2).flip(2), image.transpose(1, 2).flip(1)):
        if any(torch.equal(_shifted(turned, *move), result) for move in moves):
            return "rows and columns are swapped"
    by_channel = [any(torch.equal(v[c], result[c]) for v in _outcomes(image, most).values()) for c in range(len(image))]
    if len(image) > 1 and all(by_channel):
        return "each channel moves by itself: the colours come apart"
    return None


@check(
    "jitter: each image is mirrored or not, and moved by up to `most` pixels, the gap being 0",
    points=10,
    why="A shifted or mirrored horse is a horse; drawn for each image in each epoch, that is 50 times the data.",
)
def test_jitter(sandbox):
    g = _random(20)
    images = [torch.randn(n, c, s, s, generator=g) for n, c, s in ((50, 3, 6), (40, 1, 5), (1, 2, 5), (6, 3, 32))]
    images[1] = images[1].double()
    more, draws = [[], [1], [1], []], [50, 25, 200, 4]
    cases = [
        {"images": one, "more": extra, "draws": count, "seed": 21 + i}
        for i, (one, extra, count) in enumerate(zip(images, more, draws, strict=True))
    ]
    for case, found in zip(cases, sandbox.run(probes.repeated, "jitter", cases), strict=False):
        given, most = case["images"], (*case["more"], 2)[0]
        n = len(given)
        kind = str(given.dtype).removeprefix("torch.")
        said = f"jitter of {n} images {'×'.join(map(str, given.shape[1:]))} ({kind}), most={most}"
        results = torch.stack(_expect_draws(found, case, said, tuple(given.shape), "jitter"))  # draws × images
        chosen = torch.full(results.shape[:2], -1)
        keys = list(_outcomes(given[0], most))
        for i in range(n):
            every = torch.stack(list(_outcomes(given[i], most).values()))
            fits = (results[:, i, None] == every).flatten(2).all(2)
            chosen[:, i] = torch.where(fits.any(1), fits.double().argmax(1), -1)
        if bool((chosen < 0).any()):
            draw, i = (chosen < 0).nonzero()[0].tolist()
            others = [v for j in range(n) if j != i for v in _outcomes(given[j], most).values()]
            swapped = any(torch.equal(v, results[draw, i]) for v in others)
            expect(
                False,
                expected=f"{said}: image {i}, mirrored or not, moved by −{most} … {most} pixels each way, 0 in the gap",
                actual="another image's pixels" if swapped else "something else",
                because="nothing else changes: row i stays image i, channels stay together, pixels keep their value.",
                looks_like=None if swapped else _jitter_guess(given[i], results[draw, i], most),
            )
        if n * len(results) < 100:
            continue
        tally = dict.fromkeys(keys, 0)
        for which in chosen.flatten().tolist():
            tally[keys[which]] += 1
        seen = {key for key, count in tally.items() if count}
        if n > 1:
            alike = [len(set(row)) == 1 for row in chosen.tolist()]
            flips = torch.tensor([mirrored for mirrored, _, _ in keys])[chosen]
            moves = torch.tensor([100 * down + right for _, down, right in keys])[chosen]
            one_flip, one_move = ((row == row[:, :1]).all().item() for row in (flips, moves))
            if len(seen) > 1 and (all(alike) or one_flip or one_move):
                what = "coin" if one_flip and not one_move else "shift" if one_move and not one_flip else "draw"
                looks = f"one {what} for the whole batch: each image needs its own"
                looks = "never mirrored" if not flips.any() else "always mirrored" if flips.all() else looks
                looks = "never moved" if not moves.any() else looks
                expect(
                    False,
                    expected=f"{said}: a coin and a shift of its own for each image of one call",
                    actual="the same for all",
                    because="drawn once for a batch, the variety shrinks to the number of batches.",
                    looks_like=looks,
                )
        looks = None
        repeated = n > 1 and bool((results == results[:1]).all())
        downs, rights = {k[1] for k in seen}, {k[2] for k in seen}
        if len(seen) == 1:
            looks = "nothing is random"
        elif repeated:
            looks = "a seed is set inside: every call draws the same"
        elif len({k[0] for k in seen}) == 1:
            looks = "always mirrored" if next(iter(seen))[0] else "never mirrored"
        elif max(*downs, *rights) < most or min(*downs, *rights) > -most:
            looks = f"a shift by {most} is never drawn to one side: randint excludes its upper end"
        elif all(k[1] == k[2] for k in seen) or all(k[1] == -k[2] for k in seen):
            looks = "one number for both axes: images move along a diagonal only"
        elif downs == {0} or rights == {0}:
            looks = "images move along one axis only"
        because = f"{said}: {len(keys)} outcomes (mirrored or not, {2 * most + 1}² moves), equally likely."
        for axis, names in ((0, ("left as they are", "mirrored")), (1, "moved down by"), (2, "moved right by")):
            totals = _totals(tally, axis)
            told = {names[v] if axis == 0 else f"{names} {v}": count for v, count in totals.items()}
            _expect_even(told, n * len(results), len(totals), because, looks)
        told = {f"{'' if m else 'not '}mirrored, {d} down, {r} right": count for (m, d, r), count in tally.items()}
        _expect_even(told, n * len(results), len(keys), because, looks)


MNIST_PLACES = ((0, 0), (0, 4), (4, 0), (4, 4))
CIFAR_MOVES = ((0, 0), (-2, -2), (2, 2))


def _mnist_views(images, places=MNIST_PLACES):
    return [images[:, :, a : a + 24, b : b + 24] for a, b in places]


def _cifar_views(images, moves=CIFAR_MOVES):
    moved = [torch.stack([_shifted(one, *move) for one in images]) for move in moves]
    return moved + [view.flip(3) for view in moved]


VIEWS = {
    "mnist_views": ["the top left", "the top right", "the bottom left", "the bottom right"],
    "cifar_views": [
        f"{how}{mirrored}"
        for mirrored in ("", ", mirrored")
        for how in ("unmoved", "moved up left by 2", "moved down right by 2")
    ],
}


def _view_guess(name, images, view, at, every):
    """What view number `at` is, when it isn't the right one; `every`: all right views."""
    if resembles(view, every[at]):
        return None
    for i, other in enumerate(every):
        if resembles(view, other):
            return f"this is {VIEWS[name][i]}: the order is another one"
    if name == "mnist_views":
        if resembles(view, images[:, :, 2:26, 2:26]):
            return "the centre crop; the views are the four corners"
        if any(resembles(view, images[:, :, a : a + 24, b : b + 24]) for a in range(5) for b in range(5)):
            return "a crop from another place: not one of the corners, or drawn at random"
        return None
    if resembles(view, torch.roll(images, CIFAR_MOVES[at % 3], (2, 3))):
        return "torch.roll: what leaves on one side comes in on the other; the gap is 0"
    mirrored_first = [torch.stack([_shifted(one, *move) for one in images.flip(3)]) for move in CIFAR_MOVES]
    if at >= 3 and resembles(view, mirrored_first[at % 3]):
        return "mirrored first and moved then; these views are the moved images, mirrored"
    upside_down = every[at % 3].flip(2)
    if at >= 3 and (resembles(view, upside_down) or resembles(view, upside_down.flip(3))):
        return UPSIDE_DOWN
    for down, right_ in itertools.product(range(-2, 3), repeat=2):
        moved = torch.stack([_shifted(one, down, right_) for one in images])
        if resembles(view, moved) or resembles(view, moved.flip(3)):
            return "moved to another place than the statement says, or at random"
    return None


@check(
    "The views at test time lie in fixed places",
    points=6,
    why="With crops drawn at random, the same model gives another accuracy each time you ask.",
)
def test_views(sandbox):
    g = _random(30)
    shapes = {"mnist_views": (2, 1, 28, 28), "cifar_views": (2, 3, 32, 32)}
    images = {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}
    found = sandbox.run(probes.views, *images.values())
    for name, given in images.items():
        one, right = (found[name], (_mnist_views(given) if name == "mnist_views" else _cifar_views(given)))
        expect_type(one["views"], list, because=f"{name} returns its views in a list.")
        count = f"{len(one['views'])} views"
        enough = len(one["views"]) == len(right)
        single = len(one["views"]) == 1 and resembles(one["views"][0], given[:, :, 2:26, 2:26])
        looks = "the centre crop only" if single else None
        because = f"{name}: the list of the statement."
        expect(enough, expected=f"{len(right)} views", actual=count, because=because, looks_like=looks)
        drawn = any(
            type(a) is torch.Tensor and not resembles(a, b) for a, b in zip(one["views"], one["again"], strict=False)
        )
        for at, (view, wanted) in enumerate(zip(one["views"], right, strict=True)):
            because = f"{name}: view {at} is {VIEWS[name][at]}."
            looks = "drawn at random: another view on the second call" if drawn else None
            looks = looks or _view_guess(name, given, view, at, right)
            expect_shape(view, tuple(wanted.shape), because=because, looks_like=looks)
            expect_close(view, wanted, because=because, looks_like=looks, rtol=0, atol=1e-7)
        expect_equal(one["images"], given, because=f"{name} leaves the images as they are.")


# --- test time -----------------------------------------------------------------------------------------


@check(
    "average: the mean of the probabilities, in eval mode, the mode restored",
    points=8,
    why="The loss of the mean is never above the mean of the losses, because −log is convex: asking several times "
    "can't hurt the average view.",
)
def test_average(sandbox):
    g = _random(40)
    cases = []
    for count, n, k, training in ((4, 3, 5, True), (6, 1, 10, False), (1, 4, 3, False), (3, 2, 2, True)):
        weight = torch.randn(12, k, generator=g)
        shared = [1.5 * torch.randn(n, 1, 3, 4, generator=g) for _ in range(count)]
        cases.append({"weight": weight, "views": shared, "training": training})
    for case, found in zip(cases, sandbox.run(probes.averages, cases), strict=True):
        logits = torch.stack([view.flatten(1).double() @ case["weight"].double() for view in case["views"]])
        count, n, k = logits.shape
        said = f"{count} views of {n} images, {k} classes"
        right = logits.softmax(2).mean(0)
        guesses = {
            "the softmax of the mean logits: that lets the surest view outvote the others": logits.mean(0).softmax(1),
            "the mean of the logits: there is no softmax": logits.mean(0),
            "the sum over the views, not the mean": logits.softmax(2).sum(0),
            "the mean of the log-probabilities": logits.log_softmax(2).mean(0),
            "the first view only": logits[0].softmax(1),
            "the last view only": logits[-1].softmax(1),
            "the largest probability among the views": logits.softmax(2).amax(0),
            "a softmax over the images, not the classes": logits.softmax(1).mean(0),
            "a softmax over the views, not the classes": logits.softmax(0).mean(0),
            "the share of the views that vote for a class": F.one_hot(logits.argmax(2), k).double().mean(0),
            "a softmax of the mean probabilities: they are probabilities already": right.softmax(1),
            "the classes, not their probabilities": right.argmax(1),
            "the logarithm of the mean probabilities": right.log(),
            "the median of the views": logits.softmax(2).median(0).values,
            "the geometric mean of the probabilities": logits.log_softmax(2).mean(0).exp(),
        }
        looks = misconception(found["out"], right, guesses, rtol=1e-4, atol=1e-5)
        noisy = any(call["training"] for call in found["calls"])
        if noisy:
            looks = "the model is in training mode while it is asked: dropout throws half of the pixels away"
        because = f"({said}) the softmax of each view's logits, and the mean of these."
        expect_close(found["out"], right, because=because, looks_like=looks, rtol=1e-4, atol=1e-5)
        expect(
            not noisy,
            expected=f"({said}) every call in eval mode",
            actual="a call in training mode",
            because="dropout and batch norm act otherwise in training.",
        )
        expect(
            not found["records"] and not any(call["grad"] for call in found["calls"]),
            expected=f"({said}) no graph recorded",
            actual="calls with gradients switched on",
            because="a test needs no gradients; without no_grad every view's activations stay in memory.",
            looks_like="eval() without no_grad(): they are different switches",
        )
        expect(
            found["left on"],
            expected=f"({said}) gradients switched on again afterwards",
            actual="still off",
            because="average is called between epochs; the next loss.backward() finds no graph.",
            looks_like="set_grad_enabled(False) without the way back: a with block ends by itself",
        )
        said_mode = "training" if case["training"] else "eval"
        looks = "train() at the end, whatever the mode was" if not case["training"] else "eval mode isn't left again"
        expect(
            all(mode is case["training"] for mode in found["modes"]),
            expected=f"({said}) the model back in {said_mode} mode, in which it came",
            actual=f"{'eval' if case['training'] else 'training'} mode",
            because="average is called between epochs; training has to go on as before.",
            looks_like=looks,
        )
        for view, given in zip(found["views"], case["views"], strict=True):
            expect_equal(view, given, because=f"({said}) the views stay as they are.")


# --- training ------------------------------------------------------------------------------------------


def _adadelta(start, gradients, l2, how=""):
    """Parameters after each step, with the update written out. `how` names a mistake to make."""
    rho = 0.9 if how in ("rho", "defaults") else 0.95
    eps = 1e-8 if how == "eps" else 1e-6
    rate = 0.01 if how == "rate" else 0.1 if how == "tenth" else 1.0
    params = {k: p.clone() for k, p in start.items()}
    squares, moves = ({k: torch.zeros_like(p) for k, p in start.items()} for _ in range(2))
    steps = []
    for step in gradients:
        for k, p in params.items():
            others = {"all": True, "defaults": True, "none": False, "biases": p.ndim <= 1}
            others["by name"] = not k.endswith("bias")
            decays = others.get(how, p.ndim > 1)
            factor = {"double": 2.0, "half": 0.5}.get(how, 1.0)
            g = step[k] + (0 if how == "decoupled" else factor * l2 * decays) * p
            squares[k] = rho * squares[k] + (1 - rho) * g * g
            move = -((moves[k] + eps) / (squares[k] + eps)).sqrt() * g
            moves[k] = rho * moves[k] + (1 - rho) * move * move
            params[k] = p + rate * move - (l2 * decays * p if how == "decoupled" else 0)
        steps.append({k: p.clone() for k, p in params.items()})
    return steps


OPTIMIZER_WRONG = {
    "all": "the L2 acts on the biases, too: only weights decay",
    "by name": "told by name: a batch norm's weight has one axis, as a bias has, and doesn't decay",
    "none": "no L2 at all",
    "biases": "the groups are swapped: the biases decay, the weights don't",
    "rho": "rho=0.9, PyTorch's default; the demos have 0.95",
    "defaults": "rho=0.9, PyTorch's default, and an L2 on the biases as well",
    "eps": "eps=1e-8 instead of 1e-6",
    "rate": "lr=0.01: Adadelta finds the size of its steps itself, its lr is 1",
    "tenth": "lr=0.1: Adadelta finds the size of its steps itself, its lr is 1",
    "double": "l2 · w² without the ½: the gradient is l2 · w",
    "half": "half of l2: the derivative of ½ · l2 · w² is l2 · w",
    "decoupled": "the decay is taken from the weights directly, as in AdamW; here it is part of the gradient",
}


OPTIMIZERS = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adamax", "Rprop", "ASGD", "LBFGS")


@check(
    "make_optimizer: Adadelta with rho 0.95, decay for weights only",
    points=6,
    why="An optimizer is its update; a rho, a group or a default that is another one shows in the first steps.",
)
def test_optimizer(sandbox):
    g = _random(50)
    shapes = {"0.weight": (3, 2, 2, 2), "0.bias": (3,), "1.weight": (3,), "1.bias": (3,)}
    shapes |= {"3.weight": (3, 4), "3.bias": (3,)}
    start = {k: torch.randn(s, generator=g, dtype=F64) for k, s in shapes.items()}
    gradients = [{k: 0.1 * torch.randn(s, generator=g, dtype=F64) for k, s in shapes.items()} for _ in range(4)]
    l2 = 0.05
    found, kind = sandbox.run(probes.optimized, start, gradients, l2)
    right = _adadelta(start, gradients, l2)
    wrong = {text: _adadelta(start, gradients, l2, how) for how, text in OPTIMIZER_WRONG.items()}
    last = {text: torch.cat([p.flatten() for p in steps[-1].values()]) for text, steps in wrong.items()}
    stacked = torch.cat([found[-1][k].flatten() for k in start])
    looks = misconception(stacked, torch.cat([right[-1][k].flatten() for k in start]), last, rtol=1e-7, atol=1e-10)
    still = [k for k in start if torch.equal(found[-1][k], start[k])]
    if still:
        looks = f"it doesn't hold {', '.join(still)}"
    elif looks is None and kind in OPTIMIZERS:
        looks = f"{kind} instead of Adadelta"
    for i, (step, wanted) in enumerate(zip(found, right, strict=True)):
        for k in start:
            because = f"how far {k} has moved after step {i + 1} with given gradients and l2={l2}, by hand."
            expect_shape(step[k], tuple(start[k].shape), because=because)
            moved, right_move = step[k] - start[k], wanted[k] - start[k]
            expect_close(moved, right_move, because=because, looks_like=looks, rtol=1e-7, atol=1e-11)


def _run(n, classes, shape, seed, **more):
    """A run of `train`: the first pixel of image i is i. The model comes with old gradients."""
    g = _random(seed)
    images = torch.randint(256, (n, *shape), generator=g).to(torch.uint8)
    images[:, 0, 0, 0] = torch.arange(n)
    inputs = math.prod(shape)
    weight = 0.1 * torch.randn(inputs, classes, generator=g, dtype=F64)
    bias = torch.randn(classes, generator=g, dtype=F64)
    labels = torch.randint(classes, (n,), generator=g)
    given = {"images": images, "labels": labels, "weight": weight, "bias": bias, "training": False}
    return {**given, "old gradient": 0.3, "seed": seed, **more}


RUNS = [
    _run(23, 4, (1, 4, 5), 60, epochs=3, batch_size=5, l2=0.02),
    _run(12, 3, (3, 4, 4), 61, epochs=2, batch_size=4, l2=0.5),
    _run(3, 2, (1, 2, 2), 62, epochs=1, batch_size=8, l2=0.0),
]
RUNS.append({**RUNS[0], "seed": 63})


def _told(case):
    return f"{len(case['images'])} images, epochs={case['epochs']}, batch_size={case['batch_size']}, l2={case['l2']}"


def _ids(pixels):
    """Which images a scaled batch holds, by the first pixel; None when that can't be told."""
    if type(pixels) is not torch.Tensor or pixels.ndim != 4:
        return None
    numbers = (pixels[:, 0, 0, 0].to(F64) + 0.5) * 255
    return numbers.round().long().tolist() if bool((numbers - numbers.round()).abs().max() < 0.01) else None


@check(
    "train: every image once in each epoch, in a new order, scaled and augmented anew",
    points=6,
    why="Augmented once before the first epoch, a crop is no more than a smaller image.",
)
def test_batches(sandbox):
    runs = []
    for case, found in zip(RUNS, sandbox.run(probes.trained, RUNS), strict=True):
        said, n, size = _told(case), len(case["images"]), case["batch_size"]
        wanted = [min(size, n - at) for at in range(0, n, size)] * case["epochs"]
        calls, handed = found["calls"], found["augmented"]
        because = f"({said}) the images and labels that were passed stay as they are."
        expect(found["untouched"], expected="both as before", actual="changed in place", because=because)
        sizes = [len(call["x"]) if type(call["x"]) is torch.Tensor else 0 for call in calls]
        looks = None
        if sizes != wanted:
            per = n // size
            looks = {
                tuple([size] * per * case["epochs"]): "the smaller last batch is dropped",
                tuple(wanted[: len(wanted) // case["epochs"]]): "one epoch, whatever epochs says",
                (n,) * case["epochs"]: "all images in one batch: batch_size isn't used",
                (1,) * (n * case["epochs"]): "one image at a time: batch_size isn't used",
            }.get(tuple(sizes))
        because = f"({said}) the sizes of the batches that the model saw."
        expect_equal(sizes, wanted, because=because, looks_like=looks)
        once = len(handed) == case["epochs"] > 1 and all(len(h) == n for h in handed)
        before = len(handed) == 1 < len(wanted)
        looks = "augmented once, before training: every epoch shows the same pictures" if before else None
        looks = looks or ("augmented once per epoch, all images at once" if once else None)
        looks = looks or ("augment isn't called" if not handed else None)
        if not once:
            because = f"({said}) augment is called for each batch."
            expect_equal([len(h) for h in handed], wanted, because=because, looks_like=looks)
        visits = []
        for call, given in zip(calls, handed if not once else [None] * len(calls), strict=True):
            looks = None
            if type(given) is torch.Tensor:
                raw = _ids(given) is None and _ids(given / 255 - 0.5) is not None
                looks = "augment gets raw bytes: the images aren't scaled" if raw else None
                twice = resembles(call["x"], given * 4 + 3)
                skipped = resembles(call["x"], given)
                looks = looks or ("augmented twice" if twice else None)
                looks = looks or ("what augment returns isn't used" if skipped else None)
                because = f"({said}) the model gets what augment returns (here 2 · x + 1), nothing else."
                expect_close(call["x"], given * 2 + 1, because=because, looks_like=looks, rtol=1e-5, atol=1e-5)
            ids = _ids((call["x"] - 1) / 2)
            known = ids is not None and all(0 <= i < n for i in ids)
            if known:
                right = case["images"][ids].double() / 255 - 0.5
                known = resembles((call["x"].double() - 1) / 2, right, rtol=1e-4, atol=1e-4)
            expect(
                bool(known),
                expected=f"({said}) whole images, scaled by scale, in augment and then in the model",
                actual=f"{describe(call['x'])} with other pixels",
                because="what is trained on has to look like what is tested on.",
                looks_like=looks,
            )
            visits.append(ids)
        batches = len(wanted) // case["epochs"]
        epochs = [list(itertools.chain(*visits[at : at + batches])) for at in range(0, len(visits), batches)]
        runs.append(epochs)
        for number, order in enumerate(epochs):
            seen = len(set(order))
            looks = "drawn with replacement: some come twice, others never" if seen < n else None
            expect(
                seen == n,
                expected=f"({said}) each of {n} images once in epoch {number + 1}",
                actual=f"{seen} different ones",
                because="an epoch is one pass over all images.",
                looks_like=looks,
            )
        if n > 5:
            stored = any(order == list(range(n)) for order in epochs)
            repeated = len({tuple(order) for order in epochs}) < len(epochs)
            looks = "the stored order: nothing is shuffled" if stored else "one order, drawn once, for all epochs"
            expect(
                not stored and not repeated,
                expected=f"({said}) a new random order in each epoch",
                actual="the stored order" if stored else "the same order again",
                because="batches of the same company, or of one class, pull the weights to and fro.",
                looks_like=looks,
            )
        because = f"({said}) train puts the model into training mode, with all its layers; it came in eval mode."
        right_mode = all(call["training"] for call in calls)
        expect(right_mode, expected="training mode in every call", actual="eval mode", because=because)
    expect(
        runs[0] != runs[-1],
        expected="other orders after another torch.manual_seed",
        actual="the same orders in both trainings",
        because="who trains four networks to see how far chance goes sets four seeds; a seed inside makes them one.",
        looks_like="a seed is set inside: every training goes through the images in the same orders",
    )


def _trajectory(case, calls, how=""):
    """Parameters before each call and at the end, for the batches that the model saw. `how`: a mistake to make."""
    params = {"weight": case["weight"], "bias": case["bias"]}
    squares, moves = ({k: torch.zeros_like(p) for k, p in params.items()} for _ in range(2))
    kept = {k: torch.full_like(p, case["old gradient"]) for k, p in params.items()}  # what nobody has cleared
    batches = -(-len(case["images"]) // case["batch_size"])
    path = []
    for number, call in enumerate(calls):
        path.append(params)
        cleared = {
            "no zero_grad": False,
            "zero_grad per epoch": number % batches == 0,
            "zero_grad once": number == 0,
            "zero_grad after the step": number > 0,
        }.get(how, True)
        if how == "optimizer per batch" or (how == "optimizer per epoch" and number % batches == 0):
            squares, moves = ({k: torch.zeros_like(p) for k, p in params.items()} for _ in range(2))
        labels = case["labels"][_ids((call["x"] - 1) / 2)]
        if how == "stored labels":
            at = number % batches * case["batch_size"]
            labels = case["labels"][at : at + len(labels)]
        leaves = {k: p.clone().requires_grad_(True) for k, p in params.items()}
        logits = call["x"].to(F64).flatten(1) @ leaves["weight"] + leaves["bias"]
        logits = logits.softmax(1) if how == "softmax" else logits
        loss = F.cross_entropy(logits, labels, reduction="sum" if how == "sum" else "mean")
        loss = -loss if how == "negated" else loss
        loss = F.mse_loss(logits, F.one_hot(labels, logits.shape[1]).double()) if how == "mse" else loss
        grads = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        kept = grads = grads if cleared else {k: g + kept[k] for k, g in grads.items()}
        others = {
            "l2 ignored": 0.0,
            "l2 1e-3": 1e-3,
            "l2 1e-4": 1e-4,
            "l2 over batch": case["l2"] / case["batch_size"],
            "l2 twice": 2 * case["l2"],
        }
        l2 = others.get(how, case["l2"])
        after = {}
        for k, p in params.items():
            g = grads[k] + l2 * (p if k == "weight" else 0)
            squares[k] = 0.95 * squares[k] + 0.05 * g * g
            move = -((moves[k] + 1e-6) / (squares[k] + 1e-6)).sqrt() * g
            moves[k] = 0.95 * moves[k] + 0.05 * move * move
            after[k] = p + move
        params = params if how == "no step" else after
    return [*path, params]


TRAIN_WRONG = {
    "no step": "the parameters don't move: is step() missing, or does zero_grad() stand between backward and step?",
    "no zero_grad": "zero_grad() is missing: the gradients of all batches add up",
    "zero_grad per epoch": "zero_grad() once per epoch: the gradients of its batches add up",
    "zero_grad once": "zero_grad() once, before the first batch: the gradients of all batches add up",
    "zero_grad after the step": "zero_grad() after the step, not before backward: the gradients that the model came "
    "with are in the first step",
    "optimizer per batch": "a new optimizer for each batch: Adadelta forgets what it has accumulated",
    "optimizer per epoch": "a new optimizer in each epoch: Adadelta forgets what it has accumulated",
    "sum": "the sum over the batch instead of the mean: next to it the L2 loses its weight",
    "l2 ignored": "l2 isn't passed on",
    "l2 1e-3": "l2 isn't passed on: it is 0.001, whatever the call says",
    "l2 1e-4": "l2 isn't passed on: it is 0.0001, whatever the call says",
    "l2 twice": "the L2 counts twice: once in the optimizer, once more in the loss",
    "l2 over batch": "the L2 is divided by the batch size",
    "softmax": "a softmax before cross_entropy, which applies one itself",
    "stored labels": "the labels stay in their stored order while the images are shuffled",
    "negated": "the sign: the loss grows",
    "mse": "squared error instead of cross-entropy",
}


@check(
    "train: each step follows the mean cross-entropy of its batch alone",
    points=6,
    why="With a linear model each step can be worked out: whatever was added or forgotten shows at once.",
    after=["test_batches", "test_optimizer"],
)
def test_steps(sandbox):
    for case, found in zip(RUNS, sandbox.run(probes.trained, RUNS), strict=True):
        said = _told(case)
        path = [*(call["parameters"] for call in found["calls"]), found["parameters"]]
        right = _trajectory(case, found["calls"])
        ends = {text: partial(_end, case, found["calls"], how) for how, text in TRAIN_WRONG.items()}
        looks = misconception(_flat(path[-1]), _flat(right[-1]), ends, rtol=1e-6, atol=1e-9)
        for number, (got, wanted) in enumerate(zip(path, right, strict=True)):
            after = f"after {number} step{'' if number == 1 else 's'}"
            for key in ("weight", "bias"):
                because = f"({said}) how far the model's {key} has moved {after}, worked out for the batches it saw."
                expect_shape(got[key], tuple(case[key].shape), because=because)
                moved, right_move = got[key] - case[key], wanted[key] - case[key]
                expect_close(moved, right_move, because=because, looks_like=looks, rtol=1e-6, atol=1e-8)


def _end(case, calls, how):
    return _flat(_trajectory(case, calls, how)[-1])


def _flat(params):
    return torch.cat([params["weight"].flatten(), params["bias"].flatten()])


# --- real training -------------------------------------------------------------------------------------

UNSEEN = 1_500
EVERYTHING = ["test_gradients", "test_start", "test_scale", "test_views", "test_average", "test_steps"]
BUDGETS = {"MnistNet": (5_000, 2, 20, 1e-3), "CifarNet": (8_000, 2, 16, 1e-4)}
CHANCE = 0.01
BARS = {
    ("MnistNet", "real"): 0.93,
    ("MnistNet", "embedded"): 0.89,
    ("CifarNet", "real"): 0.39,
    ("CifarNet", "embedded"): 0.40,
}


def _learns(sandbox, data, name, source, because):
    """Trains the network and judges accuracy and gain."""
    pictures = data(source)
    count, epochs, batch_size, l2 = BUDGETS[name]
    images, labels = pictures.sample("train", min(count, len(pictures.train)), seed=70)
    unseen, answers = pictures.sample("test", min(UNSEEN, len(pictures.test)), seed=71)
    order = torch.randperm(10, generator=_random(72))  # class ids of our own: only what was learned here counts
    found = sandbox.run(probes.learned, name, images, order[labels], unseen, epochs, batch_size, l2)
    right = order[answers]

    def accuracy(probabilities):
        expect_shape(probabilities, (len(unseen), 10), because="one row of probabilities for each image.")
        return float((probabilities.argmax(1) == right).double().mean())

    averaged, singles = (accuracy(found["averaged"]), [accuracy(p) for p in found["singles"]])
    single = sum(singles) / len(singles)
    plain, bar = accuracy(found["middle"]), BARS[name, sandbox.source]
    sandbox.measure("accuracy", round(averaged, 4))
    sandbox.measure("gain", round(averaged - single, 4))
    middle = "the centre crop, which is none of them," if name == "MnistNet" else "the images as they are"
    easier = "; digits are centred, the corners are the extreme of 25 places" if name == "MnistNet" else ""
    sandbox.note(
        f"{averaged:.1%} of {len(unseen)} unseen images with {len(singles)} views averaged; one of them alone "
        f"{single:.1%} (from {min(singles):.1%} to {max(singles):.1%}); {middle} {plain:.1%}"
        f"{easier if plain > averaged else ''}"
    )
    looks = "about chance: images and labels, or training and test, don't belong together" if averaged < 0.2 else None
    budget = f"{len(images):,} images × {epochs} epochs, batches of {batch_size}"
    looks = looks or "training ends early, or a part of the images is never used"
    expect_at_least(averaged, bar, because=f"{budget}. {because}", looks_like=looks)
    because = "accuracy with all views averaged, minus the mean of those that they have one by one: their errors"
    expect_at_least(averaged - single, -CHANCE, because=f"{because} cancel. One point is left to chance.")


@check(
    "MnistNet learns, and the four corners averaged do no worse than one of them",
    points=8,
    why="Everything together: 5,994 parameters, 10,000 crops, two seconds.",
    after=[*EVERYTHING, "test_random_crop"],
)
def test_mnist(sandbox, data):
    _learns(sandbox, data, "MnistNet", "mnist", "A linear model gets 90 % of real digits, uncropped.")


@check(
    "CifarNet learns, and the six views averaged do no worse than one of them",
    points=8,
    why="The same recipe on photographs, with four times the parameters and an eighth of the demo's patience.",
    after=[*EVERYTHING, "test_jitter"],
)
def test_cifar(sandbox, data):
    _learns(sandbox, data, "CifarNet", "cifar10", "A linear model gets 37 % of real photographs, guessing 10 %.")

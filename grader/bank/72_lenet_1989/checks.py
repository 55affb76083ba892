"""Checks for the network of 1989. Layers are judged as functions and by what their outputs depend on, so that it
doesn't matter how the parameters are stored: impulses measure a layer of tanh units, and atanh undoes the tanh."""

from __future__ import annotations

import math
import re
from functools import partial

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_most,
    expect_close,
    expect_dtype,
    expect_finite,
    expect_number,
    expect_shape,
    expect_type,
    fail,
    misconception,
    resembles,
)

from . import probes

IN = {"h1": (1, 16, 16), "h2": (12, 8, 8), "h3": (12, 4, 4), "out": (30,)}
OUT = {"h1": (12, 8, 8), "h2": (12, 4, 4), "h3": (30,), "out": (10,)}
SAID = {"h1": "H1", "h2": "H2", "h3": "H3", "out": "the output layer"}


def _random(shape, seed, low=-1.0, high=1.0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def _inputs(n, seed, low=-1.0, high=1.0):
    return {name: _random((n, *shape), seed + i, low, high) for i, (name, shape) in enumerate(IN.items())}


# --- data ----------------------------------------------------------------------------------------------


def _resized(images, scaled=True, **how):
    x = images.float() / 127.5 - 1 if scaled else images.float()
    return F.interpolate(x, size=(16, 16), **{"mode": "bilinear", "align_corners": False, **how})


def _from_uint8(images, **how):
    return _resized(images, scaled=False, **how).round() / 127.5 - 1


def _in_uint8(images):
    return F.interpolate(images, size=(16, 16), mode="bilinear") / 127.5 - 1


DIGITS_WRONG = {
    "antialiasing: torchvision's and PIL's resize blur before they shrink; F.interpolate doesn't unless asked to": (
        partial(_resized, antialias=True)
    ),
    "antialiasing, of whole grey levels: a resize of the uint8 image; convert to float first, resize without it": (
        partial(_from_uint8, antialias=True)
    ),
    "resized as uint8: grey levels are rounded to whole numbers; convert to float first": _from_uint8,
    "interpolated in uint8: grey levels are cut to whole numbers; convert to float first": _in_uint8,
    "align_corners=True: the corners of both grids are put on each other; the source leaves it False": (
        partial(_resized, align_corners=True)
    ),
    "nearest neighbours instead of bilinear interpolation": partial(_resized, mode="nearest", align_corners=None),
    "means over areas instead of bilinear interpolation": partial(_resized, mode="area", align_corners=None),
    "bicubic instead of bilinear interpolation": partial(_resized, mode="bicubic"),
    "pixels from 0 to 1 instead of from -1 to 1": lambda images: (_resized(images) + 1) / 2,
    "normalised by MNIST's mean and deviation; here paper is -1 and ink 1": lambda i: (
        ((_resized(i) + 1) / 2 - 0.1307) / 0.3081
    ),
    "pixels from 0 to 255 instead of from -1 to 1": lambda images: (_resized(images) + 1) * 127.5,
    "pixels from -0.5 to 0.5 instead of from -1 to 1": lambda images: _resized(images) / 2,
    "divided by 255 and by 127.5: the values lie between -1 and -0.99": lambda i: (_resized(i) + 1) / 255 - 1,
    "ink and paper are exchanged: paper is -1, ink 1": lambda images: -_resized(images),
    "divided by 128 instead of 127.5: 255 doesn't become 1": lambda images: (_resized(images) + 1) * 127.5 / 128 - 1,
    "cut out of the middle instead of resized": lambda images: images[..., 6:22, 6:22].float() / 127.5 - 1,
}


def _named_digits(found, images):
    right = _resized(images)
    if not isinstance(found, torch.Tensor) or found.shape != right.shape:
        return None
    wrong = {text: partial(make, images) for text, make in DIGITS_WRONG.items()}
    named = misconception(found, right, wrong, rtol=0, atol=2e-4)
    levels = 2 / 127.5  # PIL blurs, too, and rounds in a way of its own
    blurred = {next(iter(DIGITS_WRONG)): partial(_resized, images, antialias=True)}
    return named or misconception(found, right, blurred, rtol=0, atol=levels)


@check(
    "digits_1989 makes 16×16 digits from -1 to 1, by bilinear interpolation",
    points=7,
    why="All published errors belong to these pixels; another way to shrink is another data set.",
)
def test_digits(sandbox, data):
    real, _ = data("mnist").sample("test", 6, seed=9)
    noise = torch.randint(0, 256, (4, 1, 28, 28), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    flat = torch.tensor([0, 255, 128], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 28, 28).contiguous()
    batches = [flat, noise, real, real[:1]]
    for images, found in zip(batches, sandbox.run(probes.small_digits, batches), strict=True):
        made = found["made"]
        because = f"uint8 images {tuple(images.shape)} become float32 digits ({len(images)}, 1, 16, 16)."
        expect_shape(made, (len(images), 1, 16, 16), because=because)
        whole = "computed in uint8, where there is neither a fraction nor a number below 0"
        expect_dtype(made, torch.float32, because=because, looks_like=None if made.is_floating_point() else whole)
        because = "float, then x / 127.5 - 1, then F.interpolate to 16×16, bilinear, without antialiasing."
        expect_close(made, _resized(images), because=because, looks_like=_named_digits(made, images), rtol=0, atol=1e-4)
        expect(
            torch.equal(found["after"], images),
            expected="the given images as they were",
            actual="changed images",
            because="digits_1989 makes new digits; the caller still owns the old ones.",
        )


def _targets(labels):
    return 2 * F.one_hot(labels, 10).float() - 1


TARGETS_WRONG = {
    "0 and 1, as for a softmax; tanh's targets are -1 and 1": lambda t: (t + 1) / 2,
    "1 and -1 are exchanged: the class has to be 1": lambda t: -t,
    "classes are off by one": lambda t: t.roll(1, 1),
    "classes are off by one, the other way": lambda t: t.roll(-1, 1),
}


@check(
    "targets are 1 for the class and -1 for the nine others",
    points=4,
    why="Mean squared error against tanh's own limits; with 0 for the others half of each unit's range means nothing.",
)
def test_targets(sandbox):
    batches = [torch.tensor(rows) for rows in (list(range(10)), [7], [3, 3, 0, 9, 1])]
    for labels, found in zip(batches, sandbox.run(probes.wanted, batches), strict=True):
        right = _targets(labels)
        because = f"targets of labels {labels.tolist()}."
        expect_shape(found, (len(labels), 10), because=because)
        expect_dtype(found, torch.float32, because="The loss subtracts them from float32 outputs. " + because)
        wrong = {text: make(right) for text, make in TARGETS_WRONG.items()}
        wrong["other limits than 1 and -1: a later habit; this paper's targets are the ends of tanh"] = (
            found.abs().max() * right
        )
        expect_close(found, right, because=because, looks_like=misconception(found, right, wrong))


# --- the network: outside and parameters -----------------------------------------------------------------


@check(
    "Each layer has its shape, and the network is its four layers in turn",
    points=6,
    why="16 → 8 → 4 → 30 → 10: two convolutions with stride 2 take the place of pooling, which wasn't there yet.",
)
def test_shapes(sandbox):
    found = sandbox.run(probes.shapes, _inputs(5, 20))
    because = "`LeNet1989()` is an nn.Module with h1, h2, h3 and out, each a method or a module."
    if not found["module"]:
        fail(expected="an nn.Module", actual=f"a {found['type']}", because=because)
    if found["missing"]:
        said = ", ".join(found["missing"])
        fail(expected="h1, h2, h3 and out, all callable", actual=f"without {said}", because=because)
    for case in found["cases"]:
        n = case["size"]
        wanted = {name: (name, OUT[name], case["layers"][name]) for name in OUT}
        wanted["whole"] = ("forward", OUT["out"], case["whole"])
        for name, shape, part in wanted.values():
            given = (n, *IN.get(name, IN["h1"]))
            because = f"{name} on {given} gives {(n, *shape)}."
            if "raised" in part:
                fail(
                    expected=f"{(n, *shape)} from {name} on {given}",
                    actual=f"{part['raised']}: {part['message'][:160]}",
                    because=because,
                    looks_like=_size_story(part["message"], name),
                )
            expect_shape(part["value"], (n, *shape), because=because, looks_like=_shape_story(part["value"], name))
    because = "row i of the result belongs to image i, whatever else is in the batch."
    expect_close(found["together"], found["single"], because=because, rtol=0, atol=1e-5)
    expect_close(
        found["again"], found["together"], because="the same network and images give the same outputs, always."
    )
    left_out = _left_out(found)
    because = "forward is out(h3(h2(h1(x)))), nothing before, between or after."
    expect_close(found["together"], found["in_turn"], because=because, looks_like=left_out, rtol=0, atol=1e-5)


def _left_out(found):
    """What forward does to the last layer's outputs, if it is that."""
    y = found["in_turn"]
    wrong = {"a softmax after the last layer": y.softmax(1), "a second tanh after the last layer": y.tanh()}
    return misconception(found["together"], y, wrong)


def _side_story(name, side):
    """What a map's side says about padding and stride."""
    given = IN[name][1]
    stories = {
        given: "stride 1: the stride of 2 does what pooling does in later networks",
        given - 4: "stride 1 and no padding: the stride of 2 does what pooling does in later networks",
        (given - 5) // 2 + 1: "no padding: there are two rows and columns of -1 on every side",
        given // 2 - 1: "a padding of 1: 5×5 kernels with stride 2 need two rows and columns on every side",
    }
    return stories.get(side)


def _size_story(message, name):
    sizes = re.search(r"size of tensor a \((\d+)\) must match", message)
    return _side_story(name, int(sizes[1])) if sizes and name in ("h1", "h2") else None


def _shape_story(value, name):
    if not isinstance(value, torch.Tensor) or name not in ("h1", "h2") or value.dim() != 4:
        return None
    return _side_story(name, value.shape[2])


RIGHT_COUNTS = {"h1": 1068, "h2": 2592, "h3": 5790, "out": 310}
SUMS = {
    "h1": "12 kernels of 25 weights and 768 biases, one for each unit",
    "h2": "12 kernels of 8·25 weights and 192 biases, one for each unit",
    "h3": "192·30 weights and 30 biases",
    "out": "30·10 weights and 10 biases",
}
COUNTS = {
    "h1": {
        312: "one bias for each plane, as nn.Conv2d has it: each of the 768 units has its own",
        300: "no biases, or none that learn: each of the 768 units has its own",
        1080: "two biases for each unit: nn.Conv2d's own for the plane, and the unit's; bias=False takes it away",
        364: "one bias for each place, shared by the planes: each of the 768 units has its own",
        19968: "weights aren't shared: a kernel for each unit instead of each plane",
        600: "kernels are 5×5 with twelve biases too few: count the units",
    },
    "h2": {
        3792: "a weight for each of the 12 planes: 8 are connected, and a mask that holds 4 at 0 doesn't remove them",
        3612: "a weight for each of the 12 planes, where 8 are connected, and one bias for each plane, not each unit",
        2412: "one bias for each plane, as nn.Conv2d has it: each of the 192 units has its own",
        2400: "no biases, or none that learn: each of the 192 units has its own",
        2604: "two biases for each unit: nn.Conv2d's own for the plane, and the unit's; bias=False takes it away",
        2416: "one bias for each place, shared by the planes: each of the 192 units has its own",
        1392: "groups=3: planes see the 4 of their own group, but they should see 8",
        1212: "groups=3: planes see the 4 of their own group, but they should see 8; and one bias for each plane",
        992: "one set of four kernels used for all three groups: each of the 12 planes has its own kernels",
        792: "kernels of 2·25: each plane sees 8 planes",
        492: "one kernel for each plane, used for all 8 inputs: every connected plane has weights of its own",
    },
    "h3": {5760: "no biases in H3", 23070: "H3 from H1's 768 units: it sees H2's 192"},
    "out": {300: "no biases in the output layer"},
}


@check(
    "1,068 + 2,592 + 5,790 + 310 parameters, 9,760 in all",
    points=12,
    why="The quickest test of an architecture against its paper: each slip changes one of four numbers.",
    after=["test_shapes"],
)
def test_counts(sandbox):
    found = sandbox.run(probes.counts, _inputs(48, 30))
    for name, right in RIGHT_COUNTS.items():
        behind = found["layers"][name]
        unregistered = [p for p in behind if not p["name"]]
        expect(
            not unregistered,
            expected=f"everything that {name} learns to be among parameters()",
            actual=f"a tensor of shape {tuple(unregistered[0]['shape']) if unregistered else ()} that isn't",
            because="an optimizer trains what parameters() gives.",
            looks_like="parameters in a plain list or dict: nn.Parameter as an attribute, or nn.ParameterList",
        )
        count = sum(math.prod(p["shape"]) for p in behind)
        shapes = ", ".join(str(tuple(p["shape"])) for p in behind[:6]) or "none"
        cut = "no parameter gets a gradient from it: cut from the graph, by .data, detach or no_grad"
        frozen = [p["name"] for p in found["registered"] if not p["trained"]]
        story = COUNTS[name].get(count) if behind else cut
        if frozen:
            story = f"requires_grad is False for {', '.join(frozen[:3])}: it would never be trained"
        expect(
            count == right,
            expected=f"{right:,} parameters behind {name}: {SUMS[name]}",
            actual=f"{count:,}, of shapes {shapes}",
            because=f"{SAID[name]} is made of {SUMS[name]}, and its output depends on no other.",
            looks_like=story,
        )
        used = sum(p["used"] for p in behind)
        expect(
            used == right,
            expected=f"a gradient for each of the {right:,} numbers behind {name}",
            actual=f"one for {used:,} of them",
            because=f"a number that no unit of {SAID[name]} uses is no parameter: it stays as it was drawn.",
            looks_like=_idle_story(behind, COUNTS[name].get(used)),
        )
    total = sum(math.prod(p["shape"]) for p in found["registered"])
    used = {p["name"] for name in RIGHT_COUNTS for p in found["layers"][name]}
    idle = [p["name"] for p in found["registered"] if p["name"] not in used]
    shared = "layers share parameters" if total < 9760 else None
    expect(
        total == 9760,
        expected="9,760 parameters in all",
        actual=f"{total:,}" + (f"; {', '.join(idle[:4])} in no layer" if idle else ""),
        because="the sum of the four, each parameter used by one layer.",
        looks_like=shared if not idle else "parameters that no layer uses",
    )


def _idle_story(behind, otherwise):
    """Which part of which parameter no unit uses."""
    for part in behind:
        rows = part["idle"]
        if rows and len(rows) < part["shape"][0]:
            where = f"{part['name']}, of shape {tuple(part['shape'])}, is never used at {describe(rows)} along dim 0"
            return f"{where}: a slice is wrong, and others are used twice"
    return otherwise


FAN_IN = {"h1": 25, "h2": 200, "h3": 192, "out": 30}
FAN_OUT = {"h1": (300, 12), "h2": (300, 100, 12), "h3": (30,), "out": (10,)}
"""As nn.init counts them, of all planes, a group, or one place."""
BIASES = {"h1": (768, 0.0), "h2": (192, 0.0), "h3": (30, 0.0), "out": (10, -1.0)}
FAN_WRONG = {
    "h1": {
        "F is the fan-out, 12·25, instead of the 25 inputs of a unit": 300,
        "F = 1, the planes without the 5×5": 1,
        "F = 16·16, the whole image; a unit sees 25 pixels": 256,
        "F = 5, one side of the window": 5,
    },
    "h2": {
        "F = 12·25 = 300; a unit sees 8 planes, so its fan-in is 200": 300,
        "F = 25, without the 8 planes": 25,
        "F = 8, the planes without the 5×5": 8,
        "F = 4·25, the fan-out of a group": 100,
        "F = 12": 12,
    },
    "h3": {"F is the fan-out, 30, instead of the 192 inputs": 30, "F = 12, the planes without their 16 places": 12},
    "out": {"F is the fan-out, 10, instead of the 30 inputs": 10},
}
SEEDS = list(range(100, 108))


def _bound_stories(name):
    fan = FAN_IN[name]
    stories = {
        "2.4 / F: the square root is missing (the paper prints it so; the rebuilding reads √F)": 2.4 / fan,
        "1 / √F, PyTorch's own start of nn.Linear and nn.Conv2d": fan**-0.5,
        "half the range: a range that is 2.4 / √F wide, instead of reaching 2.4 / √F to both sides": 1.2 / fan**0.5,
        "2.4 itself: not divided by √F": 2.4,
        "√(3 / F)·5/3, today's start for tanh": (3 / fan) ** 0.5 * 5 / 3,
        "√(6 / F), the start for ReLU": (6 / fan) ** 0.5,
    }
    for fan_out in FAN_OUT[name]:
        xavier = (6 / (fan + fan_out)) ** 0.5
        stories[f"Xavier's √(6 / (inputs + outputs)), {fan} and {fan_out}: only the inputs count here"] = xavier
        stories[f"Xavier's with tanh's gain, 5/3 · √(6 / (inputs + outputs)), {fan} and {fan_out}"] = xavier * 5 / 3
    return {**{text: 2.4 / f**0.5 for text, f in FAN_WRONG[name].items()}, **stories}


def _start_story(name, weights):
    """What the numbers say about how the weights of a layer were drawn."""
    bound, low, high = 2.4 / FAN_IN[name] ** 0.5, float(weights.min()), float(weights.max())
    if low == high:
        return "all weights are the same number: units that start equal stay equal"
    if low >= 0 or high <= 0:
        return "drawn from one side only: torch.rand is between 0 and 1; weights need both signs"
    kurtosis = float(((weights - weights.mean()) ** 4).mean() / weights.var() ** 2)
    if kurtosis > 2.5:
        return "normally distributed: torch.randn instead of a uniform range"
    reach = max(-low, high)
    for text, other in _bound_stories(name).items():
        if 0.99 * other <= reach <= 1.0001 * other and abs(other - bound) > 1e-6:
            return text
    return None


@check(
    "It starts uniform within ±2.4/√F, with biases of 0, those of the outputs of -1",
    points=10,
    why="Weights that keep a unit's sum where tanh is steep: without normalisation layers all depended on it.",
    after=["test_counts"],
)
def test_start(sandbox):
    nets = sandbox.run(probes.starts, _inputs(2, 40), SEEDS)
    for name, fan in FAN_IN.items():
        rows = torch.stack([net[name] for net in nets]).double()
        count, start = BIASES[name]
        biases = int((rows[0] == start).sum())
        expect(
            biases == count,
            expected=f"{count} parameters of {name} that start at {start:g}: its biases",
            actual=f"{biases} of {rows.shape[1]:,}",
            because=f"{SAID[name]} in a new network."
            + (" Nine targets of ten are -1: the outputs start near them." if name == "out" else ""),
            looks_like=_bias_story(name, rows[0]),
        )
        weights = rows[rows != start]
        bound = 2.4 / fan**0.5
        story = _start_story(name, weights)
        said = f"{weights.numel():,} weights of {name} in {len(SEEDS)} new networks"
        because = f"{said}: U(-2.4/√F, 2.4/√F) with F = {fan}, the inputs of one unit."
        nearly = (1 - 16 / weights.numel()) * bound  # the largest of so many is below it once in ten million
        expect(
            bool((weights.abs() <= bound * 1.0001).all()) and float(weights.abs().max()) >= nearly,
            expected=f"weights of {name} from {-bound:.4f} to {bound:.4f}",
            actual=f"from {float(weights.min()):.4f} to {float(weights.max()):.4f}",
            because=because,
            looks_like=story,
        )
        expected = f"a standard deviation of {bound / 3**0.5:.4f} (within 6 %) and a mean near 0"
        mean, spread = float(weights.mean()), float(weights.std())
        near = abs(mean) < 6 * bound / 3**0.5 / weights.numel() ** 0.5
        expect(
            abs(spread * 3**0.5 / bound - 1) < 0.06 and near,
            expected=expected,
            actual=f"{spread:.4f}, mean {mean:.4f}",
            because=because,
            looks_like=story,
        )
        different = len(torch.unique(weights))
        expect(
            different > 0.99 * weights.numel(),
            expected="weights that all differ, from unit to unit and from seed to seed",
            actual=f"{different:,} different ones of {weights.numel():,}",
            because="units that start equal stay equal; and a fixed seed in __init__ gives everyone the same network.",
        )


def _bias_story(name, row):
    if name == "out" and int((row == 0).sum()) == 10:
        return "the outputs' biases start at 0; -1 is where nine of ten targets are"
    if name == "out" and int((row == 1).sum()) == 10:
        return "the outputs' biases start at +1, the wrong end"
    if name != "out" and int((row == -1).sum()) == BIASES[name][0]:
        return "biases of -1 in a hidden layer: that is for the outputs alone"
    if not bool((row == 0).any()) or name == "out":
        return "biases drawn at random, like weights (nn.Linear and nn.Conv2d do that by themselves)"
    if not bool(row.any()):
        return "weights that start at 0: all units of a layer stay equal"
    return None


# --- the network: what the layers compute ------------------------------------------------------------------


def _pre(output):
    """The sums of which a layer took tanh."""
    return output.double().clamp(-1 + 1e-7, 1 - 1e-7).atanh()


UNDO = {
    "no activation in this layer: it gives the sums themselves": lambda y: y,
    "a sigmoid instead of tanh": lambda y: y.logit(),
    "1.7159·tanh(2/3·x), from a later paper; here it is tanh itself": lambda y: (y / 1.7159).atanh(),
    "tanh twice": lambda y: y.atanh().atanh(),
    "a soft sign instead of tanh": lambda y: y / (1 - y.abs()),
}


def _crossed(y):
    """f(a), f(a+u), f(a+v), f(a+u+v) of sums: how far they are from a parallelogram."""
    a, u, v, both = y.chunk(4)
    return float((both - u - v + a).abs().max())


def _activation_story(y):
    if bool((y >= 0).all()):
        zeros = bool((y == 0).any())
        return "ReLU instead of tanh" if zeros else "a sigmoid instead of tanh"
    for text, undo in UNDO.items():
        if _crossed(undo(y.double())) < 1e-4:
            return text
    return None


@check(
    "Every unit is tanh of a weighted sum, the outputs too",
    points=6,
    why="In 1989 tanh is everywhere. ReLU came two decades later, and a softmax isn't needed for squared errors.",
    after=["test_counts"],
)
def test_tanh(sandbox):
    inputs = {}
    for i, (name, shape) in enumerate(IN.items()):
        a, u, v = (_random((4, *shape), 50 + 3 * i + k, -0.4, 0.4) for k in range(3))
        inputs[name] = torch.cat([a, a + u, a + v, a + u + v])
    found = sandbox.run(probes.responses, 0.02, inputs)
    for name, y in found.items():
        because = f"atanh of what {name} gives has to be linear in its input, up to the bias."
        expect_finite(y, because=because)
        inside = bool((y.abs() <= 1).all())
        off = _crossed(_pre(y)) if inside else math.inf
        ends = f"outputs between {float(y.min()):.3g} and {float(y.max()):.3g}"
        expect(
            off < 5e-4,
            expected=f"{name} = tanh(weighted sum + bias)",
            actual=ends + (f"; its atanh isn't linear, by {off:.2g}" if inside else ""),
            because=because,
            looks_like=_activation_story(y),
        )
    grey = {name: torch.zeros(1, *IN[name]) for name in ("h3", "out")}
    for name, y in sandbox.run(probes.responses, 0.0, grey).items():
        start = BIASES[name][1]
        because = f"{name} of a new network for inputs of 0: only the bias is left, {start:g}, and it is added."
        right = torch.full_like(y, math.tanh(start))
        story = misconception(y, right, {"the bias is subtracted": -right})
        expect_close(y, right, because=because, looks_like=story)


STEP = 0.5


def _impulses(shape):
    """0, then STEP at each place in turn: (1 + places, *shape)."""
    places = math.prod(shape)
    return torch.cat([torch.zeros(1, places), STEP * torch.eye(places)]).view(-1, *shape)


def _weights(sums, name):
    """From the responses to impulses: how each unit depends on each input, (*out, *in), and its sum for 0."""
    slopes = (sums[1:] - sums[0]) / STEP  # (places, *out)
    return slopes.movedim(0, -1).reshape(*OUT[name], *IN[name]), sums[0]


def _window(slopes):
    """Rows and columns (first, last) of the inputs that a unit sees."""
    seen = slopes.abs().amax(0) > 1e-3
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return [(int(r[0]), int(r[-1])) if len(r) else None for r in (rows, columns)]


def _expect_convolution(name, slopes, offset):
    """Each plane has one kernel, which every unit applies to the 5×5 window around twice its place."""
    inner = OUT[name][1] // 2  # a unit whose window lies inside
    first = 2 * inner - 2
    said = f"({first}, {first + 4})"
    for plane in range(12):
        rows, columns = _window(slopes[plane, inner, inner])
        right = rows == columns == (first, first + 4)
        looks = None
        if not right and rows and columns:
            size = [b - a + 1 for a, b in (rows, columns)]
            looks = (
                f"a window of {size[0]}×{size[1]} instead of 5×5"
                if size != [5, 5]
                else ("the window is shifted: the padding isn't the same on all sides, two rows and two columns")
            )
        expect(
            right,
            expected=f"unit ({inner}, {inner}) of plane {plane} of {name} to see rows and columns {said}",
            actual=f"rows {rows}, columns {columns}",
            because="5×5 with stride 2 and two rows of padding: unit i is centred on 2·i.",
            looks_like=looks,
        )
    kernels = slopes[:, inner, inner, :, first : first + 5, first : first + 5]
    places = IN[name]
    images = torch.eye(math.prod(places), dtype=torch.float64).view(-1, *places)
    wanted = F.conv2d(images, kernels, stride=2, padding=2).movedim(0, -1).reshape(slopes.shape)
    inside = (slice(None), slice(1, OUT[name][1] - 1), slice(1, OUT[name][1] - 1))
    border_only = torch.allclose(slopes[inside], wanted[inside], atol=5e-3)
    looks = (
        "what lies outside repeats or mirrors the picture: padding is the constant -1"
        if border_only
        else "units of one plane have different kernels: a plane's weights are shared"
    )
    because = f"how every unit of {name} depends on every input, against one 5×5 kernel for each plane."
    expect_close(slopes, wanted, because=because, looks_like=looks, rtol=0, atol=5e-3)
    biases = offset[inside].flatten(1)
    spread = biases.amax(1) - biases.amin(1)
    expect(
        bool((spread > 5e-3).all()),
        expected=f"units of one plane of {name} with different biases, once these have been moved at random",
        actual="the same bias throughout a plane",
        because="the paper's units share their plane's weights, but not a bias.",
        looks_like="one bias for each plane is used: each unit has its own",
    )


@check(
    "H1: a 5×5 kernel for each plane, shared by its units, and a bias for each unit",
    points=8,
    why="Weight sharing is the idea that this network showed; biases that aren't shared are its oddity.",
    after=["test_tanh"],
)
def test_h1(sandbox):
    found = sandbox.run(probes.responses, 0.05, {"h1": _impulses(IN["h1"])})
    _expect_convolution("h1", *_weights(_pre(found["h1"]), "h1"))


FIRST, LAST, ENDS = range(8), range(4, 12), [0, 1, 2, 3, 8, 9, 10, 11]


def _scheme(*groups):
    """(12, 12) booleans: which planes of H1 each plane of H2 sees, four at a time."""
    seen = torch.zeros(12, 12, dtype=torch.bool)
    for g, planes in enumerate(groups):
        seen[4 * g : 4 * g + 4, list(planes)] = True
    return seen


SCHEME = _scheme(FIRST, LAST, ENDS)
SCHEMES_WRONG = {
    "every plane sees all 12: fully connected, as nn.Conv2d does it": _scheme(range(12), range(12), range(12)),
    "all planes see the first eight": _scheme(FIRST, FIRST, FIRST),
    "groups=3: every plane sees the four of its own group": _scheme(range(4), range(4, 8), range(8, 12)),
    "the last four planes see 2–9, the middle; they should see both ends, 0–3 and 8–11": _scheme(
        FIRST, LAST, range(2, 10)
    ),
    "the second and the third group are exchanged": _scheme(FIRST, ENDS, LAST),
    "the first and the third group are exchanged": _scheme(ENDS, LAST, FIRST),
    "the first and the second group are exchanged": _scheme(LAST, FIRST, ENDS),
    "the last four planes see 0–7 like the first": _scheme(FIRST, LAST, FIRST),
    "the last four planes see 4–11 like the second": _scheme(FIRST, LAST, LAST),
    "groups take turns: plane j belongs to group j mod 3; planes 0–3, 4–7 and 8–11 are the groups": (
        _scheme(FIRST, LAST, ENDS)[[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]]
    ),
}


def _planes(row):
    return describe([int(i) for i in row.nonzero().flatten()]) if bool(row.any()) else "none"


@check(
    "H2: each plane sees eight of the twelve, by the scheme of the statement",
    points=10,
    why="The gradient is zero where there is no connection: it tells what a unit can see, however it is written.",
    after=["test_tanh"],
)
def test_planes(sandbox):
    for gradients in sandbox.run(probes.plane_gradients, _random((3, 12, 8, 8), 60, -0.9, 0.9)):
        seen = gradients > 0
        looks = next((text for text, wrong in SCHEMES_WRONG.items() if torch.equal(seen, wrong)), None)
        for j in range(12):
            expect(
                torch.equal(seen[j], SCHEME[j]),
                expected=f"plane {j} of H2 has a gradient for the planes {_planes(SCHEME[j])} of H1, and no others",
                actual=f"for the planes {_planes(seen[j])}",
                because="planes 0–3 see 0–7, planes 4–7 see 4–11, planes 8–11 see 0–3 and 8–11.",
                looks_like=looks,
            )


@check(
    "H2: a kernel of 8×5×5 for each plane, shared by its units, and a bias for each unit",
    points=7,
    why="It is the same layer again, on planes instead of pixels.",
    after=["test_planes", "test_h1"],
)
def test_h2(sandbox):
    found = sandbox.run(probes.responses, 0.03, {"h2": _impulses(IN["h2"])})
    _expect_convolution("h2", *_weights(_pre(found["h2"]), "h2"))


def _outside(name, slopes):
    """The sum of the weights that lie outside the picture, for each unit."""
    inner = OUT[name][1] // 2
    first = 2 * inner - 2
    kernels = slopes[:, inner, inner, :, first : first + 5, first : first + 5]
    inside = torch.ones(1, *IN[name], dtype=torch.float64)
    return kernels.sum((1, 2, 3))[:, None, None] - F.conv2d(inside, kernels, stride=2, padding=2)[0]


def _expect_padding(name, slopes, grey, paper):
    """`grey`, `paper`: the sums of all units of a new network when every input is 0, or -1."""
    said, outside = SAID[name], _outside(name, slopes)
    size = OUT[name][1]
    border = torch.ones(size, size, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    at = outside[:, border]
    value = float((at * grey[:, border]).sum() / (at * at).sum())
    rest = float((grey[:, border] - value * at).abs().max())
    constant = rest < 2e-2
    stories = {
        0.0: f"{said} is padded with zeros: 0 is grey, halfway between paper and ink; the background is -1",
        1.0: f"{said} is padded with 1: that is ink; the background is -1",
    }
    near = next((text for v, text in stories.items() if abs(value - v) < 0.02), None)
    other = None if abs(value + 1) < 0.02 else f"{said} is padded with {value:.2f}"
    looks = (near or other) if constant else None
    spread = float((paper.amax((1, 2)) - paper.amin((1, 2))).max())
    what = "an image of nothing but paper" if name == "h1" else "planes of nothing but -1"
    because = (
        f"In a new network all biases of {said} are 0. For {what}, padded with more of the same, there is no border: "
        "all units of a plane see the same."
    )
    expect(
        spread < 1e-2,
        expected=f"one and the same value in all {size * size} units of a plane of {name}, when all inputs are -1",
        actual=f"values that differ by up to {spread:.3g} before the tanh",
        because=because,
        looks_like=looks,
    )
    because = f"{said} of a new network for inputs of 0: what lies outside contributes -1 times its weights."
    expect_close(grey, -outside, because=because, looks_like=looks, rtol=0, atol=2e-2)


@check(
    "Both convolutions are padded with -1, the background",
    points=10,
    why="Zeros would draw a grey frame around every digit, and each unit at the border would see an edge there.",
    after=["test_h1", "test_h2", "test_start"],
)
def test_padding(sandbox):
    names = ("h1", "h2")
    inputs = {name: torch.cat([_impulses(IN[name]), -torch.ones(1, *IN[name])]) for name in names}
    found = sandbox.run(probes.responses, 0.0, inputs)
    for name in names:
        sums = _pre(found[name])
        slopes, grey = _weights(sums[:-1], name)
        _expect_padding(name, slopes, grey, sums[-1])


# --- training ----------------------------------------------------------------------------------------------


def _batches(count, size, how):
    order = torch.arange(count)
    cut = list(order.split(size))
    return cut[:-1] if how == "last dropped" and len(cut[-1]) < size else cut


def _train(weight, bias, images, wanted, lr=0.03, batch_size=1, passes=1, how=""):
    """The parameters after these passes over one tanh layer, and the last pass' loss; in float64. `how`: a mistake."""
    w, b = weight.double().clone(), bias.double().clone()
    x, y = images.double().flatten(1), wanted.double()
    n, velocity, returned = len(x), None, None
    old = (torch.full_like(w, 0.5), torch.full_like(b, 0.5))
    for k in range(passes):
        sums, means, late = 0.0, [], 0.0
        for i, index in enumerate(_batches(n, batch_size, how)):
            out = torch.tanh(x[index] @ w.T + b)
            error = out - y[index]
            scale = {"sum": 1.0, "outputs summed": 1 / len(index), "half": 0.5 / error.numel()}.get(
                how, 1 / error.numel()
            )
            sums += float((error**2).sum() / 10)
            means.append(float((error**2).mean()))
            d = 2 * scale * error * (1 - out**2)
            g = (d.T @ x[index], d.sum(0))
            if how == "stale":
                g = tuple(a + o for a, o in zip(g, old, strict=True))
                old = g
            if how == "stale first" and k == i == 0:
                g = tuple(a + o for a, o in zip(g, old, strict=True))
            if how == "momentum":
                velocity = g if velocity is None else tuple(0.9 * v + a for v, a in zip(velocity, g, strict=True))
                g = velocity
            sign = -1 if how == "ascent" else 1
            w, b = w - sign * lr * g[0], b - sign * lr * g[1]
            late += float(((torch.tanh(x[index] @ w.T + b) - y[index]) ** 2).sum() / 10)
        returned = {"mean of means": sum(means) / len(means), "last": means[-1], "sum": sums}
        returned |= {"sum of means": sum(means), "late": late / n, "whole": sum(means) * batch_size / n}
        returned["floored"] = sum(means) / (n // batch_size)
        returned["right"] = sums / n
    return {"weight": w, "bias": b, "loss": returned}


TRAIN_WRONG = {
    "stale": "gradients of earlier steps are never cleared: backward adds, so zero_grad has to come before it",
    "stale first": "zero_grad comes after the step: gradients from before the call count in the first one",
    "sum": "squared errors are summed, not averaged: the step grows with the batch and the ten outputs",
    "outputs summed": "squared errors are summed over the ten outputs, averaged over the batch: steps 10 times as long",
    "half": "half the squared error: steps half as long",
    "last dropped": "the smaller last batch is left out",
    "momentum": "momentum: it is plain SGD",
    "ascent": "a step along the gradient, uphill",
}


@check(
    "train_pass: one step of plain SGD for each batch, in order, on the mean squared error",
    points=8,
    why="The paper shows its patterns one by one, always in the same order. Each step can be computed by hand.",
    after=["test_targets"],
)
def test_train_pass(sandbox):
    n = 11
    images = _random((n, 1, 16, 16), 70)
    images[:, 0, 0, 0] = torch.arange(n) / n
    wanted = _targets(torch.randint(0, 10, (n,), generator=torch.Generator().manual_seed(71)))
    weight, bias = _random((10, 256), 72, -0.1, 0.1), _random((10,), 73, -0.2, 0.2)
    options = [{"lr": 0.4, "batch_size": 4}, {"lr": 0.1, "batch_size": 3}, {}]
    found = sandbox.run(probes.passes, weight, bias, images, wanted, options)
    for given, runs in zip(options, found, strict=True):
        call = ", ".join(f"{k}={v}" for k, v in given.items()) or "lr and batch_size left out: 0.03 and 1"
        for k, run in enumerate(runs):
            _expect_pass(run, k + 1, given, call, (weight, bias, images, wanted))


def _order_story(run, n, batch_size):
    """What the images that the model was given say about batches and order."""
    order = [round(float(v) * n) for v in torch.cat(run["given"])] if run["given"] else []
    sizes = [len(v) for v in run["given"]]
    if sizes == [n] and batch_size < n:
        return "one step with all examples instead of one for each batch"
    if sorted(order) == list(range(n)) and order != list(range(n)):
        return "shuffled: the order is the one given, always"
    if n % batch_size and order == list(range(n - n % batch_size)):
        return "the smaller last batch is left out"
    return None


def _expect_pass(run, passes, given, call, material):
    n, batch_size = len(material[2]), given.get("batch_size", 1)
    right = _train(*material, **given, passes=passes)
    said = f"pass {passes} over {n} examples ({call})"
    story, after = _order_story(run, n, batch_size), run["after"]
    if passes == 1 and torch.equal(after["weight"], material[0]):
        story = "the model doesn't move at all"
    if not given and not resembles(after["weight"], right["weight"], rtol=1e-4, atol=1e-6):
        sizes = {len(v) for v in run["given"]}
        story = (
            f"the default of {'lr' if sizes == {1} else 'batch_size'} is another"  # what is given explicitly is used
        )
    for name in ("weight", "bias"):
        wrong = {
            text: partial(lambda how, name: _train(*material, **given, passes=passes, how=how)[name], how, name)
            for how, text in TRAIN_WRONG.items()
        }
        named = story or misconception(after[name], right[name], wrong, rtol=1e-4, atol=1e-6)
        because = f"{said}: the model's {name} after it, against the same steps by hand: w - lr · gradient of the mean."
        expect_close(after[name], right[name], because=because, looks_like=named, rtol=1e-4, atol=1e-6)
    losses = right["loss"]
    because = f"{said}: the mean over its examples of the loss at the time of their step."
    expect_type(run["loss"], float, because=because + " A number keeps no graph alive.")
    loss = expect_number(run["loss"], because=because)
    wrong = {
        "the mean of the batches' means: the smaller last batch weighs too much": losses["mean of means"],
        "each batch's mean times batch_size: the last batch is smaller": losses["whole"],
        "divided by N // batch_size: there is one batch more, the smaller last one": losses["floored"],
        "the last batch's loss alone": losses["last"],
        "the loss of each example after its step instead of before": losses["late"],
        "the sum over the examples, not divided by their number": losses["sum"],
        "the sum of the batches' means, not divided by anything": losses["sum of means"],
        "squared errors are summed over the ten outputs": 10 * losses["right"],
        "half the squared error": 0.5 * losses["right"],
    }
    named = misconception(loss, losses["right"], wrong, rtol=1e-4)
    expect_close(loss, losses["right"], because=because, looks_like=named, rtol=1e-4)


@check(
    "misses counts the images whose largest output is at another class",
    points=4,
    why="The published results are counts: 82 misses of 2,007. The outputs' order matters, not their signs.",
)
def test_misses(sandbox):
    cases, right = [], []
    for n, wrong, shift, seed in (
        (9, 4, 0.0, 80),
        (1, 1, 0.0, 81),
        (1, 0, -3.0, 82),
        (30, 7, -3.0, 83),
        (23, 0, 2.0, 84),
    ):
        images = _random((n, 1, 16, 16), seed) + shift
        labels = images[:, 0, 0, :10].argmax(1)
        labels[:wrong] = (labels[:wrong] + 3) % 10
        cases.append((images, labels))
        right.append(wrong)
    answers = sandbox.run(probes.missed, cases)
    said = [
        f"{len(images)} images, of which {count} have their largest output at another class than the label."
        for (images, _), count in zip(cases, right, strict=True)
    ]
    for (images, _), count, found, because in zip(cases, right, answers, said, strict=True):
        looks = _count_story(found, count, len(images))
        expect_type(found, int, because=because + " A count is an int.", looks_like=looks)
    # one count fits many stories by chance: a story has to tell all of them
    story = next((text for text, counts in _miscounts(cases).items() if counts == answers), None)
    for count, found, because in zip(right, answers, said, strict=True):
        expect(found == count, expected=str(count), actual=describe(found), because=because, looks_like=story)


def _miscounts(cases):
    """What mistakes make of each case's count; the model's ten outputs are the first pixels of an image."""

    def counted(wrong):
        return [int(wrong(images[:, 0, 0, :10], labels).sum()) for images, labels in cases]

    return {
        "the hits are counted": counted(lambda outputs, labels: outputs.argmax(1) == labels),
        "the output of the largest magnitude is taken: the most negative one may win": counted(
            lambda outputs, labels: outputs.abs().argmax(1) != labels
        ),
        "the smallest output is taken": counted(lambda outputs, labels: outputs.argmin(1) != labels),
        "outputs are compared with 0 one by one": counted(
            lambda outputs, labels: ((outputs > 0) != (F.one_hot(labels, 10) > 0)).any(1)
        ),
    }


def _count_story(found, count, n):
    if isinstance(found, torch.Tensor) and found.numel() == 1:
        return "a tensor instead of a number: int(…) or .item() takes it out"
    if isinstance(found, float):
        return misconception(found, count, {"a share instead of a count": count / n, "percent": 100 * count / n})
    if "numpy" in describe(found):
        return "a number of NumPy's: int(…) makes it Python's"
    return None


TRAIN, RATES, BATCH = 7291, (0.1, 0.2, 0.2, 0.1, 0.05), 8
BAR = {"real": 8.0, "embedded": 10.0}


def _filter_images():
    """Grey, then one brighter pixel at each place of the window of unit (4, 4)."""
    images = torch.zeros(26, 1, 16, 16)
    for k in range(25):
        images[1 + k, 0, 6 + k // 5, 6 + k % 5] = STEP
    return images


def _show_filters(sandbox, outputs):
    expect_shape(outputs, (26, 12, 8, 8), because="h1 of the trained network.")
    sums = _pre(outputs)[:, :, 4, 4]
    filters = ((sums[1:] - sums[0]) / STEP).T.reshape(12, 5, 5)
    grey = 0.5 + 0.5 * filters / filters.abs().amax((1, 2), keepdim=True).clamp_min(1e-9)
    big = grey.repeat_interleave(2, 1).repeat_interleave(2, 2).float()
    sandbox.picture("The twelve 5×5 filters of H1 after five passes (bright: looks for ink)", big, per_row=6)


@check(
    "Five passes over 7,291 digits: few misses among the unseen ones",
    points=8,
    why="The paper's network made 5 % errors, after 23 passes and three days. Five passes take seconds now.",
    after=["test_digits", "test_padding", "test_train_pass"],
)
def test_learns(sandbox, data):
    digits = data("mnist")
    images, labels = digits.sample("train", TRAIN, seed=72)
    unseen, truth = digits.sample("test", min(2007, len(digits.test)), seed=73)
    found = sandbox.run(
        probes.learned,
        images,
        labels,
        unseen,
        _filter_images(),
        rates=list(RATES),
        batch_size=BATCH,
        cpu_seconds=45,
        wall_seconds=150,
    )
    outputs = found["outputs"]
    expect_shape(outputs, (len(truth), 10), because="ten outputs for each unseen digit.")
    expect_finite(outputs, because="a training that ends in NaN has diverged.")
    wrong = int((outputs.argmax(1) != truth).sum())
    error = 100 * wrong / len(truth)
    sandbox.measure("error", error)
    _show_filters(sandbox, found["filters"])
    sandbox.note(
        f"{wrong} misses of {len(truth):,} ({error:.2f} %) after {len(RATES)} passes; 1989: 102 of 2,007 after 23"
    )
    chance = error > 85
    expect_at_most(
        round(error, 2),
        BAR[sandbox.source],
        unit=" %",
        because=f"{len(truth):,} digits held back, after {len(RATES)} of your passes over {TRAIN:,}, in "
        f"batches of {BATCH}, with rates of {', '.join(map(str, RATES))}.",
        looks_like="chance: nothing was learned. Do images and targets still belong together?" if chance else None,
    )

"""Checks for the spiral case study. The oracles are autograd in float64 and closed forms, here in the judge."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_number,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
    misconception,
    resembles,
)

from . import probes

F64 = torch.float64
NAMES = {"linear": ("W", "b"), "two layers": ("W2", "b2", "W1", "b1")}
"""In the order in which backward finds the gradients."""
TIGHT = {"rtol": 1e-9, "atol": 1e-11}
NEAR = {"rtol": 1e-6, "atol": 1e-9}
"""For telling misconceptions apart."""


def _model(params):
    return "two layers" if "W2" in params else "linear"


def _case(n, sizes, seed, reg=0.0, scale=1.0):
    """Random points, labels and parameters, float64. sizes: (D, K) or (D, H, K)."""
    g = torch.Generator().manual_seed(seed)
    params = {}
    for name, before, after in zip(("1", "2") if len(sizes) == 3 else ("",), sizes[:-1], sizes[1:], strict=True):
        params["W" + name] = scale * torch.randn(before, after, generator=g, dtype=F64)
        params["b" + name] = scale * torch.randn(after, generator=g, dtype=F64)
    x = torch.randn(n, sizes[0], generator=g, dtype=F64)
    return {"params": params, "x": x, "labels": torch.randint(sizes[-1], (n,), generator=g), "reg": reg}


def _said(case):
    params = case["params"]
    hidden = f", H={params['W1'].shape[1]}" if "W2" in params else ""
    k = len(params["b2" if hidden else "b"])
    reg = f", reg={case['reg']:g}" if case["reg"] else ""
    return f"{_model(params)}, N={len(case['x'])}, D={case['x'].shape[1]}{hidden}, K={k}{reg}"


# --- oracles -------------------------------------------------------------------------------------------


def _scores(params, x):
    if "W2" in params:
        return torch.relu(x @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]
    return x @ params["W"] + params["b"]


def _loss(params, x, labels, reg):
    squares = sum(p.square().sum() for name, p in params.items() if name.startswith("W"))
    return F.cross_entropy(_scores(params, x), labels) + 0.5 * reg * squares


def _right(case):
    """The loss and the gradients, by autograd."""
    params = {name: p.clone().requires_grad_(True) for name, p in case["params"].items()}
    loss = _loss(params, case["x"], case["labels"], case["reg"])
    return float(loss.detach()), dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))


def _otherwise(case, error="p - q", scale=1.0, bias=torch.sum, mask="forward", below="hidden", axis=1):
    """The gradients by hand with one thing done otherwise: what a misconception gives."""
    p, x, labels, reg = case["params"], case["x"], case["labels"], case["reg"]
    two = "W2" in p
    before = x @ p["W1"] + p["b1"] if two else x
    hidden = before.clamp(min=0) if two else x
    top, top_bias = ("W2", "b2") if two else ("W", "b")
    probabilities = (hidden @ p[top] + p[top_bias]).softmax(axis)
    q = F.one_hot(labels, probabilities.shape[1]).to(F64)
    errors = {
        "p - q": probabilities - q,
        "q - p": q - probabilities,
        "p": probabilities,
        "own": (probabilities - q) * q,
        "columns": probabilities - q.amax(0),
    }
    d_scores = scale * errors[error] / len(x)
    grads = {top: (hidden if below == "hidden" else before).T @ d_scores, top_bias: bias(d_scores, 0)}
    if two:
        d_hidden = d_scores @ p["W2"].T
        masks = {
            "forward": before > 0,
            "none": torch.ones_like(before),
            "gradient": d_hidden > 0,
            "both": (before > 0) & (d_hidden > 0),
            "at least": before >= 0,
            "values": hidden,
        }
        d_before = d_hidden * masks[mask]
        grads |= {"W1": x.T @ d_before, "b1": bias(d_before, 0)}
    return {name: g + reg * p[name] if name[0] == "W" else g for name, g in grads.items()}


def _gradient_guesses(case):
    n, two = len(case["x"]), "W2" in case["params"]
    classes = len(case["params"]["b2" if two else "b"])
    guesses = {
        "the 1/N of the mean is missing": _otherwise(case, scale=n),
        "divided by N twice": _otherwise(case, scale=1 / n),
        "divided by N · K instead of N": _otherwise(case, scale=1 / classes),
        "the sign is turned: the gradient points uphill, and train subtracts it": _otherwise(case, error="q - p"),
        "the one-hot target isn't subtracted from the probabilities": _otherwise(case, error="p"),
        "only the label's own score gets a gradient; the softmax ties all of them together": _otherwise(
            case, error="own"
        ),
        "d[:, labels] takes whole columns: 1 has to be subtracted in row i at labels[i] alone, d[arange(N), labels]": (
            _otherwise(case, error="columns")
        ),
        "probabilities over the batch, not over the classes": _otherwise(case, axis=0),
        "the mean over the batch for a bias: its gradient is the sum": _otherwise(case, bias=torch.mean),
    }
    if two:
        guesses |= {
            "the ReLU's mask is missing: units that were off get a gradient, too": _otherwise(case, mask="none"),
            "the ReLU's mask is taken from the gradient: it belongs to the forward pass": _otherwise(
                case, mask="gradient"
            ),
            "the ReLU's mask cuts off negative gradients as well": _otherwise(case, mask="both"),
            "multiplied by the hidden values: the ReLU's slope is 1 where they are above 0": _otherwise(
                case, mask="values"
            ),
            "W2's gradient takes the hidden layer before its ReLU": _otherwise(case, below="before"),
        }
    return guesses


def _loss_guesses(case):
    """What the wrong losses of this case's scores are, without regularisation."""
    scores, labels = _scores(case["params"], case["x"]), case["labels"]
    chosen = -scores.log_softmax(1)[torch.arange(len(labels)), labels]
    guesses = {
        "the sum over the points, not the mean": chosen.sum(),
        "the sign is missing: log p is negative": -chosen.mean(),
        "divided by N · K instead of N": chosen.sum() / scores.numel(),
        "minus the probability: the logarithm is missing": -(-chosen).exp().mean(),
        "the softmax is missing: minus the label's score": -scores[torch.arange(len(labels)), labels].mean(),
        "the softmax over the batch, not over the classes": F.nll_loss(scores.log_softmax(0), labels),
        "log_p[:, labels] takes whole columns, N · N numbers: row i at labels[i] is log_p[arange(N), labels]": (
            -scores.log_softmax(1)[:, labels].mean()
        ),
        "a softmax twice": F.cross_entropy(scores.softmax(1), labels),
        "a ReLU on the scores": F.cross_entropy(scores.relu(), labels),
    }
    p = case["params"]
    if "W2" in p:
        straight = (case["x"] @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        guesses |= {
            "no ReLU between the layers: then the network is linear": F.cross_entropy(straight, labels),
            "the ReLU is applied to the scores, not between the layers": F.cross_entropy(straight.relu(), labels),
        }
    return {text: float(value) for text, value in guesses.items()}


def _number(found):
    said = "loss and gradients come as a pair; a float can be logged and compared."
    looks = "a number of NumPy's, as arrays give it: float(…) makes it Python's" if "numpy" in describe(found) else None
    return expect_number(found, because=said, looks_like=looks)


def _expect_loss(found, right, because, guesses=None):
    number = _number(found)
    looks = misconception(number, right, guesses or {}, rtol=1e-7, atol=1e-12)
    if looks is None and not math.isfinite(number):
        looks = "exp overflows: logsumexp, or the row's largest score subtracted first, keeps it finite"
        if math.isinf(number) and right > 100:
            looks = "the logarithm of a probability that underflowed to 0: subtract logarithms instead"
    if looks is None and right > 100 and abs(number) < 0.5 * right:
        looks = "clamped scores, or an epsilon in the logarithm: the loss stays small however wrong a score is"
    if math.isclose(number, right, rel_tol=1e-5) and not math.isclose(number, right, rel_tol=1e-9, abs_tol=1e-12):
        rounded = float(torch.tensor(number, dtype=torch.float32)) == number
        looks = "the loss went through float32 on its way: that leaves about seven digits" if rounded else looks
        because = f"{because} The scores are float64; the loss is to be right to nine digits."
        fail(expected=f"{right:.12g}", actual=f"{number:.12g}", because=because, looks_like=looks)
    expect_close(number, right, because=because, looks_like=looks, rtol=1e-9, atol=1e-12)


def _expect_grads(found, case, right, said, guesses=None):
    """All gradients of one model. `guesses`: misconception → its gradients."""
    names = NAMES[_model(case["params"])]
    expect_type(found, dict, because="the gradients come under the names of the parameters.")
    expect_equal(sorted(found), sorted(names), because=f"({said}) one gradient for each parameter, and no other.")
    fits = {text: sum(resembles(found[name], g[name], **NEAR) for name in names) for text, g in (guesses or {}).items()}
    likely = sorted(fits, key=fits.get, reverse=True)  # what explains most of them comes first
    for name in names:
        looks = misconception(found[name], right[name], {text: guesses[text][name] for text in likely}, **NEAR)
        if looks is None and resembles(found[name], right[name], rtol=1e-4, atol=1e-6):
            looks = "right to a few digits: float32 on the way, or differences of the loss in place of derivatives"
        because = f"({said}) the gradient of the loss for {name}, against autograd in float64."
        expect_shape(found[name], tuple(right[name].shape), because=f"({said}) {name} and its gradient agree in shape.")
        expect_dtype(found[name], F64, because=f"({said}) parameters and points are float64, and so is the gradient.")
        expect_close(found[name], right[name], because=because, looks_like=looks, **TIGHT)


# --- the data ------------------------------------------------------------------------------------------


def _spiral(points, classes, turn=4.0, first=0.0):
    """Radius, angle and labels of all points, without noise."""
    radius = torch.linspace(first, 1, points, dtype=F64)
    arms = torch.arange(classes).repeat_interleave(points)
    radius = radius.repeat(classes)
    return radius, 4 * arms + turn * radius, arms


def _points(radius, angle):
    return torch.stack([radius * angle.sin(), radius * angle.cos()], dim=1)


def _expect_arms(x, labels, points, classes, said):
    because = f"{said} gives one arm of {points} points for each of {classes} classes."
    expect_shape(x, (points * classes, 2), because=because)
    expect_dtype(x, torch.float32, because=f"{said}: the type of the parameters that they are multiplied with.")
    expect_shape(labels, (points * classes,), because=f"{said}: one label for each point.")
    expect_dtype(labels, torch.int64, because=f"{said}: labels pick entries of a row, so they are whole numbers.")
    arms = _spiral(points, classes)[2]
    looks = None
    if points > 1 and classes > 1 and torch.equal(labels, torch.arange(classes).repeat(points)):
        looks = "the labels alternate, 0 1 2 0 1 2; the points come arm after arm"
    expect_equal(labels, arms, because=f"{said}: arm after arm, the points of arm k have label k.", looks_like=looks)


@check(
    "Without noise, every point of the spiral is where its radius and its angle put it",
    points=8,
    why="Data that one has made oneself are checked first: points and labels that don't fit teach nothing.",
)
def test_spiral_arms(sandbox):
    cases = [(5, 3), (100, 3), (2, 4), (7, 1), (12, 6)]
    asked = [{"points": n, "classes": k, "noise": 0.0, "seed": n} for n, k in cases]
    found = sandbox.run(probes.spirals, [*asked, {}])
    for (n, k), one in zip(cases, found[:-1], strict=True):
        said = f"make_spiral({n}, {k}, noise=0)"
        _expect_arms(one["x"], one["labels"], n, k, said)
        radius, angle, arms = _spiral(n, k)
        right = _points(radius, angle)
        guesses = {
            "sine and cosine are swapped: a point is (radius · sin, radius · cos)": right.flip(1),
            "all arms lie on top of each other: the angle of arm k begins at 4k": _points(radius, 4 * radius),
            "the radius stops before 1: linspace has both its ends": _points(radius * (n - 1) / n, angle),
            "the radius starts at 1/points instead of 0": _points(_spiral(n, k, first=1 / n)[0], angle),
            "the angle stops before the arm's end: linspace has both its ends": _points(
                radius, 4 * arms + 4 * radius * (n - 1) / n
            ),
            "arms spread evenly over the circle: arm k begins at 4k radians": _points(
                radius, 2 * math.pi * arms / k + 4 * radius
            ),
            "degrees: sin and cos take radians": _points(radius, angle * math.pi / 180),
            "the points alternate between the arms; they come arm after arm": right.view(k, n, 2)
            .transpose(0, 1)
            .reshape(-1, 2),
        }
        looks = misconception(one["x"], right.float(), guesses, rtol=1e-4, atol=1e-5)
        because = f"{said}: the radius from 0 to 1 and the angle from 4k to 4k + 4, both evenly."
        expect_close(one["x"], right.float(), because=because, looks_like=looks, rtol=1e-4, atol=1e-5)
    _expect_arms(found[-1]["x"], found[-1]["labels"], 100, 3, "make_spiral()")


def _angular_noise(x, points, classes):
    """By how much each point's angle differs from the arm's; the points in the middle left out."""
    angle = _spiral(points, classes)[1]
    found = torch.atan2(x[:, 0].to(F64), x[:, 1].to(F64))
    away = torch.remainder(found - angle + math.pi, 2 * math.pi) - math.pi
    return away.view(classes, points)[:, points // 10 :]


def _expect_normal(away, noise, said):
    flat = away.flatten()
    looks = None
    if not flat.any() or float(flat.std()) < 0.02 * noise:
        looks = "no noise at all"
    elif abs(float(flat.mean())) > 0.3 * noise:
        looks = "rand, between 0 and 1, instead of randn: the noise has mean 0"
    elif float(away.std(dim=1).max()) < 0.1 * noise:
        looks = "one draw for a whole arm: each point has its own"
    elif resembles(float(flat.std()), noise**2, rtol=0.1):
        looks = "noise² as the deviation: noise is the deviation, not the variance"
    elif resembles(float(flat.std()), 0.2, rtol=0.1) and abs(noise - 0.2) > 0.02:
        looks = "always 0.2, whatever noise says"
    because = f"{said}: what is added to the angles is normal, with mean 0 and deviation {noise:g}."
    expect_close(float(flat.mean()), 0.0, because=because, looks_like=looks, rtol=0, atol=0.15 * noise)
    expect_close(float(flat.std()), noise, because=because, looks_like=looks, rtol=0.12)
    tail = float((flat.abs() > 2.2 * noise).double().mean())  # 0.028 of a normal distribution, none of a uniform one
    looks = "a uniform distribution instead of a normal one: it has no tails" if tail < 0.005 else looks
    expect_close(tail, 0.0278, because=f"{because} 2.8 % lie beyond 2.2 · noise.", looks_like=looks, rtol=0, atol=0.02)


@check(
    "The noise goes onto each angle, normal, and comes from the generator that was given",
    points=7,
    why="A generator of its own makes data repeatable whatever else draws random numbers.",
    after=["test_spiral_arms"],
)
def test_spiral_noise(sandbox):
    cases = [
        {"points": 400, "classes": 3, "seed": 1},
        {"points": 400, "classes": 3, "seed": 1},
        {"points": 400, "classes": 3, "seed": 2},
        {"points": 300, "classes": 4, "noise": 0.08, "seed": 3},
        {"points": 400, "classes": 3},
        {"points": 400, "classes": 3},
    ]
    found = sandbox.run(probes.spirals, cases)
    for case, one in zip(cases, found, strict=True):
        n, k, noise = case["points"], case["classes"], case.get("noise", 0.2)
        said = f"make_spiral({n}, {k}" + (f", noise={noise:g})" if "noise" in case else ")")
        _expect_arms(one["x"], one["labels"], n, k, said)
        radius = _spiral(n, k)[0]
        distance = one["x"].to(F64).norm(dim=1)
        looks = "the noise is added to the points, or to the radius; it goes onto the angle"
        because = f"{said}: noise turns a point along the circle; its distance from the origin stays."
        expect_close(distance, radius, because=because, looks_like=looks, rtol=1e-4, atol=1e-5)
        away = _angular_noise(one["x"], n, k)
        _expect_normal(away, noise, said)
        alike = resembles(away[0], away[1], rtol=0, atol=0.01 * noise)
        expect(
            not alike,
            expected="noise of its own for each arm",
            actual="the same in arm 0 and in arm 1",
            because=f"{said}: every point's noise is drawn independently.",
            looks_like="one draw of `points` numbers, used for all arms",
        )
        if "seed" in case:
            expect(
                not one["global"],
                expected="noise from the generator that was given",
                actual="torch's global generator was used",
                because="then whatever else draws random numbers changes the data.",
                looks_like="generator isn't passed on to randn",
            )
    equal = bool(torch.equal(found[0]["x"], found[1]["x"]))
    expect(
        equal, expected="the same points from the same seed", actual="other points", because="data must be repeatable."
    )
    for first, second, said in ((0, 2, "another seed"), (4, 5, "a second call without a generator")):
        differ = not bool(torch.equal(found[first]["x"], found[second]["x"]))
        because = "noise is random; a seed fixed inside gives everybody who calls the same draw."
        expect(differ, expected=f"other points with {said}", actual="the same points", because=because)


# --- forward -------------------------------------------------------------------------------------------

SIZES = [(5, (2, 3)), (1, (4, 2)), (7, (3, 5)), (6, (2, 8, 3)), (1, (3, 4, 2)), (9, (5, 1, 4)), (4, (1, 6, 1))]


@check(
    "scores: x W + b, and relu(x W1 + b1) W2 + b2",
    points=8,
    why="The ReLU stands between the layers. Behind the scores, the model stays as straight as before.",
)
def test_scores(sandbox):
    cases = [_case(n, sizes, 10 + i) for i, (n, sizes) in enumerate(SIZES)]
    for case, found in zip(cases, sandbox.run(probes.scores, cases), strict=True):
        p, x = case["params"], case["x"]
        right = _scores(p, x)
        guesses = {
            "a softmax at the end: the loss applies it": right.softmax(1),
            "a log-softmax at the end: the loss applies it": right.log_softmax(1),
        }
        if "W2" in p:
            before = x @ p["W1"] + p["b1"]
            straight = before @ p["W2"] + p["b2"]
            guesses = {
                "the ReLU is applied to the scores, not between the layers": straight.relu(),
                "no ReLU between the layers: then the network is linear": straight,
                "a ReLU on the scores, too": right.relu(),
                "b1 isn't added": (x @ p["W1"]).relu() @ p["W2"] + p["b2"],
                "b1 is added after the ReLU": ((x @ p["W1"]).relu() + p["b1"]) @ p["W2"] + p["b2"],
                "b2 isn't added": right - p["b2"],
                "tanh instead of ReLU": before.tanh() @ p["W2"] + p["b2"],
                **guesses,
            }
        else:
            guesses = {"b isn't added": x @ p["W"], "a ReLU on the scores": right.relu(), **guesses}
        looks = misconception(found["scores"], right, guesses, **NEAR)
        expect_close(
            found["scores"], right, because=f"({_said(case)}) one row of scores per point.", looks_like=looks, **TIGHT
        )
        expect_dtype(found["scores"], F64, because=f"({_said(case)}) float64 in, float64 out.")
        expect_equal(found["x"], x, because=f"({_said(case)}) the points stay as they are.")


@check(
    "predict: the class with the highest score, for both models",
    points=4,
    why="The highest score is the highest probability: a prediction needs no softmax.",
    after=["test_scores"],
)
def test_predict(sandbox):
    cases = [_case(n + 20, sizes, 30 + i) for i, (n, sizes) in enumerate(SIZES)]
    cases.append(_case(1, (3, 4), 40))
    for case, found in zip(cases, sandbox.run(probes.predictions, cases), strict=True):
        scores = _scores(case["params"], case["x"])
        right = scores.argmax(1)
        guesses = {
            "the highest of each column: dim=1 goes along the classes": lambda scores=scores: scores.argmax(0),
            "the lowest score of each row": scores.argmin(1),
            "the scores, not the index of the highest": scores,
            "the highest score, not its index": scores.max(1).values,
            "the classes as a column: (N, 1)": right[:, None],
        }
        looks = misconception(found, right, guesses)
        expect_shape(found, (len(right),), because=f"({_said(case)}) one class for each point.", looks_like=looks)
        because = f"({_said(case)}) classes are whole numbers, like labels."
        expect_dtype(found, torch.int64, because=because, looks_like=looks)
        expect_equal(found, right, because=f"({_said(case)}) the highest score of each row.", looks_like=looks)


# --- losses and gradients ------------------------------------------------------------------------------


def _steep(case, size):
    """The same case with scores up to ± size."""
    params = dict(case["params"])
    top = "W2" if "W2" in params else "W"
    factor = size / float(_scores(params, case["x"]).abs().max())
    params |= {top: factor * params[top], "b" + top[1:]: factor * params["b" + top[1:]]}
    return {**case, "params": params}


def _named(sizes, seed):
    """Cases of one model, each with what is special about it."""
    named = [(_said(case), case) for case in (_case(n, s, seed + i) for i, (n, s) in enumerate(sizes))]
    usual = _case(6, sizes[0][1], seed + 20)
    named.append((f"{_said(usual)}, scores up to ±10,000", _steep(usual, 1e4)))
    sure = _steep(_case(5, sizes[0][1], seed + 21), 1e4)
    sure["labels"] = _scores(sure["params"], sure["x"]).argmax(1)
    named.append((f"{_said(sure)}, scores up to ±10,000, all labels likely", sure))
    zero = _case(4, sizes[0][1], seed + 22, scale=0.0)
    named.append((f"{_said(zero)}, all parameters 0", zero))
    return named


def _single(sizes, seed):
    """A case in float32, the type that `start` makes, and what is said of it."""
    case = _case(7, sizes, seed)
    case["params"] = {name: p.float() for name, p in case["params"].items()}
    return f"{_said(case)}, all float32", {**case, "x": case["x"].float()}


def _expect_single(one, said, case):
    """The loss of a float32 case is a Python float, and about right."""
    right, _ = _right({**case, "params": _float64(case["params"]), "x": case["x"].to(F64)})
    because = f"({said}) the loss, a Python float here, too."
    expect_close(_number(one["loss"]), right, because=because, rtol=1e-4)


LINEAR = [(5, (2, 3)), (1, (4, 2)), (8, (3, 5)), (6, (1, 1)), (40, (2, 10))]
TWO_LAYERS = [(5, (2, 6, 3)), (1, (3, 5, 2)), (8, (2, 1, 4)), (6, (6, 6, 6)), (3, (1, 7, 1)), (30, (2, 20, 3))]


@check(
    "Linear: the loss is the mean of −log p of the labels, for scores of any size",
    points=10,
    why="ln K when all scores are equal: the first number to look at when a training starts.",
)
def test_linear_loss(sandbox):
    named, single = _named(LINEAR, 50), _single((2, 3), 75)
    *found, last = sandbox.run(probes.gradients, [case for _, case in (*named, single)])
    for (said, case), one in zip(named, found, strict=True):
        because = f"({said}) −log p of each label, averaged over the N points; reg is 0."
        _expect_loss(one["loss"], _right(case)[0], because, _loss_guesses(case))
    _expect_single(last, *single)


@check(
    "Linear: the gradients of W and b are autograd's",
    points=10,
    why="(p − one-hot) / N, and then one product: the gradient from which every classifier's training starts.",
    after=["test_linear_loss"],
)
def test_linear_gradients(sandbox):
    named = _named(LINEAR, 50)
    found = sandbox.run(probes.gradients, [case for _, case in named])
    for (said, case), one in zip(named, found, strict=True):
        _expect_grads(one["grads"], case, _right(case)[1], said, _gradient_guesses(case))


def _whole(case, seed):
    """The case with small whole numbers below, where the ReLU's input is often exactly 0."""
    g = torch.Generator().manual_seed(seed)
    params = dict(case["params"])
    for name in ("W1", "b1"):
        params[name] = torch.randint(-1, 2, params[name].shape, generator=g).to(F64)
    return {**case, "params": params, "x": torch.randint(-1, 2, case["x"].shape, generator=g).to(F64)}


@check(
    "Two layers: loss and gradients of W1, b1, W2, b2 are autograd's",
    points=14,
    why="The linear classifier again, on top of a hidden layer; new is the way down through W2 and the ReLU.",
)
def test_two_layer_gradients(sandbox):
    named = _named(TWO_LAYERS, 80)
    whole = _whole(_case(12, (3, 6, 3), 110), 111)
    named.append((f"{_said(whole)}, the ReLU's input often exactly 0", whole))
    off = _case(6, (3, 4, 3), 112)
    off["params"]["b1"].fill_(-100.0)
    named.append((f"{_said(off)}, b1 = −100: every unit is off", off))
    single = _single((2, 5, 3), 113)
    *found, last = sandbox.run(probes.gradients, [case for _, case in (*named, single)])
    for (said, case), one in zip(named, found, strict=True):
        right, grads = _right(case)
        _expect_loss(one["loss"], right, f"({said}) the mean of −log p of the labels; reg is 0.", _loss_guesses(case))
        at_zero = {"the mask is ≥ 0: at exactly 0 the slope counts as 0": _otherwise(case, mask="at least")}
        _expect_grads(one["grads"], case, grads, said, {**at_zero, **_gradient_guesses(case)})
    _expect_single(last, *single)


def _squares(params, *names):
    return sum(float(params[name].square().sum()) for name in names)


def _reg_losses(case, plain):
    p, reg, n = case["params"], case["reg"], len(case["x"])
    weights = [name for name in p if name[0] == "W"]
    guesses = {
        "the loss has no regularisation": 0.0,
        "the ½ is missing": reg * _squares(p, *weights),
        "the biases are regularised, too": 0.5 * reg * _squares(p, *p),
        "the regularisation is divided by N": 0.5 * reg * _squares(p, *weights) / n,
        "the norm instead of its square": 0.5 * reg * sum(float(p[name].norm()) for name in weights),
        "the sum of magnitudes: that is L1": reg * sum(float(p[name].abs().sum()) for name in weights),
        "reg squared": 0.5 * reg**2 * _squares(p, *weights),
    }
    if len(weights) == 2:
        guesses |= {f"only {name} is regularised": 0.5 * reg * _squares(p, name) for name in weights}
    return {text: plain + value for text, value in guesses.items()}


def _reg_gradients(case):
    plain = _right({**case, "reg": 0.0})[1]
    p, reg, n = case["params"], case["reg"], len(case["x"])
    weights = [name for name in p if name[0] == "W"]

    def with_decay(factor, names=weights):
        return {name: g + factor * p[name] if name in names else g for name, g in plain.items()}

    guesses = {
        "the gradient has no regularisation": plain,
        "2 · reg · W: the loss has ½ · reg · W², so the gradient is reg · W": with_decay(2 * reg),
        "½ · reg · W: the derivative of ½ W² is W": with_decay(reg / 2),
        "the biases are regularised, too": with_decay(reg, list(p)),
        "the regularisation is divided by N": with_decay(reg / n),
        "the regularisation has the wrong sign": with_decay(-reg),
    }
    if len(weights) == 2:
        guesses |= {f"only {name} is regularised": with_decay(reg, [name]) for name in weights}
    return guesses


@check(
    "Regularisation: ½ · reg · (sum of the squared weights) in the loss, reg · W in the gradient, none for biases",
    points=8,
    why="A loss and a gradient that disagree don't show in training; they show when someone compares losses.",
    after=["test_linear_gradients", "test_two_layer_gradients"],
)
def test_regularisation(sandbox):
    shapes = [(5, (2, 3), 0.3), (1, (3, 4), 5.0), (4, (2, 6, 3), 0.3), (1, (2, 3, 4), 5.0), (9, (3, 2, 2), 1e-3)]
    cases = [_case(n, sizes, 120 + i, reg=reg) for i, (n, sizes, reg) in enumerate(shapes)]
    for case, found in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        right, grads = _right(case)
        plain = _right({**case, "reg": 0.0})[0]
        because = f"({_said(case)}) the cross-entropy, {plain:.6g}, plus half of reg times the squared weights."
        _expect_loss(found["loss"], right, because, _reg_losses(case, plain))
        _expect_grads(found["grads"], case, grads, _said(case), _reg_gradients(case))


@check(
    "A batch's gradient is the mean of its points' gradients, whatever was asked before",
    points=5,
    why="No point changes another's share. A mean ignores how often and in which order its points come.",
    after=["test_regularisation"],
)
def test_isolation(sandbox):
    cases = []
    for sizes, seed in (((3, 4), 130), ((3, 5, 4), 131)):
        case = _case(6, sizes, seed, reg=0.2)
        cases.append((case, _case(9, sizes, seed + 10), torch.tensor([3, 0, 5, 1, 4, 2])))
    for (case, other, _), found in zip(cases, sandbox.run(probes.repeated, cases), strict=True):
        model, left = _model(case["params"]), found["left"]
        loss, grads = _right(case)
        for name in ("x", "labels"):
            because = f"({model}) {name} belongs to the caller, who uses it again in the next step."
            expect_equal(left[name], case[name], because=because, looks_like="an operation in place on the input")
        for name, value in case["params"].items():
            because = f"({model}) {name} after several calls: computing a gradient is no step."
            expect_equal(left["params"][name], value, because=because, looks_like="a parameter is changed in place")
        stale = _right({**other, "params": case["params"], "reg": case["reg"]})[1]
        for when, answer in found["answers"].items():
            guesses = {"the values of another batch: what was kept from that call": stale}
            if when != "the first time":
                guesses["gradients add up over the calls"] = {name: 2 * g for name, g in grads.items()}
            _expect_loss(answer["loss"], loss, f"({model}, {when}) the same points give the same loss.")
            _expect_grads(answer["grads"], case, grads, f"{model}, {when}", guesses)
        for i, answer in enumerate(found["alone"]):
            one = {**case, "x": case["x"][i : i + 1], "labels": case["labels"][i : i + 1]}
            _expect_grads(answer["grads"], case, _right(one)[1], f"{model}, point {i} alone")
        for name, value in grads.items():
            because = f"({model}) the first call's gradient of {name}, after other calls: it was given away."
            looks = "one tensor or one dict for the results of all calls"
            expect_close(left["grads"][name], value, because=because, looks_like=looks, **TIGHT)


@check(
    "Rule: a few operations on whole matrices, however many points, units and classes",
    points=4,
    why="The products of matrices are the loops. It also rules out gradients by trying small changes one by one.",
    after=["test_two_layer_gradients"],
)
def test_cost(sandbox):
    for small, large in (((3, 4), (12, 60)), ((3, 4, 3), (12, 64, 60))):
        cases = [_case(4, small, 152, reg=0.1), _case(64, large, 153, reg=0.1)]
        few, many = sandbox.run(probes.cost, cases)
        for what, said in (("operations", "tensor operations"), ("lines", "lines of Python")):
            expect(
                many[what] <= 1.3 * few[what] + 15,
                expected=f"about as many {said} for {_said(cases[1])} as for {_said(cases[0])}: {few[what]}",
                actual=f"{many[what]} {said}",
                because="a product of matrices already sums over the points. This breaks a rule of the exercise.",
                looks_like="a Python loop over points, classes or units",
            )


# --- training ------------------------------------------------------------------------------------------


def _bowl(seed, shapes, **more):
    g = torch.Generator().manual_seed(seed)

    def normal(shape):
        return torch.randn(shape, generator=g, dtype=F64)

    return {
        "params": {name: normal(shape) for name, shape in shapes.items()},
        "target": {name: normal(shape) for name, shape in shapes.items()},
        "x": normal((4, 2)),
        "labels": torch.randint(3, (4,), generator=g),
        **more,
    }


def _rolled(case, lr=None, decay=0.0):
    """The losses before each step of descent in the bowl, the one after the last, and where it ends."""
    lr = case.get("lr", 1.0) if lr is None else lr
    scale, losses, params = case["scale"], [], case["params"]
    for _ in range(case["steps"] + 1):
        away = {name: p - case["target"][name] for name, p in params.items()}
        losses.append(0.5 * scale * sum(float(a.square().sum()) for a in away.values()))
        last, params = params, {name: p - lr * (scale * away[name] + decay * p) for name, p in params.items()}
    return losses, last


def _expect_losses(found, losses, said):
    """`losses`: those before each step, and the one after the last."""
    expect_type(found, list, because="train returns a list, one loss for each step.")
    looks = "the loss after the last step is in the list, too" if len(found) == len(losses) else None
    expect(
        len(found) == len(losses) - 1,
        expected=f"{len(losses) - 1} losses",
        actual=f"{len(found)} losses",
        because=f"({said}) one loss for each step.",
        looks_like=looks,
    )
    for step, loss in enumerate(found):
        guesses = {"the loss after the step: the list starts with the loss before the first": losses[step + 1]}
        if step:
            guesses["the parameters haven't moved"] = losses[0]
        because = f"({said}) the loss before step {step + 1}, when every step so far was p ← p − lr · gradient."
        _expect_loss(loss, losses[step], because, guesses)


@check(
    "train: each step is p ← p − lr · gradient, for any model, and the losses before the steps come back",
    points=8,
    why="One loop serves both models: it knows a function that gives loss and gradients, and nothing else.",
)
def test_train(sandbox):
    shapes = {"W": (2, 3), "b": (3,)}
    deep = {"W1": (2, 4), "b1": (4,), "W2": (4, 3), "b2": (3,)}
    cases = [
        _bowl(160, shapes, steps=6, scale=0.3, lr=0.5, reg=0.25),
        _bowl(161, deep, steps=60, scale=0.05),  # the defaults: lr 1, reg 0.001
        _bowl(162, {"W": (1, 1)}, steps=1, scale=1.0, lr=2.5, reg=0.0),
        _bowl(163, shapes, steps=0, scale=1.0, lr=0.1),
        _bowl(164, {"theta": (2, 3), "shift": (3,), "W": (1, 2)}, steps=3, scale=0.4, lr=0.5),
    ]
    for case, found in zip(cases, sandbox.run(probes.descents, cases), strict=True):
        lr, reg = case.get("lr", 1.0), case.get("reg", 1e-3)
        said = f"a bowl ½ · {case['scale']:g} · |p − target|² in the model's place, steps={case['steps']}, lr={lr:g}"
        said += f", parameters {', '.join(case['params'])}" if "theta" in case["params"] else ""
        losses, right = _rolled(case)
        for asked in found["asked"]:
            given = "given" if "reg" in case else "its default"
            because = f"({said}) train passes reg on to the function, here {given}."
            expect_equal(asked["reg"], reg, because=because, name="reg")
            for name in ("x", "labels"):
                expect_equal(asked[name], case[name], because=f"({said}) every step uses all points.", name=name)
        for name, value in right.items():
            before = case["params"][name]
            guesses = {"the steps go uphill: with the gradient, not against it": _rolled(case, lr=-lr)[1][name]}
            if name in ("theta", "shift"):
                guesses["only names known from the two models are trained: the dict says what there is"] = before
            if case["steps"]:
                guesses["the trained values aren't put back into params: the caller's dict keeps the start"] = before
            if lr != 1:
                guesses["lr isn't used"] = _rolled(case, lr=1.0)[1][name]
            if reg:
                decayed = _rolled(case, decay=reg)[1][name]
                guesses["regularisation once more in train: the gradients have it already"] = decayed
            further = {**case, "steps": case["steps"] + 1}
            guesses["one step more than was asked for"] = _rolled(further)[1][name]
            looks = misconception(found["params"][name], value, guesses, **NEAR)
            because = f"({said}) params[{name!r}] after training; the caller's dict holds the result."
            expect_close(found["params"][name], value, because=because, looks_like=looks, **TIGHT)
        _expect_losses(found["losses"], losses, said)


# --- the case study ------------------------------------------------------------------------------------

SHAPES = {
    "linear": lambda d, h, k: {"W": (d, k), "b": (k,)},
    "two layers": lambda d, h, k: {"W1": (d, h), "b1": (h,), "W2": (h, k), "b2": (k,)},
}


def _drawn_spiral(points, classes, noise=0.2, seed=71):
    """The judge's own draw, float32."""
    radius, angle, arms = _spiral(points, classes)
    g = torch.Generator().manual_seed(seed)
    return _points(radius, angle + noise * torch.randn(len(angle), generator=g, dtype=F64)).float(), arms


def _float64(params):
    return {name: expect_tensor(p, because="params hold tensors.").to(F64) for name, p in params.items()}


def _expect_study(result, x, labels, hidden):
    """The form of what case_study returns, and that each accuracy is that of its params."""
    expect_type(result, dict, because="one entry for each model.")
    expect_equal(sorted(result), sorted(SHAPES), because="the two models, under these names.")
    classes = int(labels.max()) + 1
    for name, shapes in SHAPES.items():
        one = result[name]
        expect_type(one, dict, because=f"{name}: params, losses and accuracy.")
        expect_equal(sorted(one), ["accuracy", "losses", "params"], because=f"{name}: these three.")
        expect_type(one["params"], dict, because=f"{name}: the parameters after training.")
        wanted = shapes(x.shape[1], hidden, classes)
        expect_equal(sorted(one["params"]), sorted(wanted), because=f"{name}: the parameters that `start` gives.")
        for key, shape in wanted.items():
            made = tuple(getattr(one["params"][key], "shape", ()))
            counted = made == shapes(x.shape[1], hidden, len(labels.unique()))[key] != shape
            looks = "the different labels are counted: it is the largest label plus 1" if counted else None
            said = f"{name}, {x.shape[1]} features, hidden={hidden}, labels {labels.unique().tolist()}: {key}."
            expect_shape(one["params"][key], shape, because=said, looks_like=looks)


def _accuracy(params, x, labels):
    return float((_scores(_float64(params), x.to(F64)).argmax(1) == labels).double().mean())


def _expect_accuracy(one, started, other, x, labels, said):
    """The accuracy in the result is that of the trained parameters, as a share."""
    right = _accuracy(one["params"], x, labels)
    value = expect_number(one["accuracy"], because=f"{said}: a float can be printed and compared.")
    guesses = {
        "a percentage: the share lies between 0 and 1": 100 * right,
        "a count: the share is the count divided by N": right * len(labels),
        "the share of errors": 1 - right,
        "the accuracy before training": _accuracy(started, x, labels),
        "the other model's accuracy": _accuracy(other["params"], x, labels),
    }
    looks = misconception(value, right, guesses, rtol=0, atol=1e-3)
    atol = 0.5 / len(labels) + 1e-6  # a point on a boundary may fall on either side in float32
    because = f"{said}: the share of the points that the trained model predicts correctly."
    expect_close(value, right, because=because, looks_like=looks, rtol=0, atol=atol)
    count = value * len(labels)
    looks = "the mean of half-precision numbers: three digits"
    because = f"{because} A share of {len(labels)} points is a whole number of them divided by {len(labels)}."
    expect_close(count, round(count), because=because, looks_like=looks, rtol=0, atol=1e-4)


def _descended(params, x, labels, steps):
    """Losses before each step and parameters after the last, by autograd in float64, lr 1 and reg 0.001."""
    losses, case = [], {"x": x.to(F64), "labels": labels, "reg": 1e-3}
    for _ in range(steps):
        loss, grads = _right({**case, "params": params})
        losses.append(loss)
        params = {name: p - grads[name] for name, p in params.items()}
    return losses, params


@check(
    "case_study: both models from `start`, each with its own gradients and number of steps, and their accuracy",
    points=5,
    why="A comparison is fair when both start alike, see the same points and are measured the same way.",
    after=["test_train", "test_predict", "test_regularisation"],
)
def test_small_study(sandbox):
    asked = [((8, 3), {"hidden": 7, "linear_steps": 5, "steps": 3}), ((5, 4), {"hidden": 4, "steps": 2})]
    cases = [(*_drawn_spiral(*shape), options) for shape, options in asked]
    x, arms = _drawn_spiral(6, 3)
    third = torch.linspace(-1, 1, len(x))[:, None]
    gap = arms + (arms > 0).long()  # 0, 2 and 3: no point is of class 1
    cases.append((torch.cat([x, third], dim=1), gap, {"hidden": 5, "linear_steps": 2, "steps": 2}))
    for (x, labels, options), found in zip(cases, sandbox.run(probes.studies, cases), strict=True):
        result, hidden = found["result"], options["hidden"]
        _expect_study(result, x, labels, hidden)
        because = "start is ready-made: start(40, 30) gives a linear classifier, W small and random, b zero."
        expect_equal(sorted(found["plain"]), ["W", "b"], because=because)
        expect_shape(found["plain"]["W"], (40, 30), because=because)
        expect_close(float(found["plain"]["W"].std()), 0.01, because=because, rtol=0.15)
        expect(not found["plain"]["b"].any(), expected="b zero", actual=describe(found["plain"]["b"]), because=because)
        because = "both models start with the parameters that `start` gives, one call for each."
        expect_equal(len(found["starts"]), 2, because=because, name="calls of start")
        expect(
            not found["global"],
            expected="starts drawn from the generator that was given",
            actual="torch's global generator was used",
            because="then the result can't be repeated.",
            looks_like="generator isn't passed on to start",
        )
        starts = {_model(params): params for params in found["starts"]}
        expect_equal(sorted(starts), sorted(SHAPES), because="one call of `start` for each model.", name="models")
        counts = {"linear": options.get("linear_steps", 200), "two layers": options["steps"]}
        for name, count in counts.items():
            one, other = result[name], result["linear" if name == "two layers" else "two layers"]
            said = f"{name}, {count} steps on {len(x)} points"
            expect_type(one["losses"], list, because=f"{said}: what train returned.")
            swapped = len(one["losses"]) == counts["linear" if name == "two layers" else "two layers"]
            looks = "the other model's number of steps" if swapped else None
            expect_equal(len(one["losses"]), count, because=f"{said}: one loss each.", looks_like=looks, name="losses")
            losses, params = _descended(_float64(starts[name]), x, labels, count)
            for key, value in params.items():
                because = f"{said}: {key} after these steps with lr 1 and reg 0.001, from its start, by autograd."
                looks = "not trained" if resembles(one["params"][key], starts[name][key], rtol=1e-6) else None
                expect_close(one["params"][key], value.float(), because=because, looks_like=looks, rtol=2e-3, atol=1e-4)
            for step, (loss, right) in enumerate(zip(one["losses"], losses, strict=True)):
                expect_close(loss, right, because=f"{said}: the loss before step {step + 1}.", rtol=1e-4)
            _expect_accuracy(one, starts[name], other, x, labels, said)


@check(
    "Rule: no autograd",
    points=4,
    why="The case study is about seeing each gradient once with one's own eyes.",
    after=["test_small_study"],
)
def test_no_autograd(sandbox):
    used = sandbox.run(probes.autograd_used, _case(5, (2, 3), 150, reg=0.1), _case(5, (2, 4, 3), 151, reg=0.1))
    expect(
        not used,
        expected="losses, gradients, train and case_study without autograd",
        actual=f"{' and '.join(used)} ran",
        because="this breaks the rule of the exercise; the values may well be right.",
    )


BAR = 0.95
STRAIGHT = 0.62
"""No linear classifier can get more of these points right."""

COLOURS = torch.tensor([[1.00, 0.10, 0.10], [0.10, 0.80, 0.15], [0.20, 0.30, 1.00]])
SIDE = 37


def _regions(params, x, labels):
    """A picture, 3 × SIDE × SIDE, of the predicted class at each place, the points in brighter colours on it."""
    line = torch.linspace(-1.15, 1.15, SIDE, dtype=F64)
    places = torch.stack([line.repeat(SIDE), line.flip(0).repeat_interleave(SIDE)], dim=1)
    picture = 0.55 * COLOURS[_scores(_float64(params), places).argmax(1)]
    step = float(line[1] - line[0])
    column = ((x[:, 0] + 1.15) / step).round().long()
    row = ((1.15 - x[:, 1]) / step).round().long()
    picture[row * SIDE + column] = 0.4 + 0.6 * COLOURS[labels]
    return picture.T.reshape(3, SIDE, SIDE)


@check(
    "The spiral: from ln 3 to half right with the linear classifier, to at least 95 % with two layers",
    points=5,
    why="The whole story in two numbers, and worth a picture: one hidden layer bends the boundaries.",
    after=["test_small_study"],
)
def test_case_study(sandbox):
    x, labels = _drawn_spiral(100, 3)
    mixed = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(72))]
    found, control = sandbox.run(probes.studies, [(x, labels, {}), (x, mixed, {"steps": 300})])
    result = found["result"]
    _expect_study(result, x, labels, 100)
    for name in SHAPES:
        one = result[name]
        expect_type(one["losses"], list, because=f"{name}: what train returned.")
        count = 200 if name == "linear" else 10_000
        because = f"{name}: one loss for each of the default number of steps."
        expect_equal(len(one["losses"]), count, because=because, name="losses")
        because = f"{name}: with small weights all scores are near 0, and −log(1/3) = ln 3."
        expect_close(one["losses"][0], math.log(3), because=because, rtol=0, atol=0.02)
        accuracy = _accuracy(one["params"], x, labels)
        size = sum(p.numel() for p in one["params"].values())
        sandbox.note(
            f"{name}: {size} parameters, loss {one['losses'][0]:.4f} → {one['losses'][-1]:.4f}, {accuracy:.1%} right"
        )
    sandbox.picture(
        "what each model predicts where: the linear classifier on the left, two layers on the right",
        torch.stack([_regions(result[name]["params"], x, labels) for name in SHAPES]),
        per_row=2,
    )
    linear, deep = (_accuracy(result[name]["params"], x, labels) for name in SHAPES)
    because = "200 steps of the linear classifier: its optimum, about half of the points."
    expect_at_least(linear, 0.45, because=because)
    expect_at_most(linear, STRAIGHT, because="no straight line separates two arms.")
    sandbox.measure("accuracy", deep)
    looks = "no better than a linear model: do all four parameters move?" if deep < STRAIGHT else None
    because = "10,000 steps with 100 hidden units, lr=1, reg=0.001, on 300 points."
    expect_at_least(deep, BAR, because=because, looks_like=looks)
    for name, one in control["result"].items():
        because = f"{name}: the same points with shuffled labels; there is nothing to be learned in so few steps."
        right = describe(_accuracy(one["params"], x, mixed))
        expect_at_most(_accuracy(one["params"], x, mixed), 0.55, because=f"{because} ({right} right)")

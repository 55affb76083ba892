"""Checks for the backward pass by hand. The oracle is autograd, in float64, here in the judge."""

from __future__ import annotations

import math

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
NAMES = ["W1", "W2", "b1", "b2"]
TIGHT = {"rtol": 1e-6, "atol": 1e-12}


def _case(n, sizes, seed, scale=1.0, **more):
    """Random points, labels and parameters of a network (inputs, hidden, classes), all in float64."""
    g = torch.Generator().manual_seed(seed)
    inputs, hidden, classes = sizes

    def normal(*shape):
        return scale * torch.randn(*shape, generator=g, dtype=F64)

    params = {"W1": normal(inputs, hidden), "b1": normal(hidden), "W2": normal(hidden, classes), "b2": normal(classes)}
    x = torch.randn(n, inputs, generator=g, dtype=F64)
    return {"params": params, "x": x, "labels": torch.randint(classes, (n,), generator=g), **more}


def _said(case):
    inputs, hidden = case["params"]["W1"].shape
    reg = f", reg={case['reg']:g}" if "reg" in case else ""
    return f"N={len(case['x'])}, D={inputs}, H={hidden}, K={len(case['params']['b2'])}{reg}"


# --- oracles -------------------------------------------------------------------------------------------


def _logits(params, x):
    return torch.relu(x @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]


def _right(case):
    """The loss and the gradients, by autograd."""
    params = {name: p.clone().requires_grad_(True) for name, p in case["params"].items()}
    squares = params["W1"].square().sum() + params["W2"].square().sum()
    loss = F.cross_entropy(_logits(params, case["x"]), case["labels"]) + 0.5 * case.get("reg", 0.0) * squares
    found = torch.autograd.grad(loss, list(params.values()))
    return float(loss.detach()), dict(zip(params, found, strict=True))


def _by_hand(case, mask="forward", scale=1.0, bias="sum", activation="after", error="p - q"):
    """The gradients with one thing done otherwise: what a misconception gives."""
    params, x, labels = case["params"], case["x"], case["labels"]
    n, reg = len(x), case.get("reg", 0.0)
    before = x @ params["W1"] + params["b1"]
    hidden = before.clamp(min=0)
    probabilities = (hidden @ params["W2"] + params["b2"]).softmax(1)
    target = F.one_hot(labels, probabilities.shape[1]).to(F64)
    errors = {"p - q": probabilities - target, "q - p": target - probabilities, "p": probabilities}
    d_logits = scale * errors[error] / n
    d_hidden = d_logits @ params["W2"].T
    masks = {
        "forward": before > 0,
        "none": torch.ones_like(before),
        "gradient": d_hidden > 0,
        "both": (before > 0) & (d_hidden > 0),
        "at least": before >= 0,
        "half": (before.sign() + 1) / 2,
    }
    d_before = d_hidden * masks[mask]
    total = torch.sum if bias == "sum" else torch.mean
    grads = {
        "W1": x.T @ d_before,
        "b1": total(d_before, 0),
        "W2": (hidden if activation == "after" else before).T @ d_logits,
        "b2": total(d_logits, 0),
    }
    return {k: g + reg * params[k] if k[0] == "W" else g for k, g in grads.items()}


def _gradient_guesses(case):
    n = len(case["x"])
    return {
        "the 1/N of the mean is missing": _by_hand(case, scale=n),
        "divided by N twice": _by_hand(case, scale=1 / n),
        "the sign is turned: the gradient points uphill, and train subtracts it": _by_hand(case, scale=-1),
        "the one-hot target isn't subtracted from the probabilities": _by_hand(case, error="p"),
        "the ReLU's mask is missing: blocked units get a gradient, too": _by_hand(case, mask="none"),
        "the ReLU's mask is taken from the gradient: it belongs to the forward value": _by_hand(case, mask="gradient"),
        "the ReLU's mask cuts negative gradients as well": _by_hand(case, mask="both"),
        "the mean over the batch for a bias: its gradient is the sum": _by_hand(case, bias="mean"),
        "W2's gradient takes the values before the ReLU": _by_hand(case, activation="before"),
    }


NEAR = {"rtol": 1e-5, "atol": 1e-10}
"""For telling misconceptions apart."""


def _expect_loss(found, right, because, guesses=None):
    number = expect_number(found, because="a float can be logged, compared and kept; a tensor drags others along.")
    named = [text for text, g in (guesses or {}).items() if math.isclose(number, g, rel_tol=1e-7, abs_tol=1e-12)]
    looks = named[0] if named and not math.isclose(number, right, rel_tol=1e-7) else None
    if looks is None and not math.isfinite(number):
        likely = math.isinf(number) and right > 100
        looks = "the logarithm of a probability that underflowed to 0: subtract logarithms instead"
        looks = looks if likely else "exp overflows: logsumexp, or the row's maximum subtracted first, keeps it finite"
    if math.isclose(number, right, rel_tol=1e-5) and not math.isclose(number, right, rel_tol=1e-9, abs_tol=1e-12):
        rounded = float(torch.tensor(number, dtype=torch.float32)) == number
        looks = "the loss went through float32 on its way: that leaves about seven digits" if rounded else looks
        because = f"{because} The logits are float64; the loss is to be right to nine digits."
        fail(expected=f"{right:.12g}", actual=f"{number:.12g}", because=because, looks_like=looks)
    expect_close(number, right, because=because, looks_like=looks, rtol=1e-9, atol=1e-12)


def _expect_grads(found, right, said, guesses=None):
    """All four gradients. `guesses`: misconception → four gradients."""
    expect_type(found, dict, because="the gradients come under the names of the parameters.")
    expect_equal(sorted(found), NAMES, because="one gradient for each parameter: the update walks through both.")
    fits = {text: sum(resembles(found[name], g[name], **NEAR) for name in NAMES) for text, g in (guesses or {}).items()}
    likely = sorted(fits, key=fits.get, reverse=True)  # what explains most of the four comes first
    for name in ("W2", "b2", "W1", "b1"):  # in the order in which backward finds them
        looks = misconception(found[name], right[name], {t: guesses[t][name] for t in likely}, **NEAR)
        because = f"({said}) the gradient of the loss for {name}, against autograd in float64."
        expect_shape(found[name], tuple(right[name].shape), because=f"({said}) {name} and its gradient agree in shape.")
        expect_dtype(found[name], F64, because=f"({said}) parameters and data are float64, and so is the gradient.")
        expect_close(found[name], right[name], because=because, looks_like=looks, **TIGHT)


# --- forward -------------------------------------------------------------------------------------------

STARTS = {
    "TwoLayerNet(150, 120, 130)": ((150, 120, 130), {}),
    "TwoLayerNet(3, 5, 2)": ((3, 5, 2), {}),
    "TwoLayerNet(130, 150, 120, std=0.5, dtype=float64)": (
        (130, 150, 120),
        {"std": 0.5, "dtype": "float64", "reg": 0.1},
    ),
}


def _starts(sandbox):
    """What is said of each new network, its sizes and options, and what the probe found."""
    found = sandbox.run(probes.started, list(STARTS.values()))
    return [(said, *STARTS[said], one) for said, one in zip(STARTS, found, strict=True)]


@check(
    "Four parameters with their shapes, in the type that was asked for",
    points=5,
    why="Names and shapes are the contract between forward, backward and the update.",
)
def test_start(sandbox):
    for said, sizes, options, found in _starts(sandbox):
        first = found["params"][0]
        expect_equal(sorted(first), NAMES, because=f"{said}: params holds the parameters under these names.")
        inputs, hidden, classes = sizes
        shapes = {"W1": (inputs, hidden), "b1": (hidden,), "W2": (hidden, classes), "b2": (classes,)}
        for name, shape in shapes.items():
            turned = type(first[name]) is torch.Tensor and tuple(first[name].shape) == shape[::-1] != shape
            looks = "transposed, as in nn.Linear; here x @ W is computed" if turned and len(shape) > 1 else None
            expect_shape(first[name], shape, because=f"{said}: the shape of {name}.", looks_like=looks)
            dtype = F64 if "dtype" in options else torch.float32
            expect_dtype(first[name], dtype, because=f"{said}: params have the dtype that was asked for.")
        because = f"{said}: nothing records a graph here, so nothing asks for one."
        expect_equal(found["trained"], [], because=because, looks_like="requires_grad=True isn't needed by hand")


@check(
    "At the start the weights are small and normal, the biases zero",
    points=5,
    why="Random weights make the hidden units different. With equal ones, all of them learn the same.",
    after=["test_start"],
)
def test_drawn(sandbox):
    for said, (inputs, _, _), options, found in _starts(sandbox):
        first, second = found["params"]
        for name in ("b1", "b2"):
            because = f"{said}: {name} starts at zero; the weights already tell the units apart."
            expect(not first[name].any(), expected=f"{name} zero", actual=describe(first[name]), because=because)
        if inputs > 100:
            for name in ("W1", "W2"):
                _expect_normal(first[name], second[name], options.get("std", 0.01), f"{said}: {name}")


def _is_uniform(w):
    """No value beyond √3 deviations, and the fourth moment of a uniform distribution: 1.8; a normal one has 3."""
    scaled = (w - w.mean()) / w.std()
    return float(scaled.abs().max()) < 1.85 and abs(float(scaled.pow(4).mean()) - 1.8) < 0.1


def _expect_normal(weights, others, std, said):
    w = weights.to(F64)
    looks = None
    if not w.any():
        looks = "all weights are zero: then no gradient reaches W1, and all hidden units stay the same"
    elif not (w - w[:, :1]).any():
        looks = "every hidden unit starts alike, gets the same gradient, and stays alike"
    elif abs(float(w.mean()) / w.std()) > 0.5:
        looks = "rand, between 0 and 1, instead of randn: the mean has to be 0"
    elif _is_uniform(w):
        looks = "a uniform distribution instead of a normal one: it has no tails"
    elif abs(float(w.std()) - std**2) < 0.1 * std**2:
        looks = "std² as the deviation: std is the deviation, not the variance"
    elif abs(float(w.std()) - 1) < 0.1:
        looks = "randn without the factor std"
    because = f"{said} is drawn from a normal distribution with mean 0 and deviation {std:g}."
    expect_close(float(w.std()), std, because=because, looks_like=looks, rtol=0.05)
    expect_close(float(w.mean()), 0.0, because=because, looks_like=looks, rtol=0, atol=0.05 * std)
    tail = float((w.abs() > 2.2 * std).double().mean())  # 0.028 of a normal distribution, none of a uniform one
    because = f"{because} 2.8 % of it lie beyond 2.2 · std."
    expect_close(tail, 0.0278, because=because, looks_like=looks, rtol=0, atol=0.01)
    differ = bool((w != others.to(F64)).any())
    expect(differ, expected="other weights in a second network", actual="the same", because=f"{said} is random.")


@check(
    "forward: linear, ReLU, linear",
    points=10,
    why="Backward answers for every line of forward; a wrong forward pass has a right gradient of its own.",
    after=["test_start"],
)
def test_forward(sandbox):
    sizes = [(5, (4, 6, 3)), (1, (3, 2, 2)), (7, (1, 1, 4)), (6, (5, 9, 1))]
    cases = [_case(n, size, 10 + i) for i, (n, size) in enumerate(sizes)]
    for case, found in zip(cases, sandbox.run(probes.logits, cases), strict=True):
        p, x = case["params"], case["x"]
        before = x @ p["W1"] + p["b1"]
        right = _logits(p, x)
        guesses = {
            "no ReLU between the layers: then the network is linear": before @ p["W2"] + p["b2"],
            "a ReLU on the logits, too": right.clamp(min=0),
            "a softmax at the end: the loss applies it": right.softmax(1),
            "a log-softmax at the end: the loss applies it": right.log_softmax(1),
            "b1 isn't added": (x @ p["W1"]).clamp(min=0) @ p["W2"] + p["b2"],
            "b2 isn't added": right - p["b2"],
            "b1 is added after the ReLU": ((x @ p["W1"]).clamp(min=0) + p["b1"]) @ p["W2"] + p["b2"],
            "tanh instead of ReLU": before.tanh() @ p["W2"] + p["b2"],
            "a sigmoid instead of ReLU": before.sigmoid() @ p["W2"] + p["b2"],
        }
        because = f"({_said(case)}) relu(x W1 + b1) W2 + b2, with the values that params hold."
        looks = misconception(found["logits"], right, guesses, **NEAR)
        expect_close(found["logits"], right, because=because, looks_like=looks, rtol=1e-9, atol=1e-12)
        expect_dtype(found["logits"], F64, because=f"({_said(case)}) float64 in, float64 out.")
        expect_equal(found["x"], x, because="the input stays as it is: W1's gradient needs it.")


# --- the loss on the logits ----------------------------------------------------------------------------


def _logit_cases():
    g = torch.Generator().manual_seed(20)
    cases = {}
    for n, k in ((4, 3), (1, 5), (6, 2), (3, 1), (32, 10)):
        cases[f"{n} × {k} random logits"] = (
            3 * torch.randn(n, k, generator=g, dtype=F64),
            torch.randint(k, (n,), generator=g),
        )
    cases["logits all 0, K=10"] = (torch.zeros(4, 10, dtype=F64), torch.tensor([0, 3, 3, 9]))
    extreme = [[1000.0, 0.0, -1000.0], [-800.0, 900.0, 0.0], [5000.0, 5000.0, 5000.0]]
    cases["logits up to ±5000, the labels likely"] = (torch.tensor(extreme, dtype=F64), torch.tensor([0, 1, 1]))
    cases["logits up to ±5000, one label unlikely"] = (torch.tensor(extreme, dtype=F64), torch.tensor([0, 2, 1]))
    return cases


@check(
    "softmax_loss: the mean of −log p of the labels",
    points=10,
    why="All logits equal must cost ln K: a loss at the start that is far from it tells of a bug before any training.",
)
def test_loss(sandbox):
    cases = _logit_cases()
    for (said, (logits, labels)), found in zip(
        cases.items(), sandbox.run(probes.softmax_losses, list(cases.values())), strict=True
    ):
        log_p = logits.log_softmax(1)
        nll = -log_p[torch.arange(len(labels)), labels]
        right = float(nll.mean())
        guesses = {
            "the sum over the batch, not the mean": float(nll.sum()),
            "the sign is missing: log p is negative": -right,
            "divided by N · K instead of N": float(nll.sum()) / logits.numel(),
            "divided by K instead of N": float(nll.sum()) / logits.shape[1],
            "the mean of 1 − p: the logarithm is missing": float((1 - (-nll).exp()).mean()),
            "minus the probability: the logarithm is missing": -float((-nll).exp().mean()),
            "the logarithm with base 2": right / math.log(2),
            "the softmax is missing: minus the label's logit": -float(logits[torch.arange(len(labels)), labels].mean()),
            "the softmax over the batch, not over the classes": float(F.nll_loss(logits.log_softmax(0), labels)),
            "a softmax twice": float(F.cross_entropy(logits.softmax(1), labels)),
        }
        _expect_loss(found["loss"], right, f"({said}) −log p of each label, averaged over the N examples.", guesses)
        expect_equal(found["labels"], labels, because=f"({said}) labels stay as they are.")


@check(
    "softmax_loss: its gradient is (p − one-hot) / N",
    points=10,
    why="Where backward begins. The 1/N of the mean goes in here, once; forgotten, the step grows with the batch.",
    after=["test_loss"],
)
def test_loss_gradient(sandbox):
    cases = _logit_cases()
    for (said, (logits, labels)), found in zip(
        cases.items(), sandbox.run(probes.softmax_losses, list(cases.values())), strict=True
    ):
        n, p = len(labels), logits.softmax(1)
        q = F.one_hot(labels, logits.shape[1]).to(F64)
        right = (p - q) / n
        guesses = {
            "the 1/N of the mean is missing": right * n,
            "divided by N twice": right / n,
            "divided by N · K": right / logits.shape[1],
            "the one-hot target isn't subtracted": p / n,
            "the one-hot target is subtracted after the division by N": p / n - q,
            "the sign is turned": -right,
            "only the label's logit gets a gradient; the softmax ties all of them together": right * q,
            "the label's logit gets no gradient": right * (1 - q),
            "probabilities over the batch, not over the classes": (logits.softmax(0) - q) / n,
            "the softmax's own derivative p (1 − p) on top: it has cancelled already": right * p * (1 - p),
        }
        looks = misconception(found["gradient"], right, guesses, **NEAR)
        changed = type(found["logits"]) is torch.Tensor and not torch.equal(found["logits"], logits)
        because = f"({said}) the derivative of the loss that was returned, one row for each example."
        expect_close(found["gradient"], right, because=because, looks_like=looks, rtol=1e-7, atol=1e-12)
        expect_dtype(found["gradient"], F64, because=f"({said}) the gradient has the type of the logits.")
        expect(
            not changed,
            expected="logits as they were given",
            actual="changed in place",
            because=f"({said}) the caller still needs them, for the accuracy.",
            looks_like="`p = logits` and then `p[rows, labels] -= 1`: the same tensor under two names",
        )


# --- the gradients of the parameters -------------------------------------------------------------------


@check(
    "The gradients of W1, b1, W2, b2 are autograd's",
    points=15,
    why="The chain rule on four lines. Interviewers watch for three things: transposes, sums over the batch, the mask.",
    after=["test_forward", "test_loss_gradient"],
)
def test_gradients(sandbox):
    sizes = [(5, (4, 6, 3)), (1, (3, 5, 2)), (8, (2, 1, 4)), (6, (6, 6, 6)), (3, (1, 7, 2)), (4, (3, 4, 1))]
    cases = [_case(n, size, 30 + i) for i, (n, size) in enumerate(sizes)]
    cases.append(_case(4, (3, 5, 3), 40, scale=20.0))  # logits of many hundreds
    cases.append(_case(40, (3, 8, 3), 41, scale=0.01))  # the start of a training run
    for case, found in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        right, grads = _right(case)
        summed = {"the loss is summed over the batch, the gradient is that of the mean": right * len(case["x"])}
        _expect_loss(found["loss"], right, f"({_said(case)}) the loss of forward's logits.", summed)
        _expect_grads(found["grads"], grads, _said(case), _gradient_guesses(case))


@check(
    "Where the ReLU's input is 0 or below, nothing flows back, whatever the gradient",
    points=5,
    why="Which units were on is a fact of the forward pass. At exactly 0, PyTorch's slope is 0, and so it is here.",
    after=["test_gradients"],
)
def test_relu_mask(sandbox):
    def whole(seed, n, sizes):
        """A case of small whole numbers, where many inputs of the ReLU are exactly 0."""
        case = _case(n, sizes, seed)
        g = torch.Generator().manual_seed(seed)
        for name in ("W1", "b1"):
            shape = case["params"][name].shape
            case["params"][name] = torch.randint(-1, 2, shape, generator=g).to(F64)
        case["x"] = torch.randint(-1, 2, case["x"].shape, generator=g).to(F64)
        return case

    cases = [whole(50, 12, (3, 6, 3)), whole(51, 5, (2, 9, 2))]
    blank = _case(4, (3, 5, 3), 52)
    blank["params"]["b1"].zero_()
    blank["x"].zero_()
    dead = _case(6, (3, 4, 3), 53)
    dead["params"]["b1"].fill_(-100.0)
    named = ["whole numbers", "whole numbers", "x and b1 zero", "b1 = −100: every hidden unit is off"]
    for said, case, found in zip(
        named, [*cases, blank, dead], sandbox.run(probes.gradients, [*cases, blank, dead]), strict=True
    ):
        guesses = {
            "the mask is ≥ 0: at exactly 0 the slope counts as 0": _by_hand(case, mask="at least"),
            "a slope of ½ at exactly 0": _by_hand(case, mask="half"),
            **_gradient_guesses(case),
        }
        _expect_grads(found["grads"], _right(case)[1], f"{said}, {_said(case)}", guesses)


def _reg_losses(case, plain):
    w1, w2 = case["params"]["W1"].square().sum(), case["params"]["W2"].square().sum()
    biases = case["params"]["b1"].square().sum() + case["params"]["b2"].square().sum()
    reg, n = case["reg"], len(case["x"])
    guesses = {
        "the loss has no regularisation": 0.0,
        "the ½ is missing": reg * (w1 + w2),
        "the biases are regularised, too": 0.5 * reg * (w1 + w2 + biases),
        "only W1 is regularised": 0.5 * reg * w1,
        "only W2 is regularised": 0.5 * reg * w2,
        "the regularisation is divided by N": 0.5 * reg * (w1 + w2) / n,
        "the norms instead of their squares": 0.5 * reg * (w1.sqrt() + w2.sqrt()),
        "the sum of magnitudes: that is L1": reg * sum(case["params"][k].abs().sum() for k in ("W1", "W2")),
    }
    return {text: plain + float(value) for text, value in guesses.items()}


def _reg_gradients(case):
    plain = _right({**case, "reg": 0.0})[1]
    reg, params, n = case["reg"], case["params"], len(case["x"])

    def with_decay(factor, *names):
        return {k: g + factor * params[k] if k in names else g for k, g in plain.items()}

    return {
        "the gradient has no regularisation": plain,
        "2 · reg · W: the loss has ½ · reg · W², so the gradient is reg · W": with_decay(2 * reg, "W1", "W2"),
        "½ · reg · W: the derivative of ½ W² is W": with_decay(reg / 2, "W1", "W2"),
        "the biases are regularised, too": with_decay(reg, *NAMES),
        "only W1 is regularised": with_decay(reg, "W1"),
        "only W2 is regularised": with_decay(reg, "W2"),
        "the regularisation is divided by N": with_decay(reg / n, "W1", "W2"),
        "the regularisation has the wrong sign": with_decay(-reg, "W1", "W2"),
    }


@check(
    "Regularisation: ½ · reg · (|W1|² + |W2|²) in the loss, reg · W in the gradient, none for biases",
    points=10,
    why="A loss and a gradient that disagree don't show in training; they show when someone compares losses.",
    after=["test_gradients"],
)
def test_regularisation(sandbox):
    cases = [_case(5, (4, 6, 3), 60, reg=0.3), _case(1, (2, 3, 4), 61, reg=5.0), _case(9, (3, 2, 2), 62, reg=1e-3)]
    for case, found in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        right, grads = _right(case)
        plain = _right({**case, "reg": 0.0})[0]
        because = f"({_said(case)}) the mean cross-entropy, {plain:.6g}, plus ½ · reg · (sum of W1² + sum of W2²)."
        _expect_loss(found["loss"], right, because, _reg_losses(case, plain))
        _expect_grads(found["grads"], grads, _said(case), _reg_gradients(case))


@check(
    "The same batch gives the same answer, twice in a row, every example twice, or in another order",
    points=5,
    why="A mean ignores how often and in which order its examples come; an answer, what was asked before.",
    after=["test_regularisation"],
)
def test_repeated(sandbox):
    case, other = _case(6, (4, 5, 3), 70, reg=0.2), _case(9, (4, 5, 3), 71)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    found = sandbox.run(probes.repeated, case, other, order)
    loss, grads = _right(case)
    left = found["left"]
    for name in ("x", "labels"):
        because = f"{name} belongs to the caller, who uses it again in the next epoch."
        expect_equal(left[name], case[name], because=because, looks_like="an operation in place on the input")
    for name, value in case["params"].items():
        because = f"{name} after several calls of loss_and_grads: computing a gradient is no step."
        expect_equal(left["params"][name], value, because=because, looks_like="a parameter is changed in place")
    for when, answer in found["answers"].items():
        stale = _right({**other, "params": case["params"], "reg": case["reg"]})[1]
        guesses = {"the values of another batch: what forward kept was used": stale}
        if when != "at first":
            guesses["gradients add up over the calls, as .grad does"] = {k: 2 * g for k, g in grads.items()}
        because = f"({when}) the same examples and parameters give the same loss."
        _expect_loss(answer["loss"], loss, because)
        _expect_grads(answer["grads"], grads, when, guesses)
    for name, value in grads.items():
        because = f"the first call's gradient of {name}, after other calls: it was given to the caller."
        looks = "one tensor or one dict for the results of all calls"
        expect_close(left["first gradients"][name], value, because=because, looks_like=looks, **TIGHT)


@check(
    "Rule: no autograd",
    points=5,
    why="The exercise is to do what it does.",
    after=["test_gradients"],
)
def test_no_autograd(sandbox):
    used = sandbox.run(probes.autograd_used, _case(5, (3, 4, 3), 80, reg=0.1))
    expect(
        not used,
        expected="softmax_loss, loss_and_grads and train without autograd",
        actual=f"{' and '.join(used)} ran",
        because="this breaks the rule of the exercise; the values may well be right.",
    )


@check(
    "A few operations on whole matrices, however many examples, units and classes",
    points=5,
    why="The products of matrices are the loops. It also rules out gradients by trying small changes one by one.",
    after=["test_gradients"],
)
def test_cost(sandbox):
    cases = [_case(4, (3, 4, 3), 81, reg=0.1), _case(64, (12, 20, 15), 82, reg=0.1)]
    few, many = sandbox.run(probes.cost, cases)
    for what, said in (("operations", "tensor operations"), ("lines", "lines of Python")):
        expect(
            many[what] <= 1.3 * few[what] + 15,
            expected=f"about as many {said} for N=64, D=12, H=20, K=15 as for N=4, D=3, H=4, K=3: {few[what]}",
            actual=f"{many[what]} {said}",
            because="hidden.T @ d_logits already sums over the batch.",
            looks_like="a Python loop over examples, classes or parameters",
        )


# --- training ------------------------------------------------------------------------------------------


def _descent(case):
    """The losses before each step, and the parameters after the last, by autograd."""
    params, losses = case["params"], []
    for _ in range(case["steps"]):
        loss, grads = _right({**case, "params": params})
        losses.append(loss)
        params = {k: p - case["lr"] * grads[k] for k, p in params.items()}
    return losses, params


def _expect_losses(found, right, said, last):
    expect_type(found, list, because="train returns the losses in a list, one for each step.")
    looks = None
    if right and len(found) == len(right) + 1:
        looks = "the loss after the last step is in the list, too"
    because = f"({said}) one loss for each step."
    expect(
        len(found) == len(right),
        expected=f"{len(right)} losses",
        actual=f"{len(found)} losses",
        because=because,
        looks_like=looks,
    )
    for step, (loss, wanted) in enumerate(zip(found, right, strict=True), 1):
        after = right[step] if step < len(right) else last
        wrong = {"the loss after the step: the list starts with the loss before the first": after}
        if step > 1:
            wrong["the parameters haven't moved"] = right[0]
        because = f"({said}) the loss before step {step}, when every step so far was p ← p − lr · gradient."
        _expect_loss(loss, wanted, because, wrong)


@check(
    "train: each step goes against the gradient, and the losses before the steps come back",
    points=5,
    why="Update and log: the loss that belongs to the gradient is the one before the step.",
    after=["test_repeated"],
)
def test_train(sandbox):
    cases = [
        _case(6, (3, 5, 3), 90, reg=0.05, steps=8, lr=0.2),
        _case(5, (2, 4, 2), 91, steps=1, lr=1.5),
        _case(4, (2, 3, 3), 92, steps=0, lr=0.1),
    ]
    for case, found in zip(cases, sandbox.run(probes.descents, cases), strict=True):
        said = f"{_said(case)}, steps={case['steps']}, lr={case['lr']:g}"
        losses, params = _descent(case)
        last = _right({**case, "params": params})[0]
        _expect_losses(found["losses"], losses, said, last)
        for name, right in params.items():
            because = f"({said}) net.params[{name!r}] after training."
            looks = None
            if case["steps"] and resembles(found["params"][name], case["params"][name], **NEAR):
                looks = "new tensors were made, but not put back into net.params"
            expect_close(found["params"][name], right, because=because, looks_like=looks, rtol=1e-8, atol=1e-12)
        for name in ("x", "labels"):
            expect_equal(found[name], case[name], because=f"({said}) {name} stays as it is.")


def _spiral(n, turns, seed):
    """Three arms of n points each, and their labels: no straight line tells them apart."""
    g = torch.Generator().manual_seed(seed)
    radius = torch.linspace(0.05, 1, n)
    angles = [turns * radius + 2 * math.pi * k / 3 + 0.2 * torch.randn(n, generator=g) for k in range(3)]
    points = [torch.stack([radius * a.sin(), radius * a.cos()], dim=1) for a in angles]
    return torch.cat(points), torch.arange(3).repeat_interleave(n)


BAR = 0.97
STEPS = 600


@check(
    "It learns: three arms of a spiral are told apart, from a start near ln 3",
    points=10,
    why="Everything together, and worth a plot. A linear model can't get past 60 % here.",
    after=["test_train"],
)
def test_spiral(sandbox):
    x, labels = _spiral(60, 4.0, 100)
    found = sandbox.run(probes.spiral, x, labels, 64, STEPS)
    start = {"params": {k: p.to(F64) for k, p in found["before"].items()}, "x": x.to(F64), "labels": labels}
    losses = found["losses"]
    expect_type(losses, list, because="train returns the losses in a list, one for each step.")
    expect_equal(len(losses), STEPS, because="one loss for each step.")
    first = _right({**start, "reg": 1e-3})[0]
    because = "the loss of the network as it was made, before the first step."
    expect_close(losses[0], first, because=because, rtol=1e-3)
    trained = {k: expect_tensor(p, because="params hold tensors.").to(F64) for k, p in found["params"].items()}
    accuracy = float((_logits(trained, x.to(F64)).argmax(1) == labels).double().mean())
    sandbox.measure("accuracy", accuracy)
    said = f"loss {losses[0]:.2f} → {losses[-1]:.2f} in {STEPS} steps (ln 3 = 1.10)"
    sandbox.note(f"{said}; {accuracy:.0%} of the points are right")
    because = f"{STEPS} steps with lr=1, 64 hidden units, reg=0.001, on 180 points of three arms."
    looks = None
    if accuracy < 0.62:
        looks = "no better than a linear model: do all four parameters move?"
    expect_at_least(accuracy, BAR, because=because, looks_like=looks)

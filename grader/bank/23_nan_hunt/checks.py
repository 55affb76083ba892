"""Checks for the NaN hunt. The oracles are plain formulas in float64, with nothing in them that is 0 / 0 or log(0)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from grader.checking import (
    Opaque,
    check,
    describe,
    expect,
    expect_close,
    expect_equal,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
    misconception,
)

from . import probes

REPAIR = "a repair, not a rewrite:"
TOLERANCE = {torch.float64: (1e-6, 2e-6), torch.float32: (1e-4, 1e-5)}
EXACT = {torch.float64: (1e-8, 1e-9), torch.float32: (1e-4, 1e-5)}  # where the statement says "right"
EPSILONS = [10.0**-k for k in range(1, 46)]
LIMITS = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 64.0, 70.0, 80.0, 85.0, 87.0, 88.0, 100.0, 500.0, 700.0)


# --- oracles ---------------------------------------------------------------------------------------------


def _normalize(maps):
    centred = maps - maps.mean((2, 3), keepdim=True)
    count = maps.shape[2] * maps.shape[3]
    variance = centred.pow(2).sum((2, 3), keepdim=True) / (count - 1)
    flat = _flat(maps)
    return torch.where(flat, 0.0, centred) / torch.where(flat, 1.0, variance).sqrt()


def _flat(maps):
    """Which maps are constant; the rounded mean of a constant map isn't always that constant."""
    return maps.amax((2, 3), keepdim=True) == maps.amin((2, 3), keepdim=True)


def _pool(tokens, scores):
    weights = torch.softmax(scores, 1)
    return torch.einsum("nt,ntd->nd", weights, tokens)


def _entropy(scores):
    log_p = torch.log_softmax(scores, 1)
    return -(log_p.exp() * log_p).sum(1).mean()


def _distance(a, b):
    squared = (a[:, None] - b[None]).pow(2).sum(2)
    equal = squared == 0
    return torch.where(equal, 0.0, torch.where(equal, 1.0, squared).sqrt())


def _loss(distances, labels, temperature):
    return F.cross_entropy(-distances / temperature, labels)


ORACLES = {
    "contrast_normalize": _normalize,
    "attention_pool": _pool,
    "attention_entropy": _entropy,
    "pairwise_distance": _distance,
    "prototype_loss": _loss,
}


def _wanted(case):
    """Value and gradients in float64."""
    name, given, upstream = case
    leaves = [a.double().clone().requires_grad_() if _floating(a) else a for a in given]
    value = ORACLES[name](*leaves)
    value.backward(upstream.double())
    return value.detach(), [a.grad for a in leaves if _floating(a)]


def _floating(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


# --- what misconceptions give ------------------------------------------------------------------------------


def _guesses(name, given):
    """(misconception, value) for a function and its arguments."""
    given = [a.double() if _floating(a) else a for a in given]
    if name == "attention_pool":
        yield from _pool_guesses(*given)
    elif name == "contrast_normalize":
        yield from _normalize_guesses(*given)
    else:
        guess = {"attention_entropy": _entropy_guesses, "pairwise_distance": _distance_guesses}
        yield from guess.get(name, _loss_guesses)(*given)


def _pool_guesses(tokens, scores):
    weights = scores.exp()
    for e in EPSILONS[:20]:
        pooled = _mix(weights / (weights.sum(1, keepdim=True) + e), tokens)
        yield f"an epsilon of {e:.0e} in the denominator: it takes over where all exponentials are small", pooled
    said = "clamped scores: those beyond the limit all get the same weight"
    for limit in LIMITS:
        yield said, _pool(tokens, scores.clamp(max=limit))
        yield said, _pool(tokens, scores.clamp(-limit, limit))
    said = "the scores are scaled down: that is another softmax"
    for divisor in (10.0, 100.0, 1000.0, tokens.shape[2] ** 0.5, scores.amax()):
        yield said, _pool(tokens, scores / divisor)


def _mix(weights, tokens):
    return (weights.unsqueeze(2) * tokens).sum(1)


def _normalize_guesses(maps):
    centred = maps - maps.mean((2, 3), keepdim=True)
    variance = maps.var((2, 3), keepdim=True)
    for e in EPSILONS[:12]:
        said = f"an epsilon of {e:.0e} next to the standard deviation: it changes every map, not only the constant ones"
        yield said, centred / (variance.sqrt() + e)
        said = f"an epsilon of {e:.0e} next to the variance: it changes every map, not only the constant ones"
        yield said, centred / (variance + e).sqrt()
        std = variance.sqrt()
        said = "maps of little contrast are treated as constant: their standard deviation is small, and not 0"
        yield said, centred / torch.where(std < e, 1.0, std)
        yield f"a standard deviation clamped at {e:.0e}: maps of little contrast change", centred / std.clamp(min=e)
    flat = _flat(maps)
    kept = torch.where(flat, maps, centred / torch.where(flat, 1.0, variance).sqrt())
    yield "constant maps are left as they are; without their mean they are 0", kept
    biased = maps.var((2, 3), keepdim=True, correction=0)
    yield "the standard deviation divides by H · W; it was H · W - 1", _over(centred, biased.sqrt())
    for e in EPSILONS[:12]:
        said = "a layer that divides by H · W and adds an epsilon, such as F.instance_norm: other values everywhere"
        yield said, centred / (biased + e).sqrt()


def _over(centred, std):
    return centred / torch.where(std == 0, 1.0, std)


def _entropy_guesses(scores):
    p = torch.softmax(scores, 1)
    for e in EPSILONS[:20]:
        said = f"an epsilon of {e:.0e} inside the logarithm: it changes every entropy"
        yield said, -(p * (p + e).log()).sum(1).mean()
        said, q = f"weights clamped at {e:.0e}: it changes every entropy", p.clamp(min=e)
        yield said, -(p * q.log()).sum(1).mean()
        yield said, -(q * q.log()).sum(1).mean()


def _distance_guesses(a, b):
    difference = a[:, None] - b[None]
    squared = difference.pow(2).sum(2)
    for e in EPSILONS[:16]:
        said = f"an epsilon or a clamp of {e:.0e} under the root: a distance of 0 becomes {math.sqrt(e):.1g}"
        yield said, (squared + e).sqrt()
        yield said, squared.clamp(min=e).sqrt()
    for e in EPSILONS[:16]:
        said = "points that are merely near each other are said to coincide"
        yield said, torch.where(squared < e, 0.0, squared.sqrt())
    for e in EPSILONS[:8]:
        yield f"an epsilon of {e:.0e} is added to the difference, as F.pairwise_distance does", _shifted(difference, e)
        yield f"an epsilon of {e:.0e} is added to the distance", squared.sqrt() + e
    yield "squared distances: the root is gone, and with it the scale that the temperature was chosen for", squared


def _shifted(difference, e):
    return (difference + e).pow(2).sum(2).sqrt()


def _loss_guesses(distances, labels, temperature):
    p = torch.softmax(-distances / temperature, 1)
    chosen = p[torch.arange(len(labels)), labels]
    for e in EPSILONS:
        said = f"a limit of {e:.0e} on the probability caps the loss at {-math.log(e):.3g}, and has no gradient there"
        yield said, -chosen.clamp(min=e).log().mean()
        yield said, -(chosen + e).log().mean()
    losses = -chosen.log()
    fine = losses.isfinite()
    total = torch.where(fine, losses, 0.0).sum()
    yield "infinite losses became 0, by nan_to_num or a mask: the worst examples teach nothing", total / len(fine)
    kept = total / fine.sum().clamp(min=1)
    yield "examples with an infinite loss are left out of the mean: the worst ones teach nothing", kept
    for limit in (10.0, 20.0, 30.0, 50.0, 80.0, 88.0, 100.0):
        clamped = (-distances / temperature).clamp(min=-limit)
        yield "clamped logits: beyond the limit there is no gradient", F.cross_entropy(clamped, labels)


def _named(case, value, right, dtype):
    """The first misconception that gives what was found, and not the right value."""
    near = 1e-9 if dtype == torch.float64 else 3e-6  # as exact as the type: misconceptions lie close together

    value = value.double()
    if bool((value.abs() >= torch.finfo(dtype).max / 1e3).any()):
        return "nan_to_num puts the largest number of the type in the place of inf"
    finite = ((text, guess) for text, guess in _guesses(case[0], case[1]) if bool(guess.isfinite().all()))
    return misconception(value, right, finite, rtol=near, atol=near)


# --- judging one case ----------------------------------------------------------------------------------------


def _judge(case, found, because, looks, at=None, tolerance=TOLERANCE):
    """Value and gradients of one case. `looks` names the misconception by what isn't finite: "value" or "gradient".

    `at` are the entries of the first gradient that are determined; None for all. `tolerance` is that of the value.
    """
    value, right, wanted = _value(case, found, because, looks)
    dtype = case[2].dtype
    name = case[0]
    expect_close(
        value,
        right,
        because=because,
        looks_like=_named(case, value, right, dtype),
        rtol=tolerance[dtype][0],
        atol=tolerance[dtype][1],
    )
    for i, (gradient, want) in enumerate(zip(found["gradients"], wanted, strict=True)):
        of = f"the gradient of {name} with respect to {_ARGUMENTS[name][i]}"
        if type(gradient) is not torch.Tensor:
            cut = "the graph is cut, by detach, .data, .item() or no_grad"
            fail(expected=of, actual=describe(gradient), because=because, looks_like=cut)
        bad = int((~gradient.isfinite()).sum())
        if bad:
            first = f"; {found['first']} returned nan first" if found["first"] else ""
            fail(
                expected=f"finite values in {of}",
                actual=f"{bad} of {gradient.numel()} values are nan or infinite{first}",
                because=because,
                looks_like=looks["gradient"],
            )
        expect_shape(gradient, tuple(want.shape), because=because)
        if at is not None and i == 0:
            gradient, want = gradient[at], want[at]
        rtol, atol = (1e-5, 1e-5) if dtype == torch.float64 else (1e-3, 1e-4)
        dead = bool((gradient == 0).all()) and not bool((want.abs() < 1e-12).all())
        guess = "a clamp, or nan_to_num: where it acts, the gradient is 0" if dead else None
        expect_close(gradient, want, because=f"{because} ({of})", looks_like=guess, rtol=rtol, atol=atol)


def _value(case, found, because, looks):
    value = expect_tensor(found["value"], because=because)
    right, wanted = _wanted(case)
    expect_shape(value, tuple(right.shape), because=because)
    expect(
        value.dtype == case[2].dtype,
        expected=f"{case[2].dtype}, like the inputs",
        actual=str(value.dtype),
        because=f"{REPAIR} the functions keep the type of what they get.",
    )
    bad = int((~value.isfinite()).sum())
    if bad:
        many = f"{bad} of {value.numel()} values are nan or infinite" if right.dim() else describe(value.item())
        first = f"; the first that isn't finite comes from {found['first']}" if found["first"] else ""
        fail(
            expected="finite values" if right.dim() else describe(right.item()),
            actual=many + first,
            because=because,
            looks_like=looks["value"],
        )
    return value, right, wanted


_ARGUMENTS = {
    "contrast_normalize": ("maps",),
    "attention_pool": ("tokens", "scores"),
    "attention_entropy": ("scores",),
    "pairwise_distance": ("a", "b"),
    "prototype_loss": ("distances",),
}


def _randn(seed, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _case(name, *given, seed=0):
    with torch.no_grad():
        shape = ORACLES[name](*given).shape
    upstream = _randn(1000 + seed, *shape, dtype=given[0].dtype)
    return (name, list(given), upstream if shape else upstream.abs() + 0.5)


NOTHING = {"value": None, "gradient": None}


# --- what must stay ------------------------------------------------------------------------------------------


@check(
    "On ordinary batches each function gives the value and the gradient that it always gave",
    points=5,
    why="A model in production has thresholds and checkpoints that rest on today's numbers.",
)
def test_ordinary(sandbox):
    cases = [
        _case("contrast_normalize", 0.3 * _randn(1, 3, 2, 5, 4) + 2),
        _case("contrast_normalize", 0.05 * _randn(2, 1, 1, 2, 2)),
        _case("contrast_normalize", _randn(3, 2, 3, 7, 7)),
        _case("attention_pool", _randn(4, 4, 9, 3), 2 * _randn(5, 4, 9)),
        _case("attention_pool", _randn(6, 1, 1, 2), _randn(7, 1, 1)),
        _case("attention_entropy", 2 * _randn(8, 5, 6)),
        _case("attention_entropy", _randn(9, 1, 3)),
        _case("pairwise_distance", _randn(10, 5, 3), _randn(11, 4, 3)),
        _case("pairwise_distance", 0.1 * _randn(12, 1, 2), 0.1 * _randn(13, 6, 2)),
        *(
            _case("prototype_loss", 2 * _randn(14 + i, n, c).abs(), torch.arange(n) % c, temperature)
            for i, (n, c, temperature) in enumerate([(6, 4, 0.5), (1, 3, 2.0), (9, 5, 1.0)])
        ),
    ]
    for case, found in zip(cases, sandbox.run(probes.evaluate, cases), strict=True):
        shapes = ", ".join(str(tuple(a.shape)) for a in case[1] if isinstance(a, torch.Tensor))
        because = f"{REPAIR} {case[0]} on ordinary numbers, shapes {shapes}, stays within 1e-6 of what it was."
        _judge(case, found, because, NOTHING)


def _embeddings(state, images):
    maps = torch.relu(_normalize(F.conv2d(images, state["patches.weight"], stride=2)))
    tokens = maps.flatten(2).transpose(1, 2)
    scores = F.linear(tokens, state["score.weight"])[:, :, 0]
    return F.linear(_pool(tokens, scores), state["embed.weight"], state["embed.bias"]), scores


def _model_loss(state, images, labels, temperature=0.5):
    embeddings, scores = _embeddings(state, images)
    return _loss(_distance(embeddings, state["prototypes"]), labels, temperature) - 0.01 * _entropy(scores)


def _shapes(classes, channels, dim):
    return {
        "patches.weight": (channels, 1, 4, 4),
        "score.weight": (1, channels),
        "embed.weight": (dim, channels),
        "embed.bias": (dim,),
        "prototypes": (classes, dim),
    }


def _expect_start(state):
    """The initial weights come from the layers' own defaults, the prototypes from a standard normal distribution."""
    bounds = {"patches.weight": 1 / 4}  # 1 / √fan-in
    bounds.update({f"{layer}.weight": state[f"{layer}.weight"].shape[1] ** -0.5 for layer in ("score", "embed")})
    for name, bound in bounds.items():
        weights = state[name]
        largest, spread = weights.abs().max().item(), weights.std().item() * math.sqrt(3) / bound
        expect(
            largest <= bound * 1.0001 and 0.3 < spread < 1.7,
            expected=f"{name} drawn evenly from -{bound:.3g} to {bound:.3g}",
            actual=f"the largest is {largest:.3g}, the deviation {weights.std().item():.3g}",
            because=f"{REPAIR} the layers start as PyTorch makes them.",
        )
    spread = state["prototypes"].std().item()
    because = f"{REPAIR} prototypes start as standard normal numbers."
    expect(0.5 < spread < 1.6, expected="a deviation near 1", actual=describe(spread), because=because)


@check(
    "The network is still the same",
    points=5,
    why="Its checkpoints have to load, and give the same embeddings.",
    after=["test_ordinary"],
)
def test_same_network(sandbox):
    cases = [({}, _randn(30, 5, 1, 16, 16))]
    cases += [({"classes": 3, "channels": 5, "dim": 6, "temperature": 2.0}, 3 * _randn(31, 2, 1, 16, 16))]
    for (options, images), found in zip(cases, sandbox.run(probes.models, cases), strict=True):
        full = {"classes": 4, "channels": 12, "dim": 8, "temperature": 0.5, **options}
        expect_equal(found["temperature"], full.pop("temperature"), because=f"{REPAIR} the temperature stays.")
        state = found["state"]
        shapes = {name: tuple(t.shape) for name, t in state.items()}
        because = f"{REPAIR} parameters keep their names and shapes, or old checkpoints no longer load."
        expect_equal(dict(sorted(shapes.items())), dict(sorted(_shapes(**full).items())), because=because)
        _expect_start(state)
        state = {name: t.clone().requires_grad_() for name, t in state.items()}
        embeddings, scores = _embeddings(state, images)
        because = f"{REPAIR} the same weights give the same"
        distances = _distance(embeddings, state["prototypes"])
        distances.sum().backward()
        for name, wanted in {"scores": scores, "embeddings": embeddings, "distances": distances}.items():
            expect_close(found[name], wanted.detach(), because=f"{because} {name}.", rtol=1e-6, atol=1e-6)
        for name, gradient in found["gradients"].items():
            wanted = state[name].grad
            of = f"{because} gradients of the distances ({name})."
            expect_tensor(gradient, because=of, looks_like="the graph is cut, by detach, .data or no_grad")
            expect_close(gradient, wanted, because=of, rtol=1e-5, atol=1e-6)


def _training(before, batches, epochs, lr):
    """The parameters and the history that training has to end with, in float64."""
    state = {name: p.clone().requires_grad_() for name, p in before.items()}
    optimizer = torch.optim.Adam(state.values(), lr=lr)
    history = []
    for _ in range(epochs):
        losses = []
        for images, labels in batches:
            loss = _model_loss(state, images, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        history.append(sum(losses) / len(losses))
    return {name: p.detach() for name, p in state.items()}, history


def _batches(seed, sizes):
    return [(_randn(seed + i, n, 1, 16, 16), (torch.arange(n) * 3 + i) % 4) for i, n in enumerate(sizes)]


def _expect_training(found, batches, epochs, lr, because):
    names = sorted({name for name, _ in found["steps"]})
    expect_equal(names, ["Adam"], because=f"{REPAIR} the optimizer stays what it was.")
    looks = "fewer steps: batches are skipped" if len(found["steps"]) < epochs * len(batches) else None
    because_steps = f"{epochs} epochs of {len(batches)} batches, and each batch is one step."
    expect_equal(len(found["steps"]), epochs * len(batches), because=because_steps, looks_like=looks)
    rates = sorted({rate for _, group in found["steps"] for rate in group})
    slower = bool(rates) and rates[0] < lr
    looks = "a lower learning rate makes nan come later, and everything else slower" if slower else None
    expect_equal(rates, [lr], because=f"{REPAIR} the learning rate isn't the cause.", looks_like=looks)
    after, history = _training(found["before"], batches, epochs, lr)
    expect_type(found["history"], list, because="train returns the mean loss of each epoch.")
    for name, wanted in after.items():
        actual = found["after"].get(name, Opaque("missing parameter"))
        moved = type(actual) is torch.Tensor and not torch.equal(actual, found["before"][name])
        looks = None if moved else "this parameter was never updated"
        expect_close(actual, wanted, because=f"{because} ({name})", looks_like=looks, rtol=1e-5, atol=1e-5)
    expect_equal(len(found["history"]), epochs, because="one mean loss for each epoch.")
    for actual, wanted in zip(found["history"], history, strict=True):
        expect_close(actual, wanted, because="the history holds the mean loss of each epoch.", rtol=1e-5, atol=1e-5)


@check(
    "Training on ordinary batches takes the same steps",
    points=5,
    why="NaN is a fault of a formula. Other learning rates, clipping and skipping hide it for a while.",
    after=["test_same_network"],
)
def test_same_training(sandbox):
    because = f"{REPAIR} the same batches lead to the same parameters."
    batches = _batches(40, (8, 5, 1))
    _expect_training(sandbox.run(probes.trained, batches), batches, 5, 0.005, because)
    found = sandbox.run(probes.trained, batches[:2], seed=1, epochs=2, lr=0.02)
    _expect_training(found, batches[:2], 2, 0.02, because)


# --- the planted bugs ------------------------------------------------------------------------------------------


def _both(make):
    """The cases in float32, as in training, and in float64."""
    return [case for dtype in (torch.float32, torch.float64) for case in make(dtype)]


@check(
    "contrast_normalize is right for every image, value and gradient",
    points=14,
    why="A dark image, a saturated one, a channel that died: a division by a standard deviation meets all of them.",
)
def test_constant_maps(sandbox):
    def make(dtype):
        one = _randn(50, 3, 2, 4, 4, dtype=dtype)
        one[1] = 0.0
        one[2, 1] = 0.5  # exact sums: the mean is 0.5, too
        faint = _randn(51, 2, 3, 5, 5, dtype=dtype)  # of little contrast, and not constant
        faint[0] *= 1e-3
        faint[1, 0] *= 1e-4
        zeros = torch.zeros(1, 1, 3, 3, dtype=dtype)
        return [_case("contrast_normalize", maps) for maps in (one, zeros, faint)]

    looks = {
        "value": "0 / 0: a constant map has the standard deviation 0, and its values minus their mean are 0 as well",
        "gradient": "the value is mended after the division, by torch.where or nan_to_num; the backward pass still "
        "goes through 0 / 0. Replace the divisor before it is used",
    }
    cases, bright = _both(make), _both(_bright)
    found = sandbox.run(probes.evaluate, cases + bright)
    _judge_maps(cases[:2], found[:2], looks)
    for case, one in zip(bright, found[len(cases) :], strict=True):
        _expect_zero(case, one, looks)
    _judge_maps(cases[2:], found[2 : len(cases)], looks)


def _judge_maps(cases, answers, looks):
    """Maps of which some are constant. Their gradient isn't determined."""
    for case, found in zip(cases, answers, strict=True):
        maps = case[1][0]
        at = maps.flatten(2).std(2) > 0
        because = f"maps of {maps.dtype}: {int((~at).sum())} of {at.numel()} are constant, as of a black image."
        _judge(case, found, because, looks, at=at, tolerance=EXACT)


def _bright(dtype):
    """Constant maps of many values; the mean of equal numbers is rounded, and not always that number."""
    g = torch.Generator().manual_seed(52)
    named = torch.tensor([0.1, 0.3, 0.7, 1.0, 255.0, 777.7, -42.42, 1 / 3])
    values = torch.cat([named, torch.rand(24, generator=g), 1000 * torch.rand(32, generator=g) - 500]).to(dtype)
    maps = (values[None, :, None, None] * torch.ones(1, 64, side, side, dtype=dtype) for side in (7, 5))
    return [_case("contrast_normalize", one.clone()) for one in maps]


def _expect_zero(case, found, looks):
    """Constant maps become 0, but for what rounding leaves of value - mean."""
    maps = case[1][0]
    side = maps.shape[2]
    because = f"64 constant maps of {maps.dtype}, {side} by {side}, with values such as 0.3, 1 and 777.7: all become 0."
    value, _, _ = _value(case, found, because, looks)
    size = maps.abs().amax((2, 3))
    slack = 16 * torch.finfo(maps.dtype).eps * size
    off = value.abs().amax((2, 3)) > slack
    if bool(off.any()):
        i, j = (off * value.abs().amax((2, 3)) / size).flatten().argmax().item(), value.abs().amax((2, 3))
        fail(
            expected=f"0 where the map is {maps.flatten(2)[0, i, 0].item():.4g} everywhere, within rounding",
            actual=f"up to {j.flatten()[i].item():.3g}; {int(off.sum())} of 64 maps are off",
            because=because,
            looks_like=_tiny_divisor(maps, value),
        )
    for gradient in found["gradients"]:
        expect_tensor(gradient, because=because, name="the gradient")
        bad = int((~gradient.isfinite()).sum())
        actual = f"{bad} of {gradient.numel()} values are nan or infinite"
        expect(bad == 0, expected="finite gradients", actual=actual, because=because, looks_like=looks["gradient"])


def _tiny_divisor(maps, value):
    """Says by what constant maps were divided, when it was one small number for all of them."""
    rest = maps - maps.mean((2, 3), keepdim=True)
    some = rest != 0
    divisors = (rest[some] / value[some]).double()
    if not bool(some.any()) or not bool(divisors.isfinite().all()):
        return None
    middle = divisors.median().item()
    if not 0 < middle < 0.5 or bool(((divisors / middle - 1).abs() > 0.01).any()):
        return None
    return (
        f"constant maps are divided by {middle:.1g}, an epsilon or a clamp: the mean of equal numbers is rounded, and "
        f"the rest that is left of value - mean becomes {1 / middle:.1g} times as large"
    )


@check(
    "attention_pool is right for scores of any size, value and gradient",
    points=14,
    why="Scores grow as long as attention is trained; exp(89) is infinite in float32, exp(-104) is 0.",
)
def test_large_scores(sandbox):
    def make(dtype):
        tokens = _randn(60, 4, 3, 2, dtype=dtype)
        rows = [[1000.0, 999.0, 0.0], [-1000.0, -1001.0, -1000.5], [0.3, -1.0, 1.0], [4000.0, -4000.0, 3999.0]]
        scores = torch.tensor(rows, dtype=dtype)
        return [_case("attention_pool", tokens, scores), _case("attention_pool", tokens[:1, :1], scores[3:, :1])]

    looks = {
        "value": "exp of a large score is inf, and inf / inf is nan; where all are very negative it is 0 / 0",
        "gradient": "the exponential still overflows in a branch that torch.where doesn't take, or under nan_to_num: "
        "its gradient is 0 · inf",
    }
    cases = _both(make)
    for case, found in zip(cases, sandbox.run(probes.evaluate, cases), strict=True):
        because = f"scores of {case[2].dtype} from -4000 to 4000: only their differences count."
        _judge(case, found, because, looks)


@check(
    "attention_entropy is right for scores of any size, value and gradient",
    points=14,
    why="0 · log(0) is 0 on paper. In floating point it is 0 · -inf, and its slope is infinite besides.",
)
def test_one_hot_attention(sandbox):
    def make(dtype):
        rows = [[2000.0, 0.0, 1.0], [0.0, 0.0, -2000.0], [0.5, -0.5, 0.0], [-900.0, 900.0, 0.0]]
        scores = torch.tensor(rows, dtype=dtype)
        steps = torch.tensor([[0.0, -14.0, -16.0], [-18.0, 0.0, -13.0], [0.0, -20.0, -17.0]], dtype=dtype)
        return [_case("attention_entropy", given) for given in (scores, scores[:1], steps, steps[:1])]

    looks = {
        "value": "0 · log(0): a weight that was rounded to 0 has a logarithm of -inf, and 0 · -inf is nan",
        "gradient": "the value of p · log p is mended, by torch.where, xlogy, entr or nan_to_num; its slope at p = 0 "
        "is still infinite, and the softmax multiplies it by 0",
    }
    cases = _both(make)
    for case, found in zip(cases, sandbox.run(probes.evaluate, cases), strict=True):
        because = f"scores of {case[2].dtype} that differ by up to {_range(case[1][0]):.0f}: weights are tiny, or 0."
        _judge(case, found, because, looks, tolerance=EXACT)


def _range(scores):
    return (scores.amax(1) - scores.amin(1)).max().item()


@check(
    "pairwise_distance is right at every distance, value and gradient",
    points=14,
    why="The square root's slope at 0 is infinite: the loss looks fine, and the next step makes every weight nan.",
)
def test_equal_points(sandbox):
    def make(dtype):
        a, b = _randn(70, 3, 4, dtype=dtype), _randn(71, 2, 4, dtype=dtype)
        b[1] = a[2]
        near = a.clone()
        near[0] += 4e-4  # a distance of 8e-4
        near[1] += 1e-5
        return [_case("pairwise_distance", *pair) for pair in ((a, b), (a, a), (near, a))]

    looks = {
        "value": "a division by the distance, 0 / 0",
        "gradient": "the square root is taken at 0, where its slope is infinite, and 0 · inf is nan. torch.where "
        "around the root doesn't help: the branch that isn't taken has a gradient, too",
    }
    cases = _both(make)
    for case, found in zip(cases, sandbox.run(probes.evaluate, cases), strict=True):
        equal = int((_distance(*(x.double() for x in case[1])) == 0).sum())
        because = f"points of {case[2].dtype}; {equal} of the pairs coincide, as an image and the prototype made of it."
        _judge(case, found, because, looks, tolerance=EXACT)


@check(
    "prototype_loss is right for every example, value and gradient",
    points=14,
    why="It has the most to teach. Rounded to a probability of 0 its loss is infinite; clamped, it has no gradient.",
)
def test_hopeless_example(sandbox):
    def make(dtype):
        far = torch.tensor([[1000.0, 0.5, 2.0], [1.0, 0.3, 0.5], [3.0, 900.0, 0.0]], dtype=dtype)
        labels = torch.tensor([0, 1, 1])
        return [
            _case("prototype_loss", far, labels, 0.5),
            _case("prototype_loss", far[:1], labels[:1], 1.0),
            _case("prototype_loss", far[1:2], labels[1:2], 0.0005),
        ]

    looks = {
        "value": "log(0): the softmax rounds a small probability to 0 before the logarithm sees it",
        "gradient": "log(0) is still computed, and hidden by torch.where or nan_to_num: its gradient is infinite",
    }
    cases = _both(make)
    for case, found in zip(cases, sandbox.run(probes.evaluate, cases), strict=True):
        because = f"distances of {case[2].dtype}, up to {case[1][0].max():.4g}, with temperature {case[1][2]}: "
        _judge(case, found, because + "the loss is the distance that is missing, over the temperature.", looks)


# --- all together ------------------------------------------------------------------------------------------------


@check(
    "The night shift's batches: the whole network has the right loss and finite gradients, and trains on them",
    points=15,
    why="One source of NaN that is left is enough: a single step with it makes every weight nan.",
    after=[
        "test_same_training",
        "test_constant_maps",
        "test_large_scores",
        "test_one_hot_attention",
        "test_equal_points",
        "test_hopeless_example",
    ],
)
def test_night_shift(sandbox):
    images, labels = _randn(80, 6, 1, 16, 16), torch.tensor([0, 3, 1, 2, 2, 0])
    for name, found in sandbox.run(probes.situations, images, labels).items():
        if not found["constant"]:
            continue  # here the convolution itself rounds differently from place to place
        because = f"({name}) a batch as in the reports."
        state = {n: p.double().requires_grad_() for n, p in found["state"].items()}
        right = _model_loss(state, found["images"].double(), found["labels"])
        right.backward()
        loose = "float32" in name
        expect_tensor(found["loss"], because=because)
        rtol, atol = (1e-2, 1e-2) if loose else (1e-6, 1e-5)
        expect_close(found["loss"].detach(), right.detach(), because=because, rtol=rtol, atol=atol)
        for parameter, gradient in found["gradients"].items():
            expect_tensor(gradient, because=f"{because} Every parameter gets a gradient.", name=parameter)
            bad = int((~gradient.isfinite()).sum())
            actual = f"{bad} of {gradient.numel()} values of {parameter} are nan or infinite"
            expect(bad == 0, expected="finite gradients", actual=actual, because=because)
            if not loose and not name.startswith("equal"):
                wanted = state[parameter].grad
                scale = max(1.0, wanted.abs().max().item())
                of = f"{because} (the gradient of {parameter})"
                expect_close(gradient, wanted, because=of, rtol=1e-4, atol=1e-5 * scale)
    batches = _batches(90, (6, 4, 3))
    batches[0][0][2] = 0.0
    batches[1][0][:] = 0.0
    found = sandbox.run(probes.trained, batches, seed=2)
    because = "black images are part of the batch; each batch is learned from as it is."
    _expect_training(found, batches, 5, 0.005, because)

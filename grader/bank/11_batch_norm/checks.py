"""Checks for the batch normalisation. Oracles: the formulas of the statement, written out in float64."""

from __future__ import annotations

import math

import torch

from grader.checking import (
    check,
    expect,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_shape,
    expect_tensor,
    fail,
    misconception,
    resembles,
)

from . import probes

F64 = torch.float64
BUFFERS = ["num_batches_tracked", "running_mean", "running_var"]


def _random(*shape, seed, scale=1.0, shift=0.0, dtype=torch.float32):
    """Random images; every channel has a mean and a spread of its own."""
    g = torch.Generator().manual_seed(seed)
    c = shape[1]
    spread = 0.5 + torch.rand(c, 1, 1, generator=g, dtype=F64) * 2
    offset = torch.randn(c, 1, 1, generator=g, dtype=F64)
    return (scale * (torch.randn(*shape, generator=g, dtype=F64) * spread + offset) + shift).to(dtype)


def _affine(features, seed):
    g = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(features, generator=g, dtype=F64),
        "bias": torch.randn(features, generator=g, dtype=F64),
    }


def _broadcast(v):
    return v.to(F64)[:, None, None]


# --- oracles -------------------------------------------------------------------------------------------


def _statistics(x, dims=(0, 2, 3), correction=0):
    x = x.to(F64)
    mean = x.mean(dims, keepdim=True)
    count = math.prod(x.shape[d] for d in dims)
    return mean, (x - mean).square().sum(dims, keepdim=True) / max(count - correction, 1e-9)


def _scaled(normed, case):
    if case.get("weight") is None:
        return normed
    return normed * _broadcast(case["weight"]) + _broadcast(case["bias"])


def _normed(case, dims=(0, 2, 3), correction=0):
    mean, var = _statistics(case["x"], dims, correction)
    eps = case["options"].get("eps", 1e-5)
    return (case["x"].to(F64) - mean) / (var + eps).sqrt()


def _wrong_outputs(case):
    x, eps = case["x"].to(F64), case["options"].get("eps", 1e-5)
    mean, var = _statistics(x)
    axes = {
        (0,): "statistics over N alone: H and W belong to the same channel",
        (2, 3): "statistics over H and W alone: that is InstanceNorm",
        (1, 2, 3): "statistics over C, H and W: that is LayerNorm",
        (1,): "statistics over the channels",
        (0, 1, 2, 3): "one mean and variance for all channels together",
        (0, 2): "statistics over N and H; W is missing",
    }
    for dims, text in axes.items():
        yield text, lambda d=dims: _scaled(_normed(case, d), case)
        yield text + ", and the unbiased variance", lambda d=dims: _scaled(_normed(case, d, 1), case)
    yield (
        "the unbiased variance: the output is divided by the biased one",
        lambda: _scaled(_normed(case, correction=1), case),
    )
    yield "eps is added outside the square root", lambda: _scaled((x - mean) / (var.sqrt() + eps), case)
    yield "eps isn't added", lambda: _scaled((x - mean) / var.sqrt(), case)
    yield "eps is always 1e-5", lambda: _scaled((x - mean) / (var + 1e-5).sqrt(), case)
    yield "eps is always 1e-3", lambda: _scaled((x - mean) / (var + 1e-3).sqrt(), case)
    yield "divided by the variance instead of its root", lambda: _scaled((x - mean) / (var + eps), case)
    yield "the mean isn't subtracted", lambda: _scaled(x / (var + eps).sqrt(), case)
    yield "the running statistics normalise in training, too", lambda: _scaled(x / math.sqrt(1 + eps), case)
    if case.get("weight") is not None:
        w, b, normed = _broadcast(case["weight"]), _broadcast(case["bias"]), _normed(case)
        yield "weight and bias aren't used", lambda: normed
        yield "the bias isn't added", lambda: normed * w
        yield "the weight isn't used", lambda: normed + b
        yield "the bias is added before the weight multiplies", lambda: (normed + b) * w
        yield "multiplied by 1 + weight", lambda: normed * (1 + w) + b
        if x.shape[-1] == x.shape[1]:
            across = case["weight"].to(F64), case["bias"].to(F64)
            yield "weight and bias go along the columns, not the channels", lambda: normed * across[0] + across[1]


NEAR = {"rtol": 1e-3, "atol": 1e-4}
"""For telling misconceptions apart, in float32 as in float64."""


def _said(case):
    options = [f"{name}={value}" for name, value in case["options"].items()]
    return ", ".join([f"x {tuple(case['x'].shape)}", *options])


# --- the checks ----------------------------------------------------------------------------------------


@check(
    "Two parameters and three buffers, under PyTorch's names",
    points=10,
    why="What is a parameter is trained, what is a buffer is saved and moved, what is neither gets lost.",
)
def test_state(sandbox):
    cases = [(3, {}), (1, {}), (4, {"affine": False}), (2, {"momentum": None, "eps": 0.1})]
    for (features, options), found in zip(cases, sandbox.run(probes.states, cases), strict=True):
        affine = options.get("affine", True)
        said = f"BatchNorm2d({', '.join([str(features), *(f'{k}={v}' for k, v in options.items())])})"
        wanted = ["bias", "weight"] if affine else []
        because = f"{said}: an optimizer trains exactly what parameters() yields."
        looks = None
        if any(name in found["parameters"] for name in BUFFERS):
            looks = "running statistics as parameters: an optimizer would change them; use register_buffer"
        elif affine and not found["parameters"]:
            looks = "plain tensors aren't found; assign an nn.Parameter"
        expect_equal(sorted(found["parameters"]), wanted, because=because, looks_like=looks)
        expect_equal(sorted(found["trained"]), wanted, because=f"{because} All of them require gradients.")
        looks = "plain attributes are neither saved nor moved by .to(); use register_buffer"
        because = f"{said}: buffers are saved and moved with the model, and not trained."
        expect_equal(sorted(found["buffers"]), BUFFERS, because=because, looks_like=looks)
        because = f"{said}: a checkpoint without the running statistics can't be evaluated."
        looks = "persistent=False keeps a buffer out of the state_dict"
        expect_equal(found["saved"], sorted(wanted + BUFFERS), because=because, looks_like=looks)
        _expect_start(found, features, wanted, said)
        if not affine:
            both = found["weight is None"] is True and found["bias is None"] is True
            because = "callers ask `if norm.weight is not None`, as with PyTorch's layer."
            expect(both, expected=f"weight and bias None in {said}", actual="something else", because=because)


def _expect_start(found, features, names, said):
    start = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    for name in [*names, "running_mean", "running_var"]:
        value = {**found["parameters"], **found["buffers"]}[name]
        because = f"{said}: {name} starts at {start[name]:g} in every channel, so that the layer changes nothing yet."
        expect_close(value, torch.full((features,), start[name]), because=because, rtol=0, atol=0)
    count = found["buffers"]["num_batches_tracked"]
    expect_shape(count, (), because=f"{said}: num_batches_tracked is a single number, as a tensor.")
    expect_dtype(count, torch.int64, because=f"{said}: a count; float32 stops counting at 2**24.")
    expect_equal(int(count), 0, because=f"{said}: no batch was seen yet.")


@check(
    "Training: each channel is normalised over N, H and W",
    points=20,
    why="Which axes, which variance, where eps stands: the four lines that everyone is asked to write.",
    after=["test_state"],
)
def test_training_output(sandbox):
    def case(x, seed=None, **options):
        return {"x": x, "features": x.shape[1], "options": options, **(_affine(x.shape[1], seed) if seed else {})}

    cases = [
        case(_random(4, 3, 5, 6, seed=1)),
        case(_random(2, 4, 1, 3, seed=2), 20),
        case(_random(1, 2, 4, 4, seed=3), 30),
        case(_random(7, 1, 1, 1, seed=4), 40),
        case(_random(3, 5, 4, 5, seed=5), 50, eps=0.5),
        case(_random(5, 3, 3, 2, seed=6, scale=0.003), 60),
        case(_random(6, 2, 3, 3, seed=7), affine=False, eps=0.1),
        case(torch.full((2, 3, 4, 4), 0.75), 70),
    ]
    for one, found in zip(cases, sandbox.run(probes.training_outputs, cases), strict=True):
        right = _scaled(_normed(one), one)
        looks = misconception(found["output"], right, _wrong_outputs(one), **NEAR)
        because = f"({_said(one)}) weight · (x − mean) / sqrt(var + eps) + bias, all by channel, the variance biased."
        expect_close(found["output"], right, because=because, looks_like=looks, rtol=1e-3, atol=1e-4)
        expect_dtype(found["output"], one["x"].dtype, because="the next layer expects the dtype that came in.")
        expect(
            torch.equal(found["x"], one["x"]),
            expected="x as it was before the call",
            actual="x changed in place",
            because=f"({_said(one)}, in training) a residual connection reads the same tensor.",
        )


@check(
    "Rule: the normalisation is your own",
    points=5,
    why="The task is to write what F.batch_norm does.",
    after=["test_state"],
)
def test_own_work(sandbox):
    names, bases = sandbox.run(probes.norms_called, _random(3, 4, 3, 5, seed=8))
    used = [f"{name} ran" for name in names] + [f"the class derives from {name}" for name in bases]
    expect(
        not used,
        expected="no normalisation layer or function of PyTorch's",
        actual=", ".join(used),
        because="broken rule: calling PyTorch's own normalisation isn't writing one.",
    )


@check(
    "Large offsets do no harm",
    points=5,
    why="E[x²] − E[x]² subtracts two nearly equal numbers; in float32 nothing is left of a small variance.",
    after=["test_training_output", "test_own_work"],
)
def test_large_offsets(sandbox):
    cases = [
        {"x": _random(6, 3, 5, 5, seed=9, shift=shift), "features": 3, "options": {}}
        for shift in (3000.0, -8000.0, 0.0)
    ]
    for case, found in zip(cases, sandbox.run(probes.training_outputs, cases), strict=True):
        because = f"values around {case['x'].mean().item():.0f} with a spread near 1, in float32, against float64."
        text = "the variance as E[x²] − E[x]²: nearly all digits cancel"
        looks = text if _only_scaled(found["output"], case) else None
        expect_close(found["output"], _normed(case), because=because, looks_like=looks, rtol=5e-3, atol=5e-3)


def _only_scaled(actual, case):
    """Is the mean right in each channel, and only the factor wrong, or nan, as the root of a negative variance?"""
    right = _normed(case)
    if type(actual) is not torch.Tensor or actual.shape != right.shape:
        return False
    got, want = actual.to(F64).transpose(0, 1).flatten(1), right.transpose(0, 1).flatten(1)
    factor = (got * want).sum(1, keepdim=True) / want.square().sum(1, keepdim=True)
    scaled = (got - factor * want).abs().amax(1) <= 1e-2 * factor.abs().squeeze(1)
    return bool((scaled | ~got.isfinite().all(1)).all())


def _running_oracle(batches, momentum, correction=1, share_of_new=True, start=0):
    """The buffers after each batch. `start`: how many batches the initial 0 and 1 count as, with momentum=None."""
    c = batches[0].shape[1]
    mean, var, moments = torch.zeros(c, dtype=F64), torch.ones(c, dtype=F64), []
    for k, x in enumerate(batches, 1):
        new_mean, _ = _statistics(x)
        _, new_var = _statistics(x, correction=correction)
        share = 1 / (k + start) if momentum is None else momentum
        share = share if share_of_new else 1 - share
        mean = (1 - share) * mean + share * new_mean.flatten()
        var = (1 - share) * var + share * new_var.flatten()
        moments.append({"running_mean": mean, "running_var": var, "num_batches_tracked": torch.tensor(k)})
    return moments


def _expect_buffers(found, right, when, guesses):
    """Compares the three buffers; `guesses`: misconception → the buffers that it gives."""
    for name in ("running_mean", "running_var"):
        near = [(text, lambda g=g, n=name: g[n]) for text, g in guesses.items()]
        looks = misconception(found.get(name), right[name], near, **NEAR)
        because = f"{name} {when}."
        expect_close(found.get(name), right[name], because=because, looks_like=looks, rtol=1e-4, atol=1e-5)
    count = found.get("num_batches_tracked")
    expect_tensor(count, because=f"num_batches_tracked {when}.")
    because = f"num_batches_tracked {when}: it counts the batches seen in training."
    expect_equal(int(count), int(right["num_batches_tracked"]), because=because)


@check(
    "Training: the running statistics follow, the variance unbiased",
    points=15,
    why="Evaluation depends on nothing else. The biased variance is often taught here; PyTorch takes the other.",
    after=["test_own_work"],
)
def test_running_statistics(sandbox):
    batches = [_random(2, 3, 2, 2, seed=11), _random(5, 3, 1, 1, seed=12, shift=2.0), _random(3, 3, 4, 2, seed=13)]
    cases = [({}, batches), ({"momentum": 0.3, "affine": False}, batches[::-1]), ({"momentum": 1.0}, batches[1:])]
    for (options, given), moments in zip(cases, sandbox.run(probes.running, 3, cases), strict=True):
        momentum = options.get("momentum", 0.1)
        right = _running_oracle(given, momentum)
        wrong = {
            "the biased variance: the running one takes the unbiased, divided by n − 1": {"correction": 0},
            "momentum is the share of the new batch, not of the old value": {"share_of_new": False},
            "both: biased variance, and momentum as the share of the old": {"correction": 0, "share_of_new": False},
        }
        for i, (now, expected) in enumerate(zip(moments, right, strict=True)):
            guesses = {text: _running_oracle(given, momentum, **how)[i] for text, how in wrong.items()}
            start = {"running_mean": torch.zeros(3), "running_var": torch.ones(3)}
            guesses["the running statistics aren't updated"] = right[i - 1] if i else start
            roots = {"running_mean": expected["running_mean"], "running_var": _std_running(given[: i + 1], momentum)}
            guesses["the standard deviation is averaged instead of the variance"] = roots
            if momentum != 0.1:
                guesses["the momentum is always 0.1"] = _running_oracle(given, 0.1)[i]
            sizes = ", ".join(str(tuple(x.shape)) for x in given[: i + 1])
            when = f"after batches of {sizes} with momentum={momentum}: old · (1 − momentum) + new · momentum"
            _expect_buffers(now, expected, when, guesses)


def _std_running(batches, momentum):
    var = torch.ones(batches[0].shape[1], dtype=F64)
    for x in batches:
        var = (1 - momentum) * var + momentum * _statistics(x, correction=1)[1].flatten().sqrt()
    return var


@check(
    "momentum=None averages over all batches; 0.0 is a momentum",
    points=5,
    why="The plain average is what you recompute statistics with after training; `if not momentum` takes 0.0 for None.",
    after=["test_running_statistics"],
)
def test_cumulative_average(sandbox):
    batches = [_random(2, 2, 3, 2, seed=20 + i, shift=float(i)) for i in range(4)]
    cases = [({"momentum": None}, batches), ({"momentum": 0.0}, batches[:2])]
    for (options, given), moments in zip(cases, sandbox.run(probes.running, 2, cases), strict=True):
        momentum = options["momentum"]
        for i, (now, right) in enumerate(zip(moments, _running_oracle(given, momentum), strict=True)):
            ones = {"only the last batch": _running_oracle(given, 1.0)[i]}
            if momentum is None:
                guesses = {
                    "None is treated as 0.1": _running_oracle(given, 0.1)[i],
                    "None is treated as 0": _running_oracle(given, 0.0)[i],
                    "the share is 1 / (k + 1): the initial 0 and 1 count as a batch": _running_oracle(
                        given, None, start=1
                    )[i],
                    **ones,
                }
            else:
                guesses = {
                    "0.0 is taken for None: `if not momentum`, or `momentum or …`, is the same for both": (
                        _running_oracle(given, None)[i]
                    ),
                    "0.0 is replaced by 0.1": _running_oracle(given, 0.1)[i],
                    **ones,
                }
            meaning = "the mean over all batches so far" if momentum is None else "the new batch has a share of 0"
            _expect_buffers(now, right, f"after {i + 1} batches with momentum={momentum}: {meaning}", guesses)


@check(
    "Evaluation: the running statistics, the same for every batch, and left alone",
    points=15,
    why="A prediction that depends on who else is in the batch is the most common BatchNorm bug in production.",
    after=["test_own_work"],
)
def test_evaluation(sandbox):
    cases = []
    for seed, features, options in ((30, 3, {}), (31, 2, {"affine": False, "eps": 0.3}), (32, 1, {"momentum": None})):
        g = torch.Generator().manual_seed(seed)
        state = {
            "running_mean": torch.randn(features, generator=g),
            "running_var": torch.rand(features, generator=g) + 0.2,
        }
        state["num_batches_tracked"] = torch.tensor(7)
        affine = _affine(features, seed) if options.get("affine", True) else {}
        state.update({name: value.float() for name, value in affine.items()})
        x = _random(4, features, 3, 2, seed=seed, shift=1.0)
        cases.append({"x": x, "features": features, "options": options, "state": state, **affine})
    for case, found in zip(cases, sandbox.run(probes.evaluated, cases), strict=True):
        _expect_evaluated(case, found)


def _expect_evaluated(case, found):
    mean, var = _broadcast(case["state"]["running_mean"]), _broadcast(case["state"]["running_var"])
    x, eps = case["x"].to(F64), case["options"].get("eps", 1e-5)

    def by(v, e=eps):
        return _scaled((x - mean) / (v + e).sqrt(), case)

    right = by(var)
    guesses = [
        ("the batch's own statistics normalise in evaluation, too", lambda: _scaled(_normed(case), case)),
        ("eps is left out in evaluation", lambda: by(var, 0.0)),
        ("eps is added outside the square root", lambda: _scaled((x - mean) / (var.sqrt() + eps), case)),
        ("divided by the variance instead of its root", lambda: _scaled((x - mean) / (var + eps), case)),
        ("weight and bias are left out in evaluation", lambda: (x - mean) / (var + eps).sqrt()),
    ]
    said = f"({_said(case)}) in evaluation the running statistics normalise"
    looks = misconception(found["batch"], right, guesses, **NEAR)
    expect_close(found["batch"], right, because=f"{said}.", looks_like=looks, rtol=1e-3, atol=1e-4)
    for i, alone in enumerate(found["alone"]):
        because = f"{said}: image {i} alone gives what it gives in the batch."
        expect_close(alone, right[i : i + 1], because=because, rtol=1e-3, atol=1e-4)
    because = f"{said}: a single pixel is normalised like any other."
    expect_close(found["pixel"], right[:1, :, :1, :1], because=because, rtol=1e-3, atol=1e-4)
    for name in ("x", "x without recording"):
        expect(
            type(found[name]) is torch.Tensor and torch.equal(found[name], case["x"]),
            expected=f"{name} as it was before the call",
            actual="x changed in place",
            because=f"({_said(case)}, in evaluation) the caller's image isn't the layer's to change.",
        )
    for name in BUFFERS:
        because = f"{name} after evaluation: looking at test images must not change the model."
        looks = "the update runs in evaluation, too; it belongs under `if self.training`"
        expect_equal(found["afterwards"].get(name), case["state"][name], because=because, looks_like=looks)


@check(
    "The gradients of x, weight and bias are right in both modes",
    points=10,
    why="The mean and variance depend on x; as constants they make training diverge.",
    after=["test_own_work"],
)
def test_gradients(sandbox):
    cases = []
    for seed, training, shape in ((40, True, (3, 2, 3, 4)), (41, True, (2, 3, 1, 1)), (42, False, (2, 3, 2, 2))):
        c = shape[1]
        case = {"x": _random(*shape, seed=seed, dtype=F64), "features": c, "options": {"eps": 0.01}, "double": True}
        upstream = _random(*shape, seed=seed + 10, dtype=F64)
        case |= {**_affine(c, seed), "training": training, "upstream": upstream}
        cases.append({**case, "mean": torch.arange(c, dtype=F64), "var": torch.arange(c, dtype=F64) + 0.5})
    for case, found in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        wanted = _gradients(case)
        constant = _gradients(case, detached=True)
        mode = "training" if case["training"] else "evaluation"
        for name, right in wanted.items():
            actual = found.get(name)
            because = f"({_said(case)}, {mode}) the gradient with respect to {name}, against autograd on the formula."
            if actual is None:
                none = f"none: the output isn't connected to {name} in the graph"
                fail(
                    expected=f"a gradient for {name}",
                    actual=none,
                    because=because,
                    looks_like="no_grad, .detach() or .data",
                )
            looks = None
            if name == "x" and case["training"] and resembles(actual, constant["x"], **NEAR):
                looks = "mean and variance are treated as constants: they were computed under no_grad, or detached"
            expect_close(actual, right, because=because, looks_like=looks, rtol=1e-6, atol=1e-8)


def _gradients(case, detached=False):
    leaves = {name: case[name].clone().requires_grad_(True) for name in ("x", "weight", "bias")}
    x = leaves["x"]
    if case["training"]:
        mean, var = _statistics(x)
    else:
        mean, var = _broadcast(case["mean"]), _broadcast(case["var"])
    if detached:
        mean, var = mean.detach(), var.detach()
    y = (x - mean) / (var + case["options"]["eps"]).sqrt()
    y = y * leaves["weight"][:, None, None] + leaves["bias"][:, None, None]
    return dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), case["upstream"]), strict=True))


@check(
    "The running statistics stay outside the graph",
    points=5,
    why="Otherwise each batch's graph hangs on the one before: memory grows, and the second backward fails.",
    after=["test_own_work"],
)
def test_no_graph(sandbox):
    found = sandbox.run(probes.three_steps, [_random(3, 2, 3, 3, seed=50 + i) for i in range(3)])
    looks = "the update needs torch.no_grad(), or detached statistics"
    because = "a running average is bookkeeping; nothing is differentiated through it."
    for i, step in enumerate(found["steps"], 1):
        held = step["in the graph"]
        expect(
            not held,
            expected="buffers that require no gradient",
            actual=f"after batch {i}: {', '.join(held)} with a graph behind",
            because=because,
            looks_like=looks,
        )
        said = f"backward of batch {i} raised {step['raised']}: {step['message']}"
        expect(step["raised"] is None, expected="three training steps", actual=said, because=because, looks_like=looks)
    copied = found["copy raised"]
    expect(copied is None, expected="a layer that can be copied", actual=f"deepcopy raised {copied}", because=because)


@check(
    "Saved, loaded, moved to float64: training goes on as if nothing had happened",
    points=5,
    why="Everything that training depends on has to be in the state_dict, and to move with the module.",
    after=["test_cumulative_average", "test_evaluation"],
)
def test_saved(sandbox):
    batches = [_random(3, 2, 2, 3, seed=60 + i, shift=float(i)) for i in range(5)]
    options = {"momentum": None}
    found = sandbox.run(probes.saved_and_continued, options, batches[:3], batches[3:])
    because = "nn.BatchNorm2d has to accept the state_dict: the same names and shapes."
    expect_equal(found["loads into PyTorch's"], "yes", because=because)
    right = _running_oracle(batches, None)
    _expect_buffers(found["saved"], right[2], "in the state_dict after 3 batches", {})
    guesses = {"what was learned before isn't in the state_dict": _running_oracle(batches[3:], None)[-1]}
    mean = right[2]["running_mean"]
    for k, x in enumerate(batches[3:], 1):
        mean = mean + (_statistics(x)[0].flatten() - mean) / k
    late = {"running_mean": mean, "running_var": torch.full_like(mean, torch.nan)}
    guesses["the number of batches is kept outside the buffers, so it starts at 0 after loading"] = late
    when = "after 3 batches, saving, loading into a new layer, and 2 batches more (momentum=None)"
    _expect_buffers(found["afterwards"], right[4], when, guesses)
    for name in ("running_mean", "running_var"):
        dtype = "after .double() the buffers are float64 and stay so."
        expect_dtype(found["afterwards"][name], F64, because=dtype)
    for x, output in zip(batches[3:], found["outputs"], strict=True):
        expect_dtype(output, F64, because="a layer in float64 gives float64.")
        case = {"x": x, "options": {}}
        expect_close(output, _normed(case), because="in float64, to full precision.", rtol=1e-9, atol=1e-9)


@check(
    "What can't be normalised raises an error",
    points=5,
    why="One value has the variance 0: all its information would be gone, silently.",
    after=["test_own_work"],
)
def test_errors(sandbox):
    plain, bare = {}, {"affine": False}
    cases = {
        "one value per channel, (1, 3, 1, 1), in training": (3, plain, True, torch.zeros(1, 3, 1, 1), True),
        "2 channels for num_features=3, in training": (3, plain, True, torch.zeros(2, 2, 3, 3), True),
        "1 channel for num_features=3, in evaluation": (3, plain, False, torch.zeros(2, 1, 3, 3), True),
        "4 channels for num_features=1, in training": (1, plain, True, torch.zeros(2, 4, 3, 3), True),
        "1 channel for num_features=3, affine=False, in training": (3, bare, True, torch.zeros(2, 1, 3, 3), True),
        "1 channel for num_features=3, affine=False, in evaluation": (3, bare, False, torch.zeros(2, 1, 3, 3), True),
        "4 channels for num_features=1, affine=False, in evaluation": (1, bare, False, torch.zeros(2, 4, 3, 3), True),
        "three dimensions, (3, 3, 3), in training": (3, plain, True, torch.zeros(3, 3, 3), True),
        "two dimensions, (4, 3), in evaluation": (3, plain, False, torch.zeros(4, 3), True),
        "five dimensions, (2, 3, 3, 3, 3), in evaluation": (3, plain, False, torch.zeros(2, 3, 3, 3, 3), True),
        "two values per channel, (2, 3, 1, 1), in training": (3, plain, True, torch.zeros(2, 3, 1, 1), False),
        "one image of 2 pixels, (1, 3, 1, 2), in training": (3, plain, True, torch.zeros(1, 3, 1, 2), False),
    }
    found = sandbox.run(probes.refused, [case[:4] for case in cases.values()])
    for (text, case), outcome in zip(cases.items(), found, strict=True):
        did = "raised" in outcome
        expect(
            did is case[4],
            expected=f"{'an' if case[4] else 'no'} error ({text})",
            actual=f"{outcome['raised']}: {outcome['message']}" if did else "no error",
            because="the layer is defined for (N, C, H, W) and, in training, two values or more per channel.",
        )

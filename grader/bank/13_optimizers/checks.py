"""Checks for the optimizers. Oracle: the statement's rules, one parameter at a time, in float64."""

from __future__ import annotations

import torch

from grader.checking import check, describe, expect, expect_close, expect_equal, expect_shape, fail

from . import probes

F64 = torch.float64
DEFAULTS = {
    "SGD": {"lr": None, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "Adam": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
    "AdamW": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2},
}


def _case(kind, seed, steps, shapes=((3,), (2, 2)), scale=1.0, **options):
    """Random parameters, and a random gradient for each of them in every step."""
    g = torch.Generator().manual_seed(seed)

    def draw():
        return [torch.randn(shape, generator=g, dtype=F64) for shape in shapes]

    params = draw()
    grads = [[scale * (t + 0.3) for t in draw()] for _ in range(steps)]
    return {"kind": kind, "params": params, "grads": grads, "options": options}


# --- the oracle, and what becomes of it with one thing done wrong ----------------------------------------


def _sgd(p, g, state, o, wrong):
    if wrong == "coupled decay left out":
        decayed = g
    elif wrong == "decay of the wrong sign":
        decayed = g - o["weight_decay"] * p
    else:
        decayed = g + o["weight_decay"] * p
    if wrong == "decay by lr":
        decayed = g + o["lr"] * o["weight_decay"] * p
    if not o["momentum"] or wrong == "no momentum":
        return p - o["lr"] * decayed
    mu, first = o["momentum"], "v" not in state
    new = {
        "damped": (1 - mu) * decayed,
        "lr inside": o["lr"] * decayed,
    }.get(wrong, decayed)
    if wrong == "damped, first whole" and not first:
        new = (1 - mu) * decayed
    v = state["v"] = mu * state.get("v", torch.zeros_like(p)) + new
    if wrong == "lr inside":
        return p - v
    if wrong == "decay outside the velocity":
        v = state["v"] = v - decayed + g
        return p - o["lr"] * (v + o["weight_decay"] * p)
    if not o["nesterov"] or wrong == "nesterov ignored":
        return p - o["lr"] * v
    if wrong == "old velocity":
        return p - o["lr"] * (decayed + mu * (v - decayed) / mu)
    if wrong == "velocity twice":
        return p - o["lr"] * (v + mu * v)
    return p - o["lr"] * (decayed + mu * v)


def _adam(p, g, state, o, wrong):
    lr, (b1, b2), eps, wd = o["lr"], o["betas"], o["eps"], o["weight_decay"]
    decoupled = o["decoupled"] != (wrong == "other decay")
    if wrong == "no decay":
        wd = 0.0
    if wrong == "betas swapped":
        b1, b2 = b2, b1
    if decoupled and wrong != "decay after":
        p = p - (1.0 if wrong == "decay without lr" else lr) * wd * p
    elif not decoupled:
        g = g + wd * p
    t = state["t"] = state.get("t", 0) + 1
    m = state["m"] = b1 * state.get("m", torch.zeros_like(p)) + (1 - b1) * g
    square = g.abs() if wrong == "magnitudes" else g * g
    s = state["s"] = b2 * state.get("s", torch.zeros_like(p)) + (1 - b2) * square
    c1, c2 = 1 - b1**t, 1 - b2**t
    if wrong == "no correction":
        c1 = c2 = 1.0
    elif wrong == "multiplied":
        c1, c2 = 1 / c1, 1 / c2
    elif wrong == "only the mean":
        c2 = 1.0
    elif wrong == "only the square":
        c1 = 1.0
    elif wrong == "t one ahead":
        c1, c2 = 1 - b1 ** (t + 1), 1 - b2 ** (t + 1)
    elif wrong == "constant":
        c1, c2 = 1 - b1, 1 - b2
    if wrong == "eps inside":
        scale = (s / c2 + eps).sqrt()
    elif wrong == "eps early":
        scale = (s.sqrt() + eps) / c2**0.5
    elif wrong == "no root":
        scale = s / c2 + eps
    elif wrong == "no eps":
        scale = (s / c2).sqrt()
    else:
        scale = (s / c2).sqrt() + eps
    step = lr * (g if wrong == "gradient" else m / c1) / scale
    q = p - step
    return q - lr * wd * p if decoupled and wrong == "decay after" else q


def _right(case, wrong=None):
    """The parameters after each step, as the statement has it, or with one thing done wrong."""
    kind, params = case["kind"], [p.clone() for p in case["params"]]
    base = {**DEFAULTS[kind], **case["options"], "decoupled": kind == "AdamW"}
    groups = case.get("groups") or [{"members": list(range(len(params)))}]
    options = [{**base, **{k: v for k, v in g.items() if k != "members"}} for g in groups]
    if wrong == "first group's options":
        options = [dict(options[0]) for _ in options]
    elif wrong == "defaults only":
        options = [dict(base) for _ in options]
    states: dict = {}
    moments = []
    for at, grads in enumerate(case["grads"]):
        for index, changed in case.get("changes", {}).get(at, {}).items():
            if wrong != "options read once":
                options[index].update(changed)
        count = 0
        for o, group in zip(options, groups, strict=True):
            for i in group["members"]:
                if grads[i] is None:
                    if wrong != "none is zero":
                        continue
                    gradient = torch.zeros_like(params[i])
                else:
                    gradient = grads[i]
                state = states.setdefault(i, {})
                if wrong == "state by position":  # a running number over the parameters that have a gradient
                    state = states.setdefault(("position", count), {})
                if wrong == "common t":
                    state["t"] = at
                state = _fitting(state, params[i])
                rule = _sgd if kind == "SGD" else _adam
                params[i] = rule(params[i], gradient, state, o, wrong)
                count += 1
        moments.append([p.clone() for p in params])
    return moments


def _fitting(state, p):
    return state if all(t.shape == p.shape for t in state.values() if torch.is_tensor(t)) else {}


SGD_WRONG = {
    "coupled decay left out": "weight_decay has no effect",
    "decay of the wrong sign": "the weight decay is subtracted from the gradient: weights grow",
    "decay by lr": "weight_decay is multiplied by lr twice",
    "no momentum": "momentum has no effect",
    "damped": "the velocity is an average, with (1 − momentum) in front of the gradient; here it is a sum",
    "damped, first whole": "(1 − momentum) in front of the gradient, from the second step on",
    "decay outside the velocity": "the weight decay is added after the velocity; it belongs into g, before it",
    "nesterov ignored": "nesterov has no effect",
    "old velocity": "Nesterov with the old velocity; the new one is meant",
    "velocity twice": "Nesterov adds momentum · v to v; it has to be added to g",
}
ADAM_WRONG = {
    "no correction": "no bias correction: the first steps are about three times too large",
    "multiplied": "the bias correction multiplies; the averages are too small at first, so it has to divide",
    "only the mean": "the square has no bias correction",
    "only the square": "the mean has no bias correction",
    "t one ahead": "t starts at 2 in the bias correction",
    "constant": "the correction is 1 − β, without the power of t",
    "magnitudes": "the second average is over |g|, not over g²",
    "no root": "divided by ŝ instead of its root",
    "gradient": "the gradient itself is scaled, not its average m̂: that is RMSprop",
    "betas swapped": "β₁ and β₂ are swapped",
    "eps inside": "eps is added inside the root",
    "eps early": "eps is added before the bias correction of s",
    "no eps": "eps isn't added",
    "no decay": "weight_decay has no effect",
    "decay after": "the decay is taken from p after Adam's step, by the old p",
    "decay without lr": "the decay isn't multiplied by lr",
}
GROUP_WRONG = {
    "first group's options": "the first group's options are used for all",
    "defaults only": "the groups' own options are ignored",
    "options read once": "options are read once, at the beginning; a scheduler changes them in param_groups",
    "lr inside": "lr is part of the velocity: after a change the old velocity keeps its old lr",
}
NONE_WRONG = {
    "none is zero": "a missing gradient is treated as zeros: momentum, moments and decay go on moving p",
    "state by position": "the state is found by a running number, which shifts when a parameter has no gradient",
    "common t": "one t for all parameters; it counts the updates of each",
}


def _misconception(case, moments, right, names):
    for name, text in names.items():
        try:
            guess = _right(case, name)
        except (RuntimeError, ZeroDivisionError, KeyError):
            continue
        if _near(moments, guess) and not _near(guess, right):
            return text
    return None


def _near(a, b):
    pairs = [(x, y) for xs, ys in zip(a, b, strict=True) for x, y in zip(xs, ys, strict=True)]
    return all(
        type(x) is torch.Tensor and x.shape == y.shape and torch.allclose(x, y, rtol=1e-9, atol=1e-12) for x, y in pairs
    )


def _expect_trajectory(case, moments, because, names):
    right = _right(case)
    options = ", ".join(f"{k}={v}" for k, v in case["options"].items())
    looks = _misconception(case, moments, right, names)
    for at, (now, wanted) in enumerate(zip(moments, right, strict=True), 1):
        for i, (actual, expected) in enumerate(zip(now, wanted, strict=True)):
            said = f"{case['kind']}({options}), parameter {i} after step {at}: {because}"
            expect_close(actual, expected, because=said, looks_like=looks, rtol=1e-9, atol=1e-12)


def _expect_trajectories(sandbox, cases, because, names):
    for case, moments in zip(cases, sandbox.run(probes.trajectories, cases), strict=True):
        _expect_trajectory(case, moments, because, names)


# --- the checks ------------------------------------------------------------------------------------------


@check(
    "param_groups: the given tensors, and every option by its name",
    points=5,
    why="Schedulers, freezing and layer-wise learning rates all work through param_groups.",
)
def test_groups(sandbox):
    cases = [_case("SGD", 1, 0, lr=0.1), _case("Adam", 2, 0), _case("AdamW", 3, 0, lr=0.2, betas=(0.5, 0.7))]
    cases += [_case("SGD", 4, 0, lr=0.3, momentum=0.9, nesterov=True, weight_decay=0.1)]
    cases.append(_case("AdamW", 6, 0))
    cases[1]["groups"] = [{"members": [1], "lr": 0.5}, {"members": [0], "weight_decay": 0.2, "eps": 1e-3}]
    found = sandbox.run(probes.groups, cases)
    generator = {**_case("SGD", 5, 0, lr=0.5), "from": "a generator"}
    for case, groups in zip([*cases, generator], found, strict=True):
        base = {**DEFAULTS[case["kind"]], **case["options"]}
        wanted = case.get("groups") or [{"members": [0, 1]}]
        given = case.get("from") or ("dicts" if case.get("groups") else "tensors")
        said = f"{case['kind']} from {given}"
        expect_equal(len(groups), len(wanted), because=f"{said}: one group for each dict; plain tensors make one.")
        for group, want in zip(groups, wanted, strict=True):
            looks = "params is a generator, and was used up before" if not group["places"] else None
            because = f'{said}: "params" is a list of the very tensors that were given.'
            expect_equal(group["places"], want["members"], because=because, looks_like=looks)
            expect_equal(group["params"], "list", because=because)
            for name, value in {**base, **{k: v for k, v in want.items() if k != "members"}}.items():
                actual = group["options"].get(name, "missing")
                actual = tuple(actual) if isinstance(actual, list) else actual
                because = f"{said}: the group's own option, else that of the call, else the default ({name})."
                expect_equal(actual, value, because=because)


@check(
    "SGD without momentum: p − lr · (g + weight_decay · p)",
    points=10,
    why="The rule that all others vary.",
    after=["test_groups"],
)
def test_sgd(sandbox):
    cases = [_case("SGD", 10, 3, lr=0.1), _case("SGD", 11, 3, lr=0.5, weight_decay=0.3)]
    cases += [_case("SGD", 12, 2, [(1,), (), (2, 3, 1)], lr=2.0)]
    _expect_trajectories(sandbox, cases, "p − lr · (g + weight_decay · p).", SGD_WRONG)


@check(
    "Rule: the step is your own",
    points=5,
    why="The task is to write what torch.optim does.",
    after=["test_sgd"],
)
def test_own_work(sandbox):
    cases = [_case("SGD", 20, 2, lr=0.1), _case("SGD", 21, 2, lr=0.1, momentum=0.9)]
    cases += [_case("Adam", 22, 2), _case("AdamW", 23, 2)]
    names = sandbox.run(probes.optimizers_used, cases)
    expect(
        not names,
        expected="none of PyTorch's optimizers to be created, called or derived from",
        actual=", ".join(names) if isinstance(names, list) else describe(names),
        because="broken rule: handing the work to torch.optim isn't writing an optimizer.",
    )


@check(
    "Momentum sums up gradients; the weight decay goes through it",
    points=10,
    why="v ← μ v + g or v ← μ v + (1 − μ) g: a factor of ten in the learning rate.",
    after=["test_own_work"],
)
def test_momentum(sandbox):
    cases = [_case("SGD", 30, 6, lr=0.1, momentum=0.9), _case("SGD", 31, 5, lr=0.05, momentum=0.5, weight_decay=0.2)]
    cases.append(_case("SGD", 32, 4, lr=0.1, momentum=1.0))
    _expect_trajectories(sandbox, cases, "v ← μ · v + g, starting with g; p ← p − lr · v.", SGD_WRONG)


@check(
    "Nesterov steps by g + momentum · v",
    points=5,
    why="One line, and most people write another one.",
    after=["test_momentum"],
)
def test_nesterov(sandbox):
    cases = [_case("SGD", 40, 5, lr=0.1, momentum=0.8, nesterov=True)]
    cases += [_case("SGD", 41, 4, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.3)]
    _expect_trajectories(sandbox, cases, "p ← p − lr · (g + μ · v), with the new v.", SGD_WRONG)


@check(
    "Adam's first step is lr · sign(g), whatever the scale",
    points=10,
    why="It shows the bias correction at once; a well-known library multiplied where it should divide.",
    after=["test_own_work"],
)
def test_adam_first_step(sandbox):
    cases = [_case("Adam", 50 + i, 1, scale=scale, lr=0.1) for i, scale in enumerate((1.0, 1000.0, 0.001))]
    cases.append(_case("Adam", 53, 1, lr=0.3, betas=(0.5, 0.6), eps=1e-12))
    for case, moments in zip(cases, sandbox.run(probes.trajectories, cases), strict=True):
        for actual, p, g in zip(moments[0], case["params"], case["grads"][0], strict=True):
            lr = case["options"]["lr"]
            expect_shape(actual, tuple(p.shape), because="a step doesn't change the shape.")
            size = float(((actual - p) / (-lr * g.sign())).mean())
            looks = _misconception(case, moments, _right(case), ADAM_WRONG)
            near = f"gradients near {g.abs().mean().item():.2g}"
            because = f"{case['kind']}, lr={lr}, {near}: the mean step was {size:.3g} · lr · sign(g)."
            expect_close(actual, p - lr * g.sign(), because=because, looks_like=looks, rtol=1e-3, atol=1e-3 * lr)


@check(
    "Adam follows its rule for 20 steps",
    points=10,
    why="Where eps stands, which beta is which, how the decay enters: small differences that add up.",
    after=["test_adam_first_step"],
)
def test_adam(sandbox):
    cases = [_case("Adam", 60, 20, lr=0.05), _case("Adam", 61, 8, lr=0.1, betas=(0.6, 0.8), eps=0.3)]
    cases += [_case("Adam", 62, 6, scale=1e-3, lr=0.1, weight_decay=0.5), _case("Adam", 63, 3, scale=1e-7)]
    names = {**ADAM_WRONG, "other decay": "the decay is decoupled, as in AdamW; Adam adds it to the gradient"}
    because = "m̂ / (√ŝ + eps), with weight_decay · p as a part of g."
    _expect_trajectories(sandbox, cases, because, names)


@check(
    "AdamW shrinks the weights by lr · weight_decay, past the moments",
    points=10,
    why="The difference between Adam with L2 and AdamW is the point of the paper, and of the question.",
    after=["test_adam"],
)
def test_adamw(sandbox):
    cases = [_case("AdamW", 70, 20, lr=0.05), _case("AdamW", 71, 5, scale=50.0, lr=0.1, weight_decay=0.7)]
    cases += [_case("AdamW", 72, 4, lr=0.1, weight_decay=0.0, betas=(0.5, 0.9))]
    still = _case("AdamW", 73, 3, lr=0.5, weight_decay=0.4)
    cases.append({**still, "grads": [[torch.zeros_like(g) for g in grads] for grads in still["grads"]]})
    names = {"other decay": "the decay is added to the gradient: that is Adam with L2", **ADAM_WRONG}
    because = "p ← p − lr · weight_decay · p, then Adam's step with g as it is."
    _expect_trajectories(sandbox, cases, because, names)


@check(
    "Groups have options of their own, and changes count from the next step",
    points=10,
    why="A scheduler writes into param_groups; an optimizer that copied the learning rate never notices.",
    after=["test_nesterov", "test_adamw"],
)
def test_group_options(sandbox):
    shapes = [(2,), (3,), (2, 2)]
    sgd = _case("SGD", 80, 5, shapes, lr=0.1)
    sgd["groups"] = [{"members": [2, 0]}, {"members": [1], "lr": 0.02, "momentum": 0.9, "weight_decay": 0.5}]
    sgd["changes"] = {2: {1: {"lr": 0.5}, 0: {"weight_decay": 0.2}}}
    adam = _case("AdamW", 81, 5, shapes, lr=0.1, weight_decay=0.3)
    adam["groups"] = [{"members": [1], "weight_decay": 0.0}, {"members": [0, 2], "betas": (0.5, 0.5), "eps": 0.1}]
    adam["changes"] = {1: {0: {"lr": 0.01}}, 3: {1: {"lr": 0.0}}}
    coupled = _case("Adam", 82, 4, shapes, lr=0.1, weight_decay=0.3)
    coupled["groups"] = [{"members": [0, 1], "lr": 0.3}, {"members": [2], "weight_decay": 0.0}]
    coupled["changes"] = {2: {0: {"betas": (0.3, 0.4)}}}
    because = "each parameter follows the options that its group has at that step."
    _expect_trajectories(sandbox, [sgd, adam, coupled], because, GROUP_WRONG)


@check(
    "Without a gradient nothing moves, and every parameter has its own state",
    points=10,
    why="Frozen layers, several heads, experts: in many steps some parameters take no part.",
    after=["test_group_options"],
)
def test_missing_gradients(sandbox):
    shapes = [(2,), (2,), (3,)]
    cases = [
        _case("SGD", 90, 6, shapes, lr=0.1, momentum=0.9, weight_decay=0.3),
        _case("Adam", 91, 6, shapes, lr=0.1, weight_decay=0.1),
        _case("AdamW", 92, 6, shapes, lr=0.1, weight_decay=0.5),
    ]
    for case in cases:
        for at, missing in enumerate(([2], [0], [0, 2], [], [1], [0, 1, 2])):
            for i in missing:
                case["grads"][at][i] = None
    because = "no gradient in a step: p, its state and its t stay as they are."
    _expect_trajectories(sandbox, cases, because, NONE_WRONG)


@check(
    "zero_grad sets every gradient to None",
    points=5,
    why="step() can then tell a parameter without gradient from one whose gradient is zero.",
    after=["test_groups"],
)
def test_zero_grad(sandbox):
    cases = [_case(kind, 100, 1, lr=0.1) for kind in DEFAULTS]
    cases[1]["groups"] = [{"members": [1]}, {"members": [0]}]
    cases[2]["grads"][0][0] = None
    for case, found in zip(cases, sandbox.run(probes.zeroed, cases), strict=True):
        said = f"{case['kind']} with {len(case.get('groups', [0]))} group(s)"
        for i, gradient in enumerate(found["grads"]):
            looks = "zeros instead of None" if type(gradient) is torch.Tensor and not gradient.any() else None
            because = f"{said}: parameter {i} after zero_grad()."
            expect(gradient is None, expected="None", actual=describe(gradient), because=because, looks_like=looks)
        kept = type(found["outsider"]) is torch.Tensor
        because = f"{said}: zero_grad() concerns the optimizer's own parameters."
        expect(kept, expected="another tensor's gradient untouched", actual="it is gone", because=because)
        because = f"{said}: zero_grad() changes gradients only."
        expect(not found["moved"], expected="parameters as they were", actual="changed", because=because)


@check(
    "step changes the parameters in place, and nothing else",
    points=5,
    why="A buffer that is the gradient itself, a state on the class: they work in the first test, and not in training.",
    after=["test_group_options"],
)
def test_side_effects(sandbox):
    cases = [
        _case("SGD", 110, 4, lr=0.1, momentum=0.9),
        _case("SGD", 111, 4, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        _case("Adam", 112, 4, lr=0.1, weight_decay=0.2),
        _case("AdamW", 113, 4, lr=0.1),
    ]
    for case, found in zip(cases, sandbox.run(probes.side_effects, cases), strict=True):
        kind = case["kind"]
        changed = [at + 1 for at in found["gradients changed in step"]]
        because = f"{kind}: gradients are read after the step, too, for clipping statistics and logs."
        looks = "an operation in place on p.grad, or on a buffer that is p.grad"
        actual = f"other values after step {changed[0]}" if changed else ""
        expect(not changed, expected="gradients as given", actual=actual, because=because, looks_like=looks)
        because = f"{kind}: the model holds these very tensors; a new tensor would train nothing."
        expect_equal(found["in place"], True, because=f"{because} The storage stays.")
        expect_equal(found["listed"], [True] * len(case["params"]), because=because)
        because = f"{kind}: parameters stay leaves that require gradients."
        looks = "step() needs torch.no_grad()"
        expect_equal(found["leaves"], True, because=because, looks_like=looks)
        expect_equal(found["graph in grads"], False, because=f"{kind}: gradients get no graph.", looks_like=looks)
        right = _right(case)
        names = {"no momentum": "the state is lost between steps"}
        looks = _misconception(case, found["moments"], right, names)
        looks = looks or "the state is p.grad itself, or shared with another optimizer of the class"
        for at, (now, wanted) in enumerate(zip(found["moments"], right, strict=True), 1):
            for actual, expected in zip(now, wanted, strict=True):
                because = (
                    f"{kind}, step {at}: gradient tensors are reused from step to step, a second optimizer runs beside."
                )
                expect_close(actual, expected, because=because, looks_like=looks, rtol=1e-9, atol=1e-12)


@check(
    "What makes no sense raises a ValueError",
    points=5,
    why="An optimizer without parameters trains nothing, silently; a parameter in two groups moves twice.",
    after=["test_groups"],
)
def test_errors(sandbox):
    cases = {
        "SGD([])": ("SGD", "none", {"lr": 0.1}, True),
        "AdamW([])": ("AdamW", "none", {}, True),
        "a parameter twice in the list": ("Adam", "twice", {}, True),
        "a parameter in two groups": ("SGD", "twice in groups", {"lr": 0.1}, True),
        "nesterov=True without momentum": ("SGD", "one", {"lr": 0.1, "nesterov": True}, True),
        "nesterov=True with momentum=0.9": ("SGD", "one", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, False),
        "two different parameters with equal values": ("SGD", "equal", {"lr": 0.1}, False),
    }
    given = [{"kind": kind, "given": what, "options": options} for kind, what, options, _ in cases.values()]
    for (text, case), raised in zip(cases.items(), sandbox.run(probes.refused, given), strict=True):
        wanted = "ValueError" if case[3] else None
        if raised != wanted:
            fail(
                expected=f"{wanted or 'no error'} ({text})",
                actual=raised or "no error",
                because="said at once it is a line to mend; later it is an afternoon of searching.",
                looks_like="`p in list` compares values, not identity" if raised and not wanted else None,
            )

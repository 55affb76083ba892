"""Checks for the optimizers. Oracle: the statement's rules, one parameter at a time, in float64."""

from __future__ import annotations

import torch

from grader.checking import check, describe, expect, expect_equal, expect_shape, fail

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
    lr, mu, wd = o["lr"], o["momentum"], o["weight_decay"]
    wd = {"no decay": 0.0, "decay of the wrong sign": -wd, "decay by lr": lr * wd}.get(wrong, wd)
    outside = wrong == "decay outside the velocity"
    own = step = g if outside else g + wd * p
    if mu and wrong != "no momentum":
        kept = own.clone()
        if wrong == "damped" or (wrong == "damped, first whole" and "v" in state):
            kept = (1 - mu) * own
        elif wrong == "lr inside":
            kept = lr * own
        v = state["v"] = mu * state.get("v", torch.zeros_like(p)) + kept
        nesterov = o["nesterov"] and wrong != "nesterov ignored"
        if wrong == "lr inside":
            return p - (lr * own + mu * v if nesterov else v)
        step = own + mu * v if nesterov else v
        if nesterov and wrong == "velocity twice":
            step = v + mu * v
        elif nesterov and wrong == "velocity whole":
            step = own + v
    return p - lr * (step + wd * p if outside else step)


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
    square = {"magnitudes": g.abs(), "square of the mean": m * m}.get(wrong, g * g)
    s = state["s"] = b2 * state.get("s", torch.zeros_like(p)) + (1 - b2) * square
    c1, c2 = _corrections(b1, b2, t, wrong)
    s = s / c2
    if wrong == "largest square":
        s = state["top"] = torch.maximum(s, state.get("top", s))
    scale = {
        "eps inside": (s + eps).sqrt(),
        "eps early": s.sqrt() + eps / c2**0.5,
        "no root": s + eps,
        "no eps": s.sqrt(),
    }.get(wrong, s.sqrt() + eps)
    step = lr * (g if wrong == "gradient" else m / c1) / scale
    q = p - step
    return q - lr * wd * p if decoupled and wrong == "decay after" else q


def _corrections(b1, b2, t, wrong):
    """What the two averages are divided by."""
    c1, c2 = 1 - b1**t, 1 - b2**t
    return {
        "no correction": (1.0, 1.0),
        "multiplied": (1 / c1, 1 / c2),
        "only the mean": (c1, 1.0),
        "only the square": (1.0, c2),
        "t one ahead": (1 - b1 ** (t + 1), 1 - b2 ** (t + 1)),
        "constant": (1 - b1, 1 - b2),
    }.get(wrong, (c1, c2))


def _groups_of(case):
    """For each group: the positions of its parameters, and its options at the start; and those of the call."""
    call = {**DEFAULTS[case["kind"]], **case["options"], "decoupled": case["kind"] == "AdamW"}
    groups = case.get("groups") or [{"members": list(range(len(case["params"])))}]
    options = [{**call, **{k: v for k, v in g.items() if k != "members"}} for g in groups]
    return [g["members"] for g in groups], options, call


def _read(options, index, first, call, case, wrong):
    """The options of group `index`, as some wrong optimizers read them. `wrong`: (how, which; None: all of them)."""
    if not isinstance(wrong, tuple):
        return options[index]
    how, which = wrong
    source = {"first": options[0], "call": call, "once": first[index], "default": DEFAULTS[case["kind"]]}[how]
    return {**options[index], **{name: source[name] for name in ([which] if which else DEFAULTS[case["kind"]])}}


def _right(case, wrong=None):
    """The parameters after each step, as the statement has it, or with one thing done wrong."""
    params = [p.clone() for p in case["params"]]
    members, options, call = _groups_of(case)
    first = [dict(o) for o in options]
    rule = _sgd if case["kind"] == "SGD" else _adam
    states: dict = {}
    seen = {"group": [0] * len(options), "all": 0}
    moments = []
    for at, grads in enumerate(case["grads"]):
        for index, changed in case.get("changes", {}).get(at, {}).items():
            options[index].update(changed)
        position = 0
        for index, places in enumerate(members):
            o = _read(options, index, first, call, case, wrong)
            for i in places:
                g = _gradient(case, grads, i, wrong)
                if g is None:
                    shrinks = wrong == "decay goes on" and o["decoupled"]
                    params[i] = params[i] * (1 - o["lr"] * o["weight_decay"]) if shrinks else params[i]
                    continue
                keys = {"state by position": ("position", position), "state by shape": tuple(params[i].shape)}
                state = states.setdefault(keys.get(wrong, i), {})
                state = state if all(v.shape == params[i].shape for v in state.values() if torch.is_tensor(v)) else {}
                counted = {"t of the step": at, "t of the group": seen["group"][index], "t of all": seen["all"]}
                if wrong in counted:
                    state["t"] = counted[wrong]
                if wrong == "velocity is p.grad" and "v" in state and state.get("alias"):
                    state["v"] = g  # the buffer is the gradient's own memory, which holds the new gradient by now
                state["alias"] = wrong == "velocity is p.grad" and "v" not in state and not o["weight_decay"]
                params[i] = rule(params[i], g, state, o, wrong)
                seen["group"][index] += 1
                seen["all"] += 1
                position += 1
        if at == 0 and wrong == "state shared":  # a second optimizer makes one step, with other gradients
            for i, p in enumerate(case["params"]):
                rule(p, -3 * grads[i], states.setdefault(i, {}), options[0], None)
        moments.append([p.clone() for p in params])
    return moments


def _gradient(case, grads, i, wrong):
    """The gradient of parameter i in this step; None where nothing has to happen."""
    if wrong == "frozen skipped" and i in case.get("frozen", ()):
        return None
    if grads[i] is None:
        return torch.zeros_like(case["params"][i]) if wrong == "none is zero" else None
    return None if wrong == "zeros skipped" and not grads[i].any() else grads[i]


SGD_WRONG = {
    "no decay": "weight_decay has no effect",
    "decay of the wrong sign": "the weight decay is subtracted from the gradient: weights grow",
    "decay by lr": "weight_decay is multiplied by lr twice",
    "no momentum": "momentum has no effect",
    "damped": "the velocity is an average, with (1 − momentum) in front of the gradient; here it is a sum",
    "damped, first whole": "(1 − momentum) in front of the gradient, from the second step on",
    "nesterov ignored": "nesterov has no effect: the step is lr · v (which is also what g + μ · v is with the old v)",
    "velocity twice": "Nesterov adds μ · v to v; it has to be added to g",
    "velocity whole": "Nesterov adds v to g; it has to be μ · v",
    "decay outside the velocity": "the weight decay is added after the velocity; it belongs into g, before it",
}
T_WRONG = {
    "t of the group": "t counts the parameters of the group one after the other; each has a t of its own",
    "t of all": "t counts all parameters one after the other; each has a t of its own",
}
ADAM_WRONG = {
    **T_WRONG,
    "no correction": "no bias correction: the first steps are about three times too large",
    "multiplied": "the bias correction multiplies; the averages are too small at first, so it has to divide",
    "only the mean": "the square has no bias correction",
    "only the square": "the mean has no bias correction",
    "t one ahead": "t starts at 2 in the bias correction",
    "constant": "the correction is 1 − β, without the power of t",
    "magnitudes": "the second average is over |g|, not over g²",
    "square of the mean": "the second average is over m², not over g²",
    "largest square": "ŝ never falls: that is AMSGrad",
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
    ("first", None): "the first group's options are used for all",
    ("call", None): "the groups' own options are ignored",
    ("once", None): "options are read once, at the beginning; a scheduler changes them in param_groups",
    "lr inside": "lr is part of the velocity: after a change the old velocity keeps its old lr",
}
NONE_WRONG = {
    "none is zero": "a missing gradient is treated as zeros: momentum, moments and decay go on moving p",
    "zeros skipped": "a gradient of zeros is treated as none: momentum, moments and decay have to go on",
    "frozen skipped": "a parameter with requires_grad=False is left out; what counts is whether .grad is None",
    "state by position": "the state is found by a running number, which shifts when a parameter has no gradient",
    "state by shape": "parameters of the same shape share their state",
    "decay goes on": "the decay shrinks parameters without a gradient, too",
    "t of the step": "one t for all parameters; it counts the updates of each",
    **T_WRONG,
}
SHARED_WRONG = {
    "velocity is p.grad": "the velocity of the first step is p.grad itself: the next gradient overwrites it",
    "state shared": "two optimizers of the class share their state",
}


def _option_wrong(case):
    """Misreadings of a single option."""
    several, changed = len(case.get("groups") or [0]) > 1, bool(case.get("changes"))
    for name, default in DEFAULTS[case["kind"]].items():
        if several:
            yield ("first", name), f"{name} is read from the first group for all"
            yield ("call", name), f"{name} of the groups is ignored: that of the call is used for all"
        if changed:
            yield ("once", name), f"{name} is read once, at the beginning; later changes in param_groups are ignored"
        if default:  # where the default is 0 or False, the option "has no effect", which is among the names
            yield ("default", name), f"{name} is always {default}, whatever is given"


def _misconception(case, moments, names, others=()):
    """The wrong rules that give these very numbers, in every step, and those of `others`: (case, moments) of the check.

    Where none explains all of them, one that explains the first alone; two slips may have met.
    """
    right = _right(case)
    if _near(moments, right, rtol=1e-5, atol=1e-6) and not _near(moments, right):
        return "right to float32's seven digits only: something on the way is float32 (.float(), torch.zeros)"
    fitting = [named for named in [*names.items(), *_option_wrong(case)] if _fits(case, moments, named[0], right)]
    thorough = [named for named in fitting if all(_fits(c, m, named[0]) for c, m in others)]
    texts = [text for _, text in thorough or fitting]
    general, single = [t for t in texts if t in names.values()][:1], [t for t in texts if t not in names.values()]
    return " — or: ".join([*general, *single][:2]) or None


def _fits(case, moments, wrong, right=None):
    """Does the wrong rule give these numbers? With `right`: and does it differ from the right ones?"""
    try:
        guess = _right(case, wrong)
    except (RuntimeError, ZeroDivisionError, KeyError):
        return False
    return _near(moments, guess) and not (right is not None and _near(guess, right))


def _near(a, b, rtol=1e-9, atol=1e-12):
    pairs = [(x, y) for xs, ys in zip(a, b, strict=True) for x, y in zip(xs, ys, strict=True)]
    return all(
        type(x) is torch.Tensor and x.shape == y.shape and torch.allclose(x.to(F64), y, rtol=rtol, atol=atol)
        for x, y in pairs
    )


def _options(options):
    return ", ".join(f"{k}={v}" for k, v in options.items())


def _place(case, i, at):
    """Which optimizer, and which group with which options at this step, parameter i belongs to."""
    made = f"{case['kind']}({_options(case['options'])})"
    if not case.get("groups"):
        return made
    members, options, _ = _groups_of(case)
    index = next(index for index, places in enumerate(members) if i in places)
    late = ""
    for step, changes in sorted(case.get("changes", {}).items()):
        if index in changes and step < at:
            options[index].update(changes[index])
            late += f", {_options(changes[index])} since step {step + 1}"
    own = {k: v for k, v in options[index].items() if k != "decoupled"}
    return f"{made}, group {index} with {_options(own)}{f' ({late[2:]})' if late else ''}"


def _figures(a, b):
    """Both numbers with so many digits that they differ."""
    for digits in (6, 9, 12):
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            break
    return f"{a:.{digits}g}", f"{b:.{digits}g}"


def _expect_trajectory(case, moments, because, names, others=()):
    """Fails at the first parameter that is wrong, saying in which step, what was right, and which wrong rule fits."""
    right = _right(case)
    before = case["params"]
    looks = None if _near(moments, right) else _misconception(case, moments, names, others)
    for at, (now, wanted) in enumerate(zip(moments, right, strict=True), 1):
        good = [i for i, (a, e) in enumerate(zip(now, wanted, strict=True)) if _near([[a]], [[e]])]
        for i, (actual, expected) in enumerate(zip(now, wanted, strict=True)):
            if i in good:
                continue
            said = f"{_place(case, i, at)}: {because}"
            said += f" The steps before are right{' for all parameters' if len(wanted) > 1 else ''}." if at > 1 else ""
            kept = f"Parameter{'s' * (len(good) > 1)} {', '.join(map(str, good))} {'are' if len(good) > 1 else 'is'}"
            said += f" {kept} right in this step." if good else ""
            expect_shape(actual, tuple(expected.shape), because=said, looks_like=looks)
            index = tuple((~torch.isclose(actual.to(F64), expected, rtol=1e-9, atol=1e-12)).nonzero()[0].tolist())
            got, want, old = float(actual[index]), float(expected[index]), float(before[i][index])
            got_text, want_text = _figures(got, want)
            got_step, want_step = _figures(got - old, want - old)
            where = f" at index {list(index)}" if index else ""
            fail(
                expected=f"parameter {i} after step {at}: {want_text}{where}, a step of {want_step}",
                actual=f"{got_text}, a step of {got_step}",
                because=said,
                looks_like=looks,
            )
        before = wanted


def _expect_trajectories(sandbox, cases, because, names):
    _expect_all(cases, sandbox.run(probes.trajectories, cases), [because] * len(cases), names)


def _expect_all(cases, found, reasons, names):
    for case, moments, because in zip(cases, found, reasons, strict=True):
        others = [(c, m) for c, m in zip(cases, found, strict=True) if c["kind"] == case["kind"] and c is not case]
        _expect_trajectory(case, moments, because, names, others)


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
        expect_equal(
            len(groups),
            len(wanted),
            because=f"{said}: one group for each dict; plain tensors make one.",
            name="number of groups",
        )
        for number, (group, want) in enumerate(zip(groups, wanted, strict=True)):
            looks = "params is a generator, and was used up before" if not group["places"] else None
            because = f'{said}: "params" is a list of the very tensors that were given.'
            which = f'param_groups[{number}]["params"]'
            name = f"{which}, by their places among the given tensors (-1: another tensor)"
            expect_equal(group["places"], want["members"], because=because, looks_like=looks, name=name)
            expect_equal(group["params"], "list", because=because, name=f"the type of {which}")
            for name, value in {**base, **{k: v for k, v in want.items() if k != "members"}}.items():
                actual = group["options"].get(name, "missing")
                actual = tuple(actual) if isinstance(actual, list) else actual
                because = f"{said}: the group's own option, else that of the call, else the default."
                expect_equal(actual, value, because=because, name=f'param_groups[{number}]["{name}"]')


@check(
    "Rule: the step is your own",
    points=5,
    why="The task is to write what torch.optim does.",
    after=["test_groups"],
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
    "SGD without momentum: p − lr · (g + weight_decay · p)",
    points=10,
    why="The rule that all others vary.",
    after=["test_own_work"],
)
def test_sgd(sandbox):
    cases = [_case("SGD", 10, 3, lr=0.1), _case("SGD", 11, 3, lr=0.5, weight_decay=0.3)]
    cases += [_case("SGD", 12, 2, [(1,), (), (2, 3, 1)], lr=2.0)]
    _expect_trajectories(sandbox, cases, "p − lr · (g + weight_decay · p).", SGD_WRONG)


@check(
    "Momentum sums up gradients; the weight decay goes through it",
    points=10,
    why="v ← μ v + g or v ← μ v + (1 − μ) g: a factor of ten in the learning rate.",
    after=["test_sgd"],
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
        looks = None if _near(moments, _right(case), rtol=1e-3) else _misconception(case, moments, ADAM_WRONG)
        lr = case["options"]["lr"]
        for i, (actual, p, g) in enumerate(zip(moments[0], case["params"], case["grads"][0], strict=True)):
            expect_shape(actual, tuple(p.shape), because="a step doesn't change the shape.", looks_like=looks)
            steps = (actual.to(F64) - p) / -g.sign()
            near = f"with gradients near {g.abs().mean().item():.2g}"
            others = " Parameter 0 is right." if i else ""
            if not bool((steps - lr).abs().le(1e-2 * lr).all()):
                least, most = float(steps.min()), float(steps.max())
                by = f"{least:.4g}" if most - least <= 1e-3 * abs(most) else f"{least:.4g} to {most:.4g}"
                fail(
                    expected=f"parameter {i} after step 1: moved by {lr} against the sign of its gradient",
                    actual=f"moved by {by}",
                    because=f"Adam({_options(case['options'])}) {near}: m̂ / √ŝ is g / |g| in the first step.{others}",
                    looks_like=looks,
                )


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
    after=["test_adam_first_step"],
)
def test_adamw(sandbox):
    cases = [_case("AdamW", 70, 20, lr=0.05), _case("AdamW", 71, 5, scale=50.0, lr=0.1, weight_decay=0.7)]
    cases += [_case("AdamW", 72, 4, lr=0.1, weight_decay=0.0, betas=(0.5, 0.9))]
    still = _case("AdamW", 73, 3, lr=0.5, weight_decay=0.4)
    cases.append({**still, "grads": [[torch.zeros_like(g) for g in grads] for grads in still["grads"]]})
    names = {"other decay": "the decay is added to the gradient: that is Adam with L2", **ADAM_WRONG, **NONE_WRONG}
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
    adam["groups"] = [
        {"members": [1], "weight_decay": 0.0, "betas": (0.8, 0.9), "eps": 0.02},
        {"members": [0, 2], "betas": (0.5, 0.5), "eps": 0.1},
    ]
    adam["changes"] = {1: {0: {"lr": 0.01}}, 2: {1: {"eps": 0.4, "weight_decay": 0.6}}, 4: {1: {"lr": 0.0}}}
    coupled = _case("Adam", 82, 4, shapes, lr=0.1, weight_decay=0.3)
    coupled["groups"] = [{"members": [0, 1], "lr": 0.3}, {"members": [2], "weight_decay": 0.0}]
    coupled["changes"] = {2: {0: {"betas": (0.3, 0.4)}}}
    nesterov = _case("SGD", 83, 5, shapes, lr=0.1, momentum=0.6)
    nesterov["groups"] = [{"members": [0]}, {"members": [1, 2], "nesterov": True, "momentum": 0.8}]
    nesterov["changes"] = {2: {0: {"nesterov": True}}, 3: {1: {"nesterov": False}, 0: {"momentum": 0.3}}}
    called = _case("SGD", 84, 3, shapes, lr=0.1, momentum=0.9, nesterov=True)
    called["groups"] = [{"members": [0], "nesterov": False}, {"members": [1, 2], "weight_decay": 0.4}]
    because = "each parameter follows the options that its group has at that step."
    names = {**GROUP_WRONG, **SGD_WRONG, **ADAM_WRONG}
    _expect_trajectories(sandbox, [sgd, adam, coupled, nesterov, called], because, names)


@check(
    "Without a gradient nothing moves, and every parameter has its own state",
    points=10,
    why="Frozen layers, several heads, experts: in many steps some parameters take no part.",
    after=["test_momentum", "test_adam", "test_adamw"],
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
    frozen = {**_case("AdamW", 93, 3, shapes, lr=0.1), "frozen": [1]}
    reasons = [because] * len(cases)
    reasons.append("parameter 1 has requires_grad=False, and a gradient from before: .grad isn't None, so it moves.")
    cases.append(frozen)
    _expect_all(cases, sandbox.run(probes.trajectories, cases), reasons, NONE_WRONG)


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
    after=["test_momentum", "test_adam", "test_adamw"],
)
def test_side_effects(sandbox):
    cases = [
        _case("SGD", 111, 4, lr=0.1, momentum=0.9, weight_decay=0.1),
        _case("SGD", 110, 4, lr=0.1, momentum=0.9),
        _case("Adam", 112, 4, lr=0.1, weight_decay=0.2),
        _case("AdamW", 113, 4, lr=0.1),
    ]
    for case, found in zip(cases, sandbox.run(probes.side_effects, cases), strict=True):
        made = f"{case['kind']}({_options(case['options'])})"
        _expect_gradients_kept(found["changed"], case, made)
        because = f"{made}: the model holds these very tensors, and views of them; new ones would be trained by nobody."
        moved = found["moved"]
        actual = f"parameter {moved[0]} lies in other memory after the steps" if moved else ""
        expect(not moved, expected="each parameter in the memory it had", actual=actual, because=because)
        said = "param_groups to hold the given tensors after the steps"
        expect(all(found["listed"]), expected=said, actual="other tensors", because=because)
        because = f"{made}: an update is no part of any graph."
        looks = "step() needs torch.no_grad()"
        said = "parameters that are leaves and require gradients"
        expect(
            found["leaves"], expected=said, actual="they are not, after the steps", because=because, looks_like=looks
        )
        said = "gradients without a graph"
        expect(not found["graph in grads"], expected=said, actual="they got one", because=because, looks_like=looks)
        because = "the gradients of each step are written into the same tensors; a second optimizer steps beside."
        names = {"no momentum": "the state is lost between steps", **SHARED_WRONG}
        _expect_trajectory(case, found["moments"], because, names)


def _expect_gradients_kept(changed, case, made):
    """`changed`: the first gradient that a step changed, as the step left it; empty for none."""
    if not changed:
        return
    i, at, now = changed["parameter"], changed["step"], changed["now"]
    given = case["grads"][at][i]
    before = case["params"][i] if at == 0 else _right(case)[at - 1][i]
    looks = "p.grad is changed in place, or a buffer that is p.grad"
    if now is None or not now.any():
        looks = "step() clears the gradients; that is what zero_grad() is for"
    elif _near([[now]], [[given + case["options"].get("weight_decay", 0.0) * before]]):
        looks = "the weight decay is added into p.grad itself: `g = p.grad; g += …` works in place"
    fail(
        expected=f"parameter {i}: the gradient of step {at + 1} as it was given",
        actual="it is None" if now is None else "it has other values after the step",
        because=f"{made}: gradients are read after the step, too, for clipping statistics and logs.",
        looks_like=looks,
    )


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
        name = raised.get("raised")
        if name != wanted:
            fail(
                expected=f"{wanted or 'no error'} ({text})",
                actual=f"{name}: {raised['message']}" if name else "no error",
                because="said at once it is a line to mend; later it is an afternoon of searching.",
                looks_like="`p in list` compares values, not identity" if name and "equal values" in text else None,
            )

"""Checks for the dynamic module and the two custom functions. Oracles: closed forms and numerical gradients."""

from __future__ import annotations

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
)

from . import probes

F64 = torch.float64
STEP = 1e-6  # of the central differences, in float64


def _random(*shape, seed, dtype=F64, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- oracles -------------------------------------------------------------------------------------------


def _steps(row, growth, limit, max_steps, strict=True):
    """How many multiplications one row gets: counted one by one, in float64."""
    row, growth, count = row.to(F64), growth.to(F64), 0
    while count < max_steps:
        norm = row.square().sum().sqrt()
        if norm > limit or (strict and norm == limit):
            break
        row, count = row * growth, count + 1
    return count


def _all_steps(case, strict=True):
    return [_steps(row, case["growth"], case["limit"], case["max_steps"], strict) for row in case["x"]]


def _grown(case, steps=None):
    """The closed form: x · growth^steps, row by row."""
    steps = _all_steps(case) if steps is None else steps
    return torch.stack([row.to(F64) * case["growth"].to(F64) ** k for row, k in zip(case["x"], steps, strict=True)])


def _grown_gradients(case, upstream, steps=None):
    """d/dx and d/dgrowth of (x · growth^steps · upstream).sum()."""
    steps = _all_steps(case) if steps is None else steps
    g, by_x, by_growth = case["growth"], [], torch.zeros_like(case["growth"])
    for row, up, k in zip(case["x"], upstream, steps, strict=True):
        by_x.append(up * g**k)
        if k:
            by_growth += up * row * k * g ** (k - 1)
    return torch.stack(by_x), by_growth


def _nudged(tensors):
    """For every element of every tensor two copies of all of them: nudged up, nudged down."""
    for which, tensor in enumerate(tensors):
        for at in range(tensor.numel()):
            for sign in (1, -1):
                moved = [t.clone() for t in tensors]
                moved[which].view(-1)[at] += sign * STEP
                yield tuple(moved)


def _numerical(values, upstream, tensors, because):
    """The central differences of (value · upstream).sum(), from the values at the `_nudged` inputs."""
    sums = []
    for value in values:
        expect_shape(value, tuple(upstream.shape), because=because)
        sums.append(float((value.to(F64) * upstream).sum()))
    slopes = iter([(up - down) / (2 * STEP) for up, down in zip(sums[::2], sums[1::2], strict=True)])
    return [torch.tensor([next(slopes) for _ in range(t.numel())], dtype=F64).view_as(t) for t in tensors]


def _swish_derivatives(x, beta):
    """Value, dy/dx and dy/dbeta by element."""
    s = 1 / (1 + torch.exp(-beta * x))
    return x * s, s + beta * x * s * (1 - s), x * x * s * (1 - s)


def _agree(actual, expected, atol=1e-6):
    return (
        type(actual) is torch.Tensor
        and actual.shape == expected.shape
        and torch.allclose(actual.to(F64), expected.to(F64), rtol=1e-5, atol=atol)
    )


def _expect_gradient(actual, expected, what, because, looks_like=None, rtol=1e-6, atol=1e-8):
    if actual is None:
        fail(
            expected=f"a gradient for {what}",
            actual="none: the output isn't connected to it in the graph",
            because=because,
            looks_like=looks_like or "something on the way leaves the graph: .detach(), .data, .item() or no_grad",
        )
    expect_close(actual, expected, because=because, looks_like=looks_like, rtol=rtol, atol=atol)


# --- the part that is given ----------------------------------------------------------------------------


@check(
    "input_gradient (given) returns the gradient and leaves its input alone",
    points=10,
    why="torch.autograd.grad is the tool for inspecting any function; the other parts are tried with it.",
)
def test_input_gradient(sandbox):
    x = _random(3, 4, seed=1)
    names = ["sin", "cube", "row product", "mean"]
    product = torch.stack([x[:, [j for j in range(4) if j != i]].prod(1) for i in range(4)], dim=1)
    wanted = [x.cos(), 3 * x**2, product, torch.full_like(x, 1 / 12)]
    for name, found, expected in zip(names, sandbox.run(probes.input_gradients, names, [x] * 4), wanted, strict=True):
        because = f"this part came complete; with fn = {name} it has to give the derivative of fn(x).sum()"
        expect_close(found["gradient"], expected, because=because, rtol=1e-9, atol=1e-12)
        untouched = _agree(found["x"], x, 0) and found["requires_grad"] is False and found["grad"] is None
        expect(
            untouched,
            expected="x as it was: same values, requires_grad False, no .grad",
            actual=f"requires_grad {found['requires_grad']}, .grad {'none' if found['grad'] is None else 'set'}",
            because="a helper that switches recording on for the caller's tensor changes code far away from it.",
        )


# --- GrowUntil -----------------------------------------------------------------------------------------


@check(
    "growth is the module's one learnable parameter and starts at 2",
    points=5,
    why="Only registered parameters are seen by the optimizer, by .to() and by state_dict().",
)
def test_growth_is_a_parameter(sandbox):
    because = "parameters() is what an optimizer gets, and state_dict() what is saved: growth has to be in both."
    sizes = [3, 1]
    for features, found in zip(sizes, sandbox.run(probes.grow_states, sizes), strict=True):
        looks = None
        if not found["parameters"]:
            looks = "a plain tensor, or a buffer, was assigned instead of an nn.Parameter"
        expect_equal(sorted(found["parameters"]), ["growth"], because=because, looks_like=looks)
        growth = found["parameters"]["growth"]
        expect_shape(growth, (features,), because="every feature has a growth factor of its own.")
        expect_close(growth, torch.full((features,), 2.0), because="the statement fixes the start at 2.0.")
        learnt = found["trainable"]["growth"]
        expect_equal(learnt, True, name="growth requires a gradient", because="growth has to be learnable.")


def _tolerance(double):
    return {"rtol": 1e-12, "atol": 1e-12} if double else {"rtol": 1e-5, "atol": 1e-6}


def _value_cases():
    two, odd = torch.tensor([2.0, 2.0]), torch.tensor([1.5, 2.5, -2.0])
    mixed = torch.tensor([[3.0, 4.0], [0.6, 0.8], [30.0, 0.0], [-5.5, 1.0]])
    return {
        "the example": {"x": mixed[:2], "growth": two, "limit": 10.0, "max_steps": 8},
        "one row": {"x": torch.tensor([[0.3, -0.2]]), "growth": two, "limit": 10.0, "max_steps": 8},
        "rows that need 1, 4, 0 and 1 steps": {"x": mixed, "growth": two, "limit": 10.0, "max_steps": 8},
        "a row already at the limit": {
            "x": torch.tensor([[6.0, -8.0], [1.0, 1.0]]),
            "growth": two,
            "limit": 10.0,
            "max_steps": 8,
        },
        "rows too small for max_steps=3": {
            "x": torch.tensor([[0.01, 0.02], [2.0, 1.0]]),
            "growth": two,
            "limit": 10.0,
            "max_steps": 3,
        },
        "three features with growths 1.5, 2.5, -2": {
            "x": _random(7, 3, seed=2, dtype=torch.float32),
            "growth": odd,
            "limit": 6.0,
            "max_steps": 9,
        },
        "growth below 1, which never gets there": {
            "x": torch.tensor([[1.0, 2.0]]),
            "growth": two / 4,
            "limit": 5.0,
            "max_steps": 4,
        },
        "limit and max_steps not given: 10.0 and 8": {
            "x": torch.tensor([[0.6, 0.8], [0.001, 0.002], [9.0, 4.0]]),
            "growth": two,
            "limit": 10.0,
            "max_steps": 8,
            "defaults": True,
        },
        "float64": {"x": _random(5, 3, seed=3), "growth": odd.to(F64), "limit": 4.0, "max_steps": 6},
    }


def _guesses(case):
    """The step counts that known wrong rules give."""
    right, x, limit, cap = _all_steps(case), case["x"], case["limit"], case["max_steps"]
    whole = _steps(x.reshape(-1), case["growth"].repeat(len(x)), limit, cap)
    return {
        "a row exactly at the limit is multiplied once more: `<=` where `<` is meant": _all_steps(case, strict=False),
        "the norm is taken over the whole batch instead of row by row": [whole] * len(right),
        "all rows stop as soon as the first one is done; each row stops on its own": [min(right)] * len(right),
        "all rows are multiplied until the slowest one is done; finished rows have to stay as they are": [max(right)]
        * len(right),
        "the first row decides for all of them": [right[0]] * len(right),
        "the argument max_steps isn't used: 8 is built in": _all_steps({**case, "max_steps": 8}),
        "max_steps isn't respected": _all_steps({**case, "max_steps": cap + 40}),
        "one multiplication too many at max_steps": _all_steps({**case, "max_steps": cap + 1}),
        "one multiplication too few at max_steps": _all_steps({**case, "max_steps": cap - 1}),
        "the first multiplication is made without looking at the norm": [max(1, k) for k in right],
        "the squared norm is compared: is the square root missing?": _all_steps({**case, "limit": limit**0.5}),
    }


def _step_misconception(cases, results):
    """Names the one wrong rule that explains all the results, if a known one does."""
    explained = [
        {text for text, steps in _guesses(case).items() if _agree(y, _grown(case, steps), 1e-5)}
        for case, y in zip(cases, results, strict=True)
    ]
    return next((text for text in _guesses(cases[0]) if all(text in e for e in explained)), None)


@check(
    "GrowUntil multiplies each row until its own norm reaches the limit",
    points=15,
    why="Examples in a batch must not influence each other: the result for an image may not depend on its neighbours.",
    after=["test_growth_is_a_parameter"],
)
def test_grow_values(sandbox):
    cases = _value_cases()
    results = sandbox.run(probes.grow_values, list(cases.values()))
    explained = _step_misconception(list(cases.values()), [found["y"] for found in results])
    for (name, case), found in zip(cases.items(), results, strict=True):
        y, looks = found["y"], explained
        because = f"({name}) row i has to be x[i] * growth ** steps[i], with steps = {_all_steps(case)}."
        double = case["x"].dtype == F64
        if double and looks is None and _agree(y, _grown(case)):
            looks = "the computation leaves float64 on the way: a .float(), or a constant made in float32"
        expect_close(y, _grown(case), because=because, looks_like=looks, **_tolerance(double))
        expect_dtype(y, case["x"].dtype, because="the module computes in the type of its input and parameters.")
        expect(
            _agree(found["x"], case["x"], 0),
            expected="the input x as it was before the call",
            actual="x was changed in place",
            because="the caller may still need x, and autograd may need its old values for backward.",
            looks_like="`h *= growth` (or mul_) on a tensor that is x itself",
        )


@check(
    "Gradients flow to x and to growth through every multiplication",
    points=10,
    why="A value that left the graph on the way gives a model that runs, prints a loss, and doesn't learn.",
    after=["test_grow_values"],
)
def test_grow_gradients(sandbox):
    case = {
        "x": torch.tensor([[3.0, 4.0], [0.6, 0.7], [30.0, 0.0], [0.0, 0.0]], dtype=F64),
        "growth": torch.tensor([2.0, 1.75], dtype=F64),
        "limit": 10.0,
        "max_steps": 5,
    }
    upstream = _random(4, 2, seed=5)
    inputs = [case["x"], case["growth"]]
    found = sandbox.run(probes.grow_gradients, case, upstream, list(_nudged(inputs)))
    by_x, by_growth = _grown_gradients(case, upstream)
    looks = None
    if _agree(found["growth"], _last_step_only(case, upstream)) or _agree(found["x"], torch.zeros_like(by_x)):
        looks = "only the last multiplication is in the graph: the earlier ones were detached or run under no_grad"
    because = (
        "y = x * growth**k row by row, so {}: each of the k multiplications contributes; here k = "
        + ", ".join(map(str, _all_steps(case)))
        + " for the four rows."
    )
    _expect_gradient(found["x"], by_x, "x", because.format("dy/dx = growth**k"), looks)
    _expect_gradient(found["growth"], by_growth, "growth", because.format("dy/dgrowth = k * x * growth**(k-1)"), looks)
    numerical = _numerical(found["values"], upstream, inputs, "the output has the shape of x.")
    for name, slope in zip(("x", "growth"), numerical, strict=True):
        because = "nudging an input by 1e-6 and looking at the output has to give the same slope as backward."
        expect_close(found[name], slope, because=because, rtol=1e-5, atol=1e-5)


def _last_step_only(case, upstream):
    """The gradient for growth when everything before the last multiplication counts as a constant."""
    g, total = case["growth"], torch.zeros_like(case["growth"])
    for row, up, k in zip(case["x"], upstream, _all_steps(case), strict=True):
        if k:
            total += up * row * g ** (k - 1)
    return total


@check(
    "Every call builds its own graph: earlier calls leave no trace",
    points=10,
    why="State kept between calls passes a quick test and breaks with the second batch, or the last, smaller one.",
    after=["test_grow_gradients"],
)
def test_graph_is_rebuilt(sandbox):
    growth = torch.tensor([1.5, 2.0, 3.0], dtype=F64)
    quick, slow = _random(3, 3, seed=6, scale=4.0), _random(3, 3, seed=7, scale=0.02)
    single = _random(1, 3, seed=8, scale=0.5)
    orders = [
        [(x, _random(*x.shape, seed=20 + i)) for i, x in enumerate(batches)]
        for batches in ((quick, slow, quick, single), (slow, single, quick, slow))
    ]
    for order, calls in zip(orders, sandbox.run(probes.grow_calls, growth, 9.0, 8, orders), strict=True):
        if "raised" in calls:
            fail(
                expected="a forward and a backward pass for each of four batches",
                actual=f"{calls['raised']}: {calls['message']}",
                because="a call that uses a result of an earlier call shares that call's graph, and its backward.",
                looks_like="a tensor with a history is kept on the module from one call to the next",
            )
        for i, ((x, up), call) in enumerate(zip(order, calls["value"], strict=True)):
            case = {"x": x, "growth": growth, "limit": 9.0, "max_steps": 8}
            by_x, by_growth = _grown_gradients(case, up)
            because = (
                f"one module was called with {len(order)} different batches, and all the backward passes came "
                f"afterwards; call {i + 1} has to behave as if it were the only one."
            )
            looks = "a step count, a mask or a result is kept from an earlier call"
            expect_close(call["y"], _grown(case), because=because, looks_like=looks, rtol=1e-6)
            _expect_gradient(call["x_grad"], by_x, f"x of call {i + 1}", because, looks)
            _expect_gradient(call["growth_grad"], by_growth, f"growth in call {i + 1}", because, looks)


# --- Swish ---------------------------------------------------------------------------------------------


@check(
    "Swish.apply gives x * sigmoid(beta * x)",
    points=5,
    why="A custom Function has to give the right values before its gradient means anything.",
)
def test_swish_values(sandbox):
    cases = [
        (_random(4, 5, seed=30, dtype=torch.float32), torch.tensor(1.0)),
        (_random(1, seed=31, dtype=torch.float32), torch.tensor(-0.7)),
        (_random(2, 3, 2, 2, seed=32), torch.tensor(2.5, dtype=F64)),
        (torch.tensor([-80.0, -5.0, 0.0, 5.0, 80.0]), torch.tensor(1.7)),
    ]
    found = sandbox.run(probes.swish_values, cases)
    because = "Swish has to be a subclass of torch.autograd.Function."
    expect_equal(found["is_function"], True, name="Swish is such a class", because=because)
    for (x, beta), one in zip(cases, found["values"], strict=True):
        expected = _swish_derivatives(x.to(F64), beta.to(F64))[0]
        looks = None
        if _agree(one["y"], x * torch.sigmoid(x)):
            looks = "beta isn't used"
        elif _agree(one["y"], torch.sigmoid(beta * x)):
            looks = "the factor x in front is missing"
        elif _agree(one["y"], x * torch.sigmoid(beta * x) * beta):
            looks = "beta was multiplied in outside the sigmoid as well"
        because = f"y = x * sigmoid(beta * x), here with beta = {float(beta):.1f}, x of shape {tuple(x.shape)}."
        expect_close(one["y"], expected, because=because, looks_like=looks, rtol=1e-5)
        expect_dtype(one["y"], x.dtype, because="the result has the type of x.")
        expect(
            _agree(one["x"], x, 0) and _agree(one["beta"], beta, 0),
            expected="x and beta as they were before the call",
            actual="an input was changed in place",
            because="forward may change its input only when it says so with ctx.mark_dirty.",
        )


def _refused(outcome, returned):
    """The value of an outcome; fails when autograd refused what backward returned."""
    if "raised" in outcome:
        fail(
            expected=f"a backward that returns {returned}",
            actual=f"{outcome['raised']}: {outcome['message']}",
            because="backward returns as many values as forward has inputs after ctx, and in the same order.",
        )
    return outcome["value"]


def _swish_case(x, beta, seed):
    beta = torch.tensor(beta, dtype=F64)
    return {"x": x, "beta": beta, "upstream": _random(*x.shape, seed=seed), "nudged": list(_nudged([x, beta]))}


@check(
    "Swish.backward agrees with numerical gradients",
    points=15,
    why="Writing a backward pass by hand, and proving it with a gradient check, is the core of this question.",
    after=["test_swish_values"],
)
def test_swish_gradients(sandbox):
    cases = [
        _swish_case(_random(2, 3, seed=40), 1.0, 41),
        _swish_case(_random(1, seed=42), -0.6, 43),
        _swish_case(_random(2, 1, 2, seed=44, scale=2.0), 1.8, 45),
    ]
    for case, found in zip(cases, sandbox.run(probes.swish_gradients, cases), strict=True):
        x, beta, up = case["x"], case["beta"], case["upstream"]
        by_x, by_beta = _numerical(found["values"], up, [x, beta], "the output has the shape of x.")
        grad_x, grad_beta = _refused(found["gradients"], "grad_x and grad_beta: one for each input, each of its shape")
        start = f"with x of shape {tuple(x.shape)} and beta = {float(beta)}, "
        close = {"rtol": 1e-5, "atol": 1e-6}
        _expect_gradient(
            grad_x,
            by_x,
            "x",
            start + "the slope of the values at x, times the incoming gradient.",
            _swish_misconception(grad_x, x, beta, up),
            **close,
        )
        expect_tensor(
            grad_beta,
            because="beta went into every element of the output, so it gets a gradient as well.",
            looks_like="backward returns None for beta although ctx.needs_input_grad[1] is True",
        )
        per_element = _swish_derivatives(x, beta)[2]
        looks = None
        if _agree(grad_beta, (per_element * up).mean()) and x.numel() > 1:
            looks = "the gradient for beta is averaged over the elements; it has to be summed"
        elif _agree(grad_beta, per_element.sum()):
            looks = "the incoming gradient grad_y is left out"
        _expect_gradient(
            grad_beta,
            by_beta,
            "beta",
            start + "beta's gradient is the sum over all elements of grad_y * dy/dbeta.",
            looks,
            **close,
        )


def _swish_misconception(grad, x, beta, upstream):
    s = torch.sigmoid(beta * x)
    guesses = {
        "the incoming gradient grad_y is left out": s + beta * x * s * (1 - s),
        "the chain rule's factor beta is missing": upstream * (s + x * s * (1 - s)),
        "only sigmoid(beta*x) was taken: x appears a second time, inside the sigmoid": upstream * s,
        "only the part through the sigmoid is there: x in front has a derivative, too": upstream
        * (beta * x * s * (1 - s)),
        "the derivative of the sigmoid alone: the product rule is missing": upstream * s * (1 - s),
    }
    right = upstream * (s + beta * x * s * (1 - s))
    for text, guess in guesses.items():
        if _agree(grad, guess) and not _agree(right, guess):
            return text
    return None


@check(
    "Swish.backward computes only the gradients that are asked for",
    points=5,
    why="needs_input_grad saves the work for frozen inputs: real layers skip whole matrix products this way.",
    after=["test_swish_gradients"],
)
def test_swish_only_what_is_needed(sandbox):
    x, beta, up = _random(4, seed=50), torch.tensor(1.3, dtype=F64), _random(4, seed=51)
    found = sandbox.run(probes.swish_needed, x, beta, up)
    for name, (wants_x, wants_beta) in {"x": (1, 0), "beta": (0, 1), "both": (1, 1)}.items():
        returned = found[name]
        expect_equal(len(returned), 2, because="backward returns one value for each of forward's two inputs.")
        for what, wanted, value in zip(("x", "beta"), (wants_x, wants_beta), returned, strict=True):
            asked = f"when {name} require{'' if name == 'both' else 's'} a gradient"
            expect(
                (value is not None) == bool(wanted),
                expected=f"{'a gradient' if wanted else 'None'} for {what} {asked}",
                actual="None" if value is None else "a tensor",
                because="ctx.needs_input_grad holds one bool per input of forward, in the same order.",
                looks_like=None if wanted else "the gradient is computed whether or not anybody needs it",
            )


@check(
    "Swish keeps its inputs in ctx, safely",
    points=5,
    why="A wrong gradient without an error is the worst kind of bug; save_for_backward exists to prevent it.",
    after=["test_swish_gradients"],
)
def test_swish_saved_tensors(sandbox):
    first, second = _random(4, seed=60), _random(4, seed=61)
    beta, up = torch.tensor(0.8, dtype=F64), _random(4, seed=62)
    found = sandbox.run(probes.swish_saved, first, second, beta, up)
    for x, grads, which in zip((first, second), found["interleaved"], ("first", "second"), strict=True):
        _, by_x, by_beta = _swish_derivatives(x, beta)
        because = f"two forward passes ran before backward; the {which} call needs its own x back."
        looks = "x is kept on the class or in a global, where the second call overwrites it"
        _expect_gradient(grads[0], up * by_x, f"x of the {which} call", because, looks)
        _expect_gradient(grads[1], (up * by_beta).sum(), f"beta in the {which} call", because, looks)
    _, by_x, by_beta = _swish_derivatives(first, beta)
    for which, got in found["changed"].items():
        if "raised" in got:
            continue
        right = _agree(got["value"][0], up * by_x) and _agree(got["value"][1], (up * by_beta).sum())
        expect(
            right,
            expected=f"an error in backward, because {which} was changed in place after forward",
            actual="a gradient, and a wrong one",
            because="tensors saved with ctx.save_for_backward carry a version, so that this mistake is noticed.",
            looks_like=f"{which} is stored as an attribute (ctx.{which} = {which}) instead",
        )


@check(
    "Swish can be differentiated twice",
    points=10,
    why="Gradient penalties, meta-learning and Hessians differentiate through backward.",
    after=["test_swish_gradients"],
)
def test_swish_second_derivative(sandbox):
    x, beta, up = _random(5, seed=70), torch.tensor(1.4, dtype=F64), _random(5, seed=71)
    wx, wb = _random(5, seed=72), torch.tensor(0.9, dtype=F64)
    found = sandbox.run(probes.swish_second, x, beta, up, wx, wb)
    looks = "backward leaves the graph: .detach(), .data, .item() or no_grad inside it"
    because = "with create_graph=True, backward itself is recorded, and its result can be differentiated."
    expect(
        found["connected"] is True,
        expected="first gradients that are part of a graph",
        actual="first gradients without any history",
        because=because,
        looks_like=looks,
    )
    second = found["second"]
    if "raised" in second:
        fail(
            expected="second derivatives",
            actual=f"{second['raised']}: {second['message']}",
            because=because,
            looks_like=looks,
        )
    wanted = _second(x, beta, up, wx, wb)
    for name, got, expected in zip(("x", "beta", "grad_y"), second["value"], wanted, strict=True):
        because = f"the first gradients are right, but differentiated once more, by {name}, they have to be, too."
        looks = "an intermediate made in forward was saved: it has no history, so autograd takes it for a constant"
        if got is None:
            looks = {
                "x": "x is detached in backward, or once_differentiable says that backward has no derivative",
                "beta": "beta is kept as a number, or detached: in backward it is a constant",
                "grad_y": "grad_y is detached in backward; it may have a history of its own",
            }[name]
        _expect_gradient(got, expected, f"{name} (second derivative)", because, looks)


def _second(x, beta, upstream, wx, wb):
    """The same by torch's own rules, from the plain formula: only inputs, nothing custom."""
    ins = [t.clone().requires_grad_(True) for t in (x, beta, upstream)]
    y = ins[0] / (1 + torch.exp(-ins[1] * ins[0]))
    first = torch.autograd.grad(y, ins[:2], ins[2], create_graph=True)
    total = (first[0] * wx).sum() + first[1] * wb
    return [t.detach() for t in torch.autograd.grad(total, ins)]


# --- Quantize ------------------------------------------------------------------------------------------


def _nearest_level(value, levels):
    grid = [i / (levels - 1) for i in range(levels)]
    return min(grid, key=lambda level: abs(level - value))


def _quantize_inputs(levels, seed, dtype):
    """Values in and around [0, 1], none of them near the middle between two levels."""
    count = 4 * levels
    cells = torch.arange(-levels, count - levels).to(F64)
    shift = 0.35 * (2 * torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=F64) - 1)
    return ((cells + shift) / (levels - 1)).to(dtype)


@check(
    "Quantize.apply clamps to [0, 1] and rounds to the nearest level",
    points=5,
    why="Quantisation-aware training simulates exactly this on weights and activations.",
)
def test_quantize_values(sandbox):
    cases = [
        (torch.tensor([-0.3, 0.2, 0.7, 1.4]), 3),
        (_quantize_inputs(2, 80, torch.float32).view(2, 4), 2),
        (_quantize_inputs(5, 81, F64), 5),
        (_quantize_inputs(256, 82, F64).view(16, 64), 256),
    ]
    for (x, levels), found in zip(cases, sandbox.run(probes.quantize_values, cases), strict=True):
        y = found["y"]
        expected = torch.tensor([_nearest_level(v, levels) for v in x.flatten().tolist()]).view(x.shape)
        looks = None
        if type(y) is torch.Tensor and y.shape == x.shape:
            if _agree(y, torch.round(x * (levels - 1)) / (levels - 1)):
                looks = "values outside [0, 1] aren't clamped"
            elif _agree(y, torch.round(x.clamp(0, 1) * levels) / levels):
                looks = f"{levels} levels have {levels - 1} steps between them: divide by levels - 1"
            elif _agree(y, torch.floor(x.clamp(0, 1) * (levels - 1)) / (levels - 1)):
                looks = "always rounded down, instead of to the nearest level"
            elif _agree(y, torch.round(x.clamp(0, 1) * (levels - 1))):
                looks = "the division back into [0, 1] is missing"
        because = f"with levels = {levels}, the allowed values are i / {levels - 1} for i = 0 … {levels - 1}."
        expect_close(y, expected, because=because, looks_like=looks, rtol=1e-5)
        expect_dtype(y, x.dtype, because="the result has the type of x.")
        expect(
            _agree(found["x"], x, 0),
            expected="the input x as it was before the call",
            actual="x was changed in place",
            because="the caller's tensor is the caller's; clamp_ and round_ work on it.",
        )


@check(
    "Quantize lets the gradient straight through, inside [0, 1] only",
    points=5,
    why="The true derivative of rounding is 0 almost everywhere: without this trick nothing in front of it learns.",
    after=["test_quantize_values"],
)
def test_quantize_gradients(sandbox):
    edges = torch.tensor([-0.5, -1e-3, 0.0, 0.3, 0.9, 1.0, 1.001, 7.0], dtype=F64)
    inputs = [(edges, 4), (_quantize_inputs(6, 90, torch.float32).view(4, 6), 6), (edges[3:4], 2)]
    cases = [(x, levels, _random(*x.shape, seed=91, dtype=x.dtype)) for x, levels in inputs]
    for (x, levels, up), found in zip(cases, sandbox.run(probes.quantize_gradients, cases), strict=True):
        (grad,) = _refused(found, "two values: grad_x, and None for levels, which isn't a tensor")
        inside = (x >= 0) & (x <= 1)
        looks = None
        if _agree(grad, torch.zeros_like(x)):
            looks = "this is the true derivative of rounding, 0 almost everywhere; here the identity stands in for it"
        elif _agree(grad, up):
            looks = "the gradient passes outside [0, 1] too, where clamp holds the output constant"
        elif _agree(grad, inside.to(x.dtype)):
            looks = "the incoming gradient grad_y is left out"
        elif _agree(grad, up * ((x > 0) & (x < 1))):
            looks = "x = 0 and x = 1 belong to the inside: `>=` and `<=`"
        elif _agree(grad, up * inside * (levels - 1)):
            looks = "the factor levels - 1 of forward is undone by the division after rounding"
        because = "grad_x is grad_y where 0 <= x <= 1 (ends included) and 0 elsewhere."
        _expect_gradient(grad, torch.where(inside, up, 0.0), "x", because, looks)

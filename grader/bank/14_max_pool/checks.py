"""Checks for the pooling. Oracles: loops over the windows for the values, `F.max_pool2d` for the gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_shape,
    fail,
    misconception,
)

from . import probes

F64 = torch.float64
WINNERS = ("max", "gather", "index", "where", "sort", "topk", "take", "select", "scatter")
"""What in a node's name says that autograd, not the learner's backward, finds the way to the winner."""


def _case(seed, shape, *arguments, shift=0.0, levels=None, dtype=F64, **options):
    """Random images, all values different, or of a few `levels` only; a random upstream gradient, too."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=g, dtype=F64) + shift
    if levels:
        x = torch.randint(levels, shape, generator=g).to(F64) - 1
    case = {"x": x.to(dtype), "arguments": list(arguments), "options": options}
    oh, ow = _out_size(case)
    case["upstream"] = torch.randn(*shape[:2], oh, ow, generator=g, dtype=F64).to(dtype)
    return case


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _settings(case):
    """kernel, stride and padding as pairs."""
    given = dict(zip(("kernel_size", "stride", "padding"), case["arguments"], strict=False)) | case["options"]
    kernel = _pair(given["kernel_size"])
    stride = kernel if given.get("stride") is None else _pair(given["stride"])
    return kernel, stride, _pair(given.get("padding", 0))


def _out_size(case):
    kernel, stride, padding = _settings(case)
    sizes = zip(case["x"].shape[2:], kernel, stride, padding, strict=True)
    return tuple((size + 2 * p - k) // s + 1 for size, k, s, p in sizes)


# --- oracles -------------------------------------------------------------------------------------------


def _pooled(case, reduce=None, fill=-torch.inf, **changes):
    """Window by window, in a loop; `reduce` and `fill` make a wrong pooling on purpose."""
    kernel, stride, padding = _settings(case)
    kernel, stride = changes.get("kernel", kernel), changes.get("stride", stride)
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, changes.get("padding", padding)
    reduce = reduce or (lambda window: window.flatten(2).max(-1).values)
    padded = F.pad(case["x"].to(F64), (pw, pw, ph, ph), value=fill)
    rows = [
        torch.stack(
            [reduce(padded[:, :, i : i + kh, j : j + kw]) for j in range(0, padded.shape[3] - kw + 1, sw)], dim=-1
        )
        for i in range(0, padded.shape[2] - kh + 1, sh)
    ]
    return torch.stack(rows, dim=-2)


def _wrong_outputs(case):
    (kh, kw), (sh, sw), (ph, pw) = _settings(case)
    x = case["x"].to(F64)
    yield "the mean of the window: that is average pooling", lambda: _pooled(case, lambda w: w.mean((2, 3)), 0.0)
    yield "the minimum of the window", lambda: _pooled(case, lambda w: w.amin((2, 3)), torch.inf)

    def by_size(window):
        flat = window.flatten(2)
        return flat.gather(2, flat.abs().argmax(-1, keepdim=True)).squeeze(-1)

    yield "the value of largest magnitude, with its sign", lambda: _pooled(case, by_size, 0.0)
    yield "the largest magnitude", lambda: _pooled(case, lambda w: w.abs().amax((2, 3)), 0.0)
    yield (
        "the maximum over the channels, too",
        lambda: _pooled(case, lambda w: w.amax((1, 2, 3))[:, None].expand(x.shape[:2])),
    )
    yield (
        "the maximum over the batch, too",
        lambda: _pooled(case, lambda w: w.amax((0, 2, 3))[None].expand(x.shape[:2])),
    )
    if len(case["arguments"]) < 2 and "stride" not in case["options"]:
        yield "stride 1: without a stride it is the kernel's size", lambda: _pooled(case, stride=(1, 1))
        text = "without a stride it is the kernel's size, by axis; here that of the"
        yield f"{text} rows serves both", lambda: _pooled(case, stride=(kh, kh))
        yield f"{text} columns serves both", lambda: _pooled(case, stride=(kw, kw))
        yield f"{text} other axis is taken", lambda: _pooled(case, stride=(kw, kh))
    yield "the stride is always the kernel's size", lambda: _pooled(case, stride=(kh, kw))
    if ph or pw:
        yield "padding by 0: it wins where all pixels are negative", lambda: _pooled(case, fill=0.0)
        yield "padding has no effect", lambda: _pooled(case, padding=(0, 0))
        for fill in (-1.0, -100.0, -1e4, -1e9, torch.finfo(torch.float32).min, torch.finfo(torch.float32).tiny):
            text = f"padding by {fill:g}, which isn't smaller than every possible pixel; use -inf"
            yield text, lambda f=fill: _pooled(case, fill=f)
    for name, pair in (("kernel", (kh, kw)), ("stride", (sh, sw)), ("padding", (ph, pw))):
        if pair[0] != pair[1]:
            yield f"{name}: rows and columns are swapped", lambda n=name, p=pair: _pooled(case, **{n: p[::-1]})
            yield f"{name}: the first number serves both axes", lambda n=name, p=pair: _pooled(case, **{n: (p[0],) * 2})
    even = {name: pair[::-1] for name, pair in (("kernel", (kh, kw)), ("stride", (sh, sw)), ("padding", (ph, pw)))}
    yield "rows and columns are swapped", lambda: _pooled(case, **even)


def _named(actual, right, guesses):
    """The misconception that gives this very tensor."""
    if type(actual) is not torch.Tensor:
        return None
    if _single(actual, right):
        return "right to float32's seven digits only: something on the way is float32 (torch.zeros, .float())"
    return misconception(actual, right, guesses, rtol=1e-6, atol=1e-9)


def _single(actual, right):
    """Is it the right value, rounded to float32 somewhere on the way to float64?"""
    if actual.dtype != F64 or actual.shape != right.shape or torch.allclose(actual, right, rtol=1e-9, atol=1e-12):
        return False
    return torch.allclose(actual, right, rtol=1e-6, atol=1e-6)


def _said(case):
    """The call, as it was made."""
    given = [f"{str(case['x'].dtype).removeprefix('torch.')} {tuple(case['x'].shape)}", *map(str, case["arguments"])]
    return f"max_pool2d({', '.join([*given, *(f'{name}={value}' for name, value in case['options'].items())])})"


def _expect_output(actual, case, because):
    right = _pooled(case)
    looks = _named(actual, right, _wrong_outputs(case))
    because = f"({_said(case)}) {because}"
    expect_shape(actual, tuple(right.shape), because=because, looks_like=looks)
    expect_close(actual, right, because=because, looks_like=looks, rtol=1e-9, atol=0)


def _expect_outputs(sandbox, cases, because):
    for case, actual in zip(cases, sandbox.run(probes.outputs, cases), strict=True):
        _expect_output(actual, case, because)


def _gradient(case):
    x = case["x"].to(F64).requires_grad_(True)
    kernel, stride, padding = _settings(case)
    output = F.max_pool2d(x, kernel, stride, padding)
    return torch.autograd.grad(output, x, case["upstream"].to(F64))[0]


def _windows(case):
    """(row, column) of each output with the slices of its window in the image."""
    (kh, kw), (sh, sw), (ph, pw) = _settings(case)
    for i in range(case["upstream"].shape[2]):
        for j in range(case["upstream"].shape[3]):
            top, left = i * sh - ph, j * sw - pw
            yield i, j, slice(max(0, top), max(0, top + kh)), slice(max(0, left), max(0, left + kw))


def _spread(case, share):
    """A wrong backward: `share(window)` says which part of the gradient each pixel of the window gets."""
    x, result = case["x"].to(F64), torch.zeros_like(case["x"], dtype=F64)
    for i, j, rows, columns in _windows(case):
        up = case["upstream"][:, :, i, j].to(F64)[:, :, None, None]
        result[:, :, rows, columns] += share(x[:, :, rows, columns]) * up
    return result


def _is_max(window):
    return (window == window.amax((2, 3), keepdim=True)).to(F64)


def _overwritten(case):
    """A wrong backward: the last window that a pixel wins decides."""
    x, result = case["x"].to(F64), torch.zeros_like(case["x"], dtype=F64)
    for i, j, rows, columns in _windows(case):
        won = _is_max(x[:, :, rows, columns]) > 0
        up = case["upstream"][:, :, i, j].to(F64)[:, :, None, None].expand(won.shape)
        result[:, :, rows, columns] = torch.where(won, up, result[:, :, rows, columns])
    return result


def _wrong_gradients(case):
    x = case["x"]
    yield "a pixel that won in several windows keeps one gradient; they have to be added", lambda: _overwritten(case)
    ones = {**case, "upstream": torch.ones_like(case["upstream"])}
    yield "the incoming gradient isn't used: 1 for each winner", lambda: _gradient(ones)
    yield "every pixel of the window gets the gradient", lambda: _spread(case, torch.ones_like)
    yield (
        "the gradient is divided among all pixels: that is average pooling",
        lambda: _spread(case, lambda w: torch.ones_like(w) / w[0, 0].numel()),
    )
    yield "no gradient at all", lambda: torch.zeros_like(x, dtype=F64)
    yield "the gradient is that of the minimum's pixel", lambda: _gradient({**case, "x": -x})
    ph, pw = _settings(case)[2]
    for text, offset in {
        "the padding isn't subtracted: all gradients lie too far right and down": (ph, pw),
        "the padding is subtracted twice": (-ph, -pw),
    }.items():
        yield text, lambda o=offset: _gradient(case).roll(o, dims=(2, 3))


# --- the checks ----------------------------------------------------------------------------------------


@check(
    "Each output is the largest value of its window",
    points=15,
    why="The operation itself, with the stride that is the kernel's size when none is given.",
)
def test_values(sandbox):
    cases = [_case(1, (1, 1, 4, 4), 2), _case(2, (2, 3, 6, 6), 3), _case(3, (3, 2, 7, 5), 2, shift=-4.0)]
    cases += [_case(4, (1, 2, 5, 5), 1), _case(5, (2, 1, 3, 3), 3), _case(6, (1, 4, 9, 8), kernel_size=4)]
    _expect_outputs(sandbox, cases, "the maximum of each window, by example and by channel.")


@check(
    "Rule: the pooling is your own",
    points=5,
    why="The task is to write what F.max_pool2d does.",
    after=["test_values"],
)
def test_own_work(sandbox):
    cases = [_case(10, (2, 2, 6, 6), 2), _case(11, (2, 2, 7, 6), 3, stride=2, padding=1), _case(12, (1, 1, 5, 5), 2, 1)]
    names = sandbox.run(probes.pooling_called, cases)
    expect(
        not names,
        expected="no pooling of PyTorch's to run",
        actual=f"{', '.join(names)} ran" if isinstance(names, list) else describe(names),
        because="broken rule: calling PyTorch's own pooling, in whichever form, isn't writing one.",
    )


@check(
    "Rule: the output comes from your autograd Function",
    points=5,
    why="With the maximum taken outside of it, autograd's backward would be judged instead of yours.",
    after=["test_own_work"],
)
def test_own_function(sandbox):
    found = sandbox.run(probes.graph, _case(13, (2, 2, 6, 6), 2))
    because = "broken rule: MaxPool2d, a torch.autograd.Function, computes the output and its gradient."
    expect(
        found["is a Function"] is True,
        expected="MaxPool2d to be a subclass of torch.autograd.Function",
        actual="it isn't",
        because=because,
    )
    looks = None
    if not found["python"] and not found["own"]:
        looks = "the output isn't connected to x: forward was called instead of apply, or x was detached"
    expect(
        "MaxPool2dBackward" in found["python"],
        expected="a MaxPool2dBackward in the graph behind the output",
        actual=f"the nodes {', '.join(found['own'] + found['python']) or '(none)'}",
        because=because,
        looks_like=looks or "max_pool2d has to call MaxPool2d.apply",
    )
    expect(
        found["runs"] == 1,
        expected="no run of autograd inside the Function",
        actual=f"{found['runs'] - 1} beside the one that calls backward",
        because="broken rule: the gradient comes from your backward, not from autograd through max.",
        looks_like="torch.autograd.grad, or .backward(), is called in forward or backward",
    )
    elsewhere = [name for name in found["own"] if any(word in name.lower() for word in WINNERS)]
    expect(
        not elsewhere,
        expected="no other node that picks the winners",
        actual=f"{', '.join(elsewhere)} beside it",
        because=because,
        looks_like="the maximum is taken outside the Function",
    )


@check(
    "Strides, pairs and rectangles; what is left over at the end isn't read",
    points=10,
    why="3x3 windows with stride 2 overlap: that is the pooling of AlexNet and ResNet.",
    after=["test_values"],
)
def test_stride(sandbox):
    cases = [_case(20, (2, 2, 7, 7), 3, 2), _case(21, (1, 2, 6, 6), 2, 1), _case(22, (1, 1, 8, 9), 2, stride=3)]
    cases += [_case(23, (2, 2, 6, 8), (3, 2)), _case(24, (1, 2, 7, 9), (2, 3), (1, 2)), _case(25, (2, 1, 5, 9), [1, 4])]
    cases += [_case(26, (1, 2, 8, 6), 2, stride=[3, 1]), _case(27, (1, 1, 10, 4), (4, 1), 2)]
    _expect_outputs(sandbox, cases, "window (i, j) starts at row i · stride, column j · stride, and has to fit.")


@check(
    "Padding never wins",
    points=10,
    why="Zeros win wherever all pixels are negative, and the border of the image turns to 0.",
    after=["test_stride"],
)
def test_padding(sandbox):
    cases = [_case(30, (2, 2, 5, 5), 3, 2, 1, shift=-5.0), _case(31, (1, 2, 4, 6), 2, padding=1, shift=-3.0)]
    cases += [_case(32, (1, 1, 6, 5), (4, 3), (2, 1), (2, 1)), _case(33, (2, 1, 3, 4), (1, 2), 1, (0, 1), shift=-9.0)]
    cases += [_case(34, (1, 2, 2, 2), 3, 1, [1, 1]), _case(35, (1, 2, 5, 5), 5, stride=2, padding=2)]
    huge = _case(36, (1, 1, 4, 4), 3, 2, 1)
    cases.append({**huge, "x": -(huge["x"].abs() + 1) * 1e300})
    _expect_outputs(sandbox, cases, "padding adds positions, not values: it counts as −∞, whatever the pixels are.")


@check(
    "The gradient goes to the winners, and adds up where windows overlap",
    points=15,
    why="One pixel may win in several windows; a pixel that never won had no influence.",
    after=["test_own_function", "test_padding"],
)
def test_gradients(sandbox):
    cases = [_case(40, (1, 1, 4, 4), 2), _case(41, (2, 3, 6, 4), 2), _case(42, (2, 2, 6, 6), 3, 1)]
    cases += [_case(43, (2, 2, 7, 7), 3, 2, 1, shift=-3.0), _case(44, (3, 1, 5, 9), (2, 3), (1, 2), (1, 0))]
    cases += [_case(45, (1, 2, 8, 7), (4, 2), (3, 1), (2, 1)), _case(46, (1, 2, 9, 5), 2, stride=3)]
    close = _case(47, (1, 2, 6, 6), 3, 1)
    cases.append({**close, "x": 1 + 1e-6 * close["x"]})  # nearly equal isn't equal
    for case, found in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        _expect_output(found["output"], case, "under autograd, the same values as without.")
        _expect_gradient(found.get("gradient"), case)


def _expect_gradient(actual, case):
    because = f"({_said(case)}) each output's gradient belongs to the one pixel that it came from."
    if actual is None:
        graph = "none: the output isn't connected to x in the graph, or backward returned None"
        fail(expected="a gradient for x", actual=graph, because=because)
    right = _gradient(case)
    looks = _named(actual, right, _wrong_gradients(case))
    if looks is None and type(actual) is torch.Tensor and actual.shape == right.shape:
        lost = float((right.sum() - actual.to(F64).sum()).abs())
        moved = sorted(right.flatten().tolist()) != sorted(actual.flatten().tolist())
        because += f" Its sum is off by {lost:.3g}." if lost > 1e-6 else ""
        because += "" if moved or lost > 1e-6 else " All its numbers are there; their places aren't right."
    expect_close(actual, right, because=because, looks_like=looks, rtol=1e-9, atol=1e-12)


@check(
    "Among equal pixels exactly one gets the gradient",
    points=10,
    why="After ReLU many windows are all zero. `x == max` marks all of them, and multiplies the gradient.",
    after=["test_gradients"],
)
def test_ties(sandbox):
    cases = [
        _case(50, (1, 1, 2, 2), 2, levels=1),
        _case(51, (2, 2, 6, 6), 2, levels=2),
        _case(52, (1, 3, 6, 9), 3, levels=3),
    ]
    cases += [_case(53, (2, 1, 7, 7), 3, 2, 1, levels=2), _case(54, (1, 2, 5, 6), 2, 1, levels=1)]
    cases += [_case(55, (2, 2, 4, 6), (2, 3), padding=(1, 1), levels=2)]
    for case in cases:
        case["upstream"] = case["upstream"].abs() + 0.5
    for case, found in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        _expect_tied(found.get("gradient"), case)


def _expect_tied(actual, case):
    said, (kernel, stride, _) = _said(case), _settings(case)
    expect_shape(actual, tuple(case["x"].shape), because=f"({said}) a gradient for each pixel.")
    guesses = [
        ("every pixel that equals the maximum gets the whole gradient", lambda: _spread(case, _is_max)),
        (
            "the gradient is divided evenly among equal pixels",
            lambda: _spread(case, lambda w: _is_max(w) / _is_max(w).sum((2, 3), keepdim=True)),
        ),
    ]
    looks = _named(actual, torch.full_like(actual, torch.nan), guesses)
    total, mass = float(case["upstream"].sum()), float(actual.sum())
    expect(
        abs(total - mass) <= 1e-9 * total,
        expected=f"gradients of x that sum to {total:.6g}, as the incoming ones do",
        actual=f"a sum of {mass:.6g}",
        because=f"({said}, few different values) max moves gradient, it neither makes nor loses any.",
        looks_like=looks,
    )
    if kernel != stride:
        return
    for i, j, rows, columns in _windows(case):
        part, window = actual[:, :, rows, columns], case["x"][:, :, rows, columns]
        got = (part != 0).sum((2, 3))
        wrong = (got != 1) | ((part != 0) & (_is_max(window) == 0)).any(3).any(2)
        if bool(wrong.any()):
            n, c = (int(v) for v in wrong.nonzero()[0])
            fail(
                expected=f"the whole gradient at one largest pixel of window ({i}, {j}), image {n}, channel {c}",
                actual=f"window {window[n, c].tolist()} got {part[n, c].tolist()}",
                because=f"({said}) which of the equal pixels is up to you, but it is one.",
                looks_like=looks,
            )


@check(
    "Several forward passes before their backward passes",
    points=5,
    why="A layer is used twice in a network, or once per image; state on the class belongs to the last call only.",
    after=["test_gradients"],
)
def test_interleaved(sandbox):
    cases = [_case(60, (2, 2, 6, 6), 2), _case(61, (2, 2, 6, 6), 2), _case(62, (1, 3, 7, 5), 3, 2, 1)]
    found = sandbox.run(probes.interleaved, cases)
    gradients = [*found["gradients"], found["again"]]
    wanted = [*cases, cases[0]]
    for what, case, actual in zip(("first", "second", "third", "first, once more,"), wanted, gradients, strict=True):
        others = [{**case, "x": c["x"]} for c in cases if c is not case and c["x"].shape == case["x"].shape]
        text = "what backward needs is kept on the class, or in a global, instead of on ctx"
        expect_close(
            actual,
            _gradient(case),
            because=f"the {what} of three passes; each has to know its own winners.",
            looks_like=_named(actual, _gradient(case), [(text, lambda o=o: _gradient(o)) for o in others]),
            rtol=1e-9,
            atol=1e-12,
        )


@check(
    "backward can be differentiated again",
    points=5,
    why="Gradient penalties and Hessian-vector products go through backward; gradgradcheck looks at it.",
    after=["test_gradients"],
)
def test_second_derivative(sandbox):
    cases = [_case(70, (1, 2, 4, 4), 2), _case(71, (2, 1, 5, 5), 3, 1, 1)]
    for i, case in enumerate(cases):
        g = torch.Generator().manual_seed(80 + i)
        case["direction"] = torch.randn(case["x"].shape, generator=g, dtype=F64)
    for case, found in zip(cases, sandbox.run(probes.second_derivatives, cases), strict=True):
        because = f"({_said(case)}) backward is linear in the incoming gradient: its derivative reads the winners."
        looks = "once_differentiable, NumPy, .item() or .detach() in backward cuts the graph"
        if not found["connected"] or found.get("raised") or found.get("second") is None:
            actual = f"an error: {found['raised']}" if found.get("raised") else "a gradient without a graph behind it"
            fail(expected="a gradient that can be differentiated", actual=actual, because=because, looks_like=looks)
        kernel, stride, padding = _settings(case)
        _, index = F.max_pool2d(case["x"], kernel, stride, padding, return_indices=True)
        right = case["direction"].flatten(2).gather(2, index.flatten(2)).view_as(index)
        expect_close(found["second"], right, because=because, rtol=1e-9, atol=1e-12)


@check(
    "Any memory layout and float type, and an x that stays as it is",
    points=10,
    why="Feature maps come out of permute or a crop, in half precision; the residual connection reads them again.",
    after=["test_gradients"],
)
def test_inputs(sandbox):
    cases = [_case(90, (2, 3, 7, 6), 3, 2, 1, shift=-9.0, dtype=dtype) for dtype in (F64, torch.float32)]
    # All values of an image are different, and exact in the type: equal pixels are another check's business.
    half = _case(91, (2, 3, 7, 6), 3, 2, 1)
    half["x"] = (_shuffled(half["x"], 92) * 32 - 65504).to(torch.float16)  # from the smallest number of float16 up
    corners = _case(93, (2, 3, 2, 2), 2, 2, 1)  # one pixel and three of padding in each window
    corners["x"] = torch.full((2, 3, 2, 2), torch.finfo(torch.float16).min, dtype=torch.float16)
    brain = _case(94, (2, 3, 4, 4), 2)
    brain["x"] = (_shuffled(brain["x"], 95) - 50).to(torch.bfloat16)
    cases += [half, corners, brain]
    for case, found in zip(cases, sandbox.run(probes.layouts, cases), strict=True):
        dtype = case["x"].dtype
        said = f"for {str(dtype).removeprefix('torch.')}, not contiguous"
        _expect_output(found["output"], case, f"{said}: a maximum is exact in every type.")
        expect_dtype(found["output"], dtype, because=f"{said}: the next layer expects the type that came in.")
        because = f"{said}: x has to stay as it was; somebody reads it again."
        expect_equal(found["changed"], False, because=because, looks_like="an operation in place on x")
        gradient = found.get("gradient")
        expect_dtype(gradient, dtype, because=f"{said}: the gradient has the type of x.")
        mass = float(gradient.to(F64).sum())
        outputs = case["upstream"].numel()
        because = f"{said}: for output.sum(), every output sends a gradient of 1 to some pixel of x, none to padding."
        expect_close(mass, float(outputs), because=because)


def _shuffled(like, seed):
    """0, 1, 2, … in random order."""
    order = torch.randperm(like.numel(), generator=torch.Generator().manual_seed(seed))
    return order.to(F64).view(like.shape)


@check(
    "What makes no sense raises an error",
    points=5,
    why="A window of padding alone would be −∞, and turn into nan two layers later.",
    after=["test_padding"],
)
def test_errors(sandbox):
    cases = {
        "padding 2 with a kernel of 3": ((1, 1, 6, 6), [3, 1, 2], True),
        "padding 1 with a kernel of 1": ((1, 1, 4, 4), [1, 1, 1], True),
        "padding (1, 2) with a kernel of (2, 3)": ((1, 2, 5, 5), [(2, 3), 1, (1, 2)], True),
        "padding (2, 1) with a kernel of 3": ((1, 2, 6, 6), [3, 1, (2, 1)], True),
        "a kernel of 4 on 3 x 6 pixels": ((1, 1, 3, 6), [4], True),
        "a kernel of (2, 7) on 6 x 4 pixels with padding 1": ((1, 1, 6, 4), [(2, 7), 1, 1], True),
        "padding 2 with a kernel of 5": ((1, 1, 6, 6), [5, 1, 2], False),
        "a kernel of 4 on 2 x 2 pixels with padding 1": ((1, 1, 2, 2), [4, 1, 1], False),
    }
    given = [{"x": torch.ones(shape), "arguments": arguments, "options": {}} for shape, arguments, _ in cases.values()]
    for (text, case), did in zip(cases.items(), sandbox.run(probes.refused, given), strict=True):
        expect(
            did is case[2],
            expected=f"{'an' if case[2] else 'no'} error ({text})",
            actual="an error" if did else "no error",
            because="padding is at most half the kernel, and the kernel has to fit into the padded image.",
        )


@check(
    "Forward and backward are a few tensor operations",
    points=5,
    why="A Python loop over windows takes seconds for one feature map.",
    after=["test_gradients"],
)
def test_cost(sandbox):
    small = _case(95, (2, 2, 8, 8), 3, 2, 1)
    large = {
        "96 rows": _case(96, (2, 2, 96, 8), 3, 2, 1),
        "96 columns": _case(97, (2, 2, 8, 96), 3, 2, 1),
        "16 images": _case(98, (16, 2, 8, 8), 3, 2, 1),
        "16 channels": _case(99, (2, 16, 8, 8), 3, 2, 1),
    }
    few, *found = sandbox.run(probes.cost, [small, *large.values()])
    because = "how often Python runs may depend on the kernel, not on the sizes of the images."
    for more, many in zip(large, found, strict=True):
        # A table of row numbers, made in Python, is two lines for each of the 44 output rows more, without any tensor.
        for what, said, table in (("operations", "tensor operations", 0), ("lines", "lines of Python", 95)):
            expect(
                many[what] <= 1.2 * few[what] + 10 + table,
                expected=f"about as many {said} with {more} as for 2 images of 2x8x8, both ways: {few[what]}",
                actual=f"{many[what]} {said}",
                because=because,
                looks_like=f"a Python loop over {more.split(' ', 1)[1]}",
            )

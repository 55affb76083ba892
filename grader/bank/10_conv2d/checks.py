"""Checks for the convolution. Oracles: `F.conv2d` in float64 for the values, a count of positions for the sizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_most,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
)

from . import probes

F64 = torch.float64
SINGLE = "right to float32's seven digits only: something on the way is float32 (torch.zeros, .float())"


def _case(seed, x, weight, bias=False, **options):
    """Random input, weight and bias of these shapes, in float64."""
    g = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(*x, generator=g, dtype=F64),
        "weight": torch.randn(*weight, generator=g, dtype=F64),
        "bias": torch.randn(weight[0], generator=g, dtype=F64) if bias else None,
        "options": options,
    }


def _pairs(options):
    pairs = {}
    for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)):
        value = options.get(name, default)
        pairs[name] = (value, value) if isinstance(value, int) else tuple(value)
    return pairs


def _right(case, **changes):
    """PyTorch's own convolution; `changes` replaces arguments, to make a wrong one on purpose."""
    options = {**_pairs(case["options"]), "groups": case["options"].get("groups", 1)}
    arguments = {"input": case["x"], "weight": case["weight"], "bias": case["bias"], **options, **changes}
    return F.conv2d(**arguments)


# --- misconceptions, each with the output that it gives --------------------------------------------------


def _wrong_kernels(case):
    x, w = case["x"], case["weight"]
    flipped = "the kernel is flipped: a convolution in the strict sense; the sum in the statement has no flip"
    yield flipped, lambda: _right(case, weight=w.flip(-1, -2))
    yield "rows and columns of the kernel are swapped", lambda: _right(case, weight=w.mT.reshape(w.shape))
    yield "a mean over the window instead of the sum", lambda: _right(case, weight=w / w[0].numel())
    yield "the mean over the channels instead of the sum", lambda: _right(case, weight=w / w.shape[1])
    first = {"weight": w[:, :1], "groups": 1}
    yield "only the first input channel is read", lambda: _right(case, input=x[:, :1], **first)
    mixed = w.reshape(w.shape[0], -1).reshape(-1, w.shape[0]).t().reshape(w.shape)
    yield "the weights were reshaped in another order than the windows", lambda: _right(case, weight=mixed)
    yield "the output channels come in reversed order", lambda: _right(case).flip(1)
    yield "rows and columns of the output are swapped", lambda: _right(case).mT
    yield "the output is reshaped to (OW, OH); it is (OH, OW)", lambda: _right(case).reshape(_right(case).mT.shape)


def _wrong_biases(case):
    bias = case["bias"]
    if bias is None:
        return
    plain = {"bias": None}
    yield "the bias isn't added", lambda: _right(case, **plain)
    yield "the bias is subtracted", lambda: _right(case, bias=-bias)
    yield "`out + bias` adds the bias along the columns, not per channel", lambda: _right(case, **plain) + bias
    rows = bias[:, None]
    yield "the bias is added along the rows, not per channel", lambda: _right(case, **plain) + rows
    count = case["weight"][0].numel()
    yield "the bias is added once for every weight, inside the sum", lambda: _right(case, bias=bias * count)


def _wrong_options(case):
    x, pairs = case["x"], _pairs(case["options"])
    ph, pw = pairs["padding"]
    for name, neutral in (("stride", 1), ("padding", 0), ("dilation", 1)):
        a, b = pairs[name]
        if a != b:
            text = f"{name}: rows and columns are swapped"
            text += "; F.pad takes the last axis first" if name == "padding" else ""
            yield text, lambda n=name, p=(b, a): _right(case, **{n: p})
            yield f"{name}: the first number is used for both axes", lambda n=name, p=(a, a): _right(case, **{n: p})
        if (a, b) != (neutral, neutral):
            yield f"{name} has no effect", lambda n=name, v=neutral: _right(case, **{n: v})
    if (ph, pw) != (0, 0):
        kept = {"padding": 0}
        yield "the zeros surround the output, not the input", lambda: F.pad(_right(case, **kept), (pw, pw, ph, ph))
        for text, sides in {
            "padding is put on the right and at the bottom only": (0, 2 * pw, 0, 2 * ph),
            "padding is put on the left and at the top only": (2 * pw, 0, 2 * ph, 0),
            "padding is the sum of both sides; it is meant for each": (pw // 2, pw - pw // 2, ph // 2, ph - ph // 2),
        }.items():
            yield text, lambda s=sides: _right(case, input=F.pad(x, s), **kept)
        for mode in ("replicate", "reflect", "circular"):
            yield (
                f"the border is padded by {mode}: zeros are asked for",
                lambda m=mode: _right(case, input=F.pad(x, (pw, pw, ph, ph), mode=m), **kept),
            )
    if pairs["dilation"] != (1, 1):
        dh, dw = pairs["dilation"]
        thinned = {"input": x[..., ::dh, ::dw], "dilation": 1}
        yield "the image is thinned out; the dilation spreads the kernel only", lambda: _right(case, **thinned)
        one_more = (dh + 1, dw + 1)
        yield "dilation counts from 1 = no gap; this has one gap more", lambda: _right(case, dilation=one_more)


def _wrong_groups(case):
    x, w, g = case["x"], case["weight"], case["options"].get("groups", 1)
    if g == 1:
        return
    per_in, per_out = w.shape[1], w.shape[0] // g
    spread = x.unflatten(1, (per_in, g)).transpose(1, 2).flatten(1, 2)
    yield "groups take every G-th input channel; they are blocks of neighbours", lambda: _right(case, input=spread)
    yield (
        "the output channels of the groups are interleaved; each group's stand together",
        lambda: _right(case).unflatten(1, (g, per_out)).transpose(1, 2).flatten(1, 2),
    )
    every = w.unflatten(0, (per_out, g)).transpose(0, 1).flatten(0, 1)
    yield "each group takes every G-th kernel; they are blocks of neighbours", lambda: _right(case, weight=every)
    first = x[:, :per_in].repeat(1, g, 1, 1)
    yield "every group reads the first group's input channels", lambda: _right(case, input=first)
    summed = x.unflatten(1, (g, per_in)).sum(1).repeat(1, g, 1, 1)
    yield "every output reads the channels of all groups", lambda: _right(case, input=summed)


def _looks(actual, case, right):
    """The misconception that gives this very output."""
    if type(actual) is not torch.Tensor:
        return None
    if _single(actual, right):
        return SINGLE
    for make in (_wrong_options, _wrong_groups, _wrong_biases, _wrong_kernels):
        for text, wrong in make(case):
            try:
                guess = wrong()
            except (RuntimeError, ValueError, NotImplementedError):
                continue  # this misconception can't be had with these shapes
            if _near(actual, guess) and not _near(guess, right):
                return text
    return None


def _near(a, b):
    return type(a) is torch.Tensor and a.shape == b.shape and torch.allclose(a.to(F64), b.to(F64), rtol=1e-4, atol=1e-5)


def _single(actual, right):
    """Is it the right value, rounded to float32 somewhere on the way to float64?"""
    if actual.shape != right.shape or actual.dtype != F64 or torch.allclose(actual, right, rtol=1e-9, atol=1e-9):
        return False
    return torch.allclose(actual, right, rtol=1e-5, atol=1e-5)


def _said(case):
    options = [f"{name}={value}" for name, value in case["options"].items()]
    parts = [f"x {tuple(case['x'].shape)}", f"weight {tuple(case['weight'].shape)}"]
    parts += ["no bias" if case["bias"] is None else "bias", str(case["x"].dtype).removeprefix("torch.")]
    return ", ".join(parts + options)


def _expect_output(actual, case, because, rtol=1e-4, atol=1e-5, said=None):
    right = _right(case)
    looks = _looks(actual, case, right)
    because = f"({said or _said(case)}) {because}"
    expect_shape(actual, tuple(right.shape), because=because, looks_like=looks)
    expect_close(actual, right, because=because, looks_like=looks, rtol=rtol, atol=atol)


def _expect_outputs(sandbox, cases, because):
    found = sandbox.run(probes.outputs, cases)
    for case, actual in zip(cases, found, strict=True):
        _expect_output(actual, case, because)
    return found


# --- the checks ------------------------------------------------------------------------------------------


@check(
    "output_size counts the positions of the kernel",
    points=5,
    why="Asked in most interviews; a network whose sizes you can't compute is designed by trial and error.",
)
def test_output_size(sandbox):
    cases = [(32, 3), (32, 3, 1, 1), (224, 7, 2, 3), (5, 5), (1, 1), (28, 5, 3), (9, 2, 4, 1), (17, 3, 1, 0, 2)]
    cases += [(30, 3, 2, 2, 3), (8, 4, 3, 1, 2), (100, 1, 7, 0, 5), (6, 3, 2, 0, 1)]
    names = ("size", "kernel", "stride", "padding", "dilation")
    for case, value in zip(cases, sandbox.run(probes.output_sizes, cases), strict=True):
        size, kernel, stride, padding, dilation = case + (1, 0, 1)[len(case) - 2 :]
        span = dilation * (kernel - 1) + 1
        right = len(range(-padding, size + padding - span + 1, stride))  # the kernel's first pixel, one by one
        guesses = {
            "rounded up; a position counts only when the kernel fits": -(-(size + 2 * padding - span) // stride) + 1,
            "the + 1 is missing": right - 1,
            "the dilation is left out": (size + 2 * padding - kernel) // stride + 1,
            "a dilated kernel spans d·(k − 1) + 1 pixels, not d·k": (size + 2 * padding - dilation * kernel) // stride
            + 1,
            "the padding counts on both sides": (size + padding - span) // stride + 1,
        }
        looks = next((text for text, g in guesses.items() if g == value and g != right), None)
        if isinstance(value, float):
            looks = "true division: `/` gives a float; `//` is the floor"
        because = f"with {', '.join(f'{n}={v}' for n, v in zip(names, case, strict=False))}."
        expect_type(value, int, because=f"{because} A size is an int: a float can't be used as a shape.")
        expect_equal(value, right, because=because, looks_like=looks)


@check(
    "One channel, stride 1: each output is the sum over its window",
    points=10,
    why="The operation itself, and the one question that everybody asks: is the kernel flipped?",
)
def test_plain(sandbox):
    cases = [_case(10, (1, 1, 6, 6), (1, 1, 3, 3)), _case(11, (1, 1, 3, 3), (1, 1, 3, 3))]
    cases += [_case(12, (1, 1, 5, 9), (1, 1, 2, 2)), _case(13, (1, 1, 7, 4), (1, 1, 1, 1))]
    moved = {**cases[0], "x": cases[0]["x"].roll((1, 2), dims=(2, 3))}
    cases.append(moved)
    found = _expect_outputs(sandbox, cases, "out[i, j] is the sum of x[i + k, j + l] · weight[k, l].")
    expect_close(
        found[-1][..., 1:, 2:],
        found[0][..., :-1, :-2].to(F64),
        because="an image moved by (1, 2) pixels gives an output moved by (1, 2): the weights are the same everywhere.",
        rtol=1e-4,
        atol=1e-5,
    )


@check(
    "Rule: the convolution is your own",
    points=5,
    why="The task is to write what F.conv2d does.",
    after=["test_plain"],
)
def test_own_work(sandbox):
    cases = [
        _case(1, (1, 1, 5, 5), (1, 1, 3, 3)),
        _case(4, (2, 4, 9, 8), (6, 4, 3, 3), bias=True),
        _case(2, (1, 4, 9, 8), (4, 2, 3, 2), stride=2, padding=1, dilation=(1, 2), groups=2),
        _case(3, (3, 2, 5, 5), (2, 2, 1, 1)),
    ]
    names = sandbox.run(probes.convolutions_called, cases)
    expect(
        not names,
        expected="no convolution of PyTorch's to run",
        actual=f"{', '.join(names)} ran" if isinstance(names, list) else describe(names),
        because="broken rule: calling PyTorch's own convolution, in whichever form, isn't writing one.",
    )


@check(
    "Channels are summed, examples stay apart",
    points=10,
    why="Every output channel has a kernel of its own that reads all input channels, in each example by itself.",
    after=["test_own_work"],
)
def test_channels_and_batch(sandbox):
    cases = [_case(20, (1, 3, 6, 7), (1, 3, 3, 3)), _case(21, (1, 1, 6, 5), (4, 1, 2, 2))]
    cases += [_case(22, (1, 3, 8, 8), (5, 3, 3, 3)), _case(23, (5, 2, 6, 6), (3, 2, 3, 3))]
    cases += [_case(24, (3, 3, 5, 5), (3, 3, 3, 3))]
    because = "output channel o is the sum over all input channels, with weight[o]."
    found = _expect_outputs(sandbox, cases, because)
    case = {**cases[3], "x": cases[3]["x"].flip(0)[1:4]}
    (again,) = sandbox.run(probes.outputs, [case])
    because = "a batch in another order, with two examples left out, gives the same outputs in that order."
    expect_close(again, found[3].flip(0)[1:4].to(F64), because=because, rtol=1e-4, atol=1e-5)


@check(
    "The bias is one number per output channel",
    points=5,
    why="Broadcasting starts at the last axis; `out + bias` runs without an error when OW happens to equal O.",
    after=["test_channels_and_batch"],
)
def test_bias(sandbox):
    cases = [_case(30, (2, 2, 6, 6), (4, 2, 3, 3), bias=True), _case(31, (1, 3, 5, 8), (1, 3, 2, 2), bias=True)]
    zero = _case(32, (2, 1, 4, 4), (3, 1, 2, 2), bias=True)
    cases.append({**zero, "x": torch.zeros_like(zero["x"])})
    one = _case(33, (1, 2, 4, 4), (1, 2, 3, 3), bias=True)
    cases.append({**one, "bias": torch.zeros_like(one["bias"])})
    _expect_outputs(sandbox, cases, "bias[o] is added to every pixel of output channel o.")


@check(
    "Kernels and images needn't be square",
    points=5,
    why="1x7 and 7x1 kernels are in Inception; wide images in every detector. Rows and columns get swapped silently.",
    after=["test_channels_and_batch"],
)
def test_rectangular(sandbox):
    cases = [_case(40, (2, 2, 7, 7), (3, 2, 3, 2)), _case(41, (2, 2, 9, 5), (3, 2, 1, 4))]
    cases += [_case(42, (1, 1, 4, 10), (2, 1, 4, 1)), _case(43, (1, 3, 6, 8), (2, 3, 2, 5), bias=True)]
    _expect_outputs(sandbox, cases, "weight is (O, C, KH, KW): rows before columns, as in the image.")


@check(
    "stride moves the window by more than one pixel",
    points=5,
    why="Strided convolutions are how most networks get smaller.",
    after=["test_rectangular"],
)
def test_stride(sandbox):
    cases = [_case(50, (2, 2, 8, 8), (3, 2, 3, 3), stride=2), _case(51, (1, 2, 9, 9), (2, 2, 2, 2), stride=3)]
    cases += [_case(52, (2, 1, 7, 12), (2, 1, 3, 2), stride=(1, 3)), _case(53, (1, 2, 8, 8), (2, 2, 1, 1), stride=4)]
    cases += [_case(54, (1, 2, 7, 7), (2, 2, 3, 3), stride=[2, 1])]
    _expect_outputs(sandbox, cases, "window (i, j) starts at row i · stride, column j · stride.")


@check(
    "padding surrounds the image with zeros",
    points=10,
    why="It keeps the size through a 3x3 layer. Which side, which axis (F.pad takes columns first), which value?",
    after=["test_rectangular"],
)
def test_padding(sandbox):
    cases = [_case(60, (2, 2, 6, 6), (3, 2, 3, 3), padding=1), _case(61, (1, 2, 6, 7), (2, 2, 5, 5), padding=2)]
    cases += [_case(62, (2, 1, 6, 6), (2, 1, 3, 3), bias=True, padding=(2, 1))]
    cases += [_case(63, (1, 2, 5, 5), (2, 2, 3, 3), padding=[0, 2]), _case(64, (1, 1, 2, 2), (1, 1, 3, 3), padding=3)]
    because = "padding adds that many rows, or columns, of zeros on each side of x, before anything else."
    _expect_outputs(sandbox, cases, because)


@check(
    "dilation spreads the kernel over more pixels",
    points=5,
    why="A wider view for the same number of weights, as in segmentation networks.",
    after=["test_rectangular"],
)
def test_dilation(sandbox):
    cases = [_case(70, (2, 2, 9, 9), (3, 2, 3, 3), dilation=2), _case(71, (1, 2, 9, 12), (2, 2, 2, 4), dilation=3)]
    cases += [_case(72, (2, 1, 8, 8), (2, 1, 3, 3), bias=True, dilation=(1, 3))]
    cases += [_case(73, (1, 2, 7, 6), (2, 2, 3, 2), dilation=[3, 1]), _case(74, (1, 2, 4, 5), (2, 2, 1, 1), dilation=9)]
    _expect_outputs(sandbox, cases, "weight (k, l) lies on pixel (i + k · dilation, j + l · dilation).")


@check(
    "groups: every block of outputs reads its own block of inputs",
    points=10,
    why="Depthwise convolutions are groups = C. The order of the channels is the whole difficulty.",
    after=["test_bias"],
)
def test_groups(sandbox):
    cases = [
        _case(80, (2, 4, 6, 6), (6, 2, 3, 3), groups=2),
        _case(81, (1, 6, 5, 5), (6, 1, 3, 3), bias=True, groups=6),
        _case(82, (2, 3, 5, 6), (9, 1, 2, 2), groups=3),
        _case(83, (1, 6, 5, 5), (3, 2, 3, 3), bias=True, groups=3),
    ]
    because = "output block g is the convolution of input block g with weight block g; blocks are neighbours."
    _expect_outputs(sandbox, cases, because)


@check(
    "All options together, and the result stays linear",
    points=5,
    why="Each option alone is easy; a shortcut for one of them often forgets another.",
    after=["test_stride", "test_padding", "test_dilation", "test_groups"],
)
def test_together(sandbox):
    cases = [
        _case(90, (2, 4, 11, 9), (6, 2, 3, 2), True, stride=(2, 3), padding=(1, 2), dilation=(2, 1), groups=2),
        _case(91, (1, 2, 7, 8), (3, 2, 1, 1), True, stride=2, padding=1),
        _case(92, (3, 6, 8, 10), (6, 1, 3, 3), True, stride=2, padding=2, dilation=2, groups=6),
        _case(93, (2, 3, 10, 13), (4, 3, 2, 3), stride=(3, 1), padding=(0, 3), dilation=(3, 2)),
        _case(94, (1, 8, 5, 5), (4, 2, 5, 5), padding=2, groups=4, stride=5),
    ]
    first, other = cases[3], _case(95, (2, 3, 10, 13), (4, 3, 2, 3))
    mixed = {**first, "x": 2 * first["x"] - 3 * other["x"]}
    cases += [{**first, "x": other["x"]}, mixed]
    found = _expect_outputs(sandbox, cases, "every option has to keep its meaning beside the others.")
    because = "a convolution without bias is linear: conv(2a − 3b) = 2 conv(a) − 3 conv(b)."
    expect_close(found[-1], (2 * found[3] - 3 * found[-2]).to(F64), because=because, rtol=1e-4, atol=1e-4)


@check(
    "Any memory layout, the dtype of x, and inputs that stay as they are",
    points=5,
    why="Images come out of permute or a crop, double precision out of tests; the caller uses its tensors again.",
    after=["test_together"],
)
def test_inputs(sandbox):
    case = _case(120, (2, 4, 8, 7), (6, 2, 3, 2), True, stride=2, padding=(1, 2), dilation=(1, 2), groups=2)
    single = {name: value.float() if torch.is_tensor(value) else value for name, value in case.items()}
    for one, found in zip([case, single], sandbox.run(probes.views_and_inputs, [case, single]), strict=True):
        dtype = one["x"].dtype
        expect_tensor(found["output"], because="conv2d returns a tensor.")
        because = f"for inputs of {str(dtype).removeprefix('torch.')} the output has that dtype, too."
        expect_dtype(found["output"], dtype, because=because)
        fine = 1e-9 if dtype == F64 else 1e-4
        doubled = {name: value.to(F64) if torch.is_tensor(value) else value for name, value in one.items()}
        because = "with views that aren't contiguous, to full precision."
        _expect_output(found["output"], doubled, because, fine, fine, said=_said(one))
        for name in ("x", "weight", "bias"):
            expect(
                torch.equal(found[name], one[name]),
                expected=f"{name} as it was before the call",
                actual=f"{name} changed in place",
                because="the next layer, or the residual connection, reads the same tensor.",
            )


@check(
    "The gradients of x, weight and bias are right, and examples don't mix",
    points=10,
    why="A layer that can't be trained is of no use; autograd does it all, if you stay in its graph.",
    after=["test_together"],
)
def test_gradients(sandbox):
    cases = [
        _case(100, (2, 2, 5, 5), (3, 2, 3, 3), True),
        _case(101, (3, 4, 7, 6), (6, 2, 3, 2), True, stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=2),
    ]
    for i, case in enumerate(cases):
        g = torch.Generator().manual_seed(110 + i)
        case["upstream"] = torch.randn(_right(case).shape, generator=g, dtype=F64)
    cases[1]["upstream"][[0, 2]] = 0.0  # only example 1 is asked for
    for case, found in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        _expect_output(found["output"], case, "under autograd, the same values as without.")
        leaves = [case[name].clone().requires_grad_(True) for name in ("x", "weight", "bias")]
        right = F.conv2d(*leaves, **_pairs(case["options"]), groups=case["options"].get("groups", 1))
        wanted = torch.autograd.grad(right, leaves, case["upstream"])
        for name, gradient in zip(("x", "weight", "bias"), wanted, strict=True):
            _expect_gradient(found, name, gradient, case)


def _expect_gradient(found, name, right, case):
    because = f"({_said(case)}) the gradient with respect to {name} is that of F.conv2d."
    actual = found.get(name)
    if actual is None:
        looks = ".detach(), .data, NumPy or no_grad cuts the output off from its inputs"
        graph = f"none: the output isn't connected to {name} in the graph"
        fail(expected=f"a gradient for {name}", actual=graph, because=because, looks_like=looks)
    if name == "x" and not bool(right[0].any()) and type(actual) is torch.Tensor and actual.shape == right.shape:
        others = bool(actual[[0, 2]].any())
        expect(
            not others,
            expected="no gradient at examples 0 and 2 for an output of example 1",
            actual="a gradient that isn't zero",
            because="each output belongs to one example; any connection between examples is a mix-up.",
        )
    looks = SINGLE if type(actual) is torch.Tensor and _single(actual, right) else None
    expect_close(actual, right, because=because, looks_like=looks, rtol=1e-6, atol=1e-8)


@check(
    "What can't fit raises an error",
    points=5,
    why="One channel broadcasts against any number of them: a wrong shape then gives a wrong answer, silently.",
    after=["test_together"],
)
def test_errors(sandbox):
    cases = {
        "x has 1 channel, the weight wants 3": _case(130, (2, 1, 6, 6), (2, 3, 3, 3)),
        "x has 3 channels, the weight wants 1, and groups is 1": _case(131, (2, 3, 6, 6), (2, 1, 3, 3)),
        "x has 6 channels, the weight 2 for each of 2 groups": _case(132, (1, 6, 5, 5), (4, 2, 2, 2), groups=2),
        "5 output channels in 2 groups": _case(133, (1, 4, 5, 5), (5, 2, 2, 2), groups=2),
        "a kernel of 4 x 4 on an image of 3 x 6": _case(134, (1, 1, 3, 6), (1, 1, 4, 4)),
        "a dilated kernel that spans 7 pixels, on 6": _case(135, (1, 1, 6, 9), (1, 1, 3, 3), dilation=3),
        "a kernel of 3 x 4 on an image of 5 x 3": _case(136, (1, 1, 5, 3), (1, 1, 3, 4)),
        "a kernel one row higher than the padded image": _case(137, (1, 1, 3, 6), (1, 1, 6, 2), padding=(1, 0)),
        "a dilated kernel that is one column too wide": _case(138, (2, 1, 9, 4), (3, 1, 2, 3), dilation=(1, 2)),
    }
    for (text, case), found in zip(cases.items(), sandbox.run(probes.outcomes, list(cases.values())), strict=True):
        spread = _broadcast(case)
        looks = "broadcasting took the one channel for all of them"
        expect(
            "raised" in found,
            expected=f"an error ({text})",
            actual=f"no error; {describe(found.get('value'))}",
            because="a call that makes no sense has to stop there, not three layers later.",
            looks_like=looks if spread is not None and _near(found.get("value"), spread) else None,
        )


def _broadcast(case):
    """What comes out when a single channel, of x or of the weight, is read for each of the other's; or None."""
    x, w = case["x"], case["weight"]
    if case["options"] or 1 not in (x.shape[1], w.shape[1]) or x.shape[1] == w.shape[1]:
        return None
    channels = max(x.shape[1], w.shape[1])
    return F.conv2d(x.expand(-1, channels, -1, -1), w.expand(-1, channels, -1, -1))


@check(
    "The work by pixel happens inside a few tensor operations",
    points=5,
    why="A Python loop over pixels is a thousand times slower; a product by broadcasting fills the memory.",
    after=["test_together"],
)
def test_cost(sandbox):
    small = _case(140, (2, 4, 8, 8), (4, 2, 3, 3), True, padding=1, groups=2)
    large = {
        "48 rows": _case(141, (2, 4, 48, 8), (4, 2, 3, 3), True, padding=1, groups=2),
        "48 columns": _case(142, (2, 4, 8, 48), (4, 2, 3, 3), True, padding=1, groups=2),
        "24 images": _case(143, (24, 4, 8, 8), (4, 2, 3, 3), True, padding=1, groups=2),
        "24 input channels": _case(144, (2, 24, 8, 8), (4, 12, 3, 3), True, padding=1, groups=2),
        "24 output channels": _case(145, (2, 4, 8, 8), (24, 2, 3, 3), True, padding=1, groups=2),
    }
    few, *found = sandbox.run(probes.cost, [small, *large.values()])
    because = "how often Python runs may depend on the kernel and the groups, not on the sizes of the images."
    for more, many in zip(large, found, strict=True):
        # A table of row numbers, made in Python, is two lines for each of the 40 rows more, without any tensor.
        for what, said, table in (("operations", "tensor operations", 0), ("lines", "lines of Python", 85)):
            expect(
                many[what] <= 1.2 * few[what] + 15 + table,
                expected=f"about as many {said} with {more} as for 2 images of 4x8x8 and 4 outputs: {few[what]}",
                actual=f"{many[what]} {said}",
                because=because,
                looks_like=f"a Python loop over {more.split(' ', 1)[1]}",
            )
    o, groups, windows = 24, 2, 2 * 4 * 9 * 8 * 8
    most = many["largest"]  # of the last case
    expect_at_most(
        most,
        1.5 * windows,
        because=f"({more}) all windows are {windows} numbers (N · C · KH · KW · OH · OW); you never need more at once.",
        looks_like="a product by broadcasting has the output channels and the kernel in one shape"
        if most in (windows * o, windows * o // groups)
        else None,
        unit=" numbers",
    )

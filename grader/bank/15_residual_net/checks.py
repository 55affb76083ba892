"""Checks for the residual network. The oracle is the same network, written out in functions of PyTorch, in float64."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_shape,
    expect_tensor,
    fail,
    misconception,
)

from . import probes

F64 = torch.float64
NORM = ("weight", "bias", "running_mean", "running_var")


# --- states --------------------------------------------------------------------------------------------


def _norm_shapes(name, channels):
    return {**{f"{name}.{part}": [channels] for part in NORM}, f"{name}.num_batches_tracked": []}


def _block_shapes(in_channels, channels, stride=1):
    """The state of a block: every name with its shape."""
    shapes = {"conv1.weight": [channels, in_channels, 3, 3], "conv2.weight": [channels, channels, 3, 3]}
    shapes |= _norm_shapes("bn1", channels) | _norm_shapes("bn2", channels)
    if stride != 1 or in_channels != channels:
        shapes["downsample.0.weight"] = [channels, in_channels, 1, 1]
        shapes |= _norm_shapes("downsample.1", channels)
    return shapes


def _blocks(width):
    """Name, channels before and after, stride of each of the eight blocks."""
    before = width
    for stage in range(4):
        channels = width * 2**stage
        for i in range(2):
            yield f"layer{stage + 1}.{i}", before, channels, 2 if stage and not i else 1
            before = channels


def _net_shapes(classes, width):
    shapes = {"conv1.weight": [width, 3, 3, 3], **_norm_shapes("bn1", width)}
    for name, before, channels, stride in _blocks(width):
        shapes |= {f"{name}.{k}": v for k, v in _block_shapes(before, channels, stride).items()}
    return {**shapes, "fc.weight": [classes, 8 * width], "fc.bias": [classes]}


def _random_state(shapes, seed):
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=g, dtype=F64) + 0.3
        else:
            scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 1.0
            state[name] = scale * torch.randn(shape, generator=g, dtype=F64)
    return state


def _images(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def _block_case(shape, size, seed, training=True):
    state = _random_state(_block_shapes(*shape), seed)
    x = _images((size[0], shape[0], *size[1:]), seed)
    return {"shape": list(shape), "state": state, "x": x, "training": training}


def _net_case(classes, width, size, seed, training=True):
    state = _random_state(_net_shapes(classes, width), seed)
    x = _images((size[0], 3, *size[1:]), seed)
    return {"classes": classes, "width": width, "state": state, "x": x, "training": training}


# --- the oracle ----------------------------------------------------------------------------------------


def _norm(state, name, x, training):
    """Batch norm; in training it moves the running statistics in `state`."""
    mean, var, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    if training:
        state[f"{name}.num_batches_tracked"] += 1
    return F.batch_norm(x, mean, var, weight, bias, training, 0.1, 1e-5)


def _block(state, prefix, x, stride, training, how=""):
    """One block's output. `how` names a mistake to make."""

    def conv(name, inputs, step, padding=1):
        return F.conv2d(inputs, state[f"{prefix}{name}.weight"], stride=step, padding=padding)

    def norm(name, inputs):
        return _norm(state, f"{prefix}{name}", inputs, training)

    first, second = (1, stride) if how == "second stride" else (stride, 1)
    shortcut = x
    if f"{prefix}downsample.0.weight" in state:
        shortcut = conv("downsample.0", x, stride, 0)
        shortcut = shortcut if how == "bare shortcut" else norm("downsample.1", shortcut)
    shortcut = shortcut.relu() if how == "shortcut activated" else shortcut
    out = norm("bn1", conv("conv1", x, first))
    out = conv("conv2", out if how == "no inner relu" else out.relu(), second)
    if how == "norm after sum":
        return norm("bn2", out + shortcut).relu()
    out = norm("bn1" if how == "norm shared" else "bn2", out)
    results = {
        "relu before sum": lambda: out.relu() + shortcut,
        "relu twice": lambda: (out.relu() + shortcut).relu(),
        "no outer relu": lambda: out + shortcut,
        "no shortcut": lambda: out.relu(),
        "shortcut alone": lambda: shortcut.relu(),
        "difference": lambda: (shortcut - out).relu(),
        "mean": lambda: ((out + shortcut) / 2).relu(),
    }
    return results.get(how, lambda: (out + shortcut).relu())()


BLOCK_WRONG = {
    "relu before sum": "the ReLU comes before the sum: then a block can only ever add",
    "relu twice": "a ReLU before the sum as well: then the branch can only ever add",
    "no outer relu": "the ReLU after the sum is missing",
    "no inner relu": "the ReLU between the convolutions is missing: two linear maps in a row are one",
    "no shortcut": "the shortcut isn't added",
    "shortcut alone": "the branch isn't added",
    "bare shortcut": "the shortcut's batch norm isn't used",
    "shortcut activated": "a ReLU on the shortcut",
    "norm after sum": "bn2 comes after the sum: the shortcut is normalised away",
    "norm shared": "bn1 is used twice, bn2 not at all",
    "second stride": "the stride is in the second convolution; it belongs into the first",
    "difference": "the branch is subtracted",
    "mean": "the mean of branch and shortcut instead of their sum",
}


def _copy(state):
    return {name: v.clone() for name, v in state.items()}


def _right_block(case, how=""):
    """The output, and the state afterwards."""
    state, stride = _copy(case["state"]), (*case["shape"], 1)[2]
    return _block(state, "", case["x"], stride, case["training"], how), state


def _net(state, x, training, how=""):
    width = len(state["conv1.weight"])
    x = F.conv2d(x, state["conv1.weight"], stride=2 if how == "stem stride" else 1, padding=1)
    x = _norm(state, "bn1", x, training)
    x = x if how == "stem without relu" else x.relu()
    x = F.max_pool2d(x, 3, 2, 1) if how == "stem pooling" else x
    for name, _, _, stride in _blocks(width):
        x = _block(state, f"{name}.", x, 1 if how == "no strides" else stride, training)
    pooled = {"maximum": lambda: x.amax((2, 3)), "sum": lambda: x.sum((2, 3)), "corner": lambda: x[:, :, 0, 0]}
    x = pooled.get(how, lambda: x.mean((2, 3)))()
    logits = x @ state["fc.weight"].T + state["fc.bias"]
    ends = {"softmax": logits.softmax(1), "log-softmax": logits.log_softmax(1), "relu": logits.relu()}
    return ends.get(how, logits)


NET_WRONG = {
    "softmax": "a softmax on the logits: the loss applies it",
    "log-softmax": "a log-softmax on the logits: the loss applies it",
    "relu": "an activation on the logits: they can't be negative",
    "stem without relu": "the ReLU behind the stem's batch norm is missing",
    "stem pooling": "the max pooling of the ImageNet stem: 32 × 32 images are too small for it",
    "stem stride": "the stem has stride 2, as for ImageNet",
    "maximum": "the maximum over H and W at the end, instead of the mean",
    "sum": "the sum over H and W at the end, instead of the mean",
    "corner": "one corner of the feature map instead of its mean",
    "no strides": "no stage halves the size: the stride isn't passed on",
}


def _right_net(case, how=""):
    state = _copy(case["state"])
    return _net(state, case["x"], case["training"], how), state


def _named(found, right, wrong, texts):
    """The first misconception whose output this is. `wrong(how)` makes the outputs."""
    guesses = {text: partial(wrong, how) for how, text in texts.items()}
    return misconception(found, right, guesses, rtol=1e-6, atol=1e-9)


def _expect_state(found, wanted, said, looks):
    """Names and shapes, all parameters trained."""
    missing, extra = sorted(set(wanted) - set(found["shapes"])), sorted(set(found["shapes"]) - set(wanted))
    if missing or extra:
        told = {"no": missing, "also": extra}
        parts = [f"{word} {', '.join(n[:4])}{' …' if len(n) > 4 else ''}" for word, n in told.items() if n]
        fail(
            expected=f"{said} with the {len(wanted)} entries of the statement in its state_dict",
            actual="; ".join(parts),
            because="a checkpoint is loaded by these names.",
            looks_like=looks(missing, extra),
        )
    for name, shape in wanted.items():
        fits = found["shapes"][name] == shape
        wrong = None if fits else looks([name], [])
        because = f"{said}: the shape of {name} in the state_dict."
        expect(
            fits,
            expected=f"{name} of shape {tuple(shape)}",
            actual=f"shape {tuple(found['shapes'][name])}",
            because=because,
            looks_like=wrong,
        )
    frozen = sorted(set(found["parameters"]) - set(found["trained"]))
    expect(
        not frozen,
        expected=f"every parameter of {said} trained",
        actual=f"requires_grad is False for {', '.join(frozen[:4])}",
        because="an optimizer leaves them as they are.",
    )


# --- the block -----------------------------------------------------------------------------------------


def _block_said(shape):
    in_channels, channels, stride = (*shape, 1)[:3]
    return f"BasicBlock({in_channels}, {channels}, stride={stride})"


def _looks_at_block(shape, shapes):
    in_channels, channels, stride = (*shape, 1)[:3]

    def looks(missing, extra):
        if any(n.endswith(("conv1.bias", "conv2.bias", "downsample.0.bias")) for n in extra):
            return "a bias in a convolution: the batch norm behind it subtracts it again"
        if any(n.startswith("downsample") for n in missing) and not any("downsample" in n for n in shapes):
            if extra:
                return "the shortcut's modules are called downsample.0 and downsample.1"
            if stride == 1:
                return "no projection where only the number of channels changes"
            return "no projection where the size changes" + ("" if in_channels != channels else ", the channels don't")
        if missing and all(n.startswith("downsample.1") for n in missing):
            return "the shortcut's convolution has no batch norm"
        if extra and all(n.startswith("downsample") for n in extra):
            return "a projection where x could be added as it is"
        if missing == ["downsample.0.weight"] and shapes["downsample.0.weight"][2:] != [1, 1]:
            return f"the shortcut's convolution isn't 1 × 1 but {shapes['downsample.0.weight'][2:]}"
        norms = [n.removesuffix(".running_mean") for n in missing if n.endswith(".running_mean")]
        if norms and f"{norms[0]}.weight" not in missing:
            return "a normalisation without running statistics"
        if norms and not extra:
            return f"{norms[0]} is missing: each convolution has a batch norm of its own"
        return None

    return looks


@check(
    "A block's state: two convolutions, two batch norms, a projection only where shapes change",
    points=10,
    why="Names and shapes show at a glance which layers there are; published weights are loaded by them.",
)
def test_block_state(sandbox):
    shapes = [(8, 8), (4, 8, 2), (8, 8, 2), (4, 8, 1), (6, 3, 1), (3, 5, 3)]
    for shape, found in zip(shapes, sandbox.run(probes.block_states, shapes), strict=True):
        _expect_state(found, _block_shapes(*shape), _block_said(shape), _looks_at_block(shape, found["shapes"]))


@check(
    "A block's output: H / stride by W / stride, rounded up",
    points=5,
    why="Branch and shortcut have to agree for every size, odd ones included, or they can't be added.",
    after=["test_block_state"],
)
def test_block_shapes(sandbox):
    blocks = [(4, 4, 1), (4, 8, 2), (4, 4, 2), (2, 3, 1), (3, 5, 3)]
    sizes = [(1, 8, 8), (2, 7, 7), (3, 5, 4), (1, 2, 9), (2, 1, 1)]
    cases = [(block, (n, block[0], h, w)) for block in blocks for n, h, w in sizes]
    for (block, given), found in zip(cases, sandbox.run(probes.block_shapes, cases), strict=True):
        n, _, h, w = given
        wanted = [n, block[1], -(-h // block[2]), -(-w // block[2])]
        said = f"{_block_said(block)} on {tuple(given)}"
        if "raised" in found:
            looks = "branch and shortcut differ in size: padding=1, and the same stride in both?"
            fail(
                expected=f"{said}: shape {tuple(wanted)}",
                actual=f"{found['raised']}: {found['message'][:90]}",
                because="the sum needs two tensors of the same shape.",
                looks_like=looks if "must match the size" in found["message"] else None,
            )
        got, looks = found["value"], None
        if got[2:] == [h, w] and block[2] > 1:
            looks = "the stride isn't used"
        elif got[2:] == [-(-wanted[2] // block[2]), -(-wanted[3] // block[2])] and block[2] > 1:
            looks = "the stride is used twice"
        elif block[2] == 1 and got[2] < h:
            looks = "padding=1 is missing: a 3 × 3 convolution takes away two rows and two columns"
        because = f"{said}: a convolution of 3 × 3 with padding 1 and a stride gives ceil(size / stride)."
        expect(got == wanted, expected=f"{tuple(wanted)}", actual=f"{tuple(got)}", because=because, looks_like=looks)


def _expect_buffers(found, right, said):
    for name, wanted in right.items():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            because = f"({said}) {name} after one forward pass: each batch norm sees its own input, once."
            expect_close(found.get(name), wanted, because=because, rtol=1e-8, atol=1e-10)


@check(
    "A block computes relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut)",
    points=10,
    why="ReLU before or after the sum, a norm forgotten in the shortcut: shapes can't tell, and it trains anyway.",
    after=["test_block_shapes"],
)
def test_block_values(sandbox):
    shapes = [((4, 4), (3, 6, 5)), ((3, 6, 2), (2, 7, 6)), ((5, 5, 2), (4, 5, 5)), ((2, 4, 1), (2, 4, 4))]
    cases = [_block_case(s, size, 10 + i, t) for i, (s, size) in enumerate(shapes) for t in (False, True)]
    for case, found in zip(cases, sandbox.run(probes.block_values, cases), strict=True):
        right, state = _right_block(case)
        mode = "training" if case["training"] else "evaluation"
        said = f"{_block_said(case['shape'])} on {tuple(case['x'].shape)}, {mode}"
        looks = _named(found["output"], right, lambda how, c=case: _right_block(c, how)[0], BLOCK_WRONG)
        because = f"({said}) against the same layers written out, with the weights of this block."
        expect_close(found["output"], right, because=because, looks_like=looks, rtol=1e-8, atol=1e-10)
        _expect_buffers(found["buffers"], state, said)


@check(
    "A block leaves its input as it is",
    points=5,
    why="The shortcut is x itself, not a copy: += or a ReLU in place writes into what others still need.",
    after=["test_block_values"],
)
def test_input_untouched(sandbox):
    cases = [_block_case((3, 3), (2, 4, 4), 20), _block_case((4, 4, 1), (3, 5, 3), 21)]
    for case, found in zip(cases, sandbox.run(probes.inputs_afterwards, cases), strict=True):
        before = {"training": case["x"], "evaluation": case["x"], "recording": found["before"]}
        for how, right in before.items():
            expect(
                torch.equal(expect_tensor(found[how], because="the input is a tensor."), right),
                expected=f"the input of {_block_said(case['shape'])} unchanged",
                actual=f"other values after the call ({how})",
                because="a caller, or the layer before in its backward, still needs these values.",
                looks_like="an operation in place on x: `shortcut += out`, or relu(x, inplace=True)",
            )
        expect(
            found["raised"] is None,
            expected="backward through two blocks in a row",
            actual=str(found["raised"])[:120],
            because="an operation in place destroyed a value that backward needs.",
        )


@check(
    "zero_init: the last batch norm of the branch starts at 0, and the block as the identity",
    points=5,
    why="Then a deep net starts out shallow, and every block switches itself on as far as it helps.",
    after=["test_block_values"],
)
def test_zero_init(sandbox):
    blocks, x = [(3, 3), (3, 4, 2)], _images((4, 3, 5, 5), 30)
    for i, row in enumerate(sandbox.run(probes.starts, blocks, x)):
        shape, zero = blocks[i // 2], bool(i % 2)
        said = f"{_block_said(shape)[:-1]}, zero_init={zero})"
        norms = [k for k in row["state"] if k.endswith(("bn1.weight", "bn2.weight", "downsample.1.weight"))]
        gains = {k.removesuffix(".weight"): row["state"][k] for k in norms}
        _expect_gains(gains, zero, said, wrong="conv2" if not row["state"]["conv2.weight"].any() else "")
        state = _copy(row["state"])
        if zero:
            shortcut = x
            if len(shape) > 2:
                shortcut = _norm(state, "downsample.1", F.conv2d(x, state["downsample.0.weight"], stride=2), True)
            because = f"{said}: the branch gives 0, so the block gives relu(shortcut)."
            expect_close(row["output"], shortcut.relu(), because=because, rtol=1e-9, atol=1e-12)


def _expect_gains(gains, zero, said, wrong=""):
    """The weights of batch norms: 0 for bn2 of blocks when zero_init, 1 otherwise."""
    dead = zero and all(not v.any() for k, v in gains.items() if k.endswith("bn1"))
    for name, gain in gains.items():
        start = 0.0 if zero and name.endswith("bn2") else 1.0
        looks = None
        if start == 0.0 and bool((gain == 1).all()):
            looks = "zero_init isn't used, or not passed on to the blocks"
            looks = f"{wrong} starts at 0 instead: a batch norm behind constant zeros" if wrong else looks
        elif zero and start == 1.0 and not gain.any():
            looks = "another batch norm than bn2 starts at 0"
            looks = "bn1 starts at 0 too: with both at 0 no gradient ever reaches the branch" if dead else looks
        elif not zero and not gain.any():
            looks = "bn2 starts at 0 without being asked to"
        because = f"{said}: the weight of {name} starts at {start:g}."
        expect_close(gain, torch.full_like(gain, start), because=because, looks_like=looks, rtol=0, atol=0)


DEPTH = 10


@check(
    "The shortcut carries the gradient past the convolutions, undiminished",
    points=10,
    why="It is the reason for the whole construction: the gradient at the input of a deep chain.",
    after=["test_zero_init"],
)
def test_highway(sandbox):
    x = _images((2, 4, 6, 6), 40).abs() + 0.1
    upstream = _images((2, 4, 6, 6), 41)
    found = sandbox.run(probes.highways, DEPTH, 4, x, upstream)
    new = found["zero_init"]
    cut = "the shortcut is cut from the graph, by detach, .data or no_grad"
    because = f"{DEPTH} blocks with zero_init on a positive input: each of them gives x."
    expect_close(new["output"], x, because=because, rtol=1e-9, atol=1e-12)
    because = f"{DEPTH} blocks with zero_init: the gradient at the input is the gradient at the output."
    expect_tensor(new["gradient"], because=because, looks_like=cut)
    lost = bool((new["gradient"].abs() < 0.01 * upstream.abs()).all())
    expect_close(new["gradient"], upstream, because=because, looks_like=cut if lost else None, rtol=1e-9, atol=1e-12)
    # Evaluation mode, where the norms change nothing yet: in training they would scale every gradient up again.
    made = found["plain start"]
    expect_tensor(made["gradient"], because="the input takes part in the output.", looks_like=cut)
    state = {name: v.to(F64) for name, v in made["state"].items()}
    leaf = x.clone().requires_grad_(True)
    out = leaf
    for i in range(DEPTH):
        out = _block(state, f"{i}.", out, 1, False, "no shortcut")
    (plain,) = torch.autograd.grad(out, leaf, upstream)
    with_it, without = float(made["gradient"].norm()), float(plain.norm())
    said = f"norm of the gradient after {DEPTH} blocks: {with_it:.3g}"
    sandbox.note(f"{said}; the same layers without shortcuts: {without:.3g}")
    because = f"the gradient after {DEPTH} new blocks, against the same layers without shortcuts: {without:.3g}."
    expect_at_least(with_it, 10 * without, because=because, looks_like=cut)


def _block_gradients(case):
    leaves = {k: v.clone().requires_grad_(True) for k, v in case["state"].items() if k.endswith(("weight", "bias"))}
    x = case["x"].clone().requires_grad_(True)
    out = _block({**_copy(case["state"]), **leaves}, "", x, (*case["shape"], 1)[2], True)
    names = {"x": x, **leaves}
    return dict(zip(names, torch.autograd.grad(out, list(names.values()), case["upstream"]), strict=True))


def _expect_gradients(found, right, said):
    cut = "cut from the graph, by detach, .data, .item() or no_grad"
    for name, wanted in sorted(right.items(), key=lambda item: item[0] == "x"):  # the input's last: it has two ways
        because = f"({said}) the gradient for {name}."
        actual = found.get(name)
        expect_tensor(actual, because=because, looks_like=cut)
        gone = bool(wanted.any()) and not bool(actual.any())
        expect_close(actual, wanted, because=because, looks_like=cut if gone else None, rtol=1e-6, atol=1e-10)


@check(
    "A block's gradients are right for the input and every parameter",
    points=10,
    why="Forward values can be right while a part of the block never learns.",
    after=["test_highway"],
)
def test_block_gradients(sandbox):
    cases = [_block_case(s, size, 50 + i) for i, (s, size) in enumerate((((3, 3), (3, 4, 5)), ((2, 4, 2), (4, 5, 4))))]
    for i, case in enumerate(cases):
        case["upstream"] = _images(_right_block(case)[0].shape, 60 + i)
    for case, found in zip(cases, sandbox.run(probes.block_gradients, cases), strict=True):
        _expect_gradients(found, _block_gradients(case), f"{_block_said(case['shape'])}, training")


# --- the network ---------------------------------------------------------------------------------------


def _looks_at_net(shapes):
    def looks(missing, extra):
        if any(n.endswith(("conv1.bias", "conv2.bias")) for n in extra):
            return "a bias in a convolution: the batch norm behind it subtracts it again"
        if extra and all(n.startswith("layer1.0.downsample") for n in extra):
            return "a projection in layer1, where neither size nor channels change"
        if "conv1.weight" in missing and shapes.get("conv1.weight", [0, 0, 0, 0])[2:] == [7, 7]:
            return "the 7 × 7 stem of ImageNet"
        if missing and all(".1." in n and n.startswith("layer") for n in missing):
            return "one block for each stage instead of two"
        if extra and all(n.startswith("layer") and n.split(".")[1] not in "01" for n in extra):
            return "more than two blocks in a stage: that is a deeper ResNet"
        if missing and missing[0] in shapes:
            wider = missing[0].startswith(("layer2", "layer3", "layer4"))
            return "channels double from stage to stage: 1, 2, 4, 8 times width" if wider else None
        if missing and all(n.startswith("layer") for n in missing) and not any(n.startswith("layer") for n in extra):
            return "stages in a plain list: nn.Sequential or nn.ModuleList registers them"
        return None

    return looks


@check(
    "The network's state: stem, four stages of two blocks, a linear layer",
    points=10,
    why="The 122 names of the state_dict are the architecture; a plain list instead of nn.Sequential loses nearly all.",
    after=["test_block_state"],
)
def test_net_state(sandbox):
    cases = [(10, 8), (3, 4)]
    for (classes, width), found in zip(cases, sandbox.run(probes.net_states, cases), strict=True):
        said = f"ResNet18({classes}, width={width})"
        _expect_state(found, _net_shapes(classes, width), said, _looks_at_net(found["shapes"]))


COUNTS = {
    11_178_762: "convolutions with a bias: 4,800 too many",
    11_181_642: "the 7 × 7 stem of ImageNet: 7,680 too many",
    11_172_170: "shortcuts without batch norm: 1,792 too few",
    11_000_138: "shortcuts without parameters: 173,824 too few",
    11_178_186: "a projection in layer1, where nothing changes: 4,224 too many",
    11_689_512: "the ResNet-18 of ImageNet: 7 × 7 stem, 1,000 classes",
    11_681_832: "1,000 classes by default",
    21_282_122: "3, 4, 6 and 3 blocks: that is ResNet-34",
}


@check(
    "By default it has exactly 11,173,962 parameters",
    points=5,
    why="The quickest test of an architecture against its paper: one number, and every slip changes it.",
    after=["test_net_state"],
)
def test_parameter_count(sandbox):
    found = sandbox.run(probes.parameter_count)
    because = "ResNet18() with 10 classes and 64 channels in the first stage."
    looks = COUNTS.get(found["all"])
    if looks is None and found["fc"] != [10, 512]:
        looks = f"fc.weight is {tuple(found['fc'])} by default, not (10, 512)"
    expect(
        found["all"] == 11_173_962,
        expected="11,173,962 parameters",
        actual=f"{found['all']:,}",
        because=because,
        looks_like=looks,
    )


@check(
    "Images of any size give one row of logits each",
    points=5,
    why="The mean over H and W fits every size; a pooling of 4 × 4 works for 32 × 32 alone.",
    after=["test_net_state"],
)
def test_net_shapes(sandbox):
    sizes = [(2, 32, 32), (1, 33, 40), (3, 16, 16), (1, 48, 64), (2, 5, 7), (1, 1, 1)]
    cases = [(k, (n, 3, h, w)) for n, h, w in sizes for k in (10, 3)]
    for (classes, given), found in zip(cases, sandbox.run(probes.net_shapes, cases), strict=True):
        wanted = [given[0], classes]
        actual = f"{tuple(found['value'])}" if "value" in found else f"{found['raised']}: {found['message'][:100]}"
        fixed = "a pooling or a flattened size that fits 32 × 32 only; take the mean over H and W"
        expect(
            found.get("value") == wanted,
            expected=f"{tuple(wanted)} for images {tuple(given)}",
            actual=actual,
            because="(N, 3, H, W) → (N, num_classes).",
            looks_like=fixed if given[2:] != (32, 32) else None,
        )


@check(
    "The network computes what its weights say, in both modes",
    points=10,
    why="Strides, the stem, the pooling: none of them has a parameter, so no name and no count shows them.",
    after=["test_block_values", "test_net_shapes"],
)
def test_net_values(sandbox):
    cases = [
        _net_case(6, 4, (3, 16, 16), 70, training=False),
        _net_case(3, 3, (2, 20, 9), 71, training=False),
        _net_case(5, 4, (4, 24, 16), 72),
    ]
    for case, found in zip(cases, sandbox.run(probes.net_values, cases), strict=True):
        right, state = _right_net(case)
        mode = "training" if case["training"] else "evaluation"
        said = f"ResNet18({case['classes']}, width={case['width']}) on {tuple(case['x'].shape)}, {mode}"
        looks = _named(found["output"], right, lambda how, c=case: _right_net(c, how)[0], NET_WRONG)
        because = f"({said}) against the same layers written out, with the weights of this network."
        expect_shape(found["output"], tuple(right.shape), because=f"({said}) one row of logits for each image.")
        expect_close(found["output"], right, because=because, looks_like=looks, rtol=1e-7, atol=1e-9)
        _expect_buffers(found["buffers"], state, said)


@check(
    "Every parameter of the network gets its gradient, the first convolution included",
    points=5,
    why="A stem under no_grad, features that are detached: the loss falls anyway, the head learns alone.",
    after=["test_net_values", "test_block_gradients"],
)
def test_net_gradients(sandbox):
    case = _net_case(4, 3, (5, 12, 12), 80)
    case["upstream"] = _images((5, 4), 81)
    found = sandbox.run(probes.net_gradients, case)
    leaves = {k: v.clone().requires_grad_(True) for k, v in case["state"].items() if k.endswith(("weight", "bias"))}
    x = case["x"].clone().requires_grad_(True)
    out = _net({**_copy(case["state"]), **leaves}, x, True)
    names = {"x": x, **leaves}
    right = dict(zip(names, torch.autograd.grad(out, list(names.values()), case["upstream"]), strict=True))
    _expect_gradients(found, right, "ResNet18, training")


@check(
    "It starts with weights of a sensible size, zero_init in every block if asked for, and a loss near ln K",
    points=5,
    why="A loss far above ln K at the start is a bug in the initialisation, found before any training.",
    after=["test_net_values"],
)
def test_fresh_net(sandbox):
    g = torch.Generator().manual_seed(90)
    images, labels = torch.randn(32, 3, 16, 16, generator=g), torch.randint(10, (32,), generator=g)
    found = sandbox.run(probes.fresh, 10, 8, images)
    for name, weight in found["weights"].items():
        scale = float(weight.to(F64).std()) * math.prod(weight.shape[1:]) ** 0.5
        because = f"{name} of a new network: its deviation times √fan_in; PyTorch's start gives 0.58, Kaiming's 1.41."
        expect_at_least(scale, 0.1, because=because, looks_like="it starts at zero" if not weight.any() else None)
        unit = abs(float(weight.to(F64).std()) - 1) < 0.1
        looks = "a deviation of 1, whatever the size of the layer" if unit else None
        expect_at_most(scale, 5.0, because=because, looks_like=looks)
    for zero, gains in zip((False, True), found["gains"], strict=True):
        _expect_gains(gains, zero, f"ResNet18(10, width=8, zero_init={zero})")
    loss = float(F.cross_entropy(found["logits"].to(F64), labels))
    because = "cross-entropy of a new network on random labels, in training mode; ln 10 is 2.30."
    expect_at_most(loss, 3.5, because=because, looks_like="the logits are too large from the start")
    sandbox.note(f"loss at the start {loss:.2f}; ln 10 = 2.30")


@check(
    "Rule: the blocks are your own",
    points=5,
    why="torchvision has this network; the exercise is to write it.",
    after=["test_net_state"],
)
def test_own_work(sandbox):
    foreign = sandbox.run(probes.foreign_classes)
    expect(
        not foreign,
        expected="modules made of torch.nn",
        actual=", ".join(foreign),
        because="this breaks the rule of the exercise; the values may well be right.",
    )

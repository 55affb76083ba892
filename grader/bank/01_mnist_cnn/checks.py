"""What 01_mnist_cnn has to do. The judge computes every number here; the probes only fetch evidence.

The model, then one optimizer step against a closed form, then the two loops, then what takes training.
"""

import math
import re

import torch
from torch.nn import functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_finite,
    expect_number,
    expect_sequence,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
)

from . import probes

CLASSES = 10

# --- SimpleCNN: shapes and layers ------------------------------------------------------------------------

CONVOLUTIONS = {"convolution", "_convolution", "conv2d", "mkldnn_convolution", "_slow_conv2d_forward"}
LINEARS = {"addmm", "mm", "bmm", "linear", "matmul", "_addmm_activation", "mkldnn_linear"}
POOLINGS = {
    "max_pool2d",
    "max_pool2d_with_indices",
    "avg_pool2d",
    "adaptive_max_pool2d",
    "adaptive_avg_pool2d",
    "_adaptive_avg_pool2d",
    "fractional_max_pool2d",
    "mkldnn_max_pool2d",
    "amax",
    "mean",
    "max",
}
# Steps that keep a chain of layers linear. Whatever isn't listed anywhere counts as an activation: better to
# let a rare one pass than to refuse an activation that nobody thought of.
PASSIVE = {
    "view", "_unsafe_view", "_reshape_alias", "reshape", "t", "transpose", "permute", "expand", "clone", "detach",
    "alias", "contiguous", "slice", "select", "squeeze", "unsqueeze", "cat", "stack", "flatten", "numpy_T",
    "native_dropout", "dropout", "bernoulli", "bernoulli_", "empty", "empty_like", "zeros", "zeros_like", "ones",
    "ones_like", "rand_like", "native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm",
    "_native_batch_norm_legit_no_training", "_batch_norm_with_update", "_batch_norm_no_update", "batch_norm",
    "native_layer_norm", "native_group_norm", "add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_",
    "neg", "sum", "var", "std", "rsqrt", "sqrt", "constant_pad_nd", "reflection_pad2d", "replication_pad2d",
    "_to_copy", "copy_", "lift_fresh", "lift_fresh_copy", "split", "chunk", "im2col", "to", "set_", "fill_",
    "scalar_tensor", "full", "arange", "eq", "_local_scalar_dense", "is_nonzero", "view_as", "as_strided", "normal_",
    "uniform_", "_assert_async", "resize_", "randn", "rand",
}  # fmt: skip


def kinds(steps):
    """The operations as (kind, name, shape), with what only moves numbers about left out."""
    found = []
    for name, shape in steps:
        if name in CONVOLUTIONS:
            found.append(("conv", "conv", shape))
        elif name in LINEARS:
            found.append(("linear", "linear", shape))
        elif name in POOLINGS and len(shape) in (2, 4):
            found.append(("pool", name.split("_with")[0].lstrip("_"), shape))
        elif name not in PASSIVE and name not in POOLINGS:
            found.append(("activation", name.rstrip("_"), shape))
    return found


def story(layers):
    """The layers in a line: conv 32×26×26 → relu → max_pool2d 32×13×13 → …"""
    said = []
    for kind, name, shape in layers:
        size = "×".join(str(n) for n in shape[1:])
        said.append(name if kind == "activation" or not size else f"{name} {size}")
    return " → ".join(said) or "no layer at all"


def maps_before_flatten(steps):
    """C, H, W of the last feature maps that a convolution or pooling made, or None."""
    maps = [shape for kind, _, shape in kinds(steps) if kind in ("conv", "pool") and len(shape) == 4]
    return maps[-1][1:] if maps else None


def asked_per_image(case, per_image):
    """How many numbers per image the flatten or the linear layer after it was written for, or None."""
    message = case.get("message", "")
    found = re.search(r"shape '\[-1, (\d+)\]' is invalid for input of size", message)
    if found:
        return int(found[1])
    found = re.search(r"shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x\d+\)", message)
    if found:
        return int(found[3])
    rows = case["logits"].shape[0] if type(case.get("logits")) is torch.Tensor and case["logits"].dim() else 0
    total = per_image * case["batch"]
    return total // rows if rows and rows != case["batch"] and total % rows == 0 else None


def flatten_story(case):
    """The explanation of a wrong flatten size, with the learner's own numbers; None when it is something else."""
    maps = maps_before_flatten(case["steps"])
    if maps is None:
        return None
    per_image = math.prod(maps)
    asked = asked_per_image(case, per_image)
    if not asked or asked == per_image:
        return None
    size = "×".join(str(n) for n in maps)
    text = (
        f"a wrong flatten size: the last maps are {size}, that is {per_image} numbers per image, and the code asks "
        f"for {asked}. Your layers: {story([k for k in kinds(case['steps']) if k[0] in ('conv', 'pool')])} "
        f"(a 3×3 convolution without padding takes 2 off each side; pooling by 2 rounds down)."
    )
    if "cannot be multiplied" in case.get("message", ""):
        return text + f" The first linear layer needs in_features={per_image}."
    common = math.gcd(per_image, asked)
    batch, rows = asked // common, per_image // common
    return text + (
        f" view(-1, {asked}) doesn't flatten images, it cuts the batch into rows of {asked}: most batch "
        f"sizes crash, but {batch} images become {rows} rows without any error, each row mixing pixels "
        f"of different images. x.flatten(1) (or x.view(x.size(0), -1)) can't do that; "
        f"then in_features={per_image}."
    )


@check(
    "The forward pass gives one row of ten logits per image",
    points=10,
    why="A flatten that cuts up the batch is the classic bug of this network: for some batch sizes it runs, and trains "
    "on rows that aren't images.",
)
def test_logits_shape(sandbox):
    images = torch.randn(49, 1, 28, 28, generator=torch.Generator().manual_seed(11))
    # 16, 36 and 49 are batch sizes for which 5×5 maps divide into rows for 4×4, 6×6 and 7×7 ones.
    batches = [images[:n] for n in (4, 1, 7, 16, 36, 49)]
    found = sandbox.run(probes.forward_each, batches)
    expect(
        found["is_module"],
        expected="SimpleCNN() to be an nn.Module",
        actual=f"a {found.get('type')}",
        because="training, saving and moving a model all go through nn.Module.",
    )
    because = "row i of the output has to belong to image i, for every batch size: the batch dimension stays as it is."
    for case in found["cases"]:
        n = case["batch"]
        if "raised" in case:
            explained = flatten_story(case)
            if explained is None:
                sandbox.run(probes.logits, images[:n])  # raises again, and is reported with its line
            where = f" ({case['line']})" if case["line"] else ""
            fail(
                expected=f"logits of shape ({n}, {CLASSES}) for a batch of {n}",
                actual=f"{case['raised']}{where}: {case['message']}",
                because=because,
                looks_like=explained,
            )
        logits = expect_tensor(case["logits"], because="forward returns the logits and nothing else.")
        if tuple(logits.shape) != (n, CLASSES):
            fail(
                expected=f"logits of shape ({n}, {CLASSES}) for a batch of {n}",
                actual=f"shape {tuple(logits.shape)}",
                because=because,
                looks_like=flatten_story(case) or squeezed(logits, n),
            )
        expect_dtype(logits, torch.float32, because="float32 images give float32 logits.")
        expect_finite(logits, because="NaN or infinity in an untrained network means a broken layer or its init.")
    expect_shape(found["train_logits"], (4, CLASSES), because="the shape is the same in train mode.")


def squeezed(logits, n):
    if n == 1 and tuple(logits.shape) == (CLASSES,):
        return "squeeze() without a dimension: a batch of one image loses its batch dimension."
    if tuple(logits.shape) == (CLASSES, n):
        return "the output is transposed: classes first."
    return None


@check(
    "Two convolutions with activation and pooling, then linear layers",
    points=6,
    why="Two linear layers with nothing between them are one linear layer: interviewers like to ask why.",
    after=["test_logits_shape"],
)
def test_layers(sandbox):
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    layers = kinds(sandbox.run(probes.operations, images))
    actual = story(layers)
    wanted = ["conv", "pool", "conv", "pool", "linear"]
    missing = list(wanted)
    for kind, _, shape in layers:
        # A convolution whose maps are one pixel is a fully connected layer by another name.
        is_dense = kind == "conv" and list(shape[2:]) == [1, 1] and missing[:1] == ["linear"]
        if missing and (kind == missing[0] or is_dense):
            missing.pop(0)
    expect(
        not missing,
        expected="conv → pool → conv → pool → linear, in this order (more layers are fine)",
        actual=actual,
        because="this is the network that the task asks for: convolutions share their weights over "
        "all positions, and pooling makes the answer tolerant of small shifts.",
        looks_like=None if any(k == "conv" for k, _, _ in layers) else "a fully connected network.",
    )
    gap = first_linear_gap(layers)
    expect(
        gap is None,
        expected="an activation (ReLU, say) after each convolution and between linear layers",
        actual=actual,
        because="without it two layers in a row collapse into one linear map: more weights, but not one function more.",
        looks_like=gap and f"a forgotten activation between the {gap[0]} layer and the next {gap[1]} layer.",
    )


def first_linear_gap(layers):
    """The first two weighted layers with no activation between them, as their kinds; None when there are none.

    Convolutions without pooling in between are taken as one (depthwise and pointwise, say).
    """
    last, active, pooled = None, True, False
    for kind, _, _ in layers:
        if kind == "activation":
            active = True
        elif kind == "pool":
            pooled = True
        else:
            same_group = kind == "conv" and last == "conv" and not pooled
            if last and not active and not same_group:
                return last, kind
            active = active if same_group and last else False
            last, pooled = kind, False
    return None


# --- SimpleCNN: what the numbers depend on ---------------------------------------------------------------


@check(
    "In eval mode an image's logits depend on that image alone",
    points=6,
    why="If companions in the batch change an answer, accuracy depends on how the test set was cut into batches.",
    after=["test_logits_shape"],
)
def test_images_stay_apart(sandbox):
    for count, row, seed in ((9, 4, 1), (36, 35, 2)):
        images = torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
        found = sandbox.run(probes.companions, images, row, seed=seed)
        for name in ("together", "again", "alone", "flipped"):
            expect_finite(found[name], because="an untrained network gives finite logits.")
        expect_equal(
            found["image_after"],
            images,
            because="the caller's images aren't the model's to change.",
            looks_like="an in-place operation on the input (x.mul_, x -= …, x[…] = …).",
        )
        expect_close(
            found["again"],
            found["together"],
            rtol=1e-4,
            atol=1e-5,
            because="in eval mode the same images give the same logits, every time.",
            looks_like="dropout that never switches off (F.dropout needs training=self.training), "
            "or layers made anew in forward.",
        )
        gradient = found["gradient"].flatten(1).abs().sum(1)
        strangers = [i for i in range(count) if i != row and gradient[i] > 0]
        expect(
            not strangers,
            expected=f"logits of image {row} with zero gradient with respect to all other images",
            actual=f"they depend on {len(strangers)} other image(s), image {strangers[0] if strangers else 0} first",
            because="each image is classified by itself: the gradient of output i with respect to input j is zero.",
            looks_like=mixes_batch(found["together"]),
        )
        expect_close(
            found["alone"],
            found["together"][row : row + 1],
            rtol=1e-3,
            atol=1e-4,
            because="in eval mode an image gets the same logits alone as in a batch.",
            looks_like="statistics of the batch in eval mode (batch-norm without running statistics, "
            "or a mean over dimension 0).",
        )
        expect_close(
            found["flipped"],
            found["together"].flip(0),
            rtol=1e-3,
            atol=1e-4,
            because="turning the order of the batch round turns the order of the answers round, nothing else.",
        )


def mixes_batch(logits):
    columns = logits.sum(0)
    if bool((columns - 1).abs().max() < 1e-4):
        return "softmax over dimension 0: it normalises over the batch. (And logits need no softmax at all.)"
    return "a reshape that mixes the batch dimension with others, or statistics taken over the batch in eval mode."


@check(
    "forward returns raw logits, not probabilities",
    points=7,
    why="CrossEntropyLoss contains log-softmax. Fed with probabilities it can't fall below 1.46 for ten classes, and "
    "training looks merely slow.",
    after=["test_logits_shape"],
)
def test_raw_logits(sandbox):
    images = torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(3)) * 2
    found = sandbox.run(probes.logits_at_two_scales, images, 8.0)
    fresh, scaled = found["fresh"].double(), found["scaled"].double()
    squashed = squashing(fresh, scaled)
    expect(
        squashed is None,
        expected="unbounded scores of either sign, which don't sum to one",
        actual=f"first row: {describe([round(v, 4) for v in fresh[0].tolist()])}",
        because="the loss function turns logits into probabilities itself, in a numerically safe way.",
        looks_like=squashed,
    )
    gone = float((found["training"] == 0).double().mean())
    expect(
        gone < 0.01,
        expected="logits in train mode, too, none of which is exactly 0",
        actual=f"{gone:.0%} of them are 0",
        because="the loss compares all ten scores of an image.",
        looks_like="dropout behind the last layer: it strikes out classes at random. It belongs before that layer.",
    )


def squashing(fresh, scaled):
    """Which function seems to have been applied to the logits, judged from a fresh and a scaled-up model."""
    both = torch.cat([fresh, scaled])
    if bool(((both.sum(1) - 1).abs() < 1e-3).all()) and bool((both >= 0).all()):
        return "softmax in forward: every row sums to one. Return the last linear layer's output as it is."
    if bool((both.logsumexp(1).abs() < 1e-3).all()):
        return (
            "log_softmax in forward: exp of every row sums to one. It trains under CrossEntropyLoss, but it isn't "
            "what the statement asks for, and with another loss it would be wrong."
        )
    if bool((both >= 0).all()) and bool((both <= 1).all()):
        return "sigmoid in forward: every value lies between 0 and 1."
    if bool((both >= 0).all()):
        return "an activation on the logits: none of them is negative. ReLU takes away what the loss needs."
    if bool((both <= 0).all()):
        return "log-probabilities (logsigmoid, say): none of the logits is positive."
    if bool((scaled.abs() <= 1.0 + 1e-6).all()) and bool((scaled.abs() > 0.5).any()):
        return "tanh on the logits: all of them lie between -1 and 1."
    return None


@check(
    "The untrained network is undecided: a loss of about ln 10",
    points=4,
    why="The first thing to look at when a training goes wrong: a much higher loss means a badly scaled last layer.",
    after=["test_raw_logits"],
)
def test_initial_loss(sandbox, data):
    digits = data("mnist")
    images, labels = digits.sample("train", 200, seed=3)
    inputs = (images.float() / 255 - digits.mean[0]) / digits.std[0]
    for logits in sandbox.run(probes.fresh_logits, inputs, [0, 1, 2]):
        expect_shape(logits, (len(labels), CLASSES), because="a fresh model gives logits in train mode too.")
        loss = float(F.cross_entropy(logits.double(), labels))
        sandbox.measure("initial_loss", loss)
        expect(
            abs(loss - math.log(CLASSES)) <= 0.4,
            expected="a cross-entropy of 2.30 ± 0.40 (ln 10 = 2.303)",
            actual=f"{loss:.3f}",
            because="before training no class deserves preference, and -ln(1/10) = 2.303.",
            looks_like="logits that are far too large at the start: look at the initialisation of the last layer, "
            "and at factors in forward."
            if loss > 2.7
            else None,
        )


@check(
    "Gradients reach every parameter, and every layer is registered",
    points=7,
    why="A layer in a plain Python list, or behind detach(), runs but never learns; nothing crashes.",
    after=["test_logits_shape"],
)
def test_gradients_reach_parameters(sandbox, data):
    digits = data("mnist")
    images, labels = digits.sample("train", 32, seed=5)
    inputs = (images.float() / 255 - digits.mean[0]) / digits.std[0]
    # The third step's gradients: a last layer that starts at zero is legitimate, and blocks the first step's.
    found = sandbox.run(probes.gradient_report, inputs, labels, 3)
    hidden = found["hidden"]
    expect(
        not hidden,
        expected="every trained tensor to be among model.parameters()",
        actual=f"{len(hidden)} that forward uses aren't, first one of shape {tuple(hidden[0]) if hidden else ()}",
        because="the optimizer, .to(device) and state_dict() only see what is registered.",
        looks_like="layers in a plain list or dict (use nn.ModuleList), or created inside forward.",
    )
    expect(
        bool(found["parameters"]),
        expected="registered parameters",
        actual="model.parameters() is empty",
        because="the optimizer only sees what is registered.",
    )
    for parameter in found["parameters"]:
        name, gradient = parameter["name"], parameter["gradient"]
        told = f"{name} {tuple(parameter['shape'])}"
        expect(
            parameter["trainable"],
            expected=f"{told} to require a gradient",
            actual="requires_grad is False",
            because="this network is trained from scratch: nothing in it is frozen.",
        )
        expect(
            gradient is not None,
            expected=f"a gradient for {told}",
            actual="None",
            because="a parameter without a gradient never moves.",
            looks_like="a layer that forward doesn't use, or a cut graph before it (detach(), .data, no_grad()).",
        )
        expect_finite(gradient, because=f"the gradient of {name} drives the update.")
        if len(parameter["shape"]) >= 2:
            expect(
                bool((gradient != 0).any()),
                expected=f"a gradient for {told}",
                actual="zero everywhere",
                because="a weight whose gradient stays zero never moves.",
                looks_like="weights that all start at zero, or units that are dead for every input.",
            )
    expect_at_least(
        found["weights_in_graph"],
        found["weights_used"],
        unit=" weight tensors that learn",
        because="so many different weights are used by the convolutions and linear layers of forward.",
        looks_like="weights that are plain tensors instead of nn.Parameter, or computed under no_grad().",
    )


# --- train_one_epoch -------------------------------------------------------------------------------------


FLAG_ONLY = "`model.training = …` sets one flag; model.train() and model.eval() go through all layers inside."


def linear_task(count, seed, features=16):
    """Weights of a linear model, and images and labels for it. The first pixel numbers the image."""
    g = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 4, features // 4, generator=g)
    labels = torch.randint(0, CLASSES, (count,), generator=g)
    weight = torch.randn(CLASSES, features, generator=g) * 0.3
    bias = torch.randn(CLASSES, generator=g) * 0.1
    return weight, bias, images, labels


def loss_and_gradient(weight, bias, images, labels, smoothing=0.0, squares=False):
    """Mean cross-entropy of a linear model and its gradient, in closed form: d loss / d logits = (p - q) / n.

    With `squares` it is the mean squared distance between the logits and the one-hot labels.
    """
    x = images.double().flatten(1)
    logits = x @ weight.T + bias
    if squares:
        gap = logits - F.one_hot(labels, CLASSES)
        slope = 2 * gap / len(labels)
        return float(gap.square().sum(1).mean()), slope.T @ x, slope.sum(0)
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    q = torch.full_like(log_p, smoothing / CLASSES)
    q[torch.arange(len(labels)), labels] += 1 - smoothing
    loss = -(q * log_p).sum(1).mean()
    slope = (log_p.exp() - q) / len(labels)
    return float(loss), slope.T @ x, slope.sum(0)


def epoch_by_hand(
    weight, bias, images, labels, case, *, momentum=None, smoothing=None, squares=None, factor=None, extra=0.0
):
    """The weights after one epoch of SGD. The keyword arguments are for playing through what may have gone wrong."""
    momentum = case["momentum"] if momentum is None else momentum
    squares = case.get("squares", False) if squares is None else squares
    smoothing = case["smoothing"] if smoothing is None else smoothing
    w, b = weight.double(), bias.double()
    vw, vb = torch.zeros_like(w), torch.zeros_like(b)
    sizes = case["sizes"]
    for x, y in zip(images[: sum(sizes)].split(sizes), labels[: sum(sizes)].split(sizes), strict=True):
        _, gw, gb = loss_and_gradient(w, b, x, y, smoothing, squares)
        scale = 1.0 if factor is None else factor(len(y))
        vw, vb = momentum * vw + scale * gw + extra, momentum * vb + scale * gb + extra
        w, b = w - case["lr"] * vw, b - case["lr"] * vb
    return w, b


def accumulated(weight, bias, images, labels, case):
    """The weights when nobody clears the gradients: each step uses the sum of all so far."""
    w, b = weight.double(), bias.double()
    sw, sb = torch.full_like(w, case["stale"] or 0.0), torch.full_like(b, case["stale"] or 0.0)
    vw, vb = torch.zeros_like(w), torch.zeros_like(b)
    sizes = case["sizes"]
    for x, y in zip(images[: sum(sizes)].split(sizes), labels[: sum(sizes)].split(sizes), strict=True):
        _, gw, gb = loss_and_gradient(w, b, x, y, case["smoothing"], case.get("squares", False))
        sw, sb = sw + gw, sb + gb
        vw, vb = case["momentum"] * vw + sw, case["momentum"] * vb + sb
        w, b = w - case["lr"] * vw, b - case["lr"] * vb
    return w, b


def step_suspects(task, case):
    """Misconceptions, and the weights to which each of them would have led."""
    weight, bias = task[:2]
    stale = case["stale"] or 0.0
    return [
        (
            "the weights didn't move: is optimizer.step() missing, or zero_grad() between backward() and step()?",
            (weight.double(), bias.double()),
        ),
        (
            "stale gradients: the update contains what .grad held before. zero_grad() has to come before backward(), "
            "for every batch.",
            accumulated(*task, case),
        ),
        (
            "stale gradients: the step used what .grad held before, without this batch: step() before backward()?",
            (weight.double() - case["lr"] * stale, bias.double() - case["lr"] * stale),
        ),
        ("the loss is negated: the step goes uphill.", epoch_by_hand(*task, case, factor=lambda n: -1.0)),
        (
            "the gradient is that of the batch's sum, not of loss_fn's mean.",
            epoch_by_hand(*task, case, factor=lambda n: n),
        ),
        (
            "the loss was divided by the batch size again: loss_fn returns the mean already.",
            epoch_by_hand(*task, case, factor=lambda n: 1 / n),
        ),
        (
            "a plain cross-entropy instead of the loss_fn that was passed in.",
            epoch_by_hand(*task, case, smoothing=0.0, squares=False),
        ),
        (
            "a fresh optimizer for each batch, or another than the one passed in: the momentum is lost.",
            epoch_by_hand(*task, case, momentum=0.0),
        ),
    ]


STEP_CASES = [
    (
        "one batch, with .grad holding 5.0 from before",
        {"sizes": [12], "lr": 0.5, "momentum": 0.0, "smoothing": 0.0, "stale": 5.0},
    ),
    (
        "three batches of 8, 8 and 3 with momentum",
        {"sizes": [8, 8, 3], "lr": 0.3, "momentum": 0.9, "smoothing": 0.0, "stale": None},
    ),
    ("a loss_fn with label smoothing", {"sizes": [10, 5], "lr": 0.4, "momentum": 0.0, "smoothing": 0.5, "stale": None}),
    (
        "a loss_fn of squared distances, which gets the model's own outputs",
        {"sizes": [9, 6], "lr": 0.05, "momentum": 0.0, "smoothing": 0.0, "stale": None, "squares": True},
    ),
]


@check(
    "train_one_epoch's steps equal those computed by hand",
    points=9,
    why="zero_grad, forward, loss, backward, step: every interviewer reads these five lines, and each mistake in them "
    "still trains a little.",
)
def test_steps_by_hand(sandbox):
    task = linear_task(19, seed=21)
    found = sandbox.run(probes.steps_on_linear_model, *task, [case for _, case in STEP_CASES])
    for (title, case), evidence in zip(STEP_CASES, found, strict=True):
        weight, bias = epoch_by_hand(*task, case)
        expect_finite(evidence["weight"], because=f"{title}: the weights after the steps are finite.")
        off = float((evidence["weight"].double() - weight).abs().max())
        off = max(off, float((evidence["bias"].double() - bias).abs().max()))
        if off > 1e-4:
            fail(
                expected=f"the weights of a linear model after {title}, as computed by hand",
                actual=f"weights that differ by up to {off:.3g} "
                f"(the true steps move them by up to {float((weight - task[0]).abs().max()):.3g})",
                because="each batch: clear the gradients, loss_fn(model(images), labels), backward, one step of the "
                "optimizer that was passed in.",
                looks_like=suspect(evidence, step_suspects(task, case)) or own_optimizer(evidence),
            )


def own_optimizer(evidence):
    """Weights that moved though the optimizer at hand never stepped."""
    if evidence["steps"] == 0:
        return "an optimizer of your own, made inside: the weights move, but the one passed in never steps."
    return None


def suspect(evidence, suspects):
    """The first misconception that leads to the very weights that came."""
    for said, (weight, bias) in suspects:
        near = torch.allclose(evidence["weight"].double(), weight, rtol=1e-3, atol=1e-4)
        if near and torch.allclose(evidence["bias"].double(), bias, rtol=1e-3, atol=1e-4):
            return said
    return None


@check(
    "Every batch is used exactly once, with one optimizer step",
    points=6,
    why="A break left over from debugging, or a step outside the loop, costs accuracy and no error message.",
    after=["test_steps_by_hand"],
)
def test_every_batch_once(sandbox):
    sizes = [3, 3, 2, 3, 1, 3, 3, 3, 2, 3, 3, 3, 3, 1]
    weight, bias, images, labels = linear_task(sum(sizes), seed=22)
    images[:, 0, 0, 0] = torch.arange(sum(sizes))  # the first pixel numbers the image
    found = sandbox.run(probes.epoch_events, weight * 0.01, bias, images, labels, sizes)
    expected = [part.tolist() for part in torch.arange(sum(sizes)).split(sizes)]
    seen = found["seen"]
    expect_sequence(
        seen,
        expected,
        because="one epoch shows the model every example of the loader, once.",
        looks_like=visits_look_like(seen, expected),
    )
    expect_equal(
        found["passes"],
        1,
        because="one epoch is one pass: a loader may be a generator, or slow.",
        looks_like="the loader is gone through a second time, for counting perhaps.",
    )
    expect_sequence(
        found["events"],
        ["forward", "loss", "backward", "step"] * len(sizes),
        because="forward, loss, backward and step, in this order, for each batch.",
        looks_like="one step for the whole epoch instead of one per batch."
        if found["events"].count("step") == 1
        else None,
    )


def visits_look_like(seen, expected):
    if not isinstance(seen, list) or seen == expected:
        return None
    if 0 < len(seen) < len(expected) and seen == expected[: len(seen)]:
        if len(seen) == 1:
            return "a return, break or step inside or outside the wrong block: only the first batch is used."
        return f"the loop ends after {len(seen)} of {len(expected)} batches."
    if seen == [batch for batch in expected if len(batch) == len(expected[0])]:
        return "batches of another size than the first are skipped."
    if len(seen) == 2 * len(expected):
        return "each batch goes through the model twice: a second forward pass, or a second epoch."
    return None


@check(
    "train_one_epoch returns the mean loss per example, as a float",
    points=8,
    why="The last batch is usually smaller. The mean of batch means gives its examples more weight than the others.",
)
def test_mean_loss(sandbox):
    sizes, dropped = [8, 8, 3], 8
    weight, bias, images, labels = linear_task(sum(sizes), seed=23)
    # The last three examples are made hard, so that the wrong weighting shows.
    labels[-3:] = (images[-3:].flatten(1) @ weight.T + bias).argmin(1)
    found = sandbox.run(probes.frozen_epoch_losses, weight, bias, images, labels, sizes, dropped)
    w, b = weight.double(), bias.double()
    parts = list(zip(images.split(sizes), labels.split(sizes), strict=True))
    losses = [loss_and_gradient(w, b, x, y)[0] for x, y in parts]
    full = loss_and_gradient(w, b, images, labels)[0]
    kept = loss_and_gradient(w, b, images[:16], labels[:16])[0]
    expect_type(
        found["ragged"],
        float,
        because="a number to print and store; a tensor would keep the whole graph of "
        "its batch alive, and memory would grow from epoch to epoch.",
        looks_like="a missing return."
        if found["ragged"] is None
        else "loss tensors added up without `.item()`."
        if isinstance(found["ragged"], torch.Tensor)
        else None,
    )
    expect_close(
        found["ragged"],
        full,
        rtol=1e-4,
        because="batches of 8, 8 and 3 with a learning rate of 0: the mean over all 19 examples.",
        looks_like=loss_suspect(found["ragged"], losses, sizes),
    )
    expect_type(found["drop_last"], float, because="a number, whatever the loader.")
    expect_close(
        found["drop_last"],
        kept,
        rtol=1e-4,
        because="a DataLoader with drop_last=True gives 16 of its data set's 19 examples: the mean is over "
        "those that were seen.",
        looks_like="a division by len(loader.dataset), which isn't what the loader delivered."
        if near(found["drop_last"], kept * 16 / 19)
        else None,
    )
    expect_streamed("train_one_epoch", found["stream"])


def expect_streamed(function, outcome):
    """Fails when a loader that can only be iterated was not enough."""
    message = outcome.get("message", "")
    expect(
        "raised" not in outcome,
        expected=f"{function} to work with a loader that has neither len() nor .dataset",
        actual=f"{outcome.get('raised')}: {message}",
        because="the statement promises an iterable of batches and nothing more: count what it gives.",
        looks_like="len(loader) or len(loader.dataset) used for dividing."
        if "len()" in message or "dataset" in message
        else None,
    )


def near(value, target):
    return isinstance(value, (int, float)) and abs(value - target) <= 1e-4 * max(1.0, abs(target))


def loss_suspect(value, losses, sizes):
    """Which wrong way of averaging gives this value."""
    sums = [loss * n for loss, n in zip(losses, sizes, strict=True)]
    wrong = [
        (
            "the mean of the batches' means: the last batch of 3 counts as much as one of 8. Weigh by batch size.",
            sum(losses) / len(losses),
        ),
        ("the sum of the batches' means, not divided at all.", sum(losses)),
        ("the sum over all examples, not divided by their number.", sum(sums)),
        ("the last batch's loss.", losses[-1]),
        ("the first batch's loss.", losses[0]),
        ("the sum over examples divided by the number of batches.", sum(sums) / len(sums)),
        (
            "the batches' means added up and divided by the number of examples: multiply each by its batch size first.",
            sum(losses) / sum(sizes),
        ),
        ("every batch weighed as if it had the first one's size.", sum(losses) * sizes[0] / sum(sizes)),
    ]
    return next((said for said, number in wrong if near(value, number)), None)


@check(
    "train_one_epoch trains in train mode",
    points=4,
    why="The caller has usually just evaluated. A loop that relies on the mode it finds trains without dropout and "
    "with frozen batch-norm statistics.",
)
def test_train_mode(sandbox):
    sizes = [4, 4, 2]
    found = sandbox.run(probes.modes_while_training, *linear_task(10, seed=24), sizes)
    for start, name in (("from_train", "train"), ("from_eval", "eval")):
        modes = found[start]
        expect(
            bool(modes) and all(mode is True for mode in modes),
            expected=f"model.training to be True at every forward pass (the model came in {name} mode)",
            actual=describe(modes),
            because="dropout and batch-norm behave differently while training.",
            looks_like=FLAG_ONLY
            if "mixed" in modes
            else "a missing model.train() at the start."
            if start == "from_eval"
            else "eval mode in training.",
        )


# --- evaluate --------------------------------------------------------------------------------------------


def scored_images(count, seed, right):
    """Images that carry their own logits, and labels of which about the share `right` match."""
    g = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 4, 4, generator=g)
    best = images.flatten(1)[:, :CLASSES].argmax(1)
    wrong = (best + torch.randint(1, CLASSES, (count,), generator=g)) % CLASSES
    return images, torch.where(torch.rand(count, generator=g) < right, best, wrong)


def share_right(images, labels):
    """The accuracy by a plain loop."""
    rows = images.flatten(1)[:, :CLASSES].tolist()
    hits = sum(row.index(max(row)) == label for row, label in zip(rows, labels.tolist(), strict=True))
    return hits / len(rows)


@check(
    "evaluate returns right predictions divided by examples",
    points=7,
    why="Batches are ragged and loaders drop examples: a mean of batch accuracies, or len(dataset), reports a number "
    "that isn't the accuracy.",
)
def test_exact_accuracy(sandbox):
    shapes = [([1], 3, 1.0), ([7], 4, 0.5), ([64, 64, 64, 64, 45], 5, 0.7), ([10, 1], 9, 0.3), ([30, 30], 8, 0.0)]
    cases = []
    for sizes, seed, right in shapes:
        images, labels = scored_images(sum(sizes), seed, right)
        cases.append({"images": images, "labels": labels, "sizes": sizes})
    # In the ragged case the small last batch is all wrong, so that its weight shows.
    last = cases[3]
    last["labels"][-1] = (last["images"][-1].flatten()[:CLASSES].argmax() + 1) % CLASSES
    values = sandbox.run(probes.accuracies, cases)
    for case, value in zip(cases, values, strict=True):
        images, labels, sizes = case["images"], case["labels"], case["sizes"]
        number = expect_number(value, because="a number from 0.0 to 1.0; a tensor, or None, isn't one.")
        expect_close(
            number,
            share_right(images, labels),
            atol=1e-6,
            because=f"known logits in batches of {sizes}: the number of rows whose largest logit is the "
            "label's, divided by the number of rows.",
            looks_like=accuracy_suspect(cases, values),
        )
    expect_type(values[2], float, because="accuracy is a float.")
    images, labels = scored_images(50, 12, 0.8)
    subset = list(range(20, 50, 2))
    found = sandbox.run(probes.accuracies_of_loaders, images, labels, 16, subset)
    expect_streamed("evaluate", found["stream"])
    whole = share_right(images, labels)
    expect(
        near(found["once"].get("value"), whole),
        expected=f"{whole:.2f} from an iterable that gives its four batches only once, such as a generator",
        actual=describe(found["once"].get("value", found["once"].get("raised"))),
        because="loader is any iterable of batches; one pass is all that counting needs.",
        looks_like="the loader is gone through more than once, or the first batch is taken for a look.",
    )
    for name, kept in (("drop_last", list(range(48))), ("subset", subset)):
        exact = share_right(images[kept], labels[kept])
        expect_close(
            found[name],
            exact,
            atol=1e-6,
            because=f"a DataLoader that delivers {len(kept)} of its data set's 50 examples: those {len(kept)} count.",
            looks_like="a division by len(loader.dataset), or by len(loader) times the batch size."
            if not near(found[name], exact) and near(found[name] * 50, exact * len(kept))
            else None,
        )


def accuracy_suspect(cases, values):
    """The one wrong count that gives all these values."""
    suspects = [accuracy_suspects(v, c["images"], c["labels"], c["sizes"]) for c, v in zip(cases, values, strict=True)]
    common = [said for said in suspects[2] if all(said in some for some in suspects)]
    return common[0] if len(common) == 1 else None


def accuracy_suspects(value, images, labels, sizes):
    """Which wrong counts give this value."""
    logits = images.flatten(1)[:, :CLASSES]
    parts = list(zip(logits.split(sizes), labels.split(sizes), strict=True))
    right = [int((z.argmax(1) == y).sum()) for z, y in parts]
    exact, shares = sum(right) / len(labels), [r / n for r, n in zip(right, sizes, strict=True)]
    wrong = [
        ("per cent: the statement asks for a share from 0.0 to 1.0.", exact * 100),
        ("the number of right predictions, not divided.", float(sum(right))),
        ("the error rate instead of the accuracy.", 1 - exact),
        (
            "the mean of the batches' accuracies: a small last batch counts as much as a full one.",
            sum(shares) / len(shares),
        ),
        ("the last batch's accuracy.", shares[-1]),
        ("the first batch's accuracy.", shares[0]),
        ("right predictions divided by the number of batches.", sum(right) / len(sizes)),
        ("right predictions divided by batches times the first one's size.", sum(right) / (len(sizes) * sizes[0])),
        ("the smallest logit taken for the prediction (argmin).", float((logits.argmin(1) == labels).float().mean())),
        (
            "the second-best class counted instead of the best.",
            float((logits.topk(2, dim=1).indices[:, 1] == labels).float().mean()),
        ),
        ("the last batch left out.", sum(right[:-1]) / max(1, sum(sizes[:-1]))),
    ]
    return [said for said, number in wrong if near(value, number)]


@check(
    "evaluate switches to eval mode and restores the mode it found",
    points=5,
    why="Evaluated in train mode, dropout blurs the accuracy and batch-norm learns from the test set; left in eval "
    "mode, the next epoch trains without both.",
)
def test_eval_mode(sandbox):
    found = sandbox.run(probes.modes_while_evaluating, *linear_task(10, seed=25), [4, 4, 2])
    for start, name, mode in (("from_train", "train", True), ("from_eval", "eval", False)):
        during, after = found[start]["during"], found[start]["after"]
        expect(
            bool(during) and all(value is False for value in during),
            expected=f"model.training to be False at every forward pass (the model came in {name} mode)",
            actual=describe(during),
            because="dropout off and batch-norm on its running statistics: the model as it will be used.",
            looks_like=FLAG_ONLY
            if "mixed" in during
            else "no_grad() doesn't do that: a missing model.eval()."
            if mode
            else None,
        )
        expect(
            after is mode,
            expected=f"the model in {name} mode, as it came, with all its layers",
            actual="some layers in train mode, others in eval mode"
            if after == "mixed"
            else f"model.training is {after}",
            because="a function that measures should leave no trace.",
            looks_like=FLAG_ONLY
            if after == "mixed"
            else "model.train() at the end, whatever the mode was: remember model.training first."
            if not mode
            else "the mode isn't restored: the next training epoch would run in eval mode.",
        )


@check(
    "evaluate records no gradients and changes nothing",
    points=4,
    why="eval() doesn't stop autograd: without no_grad the whole graph is kept for each batch, for nothing.",
    after=["test_eval_mode"],
)
def test_no_gradients(sandbox):
    found = sandbox.run(probes.traces_of_evaluation, *linear_task(10, seed=26), [4, 4, 2])
    during = found["grad_enabled_during"]
    expect(
        bool(during) and not any(during),
        expected="gradients switched off at every forward pass",
        actual=f"torch.is_grad_enabled() was {describe(during)}",
        because="nobody calls backward here: the recorded graph only costs memory and time.",
        looks_like="a missing torch.no_grad() (eval() is something else).",
    )
    expect(
        found["grad_enabled_after"] is True,
        expected="gradients switched on again afterwards",
        actual="torch.is_grad_enabled() is False",
        because="the next training step would fail.",
        looks_like="torch.set_grad_enabled(False) without a way back: use it, or no_grad(), in a with statement.",
    )
    for name, trainable in found["trainable"].items():
        expect(
            trainable is True,
            expected=f"{name} to require a gradient as before",
            actual="requires_grad is False",
            because="freezing the parameters outlives the evaluation.",
            looks_like="requires_grad_(False) used where no_grad() belongs.",
        )
    for name, gradient in found["gradients"].items():
        untouched = type(gradient) is torch.Tensor and bool((gradient == 3.0).all())
        expect(
            untouched,
            expected=f"the gradient of {name} as it was (3.0 everywhere)",
            actual=describe(gradient),
            because="an evaluation in the middle of gradient accumulation must not lose it.",
            looks_like="zero_grad() or backward() in evaluate.",
        )
    for name, value in found["before"].items():
        expect_equal(found["after"].get(name), value, because=f"{name} is none of evaluate's business.")


@check(
    "An empty loader raises ValueError",
    points=2,
    why="0/0 is no accuracy. A silent 0.0 looks like a terrible model, a ZeroDivisionError like a bug of yours.",
    after=["test_mean_loss", "test_exact_accuracy"],
)
def test_empty_loader(sandbox):
    weight, bias, _, _ = linear_task(2, seed=27)
    found = sandbox.run(probes.on_nothing, weight, bias)
    for name in ("train_one_epoch", "evaluate"):
        outcome = found[name]
        actual = outcome.get("raised", f"it returned {describe(outcome.get('value'))}")
        expect(
            outcome.get("raised") == "ValueError",
            expected=f"{name} to raise ValueError on an empty loader",
            actual=actual,
            because="the statement says so: the caller learns that there was no data.",
            looks_like="the division by the number of examples isn't guarded."
            if actual == "ZeroDivisionError"
            else None,
        )


# --- the training ----------------------------------------------------------------------------------------

OVERFIT_BAR = 0.1


@check(
    "The network can learn one batch of 64 by heart",
    points=7,
    why="The standard first experiment: a model that can't overfit one batch has a bug, however long you train it.",
    after=["test_gradients_reach_parameters", "test_raw_logits"],
)
def test_overfits_one_batch(sandbox, data):
    digits = data("mnist")
    images, labels = digits.sample("train", 64, seed=7)
    inputs = (images.float() / 255 - digits.mean[0]) / digits.std[0]
    found = sandbox.run(probes.overfit, inputs, labels, 60, 0.002)
    expect_shape(found["after"], (64, CLASSES), because="eval mode after training gives logits as before.")
    expect_finite(found["after"], because="training must not blow up.")
    loss = float(F.cross_entropy(found["after"].double(), labels))
    sandbox.measure("overfit_loss", loss)
    expect_at_most(
        loss,
        OVERFIT_BAR,
        because="60 steps of Adam on the same 64 images, measured in eval mode, are "
        "enough for any network of this kind to know them by heart.",
        looks_like=overfit_story(loss),
    )


def overfit_story(loss):
    if loss > 1:
        return (
            "a network whose eval mode differs from what was trained (batch-norm whose running statistics don't "
            "follow, heavy dropout), or one that hardly learns at all."
        )
    return "on the way, but slowly: saturating activations (sigmoid after each layer), or very narrow layers."


# Bars are calibrated: calibration.toml has the accuracies over seeds. None means all there are.
QUICK = {
    "real": {"train": 12_000, "held_out": 4_000, "epochs": 3, "bar": 95.0},
    "embedded": {"train": 12_000, "held_out": 2_000, "epochs": 3, "bar": 94.0},
}
FULL = {
    "real": {"train": None, "held_out": None, "epochs": 2, "bar": 98.0},
    "embedded": {"train": None, "held_out": None, "epochs": 8, "bar": 96.0},
}
BUDGET = {"cpu_seconds": 90, "wall_seconds": 240}
FULL_BUDGET = {"cpu_seconds": 400, "wall_seconds": 900}


@check(
    "Trained by your own loop, your network reads held-out digits",
    points=8,
    why="The proof that all parts work together: a linear model stays near 91 %.",
    after=["test_layers", "test_overfits_one_batch", "test_every_batch_once", "test_train_mode"],
)
def test_held_out_accuracy(sandbox, data):
    digits = data("mnist")
    plan = (FULL if sandbox.full else QUICK)[digits.source]
    images, labels = some(digits, "train", plan["train"])
    held_out, truth = some(digits, "test", plan["held_out"])
    budget = FULL_BUDGET if sandbox.full else BUDGET
    found = sandbox.run(
        probes.train_and_predict,
        images,
        labels,
        held_out,
        digits.mean[0],
        digits.std[0],
        epochs=plan["epochs"],
        batch_size=64,
        lr=2e-3,
        **budget,
    )
    logits = found["logits"]
    expect_shape(logits, (len(held_out), CLASSES), because="one row of logits per held-out image.")
    expect_finite(logits, because="a training that ends in NaN has diverged.")
    accuracy = float((logits.argmax(1) == truth).double().mean())
    sandbox.measure("accuracy", accuracy)
    expect_at_least(
        round(100 * accuracy, 2),
        plan["bar"],
        unit=" %",
        because=f"{len(images):,} examples, {plan['epochs']} epochs of your train_one_epoch, Adam(lr=2e-3) "
        f"and batches of 64, measured by the judge on {len(held_out):,} digits held back.",
        looks_like=accuracy_story(accuracy),
    )


def some(digits, split, count):
    """`count` examples of a split, or all of them."""
    whole = getattr(digits, split)
    return (whole.images, whole.labels) if count is None else digits.sample(split, count, seed=1)


def accuracy_story(accuracy):
    if accuracy < 0.15:
        return "chance: nothing was learned. Do inputs and labels still belong together inside the model?"
    if accuracy < 0.93:
        return "what a linear model reaches: the convolutions don't see enough (stride, pooling or width too coarse?)."
    return None

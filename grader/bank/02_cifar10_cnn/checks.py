"""What has to hold of normalisation, network, training and prediction; all numbers are computed here."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_finite,
    expect_shape,
    expect_tensor,
    fail,
)

from . import probes

MEAN = torch.tensor((0.4914, 0.4822, 0.4465), dtype=torch.float64).view(1, 3, 1, 1)
STD = torch.tensor((0.2470, 0.2435, 0.2616), dtype=torch.float64).view(1, 3, 1, 1)
CLASSES = 10

# Images × epochs, and the share of unseen images to get right; see calibration.toml.
BUDGETS = {
    ("real", False): (10_000, 4),
    ("embedded", False): (10_000, 4),
    ("real", True): (50_000, 3),
    ("embedded", True): (12_000, 8),  # all there are
}
BARS = {("real", False): 0.48, ("embedded", False): 0.40, ("real", True): 0.60, ("embedded", True): 0.60}
UNSEEN = 5_000  # fewer where the set has no more
# Generous: the reference needs 10 and 35 CPU seconds. Memory for those who normalise the whole set at once.
LIMITS = {
    False: {"cpu_seconds": 150, "wall_seconds": 450},
    True: {"cpu_seconds": 600, "wall_seconds": 1200, "memory_mb": 3500},
}


def random(seed):
    return torch.Generator().manual_seed(seed)


def pixels(count, seed):
    """Random bytes, N×3×32×32."""
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=random(seed))


def floats(count, seed, scale=1.0):
    """Random images as `normalize` might return them."""
    return scale * torch.randn(count, 3, 32, 32, generator=random(seed))


# --- what a batch of pixels should become, and what it becomes by the usual mistakes ---------------------


def golden(images):
    return (images.double() / 255 - MEAN) / STD


MISTAKES = [
    ("The pixels reach the model as bytes made float, not normalised at all.", lambda x: x),
    ("Only the scaling to 0…1 is there, MEAN and STD are not used.", lambda x: x / 255),
    ("MEAN and STD are for pixels scaled to 0…1, but the division by 255 is missing.", lambda x: (x - MEAN) / STD),
    ("Normalised twice: normalize was applied to its own result.", lambda x: golden(golden(x))),
    ("Normalised twice: MEAN and STD are applied two times.", lambda x: (golden(x) - MEAN) / STD),
    ("The pixels are divided by 255 twice.", lambda x: golden(x / 255)),
    ("MEAN and STD are swapped.", lambda x: (x / 255 - STD) / MEAN),
    ("MEAN is subtracted, but nothing is divided by STD.", lambda x: x / 255 - MEAN),
    ("Divided by STD squared, the variance.", lambda x: (x / 255 - MEAN) / STD**2),
    ("Scaled to -1…1 with 0.5 for every channel instead of MEAN and STD.", lambda x: (x / 255 - 0.5) / 0.5),
    ("The channels are in the order blue, green, red.", lambda x: golden(x.flip(1))),
    ("The constants of red and blue are exchanged.", lambda x: (x / 255 - MEAN.flip(1)) / STD.flip(1)),
    ("One mean and one deviation for all channels.", lambda x: (x / 255 - MEAN.mean()) / STD.mean()),
    ("One mean for all channels.", lambda x: (x / 255 - MEAN.mean()) / STD),
    ("Whole-number division: 255 becomes 1 and every other pixel 0.", lambda x: (x // 255 - MEAN) / STD),
    ("The division is by 256, but the brightest pixel is 255.", lambda x: (x / 256 - MEAN) / STD),
    ("Statistics of the batch itself instead of the constants.",
     lambda x: (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), correction=0, keepdim=True)),
    ("Statistics of each image itself instead of the constants.",
     lambda x: (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), correction=0, keepdim=True)),
]


def mistake(values, images):
    """The sentence of the usual mistake that turns `images` into `values`, if one does."""
    if type(values) is not torch.Tensor or values.shape != images.shape:
        return None
    got = values.double()
    for sentence, formula in MISTAKES:
        if torch.allclose(got, formula(images.double()), rtol=2e-3, atol=2e-3):
            return sentence
    return None


@check(
    "Normalisation gives the right value for each channel",
    points=7,
    why="A network is only as good as its input, and a wrong constant raises no error: it costs accuracy.",
)
def test_normalize_values(sandbox):
    steps = torch.tensor((0, 128, 255), dtype=torch.uint8)
    flat = steps.view(3, 1, 1, 1).expand(3, 3, 32, 32).contiguous()  # one grey level per image
    mixed = pixels(5, seed=1)
    result = sandbox.run(probes.normalized, flat, mixed)
    guess = mistake(result["out"][1], mixed)
    for images, out in zip((flat, mixed), result["out"], strict=True):
        expect_shape(out, tuple(images.shape), because="The network reads N×3×32×32; normalising changes values "
        "only.")
        expect_finite(out, because="One NaN in the input makes every weight NaN after the first step.")
        expect_close(
            out,
            golden(images),
            rtol=1e-4,
            atol=1e-4,
            because="(pixel / 255 - MEAN) / STD, channel by channel: so each channel has about mean 0 and "
            "deviation 1 over the training set, which is what default initialisations are made for.",
            looks_like=guess,
        )


@check(
    "Normalisation treats an image the same alone and in company",
    points=4,
    why="With statistics of the batch, a prediction depends on which other images arrive with it.",
)
def test_normalize_alone(sandbox):
    dark, bright = pixels(3, seed=2) // 4, 191 + pixels(3, seed=3) // 4
    images = torch.cat((dark, bright))
    before = images.clone()
    result = sandbox.run(probes.normalized, images, images[:1], images[5:].clone())
    together, first, last = result["out"]
    expect_dtype(
        together,
        torch.float32,
        because="Weights are float32 by default, and convolutions refuse mixed types; float64 doubles the time.",
        looks_like="Constants made by numpy or with dtype float64 turn the whole result into float64."
        if type(together) is torch.Tensor and together.dtype == torch.float64
        else None,
    )
    for alone, row in ((first, together[:1]), (last, together[5:])):
        expect_close(
            alone,
            row,
            rtol=1e-4,
            atol=1e-4,
            because="The same image must give the same input in training, in evaluation and in production, where it "
            "often comes alone.",
            looks_like="The statistics come from the images at hand, not from MEAN and STD.",
        )
    expect_equal(
        result["inputs"][0],
        before,
        because="The raw images are used again in the next epoch; changed in place, they would be normalised again.",
        looks_like="An in-place operation (`sub_`, `div_`, `-=`) on the caller's tensor.",
    )


# --- the network ---------------------------------------------------------------------------------------

SIZES = (64, 7, 2, 1, 9)


def shape_guess(row, shape):
    size, got = row["size"], tuple(shape)
    if len(got) == 2 and got[1] == CLASSES and got[0] != size:
        return (
            f"{size} images came in and {got[0]} rows went out: the flatten re-cuts the batch. `view(-1, K)` with "
            "a K that isn't channels × height × width of your maps does that without an error; `flatten(1)` can't."
        )
    if got == (size,):
        return "argmax in the network: class ids have no gradient. It belongs into predict."
    if len(got) == 2 and got[0] == size:
        return "The last layer has the wrong number of outputs."
    if got == (CLASSES,):
        return "The batch axis was lost: a `squeeze()` or a flatten without `start_dim=1`."
    return None


@check(
    "The network returns ten logits for each image, for any batch size",
    points=7,
    why="The classic bug of this task is a flatten with a wrong size, which re-cuts the batch or crashes on odd "
    "ones.",
)
def test_logits_shape(sandbox):
    expect(
        sandbox.run(probes.is_module) is True,
        expected="an nn.Module from CNN()",
        actual="another object",
        because="Only an nn.Module registers its parameters, so that an optimizer can find them.",
    )
    rows = sandbox.run(probes.logits_for_sizes, floats(64, seed=4), list(SIZES))
    for row in rows:
        where = f"{row['size']} image{'s' * (row['size'] > 1)} in {'training' if row['training'] else 'eval'} mode"
        if "raised" in row:
            flatten = "shape" in row["message"] or "multiplied" in row["message"] or "size" in row["message"]
            fail(
                expected=f"logits of shape ({row['size']}, 10) for {where}",
                actual=f"{row['raised']}: {row['message']}",
                because="The last batch of an epoch is rarely full, and a user may send a single image.",
                looks_like="The size after the flatten doesn't fit: for 32×32 input, follow height and width through "
                "each layer, (size + 2·padding - kernel) // stride + 1." if flatten else None,
            )
        value = expect_tensor(row["value"], because=f"The network returns one tensor of logits ({where}).")
        expect_shape(
            value,
            (row["size"], CLASSES),
            because=f"One row per image, one column per class, here for {where}. Otherwise labels and rows no longer "
            "belong together.",
            looks_like=shape_guess(row, value.shape),
        )
        expect_dtype(value, torch.float32, because="Logits are float32: argmax comes later, in `predict`.")
        expect_finite(value, because="A fresh network on ordinary input must not overflow.")


def logits_guess(logits):
    """What was done to the logits, as far as the numbers show it."""
    if torch.allclose(logits.sum(1), torch.ones(len(logits)), atol=1e-3) and logits.min() >= 0:
        return "Rows that sum to 1: a softmax in the network. cross_entropy applies its own on top."
    if torch.allclose(logits.logsumexp(1), torch.zeros(len(logits)), atol=1e-3):
        return "exp of each row sums to 1: a log_softmax in the network. It belongs into the loss."
    if logits.min() >= 0 and logits.max() <= 1:
        return "All values lie between 0 and 1: a sigmoid in the network."
    if logits.min() >= 0:
        return "No value is below zero: an activation such as ReLU on the last layer."
    if logits.max() <= 0:
        return "No value is above zero."
    return None


@check(
    "The network returns raw logits",
    points=6,
    why="cross_entropy expects logits. On probabilities it still runs, but its loss can't go below 1.46.",
    after=["test_logits_shape"],
)
def test_raw_logits(sandbox):
    mild, strong, training = sandbox.run(probes.logits_of_strong_weights, floats(64, seed=5), 10.0)
    for name, values in (("", mild), (", weights times ten", strong)):
        guess = logits_guess(values.float())
        if guess is None and name and values.abs().max() <= 1.0001:
            guess = "All values lie between -1 and 1, however large the weights: a tanh on the last layer."
        expect(
            guess is None,
            expected="logits of both signs, without bounds, whose rows have no fixed sum",
            actual=f"values from {values.min():.4g} to {values.max():.4g}, rows summing to "
            f"{values.sum(1).min():.4g} … {values.sum(1).max():.4g} (fresh network{name})",
            because="The loss turns logits into probabilities itself, in a numerically safe way. Squashed "
            "before, they can't become large, and gradients fade.",
            looks_like=guess,
        )
    zeros = float((training == 0).double().mean())
    expect(
        zeros < 0.01,
        expected="logits other than zero in training mode, too",
        actual=f"exactly zero for {zeros:.0%} of them",
        because="A logit that is struck out says nothing of its class, and the loss blames the others for it.",
        looks_like="Dropout behind the last layer: it belongs in front of it.",
    )


@check(
    "The answer for an image depends on that image alone",
    points=7,
    why="A view or permute that mixes images keeps every shape right; only values and gradients show it.",
    after=["test_logits_shape"],
)
def test_images_independent(sandbox):
    images, row = floats(6, seed=7), 2
    result = sandbox.run(probes.company, images, row)
    expect_close(
        result["again"],
        result["together"],
        because="In eval mode the same images get the same logits, call after call.",
        looks_like="F.dropout without `training=self.training` stays active in eval mode; or a layer is made anew in "
        "every forward.",
    )
    gradient = expect_tensor(result["gradient"], because="The gradient with respect to the images is needed.")
    own = float(gradient[row].abs().max())
    others = float(torch.cat((gradient[:row], gradient[row + 1 :])).abs().max())
    expect(
        own > 0,
        expected=f"a gradient of output {row} with respect to image {row}",
        actual="zero everywhere",
        because="An output that doesn't depend on its image can't learn anything about it.",
        looks_like="The output is constant, computed from something else, or cut off with detach or argmax.",
    )
    mixes = (
        "A flatten, view or permute that moves values between images. Keep axis 0 first and flatten the rest: "
        "`x.flatten(1)`."
    )
    expect(
        others == 0,
        expected=f"zero gradient of output {row} with respect to every other image",
        actual=f"a gradient up to {others:.3g}, against {own:.3g} for its own image",
        because="Rows of a batch share weights and nothing else, or a prediction changes with its neighbours.",
        looks_like="A batch norm without running statistics normalises with the batch even in eval mode."
        if float(gradient.abs().amax((1, 2, 3)).min()) > 0
        else mixes,
    )
    for index, alone in enumerate(result["alone"]):
        expect_close(
            alone,
            result["together"][index : index + 1],
            rtol=1e-3,
            atol=1e-4,
            because=f"Image {index} alone must get the logits that it gets among five others (eval mode).",
            looks_like=mixes,
        )


@check(
    "Every parameter is registered and gets a gradient",
    points=6,
    why="A layer in a plain list, a frozen or unused one, or a detach in forward trains nothing and says nothing.",
    after=["test_logits_shape"],
)
def test_parameters(sandbox):
    labels = torch.arange(40) % CLASSES
    for row in sandbox.run(probes.gradients, floats(40, seed=8), labels):
        name = row["name"]
        expect(
            row["trainable"] is True and row["largest"] is not None,
            expected=f"a gradient for `{name}`",
            actual="none" if row["trainable"] else "none: its requires_grad is False",
            because="A parameter without a gradient stays as it was initialised, whatever the optimizer.",
            looks_like="requires_grad was switched off, as for a frozen backbone; here there is nothing "
            "pretrained to keep."
            if not row["trainable"]
            else f"The layer of `{name}` isn't used in forward, or a detach, `.data` or no_grad cuts the graph "
            "behind it.",
        )
        # Biases in front of a batch norm rightly get zero; matrices and kernels never do.
        expect(
            row["axes"] < 2 or row["largest"] > 0,
            expected=f"a gradient other than zero for `{name}`",
            actual=f"largest value {row['largest']}",
            because="Zero gradient for a whole layer, over 40 images and three steps, means it will never learn.",
            looks_like="The layer behind it gives nothing back: all its units are dead, or its output is "
            "multiplied by zero.",
        )
    result = sandbox.run(probes.transplanted, floats(5, seed=9))
    expect_close(
        result["second"],
        result["first"],
        rtol=1e-4,
        atol=1e-5,
        because="After load_state_dict two networks are equal; what isn't in state_dict isn't saved, moved or "
        "trained.",
        looks_like="A layer lives in a plain Python list or dict (use nn.ModuleList), or is made anew inside "
        "forward.",
    )
    one, two = sandbox.run(probes.first_weights)
    expect(
        not torch.equal(one, two) and float(one.std()) > 0,
        expected="two fresh networks with different random weights",
        actual="the same weights in both",
        because="Equal weights within a layer get equal gradients for ever; random initialisation breaks the tie.",
        looks_like="Weights set to a constant, or a seed set inside CNN.",
    )


@check(
    "The network is not linear",
    points=4,
    why="Without activations any stack of convolutions is one linear map, and that ends at 37 % here.",
    after=["test_logits_shape"],
)
def test_nonlinear(sandbox):
    result = sandbox.run(probes.bends, floats(16, seed=10, scale=2.0), floats(16, seed=11, scale=2.0))
    straight = (result["first"].double() + result["second"].double()) / 2
    spread = float((result["first"] - result["second"]).abs().mean()) + 1e-12
    bend = float((result["middle"].double() - straight).abs().mean()) / spread
    expect(
        bend > 1e-4,
        expected="logits that bend between two images (pooling counted as linear)",
        actual=f"half way between two images lies half way between their logits, within {bend:.1g}",
        because="A chain of linear layers is one linear layer, however long. Max pooling alone adds little.",
        looks_like="The activations (ReLU …) between the layers are missing.",
    )
    expect_equal(
        result["collapsing"],
        0,
        because="Two linear layers in a row multiply out to one: the parameters of the second buy nothing.",
        looks_like="The activation between two `nn.Linear` layers is missing.",
    )


@check(
    "A fresh network is undecided: loss about ln 10",
    points=3,
    why="The first loss is the cheapest test there is: much above ln K, the last layer starts too large.",
    after=["test_logits_shape", "test_normalize_values"],
)
def test_initial_loss(sandbox, data):
    images, labels = data("cifar10").sample("train", 200, seed=12)
    losses = [
        float(F.cross_entropy(logits.double(), labels))
        for logits in sandbox.run(probes.fresh_logits, images, 3, seed=13)
    ]
    worst = max(losses, key=lambda loss: abs(loss - math.log(CLASSES)))
    expect(
        abs(worst - math.log(CLASSES)) <= 0.5,
        expected="a mean cross-entropy of 2.303 = ln 10 before training, give or take 0.5",
        actual=f"{worst:.3f}",
        because="Ten classes, no knowledge: probability 1/10 each, so -ln(1/10). A larger loss is confident "
        "nonsense that the first epochs have to unlearn.",
        looks_like="The initial weights of a layer are too large." if worst > 2.8 else None,
    )


# --- images that can be recognised by their colour --------------------------------------------------------

LEVELS = 11
STEP = 25


def colours(count):
    """`count` different colours, N×3 bytes; image number i is colour i all over."""
    number = torch.arange(count)
    digits = torch.stack((number % LEVELS, number // LEVELS % LEVELS, number // LEVELS**2), dim=1)
    return (digits * STEP).to(torch.uint8)


def plain_images(table):
    return table[:, :, None, None].expand(-1, -1, 32, 32).contiguous()


def banded_images(table):
    """As plain images, but with the opposite colour in the upper and lower eight rows: rows aren't columns."""
    images = plain_images(table)
    opposite = (LEVELS - 1) * STEP - images
    images[:, :, :8], images[:, :, 24:] = opposite[:, :, :8], opposite[:, :, 24:]
    return images


def golden_colours(table):
    return golden(plain_images(table)[:, :, :1, :1])[:, :, 0, 0]


def recognised(uses, table):
    """Which image each row of each call was, and how far the worst is from any; calls in order."""
    seen = torch.cat([use["colours"] for use in uses]).double()
    distance = torch.cdist(seen, golden_colours(table))
    nearest = distance.min(dim=1)
    return nearest.indices, float(nearest.values.max()), seen


def seen_mistake(seen, table):
    """The usual mistake that explains the colours that reached the model, whatever their order."""
    batch = table.double()[:, :, None, None]
    for sentence, formula in MISTAKES:
        made = formula(batch)[:, :, 0, 0]
        if made.isfinite().all() and float(torch.cdist(seen, made).min(dim=1).values.max()) < 1e-2:
            return sentence
    return None


def expect_normalised_once(uses, table, who):
    """Fails unless every image that reached the model was one of `table`, normalised once."""
    numbers, distance, seen = recognised(uses, table)
    if distance >= 0.02:
        fail_normalised(seen, table, who)
    return numbers


def expect_upright(uses, table):
    """Fails unless the left edge half-way up had the colour of the middle, as flips and small shifts leave it."""
    middle = torch.cat([use["colours"] for use in uses])
    edge = torch.cat([use["edge"] for use in uses])
    other = (edge - middle).abs().amax(1) > 0.02
    if not bool(other.any()):
        return
    turned = golden_colours((LEVELS - 1) * STEP - table)
    fail(
        expected="images that are shifted by 4 pixels at most, mirrored, or left as they are",
        actual=f"{int(other.sum())} of {len(other)} images in which rows were no longer rows",
        because="The network learns to see; in predict it is shown pictures the right way up.",
        looks_like="Height and width are exchanged, or the images are turned by 90°."
        if float(torch.cdist(edge[other].double(), turned).min(dim=1).values.max()) < 0.02
        else None,
    )


def fail_normalised(seen, table, who):
    """Ends the check; explaining takes longer than finding out, so it isn't done for a pass."""
    fail(
        expected=f"images in `{who}` that reach the model as `normalize` returns them",
        actual=f"other values, from {float(seen.min()):.4g} to {float(seen.max()):.4g}",
        because="The model sees the same normalisation in training and in prediction, once: otherwise it is "
        "asked about images unlike any it has learned from.",
        looks_like=seen_mistake(seen, table),
    )


def head(seed):
    """Weights of a linear classifier of colours."""
    generator = random(seed)
    return 1.5 * torch.randn(CLASSES, 3, generator=generator), 0.3 * torch.randn(CLASSES, generator=generator)


def clear_cases(weight, bias, count, seed):
    """`count` colours that this classifier decides clearly, with its decisions."""
    table = colours(LEVELS**3)
    logits = golden_colours(table) @ weight.double().T + bias.double()
    best = logits.topk(2, dim=1).values
    clear = (best[:, 0] - best[:, 1] > 0.05).nonzero()[:, 0]
    picked = clear[torch.randint(len(clear), (count,), generator=random(seed))]
    return table[picked], logits[picked].argmax(1)


# --- predict -------------------------------------------------------------------------------------------


@check(
    "predict returns the class of the largest logit for every image, in batches",
    points=6,
    why="An argmax over the wrong axis, a lost last batch or raw pixels all give plausible numbers.",
    after=["test_normalize_values"],
)
def test_predict_classes(sandbox):
    weight, bias = head(14)
    sizes = (1, 10, 303, 2303)
    cases = [clear_cases(weight, bias, size, seed=size) for size in sizes]
    results = sandbox.run(probes.predictions, weight, bias, *[plain_images(table) for table, _ in cases])
    for size, (table, classes), result in zip(sizes, cases, results, strict=True):
        uses = result["uses"]
        expect(
            bool(uses),
            expected="calls of model(…)",
            actual="none",
            because="Predictions come from the model that was passed, not from another one.",
        )
        expect_normalised_once(uses, table, "predict")
        expect_shape(
            result["classes"],
            (size,),
            because=f"One class id for each of {size} images.",
            looks_like="argmax over axis 0 picks an image per class; the classes are on axis 1."
            if type(result["classes"]) is torch.Tensor and tuple(result["classes"].shape) == (CLASSES,) and size != 10
            else "Logits or probabilities were returned instead of class ids."
            if type(result["classes"]) is torch.Tensor and tuple(result["classes"].shape) == (size, CLASSES)
            else "The last, smaller batch is lost."
            if type(result["classes"]) is torch.Tensor and result["classes"].shape < (size,)
            else None,
        )
        expect_dtype(result["classes"], torch.int64, because="Class ids are int64, as labels are.",
                     looks_like="The largest logit itself was returned, not its index." if
                     result["classes"].is_floating_point() else None)
        expect_equal(
            sum(use["count"] for use in uses),
            size,
            because="Each image goes through the model once.",
        )
        wrong = int((result["classes"] != classes).sum())
        expect(
            wrong == 0,
            expected=f"the class with the largest logit for each of {size} images",
            actual=f"another class for {wrong} of them",
            because="The prediction is argmax over the class axis, in the order in which the images came.",
        )
    largest = max(use["count"] for use in results[-1]["uses"])
    expect(
        largest <= 1000,
        expected="at most 1,000 images at a time",
        actual=f"{largest} of {sizes[-1]} images in one call of the model",
        because="Activations take far more memory than pixels: 10,000 images at once need gigabytes even for a small "
        "network.",
        looks_like="The whole set goes through the model in one call.",
    )
    pixels = torch.randint(256, (60, 3, 32, 32), generator=random(29), dtype=torch.uint8)
    pixels[:, 0, 0, :CLASSES] = torch.stack([torch.randperm(CLASSES, generator=random(n)) for n in range(60)]) * 25
    found = sandbox.run(probes.predictions_of_pixels, pixels)
    wrong = int((found != pixels[:, 0, 0, :CLASSES].long().argmax(1)).sum())
    expect(
        wrong == 0,
        expected="the class that a model reading single pixels gives to each of 60 images",
        actual=f"another class for {wrong} of them",
        because="What is predicted is the image as it is.",
        looks_like="The images are shifted, flipped or otherwise augmented: that belongs to training.",
    )


@check(
    "predict works in eval mode, without gradients, and puts the mode back",
    points=7,
    why="eval() and no_grad() are independent switches; forgetting either, or leaving the model changed, is common.",
    after=["test_predict_classes"],
)
def test_predict_mode(sandbox):
    weight, bias = head(15)
    table, classes = clear_cases(weight, bias, 150, seed=16)
    for row in sandbox.run(probes.predictions_by_mode, weight, bias, plain_images(table)):
        came = "training" if row["came_in"] else "eval"
        expect(
            not any(use["training"] for use in row["uses"]),
            expected="model.training False whenever predict calls the model",
            actual=f"a call in training mode (the model came in {came} mode)",
            because="In training mode dropout deletes features at random and batch norm uses the batch at hand, "
            "so the same image gets different answers.",
            looks_like="model.eval() is missing.",
        )
        expect(
            not any(use["recording"] for use in row["uses"]),
            expected="no gradients recorded in predict",
            actual="autograd was on during a call of the model",
            because="Recording keeps every activation alive for a backward pass that never comes. eval() doesn't "
            "switch it off.",
            looks_like="torch.no_grad() (or inference_mode) is missing.",
        )
        expect(
            row["recording_afterwards"],
            expected="gradients recorded again after predict",
            actual="autograd is switched off for whatever comes next",
            because="The caller may go on training: backward() would raise.",
            looks_like="torch.set_grad_enabled(False) without switching it back; no_grad() as a context does both.",
        )
        left = "training" if row["left_in"] else "eval"
        expect(
            row["left_in"] == row["came_in"] and all(part == row["came_in"] for part in row["parts_left_in"]),
            expected=f"a model that came in {came} mode to be in {came} mode afterwards",
            actual=f"it is in {left} mode",
            because="Predicting in the middle of training must not switch off dropout for the rest of it, and a "
            "model in use must not start training mode.",
            looks_like="eval() is never undone." if row["came_in"] else "train() is called whatever the mode was.",
        )
        first, second = row["classes"]
        expect_equal(first, second, because="The same images get the same classes, twice in a row.")
        wrong = int((first != classes).sum())
        expect_equal(wrong, 0, because="With dropout off and running statistics, every clear case is decided "
        "rightly.")
        for name, value in row["buffers_before"].items():
            expect_equal(
                row["buffers_after"][name],
                value,
                because=f"Predicting must not change the model: `{name}` of the batch norm moved.",
                looks_like="The model ran in training mode.",
            )


# --- train, watched ------------------------------------------------------------------------------------

WATCHED = 1003
EPOCHS = 3


def watch(sandbox, seed):
    """The evidence of one watched run, with the colours and labels of its images."""
    weight, bias = head(seed)
    table = colours(WATCHED)
    labels = torch.randint(CLASSES, (WATCHED,), generator=random(seed + 1))
    run = sandbox.run(probes.training, weight, bias, banded_images(table), labels, EPOCHS, seed=seed)
    expect(
        bool(run["uses"]),
        expected="calls of model(…) in train",
        actual="none",
        because="train works on the model that it is given.",
    )
    return run, table, labels


def neighbours(order):
    """The pairs of images that follow each other."""
    return set(zip(order[:-1].tolist(), order[1:].tolist(), strict=True))


def count_guess(uses, total):
    sizes = [use["count"] for use in uses]
    batch = max(sizes)
    if any(not use["recording"] for use in uses):
        return "Images also go through the model without gradients, to evaluate: that counts as well."
    if total == EPOCHS * (WATCHED // batch * batch):
        return f"The last, smaller batch of each epoch is dropped (batches of {batch}, `drop_last=True` or "
        "rounding down)."
    if total == 2 * EPOCHS * WATCHED:
        return "Each image goes through the model twice as often as asked."
    if total == EPOCHS * (WATCHED // 2) or total == EPOCHS * -(-WATCHED // 2):
        return "Half of the images are never used."
    if total == WATCHED:
        return "One pass only: `epochs` isn't used, or an early return ends the run."
    if total == len(uses) * batch and total < EPOCHS * WATCHED and len(uses) == EPOCHS:
        return "One batch per epoch: the inner loop ends after its first round."
    return None


@check(
    "train shows the model every image once per epoch, in a new random order",
    points=8,
    why="A dropped batch, a missing shuffle or the first batch over and over still make the loss fall.",
    after=["test_normalize_values"],
)
def test_train_visits(sandbox):
    run, table, labels = watch(sandbox, 17)
    uses = run["uses"]
    numbers = expect_normalised_once(uses, table, "train")
    expect_upright(uses, table)
    total, budget = len(numbers), EPOCHS * WATCHED
    expect(
        total == budget,
        expected=f"{budget} examples through the model: {EPOCHS} epochs × {WATCHED} images",
        actual=f"{total} examples in {len(uses)} calls",
        because="The budget is fixed so that results compare. More is more than was allowed; less leaves data "
        "unused.",
        looks_like=count_guess(uses, total),
    )
    orders = numbers.view(EPOCHS, WATCHED)
    for epoch, order in enumerate(orders, start=1):
        missing = WATCHED - len(order.unique())
        expect(
            missing == 0,
            expected=f"each of {WATCHED} images once in epoch {epoch}",
            actual=f"{missing} images never, others repeatedly",
            because="Without replacement, an epoch sees all data. With it, a third is missed each time.",
            looks_like="Indices are drawn with replacement (`randint`) instead of from a permutation (`randperm`)."
            if missing > WATCHED // 5
            else None,
        )
        kept = len(neighbours(order) & {(i, i + 1) for i in range(WATCHED)})
        expect(
            kept < WATCHED // 20,
            expected=f"a random order in epoch {epoch}",
            actual=f"{kept} of {WATCHED - 1} images are followed by the one stored next to them",
            because="Stored data is often sorted; in order, a batch holds one class, and the weights chase it.",
            looks_like="No shuffling at all."
            if kept == WATCHED - 1
            else "Only the order of the batches is shuffled, not the images in them.",
        )
    repeated = len(neighbours(orders[0]) & neighbours(orders[1]))
    expect(
        repeated < WATCHED // 20,
        expected="a new order in each epoch",
        actual=f"{repeated} of {WATCHED - 1} images are followed by the same one in epochs 1 and 2",
        because="New batches each time average out the noise of any one grouping.",
        looks_like="The permutation is drawn once, before the loop over epochs, or its generator is seeded in each.",
    )
    for name, before in (("images", banded_images(table)), ("labels", labels)):
        expect_equal(
            run[f"{name}_after"],
            before,
            because=f"The caller's {name} are used again after training: they must not change.",
        )


def targets_of(use):
    """The target distribution that the loss used: with mean cross-entropy, gradient = (softmax - target) / N."""
    return use["logits"].double().softmax(1) - use["count"] * use["gradient"].double()


def loss_guess(use, labels):
    """Which other loss gives this gradient of the logits."""
    one_hot = F.one_hot(labels, CLASSES).double()
    count = use["count"]
    candidates = [
        ("The loss is summed over the batch: its gradient grows with the batch size.",
         lambda z: F.cross_entropy(z, labels, reduction="sum")),
        ("The loss gets probabilities: a softmax before cross_entropy, which applies its own.",
         lambda z: F.cross_entropy(z.softmax(1), labels)),
        ("nll_loss on raw logits: it expects log-probabilities.", lambda z: F.nll_loss(z, labels)),
        ("Mean squared error on one-hot labels.", lambda z: F.mse_loss(z, one_hot)),
        ("Mean squared error of probabilities and one-hot labels.", lambda z: F.mse_loss(z.softmax(1), one_hot)),
        ("A sigmoid per class (binary cross-entropy) instead of one softmax over the classes.",
         lambda z: F.binary_cross_entropy_with_logits(z, one_hot)),
        ("The loss is negated: training climbs instead of descending.", lambda z: -F.cross_entropy(z, labels)),
    ]
    for sentence, loss in candidates:
        z = use["logits"].double().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z), z)
        if torch.allclose(gradient, use["gradient"].double(), rtol=1e-3, atol=1e-6):
            return sentence
    shares = targets_of(use).gather(1, labels[:, None])
    if count > 1 and float(shares.std()) < 1e-3 and float(shares.mean()) > 0.2:
        return f"The right class counts {float(shares.mean()):.2f} of 1 as target: label smoothing above 0.1?"
    return None


@check(
    "train learns by mean cross-entropy, each image with its own label",
    points=7,
    why="Shuffling images without their labels gives a training loss stuck at ln 10 and no error message.",
    after=["test_train_visits"],
)
def test_train_labels(sandbox):
    run, table, labels = watch(sandbox, 19)
    numbers = expect_normalised_once(run["uses"], table, "train")
    start = 0
    for use in run["uses"]:
        mine = numbers[start : start + use["count"]]
        start += use["count"]
        expect(
            "gradient" in use,
            expected="a gradient of the loss for the logits of each batch",
            actual="none reached them",
            because="Without backward through the logits, nothing is learned from the batch.",
            looks_like="backward() is missing, or the graph is cut by detach, item, argmax or no_grad.",
        )
        expect_finite(use["gradient"], because="A NaN in one gradient spoils every weight.")
        right = labels[mine]
        targets = targets_of(use)
        shares = targets.gather(1, right[:, None])[:, 0]
        others = targets.scatter(1, right[:, None], 0.0)
        # Room for label smoothing up to 0.1, and for logits in bfloat16.
        plain = bool((shares > 0.899).all()) and bool((shares < 1.006).all()) and float(others.abs().max()) < 0.0115
        if plain:
            continue
        meant = targets.argmax(1)
        agree = float((meant == right).double().mean())
        guess = loss_guess(use, right)
        if guess is None and agree < 0.6:
            after, before = (right + 1) % CLASSES, (right - 1) % CLASSES
            stored = torch.equal(meant, labels[: len(meant)])
            shifted = torch.equal(meant, after) or torch.equal(meant, before)
            guess = (
                "The labels are shifted by one."
                if shifted
                else "The images are shuffled and the labels are taken in stored order."
                if stored
                else "Images and labels are shuffled apart: index both with the same permutation."
            )
        if guess is None and agree < 0.995:
            guess = "Some of the labels are changed on the way."
        fail(
            expected="the gradient of the mean cross-entropy between the batch's logits and the labels of its images",
            actual=f"another gradient; read as cross-entropy, it has the right label for {agree:.0%} of "
            f"{use['count']} images",
            because="(softmax - target) / N is what teaches the model which image belongs to which class; any other "
            "signal teaches something else.",
            looks_like=guess,
        )


def alignment(actual, wanted):
    """Cosine of the angle between two gradients."""
    return float(F.cosine_similarity(actual.double().flatten(), wanted.double().flatten(), dim=0))


def batch_gradients(use):
    """What this batch alone gives as gradient of each parameter of the watched model, by the chain rule."""
    logits = use["gradient"].double()
    features = logits @ use["head"].double()
    return {
        "mix.weight": features.T @ use["pooled"].double(),
        "mix.bias": features.sum(0),
        "head.weight": logits.T @ use["features"].double(),
        "head.bias": logits.sum(0),
    }


def as_clipped(actual, wanted):
    """Whether `actual` is `wanted`, or `wanted` clipped: all made shorter, or each number cut off.

    There is room for a backward pass in bfloat16.
    """
    length, whole = float(actual.double().norm()), float(wanted.norm())
    if alignment(actual, wanted) > 0.995 and length <= 1.2 * whole:
        return True
    largest = float(actual.abs().max())
    return torch.allclose(actual.double(), wanted.clamp(-largest, largest), rtol=1e-2, atol=1e-3 * largest)


def gradient_guess(actual, wanted, previous):
    """What a gradient that isn't this batch's own looks like; `previous` is that of the batch before, or None."""
    if alignment(actual, wanted) < -0.995:
        return "The sign is changed: this parameter climbs the loss while the others descend."
    if alignment(actual, wanted) > 0.995:
        return "The right direction, too long: backward() is called twice, or the gradient is multiplied."
    if previous is None:
        return None
    if alignment(actual, previous) > 0.999:
        return "step() comes before backward(): the gradient is the previous batch's."
    pair = torch.stack((previous.flatten(), wanted.flatten()), dim=1)
    shares = torch.linalg.lstsq(pair, actual.double().flatten()).solution
    if bool((shares > 0).all()) and alignment(actual, pair @ shares) > 0.999:
        return "This batch's gradient and the previous one's, added: zero_grad() is missing or comes too seldom."
    return None


def expect_own_gradients(gradients, wanted, index, uses):
    """Fails unless step number `index` used the gradient of its own batch, for every parameter of the model."""
    because = "A step without gradients changes nothing (or only decays the weights)."
    empty = [
        name
        for name in wanted
        if gradients[name] is None or not bool(expect_tensor(gradients[name], because=because).any())
    ]
    expect(
        not empty,
        expected=f"a gradient of every parameter in step {index + 1}",
        actual=f"none, or zero, for {', '.join(empty)}",
        because=because,
        looks_like="zero_grad() stands between backward() and step()." if len(empty) == len(wanted) else None,
    )
    for name, right in wanted.items():
        actual = gradients[name]
        expect_finite(actual, because="A NaN in one gradient spoils every weight.")
        if as_clipped(actual, right):
            continue
        previous = batch_gradients(uses[index - 1])[name] if index else None
        fail(
            expected=f"step {index + 1} on the gradient of batch {index + 1}, for `{name}`",
            actual=f"another one: cosine {alignment(actual, right):.3f}, "
            f"{float(actual.double().norm() / right.norm()):.3g} times as long",
            because="Gradients add up in .grad until they are cleared, and the optimizer goes where .grad points: "
            "each parameter needs this batch's gradient, whole or clipped.",
            looks_like=gradient_guess(actual, right, previous),
        )


@check(
    "train takes one optimizer step per batch, on that batch's gradients, in training mode",
    points=8,
    why="zero_grad, backward, step: each is forgotten or misplaced in every second interview, and the loss still "
    "falls.",
    after=["test_train_labels"],
)
def test_train_steps(sandbox):
    run, _, _ = watch(sandbox, 21)
    uses, steps = run["uses"], run["steps"]
    expect(
        all(use["training"] for use in uses),
        expected="model.training True for every batch",
        actual=f"False for {sum(not use['training'] for use in uses)} of {len(uses)} batches (the model came in "
        "eval mode)",
        because="In eval mode dropout is off and batch norm's running statistics never move, so the network is "
        "trained as it isn't meant to be.",
        looks_like="model.train() is missing at the start of train, or an eval() isn't undone.",
    )
    expect(
        all(use["layers_training"] for use in uses),
        expected="every layer inside the model in training mode",
        actual="model.training is True, but layers inside are still in eval mode",
        because="Dropout and batch norm look at their own flag, not at that of the module around them.",
        looks_like="`model.training = True` sets one flag; model.train() goes through all layers.",
    )
    expect(
        bool(steps),
        expected="steps of a torch.optim optimizer",
        actual="none",
        because="backward only fills .grad; step moves the weights.",
        looks_like="optimizer.step() is missing.",
    )
    places = [step["forwards"] for step in steps]
    expect(
        places == list(range(1, len(uses) + 1)),
        expected=f"one step after the forward pass of each of {len(uses)} batches",
        actual=f"{len(steps)} steps" + (", the first before any forward pass" if places[0] == 0 else ""),
        because="Forward, backward, step, for each batch: a step uses the gradients that backward has just left.",
        looks_like="step() comes before the batch's forward and backward." if places[0] == 0
        else "optimizer.step() stands outside the inner loop." if len(steps) == EPOCHS
        else "Only some of the batches are followed by a step." if len(steps) < len(uses)
        else None,
    )
    count = 1 + max(step["optimizer"] for step in steps)
    expect(
        count == 1,
        expected="one optimizer for the whole run",
        actual=f"{count} different ones",
        because="Momentum and Adam's averages live in the optimizer; a new one forgets them, and its schedule.",
        looks_like="The optimizer is made inside the loop over " + ("batches." if count == len(steps) else "epochs."),
    )
    still = [name for name, value in run["before"].items() if torch.equal(run["after"][name], value)]
    # First: what an optimizer doesn't hold, its zero_grad doesn't clear either.
    expect_moved([name for name in still if has_gradient(steps[0]["gradients"].get(name))])
    for index, (step, use) in enumerate(zip(steps, uses, strict=True)):
        expect_own_gradients(step["gradients"], batch_gradients(use), index, uses)
    expect_moved(still)


def has_gradient(gradient):
    return isinstance(gradient, torch.Tensor) and bool(gradient.any())


def expect_moved(still):
    expect(
        not still,
        expected="every parameter of the model moves",
        actual=f"unchanged: {', '.join(still)}",
        because="The optimizer trains what it was given, and only that.",
        looks_like="The optimizer holds only some of the model's parameters, or those of a copy.",
    )


@check(
    "The learning rate falls to half its peak or less, for any length of training",
    points=5,
    why="A schedule with a fixed length, or one stepped at the wrong place, works for one data set only.",
    after=["test_train_visits"],
)
def test_schedule(sandbox):
    weight, bias = head(23)
    labels = torch.randint(CLASSES, (WATCHED,), generator=random(24))
    lengths = [[WATCHED, 4], [200, 2], [330, 7]]
    runs = sandbox.run(probes.learning_rates, weight, bias, plain_images(colours(WATCHED)), labels, lengths)
    for (count, epochs), rates in zip(lengths, runs, strict=True):
        run = f"{count} images × {epochs} epochs"
        expect(
            bool(rates),
            expected="optimizer steps",
            actual=f"none for {run}",
            because="A schedule moves the learning rate of steps.",
        )
        peak, last = max(rates), rates[-1]
        top = rates.index(peak)
        falls = all(b <= a * (1 + 1e-9) for a, b in pairwise(rates[top:]))
        rises = all(b >= a * (1 - 1e-9) for a, b in pairwise(rates[: top + 1]))
        shown = " ".join(f"{rate:.3g}" for rate in rates[:: max(1, len(rates) // 8)])
        constant = min(rates) == peak
        expect(
            falls and rises,
            expected="a learning rate that may rise first and then only falls",
            actual=f"it goes up and down, for {run}: {shown}",
            because="Up again at the end, the weights are thrown out of the minimum that they were settling in.",
            looks_like="A cosine of `T_max=epochs` stepped per batch: past T_max it turns back up. Count both in "
            "the same unit.",
        )
        expect(
            last <= 0.5 * peak * (1 + 1e-6),
            expected=f"at most half of its peak {peak:.3g} in the last step",
            actual=f"{last:.3g}, for {run}: {shown}",
            because="Large steps get close fast, small ones settle; under a fixed budget the fall at the end is "
            "worth several points.",
            looks_like="The rate never changes: no schedule, or its step() is never called."
            if constant and all(min(r) == max(r) for r in runs)
            else "The length of the schedule is fixed or counted in the wrong unit, so this run ends before it "
            "falls. Derive it from `epochs` and the number of batches.",
        )


# --- real training -------------------------------------------------------------------------------------

BY_HEART = 32
BY_HEART_EPOCHS = 150


def by_heart_guess(loss, loss_in_training_mode):
    """What the cross-entropies in both modes point to."""
    if loss_in_training_mode <= 0.3:
        return (
            f"In training mode the loss is {loss_in_training_mode:.3f}: the network has learned, but in eval mode "
            "it is another one. Running statistics of a batch norm that hardly move (`momentum`) do that."
        )
    if loss > 4:
        return "Far worse than guessing (2.303): training diverges, or climbs the loss."
    if loss > 2.0:
        return "Not far from guessing (2.303): a learning rate far too low, or so high that the first steps wreck it."
    return None


@check(
    "CNN and train together learn 32 images by heart",
    points=5,
    why="Overfitting one batch is the first thing to try: what can't do that can't learn anything larger.",
    after=["test_train_labels", "test_train_steps", "test_raw_logits"],
)
def test_by_heart(sandbox, data):
    images, labels = data("cifar10").sample("train", BY_HEART, seed=25)
    order = torch.randperm(CLASSES, generator=random(26))
    labels = order[labels]
    result = sandbox.run(probes.by_heart, images, labels, BY_HEART_EPOCHS, seed=27, cpu_seconds=60, wall_seconds=180)
    logits = result["eval"]
    expect_shape(logits, (BY_HEART, CLASSES), because="One row of logits per image.")
    expect_finite(logits, because="Training must not diverge: a loss of NaN never recovers.",
                  looks_like="The learning rate is too high.")
    still = [name for name, value in result["statistics_after"].items()
             if torch.equal(value, result["statistics_before"][name])]
    expect(
        not still,
        expected="running statistics that follow the batches",
        actual=f"unchanged after {BY_HEART_EPOCHS} epochs: {', '.join(still)}",
        because="In eval mode a batch norm uses its running statistics. Where they stay at 0 and 1, the network is "
        "another one than the one that was trained.",
        looks_like="A batch norm with `momentum=0`, or one that is in eval mode while the network trains.",
    )
    loss = float(F.cross_entropy(logits.double(), labels))
    sandbox.measure("cross_entropy", round(loss, 4))
    expect(
        loss <= 0.3,
        expected=f"cross-entropy at most 0.3 on {BY_HEART} images after {BY_HEART_EPOCHS} epochs on them (eval mode)",
        actual=f"{loss:.3f}, with {int((logits.argmax(1) == labels).sum())} of {BY_HEART} right",
        because="Memorising a handful of images needs no generalisation, only a network and a training loop that "
        "work.",
        looks_like=by_heart_guess(loss, float(F.cross_entropy(result["train"].double(), labels))),
    )


@check(
    "Held-out accuracy within the budget",
    points=10,
    why="In the end the question is what the network says about images it has never seen.",
    after=["test_predict_mode", "test_by_heart", "test_schedule"],
)
def test_accuracy(sandbox, data):
    count, epochs = BUDGETS[sandbox.source, sandbox.full]
    # Class ids in an order of our own: only what was learned from these labels counts.
    order = torch.randperm(CLASSES, generator=random(28))
    pictures = data("cifar10")
    images, labels = pictures.sample("train", min(count, len(pictures.train)), seed=29)
    unseen, answers = pictures.sample("test", min(UNSEEN, len(pictures.test)), seed=30)
    result = sandbox.run(probes.unseen, images, order[labels], epochs, unseen, seed=31, **LIMITS[sandbox.full])
    expect_at_most(
        result["examples"],
        epochs * len(images),
        because="The budget of examples is fixed; the comparison would be unfair.",
        unit=" examples",
    )
    expect_shape(result["classes"], (len(unseen),), because="One class id per unseen image.")
    accuracy = float((result["classes"] == order[answers]).double().mean())
    sandbox.measure("accuracy", round(accuracy, 4))
    bar = BARS[sandbox.source, sandbox.full]
    sandbox.note(f"{accuracy:.1%} of {len(unseen)} unseen images, bar {bar:.0%}, {len(images)} images × {epochs} "
    "epochs")
    expect_at_least(
        accuracy,
        bar,
        because="A linear model gets 37 % of real CIFAR-10, guessing 10 %. The bar lies where a sound small CNN "
        "clears it in this budget.",
        looks_like="About chance: images and labels don't belong together, or predictions are made for other "
        "input than was trained on."
        if accuracy < 0.15
        else "The budget isn't used well: too large batches (too few steps), a learning rate too low, or a "
        "network that throws the image away too early."
        if accuracy < bar
        else None,
    )

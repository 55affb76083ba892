"""Checks for the recipe: models and data with one known fault each, and healthy ones, are shown to the suite.

The judge builds the same models and works out on its own what is to be found.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    expect,
    expect_close,
    expect_equal,
    expect_number,
    expect_type,
    fail,
    misconception,
    resembles,
)

from . import probes

MLP = {"body": "mlp", "shape": [48], "width": 24, "classes": 3}
CONV = {"body": "conv", "shape": [2, 6, 6], "width": 8, "classes": 4}
TOKENS = {"body": "tokens", "shape": [1, 8, 8], "width": 24, "classes": 3}
RARE = {**MLP, "classes": 2, "odds": 10}
"""Two classes, the second one in eleven."""


def _specs(cases, seed):
    """Each case is (what is special, spec, whether the finding is to be ok, what is likely when it isn't judged so)."""
    return [{**spec, "seed": seed + i} for i, (_, spec, _, _) in enumerate(cases)]


# --- oracles -------------------------------------------------------------------------------------------


@torch.no_grad()
def _logits(model, images, train=False):
    return copy.deepcopy(model).train(train)(images)


def _share(labels, classes):
    return torch.bincount(labels, minlength=classes) / len(labels)


def _fitted(model, images, labels, steps, optimizer=torch.optim.Adam, lr=0.01):
    model = copy.deepcopy(model).train()
    optimizer = optimizer(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        if not loss.requires_grad:
            break
        loss.backward()
        optimizer.step()
    return model


def _cost(model, images, labels, train=False):
    return float(F.cross_entropy(_logits(model, images, train), labels))


def _finding(found, said):
    """ok and value of what a function returned."""
    because = f"({said}) a Finding holds ok, a bool, and value, a float."
    expect_type(found["ok"], bool, because=because)
    return found["ok"], expect_number(found["value"], because=because)


def _expect_value(value, right, said, because, guesses, rtol=1e-3, atol=1e-5, near=None):
    """`near`: what a value suggests that is almost right."""
    agrees = resembles(value, right, rtol=rtol, atol=atol)
    looks = None if agrees else misconception(value, right, guesses, rtol=1e-3, atol=min(atol, 1e-6))
    if looks is None and not agrees and resembles(value, right, rtol=0.1, atol=0):
        looks = near
    expect_close(value, right, because=f"({said}) {because}", looks_like=looks, rtol=rtol, atol=atol)


def _expect_flag(ok, wanted, value, said, because, likely):
    """Whether the finding is judged as it should be. `likely`: what a suite does that judges it otherwise."""
    if ok is not wanted:
        words = {True: "ok", False: "not ok"}
        fail(
            expected=f"{words[wanted]} ({said})",
            actual=f"{words[ok]}, with a value of {value:.4g}",
            because=because,
            looks_like=likely or "ok doesn't follow from the value: look at the bar and its direction",
        )


# --- the form ------------------------------------------------------------------------------------------


@check(
    "recipe returns six findings under their names",
    points=5,
    why="A report that is read by people and by scripts alike needs fixed names.",
)
def test_form(sandbox):
    (found,) = sandbox.run(probes.recipes, [{**MLP, "seed": 3}])
    expect_type(found, dict, because="one finding for each name.")
    expect_equal(sorted(found), sorted(probes.FINDINGS), because="the findings bear the names of their functions.")
    for name, finding in found.items():
        _finding(finding, name)


# --- before any training -------------------------------------------------------------------------------

KNOWS = "only losses that are too high are flagged: one far below the entropy of the classes is as suspicious"
PRIOR = "ln K is taken as the only right loss: with the classes' frequencies in the bias it is their entropy"

INITIAL = [
    ("healthy, 3 classes", {**MLP, "width": 30}, True, None),
    ("healthy, batch norm, in training mode", {**CONV, "norm": True}, True, None),
    ("healthy, dropout, in training mode", {**MLP, "drop": 0.5, "classes": 5}, True, None),
    ("healthy, 10 classes, in eval mode", {**CONV, "classes": 10, "mode": "eval"}, True, None),
    ("classes 1 : 10, their frequencies in the bias", {**RARE, "prior": "right", "head": "affine"}, True, PRIOR),
    (
        "one of 4 classes doesn't occur; frequencies in the bias",
        {**MLP, "classes": 4, "used": 3, "prior": "right"},
        True,
        "0 · log 0 counts as 0 in an entropy: here it came out as nan",
    ),
    ("classes 1 : 10, bias 0", RARE, True, "the entropy alone is taken as right: without a bias for it, it is ln K"),
    (
        "two of 5 classes don't occur, bias 0",
        {**MLP, "classes": 5, "used": 3},
        True,
        "K is counted in the labels: the model has a logit for classes that don't occur, too",
    ),
    ("last layer × 20, 8 classes", {**MLP, "classes": 8, "gain": 20.0}, False, None),
    ("last layer × 20, 10 classes", {**CONV, "classes": 10, "gain": 20.0}, False, None),
    ("classes 1 : 10, the bias for 10 : 1", {**RARE, "prior": "wrong"}, False, None),
    ("a model that was trained before", {**MLP, "goal": 0.05}, False, KNOWS),
    ("0.31 below ln 3, after some training", {**MLP, "goal": 0.79}, False, KNOWS),
    ("0.2 below ln 3, after some training", {**MLP, "goal": 0.90}, True, None),
    ("0.28 above ln 3, by a bias", {**MLP, "gain": 0.0, "tilt": 1.54}, False, None),
    ("0.18 above ln 3, by a bias", {**MLP, "gain": 0.0, "tilt": 1.23}, True, None),
]


@check(
    "initial_loss: between the entropy of the classes and ln K, measured in eval mode",
    points=12,
    why="The first number of every training run is known beforehand, to a quarter of a nat.",
    after=["test_form"],
)
def test_initial_loss(sandbox):
    specs = _specs(INITIAL, 10)
    found = sandbox.run(probes.asked, "initial_loss", specs)
    for (said, _, wanted, likely), spec, one in zip(INITIAL, specs, found, strict=True):
        ok, value = _finding(one, said)
        model, images, labels = probes.build(spec)
        logits = _logits(model, images)
        right = float(F.cross_entropy(logits, labels))
        guesses = {
            "the sum over the examples, not the mean": right * len(labels),
            "measured in training mode, where batch norm and dropout do other things": _cost(
                model, images, labels, True
            ),
            "a softmax before cross-entropy, which has its own": float(F.cross_entropy(logits.softmax(1), labels)),
            "the difference from ln K; value is the loss itself": right - math.log(logits.shape[1]),
            "the distance from ln K; value is the loss itself": abs(right - math.log(logits.shape[1])),
        }
        because = "value is the mean cross-entropy of all examples, in eval mode, before any training."
        _expect_value(value, right, said, because, guesses, rtol=1e-4)
        share = _share(labels, logits.shape[1])
        low, high = float(-torch.xlogy(share, share).sum()), math.log(logits.shape[1])
        because = f"entropy of the classes {low:.3f}, ln K {high:.3f}; 0.25 more on either side is allowed."
        _expect_flag(ok, wanted, value, said, because, likely)


FREQUENCIES = [
    ("healthy, balanced, bias 0", {**MLP, "width": 30}, True, None),
    ("healthy, batch norm, in training mode", {**CONV, "norm": True}, True, None),
    ("classes 1 : 10, their frequencies in the bias", {**RARE, "prior": "right"}, True, None),
    (
        "classes 1 : 10, their frequencies in the bias of a last layer that is no nn.Linear",
        {**RARE, "prior": "right", "head": "affine"},
        True,
        "something about the layers is looked at: what counts is what the model predicts",
    ),
    (
        "one of 4 classes doesn't occur; frequencies in the bias",
        {**MLP, "classes": 4, "used": 3, "prior": "right"},
        True,
        None,
    ),
    ("a class expected 0.12 too often", {**MLP, "gain": 0.0, "tilt": 0.5}, True, None),
    ("a class expected 0.2 too often", {**MLP, "gain": 0.0, "tilt": 0.83}, False, None),
    ("classes 1 : 10, bias 0", RARE, False, None),
    ("4 classes, the first ten times the others, bias 0", {**CONV, "odds": 10, "mode": "eval"}, False, None),
    (
        "classes 1 : 10, the bias for 10 : 1",
        {**RARE, "prior": "wrong"},
        False,
        "a bias that isn't 0 is taken for a right one: what counts is what the model predicts",
    ),
]


@check(
    "class_prior: the untrained model expects each class about as often as it occurs",
    points=10,
    why="With 1 : 10 classes and a zero bias, the first hundreds of steps only learn the frequencies.",
    after=["test_form"],
)
def test_class_prior(sandbox):
    specs = _specs(FREQUENCIES, 30)
    found = sandbox.run(probes.asked, "class_prior", specs)
    for (said, _, wanted, likely), spec, one in zip(FREQUENCIES, specs, found, strict=True):
        ok, value = _finding(one, said)
        model, images, labels = probes.build(spec)
        logits = _logits(model, images)
        share = _share(labels, logits.shape[1])
        away = (logits.softmax(1).mean(0) - share).abs()
        guesses = {
            "measured in training mode": (_logits(model, images, True).softmax(1).mean(0) - share).abs().max(),
            "the mean of the differences, not the largest": away.mean(),
            "the sum of the differences, not the largest": away.sum(),
            "how often each class is predicted, by argmax, instead of its mean probability": (
                (_share(logits.argmax(1), logits.shape[1]) - share).abs().max()
            ),
            "the softmax of the mean logits instead of the mean of the softmax": (
                (logits.mean(0).softmax(0) - share).abs().max()
            ),
            "the softmax over the batch, not over the classes": (logits.softmax(0).mean(0) - share).abs().max(),
            "the logits aren't turned into probabilities": (logits.mean(0) - share).abs().max(),
            "compared with 1 / K, not with the frequencies": (logits.softmax(1).mean(0) - 1 / len(share)).abs().max(),
        }
        because = "value is the largest difference between a class's mean probability and its share of the labels."
        _expect_value(value, float(away.max()), said, because, {k: float(v) for k, v in guesses.items()}, rtol=1e-4)
        _expect_flag(ok, wanted, value, said, "a difference of up to 0.15 is ok.", likely)


TRAINING_MODE = "judged in training mode, where batch norm mixes the batch, and rightly so"

LEAKS = [
    ("healthy", {**MLP, "width": 30}, True, "an image's own derivative is counted: only those for other images leak"),
    ("healthy, batch norm, in training mode", {**CONV, "norm": True}, True, TRAINING_MODE),
    ("healthy, attention between the rows of an image", TOKENS, True, None),
    ("healthy, 2 images", {**MLP, "n": 2, "shape": [1, 7, 7]}, True, None),
    ("the output has no graph", {**MLP, "cut": "no graph"}, True, None),
    ("all parameters frozen", {**MLP, "cut": "frozen"}, True, None),
    ("a model that never looks at its images", {**MLP, "cut": "blind"}, True, None),
    ("a reshape that exchanges images and channels", {**CONV, "shape": [3, 6, 6], "mix": "view"}, False, None),
    ("batch norm without running statistics", {**MLP, "norm": "batch only", "mode": "eval"}, False, None),
    (
        "each image takes from the one before it",
        {**MLP, "mix": "roll"},
        False,
        "not every pair is looked at: here image i leaks into i + 1 alone",
    ),
    (
        "each image takes from those after it",
        {**MLP, "mix": "later"},
        False,
        "not every pair is looked at: here image j leaks into all before it, and into none after it",
    ),
    (
        "what leaks cancels in the sum over a row",
        {**MLP, "mix": "centred"},
        False,
        "the sum over a row of logits is differentiated: opposite signs cancel in it",
    ),
    ("dropout that never stops, and no leak", {**MLP, "drop": 0.3, "always": True}, True, None),
]


def _derivatives(model, images, train=False, count=4):
    """(images i, logits, images j, pixels): every derivative."""
    model, images = copy.deepcopy(model).train(train), images[:count]
    with torch.enable_grad():
        given = images.clone().requires_grad_()
        logits = model(given)
        if not logits.requires_grad:
            return torch.zeros(*logits.shape, len(images), images[0].numel())
        logits = logits + 0 * given.sum()  # so that there is a derivative, 0, where images aren't looked at
        rows = [torch.autograd.grad(one, given, retain_graph=True)[0].flatten(1) for one in logits.flatten()]
    return torch.stack(rows).view(*logits.shape, len(images), -1)


def _others(derivatives):
    """The same with each image's derivative for itself set to 0."""
    n = len(derivatives)
    return derivatives * (1 - torch.eye(n)).view(n, 1, n, 1)


@check(
    "no_batch_leak: in eval mode no logit of an image depends on another image",
    points=16,
    why="A view in place of a transpose mixes examples, and the network still trains: it learns to ignore the others.",
    after=["test_form"],
)
def test_no_batch_leak(sandbox):
    specs = _specs(LEAKS, 50)
    found = sandbox.run(probes.asked, "no_batch_leak", specs)
    for (said, spec, wanted, likely), given, one in zip(LEAKS, specs, found, strict=True):
        ok, value = _finding(one, said)
        model, images, _ = probes.build(given)
        if "always" not in spec:
            every = _derivatives(model, images)
            other = _others(every)
            right = float(other.abs().max())
            guesses = {
                TRAINING_MODE: lambda m=model, x=images: float(_others(_derivatives(m, x, True)).abs().max()),
                "an image's own derivative is counted: only those for other images leak": float(every.abs().max()),
                "the sum over a row of logits is differentiated: opposite signs cancel in it": float(
                    other.sum(1).abs().max()
                ),
                "only the first image's logits are differentiated": float(other[0].abs().max()),
                "only the first logit of each image is differentiated": float(other[:, 0].abs().max()),
                "only the derivatives for the next image are looked at": float(
                    max((other[i, :, i + 1].abs().max() for i in range(len(other) - 1)), default=0.0)
                ),
                "the first 2 images, not 4": lambda m=model, x=images: float(
                    _others(_derivatives(m, x[:2])).abs().max()
                ),
                "more than the first 4 images": lambda m=model, x=images: float(
                    _others(_derivatives(m, x, count=12)).abs().max()
                ),
                "only the last image's logits are differentiated": float(other[-1].abs().max()),
                "the sum of the derivatives, not the largest": float(other.abs().sum()),
                "the mean of the derivatives, not the largest": float(other.abs().mean()),
                "signed: the largest derivative, not the largest magnitude": float(other.max()),
            }
            because = "value is the largest derivative, in magnitude, of a logit of image i for a pixel of j ≠ i."
            _expect_value(
                value,
                right,
                said,
                f"{because} The first 4 images, in eval mode.",
                guesses,
                atol=1e-8,
                near="differences of outputs in place of derivatives",
            )
        _expect_flag(ok, wanted, value, said, "a derivative of more than 1e-6 is a leak.", likely)


REPEATS = [
    (
        "healthy, dropout, in training mode",
        {**MLP, "drop": 0.5},
        True,
        "measured in training mode, where dropout works",
    ),
    ("healthy, batch norm and dropout", {**CONV, "norm": True, "drop": 0.2}, True, "measured in training mode"),
    ("healthy, attention, in eval mode", {**TOKENS, "mode": "eval"}, True, None),
    (
        "dropout that never stops",
        {**MLP, "drop": 0.3, "always": True},
        False,
        "the random numbers are the same both times: a seed is set, or one output is compared with itself",
    ),
    ("dropout that never stops, in eval mode", {**MLP, "drop": 0.1, "always": True, "mode": "eval"}, False, None),
]


@check(
    "repeatable: in eval mode the same images give the same logits twice",
    points=7,
    why="F.dropout drops in eval mode too unless it is told not to; accuracies then change from call to call.",
    after=["test_form"],
)
def test_repeatable(sandbox):
    specs = _specs(REPEATS, 70)
    found = sandbox.run(probes.asked, "repeatable", specs)
    for (said, _, wanted, likely), one in zip(REPEATS, found, strict=True):
        ok, value = _finding(one, said)
        _expect_flag(ok, wanted, value, said, "a difference of up to 1e-6 between two outputs is ok.", likely)
        if wanted:
            _expect_value(value, 0.0, said, "value is the largest difference in magnitude.", {}, atol=1e-6)
        else:
            expect(
                value > 1e-2,
                expected="a value above 0.01",
                actual=f"{value:.4g}",
                because=f"({said}) value is the largest difference between the two outputs, in magnitude.",
                looks_like="the largest signed difference, or a mean" if value < 0 else None,
            )


# --- with a little training ----------------------------------------------------------------------------

NEARLY = "the training differs in something small: the number of steps, the examples, or the settings of Adam"
SAME_CLASS = "the two examples are of one class: a bias alone learns them"
FLOOR = "a loss that fell is taken for success: with a softmax in the model it stops far above 0.1"

PAIRS = [
    ("healthy", {**MLP, "width": 30}, True, None),
    (
        "healthy, batch norm, labels sorted, in eval mode",
        {**CONV, "norm": True, "order": "sorted", "mode": "eval"},
        True,
        None,
    ),
    ("healthy, dropout", {**MLP, "drop": 0.5, "width": 64}, True, "measured in training mode, where dropout works"),
    ("first layer frozen, old gradients", {**MLP, "cut": "first frozen", "width": 64, "stale": 4}, True, None),
    ("classes 1 : 10", {**RARE, "prior": "right"}, True, None),
    ("softmax in the model, 3 classes", {**MLP, "end": "softmax"}, False, FLOOR),
    ("softmax in the model, 2 classes", {**MLP, "classes": 2, "end": "softmax"}, False, FLOOR),
    ("a dead layer, labels sorted", {**MLP, "cut": "dead", "order": "sorted"}, False, SAME_CLASS),
    ("all images zero", {**MLP, "pixels": "zero"}, False, SAME_CLASS),
    ("the output has no graph", {**MLP, "cut": "no graph"}, False, None),
    ("all parameters frozen, labels sorted", {**MLP, "cut": "frozen", "order": "sorted"}, False, None),
    ("trained before, then frozen, a loss between 0.1 and 0.2", {**MLP, "goal": 0.12, "cut": "frozen"}, False, None),
    ("trained before, then frozen, a loss between 0.05 and 0.1", {**MLP, "goal": 0.08, "cut": "frozen"}, True, None),
]


@check(
    "overfits_two: 100 steps learn two examples of different classes by heart, or something is broken",
    points=17,
    why="The cheapest test of the whole chain from input to update. What fails here fails everywhere.",
    after=["test_form"],
)
def test_overfits_two(sandbox):
    specs = _specs(PAIRS, 90)
    found = sandbox.run(probes.asked, "overfits_two", specs)
    for (said, given, wanted, likely), spec, one in zip(PAIRS, specs, found, strict=True):
        ok, value = _finding(one, said)
        model, images, labels = probes.build(spec)
        pair = torch.tensor([0, int((labels != labels[0]).nonzero()[0])])
        x, y = images[pair], labels[pair]
        fitted = _fitted(model, x, y, 100)
        right = _cost(fitted, x, y)
        guesses = {
            "measured in training mode": lambda m=fitted, x=x, y=y: _cost(m, x, y, True),
            "measured before the training": lambda m=model, x=x, y=y: _cost(m, x, y),
            "the first two examples, of whatever class": lambda m=model, x=images[:2], y=labels[:2]: _cost(
                _fitted(m, x, y, 100), x, y
            ),
            "the first and the last example": lambda m=model, x=images[[0, -1]], y=labels[[0, -1]]: _cost(
                _fitted(m, x, y, 100), x, y
            ),
            "trained in eval mode": lambda m=model, x=x, y=y: _cost(_trained_in_eval(m, x, y, 100), x, y),
            "trained on all examples, not on two": lambda m=model, x=images, y=labels, a=x, b=y: _cost(
                _fitted(m, x, y, 100), a, b
            ),
            "trained with SGD, not with Adam": lambda m=model, x=x, y=y: _cost(
                _fitted(m, x, y, 100, torch.optim.SGD), x, y
            ),
            "trained with a learning rate of 0.001, not 0.01": lambda m=model, x=x, y=y: _cost(
                _fitted(m, x, y, 100, lr=0.001), x, y
            ),
            "frozen layers are trained as well": lambda m=model, x=x, y=y: _cost(
                _fitted(copy.deepcopy(m).requires_grad_(), x, y, 100), x, y
            ),
        }
        if "drop" not in given:
            because = "value is the loss of the pair, in eval mode, after 100 steps of Adam in training mode."
            still = given.get("cut") in ("frozen", "no graph")
            _expect_value(value, right, said, because, guesses, rtol=1e-4 if still else 3e-3, atol=1e-6, near=NEARLY)
        because = "a loss under 0.1 on the pair, in eval mode after 100 steps, is ok."
        _expect_flag(ok, wanted, value, said, because, likely)


def _trained_in_eval(model, images, labels, steps):
    class Still(type(model)):
        def train(self, mode=True):
            return super().train(False)

    model = copy.deepcopy(model)
    model.__class__ = Still
    return _fitted(model, images, labels, steps)


MEMORISED = "measured on the examples that were trained on: shuffled labels can be learned by heart, too"
HALVES = "cut into a first and a second half: with labels in order, one half has classes that the other hasn't"

INPUTS = [
    ("healthy, much noise", {**MLP, "noise": 2.0, "n": 121}, True, None),
    ("healthy, batch norm, labels sorted", {**CONV, "norm": True, "order": "sorted"}, True, HALVES),
    ("healthy, attention", {**TOKENS, "n": 100}, True, None),
    ("healthy, dropout, in eval mode", {**MLP, "drop": 0.3, "mode": "eval", "classes": 5, "width": 40}, True, None),
    ("classes 1 : 10, old gradients", {**RARE, "prior": "right", "stale": 2}, True, None),
    ("labels shuffled", {**MLP, "order": "shuffled"}, False, MEMORISED),
    ("labels shuffled, batch norm", {**CONV, "norm": True, "order": "shuffled"}, False, MEMORISED),
    ("all images zero", {**MLP, "pixels": "zero"}, False, None),
    ("a dead layer", {**MLP, "cut": "dead"}, False, None),
    ("all parameters frozen", {**MLP, "cut": "frozen", "width": 64, "shape": [2, 5, 5]}, False, None),
    ("the output has no graph", {**MLP, "cut": "no graph"}, False, None),
    ("trained a little, then frozen: a ratio above 0.8", {**MLP, "goal": 0.95, "cut": "frozen"}, False, None),
    ("trained a little, then frozen: a ratio below 0.8", {**MLP, "goal": 0.75, "cut": "frozen"}, True, None),
]


def _ratio(
    model, images, labels, train=slice(0, None, 2), judged=slice(1, None, 2), blind=True, compare=float.__truediv__
):
    zeros = torch.zeros_like(images)
    with_images = _cost(_fitted(model, images[train], labels[train], 60), images[judged], labels[judged])
    asked = zeros if blind else images
    without = _cost(_fitted(model, zeros[train], labels[train], 60), asked[judged], labels[judged])
    return compare(with_images, without)


def _ratio_going_on(model, images, labels):
    """With one model for both trainings, images first."""
    losses = []
    for shown in (images, torch.zeros_like(images)):
        model = _fitted(model, shown[::2], labels[::2], 60)
        losses.append(_cost(model, shown[1::2], labels[1::2]))
    return losses[0] / losses[1]


@check(
    "input_matters: on unseen examples, training with images beats training with zeros",
    points=17,
    why="A model can learn the class frequencies without looking. Only a comparison shows that it looks.",
    after=["test_form"],
)
def test_input_matters(sandbox):
    specs = _specs(INPUTS, 110)
    found = sandbox.run(probes.asked, "input_matters", specs)
    for (said, given, wanted, likely), spec, one in zip(INPUTS, specs, found, strict=True):
        ok, value = _finding(one, said)
        model, images, labels = probes.build(spec)
        right = _ratio(model, images, labels)
        n = len(images)
        even, odd, first, second = slice(0, None, 2), slice(1, None, 2), slice(0, n // 2), slice(n // 2, None)
        parts = {
            MEMORISED: (even, even),
            "trained on everything, the judged examples included": (slice(None), odd),
            "trained and measured on everything": (slice(None), slice(None)),
            "odd and even are exchanged: 0, 2, 4, … train, 1, 3, 5, … are judged": (odd, even),
            HALVES: (first, second),
        }
        guesses = {text: lambda m=model, x=images, y=labels, p=p: _ratio(m, x, y, *p) for text, p in parts.items()}
        guesses["upside down: the loss with zeros divided by that with images"] = 1 / right
        guesses["the model trained on zeros is asked with images"] = lambda m=model, x=images, y=labels: _ratio(
            m, x, y, blind=False
        )
        guesses["the second copy goes on from where the first ended: train copies of the same start"] = (
            lambda m=model, x=images, y=labels: _ratio_going_on(m, x, y)
        )
        guesses["the difference of the losses, not their ratio"] = lambda m=model, x=images, y=labels: _ratio(
            m, x, y, compare=float.__sub__
        )
        if "drop" not in given:
            because = "value is the ratio of the two losses, each after 60 steps from the same start."
            still = given.get("cut") in ("frozen", "no graph")
            rtol = 1e-4 if still else 2e-2 if "norm" in given else 5e-3  # batch norm makes more of rounding errors
            _expect_value(value, right, said, because, guesses, rtol=rtol, atol=1e-6, near=NEARLY)
        because = "ok when the loss with images is under 0.8 of that with zeros in their place, on examples not shown."
        _expect_flag(ok, wanted, value, said, because, likely)


# --- manners, and all together -------------------------------------------------------------------------

TOUCHED = {
    "parameter": "the model itself is trained: train a copy",
    "buffer": "the model itself runs in training mode: batch norm's running statistics move",
    "gradient": "a backward pass through the model itself, or a zero_grad on it, changes .grad",
    "training": "train() or eval() on the model itself sets the flag of every submodule, and one flag isn't all",
    "requires_grad": "requires_grad_() on what belongs to the caller",
    "images": "the images are zeroed in place",
    "labels": "the labels are changed in place",
    "grad": "gradients were switched off for good",
}

GUESTS = [
    ("batch norm, one submodule in eval mode", {**CONV, "norm": True, "mode": "mixed", "stale": 3, "n": 40}),
    ("dropout, in eval mode", {**MLP, "drop": 0.3, "mode": "eval", "stale": 1, "n": 40}),
    ("first layer frozen, in training mode", {**MLP, "cut": "first frozen", "norm": True, "n": 40}),
]


@check(
    "Every function leaves model and data as it found them",
    points=8,
    why="A check-up that changes the patient can't be run just before the training that it is for.",
    after=["test_form"],
)
def test_state(sandbox):
    specs = [{**spec, "seed": 130 + i} for i, (_, spec) in enumerate(GUESTS)]
    for (said, _), states in zip(GUESTS, sandbox.run(probes.left, specs), strict=True):
        before = states["before"]
        for name in probes.FINDINGS:
            after = states[name]
            expect_equal(
                sorted(after), sorted(before), because=f"({said}) {name} adds and removes no part of the model."
            )
            for key, value in before.items():
                because = f"({said}) {key}, after {name}: a suite only looks."
                looks = TOUCHED[key.split()[0]]
                expect_equal(after[key], value, because=because, looks_like=looks, name=key)


PLANTED = [
    # what, spec, findings that have to be flagged, findings that may be
    ("healthy MLP", {**MLP, "width": 40, "shape": [1, 6, 6]}, (), ()),
    (
        "healthy network with convolution, batch norm and dropout",
        {**CONV, "norm": True, "drop": 0.2, "classes": 10, "n": 160},
        (),
        (),
    ),
    ("healthy network with attention", {**TOKENS, "width": 32, "mode": "eval"}, (), ()),
    ("healthy network on classes 1 : 10", {**RARE, "prior": "right", "head": "affine", "drop": 0.1}, (), ()),
    ("softmax in the model", {**MLP, "classes": 5, "end": "softmax"}, ("overfits_two",), ("input_matters",)),
    ("last layer × 20", {**CONV, "classes": 6, "gain": 20.0}, ("initial_loss",), ("class_prior", "input_matters")),
    ("labels shuffled", {**CONV, "norm": True, "order": "shuffled", "width": 12}, ("input_matters",), ()),
    (
        "a reshape that mixes the batch",
        {**CONV, "shape": [4, 6, 6], "mix": "view"},
        ("no_batch_leak",),
        ("input_matters",),
    ),
    ("a dead layer", {**MLP, "classes": 4, "cut": "dead"}, ("overfits_two", "input_matters"), ()),
    ("bias 0 for classes 1 : 10", {**RARE, "width": 16}, ("class_prior",), ()),
    ("dropout that never stops", {**MLP, "width": 50, "drop": 0.3, "always": True}, ("repeatable",), ()),
]


@check(
    "The recipe flags every planted fault by its name, and passes every healthy model",
    points=8,
    why="A suite that cries wolf is switched off; one that misses a fault costs a week.",
    after=[
        "test_initial_loss",
        "test_class_prior",
        "test_no_batch_leak",
        "test_repeatable",
        "test_overfits_two",
        "test_input_matters",
    ],
)
def test_recipe(sandbox):
    specs = [{**spec, "seed": 150 + i} for i, (_, spec, _, _) in enumerate(PLANTED)]
    found = sandbox.run(probes.recipes, specs)
    for (said, _, flagged, free), report in zip(PLANTED, found, strict=True):
        expect_type(report, dict, because=f"({said}) one finding for each name.")
        expect_equal(sorted(report), sorted(probes.FINDINGS), because=f"({said}) the six names.")
        for name in probes.FINDINGS:
            ok, value = _finding(report[name], f"{said}, {name}")
            if name not in free:
                because = f"({said}) recipe()[{name!r}] is what {name} finds."
                likely = f"{name} itself judges such models rightly: another finding, or fewer data, under its name"
                _expect_flag(ok, name not in flagged, value, f"{said}: {name}", because, likely)
    healthy = sum(not flagged for _, _, flagged, _ in PLANTED)
    sandbox.note(f"{healthy} healthy models passed, {len(PLANTED) - healthy} faults flagged")

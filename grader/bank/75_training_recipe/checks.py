"""Checks for the recipe: models and data with one known fault each, and healthy ones, are shown to the suite.

The judge builds the same models and works out on its own what is to be found.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

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


def _specs(cases, seed, **usual):
    """Each case is (what is special, spec, whether the finding is to be ok, …). `usual`: unless a spec says otherwise.

    A fourth column says what is likely when the finding isn't judged so.
    """
    return [{**usual, **spec, "seed": seed + i} for i, (_, spec, *_) in enumerate(cases)]


# --- oracles -------------------------------------------------------------------------------------------


@torch.no_grad()
def _logits(model, images, train=False):
    return copy.deepcopy(model).train(train)(images)


def _share(labels, classes):
    return torch.bincount(labels, minlength=classes) / len(labels)


def _fitted(model, images, labels, steps, optimizer=torch.optim.Adam, lr=0.01, clear=True):
    model = copy.deepcopy(model).train()
    optimizer = optimizer(model.parameters(), lr=lr)
    for step in range(steps):
        if clear or not step:
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


@dataclass
class Compared:
    """A value that a case gave, with what is right, and what each misconception would give."""

    said: str
    value: float
    right: float
    guesses: dict
    rtol: float = 1e-3
    atol: float = 1e-5

    @property
    def agrees(self):
        return resembles(self.value, self.right, rtol=self.rtol, atol=self.atol)

    def fits(self, text):
        guess = {text: self.guesses[text]}
        return misconception(self.value, self.right, guess, rtol=1e-3, atol=min(self.atol, 1e-6)) is not None


def _cause(off, near):
    """What explains the first of the cases that are off: best a misconception that explains the others, too.

    `near`: what a value suggests that is almost right. One that vanishes suggests nothing: many a mistake ends there.
    """
    first, fitting = off[0], None
    for text in first.guesses:
        if first.fits(text):
            if all(case.fits(text) for case in off[1:]):
                return text
            fitting = fitting or text
    if fitting and abs(first.value) > 1e-6:
        return fitting
    return near if resembles(first.value, first.right, rtol=0.1, atol=0) else None


def _expect_values(cases, because, near=None):
    off = [case for case in cases if not case.agrees]
    for case in cases:
        looks = None if case.agrees else _cause(off, near)
        said = f"({case.said}) {because}"
        expect_close(case.value, case.right, because=said, looks_like=looks, rtol=case.rtol, atol=case.atol)


def _expect_flag(ok, wanted, value, said, because, likely):
    """Whether the finding is judged as it should be. `likely`: what a suite does that judges it otherwise.

    Where the value is compared, too, it was right: `likely` is then about `ok` alone.
    """
    if ok is not wanted:
        words = {True: "ok", False: "not ok"}
        fail(
            expected=f"{words[wanted]} ({said})",
            actual=f"{words[ok]}, with a value of {value:.4g}",
            because=because,
            looks_like=likely or "ok doesn't follow from the value: look at the bar and its direction",
        )


# --- before any training -------------------------------------------------------------------------------

INITIAL = [
    ("healthy, 3 classes", {**MLP, "width": 30}, True),
    ("healthy, batch norm, in training mode", {**CONV, "norm": True}, True),
    ("healthy, dropout, in training mode", {**MLP, "drop": 0.5, "classes": 5}, True),
    ("healthy, 10 classes, in eval mode", {**CONV, "classes": 10, "mode": "eval"}, True),
    ("classes 1 : 10, their frequencies in the bias", {**RARE, "prior": "right", "head": "affine"}, True),
    (
        "one of 4 classes doesn't occur; frequencies in the bias",
        {**MLP, "classes": 4, "used": 3, "prior": "right"},
        True,
    ),
    ("classes 1 : 10, bias 0", RARE, True),
    (
        "two of 5 classes don't occur, bias 0",
        {**MLP, "classes": 5, "used": 3},
        True,
    ),
    ("last layer × 20, 8 classes", {**MLP, "classes": 8, "gain": 20.0}, False),
    ("last layer × 20, 10 classes", {**CONV, "classes": 10, "gain": 20.0}, False),
    ("classes 1 : 10, the bias for 10 : 1", {**RARE, "prior": "wrong"}, False),
    ("a model that was trained before", {**MLP, "goal": 0.05}, False),
    ("0.31 below ln 3, after some training", {**MLP, "goal": 0.79}, False),
    ("0.2 below ln 3, after some training", {**MLP, "goal": 0.90}, True),
    (
        "class 0 three times as often as nine others together; a loss far from both ends",
        {**MLP, "classes": 10, "odds": 3, "gain": 0.0, "tilt": 1.0},
        True,
    ),
    ("0.28 above ln 3, by a bias", {**MLP, "gain": 0.0, "tilt": 1.54}, False),
    ("0.18 above ln 3, by a bias", {**MLP, "gain": 0.0, "tilt": 1.23}, True),
]


RULES = {
    "only losses that are too high are flagged: one far below the entropy of the classes is as suspicious": (
        lambda loss, low, high, seen, missing: loss <= high + 0.25
    ),
    "only losses that are too low are flagged": lambda loss, low, high, seen, missing: loss >= low - 0.25,
    "ln K is taken as the only right loss: with the classes' frequencies in the bias it is their entropy": (
        lambda loss, low, high, seen, missing: abs(loss - high) <= 0.25
    ),
    "the entropy alone is taken as right: without a bias for it, it is ln K": (
        lambda loss, low, high, seen, missing: abs(loss - low) <= 0.25
    ),
    "near the entropy or near ln K: whatever lies between the two is right as well": (
        lambda loss, low, high, seen, missing: min(abs(loss - low), abs(loss - high)) <= 0.25
    ),
    "K is counted in the labels: the model has a logit for classes that don't occur, too": (
        lambda loss, low, high, seen, missing: low - 0.25 <= loss <= seen + 0.25
    ),
    "0 · log 0 counts as 0 in an entropy: here it came out as nan": (
        lambda loss, low, high, seen, missing: not missing and low - 0.25 <= loss <= high + 0.25
    ),
    "neither the entropy nor ln K has any play: 0.25 on either side is allowed": (
        lambda loss, low, high, seen, missing: low <= loss <= high
    ),
}
"""What a suite may take for right, by loss, entropy, ln K, ln K of the classes that occur, whether one is missing."""


def _rule(found, facts):
    """The rule by which every one of the cases was judged."""
    for text, rule in RULES.items():
        if all(one["ok"] is rule(*fact) for one, fact in zip(found, facts, strict=True)):
            return text
    return None


@check(
    "initial_loss: between the entropy of the classes and ln K, measured in eval mode",
    points=12,
    why="The first number of every training run is known beforehand, to a quarter of a nat.",
)
def test_initial_loss(sandbox):
    specs = _specs(INITIAL, 10)
    found = sandbox.run(probes.asked, "initial_loss", specs)
    compared, facts = [], []
    for (said, _, _), spec, one in zip(INITIAL, specs, found, strict=True):
        _, value = _finding(one, said)
        model, images, labels = probes.build(spec)
        logits = _logits(model, images)
        right = float(F.cross_entropy(logits, labels))
        share = _share(labels, logits.shape[1])
        low, high = float(-torch.xlogy(share, share).sum()), math.log(logits.shape[1])
        guesses = {
            "the sum over the examples, not the mean": right * len(labels),
            "measured in training mode, where batch norm and dropout do other things": _cost(
                model, images, labels, True
            ),
            "a softmax before cross-entropy, which has its own": float(F.cross_entropy(logits.softmax(1), labels)),
            "the difference from ln K; value is the loss itself": right - high,
            "the distance from ln K; value is the loss itself": abs(right - high),
        }
        compared.append(Compared(said, value, right, guesses, rtol=1e-4))
        facts.append((right, low, high, math.log(int((share > 0).sum())), bool((share == 0).any())))
    _expect_values(compared, "value is the mean cross-entropy of all examples, in eval mode, before any training.")
    rule = _rule(found, facts)
    for (said, _, wanted), (_, low, high, *_), one in zip(INITIAL, facts, found, strict=True):
        because = f"entropy of the classes {low:.3f}, ln K {high:.3f}; 0.25 more on either side is allowed."
        _expect_flag(one["ok"], wanted, one["value"], said, because, rule)


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
)
def test_class_prior(sandbox):
    specs = _specs(FREQUENCIES, 30)
    found = sandbox.run(probes.asked, "class_prior", specs)
    compared = []
    for (said, _, _, _), spec, one in zip(FREQUENCIES, specs, found, strict=True):
        _, value = _finding(one, said)
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
        guesses = {text: float(guess) for text, guess in guesses.items()}
        compared.append(Compared(said, value, float(away.max()), guesses, rtol=1e-4))
    _expect_values(compared, "value is the largest difference between a class's mean probability and its share.")
    for (said, _, wanted, likely), one in zip(FREQUENCIES, found, strict=True):
        _expect_flag(one["ok"], wanted, one["value"], said, "a difference of up to 0.15 is ok.", likely)


LEAKS = [
    ("healthy", {**MLP, "width": 30}, True),
    ("healthy, batch norm, in training mode", {**CONV, "norm": True}, True),
    ("healthy, attention between the rows of an image", TOKENS, True),
    ("healthy, 2 images", {**MLP, "n": 2, "shape": [1, 7, 7]}, True),
    ("the output has no graph", {**MLP, "cut": "no graph"}, True),
    ("all parameters frozen", {**MLP, "cut": "frozen"}, True),
    ("a model that never looks at its images", {**MLP, "cut": "blind"}, True),
    ("a reshape that exchanges images and channels", {**CONV, "shape": [3, 6, 6], "mix": "view"}, False),
    ("batch norm without running statistics", {**MLP, "norm": "batch only", "mode": "eval"}, False),
    ("each image takes from the one before it", {**MLP, "mix": "roll"}, False),
    ("each image takes from those after it", {**MLP, "mix": "later"}, False),
    ("what leaks cancels in the sum over a row", {**MLP, "mix": "centred"}, False),
    ("each image takes a ten-thousandth of the one before it", {**MLP, "mix": "roll", "part": 1e-4}, False),
    ("dropout that never stops, and no leak", {**MLP, "drop": 0.3, "always": True}, True),
]


def _derivatives(model, images, through=4, train=False, after=None):
    """(images i, logits, images j, pixels): every derivative within the first 4 images.

    `through`: how many images go through the model together. None: all of them, and all are looked at.
    """
    model, looked = copy.deepcopy(model).train(train), 4 if through else None
    with torch.enable_grad():
        given = images[:through].clone().requires_grad_()
        logits = model(given)
        if not logits.requires_grad:
            return torch.zeros(*logits[:looked].shape, len(given[:looked]), images[0].numel())
        logits = after(logits) if after else logits
        logits = logits[:looked] + 0 * given.sum()  # so that there is a derivative, 0, where images aren't looked at
        rows = [torch.autograd.grad(one, given, retain_graph=True)[0][:looked] for one in logits.flatten()]
    return torch.stack(rows).view(*logits.shape, len(rows[0]), -1)


def _others(derivatives):
    """The same with each image's derivative for itself set to 0."""
    n = len(derivatives)
    return derivatives * (1 - torch.eye(n)).view(n, 1, n, 1)


def _leak(model, images, **how):
    return float(_others(_derivatives(model, images, **how)).abs().max())


def _leaks(model, images):
    """What is right, and what each misconception gives."""
    every = _derivatives(model, images)
    other = _others(every)
    following = [other[i, :, i + 1].abs().max() for i in range(len(other) - 1)]
    guesses = {
        "all images go through, and four are looked at: the batch is just these four": lambda: _leak(
            model, images, through=len(images)
        ),
        "judged in training mode, where batch norm mixes the batch, and rightly so": lambda: _leak(
            model, images, train=True
        ),
        "an image's own derivative is counted: only those for other images leak": every.abs().max(),
        "the sum over a row of logits is differentiated: opposite signs cancel in it": other.sum(1).abs().max(),
        "only the first image's logits are differentiated": other[0].abs().max(),
        "only the first image's logits are differentiated, and as one sum": other[0].sum(0).abs().max(),
        "one sum over the logits of all other images is differentiated: opposite signs cancel in it": (
            other.sum((0, 1)).abs().max()
        ),
        "the derivatives of probabilities: a softmax follows the model": lambda: _leak(
            model, images, after=lambda logits: logits.softmax(1)
        ),
        "only the first logit of each image is differentiated": other[:, 0].abs().max(),
        "only the derivatives for the next image are looked at": max(following, default=0.0),
        "the first 2 images, not 4": lambda: _leak(model, images[:2]),
        "only the last image's logits are differentiated": other[-1].abs().max(),
        "the sum of the derivatives, not the largest": other.abs().sum(),
        "the mean of the derivatives, not the largest": other.abs().mean(),
        "signed: the largest derivative, not the largest magnitude": other.max(),
        "all images, not the first 4": lambda: _leak(model, images, through=None),
    }
    return float(other.abs().max()), {k: v if callable(v) else float(v) for k, v in guesses.items()}


@check(
    "no_batch_leak: in eval mode no logit of an image depends on another image",
    points=16,
    why="A view in place of a transpose mixes examples, and the network still trains: it learns to ignore the others.",
)
def test_no_batch_leak(sandbox):
    specs = _specs(LEAKS, 50, n=24)
    found = sandbox.run(probes.asked, "no_batch_leak", specs)
    compared = []
    for (said, given, _), spec, one in zip(LEAKS, specs, found, strict=True):
        _, value = _finding(one, said)
        if "always" not in given:
            model, images, _ = probes.build(spec)
            compared.append(Compared(said, value, *_leaks(model, images), atol=1e-8))
    because = "value is the largest derivative, in magnitude, of a logit of image i for a pixel of j ≠ i."
    because = f"{because} The first 4 images, in eval mode."
    near = "other images than the first four, or differences of outputs in place of derivatives"
    _expect_values(compared, because, near)
    for (said, _, wanted), one in zip(LEAKS, found, strict=True):
        _expect_flag(one["ok"], wanted, one["value"], said, "a derivative of more than 1e-6 is a leak.", None)


TREMOR = 2e-6

REPEATS = [
    ("healthy, dropout, in training mode", {**MLP, "drop": 0.5}, True),
    ("healthy, batch norm and dropout", {**CONV, "norm": True, "drop": 0.2}, True),
    ("healthy, attention, in eval mode", {**TOKENS, "mode": "eval"}, True),
    ("dropout that never stops", {**MLP, "drop": 0.3, "always": True}, False),
    ("dropout that never stops, in eval mode", {**MLP, "drop": 0.1, "always": True, "mode": "eval"}, False),
    (
        "logits of 0, and in each pass 2e-6 more or less in every one, from the fifth image on",
        {**MLP, "gain": 0.0, "tilt": 0.0, "tremor": TREMOR},
        False,
    ),
]


def _repeat_cause(value, right):
    """What a wrong difference shows; `right` is None where any large one is."""
    if value < 0:
        return "the largest signed difference, or a mean of signed ones"
    if value == 0:
        same = "the random numbers are the same both times: a seed is set, or one output is compared with itself"
        return same if right is None else "not all images are compared: here the first four repeat exactly"
    if right == 0:
        return "measured in training mode, where dropout works"
    if right and value < right:  # every difference is 0, `right` or its negative
        return "not the largest difference of logits: a mean, the root of a mean square, or one of probabilities"
    return "a sum or a norm of the differences, not the largest" if right else None


@check(
    "repeatable: in eval mode the same images give the same logits twice",
    points=7,
    why="F.dropout drops in eval mode too unless it is told not to; accuracies then change from call to call.",
)
def test_repeatable(sandbox):
    specs = _specs(REPEATS, 70)
    found = sandbox.run(probes.asked, "repeatable", specs)
    for (said, spec, wanted), one in zip(REPEATS, found, strict=True):
        ok, value = _finding(one, said)
        because = f"({said}) value is the largest difference between the two outputs, in magnitude."
        right = 0.0 if wanted else 2 * TREMOR if "tremor" in spec else None
        looks = _repeat_cause(value, right)
        if right is None:
            large = f"{value:.4g}"
            expect(value > 1e-2, expected="a value above 0.01", actual=large, because=because, looks_like=looks)
        else:
            expect_close(value, right, because=because, looks_like=looks, rtol=1e-3, atol=0 if right else 1e-6)
        _expect_flag(ok, wanted, value, said, "a difference of up to 1e-6 between two outputs is ok.", None)


# --- with a little training ----------------------------------------------------------------------------

NEARLY = "something small differs: the number of steps, the examples, or the settings of Adam"
NO_ZERO = "zero_grad() is missing: the gradients of all steps add up"
DECAY = "trained with AdamW, whose weight decay Adam hasn't"
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
    ("a dead layer, labels sorted", {**MLP, "cut": "dead", "order": "sorted"}, False, None),
    ("all images zero", {**MLP, "pixels": "zero"}, False, None),
    ("the output has no graph", {**MLP, "cut": "no graph"}, False, None),
    ("all parameters frozen, labels sorted", {**MLP, "cut": "frozen", "order": "sorted"}, False, None),
    ("trained before, then frozen, a loss between 0.1 and 0.2", {**MLP, "goal": 0.12, "cut": "frozen"}, False, None),
    ("trained before, then frozen, a loss between 0.05 and 0.1", {**MLP, "goal": 0.08, "cut": "frozen"}, True, None),
]


@check(
    "overfits_two: 100 steps learn two examples of different classes by heart, or something is broken",
    points=17,
    why="The cheapest test of the whole chain from input to update. What fails here fails everywhere.",
)
def test_overfits_two(sandbox):
    specs = _specs(PAIRS, 90)
    found = sandbox.run(probes.asked, "overfits_two", specs)
    compared = []
    for (said, given, _, _), spec, one in zip(PAIRS, specs, found, strict=True):
        _, value = _finding(one, said)
        if "drop" not in given:
            still = given.get("cut") in ("frozen", "no graph")
            rtol = 1e-4 if still else 3e-3
            compared.append(Compared(said, value, *_pairs(*probes.build(spec)), rtol=rtol, atol=1e-6))
    because = "value is the loss of the pair, in eval mode, after 100 steps of Adam in training mode."
    _expect_values(compared, because, NEARLY)
    for (said, _, wanted, likely), one in zip(PAIRS, found, strict=True):
        because = "a loss under 0.1 on the pair, in eval mode after 100 steps, is ok."
        _expect_flag(one["ok"], wanted, one["value"], said, because, likely)


def _pairs(model, images, labels):
    """What is right, and what each misconception gives."""

    def learned(pair, train=_fitted, **how):
        x, y = images[pair], labels[pair]
        return _cost(train(model, x, y, 100, **how), x, y)

    pair = [0, int((labels != labels[0]).nonzero()[0])]
    x, y = images[pair], labels[pair]
    fitted = _fitted(model, x, y, 100)
    guesses = {
        NO_ZERO: lambda: learned(pair, clear=False),
        "measured in training mode": lambda: _cost(fitted, x, y, True),
        "measured before the training": lambda: _cost(model, x, y),
        "the first two examples, of whatever class": lambda: learned([0, 1]),
        "the first and the last example": lambda: learned([0, -1]),
        "the first example of each of the first two classes, not example 0 and the first of another class": lambda: (
            learned([int((labels == one).nonzero()[0]) for one in labels.unique()[:2]])
        ),
        "trained in eval mode": lambda: learned(pair, _trained_in_eval),
        "trained on all examples, not on two": lambda: _cost(_fitted(model, images, labels, 100), x, y),
        "trained with SGD, not with Adam": lambda: learned(pair, optimizer=torch.optim.SGD),
        DECAY: lambda: learned(pair, optimizer=torch.optim.AdamW),
        "trained with a learning rate of 0.001, not 0.01": lambda: learned(pair, lr=0.001),
        "frozen layers are trained as well": lambda: _cost(
            _fitted(copy.deepcopy(model).requires_grad_(), x, y, 100), x, y
        ),
    }
    return _cost(fitted, x, y), guesses


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
    ("healthy, much noise", {**MLP, "noise": 2.0, "n": 121}, True),
    (
        "healthy, batch norm, labels sorted, in eval mode",
        {**CONV, "norm": True, "order": "sorted", "mode": "eval"},
        True,
    ),
    ("healthy, attention", {**TOKENS, "n": 100}, True),
    ("healthy, dropout, in eval mode", {**MLP, "drop": 0.3, "mode": "eval", "classes": 5, "width": 40}, True),
    ("classes 1 : 10, old gradients", {**RARE, "prior": "right", "stale": 2}, True),
    ("labels shuffled", {**MLP, "order": "shuffled"}, False),
    ("labels shuffled, batch norm", {**CONV, "norm": True, "order": "shuffled"}, False),
    ("all images zero", {**MLP, "pixels": "zero"}, False),
    ("a dead layer", {**MLP, "cut": "dead"}, False),
    ("all parameters frozen", {**MLP, "cut": "frozen", "width": 64, "shape": [2, 5, 5]}, False),
    ("the output has no graph", {**MLP, "cut": "no graph"}, False),
    ("trained a little, then frozen: a ratio above 0.8", {**MLP, "goal": 0.95, "cut": "frozen"}, False),
    ("trained a little, then frozen: a ratio below 0.8", {**MLP, "goal": 0.75, "cut": "frozen"}, True),
]


EVEN, ODD = slice(0, None, 2), slice(1, None, 2)


def _ratio(model, images, labels, train=EVEN, judged=ODD, blind=True, measured=False, fit=_fitted, **how):
    """The loss with images over that without. `blind`: the second is asked with zeros. `measured`: in training mode."""
    zeros = torch.zeros_like(images)
    losses = []
    for shown, asked in ((images, images), (zeros, zeros if blind else images)):
        fitted = fit(model, shown[train], labels[train], 60, **how)
        losses.append(_cost(fitted, asked[judged], labels[judged], measured))
    return losses[0] / losses[1]


def _ratios(model, images, labels):
    """What is right, and what each misconception gives."""
    zeros = torch.zeros_like(images)

    def trained(model, shown):
        return _fitted(model, shown[EVEN], labels[EVEN], 60)

    def cost(model, shown):
        return _cost(model, shown[ODD], labels[ODD])

    seen, blind = trained(model, images), trained(model, zeros)
    right = cost(seen, images) / cost(blind, zeros)
    half = len(images) // 2
    guesses = {
        NO_ZERO: lambda: _ratio(model, images, labels, clear=False),
        MEMORISED: lambda: _ratio(model, images, labels, EVEN, EVEN),
        "trained on everything, the judged examples included": lambda: _ratio(model, images, labels, slice(None)),
        "trained and measured on everything": lambda: _ratio(model, images, labels, slice(None), slice(None)),
        "odd and even are exchanged: 0, 2, 4, … train, 1, 3, 5, … are judged": lambda: _ratio(
            model, images, labels, ODD, EVEN
        ),
        HALVES: lambda: _ratio(model, images, labels, slice(half), slice(half, None)),
        "upside down: the loss with zeros divided by that with images": lambda: 1 / right,
        "the model trained on zeros is asked with images": lambda: cost(seen, images) / cost(blind, images),
        "one model, trained on images, is asked with images and with zeros: the other has to be trained on zeros": (
            lambda: cost(seen, images) / cost(seen, zeros)
        ),
        "divided by the loss before any training, not by that of a model trained on zeros": lambda: (
            cost(seen, images) / cost(model, images)
        ),
        "divided by the loss with zeros before any training, not by that of a model trained on zeros": lambda: (
            cost(seen, images) / cost(model, zeros)
        ),
        "the second copy goes on from where the first ended: train copies of the same start": lambda: (
            cost(seen, images) / cost(trained(seen, zeros), zeros)
        ),
        "one and the same model is trained twice, and measured afterwards: train two copies": lambda: (
            cost(trained(seen, zeros), images) / cost(trained(seen, zeros), zeros)
        ),
        "measured in training mode": lambda: _ratio(model, images, labels, measured=True),
        "trained in eval mode: it takes train() on the copy": lambda: _ratio(
            model, images, labels, fit=_trained_in_eval
        ),
        DECAY: lambda: _ratio(model, images, labels, optimizer=torch.optim.AdamW),
        "trained with a learning rate of 0.001, not 0.01": lambda: _ratio(model, images, labels, lr=0.001),
        "the difference of the losses, not their ratio": lambda: cost(seen, images) - cost(blind, zeros),
    }
    return right, guesses


@check(
    "input_matters: on unseen examples, training with images beats training with zeros",
    points=17,
    why="A model can learn the class frequencies without looking. Only a comparison shows that it looks.",
)
def test_input_matters(sandbox):
    specs = _specs(INPUTS, 110)
    found = sandbox.run(probes.asked, "input_matters", specs)
    compared = []
    for (said, given, _), spec, one in zip(INPUTS, specs, found, strict=True):
        _, value = _finding(one, said)
        if "drop" not in given:
            still = given.get("cut") in ("frozen", "no graph")
            rtol = 1e-4 if still else 2e-2 if "norm" in given else 5e-3  # batch norm makes more of rounding errors
            compared.append(Compared(said, value, *_ratios(*probes.build(spec)), rtol=rtol, atol=1e-6))
    because = "value is the ratio of the two losses, each after 60 steps from the same start."
    _expect_values(compared, because, f"{NEARLY}; or the loss that is divided by is another one")
    for (said, _, wanted), one in zip(INPUTS, found, strict=True):
        because = "ok when the loss with images is under 0.8 of that with zeros in their place, on examples not shown."
        _expect_flag(one["ok"], wanted, one["value"], said, because, None)


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


def _tensors(*values):
    return all(type(value) is torch.Tensor for value in values)


@check(
    "Every function leaves model and data as it found them",
    points=8,
    why="A check-up that changes the patient can't be run just before the training that it is for.",
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
                if _tensors(after[key], value):  # how many values differ, and by how much
                    expect_close(after[key], value, because=because, looks_like=looks, rtol=0, atol=0)
                expect_equal(after[key], value, because=because, looks_like=looks, name=key)


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
        "test_form",
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

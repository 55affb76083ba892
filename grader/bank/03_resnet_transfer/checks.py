"""The checks of transfer learning. Expected values come from the slow, obvious formulas below.

No check needs the network: the judge sends the weights that a download would give. The small ones are random;
the last check takes the kit's pretrained ones, or ImageNet's when they have been fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
)
from grader.errors import PracticeError

from . import probes

WIDTHS = [8, 16, 24, 40]
NARROW = [4, 8, 12, 20]
HEAD = ["fc.bias", "fc.weight"]
RATES = (0.005, 0.01)  # of backbone and head, in the checks that make several steps
LOWER = ["conv1", "bn1", "layer1", "layer2"]

# Thresholds of the checks that train: see calibration.toml.
FIT_STEPS, FIT_LR, FIT_RATIO = 100, 0.01, 0.35
LEARN_LIMITS = {"cpu_seconds": 60, "wall_seconds": 120}  # enough for the real ResNet-18, too
NEW_CLASSES, SHOTS, HELD_OUT = (6, 7, 8, 9), 40, 100
STEPS, BATCH = 50, 32
PRETRAINED_BAR, MARGIN = 0.70, 0.18
IMAGENET_STEPS, IMAGENET_MARGIN = 32, 0.02


# --- oracles: a ResNet in plain functions, and what it is fed -----------------------------------------------


def names_of(widths: list[int]) -> list[str]:
    """The names of all parameters of the small ResNet, `fc` included."""
    return [name for name in checkpoint(widths, 0) if ".running_" not in name] + HEAD


def checkpoint(widths: list[int], seed: int) -> dict[str, torch.Tensor]:
    """A random "pretrained" backbone whose batch-norm statistics are far from any batch's."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, torch.Tensor] = {}

    def conv(name: str, inputs: int, outputs: int, side: int) -> None:
        scale = (2 / (inputs * side * side)) ** 0.5
        made[f"{name}.weight"] = torch.randn(outputs, inputs, side, side, generator=generator) * scale

    def norm(name: str, width: int) -> None:
        made[f"{name}.weight"] = 0.5 + torch.rand(width, generator=generator)
        made[f"{name}.bias"] = 0.2 * torch.randn(width, generator=generator)
        made[f"{name}.running_mean"] = 0.3 * torch.randn(width, generator=generator)
        made[f"{name}.running_var"] = 0.5 + 1.5 * torch.rand(width, generator=generator)

    conv("conv1", 3, widths[0], 3)
    norm("bn1", widths[0])
    before = widths[0]
    for stage, width in enumerate(widths, start=1):
        block = f"layer{stage}.0"
        conv(f"{block}.conv1", before, width, 3)
        norm(f"{block}.bn1", width)
        conv(f"{block}.conv2", width, width, 3)
        norm(f"{block}.bn2", width)
        if stage > 1:
            conv(f"{block}.downsample.0", before, width, 1)
            norm(f"{block}.downsample.1", width)
        before = width
    return made


def downloadable(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The checkpoint as a file would hold it: with the count of batches of each batch norm."""
    norms = [n.removesuffix(".running_mean") for n in weights if n.endswith(".running_mean")]
    return {**weights, **{f"{n}.num_batches_tracked": torch.tensor(1000) for n in norms}}


def features(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """What enters `fc` when every batch norm uses its running statistics: N × widths[-1]."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = F.relu(norm(F.conv2d(images, weights["conv1.weight"], padding=1), "bn1"))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in (1, 2, 3, 4):
        block, stride = f"layer{stage}.0", 1 if stage == 1 else 2
        y = F.conv2d(x, weights[f"{block}.conv1.weight"], stride=stride, padding=1)
        y = F.relu(norm(y, f"{block}.bn1"))
        y = norm(F.conv2d(y, weights[f"{block}.conv2.weight"], padding=1), f"{block}.bn2")
        if stage > 1:
            x = norm(F.conv2d(x, weights[f"{block}.downsample.0.weight"], stride=stride), f"{block}.downsample.1")
        x = F.relu(x + y)
    return x.mean((2, 3))


def random_images(count: int, side: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# --- saying what differs ---------------------------------------------------------------------------------------


def listed(names: list[str]) -> str:
    """Some names and how many there are more."""
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown or "none"


def changed(before: Any, after: Any) -> set[str]:
    """The names whose tensors differ bit for bit, or are in one of the states alone."""
    return {
        name
        for name in set(before) | set(after)
        if name not in before or name not in after or not torch.equal(before[name], after[name])
    }


def is_statistic(name: str) -> bool:
    return name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))


def stage_of(name: str) -> str:
    return name.split(".", 1)[0]


# --- the model -------------------------------------------------------------------------------------------------


@check(
    "`fc` is a new linear layer that fits the backbone",
    points=10,
    why="Transfer learning starts with a head of your own: as many inputs as the backbone has features.",
)
def test_head(sandbox: Any) -> None:
    for widths, classes, count in ((WIDTHS, 5, 3), (NARROW, 2, 1), ([8, 8, 16, 32], 11, 2)):
        weights, images = downloadable(checkpoint(widths, classes)), random_images(count, 24, seed=classes)
        found = sandbox.run(probes.head, widths, weights, classes, images)
        expect_resnet18(found, widths)
        expect_new_head(found, widths[-1], classes)
        expect(
            "value" in found["logits"],
            expected=f"logits of shape ({count}, {classes})",
            actual=f"{found['logits'].get('raised')}: {found['logits'].get('message')}",
            because="The forward pass goes through the backbone and then through `fc`; both have to fit.",
        )
        expect_shape(
            found["logits"]["value"],
            (count, classes),
            because="The model gives one row of raw logits per image, one column per class.",
            looks_like="the attribute `out_features` was set on the old layer, whose weight keeps its 1000 rows"
            if getattr(found["logits"]["value"], "shape", ())[-1:] == (probes.IMAGENET_CLASSES,)
            else None,
        )


def expect_resnet18(found: dict[str, Any], widths: list[int]) -> None:
    because = "Backbone and checkpoint belong together: the weights of `resnet18` only fit the network it makes."
    expect(
        found["is_module"],
        expected="a torchvision ResNet",
        actual="None" if found["type"] == "NoneType" else f"an object of type {found['type']}",
        because="`build_model` returns the model.",
        looks_like="a missing `return model`" if found["type"] == "NoneType" else None,
    )
    expect(
        bool(found["layers"]),
        expected="a model made by calling `torchvision.models.resnet18`",
        actual=f"a {found['type']} that came from elsewhere",
        because=because,
    )
    expect_equal(
        found["layers"][-1],
        [2, 2, 2, 2],
        because=because,
        looks_like="another depth than ResNet-18 (its stages have 2, 2, 2 and 2 blocks)",
    )
    expect(
        found["is_resnet"],
        expected="the ResNet itself, with its `fc` replaced",
        actual=f"a {found['type']} built around its parts",
        because="With conv1, layer1 … fc under their own names, checkpoints still load and others can work with it.",
    )
    extra = sorted({name for name in found["names"] if not is_statistic(name)} - set(names_of(widths)))
    expect(
        not extra or any(n.startswith("fc.") for n in extra),  # the latter is said better below
        expected="a ResNet whose only new layer is `fc`",
        actual=f"further entries in its state: {listed(extra)}",
        because="`forward` of the ResNet uses `fc`; a layer under another name is never called.",
        looks_like="the new layer was put beside `fc`, not in its place",
    )


def expect_new_head(found: dict[str, Any], inputs: int, outputs: int) -> None:
    wanted = f"Linear(in_features={inputs}, out_features={outputs}, bias=True)"
    if not found["fc_is_linear"]:
        fail(
            expected=f"`model.fc` is {wanted}",
            actual=f"`model.fc` is a {found['fc_type']}",
            because="One linear layer from features to raw logits: the loss applies the softmax itself.",
        )
    got = f"Linear(in_features={found['in_features']}, out_features={found['out_features']}"
    looks_like = None
    if found["out_features"] == probes.IMAGENET_CLASSES:
        looks_like = "`fc` is still ImageNet's, for 1000 classes"
    elif found["in_features"] == 512:
        looks_like = "512 is written out; read it with `model.fc.in_features` before replacing `fc`"
    expect(
        (found["in_features"], found["out_features"]) == (inputs, outputs),
        expected=wanted,
        actual=f"{got}, bias={found['has_bias']})",
        because="Features depend on the backbone (here a smaller one than ResNet-18's, with 512), classes on the task.",
        looks_like=looks_like,
    )
    expect(
        found["has_bias"],
        expected=wanted,
        actual=f"{got}, bias=False)",
        because="The statement asks for a bias: classes needn't be equally frequent.",
    )


@check(
    "`weights=None` downloads nothing",
    points=5,
    why="A model for tests, or for a checkpoint of your own, must not fetch 45 MB first.",
    after=["test_head"],
)
def test_without_weights(sandbox: Any) -> None:
    kernels = []
    for seed in (1, 2):
        found = sandbox.run(probes.without_weights, WIDTHS, seed=seed)
        expect(
            not found["downloads"],
            expected="no download for weights=None",
            actual=f"a download of {listed(sorted(set(found['downloads'])))}",
            because="The caller chooses the weights; None means random ones.",
            looks_like="the pretrained weights are asked for whatever `weights` says",
        )
        if found["raised"]:
            fail(
                expected="a model with random weights",
                actual=f"an error: {found['raised'][0]}",
                because="`weights=None` is the default and has to work.",
            )
        kernels.append(found["conv1"][0])
    expect(
        not torch.equal(*(expect_tensor(k, because="`conv1` keeps its weight.") for k in kernels)),
        expected="other random weights with another seed",
        actual="the same `conv1.weight` with two seeds",
        because="Without pretrained weights the backbone starts from torchvision's random initialisation.",
    )


@check(
    "`weights=` reaches torchvision, and the pretrained backbone arrives untouched",
    points=10,
    why="One layer that was made anew, or a pooling that was changed, and the pretrained features are gone.",
    after=["test_head"],
)
def test_with_weights(sandbox: Any) -> None:
    for seed, freeze in ((3, True), (4, False)):
        weights, images = checkpoint(WIDTHS, seed), random_images(4, 32, seed)
        found = sandbox.run(probes.with_weights, WIDTHS, downloadable(weights), images, freeze)
        expect(
            bool(found["downloads"]) and set(found["downloads"]) == {found["wanted"]},
            expected=f"a download of {found['wanted']}",
            actual=f"a download of {listed(found['downloads'])}" if found["downloads"] else "no download",
            because="`weights=ResNet18_Weights.DEFAULT` asks for these weights.",
            looks_like=None if found["downloads"] else "the argument `weights` is not passed on",
        )
        expect_untouched(found["state"], weights)
        head = (found["state"]["fc.weight"], found["state"]["fc.bias"])
        expect_close(
            found["logits"],
            F.linear(features(weights, images), *head),
            rtol=1e-3,
            atol=1e-4,
            because="In eval mode the model computes what the pretrained backbone computes, and then `fc`, no more.",
            looks_like="all weights are right, so something without weights was changed: pooling, activation, a hook",
        )


def expect_untouched(state: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    missing = [name for name in weights if name not in state]
    other = [name for name in weights if name in state and not same_bits(state[name], weights[name])]
    looks_like = None
    if len(other) > len(weights) // 2:
        looks_like = "the backbone was initialised again after loading, or the weights were never loaded into it"
    expect(
        not missing and not other,
        expected="every tensor of the backbone equal to the checkpoint's",
        actual=f"missing: {listed(missing)}" if missing else f"different: {listed(other)}",
        because="The pretrained weights are all that transfer learning transfers.",
        looks_like=looks_like,
    )


def same_bits(a: Any, b: torch.Tensor) -> bool:
    return type(a) is torch.Tensor and a.shape == b.shape and bool(torch.equal(a, b))


@check(
    "The current weights API is used",
    points=5,
    why="`pretrained=`, deprecated since torchvision 0.13, says neither which weights nor their preprocessing.",
    after=["test_head"],
)
def test_current_api(sandbox: Any) -> None:
    said = sandbox.run(probes.warned, WIDTHS, downloadable(checkpoint(WIDTHS, 5)))
    deprecated = [text for text in said if "deprecated" in text]
    pretrained = any("'pretrained'" in text for text in deprecated)
    expect(
        not deprecated,
        expected="no deprecation warning",
        actual=describe(deprecated[0]) if deprecated else "",
        because="An interviewer notices the old API at once; one day it is gone.",
        looks_like="`pretrained=…`; write `weights=weights`" if pretrained else None,
    )


@check(
    "Exactly what should train requires a gradient",
    points=8,
    why="Frozen too little, the backbone is spoilt by the random head's gradients; too much, and nothing learns.",
    after=["test_head"],
)
def test_freezing(sandbox: Any) -> None:
    found = sandbox.run(probes.trainable, WIDTHS, downloadable(checkpoint(WIDTHS, 6)))
    for call, frozen in (
        ("freeze_backbone=True", True),
        ("freeze_backbone=False", False),
        ("build_model(3)", True),
        ("weights=None, freeze_backbone=False", False),
    ):
        trains, every = set(found[call]["trainable"]), set(found[call]["all"])
        wanted = set(HEAD) if frozen else every
        missing, extra = sorted(wanted - trains), sorted(trains - wanted)
        expect(
            trains == wanted,
            expected=f"{call}: {'fc.weight and fc.bias train, nothing else' if frozen else 'every parameter trains'}",
            actual=f"wrongly frozen: {listed(missing)}" if missing else f"wrongly trainable: {listed(extra)}",
            because="`requires_grad` decides what gets a gradient, and what the optimizer should see.",
            looks_like=freezing_mistake(frozen, trains, every, call),
        )


def freezing_mistake(frozen: bool, trains: set[str], every: set[str], call: str) -> str | None:
    """The misconception that fits, computed from which parameters train."""
    if not frozen:
        return "the backbone is frozen whatever `freeze_backbone` says" if trains == set(HEAD) else None
    if not trains:
        return "`fc` was replaced before the loop that freezes everything, so the new layer is frozen as well"
    if trains == every:
        if call == "build_model(3)":
            return "the default of `freeze_backbone` should be True"
        return "nothing is frozen; what a line for it sets has to be `requires_grad`, and of each parameter"
    kinds = {n for n in trains - set(HEAD) if n.endswith((".conv1.weight", ".conv2.weight")) or n == "conv1.weight"}
    if not kinds and trains >= {n for n in every if ".bn" in n or n.startswith("bn")}:
        return "only the convolutions are frozen; a batch norm has a weight and a bias, too"
    return None


# --- parameter groups ----------------------------------------------------------------------------------------------


@check(
    "The groups hold every parameter once, each with its learning rate",
    points=10,
    why="Pretrained layers need small steps, a random head large ones; a parameter in no group never learns.",
    after=["test_freezing"],
)
def test_groups(sandbox: Any) -> None:
    rates = ((1e-4, 1e-2), (0.3, 0.02))
    cases = [{"freeze": False, "stages": [], "lr_backbone": b, "lr_head": h} for b, h in rates]
    for case, found in zip(cases, sandbox.run(probes.groups, WIDTHS, cases), strict=True):
        expect_groups(case, found, set(names_of(WIDTHS)))


@check(
    "Frozen parameters are in no group",
    points=6,
    why="Weight decay and momentum are applied to what an optimizer holds; it should hold what trains.",
    after=["test_groups"],
)
def test_groups_frozen(sandbox: Any) -> None:
    every = set(names_of(WIDTHS))
    upper = {name for name in every if stage_of(name) not in LOWER}
    frozen = {"freeze": True, "stages": [], "lr_backbone": 1e-3, "lr_head": 1e-1}
    partly = {"freeze": False, "stages": LOWER, "lr_backbone": 1e-3, "lr_head": 1e-1}
    headless = {"freeze": False, "stages": ["fc"], "lr_backbone": 1e-3, "lr_head": 1e-1}
    found = sandbox.run(probes.groups, WIDTHS, [frozen, partly, headless])
    expect_groups(frozen, found[0], set(HEAD), "with the backbone frozen: ")
    expect_groups(headless, found[2], every - set(HEAD), "with fc frozen: ")
    expect_groups(partly, found[1], upper, f"with {', '.join(LOWER)} frozen: ")


def expect_groups(case: dict[str, Any], found: dict[str, Any], wanted: set[str], where: str = "") -> None:
    if "groups" not in found:
        fail(
            expected='a list of dictionaries, each with "params" and "lr"',
            actual=f"a {found['type']} of {listed(found['items'])}"
            if found["items"]
            else f"an object of type {found['type']}",
            because="This is what an optimizer takes in place of a list of parameters.",
        )
    entries = [(name, group["lr"]) for group in found["groups"] for name in group["names"]]
    rates = dict(entries)
    for name, rate in entries:
        expect(
            isinstance(rate, float),
            expected=f"{where}a learning rate for {name}",
            actual="a group without `lr`" if rate is None else f"the learning rate {describe(rate)}",
            because="A group without its own rate takes the optimizer's default for all.",
        )
    extra, missing = sorted(set(rates) - wanted), sorted(wanted - set(rates))
    expect(
        not extra,
        expected=f"{where}parameters that require a gradient, only",
        actual=f"also in a group: {listed(extra)}",
        because="What doesn't train has no business in the optimizer.",
        looks_like="All parameters are sorted into groups, and their requires_grad isn't looked at."
        if where and len(extra) + len(wanted) >= len(names_of(WIDTHS))
        else None,
    )
    expect(
        not missing,
        expected=f"{where}all {len(wanted)} trainable parameters in a group",
        actual=f"in none: {listed(missing)}",
        because="A parameter in no group gets gradients, but never a step.",
    )
    twice = sorted({name for name in rates if sum(n == name for n, _ in entries) > 1})
    expect(
        not twice,
        expected=f"{where}each parameter once",
        actual=f"more than once: {listed(twice)}",
        because="An optimizer refuses a parameter that is in two groups: which rate should hold?",
        looks_like="`model.parameters()` includes those of `fc`" if set(twice) & set(HEAD) else None,
    )
    backbone, head = case["lr_backbone"], case["lr_head"]
    wrong = sorted(n for n, rate in rates.items() if rate != (head if stage_of(n) == "fc" else backbone))
    swapped = wrong and all(rate == (backbone if stage_of(n) == "fc" else head) for n, rate in rates.items())
    expect(
        not wrong,
        expected=f"{where}lr {head:g} for fc.weight and fc.bias, {backbone:g} for the others",
        actual=f"lr {describe(rates[wrong[0]])} for {listed(wrong)}" if wrong else "",
        because="The random head has far to go; the pretrained layers are nearly there.",
        looks_like="the two learning rates are swapped" if swapped else None,
    )


# --- training -------------------------------------------------------------------------------------------------------


@check(
    "`set_train_mode` leaves frozen batch norms, and only those, in eval mode",
    points=10,
    why="The classic trap: a frozen backbone still changes, since running statistics are buffers, not parameters.",
    after=["test_with_weights", "test_freezing"],
)
def test_train_mode(sandbox: Any) -> None:
    weights, images = checkpoint(WIDTHS, 7), random_images(6, 32, seed=7)
    every = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    for freeze, stages, frozen, said in (
        (True, [], every, "with the backbone frozen"),
        (False, [], set(), "with nothing frozen"),
        (False, LOWER, set(LOWER), f"with {', '.join(LOWER)} frozen"),
        (False, ["layer3"], {"layer3"}, "with layer3 frozen"),
    ):
        found = sandbox.run(probes.mode, WIDTHS, downloadable(weights), images, freeze, stages)
        expect_statistics(found, frozen, said)
        expect(
            found["fc_training"] is True,
            expected=f"{said}: `model.fc` in training mode",
            actual="`model.fc.training` is False",
            because="What trains is in training mode: a dropout in front of the head would do nothing otherwise.",
        )
        if freeze:
            expect_close(
                found["features"],
                features(weights, images),
                rtol=1e-3,
                atol=1e-4,
                because="A frozen batch norm normalises with its running statistics, in training as in use.",
                looks_like="the statistics stand still, but the batch's own are used to normalise",
            )


def expect_statistics(found: dict[str, Any], frozen: set[str], said: str) -> None:
    """Running statistics move in one forward pass exactly where nothing is frozen."""
    statistics = {name for name in found["before"] if is_statistic(name)}
    moved = {name for name in changed(found["before"], found["after"]) if is_statistic(name)}
    wrongly = sorted(name for name in moved if stage_of(name) in frozen)
    expect(
        not wrongly,
        expected=f"{said}: its running statistics as they were, bit for bit",
        actual=f"one forward pass changed {listed([n for n in wrongly if n.endswith('_mean')] or wrongly)}",
        because="`requires_grad=False` stops the optimizer; a batch norm in train mode moves its statistics.",
        looks_like="`model.train()` puts frozen layers in train mode, too" if moved == statistics else None,
    )
    means = {name for name in found["before"] if name.endswith(".running_mean")}
    still = sorted(name for name in means - moved if stage_of(name) not in frozen)
    expect(
        not still,
        expected=f"{said}: the running statistics of the layers that train follow the batches",
        actual=f"unmoved by a forward pass: {listed(still)}",
        because="A batch norm that trains has to normalise by the batch and to keep its statistics up to date.",
        looks_like="every batch norm is put in eval mode, not just the frozen ones" if not moved else None,
    )


@check(
    "One step of `train_step` is the step that the formulas give",
    points=9,
    why="Zero, forward, backward, step: each left out or misplaced still runs, and trains a little wrong.",
    after=["test_with_weights", "test_freezing"],
)
def test_one_step(sandbox: Any) -> None:
    for seed, count, lr in ((8, 5, 0.1), (9, 2, 0.5)):
        weights, images = checkpoint(WIDTHS, seed), random_images(count, 24, seed)
        labels = torch.tensor([2, 0, 3, 1, 2])[:count]
        stale = 3.0
        found = sandbox.run(probes.one_step, WIDTHS, downloadable(weights), images, labels, lr, stale)
        x = expect_tensor(found["features"], because="`train_step` runs the model on the images.", name="fc's input")
        expect_shape(x, (count, WIDTHS[-1]), because="The whole batch goes through the model at once.")
        expect_step(found, x, labels, lr, stale)


def expect_step(found: dict[str, Any], x: torch.Tensor, labels: torch.Tensor, lr: float, stale: float) -> None:
    """Compares loss and new `fc` with those that follow from the features `x` of the batch."""
    weight, bias = found["before"]["weight"].double(), found["before"]["bias"].double()
    x, n = x.double(), len(labels)
    logits = x @ weight.T + bias
    per_image = logits.logsumexp(1) - logits[torch.arange(n), labels]
    error = (logits.softmax(1) - F.one_hot(labels, 4)) / n  # the gradient at the logits
    gradient = error.T @ x
    loss = float(per_image.mean())
    expect_type(
        found["loss"],
        float,
        because="A tensor with a graph, appended to a history, keeps every step's activations alive.",
        looks_like="`loss` is returned in place of `loss.item()`" if not isinstance(found["loss"], float) else None,
    )
    step = found["after"]["weight"].double() - weight
    softmaxed = float(F.cross_entropy(logits.softmax(1), labels))
    after = float(F.cross_entropy(x @ found["after"]["weight"].double().T + found["after"]["bias"].double(), labels))
    likely = {
        "the sum over the batch, not its mean": loss * n,
        "softmax before cross-entropy, which applies it itself": softmaxed,
        "the loss after the step, not before it": after if float(step.abs().max()) > 1e-6 else float("nan"),
    }
    expect_close(
        found["loss"],
        loss,
        rtol=1e-4,
        atol=1e-5,
        because="The value is the mean cross-entropy of the batch, before the step.",
        looks_like=next((what for what, value in likely.items() if close(found["loss"], value)), None),
    )
    expect_close(
        found["after"]["weight"],
        weight - lr * gradient,
        rtol=1e-3,
        atol=1e-5,
        because="With SGD, the new weight of `fc` is the old one minus lr times the gradient of this batch's loss.",
        looks_like=step_mistake(step / -lr, gradient, stale),
    )
    expect_close(
        found["after"]["bias"],
        bias - lr * error.sum(0),
        rtol=1e-3,
        atol=1e-5,
        because="The bias of `fc` takes its step with the weight.",
    )


def close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-4 * max(1.0, abs(b))


def step_mistake(used: torch.Tensor, gradient: torch.Tensor, stale: float) -> str | None:
    """What the gradient that was really used looks like."""
    nothing = torch.zeros_like(gradient)
    for what, candidate in (
        ("no step was made: `optimizer.step()` is missing, or the gradients were zeroed before it", nothing),
        ("gradients left from before were added: `optimizer.zero_grad()` is missing", gradient + stale),
        ("a step along the gradients left from before: `backward()` belongs before `step()`", nothing + stale),
        ("the step goes uphill: the sign of the loss", -gradient),
    ):
        if torch.allclose(used, candidate, rtol=1e-2, atol=1e-3):
            return what
    return None


@check(
    "Real steps leave a frozen backbone as it was, bit for bit",
    points=6,
    why="Weights are compared before and after: what the optimizer, weight decay or batch norm moved is seen here.",
    after=["test_groups_frozen", "test_train_mode", "test_one_step"],
)
def test_frozen_stays(sandbox: Any) -> None:
    weights, (images, labels) = checkpoint(WIDTHS, 10), three_batches(10)
    found = sandbox.run(probes.steps, WIDTHS, downloadable(weights), images, labels, True, [], True, RATES)
    moved = changed(found["before"], found["after"])
    wrongly = sorted(moved - set(HEAD))
    expect(
        not wrongly,
        expected="after three steps: everything but `fc` unchanged",
        actual=f"changed: {listed(wrongly)}",
        because="Frozen means that the features stay those of the pretrained network.",
        looks_like=(
            "`train_step` calls `model.train()` and not `set_train_mode(model)`"
            if wrongly and all(is_statistic(name) for name in wrongly)
            else None
        ),
    )
    expect(
        set(HEAD) <= moved,
        expected="fc.weight and fc.bias changed",
        actual=f"unchanged: {listed(sorted(set(HEAD) - moved))}",
        because="The head is what trains.",
    )


def three_batches(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images 3 × 6 × 3 × 32 × 32 and labels 3 × 6 of four classes."""
    images = (0.5 + 1.5 * random_images(18, 32, seed)).reshape(3, 6, 3, 32, 32)
    return images, torch.tensor([[0, 1, 2, 3, 0, 1], [2, 2, 3, 1, 0, 0], [3, 1, 1, 2, 0, 3]])


@check(
    "Several steps follow the optimizer that was given, on the images that were given",
    points=4,
    why="Momentum, weight decay and learning rate are the caller's choice, and so is the preprocessing.",
    after=["test_frozen_stays"],
)
def test_several_steps(sandbox: Any) -> None:
    weights, (images, labels) = checkpoint(WIDTHS, 13), three_batches(13)
    found = sandbox.run(probes.steps, WIDTHS, downloadable(weights), images, labels, True, [], False, RATES)
    for number, (seen, batch) in enumerate(zip(found["features"], images, strict=True), start=1):
        expect_close(
            seen,
            features(weights, batch),
            rtol=1e-3,
            atol=1e-4,
            because=f"In step {number}, `fc` gets the features of these images; they come prepared, so use them so.",
        )
    before = [found["before"][name].double() for name in ("fc.weight", "fc.bias")]
    wanted = momentum_steps(weights, before, images, labels)
    for name, value in zip(("fc.weight", "fc.bias"), wanted, strict=True):
        expect_close(
            found["after"][name],
            value,
            rtol=1e-3,
            atol=1e-5,
            because=f"Three steps of SGD with momentum 0.9 and weight decay 0.2 take `{name}` there, by its formula.",
            looks_like="the first step is right, so something of the optimizer was changed or lost between the steps",
        )


def momentum_steps(
    weights: dict[str, torch.Tensor], head: list[torch.Tensor], images: torch.Tensor, labels: torch.Tensor
) -> list[torch.Tensor]:
    """Weight and bias of the head after a step of SGD on each batch, as torch documents it."""
    velocity = [torch.zeros_like(p) for p in head]
    for batch, target in zip(images, labels, strict=True):
        x = features(weights, batch).double()
        error = ((x @ head[0].T + head[1]).softmax(1) - F.one_hot(target, 4)) / len(target)
        gradients = [error.T @ x + 0.2 * head[0], error.sum(0) + 0.2 * head[1]]
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        head = [p - RATES[1] * v for p, v in zip(head, velocity, strict=True)]
    return head


@check(
    "What isn't frozen trains, all of it",
    points=6,
    why="Fine-tuning moves every layer that isn't frozen, its batch-norm statistics included.",
    after=["test_groups_frozen", "test_train_mode", "test_one_step"],
)
def test_unfrozen_trains(sandbox: Any) -> None:
    weights, (images, labels) = checkpoint(WIDTHS, 11), three_batches(11)
    for stages, said in (([], "with nothing frozen"), (LOWER, f"with {', '.join(LOWER)} frozen")):
        found = sandbox.run(probes.steps, WIDTHS, downloadable(weights), images, labels, False, stages, False, RATES)
        moved = changed(found["before"], found["after"])
        wanted = {name for name in found["before"] if stage_of(name) not in stages}
        still, wrongly = sorted(wanted - moved), sorted(moved - wanted)
        statistics_only = bool(still) and all(is_statistic(name) for name in still)
        expect(
            not still,
            expected=f"{said}: all the others changed after three steps",
            actual=f"unchanged: {listed(still)}",
            because="An unfrozen layer gets gradients and steps, and its batch norm follows the batches.",
            looks_like="`train_step` leaves the model in the mode it came in"
            if statistics_only
            else "the backbone gets no gradients: they end at `fc`"
            if {n for n in wanted if not is_statistic(n)} - set(still) == set(HEAD)
            else None,
        )
        expect(
            not wrongly,
            expected=f"{said}: those unchanged",
            actual=f"changed: {listed(wrongly)}",
            because="A stage frozen by hand stays as it is while the others train.",
        )


@check(
    "The loss of one fixed batch falls to a third",
    points=4,
    why="Before any long run, overfit one batch: it takes a second and finds most mistakes.",
    after=["test_several_steps"],
)
def test_one_batch(sandbox: Any) -> None:
    weights, images = checkpoint(WIDTHS, 12), random_images(16, 32, seed=12)
    labels = torch.arange(16) % 4
    found = sandbox.run(probes.fit_one_batch, WIDTHS, downloadable(weights), images, labels, FIT_LR, FIT_STEPS)
    losses = []
    for when in ("before", "after"):
        expect_shape(found[when], (16, 4), because="One row of logits per image.")
        losses.append(float(F.cross_entropy(found[when].double(), labels)))
    sandbox.measure("loss ratio", round(losses[1] / losses[0], 3))
    expect_at_most(
        losses[1] / losses[0],
        FIT_RATIO,
        unit=" of the loss before",
        because=f"{FIT_STEPS} steps of Adam on 16 images take this loss from {losses[0]:.2f} to about an eighth of it.",
    )


@check(
    "On a small new task the pretrained backbone beats training from scratch",
    points=7,
    why="This is what it is all for: few labelled images, and features that somebody else paid for.",
    after=["test_unfrozen_trains", "test_one_batch"],
)
def test_transfer(sandbox: Any, data: Any) -> None:
    file = data.weights("resnet18")
    start = pretrained() if file is None else imagenet(file)
    sandbox.note(f"backbone: {start.name}")
    task, accuracy = new_task(0), {}
    order = task["order"][: start.steps]
    for name, weights in (("pretrained", start.weights), ("from scratch", None)):
        logits = sandbox.run(
            probes.learn, start.widths, weights, task["images"], task["labels"], task["new_images"], order, start.size,
            **LEARN_LIMITS,
        )
        expect_shape(logits, (len(task["new_labels"]), len(NEW_CLASSES)), because="One row of logits per image.")
        accuracy[name] = float((logits.argmax(1) == task["new_labels"]).double().mean())
        sandbox.measure(f"accuracy, {name}", round(accuracy[name], 3))
    ahead = accuracy["pretrained"] - accuracy["from scratch"]
    sandbox.measure("accuracy, ahead of scratch", round(ahead, 3))
    gave = f"Given {SHOTS} images per class, {start.steps} steps and a frozen backbone,"
    expect_at_least(
        accuracy["pretrained"],
        start.bar,
        unit=" of the new pictures right",
        because=f"{gave} the head learns four classes that the backbone hasn't seen.",
    )
    expect_at_least(
        ahead,
        start.margin,
        unit=" ahead of training from scratch",
        because=f"{gave} it is ahead of the same network from scratch, which reaches {accuracy['from scratch']:.2f}.",
    )


@dataclass(frozen=True)
class Start:
    """A pretrained backbone, and what a correct solution reaches with it on the new task."""

    name: str
    widths: list[int] | None
    """The channels of the stages of the small ResNet; None for the real ResNet-18."""
    weights: dict[str, torch.Tensor]
    size: int
    """The side to which the images are enlarged."""
    steps: int
    bar: float
    margin: float


def pretrained() -> Start:
    """The kit's small ResNet, made by benchmarks/pretrain_small_resnet.py."""
    import numpy as np

    with np.load(Path(__file__).with_name("small_resnet.npz"), allow_pickle=False) as file:
        weights = {name: torch.from_numpy(file[name]).float() for name in file.files}
    widths = [weights[f"layer{stage}.0.conv2.weight"].shape[0] for stage in (1, 2, 3, 4)]
    return Start("the kit's small ResNet", widths, downloadable(weights), 32, STEPS, PRETRAINED_BAR, MARGIN)


def imagenet(file: Path) -> Start:
    """The real ResNet-18. Fewer steps, since it is four hundred times the work, and it has only to be ahead."""
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        weights = {str(name): tensor.detach().clone() for name, tensor in loaded.items()}
    except Exception as error:
        raise PracticeError(
            f"The weights in {file} can't be read: {type(error).__name__}.",
            hint="Delete the file, or fetch it again: practice data download resnet18",
        ) from error
    return Start("ResNet-18 with ImageNet weights", None, weights, 64, IMAGENET_STEPS, 0.0, IMAGENET_MARGIN)


def new_task(seed: int) -> dict[str, torch.Tensor]:
    """Few images of classes on which the kit's backbone was not trained, and the order to train in."""
    from grader.data import scenes

    images, labels = scenes.generate(1600, seed=7000 + seed)
    images, labels = torch.from_numpy(images), torch.from_numpy(labels).long()
    chosen = {kind: (labels == kind).nonzero()[:, 0] for kind in NEW_CLASSES}
    train = torch.cat([chosen[kind][:SHOTS] for kind in NEW_CLASSES])
    held = torch.cat([chosen[kind][SHOTS : SHOTS + HELD_OUT] for kind in NEW_CLASSES])
    generator = torch.Generator().manual_seed(seed)
    order = [torch.randperm(len(train), generator=generator) for _ in range(STEPS * BATCH // len(train) + 1)]
    return {
        "images": images[train],
        "labels": labels[train] - NEW_CLASSES[0],
        "new_images": images[held],
        "new_labels": labels[held] - NEW_CLASSES[0],
        "order": torch.cat(order)[: STEPS * BATCH].reshape(STEPS, BATCH),
    }

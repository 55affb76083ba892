"""Checks for attacks on classifiers. The oracle computes the gradient of a copy of the model, here in the judge."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_number,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
    misconception,
)

from . import probes

F64 = torch.float64
TIGHT = {"rtol": 1e-6, "atol": 1e-7}
"""A step of float32 numbers is fine."""
BOTH = ("fgsm", "fgsm_targeted")


# --- cases and oracles ---------------------------------------------------------------------------------


def _spec(kind, shape, classes, seed, dtype=F64):
    """A model with random numbers in it, normal ones, so that no gradient is nearly 0."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in probes.build(kind, shape, classes).state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        else:
            drawn = torch.randn(value.shape, generator=g, dtype=F64)
            state[name] = (drawn.abs() + 0.5 if name.endswith("running_var") else drawn).to(dtype)
    return {"kind": kind, "shape": shape, "classes": classes, "state": state}


def _case(spec, n, seed, eps, inside=(0.3, 0.7), attack="fgsm", **more):
    """n random images with pixels inside these bounds, and labels of which about half are the model's own."""
    g = torch.Generator().manual_seed(seed)
    dtype = next(iter(spec["state"].values())).dtype
    images = torch.rand(n, *spec["shape"], generator=g, dtype=F64) * (inside[1] - inside[0]) + inside[0]
    images = images.to(dtype)
    labels = torch.randint(spec["classes"], (n,), generator=g)
    own = probes.model_of(spec).eval()(images).argmax(1)
    if attack != "fgsm_targeted":
        labels = torch.where(torch.arange(n) % 2 == 0, own, labels)
    return {"spec": spec, "images": images, "labels": labels, "eps": eps, "attack": attack, **more}


def _said(case):
    options = "".join(f", {name}={case[name]:g}" for name in ("low", "high") if name in case)
    dtype = str(case["images"].dtype).removeprefix("torch.")
    eps = f"epsilons={case['epsilons']}" if "epsilons" in case else f"eps={case['eps']:g}"
    kind = {"norm": "conv net with batch norm and dropout", "conv": "conv net", "mlp": "two-layer network"}
    model = kind.get(case["spec"]["kind"], "linear model")
    return f"{case['attack']}, {model}, images {tuple(case['images'].shape)} {dtype}, {eps}{options}"


def _mean(logits, labels):
    return F.cross_entropy(logits, labels)


def _gradient(case, loss=_mean, training=False, labels=None):
    """The gradient for the images."""
    model = probes.model_of(case["spec"]).train(training)
    x = case["images"].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(model(x), case["labels"] if labels is None else labels), x)
    return gradient


def _bounds(case):
    return case.get("low", 0.0), case.get("high", 1.0)


def _moved(case, direction, clip=True):
    """images ± eps · direction, clipped."""
    eps = -case["eps"] if case["attack"] == "fgsm_targeted" else case["eps"]
    moved = case["images"] + eps * direction
    return moved.clamp(*_bounds(case)) if clip else moved


def _right(case):
    return _moved(case, _gradient(case).sign())


def _guesses(case):
    """Misconception → the images that it gives, worked out when it is asked for."""
    images = case["images"]
    low, high = _bounds(case)
    eps = case["eps"]
    model = probes.model_of(case["spec"]).eval()

    def from_gradient(make, **options):
        return lambda: _moved(case, make(_gradient(case, **options)))

    def sign(g):
        return g.sign()

    def unit(g):
        return g / g.flatten(1).norm(dim=1).view(-1, *[1] * (g.dim() - 1))

    def largest(g):
        return g / g.flatten(1).abs().amax(dim=1).view(-1, *[1] * (g.dim() - 1))

    def chosen_logit(logits, labels):
        return -logits.gather(1, labels[:, None]).sum()

    wrong_way = "the loss goes down: a step against the gradient, as an optimizer takes it"
    if case["attack"] == "fgsm_targeted":
        wrong_way = "the loss with the target goes up: the step leads away from it"
    return {
        wrong_way: lambda: _moved(case, -_gradient(case).sign()),
        "nothing moved": lambda: images.clone(),
        "the gradient itself instead of its sign": from_gradient(lambda g: g),
        "the gradient of the summed loss itself instead of its sign": from_gradient(lambda g: g * len(images)),
        "the gradient divided by its length instead of its sign": from_gradient(unit),
        "the gradient divided by its largest number instead of its sign": from_gradient(largest),
        "one step for all channels: the sign of their mean": from_gradient(
            lambda g: g.mean(1, keepdim=True).sign().expand_as(g)
        ),
        "a pixel whose gradient is 0 was moved, up": from_gradient(lambda g: torch.where(g >= 0, 1.0, -1.0).to(g)),
        "a pixel whose gradient is 0 was moved, down": from_gradient(lambda g: torch.where(g > 0, 1.0, -1.0).to(g)),
        "the model's own predictions are used instead of the labels that were given": from_gradient(
            sign, labels=model(images).argmax(1)
        ),
        "the model isn't in eval mode while it is attacked": from_gradient(sign, training=True),
        "cross-entropy of probabilities: the softmax is in the loss already": from_gradient(
            sign, loss=lambda logits, labels: F.cross_entropy(logits.softmax(1), labels)
        ),
        "only the label's logit counts, as in nll_loss of logits; cross-entropy looks at all": from_gradient(
            sign, loss=chosen_logit
        ),
        "the sum of all logits, without the labels": from_gradient(sign, loss=lambda logits, labels: logits.sum()),
        "pixels leave the range: low … high isn't kept": lambda: _moved(case, _gradient(case).sign(), clip=False),
        "clipped to 0 … 1, whatever low and high say": lambda: _moved(case, _gradient(case).sign(), clip=False).clamp(
            0, 1
        ),
        "the step is clipped, not the pixels": lambda: (
            images + (_moved(case, _gradient(case).sign(), clip=False) - images).clamp(low, high)
        ),
        "eps is scaled by the range: it counts in the images' own units": lambda: (
            images + (high - low) * (_moved(case, _gradient(case).sign(), clip=False) - images)
        ).clamp(low, high),
        "only the lower bound is kept": lambda: _moved(case, _gradient(case).sign(), clip=False).clamp(min=low),
        "only the upper bound is kept": lambda: _moved(case, _gradient(case).sign(), clip=False).clamp(max=high),
        "all images got the step of the first one": lambda: _moved(case, _gradient(case)[:1].sign()),
        "one step for the whole batch: the gradients of all images were added up": lambda: _moved(
            case, _gradient(case).sum(0, keepdim=True).sign()
        ),
        "targeted and untargeted are exchanged, labels and sign": lambda: images - eps * _gradient(case).sign(),
    }


def _expect_attacked(case, found, guesses=None, because=None):
    """The attacked images, against the oracle."""
    said = _said(case)
    result = expect_tensor(found["result"], because=f"({said}) the attacked images.")
    expect_shape(result, tuple(case["images"].shape), because=f"({said}) as many images, of the same shape.")
    expect_dtype(result, case["images"].dtype, because=f"({said}) the images keep their dtype.")
    right = _right(case)
    looks = misconception(result, right, _guesses(case) if guesses is None else guesses, **TIGHT)
    because = f"({said}) {because or 'images ± eps · sign of the gradient, clipped.'}"
    expect_close(result, right, because=because, looks_like=looks, **TIGHT)


# --- the linear score ----------------------------------------------------------------------------------

TOY_X = [2.0, -1.0, 3.0, -2.0, 2.0, 2.0, 1.0, -4.0, 5.0, 1.0]
TOY_W = [-1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0]


def _linear_guesses(x, w, eps):
    return {
        "eps · w instead of eps · sign(w): the limit counts for each number on its own": x + eps * w,
        "w divided by its length instead of its sign: that limits the length of the whole step": x + eps * w / w.norm(),
        "the step goes the wrong way: the score falls": x - eps * w.sign(),
        "the sign of x instead of that of w": x + eps * x.sign(),
        "the signs of x · w, number by number": x + eps * (x * w).sign(),
        "nothing moved": x,
        "where w is 0 the number was moved, down": x + eps * torch.where(w > 0, 1.0, -1.0).to(w),
        "where w is 0 the number was moved, up": x + eps * torch.where(w >= 0, 1.0, -1.0).to(w),
        "clipped to 0 … 1: there are no bounds here": (x + eps * w.sign()).clamp(0, 1),
        "eps is shared among all the numbers": x + eps * w.sign() / w.numel(),
    }


def _expect_fooled(found, x, w, eps, said):
    right = x + eps * w.sign()
    result = expect_tensor(found["result"], because=f"({said}) the changed input.")
    looks = misconception(result, right, _linear_guesses(x, w, eps), **TIGHT)
    expect_shape(result, tuple(x.shape), because=f"({said}) the result has the shape of x.")
    expect_dtype(result, x.dtype, because=f"({said}) the result has the dtype of x.")
    gain, most = (result.to(F64) - x.to(F64)) @ w.to(F64), eps * float(w.to(F64).abs().sum())
    because = f"({said}) the score's gain: each number contributes at most eps · |w|, and all of them add up."
    wanted = torch.full(x.shape[:-1], most, dtype=F64)
    rtol = 1e-3 if x.dtype is torch.float32 else 1e-6  # the difference of two float32 numbers has few digits
    expect_close(gain, wanted, because=because, looks_like=looks, rtol=rtol, atol=1e-7)
    expect_close(result, right, because=f"({said}) no number may move by more than eps.", looks_like=looks, **TIGHT)
    for name, before in (("x", x), ("w", w)):
        because = f"({said}) {name} belongs to the caller."
        expect_equal(found[name], before, because=because, looks_like="an operation in place")


@check(
    "The toy of 2015: a score of −3 becomes +2, a probability of 0.0474 becomes 0.88",
    points=6,
    why="Ten numbers, none of them moved by more than 0.5, and the answer is another one.",
)
def test_toy(sandbox):
    x, w = torch.tensor(TOY_X, dtype=F64), torch.tensor(TOY_W, dtype=F64)
    (found,) = sandbox.run(probes.fooled, [(x, w, 0.5)])
    _expect_fooled(found, x, w, 0.5, "the ten numbers, eps=0.5")
    score, probability = float(found["result"] @ w), float((found["result"] @ w).sigmoid())
    because = "−3 + 0.5 · 10 = 2, and sigmoid(2) = 0.8808."
    expect_close(score, 2.0, because=because, **TIGHT)
    sandbox.note(f"score {float(x @ w):g} → {score:g}, probability {float((x @ w).sigmoid()):.4f} → {probability:.4f}")


@check(
    "fool_linear gains exactly eps · (sum of |w|), which nothing can beat",
    points=7,
    why="The gain grows with the number of pixels, the change of each doesn't: that is all there is to it.",
    after=["test_toy"],
)
def test_fool_linear(sandbox):
    cases = []
    for k, (shape, eps, dtype) in enumerate(
        [((7,), 0.25, F64), ((3, 5), 0.1, F64), ((1, 1), 2.0, F64), ((2, 300), 0.01, torch.float32), ((4,), 0.0, F64)]
    ):
        g = torch.Generator().manual_seed(10 + k)
        x = 3 * torch.randn(shape, generator=g, dtype=F64).to(dtype)
        cases.append((x, torch.randn(shape[-1], generator=g, dtype=F64).to(dtype), eps))
    cases.append((torch.tensor([[1.0, -2.0, 0.5]], dtype=F64), torch.tensor([0.0, 3.0, -0.5], dtype=F64), 0.5))
    for (x, w, eps), found in zip(cases, sandbox.run(probes.fooled, cases), strict=True):
        zero = ", w with a 0 in it" if bool((w == 0).any()) else ""
        _expect_fooled(found, x, w, eps, f"x {tuple(x.shape)}, eps={eps:g}{zero}")


# --- the attack ----------------------------------------------------------------------------------------


@check(
    "fgsm on a linear model of two classes: each margin falls by exactly eps · (sum of |w1 − w0|)",
    points=8,
    why="Where the model is linear, the sign of the gradient is the best step there is. On networks it is nearly so.",
)
def test_margin(sandbox):
    cases = [
        _case(_spec("linear", (1, 4, 5), 2, 20), 6, 30, 0.05),
        _case(_spec("linear", (9,), 2, 21), 3, 31, 0.2),
        _case(_spec("linear", (2, 3, 3), 2, 22), 1, 32, 0.1),
    ]
    for case, found in zip(cases, sandbox.run(probes.attacks, cases), strict=True):
        said, (weight, _) = _said(case), list(case["spec"]["state"].values())
        result = expect_tensor(found["result"], because=f"({said}) the attacked images.")
        expect_shape(result, tuple(case["images"].shape), because=f"({said}) as many images, of the same shape.")
        expect_dtype(result, case["images"].dtype, because=f"({said}) the images keep their dtype.")
        right = _right(case)
        looks = misconception(result, right, _guesses(case), **TIGHT)
        model = probes.model_of(case["spec"])
        sign = 2 * case["labels"] - 1
        pair = torch.tensor([-1.0, 1.0], dtype=F64)
        before, after = ((model(x) @ pair * sign).detach() for x in (case["images"], result))
        fall = case["eps"] * float((weight[1] - weight[0]).abs().sum())
        because = f"({said}) how far the label's logit stands above the other one, afterwards."
        expect_close(after, before - fall, because=because, looks_like=looks, **TIGHT)


@check(
    "fgsm: images + eps · sign of the gradient of the cross-entropy, for the labels that were given",
    points=13,
    why="The method in one line. Its parts (which loss, which labels, the sign, the direction) are what goes wrong.",
    after=["test_margin"],
)
def test_values(sandbox):
    cases = [
        _case(_spec("linear", (2, 3, 4), 4, 40), 5, 50, 0.1),
        _case(_spec("mlp", (6,), 5, 41), 4, 51, 0.05),
        _case(_spec("conv", (3, 4, 5), 4, 42), 3, 52, 0.1, inside=(-0.8, 1.8), low=-1.0, high=2.0),
        _case(_spec("mlp", (1, 3, 4), 3, 43), 1, 53, 0.02),
        _case(_spec("linear", (1, 5, 5), 6, 44, torch.float32), 7, 54, 0.1),
    ]
    for case, found in zip(cases, sandbox.run(probes.attacks, cases), strict=True):
        _expect_attacked(case, found)


@check(
    "A pixel whose gradient is 0 stays as it is",
    points=4,
    why="What the model doesn't look at needn't be changed. sign(0) is 0; `g > 0` decides otherwise.",
    after=["test_values"],
)
def test_zero_gradient(sandbox):
    spec = _spec("linear", (1, 4, 4), 3, 60)
    spec["state"]["1.weight"][:, ::3] = 0.0
    cases = [_case(spec, 4, 61, 0.1)]
    for case, found in zip(cases, sandbox.run(probes.attacks, cases), strict=True):
        _expect_attacked(case, found, because="every third weight is 0: the loss doesn't depend on these pixels.")


@check(
    "Pixels stay in low … high, and within eps of what they were",
    points=8,
    why="An attack with pixels that no picture can have proves nothing. Bounds belong to the pixels, eps to the step.",
    after=["test_values"],
)
def test_range(sandbox):
    cases = [
        _case(_spec("linear", (1, 4, 4), 4, 70), 5, 80, 0.3, inside=(0.0, 1.0)),
        _case(_spec("linear", (3, 3, 3), 3, 71), 4, 81, 0.5, inside=(-1.0, 1.0), low=-1.0),
        _case(_spec("mlp", (8,), 3, 72), 4, 82, 1.0, inside=(-0.4, 2.8), low=-0.4, high=2.8),
        _case(_spec("linear", (6,), 3, 73), 3, 83, 40.0, inside=(0.0, 255.0), high=255.0),
        _case(_spec("linear", (6,), 3, 74), 3, 84, 0.0, inside=(0.0, 1.0)),
    ]
    for case, found in zip(cases, sandbox.run(probes.attacks, cases), strict=True):
        _expect_attacked(case, found, because="the pixels after the step, clipped to low … high (0 … 1 by default).")


@check(
    "fgsm_targeted: the loss with the targets falls",
    points=8,
    why="Wrong is easy; wrong in a chosen way shows that the attacker steers. The gradient is that of other labels.",
    after=["test_values"],
)
def test_targeted(sandbox):
    zeros = _spec("linear", (1, 3, 3), 3, 94)
    zeros["state"]["1.weight"][:, 1::2] = 0.0
    cases = [
        _case(_spec("linear", (2, 3, 4), 4, 90), 5, 100, 0.02, attack="fgsm_targeted"),
        _case(_spec("mlp", (6,), 5, 91), 4, 101, 0.05, attack="fgsm_targeted"),
        _case(_spec("conv", (3, 4, 5), 4, 92), 3, 102, 0.3, (-1.0, 2.0), "fgsm_targeted", low=-1.0, high=2.0),
        _case(_spec("linear", (1, 5, 5), 6, 93, torch.float32), 7, 103, 0.2, (0.0, 1.0), "fgsm_targeted"),
        _case(zeros, 3, 104, 0.1, attack="fgsm_targeted"),
    ]
    for case, found in zip(cases, sandbox.run(probes.attacks, cases), strict=True):
        _expect_attacked(case, found, because="images − eps · sign of the gradient of the loss with the targets.")


# --- what is left behind -------------------------------------------------------------------------------


def _expect_same(found, what, said, because, looks):
    """What is left of the model under one heading, name by name."""
    before, after = found["before"][what], found["after"][what]
    expect_equal(sorted(after), sorted(before), because=f"({said}) the model has the same parts as before.")
    for name, value in before.items():
        hint = looks(value, after[name]) if callable(looks) else looks
        expect_equal(after[name], value, because=f"({said}) {name}: {because}", looks_like=hint, name=name)


def _grad_story(before, after):
    if before is None:
        return "loss.backward() fills in the .grad of every parameter; torch.autograd.grad(loss, x) asks for x alone"
    if after is None or not after.any():
        return "zero_grad wipes out gradients that the caller still needs"
    return "loss.backward() adds to the .grad of every parameter; torch.autograd.grad(loss, x) asks for x alone"


@check(
    "The model's parameters, their .grad and their requires_grad flags are what they were",
    points=9,
    why="An attack in the middle of a training step that leaves gradients behind trains on them.",
    after=["test_targeted"],
)
def test_parameters_untouched(sandbox):
    conv, linear = _spec("conv", (2, 3, 4), 3, 110), _spec("linear", (5,), 3, 111)
    settings = {
        "no gradients yet": {},
        "with gradients of a training step": {"old_grads": True},
        "the first two parameters frozen": {"frozen_some": [0, 1], "old_grads": True},
        "all parameters frozen": {"frozen": True},
        RAISES: {"frozen_some": [0, 1], "old_grads": True, "may_raise": True},
    }
    said, cases = [], []
    for attack in BOTH:
        for text, setting in settings.items():
            for spec in (conv, linear) if not setting else (conv,):
                case = _case(spec, 3, 112, 0.1, attack=attack, **setting)
                cases.append(_with_bad_label(case) if text == RAISES else case)
                said.append(f"{attack}, {text}")
    for case, text, found in zip(cases, said, sandbox.run(probes.attacks, cases), strict=True):
        _expect_parameters_untouched(found, text)
        if not case.get("may_raise"):
            _expect_attacked(case, found)


RAISES = "with a label that is out of range, which raises"
FINALLY = "put back only where nothing is raised: that is what `finally` is for"


def _with_bad_label(case):
    """The case with a label that no model knows: cross-entropy raises."""
    labels = case["labels"].clone()
    labels[len(labels) // 2] = 99
    return {**case, "labels": labels, "may_raise": True}


def _expect_parameters_untouched(found, said):
    because = "an attack doesn't train."
    _expect_same(found, "parameters", said, because, "a step was taken with the parameters")
    looks = "frozen for the attack, and not put back as it was"
    if found["raised"]:
        looks = f"frozen for the attack, and {FINALLY}"
    _expect_same(found, "flags", said, "requires_grad is what it was.", looks)
    _expect_same(found, "grads", said, "the .grad of this parameter belongs to the caller.", _grad_story)


def _mode_story(found):
    """How the modes were put back, or not."""
    before, after = found["before"]["modes"], found["after"]["modes"]
    if before == after:
        return None
    if any(after[name] and not before[name] for name in after):
        return "model.train(…) at the end sets every submodule, also those that had been in eval mode"
    others = {name for name in before if before[name] != after[name]}
    if all("." in name for name in others):
        return "only the model and its children are put back; modules() also gives what lies inside of these"
    if before[""] and "" not in others and not any(after[name] for name in after if name):
        return "only the model's own flag is put back; its submodules stay in eval mode"
    if all(before.values()):
        return "the model stays in eval mode"
    return "what is put back is the mode of the model, and it goes for every submodule; each of them has its own"


def _expect_own_modes(found, said):
    """Each submodule is in the mode in which it was."""
    before, after = found["before"]["modes"], found["after"]["modes"]
    looks = f"the modes are {FINALLY}" if found["raised"] else _mode_story(found)
    at = "the model itself" if before[""] != after[""] else "a submodule"
    because = f"({said}) the mode of {at}; True is training, '' the model itself."
    expect_equal(after, before, because=because, looks_like=looks)


def _expect_eval_during(found, said):
    """Each time that the model was called, all of it was in eval mode."""
    training = any(mode for call in found["calls"] for mode in call.values())
    expect(
        not training,
        expected="the model in eval mode whenever it is called",
        actual="it, or a part of it, was in training mode",
        because=f"({said}) in training mode batch norm mixes the images and dropout rolls dice.",
        looks_like="model.eval() is missing, or comes too late",
    )


@check(
    "The model is attacked in eval mode; afterwards each submodule is in its own mode, and no buffer has changed",
    points=8,
    why="In training mode batch norm mixes the images, dropout rolls dice, and each call shifts running statistics.",
    after=["test_targeted"],
)
def test_modes(sandbox):
    spec = _spec("norm", (2, 3, 4), 3, 120)
    settings = {
        "a model in eval mode": {},
        "a model in training mode": {"training": True},
        "a model in training mode with its batch norm in eval mode": {"training": True, "in_eval": ["0.1"]},
        "only the last layers in training mode": {"training": True, "in_eval": ["", "0", "0.0", "0.1", "1"]},
    }
    said, cases = [], []
    for attack in BOTH:
        for text, setting in settings.items():
            cases.append(_case(spec, 4, 121, 0.1, attack=attack, **setting))
            said.append(f"{attack}, {text}")
        broken = _case(spec, 4, 121, 0.1, attack=attack, training=True, in_eval=["0.1"], may_raise=True)
        cases += [_with_bad_label(broken), {**broken, "images": broken["images"][:, :1]}]
        said += [f"{attack} {RAISES}", f"{attack} on images with a channel too few, where the model raises"]
    for case, text, found in zip(cases, said, sandbox.run(probes.attacks, cases), strict=True):
        _expect_eval_during(found, text)
        if not case.get("may_raise"):
            _expect_attacked(case, found, because="the gradient of the model in eval mode.")
        because = "running statistics belong to training."
        _expect_same(found, "buffers", text, because, "a forward pass in training mode")
        _expect_own_modes(found, text)


@check(
    "Images and labels stay what they were; the result is a new tensor without a graph",
    points=6,
    why="The clean images are needed again: for the next eps, for the comparison, for the picture.",
    after=["test_targeted"],
)
def test_inputs(sandbox):
    spec = _spec("mlp", (1, 3, 3), 3, 130)
    asking = {"images_require_grad": True}
    old = torch.linspace(-1, 1, 27, dtype=F64).view(3, 1, 3, 3)
    settings = [{}, {"eps": 0.0}, asking, {**asking, "eps": 0.0}, {**asking, "images_grad": old}]
    cases = [{**_case(spec, 3, 131, 0.1, attack=a), **setting} for a in BOTH for setting in settings]
    cases = [{**case, "may_raise": case.get("images_require_grad", False)} for case in cases]
    for case, found in zip(cases, sandbox.run(probes.attacks, cases), strict=True):
        said = _said(case) + (", which require gradients" if case.get("images_require_grad") else "")
        if found["raised"]:
            fail(
                expected="an attack on these images",
                actual=f"it raised {found['raised']}: {found['message']}",
                because=f"({said}) whether they require gradients is the caller's business.",
                looks_like="without .detach() the copy belongs to the caller's graph and is no leaf: no .grad there",
            )
        _expect_inputs_untouched(case, found, said)
        because = f"({said}) the result is a picture; a graph behind it would keep the model's values alive."
        looks = "the step belongs under torch.no_grad(), or the result is detached"
        given = found["requires_grad"]
        expect_equal(given, False, because=because, looks_like=looks, name="requires_grad of the result")
        because = f"({said}) who writes into the result must not write into the images."
        expect(not found["shared"], expected="a new tensor", actual="the memory of images", because=because)
        _expect_attacked(case, found)


def _expect_inputs_untouched(case, found, said):
    """Images, their flag and their .grad, and labels."""
    because = f"({said}) images belongs to the caller."
    expect_equal(found["images"], case["images"], because=because, looks_like="an operation in place on the images")
    expect_equal(found["labels"], case["labels"], because=f"({said}) labels belongs to the caller.")
    wanted = case.get("images_require_grad", False)
    looks = None if wanted else "images.requires_grad_() on the caller's tensor: detach and clone it first"
    because = f"({said}) images.requires_grad afterwards."
    expect_equal(found["images_flag"], wanted, because=because, looks_like=looks, name="images.requires_grad")
    old = case.get("images_grad")
    looks = "loss.backward() leaves the gradient in the caller's tensor"
    if old is not None and (found["images_grad"] is None or not found["images_grad"].any()):
        looks = "images.grad is wiped out, and with it what the caller had there: detach and clone the images"
    because = f"({said}) images.grad afterwards."
    expect_equal(found["images_grad"], old, because=because, looks_like=looks, name="images.grad")


@check(
    "Inside torch.no_grad() the attack works as well, and gradient mode stays as it was",
    points=4,
    why="Attacks are part of evaluation, and evaluation runs under no_grad.",
    after=["test_targeted"],
)
def test_grad_mode(sandbox):
    spec = _spec("mlp", (2, 2, 3), 3, 140)
    cases = [_case(spec, 3, 141, 0.1, attack=a, no_grad=n, may_raise=True) for a in BOTH for n in (True, False)]
    broken = [_with_bad_label(case) for case in cases]
    results = sandbox.run(probes.attacks, cases + broken)
    for case, found in zip(cases, results[: len(cases)], strict=True):
        where = "inside torch.no_grad()" if case["no_grad"] else "outside of torch.no_grad()"
        if found["raised"]:
            fail(
                expected=f"{case['attack']} to work {where}",
                actual=f"it raised {found['raised']}: {found['message']}",
                because="the gradient for the images is needed, whatever the caller's mode is.",
                looks_like="no graph is recorded there: torch.enable_grad() around the forward pass switches it on",
            )
        _expect_attacked(case, found, because=f"{where}, the same images come out.")
        because = f"({case['attack']} {where}) gradient mode afterwards."
        looks = "set_grad_enabled without a `with`"
        expect(found["grad_mode"], expected="as before", actual="the other one", because=because, looks_like=looks)
    for case, found in zip(broken, results[len(cases) :], strict=True):
        where = "inside torch.no_grad()" if case["no_grad"] else "outside of torch.no_grad()"
        because = f"({case['attack']} {where}, {RAISES}) gradient mode afterwards."
        looks = f"set_grad_enabled without a `with`: {FINALLY}"
        expect(found["grad_mode"], expected="as before", actual="the other one", because=because, looks_like=looks)


@check(
    "A batch is attacked in one go, and its images don't influence each other",
    points=4,
    why="A loop over images is as right, and N times as slow on the hardware that this is made for.",
    after=["test_targeted"],
)
def test_batch(sandbox):
    spec = _spec("norm", (1, 4, 4), 4, 150)
    for attack in BOTH:
        whole = _case(spec, 6, 151, 0.1, attack=attack)
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        parts = {"one image": slice(2, 3), "in another order": order, "all six": slice(0, 6)}
        cases = [{**whole, "images": whole["images"][p], "labels": whole["labels"][p]} for p in parts.values()]
        results = sandbox.run(probes.attacks, cases)
        for part, case, found in zip(parts, cases, results, strict=True):
            _expect_attacked(case, found, because=f"{part} of a batch of six.")
        one, six = len(results[0]["calls"]), len(results[2]["calls"])
        expect(
            six <= one,
            expected=f"as many calls of the model for six images as for one: {one}",
            actual=f"{six} calls",
            because=f"({attack}) the gradient of the summed loss holds the gradients of all images.",
            looks_like="a Python loop over the images",
        )


# --- accuracy ------------------------------------------------------------------------------------------


def _predictions(spec, images):
    return probes.model_of(spec).eval()(images).argmax(1)


def _shares(case):
    """The right shares, and what misconceptions give."""
    spec, images, labels = case["spec"], case["images"], case["labels"]
    clean = _predictions(spec, images)
    right, among_right, unchanged, stacked, exactly, unbounded, towards, free = ([] for _ in range(8))
    at = images
    for eps in case["epsilons"]:
        one = {**case, "eps": eps, "attack": "fgsm"}
        attacked = _right(one)
        hits = _predictions(spec, attacked) == labels
        right.append(float(hits.double().mean()))
        ever = clean == labels
        among_right.append(float((hits & ever).sum() / ever.sum().clamp(min=1)))
        unchanged.append(float((_predictions(spec, attacked) == clean).double().mean()))
        exactly.append(float((hits & ever).double().mean()))
        default = _moved({**one, "low": 0.0, "high": 1.0}, _gradient(one).sign())
        unbounded.append(float((_predictions(spec, default) == labels).double().mean()))
        anywhere = _moved(one, _gradient(one).sign(), clip=False)
        free.append(float((_predictions(spec, anywhere) == labels).double().mean()))
        wrong_way = _moved(one, -_gradient(one).sign())
        towards.append(float((_predictions(spec, wrong_way) == labels).double().mean()))
        at = _right({**one, "images": at})
        stacked.append(float((_predictions(spec, at) == labels).double().mean()))
    return right, {
        "the share among the images that were right before; asked for is the share of all": among_right,
        "how often the prediction stays the same, not how often it is right": unchanged,
        "images that were wrong before count as wrong for ever": exactly,
        "each eps attacks the images of the attack before: every attack starts at the clean ones": stacked,
        "low and high aren't passed on to the attack": unbounded,
        "pixels leave the range: low … high isn't kept": free,
        "the attack goes towards the labels, not away from them": towards,
        "the share that is wrong": [1 - r for r in right],
        "in percent": [100 * r for r in right],
        "how many, not which share": [r * len(labels) for r in right],
        "the accuracy on the clean images for every eps": [float((clean == labels).double().mean())] * len(right),
    }


@check(
    "attacked_accuracy: the share of all images that are right after each attack, with the model left alone",
    points=8,
    why="One curve says how brittle a model is. At eps=0 it has to start at the ordinary accuracy.",
    after=["test_parameters_untouched", "test_modes", "test_range"],
)
def test_accuracy(sandbox):
    linear, norm = _spec("linear", (1, 4, 4), 3, 160), _spec("norm", (2, 4, 4), 4, 161)
    common = {"attack": "attacked_accuracy", "old_grads": True, "training": True}
    plans = [
        (linear, 23, [0.0, 0.02, 0.05, 0.1, 0.3], {}),
        (norm, 16, [0.1, 0.0, 0.03], {"in_eval": ["0.1"], "frozen_some": [0, 1]}),
        (linear, 9, [0.4, 0.2], {"low": -1.0, "high": 2.0, "inside": (-1.0, 2.0)}),
        (linear, 1, [0.1], {"no_grad": True, "images_require_grad": True}),
        (linear, 40, [0.05, 0.1, 0.2], {"inside": (0.0, 1.0), "old_grads": False}),
        (linear, 5, [], {}),
    ]
    cases = []
    for k, (spec, n, epsilons, more) in enumerate(plans):
        cases.append(_case(spec, n, 170 + k, epsilons[0] if epsilons else 0.0, epsilons=epsilons, **common | more))
    cases[-2]["images"].round_()  # black and white: without bounds every pixel could be moved further
    broken = _case(norm, 4, 180, 0.1, epsilons=[0.1], in_eval=["0.1"], **common)
    cases.append(_with_bad_label({**broken, "frozen_some": [0]}))
    for case, found in zip(cases, sandbox.run(probes.attacks, cases), strict=True):
        said = _said(case) + (f", {RAISES}" if case.get("may_raise") else "")
        if not case.get("may_raise"):
            _expect_shares(case, found, said)
        _expect_left_alone(case, found, said)


def _expect_shares(case, found, said):
    """The list of shares, against the oracle."""
    shares = found["result"]
    expect_type(shares, list, because=f"({said}) one share for each eps.")
    expect_equal(len(shares), len(case["epsilons"]), because=f"({said}) one share for each eps.")
    numbers = [expect_number(s, because=f"({said}) shares are Python floats.") for s in shares]
    _expect_eval_during(found, f"{said}: the attack and the question afterwards")
    right, guesses = _shares(case)
    given, wanted = torch.tensor(numbers, dtype=F64), torch.tensor(right, dtype=F64)
    chosen = {text: torch.tensor(g, dtype=F64) for text, g in guesses.items()}
    looks = misconception(given, wanted, chosen, **TIGHT) if len(right) > 1 else None
    because = f"({said}) the shares; right are {describe(right)}."
    expect_close(given, wanted, because=because, looks_like=looks, rtol=1e-6, atol=1e-9)


def _expect_left_alone(case, found, said):
    """All that attacked_accuracy could have changed is as it was."""
    _expect_parameters_untouched(found, said)
    because = "running statistics belong to training."
    _expect_same(found, "buffers", said, because, "a forward pass in training mode")
    _expect_own_modes(found, said)
    _expect_inputs_untouched(case, found, said)
    because = f"({said}) gradient mode afterwards."
    looks = "set_grad_enabled without a `with`"
    expect(found["grad_mode"], expected="as before", actual="the other one", because=because, looks_like=looks)


# --- digits --------------------------------------------------------------------------------------------

EPSILONS = [0.0, 0.05, 0.1, 0.2]
CLEAN_BAR, ATTACKED_BAR = 0.7, 0.08
"""At least so many of the clean digits are right, and at most so many with eps = 0.2 (calibration.toml)."""


def _trained_linear(images, labels, steps=150, lr=0.5):
    """Weights (10, 784) and biases of a linear classifier, by gradient descent on all images."""
    x, truth = images.flatten(1), F.one_hot(labels, 10).float()
    weight, bias = torch.zeros(10, x.shape[1]), torch.zeros(10)
    for _ in range(steps):
        error = ((x @ weight.T + bias).softmax(1) - truth) / len(x)
        weight, bias = weight - lr * error.T @ x, bias - lr * error.sum(0)
    return weight, bias


def _hits(weight, bias, images, labels):
    return float(((images.flatten(1) @ weight.T + bias).argmax(1) == labels).double().mean())


@check(
    "Digits: a linear classifier that reads most of them reads hardly one after fgsm with eps = 0.2",
    points=7,
    why="Look at the picture: the digits are as readable as before, for you.",
    after=["test_values", "test_range"],
)
def test_digits(sandbox, data):
    digits = data("mnist")
    images, labels = digits.sample("train", 1800, seed=5)
    images = images.float() / 255
    known, known_labels, images, labels = images[:1500], labels[:1500], images[1500:], labels[1500:]
    weight, bias = _trained_linear(known, known_labels)
    spec = {"kind": "linear", "shape": (1, 28, 28), "classes": 10, "state": {"1.weight": weight, "1.bias": bias}}
    found = sandbox.run(probes.on_digits, spec, images, labels, EPSILONS)
    g = torch.Generator().manual_seed(0)
    shares, noisy = [], []
    for eps, attacked in zip(EPSILONS, found, strict=True):
        attacked = expect_tensor(attacked, because=f"(eps={eps:g}) the attacked digits.")
        expect_shape(attacked, tuple(images.shape), because=f"(eps={eps:g}) as many digits, of the same shape.")
        expect_dtype(attacked, images.dtype, because=f"(eps={eps:g}) the images keep their dtype.")
        moved = float((attacked - images).abs().max())
        because = f"(eps={eps:g}) no pixel may move further."
        expect_at_most(moved, eps + 1e-6, because=because)
        lowest, highest = float(attacked.min()), float(attacked.max())
        inside = lowest >= 0 and highest <= 1
        actual = f"{lowest:.3g} … {highest:.3g}"
        expect(inside, expected="pixels in 0 … 1", actual=actual, because=f"(eps={eps:g}) a picture has no others.")
        shares.append(_hits(weight, bias, attacked, labels))
        noise = torch.randint(2, images.shape, generator=g) * 2 - 1
        noisy.append(_hits(weight, bias, (images + eps * noise).clamp(0, 1), labels))
    curve = ", ".join(f"{eps:g}: {share:.0%}" for eps, share in zip(EPSILONS, shares, strict=True))
    sandbox.note(f"right after fgsm with eps {curve}; after random steps of {EPSILONS[-1]:g}: {noisy[-1]:.0%}")
    sandbox.measure("clean accuracy", shares[0])
    sandbox.measure("attacked accuracy", shares[-1])
    because = f"a linear classifier trained on 1,500 digits, asked about {len(labels)} others, unchanged (eps=0)."
    expect_at_least(shares[0], CLEAN_BAR, because=because, looks_like="eps=0 changes the digits")
    because = f"the same {len(labels)} digits after fgsm with eps=0.2, a fifth of the range from black to white."
    looks = "some of the images aren't attacked" if shares[-1] < 0.6 * shares[0] else None
    expect_at_most(shares[-1], ATTACKED_BAR, because=because, looks_like=looks)
    _show(sandbox, images, found[2], labels, (weight, bias))


def _show(sandbox, images, attacked, labels, classifier):
    """Four digits that were right and are wrong: before, what was added (grey is nothing), after."""
    weight, bias = classifier
    before = (images.flatten(1) @ weight.T + bias).argmax(1)
    after = (attacked.flatten(1) @ weight.T + bias).argmax(1)
    chosen = ((before == labels) & (after != labels)).nonzero().flatten()[:4].tolist()
    if not chosen:
        return
    rows = []
    for i in chosen:
        rows += [images[i, 0], 0.5 + (attacked[i, 0] - images[i, 0]) / 0.2 * 0.9, attacked[i, 0]]
    sheet = torch.stack(rows)[:, 2:26, 2:26]  # the border of a digit is empty
    read = ", ".join(f"{int(before[i])} → {int(after[i])}" for i in chosen)
    sandbox.picture(f"before, the change (grey: none), after, with eps = 0.1; read as {read}", sheet, per_row=3)

"""Checks for log-softmax and cross-entropy. The oracle is PyTorch's own, in float64."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from grader.checking import (
    check,
    describe,
    expect,
    expect_close,
    expect_dtype,
    expect_shape,
    expect_tensor,
    misconception,
    resembles,
)

from . import probes


def _draw(n, classes, seed, *rest, scale=2.0):
    """Random logits (n, classes, *rest) and targets (n, *rest)."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, *rest, generator=g) * scale
    return logits, torch.randint(classes, (n, *rest), generator=g)


def _right(logits, targets, **options):
    """PyTorch's loss in float64."""
    weight = options.pop("weight", None)
    return F.cross_entropy(logits.double(), targets, weight=None if weight is None else weight.double(), **options)


def _nll(logits, targets):
    """-log p of each target, (N, ...); ignored targets have to be replaced before."""
    return -torch.log_softmax(logits.double(), 1).gather(1, targets.unsqueeze(1)).squeeze(1)


NEAR = {"rtol": 1e-4, "atol": 1e-5}
"""For telling misconceptions apart, in float32 as in float64."""


def _expect_loss(found, logits, right, because, guesses=None):
    expect_tensor(found, because="a loss is a tensor: .backward() is called on it.")
    looks = misconception(found, right, guesses or {}, **NEAR)
    if looks is None and bool(found.isnan().any()) and not bool(right.isnan().any()):
        looks = "inf - inf, 0 * inf or 0 / 0 somewhere on the way"
    expect_shape(found, tuple(right.shape), because=because, looks_like=looks)
    expect_dtype(found, logits.dtype, because="the loss has the type of the logits.")
    tight = {"rtol": 1e-10, "atol": 1e-12} if logits.dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-6}
    expect_close(found, right, because=because, looks_like=looks, **tight)


# --- log_softmax ---------------------------------------------------------------------------------------


@check(
    "log_softmax is the logarithm of the softmax, along the dimension asked for",
    points=10,
    why="The exponentials of a row sum to 1. Along the wrong dimension they do, too, only not for the classes.",
)
def test_log_softmax(sandbox):
    shapes = [((4, 3), {}), ((1, 5), {"dim": 1}), ((3, 4), {"dim": 0}), ((2, 3, 4, 5), {"dim": 1}), ((7,), {})]
    shapes += [((2, 3, 4), {"dim": -2}), ((5, 1), {}), ((2, 5, 3), {})]
    cases = [
        (torch.randn(shape, generator=torch.Generator().manual_seed(i)) * 2, o) for i, (shape, o) in enumerate(shapes)
    ]
    cases.append((cases[0][0].double(), {}))
    for (logits, options), found in zip(cases, sandbox.run(probes.log_probabilities, cases), strict=True):
        dim = options.get("dim", -1)
        right = torch.log_softmax(logits.double(), dim)
        said = f"logits of shape {tuple(logits.shape)}, " + (f"dim={dim}" if options else "the default dim=-1")
        because = f"({said}) x - log(sum(exp(x))) along dim; the exponentials along it sum to 1."
        expect_shape(found, tuple(logits.shape), because="one log-probability for each logit.")
        expect_dtype(found, logits.dtype, because="the result has the type of the logits.")
        guesses = {
            "the softmax itself, without the logarithm": right.exp(),
            "the sign is turned: log-probabilities are negative": -right,
            "the logarithm with base 2": right / math.log(2),
            "the softmax of everything together, not along dim": torch.log_softmax(
                logits.double().flatten(), 0
            ).view_as(right),
            "only shifted by the maximum; the logarithm of the sum is missing": logits.double()
            - logits.double().amax(dim, keepdim=True),
        }
        for other in range(logits.dim()):
            guesses[f"computed along dimension {other}"] = torch.log_softmax(logits.double(), other)
        tight = {"rtol": 1e-10, "atol": 1e-12} if logits.dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-6}
        expect_close(found, right, because=because, looks_like=misconception(found, right, guesses, **NEAR), **tight)


@check(
    "log_softmax takes logits of any size",
    points=10,
    why="exp(89) overflows float32. A training run that diverges for an hour has such logits first.",
    after=["test_log_softmax"],
)
def test_extremes(sandbox):
    rows = {
        "all logits 1000": [1000.0, 1000.0, 1000.0],
        "all logits -1000": [-1000.0, -1000.0, -1000.0],
        "one logit 100, the others 0": [100.0, 0.0, 0.0],
        "logits of 10,000 and -10,000": [10000.0, -10000.0, 0.0],
        "logits near 90": [88.0, 89.5, 91.0],
        "one logit far below": [-300.0, 0.0, 0.5],
        "a masked class, -inf": [-math.inf, 1.0, 2.0],
        "all but one masked": [-math.inf, 3.0, -math.inf],
    }
    cases = [(torch.tensor([row, [0.1, 0.2, 0.3]]), {"dim": 1}) for row in rows.values()]
    x, _ = _draw(5, 4, 10)
    cases += [(x + 500.0, {"dim": 1}), (x.double() + 5000.0, {"dim": 1})]
    names = [*rows, "random logits, moved by 500", "random logits, moved by 5000, float64"]
    for name, (logits, _), found in zip(names, cases, sandbox.run(probes.log_probabilities, cases), strict=True):
        right = torch.log_softmax(logits.double(), 1)
        expect_shape(found, tuple(logits.shape), because="one log-probability for each logit.")
        looks = misconception(found, right, _unstable(logits), **NEAR)
        if looks is None and bool(found.isnan().any()):
            looks = "inf - inf, 0 * inf or 0 / 0 somewhere on the way"
        elif looks is None and float(found[0].min()) > float(right[0].min()) + 1:
            looks = "the log-probability of an unlikely class is cut off: a clamp, or an epsilon inside the logarithm"
        because = f"({name}) the result only depends on differences of logits, and those are harmless."
        expect_close(found, right, because=because, looks_like=looks, rtol=1e-5, atol=1e-4)


def _unstable(x):
    """What formulas give that are right for small logits only, in the logits' own type."""
    top, every = x.amax(1, keepdim=True), x.max()
    centred = x - x.mean(1, keepdim=True)
    return {
        "the maximum isn't subtracted: exp overflows to inf, or underflows to 0": x
        - x.exp().sum(1, keepdim=True).log(),
        "exp overflows to inf, or underflows to 0, and a quotient is taken; subtract the maximum, and logarithms": (
            x.exp() / x.exp().sum(1, keepdim=True)
        ).log(),
        "the logarithm of a probability that underflowed to 0: subtract logarithms instead of dividing": torch.softmax(
            x, 1
        ).log(),
        "the maximum is taken over everything, not along dim: where it is far away, all exponentials are 0": (
            x - every - (x - every).exp().sum(1, keepdim=True).log()
        ),
        "the mean is subtracted, not the maximum": centred - centred.exp().sum(1, keepdim=True).log(),
        "the maximum is subtracted once only: it has to be in both terms": x
        - (x - top).exp().sum(1, keepdim=True).log(),
    }


_FORBIDDEN = ("softmax", "softmin", "logsumexp", "logaddexp", "logcumsumexp", "nll_loss", "cross_entropy", "kl_div")


@check(
    "PyTorch's own softmax and cross-entropy aren't used",
    points=5,
    why="The exercise asks how they work.",
)
def test_own_work(sandbox):
    logits, targets = _draw(6, 4, 20)
    found = sandbox.run(probes.operations, logits, targets, torch.ones(4))
    for name, called in found.items():
        broken = [str(c) for c in called if any(word in str(c) for word in _FORBIDDEN)]
        expect(
            not broken,
            expected=f"{name} without a call of torch's softmax, logsumexp, nll_loss, cross_entropy",
            actual=f"called {', '.join(broken)}",
            because="this breaks a rule of the exercise; the values may well be right.",
        )


# --- cross_entropy -------------------------------------------------------------------------------------


@check(
    "cross_entropy is the mean of -log p of the targets",
    points=10,
    why="The definition. Twice a softmax, a missing sign, a mean over N·C: all of them still train a little.",
    after=["test_own_work"],
)
def test_values(sandbox):
    sizes = [(5, 3), (1, 4), (64, 10), (7, 2), (3, 1), (33, 100)]
    cases = [(*_draw(n, c, 30 + n), {}) for n, c in sizes]
    cases += [(torch.zeros(4, 10), torch.arange(4), {}), (cases[0][0].double(), cases[0][1], {})]
    for (logits, targets, _), found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
        right = _right(logits, targets)
        nll = _nll(logits, targets)
        p = torch.softmax(logits.double(), 1)
        guesses = {
            "the sum over the batch, not the mean": nll.sum(),
            "the sign is missing": -right,
            "divided by N * C instead of N": nll.sum() / logits.numel(),
            "divided by C": nll.sum() / logits.shape[1],
            "softmax is applied twice: the logits were turned into probabilities first": _nll(p, targets).mean(),
            "the probabilities themselves, without the logarithm": -nll.neg().exp().mean(),
            "1 - p of the target": (1 - nll.neg().exp()).mean(),
            "the logarithm with base 2": right / math.log(2),
            "the logits of the targets, without log_softmax": -logits.double().gather(1, targets[:, None]).mean(),
            "binary cross-entropy of each class": F.binary_cross_entropy_with_logits(
                logits.double(), F.one_hot(targets, logits.shape[1]).double()
            ),
        }
        because = f"logits of shape {tuple(logits.shape)}: the mean over {len(targets)} examples of -log p[target]."
        if len(targets) == logits.shape[0] and not bool(logits.any()):
            because += " With all logits equal it is ln C, here ln 10."
        _expect_loss(found, logits, right, because, guesses)


@check(
    'reduction="none" and "sum" do what they say',
    points=5,
    why="Hard example mining, masks and weighting by example need the losses one by one.",
    after=["test_values"],
)
def test_reductions(sandbox):
    logits, targets = _draw(9, 5, 40)
    for n in (9, 1):
        cases = [(logits[:n], targets[:n], {"reduction": r}) for r in ("none", "sum", "mean")]
        for (x, y, options), found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
            right = _right(x, y, **options)
            nll = _nll(x, y)
            guesses = {
                "the mean, whatever `reduction` says": nll.mean(),
                "the losses one by one, whatever `reduction` says": nll,
                "the sum, whatever `reduction` says": nll.sum(),
                "divided by the size of the batch already": nll / n,
            }
            what = {"none": "one loss for each example", "sum": "their sum", "mean": "their mean"}[options["reduction"]]
            because = f"reduction={options['reduction']!r} of {n} examples: {what}."
            _expect_loss(found, x, right, because, guesses)


@check(
    "Targets equal to ignore_index count nowhere",
    points=10,
    why="Unlabelled pixels and padding: in the denominator they shrink the loss, and nobody sees it.",
    after=["test_values"],
)
def test_ignore_index(sandbox):
    cases = []
    for i, (ignore, options) in enumerate([(-100, {}), (255, {"ignore_index": 255}), (-1, {"ignore_index": -1})]):
        logits, targets = _draw(12, 4, 50 + i)
        targets[[0, 3, 4, 9]] = ignore
        cases.append((logits, targets, options))
    logits, targets = _draw(20, 3, 55)
    cases += [(logits, targets, {"ignore_index": c}) for c in (0, 2)]
    cases.append((torch.ones(3, 1), torch.tensor([0, -100, 0]), {}))  # one class: only 0 is an index
    for (x, y, options), found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
        right = _right(x, y, **options)
        ignore = options.get("ignore_index", -100)
        keep = y != ignore
        nll = torch.where(keep, _nll(x, torch.where(keep, y, 0)), 0.0)
        count = int(keep.sum())
        guesses = {
            "the ignored examples are still in the denominator": nll.sum() / len(y),
            "the ignored examples were turned into examples of class 0": _nll(x, torch.where(keep, y, 0)).mean(),
        }
        if 0 <= ignore < x.shape[1]:
            guesses["ignore_index has no effect when it is a class"] = _nll(x, y).mean()
        said = "the default ignore_index" if "ignore_index" not in options else f"ignore_index={ignore}"
        because = f"with {said}, {len(y) - count} of {len(y)} targets are ignored: {count} losses count."
        _expect_loss(found, x, right, because, guesses)


@check(
    "The weighted mean divides by the weights of the targets",
    points=10,
    why="Divided by N, a batch of rare classes takes larger steps than one of frequent classes.",
    after=["test_values"],
)
def test_weights(sandbox):
    weight = torch.tensor([0.2, 3.0, 1.0, 0.5])
    x, y = _draw(11, 4, 65)
    cases = [(*_draw(10, 4, 60), {"weight": weight}), (*_draw(1, 4, 63), {"weight": weight})]
    cases += [(x, y, {"weight": w}) for w in (weight, 10 * weight, torch.ones(4), torch.tensor([0.0, 1.0, 1.0, 2.0]))]
    for (x, y, options), found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
        right = _right(x, y, **options)
        w, nll = options["weight"].double()[y], _nll(x, y)
        guesses = {
            "divided by the number of examples instead of the sum of their weights": (w * nll).mean(),
            "divided by the sum over all classes instead of over the targets": (w * nll).sum()
            / options["weight"].sum(),
            "the weights have no effect": nll.mean(),
            "the weights are in the denominator only": nll.sum() / w.sum(),
        }
        shown = [round(v, 3) for v in options["weight"].tolist()]
        because = f"weights {shown}: -weight[y]·log p[y], and the mean divides by the sum of the targets' weights."
        _expect_loss(found, x, right, because, guesses)


@check(
    "Label smoothing spreads e / C over all classes, each with its own weight",
    points=5,
    why="Over the other classes only, or with a share of the target forgotten: the loss has another floor then.",
    after=["test_values"],
)
def test_label_smoothing(sandbox):
    weight = torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0])
    x, y = _draw(9, 5, 70)
    cases = [(x, y, {"label_smoothing": e}) for e in (0.1, 0.5, 1.0)]
    cases += [(x, y, {"label_smoothing": e, "weight": weight}) for e in (0.2, 0.6)]
    for (x, y, options), found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
        e, classes = options["label_smoothing"], x.shape[1]
        log_p = torch.log_softmax(x.double(), 1)
        w = options.get("weight", torch.ones(classes)).double()
        one_hot = F.one_hot(y, classes).double()

        def reduced(q, by=None, log_p=log_p, w=w, y=y):
            """The mean loss of the target distribution `q`, its terms weighted by `by`: each class by its own."""
            return -(q * (w if by is None else by) * log_p).sum() / w[y].sum()

        guesses = {
            "e / (C - 1) on the other classes and nothing of it on the target": reduced(
                one_hot * (1 - e) + (1 - one_hot) * e / (classes - 1)
            ),
            "e / (C - 1) on all classes, the target's own included: C of them share e": reduced(
                one_hot * (1 - e) + e / (classes - 1)
            ),
            "e / C on the other classes; the target's own share of it is missing": reduced(
                one_hot * (1 - e) + (1 - one_hot) * e / classes
            ),
            "the one-hot part isn't multiplied by 1 - e": reduced(one_hot + e / classes),
            "e on every class instead of e / C": reduced(one_hot * (1 - e) + e),
            "label_smoothing has no effect": reduced(one_hot),
            "the spread part is weighted by the target's weight; each class brings its own": reduced(
                one_hot * (1 - e) + e / classes, by=w[y][:, None]
            ),
            "divided by the number of examples instead of the sum of their weights": reduced(
                one_hot * (1 - e) + e / classes
            )
            * w[y].sum()
            / len(y),
            "the spread part isn't weighted": reduced(one_hot * (1 - e) * w + e / classes, by=torch.ones(1)),
        }
        said = f"label_smoothing={e}{', with weights' if 'weight' in options else ''}"
        because = f"({said}) (1 - e) times the usual loss, plus e / C times -weight[c]·log p[c] summed over all c."
        _expect_loss(found, x, _right(x, y, **options), because, guesses)


@check(
    "Classes are dimension 1, whatever follows",
    points=5,
    why="Segmentation is classification of pixels: (N, C, H, W) logits, (N, H, W) targets.",
    after=["test_values"],
)
def test_pixels(sandbox):
    cases = [(*_draw(2, 3, 80, 4, 5), {}), (*_draw(3, 4, 81, 6), {}), (*_draw(1, 3, 82, 1, 1), {})]
    cases.append((*_draw(2, 3, 83, 2, 3, 2), {}))
    for (x, y, _), found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
        mixed = x.reshape(-1, x.shape[1])
        guesses = {
            "reshape(-1, C) without moving the classes to the end mixes classes and pixels": _nll(
                mixed, y.reshape(-1)
            ).mean(),
            "divided by N instead of the number of pixels": _nll(x, y).sum() / len(x),
        }
        because = f"logits {tuple(x.shape)}, targets {tuple(y.shape)}: every position is an example."
        _expect_loss(found, x, _right(x, y), because, guesses)


def _combined(x, y, options):
    """What comes of one option that forgets another."""
    classes, e = x.shape[1], options.get("label_smoothing", 0.0)
    keep = y != options.get("ignore_index", -100)
    index = torch.where(keep, y, 0)
    weight = options.get("weight", torch.ones(classes)).double()
    log_p = torch.log_softmax(x.double(), 1)
    w = weight[index]
    own = -w * log_p.gather(1, index.unsqueeze(1)).squeeze(1)
    spread = -(weight.view(-1, *[1] * (x.dim() - 2)) * log_p).sum(1) / classes
    whole, total = (1 - e) * own + e * spread, torch.where(keep, w, 0.0).sum()
    loss = torch.where(keep, whole, 0.0)

    def reduced(losses, by=total):
        return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / by}[options.get("reduction", "mean")]

    yield "the ignored ones are left out of the result; they have a loss of 0", reduced(loss[keep])
    yield "the ignored ones keep their loss, that of class 0", reduced(whole)
    smoothed = torch.where(keep, whole, e * spread)
    yield "the ignored ones keep the spread part of the smoothing", reduced(smoothed)
    yield "the weights of ignored targets, as of class 0, are in the denominator", reduced(loss, w.sum())
    yield "divided by the number of examples, the ignored ones included", reduced(loss, y.numel())
    yield "divided by the number of examples that count, not by their weights", reduced(loss, keep.sum())
    yield "divided by the smoothed weights", reduced(loss, (1 - e) * total + e * weight.mean() * keep.sum())
    yield "the losses aren't weighted", reduced(torch.where(w > 0, loss / w, 0.0))
    yield "the mean, whatever `reduction` says", loss.sum() / total
    yield "divided by the weights already", reduced(loss / total)


@check(
    "The options together",
    points=5,
    why="Segmentation with rare classes, void pixels and smoothing uses all of them in one call.",
    after=["test_reductions", "test_ignore_index", "test_weights", "test_label_smoothing", "test_pixels"],
)
def test_together(sandbox):
    weight = torch.tensor([0.2, 3.0, 1.0, 0.5])
    x, y = _draw(11, 4, 66)
    void = y.clone()
    void[[1, 5]] = -100
    images, pixels = _draw(2, 4, 84, 4, 5)
    pixels[:, :2, 1:3] = 255
    each = [{"reduction": r} for r in ("mean", "sum", "none")]
    cases = [(x, void, r) for r in each]
    cases += [(x, y, {"weight": weight, **r}) for r in each] + [(x, void, {"weight": weight, **r}) for r in each]
    cases += [(x, y, {"label_smoothing": 0.1, **r}) for r in each]
    cases += [(x, void, {"label_smoothing": 0.2, **r}) for r in each]
    cases += [(x, void, {"label_smoothing": 0.2, "weight": weight, **r}) for r in each]
    cases += [(x, y, {"weight": torch.tensor([0.0, 1.0, 1.0, 2.0]), "ignore_index": 1, **r}) for r in each]
    both = {"weight": weight, "ignore_index": 255}
    cases += [(images, pixels, {**both, "label_smoothing": e, **r}) for e in (0.0, 0.2) for r in each]
    for (x, y, options), found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
        shown = ", ".join("weight" if k == "weight" else f"{k}={v}" for k, v in options.items())
        ignored = int((y == options.get("ignore_index", -100)).sum())
        because = f"(logits {tuple(x.shape)}, {shown}; {ignored} of {y.numel()} targets ignored)"
        because += " each option keeps its meaning beside the others."
        _expect_loss(found, x, _right(x, y, **options), because, dict(_combined(x, y, options)))


@check(
    "With nothing to count the mean is nan, the sum 0",
    points=5,
    why="PyTorch does the same. A silent 0 would look like a perfect batch in the log.",
    after=["test_reductions", "test_ignore_index"],
)
def test_nothing_counted(sandbox):
    x, _ = _draw(3, 4, 90)
    y = torch.full((3,), -100)
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    cases = [(*case, {"reduction": r}) for case in ((x, y), nothing) for r in ("mean", "sum", "none")]
    for (logits, targets, options), found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
        right = _right(logits, targets, **options)
        looks = None
        if options["reduction"] == "mean" and resembles(found, 0.0, **NEAR):
            looks = "a guard such as max(count, 1): 0 / 0 is unknown, not 0"
        what = "all targets are ignored" if len(targets) else "the batch is empty"
        because = f"({what}, reduction={options['reduction']!r}) no loss counts."
        _expect_loss(found, logits, right, because, {looks: 0.0} if looks else None)


@check(
    "Huge logits, and classes made impossible by -inf, leave the loss and its gradients finite",
    points=5,
    why="Actions that aren't allowed, classes that an image can't have: masking with -inf is common.",
    after=["test_extremes", "test_reductions", "test_ignore_index"],
)
def test_masked_classes(sandbox):
    x, _ = _draw(4, 5, 100)
    x[:, 3] = -math.inf
    x[1, 0] = -math.inf
    y = torch.tensor([0, 1, 4, 2])
    void, some = x.clone(), torch.tensor([0, -100, -100, 2])  # whatever stands for an ignored target may be impossible
    void[2] = torch.tensor([-math.inf, -math.inf, 1.0, -math.inf, -math.inf])
    huge = torch.tensor([[2000.0, -3000.0], [-500.0, 800.0]]), torch.tensor([1, 1])
    each = [{"reduction": "none"}, {}]
    cases = [(*huge, r) for r in each] + [(x, y, r) for r in each] + [(void, some, r) for r in each]
    names = ["logits of 2000 and -3000"] * 2 + ["a class of -inf in each row"] * 2
    names += ["rows of which only one class is possible, with the target ignored"] * 2
    for name, case, (loss, gradient) in zip(names, cases, sandbox.run(probes.gradients, cases), strict=True):
        logits, targets, options = case
        because = f"({name}, reduction={options.get('reduction', 'mean')!r}) the target is possible, or ignored."
        right = _right(logits, targets, **options)
        expect_tensor(loss, because=because)
        looks = None
        if loss.shape == right.shape and bool(loss.isnan().any()):
            looks = "0 · inf or inf - inf on the way: a product with one-hot targets, or a smoothing term for e = 0"
            if loss.dim() and not bool(loss[targets != -100].isnan().any()):
                looks = "the loss is multiplied by a mask: 0 · inf is nan; torch.where picks instead"
        expect_close(loss, right, because=because, looks_like=looks, rtol=1e-5, atol=1e-6)
        expect_tensor(gradient, because="the loss has to be differentiable with respect to the logits.")
        leaf = logits.double().requires_grad_()
        (wanted,) = torch.autograd.grad(_right(leaf, targets, **options).sum(), leaf)
        because = f"({name}) the gradient is p - q there, too: 0 for an impossible class, and in ignored rows."
        expect_close(gradient, wanted, because=because, rtol=1e-4, atol=1e-6)


@check(
    "Gradients are PyTorch's, and exactly 0 for what is ignored",
    points=5,
    why="The loss exists for its gradient: p - q, one row for each example, nothing from one row to another.",
    after=["test_together"],
)
def test_gradients(sandbox):
    weight = torch.tensor([0.2, 3.0, 1.0, 0.5], dtype=torch.float64)
    x, y = _draw(7, 4, 110)
    x = x.double()
    y[[1, 4]] = -100
    wide, far = _draw(2, 4, 111, 3, 2)
    cases = [(x, y, {}), (x, y, {"weight": weight}), (x, y, {"label_smoothing": 0.3, "weight": weight})]
    cases += [(wide.double(), far, {"reduction": "sum"}), (60 * x, y, {}), (x[:1], y[:1], {"weight": weight})]
    for (x1, y1, options), (_, found) in zip(cases, sandbox.run(probes.gradients, cases), strict=True):
        leaf = x1.clone().requires_grad_()
        (right,) = torch.autograd.grad(_right(leaf, y1, **options), leaf)
        shown = ", ".join(k if k == "weight" else f"{k}={v}" for k, v in options.items()) or "no options"
        because = f"({shown}) the gradient is (softmax - target distribution), weighted and averaged."
        expect_tensor(found, because=because, looks_like="the graph is cut, by detach, .data, .item() or no_grad")
        expect_close(found, right, because=because, rtol=1e-6, atol=1e-12)
        if y1.dim() == 1 and len(y1) > 1:
            expect(
                not bool(found[y1 == -100].any()),
                expected="a gradient of exactly 0 in the rows that are ignored",
                actual=describe(found[y1 == -100][0]),
                because="an ignored example has no part in the loss.",
            )
    upstream = torch.randn(3, 4, generator=torch.Generator().manual_seed(112), dtype=torch.float64)
    (found,) = sandbox.run(probes.log_softmax_gradients, [(x[:3], upstream)])
    leaf = x[:3].clone().requires_grad_()
    (right,) = torch.autograd.grad((torch.log_softmax(leaf, 1) * upstream).sum(), leaf)
    because = "log_softmax can be differentiated by itself."
    expect_tensor(found, because=because, looks_like="the graph is cut, by detach, .data or no_grad")
    expect_close(found, right, because=because, rtol=1e-6, atol=1e-12)


@check(
    "Logits, targets and weights stay as they are",
    points=5,
    why="The same logits give the accuracy afterwards, the same targets go to the next loss.",
    after=["test_values"],
)
def test_inputs_untouched(sandbox):
    x, y = _draw(6, 4, 120)
    y[2] = 255
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0])
    for name, given in sandbox.run(probes.inputs_afterwards, x, y, weight).items():
        for which, before, after in zip(("logits", "targets", "weight"), (x, y, weight), given, strict=False):
            changed = int((before != after).sum())
            expect(
                changed == 0,
                expected=f"{which} unchanged by {name}",
                actual=f"{changed} of {before.numel()} values changed in place",
                because="the caller goes on with the same tensor.",
                looks_like="an in-place operation such as logits -= …, or targets[mask] = 0; make a new tensor",
            )


@check(
    "The work is done by a few tensor operations, not by a loop over examples or classes",
    points=5,
    why="One image of 512 × 512 pixels has 262,144 examples.",
    after=["test_values"],
)
def test_cost(sandbox):
    cases = [(*_draw(n, c, 130 + n), torch.ones(c)) for n, c in ((4, 3), (64, 40))]
    few, many = sandbox.run(probes.cost, cases)
    for what, said in (("operations", "tensor operations"), ("lines", "lines of Python")):
        expect(
            many[what] <= 1.3 * few[what] + 15,
            expected=f"about as many {said} for 64 examples of 40 classes as for 4 of 3, {few[what]}",
            actual=f"{many[what]} {said}",
            because="the work by example has to be done inside a few tensor operations.",
            looks_like="a Python loop, or comprehension, over the examples or the classes",
        )

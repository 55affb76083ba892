"""Checks for the museum: names first, then one check for each room, then what a repair leaves alone.

Oracles: torch's own Adam, SGD and BatchNorm1d, and slow obvious loops. Each room's figure under its known wrong
repairs is worked out too, so that a verdict can say which of them gave it.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

from grader.checking import (
    check,
    describe,
    expect,
    expect_close,
    expect_equal,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
    misconception,
    resembles,
)

from . import probes

F64 = torch.float64
REPAIR = "a repair, not a rewrite: "


def _g(seed):
    return torch.Generator().manual_seed(seed)


def _pair(value, because):
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        fail(expected="a pair", actual=describe(value), because=because)
    return value


# --- names -------------------------------------------------------------------------------------------------

SIGNATURES = {
    "train": "model, splits, epochs=3, lr=0.1, batch_size=20",
    "draw_splits": "images, labels, count, seed=0",
    "top_k_probabilities": "logits, k, temperature=1.0",
    "loader_options": "device, batch_size=64, test_batch_size=1000",
    "channel_stats": "images",
    "accuracy": "model, loader",
    "Adam": "params, lr=0.001, betas=(0.9, 0.999), eps=1e-08",
    "Dropout": "p=0.5",
    "DigitNet": "crop",
    "Windows": "tokens, block",
    "Trainer": "model, lr=0.1, epochs=6",
    "BatchNorm": "features, momentum=0.1, eps=1e-05",
}


@check(
    "Names, arguments and defaults are the same",
    points=4,
    why="Others call this code. A repair that they have to follow with repairs of their own is another bug.",
)
def test_signatures(sandbox):
    for name, found in sandbox.run(probes.signatures).items():
        because = f"{REPAIR}{name} is called as before."
        expect(found is not None, expected=f"{name}({SIGNATURES[name]})", actual="no such name", because=because)
        shown = ", ".join(f"{n}={d}" if d and name != "DigitNet" else n for n, d in found)
        expect_equal(shown, SIGNATURES[name], because=because, name=name)
        if name == "DigitNet":
            expect(bool(found[0][1]), expected="DigitNet()", actual="crop has no default any more", because=because)


# --- Room 1 ------------------------------------------------------------------------------------------------


def _blobs(seed, count, classes=4, features=6):
    g = _g(seed)
    return torch.randn(count, features, generator=g, dtype=F64), torch.randint(classes, (count,), generator=g)


def _reports(sandbox):
    splits = {"train": _blobs(1, 47), "test": _blobs(2, 31), "val": _blobs(3, 12)}
    return splits, sandbox.run(probes.reports, _start(), splits, {})


def _start():
    return torch.randn(4, 6, generator=_g(4), dtype=F64)


@check(
    "Room 1: each figure in the report belongs to its split",
    points=7,
    why="This table decides which run is better, when to stop, and whether the model overfits.",
)
def test_room_1(sandbox):
    splits, found = _reports(sandbox)
    history, weights = found["history"], found["weights"]
    because = "three epochs: one dictionary for each, with every split by its name."
    expect_equal([sorted(epoch) for epoch in history], [sorted(splits)] * 3, because=because)
    steps = len(weights) // 3
    expect(steps > 0, expected="steps of an optimizer in each epoch", actual=f"{len(weights)} in all", because=REPAIR)
    batches = [p for p in found["passes"] if p["grad"]]
    for number, epoch in enumerate(history, 1):
        w = weights[number * steps - 1]
        before = weights[(number - 1) * steps - 1] if number > 1 else _start()
        run = splits, w, before, batches[: number * steps][-steps:]
        _expect_different(epoch, number, run)
        for name, (x, y) in splits.items():
            loss, error = _pair(epoch[name], because="(mean loss, error rate)")
            right = F.cross_entropy(x @ w.T, y).item()
            because = f"epoch {number}: cross-entropy over all {len(y)} examples of {name}, in eval mode."
            looks = _which_loss(loss, right, name, run)
            expect_close(loss, right, because=because, looks_like=looks, rtol=1e-5)
            expect_type(loss, float, because=because)
            wrong = (x @ w.T).argmax(1).ne(y).double().mean().item()
            because = f"epoch {number}: the share of the {len(y)} examples of {name} that the model gets wrong."
            looks = misconception(error, wrong, {"the share of the right ones": 1 - wrong})
            expect_close(error, wrong, because=f"{REPAIR}{because}", looks_like=looks, rtol=1e-5)


def _expect_different(epoch, number, run):
    """Not the same loss for every split."""
    splits, w, _, _ = run
    losses = [pair[0] for pair in epoch.values() if isinstance(pair, (tuple, list)) and len(pair) == 2]
    if len(losses) == len(splits) and len({str(loss) for loss in losses}) == 1:
        right = {name: F.cross_entropy(x @ w.T, y).item() for name, (x, y) in splits.items()}
        fail(
            expected=", ".join(f"{loss:.4f} for {name}" for name, loss in right.items()),
            actual=f"{describe(losses[0])} for all of them",
            because=f"epoch {number}: cross-entropy over the examples of each split, in eval mode.",
            looks_like=_which_loss(losses[0], right["test"], "test", run),
        )


def _which_loss(loss, right, name, run):
    """The other loss of this run that was told instead, if it is one."""
    splits, w, before, batches = run
    inputs, targets = splits["train"]
    rows = [(batch["inputs"][:, None] == inputs).all(2).double().argmax(1) for batch in batches]
    told = [F.cross_entropy(batch["outputs"], targets[r]).item() for batch, r in zip(batches, rows, strict=True)]
    last = batches[-1]["inputs"], targets[rows[-1]] if rows else None
    x, y = splits[name]
    guesses = {"the loss of the last training batch, whichever split is asked for": told[-1]}
    text = "the last training batch goes through the model once more, whichever split is asked for"
    guesses[text] = F.cross_entropy(last[0] @ w.T, last[1]).item()
    guesses["the mean of the training batches' losses, taken while the weights still moved"] = sum(told) / len(told)
    guesses["computed in train mode"] = F.cross_entropy(0.5 * x @ w.T, y).item()
    guesses["the sum over the examples"] = right * len(y)
    guesses["the weights are those before the epoch"] = F.cross_entropy(x @ before.T, y).item()
    parts = [F.cross_entropy(a @ w.T, b).item() for a, b in zip(x.split(20), y.split(20), strict=True)]
    guesses["the mean of batches' means: examples in a smaller last batch count more"] = sum(parts) / len(parts)
    for other, (a, b) in splits.items():
        guesses[f"the loss of {other}, whichever split is asked for"] = F.cross_entropy(a @ w.T, b).item()
    return misconception(loss, right, guesses)


# --- Room 2 ------------------------------------------------------------------------------------------------


ORDERS = [(*numbers, 5, 6) for numbers in itertools.permutations(range(3))]  # hash values: a set's order follows them
OTHERS = (0, 1, 3, 5, 6)  # other values than the first, and the same order


@check(
    "Room 2: the same data and the same seed draw the same examples",
    points=7,
    why="A result that can't be had again can't be compared with anything.",
)
def test_room_2(sandbox):
    sizes = {"train": 30, "test": 17, "valid": 23, "photographs": 9, "names only": 5}
    images = {name: torch.rand(size, 2, 2, generator=_g(size)) for name, size in sizes.items()}
    labels = {name: 100 * size + torch.arange(size) for name, size in sizes.items()}
    del images["names only"], labels["photographs"]
    seeds, count = [None, 1, 2, 3], 7
    given = images, labels
    because = "the result has the splits that have both images and labels, under the names that they came with."
    plain = sandbox.run(probes.draws, *given, [dict.fromkeys(sizes, -1)], seeds, count)
    for drawn in plain:
        looks = "the names of the splits are fixed" if set(drawn) < {"test", "train", "valid"} else None
        expect_equal(sorted(drawn), ["test", "train", "valid"], because=because, looks_like=looks)
    numbers = [{name: _numbers(pair, images[name], labels[name], count) for name, pair in d.items()} for d in plain]
    hashes = [dict(zip(sizes, values, strict=True)) for values in (*ORDERS, OTHERS, ORDERS[0])]
    found = sandbox.run(probes.draws, *given, hashes, seeds, count)
    cases = [found[i : i + len(seeds)] for i in range(0, len(found), len(seeds))]
    others = sum(not _equal(case, cases[0]) for case in cases[1:-1])
    if others:
        looks = "the splits take turns at the generator in the order in which a set holds their names"
        if not _equal(cases[-1], cases[0]):
            looks = "not everything is drawn from a generator that the seed sets"
        elif not _equal(cases[-2], cases[0]):
            looks = "a number that decides what is drawn is made of hash values"
        fail(
            expected="the same examples, whatever the hash values of the names",
            actual=f"with {others} of {len(cases) - 2} choices of them others than with the first",
            because="each run of Python gives strings other hash values. Here the names of the splits got the values "
            "0, 1 and 2, in all orders; images, labels and seeds were the same.",
            looks_like=looks,
        )
    expect(
        len({str(sorted(case.items())) for case in numbers}) == len(seeds),
        expected=f"other examples for each of the seeds {seeds[1:]}, and 0",
        actual="twice the same",
        because=f"{REPAIR}the seed decides what is drawn.",
        looks_like="the seed has no effect",
    )
    for name in ("train", "test", "valid"):
        reached = {i for case in numbers for i in case[name]}
        expect(
            max(reached) >= count,
            expected=f"draws from all {sizes[name]} examples of {name}",
            actual=f"only from the first {max(reached) + 1}",
            because=f"{REPAIR}every example of a split can be drawn.",
            looks_like="the first ones are put into another order; a sample is taken from all",
        )


def _equal(a, b):
    """Whether two lists of drawn splits are the same."""
    pairs = [(one[name], two.get(name)) for one, two in zip(a, b, strict=True) for name in one]
    return all(isinstance(y, list) and all(map(torch.equal, x, y)) for x, y in pairs)


def _numbers(pair, images, labels, count):
    """The places of the drawn examples in their split; fails where they aren't a sample with their own labels."""
    because = f"{REPAIR}each split gives {count} different examples of its own, with their labels."
    x, y = _pair(pair, because)
    expect_shape(x, (count, 2, 2), because=because)
    expect_shape(y, (count,), because=because)
    rows = (y - labels[0]).tolist()
    fits = all(0 <= i < len(labels) for i in rows) and len(set(rows)) == count and torch.equal(images[rows], x)
    looks = "drawn with replacement" if len(set(rows)) < count else None
    expect(
        fits,
        expected=f"{count} different examples",
        actual=f"those with labels {y.tolist()}",
        because=because,
        looks_like=looks,
    )
    return rows


# --- Room 3 ------------------------------------------------------------------------------------------------


def _adam(starts, gradients, lr=0.001, betas=(0.9, 0.999), eps=1e-8, kind=""):
    """Trace of Adam with one of the known faults."""
    params = [p.clone() for p in starts]
    means, squares = [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params]
    trace = []
    for t, step in enumerate(gradients, 1):
        t += kind == "late"
        t -= kind == "early"
        a, b = (1 - beta**t for beta in ((0.9, 0.999) if kind == "fixed" else betas))
        if kind == "never":
            a = b = 1.0
        for i, g in enumerate(step):
            means[i] = betas[0] * means[i] + (1 - betas[0]) * g
            squares[i] = betas[1] * squares[i] + (1 - betas[1]) * g * g
            m = means[i] * a if kind in ("multiplied", "m", "clamped", "tenth") else means[i] / a
            v = squares[i] * b if kind in ("multiplied", "v", "clamped", "tenth") else squares[i] / b
            if kind == "once" and t > 1:
                m, v = means[i], squares[i]
            if kind == "without m":
                m = means[i]
            if kind == "without v":
                v = squares[i]
            if kind in ("kept", "kept m"):  # in place: the next step starts from the corrected average
                means[i] = means[i] / a
            if kind in ("kept", "kept v"):
                squares[i] = squares[i] / b
            change = m / ((v + eps).sqrt() if kind == "eps inside" else v.sqrt() + eps)
            if kind == "outside":
                change = means[i] / (squares[i].sqrt() + eps) * b**0.5 / a
            if kind == "sign":
                change = m.sign()
            if kind == "clamped":
                change = change.clamp(-1, 1)
            if kind == "tenth":
                change = change / 10
            params[i] = params[i] - lr * change
        trace.append([p.clone() for p in params])
    return trace


ADAM = {
    "multiplied": "the averages are multiplied by 1 - betaᵗ: the first steps come out far too long",
    "never": "the averages aren't corrected at all: they begin at 0, and the second one is slower to leave it",
    "m": "the mean of the gradients is multiplied by its factor, that of their squares is divided",
    "v": "the mean of the gradients' squares is multiplied by its factor, that of the gradients is divided",
    "without m": "the mean of the gradients isn't corrected",
    "without v": "the mean of the gradients' squares isn't corrected",
    "clamped": "steps are cut to one learning rate: the first looks right, the cause is still there",
    "tenth": "every step is divided by ten: the first is right, all later ones become too short",
    "kept": "the averages themselves are divided, in place: the next step takes them for uncorrected ones",
    "kept m": "the mean of the gradients itself is divided, in place: the next step takes it for uncorrected",
    "kept v": "the mean of the gradients' squares itself is divided, in place: the next step takes it for uncorrected",
    "once": "only the first step is corrected: the averages need it as long as betaᵗ isn't small",
    "late": "t begins at 2",
    "early": "t begins at 0",
    "fixed": "the corrections are those of the default betas, whatever betas are given",
    "sign": "only the gradient's sign is used: that is what the first step comes to, and no later one",
    "eps inside": "eps lies under the root",
    "outside": "the corrections stand in front of the quotient; there eps counts for more in the first steps",
}


@check(
    "Room 3: each step has the length that the paper promises",
    points=7,
    why="The learning rate means something with Adam: a first step is as long as it, whatever the gradient's size.",
)
def test_room_3(sandbox):
    g = _g(30)
    cases = []
    for shapes, steps, options in (
        ([(4,), (2, 3)], 14, {}),
        ([(5,)], 9, {"lr": 0.05, "betas": (0.5, 0.9)}),
        ([(3,), (1,)], 6, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 0.1}),
    ):
        starts = [torch.randn(shape, generator=g, dtype=F64) for shape in shapes]
        sizes = [torch.randn(shape, generator=g, dtype=F64).exp() for shape in shapes]
        draw = [[s * torch.randn(s.shape, generator=g, dtype=F64) for s in sizes] for _ in range(steps)]
        cases.append((starts, draw, options))
    found = sandbox.run(probes.adam_steps, cases)
    for (starts, gradients, options), trace in zip(cases, found, strict=True):
        params = [p.clone().requires_grad_() for p in starts]
        optimizer, right = torch.optim.Adam(params, **{"lr": 0.001} | options), []
        for step in gradients:
            for p, gradient in zip(params, step, strict=True):
                p.grad = gradient
            optimizer.step()
            right.append([p.detach().clone() for p in params])
        looks = next(
            (text for kind, text in ADAM.items() if _same(trace, _adam(*cases_of(starts, gradients, options), kind))),
            None,
        )
        lr, eps = options.get("lr", 0.001), options.get("eps", 1e-8)
        said = ", ".join(f"{k}={v}" for k, v in options.items()) or "the defaults"
        if eps < 1e-4:
            first = ((trace[0][0] - starts[0]).abs().max() / lr).item()
            if not abs(first - 1) < 1e-3:
                because = f"with {said}: the first step is as long as the learning rate, whatever the gradient."
                fail(
                    expected="a first step of 1.00 learning rates",
                    actual=f"{first:.2f}",
                    because=because,
                    looks_like=looks,
                )
        for number, (now, wanted) in enumerate(zip(trace, right, strict=True), 1):
            for p, target, before in zip(now, wanted, right[number - 2] if number > 1 else starts, strict=True):
                because = f"with {said}: the change of step {number} in learning rates, as torch.optim.Adam makes it."
                expect_close(
                    (p - before) / lr, (target - before) / lr, because=because, looks_like=looks, rtol=1e-6, atol=1e-6
                )


def cases_of(starts, gradients, options):
    """The arguments of _adam in their order."""
    defaults = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8} | options
    return starts, gradients, defaults["lr"], defaults["betas"], defaults["eps"]


def _same(trace, guess):
    return all(
        resembles(a, b, rtol=1e-9, atol=1e-9)
        for now, then in zip(trace, guess, strict=True)
        for a, b in zip(now, then, strict=True)
    )


# --- Room 4 ------------------------------------------------------------------------------------------------

RATES = [None, 0.2, 0.75, 0.05, 0.0]


@check(
    "Room 4: evaluation gives what training gives on average",
    points=7,
    why="The next layer has learned to expect numbers of a certain size. In use they should have that size.",
)
def test_room_4(sandbox):
    x = torch.randn(5, 7, generator=_g(40))
    found = sandbox.run(probes.dropped, x, RATES, _alternating(200_000))
    for p, case in zip(RATES, found, strict=True):
        rate = 0.5 if p is None else p
        share = case["training"].ne(0).double().mean().item()
        turned = rate not in (0, 0.5) and abs(share - rate) < 0.01
        looks = "training drops the share 1 - p now; p is the probability to be dropped" if turned else None
        because = f"p={rate}, in training: that share of 200,000 numbers becomes 0."
        right = abs(1 - share - rate) < 0.01
        expect(right, expected=f"{rate:.3f}", actual=f"{1 - share:.3f}", because=because, looks_like=looks)
        guesses = {
            f"nothing is scaled in evaluation: each number is {_times(1, 1 - rate)} too large": x,
            f"scaled by the share that is dropped, which is right for p=0.5 alone; here it is {_times(1 - rate, rate)} "
            + ("too small" if rate < 0.5 else "of the right one"): rate * x,
            "scaled by one half, whatever p is": 0.5 * x,
            "divided by the share that is kept: that belongs into training, if it is done there": x / (1 - rate),
            "divided by the share that is dropped": lambda rate=rate: x / rate,
        }
        looks = misconception(case["evaluation"], (1 - rate) * x, guesses)
        if resembles(case["evaluation"], x) and abs(case["training"].max().item() * (1 - rate) - 3) < 1e-3:
            looks = "inverted dropout: right in itself, but here training leaves what it keeps as it is"
        because = f"p={rate}: each number is kept with probability {1 - rate:g}, and stays as it is then."
        expect_close(case["evaluation"], (1 - rate) * x, because=because, looks_like=looks, rtol=1e-5)
        because = f"p={rate}: in evaluation gradients are scaled as the numbers are."
        expect_close(case["evaluation gradient"], torch.full_like(x, 1 - rate), because=because, rtol=1e-5)


def _alternating(count):
    """3, -3, 3, …"""
    return 3.0 - 6 * (torch.arange(count) % 2)


def _times(a, b):
    return f"{a / b:.3g} times" if b else "infinitely"


# --- Room 5 ------------------------------------------------------------------------------------------------


def _places(entered, images):
    """The upper left corner of each window, by the pixel that is found there; None where it is no window."""
    if not isinstance(entered, torch.Tensor) or entered.shape != (len(images), 1, 24, 24):
        return None
    corner = (images.flatten(1) == entered[:, 0, 0, 0, None]).double()
    rows, columns = corner.argmax(1) // 28, corner.argmax(1) % 28
    places = list(zip(rows.tolist(), columns.tolist(), strict=True))
    for image, window, (i, j) in zip(images, entered, places, strict=True):
        if not torch.equal(window, image[:, i : i + 24, j : j + 24]):
            return None
    return places


def _which_window(case, images, places, training):
    """What the network sees instead of the right windows, as far as it can be told."""
    if not isinstance(case["entered"], torch.Tensor):
        return None
    drawn = set(places or ())
    unequal = drawn and max(places.count(p) for p in drawn) >= 40
    if case["entered"].shape == images.shape:
        rows = case["read"].any(1).nonzero().flatten().tolist()
        text = "the whole image goes in"
        return f"{text}; a network made for 24×24 then reads 26 of 28 rows" if rows == list(range(26)) else text
    if places is None:
        return "images are made smaller, or put together anew; a window is cut out as it is"
    looks = None
    if not training:
        looks = "the window is drawn in evaluation, too" if len(drawn) > 1 else None
    elif drawn == {(2, 2)}:
        looks = "the middle window in training, too"
    elif len(drawn) == 1 and drawn != {(0, 0)}:
        looks = "one place is drawn for the whole batch"
    elif len(drawn) > 1 and 1 in (len({i for i, _ in drawn}), len({j for _, j in drawn})):
        looks = "the window moves along one axis only"
    elif len(drawn) > 1 and all(i == j for i, j in drawn):
        looks = "the same number is used down and across"
    elif len(drawn) > 1 and max(max(p) for p in drawn) < 4:
        looks = "the last place is never drawn"
    elif len(drawn) > 1 and unequal:
        looks = "some places are more probable than others"
    return "always the upper left window" if drawn == {(0, 0)} else looks


@check(
    "Room 5: what is said about the windows is what the network sees",
    points=7,
    why="The text tells what should arrive in the network; only looking at what arrives tells what does.",
)
def test_room_5(sandbox):
    images = torch.rand(400, 1, 28, 28, generator=_g(50))
    found = sandbox.run(probes.windows_seen, images, images[:80])
    because = "in training each image is cut at a place of its own; all 25 are possible."
    case = found["training"]
    places = _places(case["entered"], images)
    looks = _which_window(case, images, places, training=True)
    _expect_read(case["read"], range(28), because, looks)
    _expect_windows(case["entered"], places, images, because, looks)
    drawn = set(places)
    wanted = set(itertools.product(range(5), repeat=2))
    actual = f"{len(drawn)} in 400 images"
    expect(drawn == wanted, expected="25 different places", actual=actual, because=because, looks_like=looks)
    most = max(places.count(p) for p in drawn)
    because = "every place is as probable as every other: 16 of 400 images, give or take a few."
    actual = f"{most} at one of them"
    expect(most < 40, expected="about 16 images at each place", actual=actual, because=because, looks_like=looks)
    because = "in evaluation the window is the middle one: rows and columns 2 to 25."
    case = found["evaluation"]
    places = _places(case["entered"], images)
    looks = _which_window(case, images, places, training=False)
    _expect_read(case["read"], range(2, 26), because, looks)
    _expect_windows(case["entered"], places, images, because, looks)
    expect_equal(sorted(set(places)), [(2, 2)], because=because, looks_like=looks)
    names = ["conv.bias", "conv.weight", "fc.bias", "fc.weight"]
    expect_equal(sorted(found["state"]), names, because=f"{REPAIR}DigitNet keeps its parameters.")
    because = "the scores in evaluation are those of the middle window."
    scores = _digits(images[:, :, 2:26, 2:26], found["state"])
    expect_close(case["outputs"], scores, because=because, rtol=1e-4, atol=1e-5)


def _expect_windows(entered, places, images, because, looks):
    """conv gets a window of each image."""
    if places is None:
        expect_tensor(entered, because=f"{REPAIR}conv is called once in each pass, and reads the windows.")
        expect_shape(entered, (len(images), 1, 24, 24), because=because, looks_like=looks)
        fail(expected="pixels that lie together in the image", actual="others", because=because, looks_like=looks)


def _expect_read(read, wanted, because, looks):
    """The rows and columns to which a gradient comes back."""
    for axis, name in ((1, "rows"), (0, "columns")):
        seen = read.any(axis).nonzero().flatten().tolist()
        told = []
        for verb, which in (("never read", set(wanted) - set(seen)), ("read", set(seen) - set(wanted))):
            if which:
                told.append(f"{verb}: {name} {', '.join(map(str, sorted(which)))}")
        expected = f"{name} {wanted[0]} to {wanted[-1]} are read, as gradients show"
        expect(not told, expected=expected, actual="; ".join(told), because=because, looks_like=looks)


# --- Room 6 ------------------------------------------------------------------------------------------------


def _top_k(row, k, temperature):
    """One row, token by token."""
    values = [float(v) / temperature for v in row]
    chosen = sorted(range(len(values)), key=lambda i: -values[i])[:k]
    largest = values[chosen[0]]
    total = sum(math.exp(values[i] - largest) for i in chosen)
    return [math.exp(values[i] - largest) / total if i in chosen else 0.0 for i in range(len(values))]


@check(
    "Room 6: k tokens share all of the probability",
    points=7,
    why="Top-k is there to keep nonsense from being sampled; one such token in four spoils every picture.",
)
def test_room_6(sandbox):
    g = _g(60)
    toy = torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0], [-2.0, 1.0, 0.0, 2.0, -1.0]])
    random = 3 * torch.randn(4, 50, generator=g)
    far = torch.randperm(30, generator=g).double().view(3, 10) / 4
    cases = [
        (toy, 2, {}),
        (random, 10, {"temperature": 0.7}),
        (random[:1], 50, {}),
        (random.double(), 1, {"temperature": 2.0}),
        (far - 100, 3, {}),
        (far - 3e4, 3, {}),
        (far - 1e12, 4, {"temperature": 2.0}),
        (far + 1e12, 4, {}),
    ]
    found = sandbox.run(probes.top_k, cases)
    for (logits, k, options), (actual, afterwards) in zip(cases, found, strict=True):
        temperature = options.get("temperature", 1.0)
        right = torch.tensor([_top_k(row.tolist(), k, temperature) for row in logits])
        size = f"logits from {logits.min():g} to {logits.max():g}"
        because = f"{size}, V={logits.shape[1]}, k={k}, temperature {temperature:g}: the softmax over {k} of them."
        expect_tensor(actual, because=because)
        expect_shape(actual, tuple(logits.shape), because=because)
        outside = right == 0
        share = float(actual[0][outside[0]].double().sum()) if k < logits.shape[1] else 0.0
        looks = _which_mask(actual, right, logits, k, temperature)
        if share > 0:
            expected = f"the {int(outside[0].sum())} other tokens of the first row have probability 0"
            told = f"{share:.1%} together".replace("%", " %") if share > 1e-3 else f"{share:.1e} together"
            fail(expected=expected, actual=told, because=because, looks_like=looks)
        expect_close(actual.double(), right.double(), because=because, looks_like=looks, rtol=1e-3, atol=1e-6)
        because = f"{REPAIR}the logits given stay as they are."
        expect_close(afterwards, logits, because=because, looks_like="the logits are changed in place")


def _which_mask(actual, right, logits, k, temperature):
    inside, scaled = right > 0, logits / temperature
    zero = "the tokens left out get the logit 0, or nearly: that is an ordinary logit, and e⁰ = 1"
    finite = "the tokens left out get a number for a logit that isn't below all logits"
    if float(actual[~inside].double().sum()) > 0 and scaled.max() < -1000:
        zero = finite  # smaller logits than ordinary ones had to come before it showed
    guesses = {
        zero: _filled(scaled, inside, 0.0),
        "the probabilities of the others are set to 0, and the rest no longer adds up to 1": scaled.softmax(1) * inside,
        "nothing is left out": scaled.softmax(1),
        "the temperature has no effect": _filled(logits, inside, -math.inf),
        "the k-th largest is left out, too": _filled(scaled, scaled > scaled.topk(k).values[:, -1:], -math.inf),
    }
    looks = misconception(actual.double(), right.double(), guesses, rtol=1e-3)
    if looks is None and 0 < float(actual[~inside].double().sum()) < 1e-3:
        looks = finite
    if looks is None and bool(actual.isnan().any()):
        looks = "e to the power of such logits overflows, or all of them become 0"
    return looks


def _filled(logits, inside, value):
    return torch.where(inside, logits.double(), value).softmax(1)


# --- Room 7 ------------------------------------------------------------------------------------------------


@check(
    "Room 7: every window is there, and no half one",
    points=7,
    why="One of a million is no loss. One of one is: a data set as small as that is what tests are made with.",
)
def test_room_7(sandbox):
    cases = [(torch.randperm(n, generator=_g(n)), block) for n, block in ((10, 3), (4, 3), (30, 8), (9, 1), (5, 5))]
    found = sandbox.run(probes.windows, cases)
    for (tokens, block), case in zip(cases, found, strict=True):
        wanted = max(0, len(tokens) - block)
        said = f"{len(tokens)} tokens, windows of {block}: "
        if "raised" in case["length"]:
            actual = f"{case['length']['raised']}: {case['length']['message']}"
            fail(
                expected=f"{wanted} windows", actual=actual, because=said + "no window has a successor for each token."
            )
        length = case["length"]["value"]
        looks = {
            wanted - 1: "the last window is left out, and the last token never is a target",
            wanted + 1: "one window too many: its last token has no successor",
            len(tokens): "one window for each token; the last ones are too short",
        }.get(length)
        because = said + f"the last one begins at token {wanted - 1} and ends one before the last."
        if wanted == 0:
            because = said + "the only one has no successor for its last token."
        same = length == wanted
        expect(same, expected=f"{wanted} windows", actual=f"{describe(length)}", because=because, looks_like=looks)
        for i, item in enumerate(case["items"]):
            inputs, targets = _pair(item, because)
            because = f"{said}item {i} is the window from token {i}, and the same moved on by one."
            expect_equal(inputs, tokens[i : i + block], because=because)
            expect_equal(targets, tokens[i + 1 : i + block + 1], because=because)


# --- Room 8 ------------------------------------------------------------------------------------------------

DEVICES = ["cpu", "cuda", "mps"]


@check(
    "Room 8: which examples are shuffled is the same on every device",
    points=7,
    why="A script should train the same model wherever it runs; where it doesn't, nobody looks for the cause here.",
)
def test_room_8(sandbox):
    (found,) = sandbox.run(probes.loaders, DEVICES, [{}], 60)
    plain = list(range(60))
    orders = {name: case["orders"] for name, case in found.items()}
    straight = {d: orders[f"train {d}"][0] == plain for d in DEVICES}
    mixed = {d: orders[f"test {d}"][0] != plain for d in DEVICES}
    for device in DEVICES:
        first, second = orders[f"train {device}"]
        looks = None
        if all(straight.values()):
            looks = "nothing is shuffled any more, on any device"
        elif straight["cpu"] != straight["cuda"]:
            looks = "whether training examples are shuffled hangs on the device"
        elif first != plain and first == second:
            looks = "shuffled once, and then the same again"
        because = f"{device}: batches that are the same in each epoch teach their order, too."
        actual = "the order of the data set" if first == plain else "the same order twice"
        new = sorted(first) == plain and first not in (plain, second)
        expect(
            new,
            expected="training examples in a new order in each epoch",
            actual=actual,
            because=because,
            looks_like=looks,
        )
    for device in DEVICES:
        looks = None
        if all(mixed.values()):
            looks = "everything is shuffled, the test examples too"
        elif mixed["cuda"] != mixed["cpu"]:
            looks = "whether test examples are shuffled hangs on the device"
        because = f"{device}: predictions are compared with the test set, row by row."
        same = orders[f"test {device}"] == [plain, plain]
        expect(same, expected="test examples in their own order", actual="another", because=because, looks_like=looks)


# --- Room 9 ------------------------------------------------------------------------------------------------


def _photographs(seed, shape):
    """Images of different brightness and contrast."""
    g = _g(seed)
    n, c, _, _ = shape
    level = torch.tensor([110.0, 140.0, 95.0])[:c].view(1, c, 1, 1)
    level = level + 35 * torch.randn(n, 1, 1, 1, generator=g) + 8 * torch.randn(n, c, 1, 1, generator=g)
    contrast = 40 + 10 * torch.rand(n, 1, 1, 1, generator=g)
    return (level + contrast * torch.randn(shape, generator=g)).clamp(0, 255).to(torch.uint8)


@check(
    "Room 9: standardised pixels have standard deviation 1",
    points=7,
    why="Such numbers are computed once and copied from script to script; none of them computes them again.",
)
def test_room_9(sandbox):
    cases = [_photographs(90, (60, 3, 9, 7)), _photographs(91, (5, 2, 16, 16)), _photographs(92, (30, 1, 2, 1))]
    for images, pair in zip(cases, sandbox.run(probes.statistics, cases), strict=True):
        n, c, h, w = images.shape
        x = images.double() / 255
        said = f"{n} images with {c} channels of {h}×{w}: "
        mean, std = _pair(pair, said + "mean and standard deviation.")
        flat = x.transpose(0, 1).flatten(1)  # (C, N·H·W)
        right, biased = flat.std(1), flat.std(1, unbiased=False)
        because = said + f"over all {n * h * w} pixels of a channel, wherever they are."
        expect_tensor(std, because=because)
        expect_shape(std, (c,), because=because)
        if resembles(std, biased, rtol=1e-4):
            right = biased
        each = x.std((2, 3))
        guesses = {
            "the mean of the images' own standard deviations: how images differ isn't in it": each.mean(0),
            "the root of the mean of the images' own variances: how images differ isn't in it": each.pow(2)
            .mean(0)
            .sqrt(),
            "how the means of the images vary, and nothing else": x.mean((2, 3)).std(0),
            "one number for all channels": x.std().expand(c),
            "in steps of 255": 255 * right,
            "the mean over the positions in an image of what varies there": x.std(0).mean((1, 2)),
            "the variances": right**2,
            "the figures of CIFAR-10, whatever images are given": torch.tensor([0.2470, 0.2435, 0.2616])[:c],
            "the figures of CIFAR-10 as they are often copied, whatever images are given": torch.tensor(
                [0.2023, 0.1994, 0.2010]
            )[:c],
        }
        for size in range(2, n):
            text = "the mean of the batches' standard deviations: how batches differ isn't in it"
            guesses[f"{text} (batches of {size})"] = torch.stack([b.std((0, 2, 3)) for b in x.split(size)]).mean(0)
        looks = misconception(std, right, guesses, rtol=3e-5)
        ratio = std.double() / each.mean(0)
        if looks is None and resembles(ratio, ratio.mean().expand(c), rtol=1e-3) and c > 1:
            looks = f"the mean of the images' own standard deviations, times {ratio[0]:.3g}"
        worst = (flat.std(1) / std.double()).tolist()
        if not resembles(std, right, rtol=1e-4):
            expected = f"pixels of standard deviation {', '.join(['1.000'] * c)}, standardised with it"
            actual = ", ".join(f"{v:.3f}" for v in worst)
            fail(expected=expected, actual=actual, because=because, looks_like=looks)
        because = f"{REPAIR}{said}the mean of each channel."
        expect_close(mean, flat.mean(1).float(), because=because, rtol=1e-4)


# --- Room 10 -----------------------------------------------------------------------------------------------


def _sgd(weight, batches, lr, epochs, forget=(), rates=None):
    """SGD with momentum 0.9 and a cosine; learning rates by step, weights after each epoch.

    `forget`: the epochs before which the momentum is lost; `rates`: learning rates instead of the cosine's.
    """
    w, speed, steps, after = weight.clone(), torch.zeros_like(weight), [], []
    for epoch in range(epochs if rates is None else len(rates) // len(batches)):
        if epoch in forget:
            speed = torch.zeros_like(w)
        for x, y in batches:
            now = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2 if rates is None else rates[len(steps)]
            error = (F.softmax(x @ w.T, 1) - F.one_hot(y, len(w))) / len(y)
            speed = 0.9 * speed + error.T @ x
            w = w - now * speed
            steps.append(now)
        after.append(w)
    return steps, after


def _training():
    g = _g(100)
    weight, other = (torch.randn(3, 5, generator=g, dtype=F64) for _ in range(2))
    return weight, other, [_blobs(101 + i, n, classes=3, features=5) for i, n in enumerate((8, 8, 5))]


@check(
    "Room 10: whoever stops and resumes gets what an uninterrupted run gets",
    points=7,
    why="Long runs are interrupted. What differs afterwards is found months later, if at all.",
)
def test_room_10(sandbox):
    weight, other, batches = _training()
    short = {"lr": 0.05, "epochs": 4}
    cases = [([3], {}), ([1], {}), ([5], {}), ([2, 4], {}), ([2], short), ([1, 2, 3], short)]
    for (plan, options), found in zip(
        cases, sandbox.run(probes.interrupted, weight, other, batches, cases), strict=True
    ):
        epochs, lr = options.get("epochs", 6), options.get("lr", 0.1)
        rates, after = _sgd(weight, batches, lr, epochs)
        wanted = [len(batches) * (b - a) for a, b in itertools.pairwise([0, *plan, epochs])]
        said = f"{epochs} epochs of {len(batches)} batches, stopped after {' and after '.join(map(str, plan))}: "
        _expect_parts(found["parts"], wanted, len(batches), said)
        _expect_same_model(found, said)
        _expect_rates([s["lr"] for s in found["steps"]], rates, wanted[0], len(batches), said)
        _expect_weights(found, after, plan, _sgd(weight, batches, lr, epochs, forget=plan)[1], said)


def _expect_parts(parts, wanted, epoch, said):
    more = parts[-1] - wanted[-1]
    looks = None
    if parts[:-1] == wanted[:-1] and more:
        looks = "an epoch that was done is trained again" if more > 0 else "epochs are skipped after resuming"
        if parts[-1] == sum(wanted) and more > epoch:
            looks = "training begins anew with epoch 0"
    because = f"{said}an epoch that is in the checkpoint is done, the next one isn't."
    actual = f"steps of {' + '.join(map(str, parts))}"
    expected = f"steps of {' + '.join(map(str, wanted))}"
    expect(parts == wanted, expected=expected, actual=actual, because=because, looks_like=looks)


def _expect_same_model(found, said):
    """Each Trainer begins with the weights of the one before, and moves its own model."""
    for number, resumed in enumerate(found["resumed"]):
        stopped, after = found["weights"][number : number + 2]
        because = f"{said}the weights after resuming are those of the checkpoint."
        expect_close(
            resumed, stopped, because=because, looks_like="the weights of the checkpoint aren't loaded", rtol=1e-9
        )
        expect(
            not torch.equal(after, resumed),
            expected="weights that change after resuming",
            actual="the same as before",
            because=f"{said}the steps are those of the new Trainer's model.",
            looks_like="the optimizer that goes on holds the tensors of another model",
        )


def _rates_story(found, rates, start, epoch):
    """What becomes of the learning rate after the first interruption, which comes after `start` steps."""
    if not resembles(found[start], rates[0], rtol=1e-6):
        return "the schedule doesn't go on where it was stopped"
    second, goes_on = start + epoch, False
    if second < len(found):  # a cosine that goes on multiplies whatever rate it meets; or it sets the right one
        multiplied = rates[0] * rates[second] / rates[start]
        goes_on = any(resembles(found[second], rate, rtol=1e-6) for rate in (multiplied, rates[second]))
    if goes_on:
        return "the optimizer is a new one: its learning rate and momentum aren't in the checkpoint, or aren't loaded"
    return "the cosine begins anew: the learning rate jumps up to where it started"


def _expect_rates(found, rates, start, epoch, said):
    for number, (now, wanted) in enumerate(zip(found, rates, strict=True), 1):
        looks = None
        if number > start:
            looks = _rates_story(found, rates, start, epoch)
        elif len(set(found)) == 1:
            looks = "there is no schedule any more"
        because = f"{said}the learning rate of step {number} follows one cosine from the first epoch to the last."
        expect_close(now, wanted, because=because, looks_like=looks, rtol=1e-6, atol=1e-9)


def _expect_weights(found, after, plan, forgotten, said):
    stops = [*plan, len(after)]
    for number, (now, done) in enumerate(zip(found["weights"], stops, strict=True)):
        guesses = {"the momentum is lost: after each interruption it begins at 0": forgotten[done - 1]}
        looks = misconception(now, after[done - 1], guesses, rtol=1e-7)
        because = f"{said}after {done} epochs the weights are those of a run without interruption."
        if not number:
            because = f"{REPAIR}before any interruption it is SGD with momentum 0.9, {done} epochs."
        expect_close(now, after[done - 1], because=because, looks_like=looks, rtol=1e-7, atol=1e-9)


# --- Room 11 -----------------------------------------------------------------------------------------------


@check(
    "Room 11: so many of all images are right",
    points=7,
    why="A share of 10,000 images is a multiple of a ten-thousandth. 88.3786 % isn't one.",
)
def test_room_11(sandbox):
    sizes = [(9, 1), (4, 3, 4, 2), (7,), (6, 6, 6), (2, 5, 8)]
    cases = []
    for seed, parts in enumerate(sizes, 110):
        x, y = _blobs(seed, sum(parts), classes=3, features=3)
        x = x + 1.2 * F.one_hot(y, 3) * (torch.arange(len(y)) < parts[0])[:, None]  # the first batch is easier
        cases.append(list(zip(x.split(parts), y.split(parts), strict=True)))
    for parts, batches, (found, seen) in zip(sizes, cases, sandbox.run(probes.accuracies, cases), strict=True):
        hits = [(x.argmax(1) == y).tolist() for x, y in batches]
        total, count = sum(map(sum, hits)), sum(parts)
        means = [sum(h) / len(h) for h in hits]
        missed = [(x.argmin(1) == y).tolist() for x, y in batches]
        guesses = {
            "the mean of the batches' accuracies: an image in a small batch counts more": sum(means) / len(means),
            "every batch counts as if it were as large as the first": total / (parts[0] * len(parts)),
            "the mean of the batches' accuracies, rounded to whole images": round(sum(means) / len(means) * count)
            / count,
            "the last batch isn't counted": lambda h=hits: (
                sum(map(sum, h[:-1])) / sum(map(len, h[:-1])) if len(h) > 1 else None
            ),
            "the last batch isn't counted, its images are": sum(map(sum, hits[:-1])) / count,
            "measured in train mode": sum(map(sum, missed)) / count,
            "the number of images, not their share": float(total),
            "in per cent": 100 * total / count,
            "divided by the number of batches": total / len(parts),
            "the accuracy of the last batch alone": means[-1],
        }
        because = f"{total} of {count} images are right, in batches of {', '.join(map(str, parts))}."
        if not isinstance(found, float):
            expect_type(found, float, because=f"{REPAIR}a float.")
        if not resembles(found, total / count, rtol=1e-5):
            looks = misconception(found, total / count, guesses, rtol=1e-5)
            fail(
                expected=f"{total}.000 of {count}",
                actual=f"{found * count:.3f} of {count}",
                because=because,
                looks_like=looks,
            )
        because = f"{REPAIR}each batch goes through the model once, in eval mode and without a graph."
        expect_equal(seen, [[False, False]] * len(parts), because=because)


# --- Room 12 -----------------------------------------------------------------------------------------------


def _norms(sandbox):
    g = _g(120)
    batches = [2 + 3 * torch.randn(n, 4, generator=g, dtype=F64) for n in (16, 5, 2, 16)]
    weight, bias = (torch.randn(4, generator=g, dtype=F64) for _ in range(2))
    cases = [{}, {"momentum": 0.3, "eps": 0.1}]
    found = sandbox.run(probes.normalised, batches, weight, bias, cases)
    return [(batches, weight, bias, options, one) for options, one in zip(cases, found, strict=True)]


def _running(batches, momentum, factor, whole=False):
    """The running variance after each batch, when the batch's biased variance (or all) is multiplied by factor(n)."""
    value, trace = torch.ones(batches[0].shape[1], dtype=F64), []
    for x in batches:
        now, before = x.var(0, unbiased=False) * factor(len(x)), value * (factor(len(x)) if whole else 1)
        value = (1 - momentum) * before + momentum * now
        trace.append(value)
    return trace


VARIANCES = {
    "the variance that normalises the batch is stored, too: too small by 1/N, 6.25 % for N = 16": lambda n: 1.0,
    "the batch's variance is made smaller, not larger: (N - 1) / N": lambda n: (n - 1) / n,
    "multiplied by 16/15, whatever N is": lambda n: 16 / 15,
    "multiplied by (N + 1) / N: nearly right for large batches": lambda n: (n + 1) / n,
    "corrected twice": lambda n: (n / (n - 1)) ** 2,
}
OLD_TOO = "the whole running variance is multiplied by N / (N - 1), the old part again with each batch"


@check(
    "Room 12: the running variance is the one of nn.BatchNorm1d",
    points=7,
    why="In use the layer divides by this number. It is meant to be that of images to come, not of those in the batch.",
)
def test_room_12(sandbox):
    for batches, _, _, options, found in _norms(sandbox):
        momentum = options.get("momentum", 0.1)
        layer = nn.BatchNorm1d(4, momentum=momentum).double()
        seen = [case["buffers"]["running_var"] for case in found["passes"]]
        right = []
        for x in batches:
            layer(x)
            right.append(layer.running_var.clone())
        looks = None
        for text, factor in VARIANCES.items():
            if all(resembles(a, b) for a, b in zip(seen, _running(batches, momentum, factor), strict=True)):
                looks = text
                break
        if all(map(resembles, seen, _running(batches, momentum, lambda n: n / (n - 1), whole=True))):
            looks = OLD_TOO
        if all(map(resembles, seen, _running(batches, 1 - momentum, lambda n: n / (n - 1)))):
            looks = "momentum is the share of the old value, not of the new"
        for number, (now, wanted) in enumerate(zip(seen, right, strict=True), 1):
            because = (
                f"momentum {momentum}, after {number} batches of {', '.join(str(len(x)) for x in batches[:number])}."
            )
            expect_close(now, wanted, because=because, looks_like=looks, rtol=1e-5)


# --- what a repair leaves alone ----------------------------------------------------------------------------


@check(
    "Layers keep their parameters, and what they do in training",
    points=6,
    why="Weights that were saved yesterday should fit into the repaired layers, and mean the same there.",
)
def test_layers(sandbox):
    for batches, weight, bias, options, found in _norms(sandbox):
        names = {name: [4] for name in ("weight", "bias", "running_mean", "running_var")}
        expect_equal(found["names"], names, because=f"{REPAIR}BatchNorm keeps its parameters and buffers.")
        actual = "frozen parameters, or buffers that hold a graph"
        because = f"{REPAIR}BatchNorm's parameters are trained, its buffers aren't."
        expect(found["trainable"], expected="a layer that learns", actual=actual, because=because)
        layer = nn.BatchNorm1d(4, **options).double()
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        for x, case in zip(batches, found["passes"], strict=True):
            given = x.clone().requires_grad_()
            wanted = layer(given)
            (wanted**3).sum().backward()
            unbiased = (x - x.mean(0)) / (x.var(0) + layer.eps).sqrt() * weight + bias
            guesses = {
                "the batch is normalised by the variance with N - 1; that one is for the running variance": unbiased
            }
            looks = misconception(case["outputs"], wanted, guesses)
            because = f"{REPAIR}{len(x)} rows in training, normalised by their own mean and biased variance."
            expect_close(case["outputs"], wanted, because=because, looks_like=looks, rtol=1e-6)
            because = f"{REPAIR}the gradient flows through mean and variance."
            cut = 3 * wanted.detach() ** 2 * weight / (x.var(0, unbiased=False) + layer.eps).sqrt()
            looks = misconception(case["gradient"], given.grad, {"mean and variance are cut out of the graph": cut})
            expect_close(case["gradient"], given.grad, because=because, looks_like=looks, rtol=1e-5, atol=1e-7)
            because = f"{REPAIR}BatchNorm's running mean."
            expect_close(case["buffers"]["running_mean"], layer.running_mean, because=because, rtol=1e-6)
        layer.eval()
        because = f"{REPAIR}in evaluation the running statistics normalise, and stay as they are."
        stored = found["passes"][-1]["buffers"]
        stats = stored["running_mean"], stored["running_var"]
        wanted = F.batch_norm(batches[0], *stats, weight, bias, eps=layer.eps)
        expect_close(found["evaluation"], wanted, because=because, rtol=1e-6)
        expect_equal(found["afterwards"], stored, because=because)
    cases = sandbox.run(probes.dropped, torch.ones(1), RATES, _alternating(2000))
    for p, case in zip(RATES, cases, strict=True):
        rate = 0.5 if p is None else p
        because = f"{REPAIR}Dropout(p={rate}) in training: what is kept stays as it is."
        given, kept = _alternating(2000), case["training"] != 0
        inverted = rate > 0 and resembles(case["training"][kept], given[kept] / (1 - rate))
        looks = "inverted dropout: kept numbers are scaled in training" if inverted else None
        expect_close(case["training"][kept], given[kept], because=because, looks_like=looks)
        because = f"{REPAIR}Dropout(p={rate}) in training: gradients pass where numbers are kept."
        expect_close(case["training gradient"], kept.float(), because=because)
    images = torch.rand(3, 1, 24, 24, generator=_g(130))
    found = sandbox.run(probes.bare_scores, images)
    trained, actual = found["trainable"], "some are frozen"
    expect(trained, expected="parameters that are trained", actual=actual, because=f"{REPAIR}DigitNet learns.")
    shapes = {"conv.weight": (8, 1, 5, 5), "conv.bias": (8,), "fc.weight": (10, 288), "fc.bias": (10,)}
    got = {name: tuple(t.shape) for name, t in found["state"].items()}
    expect_equal(got, shapes, because=f"{REPAIR}DigitNet keeps its parameters.")
    for name in ("conv.weight", "fc.weight"):
        bound, widest = found["state"][name][0].numel() ** -0.5, float(found["state"][name].abs().max())
        expect(
            bound / 2 < widest <= bound * (1 + 1e-6),
            expected=f"{name} drawn from ±{bound:.3f}, as PyTorch's layers start",
            actual=f"its largest number is {widest:.3g}",
            because=f"{REPAIR}DigitNet starts as it did.",
        )
    because = (
        f"{REPAIR}DigitNet(crop=False) is for images that are 24×24 already: convolution, ReLU, mean, linear layer."
    )
    expect_close(found["scores"], _digits(images, found["state"]), because=because, rtol=1e-4, atol=1e-5)


def _digits(x, state):
    x = F.conv2d(x, state["conv.weight"], state["conv.bias"], padding=2).relu()
    return F.avg_pool2d(x, 4).flatten(1) @ state["fc.weight"].T + state["fc.bias"]


@check(
    "Training runs and loaders keep their settings",
    points=6,
    why="With other settings the figures change for two reasons, and nobody can tell which was which.",
)
def test_settings(sandbox):
    splits, found = _reports(sandbox)
    inputs, targets = splits["train"]
    batches = [p for p in found["passes"] if p["grad"]]
    because = f"{REPAIR}train makes batches of 20, 20 and 7 of 47 examples, in each of 3 epochs, in train mode."
    expect_equal([len(p["inputs"]) for p in batches], [20, 20, 7] * 3, because=because)
    expect(all(p["training"] for p in batches), expected="train mode", actual="eval mode", because=because)
    w, orders = _start(), []
    expect_equal(len(found["weights"]), 9, because=because)
    for number, (p, now) in enumerate(zip(batches, found["weights"], strict=True), 1):
        rows = (p["inputs"][:, None] == inputs).all(2).double().argmax(1)
        orders += rows.tolist()
        error = (F.softmax(0.5 * p["inputs"] @ w.T, 1) - F.one_hot(targets[rows], 4)) / len(rows)
        step = 0.1 * 0.5 * error.T @ p["inputs"]
        ratio = ((w - now) * step).sum() / step.pow(2).sum()
        scaled = resembles(w - now, ratio * step) and abs(ratio - 1) > 1e-3
        looks = f"the learning rate was changed: steps are {ratio:.3g} times as long" if scaled else None
        w = w - step
        because = f"{REPAIR}step {number} of train is SGD's, lr=0.1, nothing else."
        expect_close(now, w, because=because, looks_like=looks, rtol=1e-6)
    epochs = [tuple(orders[i : i + 47]) for i in (0, 47, 94)]
    because = f"{REPAIR}in train each epoch goes through all examples in a new order."
    looks = "train no longer shuffles" if tuple(range(47)) in epochs else None
    fits = all(sorted(e) == list(range(47)) for e in epochs) and len({*epochs, tuple(range(47))}) == 4
    expect(
        fits,
        expected="each example once in each epoch, in a new order",
        actual="another order",
        because=because,
        looks_like=looks,
    )

    cases = [({}, (64, 1000)), ({"batch_size": 16, "test_batch_size": 25}, (16, 25))]
    runs = sandbox.run(probes.loaders, DEVICES, [options for options, _ in cases], 60)
    for (_, sizes), told in zip(cases, runs, strict=True):
        for device, (name, size) in itertools.product(DEVICES, zip(("train", "test"), sizes, strict=True)):
            case = told[f"{name} {device}"]["options"]
            because = f"{REPAIR}loader_options for {name} on {device}."
            expect_equal(case["batch_size"], size, because=because, name="batch_size")
            fast = device != "cpu"
            expect_equal(case["num_workers"] or 0, int(fast), because=because, name="num_workers")
            expect_equal(bool(case["pin_memory"]), fast, because=because, name="pin_memory")

    weight, other, batches = _training()
    (run,) = sandbox.run(probes.interrupted, weight, other, batches, [([], {})])
    rates, after = _sgd(weight, batches, 0.1, 6)
    because = f"{REPAIR}Trainer runs 6 epochs of SGD with momentum 0.9 and one cosine from 0.1."
    expect_equal(len(run["steps"]), len(rates), because=because, name="the number of steps")
    expect_equal(sorted({s["kind"] for s in run["steps"]}), ["SGD"], because=because)
    expect_close(torch.tensor([s["lr"] for s in run["steps"]]), torch.tensor(rates), because=because, rtol=1e-5)
    expect_close(run["weights"][-1], after[-1], because=because, rtol=1e-7)

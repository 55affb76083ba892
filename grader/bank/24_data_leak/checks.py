"""Checks for the leaking pipeline. Images are found again in the parts by their pixels, whatever was done to them."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_number,
    expect_shape,
    expect_tensor,
    expect_type,
    fail,
)

from . import probes

REPAIR = "a repair, not a rewrite:"
NAMES = ("train", "val", "test")


# --- images that can be found again ------------------------------------------------------------------------


def _collection(seed, count, copies=0, side=8):
    """Images (count + copies, 1, side, side) of very different brightness, labels, and the number of each picture.

    `copies` of them are exact copies of others, with the same label; some pictures come three times.
    """
    g = torch.Generator().manual_seed(seed)
    pictures = 2 * torch.randn(count, 1, side, side, generator=g) + 3 * torch.randn(count, 1, 1, 1, generator=g) + 5
    kinds = torch.randint(3, (count,), generator=g)
    again = torch.arange(copies) % max(1, (2 * copies) // 3)  # the last third repeats the first pictures once more
    number = torch.cat([torch.arange(count), again])
    number = number[torch.randperm(len(number), generator=g)]
    return pictures[number], kinds[number], number


class _Part:
    """One part, with the original that each of its images was made of.

    `number` is the picture, `exact` says that nothing but a scale and a shift was done to it: image = (original -
    mean) / std, with `mean` and `std` of each image.
    """

    def __init__(self, images, labels, pictures, number):
        self.images, self.labels = images, labels
        x, o = images.double().flatten(1), pictures.double().flatten(1)
        xc, oc = x - x.mean(1, keepdim=True), o - o.mean(1, keepdim=True)
        likeness = F.normalize(xc, dim=1) @ F.normalize(oc, dim=1).T
        closest = likeness.abs().argmax(1)
        self.likeness = likeness.abs().amax(1) if len(x) else torch.zeros(0)
        self.number = number[closest]
        chosen, centred = o[closest], oc[closest]
        slope = (xc * centred).sum(1) / centred.pow(2).sum(1)
        error = (xc - slope[:, None] * centred).norm(dim=1) / xc.norm(dim=1).clamp_min(1e-12)
        self.exact = error < 1e-4
        self.std = 1 / slope
        self.mean = chosen.mean(1) - x.mean(1) * self.std

    def pictures(self, exact_only=False):
        """The numbers of the pictures in this part."""
        return set(self.number[self.exact].tolist() if exact_only else self.number.tolist())


def _parts(found, pictures, number):
    """The three parts; fails when they aren't what `prepare` has to return."""
    because = f"{REPAIR} prepare returns the parts by name, each with its images and labels."
    expect_equal(sorted(found), sorted(NAMES), because=because)
    parts = {}
    for name in NAMES:
        expect_equal(len(found[name]), 2, because=because)
        images, labels = found[name]
        expect_tensor(images, because=because, name=f"the images of {name}")
        expect_tensor(labels, because=because, name=f"the labels of {name}")
        expect_shape(images, (None, *pictures.shape[1:]), because=f"{because} ({name})")
        expect_shape(labels, (len(images),), because=f"{because} ({name})")
        expect(len(images) > 0, expected=f"images in {name}", actual="none", because=because)
        parts[name] = _Part(images, labels, pictures, number)
        lost = int((parts[name].likeness < 0.9).sum())
        actual = f"{lost} of {len(images)} images resemble none of those given"
        expect(lost == 0, expected=f"the given images in {name}", actual=actual, because=because)
    return parts


def _run(sandbox, seed, count, copies=0, seeds=(0, 1)):
    """The parts of a collection for each seed, and the collection."""
    pictures, labels, number = _collection(seed, count, copies)
    found = sandbox.run(probes.prepared, pictures, labels, list(seeds))
    return [_parts(one, pictures, number) for one in found["parts"]], pictures, labels, number


# --- what must stay ------------------------------------------------------------------------------------------


def _augmented(images, labels, seed):
    g = torch.Generator().manual_seed(seed)
    made = [images]
    for _ in range(2):
        contrast = 1 + 0.1 * torch.randn(len(images), 1, 1, 1, generator=g)
        brightness = 0.1 * torch.randn(len(images), 1, 1, 1, generator=g)
        noise = 0.05 * torch.randn(images.shape, generator=g)
        made.append(images * contrast + brightness + noise)
    return torch.cat(made), labels.repeat(3)


@check(
    "augment, split, accuracy and the network do what they did",
    points=5,
    why="None of them leaks. It is the order in which they are called.",
)
def test_same_pieces(sandbox):
    images, labels, _ = _collection(1, 6)
    counts = [10, 7, 52]
    found = sandbox.run(probes.pieces, images, labels, counts, 11)
    wanted, kinds = _augmented(images, labels, 11)
    because = f"{REPAIR} augment gives the originals and two changed copies of each."
    pair = found["augment"]
    expect_equal(len(pair), 2, because=because)
    looks = "augment returns fewer images: augmentation isn't the leak, its place is"
    fewer = type(pair[0]) is torch.Tensor and len(pair[0]) < len(wanted)
    expect_close(pair[0], wanted, because=because, looks_like=looks if fewer else None)
    expect_equal(pair[1], kinds, because=because)
    for count, parts in zip(counts, found["split"], strict=True):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(11))
        a, b = int(0.6 * count), int(0.8 * count)
        because = f"{REPAIR} of {count}, split gives 60 %, 20 % and 20 %, in random order."
        expect_equal(sorted(parts), sorted(NAMES), because=because)
        for name, want in zip(NAMES, (order[:a], order[a:b], order[b:]), strict=True):
            expect_tensor(parts[name], because=because, name=name)
            other = len(parts[name]) != len(want)
            looks = "other proportions: how much goes where isn't the leak" if other else None
            expect_equal(parts[name], want, because=f"{because} ({name})", looks_like=looks)
    shapes = sorted(tuple(p.shape) for p in found["state"].values())
    because = f"{REPAIR} the network stays: Linear to 128, ReLU, Linear to the classes."
    expect_equal(shapes, [(5,), (5, 128), (128,), (128, 64)], because=because)
    weights = sorted(found["state"].items())  # by layer; bias before weight
    (_, b1), (_, w1), (_, b2), (_, w2) = weights
    expect_close(found["logits"], F.linear(F.linear(images.flatten(1), w1, b1).relu(), w2, b2), because=because)
    limits = [w1.abs().max().item() * 8, w2.abs().max().item() * 128**0.5]
    expect(
        all(0.9 < limit < 1.0001 for limit in limits),
        expected="weights drawn evenly from ± 1 / √fan-in",
        actual=f"the largest is {describe(limits[0])} and {describe(limits[1])} times that",
        because=f"{REPAIR} the layers start as PyTorch makes them.",
    )
    g = torch.Generator().manual_seed(2)
    cases = [(torch.randn(n, 1, 2, 2, generator=g), torch.randint(3, (n,), generator=g)) for n in (1, 9, 40)]
    for (x, y), actual in zip(cases, sandbox.run(probes.accuracies, cases), strict=True):
        right = (x.flatten(1)[:, :3].argmax(1) == y).double().mean().item()
        because = f"{REPAIR} accuracy is the fraction of right answers in eval mode, a float."
        expect_type(actual, float, because=because)
        expect_close(actual, right, because=because, rtol=1e-6)


# --- the planted leaks ---------------------------------------------------------------------------------------


@check(
    "No number in prepare depends on images of the validation or the test part",
    points=15,
    why="Statistics are learned from data like weights are. In production there is no test set to compute them from.",
)
def test_statistics(sandbox):
    runs, pictures, _, _ = _run(sandbox, 20, 50, seeds=(0, 1, 2))
    everything = pictures.double().mean().item(), pictures.double().std().item()
    for parts in runs:
        scale = {name: _scale(part, name) for name, part in parts.items()}
        train = parts["train"]
        whole = torch.cat([part.images for part in parts.values()]).double()
        because = "the same numbers are subtracted and divided by in every part: those of the training part."
        for name in ("val", "test"):
            looks = None
            if _close(scale[name], _own(parts[name], pictures)):
                looks = "each part is standardised with statistics of its own"
            if not _close(scale[name], scale["train"]):
                fail(
                    expected=f"{name} standardised like train, {_said(scale['train'])}",
                    actual=_said(scale[name]),
                    because=because,
                    looks_like=looks,
                )
        own = _own(train, pictures)
        augmented = abs(train.images.double().mean().item()) < 2e-3 and abs(train.images.double().std() - 1) < 2e-3
        if augmented or _close(scale["train"], own):
            continue
        looks = None
        all_of_it = abs(whole.mean().item()) < 2e-3 and abs(whole.std() - 1) < 2e-3
        if _close(scale["train"], everything) or all_of_it:
            looks = "the statistics of all images, validation and test part included: computed before the split"
        elif _close(scale["train"], (0.0, 1.0)):
            looks = "nothing is standardised any more"
        elif any(_close(scale["train"], _own(parts[name], pictures)) for name in ("val", "test")):
            looks = "the statistics of the validation or the test part"
        elif _close(scale["train"], _own(train, pictures, parts["val"])):
            looks = "the statistics of training and validation part together"
        fail(expected=_said(own), actual=_said(scale["train"]), because=because, looks_like=looks)


def _scale(part, name):
    """(mean, std) by which the unaltered images of a part were standardised; fails where they don't agree."""
    because = "an image that wasn't augmented is (image - mean) / std, with the same two numbers for all."
    if not bool(part.exact.any()):
        fail(expected=f"unaltered images in {name}", actual="all of them are altered", because=because)
    means, stds = part.mean[part.exact], part.std[part.exact]
    found = means.median().item(), stds.median().item()
    spread = max((means - found[0]).abs().max().item(), (stds - found[1]).abs().max().item())
    expect(
        spread < 2e-3 * abs(found[1]) + 1e-3,
        expected="one mean and one standard deviation",
        actual=f"means from {means.min():.3g} to {means.max():.3g} in {name}",
        because=because,
        looks_like="each image, or each batch, is standardised by itself",
    )
    return found


def _own(part, pictures, other=None):
    """Mean and std of the unaltered originals of a part, or of two."""
    originals = [_originals(p) for p in (part, other) if p is not None]
    values = torch.cat(originals)
    return values.mean().item(), values.std().item()


def _originals(part):
    return (part.images[part.exact].double().flatten(1) * part.std[part.exact, None]) + part.mean[part.exact, None]


def _close(a, b):
    return abs(a[0] - b[0]) < 2e-3 * abs(b[1]) and abs(a[1] - b[1]) < 2e-3 * abs(b[1])


def _said(scale):
    return f"mean {scale[0]:.4f} and standard deviation {scale[1]:.4f}"


@check(
    "No picture lies in two parts",
    points=15,
    why="Whoever has seen the image in training needs no understanding of it in the test.",
)
def test_duplicates(sandbox):
    for seed, count, copies in ((30, 40, 30), (31, 25, 6)):
        runs, _, _, number = _run(sandbox, seed, count, copies, seeds=(0, 1, 2))
        for parts in runs:
            where = {name: part.pictures(exact_only=True) for name, part in parts.items()}
            many = f"{count + copies} images, {copies} of which are copies, pixel by pixel"
            repeated = {int(n) for n in number.unique() if int((number == n).sum()) > 1}
            looks = f"images are split, and not pictures: {len(repeated)} of the {count} were given more than once"
            because = f"{many}: each picture belongs to one part."
            _expect_apart(where, because, lambda both, more=repeated, said=looks: said if both <= more else MERGED)


MERGED = "one part was added to another: pictures that were given once are in both"


def _expect_apart(where, because, looks):
    """No picture in two parts; `looks` names the misconception by the pictures that are."""
    for a, b in (("train", "test"), ("train", "val"), ("val", "test")):
        both = where[a] & where[b]
        if both:
            fail(
                expected=f"no picture of {a} in {b}",
                actual=f"{len(both)} of the {len(where[b])} pictures in {b} are in {a}, too",
                because=because,
                looks_like=looks(both),
            )


@check(
    "Nothing that is trained on was made of a picture in the validation or the test part",
    points=15,
    why="A copy with a little noise is nearly a duplicate; and what is measured is the answer to real images.",
)
def test_augmented_copies(sandbox):
    runs, _, _, _ = _run(sandbox, 40, 45, seeds=(0, 1, 2))
    for parts in runs:
        where = {name: part.pictures() for name, part in parts.items()}
        because = "45 different images: an image and what was made of it belong to one part."
        looks = "augmented before the split: copies of one image are dealt to all parts"
        _expect_apart(where, because, lambda both, said=looks: said)
        for name in ("val", "test"):
            altered = int((~parts[name].exact).sum())
            actual = f"{altered} of {len(parts[name].images)} images in {name} are altered copies"
            because = "augmentation makes more training data; the other parts are what they are."
            looks = "validation and test part are augmented, too"
            expect(altered == 0, expected="unaltered images", actual=actual, because=because, looks_like=looks)


# --- training --------------------------------------------------------------------------------------------------


def _state(seed, pixels=16, hidden=10, classes=3):
    """Initial weights of the network on which `fit` is tried, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _model(pixels, hidden, classes).state_dict()


def _model(pixels, hidden, classes):
    layers = [nn.Flatten(), nn.Linear(pixels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(hidden, classes)).double()


def _noisy(seed, count):
    """Images whose class is hard to see, so that the accuracy goes up and down."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=g)
    images = torch.randn(count, 1, 4, 4, generator=g, dtype=torch.float64)
    images[:, 0, 0, :3] += F.one_hot(labels, 3)
    return images, labels


def _three(seed):
    return {"train": _noisy(seed, 70), "val": _noisy(seed + 1, 24), "test": _noisy(seed + 2, 24)}


def _fit(state, parts, epochs=30, lr=0.003, patience=6, seed=0, by="val"):
    """The state and the history that `fit` has to end with.

    `by` is the part that chooses; or "last"; or "ties" or "stop", where validation chooses, and the test part breaks
    ties or is what `patience` waits for.
    """
    with torch.random.fork_rng(devices=[]):
        hidden, pixels = state["1.weight"].shape
        model = _model(pixels, hidden, state["5.weight"].shape[0])
        model.load_state_dict(state)
        torch.manual_seed(5)
        images, labels = parts["train"]
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        generator = torch.Generator().manual_seed(seed)
        history, best, waited, kept, second = [], -1.0, 0, None, -1.0

        def measured(name):
            x, y = parts[name]
            with torch.no_grad():
                return (model(x).argmax(1) == y).float().mean().item()

        for _ in range(epochs):
            model.train()
            for chosen in torch.randperm(len(images), generator=generator).split(32):
                optimizer.zero_grad()
                F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
                optimizer.step()
            model.eval()
            history.append(measured(by if by in parts else "val"))
            other = measured("test") if by in ("ties", "stop") else 0.0
            better = by == "last" or history[-1] > best
            if better or (by == "ties" and history[-1] == best and other > second):
                best, kept = history[-1], copy.deepcopy(model.state_dict())
                second = other if by == "ties" else second
            if other > second if by == "stop" else better:
                waited, second = 0, max(second, other)
            else:
                waited += 1
                if waited == patience:
                    break
    return kept, history


def _same(a, b):
    return a.keys() == b.keys() and all(
        type(a[k]) is torch.Tensor and torch.allclose(a[k].double(), b[k].double(), rtol=1e-5, atol=1e-7) for k in b
    )


@check(
    "What fit returns and leaves in the model is the same, whatever the test part holds",
    points=15,
    why="The best of thirty tries on the test set is a record, not an estimate: the choice has been fitted to it.",
)
def test_selection(sandbox):
    state = _state(3)
    options = {"epochs": 15, "lr": 0.02, "patience": 15}
    because = "the same training and validation part lead to the same weights, whatever the test part holds."
    for seed in (50, 60):
        parts = _three(seed)
        other_val = {**parts, "val": _noisy(seed + 8, 24)}
        cases = [(p, options) for p in (parts, {**parts, "test": _noisy(seed + 7, 24)}, other_val)]
        base, test, val = sandbox.run(probes.fitted, state, cases)
        _expect_alike(base, test, because, lambda p=parts, b=base: _chosen_by(state, p, options, b))
        if _same(base["state"], val["state"]):
            fail(
                expected="weights of the epoch that the validation part chooses",
                actual="the same weights with other validation images",
                because=f"{REPAIR} the model keeps the weights of its best epoch, by its accuracy in validation.",
                looks_like=_chosen_by(state, parts, options, base),
            )
    options = {"epochs": 15, "lr": 0.02, "patience": 4}
    because = f"{because} Here many epochs are equally good in validation, and training stops early."
    for seed in (66, 70):
        parts = {**_three(seed), "val": _noisy(seed + 1, 5)}
        images = parts["test"][0]
        others = [_noisy(seed + 7, 24), (images, torch.full((24,), 7)), _noisy(seed + 9, 50)]  # 7: accuracy 0 for ever
        cases = [(p, options) for p in (parts, *({**parts, "test": other} for other in others))]
        base, *found = sandbox.run(probes.fitted, state, cases)
        for one in found:
            _expect_alike(base, one, because, lambda p=parts, b=base: _chosen_by(state, p, options, b))


def _expect_alike(a, b, because, looks):
    """The same weights and the same history; `looks` computes the misconception when they aren't."""
    if a["history"] == b["history"] and _same(a["state"], b["state"]):
        return
    actual = "with other test images they are different"
    if len(a["history"]) != len(b["history"]):
        many = f"{len(a['history'])} and {len(b['history'])}"
        actual = f"with other test images they are different: training took {many} epochs"
    fail(
        expected="weights and history that don't depend on the test part",
        actual=actual,
        because=because,
        looks_like=looks(),
    )


def _chosen_by(state, parts, options, found):
    """What chose the weights that were found: the misconception that gives the same weights, or None."""
    by = {name: _fit(state, parts, **options, by=name) for name in ("val", "test", "train", "last", "ties", "stop")}
    same = {name for name, (weights, _) in by.items() if _same(found["state"], weights)}
    if "test" in same and found["history"] == by["test"][1]:
        return "the accuracy on the test part chooses the epoch; it is the best of its own tries"
    if "val" in same and found["history"] == by["val"][1]:
        return None
    if "ties" in same and found["history"] == by["ties"][1]:
        return "among epochs that are equally good in validation, the test part chooses: the first has to be kept"
    if "stop" in same and found["history"] == by["stop"][1]:
        return "patience waits for a better accuracy on the test part; the validation part has to decide when to stop"
    if "last" in same and found["history"] == by["last"][1]:
        return (
            "the weights of the last epoch: nothing chooses, the best ones aren't loaded at the end, or they weren't "
            "copied: state_dict() refers to the weights that go on being trained"
        )
    if "train" in same:
        return "the accuracy on the training part chooses, and that rises nearly always"
    return None


@check(
    "Apart from that, training is what it was",
    points=10,
    why="The leak was in what was measured. The same steps lead to an honest number.",
    after=["test_selection"],
)
def test_same_training(sandbox):
    state = _state(4)
    cases = [(_three(70), {}), (_three(73), {"epochs": 12, "lr": 0.05, "patience": 2, "seed": 3})]
    cases += [(_three(76), {"epochs": 1, "lr": 0.01}), (_three(79), {"patience": 100})]
    cases += [(_three(87), {"epochs": 25, "lr": 0.03, "patience": 4})]
    never = _three(82)
    never["val"] = never["val"][0], torch.full((24,), 7)  # a class that the model doesn't know: the accuracy stays 0
    cases.append((never, {"epochs": 4, "patience": 3}))
    for (parts, options), found in zip(cases, sandbox.run(probes.fitted, state, cases), strict=True):
        weights, history = _fit(state, parts, **options)
        given = ", ".join(f"{k}={v}" for k, v in options.items()) or "the defaults"
        because = f"{REPAIR} ({given}) fit returns the accuracy on the validation part after each epoch"
        expect_type(found["history"], list, because=f"{because}.")
        full = {"epochs": 30, "patience": 6, **options}
        said = f"{because}, and stops after {full['patience']} epochs without a better one."
        expect_equal(len(found["history"]), len(history), because=said)
        for actual, wanted in zip(found["history"], history, strict=True):
            expect_close(actual, wanted, because=f"{because}.", rtol=1e-5)
        because = f"{REPAIR} ({given}) the same parts lead to the same weights, those of the first best epoch."
        last = _fit(state, parts, **options, by="last")[0]
        looks = "the weights of the last epoch, not of the best" if _same(found["state"], last) else None
        looks = looks if not _same(weights, last) else None
        for name, wanted in weights.items():
            actual = found["state"][name]
            expect_close(actual, wanted, because=f"{because} ({name})", looks_like=looks, rtol=1e-5, atol=1e-7)


# --- the pipeline as a whole -------------------------------------------------------------------------------------


@check(
    "Nothing else about the parts changes: proportions, augmentation, labels, seeds",
    points=10,
    why="Throwing data away, or leaving augmentation out, makes leaks go away and the model worse.",
    after=["test_statistics", "test_duplicates", "test_augmented_copies"],
)
def test_same_parts(sandbox):
    for seed, count, copies in ((80, 40, 0), (81, 33, 0), (82, 30, 25)):
        pictures, labels, number = _collection(seed, count, copies)
        found = sandbox.run(probes.prepared, pictures, labels, [0, None, 5])
        _expect_untouched(found["afterwards"], pictures, labels)
        runs = [_parts(one, pictures, number) for one in found["parts"]]
        kinds = {int(n): int(k) for n, k in zip(number, labels, strict=True)}
        for parts in runs:
            _expect_proportions(parts, count, copies)
            _expect_augmented(parts["train"])
            for name, part in parts.items():
                wanted = torch.tensor([kinds[n] for n in part.number.tolist()])
                wrong = int((part.labels != wanted).sum())
                actual = f"{wrong} of {len(wanted)} labels in {name} are those of other images"
                because = "an image keeps its label through split and augmentation."
                expect(wrong == 0, expected="each image with its label", actual=actual, because=because)
        first, again, _ = (parts["train"].images for parts in runs)
        because = f"{REPAIR} the same seed gives the same parts,"
        expect_equal(again, first, because=f"{because} augmented images included; 0 is the default.")
        same = {n: runs[0][n].pictures() == runs[2][n].pictures() for n in NAMES}
        actual = "the same pictures in each part with another seed"
        because = f"{because} another one others."
        expect(not all(same.values()), expected="another split", actual=actual, because=because)
    _expect_alike_apart(sandbox)


def _look_alikes():
    """(what is alike, what takes them for copies, pictures): 20 pictures, and after them one that resembles each.

    The pixels are multiples of 1/16, so that sums are exact and don't depend on their order.
    """
    g = torch.Generator().manual_seed(83)
    x = (2 * torch.randn(20, 1, 8, 8, generator=g) + 5).mul(16).round().div(16)
    said = "a mean, a sum or the sorted pixels are compared, and not the pixels in their places"
    yield "the first in a mirror", said, x, x.flip(3)
    shuffled = x.flatten(1)[:, torch.randperm(64, generator=g)].view_as(x)
    yield "the pixels of the first in another order", said, x, shuffled
    below, beside = x.clone(), x.clone()
    below[:, :, 4:] = below[:, :, 4:].flip(0)
    beside[:, :, :, 4:] = beside[:, :, :, 4:].flip(0)
    said = "only some of the pixels are compared"
    yield "the first, with another lower half", said, x, below
    yield "the first, with another right half", said, x, beside
    said = "pixels are compared after rounding, in half precision, or with a tolerance; or only some of them"
    near = x.flatten(1).clone()
    near[torch.arange(20), near.argmax(1)] += 0.001
    yield "the first, with 0.001 more in its brightest pixel", said, x, near.view_as(x)


def _expect_alike_apart(sandbox):
    """Pictures that resemble each other are different pictures: all are kept, and they are split one by one."""
    kinds = torch.arange(20) % 3
    cases = list(_look_alikes())
    given = [(torch.cat([x, y]), kinds.repeat(2)) for _, _, x, y in cases]
    answers = sandbox.run(probes.prepared_each, given)
    for (what, said, x, y), found in zip(cases, answers, strict=True):
        parts = _parts(found, torch.cat([x, y]), torch.arange(40))
        where = {name: part.pictures(exact_only=True) for name, part in parts.items()}
        because = f"40 different pictures in pairs; the second of a pair is {what}. Only exact copies are copies."
        sizes = {name: len(numbers) for name, numbers in where.items()}
        looks = said if sum(sizes.values()) < 40 else None
        wanted = {"train": 24, "val": 8, "test": 8}
        together = all({(n + 20) % 40 for n in numbers} == numbers for numbers in where.values())
        actual = "the two of each pair lie in the same part, all 20 times"
        merged = together and sizes == wanted
        expect(not merged, expected="pairs that are split", actual=actual, because=because, looks_like=said)
        expect_equal(sizes, wanted, because=because, looks_like=looks)


def _expect_untouched(afterwards, pictures, labels):
    because = "the caller's images are still needed."
    for name, before, after in zip(("images", "labels"), (pictures, labels), afterwards, strict=True):
        looks = "an in-place operation such as images -= …"
        expect_equal(after, before, because=f"{because} ({name})", looks_like=looks)


def _expect_proportions(parts, count, copies):
    """60 / 20 / 20 % of the pictures; every picture in a part."""
    a, b = int(0.6 * count), int(0.8 * count)
    for name, wanted in zip(NAMES, (a, b - a, count - b), strict=True):
        sizes = len(parts[name].pictures())
        slack = round(0.1 * count) if copies else 0
        said = f"{wanted} of the {count} different pictures in {name}"
        because = f"{REPAIR} 60 % are for training, 20 % for validation, 20 % for the test; none is thrown away."
        expect(abs(sizes - wanted) <= slack, expected=said, actual=str(sizes), because=because)
    total = len(set().union(*(part.pictures() for part in parts.values())))
    because = "each picture is in one of the parts."
    expect_equal(total, count, because=because, looks_like="pictures that came twice are gone from all parts")


def _expect_augmented(train):
    """For each unaltered image in the training part two altered ones."""
    originals, altered = int(train.exact.sum()), int((~train.exact).sum())
    looks = "augmentation was taken out; only its place was wrong" if altered == 0 else None
    expect(
        altered == 2 * originals,
        expected=f"two altered copies for each of the {originals} unaltered images in train",
        actual=f"{altered} altered ones",
        because=f"{REPAIR} the training part is augmented, all of it.",
        looks_like=looks,
    )
    for n in train.pictures():
        mine = train.number == n
        kept, made = int((mine & train.exact).sum()), int((mine & ~train.exact).sum())
        because = f"{REPAIR} every training image is augmented alike."
        expect_equal(made, 2 * kept, because=because)
    spread = (train.std[~train.exact] / train.std[train.exact].median()).std().item()
    because = f"{REPAIR} contrast changes by some 10 %."
    expect(0.04 < spread < 0.25, expected="a spread of about 0.1", actual=describe(spread), because=because)


def _photographs(seed, shuffled):
    """480 noisy images of four patterns, and 160 of them again; the labels of all copies of an image agree."""
    g = torch.Generator().manual_seed(seed)
    patterns = torch.randn(4, 1, 10, 10, generator=g)
    kinds = torch.randint(4, (480,), generator=g)
    images = 0.25 * patterns[kinds] + torch.randn(480, 1, 10, 10, generator=g)
    if shuffled:
        kinds = kinds[torch.randperm(480, generator=g)]
    again = torch.randint(480, (160,), generator=g)
    return torch.cat([images, images[again]]), torch.cat([kinds, kinds[again]])


def _expect_report(options, found, images, labels):
    """What `run` says is what the trained model's logits give; `fit` was called as it always was."""
    given = ", ".join(f"{k}={v}" for k, v in options.items()) or "the defaults"
    expect_equal(sorted(found["reported"]), ["test", "val"], because=f"{REPAIR} run returns two accuracies.")
    for name in ("val", "test"):
        part = _Part(found["images"][name], labels[:0], images, torch.arange(len(images)))
        right = (found["logits"][name].argmax(1) == labels[part.number]).double().mean().item()
        because = f"({given}) {name!r} is the accuracy of the trained model on that part, computed from its logits."
        value = expect_number(found["reported"].get(name), because=because)
        expect_close(value, right, because=because, rtol=1e-5)
    wanted = {"epochs": 30, "lr": 0.003, "patience": 6, "seed": 0, **options}
    expect_equal(found["calls"], [wanted], because=f"{REPAIR} ({given}) run calls fit once, with what it was given.")


@check(
    "The report is true: chance for shuffled labels, a real result for real ones",
    points=15,
    why="With labels drawn at random there is nothing to learn. Whatever a pipeline reports above chance has leaked.",
    after=["test_same_training", "test_same_parts"],
)
def test_report(sandbox):
    images, labels = _photographs(91 + 1000 * sandbox.full, shuffled=True)
    chance = _mean(sandbox.run(probes.reports, images, labels, [0, 1, 2], cpu_seconds=30))
    sandbox.measure("accuracy with shuffled labels", chance)
    because = "the labels were shuffled (copies of an image alike), so that 0.25 is all there is to know."
    looks = "the report is about images that were trained on"
    expect_at_most(chance, 0.42, because=because, looks_like=looks)
    images, labels = _photographs(92, shuffled=False)
    real = _mean(sandbox.run(probes.reports, images, labels, [0, 1, 2], cpu_seconds=30))
    sandbox.measure("accuracy", real)
    because = "with the real labels the network learns to tell the four patterns apart."
    expect_at_least(real, 0.55, because=because)
    images, labels = (t[:200] for t in _photographs(90, shuffled=False))
    cases = [{}, {"seed": 4, "epochs": 2}]
    for options, found in zip(cases, sandbox.run(probes.by_hand, images, labels, 4, cases), strict=True):
        _expect_report(options, found, images, labels)


def _mean(reports):
    return sum(report["test"] for report in reports) / len(reports)

"""Checks for the image GPT. Oracles: loops for k-means, attention written out, tables whose probabilities are known."""

from __future__ import annotations

import itertools
import math
from functools import partial

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
    expect_finite,
    expect_sequence,
    expect_shape,
    expect_tensor,
    fail,
    misconception,
    resembles,
)

from . import probes

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
"""For float32 numbers of about 1, against an oracle in float64."""


def _random(seed):
    return torch.Generator().manual_seed(seed)


# --- k-means -------------------------------------------------------------------------------------------


def _nearest(pixels, codes):
    return (pixels[:, None].double() - codes[None].double()).square().sum(2).argmin(1)


def _step(pixels, codes, how=""):
    """One step of k-means for codes that all have pixels. `how` names a mistake to make."""
    if how == "L1":
        nearest = (pixels[:, None] - codes[None]).abs().sum(2).argmin(1)
    elif how == "first channel":
        nearest = (pixels[:, None, 0] - codes[None, :, 0]).abs().argmin(1)
    else:
        nearest = _nearest(pixels, codes)
    moved = codes.clone()
    for i in range(len(codes)):
        mine = pixels[nearest == i]
        if len(mine):
            moved[i] = {"median": mine.median(0).values, "sum": mine.sum(0), "half": (codes[i] + mine.mean(0)) / 2}.get(
                how, mine.mean(0)
            )
    return moved


STEP_WRONG = {
    "L1": "the nearest code by the sum of absolute differences; k-means measures squared distances",
    "first channel": "only the first channel is compared",
    "median": "the median instead of the mean",
    "sum": "the sum of the pixels, not divided by their number",
    "half": "the code moves only half of the way to the mean",
}


def _farthest(pixels, codes, found):
    """Whether codes sit at the mean of the pixels that are farthest from them; the others may be anywhere."""
    owner = (pixels[:, None] - codes[None]).square().sum(2).argmax(1)
    means = {i: pixels[owner == i].mean(0) for i in set(owner.tolist())}
    fits = all(resembles(found[i], mean, rtol=1e-4, atol=1e-5) for i, mean in means.items())
    return "argmax instead of argmin: each pixel goes to its farthest code" if fits else None


def _clouds(centres, each, spread, seed):
    """Pixels around centres, mixed."""
    g = _random(seed)
    k, channels = centres.shape
    pixels = (centres[:, None] + spread * torch.randn(k, each, channels, generator=g)).reshape(-1, channels)
    return pixels[torch.randperm(len(pixels), generator=g)]


@check(
    "kmeans_step: each pixel to its nearest code, each code to the mean of its pixels",
    points=6,
    why="Two lines of vector code: distances of all to all, and a mean by group.",
)
def test_step(sandbox):
    g = _random(1)
    cases = []
    for m, k, channels in ((40, 3, 1), (200, 5, 3), (7, 1, 2), (90, 8, 1), (6, 6, 2)):
        pixels = torch.rand(m, channels, generator=g)
        cases.append([pixels, pixels[torch.randperm(m, generator=g)[:k]]])
    for (pixels, codes), found in zip(cases, sandbox.run(probes.stepped, cases), strict=True):
        said = f"{len(pixels)} pixels of {pixels.shape[1]} channels, k={len(codes)}"
        right = _step(pixels, codes)
        looks = misconception(
            found["codes"],
            right,
            {text: partial(_step, pixels, codes, how) for how, text in STEP_WRONG.items()},
            rtol=1e-4,
            atol=1e-5,
        )
        if looks is None and resembles(found["codes"], codes):
            looks = "the codes don't move"
        if looks is None and not resembles(found["codes"], right, rtol=1e-4, atol=1e-5):
            shaped = type(found["codes"]) is torch.Tensor and found["codes"].shape == codes.shape
            looks = _farthest(pixels, codes, found["codes"]) if shaped else None
        because = f"({said}) the mean of the pixels nearest to each code, worked out code by code."
        expect_close(found["codes"], right, because=because, looks_like=looks, rtol=1e-4, atol=1e-5)
        for given, kept in zip((pixels, codes), found["inputs"], strict=True):
            because = f"({said}) the call returns new codes; what it was given stays as it is."
            expect_equal(kept, given, because=because, looks_like="the result is written into the argument")


@check(
    "A code without pixels starts again at a pixel drawn at random",
    points=6,
    why="Half of all pixels of a digit are equal, so codes die at once; a mean of nothing is NaN, and NaN spreads.",
    after=["test_step"],
)
def test_dead_codes(sandbox):
    pixels = torch.rand(300, 2, generator=_random(2))
    alive = pixels[:2]
    codes = torch.cat([alive[:1], torch.full((3, 2), 50.0), alive[1:], -40 - torch.arange(4).reshape(2, 2).float()])
    dead, kept = [1, 2, 3, 5, 6], [0, 4]
    runs = sandbox.run(probes.revived, pixels, codes, list(range(1, 9)))
    right = _step(pixels, codes)[kept]
    said = "7 codes, 5 of them far away from all of 300 pixels"
    for moved in runs:
        expect_shape(moved, (7, 2), because=f"({said}) as many codes as before.")
        looks = None
        if bool(moved[dead].isnan().any()):
            looks = "0/0: the mean of no pixels is NaN"
        elif not moved[dead].any():
            looks = "the mean of no pixels is taken for 0: a code that no pixel asked for"
        elif resembles(moved[dead], codes[dead]):
            looks = "dead codes stay where they are, and stay dead"
        elif resembles(moved[dead], alive.mean(0).expand(5, 2), atol=1e-3):
            looks = "the mean of the other codes"
        because = f"({said}) a code of NaN is nearest to nothing, or to everything."
        expect_finite(moved, because=because, looks_like=looks)
        is_pixel = (moved[dead][:, None] == pixels[None]).all(2).any(1)
        expect(
            bool(is_pixel.all()),
            expected=f"({said}) each of the five at one of the pixels",
            actual=f"{int((~is_pixel).sum())} of them somewhere else",
            because="a pixel has at least itself as its neighbour, so the code is alive in the next step.",
            looks_like=looks,
        )
        expect_close(moved[kept], right, because=f"({said}) the others move to the mean of their pixels.", rtol=1e-4)
    *seeded, repeated, free, other = runs
    draws = torch.stack([moved[dead] for moved in seeded])
    same = bool((draws == draws[:, :1]).all())
    expect(
        not same,
        expected=f"({said}) a draw of its own for each of the five",
        actual="one and the same pixel for all of them",
        because="codes at the same place share one fate: all but one die again.",
        looks_like="one pixel is drawn for all dead codes together",
    )
    again = torch.equal(runs[0], repeated)
    looks = "the draw doesn't use the generator" if not again else None
    expect(
        again,
        expected=f"({said}) the same codes again with a generator of the same seed",
        actual="others",
        because="`generator` makes the draw, whatever the global state is.",
        looks_like=looks,
    )
    alike = all(torch.equal(draws[0], other) for other in draws[1:])
    expect(
        not alike,
        expected=f"({said}) other pixels with other seeds",
        actual="the same ones",
        because="the pixels are drawn at random.",
        looks_like="always the same pixels: nothing is drawn",
    )
    expect(
        not torch.equal(free, other),
        expected=f"({said}) without a generator, other pixels for another torch.manual_seed",
        actual="the same ones",
        because="torch's global generator draws where none is given.",
        looks_like="a generator made anew with a fixed seed",
    )
    rows = (draws[:, :, None] == pixels).all(3).double().argmax(2)
    first, last = int(rows.min()), int(rows.max())
    looks = "drawn with the number of codes for a limit, not the number of pixels" if last < len(codes) else None
    expect(
        first < 150 <= last,
        expected=f"({said}) among {rows.numel()} draws some from the first and some from the second half of the pixels",
        actual=f"pixels {first} … {last}",
        because="each pixel is as likely as any other; from one half alone they come once in 10¹² times.",
        looks_like=looks,
    )


@check(
    "kmeans: k different pixels to start with, then the steps",
    points=6,
    why="Where k-means starts decides where it ends; a start among the data is alive.",
    after=["test_step"],
)
def test_kmeans(sandbox):
    g = _random(3)
    centres = torch.tensor([[0.1, 0.2, 0.9], [0.8, 0.1, 0.1], [0.5, 0.9, 0.4], [0.9, 0.9, 0.95]])
    clouds = _clouds(centres, 60, 0.03, 4)
    few = torch.rand(6, 1, generator=g)
    black = torch.cat([torch.zeros(200, 1), torch.rand(60, 1, generator=g)])
    cases = [[clouds, 4, 0], [clouds, 4, 3], [few, 6, 0], [black, 6, 40]]
    found = sandbox.run(probes.clustered, cases)
    for (pixels, k, steps), one in zip(cases, found, strict=True):
        said = f"{len(pixels)} pixels, k={k}, steps={steps}"
        first, again, other = one["runs"]
        for codes in (first, other, *one["without"]):
            expect_shape(codes, (k, pixels.shape[1]), because=f"({said}) one row for each code.")
            expect_finite(codes, because=f"({said}) codes are colours.")
        expect_equal(one["pixels"], pixels, because=f"({said}) the pixels stay as they are.")
        because = f"({said}) generators of the same seed give the same codes, whatever the global state is."
        looks = "a draw that doesn't use the generator"
        expect_equal(again, first, because=because, looks_like=looks)
        if len(pixels) > k:
            drawn = not torch.equal(first, other)
            because = f"({said}) the start is drawn."
            wanted, looks = "other codes with another seed", "always the same rows: nothing is drawn"
            expect(drawn, expected=wanted, actual="the same", because=because, looks_like=looks)
        if not steps and len(pixels) > k:
            drawn = not torch.equal(*one["without"])
            because = f"({said}) without a generator torch's global one draws; its seed was another one."
            wanted, looks = "other codes for another torch.manual_seed", "a generator made anew with a fixed seed"
            expect(drawn, expected=wanted, actual="the same", because=because, looks_like=looks)
    starts, moved = found[0]["runs"][0], found[1]["runs"][0]
    for said, codes, pixels in (
        ("steps=0", starts, clouds),
        ("k = 6 of 6 pixels, steps=0", found[2]["runs"][0], few),
    ):
        rows = (codes[:, None] == pixels[None]).all(2)
        inside = bool(rows.any(1).all())
        because = f"({said}) the start is k rows of the pixels."
        looks = None if inside else "random numbers, not pixels: codes far from all data die"
        expect(inside, expected="rows of the pixels", actual=describe(codes[0]), because=because, looks_like=looks)
        unique = len(set(rows.double().argmax(1).tolist())) == len(codes)
        looks = "drawn with replacement: randint may give the same pixel twice"
        because = f"({said}) k different rows."
        expect(unique, expected="each row once at most", actual="one of them twice", because=because, looks_like=looks)
    path = [starts]
    for _ in range(4):
        path.append(_step(clouds, path[-1]))
    right, more = path[3:]
    guesses = {
        "one step, whatever steps says": path[1],
        "no step is made": starts,
        "one step too many": more,
        "one step too few": path[2],
    }
    alive = all(len(set(_nearest(clouds, c).tolist())) == 4 for c in path)
    if alive:
        looks = misconception(moved, right, guesses, rtol=1e-4, atol=1e-5)
        because = "(240 pixels, k=4) three steps from the start that the same generator gives with steps=0."
        expect_close(moved, right, because=because, looks_like=looks, rtol=1e-4, atol=1e-5)
    codes = found[3]["runs"][0]
    used = len(set(_nearest(black, codes).tolist()))
    because = "(260 pixels, 200 of them 0, k=6, 40 steps) some codes start at 0 and die; drawn anew, they find others."
    expect_at_least(used, 5, because=because, unit=" codes with pixels")


# --- tokens --------------------------------------------------------------------------------------------


def _tokens(images, codes, how=""):
    n, channels, height, width = images.shape
    if how == "no permute":
        return _nearest(images.reshape(-1, channels), codes).view(n, -1)
    if how == "columns":
        images = images.transpose(2, 3)
    if how == "farthest":
        pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
        return (pixels[:, None].double() - codes[None].double()).square().sum(2).argmax(1).view(n, -1)
    if how == "L1":
        pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
        return (pixels[:, None].double() - codes[None].double()).abs().sum(2).argmin(1).view(n, -1)
    return _nearest(images.permute(0, 2, 3, 1).reshape(-1, channels), codes).view(n, height * width)


def _images(tokens, codes, height, width, how=""):
    n = len(tokens)
    if how == "no permute":
        return codes[tokens].reshape(n, codes.shape[1], height, width)
    if how == "columns":
        return codes[tokens].view(n, width, height, -1).permute(0, 3, 2, 1)
    if how == "turned":
        return codes[tokens].view(n, height, width, -1).permute(0, 3, 2, 1)
    if how == "wrong way":
        return codes[tokens].view(n, width, height, -1).permute(0, 3, 1, 2)
    return codes[tokens].view(n, height, width, -1).permute(0, 3, 1, 2)


@check(
    "encode and decode: pixels to the numbers of their nearest codes, row by row, and back",
    points=8,
    why="A reshape that mixes channels with places makes tokens that look fine and pictures that don't.",
)
def test_tokens(sandbox):
    g = _random(5)
    cases = []
    for n, channels, height, width, k in ((3, 1, 4, 6, 5), (2, 3, 5, 3, 7), (1, 3, 1, 1, 2), (4, 2, 2, 2, 1)):
        images, codes = torch.rand(n, channels, height, width, generator=g), torch.rand(k, channels, generator=g)
        tokens = torch.randint(k, (n, height * width), generator=g)
        cases.append({"images": images, "codes": codes, "tokens": tokens})
    for case, found in zip(cases, sandbox.run(probes.coded, cases), strict=True):
        images, codes = case["images"], case["codes"]
        said = f"images {tuple(images.shape)}, k={len(codes)}"
        right = _tokens(images, codes)
        guesses = {
            "reshaped without moving the channels to the end: one 'pixel' mixes several places": "no permute",
            "column by column instead of row by row": "columns",
            "argmax instead of argmin: the farthest code": "farthest",
            "absolute differences; k-means measures squared distances": "L1",
        }
        guesses = {text: partial(_tokens, images, codes, how) for text, how in guesses.items()}
        because = f"({said}) encode: the nearest code of each pixel, row by row, worked out one by one."
        looks = misconception(found["tokens"], right, guesses)
        expect_shape(found["tokens"], tuple(right.shape), because=f"({said}) encode: one token for each pixel.")
        expect_close(found["tokens"], right, because=because, looks_like=looks, rtol=0, atol=0)
        expect_dtype(found["tokens"], torch.int64, because=f"({said}) encode: an embedding is indexed with int64.")
        pictures = _images(case["tokens"], codes, *images.shape[2:])
        guesses = {
            "channels don't come first again: a reshape moves no axis": "no permute",
            "column by column instead of row by row": "columns",
            "rows and columns are swapped": "turned",
            "height and width are swapped in the reshape": "wrong way",
        }
        guesses = {t: partial(_images, case["tokens"], codes, *images.shape[2:], how) for t, how in guesses.items()}
        looks = misconception(found["decoded"], pictures, guesses)
        because = f"({said}) decode: token 0 is the pixel at the top left, token 1 the one on its right."
        expect_close(found["decoded"], pictures, because=because, looks_like=looks, rtol=1e-6)
        for given, kept in zip((images, codes, case["tokens"]), found["inputs"], strict=True):
            expect_equal(kept, given, because=f"({said}) the arguments stay as they are.")


# --- attention -----------------------------------------------------------------------------------------


def _attention(state, x, heads, how=""):
    """Causal attention written out, head by head. `how` names a mistake to make."""
    n, t, dim = x.shape
    size = dim // heads
    joint = x @ state["qkv.weight"].T + state["qkv.bias"]
    q, k, v = joint.chunk(3, dim=2)
    if how == "swapped":
        q, k = k, q
    if how == "k q v":
        k, q, v = joint.chunk(3, dim=2)
    if how == "by head":
        q, k, v = joint.view(n, t, heads, 3, size).unbind(3)
        q, k, v = (part.reshape(n, t, dim) for part in (q, k, v))
    if how == "one head":
        heads, size = 1, dim
    if how == "torn":
        q, k, v = (part.reshape(n, heads, t, size) for part in (q, k, v))
    elif how == "strided":
        q, k, v = (part.view(n, t, size, heads).permute(0, 3, 1, 2) for part in (q, k, v))
    else:
        q, k, v = (part.view(n, t, heads, size).transpose(1, 2) for part in (q, k, v))
    scale = {"no scale": 1.0, "scale by dim": dim**-0.5, "scale without root": 1 / size}.get(how, size**-0.5)
    scores = q @ k.transpose(2, 3) * scale
    later = torch.ones(t, t, dtype=torch.bool).triu(1)
    if how == "no mask":
        weights = scores.softmax(3)
    elif how == "later only":
        weights = scores.masked_fill(later.T, -math.inf).softmax(3).nan_to_num(0.0)
    elif how == "from here on":
        weights = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).tril(-1), -math.inf).softmax(3)
    elif how == "not itself":
        weights = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(), -math.inf).softmax(3)
    elif how == "mask after softmax":
        weights = scores.softmax(3) * ~later
    elif how == "masked with 0":
        weights = (scores * ~later).softmax(3)
    elif how == "one late":
        weights = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(2), -math.inf).softmax(3)
    elif how == "over queries":
        weights = scores.masked_fill(later, -math.inf).softmax(2)
    else:
        weights = scores.masked_fill(later, -math.inf).softmax(3)
    out = weights @ v
    out = out.reshape(n, t, dim) if how == "not joined" else out.transpose(1, 2).reshape(n, t, dim)
    return out if how == "no proj" else out @ state["proj.weight"].T + state["proj.bias"]


ATTENTION_WRONG = {
    "no mask": "there is no mask: every place sees the whole image, the pixels to be predicted included",
    "later only": "the mask is turned round: places see only what comes after them",
    "from here on": "the mask is turned round: places see only themselves and what comes after them",
    "not itself": "the mask takes the diagonal, too: a place may see itself, and the first one has nothing else",
    "one late": "the mask begins one place late: each place sees the next one, the very token to be predicted",
    "mask after softmax": "the mask comes after the softmax: later places still take their share of each row's sum",
    "masked with 0": "masked scores are 0 or nearly 0 instead of −inf: e⁰ is 1, so later places keep their weight",
    "no scale": "the scores aren't divided by √(dim / heads)",
    "scale by dim": "divided by √dim; the queries of a head have dim / heads numbers",
    "scale without root": "divided by dim / heads without the root",
    "over queries": "the softmax runs over the queries; each query's weights have to sum to 1 over the keys",
    "torn": "reshaped to heads without a transpose: a head then gets other places instead of other features",
    "not joined": "heads are joined without a transpose: places and heads get mixed",
    "strided": "a head takes every heads-th feature; here it is a block of dim / heads neighbours",
    "one head": "one head, whatever heads says",
    "swapped": "queries and keys are swapped",
    "k q v": "the order is key, query, value; here qkv gives queries, keys, values",
    "by head": "qkv is cut by heads first; here its first dim features are the queries of all heads",
    "no proj": "proj isn't applied",
}


def _attention_case(n, t, dim, heads, seed):
    g = _random(seed)
    shapes = {"qkv.weight": [3 * dim, dim], "qkv.bias": [3 * dim], "proj.weight": [dim, dim], "proj.bias": [dim]}
    state = {k: 1.5 * dim**-0.5 * torch.randn(s, generator=g) for k, s in shapes.items()}
    x, upstream = (torch.randn(n, t, dim, generator=g) for _ in range(2))
    return {"dim": dim, "heads": heads, "shapes": shapes, "state": state, "x": x, "upstream": upstream}


@check(
    "CausalAttention: scaled scores, no place sees a later one, several heads",
    points=10,
    why="The heart of every GPT, and the layer that interviewers ask for by heart.",
)
def test_attention(sandbox):
    cases = [
        _attention_case(*sizes, seed=10 + i)
        for i, sizes in enumerate(
            ((2, 5, 8, 2), (3, 4, 6, 3), (1, 7, 4, 1), (2, 1, 6, 2), (1, 6, 12, 4), (1, 70, 4, 2))
        )
    ]
    for case, found in zip(cases, sandbox.run(probes.attended, cases), strict=True):
        n, t, dim = case["x"].shape
        said = f"CausalAttention({dim}, {case['heads']}) on ({n}, {t}, {dim})"
        expect(found["module"], expected=f"{said}: an nn.Module", actual="something else", because="models hold it.")
        because = f"{said}: parameters qkv and proj, both nn.Linear with bias; checks load weights by these names."
        names = set(found["shapes"])
        unbiased = names < set(case["shapes"]) and "qkv.weight" in names
        looks = "a layer has no bias: here both do" if unbiased else None
        looks = "queries, keys and values from layers of their own; qkv makes all three" if len(names) > 5 else looks
        expect_equal(found["shapes"], case["shapes"], because=because, looks_like=looks)
        state, given = {k: v.double() for k, v in case["state"].items()}, case["x"].double()
        right = _attention(state, given, case["heads"])
        guesses = {text: partial(_attention, state, given, case["heads"], how) for how, text in ATTENTION_WRONG.items()}
        looks = misconception(found["out"], right, guesses, **CLOSE)
        because = f"{said}: softmax(Q Kᵀ / √(dim / heads)) V for each head, written out with the same weights."
        expect_shape(found["out"], (n, t, dim), because=f"{said}: one row for each place.")
        expect_close(found["out"], right, because=because, looks_like=looks, **CLOSE)
        leaves = {k: v.clone().requires_grad_(True) for k, v in state.items()}
        x = given.clone().requires_grad_(True)
        names = {"x": x, **leaves}
        grads = torch.autograd.grad(
            _attention(leaves, x, case["heads"]), list(names.values()), case["upstream"].double(), allow_unused=True
        )
        for name, gradient in zip(names, grads, strict=True):
            because = f"{said}: the gradient of {name}, against autograd through the same layer written out."
            looks = "something is detached, or computed without gradients" if found["gradients"][name] is None else None
            size = float(gradient.abs().max())
            expect_close(
                found["gradients"][name], gradient, because=because, looks_like=looks, rtol=1e-4, atol=1e-4 * size
            )


# --- the model -----------------------------------------------------------------------------------------

STILL = 5e-5
"""Logits that differ by no more are the same: a row may be summed up in another order elsewhere in a batch."""
SMALL = {"k": 5, "length": 9, "dim": 12, "layers": 2, "heads": 3}


def _said(options):
    return f"ImageGPT({', '.join(f'{k}={v}' for k, v in options.items())})"


@check(
    "ImageGPT: T tokens give T + 1 rows of logits, from T = 0 on; dim, layers and heads are used",
    points=5,
    why="Row t predicts token t. Before the first token there is a row as well: drawing an image starts there.",
)
def test_shapes(sandbox):
    g = _random(20)
    options = [SMALL, {"k": 3, "length": 70}, {**SMALL, "layers": 1}, {**SMALL, "layers": 3, "heads": 1}]
    cases = []
    for some in options:
        for n, t in ((2, 0), (1, 1), (3, some["length"] - 1)):
            cases.append([some, torch.randint(some["k"], (n, t), generator=g)])
    for (some, tokens), found in zip(cases, sandbox.run(probes.shapes, cases), strict=True):
        n, t = tokens.shape
        said = f"{_said(some)} on tokens ({n}, {t})"
        expect(found["module"], expected=f"{said}: an nn.Module", actual="something else", because="it is trained.")
        shape = tuple(found["out"].shape) if type(found["out"]) is torch.Tensor else ()
        looks = "as many rows as tokens: the row before the first token, or the one after the last, is missing"
        looks = looks if shape == (n, t, some["k"]) else None
        turned = shape == (n, some["k"], t + 1) != (n, t + 1, some["k"])
        looks = "(N, k, T + 1): the codes come last" if turned else looks
        because = f"{said}: one row of k logits for each token and one for the next."
        expect_shape(found["out"], (n, t + 1, some["k"]), because=because, looks_like=looks)
        expect_dtype(found["out"], torch.float32, because=f"{said}: logits.")
        expect_finite(found["out"], because=f"{said}: logits.", looks_like="a row of the mask has nothing left to see")
        expect_equal(found["tokens"], tokens, because=f"{said}: the tokens stay as they are.")
    written = {"k": 8, "length": 20, "dim": 32, "layers": 2, "heads": 4}
    _expect_options_used(sandbox.run(probes.options_used, written, torch.randint(8, (2, 12), generator=g)))


def _expect_options_used(found):
    """Defaults as they are written in the statement; and what layers, dim and heads say happens."""
    because = "ImageGPT(k, length) is ImageGPT(k, length, dim=32, layers=2, heads=4): the same number of parameters."
    expect_equal(found["counts"][0], found["counts"][1], because=because, looks_like="another default of dim or layers")
    because = "ImageGPT(k, length) is ImageGPT(k, length, dim=32, layers=2, heads=4): with one seed, the same logits."
    expect_close(*found["outs"], because=because, rtol=1e-5, looks_like="another default of heads")
    sizes = found["by layers"]
    because = "each layer brings parameters of its own."
    grows, told = sizes[0] < sizes[1] < sizes[2], f"{sizes[0]:,}, {sizes[1]:,}, {sizes[2]:,}"
    looks = "layers isn't used, or one block serves several times"
    if found["loose"]:
        looks = (
            "blocks that aren't registered: in a Python list parameters() doesn't find them; nn.ModuleList registers"
        )
    expect(grows, expected="more parameters with layers=1, 2, 3", actual=told, because=because, looks_like=looks)
    used = found["attending"]
    because = "each of the layers has a CausalAttention of its own, and forward uses it."
    looks = {
        (0, 0, 0): "another layer reads the tokens before, or none does: CausalAttention isn't used",
        (1, 1, 1): "forward goes through one of the blocks only, or all of them share one attention",
    }.get(tuple(used))
    expect(
        all(count >= layers for layers, count in enumerate(used, start=1)),
        expected="with layers=1, 2, 3: 1, 2, 3 layers of CausalAttention that the tokens pass through",
        actual=", ".join(map(str, used)),
        because=because,
        looks_like=looks,
    )
    narrow, wide = found["by dim"]
    because = "dim is the width of all layers."
    looks = "dim isn't used, or not passed on"
    told = f"{narrow:,} and {wide:,}"
    expect(
        narrow < wide,
        expected="more parameters with dim=32 than with dim=16",
        actual=told,
        because=because,
        looks_like=looks,
    )
    one, four = found["by heads"]
    differ = type(one) is type(four) is torch.Tensor and not resembles(one, four, rtol=1e-4, atol=1e-4)
    because = "the same weights, cut into one head or into four, give each place other weights over the places before."
    looks = "heads isn't passed on to CausalAttention"
    expect(
        differ,
        expected="other logits with heads=1 than with heads=4",
        actual="the same",
        because=because,
        looks_like=looks,
    )


@check(
    "Causal: row t depends on the tokens before t, on nothing else",
    points=10,
    why="A model that sees the token it predicts has a loss near zero and can't draw a single image.",
    after=["test_shapes"],
)
def test_causal(sandbox):
    for number, options in enumerate((SMALL, {**SMALL, "layers": 1, "heads": 2}, {"k": 4, "length": 7})):
        k, t = options["k"], options["length"] - 1
        base = torch.randint(k, (t,), generator=_random(30 + number))
        changed = base.repeat(t, 1)
        changed[range(t), range(t)] = (base + 1) % k
        batches = [torch.cat([base[None], changed]), base[None], *(base[None, :m] for m in range(t)), changed[[2, 0]]]
        out = sandbox.run(probes.answers, options, batches, 31 + number)
        said = f"{_said(options)}, {t} tokens"
        for rows, tokens in zip(out, batches, strict=True):
            expect_shape(rows, (len(tokens), tokens.shape[1] + 1, k), because=f"({said}) T + 1 rows.")
            expect_finite(rows, because=f"({said}) logits.")
        moved = (out[0][1:] - out[0][:1]).abs().amax(2) > STILL  # token changed × row
        leaks = [(s, r) for s in range(t) for r in range(s + 1) if moved[s, r]]
        if leaks:
            s, r = leaks[0]
            own = all(s == r for s, r in leaks)
            looks = (
                "row t has read token t, the one that it predicts: a start has to stand before the first token"
                if own
                else "no mask, or one that is turned round: places see later tokens"
            )
            fail(
                expected=f"({said}) row {r} the same, whatever token {s} is",
                actual=f"it moves by {float((out[0][s + 1] - out[0][0])[r].abs().max()):.3g}",
                because="row t is for token t: what it says may depend on tokens 0 … t − 1 only.",
                looks_like=looks,
            )
        deaf = [(s, r) for s in range(t) for r in range(s + 1, t + 1) if not moved[s, r]]
        if deaf:
            s, r = deaf[0]
            one_late = all(r == s + 1 for s, r in deaf)
            looks = "shifted twice: row t reads the tokens before t − 1 only" if one_late else None
            looks = "the tokens are never used" if len(deaf) == t * (t + 1) // 2 else looks
            far = not one_late and all(r > s + 1 for s, r in deaf)
            looks = "rows see the last token or the last few, not all before them" if far and looks is None else looks
            fail(
                expected=f"({said}) row {r} depends on token {s}",
                actual="it stays the same when that token changes",
                because="each prediction uses all tokens before it, the first as well as the last.",
                looks_like=looks,
            )
        because = f"({said}) a row of tokens gives the same alone, and in other company."
        looks = "something mixes the rows of a batch"
        expect_close(out[1], out[0][:1], because=because, looks_like=looks, **CLOSE)
        expect_close(out[-1], out[0][[3, 1]], because=because, looks_like=looks, **CLOSE)
        for m in range(t):
            because = f"({said}) the first {m} tokens alone give the same rows as within {t}: drawing relies on it."
            looks = "places are counted from the end, or something is normalised over the tokens"
            expect_close(out[2 + m], out[1][:, : m + 1], because=because, looks_like=looks, **CLOSE)


@check(
    "Places count: the same tokens in another order are another image",
    points=6,
    why="Attention by itself sees a set. Without places, a pixel above and one far away are the same.",
    after=["test_causal"],
)
def test_places(sandbox):
    options = {**SMALL, "layers": 1}
    first = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    second = torch.tensor([3, 1, 2, 0, 4, 0, 1, 2])  # tokens 0 and 3 exchanged
    same = torch.full((8,), 2)
    out = sandbox.run(probes.answers, options, [torch.stack([first, second, same])], 40)[0]
    expect_shape(out, (3, 9, 5), because="T + 1 rows.")
    gap = (out[0] - out[1]).abs().amax(1)
    looks = "no embedding of places: attention sees a set of tokens"
    said = f"{_said(options)}"
    for r in range(5, 9):
        expect(
            float(gap[r]) > STILL,
            expected=f"({said}) another row {r} when tokens 0 and 3 are exchanged",
            actual=f"a difference of {float(gap[r]):.2g}",
            because="which colour is where makes the image.",
            looks_like=looks,
        )
    steps = (out[2][2:] - out[2][1:-1]).abs().amax(1)
    expect(
        float(steps.min()) > STILL,
        expected=f"({said}) different rows for an image of one colour",
        actual="two neighbouring rows alike",
        because="even then the model has to know how far it is: a digit's corner is black, its middle is not.",
        looks_like=looks,
    )


@check(
    "A new model guesses: its rows are logits, its loss is near ln k, and all of it hears from the loss",
    points=5,
    why="ln 8 = 2.08 for eight codes: what starts far above it begins with a wrong opinion.",
    after=["test_causal"],
)
def test_fresh(sandbox):
    g = _random(50)
    cases = []
    for options in ({"k": 8, "length": 64}, {"k": 40, "length": 12, "dim": 24, "layers": 3, "heads": 2}):
        cases.append([options, torch.randint(options["k"], (16, options["length"]), generator=g)])
    for (options, tokens), found in zip(cases, sandbox.run(probes.fresh, cases), strict=True):
        k, said = options["k"], _said(options)
        expect_shape(found["logits"], (*tokens.shape, k), because="T + 1 rows for T tokens.")
        loss = float(F.cross_entropy(found["logits"].double().flatten(0, 1), tokens.flatten()))
        because = f"{said}: the loss on random tokens, ±0.3; ln {k} = {math.log(k):.2f}."
        looks = "the logits are too large from the start" if loss > math.log(k) else None
        expect_close(loss, math.log(k), because=because, looks_like=looks, rtol=0, atol=0.3)
        rows = found["shaken"].double()
        looks = "an activation on the logits"
        looks = (
            "a softmax at the end: the loss and the draw apply it"
            if bool((rows.sum(2) - 1).abs().max() < 1e-5)
            else looks
        )
        because = f"{said}, its weights moved at random: logits may have any sign, or no code can become unlikely."
        negative = bool((rows < 0).any())
        expect(negative, expected="logits below 0, too", actual="none", because=because, looks_like=looks)
        because = f"{said}: optimizers go through parameters(), checkpoints through state_dict()."
        looks = "a tensor or layer that isn't registered: nn.Parameter, and attributes of the module itself, are"
        loose = ", ".join(str(tuple(shape)) for shape in found["loose"][:3])
        wanted, told = "only parameters of the model to be trained", f"a gradient for a tensor {loose} that is none"
        expect(not found["loose"], expected=wanted, actual=told, because=because, looks_like=looks)
        because = f"{said}: every parameter has a say in the logits."
        silent = f"none for {', '.join(found['silent'][:3])}{' …' if len(found['silent']) > 3 else ''}"
        looks = "a part that forward doesn't use, or whose gradient is cut off"
        none = not found["silent"]
        expect(none, expected="a gradient for each", actual=silent, because=because, looks_like=looks)


# --- the loss ------------------------------------------------------------------------------------------


def _table(k, length, seed, scale=1.5):
    g = _random(seed)
    start, table, places = (scale * torch.randn(s, generator=g) for s in ((k,), (k, k), (length, k)))
    return [start, table, places]


def _rows(model, tokens):
    """What a table says, in float64: one row more than tokens."""
    start, table, places = (m.double() for m in model)
    rows = torch.cat([start.expand(len(tokens), 1, -1), table[tokens]], dim=1)
    return rows + places[: rows.shape[1]]


def _loss(model, tokens, how=""):
    rows = _rows(model, tokens[:, :-1])
    nll = -rows.log_softmax(2).gather(2, tokens[:, :, None])[..., 0]  # (N, T)
    if how == "first left out":
        return nll[:, 1:].mean()
    if how == "a row late":
        return F.cross_entropy(rows[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    if how == "shifted twice":
        return F.cross_entropy(rows[:, 1:].flatten(0, 1), tokens[:, :-1].flatten())
    if how == "softmax":
        return F.cross_entropy(rows.softmax(2).flatten(0, 1), tokens.flatten())
    results = {"sum": nll.sum(), "per image": nll.sum() / len(tokens), "per place": nll.sum() / tokens.shape[1]}
    results |= {"bits": nll.mean() / math.log(2), "negative": -nll.mean(), "last": nll[:, -1].mean()}
    return results.get(how, nll.mean())


LOSS_WRONG = {
    "first left out": "the first token isn't counted: row 0 predicts it from the start",
    "a row late": "each row is compared with the token after its own: the model shifts by itself",
    "shifted twice": "each row is compared with the token before its own, which it has read: that is no prediction",
    "sum": "the sum over all tokens instead of the mean",
    "per image": "the sum over the tokens of an image: divided by N only",
    "per place": "divided by T only",
    "softmax": "a softmax before cross_entropy, which applies one itself",
    "bits": "in bits; the natural logarithm is asked for",
    "negative": "the sign: log p is negative",
    "last": "the last token only",
}


@check(
    "next_token_loss: the mean over all N·T tokens, each from those before it",
    points=8,
    why="Off by one, and the model learns to copy its input: the loss looks wonderful.",
)
def test_loss(sandbox):
    cases = []
    for n, t, k, room in ((3, 5, 4, 0), (1, 2, 3, 3), (4, 1, 2, 1), (2, 6, 5, 1)):
        tokens = torch.randint(k, (n, t), generator=_random(60 + t))
        cases.append({"model": _table(k, t + room, 61 + t), "tokens": tokens, "room": room})
    for case, found in zip(cases, sandbox.run(probes.losses, cases), strict=True):
        tokens = case["tokens"]
        n, t = tokens.shape
        said = f"tokens ({n}, {t}), a model of length {t + case['room']} whose probabilities are known"
        right = float(_loss(case["model"], tokens))
        expect_tensor(found["loss"], because=f"({said}) backward starts from it.")
        expect_shape(found["loss"], (), because=f"({said}) one number.")
        wrong = LOSS_WRONG if t > 1 else {}
        guesses = {text: float(_loss(case["model"], tokens, how)) for how, text in wrong.items()}
        looks = misconception(float(found["loss"]), right, guesses, rtol=1e-4, atol=1e-5)
        because = f"({said}) −log p of each token, given those before it, and the mean of all {n * t}."
        expect_close(float(found["loss"]), right, because=because, looks_like=looks, rtol=1e-4, atol=1e-5)
        expect("gradients" in found, expected=f"({said}) a loss with a graph", actual="none", because="train needs it.")
        leaves = [m.double().requires_grad_(True) for m in case["model"]]
        grads = torch.autograd.grad(_loss(leaves, tokens), leaves)
        for name, gradient in zip(("start", "table", "places"), grads, strict=True):
            because = f"({said}) the gradient of the model's {name}."
            expect_close(found["gradients"][name], gradient, because=because, rtol=1e-4, atol=1e-6)
        expect_equal(found["tokens"], tokens, because=f"({said}) the tokens stay as they are.")


# --- samples -------------------------------------------------------------------------------------------


def _filtered(rows, options, how=""):
    """The probabilities that a draw is made with, for rows of logits."""
    temperature, top = options.get("temperature", 1.0), options.get("top_k")
    k = rows.shape[-1]
    if how == "times temperature":
        rows = rows * temperature
    elif how != "no temperature":
        rows = rows / temperature
    if top is not None and top < k and how != "no top_k":
        order = rows.sort(-1, descending=how != "smallest").values
        out = rows < order[..., top - 1 : top] if how != "smallest" else rows > order[..., top - 1 : top]
        out = rows < order[..., top : top + 1] if how == "one more" else out
        rows = rows.masked_fill(out, {"1e-10": 1e-10, "zero": 0.0}.get(how, -math.inf))
    return rows.softmax(-1).softmax(-1) if how == "softmax twice" else rows.softmax(-1)


def _joint(case, how=""):
    """The probability of every sequence of the case's length, shape (k,) * length."""
    model, length, options = case["model"], case["length"], case["options"]
    k = len(model[0])
    sequences = torch.tensor(list(itertools.product(range(k), repeat=length)))
    rows = _rows(model, sequences[:, :-1])
    if how == "starts with token 0":
        rows = _rows(model, F.pad(sequences[:, :-1], (1, 0)))[:, 1:]
    if how == "first row":
        rows = rows[:, :1].expand_as(rows)
    p = _filtered(rows, options, how)
    p = p.gather(2, sequences[:, :, None])[..., 0]
    if how == "first token 0":
        p[:, 0] = (sequences[:, 0] == 0).double()
    elif how == "first token at random":
        p[:, 0] = 1 / k
    return p.prod(1)


def _joint_of_one(case, image):
    """The probability of every sequence when all images are drawn with what the model says of this one."""
    model, length, options = case["model"], case["length"], case["options"]
    p = _filtered(_rows(model, image[None, :-1]), options)[0]  # length × k
    sequences = torch.tensor(list(itertools.product(range(len(model[0])), repeat=length)))
    return p.gather(1, sequences.T).prod(0)


SAMPLE_WRONG = {
    "times temperature": "multiplied with the temperature: it divides the logits",
    "no temperature": "the temperature has no effect: it isn't used, or it divides probabilities, whose shares stay",
    "no top_k": "top_k isn't used: tokens beyond it are drawn, too",
    "1e-10": "excluded logits are set to about 0 instead of −inf: e⁰ is 1, so excluded tokens are drawn",
    "softmax twice": "two softmaxes: what is drawn from is nearly even",
    "smallest": "top_k keeps the smallest logits",
    "one more": "top_k + 1 tokens are kept",
    "first row": "every token is drawn from the first row of logits: use the last one",
    "starts with token 0": "token 0 serves as a start: row 0 of the model is for the first token, from none at all",
    "first token 0": "the first token isn't drawn: it is always 0",
    "first token at random": "the first token is drawn at random, not from the model's first row",
}
DRAWS = 20_000


def _expect_distribution(case, found, said):
    """The counts of all sequences against their probabilities."""
    k, length = len(case["model"][0]), case["length"]
    right = _joint(case)
    index = torch.zeros(len(found), dtype=torch.int64)
    for place in range(length):
        index = index * k + found[:, place]
    counts = index.bincount(minlength=k**length).double()
    total = len(found)

    def strange(p):
        spread = (total * p * (1 - p)).sqrt()
        return (counts - total * p).abs() - 6.5 * spread - 3 * (p > 0)

    if bool((strange(right) <= 0).all()):
        return
    looks = None
    for how, text in SAMPLE_WRONG.items():
        wrong = _joint(case, how)
        if bool((strange(wrong) <= 0).all()) and not torch.allclose(wrong, right):
            looks = text
            break
    if len(index.unique()) == 1:
        greedy = int(right.argmax()) == int(index[0])
        looks = "always the likeliest token: that is argmax, not a draw" if greedy else "all rows are one and the same"
    elif looks is None and bool((strange(_joint_of_one(case, found[0])) <= 0).all()):
        looks = "every image's token is drawn with the probabilities of the first image"
    elif looks is None and bool(((counts > 0) & (right == 0)).any()):
        looks = "excluded tokens are drawn"
    at = int(strange(right).argmax())
    sequence = [at // k**place % k for place in reversed(range(length))]
    fail(
        expected=f"({said}) the sequence {sequence} in {right[at]:.2%} of {total:,} draws",
        actual=f"in {counts[at] / total:.2%}",
        because="each token is drawn with the model's probabilities, given the tokens before it.",
        looks_like=looks,
    )


def _sample_said(case):
    options = ", ".join(f"{k}={v}" for k, v in case["options"].items())
    return f"n={case['n']}, length={case['length']}" + (f", {options}" if options else "")


@check(
    "sample: tokens in range, the same with the same generator, the model as it was",
    points=6,
    why="Drawing goes token by token; a graph of 64 calls, or dropout while drawing, goes unnoticed.",
)
def test_sample(sandbox):
    wide = _table(6, 10, 70)
    cases = [
        {"model": wide, "n": 30, "length": 8, "options": {}, "seeds": [1, 1, 2, None, None], "training": True},
        {"model": wide, "n": 1, "length": 1, "options": {}, "seeds": [3]},
        {"model": wide, "n": 5, "length": 3, "options": {"top_k": 2}, "seeds": [4, 4], "training": False},
    ]
    for case, found in zip(cases, sandbox.run(probes.drawn, cases), strict=True):
        said = _sample_said(case)
        for run in found["runs"]:
            expect_shape(run, (case["n"], case["length"]), because=f"({said}) n rows of length tokens.")
            expect_dtype(run, torch.int64, because=f"({said}) tokens.")
            inside = bool(((run >= 0) & (run < 6)).all())
            expect(inside, expected=f"({said}) codes 0 … 5", actual=describe(run), because="decode looks them up.")
        because = "dropout while drawing changes the probabilities."
        noisy = any(any(call["training"]) for call in found["calls"])
        wanted, looks = f"({said}) eval mode in every call", "model.eval() is missing, or comes late"
        expect(not noisy, expected=wanted, actual="training mode", because=because, looks_like=looks)
        graph = any(call["grad"] for call in found["calls"])
        because = "64 calls of a graph each: memory for nothing."
        looks = "eval() doesn't switch gradients off"
        expect(not graph, expected=f"({said}) no graph", actual="gradients on", because=because, looks_like=looks)
        because = "the next loss.backward() would find no graph."
        wanted, looks = (
            f"({said}) gradients switched on again afterwards",
            "set_grad_enabled(False) without the way back",
        )
        expect(found["left on"], expected=wanted, actual="still off", because=because, looks_like=looks)
        before = case.get("training", False)
        restored = all(mode is before for mode in found["modes"])
        mode = "training" if before else "eval"
        because = "drawing in between doesn't change how training goes on."
        wanted = f"({said}) {mode} mode afterwards, as before"
        looks = "eval mode isn't left again" if before else "train() at the end, whatever the mode was"
        expect(restored, expected=wanted, actual="the other", because=because, looks_like=looks)
    runs = sandbox.run(probes.drawn, cases[:1])[0]["runs"]
    said = _sample_said(cases[0])
    because = f"({said}) a generator of the same seed repeats the draw, whatever the global state is."
    expect_equal(runs[1], runs[0], because=because, looks_like="the draw doesn't use the generator")
    for other, why in ((runs[2], "another seed"), (runs[3], "no generator")):
        differ = not torch.equal(other, runs[0])
        because = "tokens are drawn at random."
        looks = "argmax, or a generator made anew with a fixed seed"
        wanted = f"({said}) other tokens with {why}"
        expect(differ, expected=wanted, actual="the same", because=because, looks_like=looks)
    fresh = not torch.equal(runs[3], runs[4])
    because = "without a generator torch's global one draws; its seed was another one."
    expect(fresh, expected=f"({said}) other tokens for another torch.manual_seed", actual="the same", because=because)


@check(
    "Draws have the model's probabilities; what top_k leaves out is never drawn",
    points=10,
    why="minGPT once set masked logits to 1e-10, not −inf: in a toy of five tokens, those left out kept 23 %.",
    after=["test_sample"],
)
def test_distribution(sandbox):
    small, flat = _table(4, 5, 80), _table(5, 4, 81, scale=0.4)
    low = [part - 6.0 for part in _table(5, 4, 82)]  # all logits far below 0: what is set to 0 stands out
    models = [
        (small, 3, {}),
        (small, 3, {"temperature": 0.5}),
        (flat, 2, {"temperature": 2.0}),
        (flat, 2, {"top_k": 2}),
        (low, 2, {"top_k": 3, "temperature": 1.5}),
        (small, 3, {"top_k": 1}),
        (small, 3, {"top_k": 4}),
        (small, 3, {"top_k": 9}),
        (low, 2, {"top_k": None}),
        (flat, 2, {"temperature": 0.003}),
    ]
    cases = [
        {"model": model, "n": DRAWS, "length": length, "options": options, "seeds": [90 + i]}
        for i, (model, length, options) in enumerate(models)
    ]
    for case, found in zip(cases, sandbox.run(probes.drawn, cases), strict=True):
        said = _sample_said(case)
        tokens = found["runs"][0]
        expect_shape(tokens, (DRAWS, case["length"]), because=f"({said}) n rows of length tokens.")
        inside = bool(((tokens >= 0) & (tokens < len(case["model"][0]))).all())
        expect(inside, expected="codes of the model", actual=describe(tokens), because=f"({said}) tokens.")
        _expect_distribution(case, tokens, said)


# --- training ------------------------------------------------------------------------------------------

BATCH = 32


def _flat(gradients, names):
    return torch.cat([gradients[name].double().flatten() for name in names])


def _gradient_story(found, names, rights, number):
    """Why the gradient of this step, the first one that is wrong, isn't that of its batch."""
    old, got, right = _flat(found["old"], names), _flat(found["steps"][number]["gradients"], names), rights[number]
    alike = partial(resembles, rtol=1e-3, atol=1e-5)
    if not got.any():
        return "the gradients are cleared between backward() and step()"
    if alike(got, rights[number - 1] if number else old):
        return "step() comes before backward(): each step uses what .grad held before"
    if alike(got, -right):
        return "the sign: the loss grows"
    if not alike(got, old + sum(rights[: number + 1])):
        return None
    second = found["steps"][1]["gradients"]
    cleared = not number and None not in second.values() and alike(_flat(second, names), rights[1])
    if cleared:
        return "what .grad held before train is added to the first batch's: zero_grad() belongs before backward()"
    return "zero_grad() is missing: the gradients of all batches add up"


def _in_a_row(batch, total):
    """Whether a batch is a range of rows, in any order; after the last row comes the first."""
    rows = set(batch)
    return len(rows) == len(batch) and sum((row + 1) % total not in rows for row in rows) == 1


@check(
    "train: steps batches of 32 random rows, each followed by a step on its own gradient",
    points=6,
    why="The budget is fixed; how well it is used depends on the optimizer that you choose.",
    after=["test_loss"],
)
def test_train(sandbox):
    steps, k, t = 40, 4, 6
    tokens = torch.randint(k, (40, t), generator=_random(100))
    tokens[:, 0], tokens[:, 1], tokens[:, 2] = torch.arange(40) // 16, torch.arange(40) // 4 % 4, torch.arange(40) % 4
    model = _table(k, t, 101, scale=0.5)
    found = sandbox.run(probes.watched_training, model, tokens, steps)
    said = f"40 rows of {t} tokens, steps={steps}"
    expect_equal(found["tokens"], tokens, because=f"({said}) the tokens stay as they are.")
    sizes = [call["shape"] for call in found["calls"]]
    because = f"({said}) what the model is given: {BATCH} rows without their last token, {steps} times, nothing else."
    looks = None
    if sizes and all(size[1] == t - 1 for size in sizes):
        looks = "batches of another size" if {size[0] for size in sizes} - {BATCH} else None
        looks = "not steps batches: an epoch or a fixed number" if len(sizes) != steps else looks
    expect_sequence(sizes, [[BATCH, t - 1]] * steps, because=because, looks_like=looks)
    because = f"({said}) one optimizer step for each batch."
    expect_equal(len(found["steps"]), steps, because=because, name="optimizer steps")
    modes = all(all(call["training"]) for call in found["calls"])
    because = f"({said}) the model came in eval mode; train puts it into training mode."
    expect(modes, expected="training mode in every call", actual="eval mode", because=because)
    known = {tuple(row): i for i, row in enumerate(tokens[:, :-1].tolist())}
    drawn = [[known.get(tuple(row)) for row in call["tokens"].tolist()] for call in found["calls"]]
    real = all(i is not None for batch in drawn for i in batch)
    expect(real, expected=f"({said}) rows of the tokens", actual="others", because="the images are what is learned.")
    repeated = len({tuple(sorted(batch)) for batch in drawn}) == 1
    because = f"({said}) each batch is drawn anew."
    looks = "the first rows over and over" if set(drawn[0]) <= set(range(BATCH)) else "drawn once, before the loop"
    expect(
        not repeated,
        expected="different batches",
        actual="one batch, again and again",
        because=because,
        looks_like=looks,
    )
    seen = {i for batch in drawn for i in batch}
    looks = "the first rows over and over" if max(seen) < BATCH else None
    because = f"({said}) rows are drawn at random: 1,280 draws meet each of 40."
    expect_equal(len(seen), 40, because=because, looks_like=looks, name="different rows")
    because = f"({said}) every row is drawn by itself; neighbours in a file are often alike."
    looks = "a slice from a random place" if len({batch[0] for batch in drawn}) > 5 else "slices, one after the other"
    wanted, told = "rows from all over the tokens", "32 neighbouring rows in each batch"
    neighbours = all(_in_a_row(batch, 40) for batch in drawn)
    expect(not neighbours, expected=wanted, actual=told, because=because, looks_like=looks)
    one = len({step["optimizer"] for step in found["steps"]}) == 1
    because = f"({said}) Adam's moments and a momentum live in the optimizer."
    looks = "a new optimizer in each step"
    expect(one, expected="one optimizer for the run", actual="several", because=because, looks_like=looks)
    names = ("start", "table", "places")
    rights = []
    for step, batch in zip(found["steps"], drawn, strict=True):
        expect_equal(sorted(step["held"]), sorted(names), because=f"({said}) it holds all parameters.")
        leaves = [step["parameters"][name].double().requires_grad_(True) for name in names]
        grads = torch.autograd.grad(_loss(leaves, tokens[batch]), leaves)
        rights.append(torch.cat([g.flatten() for g in grads]))
    for number, (step, right) in enumerate(zip(found["steps"], rights, strict=True)):
        missing = [name for name in names if step["gradients"][name] is None]
        because = f"({said}) step {number + 1}: loss.backward() comes before step()."
        looks = "step() comes before backward(), or the loss is detached"
        none = f"none for {', '.join(missing)}"
        expect(not missing, expected="gradients", actual=none, because=because, looks_like=looks)
        got = _flat(step["gradients"], names)
        size = float(got @ right / (right @ right))
        straight = bool((got - size * right).norm() <= 1e-3 * (size * right).norm()) and size > 0
        if not straight:
            fail(
                expected=f"({said}) step {number + 1} on the gradient of its batch",
                actual=f"another one, {float(got.norm()):.3g} long instead of {float(right.norm()):.3g}",
                because="each step follows the mean loss of the batch that was just read, nothing older, not even what "
                ".grad held before train.",
                looks_like=_gradient_story(found, names, rights, number),
            )
        because = f"({said}) step {number + 1}: the gradient's length relative to the mean loss's; clipping may cut it."
        expect_at_most(size, 1.001, because=because, looks_like="the sum of the losses instead of their mean")
    first = found["steps"][0]["parameters"]  # not the last step's: a schedule may end at a rate of 0
    moved = any(not torch.equal(first[name], found["end"][name]) for name in names)
    expect(moved, expected=f"({said}) other parameters than before", actual="the same", because="it learns.")


# --- digits --------------------------------------------------------------------------------------------

IMAGES, UNSEEN, K, SIDE = 4_000, 500, 8, 8
STEPS = 300
BAR = 0.80


def _digits(images):
    """Digits N×1×28×28, bytes, as N×1×8×8 greys from 0 to 1: the mean of 3 × 3 pixels, the edge of 2 left out."""
    return F.avg_pool2d(images[:, :, 2:26, 2:26].float() / 255, 3)


def _entropies(tokens, tests):
    """Nats per token that counting gives on unseen tokens: of all tokens, for each place, after each token."""
    whole = torch.bincount(tokens.flatten(), minlength=K).double() + 1
    place = torch.stack([torch.bincount(column, minlength=K) for column in tokens.T]).double() + 1
    pairs = torch.bincount((tokens[:, :-1] * K + tokens[:, 1:]).flatten(), minlength=K * K).double().view(K, K) + 1

    def logs(p):
        return -(p / p.sum(-1, keepdim=True)).log()

    after = torch.cat([logs(place)[0][tests[:, :1]], logs(pairs)[tests[:, :-1], tests[:, 1:]]], dim=1)
    by_place = logs(place)[torch.arange(tests.shape[1]), tests]
    return float(logs(whole)[tests].mean()), float(by_place.mean()), float(after.mean())


@check(
    "It learns digits: far below the entropy of the codes, and it draws some",
    points=8,
    why="The look of the drawings tells more than the loss: strokes that hold together, holes that close.",
    after=[
        "test_dead_codes",
        "test_kmeans",
        "test_tokens",
        "test_attention",
        "test_places",
        "test_fresh",
        "test_distribution",
        "test_train",
    ],
)
def test_digits(sandbox, data):
    digits = data("mnist")
    images, _ = digits.sample("train", IMAGES, seed=110)
    unseen, _ = digits.sample("test", UNSEEN, seed=111)
    images, unseen = _digits(images), _digits(unseen)
    found = sandbox.run(probes.learned, images, unseen, K, 8, STEPS, {}, 16)
    budget = f"{STEPS} steps of {BATCH} digits of {SIDE} × {SIDE} pixels in {K} greys"
    expect_at_most(found["count"], STEPS * BATCH, because=f"The budget: {budget}.", unit=" images read")
    codes = expect_tensor(found["codes"], because="kmeans gives the codes.")
    tests, tokens = _tokens(unseen, codes), _tokens(images, codes)
    agree = float((found["tests"] == tests).double().mean())
    expect_at_least(agree, 0.999, because="the share of unseen pixels that encode gives their nearest code.")
    expect_shape(found["logits"], (*tests.shape, K), because="T + 1 rows for T tokens.")
    logits = found["logits"].double()
    first = logits[:4, :2].float()
    because = "rows for a prefix, as in the middle of drawing, against those for the whole image."
    expect_close(found["prefix"], first, because=because, rtol=1e-3, atol=1e-4)
    loss = float(F.cross_entropy(logits.flatten(0, 1), tests.flatten()))
    whole, by_place, after = _entropies(tokens, tests)
    sandbox.measure("loss / entropy", round(loss / whole, 4))
    sandbox.note(
        f"{loss:.3f} nats per unseen pixel; guessing costs ln {K} = {math.log(K):.3f}, counting codes {whole:.3f}, "
        f"counting them at each place {by_place:.3f}, after each code {after:.3f}"
    )
    shown = _images(tests[:8], codes, SIDE, SIDE)[:, 0]
    pictures = found["pictures"]
    expect_shape(pictures, (16, 1, SIDE, SIDE), because="decode makes images of the samples.")
    samples = found["samples"]
    inside = type(samples) is torch.Tensor and bool(((samples >= 0) & (samples < K)).all())
    expect(inside, expected=f"codes 0 … {K - 1}", actual=describe(samples), because="decode looks them up.")
    different = len({tuple(row) for row in samples.tolist()})
    expect_at_least(different, 12, because="16 drawings: each is drawn by itself.", unit=" different ones")
    title = "First row: unseen digits in eight greys. Below: drawn by the model."
    sandbox.picture(title, torch.cat([shown, pictures[:, 0]]), per_row=8)
    looks, rate = None, f" (or the learning rate is too small or too large for {STEPS} steps)"
    if loss > 0.97 * whole:
        looks = (
            "no better than counting codes: the model doesn't learn, or from other tokens than it is tested on" + rate
        )
    elif loss > 0.97 * by_place:
        looks = "about what counting codes at each place gives: the tokens before are hardly used yet" + rate
    expect_at_most(
        loss / whole,
        BAR,
        because=f"{budget}. The loss on unseen digits relative to the entropy of the codes; counting the codes at each "
        f"place alone gives {by_place / whole:.2f}, so that the rest is what the model reads from the pixels before.",
        looks_like=looks,
    )

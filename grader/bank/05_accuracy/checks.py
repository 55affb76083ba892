"""Checks for the metrics. The oracles are slow loops over Python lists, written from the statement alone."""

from __future__ import annotations

import math

import torch

from grader.checking import (
    check,
    describe,
    expect,
    expect_at_most,
    expect_close,
    expect_dtype,
    expect_equal,
    expect_shape,
    expect_type,
    fail,
    misconception,
    resembles,
)

from . import probes

FLOAT = "a metric goes into logs, JSON and comparisons: it has to be a Python float, not a tensor or an int."
NAN = float("nan")


def _draw(n, classes, seed, ties=False, known=0.5, wanted=None):
    """Random logits and targets; about `known` of the targets are made the largest logit. `ties` rounds them."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=g)
    pool = torch.tensor(list(range(classes)) if wanted is None else wanted)
    targets = pool[torch.randint(len(pool), (n,), generator=g)]
    lucky = torch.rand(n, generator=g) < known
    logits[lucky, targets[lucky]] += 2.5
    if ties:
        logits = logits.round().clamp(-1, 1)
    return logits, targets


# --- oracles: one example after the other --------------------------------------------------------------


def _ranking(row):
    """The classes from the largest logit to the smallest; among equals the smaller index first."""
    return sorted(range(len(row)), key=lambda c: (-row[c], c))


def _pairs(logits, targets, ignore=None):
    """(ranking, target) of each example that counts."""
    rows = zip(logits.double().tolist(), targets.tolist(), strict=True)
    return [(_ranking(row), t) for row, t in rows if ignore is None or t != ignore]


def _topk(logits, targets, k, ignore=None):
    hits = [t in ranking[:k] for ranking, t in _pairs(logits, targets, ignore)]
    return sum(hits) / len(hits) if hits else NAN


def _accuracy(logits, targets, ignore=None):
    return _topk(logits, targets, 1, ignore)


def _matrix(logits, targets, ignore=None):
    classes = logits.shape[1]
    cells = [[0] * classes for _ in range(classes)]
    for ranking, t in _pairs(logits, targets, ignore):
        cells[t][ranking[0]] += 1
    return torch.tensor(cells)


def _recall(matrix):
    rows = matrix.tolist()
    return torch.tensor([row[i] / sum(row) if sum(row) else NAN for i, row in enumerate(rows)])


def _f1s(matrix):
    """F1 by class; None for a class that doesn't occur."""
    rows, found = matrix.tolist(), []
    for i, row in enumerate(rows):
        tp, fn = row[i], sum(row) - row[i]
        fp = sum(other[i] for other in rows) - tp
        found.append(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None)
    return found


def _macro_f1(matrix):
    found = [f for f in _f1s(matrix) if f is not None]
    return sum(found) / len(found) if found else NAN


def _summary(batches, k, ignore=None):
    """What compute() has to say after these batches."""
    logits = torch.cat([x.double() for x, _ in batches])
    targets = torch.cat([y.long() for _, y in batches])
    matrix = _matrix(logits, targets, ignore)
    return {
        "accuracy": _accuracy(logits, targets, ignore),
        "topk_accuracy": _topk(logits, targets, k, ignore),
        "per_class_recall": _recall(matrix),
        "macro_f1": _macro_f1(matrix),
    }


# --- comparing -----------------------------------------------------------------------------------------


def _near(value, guess):
    return resembles(value, guess, rtol=0, atol=1e-6)


def _named(value, right, guesses):
    return misconception(value, right, guesses, rtol=0, atol=1e-6)


def _expect_ratio(value, right, because, looks_like=None):
    """A Python float, equal to a ratio of two counts (or nan)."""
    looks = looks_like
    if type(value) is torch.Tensor:
        looks = "the .item() is missing"
    expect_type(value, float, because=FLOAT, looks_like=looks)
    if not _near(value, right):
        fail(expected=f"{right:.6g}", actual=f"{value:.6g}", because=because, looks_like=looks_like)


def _expect_matrix(matrix, right, because, looks_like=None):
    classes = len(right)
    shape = "C comes from the logits: a class that doesn't occur has a row and a column of zeros."
    expect_shape(matrix, (classes, classes), because=shape)
    counts = "these are counts: floats lose whole numbers above 2**24, small integers overflow."
    expect_dtype(matrix, torch.int64, because=counts)
    looks = looks_like
    if torch.equal(matrix, right.t()) and not torch.equal(right, right.t()):
        looks = "transposed: rows are the truth, columns the predictions"
    elif torch.equal(matrix, right.clamp(max=1)):
        looks = "each cell was set once instead of counted: `m[t, p] += 1` doesn't add up repeated pairs"
    elif int(matrix.sum()) != int(right.sum()):
        because += f" The matrix has to sum to {int(right.sum())}, the examples that count; it has {int(matrix.sum())}."
    expect_close(matrix, right, because=because, looks_like=looks, rtol=0, atol=0)


def _expect_recall(value, right, because, looks_like=None):
    expect_shape(value, tuple(right.shape), because="one recall for each class.")
    expect(
        value.is_floating_point(),
        expected="a float tensor",
        actual=f"dtype {value.dtype}",
        because="a recall is a fraction, and an integer can't be nan.",
    )
    if looks_like is None and bool((value == 0)[right.isnan()].any()):
        looks_like = "0 for a class without examples; nothing is known about it, so it has to be nan"
    expect_close(value, right, because=because, looks_like=looks_like, rtol=1e-5, atol=1e-6)


def _expect_summary(found, right, because, looks_like=None, skip=()):
    names = ["accuracy", "macro_f1", "per_class_recall", "topk_accuracy"]
    if not isinstance(found, dict):
        fail(expected="a dict with " + ", ".join(names), actual=describe(found), because="compute() returns it.")
    expect_equal(sorted(found), names, because="compute() returns a dict with exactly these four entries.")
    for name in ("accuracy", "topk_accuracy", "macro_f1"):
        _expect_ratio(found[name], right[name], f"{name} {because}", (looks_like or {}).get(name))
    _expect_recall(found["per_class_recall"], right["per_class_recall"], f"per_class_recall {because}")


# --- the functions -------------------------------------------------------------------------------------


@check(
    "accuracy is the fraction of examples whose largest logit is at the target",
    points=10,
    why="The most quoted number of all; still, its type and its denominator go wrong often.",
)
def test_accuracy(sandbox):
    drawn = [_draw(6, 6, 6), _draw(7, 3, 1), _draw(1, 4, 2, known=1.0), _draw(1, 4, 3, known=0.0), _draw(301, 10, 4)]
    drawn += [(drawn[4][0] - 9.0, drawn[4][1]), _draw(64, 2, 5)]
    found = sandbox.run(probes.accuracies, [(x, y, {}) for x, y in drawn])
    for (x, y), value in zip(drawn, found, strict=True):
        right = _accuracy(x, y)
        columns = x.argmax(dim=0)
        guesses = {
            "a percentage: fractions are asked for": 100 * right,
            "argmin instead of argmax": _accuracy(-x, y),
            "1 - accuracy: this is the error rate": 1 - right,
            "the number of hits; it isn't divided by N": right * len(y),
            "divided by C, or by N * C, instead of N": right / x.shape[1],
            "argmax over dimension 0, the examples; the classes are dimension 1": NAN
            if len(columns) != len(y)
            else (columns == y).double().mean().item(),
        }
        because = f"for logits of shape {tuple(x.shape)}: {round(right * len(y))} of {len(y)} examples are hits."
        _expect_ratio(value, right, because, _named(value, right, guesses))


@check(
    "topk_accuracy looks for the target among the k largest logits",
    points=10,
    why="Top-5 is the classic ImageNet number, and a small exercise in broadcasting.",
)
def test_topk(sandbox):
    cases = []
    for i, (n, classes, k) in enumerate([(50, 10, 1), (41, 10, 3), (1, 6, 2), (30, 5, 5), (30, 4, 9), (80, 20, 5)]):
        x, y = _draw(n, classes, 10 + i, known=0.3)
        cases.append((x, y, {"k": k}))
    cases.append((*_draw(200, 12, 17, known=0.2), {}))  # enough examples for k = 4, 5 and 6 to differ
    found = sandbox.run(probes.topk_accuracies, cases)
    for (x, y, kwargs), value in zip(cases, found, strict=True):
        k = kwargs.get("k", 5)
        right = _topk(x, y, k)
        guesses = {
            "divided by N * k": right / k,
            "only position k was looked at, not all k": right - _topk(x, y, k - 1),
            "k isn't used: this is the top-5 accuracy": _topk(x, y, 5),
            "this is the top-1 accuracy": _accuracy(x, y),
            "the k smallest logits were taken": _topk(-x, y, k),
            "one too many: the k + 1 largest": _topk(x, y, k + 1),
            "one too few: the k - 1 largest": _topk(x, y, k - 1),
        }
        said = f"k={k}" if kwargs else "the default k=5"
        because = f"with {said} and {x.shape[1]} classes, a hit is a target among the {k} largest logits of its row."
        _expect_ratio(value, right, because, _named(value, right, guesses))


@check(
    "confusion_matrix counts: rows are the truth, columns the predictions",
    points=10,
    why="All other classification metrics follow from it; a transposed one turns recall into precision.",
)
def test_confusion_matrix(sandbox):
    drawn = [
        _draw(40, 3, 30),
        _draw(200, 7, 31, wanted=[0, 2, 5]),
        _draw(1, 4, 32),
        _draw(60, 5, 33, known=1.0, wanted=[1, 1, 3]),
        _draw(500, 25, 34),
    ]
    found = sandbox.run(probes.matrices, [(x, y, {}) for x, y in drawn])
    for (x, y), matrix in zip(drawn, found, strict=True):
        classes = x.shape[1]
        absent = sorted(set(range(classes)) - set(y.tolist()))
        because = f"N={len(y)}, C={classes}" + (f", targets without {absent}" if absent else "")
        because = f"({because}) entry [i, j] is the number of examples of class i predicted as class j."
        looks = None
        if type(matrix) is torch.Tensor and matrix.is_floating_point() and matrix.shape == (classes, classes):
            sums = [float(s) for s in (matrix.sum(), matrix.nansum(dim=1).max())]
            if any(abs(s - 1) < 1e-4 for s in sums) and len(y) > 1:
                looks = "normalised: counts are asked for"
        if looks:
            fail(expected="counts", actual="fractions", because=because, looks_like=looks)
        _expect_matrix(matrix, _matrix(x, y), because)


@check(
    "Among equal logits the smaller class comes first",
    points=5,
    why="A dead network outputs ties only. With a loose tie rule it scores 100 % in top-5.",
    after=["test_accuracy", "test_topk", "test_confusion_matrix"],
)
def test_ties(sandbox):
    constant = (torch.zeros(12, 10), torch.arange(12) % 10)
    cases = [(constant, k) for k in (1, 5)]
    cases += [(_draw(n, c, 20 + c, ties=True, known=0.2), k) for n, c in ((90, 6), (70, 16)) for k in (1, 3, 5)]
    both = sandbox.run(probes.everything, [(x, y, k, None) for (x, y), k in cases])
    for ((x, y), k), found in zip(cases, both, strict=True):
        what = "all logits equal" if not x.any() else f"logits in {{-1, 0, 1}}, {x.shape[1]} classes"
        right = _accuracy(x, y)
        by_value = (x.gather(1, y[:, None])[:, 0] == x.amax(1)).double().mean().item()
        guesses = {
            "the last of equal maxima wins; the first has to": _accuracy(x.flip(1), x.shape[1] - 1 - y),
            "every tie is a hit: the target's logit was compared with the maximum": by_value,
        }
        because = f"({what}) of several largest logits the one with the smallest index is the prediction."
        _expect_ratio(found["accuracy"], right, because, _named(found["accuracy"], right, guesses))
        at_target = x.gather(1, y[:, None])
        above, level = (x > at_target).sum(1), (x >= at_target).sum(1)
        guesses = {
            "every tie is a hit: only strictly larger logits were counted": (above < k).double().mean().item(),
            "every tie is a miss: equal logits count as larger": (level <= k).double().mean().item(),
            "torch.topk leaves the order of ties open; a stable sort doesn't": (
                (x.topk(min(k, x.shape[1]), dim=1).indices == y[:, None]).any(1).double().mean().item()
            ),
        }
        right = _topk(x, y, k)
        because = f"({what}, k={k}) equal logits are ranked by class index, so that k=1 gives the accuracy."
        _expect_ratio(found["topk_accuracy"], right, because, _named(found["topk_accuracy"], right, guesses))
        because = f"({what}) the matrix uses the same prediction as accuracy."
        _expect_matrix(found["confusion_matrix"], _matrix(x, y), because)


def _given_matrices():
    return [
        torch.tensor([[5, 1, 0], [2, 7, 3], [0, 0, 4]]),
        torch.tensor([[3, 0, 1, 0], [0, 0, 0, 0], [2, 0, 6, 1], [0, 0, 0, 0]]),
        torch.tensor([[0, 9], [0, 1]]),
        torch.tensor([[40, 0, 0], [3, 0, 0], [0, 0, 0]]),
        _matrix(*_draw(300, 8, 40, known=0.4, wanted=[0, 0, 0, 1, 2, 4, 6])),
        torch.zeros(3, 3, dtype=torch.int64),
    ]


@check(
    "per_class_recall divides the diagonal by the row sums; nan without examples",
    points=10,
    why="Overall accuracy hides a class that is never found; recall by class shows it.",
)
def test_recall(sandbox):
    given = _given_matrices()
    for matrix, value in zip(given, sandbox.run(probes.recalls, given), strict=True):
        right, looks = _recall(matrix), None
        if type(value) is torch.Tensor and value.shape == right.shape:
            counts = matrix.double()
            precision = counts.diagonal() / counts.sum(0)
            same = {"rtol": 1e-5, "atol": 1e-6, "equal_nan": True}
            if torch.allclose(value.double().nan_to_num(0), precision.nan_to_num(0), **same):
                looks = "this is the precision: divided by the column sums, the predictions"
            elif torch.allclose(value.double(), counts.diagonal() / counts.sum(), **same):
                looks = "divided by the sum of the whole matrix; each class has its own denominator"
        shown = matrix.tolist() if len(matrix) < 5 else "a matrix of 8 classes"
        because = f"{shown}: class i was found matrix[i, i] times out of the sum of row i."
        _expect_recall(value, right, because, looks)


def _f1_guesses(matrix):
    counts = matrix.double()
    tp, rows, columns = counts.diagonal(), counts.sum(1), counts.sum(0)
    f1 = torch.tensor([NAN if f is None else f for f in _f1s(matrix)], dtype=torch.float64)
    precision, recall = tp / columns, tp / rows
    p, r = precision.nanmean(), recall.nanmean()
    known = (rows > 0) & (columns > 0)
    guesses = {
        "classes that don't occur at all count as 0 in the mean": f1.nan_to_num(0).mean(),
        "only classes with examples are averaged; one that is only predicted counts, too, with 0": f1[rows > 0].mean(),
        "classes whose precision or recall is 0 / 0 are dropped; only those that don't occur at all may be": f1[
            known
        ].mean(),
        "classes with an F1 of 0 are dropped as well": f1[f1 > 0].mean(),
        "F1 of the mean precision and the mean recall; average the F1 of the classes": 2 * p * r / (p + r),
        "this is micro-F1, which equals the accuracy": tp.sum() / counts.sum(),
        "weighted by the number of examples of each class; macro means unweighted": (f1.nan_to_num(0) * rows).sum()
        / rows.sum(),
        "TP / (TP + FP + FN) is the IoU, not F1": (tp / (rows + columns - tp))[rows + columns > 0].mean(),
        "this is the mean recall": r,
        "this is the mean precision": p,
        "the mean of precision and recall is arithmetic; F1 is the harmonic mean": (
            (precision.nan_to_num(0) + recall.nan_to_num(0)) / 2
        )[rows + columns > 0].mean(),
        "the factor 2 in the numerator is missing": (tp / (rows + columns))[rows + columns > 0].mean(),
    }
    return {text: float(value) for text, value in guesses.items()}


@check(
    "macro_f1 is the plain mean over the classes that occur",
    points=10,
    why="Libraries differ in how they treat absent classes; you have to know what your number says.",
)
def test_macro_f1(sandbox):
    given = _given_matrices()
    found = sandbox.run(probes.macro_f1s, given)
    rights = [_macro_f1(matrix) for matrix in given]
    explained = None
    guesses = [_f1_guesses(matrix) for matrix in given]
    for text in guesses[0]:
        if all(_near(value, g[text]) for value, g in zip(found, guesses, strict=True)):
            explained = text
            break
    for matrix, value, right in zip(given, found, rights, strict=True):
        shown = matrix.tolist() if len(matrix) < 5 else "a matrix of 8 classes"
        by_class = ["left out" if f is None else f"{f:.3f}" for f in _f1s(matrix)]
        because = f"{shown}: the F1 by class is {', '.join(by_class)}; their mean is asked for."
        _expect_ratio(value, right, because, explained)


# --- ignoring, nothing, types --------------------------------------------------------------------------


@check(
    "Examples whose target is ignore_index count nowhere",
    points=10,
    why="Unlabelled pixels and padding are everywhere; in the denominator they spoil every number silently.",
    after=["test_accuracy", "test_topk", "test_confusion_matrix"],
)
def test_ignore_index(sandbox):
    cases = []
    for i, ignore in enumerate((-100, 255, 0, 2, -1)):
        x, y = _draw(70 + i, 5, 50 + i, known=0.4)
        if ignore not in range(5):
            y[torch.rand(len(y), generator=torch.Generator().manual_seed(i)) < 0.35] = ignore
        cases.append((x, y, 2, ignore))
    for (x, y, k, ignore), found in zip(cases, sandbox.run(probes.everything, cases), strict=True):
        count = int((y != ignore).sum())
        because = f"with ignore_index={ignore}, {len(y) - count} of {len(y)} examples don't count; {count} do."
        for name, right in (("accuracy", _accuracy(x, y, ignore)), ("topk_accuracy", _topk(x, y, k, ignore))):
            guesses = {
                "the ignored examples are still in the denominator": right * count / len(y),
                "ignore_index has no effect": _topk(x, y, 1 if name == "accuracy" else k),
                "the ignored examples were turned into examples of class 0": _topk(
                    x, torch.where(y == ignore, 0, y), 1 if name == "accuracy" else k
                ),
                "examples that are predicted as the ignored class were dropped, too": _topk(
                    x[x.argmax(1) != ignore], y[x.argmax(1) != ignore], 1 if name == "accuracy" else k, ignore
                ),
                "ignored examples count as hits": (right * count + len(y) - count) / len(y),
            }
            _expect_ratio(found[name], right, f"{name}: {because}", _named(found[name], right, guesses))
        right = _matrix(x, y, ignore)
        looks, matrix = None, found["confusion_matrix"]
        if type(matrix) is torch.Tensor and matrix.shape == right.shape and ignore in range(5):
            without = right.clone()
            without[:, ignore] = 0
            if torch.equal(matrix.long(), without):
                looks = f"predictions of class {ignore} are dropped as well; only the target decides"
        elif type(matrix) is torch.Tensor and int(matrix.sum()) == len(y):
            looks = "the ignored examples were put into some cell"
        _expect_matrix(matrix, right, f"confusion_matrix: {because}", looks)


@check(
    "With nothing to count the answer is nan, not 0 and not an error",
    points=5,
    why="An empty shard or a fully ignored image must not end an evaluation, or look like a failure.",
    after=["test_accuracy", "test_topk", "test_confusion_matrix"],
)
def test_nothing_to_count(sandbox):
    ignored = torch.full((6,), -100)
    cases = [(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 2, None), (_draw(6, 4, 60)[0], ignored, 2, -100)]
    for what, found in zip(("no examples", "all examples ignored"), sandbox.run(probes.everything, cases), strict=True):
        for name in ("accuracy", "topk_accuracy"):
            looks = "0.0 says that the model was always wrong" if found[name] == 0 else None
            _expect_ratio(found[name], NAN, f"({what}) 0 hits out of 0: unknown, so {name} is nan.", looks)
        because = f"({what}) the matrix has its usual shape, and only zeros."
        _expect_matrix(found["confusion_matrix"], torch.zeros(4, 4, dtype=torch.int64), because)


@check(
    "Integer and float types of every size give the same answers",
    points=5,
    why="Labels are stored as uint8, logits come in float16: arithmetic in those types wraps around and rounds.",
    after=["test_accuracy", "test_topk", "test_confusion_matrix"],
)
def test_dtypes(sandbox):
    x, y = _draw(601, 30, 70, known=0.6)
    plain = [(torch.float64, torch.int64), (torch.float16, torch.int64), (torch.bfloat16, torch.int16)]
    plain += [(torch.float32, torch.int32), (torch.float32, torch.uint8)]
    kinds = [(*kind, False) for kind in plain] + [(torch.float32, torch.int64, True)]
    cases = [(x.to(a), y.to(b), strided) for a, b, strided in kinds]
    kinds.append((torch.float32, torch.int64, False))
    cases.append((x + 100, y, False))
    for (a, b, strided), case, found in zip(kinds, cases, sandbox.run(probes.functions, cases), strict=True):
        said = f"logits {a}, targets {b}" + (", views that aren't contiguous" if strided else "")
        said = said.replace("torch.", "") + ", 30 classes, 601 examples"
        said += ", all logits near 100" if case[0].min() > 50 else ""
        looks = None
        if b == torch.uint8:
            looks = "target * C overflows in uint8, or uint8 targets were used as an index, where they are a mask"
        elif a in (torch.float16, torch.bfloat16):
            looks = "the hits were averaged in half precision; count them as integers"
        for name, right in (("accuracy", _accuracy(*case[:2])), ("topk_accuracy", _topk(*case[:2], 3))):
            _expect_ratio(found[name], right, f"{name} ({said}) depends on the values, not on their type.", looks)
        looks = looks if b == torch.uint8 else None
        _expect_matrix(found["confusion_matrix"], _matrix(*case[:2]), f"({said}) counts of int64.", looks)


@check(
    "The inputs stay as they are",
    points=5,
    why="The caller computes the loss from the same tensors afterwards.",
    after=["test_ignore_index", "test_recall", "test_macro_f1"],
)
def test_inputs_untouched(sandbox):
    x, y = _draw(30, 3, 80)
    y[::4] = -100
    found = sandbox.run(probes.inputs_afterwards, x, y, -100)
    given = {name: [x, y] for name in found}
    given["per_class_recall"] = given["macro_f1"] = [torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 5]])]
    for name, tensors in found.items():
        for what, before, after in zip(
            ("logits", "targets") if len(tensors) == 2 else ("matrix",), given[name], tensors, strict=True
        ):
            changed = int((before != after).sum())
            expect(
                torch.equal(before, after),
                expected=f"{what} unchanged by {name}",
                actual=f"{changed} of {before.numel()} values changed in place",
                because="a metric only looks; what it changes is wrong for whoever uses the tensor next.",
                looks_like="an assignment into the caller's tensor, such as targets[mask] = 0",
            )


# --- streaming -----------------------------------------------------------------------------------------


@check(
    "Streaming over unequal batches equals one pass over everything",
    points=10,
    why="The mean of batch means is the most common wrong accuracy there is.",
    after=["test_accuracy", "test_topk", "test_recall", "test_macro_f1"],
)
def test_streaming_matches_whole(sandbox):
    x, y = _draw(157, 6, 90, known=0.5, wanted=[0, 0, 1, 2, 3, 5])
    easy = torch.arange(150, 157)  # the last, small batch is unlike the others
    x[easy] -= 6.0 * torch.nn.functional.one_hot(y[easy], 6)
    y[::9] = 255
    y[64:74] = 255  # one batch is ignored as a whole
    sizes = {"64 + 10 + 76 + 7": [64, 10, 76, 7], "one batch": [157], "50 + 50 + 50 + 7": [50, 50, 50, 7]}
    orders = [list(zip(x.split(cut), y.split(cut), strict=True)) for cut in sizes.values()]
    orders.append(orders[0][::-1])
    names = [*sizes, "7 + 76 + 10 + 64"]
    right = _summary([(x, y)], 2, 255)
    for name, batches, found in zip(names, orders, sandbox.run(probes.streamed, 6, 2, 255, orders), strict=True):
        looks = {}
        for metric in ("accuracy", "topk_accuracy", "macro_f1"):
            parts = [_summary([b], 2, 255)[metric] for b in batches]
            known = [p for p in parts if not math.isnan(p)]
            weighted = [p * len(b[1]) for p, b in zip(parts, batches, strict=True) if not math.isnan(p)]
            guesses = {
                "the mean of the batches' values: a small batch weighs as much as a large one": sum(known) / len(known),
                "the ignored examples are in the denominator": right[metric] * float((y != 255).double().mean()),
                "only the last batch": parts[-1],
                "only the first batch": parts[0],
                "a batch in which everything is ignored put a nan into a sum": NAN,
                "weighted by the size of the batch; what counts is the number of examples not ignored": sum(weighted)
                / len(y),
            }
            value = found.get(metric) if isinstance(found, dict) else None
            looks[metric] = _named(value, right[metric], guesses)
        because = f"after batches of {name}, with ignore_index=255, is that of all 157 examples at once."
        _expect_summary(found, right, because, looks)
    many = _draw(200, 12, 91, known=0.2)
    (found,) = sandbox.run(probes.streamed, 12, None, 3, [[many]])
    right = _summary([many], 5, 3)
    guesses = {f"the default k is {k}, not 5": _topk(*many, k, 3) for k in (1, 2, 3, 4, 6, 10)}
    share = len(many[1]) / int((many[1] != 3).sum())
    guesses["the top-k hits of ignored examples are counted, too"] = _topk(*many, 5) * share
    value = found.get("topk_accuracy") if isinstance(found, dict) else None
    looks = {"topk_accuracy": _named(value, right["topk_accuracy"], guesses)}
    because = "of StreamingMetrics(12, ignore_index=3): k is 5 when none is given, and class 3 counts nowhere."
    _expect_summary(found, right, because, looks)


@check(
    "compute changes nothing, reset forgets, instances share nothing",
    points=5,
    why="Metrics live as long as training: train and validation side by side, reset every epoch, logged in between.",
    after=["test_streaming_matches_whole"],
)
def test_streaming_state(sandbox):
    first, second = _draw(40, 5, 100, known=0.8), _draw(23, 5, 101, known=0.2)
    nothing = (torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    found = sandbox.run(probes.life_of_an_instance, 5, 3, first, second, nothing)
    expected = {
        "before any update": ([nothing], "is nan: nothing has been seen"),
        "after the first batch": ([first], "knows the first batch only, not what another instance was given"),
        "asked a second time": ([first], "is the same when compute() is called again"),
        "after an empty batch": ([first], "isn't changed by a batch of size 0"),
        "after the second batch": ([first, second], "goes on after compute(): both batches count"),
        "in the other instance": ([second], "belongs to that instance: it was given the second batch only"),
        "after reset": ([nothing], "is nan again after reset()"),
        "after reset and the second batch": ([second], "is that of the second batch; reset() forgot the first"),
        "in the other instance, at the end": ([second], "isn't touched by another instance's reset()"),
    }
    before = None
    for moment, (batches, text) in expected.items():
        now, right = found["moments"][moment], _summary(batches, 3)
        looks = _state_misconceptions(now, right, before, moment, first, second)
        _expect_summary(now, right, f"({moment}) {text}.", looks)
        before = now
    for which, given, after in zip(("first", "second"), (first, second), found["batches"], strict=True):
        expect(
            torch.equal(given[0], after[0]) and torch.equal(given[1], after[1]),
            expected=f"the {which} batch as it was before update()",
            actual="logits or targets changed in place",
            because="the caller computes the loss from the same tensors.",
        )


def _state_misconceptions(now, right, before, moment, first, second):
    """By metric the mistake that would give the value of this moment."""
    looks = {}
    for metric in ("accuracy", "topk_accuracy", "macro_f1"):
        guesses = {}
        if "reset" in moment:
            kept = [first, second] + [second] * ("second" in moment)
            guesses["reset() leaves the counts as they are"] = _summary(kept, 3)[metric]
        elif moment == "after the second batch":
            guesses["compute() resets the counts"] = _summary([second], 3)[metric]
        elif moment == "asked a second time":
            guesses["compute() resets the counts"] = NAN
        if "instance" in moment or moment == "after the first batch":
            shared = "the state lies in the class body, or in a global: all instances use the same one"
            guesses[shared] = _summary([first, second], 3)[metric]
        if before is not None:
            guesses["compute() repeats its previous answer instead of computing anew"] = before[metric]
        looks[metric] = _named(now.get(metric) if isinstance(now, dict) else None, right[metric], guesses)
        if looks[metric] is None and "reset" in moment and metric == "topk_accuracy":
            looks[metric] = "reset() leaves the count of top-k hits standing"
    return looks


@check(
    "The cost doesn't grow with a loop over examples, nor the memory with the batches",
    points=5,
    why="A Python loop over 50,000 validation images takes longer than the network; stored logits fill the memory.",
    after=["test_streaming_matches_whole"],
)
def test_cost(sandbox):
    classes, small, large = 50, 40, 400
    batches = [_draw(n, classes, 110) for n in (small, large)]
    found = sandbox.run(probes.cost_and_memory, batches, 6, _draw(32, 6, 111), [3, 40])
    for name, (few, many) in found["cost"].items():
        for what, said in (("operations", "tensor operations"), ("lines", "lines of Python")):
            expect(
                many[what] <= 1.5 * few[what] + 30,
                expected=f"about as many {said} in {name} for {large} examples as for {small}, {few[what]}",
                actual=f"{many[what]} {said}",
                because="the work by example has to be done inside a few tensor operations.",
                looks_like="a Python loop, or comprehension, over the examples",
            )
        expect_at_most(
            many["largest"],
            8 * large * classes,
            because=f"in {name} the largest intermediate may be a few times the logits, {large * classes} numbers.",
            looks_like="a product of two one-hot tensors by broadcasting: N·C·C numbers",
            unit=" numbers",
        )
    held = found["held"]
    expect(
        held[1] <= held[0] + 60,
        expected=f"about as much kept by StreamingMetrics after 40 batches as after 3: {held[0]} values",
        actual=f"{held[1]} values",
        because="a validation set may not fit into memory; counts always do.",
        looks_like="all batches are stored in a list until compute()",
    )

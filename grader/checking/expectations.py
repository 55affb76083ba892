"""Expectations on evidence: each raises `Mismatch`, saying what was expected, what came and why it matters.

They accept anything that may come out of a worker, `Opaque` stand-ins and None included, and never raise
anything but `Mismatch`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from grader.checking.details import Rows, of_pair, of_tensor
from grader.checking.values import Opaque, article, describe, shorten


class Mismatch(AssertionError):
    """Evidence that isn't what a correct solution gives."""

    def __init__(
        self, *, expected: str, actual: str, because: str, looks_like: str | None = None, details: Rows = ()
    ) -> None:
        super().__init__(f"expected {expected}; got {actual}")
        self.expected = expected
        self.actual = actual
        self.because = because
        self.looks_like = looks_like
        self.details = details


def fail(*, expected: str, actual: str, because: str, looks_like: str | None = None, details: Rows = ()) -> NoReturn:
    """Ends the check as failed. `details` are rows of label and text for those who want to know more."""
    raise Mismatch(expected=expected, actual=actual, because=because, looks_like=looks_like, details=details)


def expect(condition: bool, *, expected: str, actual: str, because: str, looks_like: str | None = None) -> None:
    """Fails unless `condition` holds."""
    if not condition:
        fail(expected=expected, actual=actual, because=because, looks_like=looks_like)


def expect_tensor(value: Any, *, because: str, looks_like: str | None = None, name: str = "") -> Any:
    """Returns the value when it is a plain CPU tensor; fails with its type named otherwise."""
    import torch

    if type(value) is torch.Tensor:
        return value
    of = f" for {name}" if name else ""
    fail(expected=f"a torch.Tensor{of}", actual=describe(value), because=because, looks_like=looks_like)


def expect_shape(value: Any, shape: Sequence[int | None], *, because: str, looks_like: str | None = None) -> None:
    """Fails unless `value` is a tensor of this shape; None in `shape` matches any size."""
    import torch

    wanted = tuple(shape)
    said = "(" + ", ".join("any" if n is None else str(n) for n in wanted) + ("," if len(wanted) == 1 else "") + ")"
    if type(value) is not torch.Tensor:
        fail(
            expected=f"a tensor of shape {said}",
            actual=describe(value),
            because=because,
            looks_like=looks_like,
        )
    got = tuple(value.shape)
    if len(got) != len(wanted) or any(w is not None and w != g for w, g in zip(wanted, got, strict=True)):
        fail(
            expected=f"shape {said}",
            actual=f"shape {got}",
            because=because,
            looks_like=looks_like,
            details=of_tensor(value),
        )


def expect_dtype(value: Any, dtype: Any, *, because: str, looks_like: str | None = None) -> None:
    """Fails unless `value` is a tensor of this dtype."""
    expect_tensor(value, because=because, looks_like=looks_like)
    if value.dtype != dtype:
        fail(
            expected=f"dtype {dtype}",
            actual=f"dtype {value.dtype}",
            because=because,
            looks_like=looks_like,
            details=of_tensor(value),
        )


def expect_finite(value: Any, *, because: str, looks_like: str | None = None) -> None:
    """Fails unless the tensor or number holds neither NaN nor infinity."""
    import torch

    if isinstance(value, (int, float)) and not isinstance(value, bool):
        ok, actual = math.isfinite(value), describe(value)
    else:
        expect_tensor(value, because=because, looks_like=looks_like)
        bad = ~torch.isfinite(value)
        ok, actual = not bool(bad.any()), f"{int(bad.sum())} of {value.numel()} values are NaN or infinite"
    if not ok:
        fail(
            expected="finite numbers",
            actual=actual,
            because=because,
            looks_like=looks_like,
            details=of_tensor(value),
        )


def expect_type(value: Any, kind: type, *, because: str, looks_like: str | None = None) -> None:
    """Fails unless `value` is exactly of this plain type (`bool` is no `int`)."""
    if type(value) is not kind:
        expected = article(kind.__name__)
        name = value.type_name if isinstance(value, Opaque) else type(value).__name__
        if isinstance(value, Opaque) and name == kind.__name__:  # the right type, but of things that may not travel
            expected, actual = f"{expected} of plain keys and values", describe(value)
        elif isinstance(value, Opaque):
            actual = describe(value)
        else:
            actual = article(name) + ("" if value is None else f": {describe(value)}")
        fail(expected=expected, actual=actual, because=because, looks_like=looks_like)


def expect_number(value: Any, *, because: str, looks_like: str | None = None, name: str = "") -> float:
    """Returns the value as a float when it is a plain Python number; fails with its type named otherwise."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    of = f" for {name}" if name else ""
    actual = describe(value)
    if type(value).__name__ == "Tensor":
        actual = f"a torch.Tensor ({actual.removeprefix('a tensor ')})"
    fail(expected=f"a Python number{of}", actual=actual, because=because, looks_like=looks_like)


def expect_at_least(value: Any, bar: float, *, because: str, looks_like: str | None = None, unit: str = "") -> None:
    """Fails unless the number reaches the bar; NaN never does."""
    number = expect_number(value, because=because, looks_like=looks_like)
    if not number >= bar:
        fail(
            expected=f"at least {describe(float(bar))}{unit}",
            actual=f"{describe(number)}{unit}",
            because=because,
            looks_like=looks_like,
        )


def expect_at_most(value: Any, bar: float, *, because: str, looks_like: str | None = None, unit: str = "") -> None:
    """Fails unless the number stays at or under the bar; NaN never does."""
    number = expect_number(value, because=because, looks_like=looks_like)
    if not number <= bar:
        fail(
            expected=f"at most {describe(float(bar))}{unit}",
            actual=f"{describe(number)}{unit}",
            because=because,
            looks_like=looks_like,
        )


def expect_equal(actual: Any, expected: Any, *, because: str, looks_like: str | None = None, name: str = "") -> None:
    """Fails unless both are equal, type for type (`1` is not `True`, `1.0` is `1`); tensors bit for bit.

    `name` says what it is that is compared; a bare True or False needs it. Where both read the same in a line
    (large tensors, long lists), the first place where they differ is shown.
    """
    if not same(actual, expected):
        of = f"{name}: " if name else ""
        wanted, got = describe(expected), describe(actual)
        if wanted == got:
            wanted, got = _first_difference(actual, expected)
        fail(
            expected=of + wanted,
            actual=of + got,
            because=because,
            looks_like=looks_like,
            details=of_pair(actual, expected),
        )


def _first_difference(actual: Any, expected: Any) -> tuple[str, str]:
    """What is expected and what came at the first place where two values that are described alike differ."""
    import torch

    if type(actual) is type(expected) is torch.Tensor and actual.shape == expected.shape:
        got, target = _double(actual), _double(expected)
        wrong = ~(got == target)
        if bool(wrong.any()):
            return _at_first(got, target, wrong)
    parts: list[tuple[str, Any, Any]] = []
    if isinstance(expected, dict) and type(actual) is type(expected) and actual.keys() == expected.keys():
        parts = [(repr(key), actual[key], value) for key, value in expected.items()]
    elif isinstance(expected, (list, tuple)) and type(actual) is type(expected) and len(actual) == len(expected):
        parts = [(f"[{i}]", a, e) for i, (a, e) in enumerate(zip(actual, expected, strict=True))]
    for place, a, e in parts:
        if not same(a, e):
            wanted, got = describe(e), describe(a)
            wanted, got = _first_difference(a, e) if wanted == got else (wanted, got)
            return f"{place}: {wanted}", f"{place}: {got}"
    if isinstance(expected, float) and isinstance(actual, float):
        return repr(expected), repr(actual)  # with all their digits
    return describe(expected), describe(actual)


def same(a: Any, b: Any) -> bool:
    """Equality of plain data. Numbers compare by value, a bool only with a bool."""
    import torch

    if type(a) is torch.Tensor or type(b) is torch.Tensor:
        return (
            type(a) is torch.Tensor
            and type(b) is torch.Tensor
            and a.dtype == b.dtype
            and a.shape == b.shape
            and bool(torch.equal(a, b))
        )
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def expect_close(
    actual: Any,
    expected: Any,
    *,
    because: str,
    looks_like: str | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    """Fails unless |actual - expected| ≤ atol + rtol·|expected| everywhere, computed in float64.

    `expected` is a number or a tensor; `actual` has to be of the same kind and shape. Two NaNs in the same
    place agree.
    """
    import torch

    if type(expected) is not torch.Tensor:
        number = expect_number(actual, because=because, looks_like=looks_like)
        target = float(expected)
        agree = number == target or (math.isnan(number) and math.isnan(target))
        if not (agree or abs(number - target) <= atol + rtol * abs(target)):
            within = f" (within {describe(atol + rtol * abs(target))})" if math.isfinite(target) else ""
            fail(
                expected=f"{describe(target)}{within}",
                actual=describe(number),
                because=because,
                looks_like=looks_like,
            )
        return
    expect_shape(actual, tuple(expected.shape), because=because, looks_like=looks_like)
    if actual.is_complex() != expected.is_complex():
        expect_dtype(actual, expected.dtype, because=because, looks_like=looks_like)
    got, target_ = _double(actual), _double(expected)
    wrong = ~torch.isclose(got, target_, rtol=rtol, atol=atol, equal_nan=True)
    if bool(wrong.any()):
        details = of_pair(actual, expected, wrong)
        _fail_at_first(got, target_, wrong, because=because, looks_like=looks_like, details=details)


def _double(tensor: Any) -> Any:
    import torch

    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _fail_at_first(
    got: Any, target: Any, wrong: Any, *, because: str, looks_like: str | None, details: Rows
) -> NoReturn:
    wanted, came = _at_first(got, target, wrong)
    fail(expected=wanted, actual=came, because=because, looks_like=looks_like, details=details)


def _at_first(got: Any, target: Any, wrong: Any) -> tuple[str, str]:
    """The first value that is wrong, as it should be and as it is; then how many are, and by how much."""
    index = tuple(int(i) for i in wrong.nonzero()[0])
    at = "" if not index else f" at index {list(index)}"
    total = wrong.numel()
    many = "" if total == 1 else f"; {int(wrong.sum())} of {total} values differ"
    by = "" if total == 1 else _how_far(got, target, wrong)
    return f"{describe(target[index].item())}{at}", f"{describe(got[index].item())}{many}{by}"


def _how_far(got: Any, target: Any, wrong: Any) -> str:
    """The largest difference of finite values, and in how many places there is none to be had."""
    import torch

    odd = wrong & ~(torch.isfinite(got) & torch.isfinite(target))
    finite = (got - target).abs()[wrong & ~odd]
    by = f", by up to {describe(float(finite.max()))}" if finite.numel() else ""
    if not bool(odd.any()):
        return by
    return f"{by}; at {int(odd.sum())} of them one of the two is infinite or NaN"


def expect_sequence(actual: Any, expected: Sequence[Any], *, because: str, looks_like: str | None = None) -> None:
    """Fails at the first place where two sequences of events differ, and shows the events around it."""
    if not isinstance(actual, (list, tuple)):
        fail(
            expected=f"the sequence {describe(list(expected))}",
            actual=describe(actual),
            because=because,
            looks_like=looks_like,
        )
    if len(actual) == len(expected) and all(same(a, e) for a, e in zip(actual, expected, strict=True)):
        return
    at = next(
        (i for i, (a, e) in enumerate(zip(actual, expected, strict=False)) if not same(a, e)),
        min(len(actual), len(expected)),
    )
    fail(
        expected=_around(expected, at),
        actual=_around(actual, at),
        because=because,
        looks_like=looks_like,
    )


def _around(events: Sequence[Any], at: int) -> str:
    start = max(0, at - 3)
    shown = [str(e) if isinstance(e, str) else describe(e) for e in events[start : at + 4]]
    before, after = ("… " if start else ""), (" …" if at + 4 < len(events) else "")
    if at >= len(events):
        after = " (then nothing more)"
    return shorten(f"{before}{' → '.join(shown) or 'nothing'}{after} ({len(events)} in all)", 240)

"""More about a tensor that is wrong than its one line says: shape, type, size of the error, a corner of both.

What comes out is text in rows of label and value, for those who ask for details. Imports torch lazily.
"""

from __future__ import annotations

from typing import Any

Rows = tuple[tuple[str, str], ...]

CORNER = 4
"""Rows and columns shown of a tensor; further dimensions are shown at their first index."""


def of_pair(actual: Any, expected: Any, wrong: Any = None) -> Rows:
    """Two tensors side by side. `wrong`, of their shape, marks the values that count as different.

    Anything that is no tensor has no details, nor has one whose type can't be computed with.
    """
    try:
        return _pair(actual, expected, wrong)
    except (RuntimeError, TypeError, ValueError, OverflowError):  # rare dtypes lack operations
        return ()


def _pair(actual: Any, expected: Any, wrong: Any) -> Rows:
    import torch

    if type(actual) is not torch.Tensor:
        return ()
    if type(expected) is not torch.Tensor:
        return (*_facts(actual), ("corner of yours", corner(actual)))
    rows = [
        ("shape", _both(str(tuple(actual.shape)), str(tuple(expected.shape)))),
        ("dtype", _both(_name(actual.dtype), _name(expected.dtype))),
        ("device", str(actual.device)),
    ]
    if actual.shape == expected.shape and actual.numel():
        rows += _errors(actual, expected, wrong)
    return (*rows, ("corner expected", corner(expected)), ("corner of yours", corner(actual)))


def of_tensor(actual: Any) -> Rows:
    """One tensor; no details for anything else."""
    return of_pair(actual, None)


def corner(tensor: Any) -> str:
    """The first values of a tensor, one row of its last dimension a line."""
    table = tensor.detach()
    while table.dim() > 2:
        table = table[0] if table.shape[0] else table.flatten()[:0]
    cut = table.dim() > 0 and (table.shape[-1] > CORNER or (table.dim() > 1 and table.shape[0] > CORNER))
    lines = table.reshape(1, -1) if table.dim() < 2 else table
    shown = ["  ".join(_number(v) for v in row[:CORNER].tolist()) for row in lines[:CORNER]]
    return "\n".join(shown) + (" …" if cut else "") if shown else "empty"


def _facts(tensor: Any) -> Rows:
    return (
        ("shape", str(tuple(tensor.shape))),
        ("dtype", _name(tensor.dtype)),
        ("device", str(tensor.device)),
    )


def _errors(actual: Any, expected: Any, wrong: Any) -> list[tuple[str, str]]:
    import torch

    kind = torch.complex128 if actual.is_complex() or expected.is_complex() else torch.float64
    a, e = actual.to(kind), expected.to(kind)
    gap = (a - e).abs()
    if wrong is None:
        wrong = ~torch.isclose(a, e, rtol=0, atol=0, equal_nan=True)
    finite = torch.isfinite(gap)
    rows = []
    if bool(finite.any()):
        relative = (gap / e.abs().clamp_min(1e-12))[finite]
        rows.append(("max absolute error", _number(gap[finite].max().item())))
        rows.append(("max relative error", _number(relative.max().item())))
    if not bool(finite.all()):
        rows.append(("not finite", f"{int((~torch.isfinite(a)).sum())} of yours"))
    if bool(wrong.any()):
        at = tuple(int(i) for i in wrong.nonzero()[0])
        values = f"{_number(a[at].item())}, expected {_number(e[at].item())}"
        rows.append(("differ", f"{int(wrong.sum())} of {wrong.numel()} values"))
        rows.append(("first mismatch", f"at {list(at)}: {values}"))
    return rows


def _both(actual: str, expected: str) -> str:
    return f"{actual}, as expected" if actual == expected else f"{actual}, expected {expected}"


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)

"""Which misconception gives the very value that came: for `looks_like`, which may claim only what the evidence shows.

Nothing here fails a check; that is what the expectations are for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Guesses = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""What each misconception gives: a tensor or a number, or a function that works it out when it is needed."""


def resembles(found: Any, guess: Any, *, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    """Whether both are the same number, or tensors of one shape with the same values; NaN equals NaN.

    Compared in float64, whatever the dtypes. False for anything that is neither, and for complex tensors.
    """
    import torch

    if not all(isinstance(value, int | float) or type(value) is torch.Tensor for value in (found, guess)):
        return False
    a, b = torch.as_tensor(found), torch.as_tensor(guess)
    if isinstance(found, torch.Tensor) is not isinstance(guess, torch.Tensor) and a.dim() + b.dim() > 0:
        return False
    if a.shape != b.shape or a.is_complex() or b.is_complex():
        return False
    return torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol, equal_nan=True)


def misconception(found: Any, right: Any, guesses: Guesses, *, rtol: float = 1e-4, atol: float = 1e-6) -> str | None:
    """The first misconception that gives what was found, and not the right value; None when none does.

    One that can't be had with these shapes (its function raises) is passed over.
    """
    if resembles(found, right, rtol=rtol, atol=atol):
        return None
    for text, given in guesses.items() if isinstance(guesses, Mapping) else guesses:
        guess = _worked_out(given)
        if resembles(found, guess, rtol=rtol, atol=atol) and not resembles(right, guess, rtol=rtol, atol=atol):
            return text
    return None


def _worked_out(given: Any) -> Any:
    if not callable(given):
        return given
    try:
        return given()
    except (RuntimeError, ValueError, IndexError):
        return None

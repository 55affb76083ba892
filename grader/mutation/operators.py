"""What an operator is, and the list of all of them in a fixed order.

A number is that of the fault in the catalogue of learners' faults (docs/mutation.md); generic ones have 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from grader.mutation.tree import Code, Edit

Fits = Callable[[Code], Iterator[Edit]]


@dataclass(frozen=True)
class Operator:
    """One kind of fault. `fits` yields an edit for every place where it can be made."""

    name: str
    number: int
    family: str
    title: str
    fits: Fits
    late: bool = False
    """Its mutants tend to be caught by a training check only, so they are graded last."""


_REGISTERED: Final[dict[str, Operator]] = {}


def operator(number: int, family: str, *, late: bool = False) -> Callable[[Fits], Fits]:
    """Registers a function as an operator: its name with hyphens, its docstring's first line as title."""

    def register(fits: Fits) -> Fits:
        name = fits.__name__.replace("_", "-")
        title = (fits.__doc__ or "").strip().splitlines()[0].rstrip(".")
        if name in _REGISTERED:
            raise ValueError(f"two operators are called {name}")
        _REGISTERED[name] = Operator(name, number, family, title, fits, late)
        return fits

    return register


def all_operators() -> list[Operator]:
    """All operators: by their number in the catalogue, then the generic ones.

    Where two of them make the same mutant it goes by the first one's name, so the more telling come first.
    """
    from grader.mutation import (  # noqa: F401  (each registers its operators when it is imported)
        architecture,
        backward_and_update,
        data,
        device_and_api,
        generic,
        loss_and_output,
        modes_and_evaluation,
    )

    return sorted(_REGISTERED.values(), key=lambda one: (one.number or 1000, one.name))

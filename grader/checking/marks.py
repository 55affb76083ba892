"""The mark that turns a pytest function into a check: its title, its points, and what must pass before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
ATTRIBUTE = "__practice_check__"


@dataclass(frozen=True)
class CheckMark:
    """What is declared about a check, before it runs."""

    title: str
    points: int
    why: str
    after: tuple[str, ...] = ()


def check(title: str, *, points: int, why: str, after: Sequence[str] = ()) -> Callable[[F], F]:
    """Declares the decorated test function as a check.

    Args:
        title: a sentence saying what holds when the check passes.
        points: what it earns; the checks of an exercise sum to 100.
        why: why an interviewer cares, in one or two sentences.
        after: names of checks that have to pass first; otherwise this one is reported as `blocked`.
    """

    def mark(function: F) -> F:
        setattr(function, ATTRIBUTE, CheckMark(title, points, why, tuple(after)))
        return function

    return mark


def mark_of(function: object) -> CheckMark | None:
    """The declaration on a function, or None when it isn't a check."""
    mark = getattr(function, ATTRIBUTE, None)
    return mark if isinstance(mark, CheckMark) else None

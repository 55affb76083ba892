"""The mutants of a source: every operator at every place, without doubles and without changes of nothing."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from grader.mutation.operators import Operator
from grader.mutation.tree import Code, Edit


@dataclass(frozen=True)
class Mutant:
    """One changed source. `before` and `after` are the lines that differ, as the parser writes them."""

    operator: Operator
    where: str
    """The function or class in which the change is made; empty at the top of the file."""
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells one change from another, whichever operator made it and on whatever line."""
        return self.where, self.before, self.after


def mutants(source: str, operators: Iterable[Operator]) -> list[Mutant]:
    """All of them, in the order of the operators and of the text; each changed program once."""
    code = Code(source)
    plain = ast.unparse(code.tree)
    seen = {plain}
    found = []
    for operator in operators:
        for edit in operator.fits(code):
            text = ast.unparse(code.changed(edit))
            if text not in seen and _compiles(text):
                seen.add(text)
                found.append(_mutant(operator, code, edit, plain, text))
    return list(_distinct(found))


def _distinct(found: list[Mutant]) -> Iterator[Mutant]:
    """Where the same lines change in the same function at two places, the later ones say which they are."""
    counts: dict[tuple[str, str, str], int] = {}
    for mutant in found:
        count = counts[mutant.key] = counts.get(mutant.key, 0) + 1
        if count == 1:
            yield mutant
        else:
            where = f"{mutant.where} #{count}"
            yield Mutant(mutant.operator, where, mutant.line, mutant.before, mutant.after, mutant.source)


def _mutant(operator: Operator, code: Code, edit: Edit, plain: str, text: str) -> Mutant:
    first = min(edit, key=lambda node: getattr(node, "lineno", 0))
    before, after = _difference(plain, text)
    return Mutant(operator, code.place(first), getattr(first, "lineno", 0), before, after, text + "\n")


def _difference(old: str, new: str) -> tuple[str, str]:
    """The lines that differ. What is only added comes with the line before it, to say where."""
    a, b = ([line for line in text.splitlines() if line] for text in (old, new))
    before, after = [], []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag != "equal":
            context = a[i1 - 1 : i1] if tag == "insert" else []
            before += context + a[i1:i2]
            after += context + b[j1:j2]
    return "\n".join(line.strip() for line in before), "\n".join(line.strip() for line in after)


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except SyntaxError:  # a removed `break`'s loop, a `return` outside: not a program at all
        return False
    return True

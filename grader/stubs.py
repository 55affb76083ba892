"""The learner's stub and the shown solution, both made from the one reference.

Lines between `# solution: begin [TODO text]` and `# solution: end` become one `raise NotImplementedError` in
the stub; everything else is kept as it is. `python -m grader.stubs` writes exercises/ anew, `--check` only
compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.catalog import Catalog, Exercise
from grader.errors import ContentError, PracticeError
from grader.files import write_atomic
from grader.workspace import find, kit_solutions

WIDEST: Final = 100
"""The longest line that a stub may have because of its TODO text."""

_MARKER = re.compile(r"(?P<indent>[ \t]*)#\s*solution:\s*(?P<word>\w*)[ \t]*(?P<text>.*?)\s*")


@dataclass(frozen=True)
class _Region:
    """Lines of a solution: outside any marker (`todo` is None), or what a pair of markers encloses."""

    lines: tuple[str, ...]
    indent: str = ""
    todo: str | None = None
    line: int = 1


def make_stub(solution_text: str) -> str:
    """The stub of a solution. Raises ContentError with the line when the markers are wrong."""
    parts: list[str] = []
    regions = list(_regions(solution_text))
    if all(region.todo is None for region in regions):
        raise ContentError("The solution has no `# solution: begin`, so its stub would be the solution.")
    for region in regions:
        if region.todo is None:
            parts.extend(region.lines)
        else:
            parts.append(_todo(region))
    stub = "".join(parts)
    try:
        compile(stub, "stub", "exec")
    except SyntaxError as error:
        raise ContentError(f"line {error.lineno} of the stub: {error.msg}.") from error
    return stub


def strip_markers(solution_text: str) -> str:
    """The solution as a learner reads it: without the marker lines."""
    return "".join(line for region in _regions(solution_text) for line in region.lines)


def stub_text(exercise: Exercise) -> str:
    """What the learner starts from. Raises ContentError naming the file that is missing or wrong."""
    if exercise.kind == "debug":
        return _read(exercise.stub_file)
    source = kit_solutions() / f"{exercise.id}.py"
    try:
        return make_stub(_read(source))
    except ContentError as error:
        raise ContentError(f"{source.name}: {error.message}", hint=error.hint) from error


def solution_text(exercise: Exercise) -> str:
    """The reference without markers."""
    return strip_markers(_read(kit_solutions() / f"{exercise.id}.py"))


def outdated(exercises: Iterable[Exercise], folder: Path) -> list[Path]:
    """The files in `folder` that differ from what the solutions generate, or are missing."""
    stale = []
    for exercise in exercises:
        path = folder / f"{exercise.id}.py"
        if not path.is_file() or path.read_bytes() != stub_text(exercise).encode("utf-8"):
            stale.append(path)
    return stale


def _todo(region: _Region) -> str:
    text = f"TODO: {region.todo}"
    literal = repr(text) if '"' in text or "\\" in text else f'"{text}"'
    lines = [f"{region.indent}raise NotImplementedError({literal})"]
    if len(lines[0]) > WIDEST:
        inner = f"{region.indent}    {literal}"
        lines = [f"{region.indent}raise NotImplementedError(", inner, f"{region.indent})"]
    widest = max(map(len, lines))
    if widest > WIDEST:
        raise ContentError(f"line {region.line}: the TODO makes a line of {widest} characters, over {WIDEST}.")
    return "".join(f"{line}\n" for line in lines)


def _regions(text: str) -> Iterator[_Region]:
    lines: list[str] = []
    opened: tuple[int, str, str] | None = None  # line, indent, TODO text of the begin marker
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        match = _MARKER.fullmatch(line.rstrip("\r\n"))
        if match is None:
            lines.append(line)
            continue
        word = match["word"]
        if word == "begin":
            if opened is not None:
                raise ContentError(f"line {number}: `solution: begin` inside the one of line {opened[0]}.")
            yield _Region(tuple(lines))
            opened = (number, match["indent"], match["text"] or "write this part")
        elif word == "end":
            if opened is None:
                raise ContentError(f"line {number}: `solution: end` without a `solution: begin`.")
            if not any(kept.strip() for kept in lines):
                raise ContentError(f"line {number}: nothing between the markers.")
            yield _Region(tuple(lines), opened[1], opened[2], opened[0])
            opened = None
        else:
            raise ContentError(f"line {number}: `solution: {word}` is neither `begin` nor `end`.")
        lines = []
    if opened is not None:
        raise ContentError(f"line {opened[0]}: `solution: begin` is never ended.")
    yield _Region(tuple(lines))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContentError(f"{path}: not UTF-8 at byte {error.start}.") from error
    except OSError as error:
        raise ContentError(f"{path}: can't be read: {error.strerror}.") from error


def main(arguments: list[str]) -> int:
    """Write the stubs (of all, or of the named) into the workspace; with `--check` say which differ."""
    check = "--check" in arguments
    names = [argument for argument in arguments if argument != "--check"]
    folder = find().exercises
    catalog = Catalog.load()
    code = 0
    for exercise in [catalog.find(name) for name in names] or list(catalog):
        try:
            for path in outdated([exercise], folder):
                if check:
                    print(f"{path} differs from its source")
                    code = 1
                else:
                    write_atomic(path, stub_text(exercise))
                    print(f"wrote {path}")
        except PracticeError as error:
            print(f"{exercise.id}: {error.message}", file=sys.stderr)
            code = error.exit_code
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PracticeError as error:
        sys.exit(f"{error.message} {error.hint or ''}")

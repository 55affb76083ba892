"""`practice init`: a folder to practise in, when the kit was installed without a clone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from grader.workspace import Workspace

DATA_README: Final = """\
# Data sets

Prepared once, used by every check; safe to delete, the kit prepares them again.

- `practice data status` says what is here.
- `practice data download` fetches the real MNIST and CIFAR-10.
- `practice data import PATH` takes files that you already have.
- Without them, checks use sets that are generated on this machine.
"""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def command(folder: Path) -> None:
    """Make the folder DIR a place to practise in: the exercises as stubs, and room for data.

    Files that already exist there are kept as they are.
    """
    from grader.errors import PracticeError
    from grader.views.light import screen
    from grader.views.plain import show_steps
    from grader.workspace import MARKER, Workspace, is_workspace, quoted

    root = folder.expanduser().absolute()
    if is_workspace(root) and not (root / MARKER).exists():
        raise PracticeError(f"{root} is a clone of the kit: a workspace already.", hint="`practice next`")
    written, kept = _fill(Workspace(root), _contents())
    said = [f"{root} is ready: {_count(written)} written" + (f", {_count(kept)} kept." if kept else ".")]
    if kept:
        said.append("What existed was left as it is; `practice reset ID` starts an exercise anew.")
    show_steps(screen(), [*said, "", f"Next: `cd {quoted(folder)}`, then `practice`."])


def _contents() -> dict[str, str]:
    """Every file of a new workspace, by its path there. Made before anything is written."""
    from grader.catalog import Catalog
    from grader.stubs import stub_text
    from grader.workspace import MARKER

    files = {f"exercises/{exercise.id}.py": stub_text(exercise) for exercise in Catalog.load()}
    files["datasets_cache/README.md"] = DATA_README
    files[MARKER] = "This folder is a workspace of the practice kit.\n"  # last: it makes the rest count
    return files


def _fill(workspace: Workspace, files: dict[str, str]) -> tuple[int, int]:
    """Write what is missing; return how many files were written and how many were there."""
    from grader.errors import PracticeError
    from grader.files import cannot_write, write_atomic

    try:
        workspace.exercises.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise PracticeError(
            f"{workspace.root} can't be a workspace: {error.filename} is a file.",
            hint="Choose another folder: `practice init DIR`.",
        ) from error
    except OSError as error:
        raise cannot_write(workspace.exercises, error) from error
    missing = [name for name in files if not (workspace.root / name).exists()]
    for name in missing:
        write_atomic(workspace.root / name, files[name])
    return len(missing), len(files) - len(missing)


def _count(number: int) -> str:
    return f"{number} file" if number == 1 else f"{number} files"

"""`practice data`: which data sets are there, and getting the real ones.

The work is done by `grader.data` in a child process; this module only asks for it and shows how it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from grader.data.status import SetStatus

DOWNLOADS = ("mnist", "cifar10", "resnet18")
EMBEDDED = ("mnist", "cifar10")


@click.group("data", short_help="Download, import or inspect the data sets.")
def command() -> None:
    """The data that exercises are graded on.

    Real MNIST and CIFAR-10 are used when they are prepared; without them, embedded look-alikes, which are
    generated on this machine when first needed.
    """


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
@click.option("--verify", is_flag=True, help="Read every file and compare its SHA-256.")
def status(as_json: bool, verify: bool) -> None:
    """What is prepared, where from, how large, and what to do next. Exit code 1 when something is damaged."""
    from grader import workspace as workspaces
    from grader.data.status import survey

    place = workspaces.find().datasets
    found = list(survey(place, verify=verify))
    if as_json:
        import json

        document = {"schema": 1, "folder": str(place), "sets": [each.to_json() for each in found]}
        click.echo(json.dumps(document, indent=2))
    else:
        _show(place, found)
    raise click.exceptions.Exit(1 if any(each.state == "damaged" for each in found) else 0)


@command.command("download", short_help="Fetch real data, checksums verified.")
@click.argument("names", nargs=-1, type=click.Choice(DOWNLOADS), metavar="[mnist|cifar10|resnet18]...")
def download(names: tuple[str, ...]) -> None:
    """Fetch real data with torchvision's downloaders, checksums verified (default: mnist and cifar10).

    MNIST is 12 MB, CIFAR-10 170 MB, the ResNet-18 weights 47 MB. A file that is complete isn't fetched again.
    """
    place = _datasets()
    for name in dict.fromkeys(names or EMBEDDED):
        _run("download", {"name": name, "datasets_dir": str(place)})
    _what_next()


@command.command("import", short_help="Prepare data from files that you have.")
@click.argument("path", type=click.Path(path_type=Path))
def import_(path: Path) -> None:
    """Prepare the data sets that lie below PATH, a folder or an archive.

    Understood are torchvision's layout, the official archives, and folders of images per class
    (train/airplane/0001.jpg). PATH itself is only read.
    """
    place = _datasets()
    _run("import", {"path": str(path.expanduser()), "datasets_dir": str(place)})
    _what_next()


@command.command("embed")
@click.argument("names", nargs=-1, type=click.Choice(EMBEDDED), metavar="[mnist|cifar10]...")
def embed(names: tuple[str, ...]) -> None:
    """Generate the embedded data anew. Needed only to repair it: a check generates what is missing."""
    place = _datasets()
    for name in dict.fromkeys(names or EMBEDDED):
        _run("embed", {"name": name, "datasets_dir": str(place), "anew": True})
        _remark(f"Prepared the embedded {name}.")


def _datasets() -> Path:
    from grader import workspace as workspaces

    return workspaces.find().datasets


def _run(job: str, arguments: Mapping[str, Any]) -> Any:
    """Run a data job with a progress bar on stderr."""
    from grader.data.jobs import run_job
    from grader.views.console import console

    err = console(stderr=True)
    with _bar(err) as on_progress:
        return run_job(job, arguments, on_progress, lambda text: _say(err, text))


@contextmanager
def _bar(err: Console) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar that appears with the first progress; none where stderr isn't a terminal."""
    if not err.is_terminal or err.is_dumb_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("Starting", total=None)

        def on_progress(done: int, total: int, text: str) -> None:
            progress.update(task, description=text, completed=done, total=total or None)

        yield on_progress


def _say(err: Console, text: str) -> None:
    from grader.views.text import clean

    err.print(clean(text), markup=False, soft_wrap=True)


def _remark(text: str) -> None:
    from grader.views.console import console

    _say(console(stderr=True), text)


def _what_next() -> None:
    from grader.views.console import console, with_commands

    console(stderr=True).print(with_commands("Checks use it from now on. See `practice data status`."))


def _show(place: Path, found: list[SetStatus]) -> None:
    from rich.table import Table

    from grader.views.console import console, prose, with_commands
    from grader.views.text import clean

    out = console()
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, justify in (("set", "left"), ("source", "left"), ("state", "left"), ("train", "right"),
                             ("test", "right"), ("MB", "right"), ("used", "left")):  # fmt: skip
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for each in found:
        table.add_row(*_row(each))
    out.print(table)
    said = prose()
    said.print(f"In {clean(str(place))}.", markup=False, soft_wrap=True)
    for each in found:
        if each.state == "damaged" and each.problem:
            said.print(with_commands(f"{clean(each.problem)} Repair it: `{each.next}`"), soft_wrap=True)
        elif each.state == "absent" and each.source == "real":
            said.print(
                with_commands(f"Get {_title(each)}: `{each.next}`, or `practice data import PATH`."), soft_wrap=True
            )


def _title(each: SetStatus) -> str:
    from grader.data.sets import SETS

    return f"the real {SETS[each.name].title}" if each.name in SETS else "the ResNet-18 weights"


def _row(each: SetStatus) -> tuple[str, ...]:
    words = {"ready": "ready", "absent": "not prepared", "damaged": "damaged"}
    state = words.get(each.state, each.state)
    if each.state in ("absent", "outdated") and each.source == "embedded":
        state = "when needed"
    elif each.verified:
        state = "ready, verified"
    counts = tuple(f"{count:,}" if count is not None else "" for count in (each.train, each.test))
    size = f"{each.bytes / 1e6:.0f}" if each.bytes else ""
    return (each.name, each.source, state, *counts, size, "yes" if each.used else "")

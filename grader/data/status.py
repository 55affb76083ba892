"""What there is of each data set: the facts behind `practice data status`, as data. Reads files, writes none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from grader.data import prepared
from grader.data.sets import SETS, SOURCES
from grader.errors import PracticeError

State = Literal["ready", "absent", "outdated", "damaged"]

WEIGHTS = "resnet18"


@dataclass(frozen=True)
class SetStatus:
    """One source of one data set. `bytes` is its size on disk; `next` is the command that gets or repairs it.

    `verified` is True or False once every byte was compared with its SHA-256, None when that wasn't asked for.
    `used` says that checks take this source.
    """

    name: str
    source: str
    state: State
    train: int | None = None
    test: int | None = None
    bytes: int = 0
    verified: bool | None = None
    used: bool = False
    problem: str | None = None
    origin: str | None = None
    next: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def survey(datasets_dir: Path, *, verify: bool = False) -> Iterator[SetStatus]:
    """The status of each set and source, the weights last. With `verify` every file is read and compared."""
    for name in SETS:
        real = prepared.prepared(datasets_dir, name, "real")
        for source in SOURCES:
            yield _status(datasets_dir, name, source, verify, used=(source == "real") == real)
    yield _weights(datasets_dir, verify)


def _status(datasets_dir: Path, name: str, source: str, verify: bool, used: bool) -> SetStatus:
    command = next_command(name, source)
    if not prepared.prepared(datasets_dir, name, source):
        return SetStatus(name, source, "absent", used=used, next=command)
    size = _size(prepared.folder(datasets_dir, name, source))
    meta = None
    try:
        meta = prepared.read_meta(datasets_dir, name, source)
        prepared.check_sizes(datasets_dir, meta)
        if verify:
            prepared.check_hashes(datasets_dir, meta)
    except prepared.OutdatedData as error:
        return SetStatus(name, source, "outdated", bytes=size, used=used, problem=error.message, next=command)
    except PracticeError as error:
        command = next_command(name, source, meta.origin if meta else "")
        verified = False if verify else None
        return SetStatus(
            name, source, "damaged", bytes=size, used=used, verified=verified, problem=error.message, next=command
        )
    return SetStatus(
        name,
        source,
        "ready",
        train=meta.counts["train"],
        test=meta.counts["test"],
        bytes=size,
        verified=True if verify else None,
        used=used,
        origin=meta.origin,
    )


def next_command(name: str, source: str, origin: str = "") -> str:
    """The command that gets a set, or gets it whole again."""
    if source == "embedded":
        return f"practice data embed {name}"
    if origin.startswith("import:"):
        return prepared.import_command(origin)
    return f"practice data download {name}"


def _weights(datasets_dir: Path, verify: bool) -> SetStatus:
    file = Path(datasets_dir) / "weights" / "resnet18.pth"
    command = f"practice data download {WEIGHTS}"
    if not file.is_file():
        return SetStatus(WEIGHTS, "real", "absent", next=command)
    whole = prepared.sha256(file).startswith("f37072fd") if verify else None
    if whole is False:
        problem = f"The file is damaged: {file} isn't the published one."
        return SetStatus(WEIGHTS, "real", "damaged", bytes=_size(file), verified=False, problem=problem, next=command)
    return SetStatus(WEIGHTS, "real", "ready", bytes=_size(file), verified=whole, used=True)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.iterdir() if each.is_file())

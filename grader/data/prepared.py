"""The prepared data on disk: what is there, whether it is whole, and loading it.

A prepared set is a folder `prepared/NAME/SOURCE/` with `meta.json` and four `.npy` files that are mapped into
memory, never decoded again. This module starts in no time; numpy and torch are imported by `load` alone.
Putting a set there is `grader.data.preparing`'s work, done in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.data.sets import SOURCES, set_info
from grader.errors import PracticeError, UsageProblem

if TYPE_CHECKING:
    from torch import Tensor

    from grader.data.model import DataSet, Split

SCHEMA = 1
SPLITS = ("train", "test")
FILES = tuple(f"{split}_{part}.npy" for split in SPLITS for part in ("images", "labels"))

# A change of the generators' output changes these, so that a set made by an older kit is made anew.
EMBEDDED_VERSIONS: Mapping[str, str] = {"mnist": "digits-2", "cifar10": "scenes-2"}
EMBEDDED_COUNTS: Mapping[str, int] = {"train": 12_000, "test": 2_000}

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done); a total of 0 means that it isn't known."""


class DamagedData(PracticeError):
    """A prepared file is missing, cut off or changed."""


@dataclass(frozen=True)
class Meta:
    """What `meta.json` says of a prepared set."""

    name: str
    source: str
    version: str
    origin: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    counts: Mapping[str, int]
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]


def folder(datasets_dir: Path, name: str, source: str) -> Path:
    """Where the set lies, whether it is there or not."""
    if source not in SOURCES:
        raise UsageProblem(f"There is no data source “{source}”.", hint="The sources are: real, embedded.")
    return Path(datasets_dir) / "prepared" / set_info(name).name / source


def available(datasets_dir: Path, name: str) -> dict[str, bool]:
    """Which sources of a set are ready to load, judged by its `meta.json` and the files' sizes."""
    return {source: problem(datasets_dir, name, source) is None for source in SOURCES}


def problem(datasets_dir: Path, name: str, source: str) -> str | None:
    """Why a set can't be loaded, in a sentence, or None when all is well as far as a quick look shows."""
    try:
        check_sizes(datasets_dir, read_meta(datasets_dir, name, source))
    except PracticeError as error:
        return error.message
    return None


def prepared(datasets_dir: Path, name: str, source: str) -> bool:
    """Whether the set has been put there at all, whole or damaged."""
    return folder(datasets_dir, name, source).is_dir()


def read_meta(datasets_dir: Path, name: str, source: str) -> Meta:
    """Read `meta.json`; a set that isn't there or was made by another version raises `PracticeError`."""
    place = folder(datasets_dir, name, source)
    if not place.is_dir():
        raise PracticeError(
            f"The {source} {set_info(name).title} data is not prepared.", hint=repair_hint(name, source)
        )
    file = place / "meta.json"
    try:
        meta = _meta(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise _damaged(name, source, file, "is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(name, source, file, "can't be read") from None
    if (meta.name, meta.source) != (name, source):
        raise _damaged(name, source, file, f"belongs to {meta.name} ({meta.source})")
    if source == "embedded" and meta.version != EMBEDDED_VERSIONS[name]:
        raise _damaged(name, source, file, f"is of another version of the kit ({meta.version})")
    return meta


def _meta(raw: Any) -> Meta:
    if raw["schema"] != SCHEMA:
        raise ValueError("another schema")
    files = raw["files"]
    return Meta(
        name=str(raw["name"]),
        source=str(raw["source"]),
        version=str(raw["version"]),
        origin=str(raw["origin"]),
        classes=tuple(str(each) for each in raw["classes"]),
        mean=tuple(float(each) for each in raw["mean"]),
        std=tuple(float(each) for each in raw["std"]),
        counts={split: int(raw["counts"][split]) for split in SPLITS},
        sizes={each: int(files[each]["bytes"]) for each in FILES},
        hashes={each: str(files[each]["sha256"]) for each in FILES},
    )


def check_sizes(datasets_dir: Path, meta: Meta) -> None:
    """Raise `DamagedData` naming the first file whose size is not what was written."""
    for each in FILES:
        file = folder(datasets_dir, meta.name, meta.source) / each
        if not file.is_file():
            raise _damaged(meta.name, meta.source, file, "is missing", meta)
        size = file.stat().st_size
        if size != meta.sizes[each]:
            raise _damaged(meta.name, meta.source, file, f"has {size} bytes, not {meta.sizes[each]}", meta)


def check_hashes(datasets_dir: Path, meta: Meta, files: tuple[str, ...] = FILES) -> None:
    """Read the files and raise `DamagedData` naming the first whose SHA-256 is not what was written."""
    for each in files:
        file = folder(datasets_dir, meta.name, meta.source) / each
        if sha256(file) != meta.hashes[each]:
            raise _damaged(meta.name, meta.source, file, "has changed since it was prepared", meta)


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load(datasets_dir: Path, name: str, source: str) -> DataSet:
    """The set with its images mapped into memory.

    Checks the sizes, the headers and the labels' SHA-256, which takes milliseconds; `practice data status
    --verify` reads everything. Raises `PracticeError` when it isn't prepared, `DamagedData` when it is damaged.
    """
    from grader.data.model import DataSet

    meta = read_meta(datasets_dir, name, source)
    check_sizes(datasets_dir, meta)
    check_hashes(datasets_dir, meta, tuple(each for each in FILES if "labels" in each))
    train, test = (_load_split(datasets_dir, meta, split) for split in SPLITS)
    return DataSet(name, source, meta.classes, meta.mean, meta.std, train, test)


def _load_split(datasets_dir: Path, meta: Meta, split: str) -> Split:
    from grader.data.model import Split

    count = meta.counts[split]
    shape = (count, *set_info(meta.name).shape)
    images = _map(datasets_dir, meta, f"{split}_images.npy", shape, "uint8")
    return Split(images, _map(datasets_dir, meta, f"{split}_labels.npy", (count,), "int64"))


def _map(datasets_dir: Path, meta: Meta, each: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    """The file as a tensor. Mapped copy-on-write: torch wants writable memory, and the file must stay as it is."""
    import numpy as np
    import torch

    file = folder(datasets_dir, meta.name, meta.source) / each
    try:
        array = np.load(file, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise _damaged(meta.name, meta.source, file, "is not a whole .npy file", meta) from None
    if array.shape != shape or array.dtype != np.dtype(dtype):
        found = f"{array.dtype} {array.shape}"
        raise _damaged(meta.name, meta.source, file, f"holds {found}, not {dtype} {shape}", meta)
    return torch.from_numpy(array)


def ensure_embedded(datasets_dir: Path, name: str, on_progress: OnProgress | None = None) -> None:
    """Generate the embedded set unless it is there already (seconds, once).

    The work is done in a child process: the caller needs neither numpy nor torch, and an interruption leaves
    nothing half-written. `on_progress` is called in this process.
    """
    if problem(datasets_dir, name, "embedded") is None:
        return
    from grader.data.jobs import run_job

    run_job("embed", {"datasets_dir": str(datasets_dir), "name": name}, on_progress)


def repair_hint(name: str, source: str, origin: str = "") -> str:
    """The sentence that says how to get a set, or get it whole again."""
    if source == "embedded":
        return f"Generate it: `practice data embed {name}`"
    if origin.startswith("import:"):
        return f"Import it again: `{import_command(origin)}`, or `practice data download {name}`"
    return f"Get it: `practice data download {name}`, or, from files that you have: `practice data import PATH`"


def import_command(origin: str) -> str:
    """The command that repeats an import, from the origin that it left in `meta.json`."""
    return f"practice data import {shlex.quote(origin.removeprefix('import:'))}"


def _damaged(name: str, source: str, file: Path, what: str, meta: Meta | None = None) -> DamagedData:
    hint = repair_hint(name, source, meta.origin if meta else "")
    return DamagedData(f"The prepared data is damaged: {file} {what}.", hint=hint)

"""Writing a prepared set: statistics, hashes, and one atomic step from absent to there.

Runs in a process of its own (see `grader.data.jobs`). Where the images come from is not its business.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from grader.data import prepared
from grader.data.prepared import OnProgress
from grader.data.sets import SetInfo, set_info
from grader.errors import PracticeError
from grader.files import cannot_write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Labels = NDArray[np.int64]

    Arrays = Mapping[str, tuple[Images, Labels]]
    """Per split: images uint8 N×C×H×W and labels int64 N."""


def embed(datasets_dir: Path, name: str, on_progress: OnProgress, *, anew: bool = False) -> None:
    """Generate and write an embedded set; with another process at it already, wait and use that one's."""
    with exclusive(datasets_dir, name, "embedded", on_progress):
        if not anew and prepared.problem(datasets_dir, name, "embedded") is None:
            return
        version = prepared.EMBEDDED_VERSIONS[name]
        write(datasets_dir, name, "embedded", generate(name, on_progress), origin="generated", version=version)


def generate(name: str, on_progress: OnProgress) -> Arrays:
    """Both splits of an embedded set. Train and test come from different seeds of the same generator."""
    if name == "mnist":
        from grader.data.digits import generate as generator
    else:
        from grader.data.scenes import generate as generator
    total = sum(prepared.EMBEDDED_COUNTS.values())
    splits: dict[str, tuple[Images, Labels]] = {}
    done = 0
    for seed, split in enumerate(prepared.SPLITS):
        count = prepared.EMBEDDED_COUNTS[split]

        def step(part: int, before: int = done) -> None:
            on_progress(before + part, total, f"Drawing the embedded {set_info(name).title}")

        splits[split] = generator(count, seed=seed, on_progress=step)
        done += count
    return splits


@contextmanager
def exclusive(datasets_dir: Path, name: str, source: str, on_progress: OnProgress) -> Iterator[None]:
    """Hold the set's lock: one process prepares, the others wait."""
    from filelock import FileLock, Timeout

    parent = prepared.folder(datasets_dir, name, source).parent
    with friendly_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(parent / f".{source}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_progress(0, 0, "Another process is preparing this data; waiting for it")
            lock.acquire()
    try:
        _remove_leftovers(parent, source)
        yield
    finally:
        lock.release()


def write(datasets_dir: Path, name: str, source: str, splits: Arrays, *, origin: str, version: str = "") -> None:
    """Write a whole set in place of what was there. The caller holds the lock (`exclusive`).

    Raises `PracticeError` for arrays that can't be this set, and for a disk that is full or not writable.
    """
    info = set_info(name)
    _check_arrays(info, splits)
    place = prepared.folder(datasets_dir, name, source)
    with friendly_errors(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        _check_space(place.parent, info, splits)
        temporary = Path(tempfile.mkdtemp(prefix=f".{source}-", suffix=".tmp", dir=place.parent))
        try:
            _write_files(temporary, info, source, splits, origin, version)
            temporary.chmod(0o755)
            _swap(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _check_arrays(info: SetInfo, splits: Arrays) -> None:
    for split in prepared.SPLITS:
        images, labels = splits[split]
        if images.ndim != 4 or images.shape[1:] != info.shape or images.dtype.name != "uint8":
            raise PracticeError(f"The {split} images of {info.title} should be {info.shape}, found {images.shape[1:]}.")
        if labels.shape != images.shape[:1]:
            raise PracticeError(f"{info.title} {split}: {len(images)} images, but {len(labels)} labels.")
        if not len(labels) or labels.min() < 0 or labels.max() >= len(info.classes):
            raise PracticeError(f"{info.title} {split}: the labels should be 0 to {len(info.classes) - 1}.")


def _check_space(parent: Path, info: SetInfo, splits: Arrays) -> None:
    needed = sum(len(labels) * (info.image_bytes + 8) for _, labels in splits.values()) + 2**20
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"no space left: {needed >> 20} MB needed, {free >> 20} MB free")


def _write_files(target: Path, info: SetInfo, source: str, splits: Arrays, origin: str, version: str) -> None:
    import numpy as np

    files: dict[str, dict[str, Any]] = {}
    for split in prepared.SPLITS:
        images, labels = splits[split]
        for part, array in (("images", images), ("labels", labels.astype(np.int64))):
            file = target / f"{split}_{part}.npy"
            with file.open("wb") as stream:
                _save(stream, np.ascontiguousarray(array))
                stream.flush()
                os.fsync(stream.fileno())
            files[file.name] = {"bytes": file.stat().st_size, "sha256": prepared.sha256(file)}
    mean, std = statistics(splits["train"][0])
    meta = {
        "schema": prepared.SCHEMA,
        "name": info.name,
        "source": source,
        "version": version,
        "origin": origin,
        "classes": info.classes,
        "mean": mean,
        "std": std,
        "counts": {split: len(splits[split][1]) for split in prepared.SPLITS},
        "files": files,
    }
    (target / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _save(stream: IO[bytes], array: NDArray[Any]) -> None:
    """As `np.save`, but through Python's stream: numpy's own writing hides why it failed (a full disk)."""
    import numpy as np

    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
    stream.write(array.data)


def statistics(images: Images) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of the pixels / 255, exactly, from counts of the 256 values."""
    import numpy as np

    values = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].reshape(-1), minlength=256)
        average = float((counts * values).sum() / counts.sum())
        mean.append(round(average, 6))
        std.append(round(float(np.sqrt((counts * (values - average) ** 2).sum() / counts.sum())), 6))
    return mean, std


def _swap(temporary: Path, place: Path) -> None:
    """Put the finished folder in its place. A process that has mapped the old files keeps them."""
    old = place.with_name(f"{temporary.name}.old")
    if place.exists():
        place.replace(old)
    try:
        temporary.replace(place)
    except BaseException:
        if old.exists():
            old.replace(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(parent: Path, source: str) -> None:
    """What a killed process left behind; nobody else works here while the lock is held."""
    for pattern in (f".{source}-*.tmp", f".{source}-*.tmp.old"):
        for leftover in parent.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def friendly_errors(place: Path) -> Iterator[None]:
    """Turn what the file system says into what the user should read."""
    try:
        yield
    except OSError as error:
        raise cannot_write(place, error) from error

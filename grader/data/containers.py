"""Folders and archives seen alike: a list of files with sizes, and their bytes, read under limits.

Nothing is ever extracted to disk, so that a member's name can't reach anything. Which of the files mean
something is `importing`'s question.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from grader.errors import PracticeError, UsageProblem

MAX_FILES = 1_000_000
MAX_FILE_BYTES = 400 * 2**20  # the largest file of any official archive has 47 MB
MAX_TOTAL_BYTES = 8 * 2**30

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ARCHIVE_ENDINGS = (*TAR_ENDINGS, ".zip")

OnFile = Callable[[int], None]
"""Called with the number of files listed so far."""


class Container(Protocol):
    """A folder or an archive. Paths are relative to it, with forward slashes."""

    @property
    def place(self) -> Path:
        """The folder or archive itself."""

    def list(self, on_file: OnFile) -> Mapping[PurePosixPath, int]:
        """Every regular file with its size in bytes."""

    def read(self, wanted: Iterable[PurePosixPath]) -> Iterator[tuple[PurePosixPath, bytes]]:
        """The wanted files, each once, in the order that is quickest."""


def is_archive(name: str) -> bool:
    """Whether a file's name ends like an archive's."""
    return name.lower().endswith(ARCHIVE_ENDINGS)


def open_container(path: Path) -> Container:
    """The container at `path`; a path that is neither folder nor archive raises `UsageProblem`."""
    if path.is_dir():
        return Folder(path)
    if is_archive(path.name):
        return Zip(path) if path.name.lower().endswith(".zip") else Tar(path)
    raise UsageProblem(f"{path} is neither a folder nor an archive ({', '.join(ARCHIVE_ENDINGS)}).")


class _Tally:
    """Counts files and bytes and stops at the limits."""

    def __init__(self, place: Path, on_file: OnFile) -> None:
        self.place, self.on_file = place, on_file
        self.files = self.bytes = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.bytes += size
        self.on_file(self.files)
        if self.files > MAX_FILES:
            raise PracticeError(
                f"{self.place} has more than {MAX_FILES:,} files.", hint="Name the folder of the data set itself."
            )


@dataclass(frozen=True)
class Folder:
    """A folder on disk, with what is below it; hidden folders and links to folders are passed over."""

    place: Path

    def list(self, on_file: OnFile) -> Mapping[PurePosixPath, int]:
        tally = _Tally(self.place, on_file)
        files: dict[PurePosixPath, int] = {}
        for parent, folders, names in os.walk(self.place, onerror=None):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for name in sorted(names):
                file = Path(parent, name)
                try:
                    size = file.stat().st_size if file.is_file() else None
                except OSError:
                    continue
                if size is not None:
                    tally.add(0)
                    files[PurePosixPath(file.relative_to(self.place).as_posix())] = size
        return files

    def read(self, wanted: Iterable[PurePosixPath]) -> Iterator[tuple[PurePosixPath, bytes]]:
        for path in wanted:
            file = self.place / path
            try:
                with file.open("rb") as stream:
                    yield path, _limited(stream, file)
            except OSError as error:
                raise PracticeError(f"{file} can't be read: {error.strerror}.") from error


@dataclass(frozen=True)
class Tar:
    """A tar archive, compressed or not, read from front to end."""

    place: Path

    def list(self, on_file: OnFile) -> Mapping[PurePosixPath, int]:
        tally = _Tally(self.place, on_file)
        files: dict[PurePosixPath, int] = {}
        for member, _ in self._members():
            tally.add(member.size)
            _refuse_large(self.place, tally.bytes)
            files[_member_path(self.place, member.name)] = member.size
        return files

    def read(self, wanted: Iterable[PurePosixPath]) -> Iterator[tuple[PurePosixPath, bytes]]:
        remaining = set(wanted)
        for member, archive in self._members():
            path = _member_path(self.place, member.name)
            if path not in remaining:
                continue
            remaining.remove(path)
            stream = archive.extractfile(member)
            assert stream is not None  # only regular files come here
            yield path, _limited(stream, self.place / path)
            if not remaining:
                return

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
        try:
            with tarfile.open(self.place, "r|*") as archive:
                for member in archive:
                    if member.isreg():
                        yield member, archive
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise _broken(self.place, error) from error


@dataclass(frozen=True)
class Zip:
    """A zip archive."""

    place: Path

    def list(self, on_file: OnFile) -> Mapping[PurePosixPath, int]:
        tally = _Tally(self.place, on_file)
        files: dict[PurePosixPath, int] = {}
        try:
            with zipfile.ZipFile(self.place) as archive:
                for member in archive.infolist():
                    if not member.is_dir():
                        tally.add(member.file_size)
                        _refuse_large(self.place, tally.bytes)
                        files[_member_path(self.place, member.filename)] = member.file_size
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise _broken(self.place, error) from error
        return files

    def read(self, wanted: Iterable[PurePosixPath]) -> Iterator[tuple[PurePosixPath, bytes]]:
        remaining = set(wanted)
        try:
            with zipfile.ZipFile(self.place) as archive:
                for member in archive.infolist():
                    path = PurePosixPath(member.filename)
                    if path in remaining and not member.is_dir():
                        remaining.remove(path)
                        with archive.open(member) as stream:
                            yield path, _limited(stream, self.place / path)
        # A password raises RuntimeError, an unknown compression NotImplementedError.
        except (zipfile.BadZipFile, OSError, EOFError, zlib.error, RuntimeError) as error:
            raise _broken(self.place, error) from error


def _member_path(place: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise PracticeError(
            f"{place} holds a file that would lie outside of it: {name!r}.",
            hint="No data set's archive has such names: nothing of it was used. Get the archive anew.",
        )
    return path


def _refuse_large(place: Path, total: int) -> None:
    if total > MAX_TOTAL_BYTES:
        raise PracticeError(
            f"{place} unpacks to more than {MAX_TOTAL_BYTES >> 30} GB, many times what a data set here has.",
            hint="Name the archive of the data set itself.",
        )


def _limited(stream: IO[bytes], name: Path) -> bytes:
    content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise PracticeError(f"{name} is larger than {MAX_FILE_BYTES >> 20} MB: no file of a data set here is.")
    return content


def gunzip(content: bytes, name: Path) -> bytes:
    """The content of a gzip file, under the same limit; cut off or changed content raises `PracticeError`."""
    import gzip
    import io

    try:
        return _limited(gzip.GzipFile(fileobj=io.BytesIO(content)), name)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(name, error) from error


def _broken(place: Path, error: Exception) -> PracticeError:
    if isinstance(error, PermissionError | FileNotFoundError):
        return PracticeError(f"{place} can't be read: {error.strerror}.")
    reason = str(error).rstrip(".") or type(error).__name__
    return PracticeError(
        f"{place} is damaged or cut off: {reason}.", hint="Get the file anew, then run the same command again."
    )

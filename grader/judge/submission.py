"""A learner's file, read without trusting it: regular files only, capped, with its hash; or why it can't be read.

Light: used by the command line. Nothing is parsed here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from grader.sandbox.limits import MAX_SOURCE_BYTES


@dataclass(frozen=True)
class Submission:
    """`source` is the file's bytes; `problem` says in a sentence why it can't be graded, or is None."""

    path: str
    source: bytes
    sha256: str
    problem: str | None = None

    @property
    def text(self) -> str:
        """The source as text; only meaningful when there is no problem."""
        return self.source.decode("utf-8-sig")


def read_submission(path: Path | str, shown: str | None = None) -> Submission:
    """Reads the file. Never raises for what the learner did: the problem is in the result.

    A symbolic link is refused, because it could point to the solution; so is anything that isn't a regular file.
    """
    path = Path(path)
    name = shown or str(path)
    try:
        source = _read(path)
    except OSError as error:
        return Submission(name, b"", _hash(b""), _why_unreadable(error, name))
    except ValueError as error:
        return Submission(name, b"", _hash(b""), str(error))
    return Submission(name, source, _hash(source), find_problem(source))


def _hash(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


def _read(path: Path) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise ValueError(f"{path.name} is {kind}; a Python file is needed.")
        if status.st_size > MAX_SOURCE_BYTES:
            raise ValueError(
                f"{path.name} has {status.st_size:,} bytes; at most {MAX_SOURCE_BYTES:,} are graded."
                " Put only your code in it."
            )
        return file.read(MAX_SOURCE_BYTES + 1)


def _why_unreadable(error: OSError, name: str) -> str:
    if error.errno == errno.ENOENT:
        return f"{name} does not exist."
    if error.errno == errno.ELOOP:
        return f"{name} is a symbolic link; the file itself is needed."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{name} may not be read (permission denied)."
    return f"{name} can't be read: {error.strerror or error}."


def find_problem(source: bytes) -> str | None:
    """What keeps these bytes from being Python source, in a sentence; None when nothing does."""
    if not source.strip():
        return "The file is empty."
    if source.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "The file is UTF-16; save it as UTF-8."
    if b"\0" in source:
        line = source[: source.index(b"\0")].count(b"\n") + 1
        return f"The file holds a NUL byte (line {line}, byte {source.find(0)}); it is not Python source."
    try:
        source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source[: error.start].count(b"\n") + 1
        return (
            f"The file is not UTF-8: byte 0x{source[error.start]:02x} at offset {error.start}, line {line}."
            " Save it as UTF-8."
        )
    return None

"""Files that are never half-written, and copies of what is about to be replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from grader.errors import PracticeError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` whole or not at all: a temporary file beside it, then a rename.

    Text is written as UTF-8 with the newlines it has. The mode of a file that is replaced is kept, and a
    symbolic link keeps pointing to the file that it names. Raises PracticeError saying what the system said.
    """
    payload = content.encode("utf-8") if isinstance(content, str) else content
    target = path.resolve() if path.is_symlink() else path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, payload)
    except OSError as error:
        raise cannot_write(path, error) from error


def read(path: Path) -> bytes:
    """The file's content. Raises PracticeError saying what the system said."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PracticeError(
            f"{path} can't be read: {error.strerror or error}.",
            hint="Check the path and its permissions, then run the command again.",
        ) from error


def back_up(path: Path, backups: Path) -> Path:
    """Copy `path` into the folder `backups` under a name with the time; return the copy's path.

    An existing copy is never overwritten.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    content = read(path)
    copy = backups / f"{path.stem}.{stamp}{path.suffix}"
    count = 1
    while copy.exists():
        count += 1
        copy = backups / f"{path.stem}.{stamp}-{count}{path.suffix}"
    write_atomic(copy, content)
    return copy


def cannot_write(path: Path, error: OSError) -> PracticeError:
    """The message for a write that failed, with what to do about the usual reasons."""
    hints = {
        errno.ENOSPC: "The disk is full: free some space, then run the command again.",
        errno.EDQUOT: "Your disk quota is used up: free some space, then run the command again.",
        errno.EFBIG: "The file would exceed the size limit of this shell: see `ulimit -f`.",
        errno.EROFS: "The file system is read-only: use a workspace elsewhere, `practice init DIR`.",
        errno.EACCES: f"No permission: see `ls -ld {path.parent}`, or use `practice init DIR` elsewhere.",
        errno.EPERM: f"No permission: see `ls -ld {path.parent}`, or use `practice init DIR` elsewhere.",
    }
    hint = hints.get(error.errno or 0, "Check the path and its permissions, then run the command again.")
    return PracticeError(f"{path} can't be written: {error.strerror or error}.", hint=hint)


def _replace(target: Path, payload: bytes) -> None:
    import tempfile  # slow to import, and most commands write no file

    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:  # Ctrl-C too must leave nothing behind
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

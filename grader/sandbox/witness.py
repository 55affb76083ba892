"""Notes what the candidate's code was denied, also where it swallowed the error.

An audit hook of Python's sees files being opened, signals and connections before the kernel decides. Whether they were
denied is tried again afterwards, so that what a system allows is never held against anyone. This runs inside the
worker, so it can be deceived. It is believed only in what it says against the candidate: confinement doesn't rest
on it.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from grader.sandbox.candidate import CANDIDATE_FILE
from grader.sandbox.confine import DEVICES, SHARED_MEMORY

MOST: Final = 8
"""Attempts that are kept; the first ones say enough."""

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EVENTS: Final = frozenset({"open", "os.listdir", "os.scandir", "os.kill", "os.killpg", "socket.connect"})
_QUIET: Final = ("linecache.py", "traceback.py")
"""Showing a traceback looks for the sources of all its frames, the kit's own among them, and does without."""


class Witness:
    """What the candidate's code attempted. Install it before the candidate is loaded; it stays for good."""

    def __init__(self, scratch: Path, secret: Iterable[str | Path]) -> None:
        self._free = (str(scratch.resolve()), SHARED_MEMORY, *DEVICES)
        self._secret = tuple(str(Path(folder).resolve()) for folder in secret)
        self._session = os.getsid(0)
        self._attempts: dict[tuple[str, str], int] = {}
        sys.addaudithook(self._hook)

    def denied(self) -> list[list[Any]]:
        """`[what, line]` of each attempt that the sandbox denies; what it allows after all is left out."""
        attempts, self._attempts = self._attempts, {}
        return [
            [_WORDS[kind].format(target), line] for (kind, target), line in attempts.items() if _fails(kind, target)
        ]

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS or len(self._attempts) >= MOST:
            return
        try:
            attempt = self._attempt(event, arguments)
            if attempt is not None and attempt not in self._attempts:
                line = _candidates_line()
                if line:
                    self._attempts[attempt] = line
        except (OSError, ValueError, TypeError):
            return

    def _attempt(self, event: str, arguments: tuple[Any, ...]) -> tuple[str, str] | None:
        if event == "socket.connect":
            stream = arguments[0].type == socket.SOCK_STREAM  # nothing denies datagrams
            return ("connect", _place(arguments[1])) if stream and isinstance(arguments[1], tuple) else None
        if event == "os.kill":
            return None if self._is_own(arguments[0]) else ("kill", str(arguments[0]))
        if event == "os.killpg":
            return None if self._is_own(-arguments[0]) else ("kill", str(-arguments[0]))
        if not isinstance(arguments[0], str | bytes | os.PathLike):
            return None
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if any(_lies_in(path, folder) for folder in self._free):
            return None
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            return ("write", path)
        return ("read", path) if any(_lies_in(path, folder) for folder in self._secret) else None

    def _is_own(self, pid: int) -> bool:
        """Itself, its group, or a process that it started: DataLoader ends its workers by a signal."""
        if pid == 0:
            return True
        if pid < 0:
            return -pid == os.getpgid(0)
        try:
            return os.getsid(pid) == self._session
        except ProcessLookupError:
            return True


_WORDS: Final = {
    "read": "reading {}",
    "write": "writing {}",
    "kill": "a signal to process {}",
    "connect": "a connection to {}",
}


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _place(address: tuple[Any, ...]) -> str:
    return f"{address[0]}:{address[1]}"


def _fails(kind: str, target: str) -> bool:
    """Whether the sandbox denies the attempt, tried again without changing anything."""
    try:
        if kind == "kill":
            os.kill(int(target), 0)
        elif kind == "connect":
            _connect(target)
        else:
            os.close(os.open(target, (os.O_RDONLY if kind == "read" else os.O_WRONLY) | os.O_NONBLOCK))
    except OSError as error:
        if error.errno == errno.ENOENT and kind == "write":
            return os.path.isdir(os.path.dirname(target))  # noqa: PTH112, PTH120
        return error.errno in (errno.EACCES, errno.EPERM)
    return False


def _connect(place: str) -> None:
    """Begins a connection and drops it at once; the kernel's refusal comes before the first packet."""
    host, _, port = place.rpartition(":")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as again:
        again.setblocking(False)
        again.connect((host, int(port)))


def _candidates_line() -> int:
    """The line of the candidate's file that is being run, innermost; 0 when none is, or a traceback is drawn."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name == CANDIDATE_FILE:
            return frame.f_lineno
        if name.endswith(_QUIET):
            return 0
        if frame.f_back is None:
            return 0
        frame = frame.f_back
    return 0

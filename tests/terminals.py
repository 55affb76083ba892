"""A real terminal for tests: the program runs on a pty, and what it draws is read from a screen."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pexpect
import psutil
import pyte

LONGEST = 90.0
"""Seconds after which waiting for something on the screen gives up: a safety net, far above what is needed."""


class Terminal:
    """A program on a pty. `text` is the screen now, `raw` all that it ever wrote."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], cwd: Path, columns: int = 80, rows: int = 24
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.raw = b""
        self._stream = pyte.ByteStream(self.screen)
        self.child = pexpect.spawn(
            command[0],
            list(command[1:]),
            env=dict(environ) | {"TERM": "xterm-256color", "LANG": "C.UTF-8"},
            cwd=str(cwd),
            dimensions=(rows, columns),
            timeout=LONGEST,
        )

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def pump(self, seconds: float = 0.05) -> bool:
        """Take in what was written, for `seconds`; whether the program still runs."""
        until = time.monotonic() + seconds
        while True:
            try:
                data = self.child.read_nonblocking(65536, timeout=0.02)
            except pexpect.TIMEOUT:
                data = b""
            except pexpect.EOF:
                return False
            self.raw += data
            self._stream.feed(data)
            if time.monotonic() > until:
                return True

    def until(self, there: str | Callable[[str], bool]) -> str:
        """Wait until the screen holds the text, or the condition holds of it; the whole screen then."""
        holds = (lambda text: there in text) if isinstance(there, str) else there
        until = time.monotonic() + LONGEST
        while not holds(self.text):
            if time.monotonic() > until or (not self.pump() and not holds(self.text)):
                raise AssertionError(f"never on the screen: {there!r}\n{self.text}\n{self.raw[-2000:]!r}")
        self._rest_of_the_frame()
        return self.text

    def _rest_of_the_frame(self) -> None:
        """A frame may come in pieces, and on a busy machine late: read on while the program is still at work."""
        until = time.monotonic() + 2
        while self.pump(0.15) and self._at_work() and time.monotonic() < until:
            pass

    def _at_work(self) -> bool:
        try:
            return psutil.Process(self.child.pid).status() == psutil.STATUS_RUNNING
        except psutil.Error:
            return False

    def press(self, keys: str) -> None:
        self.child.send(keys)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def end(self) -> int:
        """Wait until the program has ended; its exit code, or 128 and the signal's number."""
        until = time.monotonic() + LONGEST
        while self.pump():
            assert time.monotonic() < until, f"it doesn't end\n{self.text}"
        self.child.wait()
        return self.child.exitstatus if self.child.exitstatus is not None else 128 + self.child.signalstatus

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, pexpect.ExceptionPexpect):
            if self.child.isalive():
                os.kill(self.child.pid, signal.SIGKILL)
        self.child.close(force=True)

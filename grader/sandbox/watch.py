"""The outside of one worker: sends it work, keeps its clock and its memory, collects what it says, ends it.

Everything is bounded: what is read, what is kept, and how long anything takes, sending included.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from grader.sandbox import tree, wire
from grader.sandbox.launcher import Launcher, Worker
from grader.sandbox.limits import Limits

TICK = 0.05
WALL_STRETCH = 5
"""By how much a busy machine may slow a probe down before the wall clock ends it."""
GRACE = 1.0
"""Seconds that a worker gets to end after its result, before it is killed."""
KEPT_OUTPUT = 16 << 10
"""Bytes kept of what the candidate prints, at the beginning and again at the end."""

Reason = Literal["cpu", "idle", "wall", "memory", "output", "processes", "threads", "malformed", "evidence"]


class Cancelled(BaseException):
    """The user gave up on the run."""


@dataclass
class Outcome:
    """What became of one probe: evidence, an exception, or an end of another kind."""

    value: Any = None
    has_value: bool = False
    error: dict[str, Any] | None = None
    denied: list[tuple[str, int]] = field(default_factory=list)
    """What the candidate was denied, with the line, as far as the worker tells; also where it swallowed the error."""
    during: str = "loading"
    """`loading`, `preparing` or `running`."""
    killed: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None
    output: str = ""
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    wall_seconds: float = 0.0
    steps: tuple[int, int] | None = None
    stepped: float = 0.0
    """The computing time when the last step was reported."""
    strays: int = 0
    limits: Limits = field(default_factory=Limits)


class Output:
    """The first and the last bytes of a stream, and how many there were."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.tail: deque[bytes] = deque()
        self._tail_size = 0
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = KEPT_OUTPUT - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        if data:
            self.tail.append(data)
            self._tail_size += len(data)
            while self._tail_size - len(self.tail[0]) >= KEPT_OUTPUT:
                self._tail_size -= len(self.tail.popleft())

    def text(self) -> str:
        tail = b"".join(self.tail)[-KEPT_OUTPUT:]
        left_out = self.total - len(self.head) - len(tail)
        gap = f"\n… {left_out} bytes left out …\n".encode() if left_out > 0 else b""
        return (bytes(self.head) + gap + tail).decode("utf-8", errors="replace")


class Exchange:
    """The conversation with one worker."""

    def __init__(
        self,
        launcher: Launcher,
        limits: Limits,
        *,
        source: str,
        seed: int,
        is_cancelled: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int, int, float | None], None] = lambda done, total, loss: None,
    ) -> None:
        self.launcher = launcher
        self.limits = limits
        self.is_cancelled = is_cancelled
        self.on_progress = on_progress
        self.loaded = False
        self.outcome: Outcome | None = None
        self.worker: Worker = launcher.order(limits)
        self._result = Outcome(limits=limits)
        self._reader = wire.Reader()
        self._printed = Output()
        self._outbox: deque[memoryview] = deque()
        self._done = False
        self._cpu_before = 0.0
        self._cpu_seen = 0.0
        self._idle = 0.0
        self.worker.channel.setblocking(False)
        os.set_blocking(self.worker.output, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.worker.channel, selectors.EVENT_READ, self._on_channel)
        self._selector.register(self.worker.output, selectors.EVENT_READ, self._on_output)
        self._post(wire.pack({"kind": "load", "source": source, "seed": seed}))

    # --- what the judge asks for -------------------------------------------------------------------

    def limit(self, limits: Limits) -> None:
        """Sets the limits of the probe that is to run, when they differ from those it was ordered with."""
        self.limits = self._result.limits = limits

    def load(self) -> Outcome | None:
        """Waits until the candidate is loaded. Returns None then, or how it ended instead."""
        if not self.loaded and self.outcome is None:
            budget = self.worker.import_seconds + self.limits.load_seconds
            self._pump(lambda: self.loaded, cpu=budget, wall=max(self.limits.wall_seconds, budget * 2))
        return self.outcome

    def run(self, *, frames: list[memoryview], meanwhile: Callable[[], None] = lambda: None) -> Outcome:
        """Runs one probe in the loaded candidate and returns how it ended; the worker is gone then.

        `meanwhile` is called once the worker has its work.
        """
        if self.load() is not None:
            assert self.outcome is not None
            return self.outcome
        self._result.during = "running"
        self._cpu_before = tree.usage(self.worker.pid).cpu_seconds
        self._post(frames)
        meanwhile()
        self._pump(lambda: self._done, cpu=self.limits.cpu_seconds, wall=self.limits.wall_seconds)
        assert self.outcome is not None
        return self.outcome

    def discard(self) -> None:
        """Ends a worker that isn't wanted any more."""
        if self.outcome is None:
            tree.kill_tree(self.worker.pid)
            self._end()

    # --- inside ------------------------------------------------------------------------------------

    def _post(self, frames: list[memoryview]) -> None:
        self._outbox.extend(f for f in frames if len(f))
        self._write()

    def _write(self) -> None:
        channel = self.worker.channel
        try:
            while self._outbox:
                sent = channel.send(self._outbox[0][: 1 << 22])
                if sent == len(self._outbox[0]):
                    self._outbox.popleft()
                else:
                    self._outbox[0] = self._outbox[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._outbox.clear()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.modify(channel, wanted, self._on_channel)

    def _pump(self, reached: Callable[[], bool], *, cpu: float, wall: float) -> None:
        began = time.monotonic()
        looked = began
        self._idle = 0.0
        while not reached():
            self._poll(TICK)
            if self.outcome is not None:
                return
            now = time.monotonic()
            if now - looked >= TICK:
                since, looked = now - looked, now
                if self.is_cancelled():
                    self.discard()
                    raise Cancelled
                reason = self._over_limit(cpu, min(since, 4 * TICK))
                if reason is None and now - began > WALL_STRETCH * wall:
                    reason = "wall"
                if reason is not None:
                    self._kill(reason)
                    return
        self._result.wall_seconds += time.monotonic() - began
        if self._done:
            self._wait_for_end()

    def _poll(self, seconds: float) -> None:
        """Handles what is ready; one handler may end the exchange for the others."""
        for key, events in self._selector.select(seconds):
            if self.outcome is not None:
                return
            key.data(events)

    def _over_limit(self, cpu: float, since: float) -> Reason | None:
        used = tree.usage(self.worker.pid)
        result = self._result
        if not used.busy and used.cpu_seconds == self._cpu_seen:
            self._idle += since
        self._cpu_seen = used.cpu_seconds
        memory = used.memory_mb - self.worker.base_mb * used.processes
        result.peak_mb = max(result.peak_mb, memory)
        result.cpu_seconds = max(result.cpu_seconds, used.cpu_seconds - self._cpu_before)
        if memory > self.limits.memory_mb:
            return "memory"
        if used.processes > self.limits.processes:
            return "processes"
        if used.threads > self.limits.threads:
            return "threads"
        if result.cpu_seconds > cpu:
            return "cpu"
        return "idle" if self._idle > self.limits.idle_seconds else None

    def _on_channel(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write()
        if not events & selectors.EVENT_READ:
            return
        try:
            data = self.worker.channel.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._closed()
            return
        self._reader.feed(data)
        try:
            for header, value in self._reader.frames():
                self._on_frame(header, value)
        except wire.Malformed:
            self._kill("malformed")

    def _closed(self) -> None:
        """The channel ended: usually because the worker did; one that lives on without it is cut off."""
        self._selector.unregister(self.worker.channel)
        if self._done:
            return
        deadline = time.monotonic() + GRACE
        while _alive(self.worker.pid) and time.monotonic() < deadline and self.outcome is None:
            self._poll(0.005)
        if self.outcome is not None:
            return
        if _alive(self.worker.pid):
            self._kill("malformed")
        else:
            self._end()

    def _on_frame(self, header: dict[str, Any], value: Any) -> None:
        kind = header.get("kind")
        if kind == "loaded" and not self.loaded:
            self.loaded = True
        elif kind == "progress" and type(header.get("done")) is int and type(header.get("total")) is int:
            self._result.steps = (header["done"], header["total"])
            self._result.stepped = self._result.cpu_seconds
            self.on_progress(header["done"], header["total"], value if isinstance(value, float) else None)
        elif kind == "value" and self.loaded and not self._done and self._result.during == "running":
            self._result.value, self._result.has_value = value, True
            self._result.denied = _denials(header.get("denied"))
            self._done = True
        elif kind == "raised" and not self._done and _is_error(header.get("error")):
            self._result.error = header["error"]
            self._result.denied = _denials(header.get("denied"))
            self._result.during = str(header.get("while", self._result.during))
            self._done = True
            if not self.loaded:
                self._wait_for_end()
        else:
            raise wire.Malformed("an answer of no known kind")

    def _on_output(self, events: int) -> None:
        try:
            data = os.read(self.worker.output, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(self.worker.output)
            return
        self._printed.add(data)
        if self._printed.total > self.limits.output_bytes:
            self._kill("output")

    def _wait_for_end(self) -> None:
        """The result is there; what the worker still does (threads, atexit) gets a moment and no more."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self.worker.channel)
        deadline = time.monotonic() + GRACE
        while _alive(self.worker.pid) and time.monotonic() < deadline and self.outcome is None:
            self._poll(0.002)
        if self.outcome is None:
            if _alive(self.worker.pid):
                tree.kill_tree(self.worker.pid)
            self._end()

    def _kill(self, reason: Reason) -> None:
        if self.outcome is None:
            if not self._done:
                self._result.killed = reason
            tree.kill_tree(self.worker.pid)
            self._end()

    def _end(self) -> None:
        result = self._result
        self._drain()
        self._selector.close()
        self.launcher.finish(self.worker)
        status = self.worker.status or 0
        if os.WIFSIGNALED(status):
            result.signal = os.WTERMSIG(status)
        else:
            result.exit_code = os.waitstatus_to_exitcode(status)
        result.strays = self.worker.strays
        result.output = self._printed.text()
        self.outcome = result

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while self._printed.total <= 2 * self.limits.output_bytes:
                data = os.read(self.worker.output, 1 << 16)
                if not data:
                    break
                self._printed.add(data)


def _alive(pid: int) -> bool:
    """False once the process has ended, zombies included."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        pass
    except OSError:
        return False
    if os.path.isdir("/proc/self"):  # noqa: PTH112
        return False
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _denials(found: Any) -> list[tuple[str, int]]:
    """The well-formed rows of a worker's list of denials."""
    if not isinstance(found, list):
        return []
    rows = [row for row in found[:20] if isinstance(row, list) and [type(part) for part in row] == [str, int]]
    return [(what[:500], line) for what, line in rows]


_ERROR_FIELDS = {
    "type": str,
    "kinds": list,
    "message": str,
    "frames": list,
    "notes": list,
    "filename": str,
    "attribute": str,
}


def _is_error(error: Any) -> bool:
    """Whether a worker's account of an exception has the form that the judge reads."""
    if not isinstance(error, dict) or any(type(error.get(k)) is not t for k, t in _ERROR_FIELDS.items()):
        return False
    frames_fine = all(isinstance(f, list) and [type(x) for x in f] == [int, str, str] for f in error["frames"])
    syntax = error.get("syntax")
    syntax_fine = syntax is None or (isinstance(syntax, list) and len(syntax) == 4 and type(syntax[2]) is str)
    return frames_fine and syntax_fine and all(type(k) is str for k in error["kinds"] + error["notes"])

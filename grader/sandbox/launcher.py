"""Starts workers: by forking a clean process, or as interpreters of their own where forking isn't safe.

Both keep one worker ordered ahead, so that the next probe finds it ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from grader.errors import GraderError
from grader.sandbox import tree, zygote
from grader.sandbox.limits import Limits


@dataclass
class Worker:
    """A started worker as the judge sees it."""

    channel: socket.socket
    output: int
    pid: int
    scratch: Path
    import_seconds: float = 0.0
    """CPU seconds that it may spend on importing libraries before the candidate's turn comes."""
    base_mb: float = 0.0
    """Memory that each process of its tree has from the start."""
    status: int | None = field(default=None)
    strays: int = 0


class Launcher(Protocol):
    """Where workers come from."""

    def order(self, limits: Limits) -> Worker:
        """Starts a worker and returns at once."""

    def finish(self, worker: Worker) -> None:
        """Waits until the worker, which has ended or was killed, is gone with all it started."""

    def close(self) -> None:
        """Ends everything that is left, and removes the scratch folders."""


def make_scratch() -> Path:
    """A private folder for one session, with room for its workers' own; removes those of judges that died."""
    folder = Path(tempfile.mkdtemp(prefix=f"practice-{os.getpid()}-"))
    for other in folder.parent.glob("practice-*-*"):
        owner = other.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(other, ignore_errors=True)
    return folder


class ForkLauncher:
    """Workers forked by the zygote."""

    def __init__(self, secret: list[str]) -> None:
        self.scratch = make_scratch()
        self.control, self.pid = zygote.start(self.scratch, secret)
        self.base_mb = tree.usage(self.pid).memory_mb
        self._count = 0
        self._forked: list[int] = []
        self._ended: dict[int, tuple[int, int]] = {}

    def order(self, limits: Limits) -> Worker:
        self._count += 1
        scratch = self.scratch / str(self._count)
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        read, write = os.pipe()
        message = {"do": "fork", "scratch": str(scratch), "limits": asdict(limits)}
        try:
            socket.send_fds(self.control, [json.dumps(message).encode()], [theirs.fileno(), write])
            while not self._forked:
                self._receive()
        finally:
            theirs.close()
            os.close(write)
        return Worker(ours, read, self._forked.pop(), scratch, base_mb=self.base_mb)

    def finish(self, worker: Worker) -> None:
        while worker.pid not in self._ended:
            self._receive()
        worker.status, worker.strays = self._ended.pop(worker.pid)
        _dispose(worker)

    def _receive(self) -> None:
        data = self.control.recv(zygote.MESSAGE)
        if not data:
            raise GraderError("the process that starts the workers ended unexpectedly", hint="Run the check again.")
        message = json.loads(data)
        if "forked" in message:
            self._forked.append(message["forked"])
        else:
            self._ended[message["ended"]] = (message["status"], message["strays"])

    def close(self) -> None:
        self.control.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        shutil.rmtree(self.scratch, ignore_errors=True)


class SpawnLauncher:
    """Workers that are interpreters of their own; slower to start, the same inside."""

    def __init__(self, secret: list[str]) -> None:
        self.scratch = make_scratch()
        self.secret = secret
        self._count = 0
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def order(self, limits: Limits) -> Worker:
        self._count += 1
        scratch = self.scratch / str(self._count)
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        job = {
            "scratch": str(scratch),
            "session": str(self.scratch),
            "secret": self.secret,
            "limits": asdict(limits),
            "channel": theirs.fileno(),
            "output": write,
        }
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "grader.sandbox.spawned", json.dumps(job)],
                pass_fds=(theirs.fileno(), write),
                stdin=subprocess.DEVNULL,
                stdout=write,
                stderr=write,
            )
        finally:
            theirs.close()
            os.close(write)
        self._processes[process.pid] = process
        return Worker(ours, read, process.pid, scratch, import_seconds=60.0)

    def finish(self, worker: Worker) -> None:
        process = self._processes.pop(worker.pid)
        process.wait()
        code = process.returncode
        worker.status = -code if code < 0 else code << 8
        _dispose(worker)

    def close(self) -> None:
        for pid, process in self._processes.items():
            tree.kill_tree(pid)
            process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _dispose(worker: Worker) -> None:
    worker.channel.close()
    with contextlib.suppress(OSError):
        os.close(worker.output)
    shutil.rmtree(worker.scratch, ignore_errors=True)


def choose() -> type[ForkLauncher] | type[SpawnLauncher]:
    """Forking on Linux, unless `PRACTICE_SANDBOX=spawn` asks otherwise; interpreters elsewhere."""
    if sys.platform == "linux" and os.environ.get("PRACTICE_SANDBOX") != "spawn":
        return ForkLauncher
    return SpawnLauncher

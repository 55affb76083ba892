"""The warm server: a clean process that has imported torch, and forks a judge for each request.

It runs no tensor operation and starts no thread, because a forked child of a process that did would hang. It
listens on a private Unix socket, answers only its own user, and goes after ten idle minutes.

`python -m grader.sandbox.server SOCKET` listens; `--once FD` answers one request on an inherited socket and ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

IDLE_SECONDS = float(os.environ.get("PRACTICE_WARM_IDLE", "600"))


def preload(*, optimizers: bool, vision: bool) -> None:
    """Imports what judges and workers need. Only imports: no tensor may be computed here."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    _import("numpy.random", "torch.utils.data", "torch.testing", "grader.checking.probing", "grader.sandbox.worker")
    if optimizers:
        _import("torch._dynamo")  # the first optimizer would import it, in every worker anew
    if vision:
        with contextlib.suppress(Exception):  # a torchvision that doesn't fit torch is the worker's to report
            _import("torchvision", "torchvision.models", "torchvision.transforms.v2")


def preload_judge() -> None:
    """Imports what only judges need."""
    _import("pytest", "grader.catalog", "grader.data.prepared", "grader.judge.plugin", "grader.judge.session")


def _import(*names: str) -> None:
    for name in names:
        importlib.import_module(name)


class Server:
    """Accepts connections and forks a judge for each."""

    def __init__(self, listener: socket.socket, path: Path, fingerprint: str) -> None:
        self.listener = listener
        self.path = path
        self.fingerprint = fingerprint
        self.judges: set[int] = set()
        self.started = time.time()
        self.graded = 0
        self.has: set[str] = set()

    def serve(self) -> None:
        """Until it is told to stop, was idle for long, or its socket file is gone or not its own any more."""
        identity = self.path.stat().st_ino
        last = time.monotonic()
        while True:
            ready, _, _ = select.select([self.listener], [], [], 1.0 if not self._complete() else 5.0)
            self._reap()
            if ready:
                if not self._accept():
                    break
                last = time.monotonic()
                continue
            if self.judges:
                last = time.monotonic()
            if not self._complete() and self.graded:
                self._prepare({"optim", "torchvision"})
            idle = time.monotonic() - last > IDLE_SECONDS
            if idle or not self._owns_socket(identity):
                break
        if self._owns_socket(identity):
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _complete(self) -> bool:
        return {"optim", "torchvision"} <= self.has

    def _owns_socket(self, identity: int) -> bool:
        try:
            return self.path.stat().st_ino == identity
        except OSError:
            return False

    def _reap(self) -> None:
        for pid in list(self.judges):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                self.judges.discard(pid)

    def _prepare(self, needs: set[str]) -> None:
        missing = needs - self.has
        if missing or not self.has:
            prepare(needs)
            self.has |= needs | {"judge"}
            gc.collect()
            gc.freeze()

    def _accept(self) -> bool:
        """Answers one connection. Returns False when it asked the server to stop."""
        from grader.sandbox import messages

        connection, _ = self.listener.accept()
        with connection:
            if not same_user(connection):
                return True
            connection.settimeout(5)
            try:
                request = messages.receive(connection)
            except (OSError, messages.Broken):
                return True
            ask = request.get("ask")
            if ask == "stop" or request.get("fingerprint") != self.fingerprint:
                with contextlib.suppress(OSError):
                    messages.send(connection, {"answer": "stopping"})
                return False
            if ask == "status":
                with contextlib.suppress(OSError):
                    messages.send(
                        connection,
                        {
                            "answer": "status",
                            "pid": os.getpid(),
                            "started": self.started,
                            "graded": self.graded,
                            "idle_seconds": IDLE_SECONDS,
                        },
                    )
                return True
            if ask == "prepare":
                self._prepare({"optim", "torchvision"})
                with contextlib.suppress(OSError):
                    messages.send(connection, {"answer": "prepared"})
                return True
            connection.settimeout(None)
            self._prepare(set(request.get("needs", [])))
            self._fork_judge(connection, request)
        return True

    def _fork_judge(self, connection: socket.socket, request: dict[str, Any]) -> None:
        self.graded += 1
        pid = os.fork()
        if pid:
            self.judges.add(pid)
            return
        status = 1
        try:
            self.listener.close()
            judge(connection, request)
            status = 0
        finally:
            os._exit(status)


def prepare(needs: set[str]) -> None:
    """Everything that a judge for an exercise with these needs inherits."""
    preload(optimizers="optim" in needs, vision="torchvision" in needs)
    preload_judge()


def same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    import struct

    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", data)[1] == os.getuid())


def judge(connection: socket.socket, request: dict[str, Any]) -> None:
    """Grades in this process, streaming events over the connection. Never raises."""
    from grader.errors import PracticeError
    from grader.judge.request import Request
    from grader.judge.session import grade
    from grader.sandbox import messages
    from grader.sandbox.watch import Cancelled

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(request.get("environment", {}))

    def gone() -> bool:
        """The client says nothing after its request; what can be read is its end."""
        return bool(select.select([connection], [], [], 0)[0])

    def emit(event: Any) -> None:
        try:
            messages.send_event(connection, event)
        except OSError:
            raise Cancelled from None

    try:
        grade(Request.from_json(request["request"]), emit, gone)
    except Cancelled:
        pass
    except PracticeError as error:
        _try_send(connection, {"error": error.message, "hint": error.hint, "exit_code": error.exit_code})
    except BaseException:
        import traceback

        _try_send(connection, {"crash": traceback.format_exc()})


def _try_send(connection: socket.socket, message: dict[str, Any]) -> None:
    from grader.sandbox import messages

    with contextlib.suppress(OSError):
        messages.send(connection, message)


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if arguments[0] == "--once":
        connection = socket.socket(fileno=int(arguments[1]))
        from grader.sandbox import messages

        request = messages.receive(connection)
        prepare(set(request.get("needs", [])))
        gc.freeze()
        judge(connection, request)
        connection.close()
        os._exit(0)  # taking torch down in order would cost more than a check
    path = Path(arguments[0])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    listener.bind(str(temporary))
    temporary.chmod(0o600)
    listener.listen(8)
    temporary.replace(path)
    Server(listener, path, arguments[1]).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The clean process from which workers are forked: it has imported libraries and run nothing.

It belongs to one judge, knows no exercise, and is the subreaper of everything that workers leave behind.
Requests and answers are small JSON messages over a sequenced-packet socket; descriptors travel beside them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

from grader.sandbox import kernel, tree
from grader.sandbox.confine import Confinement
from grader.sandbox.limits import Limits
from grader.sandbox.worker import run_forked

MESSAGE = 1 << 16


def start(scratch: Path, secret: list[str]) -> tuple[socket.socket, int]:
    """Forks the zygote off this process. Returns the control socket and its process id.

    Must be called before the process runs any tensor operation or starts a thread.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            kernel.become_subreaper()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _Zygote(theirs, Confinement(scratch, secret), scratch).loop()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    theirs.close()
    return ours, pid


class _Zygote:
    def __init__(self, control: socket.socket, confinement: Confinement, scratch: Path) -> None:
        self.control = control
        self.confinement = confinement
        self.scratch = scratch
        self.live: dict[int, int] = {}
        """Worker's pid → its pidfd."""

    def loop(self) -> None:
        """Until the judge closes its end, however it ended; then takes everything away."""
        while True:
            ready, _, _ = select.select([self.control.fileno(), *self.live.values()], [], [])
            ended = [pid for pid, fd in self.live.items() if fd in ready]
            for pid in ended:
                self.reap(pid)
            if self.control.fileno() in ready and not self.handle():
                break
        for pid in list(self.live):
            tree.kill_tree(pid)
        tree.sweep(os.getpid(), set())
        shutil.rmtree(self.scratch, ignore_errors=True)

    def handle(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self.control, MESSAGE, 4)
        except ConnectionError:
            return False
        if not data:
            return False
        message: dict[str, Any] = json.loads(data)
        if message["do"] == "fork":
            self.fork(message, fds)
        return True

    def fork(self, message: dict[str, Any], fds: list[int]) -> None:
        channel, output = fds
        limits = Limits(**message["limits"])
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            run_forked(channel, output, Path(message["scratch"]), limits, self.confinement, me)
        os.close(channel)
        os.close(output)
        self.live[pid] = os.pidfd_open(pid)
        self.answer({"forked": pid})

    def reap(self, pid: int) -> None:
        """A worker ended: take its status, then end whatever it left behind."""
        os.close(self.live.pop(pid))
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            status = 0
        strays = tree.sweep(os.getpid(), set(self.live))
        self.answer({"ended": pid, "status": status, "strays": strays})

    def answer(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            self.control.send(json.dumps(message).encode())

"""The inside: closes itself in, loads the candidate, runs one probe, sends the evidence, ends.

Nothing that happens here is believed, only weighed: the judge decides what it means. The result leaves through
a private descriptor, so that closing or flooding stdout changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from grader.sandbox import kernel, wire
from grader.sandbox.candidate import (
    CANDIDATE,
    CANDIDATE_FILE,
    PROBES,
    PROBES_FILE,
    describe_error,
    make_module,
)
from grader.sandbox.confine import Confinement, limit_resources, own_environment
from grader.sandbox.limits import Limits
from grader.sandbox.witness import Witness

CHANNEL_FD = 200
"""Far above what Python hands out, so that accidents (`os.closerange(3, 100)`) miss it."""
MAX_SENT_BYTES = 1 << 34
BROKEN = 70
"""Exit code of a worker that could not tell its result."""


class Channel:
    """Frames over a socket, blocking: the judge keeps the time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = wire.Reader(max_payload=MAX_SENT_BYTES)
        self._send = sock.sendall

    def send(self, header: dict[str, Any], value: Any = None) -> None:
        for buffer in wire.pack(header, value):
            self._send(buffer)

    def receive(self) -> tuple[dict[str, Any], Any]:
        """The next frame. Ends the process when the judge has gone."""
        while True:
            for frame in self._reader.frames():
                return frame
            data = self._socket.recv(1 << 22)
            if not data:
                os._exit(0)
            self._reader.feed(data)


def seed_everything(seed: int) -> None:
    """Python's, NumPy's and torch's generators."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def close_in(scratch: Path, limits: Limits, confinement: Confinement) -> None:
    """Everything that has to hold before the first line of the candidate's code runs."""
    with contextlib.suppress(OSError):
        os.nice(5)
    kernel.first_to_go()
    kernel.hide_memory()
    scratch.mkdir(mode=0o700, exist_ok=True)
    os.chdir(scratch)
    own_environment(scratch)
    limit_resources(limits)
    confinement.apply()
    sys.dont_write_bytecode = True
    sys.path[:] = [
        p
        for p in sys.path
        if p.endswith((".zip", "lib-dynload", "site-packages", "dist-packages"))
        or p.startswith((sys.base_prefix, "/usr/lib"))
    ]
    sys.argv[:] = [CANDIDATE_FILE]


def serve(channel: Channel, witness: Witness) -> None:
    """Loads the candidate as the first frame says, then runs the probe that the second one names.

    Never returns normally to code of the kit: the caller ends the process.
    """
    import torch

    from grader.checking import probing

    header, _ = channel.receive()
    torch.set_num_threads(1)
    # What torch.use_deterministic_algorithms does, without importing the compiler to tell it too (2 s).
    torch._C._set_deterministic_algorithms(True, warn_only=True)
    send = channel.send
    seed_everything(header["seed"])
    try:
        module = make_module(CANDIDATE, CANDIDATE_FILE, header["source"])
    except BaseException as error:
        send({"kind": "raised", "while": "loading", "error": describe_error(error), "denied": witness.denied()})
        return
    send({"kind": "loaded"})

    def report(done: int, total: int, loss: float | None) -> None:
        send({"kind": "progress", "done": done, "total": total}, loss)

    header, arguments = channel.receive()
    probing._Reporter.send = staticmethod(report)
    try:
        probes = make_module(PROBES, PROBES_FILE, header["probes"])
        function = getattr(probes, header["probe"])
    except BaseException as error:
        send({"kind": "raised", "while": "preparing", "error": describe_error(error)})
        return
    seed_everything(header["seed"])
    try:
        value = function(module, *arguments["args"], **arguments["kwargs"])
    except BaseException as error:
        send({"kind": "raised", "while": "running", "error": describe_error(error), "denied": witness.denied()})
        return
    try:
        send({"kind": "value", "denied": witness.denied()}, value)
    except MemoryError as error:
        send({"kind": "raised", "while": "running", "error": describe_error(error)})


def run_forked(
    channel_fd: int, output_fd: int, scratch: Path, limits: Limits, confinement: Confinement, parent: int
) -> None:
    """The life of a forked worker, from its first instruction to its last. Never returns."""
    status = BROKEN
    try:
        kernel.die_with_parent(parent)
        os.setsid()
        os.dup2(channel_fd, CHANNEL_FD, inheritable=False)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        low = 3
        for fd in (*sorted({CHANNEL_FD} | confinement.descriptors), 1 << 20):
            os.closerange(low, fd)
            low = fd + 1
        reset_streams()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        close_in(scratch, limits, confinement)
        witness = Witness(scratch, confinement.secret)
        serve(Channel(socket.socket(fileno=CHANNEL_FD)), witness)
        status = 0
    except BaseException:
        import traceback

        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def reset_streams() -> None:
    """Fresh Python-level streams on descriptors 0, 1 and 2."""
    sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]

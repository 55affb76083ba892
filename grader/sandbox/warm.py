"""The command line's end of the warm server: find it, start it, ask it, stop it. Imports nothing heavy.

A server is used only when it was started from the same installation, unchanged: its fingerprint covers Python,
torch and every module of the kit. A stale one, or one of another version, is told to stop and replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from grader.errors import GraderError
from grader.sandbox import messages
from grader.workspace import Workspace

PACKAGE = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
SERVER_ENVIRONMENT = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "PATH",
    "PRACTICE_SANDBOX",
    "PRACTICE_WARM_IDLE",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
    "XDG_RUNTIME_DIR",
    "PYTHONHASHSEED",
    "PYTHONHOME",
)


class Unreachable(GraderError):
    """No server listens, though one was there or was started a moment ago."""


def enabled() -> bool:
    """False with `PRACTICE_WARM=0`, and where there is no fork to make it worthwhile."""
    return os.environ.get("PRACTICE_WARM", "1") != "0" and sys.platform == "linux"


def connect(workspace: Workspace, needs: Iterable[str]) -> tuple[socket.socket, Any]:
    """A connection to a server that will answer one request, and the process to wait for (None when warm).

    Raises Unreachable when the server went away in between.
    """
    if not enabled():
        return _once()
    path, fingerprint = _socket_path(workspace), _fingerprint()
    connection = _try(path)
    if connection is not None and _same_fingerprint(connection, path, fingerprint):
        return _open(path), None
    if connection is not None:
        with contextlib.suppress(OSError):
            path.unlink()
    _start(path, fingerprint)
    return _open(path), None


def hello(needs: Iterable[str], request: dict[str, Any]) -> dict[str, Any]:
    """The message that asks a server to grade."""
    kept = ("PRACTICE_SANDBOX",)
    return {
        "ask": "grade",
        "fingerprint": _fingerprint(),
        "needs": sorted(needs),
        "environment": {k: os.environ[k] for k in kept if k in os.environ},
        "request": request,
    }


def status(workspace: Workspace) -> dict[str, Any] | None:
    """What the running server says of itself, or None when there is none."""
    connection = _try(_socket_path(workspace))
    if connection is None:
        return None
    with connection:
        try:
            messages.send(connection, {"ask": "status", "fingerprint": _fingerprint()})
            answer = messages.receive(connection)
        except (OSError, messages.Broken):
            return None
    return answer if answer.get("answer") == "status" else None


def stop(workspace: Workspace) -> bool:
    """Stops the server. Returns whether there was one."""
    path = _socket_path(workspace)
    connection = _try(path)
    if connection is None:
        return False
    with connection:
        try:
            messages.send(connection, {"ask": "stop"})
            messages.receive(connection)
        except (OSError, messages.Broken):
            pass
    deadline = time.monotonic() + 5
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return True


def start(workspace: Workspace) -> bool:
    """Starts the server unless a good one runs. Returns whether it was started now."""
    path = _socket_path(workspace)
    existed = path.exists()
    if status(workspace) is not None:
        return False
    if existed:  # it is dead, or of another version and about to end
        with contextlib.suppress(OSError):
            path.unlink()
    _start(path, _fingerprint())
    return True


def prepare(workspace: Workspace) -> None:
    """Makes sure that a server runs and has imported all that any grading may need; takes seconds the first time."""
    start(workspace)
    connection = _try(_socket_path(workspace))
    if connection is None:
        return
    with connection:
        connection.settimeout(START_SECONDS)
        try:
            messages.send(connection, {"ask": "prepare", "fingerprint": _fingerprint()})
            messages.receive(connection)
        except (OSError, messages.Broken):
            return


# --- inside --------------------------------------------------------------------------------------------


def _once() -> tuple[socket.socket, Any]:
    """A server for one request, over an inherited socket."""
    ours, theirs = socket.socketpair()
    with theirs, _log_file("once") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "grader.sandbox.server", "--once", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            env=_environment(),
        )
    return ours, process


def _runtime_folder() -> Path:
    """A folder that only this user may enter. Raises GraderError when somebody else owns it."""
    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"
    folder = Path(base) / f"practice-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise GraderError(f"{folder} is not a private folder of yours.", hint="Remove it, or set XDG_RUNTIME_DIR.")
    return folder


def _socket_path(workspace: Workspace) -> Path:
    name = hashlib.sha256(f"{workspace.root.resolve()}\0{sys.prefix}\0{PACKAGE}".encode()).hexdigest()[:16]
    return _runtime_folder() / f"{name}.sock"


def _log_file(name: str) -> BinaryIO:
    return (_runtime_folder() / f"{name}.log").open("ab")


def _fingerprint() -> str:
    digest = hashlib.sha256(f"{sys.version}\0{sys.prefix}\0{os.getuid()}".encode())
    for folder in ("", "checking", "data", "judge", "sandbox"):
        for entry in sorted(os.scandir(PACKAGE / folder), key=lambda e: e.name):
            if entry.name.endswith(".py"):
                found = entry.stat()
                digest.update(f"{folder}/{entry.name}\0{found.st_mtime_ns}\0{found.st_size}\0".encode())
    for place in sys.path:
        torch = Path(place) / "torch" / "version.py"
        if torch.is_file():
            digest.update(f"{torch}\0{torch.stat().st_mtime_ns}".encode())
            break
    return digest.hexdigest()[:32]


def _environment() -> dict[str, str]:
    """Only what a server needs: a worker might read it, and nothing of the user's should be in it."""
    kept = {k: os.environ[k] for k in SERVER_ENVIRONMENT if k in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def _open(path: Path) -> socket.socket:
    connection = _try(path)
    if connection is None:
        raise Unreachable("The grading server can't be reached.", hint="Try `PRACTICE_WARM=0 practice check …`.")
    return connection


def _try(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    return connection


def _same_fingerprint(connection: socket.socket, path: Path, fingerprint: str) -> bool:
    """Asks who it is; a server of another version stops by being asked. A silent one is not waited for long."""
    with connection:
        connection.settimeout(20)
        try:
            messages.send(connection, {"ask": "status", "fingerprint": fingerprint})
            return messages.receive(connection).get("answer") == "status"
        except (OSError, messages.Broken):
            return False


def _start(path: Path, fingerprint: str) -> None:
    from filelock import FileLock, Timeout

    lock = FileLock(str(path) + ".lock", timeout=START_SECONDS)
    try:
        with lock:
            connection = _try(path)
            if connection is not None:
                connection.close()
                return
            with contextlib.suppress(OSError):  # of a server that died; under the lock, so that no living one is hit
                path.unlink()
            with _log_file("server") as log:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "grader.sandbox.server", str(path), fingerprint],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                    cwd="/",
                    env=_environment(),
                )
            _wait_for(path, process)
    except Timeout:
        raise GraderError("Another process holds the lock of the grading server.", hint=f"Remove {path}.lock") from None


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if path.exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.005)
    raise GraderError(
        "The grading server did not start.",
        hint=f"See {path.with_name('server.log')}, and run `practice doctor`.",
    )

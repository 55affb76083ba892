"""Closes the worker in: Landlock, resource limits, a scratch folder, an environment of its own.

Landlock (no root, applied in place after the fork) lets the worker read the interpreter, the libraries and the
system's files, write in its scratch folder, and nothing else: no solutions, checks, data, progress database or
home; no TCP; no signals to processes outside. Where the kernel lacks Landlock, the rest holds, and
`practice doctor` says so.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grader.sandbox.limits import Limits

SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/bin",
    "/sbin",
    "/opt",
    "/etc",
    "/sys/devices/system",
    "/nix",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
KERNEL = (
    "cpuinfo",
    "filesystems",
    "loadavg",
    "meminfo",
    "stat",
    "sys",
    "uptime",
    "version",
)
"""What may be read below /proc, besides a worker's own entry: other processes' environments lie there too."""
SHARED_MEMORY = "/dev/shm"  # DataLoader workers hand their batches over through it
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT", "PYTHONHASHSEED")


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    import landlockpy

    try:
        return int(landlockpy.abi_version())
    except (landlockpy.LandlockError, OSError):
        return 0


def interpreter_folders() -> list[Path]:
    """Where this Python and its packages live: always readable, even inside a folder that isn't."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    paths |= {str(Path(sys.executable).resolve().parent.parent)}
    paths |= {p for p in sysconfig.get_paths().values() if p}
    paths |= {p for p in sys.path if p.endswith(("site-packages", "dist-packages"))}
    return sorted({Path(p).resolve() for p in paths if p and Path(p).exists()})


def readable(secret: Iterable[str | Path]) -> list[Path]:
    """What a worker may read: the interpreter and the system, cut up so that no `secret` folder lies in it.

    Landlock can only allow, so a folder that contains a secret one is replaced by its other entries.
    """
    hidden = [Path(s).resolve() for s in secret]
    granted: list[Path] = []
    for root in (*interpreter_folders(), *(Path(p) for p in SYSTEM)):
        if root.exists():
            granted += _without(root, [h for h in hidden if not _holds_interpreter(h, root)])
    return list(dict.fromkeys(granted))


def _holds_interpreter(hidden: Path, root: Path) -> bool:
    """True when the interpreter lies inside the hidden folder (a `.venv` in the clone): then it stays readable."""
    return root != hidden and root.is_relative_to(hidden)


def _without(folder: Path, hidden: list[Path]) -> list[Path]:
    inside = [h for h in hidden if h.is_relative_to(folder)]
    if not inside:
        return [folder]
    if any(h == folder for h in inside):
        return []
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for entry in sorted(folder.iterdir()):
            found += _without(entry, inside) if any(h.is_relative_to(entry) for h in inside) else [entry]
    return found


def listable(secret: Iterable[str | Path]) -> list[Path]:
    """Folders whose names (not contents) may be listed, because imports look through them."""
    hidden = [Path(s).resolve() for s in secret]
    return [f for f in interpreter_folders() if any(h.is_relative_to(f) for h in hidden)]


class Confinement:
    """The Landlock rules of one session, made ready once and applied in every worker."""

    def __init__(self, scratch: Path, secret: Iterable[str | Path]) -> None:
        self.scratch = scratch
        self.secret = list(secret)
        self._ruleset: Any = None
        self.active = abi() >= 1
        if self.active:
            self._ruleset = self._make_ruleset()

    def _make_ruleset(self) -> Any:
        from landlockpy import AccessFS, Ruleset, Scope

        read = AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.EXECUTE
        ruleset = Ruleset(scoped=Scope.SIGNAL | Scope.ABSTRACT_UNIX_SOCKET)
        for path in readable(self.secret):
            with contextlib.suppress(OSError):
                ruleset.allow_path(path, read if path.is_dir() else read & ~AccessFS.READ_DIR)
        for path in listable(self.secret):
            ruleset.allow_path(path, AccessFS.READ_DIR)
        for device in DEVICES:
            with contextlib.suppress(OSError):
                ruleset.allow_path(
                    device, AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.TRUNCATE | AccessFS.IOCTL_DEV
                )
        for name in KERNEL:
            with contextlib.suppress(OSError):
                path = Path("/proc") / name
                ruleset.allow_path(path, read if path.is_dir() else AccessFS.READ_FILE)
        everything = AccessFS(ruleset.handled_fs) & ~AccessFS.EXECUTE
        ruleset.allow_path(self.scratch, everything)
        with contextlib.suppress(OSError):
            ruleset.allow_path(SHARED_MEMORY, everything)
        return ruleset

    @property
    def descriptors(self) -> set[int]:
        """The file descriptors that have to stay open until `apply`."""
        return set() if self._ruleset is None else {self._ruleset.fileno()}

    def apply(self) -> bool:
        """Restricts this process for good and closes what that took. Returns whether Landlock is in force."""
        if self._ruleset is None:
            return False
        from landlockpy import AccessFS

        self._ruleset.allow_path(f"/proc/{os.getpid()}", AccessFS.READ_FILE | AccessFS.READ_DIR)
        self._ruleset.restrict()
        self._ruleset.close()
        self._ruleset = None
        return True


def limit_resources(limits: Limits) -> None:
    """The kernel's own limits: file size, open files, no core dumps, and CPU time as a last resort."""
    if sys.platform == "win32":
        return
    import resource

    def lower(what: int, value: int) -> None:
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(what, (value, value))

    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_FSIZE, limits.file_mb << 20)
    lower(resource.RLIMIT_NOFILE, limits.open_files)


def own_environment(scratch: Path) -> None:
    """Leaves only harmless variables, and points home and temporary files at the scratch folder."""
    kept = {k: v for k, v in os.environ.items() if k in KEPT_ENVIRONMENT}
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update(
        HOME=str(scratch),
        TMPDIR=str(scratch),
        XDG_CACHE_HOME=str(scratch),
        TORCH_HOME=str(scratch),
        MPLBACKEND="Agg",
        MPLCONFIGDIR=str(scratch),
        OMP_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
        TQDM_DISABLE="1",
        HF_HUB_OFFLINE="1",
        PYTHONDONTWRITEBYTECODE="1",
    )
    tempfile.tempdir = str(scratch)  # the parent has looked for one already

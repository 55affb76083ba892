"""What of the confinement holds on this machine, tried for real rather than looked up. Used by `practice doctor`."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `level` is `ok`, `warning` or `problem`."""

    name: str
    level: str
    text: str
    cure: str | None = None


def findings() -> list[Finding]:
    """All findings about the sandbox, in the order in which they matter."""
    return [_launching(), _landlock(), _network(), _signals(), _subreaper(), _memory_watch()]


def is_fully_confined() -> bool:
    """Whether other people's code may be graded here: files, TCP and signals are all closed off."""
    return sys.platform == "linux" and _abi() >= 6


def _abi() -> int:
    from grader.sandbox.confine import abi

    return abi()


def _launching() -> Finding:
    if sys.platform == "linux":
        return Finding("workers", "ok", "forked from a clean process")
    return Finding(
        "workers",
        "warning",
        f"interpreters of their own ({platform.system()} has no safe fork): each probe takes some seconds",
        "Use Linux, WSL 2 or a container for instant checks.",
    )


def _landlock() -> Finding:
    version = _abi()
    if version >= 3:
        return Finding("files", "ok", f"closed off by Landlock (ABI {version})")
    if version:
        return Finding(
            "files",
            "warning",
            f"closed off by Landlock ABI {version}, which doesn't stop truncating",
            "Use kernel 6.2 or newer.",
        )
    return Finding(
        "files",
        "warning",
        "not closed off: this kernel has no Landlock. Accidents are survived, but don't grade others' code",
        "Use Linux 5.13 or newer with Landlock enabled (`lsm=landlock,…` on the kernel's command line).",
    )


def _network() -> Finding:
    if _abi() >= 4:
        return Finding("network", "ok", "TCP refused by Landlock; UDP and local sockets of other programs are not")
    return Finding("network", "warning", "not closed off", "Landlock ABI 4 (Linux 6.7) refuses TCP.")


def _signals() -> Finding:
    if _abi() >= 6:
        return Finding("signals", "ok", "to other processes refused by Landlock")
    return Finding(
        "signals", "warning", "to your other processes are possible", "Landlock ABI 6 (Linux 6.12) refuses them."
    )


def _subreaper() -> Finding:
    if sys.platform == "linux":
        return Finding("stray processes", "ok", "swept after every probe (subreaper)")
    return Finding("stray processes", "warning", "a daemon that detaches itself may stay behind", None)


def _memory_watch() -> Finding:
    from grader.sandbox import tree

    used = tree.usage(os.getpid())
    if used.processes and used.memory_mb > 0:
        return Finding("memory and time", "ok", "of the whole process tree, watched twenty times a second")
    return Finding("memory and time", "problem", "can't be read from this system", "Mount /proc readable.")

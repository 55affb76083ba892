"""The few Linux calls that Python doesn't offer, through ctypes. Elsewhere they do nothing and say so."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def _prctl(option: int, value: int) -> bool:
    return _libc is not None and _libc.prctl(option, value, 0, 0, 0) == 0


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends; exits at once if it has ended already."""
    if _prctl(PR_SET_PDEATHSIG, signal.SIGKILL) and os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    """Takes `die_with_parent` back."""
    _prctl(PR_SET_PDEATHSIG, 0)


def become_subreaper() -> bool:
    """Orphaned descendants become children of this process instead of init's."""
    return _prctl(PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> bool:
    """Closes `/proc/<pid>/mem` and ptrace for other processes of the same user."""
    return _prctl(PR_SET_DUMPABLE, 0)


def first_to_go() -> None:
    """When the machine runs out of memory, let the kernel end this process first."""
    if LINUX:
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")

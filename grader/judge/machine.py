"""How slow this machine is, compared with the one on which the default limits were set."""

from __future__ import annotations

import functools
import time

REFERENCE_SECONDS = 0.0035
"""CPU seconds of `_work` on the machine that the limits were set on (one core of a two-core cloud machine)."""


def _work() -> int:
    total = 0
    for i in range(40_000):
        total += i * i % 7
    return total


@functools.cache
def slowness() -> float:
    """At least 1: by how much times are stretched. The best of three, so that a busy machine doesn't count."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        _work()
        best = min(best, time.process_time() - began)
    return min(10.0, max(1.0, best / REFERENCE_SECONDS))

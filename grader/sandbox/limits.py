"""What one probe may use. Plain numbers, decided by the judge and enforced from outside the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Budgets of one probe: seconds, mebibytes, counts. CPU time and memory are those of the whole process tree."""

    cpu_seconds: float = 10.0
    idle_seconds: float = 8.0
    """For how long, in all, nothing of the tree may be running or ready to run: sleeps, locks, lost workers."""
    wall_seconds: float = 30.0
    """Only the safety net, and widely stretched: a starved process on a busy machine is not at fault."""
    load_seconds: float = 6.0
    """CPU seconds for importing the candidate's file."""
    memory_mb: float = 2000.0
    processes: int = 48
    threads: int = 256
    output_bytes: int = 8 << 20
    file_mb: int = 256
    open_files: int = 512

    def with_values(self, values: Mapping[str, float | None]) -> Limits:
        """A copy in which the given, non-None values replace the defaults. Unknown names raise `TypeError`."""
        given: dict[str, Any] = {k: type(getattr(self, k))(v) for k, v in values.items() if v is not None}
        if not given:
            return self
        changed = replace(self, **given)
        if changed.cpu_seconds * 3 > changed.wall_seconds:
            changed = replace(changed, wall_seconds=changed.cpu_seconds * 3)
        return changed

    def hurried(self) -> Limits:
        """A quarter of the times, but not less than two seconds: for probes after one that ran out of time."""
        return replace(
            self,
            cpu_seconds=min(self.cpu_seconds, max(2.0, self.cpu_seconds / 4)),
            idle_seconds=min(self.idle_seconds, max(2.0, self.idle_seconds / 4)),
        )

    def scaled(self, slowness: float) -> Limits:
        """Times stretched for a machine that is `slowness` times slower than the one they were set on."""
        factor = max(1.0, slowness)
        return replace(
            self,
            cpu_seconds=self.cpu_seconds * factor,
            idle_seconds=self.idle_seconds * factor,
            wall_seconds=self.wall_seconds * factor,
            load_seconds=self.load_seconds * factor,
        )


MAX_SOURCE_BYTES = 256 << 10
"""A larger file is refused before it is parsed: 10 MB of source take over a minute to compile."""

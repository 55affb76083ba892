"""What the learner did: attempts with their sources, hints seen, solutions revealed. Kept in SQLite."""

from __future__ import annotations

from grader.progress.store import Attempt, Standing, Store, record_or_warn

__all__ = ["Attempt", "Standing", "Store", "record_or_warn"]

"""What the commands share that grade many files of the bank: grading one, and several at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from grader.catalog import Exercise
    from grader.cli.grading import Source
    from grader.judge.proof import Grade
    from grader.judge.scorecard import Event, Scorecard
    from grader.workspace import Workspace

Item = TypeVar("Item")
Made = TypeVar("Made")


def grader_of(exercise: Exercise, workspace: Workspace, data: Source | None, stopping: threading.Event) -> Grade:
    """Grades a file as one of this exercise, until `stopping` is set."""

    def on_event(event: Event) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt

    def graded(path: Path, until_failure: bool) -> Scorecard:
        from grader.judge.client import grade
        from grader.judge.submission import read_submission

        options: dict[str, Any] = {"data": data, "full": False, "until_failure": until_failure}
        return grade(exercise, read_submission(path), workspace=workspace, on_event=on_event, **options)

    return graded


def side_by_side(
    items: Iterable[Item], work: Callable[[Item], Made], jobs: int, stopping: threading.Event
) -> Iterator[Made]:
    """What `work` makes of each item, `jobs` at a time, in the order in which they are done."""
    if jobs == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(jobs) as pool:
        waiting: list[Future[Made]] = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:
            # Ctrl-C reaches this thread only: the others stop at their next event.
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise

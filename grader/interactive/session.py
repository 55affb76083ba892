"""One session of watch mode: the queue, the flat loop, and the effects that `update` asks for."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

from grader.catalog import Catalog, Exercise
from grader.cli import advice
from grader.cli.grading import Source
from grader.errors import PracticeError
from grader.files import back_up, write_atomic
from grader.interactive.grading import Grading, Warmth
from grader.interactive.model import (
    Cancel,
    Edit,
    Effect,
    Event,
    Grade,
    Key,
    Listed,
    Open,
    Opened,
    Place,
    ReadList,
    Said,
    State,
    Stop,
    Suspend,
    TakeHint,
    Tick,
    WriteStub,
    fresh,
)
from grader.interactive.pages import Pages
from grader.interactive.screen import Frame, frame
from grader.interactive.terminal import HUNG_UP, Terminal
from grader.interactive.update import update
from grader.interactive.watching import FileWatcher
from grader.progress import Store
from grader.stubs import stub_text
from grader.workspace import Workspace

TICK_SECONDS: Final = 0.1
LAST_SECONDS: Final = 2.0
"""How long leaving waits for a verdict that is just being recorded."""
_EDITORS: Final = ("nano", "vim", "vi")


class Session:
    """Runs from `run()` until the learner leaves. `state` is what the screen shows."""

    def __init__(self, workspace: Workspace, catalog: Catalog, exercise: Exercise, data: Source | None) -> None:
        self._workspace = workspace
        self._catalog = catalog
        self._data = data
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pages = Pages()
        self._frame = Frame([], 0, 0, 20)
        self._grading: Grading | None = None
        self._watcher: FileWatcher | None = None
        self._ticking = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._warmth = Warmth(workspace)
        self._terminal = Terminal(self._draw, self._on_key, self._on_stop)
        self.state: State = fresh(self._place(exercise))

    async def run(self) -> int:
        """Show and watch until the learner leaves; the exit code."""
        self._loop = asyncio.get_running_loop()
        self._watch(self.state.place.exercise)
        self._warmth.start()
        try:
            await self._terminal.run(self._events)
        finally:
            self._end()
        return HUNG_UP if self.state.leaving is None else self.state.leaving

    # --- the loop ----------------------------------------------------------------------------------------

    async def _events(self) -> None:
        while self.state.leaving is None:
            self.state, effects = update(self.state, await self._queue.get())
            for effect in effects:
                self._carry_out(effect)
            self._keep_time()
            self._terminal.show()

    def tell(self, event: Event) -> None:
        """Put an event into the queue, from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._queue.put_nowait, event)
            except RuntimeError:  # closed between the question and the call: nobody listens any more
                return

    def _on_key(self, name: str) -> None:
        if name == "<sigint>" and self._terminal.away:
            return  # Ctrl-C was meant for the editor
        shown = self._frame
        self._queue.put_nowait(Key(name, shown.away, shown.limit, shown.room, time.monotonic()))

    def _on_stop(self, code: int) -> None:
        self._queue.put_nowait(Stop(code))

    def _keep_time(self) -> None:
        """While something runs, the clock ticks; else nothing wakes this process."""
        if self.state.run is not None and self.state.run.active and not self._ticking:
            self._ticking = True
            assert self._loop is not None
            self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        self._queue.put_nowait(Tick())

    def _draw(self, width: int, height: int) -> list[str]:
        self._frame = frame(self._pages, self.state, width, height, time.monotonic())
        return self._frame.lines

    # --- effects -----------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        """Do it; what fails is said at the bottom of the screen and ends nothing."""
        try:
            self._do(effect)
        except PracticeError as error:
            self.state = replace(self.state, resetting=False)
            self._queue.put_nowait(Said(f"{error.message} {error.hint or ''}".rstrip()))

    def _do(self, effect: Effect) -> None:
        match effect:
            case Cancel():
                if self._grading is not None:
                    self._grading.cancel()
            case Grade(run, submission):
                exercise = self.state.place.exercise
                self._grading = Grading(run, exercise, submission, self._workspace, self._data, self.tell)
                self._grading.start()
            case ReadList():
                with self._store() as store:
                    self._queue.put_nowait(Listed(tuple(advice.rows(self._catalog, store))))
            case Open(exercise):
                self._open(exercise)
            case TakeHint():
                with self._store() as store:
                    store.show_hint(self.state.place.exercise.id)
            case WriteStub():
                self._write_stub()
            case Edit():
                self._spawn(self._edit())
            case Suspend():
                self._terminal.suspend()

    def _store(self) -> Store:
        return Store.open(self._workspace, lambda text: self._queue.put_nowait(Said(text)))

    def _open(self, exercise: Exercise) -> None:
        if self._grading is not None:
            self._grading.cancel()
        self._queue.put_nowait(Opened(self._place(exercise)))
        self._watch(exercise)

    def _watch(self, exercise: Exercise) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        path = self._workspace.exercise_file(exercise)
        self._watcher = FileWatcher(exercise.id, path, self._workspace.shown(path), self.tell)
        self._watcher.start()

    def _place(self, exercise: Exercise) -> Place:
        with self._store() as store:
            standings = store.standings()
        known = standings.get(exercise.id)
        order = list(self._catalog)
        at = next(n for n, other in enumerate(order) if other.id == exercise.id)
        following = next(
            (e for e in [*order[at + 1 :], *order[:at]] if (s := standings.get(e.id)) is None or s.status != "passed"),
            None,
        )
        return Place(
            exercise,
            self._workspace.shown(self._workspace.exercise_file(exercise)),
            hashlib.sha256(stub_text(exercise).encode("utf-8")).hexdigest(),
            hints_taken=known.hints if known is not None else 0,
            passed_before=known is not None and known.status == "passed",
            following=following,
            can_edit=bool(editor()),
        )

    def _write_stub(self) -> None:
        exercise = self.state.place.exercise
        path = self._workspace.exercise_file(exercise)
        said = f"Wrote the stub {self.state.place.file}"
        if path.is_symlink() or path.exists():
            copy = back_up(path, self._workspace.state / "backups")
            said = f"Your code is kept in {self._workspace.shown(copy)}"
        write_atomic(path, stub_text(exercise))
        self.state = replace(self.state, notice=said)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _edit(self) -> None:
        command = [*editor(), str(self._workspace.exercise_file(self.state.place.exercise))]
        problem = ""

        def work() -> None:
            nonlocal problem
            try:
                code = subprocess.run(command, check=False).returncode
                problem = f"`{command[0]}` ended with code {code}. $EDITOR names the editor." if code else ""
            except OSError as error:
                problem = f"{command[0]} can't be started: {error.strerror or error}. Set $EDITOR to one that can."

        await self._terminal.outside(work)
        if problem:
            self._queue.put_nowait(Said(problem))
        self._terminal.show()

    def _end(self) -> None:
        self._warmth.stop()
        if self._watcher is not None:
            self._watcher.stop()
        if self._grading is not None:
            if self.state.run is None or self.state.run.active or self.state.run.phase == "stopped":
                self._grading.cancel()
            self._grading.join(LAST_SECONDS)


def editor() -> list[str]:
    """The command of the learner's editor; empty when there is none."""
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if named:
        try:
            return shlex.split(named)
        except ValueError:
            return [named]
    found = next((name for name in _EDITORS if shutil.which(name)), None)
    return [found] if found else []

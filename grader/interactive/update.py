"""The flat loop's one step: an event comes in, a new state and what is to be done come out. Touches nothing."""

from __future__ import annotations

from dataclasses import replace

from grader.interactive.model import (
    Cancel,
    Changed,
    Edit,
    Effect,
    Event,
    Failed,
    Found,
    Grade,
    Graded,
    Judged,
    Key,
    Listed,
    Open,
    Opened,
    Place,
    ReadList,
    Run,
    Said,
    Saved,
    State,
    Step,
    Stop,
    Suspend,
    TakeHint,
    Tick,
    Unchanged,
    Vanished,
    WriteStub,
    fresh,
)
from grader.interactive.picker import pressed, starting
from grader.judge.scorecard import CheckFinished, CheckRecord, CheckStarted, Progress, Started
from grader.judge.submission import Submission

INTERRUPTED = 130
MOST_LOSSES = 4000
"""Of one training check; more would make watch grow, and no terminal is that wide."""


def update(state: State, event: Event) -> Step:
    """The state after `event`, and the effects to carry out in order."""
    match event:
        case Key():
            return _key(state, event)
        case Changed(exercise, at) if exercise == state.place.exercise.id:
            return _changed(state, at)
        case Found(exercise, submission, at) if exercise == state.place.exercise.id:
            return _found(state, submission, at)
        case Saved(exercise, submission, at) if exercise == state.place.exercise.id:
            return _saved(state, submission, at)
        case Unchanged(exercise, at) if exercise == state.place.exercise.id:
            return _unchanged(state, at)
        case Vanished(exercise) if exercise == state.place.exercise.id:
            return _vanished(state), (Cancel(),)
        case Judged(number) if state.run is not None and state.run.number == number and state.run.active:
            begins = isinstance(event.event, Started)  # what was said of the preparation is over
            return replace(state, run=_judged(state.run, event), notice="" if begins else state.notice), ()
        case Graded(number, card, at) if state.run is not None and state.run.number == number:
            done = replace(state.run, phase="done", card=card, records=card.checks, running=None, ended=at)
            return _arrived(replace(state, run=done)), ()
        case Failed(number, message, hint, at) if state.run is not None and state.run.number == number:
            failed = replace(state.run, phase="failed", error=(message, hint), running=None, ended=at)
            return _arrived(replace(state, run=failed)), ()
        case Said(text):
            return replace(state, notice=text), ()
        case Listed(rows):
            return state.seen("list", picker=starting(rows, state.place.exercise)), ()
        case Opened(place):
            return replace(fresh(place), runs=state.runs), ()
        case Stop(code):
            return replace(state, leaving=code), (Cancel(),)
        case Tick() | _:  # the clock, and what belongs to an exercise or a run that is no longer shown
            return state, ()


# --- the file ------------------------------------------------------------------------------------------


def _changed(state: State, at: float) -> Step:
    """Acknowledge at once and end what runs, although what will be in the file isn't known yet."""
    if state.resetting:
        return _stopped(state), (Cancel(),)
    run = _next_run(state, at)
    shown = replace(state, run=run, runs=run.number, missing=False)
    return shown.seen("check", asking=False, picker=None), (Cancel(),)


def _found(state: State, submission: Submission | None, at: float) -> Step:
    """At the start the stub is not worth grading: nothing was written yet. Anything else is."""
    if submission is None:
        return replace(state, missing=True), ()
    if submission.sha256 == state.place.stub_sha256:
        return replace(state, saved=submission, is_stub=True), ()
    return _saved(state, submission, at)


def _saved(state: State, submission: Submission, at: float) -> Step:
    is_stub = submission.sha256 == state.place.stub_sha256
    known = replace(state, saved=submission, missing=False, is_stub=is_stub, resetting=False)
    if is_stub and state.resetting:
        return replace(known.seen("statement"), run=None, notice=state.notice), (Cancel(),)
    return _start(known, submission, at)


def _unchanged(state: State, at: float) -> Step:
    """A verdict stays as it is; where there is none, because the run ended early, a save asks for one."""
    if state.run is None or state.run.active:
        return state, ()
    if state.run.card is None and state.saved is not None:
        return _start(state, state.saved, at)
    return replace(state, notice="Saved without a change: the verdict stands, r runs it again."), ()


def _vanished(state: State) -> State:
    gone = replace(_stopped(state), missing=True, saved=None)
    run = gone.run
    if run is not None and not run.checks and run.before is None:  # it began with the deletion: nothing to look at
        gone = replace(gone, run=None)
        return gone.seen("statement") if gone.page == "check" else gone
    return gone


def _start(state: State, submission: Submission, at: float) -> Step:
    waiting = state.run if state.run is not None and state.run.phase == "waiting" else None
    run = waiting or _next_run(state, at)
    run = replace(run, phase="running", sha256=submission.sha256)
    shown = replace(state, run=run, runs=run.number).seen("check", asking=False, picker=None)
    return shown, (Cancel(), Grade(run.number, submission))


def _next_run(state: State, at: float) -> Run:
    """A run that begins, with what the last one found kept to look at."""
    last = state.run
    if last is None:
        return Run(state.runs + 1, at)
    found = () if last.unloadable else last.records
    merged: dict[str, CheckRecord] = {record.id: record for record in (*last.stale, *found)}
    before = last.card or last.before
    return Run(
        state.runs + 1,
        at,
        data=last.data,
        checks=last.checks,
        stale=tuple(merged.values()),
        before=before,
        trained_before=last.trained,
    )


def _stopped(state: State) -> State:
    """The state with the grading ended before its verdict."""
    if state.run is None or not state.run.active:
        return state
    run = state.run
    return replace(state, run=replace(run, phase="stopped", running=None, halted=run.running, progress=None))


# --- the grading ---------------------------------------------------------------------------------------


def _judged(run: Run, happened: Judged) -> Run:
    match happened.event:
        case Started(checks=checks, data=data):
            return replace(run, checks=checks, data=data, fresh=True)
        case CheckStarted(id=id):
            return replace(run, running=id, since=happened.at, progress=None)
        case Progress(id=id, loss=loss):
            return replace(run, progress=happened.event, losses=_with_loss(run, id, loss))
        case CheckFinished(record=record):
            kept = tuple(r for r in run.records if r.id != record.id)
            return replace(run, records=(*kept, record), running=None, progress=None)
    return run


def _with_loss(run: Run, id: str, loss: float | None) -> tuple[tuple[str, tuple[float, ...]], ...]:
    if loss is None:
        return run.losses
    if run.losses and run.losses[-1][0] == id:
        return (*run.losses[:-1], (id, (*run.losses[-1][1], loss)[-MOST_LOSSES:]))
    return (*run.losses, (id, (loss,)))


def _arrived(state: State) -> State:
    """A verdict is there: show it from its end, unless the learner reads something else meanwhile."""
    return replace(state, scroll=None) if state.page == "check" else state


# --- keys ----------------------------------------------------------------------------------------------


def _key(state: State, key: Key) -> Step:
    if key.name in ("c-c", "<sigint>"):
        return replace(state, leaving=INTERRUPTED), (Cancel(),)
    if key.name == "c-z":
        return state, (Suspend(),)
    if state.asking:
        return _answered(state, key.name)
    if state.page == "list" and state.picker is not None:
        return _in_list(state, key)
    if key.name in ("up", "down", "k", "j", "pageup", "pagedown", " ", "home", "end", "g", "G"):
        return replace(state, scroll=_scrolled(state, key)), ()
    return _command(state, key.name, key.at)


def _command(state: State, name: str, at: float) -> Step:
    """What the keys do that are named at the bottom. One that doesn't apply does nothing."""
    place, run = state.place, state.run
    match name:
        case "q":
            return replace(state, leaving=0), (Cancel(),)
        case "escape":
            return _back(state)
        case "?":
            return state.seen("help"), ()
        case "l":
            return state, (ReadList(),)
        case "s":
            return state.seen("statement"), ()
        case "n" if state.passed and place.following is not None:
            return state, (Open(place.following),)
        case "h" if place.exercise.hints and not state.passed:
            return _hint(state)
        case "d" if run is not None and run.failures:
            return state.seen("details"), ()
        case "c" if run is not None and run.trained is not None:
            return state.seen("curve"), ()
        case "p" if run is not None and run.pictured:
            return state.seen("pictures"), ()
        case "v" if state.passed:
            return state.seen("reference"), ()
        case "r" if state.saved is not None and not (run is not None and run.active):
            return _start(state, state.saved, at)
        case "x" if state.missing:
            return replace(state, resetting=True), (WriteStub(),)
        case "x" if state.saved is not None and not state.is_stub:
            return replace(state, asking=True, notice=""), ()
        case "o" if place.can_edit:
            return state, (Edit(),)
    return state, ()


def _back(state: State) -> Step:
    """Esc: close what is open; else stop what runs; else say how to leave."""
    home = "check" if state.run is not None else "statement"
    if state.page != home and not (state.page == "statement" and state.run is None):
        return state.seen("check" if state.run is not None else "statement"), ()
    if state.run is not None and state.run.active:
        return replace(_stopped(state), scroll=None), (Cancel(),)
    return replace(state, scroll=None, notice="q leaves."), ()


def _answered(state: State, name: str) -> Step:
    settled = replace(state, asking=False)
    if name in ("y", "Y"):
        return replace(settled, resetting=True), (WriteStub(),)
    if name == "q":
        return replace(settled, leaving=0), (Cancel(),)
    return replace(settled, notice="Nothing was changed."), ()


def _in_list(state: State, key: Key) -> Step:
    picker = state.picker
    assert picker is not None
    if not picker.typing:
        match key.name:
            case "q":
                return replace(state, leaving=0), (Cancel(),)
            case "escape" | "l":
                return replace(state, picker=None).seen("check" if state.run is not None else "statement"), ()
            case "enter" if picker.chosen is not None:
                if picker.chosen.id == state.place.exercise.id:
                    return replace(state, picker=None).seen("check" if state.run is not None else "statement"), ()
                return state, (Open(picker.chosen),)
    return replace(state, picker=pressed(picker, key.name, key.room)), ()


def _scrolled(state: State, key: Key) -> int:
    """How far from its anchor the page is after a key. The verdict hangs at the bottom, all else begins at the top."""
    upwards = 1 if state.page == "check" else -1
    steps = {"up": 1, "k": 1, "down": -1, "j": -1, "pageup": key.room, "pagedown": -key.room, " ": -key.room}
    if key.name in ("home", "g"):
        return key.limit if upwards == 1 else 0
    if key.name in ("end", "G"):
        return 0 if upwards == 1 else key.limit
    return min(max(key.away + upwards * steps[key.name], 0), key.limit)


def _hint(state: State) -> Step:
    """Another hint, unless the learner comes back to read those that fit what still fails."""
    failing = state.run.failing if state.run is not None else None
    reading = bool(state.hints) and state.page != "hint" and failing == state.hinted_for
    following = None if reading else next_hint(state.place, state.hints, failing)
    shown = state.seen("hint", hinted_for=failing)
    if following is None:
        done = len(state.hints) >= len(state.place.exercise.hints)
        said = f"All hints are shown: `practice reveal {state.place.exercise.number:02d}` shows the solution."
        return replace(shown, notice=said if done else "h again: the next hint"), ()
    effects: tuple[Effect, ...] = (TakeHint(),)
    return replace(shown, hints=(*state.hints, following)), effects


def next_hint(place: Place, seen: tuple[int, ...], failing: str | None) -> int | None:
    """The hint that is due: the first unseen one made for the failing check, else the first unseen one at all."""
    unseen = [n for n in range(len(place.exercise.hints)) if n not in seen]
    fitting = [n for n in unseen if failing is not None and failing in place.exercise.hint_checks[n]]
    return next(iter([*fitting, *unseen]), None)

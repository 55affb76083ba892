"""`practice watch` in a real terminal: saves, verdicts, keys, sizes, and every way out."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from grader.catalog import Catalog
from tests import tiny_kit
from tests.conftest import Places, Practice
from tests.terminals import Terminal

RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"
HALF = "def add(a, b):\n    import torch\n    return torch.stack([x + y for x, y in zip(a, b, strict=True)])\n"
SLOW = "import time\n\n\ndef add(a, b):\n    time.sleep(600)\n"
SLOW_SECOND = "import time\n\n\ndef add(a, b):\n    if a.ndim == 2:\n        time.sleep(600)\n    return a + b\n"
SLOW_START = "import time\n\ntime.sleep(600)\n"
TALKING = "def add(a, b):\n    print(*range(100), sep='\\n')\n    return a - b\n"
FLOOD = "def add(a, b):\n    print('h\\n' * 10_000_000)\n    return a - b\n"

TRAIN = "03_tiny_train"
TRAIN_QUICK = """

@check("Quick {n}", points=5, why="There are many checks.")
def test_quick_{n}(sandbox):
    pass
"""
TRAIN_CHECK = """

@check("It arrives", points=25, why="Descent is the idea of training.")
def test_descends(sandbox):
    expect_at_most(sandbox.run(probes.descend), 0.5, because="Each step halves the distance.")
"""
TRAIN_FILES = {
    f"bank/{TRAIN}/exercise.toml": """\
id = "03_tiny_train"
track = "scratch"
kind = "implement"
difficulty = 3
minutes = 7
topics = ["descent"]
datasets = []

[title]
en = "Go downhill"

[[hints]]
en = "Subtract."

[[follow_ups]]
question.en = "Why?"
answer.en = "Because."
""",
    f"bank/{TRAIN}/statement.md": "# Down\n\n`step(x)` goes one step down.\n",
    f"bank/{TRAIN}/probes.py": """\
import time

from grader.checking import probing


def descend(candidate):
    x = 4.0
    for done in range(12):
        x = candidate.step(x)
        probing.progress(done + 1, 12, loss=x * x)
        time.sleep(0.25)
    return x
""",
    f"bank/{TRAIN}/checks.py": "".join(
        [
            "from grader.checking import check, expect_at_most\n\nfrom . import probes\n",
            *(TRAIN_QUICK.format(n=n) for n in range(1, 4)),
            TRAIN_CHECK,
            *(TRAIN_QUICK.format(n=n) for n in range(4, 16)),
        ]
    ),
    f"solutions/{TRAIN}.py": """\
def step(x):
    # solution: begin one expression
    return x / 2
    # solution: end
""",
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny kit with an exercise that trains, and a hint made for one check."""
    folder = tmp_path_factory.mktemp("watched")
    bank = tiny_kit.write(folder)
    for name, text in TRAIN_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    toml = bank / tiny_kit.ADD / "exercise.toml"
    text = toml.read_text("utf-8")
    toml.write_text(text.replace('[[hints]]\nen = "Approach', '[[hints]]\nchecks = ["test_broadcast"]\nen = "Approach'))
    return bank


@pytest.fixture(scope="module")
def warm(places: Places, bank: Path) -> Practice:
    """A workspace whose warm server all tests of this module share."""
    made = places.make("watch", bank)
    made.environ["PRACTICE_WARM"] = "1"
    assert made("init", made.home).returncode == 0
    shutil.copytree(made.home / "exercises", made.home / "stubs")
    return made


@pytest.fixture
def practice(warm: Practice) -> Practice:
    """The shared workspace as `practice init` made it."""
    shutil.rmtree(warm.home / "exercises", ignore_errors=True)
    shutil.copytree(warm.home / "stubs", warm.home / "exercises")
    state = warm.home / ".practice"
    state.unlink() if state.is_file() else shutil.rmtree(state, ignore_errors=True)
    return warm


Watch = Callable[..., Terminal]


@pytest.fixture
def watch(practice: Practice) -> Iterator[Watch]:
    """Starts `practice watch` on a terminal; ends what is left of it afterwards."""
    started: list[Terminal] = []

    def start(*arguments: str, columns: int = 80, rows: int = 24, command: list[str] | None = None, **environ: str):  # type: ignore[no-untyped-def]
        full = command or [*practice.command, "watch", *arguments]
        started.append(Terminal(full, practice.environ | environ, practice.home, columns, rows))
        return started[-1]

    yield start
    for terminal in started:
        terminal.kill()


@pytest.fixture
def home(practice: Practice) -> Path:
    """The workspace."""
    return practice.home


@pytest.fixture
def file(practice: Practice) -> Path:
    """The file of the first exercise."""
    return practice.home / "exercises" / f"{tiny_kit.ADD}.py"


def attempts(practice: Practice, exercise: str = "01") -> list[int]:
    """The scores that were recorded, oldest first."""
    return [row["score"] for row in json.loads(practice("history", exercise, "--json").stdout)]


def workers(practice: Practice) -> list[int]:
    """Processes that the warm server of this workspace has started and that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            line, environ = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        if "grader.sandbox.server" in line and environ.get("XDG_RUNTIME_DIR") == practice.environ["XDG_RUNTIME_DIR"]:
            found += [child.pid for child in process.children(recursive=True) if child.status() != "zombie"]
    return found


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


# --- starting ------------------------------------------------------------------------------------------------


def test_without_a_terminal_it_names_the_command_that_needs_none(practice: Practice) -> None:
    done = practice("watch", "01")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert "practice check 01" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dumb_terminal_is_refused_too(watch: Watch, practice: Practice) -> None:
    terminal = watch(command=["env", "TERM=dumb", *practice.command, "watch"])
    assert terminal.end() == 2
    assert "needs a terminal" in terminal.text


def test_it_opens_with_the_statement_and_only_the_keys_that_apply(watch: Watch) -> None:
    text = watch().until(lambda text: "the verdict comes here" in text and "q quit" in text)
    assert "Write add(a, b)" in text
    assert "01_tiny_add: nothing written yet" in text
    keys = text.split("\n")[-2:]
    assert "h hint" in keys[0] and "l list" in keys[0] and "q quit" in " ".join(keys)
    assert not re.search(r"n next|d details|c curve|v reference|x reset", text)


def test_work_from_before_is_graded_at_once(watch: Watch, file: Path) -> None:
    file.write_text(HALF)
    assert "60/60" in watch("01").until("Score 60/100")


def test_a_missing_file_is_said_and_written_on_demand(watch: Watch, file: Path) -> None:
    terminal = watch("01")
    terminal.until("the verdict comes here")
    file.unlink()
    text = terminal.until("doesn't exist")
    assert "x write it" in text and "Write add(a, b)" in text
    terminal.press("x")
    terminal.until("Wrote the stub exercises/01_tiny_add.py")
    assert "solution" not in file.read_text() and "TODO" in file.read_text()


# --- saving --------------------------------------------------------------------------------------------------


def test_a_save_is_graded_and_explained_and_recorded(watch: Watch, file: Path, practice: Practice) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text(WRONG)
    text = terminal.until("Score 0/100")
    assert re.search(r"✗ The sum is right +0/60", text)
    assert re.search(r"⊘ Shapes broadcast \(blocked\)", text)
    assert "expected  2.5 at index [0]" in text
    assert "Next: change 01_tiny_add.py and save, or h for a hint." in text
    assert text.split("\n")[-4].startswith("✗ Score"), "the verdict is at the bottom"
    file.write_text(RIGHT)
    text = terminal.until("Score 100/100")
    assert "you earned all 100 points" in text
    assert "What is broadcasting?" in text
    assert "n for 02_tiny_max" in text
    wait_for(lambda: attempts(practice) == [0, 100])


def test_a_file_that_is_no_python_gets_its_verdict(watch: Watch, file: Path) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text("def add(a, b:\n    return\n")
    text = terminal.until("Score 0/100")
    assert "can't be graded as it is" in text and "None of the 2 checks could run." in text


def test_a_file_that_cannot_be_imported_names_the_line(watch: Watch, file: Path) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text(f"import torhc\n{RIGHT}")
    text = terminal.until("Score 0/100")
    assert "No module named 'torhc'" in text and "line 1: import torhc" in text
    assert "Next: repair what keeps 01_tiny_add.py from loading, and save." in text
    terminal.press("d")
    text = terminal.until(lambda text: "Esc back" in text)
    assert "can't be graded as it is" in text and "line 1: import torhc" in text
    assert "The sum is right" not in text, "no check is to blame"


def test_work_at_import_is_said_while_it_lasts(watch: Watch, file: Path) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text(SLOW_START)
    terminal.until("your file is being loaded")


def test_what_was_printed_leaves_room_for_the_reason(watch: Watch, file: Path) -> None:
    file.write_text(TALKING)
    terminal = watch(rows=20)
    text = terminal.until("✗ Score 0/100")
    assert "│ ✗ The sum is right" in text and "lines left out]" in text
    terminal.press("d")
    text = terminal.until("Esc back")
    assert re.search(r"printed +0$", text, re.MULTILINE) and "left out" not in text


def test_of_a_flood_no_lines_are_counted(watch: Watch, file: Path) -> None:
    file.write_text(FLOOD)
    text = watch().until("✗ Score 0/100")
    assert "printed too much" in text and "[most of the lines left out]" in text


def test_what_cannot_be_recorded_is_said_whole_and_the_next_step_stays(watch: Watch, file: Path, home: Path) -> None:
    (home / ".practice").write_text("in the way")
    file.write_text(WRONG)
    terminal = watch()
    text = terminal.until(lambda text: "then run the command again." in " ".join(text.split()))
    assert "This attempt was not recorded." in text
    assert "Next: change 01_tiny_add.py and save, or h for a hint." in text
    assert text.split("\n")[-4].startswith("✗ Score 0/100"), "the verdict stays where it is"


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def renamed(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.tmp")
    new.write_text(text)
    new.replace(file)


def backed_up(file: Path, text: str) -> None:
    file.rename(file.with_name(f"{file.name}~"))
    file.write_text(text)
    file.with_name(f"{file.name}~").unlink()


def in_pieces(file: Path, text: str) -> None:
    with file.open("w") as stream:
        stream.flush()
        for piece in (text[:9], text[9:20], text[20:]):
            stream.write(piece)
            stream.flush()
            time.sleep(0.05)


def deleted_first(file: Path, text: str) -> None:
    file.unlink()
    time.sleep(0.1)
    file.write_text(text)


@pytest.mark.parametrize("write", [in_place, renamed, backed_up, in_pieces, deleted_first])
def test_however_an_editor_writes_a_save_is_one_check(
    watch: Watch, file: Path, practice: Practice, write: Callable[[Path, str], None]
) -> None:
    file.write_text(WRONG)
    terminal = watch()
    terminal.until("Score 0/100")
    write(file, RIGHT)
    terminal.until("Score 100/100")
    terminal.press("q")
    assert terminal.end() == 0
    assert attempts(practice) == [0, 100]


def test_touching_is_no_check(watch: Watch, file: Path, practice: Practice) -> None:
    file.write_text(WRONG)
    terminal = watch()
    terminal.until("Score 0/100")
    file.touch()
    terminal.until("Saved without a change")
    file.write_text(WRONG)
    terminal.press("q")
    assert terminal.end() == 0
    assert attempts(practice) == [0]


def test_where_no_notification_arrives_the_file_is_looked_at(watch: Watch, file: Path) -> None:
    terminal = watch(WATCHFILES_FORCE_POLLING="1", WATCHFILES_POLL_DELAY_MS="3600000")
    terminal.until("the verdict comes here")
    file.write_text(RIGHT)
    terminal.until("Score 100/100")


def test_a_file_that_is_gone_is_said_and_its_return_is_graded(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    terminal = watch()
    terminal.until("Score 0/100")
    file.unlink()
    terminal.until("doesn't exist")
    file.write_text(RIGHT)
    terminal.until("Score 100/100")


def test_what_stands_in_place_of_the_file_is_said(watch: Watch, file: Path) -> None:
    file.write_text("")
    terminal = watch()
    terminal.until("The file is empty.")
    file.unlink()
    file.mkdir()
    terminal.until("Is a directory")
    file.rmdir()
    file.write_text(RIGHT)
    terminal.until("Score 100/100")


# --- cancelling ----------------------------------------------------------------------------------------------


def test_a_save_during_a_check_starts_it_anew(watch: Watch, file: Path, practice: Practice) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text(SLOW)
    terminal.until("checking… 0/2")
    file.write_text(RIGHT)
    terminal.until("Score 100/100")
    wait_for(lambda: not workers(practice))
    assert attempts(practice) == [100], "what was cancelled is no attempt"


def test_results_so_far_stay_visible(watch: Watch, file: Path) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text(SLOW_SECOND)
    assert "before" not in terminal.until("checking… 1/2")
    file.write_text(SLOW_START)
    text = terminal.until("checking… 0/2")
    assert re.search(r"60/60 +before", text), text


def test_escape_stops_a_check_and_r_runs_it_again(watch: Watch, file: Path, practice: Practice) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text(SLOW_SECOND)
    terminal.until("checking… 1/2")
    terminal.press("\x1b")
    assert "60/60" in terminal.until("Stopped after 1 of 2 checks")
    wait_for(lambda: not workers(practice))
    assert attempts(practice) == [], "it ended before it came to a verdict"
    terminal.press("r")
    terminal.until("checking… 1/2")
    file.write_text(RIGHT)
    terminal.until("Score 100/100")


def test_where_it_was_stopped_stays_in_sight(watch: Watch, home: Path) -> None:
    terminal = watch("03", rows=14)
    terminal.until("the verdict comes here")
    (home / "exercises" / f"{TRAIN}.py").write_text("def step(x):\n    return x / 2\n")
    terminal.until("checking… 3/16")
    terminal.press("\x1b")
    text = terminal.until("Stopped after 3 of 16 checks")
    assert "It arrives (stopped)" in text
    assert re.search(r"✓ Quick 3 +5/5", text)


def test_saving_again_runs_what_was_stopped(watch: Watch, file: Path) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text(SLOW)
    terminal.until("checking… 0/2")
    terminal.press("\x1b")
    terminal.until("Stopped after 0 of 2 checks")
    file.touch()
    terminal.until("checking… 0/2")


def test_while_something_else_is_read_escape_does_not_claim_to_stop(watch: Watch, file: Path) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    file.write_text(SLOW)
    assert "Esc stops" in terminal.until("checking… 0/2")
    terminal.press("s")
    assert "Esc stops" not in terminal.until("Esc back")


# --- keys ----------------------------------------------------------------------------------------------------


def test_details_hold_the_statistics_of_both_tensors(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    terminal = watch()
    assert "d details" in terminal.until("Score 0/100")
    terminal.press("d")
    text = terminal.until("max absolute error")
    assert re.search(r"shape +\(3,\), as expected", text)
    assert re.search(r"dtype +float32", text)
    assert re.search(r"device +cpu", text)
    assert re.search(r"max relative error +2", text)
    assert re.search(r"first mismatch +at \[0\]: -2.5, expected 2.5", text)
    assert re.search(r"corner expected +2.5  3.5  4.5", text)
    terminal.press("\x1b")
    terminal.until(lambda text: "max absolute error" not in text and "Shapes broadcast" in text)


def test_the_hint_for_the_failing_check_comes_first(watch: Watch, file: Path) -> None:
    file.write_text(HALF)
    terminal = watch()
    terminal.until("Score 60/100")
    terminal.press("h")
    assert "Nudge" not in terminal.until("Hint 2 of 3")
    terminal.press("h")
    terminal.until("Hint 1 of 3")
    terminal.press("h")
    terminal.until("return a + b")
    terminal.press("h")
    terminal.until("All hints are shown")


def test_the_statement_comes_back(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    terminal = watch()
    terminal.until("Score 0/100")
    terminal.press("s")
    terminal.until("Write add(a, b)")
    terminal.press("?")
    terminal.until("learning curve of the last training check")


def test_the_statement_is_read_on_where_it_was_left(watch: Watch, file: Path) -> None:
    terminal = watch(rows=10)
    terminal.until("the verdict comes here")
    terminal.press("G")
    here = terminal.until("more above").split("\n")[:5]
    file.write_text(WRONG)
    terminal.until("Score 0/100")
    terminal.press("s")
    assert terminal.until("Esc back").split("\n")[:5] == here


def test_a_hint_is_nothing_for_what_is_passed(watch: Watch, file: Path, practice: Practice) -> None:
    file.write_text(RIGHT)
    terminal = watch()
    assert "h hint" not in terminal.until("Score 100/100")
    terminal.press("h")
    terminal.pump(0.5)
    terminal.press("?")
    terminal.until("learning curve of the last training check")
    assert b"Hint 1" not in terminal.raw


def test_next_is_offered_after_a_pass_and_never_taken_unasked(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    terminal = watch()
    terminal.until("Score 0/100")
    terminal.press("n")
    file.write_text(RIGHT)
    assert "01_tiny_add" in terminal.until("n next")
    terminal.press("v")
    assert "a new tensor" in terminal.until('"""Adding."""')
    terminal.press("n")
    assert "largest" in terminal.until("02_tiny_max: as it came")
    terminal.press("r")
    terminal.until("Score 0/100")


def test_the_curve_of_a_training_is_drawn(watch: Watch, practice: Practice) -> None:
    (practice.home / "exercises" / f"{TRAIN}.py").write_text("def step(x):\n    return x / 2\n")
    terminal = watch("03")
    assert "c curve" in terminal.until("Score 100/100")
    terminal.press("c")
    text = terminal.until("oldest left")
    assert "It arrives" in text and "loss 4 → " in text
    bars = [line.split("│", 1)[1] for line in text.split("\n") if "│" in line]
    assert len(bars) >= 3
    assert bars[0].strip() and bars[0].startswith("█") and bars[-1].startswith("█"), "the first loss is the highest"
    assert "earlier save" not in text
    (practice.home / "exercises" / f"{TRAIN}.py").write_text("step = None\n")
    assert "c curve" in terminal.until(lambda text: "✗ Score" in text)
    terminal.press("c")
    assert "loss 4 → " in terminal.until("from an earlier save")


def test_reset_asks_and_keeps_a_backup(watch: Watch, file: Path, practice: Practice) -> None:
    file.write_text(WRONG)
    terminal = watch()
    terminal.until("Score 0/100")
    terminal.press("x")
    terminal.until("A backup is kept. y/n")
    terminal.press("n")
    terminal.until("Nothing was changed.")
    assert file.read_text() == WRONG
    terminal.press("x")
    terminal.until("A backup is kept. y/n")
    terminal.press("y")
    terminal.until("nothing written yet")
    terminal.until("Your code is kept in .practice/backups/")
    assert "TODO" in file.read_text()
    assert [copy.read_text() for copy in (practice.home / ".practice" / "backups").iterdir()] == [WRONG]


def test_a_reset_that_fails_changes_nothing(watch: Watch, file: Path, practice: Practice, tmp_path: Path) -> None:
    stub = file.read_text()
    file.write_text(WRONG)
    terminal = watch()
    terminal.until("Score 0/100")
    wait_for(lambda: attempts(practice) == [0])
    (practice.home / ".practice").rename(tmp_path / "moved")
    (practice.home / ".practice").write_text("in the way")
    terminal.press("x")
    terminal.until("A backup is kept. y/n")
    terminal.press("y")
    terminal.until(lambda text: "can't be written" in " ".join(text.split()))
    assert file.read_text() == WRONG
    file.write_text(stub)
    terminal.until("○ The sum is right (not implemented)")


def test_the_editor_opens_and_its_save_is_graded(watch: Watch, file: Path, tmp_path: Path) -> None:
    script = tmp_path / "my editor"
    script.write_text(f"#!/bin/sh\necho in the editor\nprintf '{RIGHT.encode('unicode_escape').decode()}' > \"$1\"\n")
    script.chmod(0o755)
    terminal = watch(EDITOR=f"'{script}'")
    terminal.until("the verdict comes here")
    terminal.press("o")
    terminal.until("Score 100/100")
    assert b"in the editor" in terminal.raw


def test_an_editor_that_does_not_exist_is_said(watch: Watch) -> None:
    terminal = watch(EDITOR="no-such-editor", VISUAL="")
    terminal.until("the verdict comes here")
    terminal.press("o")
    terminal.until("no-such-editor can't be started")


def test_an_editor_that_fails_is_said(watch: Watch) -> None:
    terminal = watch(EDITOR="false", VISUAL="")
    terminal.until("the verdict comes here")
    terminal.press("o")
    terminal.until("`false` ended with code 1.")


def test_the_list_moves_filters_searches_and_opens(watch: Watch) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    terminal.press("l")
    assert ">* 01_tiny_add" in terminal.until("3 of 3 exercises")
    terminal.press("j")
    terminal.until(">  02_tiny_max")
    terminal.press("\x1b[B")
    terminal.until(">  03_tiny_train")
    terminal.press("k")
    terminal.until(">  02_tiny_max")
    terminal.press("t")
    assert "02_tiny_max" not in terminal.until("1 of 3 exercises · track core")
    terminal.press("t")
    terminal.until("1 of 3 exercises · track debug")
    terminal.press("a")
    terminal.until("3 of 3 exercises")
    terminal.press("d")
    assert "01_tiny_add" in terminal.until("1 of 3 exercises · easy")
    terminal.press("a")
    terminal.press("sss")
    terminal.until("0 of 3 exercises · passed")
    terminal.press("a")
    terminal.press("/DOWN")
    text = terminal.until("1 of 3 exercises · search: DOWN_")
    assert "03_tiny_train" in text and "Type words" in text and "Enter opens" not in text
    terminal.press("\r")
    terminal.until(lambda text: "search: DOWN" in text and "DOWN_" not in text)
    terminal.press("\r")
    terminal.until("03_tiny_train: nothing written yet")


def test_a_save_while_the_list_is_open_shows_its_verdict(watch: Watch, file: Path) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    terminal.press("l")
    terminal.until("3 of 3 exercises")
    file.write_text(RIGHT)
    terminal.until("Score 100/100")


# --- sizes and colours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60), (40, 12), (24, 6)])
def test_it_fits_every_size(watch: Watch, file: Path, columns: int, rows: int) -> None:
    file.write_text(WRONG)
    terminal = watch(columns=columns, rows=rows)
    terminal.until("✗ Score 0/100")
    bar = terminal.lines[-5:]
    assert any(line.startswith("✗ Score 0/100") for line in bar), terminal.text
    if rows >= 24:
        assert "The sum is right" in terminal.text and "expected  2.5" in terminal.text
        assert not any("PgUp" in line for line in terminal.lines)


def test_what_does_not_fit_can_be_scrolled_to(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    terminal = watch(rows=14)
    terminal.until("✗ Score 0/100")
    terminal.until("more above: PgUp")
    assert "Add two tensors" not in terminal.text
    terminal.press("\x1b[5~\x1b[5~")
    assert "✗ Score 0/100" in terminal.until("Add two tensors")
    terminal.press("\x1b[6~\x1b[6~")
    terminal.until(lambda text: "more below" not in text)


def test_what_is_too_long_is_read_from_its_first_line(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    terminal = watch(rows=12)
    terminal.until("✗ Score 0/100")
    text = terminal.until("more below: PgDn")
    assert "│ ✗ The sum is right" in text and "expected  2.5" in text
    terminal.press("j")
    terminal.press("j")
    terminal.press("j")
    assert "╰──" in terminal.until(lambda text: "more below" not in text)


def test_while_a_check_runs_the_rest_can_be_scrolled_to(watch: Watch, home: Path) -> None:
    terminal = watch("03", rows=14)
    terminal.until("the verdict comes here")
    (home / "exercises" / f"{TRAIN}.py").write_text("import time\n\n\ndef step(x):\n    time.sleep(600)\n")
    assert "Quick 15" not in terminal.until("checking… 3/16")
    terminal.press("\x1b[6~\x1b[6~")
    terminal.until("Quick 15")
    terminal.press("\x1b")
    assert "It arrives (stopped)" in terminal.until("Stopped after 3 of 16 checks")


def test_a_resize_lays_everything_out_anew(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    terminal = watch()
    terminal.until("✗ Score 0/100")
    terminal.resize(120, 40)
    terminal.until(lambda text: text.split("\n")[-3].startswith("✗ Score 0/100"))
    assert "expected  2.5" in terminal.text
    terminal.resize(60, 20)
    terminal.until(lambda text: any(line.startswith("✗ Score") for line in text.split("\n")[15:]))
    file.write_text(RIGHT)
    terminal.until("✓ Score 100/100")


COLOR = re.compile(rb"\x1b\[[0-9;]*?(?<![0-9])(?:3[0-7]|38|9[0-7]|4[0-7]|48)(?:;[0-9;]*)?m")


def test_no_color_means_none(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    plain, colored = watch(NO_COLOR="1"), watch()
    for terminal in (plain, colored):
        terminal.until("✗ Score 0/100")
        terminal.press("d")
        terminal.until("max absolute error")
        terminal.press("q")
        assert terminal.end() == 0
    assert not COLOR.search(plain.raw)
    assert COLOR.search(colored.raw)


def test_a_terminal_without_our_signs_gets_others(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    text = watch(PYTHONIOENCODING="ascii").until("Score 0/100")
    assert "x Score 0/100 - 0 of 2 checks passed" in text
    assert text.isascii() and "?" not in text.replace("? help", "")


# --- leaving -------------------------------------------------------------------------------------------------


def leave_by_q(terminal: Terminal) -> None:
    terminal.press("q")


def leave_by_interrupt(terminal: Terminal) -> None:
    terminal.press("\x03")


def leave_by_sigterm(terminal: Terminal) -> None:
    shell = psutil.Process(terminal.child.pid)
    wait_for(lambda: bool(shell.children()))
    os.kill(shell.children()[0].pid, signal.SIGTERM)


CRASHES = {
    "drawing": "from grader.interactive.pages import Pages as C; name = 'body'",
    "the loop": "from grader.interactive import session as C; name = 'update'",
}
CRASHING = """\
import sys
{which}
real = getattr(C, name)
def wrong(*values):
    if any(getattr(v, "page", "") == "help" for v in values):
        raise ZeroDivisionError("made to fail")
    return real(*values)
setattr(C, name, wrong)
from grader.cli.app import run
sys.exit(run(["watch"]))
"""


def is_restored(raw: bytes) -> bool:
    """Whether the last word on each mode is its usual one: main screen, cursor shown, no paste marks."""
    modes = {b"1049": b"l", b"25": b"h", b"2004": b"l"}
    found = {mode: re.findall(rb"\x1b\[\?" + mode + rb"([hl])", raw) for mode in modes}
    assert found[b"1049"][0] == b"h", "it was full screen"
    return all(words[-1] == modes[mode] for mode, words in found.items())


def in_shell(command: list[str]) -> list[str]:
    """Run the command in a shell that prints the terminal's settings before and after."""
    quoted = " ".join(f"'{part}'" for part in command)
    return ["bash", "-c", f"stty -g; {quoted}; echo code=$?; stty -g"]


def settings(raw: bytes) -> list[bytes]:
    return re.findall(rb"^[0-9a-f]+(?::[0-9a-f]+){10,}", raw, re.MULTILINE)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize(
    ("leave", "code"),
    [(leave_by_q, 0), (leave_by_interrupt, 130), (leave_by_sigterm, 143)],
    ids=["q", "interrupt", "sigterm"],
)
def test_leaving_gives_the_terminal_back(
    watch: Watch, practice: Practice, file: Path, leave: Callable[[Terminal], None], code: int, busy: bool
) -> None:
    terminal = watch(command=in_shell([*practice.command, "watch", "01"]))
    terminal.until("the verdict comes here")
    if busy:
        file.write_text(SLOW)
        terminal.until("checking… 0/2")
    leave(terminal)
    terminal.end()
    assert f"code={code}" in terminal.text
    assert "practice watch 01" in terminal.text, "how to go on is named"
    assert is_restored(terminal.raw)
    before, after = settings(terminal.raw)
    assert before == after
    wait_for(lambda: not workers(practice))


@pytest.mark.parametrize("which", CRASHES)
def test_a_crash_of_ours_gives_the_terminal_back(watch: Watch, which: str, tmp_path: Path) -> None:
    script = tmp_path / "crash.py"
    script.write_text(CRASHING.format(which=CRASHES[which]))
    terminal = watch(command=in_shell([sys.executable, str(script)]))
    terminal.until("the verdict comes here")
    terminal.press("?")
    terminal.press("?")
    terminal.end()
    assert "code=3" in terminal.text
    assert "This is a mistake in the kit: ZeroDivisionError: made to fail" in " ".join(terminal.text.split())
    assert is_restored(terminal.raw)
    before, after = settings(terminal.raw)
    assert before == after


def test_q_leaves_from_every_page(watch: Watch, file: Path) -> None:
    file.write_text(WRONG)
    for key, shown in (("l", "3 of 3"), ("?", "learning curve"), ("d", "max absolute"), ("x", "y/n"), ("h", "Hint 1")):
        terminal = watch()
        terminal.until("Score 0/100")
        terminal.press(key)
        terminal.until(shown)
        terminal.press("q")
        assert terminal.end() == 0, key


def test_interrupt_leaves_even_while_typing_a_search(watch: Watch) -> None:
    terminal = watch()
    terminal.until("the verdict comes here")
    terminal.press("l")
    terminal.until("3 of 3 exercises")
    terminal.press("/q")
    terminal.until("search: q_")
    terminal.press("\x03")
    assert terminal.end() == 130


# --- content -------------------------------------------------------------------------------------------------


def test_every_hint_names_checks_that_exist() -> None:
    for exercise in Catalog.load():
        source = (exercise.folder / "checks.py").read_text("utf-8")
        declared = set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))
        for checks in exercise.hint_checks:
            assert set(checks) <= declared, exercise.id

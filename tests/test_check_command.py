"""`practice check` and `practice author verify` as a user runs them: the real command, the real judge."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import tiny_kit
from tests.conftest import Places, Practice

RIGHT = """\
def add(a, b):
    return a + b


def twice(a):
    return add(a, a)
"""
NO_BROADCAST = """\
import torch


def add(a, b):
    print("\\x1b[31madding\\x1b[0m [bold]loudly[/bold]")
    return torch.stack([x + y for x, y in zip(a, b, strict=True)])
"""
SLOW = """\
import pathlib
import time


def add(a, b):
    time.sleep(600)
"""

MUTANTS = """\
[[mutant]]
name = "subtracts"
killed_by = "test_sum"
why = "The sign is wrong."
replace = [["return a + b", "return a - b"]]

[[mutant]]
name = "no-broadcast"
killed_by = "test_broadcast"
why = "Adds row by row."
replace = [["return a + b", "return torch.stack([x + y for x, y in zip(a, b, strict=True)])"]]
"""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny kit, with mutants and an alternate for its first exercise."""
    bank = tiny_kit.write(tmp_path_factory.mktemp("checked"))
    folder = bank / tiny_kit.ADD
    (folder / "mutants.toml").write_text(MUTANTS, "utf-8")
    shutil.rmtree(folder / "alternates", ignore_errors=True)
    (folder / "alternates").mkdir()
    (folder / "alternates" / "method.py").write_text("def add(a, b):\n    return a.add(b)\n", "utf-8")
    return bank


@pytest.fixture(scope="module")
def warm(places: Places, bank: Path) -> Practice:
    """The command with the tiny kit and its warm server, shared by the tests of this module."""
    made = places.make("warm", bank)
    made.environ["PRACTICE_WARM"] = "1"
    return made


@pytest.fixture
def kit(warm: Practice) -> Iterator[Practice]:
    """The shared command in a workspace as `practice init` leaves it."""
    for folder in ("exercises", ".practice"):
        shutil.rmtree(warm.home / folder, ignore_errors=True)
    made = warm("init", warm.home)
    assert made.returncode == 0, made.stderr
    yield warm


def write(kit: Practice, text: str | bytes, exercise: str = tiny_kit.ADD) -> Path:
    path = kit.home / "exercises" / f"{exercise}.py"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def attempts(kit: Practice) -> list[tuple[str, int]]:
    file = kit.home / ".practice" / "progress.sqlite"
    if not file.exists():
        return []
    connection = sqlite3.connect(file)
    try:
        return connection.execute("SELECT exercise, score FROM attempts").fetchall()
    finally:
        connection.close()


class TestVerdicts:
    def test_the_stub_is_not_implemented(self, kit: Practice) -> None:
        run = kit("check", "1")
        assert run.returncode == 1
        assert "Score 0/100" in run.stdout
        assert "○ The sum is right (not implemented) [0/60]" in run.stdout
        assert "practice show 01_tiny_add" in run.stdout
        assert "Add two tensors [really]" in run.stdout

    def test_a_right_answer_earns_all(self, kit: Practice) -> None:
        write(kit, RIGHT)
        run = kit("check", "tiny_add")
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Score 100/100" in run.stdout
        assert "What is broadcasting?" in run.stdout
        assert attempts(kit) == [(tiny_kit.ADD, 100)]

    def test_a_wrong_answer_is_explained(self, kit: Practice) -> None:
        write(kit, NO_BROADCAST)
        run = kit("check", "01")
        assert run.returncode == 1
        assert "Score 60/100" in run.stdout
        assert "✓ The sum is right [60/60]" in run.stdout
        assert "✗ Shapes broadcast [0/40]" in run.stdout
        assert "Broadcasting is asked next." in run.stdout
        assert "adding [bold]loudly[/bold]" in run.stdout
        assert "\x1b" not in run.stdout
        assert "practice hint 01_tiny_add" in run.stdout

    def test_a_syntax_error_has_line_and_caret(self, kit: Practice) -> None:
        write(kit, "x = 1\n\ndef add(a, b:\n    return a + b\n")
        run = kit("check", "01")
        assert run.returncode == 1
        assert "Score 0/100" in run.stdout
        assert "line 3" in run.stdout
        assert "^" in run.stdout
        assert "Traceback" not in run.stdout + run.stderr

    @pytest.mark.parametrize("source", [b"", b"\xff\xfebad", b"x = '\xe9'\n", b"x = 1\0\n"])
    def test_a_file_that_is_no_source_scores_nothing(self, kit: Practice, source: bytes) -> None:
        write(kit, source)
        run = kit("check", "01")
        assert run.returncode == 1
        assert "Score 0/100" in run.stdout
        assert "can't be graded as it is" in run.stdout
        assert "Traceback" not in run.stdout + run.stderr

    def test_an_exercise_to_debug_can_be_checked(self, kit: Practice) -> None:
        assert kit("check", "02").returncode == 1
        assert kit("check", "02", "--solution").returncode == 0


class TestWhatIsGraded:
    def test_the_reference(self, kit: Practice) -> None:
        run = kit("check", "01", "--solution")
        assert run.returncode == 0
        assert attempts(kit) == []

    def test_any_file(self, kit: Practice, tmp_path: Path) -> None:
        other = tmp_path / "my answer.py"
        other.write_text(NO_BROADCAST)
        run = kit("check", "01", "--file", other)
        assert run.returncode == 1
        assert f"--file '{other}'" in run.stdout
        assert "practice hint" not in run.stdout
        assert attempts(kit) == []

    def test_several_with_a_summary(self, kit: Practice) -> None:
        write(kit, RIGHT)
        run = kit("check", "--all")
        assert run.returncode == 1
        assert "1 of 2 exercises passed" in run.stdout
        assert "✓ 01_tiny_add 100/100" in run.stdout
        assert "✗ 02_tiny_max 0/100" in run.stdout

    def test_a_missing_file_does_not_stop_the_others(self, kit: Practice) -> None:
        write(kit, RIGHT).rename(kit.home / "elsewhere.py")
        run = kit("check", "--all")
        assert run.returncode == 2
        assert "exercises/01_tiny_add.py does not exist" in run.stderr
        assert "practice reset 01" in run.stderr
        assert "✗ 02_tiny_max 0/100" in run.stdout
        assert "01_tiny_add  could not be graded" in run.stdout


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "Which exercise?"),
            (("01", "--all"), "either exercises or --all"),
            (("01", "--solution", "--file", "x.py"), "either --solution or --file"),
            (("01", "02", "--file", "x.py"), "exactly one exercise"),
            (("01", "--file", "nowhere.py"), "nowhere.py does not exist"),
            (("01_tiny_addd",), "Did you mean"),
            (("tiny",), "fits 2 exercises"),
            (("01", "--data", "imaginary"), "imaginary"),
            (("01", "--junit", "no/such/folder/r.xml"), "there is no folder"),
        ],
    )
    def test_mistakes_end_with_2_and_say_what_to_do(self, kit: Practice, arguments: tuple[str, ...], said: str) -> None:
        run = kit("check", *arguments)
        assert run.returncode == 2
        assert said in run.stdout + run.stderr
        assert "Traceback" not in run.stderr
        assert attempts(kit) == []


class TestReports:
    def test_json_is_all_that_stdout_holds(self, kit: Practice) -> None:
        write(kit, NO_BROADCAST)
        run = kit("check", "01", "--json")
        assert run.returncode == 1
        card = json.loads(run.stdout)
        assert card["exercise"] == tiny_kit.ADD
        assert card["file"] == "exercises/01_tiny_add.py"
        assert [check["verdict"] for check in card["checks"]] == ["passed", "failed"]
        assert attempts(kit) == [(tiny_kit.ADD, 60)]

    def test_json_of_several_is_a_list(self, kit: Practice) -> None:
        run = kit("check", "01", "02", "--solution", "--json")
        assert [card["score"] for card in json.loads(run.stdout)] == [100, 100]

    def test_junit_and_html_files(self, kit: Practice, tmp_path: Path) -> None:
        xml, page = tmp_path / "r.xml", tmp_path / "r.html"
        run = kit("check", "--all", "--solution", "--junit", xml, "--html", page)
        assert run.returncode == 0
        root = ET.parse(xml).getroot()
        assert [suite.get("failures") for suite in root] == ["0", "0"]
        assert "Add two tensors [really]" in page.read_text("utf-8")


class TestRecording:
    def test_a_verdict_is_shown_even_when_it_cannot_be_recorded(self, kit: Practice) -> None:
        write(kit, RIGHT)
        (kit.home / ".practice").rmdir() if (kit.home / ".practice").exists() else None
        (kit.home / ".practice").write_text("a file where the folder should be")
        try:
            run = kit("check", "01")
        finally:
            (kit.home / ".practice").unlink()
        assert run.returncode == 0
        assert "Score 100/100" in run.stdout
        assert "not recorded" in run.stderr


class TestTerminal:
    """In a real terminal, through pexpect."""

    @pytest.fixture
    def terminal(self, kit: Practice) -> Iterator[object]:
        pexpect = pytest.importorskip("pexpect")
        spawned = []

        def spawn(*arguments: str, width: int = 80) -> object:
            command, *rest = kit.command
            child = pexpect.spawn(
                command,
                [*rest, *arguments],
                cwd=str(kit.home),
                env={**kit.environ, "TERM": "xterm-256color"},
                dimensions=(40, width),
                encoding="utf-8",
                timeout=60,
            )
            spawned.append(child)
            return child

        yield spawn
        for child in spawned:
            child.close(force=True)

    @pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
    def test_ctrl_c_leaves_no_process_and_no_attempt(self, kit: Practice, terminal) -> None:  # type: ignore[no-untyped-def]
        write(kit, SLOW)
        child = terminal("check", "01")
        child.expect("The sum is right")
        assert in_time(lambda: bool(workers(kit)))
        child.sendintr()
        child.expect("Interrupted")
        child.read()
        child.wait()
        assert child.exitstatus == 130
        assert in_time(lambda: not workers(kit))
        assert attempts(kit) == []

    def test_the_cursor_is_shown_again(self, kit: Practice, terminal) -> None:  # type: ignore[no-untyped-def]
        write(kit, SLOW)
        child = terminal("check", "01")
        child.logfile_read = log = _Log()
        child.expect("The sum is right")
        child.sendintr()
        child.expect("Interrupted")
        child.read()
        said = log.text
        assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l") >= 0

    def test_a_narrow_terminal_shows_the_whole_title(self, kit: Practice, terminal) -> None:  # type: ignore[no-untyped-def]
        child = terminal("check", "01", "--solution", width=40)
        said = child.read()
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
        assert "Score 100/100" in plain
        assert "Shapes broadcast" in plain


class _Log:
    """Collects what a pexpect child writes."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, part: str) -> None:
        self.text += part

    def flush(self) -> None:
        pass


def workers(kit: Practice) -> list[int]:
    """The workers of this workspace that run now: each stands in a scratch folder below the test's TMPDIR."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if str((entry / "cwd").readlink()).startswith(kit.environ["TMPDIR"] + "/"):
                    found.append(int(entry.name))
    return found


def in_time(condition: Callable[[], bool], seconds: float = 15) -> bool:
    """Whether it comes true before the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class TestVerify:
    def test_a_sound_exercise_is_proved(self, kit: Practice) -> None:
        run = kit("author", "verify", "01")
        assert run.returncode == 0, run.stdout + run.stderr
        assert "5 of 5 cases as expected" in run.stdout
        assert "mutant no-broadcast: fails test_broadcast" in run.stdout

    def test_json(self, kit: Practice) -> None:
        run = kit("author", "verify", "01", "--only", "sub", "--json")
        assert run.returncode == 0
        (proof,) = json.loads(run.stdout)
        assert [(case["name"], case["ok"]) for case in proof["cases"]] == [("subtracts", True)]

    @pytest.mark.parametrize("jobs", ["1", "2"])
    def test_what_is_wrong_is_said_in_full(self, kit: Practice, bank: Path, jobs: str) -> None:
        file = bank / tiny_kit.ADD / "mutants.toml"
        alternate = bank / tiny_kit.ADD / "alternates" / "wrong.py"
        file.write_text(
            MUTANTS.replace('killed_by = "test_broadcast"', 'killed_by = "test_sum"')
            + '\n[[mutant]]\nname = "survivor"\nkilled_by = "test_sum"\nwhy = "It is right."\n'
            + 'replace = [["return a + b", "return b + a"]]\n',
            "utf-8",
        )
        alternate.write_text("def add(a, b):\n    return a - b\n", "utf-8")
        try:
            run = kit("author", "verify", "01", "--jobs", jobs)
        finally:
            file.write_text(MUTANTS, "utf-8")
            alternate.unlink()
        assert run.returncode == 1
        assert "4 of 7 cases as expected" in run.stdout
        assert "survives: every check passes" in run.stdout
        assert "WRONG alternate wrong" in run.stdout
        assert "test_broadcast is failed" in run.stdout
        assert "test_broadcast is no mutant's killer" in run.stdout

    def test_a_mutant_whose_text_is_not_in_the_solution(self, kit: Practice, bank: Path) -> None:
        file = bank / tiny_kit.ADD / "mutants.toml"
        file.write_text(MUTANTS.replace("return a + b", "return a * b"), "utf-8")
        try:
            run = kit("author", "verify", "01")
        finally:
            file.write_text(MUTANTS, "utf-8")
        assert run.returncode == 3
        assert "occurs 0 times, not once" in run.stdout

    def test_a_name_that_no_case_has(self, kit: Practice) -> None:
        assert kit("author", "verify", "01", "--only", "nothing").returncode == 2


class TestStubs:
    def test_check_finds_a_changed_stub(self, kit: Practice) -> None:
        assert kit("author", "stubs", "--check").returncode == 0
        write(kit, RIGHT)
        run = kit("author", "stubs", "--check")
        assert run.returncode == 1
        assert "01_tiny_add.py" in run.stdout

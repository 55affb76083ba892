"""The commands that need no grading, run as a user runs them: in a pipe, in a terminal, with wrong input."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pexpect
import pytest

from grader.judge.scorecard import CheckRecord, Scorecard
from grader.progress import Store
from grader.workspace import Workspace
from tests import tiny_kit
from tests.conftest import Practice

PLAIN = ("list", "next", "show", "hint", "reveal", "reset", "history", "init")
GRADING = ("check", "demo", "data", "doctor", "warm", "author")
ADD_FILE = f"exercises/{tiny_kit.ADD}.py"


def attempt(tiny: Practice, score: int, source: str = "x = 1\n", exercise: str = tiny_kit.ADD) -> None:
    """Record an attempt as `check` does."""
    record = CheckRecord("test_sum", "Sum", "passed" if score == 100 else "failed", score, 100)
    with Store.open(Workspace(tiny.home)) as store:
        store.record(Scorecard(exercise, ADD_FILE, "0" * 64, "embedded", (record,), seconds=0.4), source)


def terminal(tiny: Practice, *arguments: str, answer: str | None = None, **environ: str) -> tuple[str, int]:
    """What a terminal of 80 columns shows, and the exit code; `answer` is typed when a question comes."""
    command = [*tiny.command, *arguments]
    env = {**tiny.environ, "TERM": "xterm-256color", **environ}
    child = pexpect.spawn(
        command[0], command[1:], cwd=str(tiny.home), env=env, encoding="utf-8", dimensions=(24, 80), timeout=20
    )
    shown = ""
    if answer is not None:
        child.expect(re.escape("[y/N]"))
        shown = (child.before or "") + "[y/N]"
        child.send(answer)
    child.expect(pexpect.EOF)
    shown += child.before or ""
    child.close()
    return shown, child.exitstatus if child.exitstatus is not None else -(child.signalstatus or 0)


class TestHome:
    def test_bare_practice_shows_progress_and_what_to_do_next(self, tiny: Practice) -> None:
        done = tiny()
        assert (done.returncode, done.stderr) == (0, "")
        assert "0 of 2 exercises passed" in done.stdout
        assert "Next: 01_tiny_add, Add two tensors [really] (about 5 min)" in done.stdout
        assert "`practice show 01`" in done.stdout
        assert f"Edit {ADD_FILE}" in done.stdout

    def test_after_a_pass_the_next_one_is_named(self, tiny: Practice) -> None:
        attempt(tiny, 100)
        assert "Next: 02_tiny_max" in tiny("next").stdout
        attempt(tiny, 100, exercise=tiny_kit.MAX)
        done = tiny()
        assert "2 of 2 exercises passed" in done.stdout
        assert "Everything is passed" in done.stdout

    def test_a_missing_file_is_noticed(self, tiny: Practice) -> None:
        (tiny.home / ADD_FILE).unlink()
        assert f"`practice reset 01` writes the missing {ADD_FILE}" in tiny("next").stdout


class TestList:
    def test_the_table_has_all_that_is_promised(self, tiny: Practice) -> None:
        attempt(tiny, 60)
        done = tiny("list")
        row = next(line for line in done.stdout.splitlines() if "01_tiny_add" in line)
        assert re.split(r"\s{2,}", row.strip()) == [
            "01_tiny_add",
            "Add two tensors [really]",
            "easy",
            "5",
            "started",
            "60",
        ]
        assert "core" in done.stdout
        assert "debug" in done.stdout

    def test_json_has_exactly_the_documented_keys(self, tiny: Practice) -> None:
        attempt(tiny, 60)
        first, second = json.loads(tiny("list", "--json").stdout)
        assert first == {
            "id": "01_tiny_add",
            "number": 1,
            "title": "Add two tensors [really]",
            "track": "core",
            "kind": "implement",
            "difficulty": 1,
            "minutes": 5,
            "status": "started",
            "best_score": 60,
        }
        assert (second["status"], second["best_score"]) == ("new", None)

    @pytest.mark.parametrize("columns", ["20", "40", "65", "80", "200"])
    def test_a_narrow_terminal_keeps_the_names_whole(self, tiny: Practice, columns: str) -> None:
        shown = tiny("list", COLUMNS=columns).stdout
        if columns != "20":
            assert "01_tiny_add" in shown
            assert "new" in shown
        assert all(len(line) <= int(columns) for line in shown.splitlines())

    def test_a_reader_that_goes_away_is_no_error(self, tiny: Practice) -> None:
        script = f"{shlex.join(tiny.command)} list --json | true; echo ${{PIPESTATUS[0]}}"
        for _ in range(3):
            done = subprocess.run(["bash", "-c", script], env=tiny.environ, capture_output=True, text=True, check=True)
            assert done.stderr == ""
            assert done.stdout.strip() in {"0", "141"}


class TestShow:
    def test_in_a_pipe_the_statement_is_as_written(self, tiny: Practice) -> None:
        done = tiny("show", "add")
        assert tiny_kit.FILES[f"bank/{tiny_kit.ADD}/statement.md"].strip() in done.stdout
        assert ADD_FILE in done.stdout
        assert "`practice check 01` grades it" in done.stdout

    def test_in_a_terminal_it_is_rendered(self, tiny: Practice) -> None:
        shown, code = terminal(tiny, "show", "1")
        assert code == 0
        assert "**sum**" not in shown
        assert "\x1b[1msum\x1b[0m" in shown

    def test_a_statement_that_is_missing_is_a_content_error(self, tiny: Practice, tmp_path: Path) -> None:
        bank = tiny_kit.write(tmp_path)
        (bank / tiny_kit.ADD / "statement.md").unlink()
        done = tiny("show", "1", PRACTICE_BANK=str(bank))
        assert done.returncode == 3
        assert "statement.md" in done.stderr


class TestHint:
    def test_each_call_goes_one_further_and_the_last_names_reveal(self, tiny: Practice) -> None:
        runs = [tiny("hint", "1") for _ in range(4)]
        firsts = [run.stdout.splitlines()[:2] for run in runs]
        assert firsts == [
            ["Hint 1 of 3", "Nudge: think of `+`."],
            ["Hint 2 of 3", "Approach: tensors add element by element."],
            ["Hint 3 of 3", "Code: `return a + b`."],
            ["Hint 3 of 3, again", "Code: `return a + b`."],
        ]
        assert ["practice reveal 01" in run.stderr for run in runs] == [False, False, True, True]

    def test_all_shows_all_and_is_remembered(self, tiny: Practice) -> None:
        done = tiny("hint", "1", "--all")
        assert [f"Hint {n} of 3" in done.stdout for n in (1, 2, 3)] == [True] * 3
        assert "again" in tiny("hint", "1").stdout

    def test_all_is_shown_even_where_nothing_can_be_remembered(self, tiny: Practice) -> None:
        (tiny.home / ".practice").write_text("in the way")
        done = tiny("hint", "1", "--all")
        assert done.returncode == 0
        assert "Hint 3 of 3" in done.stdout
        assert "Warning" in done.stderr


class TestReveal:
    def test_nobody_to_ask_is_a_refusal_with_the_command(self, tiny: Practice) -> None:
        done = tiny("reveal", "1")
        assert (done.returncode, done.stdout) == (2, "")
        assert "practice reveal 01 --yes" in done.stderr

    def test_yes_writes_the_solution_without_markers(self, tiny: Practice) -> None:
        done = tiny("reveal", "1", "--yes")
        assert done.returncode == 0
        assert "solution:" not in done.stdout
        compile(done.stdout, "solution", "exec")
        assert "What is broadcasting?" in done.stderr
        assert "Dimensions of size 1" in done.stderr

    def test_it_asks_once_only_and_records_it(self, tiny: Practice) -> None:
        shown, code = terminal(tiny, "reveal", "1", answer="y\n")
        assert code == 0
        assert "return" in shown
        assert tiny("reveal", "1").returncode == 0
        assert "*" in tiny("list").stdout

    @pytest.mark.parametrize(("answer", "expected"), [("n\n", 1), ("\n", 1), ("\x04", 130), ("\x03", 130)])
    def test_no_means_no(self, tiny: Practice, answer: str, expected: int) -> None:
        shown, code = terminal(tiny, "reveal", "1", answer=answer)
        assert code == expected
        assert "return" not in shown
        assert "Nothing was changed" in shown
        assert tiny("reveal", "1").returncode == 2

    def test_a_passed_exercise_needs_no_question(self, tiny: Practice) -> None:
        attempt(tiny, 100)
        assert tiny("reveal", "1").returncode == 0
        assert "*" not in tiny("list").stdout

    def test_diff_leads_from_the_learners_file_to_the_solution(self, tiny: Practice) -> None:
        done = tiny("reveal", "1", "--diff", "--yes")
        assert '-    raise NotImplementedError("TODO: one expression")' in done.stdout.splitlines()
        assert "+    return a + b  # a new tensor" in done.stdout.splitlines()

    def test_diff_of_the_same_says_so(self, tiny: Practice) -> None:
        (tiny.home / ADD_FILE).write_text(tiny("reveal", "1", "--yes").stdout, encoding="utf-8")
        done = tiny("reveal", "1", "--diff")
        assert done.stdout == ""
        assert "the same as the solution" in done.stderr

    @pytest.mark.parametrize(("content", "said"), [(None, "doesn't exist"), (b"\xff", "not UTF-8 (byte 0)")])
    def test_diff_without_a_usable_file_says_why_and_asks_nothing(
        self, tiny: Practice, content: bytes | None, said: str
    ) -> None:
        path = tiny.home / ADD_FILE
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        done = tiny("reveal", "1", "--diff")
        assert done.returncode == 1
        assert said in done.stderr


class TestReset:
    def test_the_file_is_kept_before_it_is_replaced(self, tiny: Practice) -> None:
        path = tiny.home / ADD_FILE
        stub = path.read_bytes()
        path.write_text("my work\n")
        done = tiny("reset", "1", "--yes")
        assert done.returncode == 0
        assert path.read_bytes() == stub
        (copy,) = (tiny.home / ".practice" / "backups").iterdir()
        assert copy.read_text() == "my work\n"
        assert f".practice/backups/{copy.name}" in done.stdout

    def test_nobody_to_ask_is_a_refusal(self, tiny: Practice) -> None:
        path = tiny.home / ADD_FILE
        path.write_text("my work\n")
        done = tiny("reset", "1")
        assert done.returncode == 2
        assert "practice reset 01 --yes" in done.stderr
        assert path.read_text() == "my work\n"

    def test_in_a_terminal_it_asks(self, tiny: Practice) -> None:
        path = tiny.home / ADD_FILE
        path.write_text("my work\n")
        assert terminal(tiny, "reset", "1", answer="n\n")[1] == 1
        assert path.read_text() == "my work\n"
        assert terminal(tiny, "reset", "1", answer="y\n")[1] == 0
        assert "TODO" in path.read_text()

    def test_an_untouched_stub_needs_nothing(self, tiny: Practice) -> None:
        assert "nothing was changed" in tiny("reset", "1").stdout
        assert not (tiny.home / ".practice").exists()

    def test_a_missing_file_is_written(self, tiny: Practice) -> None:
        (tiny.home / ADD_FILE).unlink()
        assert tiny("reset", "1").returncode == 0
        assert (tiny.home / ADD_FILE).exists()

    def test_the_broken_script_of_a_debug_exercise_comes_back(self, tiny: Practice) -> None:
        path = tiny.home / f"exercises/{tiny_kit.MAX}.py"
        path.write_text("fixed\n")
        assert tiny("reset", "2", "--yes").returncode == 0
        assert "min(values)" in path.read_text()

    def test_when_no_backup_can_be_made_nothing_is_replaced(self, tiny: Practice) -> None:
        path = tiny.home / ADD_FILE
        path.write_text("my work\n")
        (tiny.home / ".practice").write_text("in the way")
        done = tiny("reset", "1", "--yes")
        assert done.returncode == 1
        assert "can't be written" in done.stderr
        assert path.read_text() == "my work\n"

    def test_a_folder_in_the_place_of_the_file_is_said(self, tiny: Practice) -> None:
        (tiny.home / ADD_FILE).unlink()
        (tiny.home / ADD_FILE).mkdir()
        done = tiny("reset", "1", "--yes")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


class TestHistory:
    def test_without_attempts_it_names_check(self, tiny: Practice) -> None:
        assert "`practice check 01` makes the first" in tiny("history", "1").stdout

    def test_scores_over_time(self, tiny: Practice) -> None:
        attempt(tiny, 40)
        attempt(tiny, 100)
        rows = [line.split() for line in tiny("history", "1").stdout.splitlines() if "/100" in line]
        assert [(row[0], row[3]) for row in rows] == [("1", "40/100"), ("2", "100/100")]
        assert rows[0][1] == time.strftime("%Y-%m-%d")

    def test_json(self, tiny: Practice) -> None:
        attempt(tiny, 40)
        (row,) = json.loads(tiny("history", "1", "--json").stdout)
        assert (row["n"], row["score"], row["passed"], row["data"]) == (1, 40, False, "embedded")
        assert json.loads(tiny("history", "2", "--json").stdout) == []

    def test_show_prints_the_source_as_it_was(self, tiny: Practice) -> None:
        attempt(tiny, 40, "x = 'ä'\n")
        assert tiny("history", "1", "--show", "1").stdout == "x = 'ä'\n"

    def test_restore_puts_the_source_back_after_a_backup(self, tiny: Practice) -> None:
        attempt(tiny, 40, "better = 1\n")
        path = tiny.home / ADD_FILE
        path.write_text("worse = 1\n")
        done = tiny("history", "1", "--restore", "1")
        assert done.returncode == 0
        assert path.read_text() == "better = 1\n"
        (copy,) = (tiny.home / ".practice" / "backups").iterdir()
        assert copy.read_text() == "worse = 1\n"
        assert copy.name in done.stdout
        assert "nothing was changed" in tiny("history", "1", "--restore", "1").stdout

    def test_an_attempt_that_is_not_there(self, tiny: Practice) -> None:
        attempt(tiny, 40)
        done = tiny("history", "1", "--restore", "7")
        assert done.returncode == 2
        assert "the latest is 1" in done.stderr

    def test_options_that_exclude_each_other(self, tiny: Practice) -> None:
        assert tiny("history", "1", "--show", "1", "--json").returncode == 2

    def test_a_damaged_record_is_put_aside_with_a_message(self, tiny: Practice) -> None:
        attempt(tiny, 40)
        (tiny.home / ".practice" / "progress.sqlite").write_bytes(b"junk" * 999)
        done = tiny("history", "1")
        assert done.returncode == 0
        assert "damaged" in done.stderr
        assert list((tiny.home / ".practice").glob("progress.damaged-*.sqlite"))


class TestInit:
    def test_a_new_folder_becomes_a_workspace(self, tiny: Practice, tmp_path: Path) -> None:
        home = tmp_path / "neu & gut"
        done = tiny("init", home)
        assert done.returncode == 0
        assert f"cd '{home}'" in done.stdout
        names = sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())
        assert names == [
            ".practice-workspace",
            "datasets_cache/README.md",
            ADD_FILE,
            f"exercises/{tiny_kit.MAX}.py",
        ]
        inside = Practice(home, {k: v for k, v in tiny.environ.items() if k != "PRACTICE_HOME"}, home / "exercises")
        assert "`practice check 01`" in inside("next").stdout
        assert "01_tiny_add.py" in inside("next").stdout

    def test_what_exists_is_kept(self, tiny: Practice) -> None:
        path = tiny.home / ADD_FILE
        path.write_text("my work\n")
        (tiny.home / f"exercises/{tiny_kit.MAX}.py").unlink()
        done = tiny("init", tiny.home)
        assert done.returncode == 0
        assert "1 file written, 3 files kept" in done.stdout
        assert path.read_text() == "my work\n"

    def test_a_file_in_the_way_is_said(self, tiny: Practice, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        assert tiny("init", tmp_path / "file").returncode == 2
        (tmp_path / "exercises").write_text("x")
        done = tiny("init", tmp_path)
        assert done.returncode == 1
        assert "is a file" in done.stderr
        below = tiny("init", tmp_path / "file" / "below")
        assert below.returncode == 1
        assert "Traceback" not in below.stderr

    def test_a_clone_is_a_workspace_already(self, tiny: Practice, tmp_path: Path) -> None:
        (tmp_path / "exercises").mkdir()
        (tmp_path / "pyproject.toml").write_text('[project]\nname = "practice-vision"\n')
        assert tiny("init", tmp_path).returncode == 1


class TestEdges:
    @pytest.mark.parametrize("command", ["show", "hint", "reveal", "reset", "history"])
    def test_an_unknown_exercise_gets_suggestions(self, tiny: Practice, command: str) -> None:
        done = tiny(command, "tiny_ad_d")
        assert (done.returncode, done.stdout) == (2, "")
        assert "Did you mean `01_tiny_add`" in done.stderr

    def test_an_ambiguous_one_lists_them(self, tiny: Practice) -> None:
        done = tiny("show", "tiny")
        assert done.returncode == 2
        assert "01_tiny_add, 02_tiny_max" in done.stderr

    def test_an_unknown_command_gets_a_suggestion(self, tiny: Practice) -> None:
        done = tiny("lsit")
        assert done.returncode == 2
        assert "`practice list`" in done.stderr

    def test_help_lists_every_command_and_how_to_complete(self, tiny: Practice) -> None:
        shown = tiny("--help").stdout
        for name in (*PLAIN, *GRADING):
            assert re.search(rf"^  {name} ", shown, re.MULTILINE), name
        for shell in ("bash", "zsh", "fish"):
            assert f"_PRACTICE_COMPLETE={shell}_source practice" in shown

    @pytest.mark.parametrize("name", PLAIN)
    def test_every_command_explains_itself(self, tiny: Practice, name: str) -> None:
        done = tiny(name, "--help")
        assert done.returncode == 0
        assert f"Usage: practice {name}" in done.stdout

    def test_version(self, tiny: Practice) -> None:
        assert re.fullmatch(r"practice \d+\.\d+\.\d+\n", tiny("--version").stdout)

    def test_a_traceback_comes_with_debug_only(self, tiny: Practice) -> None:
        assert "Traceback" not in tiny("show", "zebra").stderr
        assert "Traceback" in tiny("show", "zebra", "--debug").stderr
        assert "Traceback" in tiny("--debug", "show", "zebra").stderr

    def test_a_mistake_of_the_kit_is_owned_up_to(self, tiny: Practice, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text("import grader.catalog as c\nc.Catalog.load = lambda: 1 / 0\n")
        done = tiny("list", PYTHONPATH=str(tmp_path))
        assert done.returncode == 3
        assert "mistake in the kit: ZeroDivisionError" in done.stderr
        assert "--debug" in done.stderr
        assert "Traceback" not in done.stderr

    def test_without_a_workspace_init_is_named(self, tiny: Practice) -> None:
        done = tiny("list", PRACTICE_HOME=str(tiny.home / "gone"))
        assert done.returncode == 1
        assert "practice init" in done.stderr

    def test_a_terminal_that_knows_only_ascii(self, tiny: Practice) -> None:
        done = tiny(PYTHONIOENCODING="ascii")
        assert done.returncode == 0
        assert "0 of 2 exercises passed" in done.stdout

    @pytest.mark.parametrize("arguments", [[], ["list"], ["show", "1"], ["hint", "1"], ["history", "1"]])
    def test_no_color_means_none(self, tiny: Practice, arguments: list[str]) -> None:
        attempt(tiny, 50)
        shown, code = terminal(tiny, *arguments, NO_COLOR="1")
        assert code == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)

    @pytest.mark.parametrize("arguments", [[], ["list"], ["show", "1"], ["hint", "1"], ["history", "1"]])
    def test_a_terminal_gets_colour_and_no_line_too_long(self, tiny: Practice, arguments: list[str]) -> None:
        attempt(tiny, 50)
        shown, code = terminal(tiny, *arguments)
        assert code == 0
        assert "\x1b[" in shown
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        assert all(len(line) <= 80 for line in plain.splitlines())

    def test_force_color_colours_a_pipe(self, tiny: Practice) -> None:
        assert "\x1b[" in tiny("list", FORCE_COLOR="1").stdout

    @pytest.mark.parametrize(("words", "expected"), [("practice hi", "history"), ("practice show add", "01_tiny_add")])
    def test_the_shell_completes_commands_and_exercises(self, tiny: Practice, words: str, expected: str) -> None:
        done = tiny(_PRACTICE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
        assert f"plain,{expected}" in done.stdout.splitlines()

    def test_the_current_folder_may_be_gone(self, tiny: Practice, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        script = f"rmdir {shlex.quote(str(gone))}; exec {shlex.join(tiny.command)} next"
        done = subprocess.run(
            ["bash", "-c", script], cwd=gone, env=tiny.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def test_a_full_disk_behind_stdout_is_said(self, tiny: Practice) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*tiny.command, "list"], stdout=full, stderr=subprocess.PIPE, env=tiny.environ, text=True, check=False
            )
        assert done.returncode == 1
        assert done.stderr.startswith("Error: No space left on device.")
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr

    @pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-"])
    def test_closed_streams_are_no_error(self, tiny: Practice, closed: str) -> None:
        attempt(tiny, 10)
        script = f"{shlex.join(tiny.command)} list {closed} && {shlex.join(tiny.command)} hint 1 {closed}"
        done = subprocess.run(["bash", "-c", script], env=tiny.environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.replace("`practice hint 01` shows the next one.\n", "")) == (0, "")
        assert "started" in tiny("list").stdout

    def test_a_locked_record_is_said_with_what_to_do(self, tiny: Practice) -> None:
        attempt(tiny, 10)
        with closing(sqlite3.connect(tiny.home / ".practice/progress.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            done = tiny("list")
        assert (done.returncode, done.stdout) == (1, "")
        assert "locked by another process" in done.stderr
        assert "Wait for the other `practice` to end" in done.stderr

    def test_python_m_grader_is_the_same(self, tiny: Practice) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "grader", "next"],
            env={**tiny.environ, "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Next: 01_tiny_add" in done.stdout

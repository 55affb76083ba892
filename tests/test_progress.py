"""Progress survives what happens to files: locks, damage, full disks, other versions. Nothing vanishes silently."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from grader.errors import GraderError, PracticeError, UsageProblem
from grader.judge.scorecard import CheckRecord, Scorecard
from grader.progress import Store, database, record_or_warn
from grader.workspace import Workspace
from tests.conftest import ROOT


def card(score: int, exercise: str = "01_x", total: int = 100) -> Scorecard:
    verdict = "passed" if score == total else "failed"
    record = CheckRecord("test_a", "A", verdict, score, total, measures={"accuracy": float("nan")})
    return Scorecard(exercise, f"exercises/{exercise}.py", "ab" * 32, "embedded", (record,), seconds=1.5)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "mein Ordner ü ?#%")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(place: Workspace, said: list[str]) -> Iterator[Store]:
    with Store.open(place, said.append) as opened:
        yield opened


def file_of(place: Workspace) -> Path:
    return place.state / "progress.sqlite"


def as_nobody(work: Callable[[Callable[[str], None]], object]) -> str:
    """What `work` returns, then what it said, in a forked process without root's rights."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        heard: list[str] = []
        try:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            answer = repr(work(heard.append))
        except BaseException as error:
            answer = repr(error)
        os.write(writing, "\n".join([answer, *heard]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


class TestRemembering:
    def test_nothing_is_created_by_looking(self, store: Store, place: Workspace) -> None:
        assert store.status("01_x") == "new"
        assert store.best("01_x") is None
        assert store.attempts("01_x") == []
        assert store.hints_shown("01_x") == 0
        assert not store.revealed("01_x")
        assert not place.root.exists()

    def test_attempts_are_counted_by_exercise(self, store: Store) -> None:
        assert [store.record(card(10), "a"), store.record(card(5, "02_y"), "b"), store.record(card(40), "c")] == [
            1,
            1,
            2,
        ]
        assert [(a.n, a.score, a.passed) for a in store.attempts("01_x")] == [(1, 10, False), (2, 40, False)]
        assert store.best("01_x") == 40

    def test_the_best_score_stays_when_a_later_one_is_worse(self, store: Store) -> None:
        for score in (100, 20):
            store.record(card(score), "x")
        assert (store.best("01_x"), store.status("01_x")) == (100, "passed")

    def test_status_goes_from_new_to_started_to_passed(self, store: Store) -> None:
        seen = [store.status("01_x")]
        for score in (0, 100):
            store.record(card(score), "x")
            seen.append(store.status("01_x"))
        assert seen == ["new", "started", "passed"]

    @pytest.mark.parametrize("source", ["x = 'ä'\r\n", b"\xff\x00not utf-8", ""])
    def test_the_source_comes_back_byte_for_byte(self, store: Store, source: str | bytes) -> None:
        store.record(card(0), source)
        kept = store.source(store.attempt("01_x", 1))
        assert kept == (source.encode() if isinstance(source, str) else source)

    def test_the_scorecard_comes_back(self, store: Store) -> None:
        store.record(card(30), "x")
        kept = store.scorecard(store.attempt("01_x", 1))
        assert (kept["schema"], kept["score"], kept["checks"][0]["measures"]) == (1, 30, {"accuracy": None})

    @pytest.mark.parametrize("n", [0, 2, -1])
    def test_an_attempt_that_is_not_there_is_a_usage_problem(self, store: Store, n: int) -> None:
        store.record(card(30), "x")
        with pytest.raises(UsageProblem, match="the latest is 1"):
            store.attempt("01_x", n)

    def test_hints_advance_one_at_a_time_and_never_go_back(self, store: Store) -> None:
        assert [store.show_hint("01_x"), store.show_hint("01_x")] == [1, 2]
        assert store.show_hint("01_x", up_to=4) == 4
        assert store.show_hint("01_x", up_to=2) == 4
        assert (store.hints_shown("01_x"), store.hints_shown("02_y")) == (4, 0)

    def test_revealed_is_remembered_for_that_exercise(self, store: Store) -> None:
        store.mark_revealed("01_x")
        assert (store.revealed("01_x"), store.revealed("02_y")) == (True, False)
        standing = store.standings()["01_x"]
        assert (standing.status, standing.revealed, standing.best_score) == ("new", True, None)

    def test_another_process_sees_it(self, store: Store, place: Workspace) -> None:
        store.record(card(70), "x")
        with Store.open(place) as other:
            assert other.best("01_x") == 70

    def test_many_processes_record_at_once(self, store: Store, place: Workspace, said: list[str]) -> None:
        code = (
            "import sys, pathlib; from grader.progress import record_or_warn\n"
            "from grader.workspace import Workspace; from tests.test_progress import card\n"
            "for score in range(5): record_or_warn(Workspace(pathlib.Path(sys.argv[1])), card(score), 'x')\n"
        )
        arguments = [sys.executable, "-c", code, str(place.root)]
        running = [subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        assert [process.communicate()[1] for process in running] == [""] * 4
        assert sorted(attempt.score for attempt in store.attempts("01_x")) == sorted([0, 1, 2, 3, 4] * 4)
        assert said == []


class TestTrouble:
    def test_a_lock_is_waited_for_and_then_said(
        self, store: Store, place: Workspace, said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "WAIT_SECONDS", 0.05)
        store.record(card(10), "x")
        store.close()
        with closing(sqlite3.connect(file_of(place), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(PracticeError, match="locked by another process"):
                store.record(card(20), "x")
            with pytest.raises(PracticeError, match="locked by another process"):
                store.attempts("01_x")
            assert record_or_warn(place, card(20), "x", said.append) is None
            other.execute("ROLLBACK")
        assert len(said) == 1
        assert "not recorded" in said[0]
        assert [attempt.score for attempt in store.attempts("01_x")] == [10]

    def test_a_short_lock_is_no_trouble(self, store: Store, place: Workspace) -> None:
        store.record(card(10), "x")
        code = (
            "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(0.3); c.execute('COMMIT')"
        )
        arguments = [sys.executable, "-c", code, str(file_of(place))]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            assert store.record(card(20), "x") == 2

    @pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4000])
    def test_a_damaged_file_is_put_aside_and_said(
        self, store: Store, place: Workspace, said: list[str], content: bytes
    ) -> None:
        place.state.mkdir(parents=True)
        file_of(place).write_bytes(content)
        assert store.record(card(10), "x") == 1
        aside = list(place.state.glob("progress.damaged-*.sqlite"))
        assert [path.read_bytes() for path in aside] == [content]
        assert len(said) == 1
        assert "damaged" in said[0]
        assert str(aside[0]) in said[0]

    def test_damage_in_the_middle_is_noticed_by_whoever_reads_it(
        self, store: Store, place: Workspace, said: list[str]
    ) -> None:
        for _ in range(40):
            store.record(card(10), os.urandom(3000))
        store.close()
        with file_of(place).open("r+b") as stream:
            stream.seek(4096)
            stream.write(b"\xa5" * 40_000)
        assert store.attempts("01_x") == []
        assert len(said) == 1
        assert len(list(place.state.glob("progress.damaged-*.sqlite"))) == 1

    def test_the_database_of_another_program_is_put_aside(
        self, store: Store, place: Workspace, said: list[str]
    ) -> None:
        place.state.mkdir(parents=True)
        with closing(sqlite3.connect(file_of(place))) as other:
            other.execute("CREATE TABLE attempts (x)")
        assert store.attempts("01_x") == []
        assert "tables of another program" in said[0]

    def test_missing_tables_are_damage(self, store: Store, place: Workspace, said: list[str]) -> None:
        store.record(card(10), "x")
        store.close()
        with closing(sqlite3.connect(file_of(place))) as other:
            other.execute("DROP TABLE events")
        assert store.hints_shown("01_x") == 0
        assert "no such table: events" in said[0]

    def test_an_emptied_file_is_not_passed_over_in_silence(
        self, store: Store, place: Workspace, said: list[str]
    ) -> None:
        store.record(card(10), "x")
        store.close()
        file_of(place).write_bytes(b"")
        os.utime(file_of(place), (0, 0))
        assert store.attempts("01_x") == []
        assert "was empty" in said[0]

    def test_two_processes_put_a_damaged_file_aside_once(self, place: Workspace, said: list[str]) -> None:
        place.state.mkdir(parents=True)
        file_of(place).write_bytes(b"junk" * 1000)
        first, second = Store.open(place, said.append), Store.open(place, said.append)
        with first, second:
            first.record(card(10), "x")
            second.record(card(20), "x")
            assert [a.score for a in first.attempts("01_x")] == [10, 20]
        assert len(said) == 1

    def test_a_full_disk_is_said_and_nothing_is_lost(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.record(card(10), "x")
        connect = database.Database._connect

        def small(self: database.Database, write: bool) -> sqlite3.Connection:
            connection = connect(self, write)
            connection.execute("PRAGMA max_page_count = 12")
            return connection

        monkeypatch.setattr(database.Database, "_connect", small)
        with pytest.raises(PracticeError, match="the disk is full") as caught:
            store.record(card(20), os.urandom(200_000))
        assert caught.value.hint and "Free some space" in caught.value.hint
        assert [attempt.score for attempt in store.attempts("01_x")] == [10]

    def test_a_limit_on_file_size_is_said_by_the_command(self, place: Workspace) -> None:
        with Store.open(place) as store:
            store.record(card(10), "x")
        code = (
            "import os, sys, pathlib; from grader.progress import record_or_warn\n"
            "from grader.workspace import Workspace; from tests.test_progress import card\n"
            "print(record_or_warn(Workspace(pathlib.Path(sys.argv[1])), card(20), os.urandom(200_000)))\n"
        )
        limit = file_of(place).stat().st_size + 8192
        done = subprocess.run(
            [sys.executable, "-c", code, str(place.root)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            check=True,
        )
        assert done.stdout == "None\n"
        assert "was not recorded" in done.stderr
        with Store.open(place) as store:
            assert [attempt.score for attempt in store.attempts("01_x")] == [10]

    def test_a_newer_schema_is_left_alone(self, store: Store, place: Workspace) -> None:
        store.record(card(10), "x")
        store.close()
        with closing(sqlite3.connect(file_of(place))) as other:
            other.execute("PRAGMA user_version = 99")
        before = file_of(place).read_bytes()
        with pytest.raises(PracticeError, match="newer version of the kit") as caught:
            store.record(card(20), "x")
        assert caught.value.hint and "pip install --upgrade" in caught.value.hint
        assert file_of(place).read_bytes() == before

    def test_an_older_schema_is_brought_up_to_date(
        self, store: Store, place: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.record(card(10), "x")
        store.close()
        later = [*database.MIGRATIONS, ("ALTER TABLE attempts ADD COLUMN note TEXT",)]
        monkeypatch.setattr(database, "MIGRATIONS", later)
        assert [attempt.score for attempt in store.attempts("01_x")] == [10]
        store.close()
        with closing(sqlite3.connect(file_of(place))) as other:
            assert other.execute("PRAGMA user_version").fetchone() == (2,)
            assert other.execute("SELECT note FROM attempts").fetchall() == [(None,)]

    def test_a_failed_step_leaves_the_older_schema(
        self, store: Store, place: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.record(card(10), "x")
        store.close()
        steps = ("ALTER TABLE attempts ADD COLUMN note TEXT", "RAISE NONSENSE")
        with monkeypatch.context() as patched:
            patched.setattr(database, "MIGRATIONS", [*database.MIGRATIONS, steps])
            with pytest.raises(GraderError, match="from schema 1 to 2"):
                store.attempts("01_x")
        store.close()
        names = [path.name for path in place.state.iterdir()]
        assert names == ["progress.sqlite"]
        assert [attempt.score for attempt in store.attempts("01_x")] == [10]

    def test_where_nothing_may_be_written_it_can_still_be_read(self, tmp_path: Path) -> None:
        """In a process of another user when the tests run as root, whom no permission binds."""
        place = Workspace(tmp_path)
        with Store.open(place) as store:
            store.record(card(10), "x")
        for folder in (tmp_path, *tmp_path.parents):
            if folder.name.startswith(("test_", "popen-", "pytest-")):  # what pytest made, and closed to others
                folder.chmod(0o755)
        place.state.chmod(0o555)
        file_of(place).chmod(0o444)
        answer = as_nobody(lambda say: (Store.open(place).best("01_x"), record_or_warn(place, card(20), "x", say)))
        place.state.chmod(0o755)
        assert answer.startswith("(10, None)")
        assert "it may not be written" in answer

    def test_a_state_folder_that_is_a_file_is_said(self, store: Store, place: Workspace) -> None:
        place.root.mkdir(parents=True)
        place.state.write_text("x")
        with pytest.raises(PracticeError, match="can't be"):
            store.record(card(10), "x")

    def test_a_damaged_source_is_said(self, store: Store, place: Workspace) -> None:
        store.record(card(10), "x")
        with closing(sqlite3.connect(file_of(place))) as other:
            other.execute("UPDATE attempts SET source = x'00'")
            other.commit()
        with pytest.raises(PracticeError, match="source kept with attempt 1 on 01_x is damaged"):
            store.source(store.attempt("01_x", 1))

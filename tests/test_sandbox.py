"""The sandbox's own promises: what a worker may read, who survives which death, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.sandbox import confine
from tests.conftest import Places, Practice
from tests.test_hostile import assert_nothing_left

ROOT = Path(__file__).resolve().parent.parent
EXERCISE = "05_accuracy"
SLEEPING = "import time\n\n\ndef accuracy(*args, **kwargs):\n    time.sleep(60)\n"


def covers(granted: list[Path], path: Path) -> bool:
    return any(path.resolve().is_relative_to(g) for g in granted)


# --- what a worker may read ------------------------------------------------------------------------------


def test_the_interpreter_and_its_packages_stay_readable_whatever_is_secret() -> None:
    for secret in ([], [ROOT], [Path(sys.prefix).parent], [Path.cwd(), Path.home()]):
        granted = confine.readable(secret)
        assert covers(granted, Path(os.__file__)), secret
        assert covers(granted, Path(pytest.__file__)), secret


def test_a_secret_folder_among_the_packages_is_cut_out_and_its_neighbours_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "lib" / "site-packages"
    for name in ("torch", "grader/bank/05_accuracy", "grader/_solutions", "grader/checking"):
        (packages / name).mkdir(parents=True)
    monkeypatch.setattr(confine, "interpreter_folders", lambda: [tmp_path / "lib"])
    secret = [packages / "grader" / "bank", packages / "grader" / "_solutions"]
    granted = confine.readable(secret)
    assert covers(granted, packages / "torch")
    assert covers(granted, packages / "grader" / "checking")
    assert not covers(granted, secret[0] / "05_accuracy")
    assert not covers(granted, secret[1])
    assert not any(s.is_relative_to(g) for g in granted for s in secret)
    assert confine.listable(secret) == [tmp_path / "lib"]


def test_a_virtual_environment_inside_the_clone_stays_readable_but_not_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    environment = clone / ".venv"
    for folder in (environment / "lib", clone / "solutions", clone / "grader" / "bank"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(confine, "interpreter_folders", lambda: [environment])
    granted = confine.readable([clone, clone / "solutions", clone / "grader"])
    assert covers(granted, environment / "lib")
    assert not covers(granted, clone / "solutions")
    assert not covers(granted, clone / "grader" / "bank")


# --- ways to start workers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Iterator[Practice]:
    places = Places()
    practice = places.make()
    practice.environ["PRACTICE_WARM"] = "1"
    yield practice
    places.remove()


def write(practice: Practice, text: str | None = None) -> None:
    source = (ROOT / "solutions" / f"{EXERCISE}.py").read_text(encoding="utf-8") + (text or "")
    (practice.home / "exercises" / f"{EXERCISE}.py").write_text(source, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"PRACTICE_WARM": "0"}, {"PRACTICE_WARM": "1"}], ids=["cold", "warm"])
def test_the_verdict_does_not_depend_on_how_the_judge_is_started(shop: Practice, how: dict[str, str]) -> None:
    write(shop)
    card = json.loads(shop("check", EXERCISE, "--json", **how).stdout)
    assert card["score"] == 100
    assert_nothing_left(shop)


@pytest.mark.slow
def test_workers_may_be_interpreters_of_their_own(shop: Practice) -> None:
    """What macOS gets: the same verdicts, slower. Graded on a stub, which needs few workers."""
    stub = (ROOT / "exercises" / f"{EXERCISE}.py").read_text(encoding="utf-8")
    (shop.home / "exercises" / f"{EXERCISE}.py").write_text(stub, encoding="utf-8")
    run = shop("check", EXERCISE, "--json", PRACTICE_SANDBOX="spawn", PRACTICE_WARM="0")
    card = json.loads(run.stdout)
    assert {c["verdict"] for c in card["checks"]} <= {"not-implemented", "blocked"}
    assert card["score"] == 0
    assert_nothing_left(shop)


# --- the grader survives being hit ---------------------------------------------------------------------------


def server_pid(practice: Practice) -> int | None:
    status = json.loads(practice("warm", "status", "--json").stdout)
    return int(status["pid"]) if status.get("running") else None


@pytest.mark.slow
def test_a_killed_server_is_replaced(shop: Practice) -> None:
    write(shop)
    shop("check", EXERCISE)
    before = server_pid(shop)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert json.loads(shop("check", EXERCISE, "--json").stdout)["score"] == 100
    assert server_pid(shop) not in (None, before)


@pytest.mark.slow
def test_a_dead_socket_or_a_foreign_file_in_its_place_is_replaced(shop: Practice) -> None:
    write(shop)
    shop("warm", "stop")
    shop("check", EXERCISE)
    (socket,) = Path(shop.environ["XDG_RUNTIME_DIR"]).rglob("*.sock")
    pid = server_pid(shop)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    socket.unlink()
    socket.write_text("not a socket")
    assert json.loads(shop("check", EXERCISE, "--json").stdout)["score"] == 100


def start(practice: Practice, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*practice.command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=practice.home,
        env=practice.environ,
    )


def wait_for_worker(practice: Practice) -> None:
    from tests.test_hostile import processes_in

    deadline = time.monotonic() + 60
    while not processes_in(Path(practice.environ["TMPDIR"])):
        assert time.monotonic() < deadline, "no worker appeared"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_nothing_is_left_when_the_command_is_ended_while_a_check_runs(shop: Practice, blow: signal.Signals) -> None:
    write(shop, SLEEPING)
    process = start(shop, "check", EXERCISE)
    wait_for_worker(shop)
    process.send_signal(blow)
    process.communicate(timeout=30)
    if blow == signal.SIGINT:
        assert process.returncode == 130
    assert_nothing_left(shop)
    write(shop)
    assert json.loads(shop("check", EXERCISE, "--json").stdout)["score"] == 100


@pytest.mark.slow
def test_a_killed_judge_is_reported_and_leaves_nothing(shop: Practice) -> None:
    write(shop, SLEEPING)
    shop("warm", "start")
    process = start(shop, "check", EXERCISE)
    wait_for_worker(shop)
    server = server_pid(shop)
    assert server is not None
    judges = [int(p) for p in Path(f"/proc/{server}/task/{server}/children").read_text().split()]
    for judge in judges:
        os.kill(judge, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "Traceback" not in errors
    assert "practice doctor" in errors
    deadline = time.monotonic() + 10
    from tests.test_hostile import processes_in

    while processes_in(Path(shop.environ["TMPDIR"])) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes_in(Path(shop.environ["TMPDIR"]))


@pytest.mark.slow
def test_two_checks_of_one_exercise_at_once_both_get_their_verdict(shop: Practice) -> None:
    write(shop)
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: results.append(shop("check", EXERCISE, "--json"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(r.stdout)["score"] for r in results] == [100, 100]
    assert_nothing_left(shop)


# --- files beside the submission ------------------------------------------------------------------------------


@pytest.mark.slow
def test_files_beside_the_submission_can_not_change_its_verdict(shop: Practice) -> None:
    folder = shop.home / "exercises"
    neighbours = {
        "conftest.py": "import pytest\n\n\n@pytest.hookimpl(hookwrapper=True)\n"
        "def pytest_runtest_makereport(item, call):\n    outcome = yield\n"
        "    outcome.get_result().outcome = 'passed'\n",
        "pytest.ini": "[pytest]\naddopts = --co -k none\n",
        "sitecustomize.py": "raise SystemExit('sitecustomize was imported')\n",
        "random.py": "raise SystemExit('random.py was imported')\n",
        "torch.py": "raise SystemExit('torch.py was imported')\n",
    }
    try:
        for name, text in neighbours.items():
            (folder / name).write_text(text, encoding="utf-8")
        write(shop, "\n\ndef accuracy(*args, **kwargs):\n    return 0.123456\n")
        shop.cwd = folder
        run = shop("check", EXERCISE, "--json", PYTEST_ADDOPTS="--co", PRACTICE_WARM="0")
        card = json.loads(run.stdout)
        assert card["checks"][0]["verdict"] == "failed"
        assert not any(c["verdict"] == "grader-error" for c in card["checks"])
        random = folder / "random.py"
        random.write_text((ROOT / "solutions" / f"{EXERCISE}.py").read_text(encoding="utf-8"), encoding="utf-8")
        card = json.loads(shop("check", EXERCISE, "--file", random, "--json").stdout)
        assert card["score"] == 100
    finally:
        shop.cwd = None
        for name in neighbours:
            (folder / name).unlink(missing_ok=True)


# --- files that aren't Python ---------------------------------------------------------------------------------


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    def written(name: str, content: bytes) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    fifo, link, directory = folder / "fifo.py", folder / "link.py", folder / "folder.py"
    os.mkfifo(fifo)
    link.symlink_to(ROOT / "solutions" / f"{EXERCISE}.py")
    directory.mkdir()
    return {
        "empty": (written("empty.py", b""), "empty"),
        "blank": (written("blank.py", b" \n\n"), "empty"),
        "not UTF-8": (written("latin.py", "# gr\u00fc\u00dfe\nx = 1\n".encode("latin-1")), "offset 4"),
        "UTF-16": (written("wide.py", "x = 1\n".encode("utf-16")), "UTF-16"),
        "NUL": (written("nul.py", b"x = 1\ny = \0\n"), "line 2"),
        "large": (written("large.py", b"x = 1\n" * 100_000), "at most"),
        "deep": (written("deep.py", b"x = " + b"-" * 100_000 + b"1\n"), ""),
        "long sum": (written("sum.py", b"x = " + b"1+" * 100_000 + b"1\n"), ""),
        "FIFO": (fifo, "not a regular file"),
        "symbolic link": (link, "symbolic link"),
        "folder": (directory, "folder"),
        "missing": (folder / "missing.py", "does not exist"),
    }


@pytest.mark.slow
def test_a_file_that_is_no_python_source_is_named_for_what_it_is(shop: Practice, tmp_path: Path) -> None:
    for name, (path, words) in bad_files(tmp_path).items():
        run = shop("check", EXERCISE, "--file", path, "--json", timeout=60)
        assert "Traceback" not in run.stderr, name
        if run.returncode == 2:
            assert words in run.stderr, name
            continue
        assert run.returncode == 1, (name, run.stderr)
        card = json.loads(run.stdout)
        assert card["score"] == 0
        assert {c["verdict"] for c in card["checks"]} <= {"not-loadable", "crashed", "out-of-memory"}, name
        assert words in card["problem"], name
    assert_nothing_left(shop)


def test_a_byte_order_mark_is_no_problem() -> None:
    from grader.judge.submission import find_problem

    assert find_problem("\ufeffx = 1\n".encode()) is None

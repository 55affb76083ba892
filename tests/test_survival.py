"""The kit is hit itself: killed at any moment, no room on the disk, a locked database, a clock that jumps.

Whatever happens, a verdict that was reached is shown, nothing recorded is lost, nothing stays behind, and the next
run is clean. What the candidate's code does is in `test_hostile.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.sandbox import messages
from tests.conftest import Places, Practice
from tests.test_hostile import assert_nothing_left

ROOT = Path(__file__).resolve().parent.parent
EXERCISE = "05_accuracy"
PHASES = 5

pytestmark = pytest.mark.slow


@pytest.fixture
def desk() -> Iterator[Practice]:
    """A workspace with the reference in the place of the learner's file, and one attempt on record."""
    places = Places()
    practice = places.make()
    shutil.copy(ROOT / "solutions" / f"{EXERCISE}.py", practice.home / "exercises")
    assert practice("check", EXERCISE).returncode == 0
    yield practice
    places.remove()


def history(practice: Practice) -> list[dict[str, object]]:
    run = practice("history", EXERCISE, "--json")
    assert run.returncode == 0, run.stderr
    found: list[dict[str, object]] = json.loads(run.stdout)
    return found


def started(practice: Practice, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*practice.command, "check", EXERCISE, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=practice.home,
        env=practice.environ | environ,
    )


def phases(practice: Practice, **environ: str) -> list[float]:
    """Moments spread over a whole check, from its first instruction to after its last."""
    before = time.monotonic()
    assert practice("check", EXERCISE, **environ).returncode == 0
    whole = time.monotonic() - before
    return [whole * n / (PHASES - 1) for n in range(PHASES)]


def assert_clean_afterwards(practice: Practice, **environ: str) -> None:
    assert_nothing_left(practice)
    run = practice("check", EXERCISE, "--json", **environ)
    assert json.loads(run.stdout)["score"] == 100, run.stderr
    assert "Traceback" not in run.stderr
    assert_nothing_left(practice)


@pytest.mark.parametrize("warm", ["0", "1"], ids=["cold", "warm"])
def test_the_command_may_be_killed_at_any_moment(desk: Practice, warm: str) -> None:
    for delay in phases(desk, PRACTICE_WARM=warm):
        kept = len(history(desk))
        process = started(desk, PRACTICE_WARM=warm)
        time.sleep(delay)
        process.kill()
        out, _ = process.communicate(timeout=30)
        assert_nothing_left(desk)
        # An attempt that was reported is on record; one that wasn't may be.
        assert kept + bool(out.strip()) <= len(history(desk)) <= kept + 1
    assert_clean_afterwards(desk, PRACTICE_WARM=warm)


def test_the_warm_server_may_be_killed_at_any_moment(desk: Practice) -> None:
    desk.environ["PRACTICE_WARM"] = "1"
    for delay in phases(desk):
        assert desk("warm", "start").returncode == 0
        server = json.loads(desk("warm", "status", "--json").stdout)["pid"]
        process = started(desk)
        time.sleep(delay)
        os.kill(server, signal.SIGKILL)
        out, said = process.communicate(timeout=60)
        assert "Traceback" not in said
        if process.returncode == 0:
            assert json.loads(out)["score"] == 100
        else:
            # The kit's own trouble, said as such; never a zero for the learner.
            assert process.returncode == 3
            assert "practice" in said
        assert_nothing_left(desk)
    assert_clean_afterwards(desk)


def test_a_server_that_goes_before_it_begins_is_replaced(desk: Practice) -> None:
    """It says that it is there, and is gone when it is asked to grade: another one grades."""
    desk.environ["PRACTICE_WARM"] = "1"
    assert desk("warm", "start").returncode == 0
    server = json.loads(desk("warm", "status", "--json").stdout)["pid"]
    path = Path(next(a for a in Path(f"/proc/{server}/cmdline").read_text().split("\0") if a.endswith(".sock")))
    assert desk("warm", "stop").returncode == 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        process = started(desk)
        asked, _ = listener.accept()
        with asked:
            assert messages.receive(asked)["ask"] == "status"
            messages.send(asked, {"answer": "status"})
        begging, _ = listener.accept()
        path.unlink()
        begging.close()
    out, said = process.communicate(timeout=60)
    assert json.loads(out)["score"] == 100, said
    assert_clean_afterwards(desk)


def test_a_python_by_another_name_uses_the_same_server(desk: Practice) -> None:
    """`python` and `python3` of one environment are one installation; they don't stop each other's server."""
    desk.environ["PRACTICE_WARM"] = "1"
    pids = set()
    for name in ("python", "python3", "python"):
        python = Path(sys.prefix) / "bin" / name
        code = "import sys; from grader.cli import main; sys.exit(main())"
        for arguments in (["warm", "start"], ["warm", "status", "--json"]):
            run = subprocess.run(
                [python, "-c", code, *arguments], env=desk.environ, cwd=desk.home, capture_output=True, text=True
            )
            assert run.returncode == 0, run.stderr
        pids.add(json.loads(run.stdout)["pid"])
    assert len(pids) == 1


def test_a_verdict_is_shown_though_the_database_stays_locked(desk: Practice) -> None:
    kept = history(desk)
    lock = sqlite3.connect(desk.home / ".practice/progress.sqlite", isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        run = desk("check", EXERCISE)
    finally:
        lock.close()
    assert run.returncode == 0
    assert "Score 100/100" in run.stdout
    assert "locked by another process" in run.stderr
    assert "not recorded" in run.stderr
    assert history(desk) == kept
    assert_clean_afterwards(desk)


def on_a_full_disk(practice: Practice, folder: Path, kilobytes: int) -> subprocess.CompletedProcess[str]:
    """The check with `folder` on a disk of its own that holds what it held, and `kilobytes` more."""
    script = """
set -e
cp -a "$1" "$1.copy"
mount -t tmpfs -o size=$2k none "$1"
cp -a "$1.copy/." "$1/"
dd if=/dev/zero of="$1/filler" bs=1k 2>/dev/null || true
shift 2
"$@"
"""
    used = sum(path.stat().st_size // 4096 * 4 + 8 for path in folder.rglob("*"))
    check = [*practice.command, "check", EXERCISE]
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(folder), str(used + kilobytes), *check],
        capture_output=True,
        text=True,
        cwd=practice.home,
        env=practice.environ,
        check=False,
        timeout=300,
    )


def may_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not may_mount(), reason="needs a mount in a user namespace of its own")


@needs_mount
def test_a_verdict_is_shown_though_the_disk_of_the_workspace_is_full(desk: Practice) -> None:
    kept = history(desk)
    run = on_a_full_disk(desk, desk.home / ".practice", kilobytes=64)
    assert "Score 100/100" in run.stdout, run.stderr
    assert run.returncode == 0
    assert "not recorded" in run.stderr
    assert "full" in run.stderr
    assert "Traceback" not in run.stderr
    assert history(desk) == kept
    assert_clean_afterwards(desk)


@needs_mount
def test_a_full_disk_for_temporary_files_is_our_trouble_and_no_zero(desk: Practice) -> None:
    kept = history(desk)
    run = on_a_full_disk(desk, Path(desk.environ["TMPDIR"]), kilobytes=64)
    assert "Traceback" not in run.stderr + run.stdout
    if run.returncode != 0:
        assert run.returncode == 3, run.stdout + run.stderr
        assert "space" in run.stderr
        assert history(desk) == kept
    assert_clean_afterwards(desk)


def test_a_clock_that_jumps_changes_no_verdict_and_no_order(desk: Practice) -> None:
    """Set back by a year and forth by an hour at every look: what is timed is timed by another clock."""
    jumping = (
        "import itertools, sys, time\n"
        "now, turn = time.time, itertools.count()\n"
        "time.time = lambda: now() - 31_536_000 + 3600 * (-1) ** next(turn)\n"
        "from grader.cli import main\n"
        "sys.argv[0] = 'practice'\n"
        "main()\n"
    )
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", jumping, "check", EXERCISE, "--json"],
            capture_output=True,
            text=True,
            cwd=desk.home,
            env=desk.environ,
            check=False,
            timeout=300,
        )
        assert run.returncode == 0, run.stderr
        card = json.loads(run.stdout)
        assert card["score"] == 100
        assert all(0 <= check["seconds"] < 300 for check in card["checks"])
    found = history(desk)
    assert [attempt["n"] for attempt in found] == [1, 2, 3]
    assert found[0]["at"] > found[1]["at"]  # type: ignore[operator]  # the clock was set back in between
    assert_clean_afterwards(desk)

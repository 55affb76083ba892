"""Files are written whole or not at all, and what is replaced is kept."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from grader.errors import PracticeError
from grader.files import back_up, write_atomic
from tests.conftest import ROOT


def test_text_arrives_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "neu" / "datei ü.py"
    write_atomic(path, "ä\r\nb\n")
    assert path.read_bytes() == "ä\r\nb\n".encode()


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("old")
    path.chmod(0o640)
    write_atomic(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o640)


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a.py", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.py").stat().st_mode) == 0o640


def test_a_link_keeps_pointing_to_its_file(tmp_path: Path) -> None:
    real, link = tmp_path / "real.py", tmp_path / "link.py"
    real.write_text("old")
    link.symlink_to(real)
    write_atomic(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the middle."""
    path = tmp_path / "a.py"
    path.write_text("old")
    code = (
        "import sys, pathlib; from grader.files import write_atomic; from grader.errors import PracticeError\n"
        "try: write_atomic(pathlib.Path(sys.argv[1]), 'x' * 100_000)\n"
        "except PracticeError as error: print(error.message, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        check=True,
    )
    assert "can't be written: File too large" in done.stdout
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.py"]


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(PracticeError, match="can't be written"):
        write_atomic(tmp_path / "a" / "b.py", "x")


def test_backups_never_overwrite_each_other(tmp_path: Path) -> None:
    path = tmp_path / "01_x.py"
    copies = []
    for content in ("one", "two", "three"):
        path.write_text(content)
        copies.append(back_up(path, tmp_path / "backups"))
    assert [copy.read_text() for copy in copies] == ["one", "two", "three"]
    assert all(copy.name.startswith("01_x.") and copy.suffix == ".py" for copy in copies)


def test_what_cannot_be_read_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(PracticeError, match="can't be read"):
        back_up(tmp_path, tmp_path / "backups")

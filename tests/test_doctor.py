"""`practice doctor`, `practice warm` and the refusal to grade other people's code without the full confinement."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from grader import diagnosis
from grader.cli.app import run
from grader.sandbox import selfcheck
from grader.workspace import Workspace
from tests.conftest import Practice

NMS = "RuntimeError: operator torchvision::nms does not exist"


def states(found: list[diagnosis.Finding]) -> dict[str, str]:
    return {finding.name: finding.state for finding in found}


class TestTorch:
    def test_what_works_is_well(self) -> None:
        found = list(diagnosis.torch_findings({"torch": "2.5.1", "works": True, "torchvision": "0.20.1"}))
        assert states(found) == {"torch": "ok", "torchvision": "ok"}

    def test_builds_that_do_not_match_are_recognised(self) -> None:
        found = list(diagnosis.torch_findings({"torch": "2.5.1+cpu", "works": True, "error": NMS}))
        assert states(found) == {"torch": "ok", "torchvision": "problem"}
        cure = found[-1].cure or ""
        assert "pip install --force-reinstall torch torchvision" in cure
        assert "--index-url" in cure

    @pytest.mark.parametrize(
        ("error", "cure"),
        [
            ("ModuleNotFoundError: No module named 'torch'", "pip install torch"),
            ("OSError: libcudart.so.12: cannot open shared object file", "CPU build"),
            ("importing torch ended the process (signal 4)", "--force-reinstall"),
        ],
    )
    def test_a_torch_that_cannot_be_imported(self, error: str, cure: str) -> None:
        (found,) = diagnosis.torch_findings({"error": error})
        assert found.state == "problem"
        assert error in found.text
        assert cure in (found.cure or "")

    def test_an_import_that_kills_the_process_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(diagnosis, "_TORCH_PROBE", "import os, sys; print('Illegal', file=sys.stderr); os.abort()")
        found = diagnosis.ask_torch()
        assert "signal 6" in found["error"]

    def test_an_import_that_never_ends_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(diagnosis, "_TORCH_PROBE", "import time; time.sleep(60)")
        assert "more than" in diagnosis.ask_torch(timeout=0.5)["error"]


class TestWorkspace:
    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions don't bind the administrator")
    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "exercises").mkdir(mode=0o500)
        found = list(diagnosis._workspace(Workspace(tmp_path)))
        assert states(found)["exercises"] == "problem"

    def test_a_path_that_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "exercises").write_text("")
        found = list(diagnosis._workspace(Workspace(tmp_path)))
        assert states(found) == {"workspace": "ok", "exercises": "problem", "cache": "ok"}

    def test_a_damaged_progress_database(self, tmp_path: Path) -> None:
        workspace = Workspace(tmp_path)
        workspace.state.mkdir()
        (workspace.state / "progress.sqlite").write_bytes(b"not a database, by any means" * 100)
        (found,) = diagnosis._progress(workspace)
        assert found.state == "problem"
        assert "mv " in (found.cure or "")

    def test_damaged_data_is_named_with_the_command_that_repairs_it(self, tmp_path: Path) -> None:
        workspace = Workspace(tmp_path)
        (workspace.datasets / "prepared" / "mnist" / "real").mkdir(parents=True)
        found = {finding.name: finding for finding in diagnosis._data(workspace)}
        assert found["mnist"].state == "problem"
        assert "practice data download mnist" in (found["mnist"].cure or "")
        assert found["cifar10"].state == "ok"


class TestCommand:
    def test_a_sound_machine(self, tiny: Practice) -> None:
        run = tiny("doctor", "--json")
        document = json.loads(run.stdout)
        assert run.returncode == (0 if document["ok"] else 1)
        names = {finding["name"] for finding in document["findings"]}
        assert {"python", "torch", "torchvision", "cores", "memory", "disk", "workspace", "mnist"} <= names

    def test_a_problem_ends_with_1_and_a_cure(self, tiny: Practice) -> None:
        run = tiny("doctor", PRACTICE_HOME="/nowhere/at/all")
        assert run.returncode == 1
        assert "✗ workspace" in run.stdout
        assert "practice init" in run.stdout
        assert "1 problem" in run.stdout


class TestUntrusted:
    def test_without_the_full_confinement_nothing_is_graded(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_bank: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "exercises").mkdir()
        monkeypatch.setenv("PRACTICE_BANK", str(tiny_bank))
        monkeypatch.setenv("PRACTICE_HOME", str(tmp_path))
        monkeypatch.setattr(selfcheck, "is_fully_confined", lambda: False)
        assert run(["check", "01", "--solution", "--untrusted"]) == 3
        said = capsys.readouterr()
        assert "isn't graded here" in said.err
        assert "practice doctor" in said.err
        assert said.out == ""


class TestWarm:
    def test_start_status_stop(self, tiny: Practice) -> None:
        on = {"PRACTICE_WARM": "1"}
        assert "No server runs" in tiny("warm", "status", **on).stdout
        try:
            assert "Started" in tiny("warm", "start", **on).stdout
            assert json.loads(tiny("warm", "status", "--json", **on).stdout)["running"] is True
        finally:
            assert "Stopped" in tiny("warm", "stop", **on).stdout
        assert "No server" in tiny("warm", "stop", **on).stdout

    def test_switched_off(self, tiny: Practice) -> None:
        run = tiny("warm", "start")
        assert run.returncode == 1
        assert "PRACTICE_WARM=0" in run.stderr

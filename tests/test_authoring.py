"""Writing an exercise: the skeleton is a working one, and the proof of a `debug` exercise notices what it must."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_kit
from tests.conftest import Places, Practice

MAX_MUTANTS = """\
[[mutant]]
name = "smallest"
killed_by = "test_largest"
why = "The planted bug."
replace = [["return max(values)", "return min(values)"]]
"""


@pytest.fixture
def author(tmp_path: Path) -> Iterator[Practice]:
    """The real command with a kit of its own that may be written to."""
    found = Places()
    made = found.make(bank=tiny_kit.write(tmp_path / "kit"))
    yield made
    found.remove()


def bank(author: Practice) -> Path:
    return Path(author.environ["PRACTICE_BANK"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["implement", "debug"])
def test_a_new_exercise_passes_its_own_proof(author: Practice, kind: str) -> None:
    made = author("author", "new", "40_focal_loss", "--kind", kind, "--title", 'Focal loss, "by hand"')
    assert made.returncode == 0, made.stderr
    assert (author.home / "exercises/40_focal_loss.py").is_file()
    assert 'Focal loss, "by hand"' in author("list", "--json").stdout.replace("\\", "")
    proved = author("author", "verify", "40")
    assert proved.returncode == 0, proved.stdout + proved.stderr
    made_files = [Path(line) for line in made.stdout.splitlines() if line.startswith("/")]
    assert len(made_files) >= 7
    assert [path for path in made_files if "$" in path.read_text("utf-8")] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("focal", "can't be the id"),
        ("40_Focal", "can't be the id"),
        ("../40_up", "can't be the id"),
        ("01_other", "taken by 01_tiny_add"),
    ],
)
def test_an_id_that_is_none_or_taken_writes_nothing(author: Practice, name: str, said: str) -> None:
    before = sorted(bank(author).parent.rglob("*"))
    run = author("author", "new", name)
    assert run.returncode == 2
    assert said in run.stderr
    assert sorted(bank(author).parent.rglob("*")) == before


def test_what_is_there_is_never_overwritten(author: Practice) -> None:
    solution = bank(author).parent / "solutions/40_focal_loss.py"
    solution.write_text("# mine\n")
    run = author("author", "new", "40_focal_loss")
    assert run.returncode == 2
    assert "is there already" in run.stderr
    assert solution.read_text() == "# mine\n"
    assert not (bank(author) / "40_focal_loss").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("stub.py", "return min(values)", "return max(values)", "the stub scores 100, not 0"),
        ("stub.py", "print(largest", "(largest", "prints nothing"),
        ("stub.py", "print(largest", "raise SystemExit(largest", "ends with exit code 9"),
        ("exercise.toml", 'planted = ["test_largest"]', 'planted = ["test_sign"]', "test_sign is no check"),
        ("exercise.toml", 'planted = ["test_largest"]', "", "has to name a check for every planted bug"),
    ],
)
def test_the_proof_of_a_script_to_repair_can_fail(author: Practice, file: str, old: str, new: str, said: str) -> None:
    folder = bank(author) / tiny_kit.MAX
    (folder / "mutants.toml").write_text(MAX_MUTANTS)
    assert author("author", "verify", tiny_kit.MAX).returncode == 0
    text = (folder / file).read_text()
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new))
    run = author("author", "verify", tiny_kit.MAX)
    assert run.returncode != 0
    assert said in run.stdout + run.stderr

"""The catalog, the workspace and the stubs: what is found, what is said when it isn't."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grader import stubs, workspace
from grader.catalog import Catalog
from grader.errors import ContentError, PracticeError, UsageProblem
from tests import tiny_kit
from tests.conftest import ROOT


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    return tiny_kit.write(tmp_path / "kit")


def altered(bank: Path, old: str, new: str) -> Path:
    """The bank with one text in the first exercise's metadata replaced."""
    path = bank / tiny_kit.ADD / "exercise.toml"
    text = path.read_text("utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


class TestReading:
    def test_exercises_come_in_order_with_all_that_a_list_shows(self, bank: Path) -> None:
        first, second = Catalog.load(bank)
        assert (first.id, first.number, first.slug) == ("01_tiny_add", 1, "tiny_add")
        assert (first.title, first.track, first.kind) == ("Add two tensors [really]", "core", "implement")
        assert (first.difficulty, first.minutes, first.topics) == (1, 5, ("addition",))
        assert first.limits == {"cpu_seconds": 5.0}
        assert (second.id, second.kind, second.title) == ("02_tiny_max", "debug", "Repair the maximum")

    def test_hints_questions_and_statement_are_read_when_asked_for(self, bank: Path) -> None:
        first = Catalog.load(bank).get(tiny_kit.ADD)
        assert [hint.split(":")[0] for hint in first.hints] == ["Nudge", "Approach", "Code"]
        assert first.follow_ups[0].question == "What is broadcasting?"
        assert first.follow_ups[0].answer == "Dimensions of size 1 are stretched to fit."
        assert first.statement.startswith("# Add")

    def test_an_exercise_travels_to_another_process(self, bank: Path) -> None:
        first = Catalog.load(bank).get(tiny_kit.ADD)
        assert pickle.loads(pickle.dumps(first)) == first

    def test_tables_after_the_hints_count_too(self, bank: Path) -> None:
        path = altered(bank, "[limits]\ncpu_seconds = 5\n", "")
        path.write_text(path.read_text("utf-8") + "\n[limits]\nwall_seconds = 7\n", encoding="utf-8")
        assert Catalog.load(bank).get(tiny_kit.ADD).limits == {"wall_seconds": 7.0}

    def test_brackets_at_the_start_of_a_line_of_text_are_text(self, bank: Path) -> None:
        altered(bank, 'en = "Add two tensors [really]"', 'en = """\nAdd\n[[really]]\n"""')
        assert Catalog.load(bank).get(tiny_kit.ADD).title == "Add\n[[really]]"

    def test_a_folder_without_metadata_is_no_exercise(self, bank: Path) -> None:
        (bank / "03_later").mkdir()
        assert len(Catalog.load(bank)) == 2

    def test_the_real_bank_loads_whole(self) -> None:
        catalog = Catalog.load(ROOT / "grader" / "bank")
        assert len(catalog) > 0
        numbers = [exercise.number for exercise in catalog]
        assert numbers == sorted(set(numbers))
        for exercise in catalog:
            assert len(exercise.hints) >= 3, exercise.id
            assert len(exercise.follow_ups) >= 5, exercise.id
            assert exercise.statement.strip(), exercise.id

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ('track = "core"', 'track = "cor"', "track must be one of core"),
            ("difficulty = 1", "difficulty = 4", "difficulty must be a whole number from 1 to 3, not 4"),
            ("minutes = 5", "minutes = true", "minutes must be a whole number from 1, not True"),
            ("minutes = 5", "minuts = 5", "unknown key `minuts`"),
            ("datasets = []", 'datasets = ["imagenet"]', "datasets may name mnist, cifar10, not 'imagenet'"),
            ("topics = [", "topics = [1, ", "topics must be a list of texts"),
            ('id = "01_tiny_add"', 'id = "tiny_add"', "id must be the folder's name"),
            ("cpu_seconds = 5", "cpu = 5", "limits may name"),
            ("cpu_seconds = 5", "cpu_seconds = -5", "limits.cpu_seconds must be a number above 0"),
            ("[title]\nen", "[title]\nde", "title.en is missing or empty"),
            ("kind =", "kind", "exercise.toml: Expected '='"),
        ],
    )
    def test_a_mistake_in_the_metadata_is_named_with_its_file(self, bank: Path, old: str, new: str, said: str) -> None:
        altered(bank, old, new)
        with pytest.raises(ContentError) as caught:
            Catalog.load(bank)
        assert said in caught.value.message
        assert "01_tiny_add" in caught.value.message
        assert caught.value.exit_code == 3

    def test_an_empty_hint_is_named(self, bank: Path) -> None:
        altered(bank, 'en = "Nudge: think of `+`."', 'en = " "')
        with pytest.raises(ContentError, match=r"hints\[0\]\.en is missing or empty"):
            _ = Catalog.load(bank).get(tiny_kit.ADD).hints

    def test_metadata_that_is_not_utf8_is_named(self, bank: Path) -> None:
        (bank / tiny_kit.ADD / "exercise.toml").write_bytes(b'id = "\xff"')
        with pytest.raises(ContentError, match="not UTF-8 at byte 6"):
            Catalog.load(bank)


class TestNaming:
    @pytest.mark.parametrize(
        "query",
        ["01_tiny_add", "1", "01", "001", "add", "ADD", "tiny-add", "tiny add", "exercises/01_tiny_add.py", " 1 "],
    )
    def test_many_names_mean_the_same_exercise(self, bank: Path, query: str) -> None:
        assert Catalog.load(bank).find(query).id == "01_tiny_add"

    def test_an_ambiguous_part_lists_the_candidates(self, bank: Path) -> None:
        with pytest.raises(UsageProblem) as caught:
            Catalog.load(bank).find("tiny")
        assert "01_tiny_add, 02_tiny_max" in caught.value.message
        assert caught.value.hint and "`01`" in caught.value.hint

    def test_a_whole_name_wins_over_a_part_of_another(self, bank: Path) -> None:
        shutil.copytree(bank / tiny_kit.ADD, bank / "03_add")
        path = bank / "03_add" / "exercise.toml"
        path.write_text(path.read_text("utf-8").replace('"01_tiny_add"', '"03_add"'), encoding="utf-8")
        assert Catalog.load(bank).find("add").id == "03_add"

    def test_a_misspelt_name_gets_the_nearest(self, bank: Path) -> None:
        with pytest.raises(UsageProblem) as caught:
            Catalog.load(bank).find("tiny_ad_d")
        assert caught.value.hint and "01_tiny_add" in caught.value.hint

    @pytest.mark.parametrize("query", ["99", "zebra", "", "  ", "²"])
    def test_a_name_like_no_other_points_to_the_list(self, bank: Path, query: str) -> None:
        with pytest.raises(UsageProblem) as caught:
            Catalog.load(bank).find(query)
        assert caught.value.hint == "`practice list` shows all."

    def test_get_takes_whole_ids_only(self, bank: Path) -> None:
        with pytest.raises(UsageProblem):
            Catalog.load(bank).get("1")


class TestWorkspace:
    def test_the_marked_folder_above_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "exercises").mkdir()
        (tmp_path / workspace.MARKER).touch()
        deep = tmp_path / "exercises" / "deep"
        deep.mkdir()
        assert workspace.find(deep, {}).root == tmp_path.resolve()

    def test_exercises_alone_make_no_workspace(self, tmp_path: Path) -> None:
        (tmp_path / "exercises").mkdir()
        assert not workspace.is_workspace(tmp_path)

    def test_the_environment_comes_first(self, tmp_path: Path) -> None:
        assert workspace.find(ROOT, {"PRACTICE_HOME": str(tmp_path)}).root == tmp_path.resolve()

    def test_a_home_that_is_missing_names_the_command(self, tmp_path: Path) -> None:
        with pytest.raises(PracticeError) as caught:
            workspace.find(None, {"PRACTICE_HOME": str(tmp_path / "a b")})
        assert caught.value.hint and f"practice init '{tmp_path}/a b'" in caught.value.hint

    def test_without_any_the_hint_is_init(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workspace, "PACKAGE", tmp_path / "site-packages" / "grader")
        with pytest.raises(PracticeError) as caught:
            workspace.find(tmp_path, {})
        assert caught.value.hint and "practice init DIR" in caught.value.hint

    def test_the_references_are_the_kits_own(self, tmp_path: Path) -> None:
        (tmp_path / "solutions").mkdir()
        own = workspace.Workspace(tmp_path)
        assert own.solutions != tmp_path / "solutions"


class TestStubs:
    def test_each_region_becomes_one_line(self) -> None:
        text = "def f():\n    # solution: begin  do it \n    a = 1\n\n    return a\n    # solution: end\n"
        assert stubs.make_stub(text) == 'def f():\n    raise NotImplementedError("TODO: do it")\n'

    def test_without_a_text_the_marker_still_says_something(self) -> None:
        text = "def f():\n\t# solution: begin\n\treturn 1\n\t# solution: end\n"
        assert stubs.make_stub(text) == 'def f():\n\traise NotImplementedError("TODO: write this part")\n'

    def test_a_long_text_gets_a_line_of_its_own(self) -> None:
        stub = stubs.make_stub("def f():\n    # solution: begin " + "x" * 70 + "\n    pass\n    # solution: end\n")
        assert stub.splitlines()[1:] == [
            "    raise NotImplementedError(",
            f'        "TODO: {"x" * 70}"',
            "    )",
        ]

    @pytest.mark.parametrize("todo", ['use "x"', "a \\ b", "it's", """both ' and \""""])
    def test_any_text_survives(self, todo: str) -> None:
        stub = stubs.make_stub(f"# solution: begin {todo}\nx = 1\n# solution: end\n")
        with pytest.raises(NotImplementedError) as caught:
            exec(stub)
        assert str(caught.value) == f"TODO: {todo}"

    def test_the_shown_solution_has_no_markers_and_all_else(self) -> None:
        text = "a = 0\n# solution: begin x\nb = 1\n# solution: end\nc = 2\n"
        assert stubs.strip_markers(text) == "a = 0\nb = 1\nc = 2\n"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("# solution: begin\nx = 1\n", "line 1: `solution: begin` is never ended"),
            ("x = 1\n# solution: end\n", "line 2: `solution: end` without"),
            ("# solution: begin\nx\n# solution: begin\n", "line 3: `solution: begin` inside the one of line 1"),
            ("# solution: begin\n\n# solution: end\n", "line 3: nothing between"),
            ("# solution: beginn\n", "line 1: `solution: beginn` is neither"),
            ("# solution: begin " + "x" * 90 + "\nx\n# solution: end\n", "line 1: the TODO makes a line of"),
            ("x = 1\n", "no `# solution: begin`"),
            ("def f(:\n# solution: begin\nx\n# solution: end\n", "line 1 of the stub"),
        ],
    )
    def test_wrong_markers_are_named_with_their_line(self, text: str, said: str) -> None:
        with pytest.raises(ContentError, match=f"^.*{said[:20]}") as caught:
            stubs.make_stub(text)
        assert said in caught.value.message

    def test_all_stubs_are_written_and_then_current(self, bank: Path, tmp_path: Path) -> None:
        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "grader.stubs", *arguments],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env={"PRACTICE_BANK": str(bank), "PRACTICE_HOME": str(tmp_path)},
                check=False,
            )

        assert run("--check").returncode == 1
        assert run().returncode == 0
        assert (tmp_path / "exercises/02_tiny_max.py").read_text("utf-8").count("min(values)") == 1
        assert "TODO: one expression" in (tmp_path / "exercises/01_tiny_add.py").read_text("utf-8")
        assert run("--check").returncode == 0
        (bank.parent / "solutions" / "01_tiny_add.py").unlink()
        broken = run()
        assert broken.returncode == 3
        assert "01_tiny_add.py" in broken.stderr

    def test_the_stubs_in_the_repository_are_what_the_solutions_generate(self) -> None:
        catalog = Catalog.load(ROOT / "grader" / "bank")
        assert stubs.outdated(catalog, ROOT / "exercises") == [], "run `python -m grader.stubs`"

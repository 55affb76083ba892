"""Mutation: each operator fits what it is meant for, and a campaign tells killed, survived and equivalent apart."""

from __future__ import annotations

import ast
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from grader.catalog import Catalog, Exercise
from grader.errors import ContentError, UsageProblem
from grader.judge.scorecard import Scorecard
from grader.mutation import equivalents
from grader.mutation.campaign import Campaign, Part, Result, plan
from grader.mutation.operators import all_operators
from grader.mutation.sites import Mutant, mutants
from grader.mutation.tree import Code
from grader.views.mutation import show_table
from grader.workspace import kit_solutions
from tests import tiny_kit
from tests.conftest import Practice

EXERCISES = list(Catalog.load())
OPERATORS = {operator.name: operator for operator in all_operators()}

TRAIN = """
def train(model, loader, optimizer, loss_fn):
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
"""
MODULE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.b(F.relu(self.a(x)))
"""

# Operator, code, and a line that one of its mutants has. Those that fit no reference must be here.
SNIPPETS = [
    ("softmax-on-logits", TRAIN, "loss = loss_fn(model(images).softmax(1), labels)"),
    ("softmax-over-wrong-dimension", "p = x.softmax(dim=-1)", "p = x.softmax(dim=0)"),
    ("sum-instead-of-mean", TRAIN, "loss = loss_fn(model(images), labels) * len(labels)"),
    ("negated-loss", TRAIN, "(-loss).backward()"),
    ("labels-off-by-one", "n = (p == labels).sum()", "n = (p == (labels + 1) % (labels.max() + 1)).sum()"),
    ("bce-without-sigmoid", "l = F.binary_cross_entropy_with_logits(x, y)", "l = F.binary_cross_entropy(x, y)"),
    ("double-sigmoid", "p = torch.sigmoid(x)", "p = torch.sigmoid(x).sigmoid()"),
    ("ignore-index-forgotten", "l = F.cross_entropy(x, y, ignore_index=255)", "l = F.cross_entropy(x, y)"),
    ("epsilon-removed", "d = 2 * both / (total + eps)", "d = 2 * both / total"),
    ("factor-two-removed", "d = 2 * both / total", "d = both / total"),
    ("temperature-not-squared", "l = kl * T ** 2", "l = kl * T"),
    ("normalise-forgotten", "z = F.normalize(z, dim=1)", "z = z"),
    ("diagonal-not-masked", "s = s.masked_fill(eye, -1e9)", "s = s"),
    ("no-zero-grad", TRAIN, ""),
    ("zero-grad-before-step", TRAIN, "optimizer.zero_grad()"),
    ("step-before-backward", TRAIN, "optimizer.step()"),
    ("graph-cut", TRAIN, "loss.detach().requires_grad_().backward()"),
    ("optimizer-over-last-layer", "o = torch.optim.SGD(m.parameters(), lr=1)", "list(m.parameters())[-2:]"),
    ("optimizer-over-a-copy", "o = torch.optim.SGD(m.parameters(), lr=1)", "p.detach().clone()"),
    (
        "layer-replaced-first",
        "def f(model):\n    freeze(model.parameters())\n    model.fc = nn.Linear(2, 2)",
        "model.fc =",
    ),
    ("ascent", "o = torch.optim.SGD(p, lr=1)", "maximize=True"),
    ("regularisation-removed", "o = torch.optim.SGD(p, lr=1, weight_decay=0.1)", "o = torch.optim.SGD(p, lr=1)"),
    ("accumulation-not-divided", "(loss / parts).backward()", "loss.backward()"),
    ("scaler-misused", "scaler.unscale_(optimizer)\nscaler.step(optimizer)\nscaler.update()", ""),
    ("average-the-wrong-way", "e.mul_(decay).add_(p, alpha=1 - decay)", "e.mul_(1 - decay).add_(p, alpha=1 - decay)"),
    ("no-eval", "model.eval()\nf()", ""),
    ("no-no-grad", "with torch.no_grad():\n    y = model(x)", ""),
    ("argmax-over-batch", "p = x.argmax(dim=1)", "p = x.argmax(dim=0)"),
    ("mean-of-batch-means", "for x, y in b:\n    t += l.item() * len(y)\n    n += len(y)", "n += 1"),
    ("pair-transposed", "cell = t * n + p", "cell = p * n + t"),
    ("one-pixel-more", "w = x2 - x1", "w = x2 - x1 + 1"),
    ("box-format-confused", "w = x2 - x1", "w = x2"),
    ("patience-off-by-one", "if bad >= patience:\n    stop()", "if bad >= patience + 1:"),
    ("best-weights-not-copied", "best = copy.deepcopy(model.state_dict())", "best = model.state_dict()"),
    ("no-shuffle", "order = torch.randperm(n)", "order = torch.arange(n)"),
    ("no-shuffle", "l = DataLoader(d, shuffle=True)", "l = DataLoader(d, shuffle=False)"),
    ("shuffled-once", "for e in range(3):\n    o = torch.randperm(n)\n    go(o)", "o = torch.randperm(n)"),
    ("pairs-torn-apart", TRAIN, "loss = loss_fn(model(images), labels.flip(0))"),
    ("first-batch-only", TRAIN, "break"),
    ("not-scaled", "x = images.float() / 255", "x = images.float()"),
    ("mean-and-std-exchanged", "y = (x - mean) / std", "y = (x - std) / mean"),
    ("mask-left-behind", "image = image.flip(2)\nmask = mask.flip(1)", ""),
    ("resize-without-antialias", "y = resize(x, 8, antialias=True)", "y = resize(x, 8)"),
    ("padded-wrongly", "y = pad_sequence(x, batch_first=True)", "y = pad_sequence(x)"),
    ("split-overlaps", "train, val = x[:n], x[n:]", "train, val = (x[:n], x[n // 2:])"),
    ("batch-size-ignored", "l = DataLoader(d, batch_size=8)", "l = DataLoader(d, batch_size=8, drop_last=True)"),
    ("workers-seeded-alike", "l = DataLoader(d, worker_init_fn=seed)", "l = DataLoader(d)"),
    ("flatten-mixes-batch", "x = x.flatten(1)", "x = x.transpose(0, 1).reshape(x.shape[0], -1)"),
    ("layer-not-registered", MODULE, "self.__dict__['a'] = nn.Linear(4, 4)"),
    ("layer-not-registered", "self.l = nn.ModuleList([a, b])", "self.l = [a, b]"),
    ("weights-shared", MODULE, "self.b = self.a"),
    ("no-activation", MODULE, "return x + self.b(self.a(x))"),
    ("dropout-always-on", "y = F.dropout(x, 0.5, training=self.training)", "y = F.dropout(x, 0.5)"),
    ("residual-missing", MODULE, "return self.b(F.relu(self.a(x)))"),
    ("attention-not-scaled", "s = q @ k.T / math.sqrt(d)", "s = q @ k.T"),
    ("attention-not-masked", "y = scaled_dot_product_attention(q, k, v, is_causal=True)", "(q, k, v)"),
    ("no-positions", "x = x + self.pos_embedding", "x = x"),
    ("upsampled-by-a-factor", "x = F.interpolate(x, size=s.shape[2:])", "x = F.interpolate(x, scale_factor=2)"),
    ("cast-forgotten", "x = x.to(device)", "x = x"),
    ("in-place", "y = F.relu(x)", "y = x.relu_()"),
    ("cuda-hard-coded", "m = torch.zeros(3)", "m = torch.zeros(3, device='cuda')"),
    ("view-of-non-contiguous", "y = x.reshape(-1)", "y = x.view(-1)"),
    ("comparison", "if a < b:\n    f()", "if a <= b:"),
    ("constant", "a = 3", "a = 4"),
    ("constant", "a = 0.5", "a = 1.0"),
    ("arithmetic", "a = b * c", "a = b + c"),
    ("condition-negated", "if not a:\n    f()", "if a:"),
    ("condition-dropped", "a = b if c else d", "a = d"),
    ("both-or-either", "a = b and c", "a = b or c"),
    ("keyword-removed", "f(a=1, b=2)", "f(b=2)"),
    ("method-dropped", "a = b.clone()", "a = b"),
    ("method-dropped", "a = copy.deepcopy(b)", "a = b"),
    ("default-changed", "def f(a=None):\n    return a", "def f(a=1):"),
    ("slice-widened", "a = b[:3]", "a = b[:]"),
]


@pytest.mark.parametrize(("name", "source", "expected"), SNIPPETS, ids=[f"{n}: {e}"[:60] for n, _, e in SNIPPETS])
def test_an_operator_fits_its_intended_code(name: str, source: str, expected: str) -> None:
    found = mutants(source, [OPERATORS[name]])
    assert found, "it doesn't fit"
    if expected:
        assert any(expected in line for mutant in found for line in mutant.after.splitlines())
    else:
        assert any(mutant.before and len(mutant.source) < len(source) for mutant in found)


@pytest.fixture(scope="module")
def of_references() -> dict[str, list[Mutant]]:
    operators = all_operators()
    return {e.id: mutants((kit_solutions() / f"{e.id}.py").read_text("utf-8"), operators) for e in EXERCISES}


def test_every_operator_fits_a_reference_or_has_a_snippet(of_references: dict[str, list[Mutant]]) -> None:
    used = {mutant.operator.name for found in of_references.values() for mutant in found}
    assert set(OPERATORS) - used - {name for name, _, _ in SNIPPETS} == set()


def test_the_whole_catalogue_of_faults_has_operators() -> None:
    assert {operator.number for operator in OPERATORS.values()} == set(range(106))
    assert all(operator.title and operator.family for operator in OPERATORS.values())


def test_no_mutant_is_the_solution_nor_another_mutant(of_references: dict[str, list[Mutant]]) -> None:
    for id, found in of_references.items():
        plain = ast.unparse(Code((kit_solutions() / f"{id}.py").read_text("utf-8")).tree)
        texts = [mutant.source.rstrip("\n") for mutant in found]
        assert plain not in texts
        assert len(set(texts)) == len(texts)
        assert len({mutant.key for mutant in found}) == len(found)
        assert all(mutant.before or mutant.after for mutant in found)


def test_the_mutants_of_a_source_are_always_the_same() -> None:
    assert mutants(TRAIN, all_operators()) == mutants(TRAIN, all_operators())


def test_texts_annotations_and_the_main_block_are_left_alone() -> None:
    source = '''
import torch

def f(a: dict[int, 3] = {}) -> Literal[4]:
    """Gives 5."""
    raise ValueError(f"{a} isn't 6")

if __name__ == "__main__":
    f(7)
'''
    assert mutants(source, [OPERATORS["constant"]]) == []


def test_an_edit_leaves_the_rest_as_it_was() -> None:
    (mutant,) = mutants(TRAIN, [OPERATORS["no-step"]])
    assert mutant.before == "optimizer.step()"
    assert mutant.after == ""
    assert mutant.where == "train"
    expected = ast.unparse(ast.parse(TRAIN.replace("        optimizer.step()\n", "")))
    assert mutant.source.rstrip("\n") == expected


def test_a_statement_moved_out_of_a_loop_is_no_longer_in_it() -> None:
    (mutant,) = mutants(TRAIN, [OPERATORS["zero-grad-once"]])
    assert mutant.source.count("optimizer.zero_grad()") == 1
    assert mutant.source.index("zero_grad") < mutant.source.index("for images")


def test_what_a_removed_statement_leaves_is_a_program() -> None:
    (mutant,) = mutants("if a:\n    optimizer.step()", [OPERATORS["no-step"]])
    assert mutant.after == "pass"


# --- campaigns -----------------------------------------------------------------------------------------


@pytest.fixture
def tiny_exercise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exercise:
    bank = tiny_kit.write(tmp_path)
    monkeypatch.setenv("PRACTICE_BANK", str(bank))
    return Catalog.load(bank).get(tiny_kit.ADD)


ENTRY = '[[equivalent]]\nwhere = "{where}"\nbefore = "{before}"\nafter = {after}\nwhy = "{why}"\n'


def test_an_entry_may_hold_several_changes(tiny_exercise: Exercise) -> None:
    text = ENTRY.format(where="twice", before="a", after='["b", "c"]', why="because")
    (tiny_exercise.folder / "equivalent.toml").write_text(text)
    assert list(equivalents.load(tiny_exercise)) == [("twice", "a", "b"), ("twice", "a", "c")]


@pytest.mark.parametrize(
    "text",
    [
        ENTRY.format(where="f", before="a", after='"b"', why=" "),
        ENTRY.format(where="f", before="a", after="3", why="because"),
        ENTRY.format(where="f", before="a", after="[]", why="because"),
        ENTRY.format(where="f", before="a", after='["b", "b"]', why="because"),
        ENTRY.format(where="f", before="a", after='"b"', why="because") + 'reason = "x"\n',
        "[[equivalent]\n",
    ],
    ids=["no reason", "number", "nothing", "twice", "unknown key", "no TOML"],
)
def test_a_malformed_list_is_refused(tiny_exercise: Exercise, text: str) -> None:
    (tiny_exercise.folder / "equivalent.toml").write_text(text)
    with pytest.raises(ContentError, match=r"equivalent\.toml"):
        equivalents.load(tiny_exercise)


def test_parts_share_the_mutants_out(monkeypatch: pytest.MonkeyPatch) -> None:
    exercise = EXERCISES[0]
    whole = plan(exercise).mutants
    parts = [plan(exercise, part=Part(k, 3)).mutants for k in (1, 2, 3)]
    assert sorted(m.key for part in parts for m in part) == sorted(m.key for m in whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem):
        Part.read(text)


ONLY_ADD = ("--operator", "arithmetic", "--jobs", "1")


def own_bank(practice: Practice, tmp_path: Path) -> Path:
    """A kit that may be written to, graded by a warm server: several mutants needn't pay its start each."""
    del practice.environ["PRACTICE_WARM"]
    bank = tiny_kit.write(tmp_path / "own")
    practice.environ["PRACTICE_BANK"] = str(bank)
    return bank / tiny_kit.ADD


def test_a_killed_mutant_is_named_with_its_check(practice: Practice, tmp_path: Path) -> None:
    own_bank(practice, tmp_path)
    run = practice("author", "mutate", "1", *ONLY_ADD, "--json")
    assert run.returncode == 0, run.stderr
    (campaign,) = json.loads(run.stdout)
    (row,) = campaign["mutants"]
    assert (row["operator"], row["where"], row["status"]) == ("arithmetic", "add", "killed")
    assert row["killed_by"] == "test_sum"
    assert (row["before"], row["after"]) == ("return a + b", "return a - b")


def test_a_survivor_is_shown_and_fails_the_command(practice: Practice, tmp_path: Path) -> None:
    own_bank(practice, tmp_path)
    # No check of the tiny kit looks at `twice`.
    run = practice("author", "mutate", "1", "--operator", "result-forgotten", "--jobs", "1")
    assert run.returncode == 1
    assert "survived" in run.stdout
    assert "after: add(a, a)" in run.stdout
    assert "1/1/0" in run.stdout


TWICE = ENTRY.format(where="twice", before="return add(a, a)", after='"add(a, a)"', why="nobody asks for it")


def test_a_listed_equivalent_is_respected(practice: Practice, tmp_path: Path) -> None:
    (own_bank(practice, tmp_path) / "equivalent.toml").write_text(TWICE)
    run = practice("author", "mutate", "1", "--operator", "result-forgotten", "--jobs", "1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1/0/1" in run.stdout


def test_a_listed_equivalent_that_is_killed_fails_the_command(practice: Practice, tmp_path: Path) -> None:
    entry = ENTRY.format(where="add", before="return a + b", after='"return a - b"', why="wrongly listed")
    (own_bank(practice, tmp_path) / "equivalent.toml").write_text(entry)
    run = practice("author", "mutate", "1", *ONLY_ADD)
    assert run.returncode == 1
    assert "REVIVED by test_sum" in run.stdout


def test_a_listed_equivalent_that_no_longer_fits_fails_the_command(practice: Practice, tmp_path: Path) -> None:
    entry = ENTRY.format(where="add", before="return a + c", after='"return a - c"', why="the code has changed")
    (own_bank(practice, tmp_path) / "equivalent.toml").write_text(entry)
    run = practice("author", "mutate", "1", "--operator", "slice-widened")  # fits nowhere: nothing to grade
    assert run.returncode == 1
    assert "no operator makes" in run.stdout


def _campaigns_without_grading() -> list[Campaign]:
    nothing = Scorecard("", "", "", "none", ())
    planned = [plan(exercise, part=Part(1, 16)) for exercise in EXERCISES]
    for campaign in planned:
        campaign.results += [Result(mutant, "killed", "test_x", nothing) for mutant in campaign.mutants]
    return [campaign for campaign in planned if campaign.results]


def test_the_table_is_cut_for_no_reader() -> None:
    planned = _campaigns_without_grading()
    numbers = {campaign.exercise.id[:2] for campaign in planned}
    narrow, piped = io.StringIO(), io.StringIO()
    show_table(Console(file=narrow, force_terminal=True, no_color=True, width=80), planned)
    show_table(Console(file=piped), planned)
    shown = {name: re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()) for name, out in (("80", narrow), ("piped", piped))}
    for name, written in shown.items():
        headings = [line.split()[1:] for line in written.splitlines() if "operator " in line]
        assert {number for heading in headings for number in heading} == numbers
        assert "…" not in written
        assert (len(headings) == 1) == (name == "piped")
    assert max(map(len, shown["80"].splitlines())) <= 80


def test_an_unknown_operator_is_a_mistake_in_the_command(practice: Practice) -> None:
    run = practice("author", "mutate", "--operator", "nonsense", "--list")
    assert run.returncode == 2
    assert "nonsense" in run.stderr


def test_the_deep_proof_contains_the_campaign(practice: Practice, tmp_path: Path) -> None:
    folder = own_bank(practice, tmp_path)
    (folder / "mutants.toml").write_text(
        "\n".join(
            f'[[mutant]]\nname = "{name}"\nkilled_by = "{check}"\nwhy = "w"\nreplace = [["a + b", "{code}"]]'
            for name, check, code in (
                ("minus", "test_sum", "a - b"),
                ("square", "test_broadcast", "a + b.expand_as(a)"),
            )
        )
    )
    run = practice("author", "verify", "1", "--deep", "--part", "1/1", "--jobs", "1")
    assert run.returncode == 1, "`twice` survives"
    assert "4 of 4 cases as expected" in run.stdout
    assert "operator" in run.stdout
    assert "SURVIVED  result-forgotten" in run.stdout

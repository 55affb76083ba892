"""What a scorecard looks like: in a terminal of any width and encoding, as JSON, JUnit XML and HTML.

All from made-up scorecards and events; `test_check_command` goes through the real command.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from rich.cells import cell_len
from rich.console import Console

from grader.judge.scorecard import (
    VERDICTS,
    CheckFinished,
    CheckRecord,
    CheckStarted,
    Finished,
    Progress,
    Scorecard,
    Started,
)
from grader.views import html, junit
from grader.views import json as json_view
from grader.views.terminal import CheckView, Subject, show_result, show_summary
from grader.views.text import clean, trimmed

EVIL = "\x1b[31mred\x1b[0m [bold]not markup[/bold] \x1b]0;title\x07<script>alert(1)</script> \u202eabc \x9b2Jx\x00"

PASSED = CheckRecord("test_loads", "The file loads", "passed", 40, 40, 0.2, measures={"accuracy": 0.97312})
FAILED = CheckRecord(
    "test_shape",
    "The forward pass returns one logit per class, for odd batch sizes and for a single image too",
    "failed",
    0,
    35,
    0.3,
    expected="a tensor of shape (5, 10)",
    actual="(4, 10)",
    because="Row i has to belong to image i.",
    looks_like="view(-1, 64*6*6) where the maps are 5×5",
    location="line 31, in forward",
    why="It shows whether you count.",
    output="debugging",
)
BLOCKED = CheckRecord("test_fit", "One fixed batch overfits", "blocked", 0, 25, blocked_by="test_shape")
SUBJECT = Subject("02_cifar10_cnn", "A CNN [for] CIFAR-10", "practice check 02_cifar10_cnn", True, ("Why pool?",))


def scorecard(*records: CheckRecord, **fields: object) -> Scorecard:
    card = Scorecard("02_cifar10_cnn", "exercises/02_cifar10_cnn.py", "ab" * 32, "embedded", tuple(records), 7.9)
    return replace(card, **fields)


def shown(
    card: Scorecard,
    *,
    width: int = 80,
    terminal: bool = False,
    encoding: str = "utf-8",
    subject: Subject = SUBJECT,
    verbose: bool = False,
) -> str:
    """What the terminal view says of a scorecard, from the first event to the last command."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None, highlight=False)
    view = CheckView(console, subject)
    view.on_event(Started(tuple((r.id, r.title, r.max_points) for r in card.checks), card.data))
    for record in card.checks:
        view.on_event(CheckStarted(record.id))
        view.on_event(Progress(record.id, 1, 2, 0.5))
        view.on_event(CheckFinished(record))
    view.on_event(Finished(card))
    view.complete(card)
    show_result(console, card, subject, verbose=verbose)
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def words(text: str) -> str:
    """The text without frames and line breaks, for looking up sentences that may be wrapped."""
    return " ".join(text.replace("│", " ").split())


class TestSafeText:
    @pytest.mark.parametrize(
        ("raw", "safe"),
        [
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b]0;own your title\x07after", "after"),
            ("\x1bPq#0~\x1b\\after", "after"),
            ("a\x1b(Bb\x1bcc", "abc"),
            ("\x9b2Jcleared", "cleared"),
            ("a\x00b\x08c\x7fd", "abcd"),
            ("right\u202eleft\u2066", "rightleft"),
            ("half \ud800 a character", "half  a character"),
            ("10%\r50%\r100%\nnext", "100%\nnext"),
            ("dos\r\nlines\r\n", "dos\nlines\n"),
            ("tab\tand ünïcödé 数字 stay", "tab\tand ünïcödé 数字 stay"),
        ],
    )
    def test_control_sequences_go_and_text_stays(self, raw: str, safe: str) -> None:
        assert clean(raw) == safe

    def test_an_unended_sequence_swallows_nothing_that_can_act(self) -> None:
        assert "\x1b" not in clean("start \x1b[") + clean("start \x1b") + clean("\x1b]0;never ended")

    def test_long_output_keeps_its_beginning_and_its_end(self) -> None:
        rows = trimmed("\n".join(f"line {n}" for n in range(100)), lines=7).split("\n")
        assert rows[0] == "line 0"
        assert rows[-1] == "line 99"
        assert len(rows) == 7
        assert "[94 lines left out]" in rows


class TestTerminal:
    def test_a_failure_is_explained_in_full(self) -> None:
        said = words(shown(scorecard(PASSED, FAILED, BLOCKED)))
        for text in (FAILED.expected, FAILED.actual, FAILED.because, FAILED.looks_like, FAILED.location, FAILED.why):
            assert text is not None
            assert text in said
        assert "debugging" in said
        assert "Score 40/100" in said
        assert "1 of 3 checks passed" in said
        assert "embedded data" in said
        for command in ("practice hint", "practice check", "practice reveal"):
            assert f"{command} 02_cifar10_cnn" in said

    def test_only_the_first_failure_unless_verbose(self) -> None:
        second = replace(FAILED, id="test_second", title="Second", expected="the second thing")
        card = scorecard(PASSED, FAILED, second)
        assert "the second thing" not in shown(card)
        assert "1 other check failed, too; --verbose" in shown(card)
        assert "the second thing" in shown(card, verbose=True)

    def test_a_pass_leads_on(self) -> None:
        said = shown(scorecard(PASSED))
        assert "you earned all 40 points" in said
        assert "accuracy 0.9731" in said
        assert "Why pool?" in said
        assert "practice reveal 02_cifar10_cnn" in said
        assert "practice next" in said

    def test_a_stub_is_sent_to_the_statement(self) -> None:
        todo = replace(FAILED, verdict="not-implemented")
        said = shown(scorecard(todo, replace(todo, id="test_other")))
        assert "practice show 02_cifar10_cnn" in said
        assert "failed, too" not in said

    def test_the_graders_own_fault_is_not_the_learners(self) -> None:
        said = shown(scorecard(PASSED, replace(FAILED, verdict="grader-error")))
        assert "No score" in said
        assert "doesn't count against you" in said
        assert "practice doctor" in said
        assert "practice hint" not in said

    def test_a_file_that_cannot_be_loaded_is_said_once(self) -> None:
        broken = [replace(FAILED, id=f"test_{n}", verdict="not-loadable") for n in range(3)]
        problem = "line 3: invalid syntax\n    def f(:\n          ^"
        said = shown(scorecard(*broken, problem=problem))
        assert said.count("invalid syntax") == 1
        assert "          ^" in said

    def test_another_persons_file_gets_no_hints(self) -> None:
        subject = replace(SUBJECT, own=False, again="practice check 02_cifar10_cnn --file x.py")
        said = shown(scorecard(FAILED), subject=subject)
        assert "practice hint" not in said
        assert "--file x.py" in said

    @pytest.mark.parametrize("verdict", VERDICTS)
    def test_every_verdict_can_be_shown(self, verdict: str) -> None:
        record = replace(FAILED, verdict=verdict, points=35 if verdict == "passed" else 0)
        for terminal in (False, True):
            assert "Score" in shown(scorecard(record), terminal=terminal) or verdict == "grader-error"

    def test_checks_that_no_event_announced_are_shown_once(self) -> None:
        card = scorecard(PASSED, FAILED)
        console = Console(file=io.StringIO(), width=200)
        view = CheckView(console, SUBJECT)
        view.on_event(Started((("test_loads", "The file loads", 40),), "embedded"))
        view.on_event(CheckFinished(PASSED))
        view.complete(card)
        said = console.file.getvalue()  # type: ignore[attr-defined]
        assert said.count("The file loads") == 1
        assert said.count("one logit per class") == 1

    @pytest.mark.parametrize("width", [40, 50, 60, 80, 120, 200])
    def test_titles_and_commands_stay_whole_at_any_width(self, width: int) -> None:
        said = shown(scorecard(PASSED, FAILED, BLOCKED), width=width, terminal=True)
        assert FAILED.title in words(said).replace(" 0/35", "").replace(" 0.3 s", "")
        rows = said.split("\n")
        assert any("practice reveal 02_cifar10_cnn" in row for row in rows)
        assert max(cell_len(row) for row in rows) <= width

    def test_without_a_terminal_lines_are_not_wrapped(self) -> None:
        said = shown(scorecard(PASSED, FAILED), width=40)
        assert f"✗ {FAILED.title} [0/35]" in said.split("\n")

    def test_an_encoding_without_the_symbols_gets_plain_ones(self) -> None:
        plain = replace(FAILED, looks_like=None)
        said = shown(scorecard(PASSED, plain, BLOCKED), encoding="ascii")
        assert "+ The file loads" in said
        assert "x The forward pass" in said
        assert "- One fixed batch" in said

    @pytest.mark.parametrize("terminal", [False, True])
    def test_what_the_candidate_says_can_not_act(self, terminal: bool) -> None:
        record = replace(FAILED, expected=EVIL, actual=EVIL, location=EVIL, looks_like=EVIL, output=EVIL, title=EVIL)
        said = shown(scorecard(record, file=EVIL), terminal=terminal, width=200)
        assert not set(said) & set("\x1b\x9b\x07\x00\u202e")
        assert "[bold]not markup[/bold]" in said

    def test_the_summary_counts_what_could_not_be_graded(self) -> None:
        console = Console(file=io.StringIO(), width=80)
        show_summary(console, [scorecard(PASSED), scorecard(FAILED)], {}, ["03_resnet_transfer"])
        said = console.file.getvalue()  # type: ignore[attr-defined]
        assert "1 of 3 exercises passed" in said
        assert "03_resnet_transfer" in said


class TestJson:
    def test_the_public_form(self) -> None:
        document = json.loads(json_view.render([scorecard(PASSED, FAILED)], many=False))
        assert document["schema"] == 1
        assert (document["score"], document["max_score"], document["passed"]) == (40, 75, False)
        assert document["checks"][1]["looks_like"] == FAILED.looks_like

    def test_a_list_when_several_were_asked_for(self) -> None:
        assert len(json.loads(json_view.render([scorecard(PASSED)], many=True))) == 1
        assert json.loads(json_view.render([], many=True)) == []

    def test_no_number_that_json_lacks_and_nothing_that_drives_a_terminal(self) -> None:
        record = replace(PASSED, measures={"loss": float("nan"), "best": float("inf")}, output=EVIL + "\ud800")
        text = json_view.render([scorecard(record)], many=False)
        assert text.isascii()
        assert text.replace("\n", "").isprintable()
        assert json.loads(text)["checks"][0]["measures"] == {"loss": None, "best": None}


def suites(cards: Sequence[Scorecard]) -> list[ET.Element]:
    return list(ET.fromstring(junit.render(cards).encode()))


class TestJUnit:
    def test_counts_and_kinds(self) -> None:
        fault = replace(FAILED, id="test_fault", verdict="grader-error")
        late = replace(FAILED, id="test_late", verdict="timed-out")
        (suite,) = suites([scorecard(PASSED, FAILED, BLOCKED, fault, late)])
        counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
        assert counts == {"tests": "5", "failures": "2", "errors": "1", "skipped": "1"}
        assert [case.find("failure") is not None for case in suite.iter("testcase")] == [0, 1, 0, 0, 1]
        late_failure = suite.findall("testcase/failure")[-1]
        assert late_failure.get("type") == "timed-out"

    def test_any_output_makes_a_document_that_parses(self) -> None:
        every = "".join(map(chr, range(0x250))) + "\ufffe\uffff\ud800 ]]> & <x>"
        (suite,) = suites([scorecard(replace(FAILED, output=every, actual=every))])
        output = suite.findtext("testcase/system-out")
        assert output is not None
        assert "]]> & <x>" in output


class TestHtml:
    def test_everything_is_escaped(self) -> None:
        record = replace(FAILED, title=EVIL, expected=EVIL, actual=EVIL, output=EVIL)
        page = html.render([scorecard(record, file=EVIL, problem=EVIL)], titles={"02_cifar10_cnn": EVIL})
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "\x1b" not in page

    def test_it_needs_nothing_else(self) -> None:
        page = html.render([scorecard(PASSED, FAILED, BLOCKED)], titles={})
        assert not any(word in page for word in ("http:", "https:", "src=", "href=", "@import", "url("))
        assert "40/100" in page

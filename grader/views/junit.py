"""Scorecards as JUnit XML, for CI systems that show reports. A suite is an exercise, a case is a check."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from grader.judge.scorecard import CheckRecord, Scorecard
from grader.views.text import SAYINGS, clean, explanation, number

# What XML 1.0 can't carry, not even escaped.
_ILLEGAL: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _legal(text: str) -> str:
    return _ILLEGAL.sub("", clean(text))


def render(scorecards: Sequence[Scorecard]) -> str:
    """The whole document. Blocked checks are `skipped`: the failure that blocks them is in the same suite."""
    root = ET.Element("testsuites", name="practice")
    for card in scorecards:
        root.append(_suite(card))
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _suite(card: Scorecard) -> ET.Element:
    blocked = sum(r.verdict == "blocked" for r in card.checks)
    errors = sum(r.verdict == "grader-error" for r in card.checks)
    failures = sum(not r.passed for r in card.checks) - blocked - errors
    suite = ET.Element(
        "testsuite",
        name=_legal(card.exercise),
        tests=str(len(card.checks)),
        failures=str(failures),
        errors=str(errors),
        skipped=str(blocked),
        time=f"{card.seconds:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    facts = {
        "file": card.file,
        "sha256": card.sha256,
        "data": card.data,
        "full": str(card.full).lower(),
        "score": str(card.score),
        "max_score": str(card.max_score),
    }
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=_legal(value))
    for record in card.checks:
        suite.append(_case(card, record))
    if card.problem:
        ET.SubElement(suite, "system-err").text = _legal(card.problem)
    return suite


def _case(card: Scorecard, record: CheckRecord) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=_legal(card.exercise),
        name=_legal(record.title),
        time=f"{record.seconds:.3f}",
    )
    if record.measures:
        properties = ET.SubElement(case, "properties")
        for name, value in record.measures.items():
            ET.SubElement(properties, "property", name=_legal(name), value=number(value))
    if not record.passed:
        _outcome(case, record)
    if record.output:
        ET.SubElement(case, "system-out").text = _legal(record.output)
    return case


def _outcome(case: ET.Element, record: CheckRecord) -> None:
    if record.verdict == "blocked":
        ET.SubElement(case, "skipped", message=_legal(f"blocked by {record.blocked_by or 'another check'}"))
        return
    tag = "error" if record.verdict == "grader-error" else "failure"
    message = record.actual or SAYINGS[record.verdict]
    element = ET.SubElement(case, tag, type=record.verdict, message=_legal(message))
    rows = [f"{label}: {text}" for label, text in explanation(record) if label != "printed"]
    element.text = _legal("\n".join(rows))

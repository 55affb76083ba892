"""Scorecards as one HTML page that needs nothing else: no script, no other file, no network.

For a learner to keep, or for a teacher to hand back. Every text in it is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from grader.judge.scorecard import CheckRecord, Picture, Scorecard
from grader.views.text import SAYINGS, clean, data_words, explanation, mark, measures, seconds

_PICTURE_WIDTH: Final = 480
"""Pixels that a picture is enlarged to, by a whole factor."""
_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --ok: #1a7f37; --bad: #c62828; --soft: #777; }
:root { --todo: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ok: #4ac26b; --bad: #ff7b72; --soft: #9a9a9a; } }
@media (prefers-color-scheme: dark) { :root { --todo: #d4a72c; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 2rem 0 0.2rem; }
.facts, .points { color: var(--soft); } .facts { margin: 0 0 0.8rem; overflow-wrap: anywhere; }
.bar { height: 0.5rem; border-radius: 0.25rem; background: var(--line); overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--ok); }
ol { list-style: none; padding: 0; } li { border-top: 1px solid var(--line); padding: 0.4rem 0; }
.row { display: flex; gap: 0.6rem; align-items: baseline; } .title { flex: 1; overflow-wrap: anywhere; }
.passed { color: var(--ok); } .bad { color: var(--bad); } .blocked { color: var(--soft); }
.not-implemented { color: var(--todo); }
dl { display: grid; grid-template-columns: 6rem 1fr; gap: 0.3rem 0.8rem; margin: 0.5rem 0 0.5rem 1.6rem; }
dt { color: var(--soft); } dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; min-width: 0; }
figure { margin: 0.6rem 0 0.6rem 1.6rem; } figcaption { color: var(--soft); font-size: 0.88rem; }
img { image-rendering: pixelated; max-width: 100%; height: auto; }
dd.code, pre { font: 0.88rem/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def render(scorecards: Sequence[Scorecard], *, titles: Mapping[str, str]) -> str:
    """The page; `titles` gives the title of an exercise by its id."""
    body = "\n".join(_card(card, titles.get(card.exercise, card.exercise)) for card in scorecards)
    passed = sum(card.passed for card in scorecards)
    heading = "Scorecard" if len(scorecards) == 1 else f"Scorecards: {passed} of {len(scorecards)} passed"
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(heading)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{_text(heading)}</h1>\n{body}\n</body></html>\n"
    )


def _text(text: str) -> str:
    return escape(clean(text))


def _card(card: Scorecard, title: str) -> str:
    percent = 100 * card.score / card.max_score if card.max_score else 0.0
    facts = [card.file, data_words(card.data), seconds(card.seconds), f"SHA-256 {card.sha256[:12]}"]
    if card.full:
        facts.insert(2, "full training")
    problem = f"<pre class=bad>{_text(card.problem)}</pre>" if card.problem else ""
    checks = "\n".join(_check(record) for record in card.checks)
    return (
        f"<section><h2>{_text(title)}: {card.score}/{card.max_score}</h2>"
        f"<p class=facts>{_text(' · '.join(facts))}</p>"
        f'<div class=bar><span style="width:{percent:.1f}%"></span></div>{problem}'
        f"<ol>\n{checks}\n</ol></section>"
    )


def _check(record: CheckRecord) -> str:
    kind = record.verdict if record.verdict in ("passed", "blocked", "not-implemented") else "bad"
    row = (
        f"<div class=row><span class={kind}>{mark(record.verdict).symbol}</span>"
        f"<span class=title>{_text(record.title)} <span class=points>{_text(_aside(record))}</span></span>"
        f"<span class=points>{record.points}/{record.max_points}</span></div>"
    )
    shown = "".join(_picture(picture) for picture in record.pictures)
    if record.passed or record.verdict == "blocked":
        return f"<li>{row}{shown}</li>"
    rows = "".join(f"<dt>{label}</dt><dd{_code(label)}>{_text(text)}</dd>" for label, text in explanation(record))
    return f"<li>{row}<dl>{rows}</dl>{shown}</li>"


def _picture(picture: Picture) -> str:
    factor = max(1, _PICTURE_WIDTH // max(picture.width, 1))
    return (
        f'<figure><img src="data:image/png;base64,{escape(picture.png)}" alt=""'
        f' width="{picture.width * factor}" height="{picture.height * factor}">'
        f"<figcaption>{_text(picture.title)}</figcaption></figure>"
    )


def _aside(record: CheckRecord) -> str:
    said = [] if record.verdict in ("passed", "failed") else [SAYINGS[record.verdict]]
    if record.measures:
        said.append(measures(record))
    return ", ".join(said)


def _code(label: str) -> str:
    return " class=code" if label in ("expected", "actual", "where", "printed") else ""

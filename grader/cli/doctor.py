"""`practice doctor`: whether verdicts on this machine can be trusted, and what to do where not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

    from grader.diagnosis import Finding

_MARKS: Final = {"ok": ("✓", "+", "green"), "warning": ("!", "!", "yellow"), "problem": ("✗", "x", "red")}


@click.command("doctor", short_help="Look for what would spoil a verdict on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> None:
    """Examine Python, torch, the sandbox, the data and the workspace. Exit code 1 when there is a problem."""
    from grader.diagnosis import examine
    from grader.views.console import console

    out = console()
    findings: list[Finding] = []
    with console(stderr=True).status("Examining; importing torch takes some seconds") as status:
        for finding in examine():
            findings.append(finding)
            if not as_json:
                status.stop()  # both streams usually share the terminal's one cursor
                _show(out, finding)
                status.start()
    problems = sum(finding.state == "problem" for finding in findings)
    if as_json:
        _print_json(findings)
    else:
        _conclude(out, problems, sum(finding.state == "warning" for finding in findings))
    raise click.exceptions.Exit(1 if problems else 0)


def _print_json(findings: list[Finding]) -> None:
    import json

    ok = all(finding.state != "problem" for finding in findings)
    document = {"schema": 1, "ok": ok, "findings": [finding.to_json() for finding in findings]}
    click.echo(json.dumps(document, indent=2))


def _show(out: Console, finding: Finding) -> None:
    from rich.text import Text

    from grader.views.text import clean, encodes

    symbol, plain, style = _MARKS[finding.state]
    shown = symbol if encodes(out.encoding, symbol) else plain
    line = Text.assemble((shown, style), f" {finding.name}: ", clean(finding.text))
    out.print(line, soft_wrap=True, highlight=False)
    if finding.cure:
        out.print(Text(f"    {clean(finding.cure)}", style="yellow"), soft_wrap=True, highlight=False)


def _conclude(out: Console, problems: int, warnings: int) -> None:
    out.print()
    if problems:
        out.print(
            f"{problems} problem{'s' * (problems > 1)}: see what to do above.",
            style="bold red",
            highlight=False,
        )
    elif warnings:
        words = f"No problem; {warnings} warning{'s' * (warnings > 1)}."
        out.print(words, style="bold yellow", highlight=False)
    else:
        out.print("All is well.", style="bold green", highlight=False)

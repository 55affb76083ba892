"""The group of all commands, each imported only when it is used, and the one place where errors are said."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

import click

from grader.errors import GraderError, PracticeError, UsageProblem

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""What a shell reports for a program whose reader went away."""

BUG: Final = 3

SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Practise": {
        "list": ("list", "All exercises with status and best score."),
        "next": ("next", "The exercise to do next."),
        "show": ("show", "What an exercise asks for, and which file to edit."),
        "check": ("check", "Grade your code."),
        "watch": ("watch", "Grade your code whenever you save it."),
        "hint": ("hint", "One hint further each time."),
        "reveal": ("reveal", "The reference solution and the follow-up questions."),
        "reset": ("reset", "Start an exercise anew, keeping a backup."),
        "history": ("history", "Earlier scores; restores an earlier attempt."),
    },
    "Set up": {
        "demo": ("demo", "Grade a stub and the reference, live."),
        "init": ("init", "Make a folder to practise in."),
        "data": ("data", "Download, import or inspect the data sets."),
        "doctor": ("doctor", "What this machine can and can't do."),
        "warm": ("warm", "The server that makes a second check quick."),
    },
    "Write exercises": {
        "author": ("author", "Make stubs; prove that the checks are right."),
    },
}
"""Per section: command → (module in grader.cli that exports `command`, one line of help)."""

_TABLE: Final = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

EPILOG: Final = """\
An exercise is named by its id, its number or any unambiguous part:
`practice check 02`, `practice show cifar`.

\b
Completion of commands and exercises, once per shell:
  bash  eval "$(_PRACTICE_COMPLETE=bash_source practice)"   in ~/.bashrc
  zsh   eval "$(_PRACTICE_COMPLETE=zsh_source practice)"    in ~/.zshrc
  fish  _PRACTICE_COMPLETE=fish_source practice | source    in ~/.config/fish/config.fish
"""


class LazyGroup(click.Group):
    """A group that knows its commands by a table and imports a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _TABLE:
            return None
        module_name, line = _TABLE[cmd_name]
        command = _load(module_name, cmd_name)
        command.short_help = line
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _TABLE and not args[0].startswith("-") and not ctx.resilient_parsing:
            _unknown(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table itself: help imports no command."""
        widest = max(map(len, _TABLE))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                rows = [(name.ljust(widest), line) for name, (_, line) in commands.items()]
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [CompletionItem(n, help=line) for n, (_, line) in _TABLE.items() if n.startswith(incomplete)]
        found.extend(click.Command.shell_complete(self, ctx, incomplete))
        return found


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--version", is_flag=True, help="Show the version.")
@click.pass_context
def practice(ctx: click.Context, debug: bool, version: bool) -> None:
    """Practise PyTorch computer-vision interviews: write code, then `practice check` it.

    Without a command: your progress and what to do next.
    """
    if version:
        from grader import __version__

        click.echo(f"practice {__version__}")
    elif ctx.invoked_subcommand is None:
        ctx.invoke(_load("home", "home"))


def run(arguments: Sequence[str]) -> int:
    """Run the command line with `arguments`; return the exit code. Every error is said here, once."""
    _prepare_streams()
    debug, rest = _take_debug(arguments)
    try:
        code = _invoke(rest)
        _flush()
    except BrokenPipeError:
        _forget_output()
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort, Exception) as error:
        if debug:
            import traceback

            traceback.print_exc()
        return _say(error)
    return code


def _invoke(arguments: list[str]) -> int:
    if "_PRACTICE_COMPLETE" in os.environ:
        practice.main(arguments, prog_name="practice")  # click answers the shell and exits
    try:
        with practice.make_context("practice", arguments) as ctx:
            result = practice.invoke(ctx)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    return result if isinstance(result, int) else 0


def _say(error: BaseException) -> int:
    """Say what went wrong and what to do next, on stderr; return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        click.echo("\nInterrupted.", err=True)
        return INTERRUPTED
    if isinstance(error, click.Abort):  # Ctrl-C or the end of input at a question
        click.echo("\nNothing was changed.", err=True)
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, OSError):
        _forget_output()  # it may be what failed
        where = f"{error.filename}: " if error.filename else ""
        error = PracticeError(
            f"{where}{error.strerror or error}.",
            hint="Check the path, its permissions and the free space; --debug shows where it happened.",
        )
    if not isinstance(error, PracticeError):
        error = GraderError(
            f"This is a mistake in the kit: {type(error).__name__}: {error}",
            hint="Run the command again with --debug for the traceback, and report it.",
        )
    from grader.views.console import complain

    complain(error)
    return error.exit_code


def _load(module_name: str, command_name: str) -> click.Command:
    name = f"grader.cli.{module_name}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise GraderError(
            f"`practice {command_name}` is not part of this installation.",
            hint="`practice --help` lists the commands.",
        ) from error
    command = module.command
    assert isinstance(command, click.Command)
    return command


def _unknown(name: str) -> NoReturn:
    from difflib import get_close_matches

    near = get_close_matches(name, _TABLE, n=1)
    hint = f"Did you mean `practice {near[0]}`?" if near else "`practice --help` lists the commands."
    raise UsageProblem(f"There is no command `{name}`.", hint=hint)


def _take_debug(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Take `--debug` out of the arguments wherever it stands, up to a `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    head = [argument for argument in arguments[:end] if argument != "--debug"]
    return len(head) < end, [*head, *arguments[end:]]


def _prepare_streams() -> None:
    """A closed stream goes nowhere; one that can't show a character shows a question mark.

    The descriptors themselves are filled: else the next file that is opened, the progress database for one,
    would get the number of stdout, and be written to by whoever prints.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _flush() -> None:
    """Meet a reader that went away here, where it is handled, and not while the interpreter ends."""
    sys.stdout.flush()


def _forget_output() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush can't complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

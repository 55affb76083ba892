"""The errors that the kit raises on purpose, each knowing how to say itself and with which code to exit.

An error is raised where it is known and printed once, by the command line. Anything else that reaches the
command line is a bug of the kit.
"""

from __future__ import annotations


class PracticeError(Exception):
    """Something that the user should read.

    `message` says what is wrong, `hint` what to do next (with the command, where there is one).
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageProblem(PracticeError):
    """The command was given something that it can't use."""

    exit_code = 2


class ContentError(PracticeError):
    """An exercise's own files are wrong: a mistake of its author, never of the learner."""

    exit_code = 3


class GraderError(PracticeError):
    """The grader itself failed: a bug of the kit or of the machine, never scored against the learner."""

    exit_code = 3

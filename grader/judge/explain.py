"""Says what became of a probe: from an outcome to a verdict with expected, actual and because.

Pure functions on plain data; the words that a learner reads when their code did not return evidence.
"""

from __future__ import annotations

import errno
import re
import signal
from dataclasses import dataclass
from typing import Any

from grader.judge.scorecard import Verdict
from grader.sandbox.watch import Outcome
from grader.sandbox.worker import BROKEN

ALLOWED = "torch, torchvision, numpy, PIL and the standard library"


@dataclass(frozen=True)
class Account:
    """A verdict with its words."""

    verdict: Verdict
    expected: str
    actual: str
    because: str
    looks_like: str | None = None
    location: str | None = None


class ProbeEnded(Exception):
    """A probe ended without evidence; the account says how."""

    def __init__(self, account: Account, outcome: Outcome) -> None:
        super().__init__(account.actual)
        self.account = account
        self.outcome = outcome


def account_for(outcome: Outcome) -> Account:
    """The account of an outcome that brought no evidence, or brought some after being denied something."""
    if outcome.killed is not None:
        return _killed(outcome)
    if outcome.denied and not (outcome.error is not None and _is_denied(outcome.error)):
        return _swallowed(outcome)
    if outcome.error is not None:
        return _raised(outcome, outcome.error)
    return _ended(outcome)


# --- ended from outside --------------------------------------------------------------------------------


def _killed(outcome: Outcome) -> Account:
    limits, loading = outcome.limits, outcome.during == "loading"
    doing = "while your file was being imported" if loading else "while this check ran"
    script = (
        "Your file does work when it is imported. Put anything that trains or loops under `if __name__ == '__main__':`."
    )
    if outcome.killed == "cpu":
        budget = limits.load_seconds if loading else limits.cpu_seconds
        done = _steps(outcome)
        return Account(
            "timed-out",
            f"an answer within {budget:g} seconds of computing",
            f"it was still computing after {max(budget, outcome.cpu_seconds):.0f} s {doing}{done}, and was stopped",
            script if loading else "A loop that doesn't end, or far more work than the task needs, never gets graded.",
            None if loading else _slowness(outcome),
        )
    if outcome.killed in ("idle", "wall"):
        return Account(
            "timed-out",
            f"an answer without {limits.idle_seconds:.0f} seconds of waiting",
            f"nothing came {doing}{_steps(outcome)}, though it hardly computed: it was waiting, and was stopped",
            script
            if loading
            else "The code waits for something that never comes: a sleep, a lock, a queue, a worker process.",
        )
    if outcome.killed == "memory":
        return Account(
            "out-of-memory",
            f"at most {limits.memory_mb:.0f} MB",
            f"the process and its children held {outcome.peak_mb:.0f} MB {doing}, and were stopped",
            "A batch, a list of losses that keep their graphs, or a broadcast that grows to N×N fills memory fast.",
        )
    if outcome.killed == "output":
        return Account(
            "output-limit",
            f"at most {limits.output_bytes / 2**20:.0f} MB of printed text",
            f"more than that was printed {doing}, and the process was stopped",
            "Print a line per epoch, not one per example.",
        )
    if outcome.killed in ("processes", "threads"):
        most = limits.processes if outcome.killed == "processes" else limits.threads
        return Account(
            "forbidden",
            f"at most {most} {outcome.killed}",
            f"more than {most} {outcome.killed} were running {doing}, and all were stopped",
            "Nothing in this task needs that many.",
        )
    return _broken_channel()


def _broken_channel() -> Account:
    return Account(
        "forbidden",
        "an answer in the form that the kit's own code sends",
        "the private channel to the judge was closed or written to by other code",
        "The channel belongs to the grader. Code that closes or floods file descriptors that it did not open breaks"
        " whatever program it runs in.",
    )


def _steps(outcome: Outcome) -> str:
    return f" (at step {outcome.steps[0]} of {outcome.steps[1]})" if outcome.steps else ""


def _slowness(outcome: Outcome) -> str:
    """Why it computed for so long: steps that came to the end at an even pace are no endless loop."""
    endless = "a loop whose condition never becomes false, or a Python loop over every element"
    done, total = outcome.steps or (0, 0)
    if done < 1 or outcome.cpu_seconds - outcome.stepped > 1 + 3 * outcome.stepped / done:
        return endless
    if done >= total:
        return "more steps than were asked for: all of them were done, and still more followed"
    whole = outcome.cpu_seconds * total / done
    return f"far more work in each step than the task needs: at this pace all {total:,} would take {whole:.0f} s"


def _ended(outcome: Outcome) -> Account:
    doing = "while it was being imported" if outcome.during == "loading" else "before it returned"
    if outcome.signal is not None:
        name = signal.Signals(outcome.signal).name if outcome.signal in list(signal.Signals) else str(outcome.signal)
        if name == "SIGXFSZ":
            return Account(
                "output-limit",
                f"files of at most {outcome.limits.file_mb} MB",
                "the process was ended for writing a larger file",
                "This task needs no file at all.",
            )
        meaning = {
            "SIGSEGV": "a segmentation fault: native code touched memory that isn't its own, or recursion was too deep",
            "SIGKILL": "it was killed (SIGKILL), and not by the grader",
            "SIGABRT": "native code gave up (abort)",
            "SIGFPE": "an arithmetic fault in native code",
        }.get(name, f"signal {name}")
        return Account(
            "crashed",
            "a process that runs to its end",
            f"the process died with {name} {doing}: {meaning}" if name not in meaning else f"it died: {meaning}",
            "A crash takes every result with it; other checks ran in processes of their own and are not affected.",
        )
    if outcome.exit_code == BROKEN:
        return _broken_channel()
    return Account(
        "exited",
        "a value returned to the caller",
        f"the process ended itself with exit code {outcome.exit_code} {doing}",
        "A function that ends the whole process can't be called by a training script, a test or an interviewer's"
        " notebook.",
        "a call of `os._exit`, `sys.exit` or `quit` in a place that other code calls",
    )


# --- raised inside -------------------------------------------------------------------------------------


def location_of(error: dict[str, Any]) -> str | None:
    """`line 12, in forward: x = x.view(-1, 64*6*6)`, of the innermost frame in the candidate's file."""
    if error.get("syntax"):
        return None
    if not error["frames"]:
        return None
    line, function, text = error["frames"][-1]
    where = "" if function == "<module>" else f", in {function}"
    return f"line {line}{where}: {text}" if text else f"line {line}{where}"


def _raised(outcome: Outcome, error: dict[str, Any]) -> Account:
    kinds, message = error["kinds"], error["message"]
    said = f"{error['type']}: {message}" if message else error["type"]
    location = location_of(error)
    if outcome.during == "preparing":
        return Account("grader-error", "probes that load", said, "The exercise's probes could not be loaded.")
    if error.get("todo"):
        return Account(
            "not-implemented",
            "your own code in place of the TODO",
            f"the stub is still there{': ' + message if message else ''}",
            "This part hasn't been written yet.",
            location=location,
        )
    if _is_denied(error):
        return _denied(said, error, location)
    if error.get("errno") == errno.EFBIG:
        return Account(
            "output-limit",
            f"files of at most {outcome.limits.file_mb} MB",
            said,
            "This task needs no file at all.",
            location=location,
        )
    if "MemoryError" in kinds or "can't allocate memory" in message or "not enough memory" in message:
        return Account(
            "out-of-memory",
            f"at most {outcome.limits.memory_mb:.0f} MB",
            said,
            "The code asked for more memory than there is, in one piece.",
            location=location,
        )
    if outcome.during == "loading":
        return _not_loadable(error, said, location)
    if "SystemExit" in kinds:
        return Account(
            "exited",
            "a value returned to the caller",
            f"the code called sys.exit ({said})",
            "A function that ends the whole process can't be called by other code.",
            location=location,
        )
    if "EOFError" in kinds and "EOF when reading a line" in message:
        return Account(
            "failed",
            "no question to the user",
            "the code called input()",
            "Nobody answers while it is graded; take values as arguments.",
            location=location,
        )
    if error.get("on_module") and error.get("attribute"):
        return Account(
            "failed",
            f"`{error['attribute']}` defined in your file",
            "the file has no such name",
            "The checks call it by exactly this name.",
            "a misspelt or renamed function or class, or one defined inside another",
        )
    if "RecursionError" in kinds:
        return Account("failed", "a call that ends", said, "The function calls itself without end.", location=location)
    return Account(
        "failed",
        "code that runs without raising",
        f"{_called(error)}it raised {said}",
        _because(error),
        _looks_like(error),
        location=location,
    )


def _called(error: dict[str, Any]) -> str:
    """With what the probe had called the function that raised, when it says so (`probing.call`)."""
    return next((f"{note}, " for note in error["notes"] if note.startswith("called as ")), "")


def _is_denied(error: dict[str, Any]) -> bool:
    return error.get("errno") in (errno.EACCES, errno.EPERM) and "PermissionError" in error["kinds"]


_STAYING = (
    "While it is graded, code may read Python and its libraries, write in its temporary folder, and nothing else: no"
    " other files, no network, no other processes."
)


def _swallowed(outcome: Outcome) -> Account:
    """Denied, and the error caught: the answer may even be right, but it isn't only its own."""
    what, line = outcome.denied[0]
    more = f", and {len(outcome.denied) - 1} more" if len(outcome.denied) > 1 else ""
    return Account(
        "forbidden",
        "code that stays with its own arguments and its scratch folder",
        f"it tried something that the sandbox denies: {what}{more}",
        _STAYING + " Catching the error doesn't undo the attempt.",
        location=f"line {line}",
    )


def _denied(said: str, error: dict[str, Any], location: str | None) -> Account:
    target = f" ({error['filename']})" if error.get("filename") and error["filename"] not in said else ""
    return Account(
        "forbidden",
        "code that stays with its own arguments and its scratch folder",
        f"it tried something that the sandbox denies: {said}{target}",
        _STAYING,
        location=location,
    )


def _not_loadable(error: dict[str, Any], said: str, location: str | None) -> Account:
    if error.get("syntax"):
        line, column, text, message = error["syntax"]
        caret = ""
        if isinstance(text, str) and text.strip():
            indent = len(text) - len(text.lstrip())
            offset = max(0, (column or 1) - 1 - indent) if isinstance(column, int) else 0
            caret = f"\n    {text.strip()}\n    {' ' * offset}^"
        where = f"line {line}" if line else "the file"
        return Account(
            "not-loadable",
            "a file that Python can read",
            f"{error['type']} in {where}: {message}{caret}",
            "Python stops at the first thing that it can't read, so nothing in the file could be run.",
        )
    if "ModuleNotFoundError" in error["kinds"]:
        missing = error.get("attribute") or "a module"
        return Account(
            "not-loadable",
            f"imports of {ALLOWED} only",
            said,
            f"`{missing}` isn't available where your code is graded. A submission is one file: helpers go into it.",
            location=location,
        )
    if "SystemExit" in error["kinds"]:
        return Account(
            "not-loadable",
            "a file that can be imported",
            "it called sys.exit while it was being imported",
            "Put what only the script should do under `if __name__ == '__main__':`.",
            location=location,
        )
    return Account(
        "not-loadable",
        "a file that can be imported",
        f"it raised {said}",
        "An error at the top level of the file keeps all of it from being used. Code that trains or tests belongs"
        " under `if __name__ == '__main__':`.",
        location=location,
    )


def _because(error: dict[str, Any]) -> str:
    if error["frames"]:
        return "The same call works with a correct solution; the message and the line tell where to look."
    if "TypeError" in error["kinds"] and "argument" in error["message"]:
        return "The call failed before it reached your code: the signature differs from the statement's."
    if _operands(error["message"]):
        return "Python looks for a method of one of the two operands' classes, and found none that takes the other."
    return (
        "No line of yours was running: a library raised it, called with what your code had returned or recorded"
        " (a backward pass runs after your function has returned)."
    )


_METHODS = {
    **{"+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "@": "matmul"},
    **{"** or pow()": "pow", "&": "and", "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift"},
}
_NUMBERS = ("int", "float", "bool", "complex")


def _operands(message: str) -> tuple[str, str, str] | None:
    """The operator and the types of its operands, of Python's message that these don't go together."""
    said = re.search(r"unsupported operand type\(s\) for (.+?)=?: '([\w.]+)' and '([\w.]+)'", message)
    return (said[1], said[2], said[3]) if said else None


def _operand_story(message: str) -> str | None:
    """Which method is missing where a class of the learner's meets a number, or where None came from."""
    found = _operands(message)
    if found is None:
        return None
    operator, left, right = found
    name = _METHODS.get(operator)
    if "NoneType" in (left, right):
        return "None in place of a number: a function without `return`, or a `.grad` that nothing was written to"
    given = [kind for kind in (left, right) if kind not in _NUMBERS]
    if name is None or len(given) != 1 or not given[0][0].isupper():  # a list or a function isn't the learner's class
        return None
    if left in _NUMBERS:
        return f"no `__r{name}__` in {right}: Python asks the right operand when the left one, a number, can't help"
    return f"no `__{name}__` in {left}, or one that doesn't take numbers"


def _looks_like(error: dict[str, Any]) -> str | None:
    message = error["message"]
    if story := _operand_story(message):
        return story
    patterns = {
        "mat1 and mat2 shapes cannot be multiplied": "the last dimension of what comes in (after a flatten: its size)"
        " isn't the layer's `in_features`, or the matrix's number of rows: print the shape just before",
        "is invalid for input of size": _misfit(message),
        "Trying to backward through the graph a second time": "a graph kept from an earlier step (a loss or hidden"
        " state that wasn't detached)",
        "does not require grad": "the graph was cut: `.detach()`, `.item()`, `.data` or `no_grad` before `backward()`",
        "a view of a leaf Variable that requires grad is being used in an in-place": "an in-place change of a"
        " parameter while gradients are recorded",
        "modified by an inplace operation": "an in-place operation on a value that the backward pass needs",
        "view size is not compatible": "`view` on a tensor that isn't contiguous: use `reshape` or `flatten`",
        "Expected all tensors to be on the same device": "a tensor left on another device",
        "expected scalar type": "two dtypes mixed, such as float32 made on the way beside float64 that came in",
        "missing 1 required positional argument": "a signature that differs from the statement's",
        "unexpected keyword argument": "a signature that differs from the statement's",
        "cannot access local variable": "a name that a function assigns anywhere is local in all of it, and"
        " hides one of the same name outside (as in `loss = loss(…)`)",
        "takes": None,
    }
    for pattern, meaning in patterns.items():
        if pattern in message and meaning:
            return meaning
    return None


def _misfit(message: str) -> str:
    """Two sizes asked for: somebody flattens for a linear layer. More of them: any other rearrangement."""
    fits = "a `view`/`reshape` to a size that doesn't fit"
    if re.search(r"shape '\[-?\d+, -?\d+\]'", message):
        return f"{fits}: keep the batch dimension first and let -1 stand for the features"
    return f"{fits} the number of values that are there: print the shape before it"

"""Makes modules from source text inside a worker, and says in plain data what went wrong when it can't.

Sources arrive over the wire: the worker may not read the learner's folder. They are entered in `linecache`,
so that tracebacks show their lines.
"""

from __future__ import annotations

import linecache
import sys
import types
from typing import Any

CANDIDATE = "candidate"
PROBES = "probes"
CANDIDATE_FILE = "<your file>"
PROBES_FILE = "<probes>"
MAX_MESSAGE = 4000


def make_module(name: str, filename: str, source: str) -> types.ModuleType:
    """Compiles and runs `source` as module `name`. Raises whatever the source raises."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = types.ModuleType(name)
    module.__file__ = filename
    sys.modules[name] = module
    code = compile(source, filename, "exec", dont_inherit=True)
    exec(code, module.__dict__)
    return module


def safe_text(value: object) -> str:
    """`str(value)`, whatever its `__str__` does, capped."""
    try:
        text = str(value)
    except BaseException as error:
        text = f"({type(error).__name__} while printing it)"
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + " …"


def describe_error(error: BaseException) -> dict[str, Any]:
    """An exception as plain data: type, bases, message, and the frames that lie in the candidate's file."""
    frames = []
    last = None
    trace = error.__traceback__
    for _ in range(2000):
        if trace is None:
            break
        frame = trace.tb_frame
        last = frame.f_code.co_filename
        if last == CANDIDATE_FILE:
            line = linecache.getline(last, trace.tb_lineno).strip()
            frames.append([trace.tb_lineno, frame.f_code.co_name, line[:300]])
        trace = trace.tb_next
    kinds = [k.__name__ for k in type(error).__mro__ if issubclass(k, BaseException)]
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "kinds": kinds,
        "message": safe_text(error),
        "frames": frames[-5:],
        "raised_by_candidate": last == CANDIDATE_FILE,
        "in_probes": last == PROBES_FILE,
        "todo": _is_todo(error, last),
        "attribute": safe_text(getattr(error, "name", None) or "")
        if isinstance(error, (AttributeError, ImportError))
        else "",
        "on_module": isinstance(error, AttributeError)
        and isinstance(getattr(error, "obj", None), types.ModuleType)
        and getattr(error.obj, "__name__", "") == CANDIDATE,
        "errno": error.errno if isinstance(error, OSError) and type(error.errno) is int else None,
        "filename": safe_text(error.filename) if isinstance(error, OSError) and error.filename else "",
        "notes": [safe_text(n) for n in getattr(error, "__notes__", [])[:3]],
    }
    if isinstance(error, SyntaxError):
        found["syntax"] = [
            error.lineno,
            error.offset,
            (error.text or "").rstrip("\n")[:300],
            safe_text(error.msg),
        ]
    if isinstance(error, SystemExit):
        found["code"] = error.code if type(error.code) is int else None
    return found


def _is_todo(error: BaseException, last: str | None) -> bool:
    """A stub's `raise NotImplementedError`, and not one from the depths of a library."""
    return isinstance(error, NotImplementedError) and last == CANDIDATE_FILE

"""Data work in a child process: the caller stays light, and an interruption kills the work, not the terminal.

The child writes one JSON object a line on stdout: progress, things said, the result or the error. The work
itself is in `preparing`, `importing` and `downloading`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from grader.data.prepared import OnProgress
from grader.errors import GraderError, PracticeError, UsageProblem

OnSaid = Callable[[str], None]
Said = Callable[[str], None]

_EXIT_CODES = {UsageProblem.exit_code: UsageProblem, GraderError.exit_code: GraderError}


def run_job(
    job: str,
    arguments: Mapping[str, Any],
    on_progress: OnProgress | None = None,
    on_said: OnSaid | None = None,
) -> Any:
    """Run a job of `_JOBS` in a child process and return its (JSON) result.

    Raises what the job raised when it is a `PracticeError`, `GraderError` when the child died otherwise.
    """
    child = _start(job, arguments)
    assert child.stdout is not None and child.stderr is not None
    complaints: deque[str] = deque(maxlen=40)
    reader = threading.Thread(target=complaints.extend, args=(child.stderr,), daemon=True)
    reader.start()
    try:
        final = _follow(child.stdout, on_progress, on_said)
        child.wait()
        reader.join(timeout=5)
    finally:
        _end(child)
    return _result(final, child.returncode, job, "".join(complaints))


def _start(job: str, arguments: Mapping[str, Any]) -> subprocess.Popen[str]:
    # -P keeps the folder in which the user stands, with files of theirs called anything, off the import path.
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.append({root!r}); from grader.data.jobs import child_main; child_main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, job, json.dumps(dict(arguments))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _follow(stream: IO[str], on_progress: OnProgress | None, on_said: OnSaid | None) -> Mapping[str, Any] | None:
    final: Mapping[str, Any] | None = None
    for line in stream:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a library's print; nothing of ours
        match event.get("event"):
            case "progress" if on_progress:
                on_progress(event["done"], event["total"], event["text"])
            case "said" if on_said:
                on_said(event["text"])
            case "result" | "error":
                final = event
    return final


def _end(child: subprocess.Popen[str]) -> None:
    """Whatever happened here, no child stays. It removes its temporary files when it is terminated."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()


def _result(final: Mapping[str, Any] | None, code: int, job: str, complaints: str) -> Any:
    if final is not None and final["event"] == "result":
        return final["value"]
    if final is not None:
        kind = _EXIT_CODES.get(final["exit_code"], PracticeError)
        raise kind(final["message"], hint=final["hint"])
    raise GraderError(
        f"The data process ({job}) ended with exit code {code} before it was done.\n{complaints}".rstrip(),
        hint="Run the command again; if it happens again, please report it with the lines above.",
    )


# --- the child's side -------------------------------------------------------------------------------------


def child_main() -> None:
    """Entry point of the child: `sys.argv` is [-c, job, arguments as JSON]."""
    import signal

    signal.signal(signal.SIGTERM, _interrupt)
    out = sys.stdout
    sys.stdout = sys.stderr  # a library that prints must not speak in our protocol
    job, arguments = sys.argv[1], json.loads(sys.argv[2])

    def send(**event: Any) -> None:
        print(json.dumps(event), file=out, flush=True)

    try:
        send(event="result", value=_JOBS[job](arguments, _throttled(send), lambda text: send(event="said", text=text)))
    except PracticeError as error:
        send(event="error", message=error.message, hint=error.hint, exit_code=error.exit_code)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, BrokenPipeError):
        # The parent has gone or wants no more. Leave without another word, the flush at exit included.
        os._exit(130)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _throttled(send: Callable[..., None]) -> OnProgress:
    """Progress at most every 50 ms, but each new text and each end at once."""
    import time

    last: list[Any] = [0.0, None]

    def progress(done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if now - last[0] >= 0.05 or text != last[1] or done == total:
            last[:] = [now, text]
            send(event="progress", done=done, total=total, text=text)

    return progress


def _embed(arguments: Mapping[str, Any], progress: OnProgress, say: Said) -> None:
    from grader.data.preparing import embed

    anew = bool(arguments.get("anew", False))
    embed(Path(arguments["datasets_dir"]), arguments["name"], progress, anew=anew)


def _import(arguments: Mapping[str, Any], progress: OnProgress, say: Said) -> list[str]:
    from grader.data.importing import import_path

    return import_path(Path(arguments["path"]), Path(arguments["datasets_dir"]), progress, say)


def _download(arguments: Mapping[str, Any], progress: OnProgress, say: Said) -> None:
    from grader.data.downloading import download

    download(arguments["name"], Path(arguments["datasets_dir"]), progress, say)


_JOBS: Mapping[str, Callable[[Mapping[str, Any], OnProgress, Said], Any]] = {
    "embed": _embed,
    "import": _import,
    "download": _download,
}

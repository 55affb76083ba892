"""The entry of a worker that is an interpreter of its own: imports the libraries, then does what a forked one does."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    from grader.sandbox import kernel
    from grader.sandbox.confine import Confinement
    from grader.sandbox.limits import Limits
    from grader.sandbox.server import preload
    from grader.sandbox.worker import run_forked

    job = json.loads(sys.argv[1])
    parent = os.getppid()
    kernel.become_subreaper()
    preload(optimizers=True, vision=True)
    confinement = Confinement(Path(job["session"]), job["secret"])
    run_forked(job["channel"], job["output"], Path(job["scratch"]), Limits(**job["limits"]), confinement, parent)


if __name__ == "__main__":
    main()

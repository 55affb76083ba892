"""The command line `practice`: one module per command, without logic of its own.

This module is imported at every start and imports nothing but `sys` itself.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from grader.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # pressed while the imports ran
        code = 130
    sys.exit(code)

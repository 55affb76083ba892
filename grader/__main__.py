"""`python -m grader` is `practice`, for environments whose scripts are not on the path."""

from __future__ import annotations

from grader.cli import main

if __name__ == "__main__":
    main()

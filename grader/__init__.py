"""The grader of the practice kit: what stands behind the command `practice`."""

__version__ = "0.1.0"

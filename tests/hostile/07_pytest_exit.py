# title: tells pytest to exit with success
# when: call
# verdict: failed
# words: Exit
import pytest


def behave(right, *args, **kwargs):
    pytest.exit("done", returncode=0)

# title: declares itself an expected failure
# when: call
# verdict: failed
# words: XFailed
import pytest


def behave(right, *args, **kwargs):
    pytest.xfail("known")

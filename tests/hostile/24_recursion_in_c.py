# title: recurses through native code
# when: call
# verdict: crashed | failed
import sys


class Endless:
    def __getattr__(self, name):
        return getattr(self, name + "x")


def behave(right, *args, **kwargs):
    sys.setrecursionlimit(10**9)
    return Endless().a

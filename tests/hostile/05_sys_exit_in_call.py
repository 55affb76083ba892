# title: calls sys.exit inside a call
# when: call
# verdict: exited
# words: sys.exit
import sys


def behave(right, *args, **kwargs):
    sys.exit(0)

# title: a regular expression that backtracks for ever
# when: call
# verdict: timed-out
# words: still computing
import re


def behave(right, *args, **kwargs):
    return re.match(r"(a+)+$", "a" * 60 + "b")

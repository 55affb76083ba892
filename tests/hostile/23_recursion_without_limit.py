# title: lifts the recursion limit and recurses
# when: call
# verdict: crashed | timed-out | out-of-memory
import sys


def deeper(n):
    return deeper(n + 1) + 1


def behave(right, *args, **kwargs):
    sys.setrecursionlimit(10**9)
    return deeper(0)

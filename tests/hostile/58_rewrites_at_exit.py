# title: registers an exit handler that would rewrite results, returns nonsense
# when: call
# verdict: failed
import atexit
import os


def rewrite():
    os._exit(0)


atexit.register(rewrite)


def behave(right, *args, **kwargs):
    return 0.123456

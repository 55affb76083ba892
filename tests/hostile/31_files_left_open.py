# title: opens files without closing them
# when: call
# verdict: failed
# words: Too many open files
import os


def behave(right, *args, **kwargs):
    while True:
        os.open(os.devnull, os.O_RDONLY)

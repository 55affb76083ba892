# title: writes warnings without end
# when: call
# verdict: output-limit
# words: printed
import sys


def behave(right, *args, **kwargs):
    while True:
        sys.stderr.write("warning: " * 1000)

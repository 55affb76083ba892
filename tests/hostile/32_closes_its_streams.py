# title: closes stdout and stderr and is right
# when: call
# verdict: passed
import os


def behave(right, *args, **kwargs):
    os.close(1)
    os.close(2)
    return right(*args, **kwargs)

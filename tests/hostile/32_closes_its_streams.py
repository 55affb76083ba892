# title: closes stdout and stderr and is right
# when: call
# verdict: passed
import os


def behave(right, *args, **kwargs):
    for stream in (1, 2):
        try:
            os.close(stream)
        except OSError:
            pass
    return right(*args, **kwargs)

# title: signals the process above it and catches the error
# when: call
# verdict: forbidden
# words: denies
# words: a signal to process
import contextlib
import os
import signal


def behave(right, *args, **kwargs):
    with contextlib.suppress(OSError):
        os.kill(os.getppid(), signal.SIGTERM)
    return right(*args, **kwargs)

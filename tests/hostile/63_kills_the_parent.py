# title: signals the process above it
# when: call
# verdict: forbidden
# words: denies
# nasty: yes
import os
import signal


def behave(right, *args, **kwargs):
    os.kill(os.getppid(), signal.SIGKILL)
    return right(*args, **kwargs)

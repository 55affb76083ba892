# title: sends itself SIGKILL
# when: call
# verdict: crashed
# words: SIGKILL
import os
import signal


def behave(right, *args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

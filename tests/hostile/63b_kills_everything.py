# title: signals every process
# when: call
# verdict: forbidden | failed | crashed | passed
import os
import signal


def behave(right, *args, **kwargs):
    os.kill(-1, signal.SIGKILL)
    return right(*args, **kwargs)

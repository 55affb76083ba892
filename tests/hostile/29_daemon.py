# title: leaves a daemon behind, detached twice, and is right
# when: call
# verdict: passed
# words: left behind
# nasty: yes
import os
import time


def behave(right, *args, **kwargs):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    os.wait()
    return right(*args, **kwargs)

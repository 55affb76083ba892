# title: a thread ends the process a moment later
# when: call
# verdict: exited
# words: exit code 0
import os
import threading
import time


def behave(right, *args, **kwargs):
    threading.Timer(0.05, os._exit, (0,)).start()
    time.sleep(5)

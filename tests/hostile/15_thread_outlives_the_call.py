# title: returns the right answer and leaves a thread running
# when: call
# verdict: passed
import threading
import time


def behave(right, *args, **kwargs):
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return right(*args, **kwargs)

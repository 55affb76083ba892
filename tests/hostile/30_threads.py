# title: starts 10,000 threads
# when: call
# verdict: forbidden | failed
# words: thread
import threading
import time


def behave(right, *args, **kwargs):
    for _ in range(10_000):
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
    time.sleep(100)

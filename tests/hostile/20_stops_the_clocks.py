# title: patches the clocks, then loops
# when: call
# verdict: timed-out
# words: still computing
import time


def behave(right, *args, **kwargs):
    time.time = time.monotonic = time.perf_counter = time.process_time = lambda: 0.0
    while True:
        pass

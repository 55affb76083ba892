# title: sleeps for thirty years
# when: call
# verdict: timed-out
# words: hardly computed
import time


def behave(right, *args, **kwargs):
    time.sleep(1e9)

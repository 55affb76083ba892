# title: closes every descriptor
# when: call
# verdict: forbidden
# words: private channel
import os


def behave(right, *args, **kwargs):
    os.closerange(0, 256)
    return right(*args, **kwargs)

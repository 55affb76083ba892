# title: opens its ancestors' memory
# when: call
# verdict: forbidden
# words: denies
import os


def behave(right, *args, **kwargs):
    with open(f"/proc/{os.getppid()}/mem", "rb") as memory:
        memory.read(1)
    return right(*args, **kwargs)

# title: opens the environment of the process above
# when: call
# verdict: forbidden
# words: denies
import os


def behave(right, *args, **kwargs):
    with open(f"/proc/{os.getppid()}/environ", "rb") as file:
        file.read()
    return right(*args, **kwargs)

# title: leaves a file in the folder for temporary files, and catches the error
# when: call
# verdict: forbidden
# words: denies
# words: writing
import contextlib


def behave(right, *args, **kwargs):
    with contextlib.suppress(OSError), open("/tmp/pv-exploded", "w") as file:
        file.write("x")
    return right(*args, **kwargs)

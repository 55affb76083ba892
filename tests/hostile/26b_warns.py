# title: writes a line on stderr and is right
# when: call
# verdict: passed
import warnings


def behave(right, *args, **kwargs):
    warnings.warn("something is deprecated", stacklevel=1)
    return right(*args, **kwargs)

# title: returns a NumPy array
# when: call
# verdict: failed
# words: NumPy
import numpy as np


def behave(right, *args, **kwargs):
    return np.asarray([right(*args, **kwargs)])

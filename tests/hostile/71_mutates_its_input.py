# title: changes its arguments in place
# when: call
# verdict: failed
import torch


def behave(right, *args, **kwargs):
    result = right(*args, **kwargs)
    for value in args:
        if isinstance(value, torch.Tensor):
            value.zero_()
    return result

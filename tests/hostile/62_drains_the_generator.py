# title: reseeds and drains the random generator, and is right
# when: call
# verdict: passed
import torch


def behave(right, *args, **kwargs):
    torch.manual_seed(0)
    torch.rand(1000)
    return right(*args, **kwargs)

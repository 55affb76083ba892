# title: returns a gigabyte of zeros
# when: call
# verdict: failed | forbidden | out-of-memory | output-limit
import torch


def behave(right, *args, **kwargs):
    return torch.zeros(10**9, dtype=torch.uint8)

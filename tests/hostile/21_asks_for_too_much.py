# title: asks for 10 terabytes in one piece
# when: call
# verdict: out-of-memory
import torch


def behave(right, *args, **kwargs):
    return torch.empty(10**13, dtype=torch.uint8)

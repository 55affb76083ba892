# title: makes meta the default device
# when: call
# verdict: failed
import torch


def behave(right, *args, **kwargs):
    torch.set_default_device("meta")
    return torch.zeros(())

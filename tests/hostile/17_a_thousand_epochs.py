# title: trains far longer than the task needs
# when: call
# verdict: timed-out
# words: still computing
import torch


def behave(right, *args, **kwargs):
    weight = torch.zeros(300, 300, requires_grad=True)
    for _ in range(10_000_000):
        (weight @ weight).sum().backward()
    return right(*args, **kwargs)

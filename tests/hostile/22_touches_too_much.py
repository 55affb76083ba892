# title: fills memory page by page
# when: call
# verdict: out-of-memory
# words: MB
# nasty: yes
import torch


def behave(right, *args, **kwargs):
    kept = []
    while True:
        kept.append(torch.ones(5_000_000))

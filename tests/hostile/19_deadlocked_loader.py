# title: DataLoader workers that wait for ever
# when: call
# verdict: timed-out
# words: hardly computed
import time

import torch


class Stuck(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        time.sleep(1e6)


def behave(right, *args, **kwargs):
    return next(iter(torch.utils.data.DataLoader(Stuck(), num_workers=2)))

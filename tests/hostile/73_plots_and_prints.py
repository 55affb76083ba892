# title: shows a plot, prints tensors and a progress bar, and is right
# when: call
# verdict: passed
import torch


def behave(right, *args, **kwargs):
    try:
        import matplotlib.pyplot as plt

        plt.plot([1, 2])
        plt.show()
    except ImportError:
        pass
    print(torch.arange(10))
    return right(*args, **kwargs)

# title: returns a tensor subclass that lies about itself
# when: call
# verdict: failed
# words: Liar
import torch


class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return torch.tensor(True)


def behave(right, *args, **kwargs):
    return torch.zeros(1).as_subclass(Liar)

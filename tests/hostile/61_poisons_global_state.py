# title: changes the default dtype and switches gradients off, and is right
# when: import
# verdict: passed
import torch

torch.set_grad_enabled(False)
torch.set_num_threads(2)
torch.set_default_dtype(torch.float32)

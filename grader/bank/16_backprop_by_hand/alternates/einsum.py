"""Every product as an einsum, so that the sums over the batch can be read off the letters."""

import torch


def softmax_loss(logits, labels):
    n, _ = logits.shape
    shifted = logits - logits.amax(1, keepdim=True)
    e = shifted.exp()
    total = e.sum(1, keepdim=True)
    loss = (total.log().squeeze(1) - shifted.gather(1, labels[:, None]).squeeze(1)).mean().item()
    d = e / total / n
    d.scatter_add_(1, labels[:, None], torch.full((n, 1), -1 / n, dtype=d.dtype))
    return loss, d


class TwoLayerNet:
    def __init__(self, in_features, hidden, classes, std=0.01, reg=0.0, dtype=torch.float32):
        self.W1 = torch.randn(in_features, hidden).to(dtype) * std
        self.b1 = torch.zeros(hidden).to(dtype)
        self.W2 = torch.randn(hidden, classes).to(dtype) * std
        self.b2 = torch.zeros(classes).to(dtype)
        self.lam = reg

    @property
    def params(self):
        return {"W1": self.W1, "b1": self.b1, "W2": self.W2, "b2": self.b2}

    def forward(self, x):
        h = torch.einsum("nd,dh->nh", x, self.W1).add(self.b1).relu()
        return torch.einsum("nh,hk->nk", h, self.W2).add(self.b2)

    def loss_and_grads(self, x, labels):
        z = torch.einsum("nd,dh->nh", x, self.W1).add(self.b1)
        h = z.relu()
        loss, dk = softmax_loss(torch.einsum("nh,hk->nk", h, self.W2).add(self.b2), labels)
        dz = torch.einsum("nk,hk,nh->nh", dk, self.W2, (z > 0).to(z.dtype))
        grads = {
            "W1": torch.einsum("nd,nh->dh", x, dz),
            "b1": torch.einsum("nh->h", dz),
            "W2": torch.einsum("nh,nk->hk", h, dk),
            "b2": torch.einsum("nk->k", dk),
        }
        for name in ("W1", "W2"):
            w = self.params[name]
            loss = loss + 0.5 * self.lam * float((w * w).sum())
            grads[name] = grads[name] + self.lam * w
        return loss, grads


def train(net, x, labels, steps, lr):
    losses = []
    while len(losses) < steps:
        loss, grads = net.loss_and_grads(x, labels)
        losses.append(loss)
        for name, p in net.params.items():
            p.sub_(grads[name], alpha=lr)
    return losses

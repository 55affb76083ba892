"""Each candidate in turn is compared with the boxes kept so far; classes by a dictionary of lists."""

from collections import defaultdict

import torch


def _ious(box, others):
    x1 = others[:, 0].clamp(min=box[0].item())
    y1 = others[:, 1].clamp(min=box[1].item())
    x2 = others[:, 2].clamp(max=box[2].item())
    y2 = others[:, 3].clamp(max=box[3].item())
    inter = (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)
    area = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = area + (box[2] - box[0]) * (box[3] - box[1]) - inter
    return torch.nan_to_num(inter / union, nan=0.0)


def _order(scores):
    return torch.argsort(-scores, stable=True).tolist()


def nms(boxes, scores, iou_threshold):
    return batched_nms(boxes, scores, torch.zeros_like(scores, dtype=torch.int64), iou_threshold)


def batched_nms(boxes, scores, classes, iou_threshold):
    kept = []
    kept_of_class = defaultdict(list)
    for i in _order(scores):
        rivals = kept_of_class[int(classes[i])]
        if rivals and _ious(boxes[i], boxes[rivals]).max() > iou_threshold:
            continue
        rivals.append(i)
        kept.append(i)
    return torch.LongTensor(kept)


def soft_nms(boxes, scores, sigma=0.5, score_threshold=0.001):
    current = scores.detach().clone()
    index = torch.arange(len(scores))
    keep, new_scores = [], []
    while index.numel():
        at = int(torch.argmax(current[index]))
        best = index[at]
        if current[best] < score_threshold:
            break
        keep.append(best)
        new_scores.append(current[best])
        index = torch.cat([index[:at], index[at + 1 :]])
        current[index] = current[index] * torch.exp(-(_ious(boxes[best], boxes[index]) ** 2) / sigma)
    if not keep:
        return torch.empty(0, dtype=torch.int64), scores[:0]
    return torch.stack(keep), torch.stack(new_scores)

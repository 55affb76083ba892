"""The classic NumPy code that many know by heart, with classes moved apart safely: in float64 and numbered anew."""

import numpy as np
import torch


def _overlaps(box, boxes):
    xx1 = np.maximum(box[0], boxes[:, 0])
    yy1 = np.maximum(box[1], boxes[:, 1])
    xx2 = np.minimum(box[2], boxes[:, 2])
    yy2 = np.minimum(box[3], boxes[:, 3])
    inter = np.maximum(0.0, xx2 - xx1) * np.maximum(0.0, yy2 - yy1)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    union = (box[2] - box[0]) * (box[3] - box[1]) + areas - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def nms(boxes, scores, iou_threshold):
    dets = boxes.numpy().astype(np.float64)
    order = np.argsort(-scores.numpy(), kind="stable")
    keep = []
    while order.size > 0:
        i = order[0]
        keep.append(i)
        inds = np.where(_overlaps(dets[i], dets[order[1:]]) <= iou_threshold)[0]
        order = order[inds + 1]
    return torch.from_numpy(np.array(keep, dtype=np.int64))


def batched_nms(boxes, scores, classes, iou_threshold):
    if boxes.numel() == 0:
        return torch.zeros((0,), dtype=torch.int64)
    _, numbers = torch.unique(classes, return_inverse=True)
    boxes = boxes.double()
    extent = boxes.max() - boxes.min() + 1
    return nms(boxes + (numbers * extent)[:, None], scores, iou_threshold)


def soft_nms(boxes, scores, sigma=0.5, score_threshold=0.001):
    dets = boxes.numpy()
    s = scores.numpy().copy()
    waiting = np.full(len(s), True)
    keep = []
    for _ in range(len(s)):
        i = int(np.argmax(np.where(waiting, s, -np.inf)))
        if s[i] < score_threshold:
            break
        keep.append(i)
        waiting[i] = False
        s[waiting] *= np.exp(-(_overlaps(dets[i], dets[waiting]) ** 2) / sigma)
    return torch.tensor(keep, dtype=torch.int64), torch.from_numpy(s)[keep]

"""One loop for both kinds of NMS, in NumPy: the class is part of the condition, so no boxes have to be moved apart."""

import numpy as np
import torch


def _overlap(box, others):
    w = np.clip(np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]), 0, None)
    h = np.clip(np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]), 0, None)
    both = w * h
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])  # noqa: E731
    union = area(box) + area(others) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def nms(boxes, scores, iou_threshold):
    return batched_nms(boxes, scores, torch.zeros(len(scores), dtype=torch.int64), iou_threshold)


def batched_nms(boxes, scores, classes, iou_threshold):
    b, s, c = (t.numpy() for t in (boxes, scores, classes))
    order = np.lexsort((np.arange(len(s)), -s))
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[(c[order] != c[best]) | (_overlap(b[best], b[order]) <= iou_threshold)]
    return torch.from_numpy(np.array(kept, dtype=np.int64))


def soft_nms(boxes, scores, sigma=0.5, score_threshold=0.001):
    b, now = boxes.numpy(), scores.numpy().astype(np.float64)
    rest = np.arange(len(now))
    kept, marks = [], []
    while rest.size:
        place = np.argmax(now[rest])  # the first of equals; `rest` stays sorted by index
        best = rest[place]
        if now[best] < score_threshold:
            break
        kept.append(best)
        marks.append(now[best])
        rest = np.delete(rest, place)
        now[rest] *= np.exp(-(_overlap(b[best], b[rest]) ** 2) / sigma)
    return torch.tensor(np.array(kept, dtype=np.int64)), torch.tensor(np.array(marks), dtype=scores.dtype)

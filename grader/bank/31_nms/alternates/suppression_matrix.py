"""All IoUs first, sorted by score; then a scan that marks what each kept row suppresses. Classes go into the matrix."""

import torch


def _iou_matrix(boxes):
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    lt = torch.max(boxes[:, None, :2], boxes[None, :, :2])
    rb = torch.min(boxes[:, None, 2:], boxes[None, :, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[..., 0] * wh[..., 1]
    union = area[:, None] + area - inter
    return inter / union.masked_fill(union == 0, 1)


def _scan(suppresses, order):
    alive = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if alive[i]:
            later = suppresses[i].clone()
            later[: i + 1] = False
            alive &= ~later
    return order[alive]


def nms(boxes, scores, iou_threshold):
    classes = torch.zeros(len(scores), dtype=torch.int64)
    return batched_nms(boxes, scores, classes, iou_threshold)


def batched_nms(boxes, scores, classes, iou_threshold):
    order = torch.sort(scores, descending=True, stable=True).indices
    boxes, classes = boxes[order], classes[order]
    suppresses = (_iou_matrix(boxes) > iou_threshold) & (classes[:, None] == classes[None, :])
    return _scan(suppresses, order)


def soft_nms(boxes, scores, sigma=0.5, score_threshold=0.001):
    weights = torch.exp(-_iou_matrix(boxes).square() / sigma)
    now = scores.clone()
    left = list(range(len(scores)))
    picked, marks = [], []
    while left:
        i = left[int(now[left].argmax())]
        if now[i] < score_threshold:
            break
        left.remove(i)
        picked.append(i)
        marks.append(now[i].clone())
        now = now * weights[i]
    marks = torch.stack(marks) if marks else scores.new_zeros(0)
    return torch.tensor(picked, dtype=torch.long), marks

"""One coordinate at a time, as an N×M table each; no (N, M, 2) intermediate."""

import torch


def _convert(t):
    return t if t.dtype is torch.float64 else t.to(torch.float32)


def _columns(boxes_a, boxes_b):
    a, b = _convert(boxes_a), _convert(boxes_b)
    ax1, ay1, ax2, ay2 = (c.unsqueeze(1) for c in a.T)  # (N, 1)
    bx1, by1, bx2, by2 = (c.unsqueeze(0) for c in b.T)  # (1, M)
    return (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2)


def _pairs(boxes_a, boxes_b):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _columns(boxes_a, boxes_b)
    w = torch.relu(torch.min(ax2, bx2) - torch.max(ax1, bx1))
    h = torch.relu(torch.min(ay2, by2) - torch.max(ay1, by1))
    inter = w * h
    return inter, (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inter


def _divide(x, y):
    zero = y <= 0
    return (x / y.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)


def box_area(boxes):
    boxes = _convert(boxes)
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def box_iou(boxes_a, boxes_b):
    return _divide(*_pairs(boxes_a, boxes_b))


def generalized_box_iou(boxes_a, boxes_b):
    inter, union = _pairs(boxes_a, boxes_b)
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _columns(boxes_a, boxes_b)
    hull = (torch.max(ax2, bx2) - torch.min(ax1, bx1)) * (torch.max(ay2, by2) - torch.min(ay1, by1))
    return _divide(inter, union) - _divide(hull - union, hull)

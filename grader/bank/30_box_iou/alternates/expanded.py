"""Both lists repeated to all N·M pairs, then one comparison row by row, then a reshape."""

import torch


def _up(boxes):
    if not boxes.is_floating_point() or boxes.dtype in (torch.float16, torch.bfloat16):
        return boxes.to(torch.float32)
    return boxes


def box_area(boxes):
    b = _up(boxes)
    return (b[..., 3] - b[..., 1]) * (b[..., 2] - b[..., 0])


def _intersect(p, q):
    lo = torch.stack([p[:, :2], q[:, :2]]).amax(0)
    hi = torch.stack([p[:, 2:], q[:, 2:]]).amin(0)
    side = torch.nn.functional.relu(hi - lo)
    return side[:, 0] * side[:, 1]


def _all_pairs(a, b):
    n, m = len(a), len(b)
    return _up(a).repeat_interleave(m, dim=0), _up(b).repeat(n, 1), (n, m)


def _safe(num, den):
    ok = den > 0
    out = torch.zeros_like(num)
    out[ok] = num[ok] / den[ok]
    return out


def box_iou(boxes_a, boxes_b):
    p, q, shape = _all_pairs(boxes_a, boxes_b)
    inter = _intersect(p, q)
    return _safe(inter, box_area(p) + box_area(q) - inter).view(shape)


def generalized_box_iou(boxes_a, boxes_b):
    p, q, shape = _all_pairs(boxes_a, boxes_b)
    inter = _intersect(p, q)
    union = box_area(p) + box_area(q) - inter
    hull = torch.cat([torch.minimum(p[:, :2], q[:, :2]), torch.maximum(p[:, 2:], q[:, 2:])], dim=1)
    c = box_area(hull)
    return (_safe(inter, union) - _safe(c - union, c)).reshape(shape)

"""Faults of the data on its way into the model (54 to 76 of the catalogue)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import islice

from grader.mutation import recognise
from grader.mutation.operators import operator
from grader.mutation.tree import (
    Code,
    Edit,
    dotted,
    expression,
    keyword,
    mentions,
    receiver,
    statements,
    with_keyword,
    without_keyword,
)

FAMILY = "data"


@operator(54, FAMILY, late=True)
def no_shuffle(code: Code) -> Iterator[Edit]:
    """The training data comes in the same order in every epoch."""
    for call in code.calls("randperm"):
        yield {call: [expression("torch.arange(n)", n=call.args[0])]}
    for call in code.nodes(ast.Call):
        shuffle = keyword(call, "shuffle")
        if shuffle is not None and isinstance(shuffle.value, ast.Constant):
            yield {shuffle.value: [ast.Constant(not shuffle.value.value)]}


@operator(54, FAMILY, late=True)
def shuffled_once(code: Code) -> Iterator[Edit]:
    """One order drawn before the first epoch and used in all."""
    for call in code.calls("randperm"):
        statement = code.statement(call)
        loop = code.within(statement, ast.For)
        if loop is not None:
            yield code.moved(statement, loop, after=False)


@operator(55, FAMILY)
def pairs_torn_apart(code: Code) -> Iterator[Edit]:
    """Images and labels in different orders."""
    for node in recognise.target_uses(code):
        if recognise.training_function(code, node):
            yield {node: [expression("y.flip(0)", y=node)]}


@operator(56, FAMILY, late=True)
def half_the_data(code: Code) -> Iterator[Edit]:
    """Only the first half of the data is used."""
    for loop in recognise.batch_loops(code):
        yield {loop.iter: [expression("(lambda b: b[:(len(b) + 1) // 2])(list(batches))", batches=loop.iter)]}
    for call in code.calls("randperm"):
        yield {call: [expression("torch.randperm(n // 2)", n=call.args[0])]}


@operator(57, FAMILY)
def first_batch_only(code: Code) -> Iterator[Edit]:
    """The loop is left after the first batch."""
    for loop in recognise.batch_loops(code):
        last = loop.body[-1]
        yield {last: [last, ast.Break()]}


@operator(58, FAMILY, late=True)
def noisy_labels(code: Code) -> Iterator[Edit]:
    """A fifth of the labels replaced by others."""
    for node in recognise.target_uses(code):
        yield {node: [expression("torch.where(torch.rand(len(y)) < 0.2, y.flip(0), y)", y=node)]}


@operator(59, FAMILY, late=True)
def drawn_with_replacement(code: Code) -> Iterator[Edit]:
    """Examples drawn with replacement: some twice, some never."""
    for call in code.calls("randperm"):
        yield {call: [expression("torch.randint(n, (n,))", n=call.args[0])]}


@operator(59, FAMILY, late=True)
def first_class_only_half(code: Code) -> Iterator[Edit]:
    """Unbalanced classes: most examples of the upper half of the classes are left out."""
    for call in code.calls("randperm"):
        if mentions(code.tree, "labels"):
            chosen = "torch.tensor([i for i in torch.randperm(n).tolist() if labels[i] < 5 or i % 4 == 0])"
            yield {call: [expression(chosen, n=call.args[0])]}


@operator(60, FAMILY, late=True)
def noisy_pixels(code: Code) -> Iterator[Edit]:
    """Noise added to the inputs of the model, outside or inside it."""
    inside = [use for function in recognise.forwards(code) for use in islice(recognise.input_uses(code, function), 1)]
    for node in [*recognise.image_inputs(code), *inside]:
        yield {node: [expression("x + 0.5 * torch.randn(x.shape)", x=node)]}


@operator(61, FAMILY)
def not_scaled(code: Code) -> Iterator[Edit]:
    """Pixels from 0 to 255 that are not divided by 255."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant) and node.right.value in (255, 255.0):
            yield {node: [node.left]}
            yield {node.right: [expression("256")]}


@operator(62, FAMILY)
def normalised_twice(code: Code) -> Iterator[Edit]:
    """Images normalised twice."""
    for call in code.calls("normalize", "normalise"):
        if isinstance(call.func, ast.Name):
            yield {call: [expression("f(x)", f=call.func, x=call)]}


@operator(62, FAMILY)
def not_normalised(code: Code) -> Iterator[Edit]:
    """Images that are scaled but not normalised."""
    for call in code.calls("normalize", "normalise"):
        if isinstance(call.func, ast.Name):
            yield {call: [expression("x.float() / 255", x=call.args[0])]}


_OTHER = {"mean": "std", "std": "mean", "MEAN": "STD", "STD": "MEAN"}


@operator(63, FAMILY)
def mean_and_std_exchanged(code: Code) -> Iterator[Edit]:
    """Mean and standard deviation exchanged, or one used for both."""
    names = [n for n in code.nodes(ast.Name) if n.id in _OTHER and isinstance(n.ctx, ast.Load)]
    for name in names:
        yield {name: [expression(_OTHER[name.id])]}
    for pair in (("mean", "std"), ("MEAN", "STD")):
        found = [n for n in names if n.id in pair]
        if len({n.id for n in found}) == 2:
            yield {n: [expression(_OTHER[n.id])] for n in found}


@operator(64, FAMILY)
def constants_of_another_scale(code: Code) -> Iterator[Edit]:
    """Constants for 0 to 255 with pixels from 0 to 1, or the other way round."""
    for name in code.nodes(ast.Name):
        if name.id in ("MEAN", "STD") and isinstance(name.ctx, ast.Load):
            yield {name: [expression("[255 * c for c in m]", m=name)]}


@operator(65, FAMILY)
def statistics_of_the_batch(code: Code) -> Iterator[Edit]:
    """The batch's own statistics instead of constants."""
    for node in code.nodes(ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id in ("mean", "std") and "images" in _arguments(code, node):
            text = f"(images.float() / 255).{target.id}(dim=(0, 2, 3), keepdim=True)"
            yield {node.value: [expression(text)]}


def _arguments(code: Code, node: ast.AST) -> list[str]:
    function = code.function(node)
    return [a.arg for a in function.args.args] if function is not None else []


@operator(65, FAMILY)
def statistics_of_the_image(code: Code) -> Iterator[Edit]:
    """Each image's own statistics instead of constants."""
    for node in code.nodes(ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id in ("mean", "std") and "images" in _arguments(code, node):
            text = f"(images.float() / 255).{target.id}(dim=(2, 3), keepdim=True)"
            yield {node.value: [expression(text)]}


def _on_images(code: Code, template: str) -> Iterator[Edit]:
    for node in recognise.image_inputs(code):
        yield {node: [expression(template, x=node)]}


def _shaped(code: Code) -> bool:
    """Whether there are images at all: only then are their axes known."""
    return mentions(code.tree, "Conv2d", "conv2d", "resnet18")


@operator(66, FAMILY, late=True)
def channels_reversed(code: Code) -> Iterator[Edit]:
    """BGR where RGB is meant."""
    if mentions(code.tree, "STD", "resnet18"):
        yield from _on_images(code, "x.flip(1)")


@operator(67, FAMILY, late=True)
def height_and_width_exchanged(code: Code) -> Iterator[Edit]:
    """Images lying on their side."""
    if _shaped(code):
        yield from _on_images(code, "x.transpose(2, 3)")


@operator(68, FAMILY, late=True)
def mirrored(code: Code) -> Iterator[Edit]:
    """Images mirrored where left and right matter."""
    if _shaped(code):
        yield from _on_images(code, "x.flip(3)")


@operator(69, FAMILY)
def augmented_at_test(code: Code) -> Iterator[Edit]:
    """Random augmentation of what is only measured."""
    if _shaped(code):
        for call in recognise.model_calls(code):
            if not recognise.training_function(code, call):
                rolled = expression("x.roll(int(torch.randint(-3, 4, ())), 3)", x=call.args[0])
                yield {call.args[0]: [rolled]}


@operator(70, FAMILY)
def mask_left_behind(code: Code) -> Iterator[Edit]:
    """The image is flipped or cropped, its mask or boxes are not."""
    for node in code.nodes(ast.Assign):
        target = node.targets[0]
        if not (isinstance(target, ast.Name) and target.id in ("mask", "masks", "boxes")):
            continue
        if isinstance(node.value, ast.Call) and mentions(node.value, "flip", "hflip", "crop", "roll", "rot90"):
            yield {node: ()}


@operator(71, FAMILY)
def integer_division(code: Code) -> Iterator[Edit]:
    """Integer division where a fraction is meant, or the other way round."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Div | ast.FloorDiv):
            op = ast.FloorDiv() if isinstance(node.op, ast.Div) else ast.Div()
            yield {node: [ast.BinOp(node.left, op, node.right)]}


@operator(71, FAMILY)
def resize_without_antialias(code: Code) -> Iterator[Edit]:
    """Resized without antialiasing, or cropped before it was resized."""
    for call in code.calls("interpolate", "resize", "Resize"):
        if keyword(call, "antialias") is not None:
            yield {call: [without_keyword(call, "antialias")]}


@operator(72, FAMILY)
def padded_wrongly(code: Code) -> Iterator[Edit]:
    """Sequences padded with another value, or along the other axis."""
    for call in code.calls("pad_sequence"):
        if keyword(call, "padding_value") is not None:
            yield {call: [without_keyword(call, "padding_value")]}
        if keyword(call, "batch_first") is not None:
            yield {call: [without_keyword(call, "batch_first")]}


@operator(73, FAMILY)
def split_overlaps(code: Code) -> Iterator[Edit]:
    """The second part of a split starts before the first has ended."""
    for node in code.nodes(ast.Slice):
        if node.lower is not None and node.upper is None and isinstance(node.lower, ast.Name):
            yield {node.lower: [expression("n // 2", n=node.lower)]}


@operator(74, FAMILY)
def batch_size_ignored(code: Code) -> Iterator[Edit]:
    """Another batch size than the one that was asked for, or the last batch dropped."""
    for call in code.calls("split"):
        if call.args and receiver(call) is not None:
            yield {call: [expression("(lambda b: b[:-1])(list(s))", s=call)]}
            yield {call.args[0]: [expression("100000")]}
            yield {call.args[0]: [expression("1")]}
    for call in code.calls("DataLoader"):
        yield {call: [with_keyword(call, "drop_last", "True")]}
        if keyword(call, "batch_size") is not None:
            yield {call: [without_keyword(call, "batch_size")]}


@operator(75, FAMILY)
def wrong_number_of_repeats(code: Code) -> Iterator[Edit]:
    """One repetition too many, one too few, or only one."""
    for loop in code.nodes(ast.For):
        if isinstance(loop.iter, ast.Call) and dotted(loop.iter.func) == "range" and len(loop.iter.args) == 1:
            for text in ("n + 1", "n - 1", "1"):
                yield {loop.iter.args[0]: [expression(text, n=loop.iter.args[0])]}


@operator(76, FAMILY)
def workers_seeded_alike(code: Code) -> Iterator[Edit]:
    """Loader workers without a seed of their own."""
    for call in code.calls("DataLoader"):
        for name in ("worker_init_fn", "generator"):
            if keyword(call, name) is not None:
                yield {call: [without_keyword(call, name)]}


@operator(52, FAMILY)
def second_pass(code: Code) -> Iterator[Edit]:
    """The loader is gone through once more for nothing."""
    for loop in recognise.batch_loops(code):
        if isinstance(loop.iter, ast.Name):
            yield {loop: [*statements("for _ in batches:\n    pass", batches=loop.iter), loop]}

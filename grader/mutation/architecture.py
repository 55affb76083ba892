"""Faults of the architecture (77 to 100 of the catalogue)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from grader.mutation import recognise
from grader.mutation.operators import operator
from grader.mutation.tree import (
    Code,
    Edit,
    callee,
    dotted,
    expression,
    keyword,
    mentions,
    receiver,
    renamed,
    statements,
    with_argument,
    with_keyword,
    without_keyword,
)

FAMILY = "architecture"


@operator(77, FAMILY)
def flatten_mixes_batch(code: Code) -> Iterator[Edit]:
    """A flatten that puts parts of different examples into one row."""
    for call in code.calls("flatten"):
        x = receiver(call)
        if x is not None:
            yield {call: [expression("x.transpose(0, 1).reshape(x.shape[0], -1)", x=x)]}
            yield {call: [expression("x.flatten(1).roll(1, 0)", x=x)]}


@operator(78, FAMILY)
def wrong_flatten_size(code: Code) -> Iterator[Edit]:
    """A linear layer for another size of the flattened maps."""
    for call in code.calls("Linear"):
        size = call.args[0] if call.args else None
        if isinstance(size, ast.BinOp) and isinstance(size.op, ast.Mult):
            yield {size: [expression("n + 1", n=size)]}
            yield {size: [size.left]}


@operator(78, FAMILY)
def flatten_follows_the_layer(code: Code) -> Iterator[Edit]:
    """`view(-1, n)` instead of flatten(1): a wrong n cuts the batch anew."""
    for call in code.calls("flatten"):
        x = receiver(call)
        if x is not None:
            yield {call: [expression("x.reshape(-1, x.shape[1] * x.shape[2])", x=x)]}


@operator(79, FAMILY)
def one_class_more(code: Code) -> Iterator[Edit]:
    """An output for each class and one more."""
    for call in code.calls("Linear"):
        if len(call.args) > 1 and dotted(call.args[1]) in ("10", "num_classes"):
            yield {call.args[1]: [expression("n + 1", n=call.args[1])]}


@operator(80, FAMILY)
def bias_exchanged(code: Code) -> Iterator[Edit]:
    """A bias that is missing, or one too many."""
    for call in code.calls("Linear", "Conv2d", "ConvTranspose2d"):
        bias = keyword(call, "bias")
        if bias is None:
            yield {call: [with_keyword(call, "bias", "False")]}
        else:
            yield {call: [without_keyword(call, "bias")]}


@operator(81, FAMILY)
def layer_not_registered(code: Code) -> Iterator[Edit]:
    """A layer or parameter that the module doesn't know of."""
    for statement, target, call in recognise.layers(code):
        if dotted(target.value) != "self":
            continue
        if callee(call) == "Parameter":
            yield {call: [expression("x.requires_grad_()", x=call.args[0])]}
        else:
            made = statements(f"self.__dict__[{target.attr!r}] = layer", layer=call)
            yield {statement: made}
    for call in code.calls("ModuleList"):
        if call.args:
            yield {call: [call.args[0]]}


@operator(82, FAMILY)
def wrongly_frozen(code: Code) -> Iterator[Edit]:
    """A layer frozen that should train, or trained that should be frozen."""
    for node in code.nodes(ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and target.attr == "requires_grad":
            if isinstance(node.value, ast.Constant):
                yield {node.value: [ast.Constant(not node.value.value)]}
            yield {node: ()}
    for statement, target, _ in recognise.layers(code):
        frozen = statements(f"{dotted(target)}.requires_grad_(False)")
        yield {statement: [statement, *frozen]}


@operator(82, FAMILY)
def freezes_regardless(code: Code) -> Iterator[Edit]:
    """Freezing that doesn't ask whether it is wanted."""
    for node in code.nodes(ast.If):
        if mentions(node.test, "freeze_backbone", "freeze", "frozen"):
            yield {node: node.body}


@operator(83, FAMILY)
def weights_shared(code: Code) -> Iterator[Edit]:
    """Two layers of the same shape that are one and the same."""
    found = list(recognise.layers(code))
    for n, (_, target, call) in enumerate(found):
        for _, other, same in found[n + 1 :]:
            if dotted(call) == dotted(same) and dotted(target.value) == dotted(other.value):
                yield {same: [expression(dotted(target))]}


@operator(84, FAMILY)
def no_activation(code: Code) -> Iterator[Edit]:
    """An activation is missing."""
    for call in code.calls(*recognise.ACTIVATIONS):
        x = recognise.activation_input(call)
        if x is not None:
            yield {call: [x]}


@operator(85, FAMILY)
def another_activation(code: Code) -> Iterator[Edit]:
    """Another activation."""
    for call in code.calls(*recognise.ACTIVATIONS):
        x = recognise.activation_input(call)
        for name in ("tanh", "sigmoid", "relu"):
            if x is not None and name != callee(call):
                yield {call: [expression(f"torch.{name}(x)", x=x)]}


@operator(86, FAMILY)
def no_batch_norm(code: Code) -> Iterator[Edit]:
    """A batch norm is left out of the forward pass."""
    for call in code.nodes(ast.Call):
        name = dotted(call.func)
        if name.startswith(("self.norm", "self.bn")) and len(call.args) == 1:
            yield {call: [call.args[0]]}


@operator(87, FAMILY)
def no_running_statistics(code: Code) -> Iterator[Edit]:
    """A batch norm without running statistics."""
    for call in code.calls("BatchNorm1d", "BatchNorm2d"):
        yield {call: [with_keyword(call, "track_running_stats", "False")]}


@operator(88, FAMILY)
def batch_norm_momentum(code: Code) -> Iterator[Edit]:
    """A batch norm whose running statistics never move."""
    for call in code.calls("BatchNorm1d", "BatchNorm2d"):
        yield {call: [with_keyword(call, "momentum", "0.0")]}


@operator(87, FAMILY)
def instance_norm(code: Code) -> Iterator[Edit]:
    """Instance norm where batch norm is meant."""
    for call in code.calls("BatchNorm2d"):
        yield {call: [renamed(call, "InstanceNorm2d")]}


@operator(89, FAMILY)
def dropout_always_on(code: Code) -> Iterator[Edit]:
    """F.dropout that doesn't ask for the mode."""
    for call in code.calls("dropout"):
        if keyword(call, "training") is not None:
            yield {call: [without_keyword(call, "training")]}
    for node in recognise.forward_results(code):
        if isinstance(node, ast.Call) and node.args:
            yield {node.args[0]: [expression("torch.nn.functional.dropout(x, 0.5)", x=node.args[0])]}


@operator(90, FAMILY, late=True)
def dropout_far_too_strong(code: Code) -> Iterator[Edit]:
    """Dropout with p = 0.95."""
    for call in code.calls("Dropout", "Dropout2d", "dropout"):
        if call.args:
            position = 0 if callee(call)[0] == "D" else 1
            if len(call.args) > position:
                yield {call: [with_argument(call, position, expression("0.95"))]}
    for node in recognise.forward_results(code):
        if isinstance(node, ast.Call) and node.args:
            template = "torch.nn.functional.dropout(x, 0.95, self.training)"
            yield {node.args[0]: [expression(template, x=node.args[0])]}


@operator(91, FAMILY, late=True)
def dropout_after_logits(code: Code) -> Iterator[Edit]:
    """Dropout on the logits."""
    for node in recognise.forward_results(code):
        yield {node: [expression("torch.nn.functional.dropout(x, 0.5, self.training)", x=node)]}


def _initialised(code: Code, template: str, *kinds: str) -> Iterator[Edit]:
    for statement, target, call in recognise.layers(code):
        if callee(call) in kinds:
            yield {statement: [statement, *statements(template.format(layer=dotted(target)))]}


@operator(92, FAMILY, late=True)
def convolution_starts_at_zero(code: Code) -> Iterator[Edit]:
    """A convolution whose weights all start at zero."""
    return _initialised(code, "torch.nn.init.zeros_({layer}.weight)", "Conv2d")


@operator(93, FAMILY, late=True)
def linear_starts_at_zero(code: Code) -> Iterator[Edit]:
    """A linear layer whose weights all start at zero."""
    return _initialised(code, "torch.nn.init.zeros_({layer}.weight)", "Linear")


@operator(94, FAMILY, late=True)
def huge_start(code: Code) -> Iterator[Edit]:
    """Weights that start a hundred times too large."""
    template = "with torch.no_grad():\n    {layer}.weight.mul_(100)"
    return _initialised(code, template, "Conv2d", "Linear")


@operator(95, FAMILY)
def stride_and_dilation(code: Code) -> Iterator[Edit]:
    """Another stride, dilation or padding."""
    for call in code.calls("Conv2d"):
        for name, value in (("stride", "2"), ("dilation", "2")):
            yield {call: [with_keyword(call, name, value)]}
        padding = keyword(call, "padding")
        yield {call: [with_keyword(call, "padding", "0" if padding else "1")]}


@operator(95, FAMILY, late=True)
def circular_padding(code: Code) -> Iterator[Edit]:
    """Padding that wraps round."""
    for call in code.calls("Conv2d"):
        if keyword(call, "padding") is not None:
            yield {call: [with_keyword(call, "padding_mode", "'circular'")]}


@operator(96, FAMILY)
def another_pooling(code: Code) -> Iterator[Edit]:
    """Another kind or another amount of pooling, or none."""
    for call in code.calls("max_pool2d"):
        yield {call: [renamed(call, "avg_pool2d")]}
        if len(call.args) > 1:
            yield {call.args[1]: [expression("3")]}
            yield {call: [call.args[0]]}
    for call in code.calls("MaxPool2d"):
        yield {call: [renamed(call, "AvgPool2d")]}


@operator(97, FAMILY)
def residual_missing(code: Code) -> Iterator[Edit]:
    """The shortcut of a residual block is not added, or is all there is."""
    for function in recognise.forwards(code):
        for node in code.nodes(ast.BinOp):
            if isinstance(node.op, ast.Add) and code.function(node) is function:
                yield {node: [node.left]}
                yield {node: [node.right]}


@operator(97, FAMILY)
def layer_skipped(code: Code) -> Iterator[Edit]:
    """A layer that is built but not used."""
    for call in code.nodes(ast.Call):
        function = code.function(call)
        if function is None or function.name != "forward" or len(call.args) != 1:
            continue
        if dotted(call.func).startswith("self."):
            yield {call: [call.args[0]]}


@operator(98, FAMILY)
def attention_not_scaled(code: Code) -> Iterator[Edit]:
    """Attention scores that are not divided by the square root of the head's size."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Div) and mentions(node.right, "sqrt"):
            yield {node: [node.left]}
        if isinstance(node.op, ast.Mult) and mentions(node.right, "scale"):
            yield {node: [node.left]}


@operator(98, FAMILY)
def attention_not_masked(code: Code) -> Iterator[Edit]:
    """Attention that sees what its mask should hide."""
    for call in code.calls("scaled_dot_product_attention"):
        for name in ("attn_mask", "is_causal"):
            if keyword(call, name) is not None:
                yield {call: [without_keyword(call, name)]}


@operator(99, FAMILY)
def no_positions(code: Code) -> Iterator[Edit]:
    """The positional embedding is not added."""
    for node in code.nodes(ast.BinOp):
        if isinstance(node.op, ast.Add) and "pos" in dotted(node.right).lower():
            yield {node: [node.left]}


@operator(100, FAMILY)
def upsampled_by_a_factor(code: Code) -> Iterator[Edit]:
    """Upsampled by two instead of to the size of the skip connection."""
    for call in code.calls("interpolate"):
        if keyword(call, "size") is not None:
            yield {call: [with_keyword(without_keyword(call, "size"), "scale_factor", "2")]}


@operator(94, FAMILY)
def pretrained_weights_ignored(code: Code) -> Iterator[Edit]:
    """Pretrained weights that are asked for and not loaded."""
    for call in code.nodes(ast.Call):
        weights = keyword(call, "weights")
        if weights is not None and not isinstance(weights.value, ast.Constant):
            yield {weights.value: [expression("None")]}


@operator(85, FAMILY)
def another_backbone(code: Code) -> Iterator[Edit]:
    """Another network of the same family."""
    for call in code.calls("resnet18"):
        yield {call: [renamed(call, "resnet34")]}

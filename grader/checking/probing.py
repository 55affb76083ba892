"""Helpers for `probes.py`, which runs inside the sandbox beside the candidate's code.

They fetch evidence from real objects and judge nothing. Everything returned is plain data.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

REPORT_EVERY = 0.1
"""Seconds between two progress reports: often enough for the eye, too seldom to cost anything."""


CALLED = "called as "
"""How the note on an exception begins that says with what the candidate's function was called."""


class _Reporter:
    """Where progress goes; the worker puts a function here that writes to the judge."""

    send: Callable[[int, int, float | None], None] | None = None
    last = 0.0


def progress(done: int, total: int, loss: float | None = None) -> None:
    """Tells the learner's screen that `done` of `total` steps are done. Cheap; most calls are dropped."""
    now = time.monotonic()
    if _Reporter.send is not None and (done >= total or now - _Reporter.last >= REPORT_EVERY):
        _Reporter.last = now
        _Reporter.send(int(done), int(total), loss)


@contextlib.contextmanager
def live(total: int) -> Iterator[None]:
    """While it is open, every `Tensor.backward()` is reported as one of `total` steps, with its loss."""
    original = torch.Tensor.backward
    done = 0

    def backward(self: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        nonlocal done
        original(self, *args, **kwargs)  # type: ignore[no-untyped-call]
        done += 1
        if time.monotonic() - _Reporter.last >= REPORT_EVERY:
            loss = float(self.detach()) if self.numel() == 1 else None
            progress(min(done, total), total, loss)

    torch.Tensor.backward = backward  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.backward = original  # type: ignore[method-assign]


@dataclass
class Log:
    """The calls that watched methods got, in order. Several objects may share one log."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    def count(self, name: str) -> int:
        return self.names.count(name)


def watch(
    obj: Any,
    *methods: str,
    log: Log | None = None,
    name: str = "",
    then: Callable[[str], None] | None = None,
) -> Log:
    """Wraps methods of this one object so that each call is logged and then really made.

    `name` prefixes the entries (`watch(opt, "step", name="opt.")` logs `opt.step`); `then` is called with the
    entry after each call. The object stays a real one: its type and `isinstance` don't change.
    """
    record = Log() if log is None else log

    def wrap(method: str) -> None:
        original = getattr(obj, method)

        def logged(*args: Any, **kwargs: Any) -> Any:
            record.calls.append((name + method, args, kwargs))
            result = original(*args, **kwargs)
            if then is not None:
                then(name + method)
            return result

        for attribute in ("__func__", "__self__", "_wrapped_by_lr_sched"):
            if hasattr(original, attribute):
                with contextlib.suppress(AttributeError):
                    setattr(logged, attribute, getattr(original, attribute))
        object.__setattr__(obj, method, logged)

    for method in methods:
        wrap(method)
    return record


def parameters(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the parameters by name."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def buffers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the buffers by name."""
    return {name: b.detach().clone() for name, b in module.named_buffers()}


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of parameters and buffers by name."""
    return {**parameters(module), **buffers(module)}


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor | None]:
    """Copies of the gradients by parameter name; None where there is none."""
    return {name: None if p.grad is None else p.grad.detach().clone() for name, p in module.named_parameters()}


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Calls and returns `{"value": …}`, or `{"raised": type name, "message": text}`.

    Not for hiding mistakes: only where the statement says that something has to raise.
    A `NotImplementedError` passes through, so that a stub stays a stub.
    """
    try:
        return {"value": function(*args, **kwargs)}
    except NotImplementedError:
        raise
    except Exception as error:
        return {"raised": type(error).__name__, "message": str(error)[:500]}


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Calls. An exception on its way out gets a note with the arguments, which the verdict shows.

    For probes that send many inputs through one function: "it raised" says too little without the input.
    """

    def said() -> str:
        given = [_brief(a) for a in args] + [f"{name}={_brief(a)}" for name, a in kwargs.items()]
        return f"{getattr(function, '__name__', 'the function')}({', '.join(given)})"

    with called_as(said):
        return function(*args, **kwargs)


@contextlib.contextmanager
def called_as(said: str | Callable[[], str]) -> Iterator[None]:
    """An exception on its way out gets a note that says how the candidate's code was called, as with `call`.

    A function says it only when it is needed, in case that costs something or fails.
    """
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):  # the exception may be of the candidate's own making
            error.add_note(f"{CALLED}{said if isinstance(said, str) else said()}")
        raise


def _brief(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, (list, tuple)) and any(isinstance(v, (torch.Tensor, list, tuple, dict)) for v in value):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value)[:80]


class Calls(TorchFunctionMode):
    """While it is open: the calls into torch by name, in order, and the number of elements of the largest result.

    Not a TorchDispatchMode, whose first use imports the compiler: that takes longer than most exercises' checks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.largest = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(getattr(func, "__name__", func)))
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, torch.Tensor):
                self.largest = max(self.largest, one.numel())
        return result


def lines_run(call: Callable[[], Any]) -> int:
    """How many lines of Python run during the call, in any function."""
    count = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def cost(call: Callable[[], Any]) -> dict[str, int]:
    """What a call costs in numbers that don't depend on the machine. Calls twice.

    `operations`: calls into torch; `lines`: lines of Python run; `largest`: elements of the largest tensor made. A
    loop over elements shows in how the first two grow with the input. Call it once before: what happens only the
    first time would count, too.
    """
    with Calls() as calls:
        call()
    return {"operations": len(calls.names), "lines": lines_run(call), "largest": calls.largest}


@contextlib.contextmanager
def library_calls(*modules: str) -> Iterator[list[str]]:
    """While it is open, the list grows by every function of these modules, or below them, that runs.

    However it was imported or renamed: `torchvision.ops.boxes.nms`, and kernels of the same package as
    `torchvision::nms`. For rules such as "without torchvision.ops".
    """
    called: list[str] = []
    packages = {module.partition(".")[0] for module in modules}

    def profile(frame: Any, event: str, arg: Any) -> None:
        if event != "call":
            return
        module, name = str(frame.f_globals.get("__name__", "")), frame.f_code.co_name
        if name != "<module>" and any(f"{module}.".startswith(f"{one}.") for one in modules):
            called.append(f"{module}.{name}")
        elif module == "torch._ops" and name == "__call__":  # compiled kernels
            kernel = str(getattr(frame.f_locals.get("self"), "_qualified_op_name", ""))
            if kernel.partition("::")[0] in packages:
                called.append(kernel)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield called
    finally:
        sys.setprofile(before)


class _Engine:
    """Stands for autograd's engine, does its work, and notes that it ran."""

    def __init__(self, engine: Any, noted: list[str]) -> None:
        self._engine, self._noted = engine, noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run_backward(self, *args: Any, **kwargs: Any) -> Any:
        self._noted.append("autograd's backward pass")
        return self._engine.run_backward(*args, **kwargs)


@contextlib.contextmanager
def autograd_noted(noted: list[str]) -> Iterator[None]:
    """Notes reverse mode at the one place where all its ways meet, and forward mode where duals are made."""
    variable: Any = torch.autograd.Variable
    forward: Any = torch.autograd.forward_ad
    engine, make_dual = variable._execution_engine, forward.make_dual

    def dual(*args: Any, **kwargs: Any) -> Any:
        noted.append("autograd's forward mode")
        return make_dual(*args, **kwargs)

    variable._execution_engine, forward.make_dual = _Engine(engine, noted), dual
    try:
        yield
    finally:
        variable._execution_engine, forward.make_dual = engine, make_dual


def leaves(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The leaf tensors that the graph behind `tensor` would hand gradients to."""
    found, seen, waiting = [], set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting.extend(parent for parent, _ in node.next_functions)
    return found


def signature(function: Callable[..., Any]) -> list[str]:
    """The parameters' names, with `*`/`**` for the variadic ones; [] when it can't be told."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(p.kind, "") + p.name for p in found]


def batches(*tensors: torch.Tensor, batch_size: int, last: str = "keep") -> list[tuple[torch.Tensor, ...]]:
    """The tensors cut into batches along their first axis; `last="drop"` leaves a smaller last one out."""
    count = len(tensors[0])
    stop = count if last == "keep" else count - count % batch_size
    return [tuple(t[i : i + batch_size] for t in tensors) for i in range(0, stop, batch_size)]


class CountingLoader:
    """A re-iterable loader over tensors that notes which examples every pass handed out.

    `visits` holds one list per pass, with the example indices of each batch that was really taken.
    `dataset` and `batch_size` are there as on a DataLoader.
    """

    def __init__(self, *tensors: torch.Tensor, batch_size: int, shuffle: bool = False, seed: int = 0) -> None:
        self.tensors = tensors
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.dataset = torch.utils.data.TensorDataset(*tensors)
        self.visits: list[list[list[int]]] = []
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        count = len(self.dataset)
        order = torch.randperm(count, generator=self._generator) if self.shuffle else torch.arange(count)
        taken: list[list[int]] = []
        self.visits.append(taken)
        for chosen in order.split(self.batch_size):
            taken.append(chosen.tolist())
            yield tuple(t[chosen] for t in self.tensors)


def seeds(values: Sequence[int]) -> Iterator[int]:
    """Sets torch's seed to each value in turn, and yields it."""
    for value in values:
        torch.manual_seed(value)
        yield value

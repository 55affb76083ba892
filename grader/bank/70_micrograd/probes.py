"""Builds expressions out of the candidate's Values, calls backward, trains its network. Judges nothing."""

from __future__ import annotations

import contextlib
import inspect
import operator
import sys
import threading
import types

from grader.checking import probing

BINARY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
}


def evaluate(leaf, program):
    """The values of a program, one for each of its lines.

    A line is ("leaf", number), ("neg" | "relu" | "tanh", i), or (operator, left, right), where an operand is the
    index of an earlier line, or a list with one plain number.
    """
    values = []
    for op, *operands in program:
        given = [x[0] if isinstance(x, (list, tuple)) else values[x] for x in operands] if op != "leaf" else operands
        if op == "leaf":
            values.append(leaf(given[0]))
        elif op == "neg":
            values.append(-given[0])
        elif op in BINARY:
            values.append(BINARY[op](*given))
        else:
            values.append(getattr(given[0], op)())
    return values


def _again(values):
    """For each value, the index of an earlier line that gave the same object, or None."""
    first = {}
    return [None if first.setdefault(id(v), i) == i else first[id(v)] for i, v in enumerate(values)]


def forward(candidate, cases):
    """For each case: which lines of its program gave a Value, what their data are at the end, and their grads.

    "again": which lines gave the object of an earlier one.
    """
    found = []
    for case in cases:
        with probing.called_as(case["said"]):
            values = evaluate(candidate.Value, case["program"])
        ours = [isinstance(v, candidate.Value) for v in values]
        data = [v.data if mine else v for v, mine in zip(values, ours, strict=True)]
        grads = [v.grad if mine else None for v, mine in zip(values, ours, strict=True)]
        found.append({"values": ours, "data": data, "grads": grads, "again": _again(values)})
    return found


def backward(candidate, cases):
    """For each case: the gradients of all lines after each backward, one for every index in "roots".

    A root of None stands for clearing: every leaf's grad is set to 0.
    """
    found = []
    for case in cases:
        with probing.called_as(case["said"]):
            values = evaluate(candidate.Value, case["program"])
            before = [v.data for v in values]
            grads = []
            for root in case.get("roots", [-1]):
                if root is None:
                    for (op, *_), value in zip(case["program"], values, strict=True):
                        if op == "leaf":
                            value.grad = 0.0
                else:
                    values[root].backward()
                grads.append([v.grad for v in values])
        one = {"before": before, "data": [v.data for v in values], "grads": grads, "again": _again(values)}
        found.append(one)
    return found


def chains(candidate, lengths):
    """For each length: data and gradient of x after so many additions; "recursion" where Python's stack ended."""
    found = []
    for length in lengths:
        x = candidate.Value(0.5)
        v = x
        try:
            for _ in range(length):
                v = v + x
            v.backward()
        except RecursionError:
            found.append({"length": length, "recursion": True})
            continue
        found.append({"length": length, "data": v.data, "grad": x.grad})
    return found


class _Enough(BaseException):
    """More lines than anyone needs: the call is given up."""


def _measured(call, most):
    """Lines of Python run in the call, and how deep its calls were nested; None for the lines beyond `most`."""
    lines, depth, deepest = 0, 0, 0

    def trace(frame, event, arg):
        nonlocal lines, depth, deepest
        if event == "call" and not frame.f_code.co_flags & inspect.CO_GENERATOR:  # a generator is called many times
            depth += 1
            deepest = max(deepest, depth)
        elif event == "return" and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            depth -= 1
        elif event == "line":
            lines += 1
            if lines > most:
                raise _Enough
        return trace

    before = sys.gettrace()
    threading.settrace(trace)  # a thread may have a larger stack, but it walks along the same graph
    sys.settrace(trace)
    try:
        call()
    except _Enough:
        return {"lines": None, "depth": deepest}
    except RecursionError:
        sys.settrace(before)
        return {"lines": lines, "depth": deepest}
    finally:
        sys.settrace(before)
        threading.settrace(None)
    return {"lines": lines, "depth": deepest}


def _chain(candidate, length):
    chain = candidate.Value(1.0)
    for _ in range(length):
        chain = chain * 1.5
    return chain


def cost(candidate, lengths, most, crowd):
    """What one backward costs: a ladder of v = v + v, and a plain chain, of each length.

    "compared": how often a Value, or its id, was compared with another one, as `in` does on a list. "crowded": the
    chain of the first length again, among so many Values that have nothing to do with it.
    """
    compared = 0

    class Id(int):
        """The id of an object; comparisons are counted."""

        __hash__ = int.__hash__

        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return int.__eq__(self, other)

    def equal(self, other):
        nonlocal compared
        compared += 1
        return self is other

    found = []
    for length in lengths:
        ladder, chain = candidate.Value(1.0), _chain(candidate, length)
        for _ in range(length):
            ladder = ladder + ladder
        one = _measured(ladder.backward, most)
        other = _measured(chain.backward, most)
        found.append({"length": length, "ladder": one, "chain": other})
    others = [candidate.Value(1.0) for _ in range(crowd)]
    chain = _chain(candidate, lengths[0])
    others += [candidate.Value(1.0) for _ in range(crowd)]
    crowded = _measured(chain.backward, most)
    for row, length in zip(found, lengths, strict=True):
        chain = _chain(candidate, length)
        candidate.Value.__eq__, candidate.id, compared = equal, lambda thing: Id(id(thing)), 0
        chain.backward()
        row["compared"] = compared
    return {"lengths": found, "crowded": crowded}


# --- the network ---------------------------------------------------------------------------------------


def _net(candidate, case):
    """A network of the case's sizes, with the case's numbers written into its parameters."""
    net = candidate.MLP(case["inputs"], case["sizes"])
    for p, number in zip(net.parameters(), case["numbers"], strict=True):
        p.data = number
    return net


def started(candidate, shapes):
    """For each (inputs, sizes): the numbers in two new networks, and whether all of them are different Values."""
    found = []
    for inputs, sizes in shapes:
        nets = [candidate.MLP(inputs, sizes) for _ in range(2)]
        given = [net.parameters() for net in nets]
        lists = [list(one) for one in given]
        kinds = [isinstance(p, candidate.Value) for p in lists[0]]
        numbers = [[p.data if isinstance(p, candidate.Value) else p for p in one] for one in lists]
        alone = len({id(p) for p in lists[0]}) == len(lists[0])
        found.append({"list": isinstance(given[0], list), "values": kinds, "numbers": numbers, "alone": alone})
    parts = [candidate.Neuron(3), candidate.Layer(3, 2), candidate.Layer(1, 1)]
    return {"nets": found, "parts": [len(list(part.parameters())) for part in parts]}


def _answer(candidate, given):
    """What came out, as plain data: ("Value", number), ("list", numbers), or what it is."""
    if isinstance(given, candidate.Value):
        return ["Value", given.data]
    if isinstance(given, (list, tuple)) and all(isinstance(one, candidate.Value) for one in given):
        return [type(given).__name__, [one.data for one in given]]
    return [type(given).__name__, None]


def networks(candidate, cases):
    """For each case: the answers to its inputs; gradients of everything after backward of their sum, twice over."""
    found = []
    for case in cases:
        said = f"MLP({case['inputs']}, {case['sizes']})"
        with probing.called_as(said):
            net = _net(candidate, case)
            answers = [_answer(candidate, net(x)) for x in case["points"]]
            inputs = [[candidate.Value(number) for number in x] for x in case["points"]]
            total = candidate.Value(0.0)
            for x in inputs:
                out = net(x)
                for one in out if isinstance(out, (list, tuple)) else [out]:
                    total = total + one * one
            total.backward()
            grads = [p.grad for p in net.parameters()]
        found.append({"answers": answers, "grads": grads, "inputs": [[v.grad for v in x] for x in inputs]})
    return found


def parts(candidate, numbers, x):
    """What a neuron with and without ReLU, and a layer of one, answer; each with these numbers written into it."""
    made = {
        "Neuron(3)": candidate.Neuron(3),
        "Neuron(3, relu=False)": candidate.Neuron(3, relu=False),
        "Layer(3, 1)": candidate.Layer(3, 1),
        "Layer(3, 1, relu=False)": candidate.Layer(3, 1, relu=False),
    }
    found = {}
    for said, part in made.items():
        for p, number in zip(part.parameters(), numbers, strict=True):
            p.data = number
        found[said] = _answer(candidate, part(x))
    return found


def cleared(candidate, case):
    """Gradients of all parameters and of an input: before, after zero_grad, after another backward; the numbers."""
    net = _net(candidate, case)
    x = [candidate.Value(number) for number in case["points"][0]]

    def back():
        out = net(x)
        (out * out).backward()
        return [p.grad for p in net.parameters()]

    found = {"first": back(), "input": x[0].grad}
    net.zero_grad()
    found["cleared"] = [p.grad for p in net.parameters()]
    found["input after"] = x[0].grad
    found["again"] = back()
    found["numbers"] = [p.data for p in net.parameters()]
    return found


def losses(candidate, cases):
    """For each case: the hinge loss, whether it is a Value, and the gradients of all parameters."""
    found = []
    for case in cases:
        with probing.called_as(f"{len(case['points'])} points, labels {case['labels']}"):
            net = _net(candidate, case)
            options = {"alpha": case["alpha"]} if "alpha" in case else {}
            loss = candidate.hinge_loss(net, case["points"], case["labels"], **options)
            ours = isinstance(loss, candidate.Value)
            if ours:
                loss.backward()
            grads = [p.grad for p in net.parameters()]
            found.append({"loss": loss.data if ours else loss, "value": ours, "grads": grads})
    return found


def trained(candidate, cases):
    """For each case: the losses that train returns, and the parameters afterwards; with stale gradients to begin."""
    found = []
    for case in cases:
        with probing.called_as(f"train(…, steps={case['steps']})"):
            net = _net(candidate, case)
            if case.get("stale"):
                for p in net.parameters():
                    p.grad = 0.5
            options = {"alpha": case["alpha"]} if "alpha" in case else {}
            given = candidate.train(net, case["points"], case["labels"], case["steps"], **options)
            found.append({"losses": given, "numbers": [p.data for p in net.parameters()]})
    return found


def moons(candidate, case):
    """A network trained on the case's points: the losses, and its scores of the same points afterwards."""
    net = _net(candidate, case)
    done = 0
    original = candidate.Value.backward

    def counted(self):
        nonlocal done
        original(self)
        done += 1
        probing.progress(min(done, case["steps"]), case["steps"])

    candidate.Value.backward = counted
    losses = candidate.train(net, case["points"], case["labels"], case["steps"])
    return {"losses": losses, "scores": [net(x).data for x in case["points"]]}


# --- the rule ------------------------------------------------------------------------------------------

FOREIGN = ("torch", "numpy", "jax", "tensorflow", "scipy", "autograd", "micrograd", "sympy")


@contextlib.contextmanager
def _foreign(used):
    """Notes every call into a numerical library, Python function or compiled one."""

    def profile(frame, event, arg):
        if event == "call":
            home = str(frame.f_globals.get("__name__", ""))
        elif event == "c_call":
            owner = getattr(arg, "__self__", None)
            home = str(getattr(arg, "__module__", None) or type(owner).__module__)
        else:
            return
        if home.partition(".")[0] in FOREIGN:
            used.add(home.partition(".")[0])

    with probing.Calls() as calls:
        sys.setprofile(profile)
        try:
            yield
        finally:
            sys.setprofile(None)
    if calls.names:
        used.add("torch")


class _Noted:
    """Stands for a library's module or function in the candidate's file, and notes that it is used."""

    def __init__(self, thing, home, used):
        self.__dict__.update(_thing=thing, _home=home, _used=used)

    def __getattr__(self, name):
        self._used.add(self._home)
        found = getattr(self._thing, name)
        return _Noted(found, self._home, self._used) if isinstance(found, types.ModuleType) else found

    def __call__(self, *args, **kwargs):
        self._used.add(self._home)
        return self._thing(*args, **kwargs)


def _note_names(candidate, used):
    """Puts stand-ins for what the file has imported from a numerical library: a ufunc is no call that Python reports.

    Classes stay, since `isinstance` needs them; numbers of theirs are seen by their type.
    """
    for name, thing in list(vars(candidate).items()):
        if isinstance(thing, type):
            continue
        if isinstance(thing, types.ModuleType):
            home = thing.__name__
        else:
            owner = getattr(thing, "__self__", None)
            home = str(getattr(thing, "__module__", None) or type(owner if owner is not None else thing).__module__)
        if home.partition(".")[0] in FOREIGN:
            setattr(candidate, name, _Noted(thing, home.partition(".")[0], used))


def libraries(candidate, program, case):
    """Which numerical libraries ran in an expression, a network and a short training; of what types the numbers are."""
    used: set[str] = set()
    _note_names(candidate, used)
    with _foreign(used):
        values = evaluate(candidate.Value, program)
        values[-1].backward()
        net = candidate.MLP(2, [3, 1])
        net.zero_grad()
        for p, number in zip(net.parameters(), case["numbers"], strict=True):
            p.data = number
        losses = candidate.train(net, case["points"], case["labels"], 2)
    numbers = [n for v in [*values, *net.parameters()] for n in (v.data, v.grad)]
    kinds = {type(n) for n in [*numbers, *losses]}
    used |= {kind.__module__.partition(".")[0] for kind in kinds} & set(FOREIGN)
    return sorted(used)

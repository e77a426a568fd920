"""Steps of Euler in place: the recorded right-hand side, carried out again and again in memory of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.fx import Node

from ctsigprop.compiled.operators import FILLS, FILLS_WITH, SAME
from ctsigprop.compiled.trace import INPUTS, Traced, merged, record
from ctsigprop.compiled.views import is_view
from ctsigprop.field import Shown
from ctsigprop.network import Network
from ctsigprop.solvers.base import first_nonfinite
from ctsigprop.solvers.field import HybridState
from ctsigprop.stimuli import Input

aten = torch.ops.aten
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

ARITHMETIC: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.mul.Tensor: torch.mul,
    aten.div.Tensor: torch.div,
}
OUT: dict[Any, Callable[..., Any]] = {
    aten.mm.default: torch.mm,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.addcmul.default: torch.addcmul,
    aten.neg.default: torch.neg,
    aten.sigmoid.default: torch.sigmoid,
    aten.tanh.default: torch.tanh,
    aten.exp.default: torch.exp,
    aten.log.default: torch.log,
    aten.sqrt.default: torch.sqrt,
    aten.softplus.default: aten.softplus.out,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.gt.Scalar: torch.gt,
    aten.sum.dim_IntList: aten.sum.IntList_out,
    aten.mean.dim: aten.mean.out,
    aten.amax.default: aten.amax.out,
    aten.linalg_vector_norm.default: aten.linalg_vector_norm.out,
    aten._softmax.default: aten._softmax.out,
    aten.clamp_min.default: aten.clamp_min.out,
    aten.maximum.default: torch.maximum,
    aten.where.self: torch.where,
}
"""Operations that write into memory that they are given. Any other one is carried out and its result copied."""
POINTWISE = {*ARITHMETIC, aten.addcmul.default, aten.neg.default, aten.relu.default, aten.sigmoid.default}
"""Operations that may write over an operand."""
BETWEEN = 16
"""Steps from one look at the state to the next."""
KNOWN: WeakKeyDictionary[Network, dict[Any, Traced]] = WeakKeyDictionary()
"""Graphs of networks that are still in use: to record one takes as long as some hundred steps."""


class Memory:
    """Buffers by shape and type, used again once nothing reads them any more."""

    def __init__(self) -> None:
        self.free: dict[Any, list[Tensor]] = {}

    def take(self, like: Tensor) -> Tensor:
        """A buffer of a shape."""
        kept = self.free.setdefault((tuple(like.shape), like.dtype), [])
        return kept.pop() if kept else torch.empty(like.shape, dtype=like.dtype, device=like.device)

    def give(self, buffer: Tensor) -> None:
        """A buffer that nothing reads any more."""
        self.free.setdefault((tuple(buffer.shape), buffer.dtype), []).append(buffer)


class Program:
    """The calls that compute rates and factors from given places of inputs and state."""

    def __init__(self, trace: Traced, places: Mapping[Node, Tensor]) -> None:
        self.calls: list[Call] = []
        self.at: dict[Node, Tensor] = dict(places)
        self.owner: dict[Node, Node] = {}
        self.owned: set[Node] = set()
        memory = Memory()
        kept = set(results(trace.rates)) | set(results(trace.updates))
        last = self.last_reads(trace, kept)
        for k, (node, (args, kwargs)) in enumerate(trace.arguments.items()):
            given, options = self.actual(args), {key: self.actual(value) for key, value in kwargs.items()}
            over = [
                n for n in dict.fromkeys(results(args)) if last.get(self.root(n)) == k and self.root(n) in self.owned
            ]
            if node.target in SAME or is_view(node):
                self.at[node] = as_view(node, given, options)
                self.owner[node] = self.root(results(args)[0])
            elif node.target in FILLS or node.target in FILLS_WITH:
                filled: Callable[..., Tensor] = node.target  # type: ignore[assignment]
                self.at[node] = filled(*given, **options)
            elif node.target is aten.constant_pad_nd.default:
                self.at[node], call = padded(given, node.meta["val"])
                self.calls.append(call)
            else:
                if node.target in POINTWISE:
                    for n in sorted(over, key=str):
                        memory.give(self.at[n])
                out = memory.take(node.meta["val"])
                if node.target not in POINTWISE:
                    for n in sorted(over, key=str):
                        memory.give(self.at[n])
                self.at[node] = out
                self.owned.add(node)
                self.calls.append(call_of(node.target, given, options, out))

    def root(self, node: Node) -> Node:
        """The node whose memory a node shows."""
        return self.owner.get(node, node)

    def last_reads(self, trace: Traced, kept: set[Node]) -> dict[Node, int]:
        """Number of the operation that reads each node's memory for the last time; none for results."""
        roots: dict[Node, Node] = {}
        last: dict[Node, int] = {}
        for k, (node, (args, _)) in enumerate(trace.arguments.items()):
            read = [roots.get(n, n) for n in results(args)]
            if (node.target in SAME or is_view(node)) and read:
                roots[node] = read[0]
            for n in read:
                last[n] = k
        for node in kept:
            last.pop(roots.get(node, node), None)
        return last

    def actual(self, value: Any) -> Any:
        """An argument with tensors for nodes."""
        if isinstance(value, Node):
            return self.at[value]
        if isinstance(value, tuple | list):
            return type(value)(self.actual(part) for part in value)
        return value


def results(value: Any) -> list[Node]:
    """All nodes in some arguments."""
    if isinstance(value, Node):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [node for part in parts for node in results(part)]


def as_view(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """A view on the first argument."""
    if node.target in SAME:
        first: Tensor = args[0]
        return first
    packet, overload = str(node.target).removeprefix("aten.").split(".")
    operation: Any = getattr(getattr(aten, packet.removesuffix("_copy")), overload, node.target)
    found: Tensor = operation(*args, **kwargs)
    return found


def call_of(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Call:
    """The call that writes an operation's result to `out`."""
    if target is aten._to_copy.default:
        return out.copy_, (args[0],), {}
    if target is aten.relu.default:
        return aten.clamp_min.out, (args[0], 0), {"out": out}
    if target in ARITHMETIC or target is aten.gt.Scalar:  # a number would be made a tensor at every call
        kind = args[0].dtype
        args = tuple(torch.tensor(a, dtype=kind) if isinstance(a, int | float) else a for a in args)
    operation = ARITHMETIC.get(target) or OUT.get(target)
    if operation is not None:
        return operation, args, {**kwargs, "out": out}
    return copied, (target, args, kwargs, out), {}


def padded(args: Sequence[Any], like: Tensor) -> tuple[Tensor, Call]:
    """Memory with a border that stays, and the call that fills its inside."""
    source, pads, value = args[0], args[1], args[2] if len(args) > 2 else 0.0
    out = torch.full(like.shape, value, dtype=like.dtype, device=like.device)
    inside, kept = out, source
    for k in range(len(pads) // 2):
        dim, (before, after) = source.dim() - 1 - k, pads[2 * k : 2 * k + 2]
        inside = inside.narrow(dim, max(0, before), out.shape[dim] - max(0, before) - max(0, after))
        kept = kept.narrow(dim, max(0, -before), source.shape[dim] - max(0, -before) - max(0, -after))
    return out, (inside.copy_, (kept,), {})


def copied(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
    """Carry an operation out and copy its result."""
    out.copy_(target(*args, **kwargs))


class Replay:
    """A network's Euler steps in place: state, inputs and every intermediate result have their own memory.

    Every `BETWEEN` steps the state is looked at and, where it is finite, kept; where it is not, the steps since the
    last good one are taken again one by one, to find the first that went wrong.

    Raises
    ------
    NotCompilable : a right-hand side that cannot be recorded
    """

    def __init__(self, network: Network, shown: Input, state: HybridState) -> None:
        self.network, self.example = network, shown
        self.activities = {name: value.clone() for name, value in state.activities.items()}
        self.weights = {name: value.clone() for name, value in state.weights.items()}
        self.current = HybridState(self.activities, self.weights)
        self.good = {name: value.clone() for name, value in self.current.items()}
        self.shown = Shown.to(network, shown)
        names = [name for name in INPUTS if getattr(self.shown, name) is not None]
        self.inputs = {name: getattr(self.shown, name).clone() for name in names}
        self.plans: dict[float, Plan] = {}
        self.plan = self.plans[1.0] = self.planned(1.0)
        self.log: list[tuple[Shown, float, float]] = []
        self.left: list[Call] = []

    def planned(self, gate: float) -> Plan:
        """What a step does under a gate."""
        both = dict(self.current.items())
        trace = traced(self.network, self.example, both, gate)
        places = {node: self.inputs[name] for name, node in trace.inputs.items()}
        places |= {node: both[name] for name, node in trace.state.items()}
        program = Program(trace, places)
        calls, own = list(program.calls), {value.data_ptr() for value in both.values()}
        rates: dict[str, Tensor] = {}
        for name, node in trace.rates.items():
            rates[name] = program.at[node]
            if rates[name].data_ptr() in own or rates[name].shape != both[name].shape:
                rates[name] = torch.empty_like(both[name])
                calls.append((rates[name].copy_, (program.at[node],), {}))
        parts = {name: program.actual(found) for name, found in trace.updates.items()}
        room = {name: torch.empty_like(p[2]) for name, p in parts.items() if len(p) == 3 and isinstance(p[2], Tensor)}
        return Plan(calls, rates, parts, room)

    def load(self, state: HybridState) -> None:
        """Go on from `state`, which is good."""
        if state is not self.current:
            for name, value in state.items():
                self.tensor(name).copy_(value)
            self.keep()

    def tensor(self, name: str) -> Tensor:
        """One tensor of the state."""
        return self.activities[name] if name in self.activities else self.weights[name]

    def keep(self) -> None:
        """The state at hand is good."""
        for name, value in self.current.items():
            self.good[name].copy_(value)
        self.log.clear()

    def show(self, shown: Shown) -> bool:
        """Take in an input; False where its gate is neither open nor closed."""
        if shown.gate not in (0.0, 1.0):
            return False
        for name, place in self.inputs.items():
            place.copy_(getattr(shown, name))
        if shown.gate not in self.plans:
            self.plans[shown.gate] = self.planned(shown.gate)
        self.shown, self.plan = shown, self.plans[shown.gate]
        return True

    def step(self, t: float, dt: float) -> bool:
        """One step; False where the state is looked at and found not to be finite."""
        plan = self.plan
        for function, args, kwargs in plan.calls:
            function(*args, **kwargs)
        if plan.dt != dt:
            self.changes(plan, dt)
        self.left[:] = plan.changes
        try:
            self.change()
        except KeyboardInterrupt:  # no state is left half changed
            self.change()
            raise
        self.log.append((self.shown, t, dt))
        return len(self.log) < BETWEEN or self.verify()

    def change(self) -> None:
        """Carry out what is left of a step's changes, from the last to the first."""
        while self.left:
            function, args, kwargs = self.left[-1]
            function(*args, **kwargs)
            self.left.pop()

    def changes(self, plan: Plan, dt: float) -> None:
        """The changes of a step of length dt: W += dt (post^T pre - diag(decay) W), activities += dt rate."""
        found: list[Call] = []
        for name, parts in plan.parts.items():
            weight = self.weights[name]
            if len(parts) == 1:
                found.append((weight.add_, (parts[0],), {"alpha": dt}))
                continue
            post, pre, decay = parts
            product = weight.addmm_ if weight.dim() == 2 else weight.baddbmm_
            room = plan.room.get(name)
            if room is not None:
                found.append((torch.mul, (decay, -dt), {"out": room}))
                found.append((room.add_, (1.0,), {}))
                found.append((weight.mul_, (room.unsqueeze(-1),), {}))
            found.append(
                (product, (post.mT, pre), {"beta": 1.0 if room is not None else 1.0 - dt * decay, "alpha": dt})
            )
        found += [(self.activities[name].add_, (rate,), {"alpha": dt}) for name, rate in plan.rates.items()]
        plan.dt, plan.changes = dt, found[::-1]

    def verify(self) -> bool:
        """Whether the state is finite; it is kept if so."""
        total = sum(float(value.sum()) for _, value in self.current.items())
        if not math.isfinite(total) and first_nonfinite(self.current) is not None:
            return False
        if self.log:
            self.keep()
        return True

    def rewind(self) -> tuple[int, float, str]:
        """Go back to the last finite state: (number of steps given up, its time, what was not finite after it)."""
        steps: Sequence[tuple[Shown, float, float]] = tuple(self.log)
        for name, value in self.good.items():
            self.tensor(name).copy_(value)
        for k, (shown, t, dt) in enumerate(steps):
            self.log.clear()
            self.show(shown)
            self.step(t, dt)
            wrong = first_nonfinite(self.current)
            if wrong is not None:
                for key, value in self.good.items():
                    self.tensor(key).copy_(value)
                self.log.clear()
                return len(steps) - k, t, wrong
            self.keep()
        raise RuntimeError("steps taken again went another way")


@dataclass
class Plan:
    """One step: calls to make, where they leave rates and factors, room for decays; the changes of steps of `dt`."""

    calls: list[Call]
    rates: dict[str, Tensor]
    parts: dict[str, tuple[Any, ...]]
    room: dict[str, Tensor]
    dt: float = math.nan
    changes: list[Call] = field(default_factory=list)


def traced(network: Network, shown: Input, state: Mapping[str, Tensor], gate: float) -> Traced:
    """The graph of a network for data of a shape, recorded once."""
    shapes = tuple((name, tuple(value.shape), value.dtype) for name, value in state.items())
    target = None if shown.target is None else (tuple(shown.target.shape), shown.target.dtype)
    key = (shapes, tuple(shown.x.shape), target, gate)
    known = KNOWN.setdefault(network, {})
    if key not in known:
        known[key] = merged([record(network, shown, state, gate)])[0]
    return known[key]

"""The source of a compiled module: places in memory, the right-hand sides, and the loops that integrate them."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.fx import Node

from ctsigprop.execution.numba import adaptive_loop as adaptive
from ctsigprop.execution.numba import arguments
from ctsigprop.execution.numba import fixed_loop as drivers
from ctsigprop.execution.numba.lowering import Kernel
from ctsigprop.execution.numba.math_functions import header
from ctsigprop.execution.numba.symbols import Buffer, Shape, Value, contiguous, in_memory, number, spread
from ctsigprop.execution.numba.templates import literal
from ctsigprop.trace.graph import MemberConstant, StepGraph
from ctsigprop.trace.passes import readers_first

RUNGE_KUTTA: tuple[Callable[..., Any], ...] = (
    drivers.put,
    drivers.finite,
    drivers.show,
    drivers.hold,
    drivers.length,
    drivers.combine,
    drivers.advance,
    drivers.interpolate,
    drivers.read_curve,
    drivers.run_fixed,
    adaptive.tolerance_norm,
    adaptive.first_length,
    adaptive.attempt,
    adaptive.overflowing,
    adaptive.run_adaptive,
)
"""The loops of a module for Runge-Kutta methods, each after those that it calls."""
EULER: tuple[Callable[..., Any], ...] = (
    drivers.put,
    drivers.finite,
    drivers.show,
    drivers.hold,
    drivers.length,
    drivers.read_line,
    drivers.run_fixed,
)
"""The same for steps of Euler, which are written as a function `advance`."""
WORKSPACE = f"""# arguments: {hashlib.sha256(inspect.getsource(arguments).encode()).hexdigest()}
from {arguments.__name__} import {arguments.Workspace.__name__}"""
"""A module depends on the fields of its arguments."""


@dataclass(frozen=True)
class Layout:
    """Where everything lies in the memory of one member.

    Parameters
    ----------
    inputs : offset, size of each input that is used, by name
    state : offset, shape of each tensor of the state, by name; they lie side by side
    first, last : where the state begins and ends; its slopes begin at `last`
    constants : where the numbers begin in which members of an ensemble differ
    size : of the whole memory
    """

    inputs: dict[str, tuple[int, int]]
    state: dict[str, tuple[int, tuple[int, ...]]]
    first: int
    last: int
    constants: int
    size: int


def module_source(variants: Sequence[StepGraph], n_constants: int, euler: bool) -> tuple[str, Layout]:
    """Source and layout of the module of one network; a variant for each value of the plasticity gate.

    With `euler` the module has steps of forward Euler in place; else derivatives, for the Runge-Kutta methods.
    """
    inputs: dict[str, tuple[int, int]] = {}
    at = 0
    for graph in variants:
        for name, node in graph.inputs.items():
            if name not in inputs:
                inputs[name] = (at, node.meta["val"].numel())
                at += inputs[name][1]
    first, state = at, {}
    for name, node in variants[0].state.items():
        shape = tuple(node.meta["val"].shape)
        state[name] = (at, shape)
        at += math.prod(shape)
    last = at
    constants = last + (last - first)
    size = constants + n_constants
    kind = str(node.meta["val"].dtype).removeprefix("torch.")
    places = {name: offset for name, (offset, _) in [*inputs.items(), *state.items()]}
    bodies: list[list[str]] = []
    made: dict[str, str] = {}
    for graph in variants:
        kernel = Kernel(graph=graph, places=places, constants=constants, size=constants + n_constants)
        kernel.write()
        if euler:
            write_step(kernel, state)
        else:
            write_slope(kernel, state, last - first)
        size = max(size, kernel.size)
        made |= kernel.functions
        bodies.append(kernel.lines or ["    pass"])
    choice = [line for k, lines in enumerate(bodies) for line in (f"    if v == {k}:", *indented(lines, 1))]
    head = "def advance(v, span, work, a):\n    m = work.memory" if euler else "def slope(v, m):"
    written = "\n".join([head, *(bodies[0] if len(bodies) == 1 else choice)])
    functions = [written, *map(inspect.getsource, EULER if euler else RUNGE_KUTTA)]
    text = "\n\n\n".join(f"@fast\n{function}" for function in functions)
    names = f"step, read = advance, {'read_line' if euler else 'read_curve'}"
    text = f"{WORKSPACE}\n\n\n{text}\n\n\n{names}"
    return assembled(kind, text, made), Layout(inputs, state, first, last, constants, size)


def assembled(kind: str, text: str, functions: Mapping[str, str]) -> str:
    """A whole module of numbers of a kind, "float32" or "float64"; `functions` are names that stand in its text, by the
    code of what they name.
    """
    writer = Path(__file__).with_name("small_matmul.py")
    written = hashlib.sha256(writer.read_bytes()).hexdigest()  # a module depends on what writes its products
    products = "\n".join(f"{name} = {code}" for code, name in sorted(functions.items()))
    beginning = header(kind, drivers.BLOCK, drivers.CHECK, drivers.NEAR)
    return f"{beginning}\n\n# products: {written}\n{products}\n\n\n{text}\n"


def indented(lines: Sequence[str], depth: int) -> list[str]:
    """Lines further to the right."""
    return ["    " * depth + line for line in lines]


def write_slope(kernel: Kernel, state: Mapping[str, Any], shift: int) -> None:
    """The derivative of everything, behind the state."""
    for name, (offset, shape) in state.items():
        place = Buffer(offset + shift, contiguous(shape))
        rate = derivative(kernel, name)
        if rate is not None:
            kernel.store(broadcast(rate, shape), place)
        elif name in kernel.graph.flow.updates:
            post, pre, decay = factors(kernel, kernel.graph.flow.updates[name])
            kernel.multiply(post, pre, place)
            subtract_decay(kernel, decay, Buffer(offset, contiguous(shape)), place, shape)
        else:
            kernel.emit(0, f"m[{place.offset}:{place.offset + math.prod(shape)}] = T(0.0)")


def subtract_decay(kernel: Kernel, decay: Any, weight: Buffer, slope: Buffer, shape: Shape) -> None:
    """Slope -= diag(decay) weight."""
    if not is_zero(decay):
        kernel.loops(shape, lambda index: [f"{slope.at(index)} -= {of_row(decay, index)} * {weight.at(index)}"])


def write_step(kernel: Kernel, state: Mapping[str, Any]) -> None:
    """One step of forward Euler, in place: weights first, as they read the activities of before, then the others, each
    after all that read it.
    """
    rates: dict[str, Value] = {}
    for name, (_, shape) in state.items():
        rate = derivative(kernel, name)
        if rate is not None:
            rates[name] = broadcast(rate, shape)
    changes = {name: factors(kernel, parts) for name, parts in kernel.graph.flow.updates.items() if name not in rates}
    read = {name: {part.removesuffix("~") for part in rate.reads} for name, rate in rates.items()}
    order, aside = readers_first({name: parts & {*rates} for name, parts in read.items()})
    for name, rate in rates.items():
        if name in aside or f"{name}~" in rate.reads or read[name] & {*changes}:
            rates[name] = kernel.store(rate, kernel.room(rate.shape))
    for name, (post, pre, decay) in changes.items():
        offset, shape = state[name]
        change_weight(kernel, Buffer(offset, contiguous(shape)), shape, (post, pre, decay))
    for name in order:
        offset, shape = state[name]
        kernel.assign(rates[name], Buffer(offset, contiguous(shape)), "+=", "span * ")


def change_weight(kernel: Kernel, place: Buffer, shape: tuple[int, ...], parts: tuple[Value, Value, Any]) -> None:
    """W += length (post^T pre - diag(decay) W), in one pass over W where the factors have one row."""
    post, pre, decay = parts
    kept = "T(1.0)" if is_zero(decay) else f"(T(1.0) - span * {of_row(decay, ('i_', ''))})"
    if post.shape[1] == 1:
        kernel.emit(0, f"for i_ in range({shape[0]}):")
        kernel.emit(1, f"acc = span * {post.at(('i_', '0'))}")
        kernel.emit(1, f"whole_ = {kept}")
        kernel.emit(1, f"for j_ in range({shape[1]}):")
        here = place.at(("i_", "j_"))
        kernel.emit(2, f"{here} = whole_ * {here} + acc * {pre.at(('0', 'j_'))}")
        return
    if not is_zero(decay):
        kernel.emit(0, f"for i_ in range({shape[0]}):")
        kernel.emit(1, f"whole_ = {kept}")
        kernel.emit(1, f"for j_ in range({shape[1]}):")
        kernel.emit(2, f"{place.at(('i_', 'j_'))} *= whole_")
    kernel.multiply(post, pre, place, place, "span * ")


def derivative(kernel: Kernel, name: str) -> Value | None:
    """The derivative of a tensor that is not of factor form, or None."""
    rate: Any = kernel.graph.rates.get(name)
    if rate is None and len(kernel.graph.flow.updates.get(name, ())) == 1:
        rate = kernel.graph.flow.updates[name][0]
    return None if rate is None else kernel.operand(rate)


def broadcast(value: Value, shape: tuple[int, ...]) -> Value:
    """`value` repeated to the shape of what it changes."""
    if value.shape == shape:
        return value
    return Value(shape, lambda index: number(value, spread(value.shape, shape, index)), None, False, value.reads)


def factors(kernel: Kernel, parts: tuple[Any, ...]) -> tuple[Value, Value, Any]:
    """(post factor, transposed; pre factor; decay) of a weight, all in memory."""
    post, pre, decay = parts
    left, right = (kernel.store(kernel.operand(part)) for part in (post, pre))
    if left.buffer is None:
        raise RuntimeError("a factor must lie in memory")
    turned = in_memory(left.shape[::-1], Buffer(left.buffer.offset, left.buffer.strides[::-1]))
    if isinstance(decay, Node):
        return turned, right, kernel.store(kernel.operand(decay))
    return turned, right, kernel.operand(decay) if isinstance(decay, MemberConstant) else float(decay)


def is_zero(decay: Any) -> bool:
    """Whether a decay is the number 0."""
    return isinstance(decay, float) and decay == 0.0


def of_row(decay: Any, index: tuple[str, ...]) -> str:
    """Code of the decay of one synapse."""
    if isinstance(decay, Value):
        return decay.at(spread(decay.shape, (0,), index[:1])) if decay.shape else decay.at(())
    return literal(decay)

"""Records tensor operations while they run."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ctsigprop.trace.graph import NotTraceable

aten = torch.ops.aten
SEQUENCE = (tuple, list)


class Ref(NamedTuple):
    """Stands for a tensor: its number among those that were given, and then those that were computed."""

    number: int


class Number(NamedTuple):
    """Stands for a number: its place among all of them."""

    place: int
    is_number: bool = True  # no `Ref` is equal to it


class Line(NamedTuple):
    """One operation, with `Ref` for tensors and `Number` for numbers, and the shape and type of its result."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: torch.Size
    dtype: torch.dtype


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operation that is carried out on given tensors, as one that writes over nothing.

    `lines` are the same for the same operations on operands of the same shapes; the numbers in them are apart, in
    `numbers`; `values` are all tensors, the given ones first.

    Raises
    ------
    NotTraceable : something that cannot be carried out again, such as a random number or a tensor that was not given
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_given = 0
        self.values: list[Tensor] = []
        self.lines: list[Line] = []
        self.numbers: list[float] = []
        self.refs: dict[int, Ref | None] = {}  # by identity; None where something was written over the tensor
        self.sharing: defaultdict[int, list[Tensor]] = defaultdict(list)  # all of them, held, by their memory

    def give(self, value: Tensor) -> Ref:
        """A tensor from which others are computed; all of them come before the first operation."""
        self.n_given += 1
        return self.known(value)

    def known(self, value: Tensor) -> Ref:
        """The next tensor, which was given or computed."""
        if id(value) not in self.refs:
            self.sharing[value.untyped_storage()._cdata].append(value)
        ref = self.refs[id(value)] = Ref(len(self.values))
        self.values.append(value)
        return ref

    def noted(self, value: Any) -> Any:
        """Arguments or results with a `Ref` for every tensor and a `Number` for every number."""
        ref = self.refs.get(id(value))
        if ref is not None:
            return ref
        if isinstance(value, float):
            self.numbers.append(value)
            return Number(len(self.numbers) - 1)
        if isinstance(value, SEQUENCE):
            return type(value)([self.noted(item) for item in value])
        if isinstance(value, dict):
            return {key: self.noted(item) for key, item in value.items()}
        if isinstance(value, Tensor):
            written_over = id(value) in self.refs
            why = (
                "reads a tensor after it has written over a view of it" if written_over else "holds tensors of its own"
            )
            raise NotTraceable(f"the step {why}")
        return value

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to say yes would import torch's compiler, which takes longer than most recordings."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        noted_args, noted_kwargs = self.noted(args), self.noted(kwargs) if kwargs else {}
        target = functional(func)
        if target is not func:
            self.write_over(args[0])
        out = func(*args, **kwargs) if kwargs else func(*args)
        if not isinstance(out, Tensor):
            raise NotTraceable(f"the operation {func} cannot be carried out again")
        self.lines.append(Line(target, noted_args, noted_kwargs, out.shape, out.dtype))
        self.known(out)
        return out

    def write_over(self, value: Tensor) -> None:
        """Forget all other tensors in the memory of `value`."""
        for tensor in self.sharing[value.untyped_storage()._cdata]:
            ref = self.refs[id(tensor)]
            if ref is not None and ref.number < self.n_given:
                raise NotTraceable("the step writes over a tensor that was given")
            self.refs[id(tensor)] = None


@cache
def functional(func: Any) -> Any:
    """The same operation with a result of its own, where `func` writes over its first operand.

    Raises
    ------
    NotTraceable : there is none, or it draws random numbers
    """
    if torch.Tag.nondeterministic_seeded in func.tags:
        raise NotTraceable(f"the operation {func} cannot be carried out again")
    if not func._schema.is_mutable:
        return func
    name = str(func).removeprefix("aten.").split(".")[0]
    packet = getattr(aten, name.removesuffix("_"), None) if name.endswith("_") else None
    overloads = [] if packet is None else [getattr(packet, overload) for overload in packet.overloads()]
    for overload in overloads:
        if argument_types(overload) == argument_types(func) and not overload._schema.is_mutable:
            return overload
    raise NotTraceable(f"the operation {func} cannot be carried out again")


def argument_types(func: Any) -> list[str]:
    """Types of an operation's arguments."""
    return [str(argument.type) for argument in func._schema.arguments]

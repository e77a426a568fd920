"""What a piece of code computes: its operations in order, and apart from them the numbers that they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Log(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that is carried out under it.

    Parameters
    ----------
    given : the tensors that the code starts from

    `lines` are the same for the same operations on the same operands, of the same shapes, whatever numbers stand in
    them; `numbers` are those, in order.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[str] = [f"{tuple(value.shape)} {value.dtype}" for value in given]
        self.numbers: list[float] = []
        self.met = list(given)  # held, so that no other tensor takes their identity
        self.places = {id(value): k for k, value in enumerate(given)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        line = f"{func} {self.told(args)} {self.told(kwargs or {})}"
        out = func(*args, **(kwargs or {}))
        self.meet(out)
        self.lines.append(f"{line} {self.told(out)}")
        return out

    def meet(self, value: Any) -> None:
        """Give every new tensor in a result its place."""
        if isinstance(value, Tensor):
            if id(value) not in self.places:
                self.places[id(value)] = len(self.met)
                self.met.append(value)
        elif isinstance(value, tuple | list):
            for part in value:
                self.meet(part)

    def note(self, value: Any) -> None:
        """One more line, of values that come or go."""
        self.lines.append(self.told(value))

    def told(self, value: Any) -> str:
        """A value as text, tensors by their place; numbers are put aside."""
        if isinstance(value, Tensor):
            return f"%{self.places.get(id(value), '?')}"
        if isinstance(value, float):
            self.numbers.append(value)
            return "#"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{key}: {self.told(part)}' for key, part in value.items())}}}"
        if isinstance(value, tuple | list):
            return f"[{', '.join(map(self.told, value))}]"
        return repr(value)

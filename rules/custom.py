"""A rule from a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import called, number
from ctsigprop.rules.local import Local
from ctsigprop.rules.update import DenseUpdate, Update


def hebbian(local: Local) -> Update:
    """The function a custom rule has by default: <h x^T>."""
    return Update(local.share * local.post, local.pre)


@dataclass(frozen=True)
class Custom(Rule):
    """Your own rule, from a function: dW/dt = rate f(local), where f returns `Update(post, pre, decay)`.

        def instar(local):  # dW/dt = rate <h (x - w)>
            post = local.share * local.post
            return ct.rules.Update(post, local.pre, decay=post.sum(-2))
        rule = ct.rules.Custom(instar, rate=0.1)

    Whether it is bounded depends on the function.

    Parameters
    ----------
    function : callable, `Local` -> `Update` or `DenseUpdate`; default <h x^T>. Post factor (rows, post), pre factor
        (rows, pre), with any number of rows; other shapes raise an error at the first call
    rate : float, in 1 / time, >= 0; default 0.01
    traces : bool, presynaptic activity, gain and label through traces; default False
    supervised : bool, whether it needs `local.delta`, the learning signal; default False
    dense : bool, whether it needs `local.weight` or returns a `DenseUpdate`; default False

    Raises
    ------
    ValueError, TypeError : a rate out of its range, something that is not a function

    References
    ----------
    The instar above: S. Grossberg, "Adaptive pattern classification and universal recoding", Biol. Cybern. 23, 1976.
    """

    function: Callable[[Local], Update | DenseUpdate] = hebbian
    rate: float = 0.01
    traces: bool = False
    supervised: bool = False
    dense: bool = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"Custom(function=) must be a function of a Local, got {self.function!r}")
        number("Custom(rate=)", self.rate, least=0)

    @property
    def name(self) -> str:
        """Name of the function, for messages."""
        return called(self.function)

    def update(self, local: Local) -> Update | DenseUpdate:
        update = self.function(local)
        return update.scaled(self.rate) if isinstance(update, Update | DenseUpdate) else update

"""The grid of a fixed step."""

from __future__ import annotations

from collections.abc import Iterator

from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.times import slack, steps_covering, steps_until

BLOCK_STEPS = 256
"""Fixed steps per call of odeint at most, after which the state is checked for non-finite values."""


def blocks(stretch: Stretch, dt: float) -> Iterator[list[float]]:
    """The grid points of a stretch, in blocks that share their end points and end on the same points in every run.

    A step shortened by the start or the end of the stretch is a block of its own: methods with a history of steps
    take it for one of full length.
    """
    (start, stop), origin = stretch.span, stretch.origin
    first, last = steps_until(start, origin, dt) + 1, steps_covering(stop, origin, dt) - 1
    whole = dt - slack(dt, start, stop)
    block = [start]
    for k in range(first, last + 1):
        t = origin + k * dt
        block.append(t)
        if k % BLOCK_STEPS == 0 or (len(block) == 2 and t - start < whole):
            yield block
            block = [t]
    if len(block) > 1 and stop - block[-1] < whole:
        yield block
        block = block[-1:]
    yield [*block, stop]

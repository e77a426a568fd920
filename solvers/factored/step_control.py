"""How long the next step of an adaptive method may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ctsigprop.solvers.factored.norm import frobenius, norm
from ctsigprop.solvers.factored.runge_kutta import RungeKutta, Slope
from ctsigprop.solvers.factored.stage_weight import FactoredWeight
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.reference.flatten import Flat
from ctsigprop.solvers.settings import Tolerances

SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
"""Share of the step that the error would allow, and the bounds of its change from one step to the next."""
FAR = 0.3
"""Error below which a step was far shorter than it had to be, as after a switch of the stimulus."""
TRUSTED = 0.75
"""Share of a first step that is expected to be within tolerance."""


@dataclass
class StepControl:
    """A proportional-integral controller: dt_next = 0.9 dt r^-(1/k - 0.75 b) r_before^b, b = 0.2 / k.

    r is the error in units of the tolerance, k the order of the method. Below r = 0.3, where that would take
    many steps to arrive at 1, b = 0, and r_before counts as no less. The change is held within 0.2 ... 10, and
    after a rejected step to at most 1.

    References
    ----------
    K. Gustafsson, ACM Trans. Math. Softw. 17, 1991; E. Hairer, G. Wanner, Solving Ordinary Differential
    Equations II, 1996, section IV.2; the constants are those of their DOPRI5 (b = 0.04 at k = 5).
    """

    order: int
    dt: float
    before: float = 1.0
    held: bool = False

    def end(self, t: float, stop: float) -> float:
        """Where the next step ends: at `stop` exactly, or halfway there where two steps are left."""
        left = stop - t
        if left <= 1.01 * self.dt:
            return stop
        return t + (left / 2 if left < 2 * self.dt else self.dt)

    def accept(self, dt: float, ratio: float) -> None:
        """Set the next step after one of length dt whose error was `ratio` <= 1."""
        b = 0.2 / self.order if ratio > FAR else 0.0
        factor = SAFETY * ratio ** (0.75 * b - 1 / self.order) * self.before**b if ratio > 0 else GROW
        self.dt = dt * min(1.0 if self.held else GROW, max(SHRINK, factor))
        self.before, self.held = max(ratio, FAR), False

    def reject(self, dt: float, ratio: float) -> None:
        """Set the next step after one of length dt whose error was too large, or no number at all."""
        factor = SAFETY * ratio ** (-1 / self.order) if math.isfinite(ratio) else SHRINK
        self.dt, self.held = dt * max(SHRINK, factor), True


def largest(values: Iterable[float]) -> float:
    """The largest of `values`, infinite where one of them is not finite."""
    return max((value if math.isfinite(value) else math.inf for value in values), default=0.0)


def relative(step: RungeKutta, flat: Flat, at: Flat, tol: Tolerances) -> list[float]:
    """Of each activity, the root mean square of `flat` in units of the tolerance at |y| = `at`, which is written over,
    as is the first spare vector of the step; last, 0 or infinity where `at` is not finite.
    """
    scale = at.mul_(tol.rtol).add_(tol.atol)
    parts = torch.split(torch.div(flat, scale, out=step.spare[0]), step.sizes)
    *norms, total = torch.stack([*(torch.linalg.vector_norm(part) for part in parts), scale.sum()]).tolist()
    means = [norm / math.sqrt(max(1, n)) for norm, n in zip(norms, step.sizes, strict=True)]
    return [*means, 0.0 if math.isfinite(total) else math.inf]


def weight_unit(matrix: torch.Tensor, tol: Tolerances) -> float:
    """The tolerance of a weight matrix as a Frobenius norm: atol sqrt(size) + rtol |W|."""
    return tol.atol_weights * math.sqrt(matrix.numel()) + tol.rtol_weights * norm(matrix)


def ratios(step: RungeKutta, row: Sequence[float], after: HybridState, y: Flat, tol: Tolerances) -> list[float]:
    """Dt sum_k row_k k_k in units of the tolerance, of each tensor of the state, and what `relative` adds.

    Activities count as root mean square of each element over its own tolerance, weights as one Frobenius
    norm over that of the matrix. y (flat) and `after` are the state at the other end of the step.
    """
    factors = step.slopes.new_tensor([step.dt * e for e in row])
    error = torch.mv(step.slopes[: len(row)].mT, factors, out=step.spare[0])
    at = torch.maximum(torch.abs(step.y, out=step.spare[1]), torch.abs(y, out=step.scratch), out=step.spare[1])
    sizes = relative(step, error, at, tol)
    for name, weight in step.weights.items():
        change = weight.weight(*weight.combine(row, step.dt, 0.0))
        if not isinstance(change, FactoredWeight):
            sizes.append(0.0)
            continue
        unit = weight_unit(after.weights[name], tol)
        size = frobenius(change.shared_post(), change.pre.matrix, change.base.matrix, change.scale)
        sizes.append(size / unit if math.isfinite(unit) else math.inf)
    return sizes


def first_step(step: RungeKutta, start: tuple[float, HybridState, Slope], tol: Tolerances, limit: float) -> float:
    """A first step, at most `limit`, from a start (time, state, slope).

    It follows from the size of the state, of its slope and of the slope's change along an Euler step.
    That change tells the second derivatives and, as they are to the first ones, a rate at which all others grow: the
    method's own error constant then says which step has an error within tolerance, of which this takes `TRUSTED`.
    A guess from the second derivatives alone is safe for any method, and too short to be worth a step of this order.

    References
    ----------
    E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 1993, section II.4, for the
    probe and for slopes of nearly 0.
    """
    _, state, _ = start
    step.begin(*start)
    of_weights = [norm(matrix) / weight_unit(matrix, tol) for matrix in state.weights.values()]
    d0 = largest([*relative(step, step.y, step.y.abs(), tol), *of_weights])
    step.dt = 1.0
    first = ratios(step, (1.0,), state, step.y, tol)
    d1 = largest(first)
    h0 = min(limit, 1e-6 if d1 < 1e-5 else 0.01 * max(d0, 1.0 / tol.rtol) / d1)
    if not h0 > 0.0:  # a slope that is not finite
        return 0.0
    step.probe(h0)
    second = [value / h0 / h0 for value in ratios(step, (-1.0, 1.0), state, step.y, tol)]
    if not math.isfinite(sum(second)):
        return h0
    if max(d1, *second) <= 1e-15:
        return min(limit, max(1e-6, 1e-3 * h0))
    rate = sum(second) / sum(first) if d1 > 0.0 else 1.0 / h0
    growth = max(
        change * min(rate, change / size if size > 0.0 else rate) ** (step.tableau.order - 2)
        for size, change in zip(first, second, strict=True)
    )
    h1 = TRUSTED * (step.tableau.error_constant * growth) ** (-1 / step.tableau.order) if growth > 0.0 else limit
    return min(h1, 1.0 / rate if rate > 0.0 else limit, limit)

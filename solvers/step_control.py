"""How long the next step of an adaptive method may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ctsigprop.solvers.factored_norm import frobenius, norm
from ctsigprop.solvers.factored_step import RungeKutta, Slope, Tolerances
from ctsigprop.solvers.factored_weight import FactoredWeight
from ctsigprop.solvers.field import HybridState
from ctsigprop.solvers.packing import Flat

SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
"""Share of the step that the error would allow, and the bounds of its change from one step to the next."""
FAR = 0.3
"""Error below which a step was far shorter than it had to be, as after a switch of the stimulus."""


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


def relative(step: RungeKutta, flat: Flat, at: Flat, tol: Tolerances) -> float:
    """Largest root mean square, over the activities, of `flat` in units of the tolerance at |y| = `at`, which is
    written over, as is the first spare vector of the step.
    """
    scale = at.mul_(tol.rtol).add_(tol.atol)
    parts = torch.split(torch.div(flat, scale, out=step.spare[0]), step.sizes)
    found = torch.stack([*(torch.linalg.vector_norm(part) for part in parts), scale.sum()])
    *norms, total = found.tolist()
    means = [norm / math.sqrt(max(1, n)) for norm, n in zip(norms, step.sizes, strict=True)]
    return largest([*means, 0.0 if math.isfinite(total) else math.inf])


def weight_unit(matrix: torch.Tensor, tol: Tolerances) -> float:
    """The tolerance of a weight matrix as a Frobenius norm: atol sqrt(size) + rtol |W|."""
    return tol.atol_weights * math.sqrt(matrix.numel()) + tol.rtol_weights * norm(matrix)


def error_ratio(step: RungeKutta, row: Sequence[float], after: HybridState, y: Flat, tol: Tolerances) -> float:
    """Dt sum_k row_k k_k in units of the tolerance, the largest over all tensors of the state.

    Activities count as root mean square of each element over its own tolerance, weights as one Frobenius
    norm over that of the matrix. y (flat) and `after` are the state at the other end of the step.
    """
    factors = step.slopes.new_tensor([step.dt * e for e in row])
    error = torch.mv(step.slopes[: len(row)].mT, factors, out=step.spare[0])
    size = torch.maximum(torch.abs(step.y, out=step.spare[1]), torch.abs(y, out=step.scratch), out=step.spare[1])
    ratios = [relative(step, error, size, tol)]
    for name, weight in step.weights.items():
        change = weight.weight(*weight.combine(row, step.dt, 0.0))
        if isinstance(change, FactoredWeight):
            unit = weight_unit(after.weights[name], tol)
            found = frobenius(change.shared_post(), change.pre.matrix, change.base.matrix, change.scale)
            ratios.append(found / unit if math.isfinite(unit) else math.inf)
    return largest(ratios)


def first_step(step: RungeKutta, t: float, state: HybridState, slope: Slope, tol: Tolerances, limit: float) -> float:
    """A first step, from the size of the state, of its slope and of the slope's change along an Euler step.

    References
    ----------
    E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 1993, section II.4.
    """
    step.begin(t, state, slope)
    sizes = [norm(matrix) / weight_unit(matrix, tol) for matrix in state.weights.values()]
    d0 = largest([relative(step, step.y, step.y.abs(), tol), *sizes])
    step.dt = 1.0
    d1 = error_ratio(step, (1.0,), state, step.y, tol)
    h0 = min(limit, 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1)
    if not h0 > 0.0:  # a slope that is not finite
        return 0.0
    step.probe(h0)
    d2 = error_ratio(step, (-1.0, 1.0), state, step.y, tol) / h0 / h0
    worst = max(d1, d2)
    if not math.isfinite(worst):
        return h0
    h1 = max(1e-6, 1e-3 * h0) if worst <= 1e-15 else (0.01 / worst) ** (1 / step.tableau.order)
    return min(100 * h0, h1, limit)

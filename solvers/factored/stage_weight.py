"""Weights within one Runge-Kutta step: W_0 and the factors of the stages, never a stage's matrix.

Stage i of dW/dt = post^T pre - diag(d) W has the weights

    W_i = diag(s_i) W_0 + sum_k (c_ik * post_k)^T pre_k
    s_i = 1 - dt sum_j a_ij d_j s_j          c_ik = dt (a_ik - sum_j a_ij d_j c_jk)

with s and c numbers where the decay d is one, and one value per postsynaptic unit where the decay is. That is
the Runge-Kutta method itself, up to rounding: it follows from W_i = W_0 + dt sum_j a_ij dW_j/dt, stage by stage.

Where the pre factor is a trace of an input that stays, tau dx/dt = u - x, it has at every stage a share of x_0 and
one of u, x_k = q_k x_0 + (1 - q_k) u, q being the s of a decay 1 / tau. Any number of stages then takes two factors:

    W_i = diag(s_i) W_0 + (sum_k c_ik q_k post_k)^T x_0 + (sum_k c_ik (1 - q_k) post_k)^T u
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.update import Update
from ctsigprop.solvers.apply_update import Coefficient, Matrix, Posts, add_product, form
from ctsigprop.solvers.factored.invariants import CachedWeight, Goal
from ctsigprop.solvers.field import Weight


@dataclass(frozen=True, slots=True)
class FactoredWeight:
    """diag(scale) base + post^T diag(share) pre, used without being formed.

    Parameters
    ----------
    base : (..., post, pre)
    scale : number or Tensor (..., post)
    post : Tensor (..., factors, post), stages one after another
    pre : (..., factors, pre)
    share : Tensor (stages, 1), c of each stage; None where `post` is multiplied with it already
    buffer : Tensor as large as `post`, to be written over
    """

    base: CachedWeight
    scale: Coefficient
    post: Posts
    pre: CachedWeight
    share: Float[Tensor, "stages 1"] | None = None
    buffer: Posts | None = None

    def drive(self, pre: Float[Tensor, "*batch rows pre"]) -> Float[Tensor, "*batch rows post"]:
        """Pre W^T."""
        out, scale = self.base.drive(pre), self.scale
        if isinstance(scale, Tensor):
            out, scale = out.mul_(scale.unsqueeze(-2)), 1.0
        return add_product(out, scale, self._shared(self.pre.drive(pre)), self.post)

    def feedback(self, post: Float[Tensor, "*batch rows post"]) -> Float[Tensor, "*batch rows pre"]:
        """Post W."""
        through, scale = self._shared(post @ self.post.mT), self.scale
        if isinstance(scale, Tensor):
            post, scale = post * scale.unsqueeze(-2), 1.0
        return add_product(self.base.feedback(post), scale, through, self.pre.matrix)

    def dense(self) -> Matrix:
        """W itself."""
        return form(self.base.matrix, self.scale, self.shared_post(), self.pre.matrix)

    def shared_post(self) -> Posts:
        """The post factors, each times its share."""
        return self.post if self.share is None else times_stages(self.post, self.share, self.buffer)

    def _shared(self, through: Float[Tensor, "*batch rows factors"]) -> Float[Tensor, "*batch rows factors"]:
        """The products with each factor times the share of its stage, in place."""
        if self.share is not None:
            stages = len(self.share)
            through.view(*through.shape[:-1], stages, through.shape[-1] // stages).mul_(self.share)
        return through


def times_stages(post: Posts, share: Tensor, out: Posts | None = None) -> Posts:
    """The post factors times the shares of their stages, (stages, 1) or (..., stages, post)."""
    stages, (rows, n) = share.shape[-2], post.shape[-2:]
    by_stage = (*post.shape[:-2], stages, rows // stages, n)
    into = None if out is None else out.view(by_stage)
    return torch.mul(post.reshape(by_stage), share.unsqueeze(-2), out=into).reshape(post.shape)


def condensed(update: Update) -> Update:
    """The same update in as few rows as its matrix has at its shorter side, where that saves work: shared weights meet
    far more pairs of rows than they have elements.
    """
    post, pre = update.post, update.pre
    if post.shape[-2] <= post.shape[-1] + pre.shape[-1]:
        return update
    product = post.mT @ pre
    n_post, n_pre = product.shape[-2:]
    identity = torch.eye(min(n_post, n_pre), dtype=product.dtype, device=product.device)
    identity = identity.expand(*product.shape[:-2], *identity.shape)
    return Update(identity, product, update.decay) if n_post <= n_pre else Update(product.mT, identity, update.decay)


def stack_of_zeros(factor: Tensor, stages: int) -> Tensor:
    """A buffer for the factors of all stages, (..., stages x rows, n)."""
    return factor.new_zeros(*factor.shape[:-2], stages * factor.shape[-2], factor.shape[-1])


class StagedWeight:
    """One weight matrix during a step: W_0, and factors, decays, s and c of the stages so far.

    Parameters
    ----------
    slots : place of each stage in the buffers of factors; those used together should lie side by side
    """

    def __init__(self, slots: Sequence[int]) -> None:
        self.slots = slots
        self.rows: int | None = None
        self.post = self.pre = self.buffer = torch.empty(0, 0)

    def begin(self, base: CachedWeight) -> None:
        """Start a step from W_0."""
        self.base = base
        self.moving = False
        self.goal: Goal | None = None
        self.decays: list[Coefficient] = []
        self.scales: list[Coefficient] = [1.0]
        self.shares: list[list[Coefficient]] = [[]]
        self.kept = [1.0]

    def restart(self) -> None:
        """Forget all stages but the first."""
        del self.decays[1:], self.scales[1:], self.shares[1:], self.kept[1:]

    def push(self, update: Update | None, goal: Goal | None = None) -> None:
        """Take in what the field says of the stage at hand; None is a derivative of zero.

        `goal` is where the pre factor goes, where that is a trace of an input that stays.
        """
        stage = len(self.decays)
        slot = self.slots[stage]
        if update is None:
            self.decays.append(0.0)
            if self.rows is not None:
                slot_rows = slice(slot * self.rows, (slot + 1) * self.rows)
                self.post[..., slot_rows, :].zero_()
                self.pre[..., slot_rows, :].zero_()
            return
        few = condensed(update)
        goal = goal if few is update else None
        decay = few.decay
        self.decays.append(float(decay) if isinstance(decay, Tensor) and decay.dim() == 0 else decay)
        self.moving = True
        rows = few.post.shape[-2]  # 0 for a rule that is nothing but decay
        if self.rows is None:
            self.rows = rows
            self.post = stack_of_zeros(few.post, len(self.slots))
            self.pre = stack_of_zeros(few.pre, len(self.slots))
            self.buffer = torch.empty_like(self.post)
        elif rows != self.rows:
            raise ValueError(f"the updates of one weight must have the same rows all along: {self.rows}, then {rows}")
        slot_rows = slice(slot * rows, (slot + 1) * rows)
        self.post[..., slot_rows, :].copy_(few.post)
        self.pre[..., slot_rows, :].copy_(few.pre)
        if stage == 0 and goal is not None:
            self.goal = goal
            self.ends = CachedWeight(torch.cat([few.pre, goal[0].expand_as(few.pre)], -2), self.base.inputs)
        elif goal is not self.goal:
            self.goal = None

    def stage(self, row: Sequence[float], dt: float) -> Weight:
        """The weights of the next stage, a_ij in `row`."""
        scale, share = self.combine(row, dt, 1.0)
        self.scales.append(scale)
        self.shares.append(share)
        if self.goal is not None:
            self.kept.append(1.0 - dt / self.goal[1] * sum(a * q for a, q in zip(row, self.kept, strict=True)))
        return self.weight(scale, share)

    def weight(self, scale: Coefficient, share: Sequence[Coefficient]) -> Weight:
        """diag(scale) W_0 + sum_k (share_k * post_k)^T pre_k."""
        used = [self.slots[k] for k, c in enumerate(share) if isinstance(c, Tensor) or c != 0.0]
        if not self.moving or self.rows is None or not used:
            return self.base
        first, last = min(used), max(used) + 1
        rows = slice(first * self.rows, last * self.rows)
        post, pre = self.post[..., rows, :], self.pre[..., rows, :]
        stages = sorted(range(len(self.slots)), key=lambda k: self.slots[k])[first:last]
        by_slot: list[Coefficient] = [share[k] if k < len(share) else 0.0 for k in stages]
        vectors = [c for c in by_slot if isinstance(c, Tensor)]
        if vectors:
            full = [c if isinstance(c, Tensor) else torch.full_like(vectors[0], c) for c in by_slot]
            return FactoredWeight(self.base, scale, times_stages(post, torch.stack(full, -2)), CachedWeight(pre))
        numbers = self.base.matrix.new_tensor(by_slot)
        if self.goal is not None:
            kept = self.base.matrix.new_tensor([self.kept[k] if k < len(share) else 0.0 for k in stages])
            both = torch.stack([numbers * kept, numbers * (1.0 - kept)])
            two = (both @ post.reshape(*post.shape[:-2], len(stages), -1)).view(
                *post.shape[:-2], 2 * self.rows, post.shape[-1]
            )
            return FactoredWeight(self.base, scale, two, self.ends)
        buffer = self.buffer[..., rows, :]
        return FactoredWeight(self.base, scale, post, CachedWeight(pre), numbers.unsqueeze(-1), buffer)

    def combine(self, row: Sequence[float], dt: float, unit: float) -> tuple[Coefficient, list[Coefficient]]:
        """(s, c) of unit W_0 + dt sum_j row_j dW_j/dt over the stages so far."""
        if all(not isinstance(d, Tensor) and d == 0.0 for d in self.decays):
            return unit, [dt * a for a in row]
        scale: Coefficient = unit
        share: list[Coefficient] = [dt * a for a in row]
        for j, a in enumerate(row):
            if a != 0.0:
                decay = dt * a * self.decays[j]
                scale = scale - decay * self.scales[j]
                for k, c in enumerate(self.shares[j]):
                    share[k] = share[k] - decay * c
        return scale, share

"""The contrastive rule on two hidden layers as one writes it without the toolkit: torchdiffeq and diffrax.

Both streams, traces, biases, weights and the target generator are in the state, as in `ct.Network`; one batch is
shown for one tau. `Peer.run` returns the final state by the toolkit's names, so that results can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchdiffeq

import ctsigprop as ct

NAMES = ("r.1", "y.1", "x.1", "g.1", "b.1", "r.2", "y.2", "x.2", "g.2", "b.2", "W.1", "W.2", "S")
BETA, KAPPA, RATE, CLASSES = 10.0, 1.0, 1.0, 10
Batches = list[tuple[torch.Tensor, torch.Tensor]]


def batches(stimulus: ct.Presentations) -> Batches:
    """(inputs, one-hot labels) of every presentation, in order."""
    shown = [frame.at(frame.start) for frame in stimulus.frames(0.0, stimulus.duration_total)]
    return [(now.x, torch.nn.functional.one_hot(now.target, CLASSES).to(now.x)) for now in shown]  # type: ignore[arg-type]


def contrast(r: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Minus the gradient of a layer's cross-entropy between its streams."""
    h, z = r[: len(label)], r[len(label) :]
    norm_h, norm_z = h.norm(dim=1, keepdim=True), z.norm(dim=1, keepdim=True)
    u, v = h / (norm_h + KAPPA), z / (norm_z + KAPPA)
    p = torch.softmax(BETA * u @ v.T, 1) * label.sum(1, keepdim=True)
    e = BETA * (label - p) / len(label)
    gh, gz = e @ v, e.T @ u
    into_h = (gh - u * ((gh * u).sum(1, keepdim=True) * (norm_h + KAPPA) / norm_h.clamp_min(1e-30))) / (norm_h + KAPPA)
    into_z = (gz - v * ((gz * v).sum(1, keepdim=True) * (norm_z + KAPPA) / norm_z.clamp_min(1e-30))) / (norm_z + KAPPA)
    return torch.cat([into_h, into_z])


def slope_of(x: torch.Tensor, label: torch.Tensor) -> Callable[[Any, Any], Any]:
    """The right-hand side for torchdiffeq, a tuple of tensors."""
    n = len(x)
    softplus = torch.nn.functional.softplus

    def slope(_t: Any, state: Any) -> Any:
        r1, y1, x1, g1, b1, r2, y2, x2, g2, b2, w1, w2, s = state
        d1 = torch.cat([x @ w1.T + b1, s.T])
        d2 = r1 @ w2.T + b2
        post1, post2 = RATE * contrast(r1, y1) * g1, RATE * contrast(r2, y2) * g2
        return (
            *(softplus(d1) - r1, label - y1, x - x1, torch.sigmoid(d1) - g1, post1[:n].sum(0)),
            *(softplus(d2) - r2, y1 - y2, r1 - x2, torch.sigmoid(d2) - g2, post2.sum(0)),
            *(post1[:n].T @ x1, post2.T @ x2, post1[n:].T),
        )

    return slope


def by_torchdiffeq(state: ct.State, shown: Batches, rtol: float, atol: float) -> Callable[[], dict[str, torch.Tensor]]:
    """Dopri5, batch after batch."""

    def run() -> dict[str, torch.Tensor]:
        now = tuple(state[name] for name in NAMES)
        span = torch.tensor([0.0, 1.0])
        with torch.inference_mode():
            for x, label in shown:
                found = torchdiffeq.odeint(slope_of(x, label), now, span, method="dopri5", rtol=rtol, atol=atol)
                now = tuple(value[-1] for value in found)
        return dict(zip(NAMES, now, strict=True))

    return run


def slope_in_jax(relu: bool = False) -> Callable[[Any, Any, Any], Any]:
    """The same right-hand side for diffrax, of softplus or relu units; its last argument is what is shown."""
    import jax
    import jax.numpy as jnp

    def contrast_in_jax(r: Any, label: Any) -> Any:
        n = label.shape[0]
        h, z = r[:n], r[n:]
        norm_h, norm_z = (jnp.linalg.norm(part, axis=1, keepdims=True) for part in (h, z))
        u, v = h / (norm_h + KAPPA), z / (norm_z + KAPPA)
        p = jax.nn.softmax(BETA * u @ v.T, 1) * label.sum(1, keepdims=True)
        e = BETA * (label - p) / n
        found = []
        for g, a, norm in ((e @ v, u, norm_h), (e.T @ u, v, norm_z)):
            along = (g * a).sum(1, keepdims=True) * (norm + KAPPA) / jnp.maximum(norm, 1e-30)
            found.append((g - a * along) / (norm + KAPPA))
        return jnp.concatenate(found)

    def slope(_t: Any, now: Any, args: Any) -> Any:
        r1, y1, x1, g1, b1, r2, y2, x2, g2, b2, w1, w2, s = now
        x, label = args
        n = x.shape[0]
        phi, gain = (jax.nn.relu, lambda d: (d > 0) * 1.0) if relu else (jax.nn.softplus, jax.nn.sigmoid)
        d1 = jnp.concatenate([x @ w1.T + b1, s.T])
        d2 = r1 @ w2.T + b2
        post1, post2 = RATE * contrast_in_jax(r1, y1) * g1, RATE * contrast_in_jax(r2, y2) * g2
        return (
            *(phi(d1) - r1, label - y1, x - x1, gain(d1) - g1, post1[:n].sum(0)),
            *(phi(d2) - r2, y1 - y2, r1 - x2, gain(d2) - g2, post2.sum(0)),
            *(post1[:n].T @ x1, post2.T @ x2, post1[n:].T),
        )

    return slope


def by_diffrax(state: ct.State, shown: Batches, rtol: float, atol: float) -> Callable[[], dict[str, torch.Tensor]]:
    """Dopri5 under jit, batch after batch."""
    import diffrax
    import jax
    import jax.numpy as jnp

    slope = slope_in_jax()

    def through(now: Any, args: Any) -> Any:
        control = diffrax.PIDController(rtol=rtol, atol=atol)
        term, method = diffrax.ODETerm(slope), diffrax.Dopri5()
        sol = diffrax.diffeqsolve(term, method, 0.0, 1.0, None, now, args, stepsize_controller=control, max_steps=4096)
        return tuple(value[-1] for value in sol.ys)

    frame = jax.jit(through)
    start = tuple(jnp.asarray(state[name].numpy()) for name in NAMES)
    inputs = [(jnp.asarray(x.numpy()), jnp.asarray(label.numpy())) for x, label in shown]

    def run() -> dict[str, torch.Tensor]:
        now = start
        for args in inputs:
            now = frame(now, args)
        return {name: torch.tensor(jax.device_get(value)) for name, value in zip(NAMES, now, strict=True)}

    return run


def by_diffrax_euler(states: list[ct.State], stimulus: ct.Presentations, dt: float) -> Callable[[], Any]:
    """Euler's steps of relu units under jit through the one batch of a stimulus, from each of some states."""
    import diffrax
    import jax
    import jax.numpy as jnp

    ((x, label),) = batches(stimulus)
    args = (jnp.asarray(x.numpy()), jnp.asarray(label.numpy()))
    steps = round(stimulus.duration / dt)
    slope = slope_in_jax(relu=True)

    def solve(now: Any) -> Any:
        term, method = diffrax.ODETerm(slope), diffrax.Euler()
        sol = diffrax.diffeqsolve(term, method, 0.0, stimulus.duration, dt, now, args, max_steps=steps + 8)
        return tuple(value[-1] for value in sol.ys)

    start = tuple(jnp.stack([jnp.asarray(state[name].numpy()) for state in states]) for name in NAMES)
    every = jax.jit(jax.vmap(solve))
    if len(states) == 1:
        one = jax.jit(solve)
        return lambda: [value.block_until_ready() for value in one(tuple(value[0] for value in start))]
    return lambda: [value.block_until_ready() for value in every(start)]

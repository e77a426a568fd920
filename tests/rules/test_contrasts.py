"""Contrasts: their drives against autograd of the loss that each of them descends, with the two layers cut apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import ctsigprop as ct
from ctsigprop.rules.contrasts import Contrast
from ctsigprop.rules.table import CONTRASTS

Loss: TypeAlias = Callable[[Contrast, Tensor, Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-<sum_j y_j log p_j>, the mean over samples."""
    return -(y * torch.log_softmax(logits, -1)).sum(-1).mean(-1).sum()


def cosine_loss(contrast: Contrast, h: Tensor, z: Tensor, y: Tensor) -> Tensor:
    assert isinstance(contrast, ct.rules.SoftmaxCosine)
    u = h / ((h * h).sum(-1, keepdim=True).sqrt() + contrast.kappa)
    v = z / ((z * z).sum(-1, keepdim=True).sqrt() + contrast.kappa)
    return cross_entropy(contrast.beta * u @ v.mT, y)


def dot_loss(contrast: Contrast, h: Tensor, z: Tensor, y: Tensor) -> Tensor:
    assert isinstance(contrast, ct.rules.DotProduct)
    return cross_entropy(contrast.beta * h @ z.mT, y)


def difference_loss(contrast: Contrast, h: Tensor, z: Tensor, y: Tensor) -> Tensor:
    """<sum_j y_j |v_j - u|^2> / 2, the targets constant."""
    assert isinstance(contrast, ct.rules.Difference)
    z = z.detach()
    if contrast.kappa is not None:
        h, z = (a / ((a * a).sum(-1, keepdim=True).sqrt() + contrast.kappa) for a in (h, z))
    gaps = (h.unsqueeze(-2) - z.unsqueeze(-3)).square().sum(-1)
    return 0.5 * (y * gaps).sum(-1).mean(-1).sum()


LOSSES: list[tuple[Contrast, Loss]] = [
    (ct.rules.SoftmaxCosine(), cosine_loss),
    (ct.rules.SoftmaxCosine(beta=20.0, kappa=0.01), cosine_loss),
    (ct.rules.SoftmaxCosine(beta=0.3, kappa=5.0), cosine_loss),
    (ct.rules.DotProduct(), dot_loss),
    (ct.rules.DotProduct(beta=2.0), dot_loss),
    (ct.rules.Difference(), difference_loss),
    (ct.rules.Difference(kappa=0.05), difference_loss),
    (ct.rules.Difference(kappa=None), difference_loss),
]
BATCHES = [(), (3,), (2, 3)]


def streams(batch: tuple[int, ...] = (), seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """h (5, 7), z (4, 7), and labels y (5, 4): full, still arriving, and one empty row."""
    random = torch.Generator().manual_seed(seed)
    h = torch.rand(*batch, 5, 7, generator=random, dtype=dtype)
    z = torch.randn(*batch, 4, 7, generator=random, dtype=dtype)
    y = torch.eye(4, dtype=dtype)[torch.randint(4, (*batch, 5), generator=random)]
    presence = torch.tensor([1.0, 0.6, 1.0, 0.0, 0.2], dtype=dtype)
    return h, z, y * presence[:, None]


def descent(loss: Loss, contrast: Contrast, h: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the gradient of the loss in h and z, by autograd."""
    h, z = h.clone().requires_grad_(), z.clone().requires_grad_()
    at_h, at_z = torch.autograd.grad(loss(contrast, h, z, y), (h, z), allow_unused=True)
    return -at_h, torch.zeros_like(z) if at_z is None else -at_z


def test_every_contrast_has_a_loss_here() -> None:
    assert {type(contrast) for contrast, _ in LOSSES} == set(CONTRASTS.values())


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize(("contrast", "loss"), LOSSES)
def test_drives_are_minus_the_gradient_of_the_own_loss(contrast: Contrast, loss: Loss, batch: tuple[int, ...]) -> None:
    h, z, y = streams(batch)
    for mine, autograd in zip(contrast.drives(h, z, y), descent(loss, contrast, h, z, y), strict=True):
        scale = autograd.norm().clamp_min(1e-12)
        assert float((mine - autograd).norm() / scale) <= 1e-6


@given(
    seed=st.integers(0, 2**16),
    beta=st.floats(0.01, 50.0),
    kappa=st.floats(1e-3, 10.0),
    scale=st.floats(1e-3, 1e3),
)
def test_the_cosine_gradient_holds_for_all_constants(seed: int, beta: float, kappa: float, scale: float) -> None:
    contrast = ct.rules.SoftmaxCosine(beta=beta, kappa=kappa)
    h, z, y = streams(seed=seed)
    h = scale * h
    for mine, autograd in zip(contrast.drives(h, z, y), descent(cosine_loss, contrast, h, z, y), strict=True):
        assert float((mine - autograd).norm()) <= 1e-9 * float(autograd.norm()) + 1e-13


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("contrast", "loss"), LOSSES)
def test_rows_at_rest_give_finite_drives(contrast: Contrast, loss: Loss, dtype: torch.dtype) -> None:
    h, z, y = streams(dtype=dtype)
    h[1], z[2] = 0.0, 0.0
    for both in (contrast.drives(h, z, y), contrast.drives(torch.zeros_like(h), torch.zeros_like(z), y)):
        assert all(bool(torch.isfinite(delta).all()) for delta in both)


def test_the_drive_of_a_row_at_rest_is_the_limit_of_small_activity() -> None:
    contrast = ct.rules.SoftmaxCosine(beta=3.0, kappa=0.5)
    h, z, y = streams()
    direction = h[1].clone()
    h[1] = 0.0
    at_rest = contrast.drives(h, z, y)
    h[1] = 1e-9 * direction
    for rest, near in zip(at_rest, contrast.drives(h, z, y), strict=True):
        torch.testing.assert_close(rest, near, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("contrast", "loss"), LOSSES)
def test_an_empty_row_teaches_nothing_by_any_contrast(contrast: Contrast, loss: Loss) -> None:
    h, z, y = streams()
    delta_h, delta_z = contrast.drives(h, z, y)
    assert not delta_h[3].any()
    h[3] = 100.0
    torch.testing.assert_close(contrast.drives(h, z, y)[1], delta_z, rtol=0, atol=0)


@pytest.mark.parametrize(("contrast", "loss"), LOSSES)
def test_an_ensemble_equals_its_members(contrast: Contrast, loss: Loss) -> None:
    h, z, y = streams((2, 3))
    together = (*contrast.drives(h, z, y), contrast.similarity(h, z))
    for i in range(2):
        for j in range(3):
            alone = (*contrast.drives(h[i, j], z[i, j], y[i, j]), contrast.similarity(h[i, j], z[i, j]))
            for one, all_of_them in zip(alone, together, strict=True):
                torch.testing.assert_close(all_of_them[i, j], one, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("contrast", "loss"), LOSSES)
def test_inputs_are_not_changed(contrast: Contrast, loss: Loss) -> None:
    given_streams = streams()
    copies = [value.clone() for value in given_streams]
    contrast.drives(*given_streams)
    contrast.similarity(given_streams[0], given_streams[1])
    assert all(torch.equal(a, b) for a, b in zip(given_streams, copies, strict=True))


@pytest.mark.parametrize(("contrast", "loss"), LOSSES)
def test_the_most_similar_target_is_the_one_of_the_smallest_loss(contrast: Contrast, loss: Loss) -> None:
    h, z, _ = streams()
    best = contrast.similarity(h, z).argmax(-1)
    for i in range(len(h)):
        losses = [float(loss(contrast, h[i : i + 1], z, torch.eye(4, dtype=h.dtype)[j : j + 1])) for j in range(4)]
        assert losses[int(best[i])] == pytest.approx(min(losses), rel=1e-12)


@pytest.mark.parametrize(("contrast", "loss"), LOSSES)
def test_a_small_step_along_the_drives_lowers_the_loss(contrast: Contrast, loss: Loss) -> None:
    h, z, y = streams()
    delta_h, delta_z = contrast.drives(h, z, y)
    assert float(loss(contrast, h + 1e-3 * delta_h, z + 1e-3 * delta_z, y)) < float(loss(contrast, h, z, y))


@pytest.mark.parametrize("contrast", [ct.rules.SoftmaxCosine(beta=4.0), ct.rules.DotProduct(beta=2.0)])
def test_a_target_without_weight_is_no_rival(contrast: Contrast) -> None:
    h, z, y = streams()
    y[:, 1] = 0.0
    others = [0, 2, 3]
    delta_h, delta_z = contrast.drives(h, z, y, torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=h.dtype))
    without_h, without_z = contrast.drives(h, z[others], y[:, others])
    torch.testing.assert_close(delta_h, without_h, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(delta_z[others], without_z, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(delta_z[1], torch.zeros_like(delta_z[1]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("contrast", [ct.rules.SoftmaxCosine(beta=4.0), ct.rules.DotProduct(beta=2.0)])
def test_a_rival_of_weight_two_counts_as_two(contrast: Contrast) -> None:
    h, z, y = streams()
    y[:, 1] = 0.0
    delta_h, _ = contrast.drives(h, z, y, torch.tensor([[1.0, 2.0, 1.0, 1.0]], dtype=h.dtype))
    twice = [0, 1, 1, 2, 3]
    expected, _ = contrast.drives(h, z[twice], y[:, twice])
    torch.testing.assert_close(delta_h, expected, rtol=1e-12, atol=1e-14)


def test_difference_pulls_each_sample_to_its_own_target() -> None:
    h, z, _ = streams()
    y = torch.eye(4, dtype=h.dtype)[[2, 0, 0, 3, 1]]
    delta_h, delta_z = ct.rules.Difference(kappa=None).drives(h, z, y)
    torch.testing.assert_close(h + len(h) * delta_h, z[[2, 0, 0, 3, 1]])
    assert not delta_z.any()

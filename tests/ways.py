"""A run in place beside the plain one."""

from __future__ import annotations

from typing import Any

import pytest

import ctsigprop as ct


def in_place_and_not(monkeypatch: pytest.MonkeyPatch, kind: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """The same run twice; the first must take steps of this kind, the second takes none of any."""
    taken: list[Any] = []
    original = kind.step

    def step(self: Any, *times: float) -> Any:
        taken.append(self)
        return original(self, *times)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "step", step)
        fast = ct.simulate(*args, **kwargs, execution="inplace")
    assert taken
    return fast, ct.simulate(*args, **kwargs, execution="plain")


def ended_alike(fast: ct.Solution, plain: ct.Solution) -> None:
    """Both ended in the same way after as much work."""
    assert fast.status is plain.status
    assert fast.message == plain.message
    assert {key: fast.stats[key] for key in ("steps", "rhs_evaluations")} == {
        key: plain.stats[key] for key in ("steps", "rhs_evaluations")
    }

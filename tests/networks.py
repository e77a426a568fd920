"""Small networks, and what they are shown, that several test files share."""

from __future__ import annotations

from typing import Any

import numpy as np

import ctsigprop as ct
from ctsigprop.rules.table import RULES

SIZES, CLASSES = (4, 5, 3), 3
X = np.random.default_rng(0).standard_normal((5, SIZES[0]))
Y = np.arange(5) % CLASSES
SPIKE_SIZES = (6, 8, 5)
SPIKE_X = np.random.default_rng(0).uniform(0.0, 1.0, (7, SPIKE_SIZES[0]))
SPIKE_Y = np.arange(7) % CLASSES


def needs_spikes(rule: ct.rules.Rule) -> bool:
    """Whether a rule asks for spikes or potentials."""
    return rule.jumps or rule.potential or rule.of_voltage


OF_RATES = {name: rule() for name, rule in RULES.items() if not needs_spikes(rule())}
"""Rules of the table that learn from rates."""


def rates(rule: Any, signal: Any = None, neuron: Any = "tanh", **settings: Any) -> ct.Network:
    """Two layers of rates in a target stream, or under another signal."""
    unit = ct.Rate(activation=neuron) if isinstance(neuron, str) else neuron
    return ct.Network(SIZES, CLASSES, neuron=unit, signal=signal or ct.TargetStream(), rule=rule, **settings)


def shown(x: Any = X, y: Any = Y, batch: int = 3, **settings: Any) -> ct.Presentations:
    """Two presentations an epoch, the second one with an empty row."""
    return ct.Presentations(x, y, batch, **{"duration": 0.6, **settings})


def spiking(neuron: Any, rule: Any, signal: bool = True) -> ct.Network:
    """Two layers that spike, in a target stream or without."""
    stream = ct.TargetStream() if signal else None
    return ct.Network(SPIKE_SIZES, CLASSES, neuron=neuron, signal=stream, rule=rule)


def currents(dtype: type[np.floating[Any]] = np.float64, **settings: Any) -> ct.Presentations:
    """Constant currents that make units spike: three presentations an epoch, the last one with empty rows."""
    return shown((SPIKE_X * 3).astype(dtype), SPIKE_Y, **{"duration": 3.0, **settings})


def spikes(encoder: Any, dtype: type[np.floating[Any]] = np.float64, **settings: Any) -> ct.Presentations:
    """Trains of spikes, likewise."""
    return shown(SPIKE_X.astype(dtype), SPIKE_Y, **{"duration": 3.0, "encoder": encoder, **settings})

"""Names of everything of ours that can stand in a configuration, as fingerprints have them: a class may move to another
module, but keeps its name here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import FunctionType

from ctsigprop.batch.job import Budget, StopBelow
from ctsigprop.batch.measures import METRICS, Measures, Test
from ctsigprop.batch.parts import ENCODERS, NEURONS
from ctsigprop.model.convolution import Conv2d, Map
from ctsigprop.model.layer import Layer
from ctsigprop.model.network import Network
from ctsigprop.model.synapses import Convolution, Dense
from ctsigprop.neurons.activations import Activation
from ctsigprop.rules.base import Scaled, Sum
from ctsigprop.rules.custom import hebbian
from ctsigprop.rules.table import CONTRASTS, RULES
from ctsigprop.rules.three_factor import Reward
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.table import SOLVERS
from ctsigprop.stimuli.encoders import Listed
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.spike_trains import SpikeTrains
from ctsigprop.stimuli.stimulus import Continuous

Named = type | FunctionType
KINDS: dict[str, Mapping[str, Callable[..., object]]] = {
    "rules": RULES,
    "contrasts": CONTRASTS,
    "solvers": SOLVERS,
    "signals": SIGNALS,
    "metrics": METRICS,
    "neurons": NEURONS,
    "encoders": ENCODERS,
    "stimuli": {"function": Continuous, "presentations": Presentations, "spike_trains": SpikeTrains},
    "parts": {
        "activation": Activation,
        "budget": Budget,
        "conv2d": Conv2d,
        "convolution": Convolution,
        "dense": Dense,
        "hebbian": hebbian,
        "hopeless": StopBelow,
        "layer": Layer,
        "listed": Listed,
        "map": Map,
        "measures": Measures,
        "network": Network,
        "reward": Reward,
        "scaled": Scaled,
        "sum": Sum,
        "test": Test,
    },
}
IDENTITIES = {f"{kind}/{name}": thing for kind, table in KINDS.items() for name, thing in table.items()}
NAMES: dict[object, str] = {thing: name for name, thing in IDENTITIES.items()}

REVISIONS: dict[str, int] = {
    "rules/bounded": 2,
    "solvers/adaptive_heun": 2,
    "solvers/bosh3": 2,
    "solvers/dopri5": 2,
    "solvers/dopri8": 2,
    "solvers/event_driven": 2,
    "solvers/fehlberg2": 2,
}
"""How often the numbers that something gives have changed for the same settings, where they have: whoever changes an
equation or a method counts it up here, and stored runs with it are done again.
"""

SETTINGS: dict[type, tuple[str, ...]] = {
    Presentations: ("x", "y", "batch_size", "duration", "epochs", "seed", "gate", "shuffle", "encoder", "device"),
    Continuous: ("x", "context", "duration_total", "gate", "switches", "device"),
    SpikeTrains: ("events", "duration_total", "y", "dtype"),
}
"""What decides an object that is no dataclass; all else in it follows from these."""


def identity(thing: Named) -> str:
    """The name of a class or function of ours, with its revision; of one that has none here, what it is called."""
    name = NAMES.get(thing)
    return thing.__qualname__ if name is None else f"{name} {REVISIONS.get(name, 1)}"


def settings(value: object) -> dict[str, object] | None:
    """What decides an object of ours, or None: what it is made of."""
    if type(value) is Network:
        layers = value.layers
        parts = {"neurons": [layer.neuron for layer in layers], "rules": [layer.rule for layer in layers]}
        common = {"n_classes": value.n_classes, "signal": value.signal, "bias": value.bias}
        return {"sizes": value.structure, **common, **parts}
    if type(value) in SETTINGS:
        return {name: getattr(value, name) for name in SETTINGS[type(value)]}
    return compared(value) if type(value) in NAMES else None


def compared(value: object) -> dict[str, object] | None:
    """The fields of a dataclass that count when two are compared; None of anything else."""
    if isinstance(value, type) or not dataclasses.is_dataclass(value):
        return None
    return {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.compare}

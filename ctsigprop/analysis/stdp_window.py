"""The window of a spike-timing rule, measured by simulation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from ctsigprop.model.network import Network
from ctsigprop.neurons.integrate_and_fire import LIF
from ctsigprop.rules.base import Rule
from ctsigprop.simulation.simulate import simulate
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.spiking.event_driven import EventDriven
from ctsigprop.stimuli.spike_trains import SpikeTrains

STRONG = 50.0
"""Weight, in units of the threshold, of the input that makes the unit spike."""


def stdp_window(rule: Rule, intervals: Sequence[float] | None = None, solver: Solver | None = None) -> xr.DataArray:
    """Weight change from one pair of spikes, against the interval from the presynaptic to the postsynaptic spike.

    One LIF unit spikes once. Each interval has its own presynaptic unit, whose weight is 0 at the start.

    Parameters
    ----------
    rule : a rule that acts at spikes, such as `STDP()` or a bounded one
    intervals : time of the postsynaptic spike minus that of the presynaptic one, in units of time; default 81 evenly
        spaced values, up to three times the longest time constant of the rule's traces on either side
    solver : default `EventDriven()`

    Returns
    -------
    xarray.DataArray of the change in weight, dimension `interval`

    Raises
    ------
    TypeError, ValueError : a rule that does not act at spikes, intervals that are not finite
    """
    if not isinstance(rule, Rule) or not rule.jumps:
        raise TypeError(f"stdp_window measures a rule that acts at spikes, such as ct.rules.STDP(), got {rule!r}")
    longest = max(trace.tau for trace in rule.spike_traces().values())
    default = np.linspace(-3 * longest, 3 * longest, 81)
    times = default if intervals is None else np.asarray(intervals, dtype=float)
    if times.ndim != 1 or not len(times) or not np.all(np.isfinite(times)):
        raise ValueError(f"intervals must be a list of finite times, got {intervals!r}")
    middle = float(np.abs(times).max()) + longest
    network = Network([len(times) + 1, 1], neuron=LIF(tau=longest, reset=0.0), rule=rule, bias=False)
    start = network.initial_state(dtype=torch.float64)
    weights = torch.zeros(1, len(times) + 1, dtype=torch.float64)
    weights[0, -1] = STRONG
    trains = SpikeTrains([*([middle - s] for s in times.tolist()), [middle]], 2 * middle, dtype=torch.float64)
    final = simulate(network, trains, solver or EventDriven(), state=start.replace({"W.1": weights})).final
    change = (final["W.1"] - weights)[0, :-1].numpy()
    about = {"long_name": "interval, post less pre", "units": "units of time"}
    return xr.DataArray(
        change,
        dims=["interval"],
        coords={"interval": ("interval", times, about)},
        name="change",
        attrs={"long_name": "change in weight", "rule": repr(rule)},
    )

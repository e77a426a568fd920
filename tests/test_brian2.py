"""The same LIF network with STDP in Brian2, with the same input spikes, on the same grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ctsigprop as ct

Array = NDArray[np.float64]
INPUTS, UNITS, STEPS, DT, TAU = 12, 5, 2000, 0.1, 10.0
RULE = ct.rules.STDP(rate=0.02, a_plus=1.0, a_minus=1.1, tau_plus=16.0, tau_minus=24.0)


def brian2() -> Any:
    """Brian2, or a skip with the reason."""
    try:
        import brian2
    except ImportError:
        pytest.skip("brian2 is not installed: pip install 'ctsigprop[bench]'")
    except AttributeError as error:  # releases that use what newer numpy does not have
        pytest.skip(f"the installed brian2 does not go with numpy {np.__version__}: {error}")
    return brian2


def trains() -> list[list[float]]:
    """Input spikes on the grid, in ms."""
    random = np.random.default_rng(5)
    return [(DT * (1 + np.flatnonzero(random.random(STEPS) < 0.02))).tolist() for _ in range(INPUTS)]


def weights() -> Array:
    return np.random.default_rng(6).uniform(0.1, 0.5, (UNITS, INPUTS))


def by_brian2(b: Any) -> tuple[list[Array], Array]:
    """Spike times of each unit, weights at the end; a step is flow, then input spikes, threshold and reset."""
    b.prefs.codegen.target = "numpy"
    b.start_scope()
    b.defaultclock.dt = DT * b.ms
    schedule = ["start", "groups", "inputs", "synapses", "thresholds", "resets", "end"]
    b.magic_network.schedule = schedule
    indices = np.concatenate([np.full(len(train), k) for k, train in enumerate(trains())])
    times = np.concatenate(trains())
    source = b.SpikeGeneratorGroup(INPUTS, indices, (times - DT) * b.ms, when="inputs")
    units = b.NeuronGroup(
        UNITS, "dv/dt = -v / tau : 1", threshold="v >= 1", reset="v = 0", method="exact", namespace={"tau": TAU * b.ms}
    )
    model = """w : 1
    last : second
    dx/dt = -x / taup : 1 (event-driven)
    dy/dt = -y / taum : 1 (event-driven)"""
    space = {
        "taup": RULE.tau_plus * b.ms,
        "taum": RULE.tau_minus * b.ms,
        "up": RULE.rate * RULE.a_plus,
        "down": RULE.rate * RULE.a_minus,
    }
    synapses = b.Synapses(
        source,
        units,
        model,
        on_pre="v_post += w\nw -= down * y\nx += 1\nlast = t",
        on_post="w += up * (x - int(last == t))\ny += 1",
        namespace=space,
    )
    synapses.connect()
    synapses.w[:] = weights().T.ravel()
    synapses.last[:] = -1 * b.second  # spikes of the same instant do not pair
    synapses.pre.when = "synapses"
    synapses.post.when = "resets"
    synapses.post.order = 1
    heard = b.SpikeMonitor(units)
    b.run(STEPS * DT * b.ms)
    found = [np.asarray(heard.spike_trains()[k] / b.ms) + DT for k in range(UNITS)]
    return found, np.asarray(synapses.w[:]).reshape(INPUTS, UNITS).T


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of pyparsing, at every call from brian2
def test_spike_times_and_weights_are_those_of_brian2() -> None:
    b = brian2()
    expected, w = by_brian2(b)
    network = ct.Network([INPUTS, UNITS], neuron=ct.LIF(tau=TAU, reset=0.0), rule=RULE, bias=False)
    state = network.initial_state(dtype=torch.float64).replace({"W.1": torch.from_numpy(weights())})
    stimulus = ct.SpikeTrains(trains(), STEPS * DT, dtype=torch.float64)
    probe = ct.Probe("spikes", every=DT)
    sol = ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=DT), state=state, probes=[probe])
    spikes = sol.dataset["spikes"].values[:, 0, 0]
    clock = sol.dataset["time"].values
    assert sum(map(len, expected)) > 50
    for k in range(UNITS):
        np.testing.assert_allclose(clock[spikes[:, k] > 0], expected[k], rtol=0, atol=1e-6)
    np.testing.assert_allclose(sol.final["W.1"].numpy(), w, rtol=0, atol=1e-6)
    assert float(np.abs(w - weights()).max()) > 0.05

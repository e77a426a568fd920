"""Brian2 and Nengo for `stdp.py` and `compiled.py`, as their users write these networks.

What a call returns carries the time of its run alone: Brian2 generates code before every run and Nengo builds a model
first, and both are left out. Brian2 runs in runtime mode, through Cython where a compiler is found; it and Nengo count
in float64, the others in float32. `brian2` and `nengo` raise ImportError where they cannot be used.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from report import Spent  # type: ignore[import-not-found]  # it stands beside this script

Array = NDArray[np.float64]


def brian2() -> Any:
    """The module; releases up to 2.9 ask numpy for what 2.4 no longer has."""
    try:
        import brian2 as b
    except AttributeError as error:
        raise ImportError(f"the installed brian2 does not go with numpy {np.__version__}: {error}") from error
    gc.collect()  # names of earlier groups are free again, so that the generated code is found in the cache
    return b


def nengo() -> Any:
    import nengo as n

    return n


def timed_run(b: Any, network: Any, duration: Any) -> float:
    """Milliseconds of the steps themselves, by Brian2's own report of its progress."""
    spent: list[float] = []
    network.run(duration, report=lambda elapsed, *_: spent.append(1e3 * float(elapsed)), report_period=1e6 * b.second)
    return spent[-1]


def copies(batch: int, pre: int, post: int) -> dict[str, Array]:
    """All to all within each of the copies."""
    copy, i, j = (index.ravel() for index in np.indices((batch, pre, post)))
    return {"i": copy * pre + i, "j": copy * post + j}


def stdp_by_brian2(
    weights: tuple[torch.Tensor, torch.Tensor],
    batch: int,
    steps: int,
    p: float,
    tau: float,
    tau_stdp: float,
    rate: float,
) -> Spent:
    """Mean spikes of both layers after steps of 1 ms.

    A batch that shares its weights is foreign to Brian2: here it is as many copies, each with weights of its own, in
    one group and one `Synapses`. Traces belong to the neurons: kept at the synapses, as event-driven variables, they
    take 1.7 times as long alone and 3 times at batch 64. A step is flow, input spikes, threshold and reset as in the
    other ways, but spikes of the hidden layer reach the output a step later.
    """
    b = brian2()
    w1, w2 = (w.double().numpy() for w in weights)
    (hidden, inputs), outputs = w1.shape, len(w2)
    b.defaultclock.dt = 1.0 * b.ms
    space = {"tau": tau * b.ms, "taus": tau_stdp * b.ms, "up": rate, "down": 1.05 * rate, "p": p}
    trace = "dx/dt = -x / taus : 1"
    spiking = {"threshold": "rand() < p", "reset": "x += 1", "method": "exact", "namespace": space}
    source = b.NeuronGroup(batch * inputs, trace, **spiking)
    source.thresholder["spike"].when = "inputs"
    source.resetter["spike"].when = "end"  # spikes of the same instant do not pair
    flow = "dv/dt = -v / tau : 1"
    neuron = {"threshold": "v >= 1", "method": "exact", "namespace": space}
    first = b.NeuronGroup(batch * hidden, f"{flow}\n{trace}", reset="v = 0\nx += 1", **neuron)
    second = b.NeuronGroup(batch * outputs, flow, reset="v = 0", **neuron)
    before, after = "v_post += w\nw -= down * x_post", "w += up * x_pre"
    learned = b.Synapses(source, first, "w : 1", on_pre=before, on_post=after, namespace=space)
    learned.connect(**copies(batch, inputs, hidden))
    learned.w[:] = np.tile(w1.T.ravel(), batch)
    learned.pre.when, learned.post.when, learned.post.order = "synapses", "resets", 1
    fixed = b.Synapses(first, second, "w : 1", on_pre="v_post += w")
    fixed.connect(**copies(batch, hidden, outputs))
    fixed.w[:] = np.tile(w2.T.ravel(), batch)
    heard = [b.SpikeMonitor(group, record=False) for group in (first, second)]
    network = b.Network(source, first, second, learned, fixed, *heard)
    network.schedule = ["start", "groups", "inputs", "synapses", "thresholds", "resets", "end"]
    b.seed(1)
    ms = timed_run(b, network, steps * b.ms)
    n1, n2 = (float(np.asarray(monitor.count[:]).mean()) for monitor in heard)
    return Spent(ms, (n1, n2))


def oja_by_brian2(weights: torch.Tensor, x: torch.Tensor, dt: float, hold: int, rate: float) -> Spent:
    """The weights at the end; rates are summed variables of the synapses, and a tau is a second."""
    b = brian2()
    w = weights.double().numpy()
    b.defaultclock.dt = dt * b.second
    shown = b.TimedArray(x.double().numpy(), dt=hold * dt * b.second)
    source = b.NeuronGroup(w.shape[1], "x : 1", namespace={"shown": shown})
    source.run_regularly("x = shown(t, i)", dt=hold * dt * b.second)
    units = b.NeuronGroup(
        w.shape[0], "drive : 1\ndr/dt = (drive - r) / tau : 1", method="euler", namespace={"tau": 1.0 * b.second}
    )
    model = """dw/dt = rate * r_post * (x_pre - r_post * w) : 1 (clock-driven)
    drive_post = w * x_pre : 1 (summed)"""
    synapses = b.Synapses(source, units, model, method="euler", namespace={"rate": rate * b.Hz})
    synapses.connect()
    synapses.w[:] = w.T.ravel()
    units.state_updater.order = 1  # weights learn from the activities before the step
    network = b.Network(source, units, synapses)
    ms = timed_run(b, network, len(x) * hold * dt * b.second)
    return Spent(ms, np.asarray(synapses.w[:]).reshape(w.T.shape).T)


class OjaByNengo:
    """The weights at the end, of one model that is reset before every run.

    Nengo has no linear neuron to learn on, so a rectified one is told not to cut. The filter of the connection is the
    equation of the activity and steps by Euler too; a tau is a second.
    """

    def __init__(self, weights: torch.Tensor, x: torch.Tensor, dt: float, hold: int, rate: float) -> None:
        n = nengo()
        post, pre = weights.shape

        def step(self: Any, dt: float, J: Any, output: Any) -> None:
            output[...] = J

        linear = type("Linear", (n.RectifiedLinear,), {"negative": True, "step": step})()
        with n.Network(seed=0) as model:
            stimulus = n.Node(n.processes.PresentInput(x.double().numpy(), presentation_time=hold * dt))
            inputs, units = (
                n.Ensemble(size, 1, gain=np.ones(size), bias=np.zeros(size), neuron_type=linear) for size in (pre, post)
            )
            n.Connection(stimulus, inputs.neurons, synapse=None)
            self.connection = n.Connection(
                inputs.neurons,
                units.neurons,
                transform=weights.double().numpy(),
                synapse=n.LinearFilter([1.0], [1.0, 1.0], method="euler"),
                learning_rule_type=n.Oja(learning_rate=rate, pre_synapse=None, post_synapse=None),
            )
        self.steps = len(x) * hold
        self.simulator = n.Simulator(model, dt=dt, progress_bar=False)

    def __call__(self) -> Spent:
        self.simulator.reset()
        began = time.perf_counter()
        self.simulator.run_steps(self.steps, progress_bar=False)
        ms = 1e3 * (time.perf_counter() - began)
        return Spent(ms, self.simulator.signals[self.simulator.model.sig[self.connection]["weights"]].copy())

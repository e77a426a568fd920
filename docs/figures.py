"""Every figure of the site, drawn from runs made here. `python docs/figures.py FOLDER` draws them by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ctsigprop as ct


def digits() -> tuple[ct.Network, ct.Solution]:
    """A network that learns digits, with all that the plots show."""
    data = ct.datasets.digits(seed=0)
    net = ct.Network([64, 128, 128], n_classes=10, signal=ct.TargetStream(), rule=ct.rules.ContrastiveHebbian(rate=4.0))
    stim = ct.Presentations(data.x_train, data.y_train, batch_size=64, duration=1.0, epochs=5, seed=0)
    probes = [
        ct.Probe("weights", every=1.0),
        ct.Probe("rates", every=1.0),
        ct.Probe("traces", times=np.arange(0, 20.1, 0.25), select={"row": [0]}),
        ct.Probe(lambda s: net.score(s, data.x_test, data.y_test), every=11.5, name="accuracy"),
        ct.Probe(lambda s: ct.alignment(s, data.x_test, data.y_test, net), every=11.5, name="alignment"),
    ]
    return net, ct.simulate(net, stim, ct.solvers.Euler(dt=1.0), probes=probes, seed=0)


def oja() -> tuple[ct.Solution, ct.Presentations]:
    """Oja's rule in two dimensions."""
    x = np.random.default_rng(1).standard_normal((300, 2)) @ np.array([[1.5, 0.8], [0.0, 0.5]])
    net = ct.Network([2, 1], neuron=ct.Rate(activation="linear"), rule=ct.rules.Oja(rate=0.1), bias=False)
    stim = ct.Presentations(x, None, batch_size=300, duration=80.0)
    start = net.initial_state(rows=300, dtype=torch.float64)
    start = start.replace({"W.1": torch.tensor([[-0.5, 1.2]], dtype=torch.float64)})
    return ct.simulate(net, stim, state=start, probes=[ct.Probe("weights", every=0.5)]), stim


def overlap() -> Axes:
    """Accuracy against presentation time, with and without traces."""
    data = ct.datasets.digits(seed=0)
    durations = [1.0, 2.0, 4.0, 8.0]
    _, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for traces, label in ((False, "same instant"), (True, "matched traces")):
        found = []
        for duration in durations:
            rule = ct.rules.ContrastiveHebbian(rate=4.0 / duration, traces=traces)
            net = ct.Network([64, 128, 128], n_classes=10, signal=ct.TargetStream(), rule=rule)
            stim = ct.Presentations(data.x_train, data.y_train, 64, duration=duration, epochs=3)
            final = ct.simulate(net, stim, ct.solvers.FactoredEuler(dt=0.5)).final
            found.append(net.score(final, data.x_test, data.y_test))
        ax.plot(durations, found, marker="o", label=label)
    ax.set(xlabel="presentation time (tau)", ylabel="accuracy on test images", title="Digits, 3 epochs")
    ax.legend()
    return ax


def spiking() -> ct.Solution:
    """Leaky integrate-and-fire units under the surrogate rule, recorded at every spike."""
    x = torch.rand(6, 20, generator=torch.Generator().manual_seed(0))
    net = ct.Network([20, 24, 8], 3, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
    stim = ct.Presentations(x, torch.arange(6) % 3, 2, duration=5.0)
    return ct.simulate(net, stim, probes=[ct.Probe("spikes", every=0.05), ct.Probe("voltages", every=0.05)])


def batches() -> tuple[ct.Runs, ct.Runs]:
    """A comparison and a sweep on digits."""
    data = ct.datasets.digits(seed=0)
    stim = ct.Presentations(data.x_train, data.y_train, batch_size=64, epochs=3)
    common = {"test": (data.x_test, data.y_test), "solver": ct.solvers.Euler(dt=1.0), "n_jobs": 1}

    def build(rate: float, traces: bool = True) -> ct.Network:
        rule = ct.rules.ContrastiveHebbian(rate=rate, traces=traces)
        return ct.Network([64, 64], n_classes=10, signal=ct.TargetStream(), rule=rule)

    pair = {"traces": build(4.0), "no traces": build(4.0, traces=False)}
    compared = ct.compare(pair, stim, seeds=5, **common)
    return compared, ct.sweep(build, {"rate": [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]}, stim, seeds=3, **common)


def draw_all(folder: Path) -> None:
    """Write every figure to a folder."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context():
        mpl.use("Agg")
        plt.style.use(ct.plot.STYLE)
        net, sol = digits()
        flat, plane = oja()
        compared, swept = batches()
        spikes, window = spiking(), ct.stdp_window(ct.rules.STDP())
        p = ct.plot
        figures: dict[str, Callable[[], Axes | Figure]] = {
            "weights": lambda: p.weights(sol),
            "matrix_before": lambda: p.weight_matrix(sol, show="before"),
            "matrix_after": lambda: p.weight_matrix(sol, show="after"),
            "matrix_difference": lambda: p.weight_matrix(sol, show="difference"),
            "histogram": lambda: p.weight_histogram(sol),
            "norms": lambda: p.norms(sol),
            "singular_values": lambda: p.singular_values(sol),
            "rates": lambda: p.rates(sol, layer=2),
            "traces": lambda: p.traces(sol, count=4),
            "similarity": lambda: p.similarity(sol, layer=2),
            "learning": lambda: p.learning(sol),
            "alignment": lambda: p.alignment(sol),
            "receptive_fields": lambda: p.receptive_fields(sol, (8, 8)),
            "phase": lambda: p.phase(flat, plane, "W.1[0, 0]", "W.1[0, 1]", ranges=((-1.5, 1.5), (-1.5, 1.5))),
            "diagram": lambda: p.diagram(net),
            "summary": lambda: p.summary(sol),
            "overlap": overlap,
            "raster": lambda: p.raster(spikes),
            "voltages": lambda: p.voltages(spikes, count=7),
            "stdp_window": lambda: p.stdp_window(window),
            "comparison": compared.plot,
            "sweep": swept.plot,
        }
        for name, draw in figures.items():
            drawn = draw()
            figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
            if figure is not None:
                figure.savefig(folder / f"{name}.png", dpi=100)
                plt.close(figure)
        ct.animate(sol, folder / "film.gif", shape=(8, 8), frames=24)


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))

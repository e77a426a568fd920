"""The demo: a continuous-time network learns handwritten digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ctsigprop import datasets, plot
from ctsigprop.files.paths import folders_above, local, part_of
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.neurons.rate import Rate
from ctsigprop.recording.probes import Probe
from ctsigprop.results.solution import Solution
from ctsigprop.rules.contrastive import ContrastiveHebbian
from ctsigprop.signals import TargetStream
from ctsigprop.simulation.simulate import simulate
from ctsigprop.solvers.reference.methods import Euler
from ctsigprop.stimuli.presentations import Presentations


def run_demo(out: Path, epochs: int = 20, seed: int = 0, say: Callable[[str], None] = print) -> Solution:
    """Train on digits, print a table per layer and write three pictures to `out`.

    Raises
    ------
    ValueError : `out` is no path on this computer
    OSError : `out` cannot be written to
    """
    out = local("out", out)
    probe = part_of(out / "writable")
    with folders_above(probe):  # a folder that takes no file is told now, not after the run
        probe.touch()
        probe.unlink()
    data = datasets.digits(seed=seed)
    net = Network(
        [64, 128, 128],
        n_classes=10,
        neuron=Rate(tau=1.0, activation="relu"),
        signal=TargetStream(per="class"),
        rule=ContrastiveHebbian(rate=4.0),
    )
    stimulus = Presentations(data.x_train, data.y_train, batch_size=64, duration=1.0, epochs=epochs, seed=seed)
    say(f"Digits: {len(data.x_train)} images to learn from, {len(data.x_test)} to be tested on, 8 x 8 pixels.")
    say(f"Network: 64 - 128 - 128, one ODE state of activity, learning signal and weights; {stimulus.count} batches,")
    say("a new one every tau, each passed on layer by layer. No backward pass, no feedback weights.\n")
    names = [f"layer {layer.index}" for layer in net.layers]
    probes = [Probe("weights", every=5.0)]
    for name, layer in zip(names, net.layers, strict=True):

        def accuracy(state: State, index: int = layer.index) -> float:
            return net.score(state, data.x_test, data.y_test, layer=index)

        probes.append(Probe(accuracy, every=float(stimulus.per_epoch) / 2, name=name))
    sol = simulate(net, stimulus, solver=Euler(dt=1.0), probes=probes, seed=seed, progress=True)
    say("\n" + table(sol, names))
    say(f"\n{sol.message}")
    for path in pictures(sol, names, out):
        say(f"wrote {path}")
    return sol


def table(sol: Solution, names: list[str]) -> str:
    """Accuracy before and after per layer, with what the run cost."""
    lines = [
        "           test accuracy      right-hand side",
        "           before   after     evaluations      wall time",
    ]
    for name in names:
        record = sol.dataset[name].values
        cost = (
            f"{sol.stats['rhs_evaluations']:>11}      {sol.stats['wall_seconds']:>7.1f} s" if name == names[0] else ""
        )
        lines.append(f"{name:<10} {record[0]:.3f}    {record[-1]:.3f}     {cost}".rstrip())
    return "\n".join(lines)


def pictures(sol: Solution, names: list[str], out: Path) -> list[Path]:
    """weights.png, learning.png and receptive_fields.png."""
    draw: dict[str, Callable[[], Axes]] = {
        "weights.png": lambda: plot.weights(sol, layer=1),
        "learning.png": lambda: plot.learning(sol, names),
        "receptive_fields.png": lambda: plot.receptive_fields(sol, (8, 8)),
    }
    paths = []
    for name, make in draw.items():
        ax = make()
        if name == "learning.png":
            ax.set(ylabel="accuracy on test images", title="Digits: each layer learns forward only", ylim=(0, 1.02))
        figure = ax.get_figure(root=True)
        if figure is not None:
            figure.savefig(out / name, dpi=150)
            plt.close(figure)
        paths.append(out / name)
    return paths

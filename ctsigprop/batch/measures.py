"""The metrics of a run. A network's outputs and the labels stay separate until both are complete."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.datasets import Dataset
from ctsigprop.errors import naming
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.rules.checks import lookup
from ctsigprop.solvers import Hybrid
from ctsigprop.solvers.base import Solver
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.stimulus import Stimulus
from ctsigprop.stimuli.validation import Mapped, as_inputs, as_targets

Scores = Float[Tensor, "samples classes"]
Metric = Callable[..., SupportsFloat]


def accuracy(scores: Scores, y: Tensor) -> float:
    """Share of samples whose largest score is that of their label."""
    return float((scores.argmax(-1).cpu() == y.cpu()).double().mean())


def error(scores: Scores, y: Tensor) -> float:
    """Share of samples whose largest score is not that of their label."""
    return 1.0 - accuracy(scores, y)


def margin(scores: Scores, y: Tensor) -> float:
    """Mean of the right class's score minus the best of the others."""
    right = scores.gather(-1, y.to(scores.device).unsqueeze(-1))
    others = scores.scatter(-1, y.to(scores.device).unsqueeze(-1), -torch.inf).amax(-1, keepdim=True)
    return float((right - others).double().mean())


METRICS: dict[str, Metric] = {"accuracy": accuracy, "error": error, "margin": margin}
TRAINING = "training "
"""Before the name of a metric of ours that is measured on the samples shown in training."""


@dataclass(frozen=True)
class Test:
    """Samples to test on, with labels that the network never sees."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Measures:
    """Named metrics: `of_outputs` take (scores, labels), `of_state` take the network's state."""

    of_outputs: Mapping[str, Metric]
    of_state: Mapping[str, Metric]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all of them."""
        return (*self.of_outputs, *self.of_state)

    def of_training(self) -> Measures:
        """The same, with our own metrics named as those of the samples shown in training."""
        named = {f"{TRAINING}{n}" if m in METRICS.values() else n: m for n, m in self.of_outputs.items()}
        return replace(self, of_outputs=named)

    def check(self, network: Network, test: Test | None) -> None:
        """Raise where outputs are to be compared with labels, and there are no targets or no labels of that kind."""
        if self.of_outputs and network.signal is None:
            raise ValueError(
                f"{', '.join(self.of_outputs)} compares outputs with labels, and a network has signal=None: "
                "give metrics={'name': function of the state}"
            )
        if self.of_outputs and test is None:
            raise ValueError(f"{', '.join(self.of_outputs)} needs labels, and the stimulus has none: give test=(x, y)")
        ours = [name for name, metric in self.of_outputs.items() if metric in METRICS.values()]
        if ours and test is not None and test.y.is_floating_point():
            raise ValueError(
                f"{', '.join(ours)} compares with class labels, and the test data have context vectors: "
                "give metrics={'name': function of (scores, y)}"
            )

    def __call__(self, network: Network, state: State, test: Test | None, solver: Solver | str) -> dict[str, float]:
        """Every metric of one state. The network is shown samples alone; its answers are held against the labels.

        Spiking networks answer on the grid that they learned on, that of the solver.
        """
        measured: dict[str, float] = {}
        if self.of_outputs and test is not None:
            dt = solver.dt if isinstance(solver, Hybrid) else None
            scores = network.similarity(without_rows(network, state), test.x, dt=dt)
            for name, metric in self.of_outputs.items():
                with naming(f"metric {name!r}", state.t):
                    measured[name] = float(metric(scores, test.y))
        for name, metric in self.of_state.items():
            with naming(f"metric {name!r}", state.t):
                measured[name] = float(metric(state))
        return measured


def without_rows(network: Network, state: State) -> State:
    """`state` with activities, traces and label traces at rest: what training labels have left there is gone."""
    of_rows = network.row_shapes(1)
    rest = {name: torch.full_like(value, of_rows[name][1]) for name, value in state.items() if name in of_rows}
    return state.replace(rest)


def as_measures(metrics: Sequence[str] | Mapping[str, Metric] | None) -> Measures:
    """Metrics by name, or a mapping of names to functions; default the accuracy.

    A function with one argument is given the state, one with two the scores (samples, classes) and the labels.

    Raises
    ------
    ValueError, TypeError : an unknown name, something that is no function of one or two arguments
    """
    if metrics is None:
        metrics = ["accuracy"]
    if isinstance(metrics, str) or not isinstance(metrics, Sequence | Mapping) or not len(metrics):
        raise TypeError(
            f"metrics must be a list of {', '.join(METRICS)}, or a mapping of names to functions, got {metrics!r}"
        )
    if not isinstance(metrics, Mapping):
        metrics = {name: lookup("metric", name, METRICS) for name in metrics}
    of_outputs: dict[str, Metric] = {}
    of_state: dict[str, Metric] = {}
    for name, metric in metrics.items():
        if not callable(metric):
            raise TypeError(f"metrics[{name!r}] must be a function, got {metric!r}")
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        needed = [p for p in inspect.signature(metric).parameters.values() if p.kind in kinds and p.default is p.empty]
        if len(needed) not in (1, 2):
            raise TypeError(
                f"metrics[{name!r}] must take (state) or (scores, labels), got {len(needed)} arguments without default"
            )
        (of_state if len(needed) == 1 else of_outputs)[str(name)] = metric
    return Measures(of_outputs, of_state)


def untrained(curve: dict[str, list[float]]) -> dict[str, list[float]]:
    """A learning curve in which what is called "training accuracy" can be asked for as "accuracy" too."""
    return {**{name.removeprefix(TRAINING): values for name, values in curve.items()}, **curve}


def as_test(test: object, network: Network, stimulus: Stimulus) -> Test | None:
    """Test data as a pair (x, y), as a `Dataset` (its test part), or None: the samples that the stimulus shows.

    Raises
    ------
    ValueError, TypeError : another kind, shapes that do not fit the network, labels among the inputs
    """
    if test is None:
        if not isinstance(stimulus, Presentations) or not isinstance(stimulus.y, Tensor) or stimulus.target_width != 0:
            return None
        return Test(as_inputs("x", stimulus.x), stimulus.y)
    if isinstance(test, Dataset):
        test = (test.x_test, test.y_test)
    if not isinstance(test, tuple | list) or len(test) != 2:
        raise TypeError(f"test must be a pair (x, y) or a ct.datasets.Dataset, got {type(test).__name__}")
    x = as_inputs("test x", test[0], network.sizes[0])
    y = as_targets("test y", test[1], len(x), network.n_classes)
    samples = Test(x.to(stimulus.dtype), y)
    check_no_label_inside(samples)
    if isinstance(stimulus, Presentations):
        warn_of_samples_seen(samples, stimulus)
    return samples


def check_no_label_inside(test: Test) -> None:
    """Raise where the inputs contain the labels: as one column, or as one column per class that marks it."""
    if test.y.is_floating_point() or len(test.y) < 4:
        return
    x, y = test.x.double().cpu(), test.y.cpu()
    classes = torch.unique(y)
    if len(classes) < 2:
        return
    *columns, whole = same_up_to_scale(x, torch.stack([*(y == c for c in classes), y], -1).double())
    if whole is not None or all(column is not None for column in columns):
        labels = [whole] if whole is not None else columns
        raise ValueError(
            f"the test inputs contain the labels, in column {', '.join(map(str, labels))}: "
            "remove them, or show them as the learning signal's context"
        )


def same_up_to_scale(x: Tensor, targets: Tensor) -> list[int | None]:
    """For each column of `targets` (samples, k), the index of a column of x that is a + b target, b not 0; or None."""
    centred, wanted = x - x.mean(0), targets - targets.mean(0)
    slopes = (centred.mT @ wanted) / wanted.square().sum(0)
    # |x|^2 = b^2 |target|^2 + what is left: only where little is left do we look at every sample
    close = centred.square().sum(0).unsqueeze(-1) <= (1 + 1e-6) * slopes.square() * wanted.square().sum(0)
    copies: list[int | None] = [None] * targets.shape[-1]
    for column, k in torch.nonzero(close & (slopes != 0)).tolist():
        left = (centred[:, column] - slopes[column, k] * wanted[:, k]).abs().max()
        if copies[k] is None and bool(left <= 1e-6 * slopes[column, k].abs()):
            copies[k] = column
    return copies


def warn_of_samples_seen(test: Test, stimulus: Presentations) -> None:
    """Warn where most test samples are also shown during training; samples in a memory map are not read for that."""
    if isinstance(stimulus.x, Mapped):
        return
    seen = {row.tobytes() for row in stimulus.x.cpu().numpy()}
    both = sum(row.tobytes() in seen for row in test.x.cpu().numpy())
    if both > len(test.x) // 2:
        warnings.warn(
            f"{both} of the {len(test.x)} test samples are among those shown in training: "
            "this measures memory, not generalisation",
            stacklevel=4,
        )

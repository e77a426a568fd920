"""The description of a network: layers, signal and rules. `ctsigprop.dynamics.vector_field` has its equations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ctsigprop.display import html
from ctsigprop.model import shapes
from ctsigprop.model.checks import (
    check_convolution,
    check_names,
    check_rule,
    check_spikes,
    check_state_names,
    of_each,
)
from ctsigprop.model.convolution import Conv2d
from ctsigprop.model.layer import Layer
from ctsigprop.model.state import State
from ctsigprop.model.steady import check_grid, respond, settle
from ctsigprop.model.synapses import arranged, inputs_below, structured
from ctsigprop.neurons.base import Neuron, check_neuron, initial_gain
from ctsigprop.neurons.izhikevich import Izhikevich
from ctsigprop.neurons.rate import Rate
from ctsigprop.rules.base import Rule, Shapes
from ctsigprop.rules.checks import Checked, number, whole
from ctsigprop.signals.base import Signal
from ctsigprop.signals.target_stream import TargetStream
from ctsigprop.solvers.field import DenseWeight
from ctsigprop.stimuli.validation import Mapped, as_device, as_inputs, as_samples, check_labels

UNNAMED = "units of time"
"""The unit of time of a network whose unit nobody named."""
AT_ONCE = 2**24
"""Elements of the patches that a prediction makes, or of the samples that it reads from a file, at once."""


class Network(metaclass=Checked):
    """Neurons, signal and rules: one vector field over activities, traces, weights and biases.

    Parameters
    ----------
    sizes : sequence, [inputs, units of layer 1, ..., units of the top layer]: integers >= 1, or `Conv2d(...)` for a
        convolutional layer. For images, inputs is (channels, height, width); each image is a flat row in this order
    n_classes : int or None, number of classes, or width of the context vectors; required with a signal
    neuron : a neuron, or one per layer: any object with the `Neuron` protocol; default `Rate()`
    signal : `TargetStream(...)`, a feedback signal such as `Backprop()` for comparison, or None (default) for
        unsupervised rules
    rule : a rule, or one per layer; None for a layer with fixed weights
    bias : bool, whether layers have biases (plastic by the layer's rule); default True
    time_unit : str, name of the unit of all times, such as "ms", for axes and datasets; it changes no number.
        Default "ms" with an `Izhikevich` neuron, "tau" if every neuron has tau = 1, else "units of time"

    Raises
    ------
    ValueError, TypeError : sizes, neurons, signal and rules that do not fit together; the message names them
    """

    def __init__(
        self,
        sizes: Sequence[int | tuple[int, int, int] | Conv2d],
        n_classes: int | None = None,
        *,
        neuron: Neuron | Sequence[Neuron] | None = None,
        signal: Signal | None = None,
        rule: Rule | Sequence[Rule | None] | None = None,
        bias: bool = True,
        time_unit: str | None = None,
    ) -> None:
        self.structure = structured(sizes)
        synapses = arranged(self.structure)
        self.sizes = (inputs_below(synapses[0].below), *(part.n_post for part in synapses))
        count = len(synapses)
        neurons = of_each("neuron", Rate() if neuron is None else neuron, count, "layers")
        rules = of_each("rule", rule, count, "layers")
        layers = []
        for i in range(count):
            checked = check_neuron(f"neuron of layer {i + 1}", neurons[i])
            learns_by = check_rule(f"rule of layer {i + 1}", rules[i], signal, i == 0)
            layers.append(Layer(i + 1, synapses[i], checked, learns_by))
        if signal is not None and not isinstance(signal, Signal):
            raise TypeError(f"signal must be a signal such as ct.TargetStream(), or None, got {signal!r}")
        if n_classes is not None:
            whole("n_classes", n_classes, 1)
            n_classes = int(n_classes)
        if signal is not None and n_classes is None:
            raise ValueError("n_classes (number of classes or width of contexts) must be given with a signal, got None")
        if signal is not None and n_classes is not None:
            signal.check(self.sizes, n_classes)
        if time_unit is not None and (not isinstance(time_unit, str) or not time_unit.strip()):
            raise TypeError(f'time_unit must be the name of a unit such as "ms", or None, got {time_unit!r}')
        self.n_classes = n_classes
        self.signal = signal
        self.named_unit = time_unit
        self.bias = bool(bias)
        self.layers = tuple(layers)
        self.any_traces = any(layer.rule is not None and layer.rule.traces for layer in self.layers)
        self.jumps = any(layer.jumps for layer in self.layers)
        check_names(self.layers)
        check_state_names(self.layers, self.signal_names, self.learns_generator)
        check_spikes(self.layers, signal)
        check_convolution(self.layers, signal)

    def __repr__(self) -> str:
        lines = [
            f"  layer {a.index}: {a.n_pre} -> {a.synapses.described}, {a.neuron!r}, {a.rule!r}" for a in self.layers
        ]
        unit = "" if self.named_unit is None else f", time_unit={self.named_unit!r}"
        head = f"Network(n_classes={self.n_classes}, signal={self.signal!r}, bias={self.bias}{unit}):"
        return "\n".join([head, *lines])

    def _repr_html_(self) -> str:
        return html.of_network(self)

    @property
    def time_unit(self) -> str:
        """Name of the unit of all times."""
        if self.named_unit is not None:
            return self.named_unit
        neurons = [layer.neuron for layer in self.layers]
        if any(isinstance(neuron, Izhikevich) for neuron in neurons):
            return "ms"
        return "tau" if all(neuron.tau == 1 for neuron in neurons) else UNNAMED

    @cached_property
    def weight_shapes(self) -> dict[str, tuple[int, int]]:
        """Shape (post, pre) of each weight matrix in a state, by name; every other tensor is an activity or a bias."""
        of_layers = {layer.name("W"): layer.shape for layer in self.layers}
        if self.signal is None or self.n_classes is None:
            return of_layers
        return {**of_layers, **self.signal.weights(self.sizes, self.n_classes)}

    @property
    def signal_names(self) -> list[str]:
        """Names of the tensors that the signal adds to a state."""
        if self.signal is None or self.n_classes is None:
            return []
        return [*self.signal.activities(self.sizes, 1), *self.signal.weights(self.sizes, self.n_classes)]

    @cached_property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each weight matrix that a rule keeps within bounds, by name."""
        bounds = {layer.name("W"): layer.rule.bounds for layer in self.layers if layer.rule is not None}
        if self.learns_generator:
            bounds["S"] = bounds["W.1"]
        return {name: pair for name, pair in bounds.items() if pair is not None}

    def initial_state(
        self, seed: int = 0, rows: int = 1, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> State:
        """A new state: activities and traces at rest, biases 0, normal weights of deviation gain / sqrt(inputs).

        Weights under a rule with bounds, such as `rules.Bounded`, are clipped to them.

        Parameters
        ----------
        seed : int, sets every weight; the same seed gives the same weights in every dtype, up to rounding
        rows : int, samples shown at once; `simulate` adapts the rows to its stimulus
        dtype : torch.float32 (default) or torch.float64
        device : where the tensors live; default "cpu"

        Raises
        ------
        ValueError, TypeError : a seed, number of rows or dtype out of its range, a device that is not available
        """
        random = torch.Generator().manual_seed(whole("seed", seed, 0))
        rows, device = whole("rows", rows, 1), as_device(device)
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype!r}")
        gains = {layer.name("W"): initial_gain(layer.neuron) for layer in self.layers}
        tensors = self.rest(rows, dtype, device)
        for name, (post, pre) in self.weight_shapes.items():
            deviation = gains.get(name, 1.0) / math.sqrt(pre)
            if name == "S":  # contexts are one-hot: each unit gets one of its weights, which must reach a threshold
                deviation = gains["W.1"] if self.layers[0].jumps else 1.0
            values = torch.randn(post, pre, generator=random, dtype=torch.float64) * deviation
            tensors[name] = values.to(device, dtype)
            if name in self.bounds:
                tensors[name].clamp_(*self.bounds[name])
        return State(tensors)

    def rest(self, rows: int, dtype: torch.dtype, device: torch.device | str) -> dict[str, Tensor]:
        """All tensors of a network at rest except the weights, by name."""
        parts = {**self.row_shapes(rows), **self.unit_shapes}
        return {name: torch.full(shape, value, dtype=dtype, device=device) for name, (shape, value) in parts.items()}

    def row_shapes(self, rows: int) -> Shapes:
        """Activities and traces, one row for each sample and target shown: shape and value at rest, by name."""
        return shapes.row_shapes(self.layers, self.signal, self.sizes, self.n_classes or 1, rows)

    @cached_property
    def unit_shapes(self) -> Shapes:
        """Biases and the rules' own variables, the same for every stimulus: shape and initial value, by name."""
        return shapes.unit_shapes(self.layers, self.signal, self.n_classes or 1, self.bias)

    @property
    def per_class(self) -> bool:
        """Whether the signal has one target row per class."""
        return isinstance(self.signal, TargetStream) and self.signal.per_class

    @cached_property
    def learns_generator(self) -> bool:
        """Whether the target generator S is plastic. It follows the rule of layer 1, if that rule is supervised."""
        return shapes.learns_generator(self.layers, self.signal)

    def fit_rows(self, state: State, rows: int) -> State:
        """`state` for a stimulus of `rows` samples. If the number of rows changes, activities and traces start at rest.

        Also accepts a state of an earlier version, in which some tensors had other names.

        Raises
        ------
        ValueError : a state of another network; the message names the tensor that does not fit
        """
        kept = {**{name: shape for name, (shape, _) in self.unit_shapes.items()}, **self.weight_shapes}
        return shapes.fit_rows(state, kept, self.row_shapes(rows), like=next(iter(self.weight_shapes)))

    def transform(
        self, state: State, x: object, layer: int | None = None, dt: float | None = None
    ) -> Float[Tensor, "samples n"]:
        """Output of a layer (by default the top one) once the input stream has settled on x, without plasticity; `dt`
        as in `predict`.
        """
        return self._settled(state, self._inputs(state, x), layer, dt=dt)

    def similarity(
        self, state: State, x: object, layer: int | None = None, candidates: object = None, dt: float | None = None
    ) -> Float[Tensor, "samples targets"]:
        """How similar the settled input and target streams of a layer are, one column per class or candidate context;
        `dt` as in `predict`.
        """
        if self.signal is None or self.n_classes is None:
            raise ValueError("prediction compares with the learning signal's targets: this network has signal=None")
        h = self._settled(state, self._inputs(state, x), layer, dt=dt)
        generator = state.get("S")
        if generator is None:
            if candidates is not None or layer not in (None, len(self.layers)):
                raise ValueError(
                    f"a network with {type(self.signal).__name__} predicts at its output layer, "
                    f"{len(self.layers)}, and without candidates; got layer={layer!r}"
                )
            return self.signal.similarity(h, None)
        if candidates is None:
            contexts = torch.eye(self.n_classes, dtype=generator.dtype, device=generator.device)
        else:
            contexts = as_inputs("candidates", candidates, self.n_classes).to(generator)
        return self.signal.similarity(h, self._settled(state, contexts, layer, generator, dt))

    def predict(
        self, state: State, x: object, layer: int | None = None, candidates: object = None, dt: float | None = None
    ) -> Int[Tensor, " samples"]:
        """Index of the class (or candidate context) with the target stream nearest to the settled input stream.

        Parameters
        ----------
        state : the state to predict with; not changed
        x : (samples, inputs), tensor or array; a memory map is read in pieces
        layer : int, 1 ... number of layers, the layer to compare in; default the top layer
        candidates : (k, n_classes) context vectors to choose from; default the one-hot vectors of the classes
        dt : float, grid step of neurons with a reset, > 0, in units of time; default a tenth of the shortest tau, the
            step of solver="auto". On a coarse grid spikes come later, so a network predicts best on the grid it was
            trained on: after `Hybrid(dt=0.25)` use dt=0.25

        Raises
        ------
        ValueError, TypeError : no signal, an unknown layer, inputs of the wrong width or not finite, a dt that is not
            a number > 0 or is longer than a refractory time
        """
        return self.similarity(state, x, layer, candidates, dt).argmax(-1)

    def score(self, state: State, x: object, y: object, layer: int | None = None, dt: float | None = None) -> float:
        """Share of samples that are predicted as their label y (samples,), from 0 to 1; `dt` as in `predict`."""
        if self.n_classes is None:
            raise ValueError("score compares with labels: this network has n_classes=None")
        labels = check_labels("y", y, self.n_classes)
        guess = self.predict(state, x, layer, dt=dt)
        if len(guess) != len(labels):
            raise ValueError(f"x and y must have as many samples as each other, got {len(guess)} and {len(labels)}")
        return float((guess.cpu() == labels).double().mean())

    def _inputs(self, state: State, x: object) -> Tensor | Mapped:
        samples = as_samples("x", x, self.sizes[0])
        return samples if isinstance(samples, Mapped) else samples.to(state["W.1"])

    def _settled(
        self,
        state: State,
        x: Tensor | Mapped,
        layer: int | None,
        generator: Tensor | None = None,
        dt: float | None = None,
    ) -> Tensor:
        """Steady output of a layer under constant inputs, or under constant contexts through the generator."""
        top = len(self.layers) if layer is None else whole("layer", layer, 1, len(self.layers))
        layers = self.layers[:top]
        if dt is not None:
            number("dt", dt, above=0)
            for below in layers:
                check_grid("dt", below, dt)
        shared = [below.synapses.positions * below.shape[1] for below in layers if below.synapses.positions > 1]
        rows = max(1, AT_ONCE // max(shared)) if shared else max(1, len(x))
        if isinstance(x, Mapped):
            rows = min(rows, max(1, AT_ONCE // self.sizes[0]))
        with torch.inference_mode():
            answers = [
                self._answer(layers, state, x[first : first + rows].to(state["W.1"]), generator, dt)
                for first in range(0, len(x), rows)
            ]
        return torch.cat(answers)  # outside of that mode, so that a readout may be trained on it

    def _answer(
        self, layers: Sequence[Layer], state: State, x: Tensor, generator: Tensor | None, dt: float | None
    ) -> Tensor:
        """The steady output of the last of `layers`."""
        if self.jumps:
            return respond(layers, state, x, generator, self.bias, dt)
        for layer in layers:
            if generator is not None and layer.index == 1:
                drive = x @ generator.mT
            else:
                bias = state[layer.name("b")] if self.bias else None
                drive = layer.drive(DenseWeight(state[layer.name("W")]), layer.synapses.read(x), bias)
            x = settle(layer.neuron, drive)
        return x

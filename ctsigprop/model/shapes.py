"""The tensors in a state of a network: their shapes and values at rest, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ctsigprop.model.layer import Layer
from ctsigprop.model.state import State
from ctsigprop.rules.base import Shapes
from ctsigprop.signals.base import Signal, Sizes
from ctsigprop.signals.target_stream import TargetStream


def learns_generator(layers: Sequence[Layer], signal: Signal | None) -> bool:
    """Whether the target generator S is plastic: it follows the rule of layer 1, where that rule is supervised."""
    rule = layers[0].rule
    learned = isinstance(signal, TargetStream) and signal.generator == "learned"
    return learned and rule is not None and rule.supervised


def row_shapes(layers: Sequence[Layer], signal: Signal | None, sizes: Sizes, classes: int, rows: int) -> Shapes:
    """Activities and traces, one row for each sample and target shown."""
    width = 1 if signal is None else signal.label_width(rows, classes)
    all_rows = rows + (0 if signal is None else signal.rows(rows, classes))
    inside = signal is not None and signal.gain_inside
    traced = any(layer.rule is not None and layer.rule.traces for layer in layers)
    contexts = learns_generator(layers, signal) and isinstance(signal, TargetStream) and not signal.per_class
    shapes: Shapes = {}
    for layer in layers:
        for variable, value in layer.neuron.variables().items():
            shapes[layer.name(variable)] = ((all_rows, layer.n_post), value)
        if traced:
            shapes[layer.name("y")] = ((rows, width), 0.0)
        if layer.rule is None:
            continue
        if layer.rule.traces:
            shapes[layer.name("x")] = ((rows if layer.index == 1 else all_rows, layer.n_pre), 0.0)
            if layer.tau_syn is not None:
                shapes[layer.name("k")] = shapes[layer.name("x")]
            if layer.rule.supervised and not inside and not layer.jumps:
                shapes[layer.name("g")] = ((all_rows, layer.n_post), 0.0)
            if layer.index == 1 and contexts:
                shapes["c.1"] = ((rows, classes), 0.0)
        sides = {"pre": layer.n_pre, "post": layer.n_post}
        for variable, trace in layer.rule.spike_traces().items():
            shapes[layer.name(variable)] = ((rows, sides[trace.side]), 0.0)
    if signal is not None:
        shapes.update({name: (shape, 0.0) for name, shape in signal.activities(sizes, rows).items()})
    return shapes


def unit_shapes(layers: Sequence[Layer], signal: Signal | None, classes: int, bias: bool) -> Shapes:
    """Biases and the rules' own variables, whatever is shown."""
    shapes: Shapes = {}
    for layer in layers:
        if bias:
            shapes[layer.name("b")] = ((layer.shape[0],), 0.0)
        for variable, shape in layer.rule_shapes.items():
            shapes[layer.name(variable)] = shape
    first = layers[0]
    if learns_generator(layers, signal) and first.rule is not None:
        for variable, shape in first.rule.variables(first.n_post, classes).items():
            shapes[f"{variable}.S"] = shape
    return shapes


def fit_rows(state: State, kept: Mapping[str, tuple[int, ...]], of_rows: Shapes, like: str) -> State:
    """`state` with its rows as in `of_rows`: where their number is another one, they start at rest.

    Parameters
    ----------
    state : of any number of rows; of an earlier version too, in which a part had another name
    kept : shapes of all that has no rows, by name
    of_rows : shapes and values at rest of all that has rows, by name
    like : name of the part whose type and device the new rows have

    Raises
    ------
    ValueError : a state of another network, naming the tensor that does not fit
    """
    state = state.under_new_names({*kept, *of_rows})
    for name in (*kept, *of_rows, *state):
        want = kept.get(name) or (of_rows[name][0] if name in of_rows else None)
        had = tuple(state[name].shape) if name in state else None
        fits = had == want if name in kept else None not in (had, want) and len(had or ()) == len(want or ())
        if not fits:
            raise ValueError(
                f"the state is of another network: for {name} it has {f'shape {had}' if had else 'no tensor'}, "
                f"this network needs {f'shape {want}' if want else 'none'}"
            )
    if all(state[name].shape == shape for name, (shape, _) in of_rows.items()):
        return state
    rest: dict[str, Tensor] = {name: state[like].new_full(shape, value) for name, (shape, value) in of_rows.items()}
    return State({**rest, **{name: state[name] for name in kept}}, state.t)

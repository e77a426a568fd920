"""How well a learning signal agrees with the gradient of the global loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import xarray as xr
from torch import Tensor

from ctsigprop.dynamics.vector_field import Field
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.model.steady import settle
from ctsigprop.results.solution import Solution
from ctsigprop.signals.feedback import Feedback, KolenPollack
from ctsigprop.solvers.field import DenseWeight
from ctsigprop.stimuli.frame import Frame, Input
from ctsigprop.stimuli.validation import as_inputs, as_targets


def alignment(
    sol_or_state: Solution | State,
    x: object,
    y: object,
    network: Network | None = None,
    of: Literal["weights", "drive"] = "weights",
) -> xr.DataArray:
    """Cosine, layer by layer, between what the rule does and minus the gradient of the global loss.

    The samples x are shown, with the weights fixed, until activity, traces and error units have settled. Then dW/dt is
    compared with minus the gradient of the top layer's loss through the whole network. No rule here sees that
    gradient. 1 means gradient descent, 0 means unrelated; below 0 the loss would rise.

    Parameters
    ----------
    sol_or_state : a State; or a Solution with `Probe("weights", ...)` and, if the network has them, with probes of
        "biases", "target_generator" and "feedback" at the same times, for one value per recorded time
    x, y : samples (n, inputs) and labels (n,) or contexts (n, width) to measure on
    network : the network, needed with a State; default the one that made the Solution
    of : "weights" (default), dW/dt against minus dL/dW; or "drive", the postsynaptic factor of the input stream
        against minus dL/d(drive), all rows together

    Returns
    -------
    xarray.DataArray (layer,) or (time, layer), between -1 and 1; NaN where either side is 0

    Raises
    ------
    ValueError, TypeError : a network without a signal, records that are missing, a State without its network

    References
    ----------
    T. P. Lillicrap et al., Nature Commun. 7, 2016, 13276 (angle between alternatives and backprop); A. Kohan et al.,
    arXiv 2204.01723 (useful learning signals in context to backpropagation).
    """
    if of not in ("weights", "drive"):
        raise ValueError(f"of must be 'weights' or 'drive', got {of!r}")
    if isinstance(sol_or_state, Solution):
        network = sol_or_state.network if network is None else network
    elif not isinstance(sol_or_state, State):
        raise TypeError(f"alignment takes a ct.Solution or a ct.State, got {type(sol_or_state).__name__}")
    if network is None:
        raise ValueError("network must be given with a State or a loaded Solution: alignment(..., network=net)")
    if network.signal is None:
        raise ValueError("alignment compares learning signals: this network has signal=None")
    with torch.inference_mode(False):  # a probe calls this while a simulation runs in that mode
        inputs = as_inputs("x", x, network.sizes[0]).clone()
        targets = as_targets("y", y, len(inputs), network.n_classes).clone()
        if isinstance(sol_or_state, State):
            return at_state(network, sol_or_state, inputs, targets, of)
        states, clock = trajectory(network, sol_or_state)
        along_run = [at_state(network, state, inputs, targets, of) for state in states]
    return xr.concat(along_run, dim=clock).rename("alignment")


def at_state(network: Network, state: State, x: Tensor, y: Tensor, of: str) -> xr.DataArray:
    """The cosines at one state."""
    with torch.no_grad():
        copied = State({name: value.clone() for name, value in state.items()}, state.t)
        like = copied["W.1"]
        target = y.to(like) if y.is_floating_point() else y.to(like.device)
        shown = Input(x.to(like), target, like.new_ones(len(x), 1))
        field = Field(network, Frame(0.0, 1.0, 0.0, lambda _t: shown, True))
        settled = settle_rows(network, field, network.fit_rows(copied, len(x)))
        rule_side = of_rule(network, field, settled, of)
        with torch.enable_grad():
            gradient = minus_gradient(network, field, settled, of)
        cosines = [torch.nan if a is None else cosine(a, b) for a, b in zip(rule_side, gradient, strict=True)]
    layers = [layer.index for layer in network.layers]
    attrs = {"long_name": "cosine with minus the gradient"}
    return xr.DataArray(cosines, dims="layer", coords={"layer": layers}, name="alignment", attrs=attrs)


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two tensors, NaN where one of them is 0."""
    a, b = (value.double().flatten() for value in (a, b))
    norms = float(torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b))
    return max(-1.0, min(1.0, float(a @ b) / norms)) if norms > 0 else torch.nan


def settle_rows(network: Network, field: Field, state: State) -> State:
    """`state` with all activities and traces at rest under what `field` shows; Euler steps of the shortest tau.

    A step of one tau puts each layer where its drive is, so equal time constants settle exactly, layer by layer.
    """
    rows = network.row_shapes(field.frame.at(0.0).x.shape[-2])
    taus = [layer.neuron.tau for layer in network.layers]
    taus.append(network.signal.tau_e if isinstance(network.signal, Feedback) else 1.0)
    dt = min(taus)
    fixed = {name: DenseWeight(state[name]) for name in network.weight_shapes}
    activities: dict[str, Tensor] = {name: state[name] for name in state if name not in fixed}
    for _ in range(int(100 * max(taus) / dt) + 4 * len(network.layers)):
        slopes, _updates = field(0.0, activities, fixed)
        moved = {name: activities[name] + dt * slopes[name] for name in rows if name in slopes}
        still = all(torch.equal(moved[name], activities[name]) for name in moved)
        activities.update(moved)
        if still:
            break
    return state.replace({name: activities[name] for name in rows})


def of_rule(network: Network, field: Field, state: State, of: str) -> list[Tensor | None]:
    """dW/dt of each layer, or the postsynaptic factor of its input rows; None for a layer without a rule."""
    weights = {name: DenseWeight(state[name]) for name in network.weight_shapes}
    activities = {name: value for name, value in state.items() if name not in weights}
    _rates, updates = field(0.0, activities, weights)
    if of == "weights":
        of_layers = (updates.get(layer.name("W")) for layer in network.layers)
        names = [layer.name("W") for layer in network.layers]
        return [None if u is None else u.derivative(state[name]) for u, name in zip(of_layers, names, strict=True)]
    samples = field.frame.at(0.0).x.shape[-2]
    signals = field.signals(0.0, activities)
    inside = network.signal is not None and network.signal.gain_inside
    drives: list[Tensor | None] = []
    for layer, delta in zip(network.layers, signals, strict=True):
        gain = 1.0 if inside else gain_of(network, field, state, layer.index)
        drives.append(None if layer.rule is None else (delta * gain)[:samples])
    return drives


def gain_of(network: Network, field: Field, state: State, index: int) -> Tensor:
    """Phi' of a layer's settled drive, all rows."""
    layer = network.layers[index - 1]
    shown = field.shown(0.0)
    below = shown.x if index == 1 else output_of(network, state, index - 1)
    bias = state[layer.name("b")] if network.bias else None
    drive = layer.drive(DenseWeight(state[layer.name("W")]), layer.synapses.read(below), bias)
    if index == 1 and shown.context is not None:
        drive = torch.cat([drive, shown.context @ state["S"].mT])
    return layer.neuron.gain({name: state[layer.name(name)] for name in layer.neuron.variables()}, drive)


def output_of(network: Network, state: Mapping[str, Tensor], index: int) -> Tensor:
    """Output of a layer in a state."""
    layer = network.layers[index - 1]
    return layer.neuron.output({name: state[layer.name(name)] for name in layer.neuron.variables()})


def minus_gradient(network: Network, field: Field, state: State, of: str) -> list[Tensor]:
    """Minus the gradient of the top layer's loss in every W (or in the drive of the input rows), by autograd."""
    signal, shown = network.signal, field.shown(0.0)
    if signal is None:
        raise ValueError("this network has signal=None")
    samples = shown.x.shape[-2]
    matrices = [state[layer.name("W")].clone().requires_grad_() for layer in network.layers]
    drives, r = [], shown.x
    for layer, matrix in zip(network.layers, matrices, strict=True):
        bias = state[layer.name("b")] if network.bias else None
        drive = layer.drive(DenseWeight(matrix), layer.synapses.read(r), bias)
        drives.append(drive)
        if layer.index == 1 and shown.context is not None:
            drive = torch.cat([drive, shown.context @ state["S"].mT])
        r = settle(layer.neuron, drive)
    error = signal.top_error(r.detach(), shown.label)
    gradients = torch.autograd.grad(r, matrices if of == "weights" else drives, grad_outputs=error)
    return [g if of == "weights" else g[:samples] for g in gradients]


def trajectory(network: Network, sol: Solution) -> tuple[list[State], xr.DataArray]:
    """The network's states at the recorded times, rebuilt from what the probes recorded."""
    plastic: dict[str, tuple[str, ...]] = {"weights": tuple(layer.name("W") for layer in network.layers)}
    if network.bias:
        plastic["biases"] = tuple(layer.name("b") for layer in network.layers)
    if network.learns_generator:
        plastic["target_generator"] = ("S",)
    if isinstance(network.signal, KolenPollack):
        plastic["feedback"] = tuple(name for name in network.weight_shapes if name.startswith("B."))
    missing = [name for name in plastic if name not in sol.dataset or "time" not in sol.dataset[name].dims]
    if missing:
        need = ", ".join(f"ct.Probe({name!r}, ...)" for name in plastic)
        raise ValueError(f"alignment along a run needs {need} at the same times; {', '.join(missing)} is missing")
    clock = sol.dataset["time"]
    states = []
    for k in range(len(clock)):
        tensors = {}
        for record, names in plastic.items():
            for name in names:
                layer = 1 if name == "S" else int(name.split(".")[1])
                shape = sol.final[name].shape
                values = sol.dataset[record].isel(time=k).sel(layer=layer).values
                matrix = values[tuple(slice(0, size) for size in shape)]
                if matrix.shape != tuple(shape) or not bool((matrix == matrix).all()):
                    raise ValueError(f"alignment needs all of {record} of layer {layer}, recorded without select=")
                tensors[name] = torch.from_numpy(matrix.copy())
        states.append(sol.final.replace(tensors))
    return states, clock

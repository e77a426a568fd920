"""How a notebook displays a network, a solution and a state. Uses their attributes, not their types."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

STYLE = "border-collapse:collapse;font-size:90%;margin:0.3em 0"
LARGE = 200_000_000
"""Bytes of recorded weights above which a solution is shown without a picture."""
SYNAPSES = 30
ENOUGH = 20
"""Synapses of which 5 % is at least one: of fewer, neither 5 to 95 % nor a median says more than their lines."""
CELL = "text-align:left;padding:2px 10px 2px 0;vertical-align:top"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """An HTML table; every cell is escaped."""
    top = "".join(f'<th style="{CELL}">{escape(str(cell))}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{escape(str(cell))}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f'<table style="{STYLE}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def of_network(network: Any) -> str:
    """Layers with their sizes, neurons, time constants, rules and numbers of parameters."""
    rows = []
    for layer in network.layers:
        rule = "fixed" if layer.rule is None else repr(layer.rule)
        post, pre = layer.shape
        parameters = post * (pre + network.bias)
        shape = f"{layer.n_pre} to {layer.synapses.described}"
        rows.append((layer.index, shape, repr(layer.neuron), f"{layer.neuron.tau:g}", rule, f"{parameters:,}"))
    head = ("layer", "units", "neuron", "tau", "rule", "weights" + (" and biases" if network.bias else ""))
    extra = {name: shape for name, shape in network.weight_shapes.items() if not name.startswith("W.")}
    also = "; ".join(f"{name} {post} x {pre}" for name, (post, pre) in extra.items())
    signal = "none" if network.signal is None else repr(network.signal)
    lines = f"<b>Network</b>, time in {escape(network.time_unit)}, learning signal: {escape(signal)}" + (
        f"; of the signal: {escape(also)}" if also else ""
    )
    return f"<div>{lines}{table(head, rows)}</div>"


def of_state(tensors: Mapping[str, Tensor], t: float) -> str:
    """Every tensor with its shape, type and range."""
    rows = []
    for name, value in tensors.items():
        least, most = (f"{float(end):.4g}" for end in value.aminmax()) if value.numel() else ("", "")
        kind = str(value.dtype).removeprefix("torch.")
        rows.append((name, " x ".join(map(str, value.shape)), kind, least, most))
    return f"<div><b>State</b> at t = {t:g}{table(('tensor', 'shape', 'type', 'least', 'most'), rows)}</div>"


def of_solution(sol: Any) -> str:
    """Status, statistics, records, and a small picture of the weights where they were recorded."""
    colour = "#009E73" if sol.status.ok else "#D55E00"
    rows = [(name, f"{value:.3g}" if isinstance(value, float) else value) for name, value in sol.stats.items()]
    records = [
        (name, " x ".join(f"{dim} {size}" for dim, size in value.sizes.items()), f"{value.nbytes / 1e6:.3g} MB")
        for name, value in sol.dataset.data_vars.items()
    ]
    ended = f"{sol.final.t:g} {escape(sol.time_unit)}"
    parts = [
        f'<b>Solution</b>: <span style="color:{colour}">{escape(sol.message)}</span> t = {ended}',
        table(("statistic", "value"), rows),
        table(("record", "dimensions", "size"), records) if records else "nothing was recorded",
    ]
    weights = drawable(sol.dataset)
    image = "" if weights is None else f'<img alt="some weights" src="data:image/png;base64,{picture(weights)}">'
    left = f'<div style="display:inline-block;vertical-align:top;padding-right:1em">{"".join(parts)}</div>'
    return f"<div>{left}{image}</div>"


def drawable(dataset: xr.Dataset) -> xr.DataArray | None:
    """The weights of the first recorded layer (times, synapses), where they are small enough to be drawn at once."""
    weights = dataset.get("weights")
    if weights is None or "layer" not in weights.dims or weights.sizes[weights.dims[0]] < 2 or weights.nbytes > LARGE:
        return None
    one = weights.isel(layer=0)
    return one.stack(place=one.dims[1:], create_index=False)


def picture(weights: xr.DataArray) -> str:
    """Trajectories of some synapses over the band of all, as a small PNG in base64."""
    values = weights.values[:, ~np.isnan(weights.values).all(axis=0)]
    clock = weights[weights.dims[0]]
    t = clock.values
    some = np.unique(np.linspace(0, values.shape[1] - 1, SYNAPSES).astype(int))
    with plt.rc_context({"font.size": 7, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3.4, 1.9), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        if values.shape[1] >= ENOUGH:
            ax.fill_between(t, *np.nanquantile(values, [0.05, 0.95], axis=1), color="0.88", linewidth=0)
        ax.plot(t, values[:, some], color="#0072B2", linewidth=0.6, alpha=0.6)
        ax.set(
            xlabel=f"simulated time ({clock.attrs.get('units', 'tau')})",
            ylabel="synaptic weight",
            title=f"layer {int(weights['layer'])}",
        )
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=100)
    return base64.b64encode(out.getvalue()).decode()

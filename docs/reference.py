"""What the reference shows of the source: docstrings in numpydoc's form, plots with the signature that one calls."""

from __future__ import annotations

from typing import Any

from docstrings import Declared, numpydoc
from griffe import Extension, Function, Object, Parameter, ParameterKind, Parameters


class Reference(Extension):
    """Rewrites each object once it is loaded."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if isinstance(obj, Function) and any(d.callable_path.endswith("style.styled") for d in obj.decorators):
            as_called(obj)
        if obj.docstring:
            parameters = getattr(obj, "parameters", ())
            signature = {p.name: Declared(str(p.annotation or ""), str(p.default or "")) for p in parameters}
            obj.docstring.value = numpydoc(obj.docstring.value, signature)


def as_called(plot: Function) -> None:
    """`styled` takes the axes, first in the source, as the keyword `ax`, new ones by default, and returns them."""
    axes, *rest = plot.parameters
    ax = Parameter(axes.name, annotation="Axes | None", kind=ParameterKind.keyword_only, default="None")
    plot.parameters = Parameters(*rest, ax)
    plot.returns = axes.annotation

"""The reference shows every public name, and of every docstring what it says."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import ctsigprop as ct

DOCS = Path(__file__).parents[1] / "docs"
FORM = runpy.run_path(str(DOCS / "docstrings.py"))
numpydoc, Declared = FORM["numpydoc"], FORM["Declared"]

SPACES = (ct, ct.batch, ct.datasets, ct.plot, ct.reductions, ct.rules, ct.signals, ct.solvers)


def public(space: ModuleType) -> dict[str, object]:
    """What a namespace lists, or the classes that are defined there."""
    names = vars(space).get("__all__") or [
        name for name, value in vars(space).items() if inspect.isclass(value) and value.__module__ == space.__name__
    ]
    named = {name: vars(space)[name] for name in names}
    return {name: value for name, value in named.items() if not isinstance(value, ModuleType)}


NAMES = {f"{space.__name__}.{name}": value for space in SPACES for name, value in public(space).items()}
SHOWN = {name for page in (DOCS / "api").glob("*.md") for name in re.findall(r"^::: ([\w.]+)", page.read_text(), re.M)}


def covers(module: str, name: str, value: object) -> bool:
    """Whether a module that the reference shows as a whole has this name. A file of that name would hide it."""
    if module not in SHOWN:
        return False
    space = __import__(module, fromlist=["_"])
    hidden = any((Path(folder) / f"{name}.py").is_file() for folder in getattr(space, "__path__", ()))
    return getattr(space, name, None) is value and not hidden


def test_every_public_name_is_in_the_reference() -> None:
    missing = []
    for path, value in NAMES.items():
        home, name = getattr(value, "__module__", ""), path.rpartition(".")[2]
        parents = {path.rpartition(".")[0], home, home.rpartition(".")[0]}
        if f"{home}.{name}" not in SHOWN and not any(covers(parent, name, value) for parent in parents):
            missing.append(path)
    assert not missing
    assert {"ctsigprop.stdp_window", "ctsigprop.plot.summary", "ctsigprop.plot.phase"} <= NAMES.keys()


def documented() -> Iterator[tuple[str, Callable[..., object]]]:
    """Public classes, their methods, and functions."""
    for path, value in NAMES.items():
        if inspect.isclass(value) or inspect.isfunction(value):
            yield path, value
        for name, member in vars(value).items() if inspect.isclass(value) else ():
            if inspect.isfunction(member) and not name.startswith("_"):
                yield f"{path}.{name}", member


def written_parameters(value: Callable[..., object]) -> list[tuple[str, str]]:
    """Heading and description of each entry, as the site's build reads them."""
    text = inspect.cleandoc(value.__doc__ or "")
    if "Parameters\n---" not in text:
        return []
    text = numpydoc(
        text, {name: Declared(str(p.annotation)) for name, p in inspect.signature(value).parameters.items()}
    )
    section = re.search(r"Parameters\n-+\n(.*?)(?=\n\n\w[\w ]*\n---|\Z)", text, flags=re.DOTALL)
    blocks = re.split(r"\n(?=\S)", section[1] if section else "")
    return [(head, description.strip()) for head, _, description in (block.partition("\n") for block in blocks)]


def test_every_parameter_has_a_type_that_is_one_and_a_description() -> None:
    entries = [(path, value, *entry) for path, value in documented() for entry in written_parameters(value)]
    assert len(entries) > 200
    for path, value, head, description in entries:
        name, _, kind = head.partition(" : ")
        assert description, f"{path}: {name}"
        assert re.fullmatch(FORM["TYPE"] + r"(?: or .+)?|", kind), f"{path}: {head}"
        assert name in inspect.signature(value).parameters, f"{path}: {name}"


def test_one_line_form() -> None:
    said = """First line.

Parameters
----------
rate : float, in 1 / time, >= 0; default 0.01, slow against a tau of 1
decay : float, relative to the Hebbian term; default 0
layer : int, from 1; row : int, row of the batch
post, pre : Tensors (rows, post), (rows, pre), the two sides
kind : "soft" (default) or "hard"; what else there
    is to say
other : float
    numpydoc's own form

Returns
-------
DataArray of numbers

Raises
------
ValueError, TypeError : out of range
"""
    signature = {"decay": Declared("float", "0.0"), "kind": Declared("str", "'soft'"), "post": Declared("Any", "")}
    assert numpydoc(said, signature).split("\n")[4:] == [
        "rate : float",
        "    in 1 / time, >= 0; default 0.01, slow against a tau of 1",
        "decay",
        "    relative to the Hebbian term",
        "layer : int",
        "    from 1",
        "row : int",
        "    row of the batch",
        "post : Tensors",
        "    (rows, post) and (rows, pre): the two sides",
        "pre : Tensors",
        "    (rows, post) and (rows, pre): the two sides",
        "kind",
        '    "soft" (default) or "hard"; what else there',
        "    is to say",
        "other : float",
        "    numpydoc's own form",
        "",
        "Returns",
        "-------",
        ":",
        "    DataArray of numbers",
        "",
        "Raises",
        "------",
        "ValueError or TypeError",
        "    out of range",
        "",
    ]


def test_a_wrong_default_is_not_hidden() -> None:
    said = "A.\n\nParameters\n----------\nrate : float, how fast; default 0.1"
    assert numpydoc(said, {"rate": Declared("float", "0.2")}).endswith("how fast; default 0.1")
    assert numpydoc(said, {"rate": Declared("float", "0.1")}).endswith("how fast")


@pytest.mark.parametrize("name", [name for name in ct.plot.__all__ if name not in ("animate", "STYLE")])
def test_plots_have_the_signature_that_one_calls(name: str) -> None:
    parameters = inspect.signature(getattr(ct.plot, name)).parameters
    assert next(iter(parameters)) != "ax"
    if "ax" in parameters:
        assert parameters["ax"].default is None
        assert "Axes" in str(parameters["ax"].annotation)

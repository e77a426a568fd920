"""What may import what, what is registered, what is packaged, and how long a file or function may be."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import ctsigprop
from ctsigprop._moved import MOVED
from ctsigprop.rules.base import Rule
from ctsigprop.rules.contrasts import Contrast
from ctsigprop.rules.table import CONTRASTS, RULES
from ctsigprop.signals.base import Signal
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.table import SOLVERS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
FOLDERS = {"ctsigprop": ROOT / "ctsigprop", "ctsigprop.rules": ROOT / "rules", "ctsigprop.solvers": ROOT / "solvers"}
LINES_PER_FILE, LINES_PER_FUNCTION, PARAMETERS, MODULES_IN_A_CHAIN = 350, 70, 6, 21
BARS = {"Any": 183, "type: ignore": 6, "getattr and hasattr": 28, "long signatures": 13}
"""How much of each there may be in the whole package: no more than there is."""


def sources() -> dict[str, Path]:
    """Every module of the three packages by its import name, each file once (links are not followed)."""
    found = {}
    for package, folder in FOLDERS.items():
        for path, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if not (Path(path) / name).is_symlink() and name != "__pycache__"]
            for file in files:
                if file.endswith(".py"):
                    parts = (Path(path) / file).relative_to(folder).with_suffix("").parts
                    found[".".join((package, *(part for part in parts if part != "__init__")))] = Path(path) / file
    return found


SOURCES = sources()
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of each import; `from a import b` counts as a.b where that is a module, else as a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield node.lineno, whole if whole in SOURCES else module


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def offending(package: str, allowed: tuple[str, ...]) -> list[str]:
    """Imports of ctsigprop in a package, other than the allowed ones."""
    return [
        f"{SOURCES[name].relative_to(ROOT)}:{line} imports {module}"
        for name, tree in TREES.items()
        if within(name, package)
        for line, module in imports(tree)
        if within(module, "ctsigprop") and not any(within(module, one) for one in allowed)
    ]


def test_every_file_was_found() -> None:
    assert {
        "ctsigprop.model.network",
        "ctsigprop.rules.oja",
        "ctsigprop.solvers.reference.methods",
        "ctsigprop.rules",
    } <= set(SOURCES)
    assert len(SOURCES) > 30


def test_rules_import_nothing_of_ours_but_rules() -> None:
    assert offending("ctsigprop.rules", ("ctsigprop.rules",)) == []


def test_solvers_import_nothing_of_ours_but_solvers_and_updates_and_checks() -> None:
    allowed = ("ctsigprop.solvers", "ctsigprop.rules.update", "ctsigprop.rules.checks")
    assert offending("ctsigprop.solvers", allowed) == []


def test_nothing_imports_the_command_line_or_the_demo_but_the_command_line() -> None:
    found = [
        (name, module)
        for name, tree in TREES.items()
        for _, module in imports(tree)
        if module in ("ctsigprop.cli", "ctsigprop.demo") and name != "ctsigprop.cli"
    ]
    assert found == []


FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "files", "rules"),
    ("solvers", "display", "datasets", "reductions"),
    ("neurons", "signals", "stimuli"),
    ("model",),
    ("dynamics", "results"),
    ("trace",),
    ("execution",),
    ("recording",),
    ("simulation",),
    ("analysis", "plot", "estimators"),
    ("batch", "demo"),
    ("cli",),
)
"""Rooms from the ground up: what stands in one may import what stands below it, and its own room."""


def room(name: str) -> str:
    """The folder of a module, or its own name where it lies at the root."""
    return name.split(".")[1]


def test_every_room_has_its_floor() -> None:
    every = {room(name) for name in SOURCES if "." in name} - {"_moved"}
    assert every == {name for floor in FLOORS for name in floor}


def test_rooms_import_only_what_stands_below_them() -> None:
    height = {name: at for at, floor in enumerate(FLOORS) for name in floor}
    upward = [
        f"{name} imports {module}"
        for name, tree in TREES.items()
        if "." in name and room(name) in height
        for _, module in imports(tree)
        if within(module, "ctsigprop") and "." in module and room(module) != room(name)
        if height[room(module)] >= height[room(name)]
    ]
    assert upward == []


def test_the_root_holds_few_files() -> None:
    assert len(list((ROOT / "ctsigprop").glob("*.py"))) <= 8


def test_imports_go_round_in_no_circle() -> None:
    packages = {name for name, path in SOURCES.items() if path.name == "__init__.py"}
    arrows = {
        name: {module for _, module in imports(tree) if module in SOURCES and module not in packages}
        for name, tree in TREES.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in sorted(arrows):
        visit(name, ())


def test_no_chain_of_imports_is_long() -> None:
    packages = {name for name, path in SOURCES.items() if path.name == "__init__.py"}

    @cache
    def longest(name: str) -> tuple[str, ...]:
        below = {module for _, module in imports(TREES[name]) if module in SOURCES and module not in packages}
        return (name, *max((longest(module) for module in below), key=len, default=()))

    chain = max((longest(name) for name in sorted(set(SOURCES) - packages)), key=len)
    assert len(chain) <= MODULES_IN_A_CHAIN, " > ".join(chain)


def test_a_module_that_has_moved_is_found_by_its_old_name_with_a_warning() -> None:
    for old, new in MOVED.items():
        sys.modules.pop(f"ctsigprop.{old}", None)
        with pytest.warns(DeprecationWarning, match=f"ctsigprop.{old} has moved to ctsigprop.{new}"):
            module = importlib.import_module(f"ctsigprop.{old}")
        assert set(vars(module)) >= {
            name for name in vars(importlib.import_module(f"ctsigprop.{new}")) if name[0] != "_"
        }
        assert importlib.import_module(f"ctsigprop.{old}") is module


def test_no_import_is_relative() -> None:
    found = [
        f"{SOURCES[name].relative_to(ROOT)}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert found == []


def is_guard(node: ast.stmt) -> bool:
    """`if __name__ != ...: raise ImportError(...)`."""
    return isinstance(node, ast.If) and all(isinstance(inside, ast.Raise) for inside in node.body) and not node.orelse


def test_every_init_only_re_exports() -> None:
    for name, path in SOURCES.items():
        if path.name != "__init__.py":
            continue
        first, *rest = TREES[name].body
        assert isinstance(first, ast.Expr)
        for node in rest:
            names = [getattr(target, "id", "") for target in getattr(node, "targets", [])]
            assert isinstance(node, ast.ImportFrom) or is_guard(node) or names in (["__all__"], ["__version__"]), (
                f"{path.relative_to(ROOT)}:{node.lineno} does more than re-export"
            )


@pytest.mark.parametrize("name", [name for name, path in SOURCES.items() if path.name == "__init__.py"])
def test_all_names_exactly_what_an_init_imports(name: str) -> None:
    module = importlib.import_module(name)
    imported = {
        alias.asname or alias.name
        for node in TREES[name].body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if not alias.name.startswith("_")
    }
    names = getattr(module, "__all__", [])
    assert set(names) == imported
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["rules", "solvers"])
def test_the_folders_cannot_be_imported_under_a_second_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(ImportError, match=f"import this package as ctsigprop.{name}, not as {name}"):
        importlib.import_module(name)
    assert name not in sys.modules


def concrete(base: type) -> dict[str, type]:
    """Every class of ours below `base` that nothing of ours is below, after all modules have been imported."""
    for module in pkgutil.walk_packages(ctsigprop.__path__, "ctsigprop."):
        importlib.import_module(module.name)
    found: dict[str, type] = {}
    waiting: list[type] = [base]
    while waiting:
        cls = waiting.pop()
        every: list[type] = cls.__subclasses__()
        below = [sub for sub in every if within(sub.__module__, "ctsigprop")]
        waiting += below
        if not below and cls is not base and not inspect.isabstract(cls):
            found[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return found


def combines(cls: type) -> bool:
    """Whether a class is made of other rules by an operator, and so has no settings of its own."""
    return cls.__module__ == "ctsigprop.rules.base"


REGISTRIES: dict[str, tuple[type, dict[str, Any]]] = {
    "rules": (Rule, dict(RULES)),
    "contrasts": (Contrast, dict(CONTRASTS)),
    "signals": (Signal, dict(SIGNALS)),
    "solvers": (Solver, dict(SOLVERS)),
}


@pytest.mark.parametrize("name", REGISTRIES)
def test_a_registry_holds_exactly_the_concrete_classes(name: str) -> None:
    base, table = REGISTRIES[name]
    expected = {key for key, cls in concrete(base).items() if not combines(cls)}
    assert {f"{cls.__module__}.{cls.__qualname__}" for cls in table.values()} == expected
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize("name", REGISTRIES)
def test_names_in_a_registry_are_plain_words_in_order(name: str) -> None:
    table = REGISTRIES[name][1]
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", key) for key in table)
    assert list(table) == sorted(table)


@pytest.mark.parametrize("module", [ctsigprop.rules, ctsigprop.solvers, ctsigprop.signals])
def test_available_and_get_read_the_table(module: Any) -> None:
    name = module.__name__.removeprefix("ctsigprop.")
    table = REGISTRIES[name][1]
    assert module.available() == sorted(table)
    for key, cls in table.items():
        assert module.get(key) is cls
        assert getattr(module, cls.__name__) is cls
        assert cls.__name__ in module.__all__


def test_the_packages_that_are_installed_are_the_folders() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name for name, path in SOURCES.items() if path.name == "__init__.py"}
    assert set(setup["packages"]) == packages
    assert len(setup["packages"]) == len(packages)
    for package, folder in setup["package-dir"].items():
        assert (ROOT / folder) == FOLDERS[package]


def test_the_links_of_an_uninstalled_checkout_point_at_the_folders() -> None:
    for name in ("rules", "solvers"):
        assert (ROOT / "ctsigprop" / name).is_symlink()
        assert (ROOT / "ctsigprop" / name).resolve() == (ROOT / name).resolve()


def test_the_version_is_that_of_the_package() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == ctsigprop.__version__


def test_no_check_is_a_bare_assert() -> None:
    found = [
        f"{SOURCES[name].relative_to(ROOT)}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert found == []


USERS_CODE = ("ctsigprop.batch.course", "ctsigprop.batch.sweep", "ctsigprop.trace.record")
"""They run functions of the user's, and tell in a table what those raise."""


def test_nothing_is_caught_blindly() -> None:
    found = [
        f"{SOURCES[name].relative_to(ROOT)}:{node.lineno}"
        for name, tree in TREES.items()
        if name not in USERS_CODE
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or getattr(node.type, "id", "") == "Exception")
    ]
    assert found == []


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES.values()}
    assert {file: lines for file, lines in lengths.items() if lines > LINES_PER_FILE} == {}


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{SOURCES[name].relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {place: lines for place, lines in lengths.items() if lines > LINES_PER_FUNCTION} == {}


def uses_of_any(path: Path, tree: ast.AST) -> Iterator[int]:
    """Lines with `Any`, in annotations that are written as text too; an import is no use."""
    for node in ast.walk(tree):
        if (isinstance(node, ast.Name) and node.id == "Any") or (
            isinstance(node, ast.Attribute) and node.attr == "Any"
        ):
            yield node.lineno
        for text in texts_in(annotations_of(node)):
            try:
                inside = ast.parse(str(text.value).strip(), mode="eval")
            except SyntaxError:  # a shape, or another text that is no type
                continue
            yield from (text.lineno for _ in uses_of_any(path, inside))


def annotations_of(node: ast.AST) -> list[ast.expr]:
    """The types that are written at this place of a module."""
    places = (getattr(node, name, None) for name in ("annotation", "returns"))
    return [place for place in places if isinstance(place, ast.expr)]


def texts_in(annotations: list[ast.expr]) -> list[ast.Constant]:
    """The parts of annotations that are written as text."""
    nodes = (node for annotation in annotations for node in ast.walk(annotation))
    return [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def types_ignored(path: Path, tree: ast.AST) -> Iterator[int]:
    """Lines with a comment that turns the checker of types off."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT and "type: ignore" in token.string:
                yield token.start[0]


def attributes_by_name(path: Path, tree: ast.AST) -> Iterator[int]:
    """Lines that call getattr or hasattr."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            yield node.lineno


def long_signatures(path: Path, tree: ast.AST) -> Iterator[int]:
    """Lines with a function of more than PARAMETERS parameters."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if sum(parameter.arg not in ("self", "cls") for parameter in parameters) > PARAMETERS:
                yield node.lineno


COUNTS: dict[str, Callable[[Path, ast.AST], Iterator[int]]] = {
    "Any": uses_of_any,
    "type: ignore": types_ignored,
    "getattr and hasattr": attributes_by_name,
    "long signatures": long_signatures,
}


@pytest.mark.parametrize("what", BARS)
def test_any_ignored_types_getattr_and_long_signatures_are_few(what: str) -> None:
    places = [
        f"{SOURCES[name].relative_to(ROOT)}:{line}"
        for name, tree in TREES.items()
        for line in COUNTS[what](SOURCES[name], tree)
    ]
    assert len(places) <= BARS[what], "\n".join(places)


def test_the_counts_see_what_they_count(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from typing import Any\n"
        "def few(self, a: Any, b: 'list[Any]', c: Float[Tensor, 'rows n'], d=0, e=0, f=0) -> 'int | str': ...\n"
        "def many(a, b, /, c, d, *, e, f, g): return getattr(a, 'b') or hasattr(a, 'c')  # type: ignore[misc]\n"
    )
    tree = ast.parse(module.read_text())
    counted = {what: list(count(module, tree)) for what, count in COUNTS.items()}
    assert counted == {
        "Any": [2, 2],
        "type: ignore": [3],
        "getattr and hasattr": [3, 3],
        "long signatures": [3],
    }

"""Experiments as TOML files: read, changed from the command line, checked, and turned into calls of `ctsigprop`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError
from scipy import stats
from scipy.stats.distributions import rv_frozen

from ctsigprop.batch.job import Budget, Settings, StopBelow, Trial
from ctsigprop.batch.measures import METRICS
from ctsigprop.batch.parts import MOST, DataPart, NetworkPart, ShownPart, SolverPart, Strict, is_model
from ctsigprop.datasets import Dataset
from ctsigprop.execution.request import Execution
from ctsigprop.files.paths import local
from ctsigprop.model.network import Network
from ctsigprop.rules.checks import lookup
from ctsigprop.solvers.base import Solver
from ctsigprop.stimuli.presentations import Presentations

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


OTHER_KIND = ("list_type", "dict_type", "model_type", "model_attributes_type")
"""Mistakes of an alternative that the value was not meant for, if another one tells more."""
LARGEST = 1 << 22
"""Bytes of a configuration file at most."""
Load = Callable[[DataPart, int], Dataset]
Table = dict[str, object]
"""A table of a file, as TOML gives it."""
M = TypeVar("M", bound=BaseModel)


class ConfigError(ValueError):
    """A configuration file that cannot be used: the message names file, key and what is allowed."""


class Range(Strict):
    """`{ low = 0.1, high = 10.0, scale = "log" }`: a setting that is drawn; integers where both ends are."""

    low: int | float
    high: int | float
    scale: Literal["linear", "log"] = "linear"

    def distribution(self) -> rv_frozen:
        """SciPy's distribution of it.

        Raises
        ------
        ValueError : an empty range, or one on a log scale that is not positive
        """
        if self.high <= self.low or (self.scale == "log" and self.low <= 0):
            raise ValueError(f"needs low < high, and low > 0 on a log scale, got {self.low} ... {self.high}")
        if self.scale == "log":
            return stats.loguniform(self.low, self.high)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return stats.randint(self.low, self.high + 1)
        return stats.uniform(self.low, self.high - self.low)

    def ends(self) -> list[object]:
        """A value near either end."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return [int(value) if whole else float(value) for value in self.distribution().ppf([0.001, 0.999])]


class CompareSection(Strict):
    """`[compare]`: for each rule, what differs from `[network]`, `[presentations]` and `[solver]`."""

    rules: dict[str, dict[str, object]] = Field(
        min_length=1,
        description="`[compare.rules.NAME]` for each rule, with those keys of data, presentations, network and solver "
        "that differ from the rest of the file",
    )
    reference: str | None = Field(
        default=None, description="name of the rule with which all others are compared; absent: every pair"
    )
    test: Literal["t", "permutation", "wilcoxon"] = Field(
        default="t", description="paired test over runs that share a seed, corrected after Holm"
    )


class SweepSection(Strict):
    """`[sweep]`: keys of the file, dotted, with lists of values or ranges."""

    settings: dict[str, list[object] | Range] = Field(
        min_length=1,
        description='dotted keys of this file, in quotes, each with a list of values or a range: "network.rule.rate" = '
        '{ low = 0.1, high = 10.0, scale = "log" }',
    )
    design: Literal["grid", "random", "sobol"] | None = Field(
        default=None,
        description="which combinations are run; absent: all (a grid) where every setting is a list, else random",
    )
    n: int | None = Field(
        default=None, ge=1, le=MOST, description="number of combinations of a random or Sobol design, >= 1"
    )
    seed: int = Field(default=0, ge=0, description="seed of a random or Sobol design")


class StopSection(Strict):
    """`[stop]`: runs that are hopeless, as `ct.StopBelow`."""

    metric: str = Field(default="accuracy", description="one of `metrics`")
    least: float = Field(description="a run whose metric is below this is stopped")
    after: float = Field(default=0.25, ge=0, le=1, description="once this share of its stimulus was shown, 0 ... 1")


class Setup(Strict):
    """What one run is made of."""

    data: DataPart = DataPart()
    presentations: ShownPart = ShownPart()
    network: NetworkPart = NetworkPart()
    solver: SolverPart | Literal["auto"] = Field(
        default="auto",
        description='how time is advanced; "auto": an adaptive method, of spiking networks steps of tau / 10',
    )

    def stimulus(self, seed: int, load: Load = DataPart.load) -> Presentations:
        """What the run of one seed is shown; `load` may remember the data of earlier ones."""
        data = load(self.data, seed)
        return self.presentations.build(data.x_train, data.y_train, seed)

    def parts(self, seed: int, load: Load = DataPart.load) -> tuple[Network, Presentations, Solver | str, Dataset]:
        """What the run of one seed needs: network, stimulus, solver and data."""
        data = load(self.data, seed)
        classes = int(data.y_train.max()) + 1
        network = self.network.build(data.x_train.shape[1], classes)
        return network, self.stimulus(seed, load), "auto" if self.solver == "auto" else self.solver.build(), data

    def trial(self, seed: int, load: Load = DataPart.load) -> Trial:
        """The run of one seed."""
        return Trial(*self.parts(seed, load))


class Experiment(Setup):
    """A configuration file."""

    title: str = Field(default="", description="printed above the table")
    seeds: Annotated[int, Field(ge=1, le=MOST)] | list[Annotated[int, Field(ge=0)]] = Field(
        default=10, description="number of runs of each rule or setting, or a list of their seeds"
    )
    metrics: list[str] = Field(
        default=["accuracy"],
        min_length=1,
        description=f"what is measured on the test samples: {', '.join(METRICS)}; the first one is compared and drawn",
    )
    budget: Literal["presentations", "rhs", "seconds"] | dict[Literal["rhs", "seconds"], float] = Field(
        default="presentations",
        description="what every run may spend: the whole stimulus, or as many right-hand side evaluations (rhs) or "
        "seconds as the cheapest run needs for it; `{ rhs = 5000 }` or `{ seconds = 10.0 }` sets the amount",
    )
    every: int | None = Field(
        default=None, ge=1, description="presentations between two points of the learning curve; absent: a tenth of all"
    )
    execution: Execution = Field(
        default="auto",
        description='who takes the steps, as in `simulate`: "auto", the fastest path, "plain", "inplace", "compiled"',
    )
    stop: StopSection | None = None
    compare: CompareSection | None = None
    sweep: SweepSection | None = None

    def allowed(self) -> Budget:
        """The budget of every run."""
        return Budget(self.budget) if isinstance(self.budget, str) else Budget(*next(iter(self.budget.items())))

    def hopeless(self) -> StopBelow | None:
        """When a run is stopped."""
        return None if self.stop is None else StopBelow(self.stop.metric, self.stop.least, self.stop.after)


def read(path: Path, changes: Sequence[str] = ()) -> tuple[Experiment, Table]:
    """(the checked experiment, its tables as they stand in the file, changes included).

    Parameters
    ----------
    path : a TOML file
    changes : each "key = value" in TOML's own notation, such as "network.rule.rate=2.0"

    Raises
    ------
    ConfigError : a file that is absent or no TOML, an unknown key, a value out of its range
    """
    try:
        with local("FILE", path).open("rb") as file:  # not asked for its size: it may be a pipe
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigError(f"{path} is no experiment: it has more than {LARGEST} bytes")
        raw = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: its tables or lists are nested too deeply") from None
    for change in changes:
        raw = merged(raw, parsed(change))
    return checked(Experiment, raw, str(path)), raw


def parsed(change: str) -> Table:
    """One change as a table; a value that is no TOML is taken as text."""
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set must be KEY=VALUE such as network.rule.rate=2.0, got {change!r}")
    for text in (f"{key} = {value}", f"{key} = '''{value.strip()}'''"):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
    raise ConfigError(f"--set must be KEY=VALUE such as network.rule.rate=2.0, got {change!r}")


def merged(base: Mapping[str, object], change: Mapping[str, object]) -> Table:
    """`base` with what `change` has; tables are merged, but one that names something else takes the other's place."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def checked(model: type[M], raw: Mapping[str, object], where: str) -> M:
    """The tables as a model.

    Raises
    ------
    ConfigError : with file, key and what is allowed, one line per mistake
    """
    try:
        described = model.model_validate(raw)
        if isinstance(described, Experiment):
            check_whole(described, raw, where)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in told(error, model, raw))) from None
    return described


def told(error: ValidationError, model: type[BaseModel], raw: Mapping[str, object]) -> list[str]:
    """Each mistake as "key: what is wrong"; of alternatives that all fail, the first is told."""
    lines: dict[str, str] = {}
    weak: set[str] = set()
    for one in error.errors():
        parts = path_of(one["loc"], raw)
        text = one["msg"].removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            table: type[BaseModel] | None = model
            for part in parts[:-1]:
                table = None if table is None else inner_model(table, part)
            text = "unknown key" + (f"; {', '.join(table.model_fields)} are allowed" if table is not None else "")
        elif one["type"] == "missing":
            parts, text = [*parts, str(one["loc"][-1])], "is missing"
        elif one["type"] != "value_error":
            text = f"{text}, got {one['input']!r}"
        key = ".".join(parts)
        if one["type"] not in OTHER_KIND or not any(other.startswith(key) for other in lines):
            lines = {other: line for other, line in lines.items() if not (other in weak and key.startswith(other))}
            lines[key] = lines.get(key, text)
            weak = {*weak, key} if one["type"] in OTHER_KIND else weak - {key}
    return [f"{key}: {text}" for key, text in lines.items()]


def path_of(loc: Sequence[int | str], raw: object) -> list[str]:
    """The keys of a mistake's place that are in the file; pydantic adds names of alternatives."""
    keys, inside = [], raw
    for part in loc:
        below = inside.get(part, inside) if isinstance(inside, Mapping) else inside
        if isinstance(inside, list) and isinstance(part, int):
            below = inside[part]
        if below is not inside:
            inside = below
            keys.append(str(part))
    return keys


def inner_model(table: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a table inside another, or None."""
    field = table.model_fields.get(key)
    candidates = () if field is None else (field.annotation, *get_args(field.annotation))
    return next((kind for kind in candidates if is_model(kind)), None)


def check_whole(experiment: Experiment, raw: Mapping[str, object], where: str) -> None:
    """What no single table can see: metrics, ranges, the setup of every rule of a comparison, keys of a sweep."""
    try:
        for name in experiment.metrics:
            lookup("metric", name, METRICS)
    except ValueError as error:
        raise ConfigError(f"{where}: metrics: {error}") from None
    if experiment.stop is not None and experiment.stop.metric not in experiment.metrics:
        raise ConfigError(f"{where}: stop.metric: must be one of metrics, {', '.join(experiment.metrics)}")
    if experiment.compare is not None:
        setups(raw, where)
        if experiment.compare.reference not in (None, *experiment.compare.rules):
            raise ConfigError(
                f"{where}: compare.reference: must be one of {', '.join(experiment.compare.rules)}, "
                f"got {experiment.compare.reference!r}"
            )
    for key, values in (experiment.sweep.settings if experiment.sweep is not None else {}).items():
        try:
            some = values if isinstance(values, list) else values.ends()
        except ValueError as error:
            raise ConfigError(f"{where}: sweep.settings.{key!r}: {error}") from None
        if key.split(".")[0] not in Setup.model_fields:
            known = ", ".join(Setup.model_fields)
            raise ConfigError(f"{where}: sweep.settings.{key!r}: must be a key of {known}, such as network.rule.rate")
        for value in some:
            setup_of(raw, {key: value}, f"{where}: sweep.settings.{key!r}")


def setups(raw: Mapping[str, object], where: str) -> dict[str, Setup]:
    """The setup of every rule of a comparison."""
    rules = CompareSection.model_validate(raw["compare"]).rules
    base = {key: value for key, value in raw.items() if key in Setup.model_fields}
    return {
        name: checked(Setup, merged(base, change), f"{where}: compare.rules.{name}") for name, change in rules.items()
    }


def setup_of(raw: Mapping[str, object], settings: Settings, where: str = "settings") -> Setup:
    """The setup of one point of a sweep: the file with some of its keys set."""
    table = {key: value for key, value in raw.items() if key in Setup.model_fields}
    for key, value in settings.items():
        outermost, *path = key.split(".")
        change = value
        for part in reversed(path):
            change = {part: change}
        table = merged(table, {outermost: change})
    return checked(Setup, table, where)


def build_point(raw: Mapping[str, object], load: Load, *, seed: int, **settings: object) -> Trial:
    """What a sweep builds of one point and seed."""
    return setup_of(raw, settings).trial(seed, load)

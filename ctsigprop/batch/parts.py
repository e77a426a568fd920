"""Parts of a configuration file: tables with a `name` and the settings of the object with this name."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal, TypeGuard, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from ctsigprop import datasets
from ctsigprop.model.network import Network
from ctsigprop.neurons.base import Neuron
from ctsigprop.neurons.integrate_and_fire import IF, LIF, AdaptiveLIF
from ctsigprop.neurons.izhikevich import Izhikevich
from ctsigprop.neurons.rate import Rate
from ctsigprop.neurons.theta import Theta
from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import lookup
from ctsigprop.rules.table import CONTRASTS, RULES
from ctsigprop.signals.base import Signal
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.table import SOLVERS
from ctsigprop.stimuli.encoders import Encoder, Latency, Poisson
from ctsigprop.stimuli.presentations import Presentations

ENCODERS: dict[str, type[Encoder]] = {"latency": Latency, "poisson": Poisson}
NEURONS: dict[str, type[Neuron]] = {
    "adaptive_lif": AdaptiveLIF,
    "if": IF,
    "izhikevich": Izhikevich,
    "lif": LIF,
    "rate": Rate,
    "theta": Theta,
}
DATA: dict[str, Callable[..., datasets.Dataset]] = {
    "digits": datasets.digits,
    "gaussian_clusters": datasets.gaussian_clusters,
    "two_moons": datasets.two_moons,
}
"""Data sets that are made, or come with a package."""
T = TypeVar("T")
MOST = 1_000_000
"""Units of a layer, seeds, points of a design: what a file may ask for at most."""


class Strict(BaseModel):
    """A table of a configuration file: a key that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    """Whether a kind of value is a table with keys of its own."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


class Part(BaseModel):
    """A table with a `name`; its other keys are the settings of what is called so."""

    model_config = ConfigDict(extra="allow")
    kind: ClassVar[str]
    table: ClassVar[Mapping[str, type]]
    name: str

    @model_validator(mode="after")
    def _fits(self) -> Part:
        self.build()
        return self

    @abstractmethod
    def build(self) -> object:
        """The object that is described.

        Raises
        ------
        ValueError : an unknown name or setting, or a value out of its range
        """

    @property
    def settings(self) -> dict[str, object]:
        """All keys but the name."""
        return dict(self.model_extra or {})


def made(kind: str, name: str, table: Mapping[str, type[T]], settings: Mapping[str, object]) -> T:
    """An object of the class called `name`, from settings that are checked against its fields."""
    cls: type = lookup(kind, name, table)
    fields = {one.name: None for one in dataclasses.fields(cls) if one.init}
    for key in settings:
        if key not in fields:
            raise ValueError(f"{name} has no setting {key!r}: {', '.join(fields) or 'none'} are allowed")
    try:
        built: T = cls(**settings)
        return built
    except TypeError as error:
        raise ValueError(str(error)) from None


class NeuronPart(Part):
    """`neuron = { name = "rate", tau = 1.0, activation = "relu" }`."""

    kind = "neuron"
    table = NEURONS
    name: str = "rate"

    def build(self) -> Neuron:
        return made(self.kind, self.name, NEURONS, self.settings)


class RulePart(Part):
    """`rule = { name = "contrastive_hebbian", rate = 4.0 }`."""

    kind = "rule"
    table = RULES
    name: str = "contrastive_hebbian"

    def build(self) -> Rule:
        return made(self.kind, self.name, RULES, self.settings)


class SolverPart(Part):
    """`solver = { name = "euler", dt = 1.0 }`."""

    kind = "solver"
    table = SOLVERS

    def build(self) -> Solver:
        return made(self.kind, self.name, SOLVERS, self.settings)


class SignalPart(Part):
    """`signal = { name = "target_stream", contrast = "cosine" }`; a contrast may be a table with its constants."""

    kind = "signal"
    table = SIGNALS
    name: str = "target_stream"

    def build(self) -> Signal:
        settings = self.settings
        contrast = settings.get("contrast")
        if isinstance(contrast, Mapping):
            constants = {key: value for key, value in contrast.items() if key != "name"}
            settings["contrast"] = made("contrast", str(contrast.get("name", "cosine")), CONTRASTS, constants)
        return made(self.kind, self.name, SIGNALS, settings)


class DataPart(Strict):
    """`data = { name = "digits" }`: one of `ct.datasets` with its settings; `split` is its seed, "seed" the run's."""

    name: Literal["digits", "mnist", "gaussian_clusters", "two_moons"] = Field(
        default="digits", description="data set, one of `ct.datasets`"
    )
    split: Literal["seed"] | int = Field(
        default="seed", description='seed of the split into training and test samples; "seed" splits anew for each run'
    )
    root: str = Field(default="", description="folder of MNIST's files; only for mnist")
    n: int | None = Field(
        default=None, le=100 * MOST, description="number of samples; only for gaussian_clusters and two_moons"
    )
    n_features: int | None = Field(
        default=None, le=MOST, description="inputs of each sample; only for gaussian_clusters"
    )
    n_classes: int | None = Field(default=None, le=MOST, description="number of classes; only for gaussian_clusters")
    noise: float | None = Field(default=None, description="standard deviation of the noise; only for two_moons")
    spread: float | None = Field(default=None, description="width of a cluster; only for gaussian_clusters")

    def load(self, seed: int) -> datasets.Dataset:
        """The data of one seed.

        Raises
        ------
        ValueError, FileNotFoundError : settings that this data set does not have, or files that are absent
        """
        if self.name == "mnist":
            if not self.root:
                raise ValueError("data.root must name the folder of MNIST's files")
            return datasets.mnist(self.root)
        sizes = {"n": self.n, "n_features": self.n_features, "n_classes": self.n_classes}
        settings = {**sizes, "noise": self.noise, "spread": self.spread}
        given = {name: value for name, value in settings.items() if value is not None}
        try:
            return DATA[self.name](seed=seed if self.split == "seed" else self.split, **given)
        except TypeError as error:
            raise ValueError(f"data: {error}") from None


class EncoderPart(Part):
    """`encoder = { name = "poisson", rate = 20.0 }`: samples as input spikes."""

    kind = "encoder"
    table = ENCODERS
    name: str = "poisson"

    def build(self) -> Encoder:
        return made(self.kind, self.name, ENCODERS, self.settings)


class ShownPart(Strict):
    """`[presentations]`: how the data are shown."""

    batch_size: int = Field(default=64, ge=1, description="samples shown at once, >= 1")
    duration: float = Field(default=1.0, gt=0, description="length of one presentation in units of time, > 0")
    epochs: int = Field(default=20, ge=1, description="passes through the training samples, >= 1")
    gate: list[float] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="[start, stop] within a presentation during which weights may change; absent: all the time",
    )
    encoder: EncoderPart | None = Field(
        default=None, description="turns samples into input spikes, for neurons with a reset; absent: constant currents"
    )

    def build(self, x: Tensor, y: Tensor, seed: int) -> Presentations:
        """The stimulus that shows these data."""
        gate = None if self.gate is None else (self.gate[0], self.gate[1])
        encoder = None if self.encoder is None else self.encoder.build()
        return Presentations(x, y, self.batch_size, self.duration, self.epochs, seed, gate, encoder=encoder)


class NetworkPart(Strict):
    """`[network]`: hidden layers, and with `output` one of a unit per class on top, which feedback signals need."""

    hidden: list[Annotated[int, Field(ge=1, le=MOST)]] = Field(
        default=[128, 128], min_length=1, description="units of each hidden layer, from the input up"
    )
    neuron: NeuronPart | list[NeuronPart] = Field(
        default=NeuronPart(), description="neuron of all hidden layers, or a list of one for each"
    )
    output: NeuronPart | None = Field(
        default=None,
        description="neuron of an output layer of one unit per class, which feedback signals need; absent: none",
    )
    rule: RulePart | list[RulePart] = Field(
        default=RulePart(), description="learning rule of all layers, or a list of one for each"
    )
    signal: SignalPart | None = Field(
        default=SignalPart(), description="how the target reaches the layers: target stream or a feedback signal"
    )
    bias: bool = Field(default=True, description="whether units have biases")
    time_unit: str | None = Field(
        default=None, description='unit of time in which tau, durations and rates are meant, such as "ms"'
    )

    def build(self, inputs: int, classes: int) -> Network:
        """The network for data of this many features and classes."""
        count = len(self.hidden)
        neurons = (
            [one.build() for one in self.neuron] if isinstance(self.neuron, list) else [self.neuron.build()] * count
        )
        sizes = [inputs, *self.hidden]
        if self.output is not None:
            sizes.append(classes)
            neurons = [*neurons, self.output.build()]
        rule = [one.build() for one in self.rule] if isinstance(self.rule, list) else self.rule.build()
        signal = None if self.signal is None else self.signal.build()
        return Network(
            sizes, classes, neuron=neurons, signal=signal, rule=rule, bias=self.bias, time_unit=self.time_unit
        )

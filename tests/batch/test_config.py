"""Configuration files: what they describe is what is built, and mistakes name the file, the key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct
from ctsigprop.batch.config import ConfigError, Range, merged, read, setup_of, setups
from ctsigprop.stimuli.validation import as_inputs

SHIPPED = sorted((Path(__file__).parents[2] / "notebooks" / "experiments").glob("*.toml"))
TEXT = """
seeds = [2, 5]
metrics = ["accuracy", "margin"]
budget = { rhs = 500 }
stop = { least = 0.2, after = 0.5 }

[data]
name = "two_moons"
n = 100

[presentations]
batch_size = 20
duration = 4
gate = [3, 4]
epochs = 2

[solver]
name = "euler"
dt = 0.5

[network]
hidden = [8, 6]
neuron = [{ name = "rate" }, { name = "rate", tau = 2.0, activation = "tanh" }]
rule = { name = "contrastive_hebbian", rate = 2.0, traces = false }
signal = { name = "target_stream", contrast = { name = "cosine", beta = 5.0 } }

[compare]
reference = "as above"

[compare.rules."as above"]

[compare.rules.backprop]
network.output = { name = "rate", activation = "linear" }
network.signal = { name = "backprop" }
network.rule.rate = 0.5
solver.dt = 1.0

[sweep]
design = "sobol"
n = 8
[sweep.settings]
"network.rule.rate" = { low = 0.1, high = 10.0, scale = "log" }
"presentations.epochs" = { low = 1, high = 3 }
"network.neuron" = [{ name = "rate", tau = 1.0 }, { name = "rate", tau = 2.0 }]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.toml"
    path.write_text(TEXT)
    return path


def test_a_file_describes_the_network_stimulus_solver_and_data(file: Path) -> None:
    trial = read(file)[0].trial(seed=3)
    data = ct.datasets.two_moons(100, seed=3)
    wanted = ct.Network(
        [2, 8, 6],
        n_classes=2,
        neuron=[ct.Rate(), ct.Rate(tau=2.0, activation="tanh")],
        signal=ct.TargetStream(contrast=ct.rules.SoftmaxCosine(beta=5.0)),
        rule=ct.rules.ContrastiveHebbian(rate=2.0, traces=False),
    )
    shown = ct.Presentations(data.x_train, data.y_train, 20, duration=4.0, gate=(3.0, 4.0), epochs=2, seed=3)
    assert isinstance(trial.stimulus, ct.Presentations)
    assert repr(trial.network) == repr(wanted)
    assert repr(trial.stimulus) == repr(shown)
    assert trial.stimulus.gate == (3.0, 4.0)
    assert torch.equal(as_inputs("x", trial.stimulus.x), as_inputs("x", shown.x))
    solver = ct.solvers.Euler(dt=0.5)
    assert repr(trial.solver) == repr(solver)
    ours = ct.simulate(trial.network, trial.stimulus, solver, seed=3).final
    assert ours.equal(ct.simulate(wanted, shown, solver, seed=3).final)


def test_a_rule_of_a_comparison_says_what_is_different(file: Path) -> None:
    found = {name: setup.trial(0) for name, setup in setups(read(file)[1], "file").items()}
    assert found["as above"].network.sizes == (2, 8, 6)
    other = found["backprop"].network
    assert other.sizes == (2, 8, 6, 2)
    assert other.signal == ct.Backprop()
    assert other.layers[2].neuron == ct.Rate(activation="linear")
    assert other.layers[0].rule == ct.rules.ContrastiveHebbian(rate=0.5, traces=False)
    assert found["backprop"].solver == ct.solvers.Euler(dt=1.0)


def test_the_rest_of_a_file_is_read_too(file: Path) -> None:
    experiment = read(file)[0]
    assert experiment.seeds == [2, 5]
    assert experiment.allowed() == ct.batch.Budget("rhs", 500.0)
    assert experiment.hopeless() == ct.StopBelow("accuracy", 0.2, 0.5)
    assert experiment.sweep is not None
    assert isinstance(experiment.sweep.settings["network.rule.rate"], Range)


def test_spiking_neurons_rules_and_encoders_are_described_too(file: Path) -> None:
    changes = ["network.neuron={name='lif', threshold=0.5}", "network.rule={name='surrogate', psi='boxcar'}"]
    trial = read(
        file, ["data={name='digits'}", "solver={name='hybrid', dt=0.1}", "presentations.encoder.rate=5.0", *changes]
    )[0].trial(1)
    assert trial.network.layers[0].neuron == ct.LIF(threshold=0.5)
    assert trial.network.layers[1].rule == ct.rules.Surrogate(psi="boxcar")
    assert isinstance(trial.stimulus, ct.Presentations)
    assert trial.stimulus.encoder == ct.Poisson(rate=5.0)


def test_ranges_are_distributions() -> None:
    assert Range(low=1, high=3).distribution().support() == (1, 3)
    np.testing.assert_allclose(Range(low=0.1, high=10.0, scale="log").distribution().median(), 1.0)
    np.testing.assert_allclose(Range(low=0.5, high=2.0).distribution().ppf([0, 0.5, 1]), [0.5, 1.25, 2.0])


def test_a_table_that_names_something_else_takes_the_place_of_the_other() -> None:
    base = {"rule": {"name": "hebb", "rate": 1.0, "decay": 0.5}, "seeds": 3}
    assert merged(base, {"rule": {"rate": 2.0}})["rule"] == {"name": "hebb", "rate": 2.0, "decay": 0.5}
    assert merged(base, {"rule": {"name": "oja"}})["rule"] == {"name": "oja"}
    assert base["rule"] == {"name": "hebb", "rate": 1.0, "decay": 0.5}


def test_keys_are_set_from_outside(file: Path) -> None:
    changes = ["presentations.epochs=7", "data.name = digits", "network.hidden=[5]", 'network.neuron={name="rate"}']
    experiment, raw = read(file, [*changes, 'compare.rules."as above".network.rule.rate=3.5', "data.n=50"])
    assert experiment.presentations.epochs == 7
    assert experiment.data.name == "digits"
    assert setups(raw, "file")["as above"].network.rule.build().rate == 3.5  # type: ignore[union-attr]
    assert setup_of(raw, {"network.rule.rate": 9.0, "solver.dt": 0.25}).network.rule.build().rate == 9.0  # type: ignore[union-attr]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid_and_its_networks_can_be_built(path: Path) -> None:
    _, raw = read(path)
    for setup in setups(raw, str(path)).values():
        trial = setup.trial(0)
        assert isinstance(trial.stimulus, ct.Presentations)
        ct.simulate(trial.network, trial.stimulus, trial.solver or "auto", t_span=(0, trial.stimulus.duration))


MISTAKES = {
    "network.rule.rat=3": "network.rule: contrastive_hebbian has no setting 'rat': rate, decay, traces are allowed",
    "network.rule.rate=-1": "network.rule: ContrastiveHebbian(rate=) must be a finite number >= 0, got -1",
    "network.rule.rate=fast": "network.rule: ContrastiveHebbian(rate=) must be a number, got 'fast'",
    "network.rule.name=hebbb": "network.rule: unknown rule 'hebbb': did you mean 'hebb'",
    "network.neuron=[{name='rate', tau=0}]": "network.neuron.0: Rate(tau=) must be a finite number > 0, got 0",
    "network.hidden=[8, 0]": "network.hidden.1: Input should be greater than or equal to 1, got 0",
    "network.signal.contrast=cosin": "network.signal: unknown contrast 'cosin': did you mean 'cosine'",
    "network.signal.contrast.beta=-1": "network.signal: SoftmaxCosine(beta=) must be a finite number > 0, got -1",
    "solver.dt=0": "solver: Euler(dt=) must be a finite number > 0, got 0",
    "solver.name=eular": "solver: unknown solver 'eular': did you mean 'euler'",
    "presentation.epochs=3": "presentation: unknown key; data, presentations, network, solver, title, seeds",
    "presentations.epohcs=3": "presentations.epohcs: unknown key; batch_size, duration, epochs, gate, encoder",
    "presentations.epochs=0": "presentations.epochs: Input should be greater than or equal to 1, got 0",
    "presentations.epochs=2.5": "presentations.epochs: Input should be a valid integer, got 2.5",
    "data.name=mnst": "data.name: Input should be 'digits', 'mnist', 'gaussian_clusters' or 'two_moons', got 'mnst'",
    "seeds=x": "seeds: Input should be a valid integer, got 'x'",
    "metrics=['acc']": "metrics: unknown metric 'acc': did you mean 'accuracy'",
    "budget=rsh": "budget: Input should be 'presentations', 'rhs' or 'seconds', got 'rsh'",
    "sweep.settings.'network.bias'={low=1}": "sweep.settings.network.bias.high: is missing",
    "stop={least=0.5, metric='error'}": "stop.metric: must be one of metrics, accuracy, margin",
    "compare.reference=none": "compare.reference: must be one of as above, backprop, got 'none'",
    "compare.rules.backprop.network.rule.rate=-2": "compare.rules.backprop: network.rule: ContrastiveHebbian(rate=)",
    "compare.rules.new.netwrk.bias=true": "compare.rules.new: netwrk: unknown key; data, presentations, network",
    "sweep.settings.'network.rule.rate'=[1.0, -1.0]": "sweep.settings.'network.rule.rate': network.rule: Contrastive",
    "sweep.settings.'network.rule.rate'={low=2.0, high=1.0}": "sweep.settings.'network.rule.rate': needs low < high",
    "sweep.settings.'rule.rate'=[1.0]": "must be a key of data, presentations, network, solver",
    "sweep.settings.'network.hidden'=3": "sweep.settings.network.hidden: Input should be a valid list, got 3",
    "sweep.design=latin": "sweep.design: Input should be 'grid', 'random' or 'sobol', got 'latin'",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_mistakes_name_file_key_and_what_is_allowed(file: Path, change: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(file, [change])
    assert str(error.value).startswith(f"{file}: ")
    assert MISTAKES[change] in str(error.value)
    assert "\n" not in str(error.value)


def test_several_mistakes_are_told_at_once(file: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read(file, ["presentations.epochs=0", "solver.dt=0"])
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "said"), [("a = ", "is not valid TOML: Invalid value"), (None, "cannot be read: No such file")]
)
def test_files_that_are_none_are_told(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "x.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read(path)


@pytest.mark.parametrize("change", ["epochs", "=3", "a b=3"])
def test_changes_that_are_none_are_told(file: Path, change: str) -> None:
    with pytest.raises(ConfigError, match=r"--set must be KEY=VALUE such as network.rule.rate=2.0"):
        read(file, [change])


def test_settings_of_another_data_set_are_told(file: Path) -> None:
    experiment: Any = read(file, ["data={name='digits', n=5}"])[0]
    with pytest.raises(ValueError, match=r"data: digits\(\) got an unexpected keyword argument 'n'"):
        experiment.trial(0)

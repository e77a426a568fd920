"""What spiking networks learn, from which rules, and that no label and no graph enters."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import ctsigprop as ct

pytestmark = pytest.mark.usefixtures("tiny_unchecked")
RULES: dict[str, tuple[Any, float]] = {
    "surrogate": (ct.rules.Surrogate(), 0.95),
    "voltage": (ct.rules.Voltage(), 0.93),
    "hebbian": (ct.rules.ContrastiveHebbian(rate=1.0), 0.93),
}


def digits_network(rule: Any, sizes: tuple[int, ...] = (64, 128, 128)) -> ct.Network:
    contrast = ct.rules.SoftmaxCosine(beta=20.0)
    return ct.Network(sizes, 10, neuron=ct.LIF(), signal=ct.TargetStream(per="class", contrast=contrast), rule=rule)


def trained(rule: Any, seed: int = 0, epochs: int = 5) -> tuple[ct.Network, ct.Solution]:
    data = ct.datasets.digits(seed=seed)
    network = digits_network(rule)
    stimulus = ct.Presentations(
        data.x_train, data.y_train, batch_size=64, duration=5.0, gate=(2.0, 5.0), epochs=epochs, seed=seed
    )
    return network, ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=0.25), seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_digits_are_learned(name: str) -> None:
    """20 steps of tau / 4 under a constant current, weights plastic after step 8, in five epochs."""
    rule, bar = RULES[name]
    scores = []
    for seed in range(2):
        data = ct.datasets.digits(seed=seed)
        network, sol = trained(rule, seed)
        assert sol.status.ok
        scores.append(network.score(sol.final, data.x_test, data.y_test, dt=0.25))
    assert np.mean(scores) >= bar, scores


def test_the_example_of_the_design_just_works() -> None:
    data = ct.datasets.digits(seed=0)
    for rule in (ct.rules.Surrogate(), ct.rules.Voltage()):
        net = ct.Network([64, 128, 128], n_classes=10, neuron=ct.LIF(), signal=ct.TargetStream(per="class"), rule=rule)
        stimulus = ct.Presentations(data.x_train, data.y_train, batch_size=64, duration=5.0, gate=(2.0, 5.0), seed=0)
        sol = ct.simulate(net, stimulus)
        assert sol.stats["solver"].startswith("Hybrid(dt=0.1")
        assert net.score(sol.final, data.x_test, data.y_test) > 0.8
        for layer in (1, 2):
            before, after = (
                net.score(s, data.x_test, data.y_test, layer=layer) for s in (net.initial_state(0), sol.final)
            )
            assert after > before + 0.2


def test_a_sample_whose_activity_does_not_stay_finite_leaves_the_others_as_they_are() -> None:
    net = ct.Network([2, 3, 3], neuron=ct.LIF(), rule=None, bias=False)
    ten = {"W.1": torch.full((3, 2), 10.0), "W.2": torch.full((3, 3), 10.0)}
    state = net.initial_state(0).replace(ten)
    x = torch.tensor([[0.1, 0.2], [0.3, 0.1], [3e38, 3e38], [0.2, 0.2], [0.0, 0.4]])
    finite = [0, 1, 3, 4]
    answers = net.transform(state, x)
    assert torch.isnan(answers[2]).all()
    torch.testing.assert_close(answers[finite], net.transform(state, x[finite]))
    assert float(answers[finite].min()) > 0


def test_labels_of_the_test_set_do_not_touch_predictions_and_nothing_is_changed() -> None:
    data = ct.datasets.digits(seed=0)
    network, sol = trained(ct.rules.Surrogate(), epochs=2)
    before = {name: value.clone() for name, value in sol.final.items()}
    guess = network.predict(sol.final, data.x_test)
    assert network.score(sol.final, data.x_test, data.y_test) == pytest.approx(
        float((guess == data.y_test).double().mean())
    )
    assert torch.equal(network.predict(sol.final, data.x_test[:50]), guess[:50])  # each sample for itself
    assert sol.final.equal(before)


@pytest.mark.parametrize("encoder", [ct.Poisson(rate=4.0, dt=0.1), ct.Latency(last=3.0)], ids=repr)
def test_spikes_teach_as_currents_do(encoder: Any) -> None:
    """The class is read off the rates of both streams at the end of each presentation, before and after learning."""
    data = ct.datasets.gaussian_clusters(n=200, n_features=10, n_classes=3, seed=0)
    low, high = float(data.x_train.min()), float(data.x_train.max())
    network = ct.Network([10, 40], 3, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate())
    x, y = (data.x_train - low) / (high - low), data.y_train
    shown = ct.Presentations(x, y, 20, 5.0, gate=(2.0, 4.9), epochs=5, encoder=encoder, shuffle=False)
    ends = [5.0 * k + 4.9 for k in range(40)]
    sol = ct.simulate(network, shown, probes=[ct.Probe("rates", times=ends)])
    assert sol.status.ok
    rates = torch.from_numpy(sol.dataset["rates"].sel(layer=1).values)
    guess = ct.TargetStream().similarity(rates[:, :20], rates[:, 20:]).argmax(-1).view(5, -1)
    right = (guess == y).double().mean(-1)
    assert float(right[-1]) > (0.8 if isinstance(encoder, ct.Poisson) else 0.6)  # one spike per input: little to go by
    assert float(right[-1]) > float(right[0]) + 0.05


def test_neurons_of_every_kind_learn_with_every_rule() -> None:
    data = ct.datasets.gaussian_clusters(n=150, n_features=6, n_classes=3, seed=1)
    neurons: list[Any] = [
        ct.LIF(reset=0.0, refractory=0.2, tau_syn=0.5),
        ct.IF(reset=0.0),
        ct.AdaptiveLIF(),
    ]
    for neuron in neurons:
        for rule, _ in RULES.values():
            network = ct.Network([6, 30, 30], 3, neuron=neuron, signal=ct.TargetStream(), rule=rule)
            shown = ct.Presentations(data.x_train / 3, data.y_train, 20, duration=5.0, gate=(2.0, 5.0), epochs=2)
            sol = ct.simulate(network, shown, ct.solvers.Hybrid(dt=0.2, flow="exponential"))
            assert sol.status.ok
            assert network.score(sol.final, data.x_test / 3, data.y_test, layer=1) > 0.7, (neuron, rule)


PEAK = """
import resource, torch
import ctsigprop as ct

x = torch.rand(32, 50, generator=torch.Generator().manual_seed(0))
KINDS = {
    "sigprop": (ct.rules.Surrogate(), ct.TargetStream(), None),
    "stdp": (ct.rules.STDP(rate=0.001), None, ct.Poisson(rate=1.0, dt=0.1)),
}
for steps in (100, 1000):
    for rule, signal, encoder in KINDS.values():
        network = ct.Network([50, 200, 100], n_classes=10, neuron=ct.LIF(), signal=signal, rule=rule)
        shown = ct.Presentations(x, torch.arange(32) % 10, 32, duration=0.1 * steps, encoder=encoder)
        sol = ct.simulate(network, shown, ct.solvers.Hybrid(dt=0.1))
        assert sol.status.ok and sol.stats["steps"] == steps, sol
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is of Unix")
def test_peak_memory_of_a_thousand_steps_is_that_of_a_hundred() -> None:
    """In one process: after short runs of both kinds, long ones of each in turn."""
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    _, short, *long = map(int, done.stdout.split())
    assert max(long) <= 1.05 * short


@pytest.mark.parametrize("dt", [0.1, 0.25, 0.5])
def test_a_network_answers_as_the_simulation_does_on_the_same_grid(dt: float) -> None:
    """Averages over 2 ... 10 tau of a run whose weights rest, at the default step and on coarser grids."""
    random = torch.Generator().manual_seed(0)
    x = 3 * torch.rand(5, 8, generator=random, dtype=torch.float64)
    network = ct.Network([8, 12, 6], 3, neuron=ct.LIF(), signal=ct.TargetStream(), rule=ct.rules.Surrogate(rate=0.0))
    state = network.initial_state(0, 5, dtype=torch.float64)
    stimulus = ct.Presentations(x, [0, 1, 2, 0, 1], batch_size=5, duration=10.0, shuffle=False)
    probe = ct.Probe(lambda now: now["r.2"][:5], every=dt, name="rates")
    sol = ct.simulate(network, stimulus, ct.solvers.Hybrid(dt=dt), state=state, probes=[probe])
    seen = torch.from_numpy(sol.dataset["rates"].values)
    averaged = seen[round(2 / dt) + 1 :].mean(0)
    assert averaged.std() > 0.1
    answer = network.transform(state, x, dt=dt)
    torch.testing.assert_close(answer, averaged, rtol=1e-9, atol=1e-12)
    if dt == 0.1:
        torch.testing.assert_close(network.transform(state, x), answer, rtol=0, atol=0)
    else:
        assert not torch.allclose(network.transform(state, x), answer, rtol=1e-3)


def test_batch_runs_ask_networks_on_the_grid_that_they_learned_on() -> None:
    data = ct.datasets.digits(seed=0)
    network, sol = trained(ct.rules.Voltage(), epochs=1)
    stimulus = ct.Presentations(data.x_train, data.y_train, batch_size=64, duration=5.0, gate=(2.0, 5.0), seed=0)
    test, solver = (data.x_test, data.y_test), ct.solvers.Hybrid(dt=0.25)
    runs = ct.compare({"voltage": network}, stimulus, solver=solver, seeds=[0], test=test, metrics=["margin"])
    margins = []
    for dt in (0.25, None):
        scores = network.similarity(sol.final, data.x_test, dt=dt)
        right = scores.gather(1, data.y_test[:, None])
        margins.append(float((right - scores.scatter(1, data.y_test[:, None], -torch.inf).amax(1, True)).mean()))
    assert runs.table["mean"].iloc[0] == pytest.approx(margins[0], rel=1e-4)
    assert margins[1] != pytest.approx(margins[0], rel=1e-2)

"""Fingerprints as version 0.1 made them, with the module names of that version, so that its stores still work.

The table is closed. Later classes have no such fingerprint, nor have classes that give other numbers since then.
"""

from __future__ import annotations

import dataclasses

from ctsigprop.batch.identities import NAMES, REVISIONS, Named, compared

ADAPTIVE = "rtol atol rtol_weights atol_weights max_steps compile"
FIXED = "dt max_steps compile"
SPIKING = "tau threshold reset tau_syn refractory tau_rate v"
FORMER: dict[str, tuple[str, str]] = {
    "contrasts/cosine": ("rules.contrasts.SoftmaxCosine", "beta kappa"),
    "contrasts/difference": ("rules.contrasts.Difference", "kappa"),
    "contrasts/dot": ("rules.contrasts.DotProduct", "beta"),
    "encoders/latency": ("encoders.Latency", "first last threshold"),
    "encoders/poisson": ("encoders.Poisson", "rate dt seed"),
    "metrics/accuracy": ("batch.measures.accuracy", ""),
    "metrics/error": ("batch.measures.error", ""),
    "metrics/margin": ("batch.measures.margin", ""),
    "neurons/adaptive_lif": ("spiking.AdaptiveLIF", "tau threshold reset tau_syn refractory tau_rate v tau_a step"),
    "neurons/if": ("spiking.IF", SPIKING),
    "neurons/izhikevich": ("izhikevich.Izhikevich", "a b c d tau v"),
    "neurons/lif": ("spiking.LIF", SPIKING),
    "neurons/rate": ("neurons.Rate", "tau activation"),
    "neurons/theta": ("theta.Theta", "tau threshold theta"),
    "parts/activation": ("activations.Activation", "function derivative gain"),
    "parts/budget": ("batch.job.Budget", "kind amount"),
    "parts/conv2d": ("convolution.Conv2d", "channels kernel stride padding pool pooling"),
    "parts/convolution": ("synapses.Convolution", "below spec"),
    "parts/dense": ("synapses.Dense", "below units"),
    "parts/hebbian": ("rules.custom.hebbian", ""),
    "parts/hopeless": ("batch.job.Hopeless", "metric least after"),
    "parts/layer": ("layer.Layer", "index synapses neuron rule"),
    "parts/listed": ("encoders.Listed", "times place like"),
    "parts/map": ("convolution.Map", "height width channels pool pooling planes"),
    "parts/measures": ("batch.measures.Measures", "of_outputs of_state"),
    "parts/network": ("network.Network", "structure sizes n_classes signal bias layers any_traces jumps"),
    "parts/reward": ("rules.three_factor.Reward", "value tau_mean"),
    "parts/scaled": ("rules.base.Scaled", "rule rate"),
    "parts/sum": ("rules.base.Sum", "parts"),
    "parts/test": ("batch.measures.Test", "x y"),
    "rules/anti_hebb": ("rules.anti_hebb.AntiHebb", "rate decay traces"),
    "rules/bcm": ("rules.bcm.BCM", "rate tau_theta traces"),
    "rules/bounded": ("rules.bounds.Bounded", "rule w_min w_max kind rate"),
    "rules/contrastive_hebbian": ("rules.contrastive.ContrastiveHebbian", "rate decay traces"),
    "rules/covariance": ("rules.covariance.Covariance", "rate tau_mean traces"),
    "rules/custom": ("rules.custom.Custom", "function rate traces supervised dense"),
    "rules/differential_hebb": ("rules.differential.DifferentialHebb", "rate decay traces"),
    "rules/hebb": ("rules.hebb.Hebb", "rate decay traces"),
    "rules/oja": ("rules.oja.Oja", "rate traces"),
    "rules/oja_subspace": ("rules.subspace.OjaSubspace", "rate traces"),
    "rules/postsynaptic_gated_hebb": ("rules.gated.PostsynapticGatedHebb", "rate theta traces"),
    "rules/presynaptic_gated_hebb": ("rules.gated.PresynapticGatedHebb", "rate theta traces"),
    "rules/scaling": ("rules.homeostasis.Scaling", "rate target tau_mean traces"),
    "rules/stdp": ("rules.stdp.STDP", "rate a_plus a_minus tau_plus tau_minus pairing"),
    "rules/surrogate": ("rules.surrogate.Surrogate", "rate psi slope decay"),
    "rules/three_factor": ("rules.three_factor.ThreeFactor", "rule modulator tau_e rate"),
    "rules/triplet_stdp": (
        "rules.stdp.TripletSTDP",
        "rate a2_plus a3_plus a2_minus a3_minus tau_plus tau_x tau_minus tau_y pairing",
    ),
    "rules/voltage": ("rules.surrogate.Voltage", "rate decay"),
    "rules/weight_decay": ("rules.homeostasis.WeightDecay", "rate traces"),
    "signals/backprop": ("signals.feedback.Backprop", "tau_e loss"),
    "signals/direct_feedback_alignment": ("signals.feedback.DirectFeedbackAlignment", "tau_e loss"),
    "signals/feedback_alignment": ("signals.feedback.FeedbackAlignment", "tau_e loss"),
    "signals/kolen_pollack": ("signals.feedback.KolenPollack", "tau_e loss decay"),
    "signals/target_stream": ("signals.target_stream.TargetStream", "per generator contrast match"),
    "solvers/adaptive_heun": ("solvers.methods.AdaptiveHeun", ADAPTIVE),
    "solvers/bosh3": ("solvers.methods.Bosh3", ADAPTIVE),
    "solvers/dopri5": ("solvers.methods.Dopri5", ADAPTIVE),
    "solvers/dopri8": ("solvers.methods.Dopri8", ADAPTIVE),
    "solvers/euler": ("solvers.methods.Euler", FIXED),
    "solvers/event_driven": ("solvers.event_driven.EventDriven", "rtol atol max_steps"),
    "solvers/explicit_adams": ("solvers.methods.ExplicitAdams", FIXED),
    "solvers/factored_bosh3": ("solvers.factored_methods.FactoredBosh3", ADAPTIVE),
    "solvers/factored_dopri5": ("solvers.factored_methods.FactoredDopri5", ADAPTIVE),
    "solvers/factored_euler": ("solvers.factored_methods.FactoredEuler", FIXED),
    "solvers/factored_heun": ("solvers.factored_methods.FactoredHeun", FIXED),
    "solvers/factored_rk4": ("solvers.factored_methods.FactoredRK4", FIXED),
    "solvers/factored_tsit5": ("solvers.factored_methods.FactoredTsit5", ADAPTIVE),
    "solvers/fehlberg2": ("solvers.methods.Fehlberg2", ADAPTIVE),
    "solvers/heun2": ("solvers.methods.Heun2", FIXED),
    "solvers/heun3": ("solvers.methods.Heun3", FIXED),
    "solvers/hybrid": ("solvers.hybrid.Hybrid", "dt flow max_steps compile"),
    "solvers/implicit_adams": ("solvers.methods.ImplicitAdams", FIXED),
    "solvers/midpoint": ("solvers.methods.Midpoint", FIXED),
    "solvers/multirate": ("solvers.multirate.Multirate", "dt micro max_steps"),
    "solvers/rk4": ("solvers.methods.RK4", FIXED),
    "solvers/scipy": ("solvers.methods.SciPy", "rtol atol rtol_weights atol_weights max_steps compile solver"),
    "stimuli/function": (
        "stimuli.Continuous",
        "switches x context gate duration_total rows n_inputs dtype device present target_width",
    ),
    "stimuli/presentations": (
        "stimuli.Presentations",
        "x y batch_size rows duration epochs seed shuffle gate "
        "encoder spikes n_inputs dtype device per_epoch count duration_total target_width largest_label",
    ),
    "stimuli/spike_trains": (
        "spike_trains.SpikeTrains",
        "duration_total rows n_inputs dtype device x events y target_width",
    ),
}
"""By today's name: module and name then, below `ctsigprop`, and what an object was made of."""


class NotFormer(ValueError):
    """Something that version 0.1 did not have, or that gives other numbers since."""


def identity(thing: Named) -> str:
    """The dotted name that a class or function had.

    Raises
    ------
    NotFormer : it had none, or its revision is another one
    """
    name = NAMES.get(thing)
    if name is None:
        return f"{thing.__module__}.{thing.__qualname__}"
    if name not in FORMER or REVISIONS.get(name, 1) > 1:
        raise NotFormer(f"{name} is not what it was in version 0.1")
    return f"ctsigprop.{FORMER[name][0]}"


def settings(value: object) -> dict[str, object] | None:
    """What an object of ours was made of, or None: what it is made of now.

    Raises
    ------
    NotFormer : it has a setting that came later, of another value than the default
    """
    name = NAMES.get(type(value))
    if name not in FORMER:
        return None
    names = FORMER[name][1].split()
    if dataclasses.is_dataclass(value):
        fields = compared(value) or {}
        for one in dataclasses.fields(value):
            if one.compare and one.name not in names and fields[one.name] != one.default:
                raise NotFormer(f"{name} had no {one.name} in version 0.1")
        return {name: fields[name] for name in names}
    return {name: vars(value)[name] for name in names if name in vars(value)}

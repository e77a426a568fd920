"""The table of all rules by name."""

from __future__ import annotations

from ctsigprop.rules.anti_hebb import AntiHebb
from ctsigprop.rules.base import Rule
from ctsigprop.rules.bcm import BCM
from ctsigprop.rules.bounds import Bounded
from ctsigprop.rules.checks import lookup
from ctsigprop.rules.contrastive import ContrastiveHebbian
from ctsigprop.rules.contrasts import Contrast, Difference, DotProduct, SoftmaxCosine
from ctsigprop.rules.covariance import Covariance
from ctsigprop.rules.custom import Custom
from ctsigprop.rules.differential import DifferentialHebb
from ctsigprop.rules.gated import PostsynapticGatedHebb, PresynapticGatedHebb
from ctsigprop.rules.hebb import Hebb
from ctsigprop.rules.homeostasis import Scaling, WeightDecay
from ctsigprop.rules.oja import Oja
from ctsigprop.rules.stdp import STDP, TripletSTDP
from ctsigprop.rules.subspace import OjaSubspace
from ctsigprop.rules.surrogate import Surrogate, Voltage
from ctsigprop.rules.three_factor import ThreeFactor

RULES: dict[str, type[Rule]] = {
    "anti_hebb": AntiHebb,
    "bcm": BCM,
    "bounded": Bounded,
    "contrastive_hebbian": ContrastiveHebbian,
    "covariance": Covariance,
    "custom": Custom,
    "differential_hebb": DifferentialHebb,
    "hebb": Hebb,
    "oja": Oja,
    "oja_subspace": OjaSubspace,
    "postsynaptic_gated_hebb": PostsynapticGatedHebb,
    "presynaptic_gated_hebb": PresynapticGatedHebb,
    "scaling": Scaling,
    "stdp": STDP,
    "surrogate": Surrogate,
    "three_factor": ThreeFactor,
    "triplet_stdp": TripletSTDP,
    "voltage": Voltage,
    "weight_decay": WeightDecay,
}

CONTRASTS: dict[str, type[Contrast]] = {
    "cosine": SoftmaxCosine,
    "difference": Difference,
    "dot": DotProduct,
}


def available() -> list[str]:
    """Names of all rules, sorted."""
    return sorted(RULES)


def get(name: str) -> type[Rule]:
    """The class of the rule called `name`.

    Raises
    ------
    ValueError : an unknown name; the message suggests the nearest known ones
    """
    return lookup("rule", name, RULES)

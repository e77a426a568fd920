"""Plasticity rules: how a synapse changes, given its own pre- and postsynaptic side.

This package uses only tensors, no networks or solvers. Its import name is `ctsigprop.rules`.
"""

if __name__ != "ctsigprop.rules":  # the same file under two names would make two classes of each rule
    raise ImportError("import this package as ctsigprop.rules, not as " + __name__)

from ctsigprop.rules.anti_hebb import AntiHebb
from ctsigprop.rules.base import Rule
from ctsigprop.rules.bcm import BCM
from ctsigprop.rules.bounds import Bounded
from ctsigprop.rules.contrastive import ContrastiveHebbian
from ctsigprop.rules.contrasts import Contrast, Difference, DotProduct, SoftmaxCosine
from ctsigprop.rules.covariance import Covariance
from ctsigprop.rules.custom import Custom
from ctsigprop.rules.differential import DifferentialHebb
from ctsigprop.rules.gated import PostsynapticGatedHebb, PresynapticGatedHebb
from ctsigprop.rules.hebb import Hebb
from ctsigprop.rules.homeostasis import Scaling, WeightDecay
from ctsigprop.rules.local import Local, SpikeTrace
from ctsigprop.rules.oja import Oja
from ctsigprop.rules.stdp import STDP, TripletSTDP
from ctsigprop.rules.subspace import OjaSubspace
from ctsigprop.rules.surrogate import Surrogate, Voltage
from ctsigprop.rules.table import available, get
from ctsigprop.rules.three_factor import Reward, ThreeFactor
from ctsigprop.rules.update import DenseUpdate, Update

__all__ = [
    "BCM",
    "STDP",
    "AntiHebb",
    "Bounded",
    "Contrast",
    "ContrastiveHebbian",
    "Covariance",
    "Custom",
    "DenseUpdate",
    "Difference",
    "DifferentialHebb",
    "DotProduct",
    "Hebb",
    "Local",
    "Oja",
    "OjaSubspace",
    "PostsynapticGatedHebb",
    "PresynapticGatedHebb",
    "Reward",
    "Rule",
    "Scaling",
    "SoftmaxCosine",
    "SpikeTrace",
    "Surrogate",
    "ThreeFactor",
    "TripletSTDP",
    "Update",
    "Voltage",
    "WeightDecay",
    "available",
    "get",
]

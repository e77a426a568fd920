"""The table of all solvers by name."""

from __future__ import annotations

from ctsigprop.rules.checks import lookup
from ctsigprop.solvers.base import Solver
from ctsigprop.solvers.factored.methods import (
    FactoredBosh3,
    FactoredDopri5,
    FactoredEuler,
    FactoredHeun,
    FactoredRK4,
    FactoredTsit5,
)
from ctsigprop.solvers.factored.multirate import Multirate
from ctsigprop.solvers.reference.methods import (
    RK4,
    AdaptiveHeun,
    Bosh3,
    Dopri5,
    Dopri8,
    Euler,
    ExplicitAdams,
    Fehlberg2,
    Heun2,
    Heun3,
    ImplicitAdams,
    Midpoint,
    SciPy,
)
from ctsigprop.solvers.spiking.event_driven import EventDriven
from ctsigprop.solvers.spiking.hybrid import Hybrid

SOLVERS: dict[str, type[Solver]] = {
    "adaptive_heun": AdaptiveHeun,
    "bosh3": Bosh3,
    "dopri5": Dopri5,
    "dopri8": Dopri8,
    "euler": Euler,
    "event_driven": EventDriven,
    "explicit_adams": ExplicitAdams,
    "factored_bosh3": FactoredBosh3,
    "factored_dopri5": FactoredDopri5,
    "factored_euler": FactoredEuler,
    "factored_heun": FactoredHeun,
    "factored_rk4": FactoredRK4,
    "factored_tsit5": FactoredTsit5,
    "fehlberg2": Fehlberg2,
    "heun2": Heun2,
    "heun3": Heun3,
    "hybrid": Hybrid,
    "implicit_adams": ImplicitAdams,
    "midpoint": Midpoint,
    "multirate": Multirate,
    "rk4": RK4,
    "scipy": SciPy,
}


def available() -> list[str]:
    """Names of all solvers, sorted."""
    return sorted(SOLVERS)


def get(name: str) -> type[Solver]:
    """The class of the solver called `name`.

    Raises
    ------
    ValueError : an unknown name; the message suggests the nearest known ones
    """
    return lookup("solver", name, SOLVERS)

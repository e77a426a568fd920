"""Time integration of vector fields. Their state is activities plus weights. Import name: `ctsigprop.solvers`."""

if __name__ != "ctsigprop.solvers":  # the same file under two names would make two classes of each solver
    raise ImportError("import this package as ctsigprop.solvers, not as " + __name__)

from ctsigprop.solvers.base import Monitor, Solver, SolverStopped
from ctsigprop.solvers.factored.methods import (
    FactoredBosh3,
    FactoredDopri5,
    FactoredEuler,
    FactoredHeun,
    FactoredRK4,
    FactoredTsit5,
)
from ctsigprop.solvers.factored.multirate import Multirate
from ctsigprop.solvers.field import DenseWeight, ExactField, HybridState, JumpingField, VectorField, Weight
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
from ctsigprop.solvers.status import Status
from ctsigprop.solvers.stretch import Stretch
from ctsigprop.solvers.table import available, get

__all__ = [
    "RK4",
    "AdaptiveHeun",
    "Bosh3",
    "DenseWeight",
    "Dopri5",
    "Dopri8",
    "Euler",
    "EventDriven",
    "ExactField",
    "ExplicitAdams",
    "FactoredBosh3",
    "FactoredDopri5",
    "FactoredEuler",
    "FactoredHeun",
    "FactoredRK4",
    "FactoredTsit5",
    "Fehlberg2",
    "Heun2",
    "Heun3",
    "Hybrid",
    "HybridState",
    "ImplicitAdams",
    "JumpingField",
    "Midpoint",
    "Monitor",
    "Multirate",
    "SciPy",
    "Solver",
    "SolverStopped",
    "Status",
    "Stretch",
    "VectorField",
    "Weight",
    "available",
    "get",
]

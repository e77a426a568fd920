"""The two forms of sigprop with membrane potentials: a surrogate derivative, and voltages alone."""

from __future__ import annotations

from dataclasses import dataclass

from ctsigprop.rules.base import Rule
from ctsigprop.rules.checks import lookup, number
from ctsigprop.rules.local import Local
from ctsigprop.rules.surrogates import SURROGATES
from ctsigprop.rules.update import Update


@dataclass(frozen=True)
class Surrogate(Rule):
    """Surrogate rule: dW/dt = rate ((delta * psi(u))^T x - decay W), summed over rows. u is the distance of the
    potential from threshold in units of the gap between reset and threshold, x the presynaptic trace.

    `delta` is the learning signal, the contrast of the layer's own two streams of spike rates; psi replaces the
    derivative of a spike in the potential, and x is the derivative of the potential in the weight. Without psi, use
    `ContrastiveHebbian` on the same neurons. Unbounded if `decay` is 0, like `ContrastiveHebbian`.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 4
    psi : "fast_sigmoid" (default), "arctan", "boxcar", "triangle", "gaussian", or "shift_add", piecewise linear between
        powers of 2, for hardware without multipliers
    slope : float, steepness of psi, > 0; default 2, so that a boxcar reaches half the gap to each side
    decay : float, weight decay relative to the learning term, >= 0; default 0

    Raises
    ------
    ValueError, TypeError : a number out of its range, an unknown psi

    References
    ----------
    A. Kohan et al., arXiv 2204.01723 (spiking form, dL/df df/dU); E. O. Neftci, H. Mostafa, F. Zenke, "Surrogate
    gradient learning in spiking neural networks", IEEE Signal Process. Mag. 36, 2019.
    """

    rate: float = 4.0
    psi: str = "fast_sigmoid"
    slope: float = 2.0
    decay: float = 0.0
    traces = True
    supervised = True
    potential = True

    def __post_init__(self) -> None:
        number("Surrogate(rate=)", self.rate, least=0)
        lookup("Surrogate(psi=)", self.psi, SURROGATES)
        number("Surrogate(slope=)", self.slope, above=0)
        number("Surrogate(decay=)", self.decay, least=0)

    def update(self, local: Local) -> Update:
        if local.delta is None or local.distance is None:
            raise ValueError(f"Surrogate{local.place} needs a learning signal and membrane potentials")
        psi = SURROGATES[self.psi](local.distance, self.slope)
        return Update((psi * local.delta).mul_(self.rate), local.pre, self.rate * self.decay)


@dataclass(frozen=True)
class Voltage(Rule):
    """Voltage rule: dW/dt = rate (delta^T x - decay W), summed over rows, delta the contrast of membrane potentials.

    The learning signal comes from the potentials of the layer's own two streams, dL/dU. It needs no surrogate and no
    spikes of the layer. x is the presynaptic trace, the derivative of the potential in the weight. Unbounded if
    `decay` is 0, like `ContrastiveHebbian`.

    Parameters
    ----------
    rate : float, in 1 / time, >= 0; default 4
    decay : float, weight decay relative to the learning term, >= 0; default 0

    Raises
    ------
    ValueError, TypeError : a number out of its range

    References
    ----------
    A. Kohan et al., arXiv 2204.01723 (voltage form, dL/dU).
    """

    rate: float = 4.0
    decay: float = 0.0
    traces = True
    supervised = True
    of_voltage = True

    def __post_init__(self) -> None:
        number("Voltage(rate=)", self.rate, least=0)
        number("Voltage(decay=)", self.decay, least=0)

    def update(self, local: Local) -> Update:
        if local.delta is None:
            raise ValueError(f"Voltage{local.place} needs a learning signal")
        return Update(local.delta * self.rate, local.pre, self.rate * self.decay)

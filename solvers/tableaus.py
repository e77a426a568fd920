"""Coefficients of explicit Runge-Kutta methods, and of the polynomial between the ends of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method, its last stage the slope at the end of the step.

    Stage i is evaluated at t + c_i dt and y + dt sum_j a_ij k_j. The last row of `a` is b, so the last stage
    is the first one of the next step; a method without an error estimate needs it only to interpolate.

    Parameters
    ----------
    order : int, of the method
    c : instants of the stages, as shares of dt
    a : row i holds the i coefficients a_ij
    error : b - b_hat of every stage, or None for a method without step control
    quartic : d_k of every stage, or None: what the interpolating polynomial adds to the cubic of Hermite,

            y(t + theta dt) = (cubic through both ends) + dt theta^2 (1 - theta)^2 sum_k d_k k_k

    References
    ----------
    E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 1993, sections II.1 to II.6.
    """

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    error: tuple[float, ...] | None = None
    quartic: tuple[float, ...] | None = None

    @property
    def stages(self) -> int:
        """Number of stages, the slope at the end included."""
        return len(self.c)

    @property
    def b(self) -> tuple[float, ...]:
        """The coefficients of the step."""
        return self.a[-1]

    @cached_property
    def error_constant(self) -> float:
        """|C| of the error estimate C (lambda dt)^order y of y' = lambda y, to leading order."""
        if self.error is None:
            raise ValueError("a method without step control has no error estimate")
        powers = [1.0] * self.stages
        for _ in range(self.order - 1):
            powers = [sum(a * x for a, x in zip(row, powers, strict=False)) for row in self.a]
        return abs(sum(e * x for e, x in zip(self.error, powers, strict=True)))

    @cached_property
    def slots(self) -> tuple[int, ...]:
        """Place of each stage in a buffer that keeps the stages the step uses (b_k != 0) side by side."""
        last = self.stages - 1
        order = sorted(range(self.stages), key=lambda k: k == last or self.b[k] != 0.0)
        return tuple(order.index(k) for k in range(self.stages))

    def between(self, theta: float) -> tuple[float, ...]:
        """b_k(theta) of every stage: y(t + theta dt) = y + dt sum_k b_k(theta) k_k."""
        end = theta**2 * (3 - 2 * theta)
        bump = theta**2 * (1 - theta) ** 2
        quartic = self.quartic or (0.0,) * self.stages
        weights = [end * b + bump * d for b, d in zip((*self.b, 0.0), quartic, strict=True)]
        weights[0] += theta * (1 - theta) ** 2
        weights[-1] += theta**2 * (theta - 1)
        return tuple(weights)


def differences(b: Sequence[float], b_hat: Sequence[float]) -> tuple[float, ...]:
    """B - b_hat, the slope at the end of the step having b = 0."""
    return tuple(x - y for x, y in zip((*b, 0.0), b_hat, strict=True))


EULER = Tableau(1, (0.0, 1.0), ((), (1.0,)))
"""Forward Euler."""

MIDPOINT = Tableau(2, (0.0, 1 / 2, 1.0), ((), (1 / 2,), (0.0, 1.0)))
"""The explicit midpoint method."""

HEUN = Tableau(2, (0.0, 1.0, 1.0), ((), (1.0,), (1 / 2, 1 / 2)))
"""Heun's method of second order."""

RK4 = Tableau(
    4,
    (0.0, 1 / 3, 2 / 3, 1.0, 1.0),
    ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0), (1 / 8, 3 / 8, 3 / 8, 1 / 8)),
)
"""Kutta's 3/8 rule (Hairer et al., table II.1.2)."""

BOSH3 = Tableau(
    3,
    (0.0, 1 / 2, 3 / 4, 1.0),
    ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    error=differences((2 / 9, 1 / 3, 4 / 9), (7 / 24, 1 / 4, 1 / 3, 1 / 8)),
)
"""P. Bogacki and L. F. Shampine, "A 3(2) pair of Runge-Kutta formulas", Appl. Math. Lett. 2, 1989."""

_DOPRI5_B = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)

DOPRI5 = Tableau(
    5,
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        _DOPRI5_B,
    ),
    error=differences(_DOPRI5_B, (1951 / 21600, 0.0, 22642 / 50085, 451 / 720, -12231 / 42400, 649 / 6300, 1 / 60)),
    quartic=(
        -12715105075 / 11282082432,
        0.0,
        87487479700 / 32700410799,
        -10690763975 / 1880347072,
        701980252875 / 199316789632,
        -1453857185 / 822651844,
        69997945 / 29380423,
    ),
)
"""J. R. Dormand and P. J. Prince, J. Comput. Appl. Math. 6, 1980; error estimate (two thirds of the original one) as
in torchdiffeq, after L. F. Shampine, Math. Comp. 46, 1986; interpolant: Hairer et al., eq. II.6.12."""

_TSIT5_B = (
    0.09646076681806523,
    0.01,
    0.4798896504144996,
    1.379008574103742,
    -3.290069515436081,
    2.324710524099774,
)

TSIT5 = Tableau(
    5,
    (0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    (
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        _TSIT5_B,
    ),
    error=(
        0.00178001105222577714,
        0.0008164344596567469,
        -0.007880878010261995,
        0.1447110071732629,
        -0.5823571654525552,
        0.45808210592918697,
        -1 / 66,
    ),
    quartic=(
        -1.0530884977290216,
        0.1017,
        2.4906272856512528,
        -16.548102889244902,
        47.37952196281928,
        -34.87065786149661,
        2.5,
    ),
)
"""Ch. Tsitouras, "Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption",
Computers & Mathematics with Applications 62, 2011."""

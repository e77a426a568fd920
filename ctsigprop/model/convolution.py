"""Convolutional layers: the description that a user gives, and the map of units it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ctsigprop.rules.checks import Checked, whole

POOLINGS = ("average", "max")


@dataclass(frozen=True)
class Conv2d(metaclass=Checked):
    """A convolutional layer, used in `Network(sizes)` instead of a number of units: every position of a map sees a
    patch of the map below, through weights that all positions share.

        ct.Network([(1, 28, 28), ct.Conv2d(20, padding=1, pool=2), ct.Conv2d(40, padding=1, pool=2), 128], n_classes=10)

    Each side of the map has (size + 2 padding - kernel) // stride + 1 positions. Patches are the presynaptic factor of
    the weights and positions are extra rows: dW/dt = post^T patches for any rule. Averages over samples, also in the
    learning signal, become averages over samples and positions, so that one rate suits W and the target generator:
    `ContrastiveHebbian` follows the gradient of the layer's own loss divided by the number of positions. A rule's
    variables per unit, such as a threshold, become variables per channel.

    In every activity the units are ordered by position, (height, width, channels). W has the shape
    (channels, kernel * kernel * channels below). `W.view(channels, kernel, kernel, -1).permute(0, 3, 1, 2)` has the
    layout of `torch.nn.Conv2d`'s weight. There is one bias per channel.

    Parameters
    ----------
    channels : int, units at each position, >= 1
    kernel : int, side of the square patch, >= 1; default 3
    stride : int, positions of the map below from one patch to the next, >= 1; default 1
    padding : int, rows and columns of zeros around the map below, >= 0 and less than the kernel; default 0
    pool : int, side of the windows through which the layer above reads this one, >= 1; default 1, no pooling. Rows and
        columns that do not fill a window are dropped
    pooling : "average" (default) of the activity or spikes in a window; or "max", the largest: a window
        sends a spike when any of its units does

    Raises
    ------
    ValueError, TypeError : a number out of its range, an unknown pooling

    References
    ----------
    Y. LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86, 1998; A. Kohan et al.,
    arXiv 2204.01723 (signal propagation through convolutional and spiking convolutional layers).
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    pool: int = 1
    pooling: Literal["average", "max"] = "average"

    def __post_init__(self) -> None:
        whole("Conv2d(channels=)", self.channels, 1)
        whole("Conv2d(kernel=)", self.kernel, 1)
        whole("Conv2d(stride=)", self.stride, 1)
        whole("Conv2d(pool=)", self.pool, 1)
        whole("Conv2d(padding=)", self.padding, 0)
        if self.padding >= self.kernel:
            raise ValueError(
                f"Conv2d(padding=) must be less than the kernel, {self.kernel}, or patches see nothing, "
                f"got {self.padding}"
            )
        if self.pooling not in POOLINGS:
            raise ValueError(f"Conv2d(pooling=) must be 'average' or 'max', got {self.pooling!r}")


@dataclass(frozen=True)
class Map:
    """A map of units as the layer above reads it.

    Parameters
    ----------
    height, width, channels : int, positions to each side, and units at each position
    pool, pooling : side and kind of the windows it is read through
    planes : bool, whether a row of it stands channel by channel, (channels, height, width), as inputs do
    """

    height: int
    width: int
    channels: int
    pool: int = 1
    pooling: str = "average"
    planes: bool = False

    @property
    def units(self) -> int:
        """Units of the map."""
        return self.height * self.width * self.channels

    @property
    def seen(self) -> tuple[int, int, int]:
        """(height, width, channels) after pooling."""
        return self.height // self.pool, self.width // self.pool, self.channels

    def read(self, flat: Float[Tensor, "*batch rows n"]) -> Float[Tensor, "*batch rows pooled"]:
        """The map as it is seen from above, position by position."""
        lead = flat.shape[:-1]
        if self.planes:
            if self.channels == 1:
                return flat
            return flat.reshape(*lead, self.channels, self.height * self.width).mT.reshape(flat.shape)
        if self.pool == 1:
            return flat
        images = flat.reshape(-1, self.height, self.width, self.channels)
        if self.pooling == "average":
            pooled = torch.nn.functional.avg_pool2d(images.permute(0, 3, 1, 2), self.pool).permute(0, 2, 3, 1)
        else:
            height, width, _ = self.seen
            whole_windows = images[:, : height * self.pool, : width * self.pool]
            pooled = whole_windows.reshape(-1, height, self.pool, width * self.pool, self.channels).amax(2)
            pooled = pooled.reshape(-1, height, width, self.pool, self.channels).amax(3)
        return pooled.reshape(*lead, -1)

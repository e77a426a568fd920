"""Peak memory of a piece of work."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType

PEAK, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Largest resident memory of this process inside a `with` block, in MB; NaN where the system cannot tell.

    It counts everything the process holds, interpreter, libraries and data included.
    """

    def __init__(self) -> None:
        self.megabytes = math.nan
        self._reset = False

    def __enter__(self) -> PeakMemory:
        try:
            RESET.write_text("5")  # Linux: the peak counts anew from here, proc(5)
            self._reset = True
        except OSError:
            self._reset = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.megabytes = self.so_far()

    def so_far(self) -> float:
        """The largest until now."""
        if not self._reset:
            return math.nan
        lines = PEAK.read_text().splitlines()
        return float(next((line.split()[1] for line in lines if line.startswith("VmHWM")), "nan")) / 1024

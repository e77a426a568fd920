"""The stimuli of the members of an ensemble: one for all, or one each, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from ctsigprop.stimuli.frame import Frame, Input
from ctsigprop.stimuli.presentations import Presentations
from ctsigprop.stimuli.stimulus import Stimulus

SAME = ("rows", "n_inputs", "count", "epochs", "duration", "gate", "dtype", "device", "target_width")
"""What presentations must have in common to be shown at the same times."""


class EnsembleStimulus:
    """The stimuli of all members from `start` to `stop`."""

    def __init__(self, stimuli: Sequence[Stimulus], start: float, stop: float) -> None:
        self.stimuli, self.start, self.stop = stimuli, start, stop
        self.own = [stimulus.frames(start, stop) for stimulus in stimuli]
        self.now: list[Frame | None] = [None] * len(stimuli)

    def of(self, member: int, start: float) -> Frame:
        """The frame of one member that begins at `start`; asked for in the order of time."""
        found = self.now[member]
        while found is None or found.start < start:
            found = self.now[member] = next(self.own[member])
        return found

    def frames(self) -> Iterator[Frame]:
        """What all members are shown, along a new first dimension."""
        first = self.stimuli[0]
        if all(stimulus is first for stimulus in self.stimuli):
            for frame in first.frames(self.start, self.stop):
                yield repeated(frame, len(self.stimuli))
        elif isinstance(first, Presentations) and all(of_same_data(first, other) for other in self.stimuli):
            others = [other for other in self.stimuli if isinstance(other, Presentations)]
            yield from first.side_by_side(others, self.start, self.stop)
        else:
            for frame in first.frames(self.start, self.stop):
                yield replace(frame, at=stacked([self.of(k, frame.start) for k in range(len(self.stimuli))]))


def at_same_times(stimuli: Sequence[Stimulus]) -> bool:
    """Whether these can be shown side by side: one for all, or presentations that switch at the same times."""
    first = stimuli[0]
    if all(stimulus is first for stimulus in stimuli):
        return True
    plain = all(type(stimulus) is Presentations and stimulus.encoder is None for stimulus in stimuli)
    return plain and all(getattr(one, name) == getattr(first, name) for one in stimuli for name in SAME)


def of_same_data(first: Presentations, other: Stimulus) -> bool:
    """Whether two presentations show the same samples, if in another order."""
    same = isinstance(other, Presentations) and other.x is first.x and other.y is first.y
    return same and first.encoder is None


def repeated(frame: Frame, members: int) -> Frame:
    """A frame that shows the same to every member."""

    def at(t: float) -> Input:
        shown = frame.at(t)
        target = shown.target if shown.target is None else shown.target.expand(members, *shown.target.shape)
        x, present = (part.expand(members, *part.shape) for part in (shown.x, shown.present))
        return Input(x, target, present, shown.gate)

    return replace(frame, at=at)


def stacked(frames: Sequence[Frame]) -> Callable[[float], Input]:
    """What these frames show, along a new first dimension."""
    return lambda t: together([frame.at(t) for frame in frames])


def together(inputs: Sequence[Input]) -> Input:
    """These inputs along a new first dimension, under the gate of the first."""
    targets = [shown.target for shown in inputs if shown.target is not None]
    x, present = torch.stack([shown.x for shown in inputs]), torch.stack([shown.present for shown in inputs])
    return Input(x, torch.stack(targets) if targets else None, present, inputs[0].gate)

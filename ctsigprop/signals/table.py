"""The table of all learning signals by name."""

from __future__ import annotations

from ctsigprop.rules.checks import lookup
from ctsigprop.signals.base import Signal
from ctsigprop.signals.feedback import Backprop, DirectFeedbackAlignment, FeedbackAlignment, KolenPollack
from ctsigprop.signals.target_stream import TargetStream

SIGNALS: dict[str, type[Signal]] = {
    "backprop": Backprop,
    "direct_feedback_alignment": DirectFeedbackAlignment,
    "feedback_alignment": FeedbackAlignment,
    "kolen_pollack": KolenPollack,
    "target_stream": TargetStream,
}


def available() -> list[str]:
    """Names of all signals, sorted."""
    return sorted(SIGNALS)


def get(name: str) -> type[Signal]:
    """The class of the signal called `name`.

    Raises
    ------
    ValueError : an unknown name; the message suggests the nearest known ones
    """
    return lookup("signal", name, SIGNALS)

"""Learning signals: how the target reaches a layer."""

from ctsigprop.signals.base import Signal
from ctsigprop.signals.feedback import (
    Backprop,
    DirectFeedbackAlignment,
    Feedback,
    FeedbackAlignment,
    KolenPollack,
)
from ctsigprop.signals.table import available, get
from ctsigprop.signals.target_stream import TargetStream

__all__ = [
    "Backprop",
    "DirectFeedbackAlignment",
    "Feedback",
    "FeedbackAlignment",
    "KolenPollack",
    "Signal",
    "TargetStream",
    "available",
    "get",
]

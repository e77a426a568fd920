"""scikit-learn estimators: networks that learn by signal propagation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ctsigprop.execution.request import Execution
from ctsigprop.model.network import Network
from ctsigprop.model.state import State
from ctsigprop.neurons.rate import Rate
from ctsigprop.results.solution import Solution
from ctsigprop.rules.checks import number, whole
from ctsigprop.rules.contrastive import ContrastiveHebbian
from ctsigprop.rules.contrasts import SoftmaxCosine
from ctsigprop.signals import TargetStream
from ctsigprop.simulation.simulate import simulate
from ctsigprop.solvers.reference.methods import Euler
from ctsigprop.solvers.status import Status
from ctsigprop.stimuli.presentations import Presentations

Array = NDArray[np.float64]


class SigProp(BaseEstimator, ABC):  # type: ignore[misc]
    """The parameters that both estimators share, and a network that learns one presentation after another."""

    def __init__(
        self,
        hidden: Sequence[int] = (128, 128),
        *,
        rate: float = 4.0,
        beta: float = 10.0,
        kappa: float = 1.0,
        activation: Any = "relu",
        epochs: int = 20,
        batch_size: int = 64,
        random_state: Any = 0,
        execution: Execution = "auto",
    ) -> None:
        self.hidden = hidden
        self.rate = rate
        self.beta = beta
        self.kappa = kappa
        self.activation = activation
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.execution = execution

    @abstractmethod
    def _signal(self) -> TargetStream:
        """How the target is shown."""

    def _start(self, features: int, width: int) -> None:
        """A new network with its initial weights."""
        if not isinstance(self.hidden, Sequence | np.ndarray) or not len(self.hidden):
            raise ValueError(f"hidden must be the sizes of at least one layer such as (128, 128), got {self.hidden!r}")
        whole("epochs", self.epochs, 1)
        whole("batch_size", self.batch_size, 1)
        number("rate", self.rate, above=0)
        state = self.random_state
        fixed = isinstance(state, Integral) and not isinstance(state, bool)
        self._seed = int(state) if fixed else int(check_random_state(state).randint(2**31))
        rule = ContrastiveHebbian(rate=self.rate)
        sizes = [features, *self.hidden]
        neuron = Rate(activation=self.activation)
        self.network_ = Network(sizes, width, neuron=neuron, signal=self._signal(), rule=rule)
        self.state_ = self.network_.initial_state(self._seed)
        self.n_iter_ = 0

    def _contrast(self) -> SoftmaxCosine:
        return SoftmaxCosine(beta=self.beta, kappa=self.kappa)

    def _learn(self, x: Array, y: Tensor, epochs: int) -> None:
        """Show the samples `epochs` times, from the present state on."""
        inputs = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        size = min(int(self.batch_size), len(x))
        stimulus = Presentations(inputs, y, size, epochs=int(epochs), seed=self._seed + self.n_iter_)
        self.solution_: Solution = simulate(
            self.network_, stimulus, Euler(dt=1.0), state=self.state_, execution=self.execution
        )
        if self.solution_.status is Status.INTERRUPTED:  # at a prompt, where simulate gives it back
            raise KeyboardInterrupt
        if not self.solution_.status.ok:
            raise ValueError(
                f"learning broke off: {self.solution_.message} Scale the inputs, or lower rate={self.rate!r}"
            )
        self.state_ = self.solution_.final
        self.n_iter_ += int(epochs)

    def _match(self, X: Any, candidates: Tensor | None = None) -> Array:
        """Softmax over targets of beta times the cosine (samples, targets), in float64: rows do not feel each other."""
        x = validate_data(self, X, reset=False, dtype=np.float64)
        state = State({name: value.double() for name, value in self.state_.items()})
        scores = self.network_.similarity(state, np.ascontiguousarray(x), candidates=candidates)
        return np.asarray(torch.softmax(self.beta * scores, -1).numpy())


class SigPropClassifier(ClassifierMixin, SigProp):  # type: ignore[misc]
    """Classifier: each class is one row of the target stream, and a sample gets the class of the nearest row.

    Every batch is shown for one tau, with matched traces and Euler steps of tau, so it costs one right-hand side. Scale
    the inputs to about 1 first (`StandardScaler` or `MinMaxScaler`), as for any network.

    Parameters
    ----------
    hidden : sizes of the layers; default (128, 128)
    rate : float, learning rate in 1 / tau, > 0; default 4
    beta, kappa : inverse temperature of the cosine contrast, and floor of its norms; default 10 and 1
    activation : as in `Rate`; default "relu"
    epochs : int, passes through the data in `fit`; default 20
    batch_size : int, samples shown at once; default 64
    random_state : int, sets initial weights and order, default 0; or a RandomState, or None for a new seed each time
    execution : "auto" (default), "plain" or "compiled", as in `simulate`

    Attributes
    ----------
    classes_, n_features_in_, n_iter_ : as in scikit-learn
    network_, state_, solution_ : the `Network`, its `State`, and the `Solution` of the last call of fit or partial_fit

    References
    ----------
    A. Kohan, E. A. Rietman, H. T. Siegelmann, "Signal Propagation", IEEE TNNLS 2023, arXiv 2204.01723.
    """

    def _signal(self) -> TargetStream:
        return TargetStream(per="class", contrast=self._contrast())

    def fit(self, X: Any, y: Any) -> SigPropClassifier:
        """Learn from samples X (samples, features) and labels y (samples,), from scratch."""
        x, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_ = unique_labels(y)
        self._start(x.shape[1], len(self.classes_))
        self._learn(x, self._labels(y), self.epochs)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> SigPropClassifier:
        """Continue learning, one pass through X. The first call needs all `classes`, or takes those in y."""
        first = not hasattr(self, "network_")
        x, y = validate_data(self, X, y, dtype=np.float64, reset=first)
        check_classification_targets(y)
        if first:
            self.classes_ = unique_labels(y if classes is None else classes)
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(f"classes must be those of the first call, {self.classes_}, got {classes}")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y must hold classes of the first call, {self.classes_}, got {unknown}")
        if first:
            self._start(x.shape[1], len(self.classes_))
        self._learn(x, self._labels(y), 1)
        return self

    def _labels(self, y: Any) -> Tensor:
        return torch.from_numpy(np.searchsorted(self.classes_, y).astype(np.int64))

    def predict_proba(self, X: Any) -> Array:
        """Softmax of beta times the cosine with each class's target (samples, classes): what the contrast learns."""
        check_is_fitted(self)
        return self._match(X)

    def predict(self, X: Any) -> Any:
        """The class of each sample (samples,)."""
        found = self.predict_proba(X).argmax(1)
        return self.classes_[found]


class SigPropRegressor(RegressorMixin, SigProp):  # type: ignore[misc]
    """Regressor: each sample's target enters as a population code, and prediction asks which targets fit best.

    A target is encoded by `units` Gaussian tuning curves per output, spread over its quantiles, and shown as the
    sample's own row of the target stream. With the contrast a layer learns how much more likely a target is with this
    sample than with any. The prediction is a mean of training targets y_j, with weights softmax(beta cosine(h, z_j)).

    Parameters
    ----------
    hidden, rate, beta, kappa, activation, epochs, batch_size, random_state, execution : as in `SigPropClassifier`
    units : int, tuning curves per output; default 20
    candidates : int, number of training targets to average over, spread evenly over those seen; default 256

    Attributes
    ----------
    n_features_in_, n_iter_, network_, state_, solution_ : as in `SigPropClassifier`

    References
    ----------
    A. Kohan, E. A. Rietman, H. T. Siegelmann, arXiv 2204.01723 (contexts); A. van den Oord, Y. Li, O. Vinyals, arXiv
    1807.03748, section 2.3 (what a contrast with other samples' targets estimates); A. Pouget, P. Dayan, R. Zemel,
    Nature Rev. Neurosci. 1, 2000 (population codes).
    """

    def __init__(
        self,
        hidden: Sequence[int] = (128, 128),
        *,
        rate: float = 4.0,
        beta: float = 10.0,
        kappa: float = 1.0,
        activation: Any = "relu",
        epochs: int = 40,
        batch_size: int = 64,
        random_state: Any = 0,
        units: int = 20,
        candidates: int = 256,
        execution: Execution = "auto",
    ) -> None:
        super().__init__(
            hidden,
            rate=rate,
            beta=beta,
            kappa=kappa,
            activation=activation,
            epochs=epochs,
            batch_size=batch_size,
            random_state=random_state,
            execution=execution,
        )
        self.units = units
        self.candidates = candidates

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _signal(self) -> TargetStream:
        return TargetStream(per="sample", contrast=self._contrast())

    def fit(self, X: Any, y: Any) -> SigPropRegressor:
        """Learn from samples X (samples, features) and targets y (samples,) or (samples, outputs), from scratch."""
        x, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._begin(x, y)
        self._learn(x, self._code(as_columns(y)), self.epochs)
        return self

    def partial_fit(self, X: Any, y: Any) -> SigPropRegressor:
        """Continue learning, one pass through X. The first call sets the tuning curves and the candidate targets."""
        first = not hasattr(self, "network_")
        x, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, reset=first)
        if first:
            self._begin(x, y)
        elif as_columns(y).shape[1] != self.targets_.shape[1]:
            raise ValueError(f"y must have {self.targets_.shape[1]} outputs, as in the first call, got shape {y.shape}")
        self._learn(x, self._code(as_columns(y)), 1)
        return self

    def _begin(self, x: Array, y: Array) -> None:
        whole("units", self.units, 2)
        whole("candidates", self.candidates, 1)
        self._flat = y.ndim == 1
        columns = as_columns(y)
        self.centres_, self.widths_ = tuning_curves(columns, int(self.units))
        order = np.lexsort(columns.T[::-1])
        kept = np.unique(np.linspace(0, len(order) - 1, min(len(order), int(self.candidates))).round().astype(int))
        self.targets_ = columns[order[kept]]
        self._start(x.shape[1], columns.shape[1] * int(self.units))

    def _code(self, y: Array) -> Tensor:
        """Population code (samples, outputs units) of targets (samples, outputs)."""
        far = (y[:, :, None] - self.centres_) / self.widths_
        return torch.from_numpy(np.exp(-0.5 * far**2).reshape(len(y), -1).astype(np.float32))

    def predict(self, X: Any) -> Array:
        """The predicted target of each sample, (samples,) or (samples, outputs)."""
        check_is_fitted(self)
        found = self._match(X, self._code(self.targets_)) @ self.targets_
        return np.asarray(found[:, 0] if self._flat else found)


def as_columns(y: Array) -> Array:
    """Targets as (samples, outputs)."""
    return np.asarray(y, dtype=np.float64).reshape(len(y), -1)


def tuning_curves(y: Array, units: int) -> tuple[Array, Array]:
    """Centres and widths (outputs, units) of Gaussian tuning curves at evenly spaced quantiles of each output."""
    centres = np.quantile(y, np.linspace(0, 1, units), axis=0).T
    span = np.ptp(y, axis=0)[:, None]
    even = np.linspace(0, 1, units) * span + y.min(0)[:, None]
    centres = 0.5 * (centres + even)  # between the two, so that curves neither crowd nor leave gaps
    floor = np.where(span > 0, span / units, 1.0)
    return centres, np.maximum(np.gradient(centres, axis=1), floor)

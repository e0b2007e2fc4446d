"""Performance: what a score is, from the outputs of the network and the targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kppstat.errors import DataError, ModelError, SettingError
from kppstat.user_code import function_named, in_short, names_function


@dataclass(frozen=True)
class Performance(ABC):
    """What is measured of an instance: the mean over the inputs of a score that is larger where it is better.

    Attributes
    ----------
    name : str
        What it is called in reports.
    low, high : float
        Bounds of a score; infinite where there are none.
    loss : bool
        Whether the score is the negative of a loss, which reports show with its own sign.
    """

    name: str
    low: float
    high: float
    loss: bool

    @abstractmethod
    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the score of each input.

        Parameters
        ----------
        outputs : ndarray, shape (n, ...)
        targets : ndarray, shape (n, ...)

        Returns
        -------
        ndarray, float64, shape (n,)
        """

    def fitted(self, outputs: np.ndarray, targets: np.ndarray) -> Performance:
        """Check that it can be taken of these outputs of the clean model, and return it ready for use.

        Raises
        ------
        DataError
            If the targets do not fit the outputs.
        """
        self.scores(outputs, targets)
        return self

    def targets_from(self, outputs: np.ndarray) -> np.ndarray:
        """Return the targets that the clean model itself gives, where the data has none: its outputs."""
        return outputs

    def of_clean(self, outputs: np.ndarray) -> tuple[Performance, np.ndarray]:
        """Return it ready for use on data without targets, under a name that says so, and what takes their place.

        Examples
        --------
        >>> performance, targets = Top1().of_clean(np.array([[0.1, 0.9], [0.7, 0.5]]))
        >>> performance.name, targets.tolist()
        ('top-1 agreement with the clean model', [1, 0])
        """
        targets = self.targets_from(outputs)
        fitted = self.fitted(outputs, targets)
        accuracy = fitted.name.endswith("accuracy")
        what = fitted.name.replace("accuracy", "agreement with") if accuracy else f"{fitted.name} against"
        return replace(fitted, name=f"{what} the clean model"), targets


@dataclass(frozen=True)
class _OfClasses(Performance):
    """A performance of the outputs for each class, shape (n, classes), and labels, shape (n,)."""

    def fitted(self, outputs: np.ndarray, targets: np.ndarray) -> Performance:
        """Check the shape of the outputs and the range of the labels once, because `scores` runs often."""
        table = _by_class(outputs, self.name)
        labels = _labels(targets, self.name)
        if len(labels) and (labels.min() < 0 or labels.max() >= table.shape[1]):
            wrong = labels.min() if labels.min() < 0 else labels.max()
            raise DataError(
                f"label {wrong} is out of range for a model with {table.shape[1]} classes",
                where="targets",
                remedy=f"Number the classes from 0 to {table.shape[1] - 1}, in the order of the outputs",
            )
        return self

    def targets_from(self, outputs: np.ndarray) -> np.ndarray:
        """Return the class that the clean model predicts."""
        return _by_class(outputs, self.name).argmax(axis=1)


@dataclass(frozen=True)
class Top1(_OfClasses):
    """Whether the largest output is that of the right class.

    Among equal outputs the first counts as the largest, as in ``numpy.argmax``. An input for which any output is NaN
    scores 0: NaN never counts as right.

    Examples
    --------
    >>> Top1().scores(np.array([[0.1, 0.9], [0.5, 0.5], [np.nan, 1]]), np.array([1, 0, 0])).tolist()
    [1.0, 1.0, 0.0]
    """

    name: str = "top-1 accuracy"
    low: float = 0.0
    high: float = 1.0
    loss: bool = False

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return 1 where right, 0 where wrong."""
        table = _by_class(outputs, self.name)
        best = table.argmax(axis=1)
        # argmax gives the place of the first NaN of a row that has one.
        top = np.take_along_axis(table, best[:, None], axis=1)[:, 0]
        return ((best == _labels(targets, self.name)) & (top == top)).astype(np.float64)


@dataclass(frozen=True)
class TopK(_OfClasses):
    """Whether the right class is among the `k` largest outputs; ties and NaN count as in `Top1`.

    Examples
    --------
    >>> TopK(k=2).scores(np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 1.0]]), np.array([2, 1])).tolist()
    [0.0, 1.0]
    """

    name: str = "top-5 accuracy"
    low: float = 0.0
    high: float = 1.0
    loss: bool = False
    k: int = 5

    def fitted(self, outputs: np.ndarray, targets: np.ndarray) -> Performance:
        """Refuse a model with so few classes that every answer is right."""
        classes = _by_class(outputs, self.name).shape[1]
        if classes <= self.k:
            raise SettingError(
                f"{self.name} of a model with {classes} classes is always 1",
                where="--performance",
                remedy="Take top-1",
            )
        return super().fitted(outputs, targets)

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return 1 where right, 0 where wrong."""
        table = _by_class(outputs, self.name)
        labels = _labels(targets, self.name)[:, None]
        own = np.take_along_axis(table, labels, axis=1)
        ahead = (table > own) | ((table == own) & (np.arange(table.shape[1]) < labels))
        return ((ahead.sum(axis=1) < self.k) & ~np.isnan(table).any(axis=1)).astype(np.float64)


@dataclass(frozen=True)
class CrossEntropy(_OfClasses):
    """Cross-entropy in nats between the label and the softmax of the outputs; the score is its negative.

    A model that ends in a softmax gives probabilities: of those the logarithm is taken, and the name says so. An
    input whose outputs are not finite scores minus infinity.

    Examples
    --------
    >>> CrossEntropy().scores(np.array([[0.0, 0.0]]), np.array([1])).round(4).tolist()
    [-0.6931]
    """

    name: str = "cross-entropy"
    low: float = -np.inf
    high: float = 0.0
    loss: bool = True
    of_probabilities: bool = False

    def fitted(self, outputs: np.ndarray, targets: np.ndarray) -> Performance:
        """Find out whether the clean model gives logits or probabilities."""
        super().fitted(outputs, targets)
        if not _are_probabilities(_by_class(outputs, self.name)):
            return self
        return replace(self, name="cross-entropy of the model's probabilities", of_probabilities=True)

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the logarithm of the probability of the right class."""
        table = _by_class(outputs, self.name).astype(np.float64)
        labels = _labels(targets, self.name)[:, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.of_probabilities:
                result = np.log(np.take_along_axis(table, labels, axis=1)[:, 0])
            else:
                shifted = table - table.max(axis=1, keepdims=True)
                own = np.take_along_axis(shifted, labels, axis=1)[:, 0]
                result = own - np.log(np.exp(shifted).sum(axis=1))
        return np.where(np.isfinite(table).all(axis=1), np.minimum(result, 0.0), -np.inf)


@dataclass(frozen=True)
class MeanSquaredError(Performance):
    """Mean squared difference of outputs and targets of one input; the score is its negative.

    Without targets it is the difference from the outputs of the clean model, the quantity that MemSE
    (Kern et al., 2022) predicts. An input whose outputs are not finite scores minus infinity.

    Examples
    --------
    >>> MeanSquaredError().scores(np.array([[1.0, 3.0]]), np.array([[0.0, 0.0]])).tolist()
    [-5.0]
    """

    name: str = "mean squared error"
    low: float = -np.inf
    high: float = 0.0
    loss: bool = True

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the negative of the mean over all outputs of an input."""
        n = len(outputs)
        if outputs.size != targets.size or len(targets) != n:
            raise DataError(
                f"outputs of shape {outputs.shape} and targets of shape {targets.shape} differ",
                where="targets",
                remedy="Mean squared error needs one target for each output; for labels take top-1 or cross-entropy",
            )
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.square(outputs.reshape(n, -1).astype(np.float64) - targets.reshape(n, -1)).mean(axis=1)
        return np.where(np.isnan(error), -np.inf, -error)


@dataclass(frozen=True)
class UserPerformance(Performance):
    """Scores from the user's own function of (outputs, targets), larger where better.

    The function is given arrays of n inputs and returns n numbers, each of its own input alone.

    Attributes
    ----------
    function : callable
    """

    function: Callable[[np.ndarray, np.ndarray], Any]

    def scores(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Call the function and check what it returns."""
        try:
            result = np.asarray(self.function(outputs, targets), np.float64)
        except Exception as problem:
            raise SettingError(f"the function failed with {in_short(problem)}", where=self.name) from None
        if result.shape != (len(outputs),):
            raise SettingError(
                f"the function returned shape {result.shape} for {len(outputs)} inputs",
                where=self.name,
                remedy="Return one number for each input",
            )
        if not (self.low <= result.min(initial=np.inf) and result.max(initial=-np.inf) <= self.high):
            raise SettingError(
                f"a score is NaN or outside [{self.low:g}, {self.high:g}]",
                where=self.name,
                remedy="Return a number that says how bad the answer is",
            )
        return result


NAMES = {"top-1": Top1(), "top-5": TopK(), "cross-entropy": CrossEntropy(), "mse": MeanSquaredError()}
_WAYS = f"Take one of {', '.join(NAMES)}, or module:function"


def performance_named(performance: str | Performance | Callable[[np.ndarray, np.ndarray], Any]) -> Performance:
    """Return the performance of this name, or of this function of (outputs, targets).

    Parameters
    ----------
    performance : str, callable or Performance
        ``top-1``, ``top-5``, ``cross-entropy``, ``mse``, ``module:function``, or a function. A function may carry
        attributes ``low`` and ``high``, the bounds of its scores, which audits need.

    Raises
    ------
    SettingError
        If there is none of this name, or it is no function.

    Examples
    --------
    >>> performance_named("top-1").name
    'top-1 accuracy'
    """
    if isinstance(performance, Performance):
        return performance
    if not (isinstance(performance, str) or callable(performance)):
        raise SettingError(f"{performance!r} is no performance", where="--performance", remedy=_WAYS)
    if isinstance(performance, str):
        if performance in NAMES:
            return NAMES[performance]
        if not names_function(performance):
            raise SettingError(
                f"there is no performance '{performance}'",
                where="--performance",
                remedy=_WAYS,
            )
        function, name = function_named(performance, "--performance"), performance
    else:
        function = performance
        name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
    low, high = float(getattr(function, "low", -np.inf)), float(getattr(function, "high", np.inf))
    return UserPerformance(name, low, high, loss=False, function=function)


def require_output_each(shape: Sequence[int], inputs: int) -> None:
    """Raise unless the first axis of outputs of this shape counts the inputs that they were computed from.

    Raises
    ------
    ModelError

    Examples
    --------
    >>> require_output_each((), 1)
    Traceback (most recent call last):
    kppstat.errors.ModelError: the model's output has shape () for 1 input. The first axis of inputs and output must \
count the inputs.
    """
    if tuple(shape[:1]) != (inputs,):
        raise ModelError(
            f"the model's output has shape {tuple(shape)} for {inputs} input{'s' * (inputs != 1)}",
            remedy="The first axis of inputs and output must count the inputs",
        )


def _by_class(outputs: np.ndarray, name: str) -> np.ndarray:
    """Return outputs as (n, classes); axes of length 1 behind the classes fall away."""
    table = outputs.reshape(outputs.shape[:2]) if outputs.ndim > 2 and set(outputs.shape[2:]) == {1} else outputs
    if table.ndim != 2 or table.shape[1] < 2:
        raise DataError(
            f"the model's output has shape {outputs.shape}, and {name} needs one number for each of 2 or more classes",
            where="output",
            remedy="Take mse, or a function of your own (module:function) of outputs and targets",
        )
    return table


def _labels(targets: np.ndarray, name: str) -> np.ndarray:
    if targets.dtype.kind in "iu" and targets.shape in ((len(targets),), (len(targets), 1)):
        return targets.reshape(-1)
    several = targets.ndim > 1 and targets.shape[1] > 1
    how = "one-hot targets: y.argmax(axis=1)" if several else "whole numbers in another type: y.astype(int)"
    raise DataError(
        f"targets are {targets.dtype} of shape {targets.shape}, and {name} needs integer labels of shape (n,)",
        where="targets",
        remedy=f"Give the number of the right class of each input ({how})",
    )


def _are_probabilities(table: np.ndarray) -> bool:
    """Say whether all rows lie between 0 and 1 and add to one."""
    return bool((table >= 0).all() and (table <= 1).all() and (abs(table.sum(axis=1) - 1) < 1e-3).all())

"""What a trained network is worth on a chip: its performance over instances, its confidence, and what it does not know.

All networks that are judged with one seed see the same instances (equal `(seed, index)`, hence equal standard normals),
so their differences can be told with far fewer of them: `compared`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kppstat import data as data_room
from kppstat.data import Dataset
from kppstat.engine import Evaluator
from kppstat.engine.resources import cores
from kppstat.errors import DataError, SettingError
from kppstat.noise import NoiseModel, Variation, variation_of
from kppstat.onnx_io import Model, load
from kppstat.performance import CrossEntropy, Top1
from kppstat.stats.interval import Interval
from kppstat.stats.order import quantile, quantile_interval
from kppstat.stats.paired import paired_difference
from kppstat.style import Drawable
from kppstat.training.confidence import calibration_error, entropy, probabilities

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Percentiles, in percent, that a judgement is told in.
PERCENTILES = (5.0, 1.0, 0.1)
_USUAL = 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Judgement(Drawable):
    """A classifier under device variation.

    Attributes
    ----------
    model : str
    accuracies : ndarray, shape (instances,)
        Top-1 accuracy of each instance.
    clean : float
        Top-1 accuracy of the intended weights.
    nll : float
        Negative log-likelihood of the right class in nats, mean over inputs and instances.
    ece : float
        Expected calibration error of an instance, mean over instances.
    epistemic : float
        Epistemic uncertainty: the mutual information, in nats, of the prediction for an input and the instance that
        makes it, mean over inputs. It is the entropy of the mean prediction less the mean entropy (Depeweg et al.,
        ICML 2018, arXiv 1710.07283, section 3).
    data_sha256, noise : str, dict
    seed : int
    """

    model: str
    accuracies: np.ndarray
    clean: float
    nll: float
    ece: float
    epistemic: float
    data_sha256: str
    noise: dict[str, Any]
    seed: int

    @property
    def mean(self) -> float:
        """Mean accuracy over instances."""
        return float(self.accuracies.mean())

    @property
    def sd(self) -> float:
        """Standard deviation of the accuracy over instances."""
        return float(self.accuracies.std(ddof=1)) if self.accuracies.size > 1 else 0.0

    def kpp(self, k: float) -> float:
        """Return the empirical KPP."""
        return quantile(self.accuracies, k / 100)

    @property
    def worst(self) -> float:
        """Accuracy of the worst instance that was drawn; the worst case of all is there or below."""
        return float(self.accuracies.min())

    def interval(self, k: float, confidence: float = 0.95) -> Interval:
        """Return the exact interval for the KPP.

        It reaches to 0, or to 1, where there are too few instances for that side: at 95 % KPP(1) takes 368 of them and
        KPP(0.1) 3,688 (`kppstat.stats.order.smallest_size`).
        """
        return quantile_interval(self.accuracies, k / 100, confidence).clipped(0, 1)

    def summary(self) -> str:
        """Return the answer in one honest sentence, at the percentile that is asked for most."""
        interval = self.interval(_USUAL)
        kpp, low, high, clean = (
            f"{100 * x:.2f} %" for x in (self.kpp(_USUAL), interval.low, interval.high, self.clean)
        )
        return (
            f"All but {_USUAL:g} % of the instances reach a top-1 accuracy of {kpp}; 95 % interval [{low}, {high}], "
            f"guarantee exact, from {self.accuracies.size:,} instances (clean {clean})."
        )

    def _drawn(self) -> Figure:
        """Return the share of instances below each accuracy."""
        from kppstat.training.figure import over_instances

        return over_instances(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the accuracies as plain values, and the KPP at `PERCENTILES`."""
        intervals = {f"{k:g}": (self.kpp(k), self.interval(k)) for k in PERCENTILES}
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "instances": self.accuracies.size,
            "kpp": {k: {"kpp": kpp, "ci_low": i.low, "ci_high": i.high} for k, (kpp, i) in intervals.items()},
            "confidence": 0.95,
        }


_PLAIN = ("model", "clean", "mean", "sd", "worst", "nll", "ece", "epistemic", "data_sha256", "noise", "seed")


def judge(
    model: str | Path | Model,
    *,
    data: Any,
    sigma: float | None = None,
    noise: Variation | NoiseModel | None = None,
    instances: int = 600,
    seed: int = 0,
    workers: int | None = None,
) -> Judgement:
    """Evaluate a classifier on every input for a fixed number of instances.

    Parameters
    ----------
    model : path or Model
    data : str, path or Dataset
        Labelled inputs that no training has read.
    sigma : float, optional
        Additive Gaussian variation of this standard deviation; give this or `noise`.
    noise : Variation or NoiseModel, optional
    instances : int
        Fixed beforehand, which makes the intervals exact. Paired intervals at k = 1 and 95 % need 597.
    seed : int
        Names the set of instances.
    workers : int, optional
        Instances run at a time; as many as there are cores if not given.

    Raises
    ------
    KppstatError
        If the model is no classifier or cannot be run on the data, or a setting is out of range.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from kppstat.demo import DATA, MODEL
    >>> with np.load(DATA) as all_inputs, TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/few.npz", x=all_inputs["x"][:100], y=all_inputs["y"][:100])
    ...     found = judge(MODEL, data=f"{folder}/few.npz", sigma=0.1, instances=20)
    >>> found.mean < found.clean
    True
    """
    if instances < 1:
        raise SettingError(f"instances is {instances}", remedy="Give 1 or more")
    model = model if isinstance(model, Model) else load(model)
    dataset = data if isinstance(data, Dataset) else data_room.load(data, model)
    if dataset.targets is None:
        raise DataError("there are no targets to judge by", where=dataset.source, remedy="Add an array y of labels")
    variation = variation_of(sigma, noise)
    evaluator = Evaluator(model, variation, dataset, Top1(), seed=seed)
    clean = evaluator.outputs(None)
    score = float(evaluator.fit(clean).mean())
    labels = np.asarray(dataset.targets).reshape(-1)
    likelihood = CrossEntropy().fitted(clean, labels)
    logits = likelihood.name == CrossEntropy.name
    accuracies, nll, ece = np.empty(instances), np.empty(instances), np.empty(instances)
    mean, own = np.zeros((len(labels), clean.shape[1])), np.zeros(len(labels))
    for i, outputs in enumerate(_outputs(evaluator, instances, workers or cores())):
        scores = evaluator.performance.scores(outputs, labels)
        accuracies[i], nll[i] = scores.mean(), -likelihood.scores(outputs, labels).mean()
        p = probabilities(outputs) if logits else outputs.astype(np.float64)
        ece[i] = calibration_error(p.max(axis=1), scores)
        mean += p / instances
        own += entropy(p) / instances
    return Judgement(
        model=str(model.path),
        accuracies=accuracies,
        clean=score,
        nll=float(nll.mean()),
        ece=float(ece.mean()),
        epistemic=float((entropy(mean) - own).mean()),
        data_sha256=dataset.sha256,
        noise=variation.to_dict(),
        seed=seed,
    )


def compared(one: Judgement, other: Judgement, k: float, confidence: float = 0.95) -> Interval:
    """Return the exact interval for the KPP of one network minus that of another, from the instances they share.

    Raises
    ------
    DataError
        If they were judged on other data, other device variation or other instances.
    """
    for what in ("data_sha256", "noise", "seed"):
        if getattr(one, what) != getattr(other, what):
            name = "data" if what == "data_sha256" else what
            raise DataError(f"the {name} of the two judgements differ", remedy="Judge both in the same way")
    return paired_difference(one.accuracies, other.accuracies, k / 100, confidence).clipped(-1, 1)


def _outputs(evaluator: Evaluator, instances: int, workers: int) -> Iterator[np.ndarray]:
    """Yield the outputs of all instances in order, a few at a time."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, instances, workers):
            yield from pool.map(evaluator.outputs, range(start, min(start + workers, instances)))

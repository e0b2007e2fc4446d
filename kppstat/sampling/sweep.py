"""KPP over a range of sigma and for several k, from one set of instances for each sigma."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kppstat.engine import Task
from kppstat.errors import RunError, SettingError
from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import Model, load
from kppstat.runs import Journal
from kppstat.sampling.question import Question
from kppstat.sampling.result import Sample
from kppstat.sampling.study import Study, versions
from kppstat.stats.order import quantile, quantile_interval, smallest_size
from kppstat.style import Drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 10_000  # numbers in a range
_NUMBER = "instances of each sigma"  # a note in the journal


@dataclass(frozen=True, slots=True)
class Point:
    """KPP at one sigma and one k, in the unit of the performance.

    Attributes
    ----------
    sigma, k : float
    kpp, ci_low, ci_high : float
        The interval is exact for this point by itself.
    mean, sd : float
        Over the instances of this sigma.
    """

    sigma: float
    k: float
    kpp: float
    ci_low: float
    ci_high: float
    mean: float
    sd: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Sweep(Drawable):
    """KPP against sigma.

    Attributes
    ----------
    points : tuple of Point
        By sigma, then by k.
    confidence : float
        Of the interval of each point.
    guarantee : str
        ``exact``: the number of instances was fixed beforehand.
    clean : float
    performance : str
    loss, fraction : bool
        Whether performance is a loss; whether it is a fraction.
    instances : int
        For each sigma; all sigmas share their standard normals (common random numbers).
    evaluations, seconds : float
        Cost of the whole sweep.
    seed : int
    model, model_sha256, data_sha256 : str
    versions : mapping
    """

    points: tuple[Point, ...]
    confidence: float
    guarantee: str
    clean: float
    performance: str
    loss: bool
    fraction: bool
    instances: int
    evaluations: float
    seconds: float
    seed: int
    model: str
    model_sha256: str
    data_sha256: str
    versions: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """Return the sweep in one sentence."""
        sigmas = sorted({p.sigma for p in self.points})
        return (
            f"{self.performance} at {len(sigmas)} values of sigma from {sigmas[0]:g} to {sigmas[-1]:g}, "
            f"{self.instances:,} instances each; {100 * self.confidence:.12g} % interval at each point, exact."
        )

    def instances_for(self, k: float) -> int:
        """Return the number of instances from which on the interval at this k is bounded on both sides."""
        return smallest_size(k / 100, 1 - self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON; ends of intervals that are not finite are None."""
        out = asdict(self)
        out["points"] = [
            {name: value if math.isfinite(value) else None for name, value in asdict(p).items()} for p in self.points
        ]
        return out

    def _drawn(self) -> Figure:
        """Return the KPPs with their bands against sigma."""
        from kppstat.sampling.sweep_figure import against_sigma

        return against_sigma(self)


def sweep_states(
    model: str | Path | Model,
    sigmas: Sequence[float],
    ks: Sequence[float],
    *,
    instances: int = 400,
    confidence: float = 0.95,
    seed: int = 0,
    run: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Iterator[tuple[int, int, Sweep | None]]:
    """Run a sweep and yield ``(evaluations done, evaluations in all, None)`` after each, and the result at the end.

    Parameters are those of `sweep`. An interrupt ends it with the sigmas that are finished, if any are.
    """
    if resume and (run is None or not Path(run).exists()):
        where = "--resume" if run is None else str(run)
        raise RunError("there is no run to resume", where=where, remedy="Name its folder with --run")
    sigmas, ks = np.atleast_1d(sigmas).tolist(), np.atleast_1d(ks).tolist()
    if not sigmas:
        raise SettingError("no sigma is given", where="--sigma", remedy="Give numbers such as 0.02,0.05 or 0.02:0.2:10")
    if not ks:
        raise SettingError("no k is given", where="--k", remedy="Give percentages such as 0.1,1,5,50")
    if not (isinstance(instances, Integral) and instances >= 1):
        remedy = "Give a whole number of at least 1"
        raise SettingError(f"instances is {instances!r}", where="--instances", remedy=remedy)
    questions = [Question(k=k, confidence=confidence, seed=seed, method="mc") for k in ks]
    begun, done, total = time.monotonic(), 0, instances * len(sigmas)
    loaded = model if isinstance(model, Model) else load(model, fold_batch_norm=settings.pop("fold_batch_norm", False))
    points: list[Point] = []
    for sigma in sigmas:
        folder = None if run is None else Path(run) / f"sigma-{sigma:g}"
        again = resume and folder is not None and folder.exists()
        with Study(loaded, questions[0], Variation(Gaussian(sigma)), run=folder, resume=again, **settings) as study:
            settings["data"] = study.data
            if study.journal is not None:
                _require_same_number(study.journal, instances, str(folder))
            values = np.empty(instances)
            try:
                for i, evaluation in enumerate(study.reveal(Task(i) for i in range(instances))):
                    values[i] = evaluation.scores.mean()
                    done += 1
                    yield done, total, None
            except KeyboardInterrupt:
                if not points:
                    raise
                break
            points += [_point(study, sigma, question, values) for question in questions]
    sign = -1.0 if study.performance.loss else 1.0
    yield (
        done,
        total,
        Sweep(
            points=tuple(points),
            confidence=confidence,
            guarantee="exact",
            clean=sign * study.clean,
            performance=study.performance.name,
            loss=study.performance.loss,
            fraction=study.fraction,
            instances=instances,
            evaluations=float(done),
            seconds=time.monotonic() - begun,
            seed=seed,
            model=str(loaded.path),
            model_sha256=loaded.sha256,
            data_sha256=study.data.sha256,
            versions=versions(),
        ),
    )


def _require_same_number(journal: Journal, instances: int, folder: str) -> None:
    """Raise if the journal is of a sweep of another number of instances: exact intervals hold for one number."""
    noted = journal.noted(_NUMBER)
    if noted is None:
        journal.note(_NUMBER, str(instances))
    elif noted != str(instances):
        raise RunError(
            f"the sweep in this folder is of {noted} instances, and exact intervals hold for one number only",
            where=folder,
            remedy=f"Give --instances {noted}, or name another folder",
        )


def sweep(
    model: str | Path | Model, sigmas: Sequence[float], ks: Sequence[float] = (0.1, 1, 5, 50), **settings: Any
) -> Sweep:
    """Estimate the KPP at several sigmas and for several k, with additive Gaussian variation.

    The same instances serve all k, and the instances of all sigmas share their standard normals, so that curves are
    smooth and differences between sigmas are sharper than the intervals.

    Parameters
    ----------
    model : path or Model
        An ONNX file.
    sigmas : sequence of float, or one
        In units of each tensor's max abs weight.
    ks : sequence of float, or one
        Percentages.
    **settings
        ``instances`` (for each sigma, 400), ``confidence``, ``seed``, ``run``, ``resume``, and data, performance,
        workers, executor, fold_batch_norm as for `kppstat.estimate`.

    Returns
    -------
    Sweep

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.

    Examples
    --------
    >>> from kppstat.demo import MODEL, DATA
    >>> result = sweep(MODEL, [0.02, 0.05], [50], instances=3, data=str(DATA), workers=1)
    >>> [(p.sigma, p.k) for p in result.points]
    [(0.02, 50), (0.05, 50)]
    """
    *_, (_, _, result) = sweep_states(model, sigmas, ks, **settings)
    assert result is not None
    return result


def _point(study: Study, sigma: float, question: Question, values: np.ndarray) -> Point:
    interval = quantile_interval(values, question.p, question.confidence)
    interval = interval.clipped(study.performance.low, study.performance.high)
    sample = Sample.of(values)
    kpp, low, high, mean = quantile(values, question.p), interval.low, interval.high, sample.mean
    if study.performance.loss:
        kpp, low, high, mean = -kpp, -high, -low, -mean
    return Point(sigma, question.k, kpp, low, high, mean, sample.sd)


def read_numbers(text: str, where: str) -> list[float]:
    """Return numbers from ``0.1,1,5`` or ``first:last:count`` (evenly spaced, both ends included).

    Raises
    ------
    SettingError
        If they cannot be read.

    Examples
    --------
    >>> read_numbers("0.02:0.1:3", "--sigma"), read_numbers("1,5", "--k")
    ([0.02, 0.06, 0.1], [1.0, 5.0])
    """
    try:
        if ":" in text:
            first, last, count = text.split(":")
            if int(count) > _MOST:
                raise SettingError(f"{text} are {int(count):,} numbers", where=where, remedy=f"Give at most {_MOST:,}")
            return [round(float(x), 12) for x in np.linspace(float(first), float(last), int(count))]
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingError(
            f"{text!r} are no numbers", where=where, remedy="Write them as 0.1,1,5 or as first:last:count"
        ) from None

"""Compare the KPP of several models on the same instances, until it is clear which is better."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from kppstat.errors import RunError, SettingError
from kppstat.noise import Variation, variation_of
from kppstat.sampling.question import Question
from kppstat.sampling.result import STOPPED, Estimate, State, shown
from kppstat.sampling.study import Study


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the KPP of one model is than that of another, as scores (a loss counts negative).

    Attributes
    ----------
    better, worse : str
        Names of the models; where the interval holds 0 they are not told apart.
    low, high : float
        Interval of the difference of their KPPs.
    """

    better: str
    worse: str
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves no doubt which one is better."""
        return self.low > 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """KPPs of several models and their differences; all intervals hold at once.

    Attributes
    ----------
    estimates : tuple of Estimate
        In the order of the models.
    differences : tuple of Difference
        One for each pair.
    confidence : float
        With which all intervals hold at once.
    guarantee : str
    evaluations, seconds : float
        Cost of the whole comparison.
    """

    estimates: tuple[Estimate, ...]
    differences: tuple[Difference, ...]
    confidence: float
    guarantee: str
    evaluations: float
    seconds: float

    def summary(self) -> str:
        """Return the verdict, a sentence for each pair."""
        fraction = self.estimates[0].fraction
        lines = []
        for d in self.differences:
            low, high = (_points(x, fraction=fraction) for x in (d.low, d.high))
            if d.told_apart:
                lines.append(f"{d.better} is better than {d.worse} by {low} to {high}.")
            else:
                lines.append(f"{d.better} and {d.worse} are not told apart: the difference lies in {low} to {high}.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON; ends of intervals that are not finite are None."""
        return {
            "estimates": [e.to_dict() for e in self.estimates],
            "differences": [
                {
                    "better": d.better,
                    "worse": d.worse,
                    "low": d.low if math.isfinite(d.low) else None,
                    "high": d.high if math.isfinite(d.high) else None,
                    "told_apart": d.told_apart,
                }
                for d in self.differences
            ],
            "confidence": self.confidence,
            "guarantee": self.guarantee,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
        }


def _points(value: float, *, fraction: bool) -> str:
    return f"{100 * value:.2f} points" if fraction else shown(value, fraction=False)


def compare_states(
    models: Sequence[str | Path],
    question: Question,
    variation: Variation,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Iterator[tuple[list[State], Comparison | None]]:
    """Run a comparison; yield the states of all models after each step, and the result at the end.

    Parameters are those of `compare`. The model that still decides most for its cost goes next (see `_next`). An
    interrupt ends it with what is known by then.
    """
    if resume and (run is None or not Path(run).exists()):
        where = "--resume" if run is None else str(run)
        raise RunError("there is no run to resume", where=where, remedy="Name its folder with --run")
    if isinstance(models, str | Path) or len(models) < 2:
        raise SettingError("one model has nothing to be compared with", remedy="Name at least two")
    budget = question.max_evaluations
    if budget is not None and budget < len(models):
        raise SettingError(
            f"max-evaluations is {budget:g} for {len(models)} models",
            where="--max-evaluations",
            remedy=f"Give {len(models)} or more",
        )
    begun = time.monotonic()
    alone = replace(
        question,
        guarantee="anytime",
        confidence=1 - question.alpha / len(models),
        max_evaluations=None if budget is None else budget / len(models),
    )
    with ExitStack() as stack:
        studies = []
        for number, model in enumerate(models, start=1):
            folder = None if run is None else Path(run) / f"model-{number}"
            again = resume and folder is not None and folder.exists()
            study = stack.enter_context(Study(model, alone, variation, run=folder, resume=again, **settings))
            if settings.get("data") is None:  # those of the first serve all, each reads them in its own form
                settings["data"] = study.data.source
            studies.append(study)
        going = [study.states() for study in studies]
        now: list[State] = [next(states) for states in going]
        reason = "the models are told apart"
        while (i := _next(now)) is not None:
            try:
                now[i] = next(going[i])
            except KeyboardInterrupt:
                if not all(state.evaluations for state in now):
                    raise
                reason = STOPPED
                break
            yield list(now), None
        for states in going:
            states.close()
        now = [state if state.done else study.conclude(reason) for study, state in zip(studies, now, strict=True)]
        estimates = tuple(study.result() for study in studies)
        bounds = [(study.performance.low, study.performance.high) for study in studies]
        ends = [
            replace(state, low=max(state.low, low), high=min(state.high, high))
            for state, (low, high) in zip(now, bounds, strict=True)
        ]
    names = _names(models)
    yield (
        list(now),
        Comparison(
            estimates=estimates,
            differences=tuple(_difference(names, ends, i, j) for i, j in combinations(range(len(models)), 2)),
            confidence=question.confidence,
            guarantee="anytime",
            evaluations=sum(e.evaluations for e in estimates),
            seconds=time.monotonic() - begun,
        ),
    )


def compare(
    models: Sequence[str | Path], *, sigma: float | None = None, noise: Variation | None = None, **settings: Any
) -> Comparison:
    """Compare the KPP of several models under the same device variation, on the same instances and inputs.

    Without `data`, those beside the first model serve all of them.

    Each interval holds whenever the run stops, and all hold at once (the error is shared between the models), so the
    run ends as soon as the intervals of every pair are apart, or each has the wanted half-width.

    Parameters
    ----------
    models : sequence of path
        ONNX files.
    sigma : float, optional
        Additive Gaussian variation; give this or `noise`.
    noise : Variation, optional
    **settings
        As for `kppstat.estimate`; a folder given as `run` gets one for each model.

    Returns
    -------
    Comparison

    Raises
    ------
    KppstatError
        If a model, the data or the settings cannot be used; the message says what to do.

    Examples
    --------
    >>> from kppstat.demo import DATA, MODEL, NOISE_TRAINED
    >>> result = compare([MODEL, NOISE_TRAINED], sigma=0.15, k=50, data=str(DATA), workers=1, method="mc")
    >>> result.differences[0].better
    'lenet_noise_trained.onnx'
    """
    asked = {name: settings.pop(name) for name in Question.__dataclass_fields__ if name in settings}
    *_, (_, result) = compare_states(models, Question(**asked), variation_of(sigma, noise), **settings)
    assert result is not None
    return result


def _next(states: Sequence[State]) -> int | None:
    """Return which model to go on with; None where none can change a verdict.

    Of two intervals that overlap, the lower part of the better one's and the upper part of the other's keep them from
    being apart. A part falls with about the root of its cost, so a little more cost shortens it in proportion to the
    part over the cost so far: where that is largest, the gap comes cheapest.
    """
    worth: dict[int, float] = {}
    for a, b in combinations(range(len(states)), 2):
        if states[a].low > states[b].high or states[b].low > states[a].high:
            continue
        better, other = (a, b) if states[a].kpp >= states[b].kpp else (b, a)
        for i, part in (
            (better, states[better].kpp - states[better].low),
            (other, states[other].high - states[other].kpp),
        ):
            if not states[i].done:
                known = math.isfinite(part) and states[i].evaluations > 0
                worth[i] = max(worth.get(i, 0.0), part / states[i].evaluations if known else math.inf)
    return max(worth, key=lambda i: worth[i], default=None)


def _difference(names: Sequence[str], states: Sequence[State], i: int, j: int) -> Difference:
    a, b = (i, j) if states[i].kpp >= states[j].kpp else (j, i)
    return Difference(names[a], names[b], states[a].low - states[b].high, states[a].high - states[b].low)


def _names(models: Sequence[str | Path]) -> list[str]:
    """Return file names where they differ, whole paths where they do not."""
    names = [Path(m).name for m in models]
    return names if len(set(names)) == len(names) else [str(m) for m in models]

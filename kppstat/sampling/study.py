"""An estimation from question to result: load, check, run, conclude."""

from __future__ import annotations

import hashlib
import math
import platform
import time
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from kppstat import data as data_room
from kppstat.data import Dataset
from kppstat.engine import Engine, Evaluator
from kppstat.errors import SettingError
from kppstat.noise import Variation, variation_of
from kppstat.onnx_io import Model, load
from kppstat.performance import Performance, performance_named
from kppstat.runs import Journal, Reveal
from kppstat.sampling.audited import Audited
from kppstat.sampling.monte_carlo import MonteCarlo
from kppstat.sampling.policy import chosen, saving
from kppstat.sampling.question import Question
from kppstat.sampling.result import Estimate, State, shown
from kppstat.sampling.subset import SubsetSpace
from kppstat.sampling.tilted import Tilted
from kppstat.sampling.tilted_audits import TiltedAudits
from kppstat.sampling.tilted_slopes import require_gradients
from kppstat.sampling.tilted_space import NetworkSpace

TRACE = 400  # states kept for the figure of convergence
_PLAN = "plan"  # a note in the journal
#: What is noted in place of the plan of a run whose end a clock decided: another end would be by another plan.
_BY_CLOCK = "ended by the clock"


class Study:
    """A model under device variation, its data, and what is asked of it: everything loaded and checked.

    Parameters
    ----------
    model : path or Model
        An ONNX file.
    question : Question
    variation : Variation
        The device variation.
    data : str or Dataset, optional
        See `kppstat.data.load`; None looks for ``model.npz`` beside ``model.onnx``.
    performance : str or callable
        ``top-1``, ``top-5``, ``cross-entropy``, ``mse``, ``module:function`` or a function of (outputs, targets)
        that gives the score of each input.
    workers : int, optional
        How many instances run at a time; None lets a short probe decide.
    executor : object with ``map`` or ``submit``, optional
        Runs the evaluations elsewhere: concurrent.futures, Dask, mpi4py.
    run : path, optional
        Folder for the journal of the run.
    resume : bool
        Continue the run in that folder. An exact interval belongs to the plan that the run was begun by: with another
        budget, half-width, method or confidence, or after its clock struck, the interval is ``anytime``.
    first : int
        Number of the first instance, to share a run between machines.
    fold_batch_norm : bool
        Fold batch normalisation into the weights before noise acts on them.

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.
    """

    def __init__(
        self,
        model: str | Path | Model,
        question: Question,
        variation: Variation,
        *,
        data: str | Dataset | None = None,
        performance: Any = "top-1",
        workers: int | None = None,
        executor: Any = None,
        run: str | Path | None = None,
        resume: bool = False,
        first: int = 0,
        fold_batch_norm: bool = False,
    ) -> None:
        if resume and run is None:
            raise SettingError("there is no run to resume", where="--resume", remedy="Name its folder with --run")
        if not 0 <= first < 2**62:
            raise SettingError(f"first is {first}", where="--first", remedy="Give the number of an instance, 0 or more")
        self.begun = time.monotonic()
        self.question, self.variation = question, variation
        self.model = model if isinstance(model, Model) else load(model, fold_batch_norm=fold_batch_norm)
        variation.require_matches(w.name for w in self.model.weights)
        self.data = data if isinstance(data, Dataset) else data_room.load(data, self.model)
        self.performance: Performance = performance_named(performance)
        evaluator = Evaluator(self.model, self.variation, self.data, self.performance, seed=question.seed)
        self.engine = Engine(evaluator, workers=workers, executor=executor)
        self.clean_scores = self.engine.clean()
        self.performance = evaluator.performance  # now fitted to the outputs of the clean model
        self.clean = float(self.clean_scores.mean())
        self.half_width, self.notes = self._half_width()
        self.journal = None if run is None else Journal(run, self._identity(), resume=resume)
        self.estimator = self._choose(first)
        self.trace: list[State] = []

    def __enter__(self) -> Study:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.engine.close()
        if self.journal is not None:
            self.journal.__exit__()

    @property
    def fraction(self) -> bool:
        """Whether performance is a fraction, such as an accuracy."""
        return (self.performance.low, self.performance.high) == (0, 1)

    def show(self, score: float) -> str:
        """Return a mean score as text, a loss with its own sign."""
        return shown(-score if self.performance.loss else score, fraction=self.fraction)

    @property
    def reveal(self) -> Reveal:
        """What evaluates tasks, through the journal where there is one."""
        if self.journal is None:
            return self.engine.map
        return self.journal.through(self.engine.map, keep_scores=not isinstance(self.estimator, MonteCarlo))

    def states(self) -> Generator[State]:
        """Run, and yield where the estimation stands after each step; the last state is the answer."""
        for state in self.estimator.states(self.reveal):
            self._remember(state)
            yield state
            if not state.done and self._out_of_time():
                final = self.estimator.conclude("the time budget is spent", by_hand=False)
                if self.journal is not None and final.guarantee == "exact":
                    self.journal.note(_PLAN, _BY_CLOCK)
                self._remember(final)
                yield final
                return

    def conclude(self, reason: str) -> State:
        """Return the state in which the estimation ends when it is stopped now: the interval valid so far."""
        final = self.estimator.conclude(reason, by_hand=True)
        self._remember(final)
        return final

    def result(self) -> Estimate:
        """Return the result after the last state.

        Raises
        ------
        SettingError
            If no instance was evaluated.
        """
        if not self.trace or not self.trace[-1].evaluations:
            raise SettingError("no instance was evaluated", remedy="Allow more time or evaluations")
        final, sample, q = self.trace[-1], self.estimator.sample(), self.question
        found = self.estimator.findings() if isinstance(self.estimator, Tilted) else None
        factor = math.nan
        if found is not None:
            factor = found.factor
        elif not isinstance(self.estimator, MonteCarlo):
            factor = saving(sample.performance, q, final.half_width, final.evaluations)
        low, high = max(final.low, self.performance.low), min(final.high, self.performance.high)
        loss = self.performance.loss
        sign = -1.0 if loss else 1.0
        # The pilot alone suggests a percentile; without an instance that counts, or an interval, it is no estimate.
        known = final.instances > 0 or high - low < self.performance.high - self.performance.low
        return Estimate(
            kpp=sign * final.kpp if known else math.nan,
            ci_low=-high if loss else low,
            ci_high=-low if loss else high,
            confidence=q.confidence,
            guarantee=final.guarantee,
            k=q.k,
            sigma=getattr(self.variation.default, "sigma", None) if not self.variation.layers else None,
            noise=self.variation.to_dict(),
            method=self.estimator.name,
            performance=self.performance.name,
            loss=loss,
            fraction=self.fraction,
            clean=sign * self.clean,
            mean=sign * sample.mean,
            sd=sample.sd,
            evaluations=final.evaluations,
            instances=final.instances,
            inputs=len(self.data),
            converged=final.converged,
            half_width=self.half_width,
            stop_reason=final.phase,
            seed=q.seed,
            seconds=time.monotonic() - self.begun,
            model=str(self.model.path),
            data=self.data.source,
            model_sha256=self.model.sha256,
            data_sha256=self.data.sha256,
            versions=versions(),
            values=sign * sample.performance,
            trace=tuple(self.trace),
            notes=(*self.model.notes, *self.data.notes, *self.notes, *self.engine.plan.notes, *self.outcome),
            factor=factor if math.isfinite(factor) else None,
            hidden_mass=None if found is None else found.hidden_mass,
            hidden_threshold=None if found is None else sign * found.hidden_threshold,
        )

    @property
    def outcome(self) -> tuple[str, ...]:
        """What the estimator says of its run beside the interval."""
        return self.estimator.notes if isinstance(self.estimator, Tilted) else ()

    def _choose(self, first: int) -> Audited | MonteCarlo | Tilted:
        """Take the method asked for, or the one that suits the question best."""
        low, high = self.performance.low, self.performance.high
        bounded = math.isfinite(low) and math.isfinite(high)
        method, reason = chosen(self.question, bounded=bounded)
        if self.question.method == "auto" and self.question.guarantee == "asymptotic":
            self.notes = (*self.notes, f"Method {method}: {reason}.")
        replanned = self._is_replanned(method, first)
        if method == "mc":
            return MonteCarlo(self.question, self.half_width, first=first, replanned=replanned)
        inputs = len(self.data)
        if method == "audited":
            return Audited(
                self.question, self.half_width, inputs=inputs, low=low, high=high, first=first, replanned=replanned
            )
        require_gradients(self.engine.evaluator, self.model.graph)
        keep = None if self.journal is None else self.journal.keep
        budget = math.inf if self.question.max_evaluations is None else self.question.max_evaluations
        where = (self.engine, self.model.graph, first, keep)
        kind = TiltedAudits if self.question.guarantee == "anytime" else Tilted
        name: Literal["tilted", "subset"] = "subset" if method == "subset" else "tilted"
        if name == "subset":
            space: NetworkSpace = SubsetSpace(*where, p=self.question.p, budget=budget)
        else:
            space = NetworkSpace(*where, budget=budget)
        return kind(self.question, self.half_width, space, inputs=inputs, low=low, high=high, first=first, name=name)

    def _is_replanned(self, method: str, first: int) -> bool:
        """Whether an exact interval is asked for by another plan than the journal was begun by; the first is noted.

        An exact interval holds for a plan made before any instance was seen. Who looks, and then raises the budget or
        asks for another guarantee, would miss more often than promised. So what comes then does not rest on planned
        sizes. Which percentile is asked for is no part of the plan: each has an interval of its own.
        """
        if self.journal is None:
            return False
        q = self.question
        budget = "any number of" if q.max_evaluations is None else f"at most {q.max_evaluations:.12g}"
        plan = (
            f"{q.guarantee or 'strongest'} by {method}, {budget} evaluations from instance {first} on, half-width "
            f"{self.half_width:.12g}, confidence {q.confidence:.12g}"
        )
        noted = self.journal.noted(_PLAN)
        if noted is None or not len(self.journal):
            self.journal.note(_PLAN, plan)
            return False
        if method not in ("mc", "audited") or q.guarantee not in (None, "exact") or noted == plan:
            return False
        certain = "" if method == "mc" else "; that audits hold as often was measured, not proven"
        self.notes = (
            *self.notes,
            f"The plan of the run in this folder was another one ({noted}), and an exact interval holds for one plan "
            "only. So this one is anytime, from the share of the error that is kept for ends by hand: it is wider, and "
            f"its ranks hold however often one goes on with the run{certain}.",
        )
        return True

    def _half_width(self) -> tuple[float, tuple[str, ...]]:
        wanted = self.question.half_width
        if wanted is None:
            return (0.005 if self.fraction else max(abs(self.clean), 1e-6) / 100), ()
        if self.fraction and wanted >= 0.5:
            # As a fraction this would hold of anything; what is meant is plain enough, and said.
            return wanted / 100, (f"The half-width {wanted:g} was read as percentage points.",)
        return wanted, ()

    def _identity(self) -> dict[str, Any]:
        return {
            "model": self.model.sha256,
            "data": self.data.sha256,
            "noise": self.variation.to_dict(),
            "performance": self.performance.name,
            "seed": self.question.seed,
            "weights": self._weights_hash(),
            "onnxruntime": version("onnxruntime"),
        }

    def _weights_hash(self) -> str:
        """Hash the intended weights as they carry noise: folding batch normalisation changes them, not the file."""
        digest = hashlib.sha256()
        for name, w in self.model.values().items():
            digest.update(f"{name} {w.dtype} {w.shape}".encode())
            digest.update(np.ascontiguousarray(w).tobytes())
        return digest.hexdigest()

    def _out_of_time(self) -> bool:
        limit = self.question.max_time
        return limit is not None and time.monotonic() - self.begun >= limit

    def _remember(self, state: State) -> None:
        """Keep the trace short: when it is full, every other state goes."""
        if len(self.trace) >= TRACE:
            del self.trace[1::2]
        self.trace.append(state)


def estimate(
    model: str | Path | Model, *, sigma: float | None = None, noise: Variation | None = None, **settings: Any
) -> Estimate:
    """Estimate the k-th percentile performance of a model under device variation.

    Parameters
    ----------
    model : path or Model
        An ONNX file.
    sigma : float, optional
        Additive Gaussian variation of this standard deviation, in units of each tensor's max abs weight.
    noise : Variation, optional
        Any other device variation; give this or `sigma`.
    **settings
        The fields of `Question` (k, confidence, half_width, guarantee, method, max_evaluations, max_time, seed)
        and of `Study` (data, performance, workers, executor, run, resume, first, fold_batch_norm).

    Returns
    -------
    Estimate

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.

    Examples
    --------
    >>> from kppstat.demo import MODEL
    >>> result = estimate(MODEL, sigma=0.1, k=5, method="mc", max_evaluations=60, workers=1)
    >>> result.ci_low <= result.kpp <= result.ci_high
    True
    """
    asked = {name: settings.pop(name) for name in Question.__dataclass_fields__ if name in settings}
    with Study(model, Question(**asked), variation_of(sigma, noise), **settings) as study:
        for _ in study.states():
            pass
        return study.result()


def versions() -> dict[str, str]:
    """Return the versions of everything that may touch the result."""
    packages = ("kppstat", "numpy", "scipy", "numba", "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}

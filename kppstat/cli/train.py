"""``kppstat train``: weights that stay good on all but k % of the chips, written into a copy of the same ONNX file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from kppstat.cli import INTERRUPTED
from kppstat.cli.console import Whole, duration, err, live, plain_table, write_json
from kppstat.cli.outputs import check_outputs, write_each
from kppstat.cli.trial import Trial
from kppstat.errors import SettingError
from kppstat.noise import read, variation_of
from kppstat.onnx_io import load
from kppstat.training import Epoch, Plan, Session, Training
from kppstat.training.loop import Progress


def train(
    model: Path,
    /,
    *,
    data: str,
    strategy: str = "kpp",
    sigma: float | None = None,
    k: float = 1.0,
    out: Path | None = None,
    epochs: Whole = 20,
    seed: Whole = 0,
    batch: Whole = 128,
    lr: float = 1e-3,
    val_share: float = 0.1,
    instances: Whole = 50,
    augment: str = "",
    from_scratch: Annotated[bool, Parameter(negative="")] = False,
    set: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=False)] = (),
    performance: str = "top-1",
    test: str | None = None,
    noise_file: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a model for its k-th percentile performance (KPP) under device variation.

    Part of the data is kept for validation: the weights of the epoch with the best KPP there are written. What they are
    worth is told by data that was not trained on: with --test at once, or by `kppstat estimate`. Training uses a GPU
    where there is one, with products in bfloat16, and float32 elsewhere.

    Parameters
    ----------
    model
        ONNX file.
    data
        Labelled inputs to train on, in any form that `kppstat estimate` reads. Not the test set.
    strategy
        plain, gaussian, clip, correctnet, randbet, rcg (TRICE), ovf and irs (NeFT), adversarial-rcg (A-TRICE), kpp,
        or a control of rcg: rcg-mean-only, rcg-mean-gaussian, rcg-mean-removed, rcg-left-censored, rcg-both-sided,
        rcg-truncated.
    sigma
        Standard deviation of a weight's deviation, in units of the max abs weight of its tensor.
    k
        Percent of instances that may fall below the KPP.
    out
        ONNX file to write; MODEL_STRATEGY.onnx beside the model if not given.
    epochs
        Passes over the training data.
    seed
        Fixes every random number.
    batch
        Inputs in a mini-batch.
    lr
        Peak learning rate of Adam.
    val_share
        Share of the data that is kept for validation.
    instances
        Instances drawn for each validation.
    augment
        crop, flip or crop,flip: shift and mirror images at random.
    from_scratch
        Start from random weights; the model is fine-tuned otherwise.
    set
        A setting of the strategy, such as threshold=0.7; may be given several times.
    performance
        top-1, top-5, cross-entropy, mse, or MODULE:FUNCTION.
    test
        Labelled inputs to judge a classifier on before and after training, under the same 600 instances: KPP, mean,
        clean accuracy, likelihood, calibration and epistemic uncertainty. Training never reads them.
    noise_file
        TOML file that describes any other device variation, also by layer.
    resume
        Go on after an interruption, to the same weights as without one.
    json
        File for the result as JSON; - is stdout.
    quiet
        Say nothing but the answer.
    """
    check_outputs(model, data, noise_file, json=json, out=out)
    plan = Plan(
        epochs=epochs,
        seed=seed,
        k=k,
        batch=batch,
        lr=lr,
        val_share=val_share,
        instances=instances,
        from_scratch=from_scratch,
        augment=tuple(way for way in augment.split(",") if way),
    )
    given = load(model)
    session = Session(
        given,
        strategy,
        plan,
        variation_of(sigma, None if noise_file is None else read(noise_file)),
        data=data,
        performance=performance,
        out=out,
        resume=resume,
        settings=_settings(set),
    )
    if not quiet:
        _introduce(session)
    trial = None if test is None else Trial(given, test, session, quiet=quiet)
    interrupted = _run(session, quiet=quiet)
    result = session.finish()
    if trial is not None and not interrupted:
        interrupted = not trial.judge(load(result.out))

    def answer() -> None:
        if json != "-":
            print(result.summary())
            if trial is not None and not interrupted:
                print(trial.summary(k))

    facts = {**result.to_dict(), **({} if trial is None else {"test": trial.to_dict()})}
    write_each(answer, lambda: write_json(facts, json))
    if not quiet:
        if trial is not None:
            err.print(trial.table())
        _outlook(session, result)
    return INTERRUPTED if interrupted else 0


def _settings(texts: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=VALUE."""
    pairs = [text.partition("=") for text in texts]
    wrong = [name for name, sign, _ in pairs if not sign]
    if wrong:
        raise SettingError(f"'{wrong[0]}' has no value", where="--set", remedy="Write it as --set threshold=0.7")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _introduce(session: Session) -> None:
    network, examples, plan = session.network, session.examples, session.plan
    noisy = sum(network.start[name].numel() for name in network.noisy)
    exact = sum(v.numel() for name, v in network.start.items() if name not in network.noisy)
    how = "from random weights" if plan.from_scratch else "fine-tuned"
    err.print(
        f"[bold]{Path(session.source).name}[/] {how} by [bold]{session.strategy.name}[/]: {noisy:,} weights with "
        f"device variation, {exact:,} biases and normalisation parameters without",
        soft_wrap=True,
    )
    settings = [f"{name} {value}" for name, value in session.strategy.to_dict().items() if name != "strategy"]
    if settings:
        err.print(f"settings: {', '.join(settings)}", style="dim", soft_wrap=True)
    mixed = ", products in bfloat16" if session.scene.precision.itemsize < 4 else ""
    err.print(
        f"{len(examples.train):,} inputs to train on and {len(examples.validation):,} to select on, from "
        f"{session.data.source}, on {session.device}{mixed}; loss: {session.objective.name}",
        style="dim",
        soft_wrap=True,
    )
    if network.statistics:
        err.print(
            "batch normalisation uses the statistics of each mini-batch, measured anew after each epoch without noise",
            style="dim",
            soft_wrap=True,
        )
    for note in (*session.notes, *session.data.notes):
        err.print(f"note: {note}", style="dim", soft_wrap=True, markup=False)


def _run(session: Session, *, quiet: bool) -> bool:
    """Drive the training; return whether the user stopped it."""
    begun = time.monotonic()
    try:
        with live(quiet=quiet) as show:
            for progress in session.states():
                show(_line(session, progress))
                if progress.done is not None and not quiet:
                    err.print(_epoch(session, progress.done), soft_wrap=True)
    except KeyboardInterrupt:
        if session.loop.best is None:
            raise
        session.interrupt()
        # Before the first epoch ends there is no checkpoint, and the best weights are those that were given.
        begins = len(session.loop.history) == 1
        then = "no epoch was completed, so the weights stay as given" if begins else "--resume goes on"
        passed = duration(time.monotonic() - begun)
        err.print(f"interrupted after {passed}; {then}", style="yellow", soft_wrap=True)
        return True
    return False


def _line(session: Session, progress: Progress) -> Text:
    best = progress.best
    parts = [
        f"epoch {progress.epoch}/{session.plan.epochs}",
        f"loss {progress.loss:.4g}",
        "" if best is None else f"best KPP({session.plan.k:g}) {_shown(session, best.kpp)} (epoch {best.number})",
        f"{duration(progress.left)} left" if progress.left else "",
    ]
    return Text("  ".join(p for p in parts if p), overflow="ellipsis", no_wrap=True)


def _epoch(session: Session, epoch: Epoch) -> str:
    begin = "before training" if epoch.number == 0 else f"epoch {epoch.number}: loss {epoch.loss:.4g},"
    kpp, mean, clean = (_shown(session, score) for score in (epoch.kpp, epoch.mean, epoch.clean))
    more = "".join(f", {name} {value:.4g}" for name, value in epoch.settings.items())
    return f"{begin} validation KPP({session.plan.k:g}) {kpp}, mean {mean}, clean {clean}{more}"


def _shown(session: Session, score: float) -> str:
    performance = session.performance
    fraction = (performance.low, performance.high) == (0, 1)
    return f"{100 * score:.2f} %" if fraction else f"{-score if performance.loss else score:.4g}"


def _outlook(session: Session, result: Training) -> None:
    table = plain_table("", "")
    table.add_row("written", result.out)
    table.add_row("time", duration(result.seconds))
    table.add_row("stopped", result.stop_reason)
    err.print(table)
    sigma = getattr(session.variation.default, "sigma", None)
    noise = "--noise-file NOISE.toml" if sigma is None or session.variation.layers else f"--sigma {sigma:g}"
    err.print(
        f"judge it on other data: kppstat estimate {result.out} {noise} --k {session.plan.k:g} --data TEST.npz",
        style="dim",
        soft_wrap=True,
        markup=False,
    )

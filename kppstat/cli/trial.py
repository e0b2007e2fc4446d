"""What training was worth on inputs that it never read: the network as it was given, and as it was trained."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from kppstat.cli.console import err, live, plain_table
from kppstat.data import load
from kppstat.errors import SettingError
from kppstat.onnx_io import Model
from kppstat.training import Judgement, Session, compared, judge
from kppstat.training.judgement import PERCENTILES

_SHARES = {"worst": "worst instance", "mean": "mean", "clean": "clean"}
_NUMBERS = {"nll": "negative log-likelihood", "ece": "calibration error", "epistemic": "epistemic uncertainty"}


class Trial:
    """Judges networks on one set of inputs under the same instances; the one that was given at once.

    Parameters
    ----------
    given : Model
    test : str
        Labelled inputs, in any form that `kppstat estimate` reads.
    session : Session
        The training, whose device variation counts.
    quiet : bool

    Raises
    ------
    KppstatError
        If the model is no classifier, or the inputs cannot be used or are those of the training.
    """

    def __init__(self, given: Model, test: str, session: Session, *, quiet: bool) -> None:
        self.tests, self.session, self.quiet = load(test, given), session, quiet
        if self.tests.sha256 == session.data.sha256:
            raise SettingError("these are the data to train on", where="--test", remedy="Give other inputs")
        known = set(session.data.hashes())
        if met := sum(one in known for one in self.tests.hashes()):
            text = f"{met:,} of {len(self.tests):,} test inputs are among the data to train on, which flatters training"
            err.print(text, style="yellow", soft_wrap=True)
        self.judgements: dict[str, Judgement] = {}
        self._judge("given", given)

    def judge(self, trained: Model) -> bool:
        """Judge the trained network too; return False where the user stopped that."""
        try:
            self._judge("trained", trained)
        except KeyboardInterrupt:
            err.print(f"judging was interrupted; the weights are in {trained.path}", style="yellow", soft_wrap=True)
            return False
        return True

    def _judge(self, name: str, model: Model) -> None:
        with live(quiet=self.quiet) as show:
            show(Text(f"judging the {name} network on {self.tests.source}"))
            self.judgements[name] = judge(
                model, data=self.tests, noise=self.session.variation, seed=self.session.plan.seed
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the judgements as plain values."""
        return {name: found.to_dict() for name, found in self.judgements.items()}

    def summary(self, k: float) -> str:
        """Return one sentence: the KPP of the trained network, and what training added."""
        given, trained = self.judgements["given"], self.judgements["trained"]
        added, interval = trained.kpp(k) - given.kpp(k), compared(trained, given, k)
        return (
            f"KPP({k:g}) on {len(self.tests):,} test inputs: {100 * trained.kpp(k):.2f} %, "
            f"{100 * added:+.2f} points by training; 95 % interval of the difference "
            f"[{100 * interval.low:+.2f}, {100 * interval.high:+.2f}], guarantee exact, from "
            f"{trained.accuracies.size} shared instances."
        )

    def table(self) -> Table:
        """Return all that was found, side by side, with 95 % intervals."""
        table = plain_table("on the test inputs", *(f">{name}" for name in self.judgements))
        for k in PERCENTILES:
            found = [(100 * j.kpp(k), j.interval(k)) for j in self.judgements.values()]
            table.add_row(f"KPP({k:g})", *(f"{x:.2f} % [{100 * i.low:.2f}, {100 * i.high:.2f}]" for x, i in found))
        for name, words in _SHARES.items():
            table.add_row(words, *(f"{100 * getattr(j, name):.2f} %" for j in self.judgements.values()))
        for name, words in _NUMBERS.items():
            table.add_row(words, *(f"{getattr(j, name):.4f}" for j in self.judgements.values()))
        return table

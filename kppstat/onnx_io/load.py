"""Load an ONNX file: every step of the import, in order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kppstat.errors import KppstatError, ModelError
from kppstat.graph import Port
from kppstat.onnx_io.batch import batch_inputs, freed, together
from kppstat.onnx_io.batch_norm import fold_batch_norms
from kppstat.onnx_io.fold import fold
from kppstat.onnx_io.inputs import Trial, again, joined, trial
from kppstat.onnx_io.lift import Lifted, all_nodes, lift
from kppstat.onnx_io.model import Model
from kppstat.onnx_io.normalise import IR_VERSION, OPSET, normalise, opset_of
from kppstat.onnx_io.read import GIVE_ONNX, gist, read
from kppstat.onnx_io.rehearsal import rehearse
from kppstat.onnx_io.roles import canonical
from kppstat.onnx_io.self_check import same
from kppstat.onnx_io.session import Session, session_of
from kppstat.onnx_io.to_graph import graph_of
from kppstat.onnx_io.weights import find, why_none

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
OPERATORS = "constant float weights of Conv, ConvTranspose, Gemm, MatMul, LSTM, GRU and RNN"


def load(path: str | Path, *, fold_batch_norm: bool = False) -> Model:
    """Load an ONNX model and list what carries device variation.

    Parameters
    ----------
    path : str or Path
        The ONNX file; external data lie beside it.
    fold_batch_norm : bool
        Fold each BatchNormalization into the weights before it, so that device variation acts on the folded weights.

    Returns
    -------
    Model
        With `Model.notes` saying, one sentence each, what the import did.

    Raises
    ------
    ModelError
        If the file is no ONNX model, is damaged, cannot be run by onnxruntime, has no weight that carries device
        variation, draws random numbers of its own, or gives other outputs after the import than before.

    Examples
    --------
    >>> import onnx.parser, tempfile
    >>> text = '''<ir_version: 8, opset_import: ["" : 17]>
    ... tiny (float[N, 2] x) => (float[N, 1] y) <float[2, 1] w = {1.0, -2.0}> { y = MatMul(x, w) }'''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     onnx.save(onnx.parser.parse_model(text), f"{folder}/tiny.onnx")
    ...     model = load(f"{folder}/tiny.onnx")
    >>> model.weights
    (Weight(name='w', position=0, shape=(2, 1), max_abs=2.0, consumers=("MatMul 'y'",)),)
    """
    try:
        path = Path(path)
    except TypeError:
        raise ModelError(f"this is of type {type(path).__name__}, no path", where="model", remedy=GIVE_ONNX) from None
    rehearse(path, fold_batch_norm=fold_batch_norm)
    return load_here(path, fold_batch_norm=fold_batch_norm)


def load_here(path: Path, *, fold_batch_norm: bool) -> Model:
    """Load a model without rehearsal; `ModelError` for all that does not crash the native libraries."""
    try:
        return _load(path, fold_batch_norm=fold_batch_norm)
    except KppstatError:
        raise
    except Exception as error:  # a damaged file that no check has caught
        raise ModelError(
            f"the import failed with {type(error).__name__}: {gist(error)}",
            where=str(path),
            remedy="If onnxruntime can run the file, please report this",
        ) from error


def _load(path: Path, *, fold_batch_norm: bool) -> Model:
    where = str(path)
    file = read(path)
    stored = lift(file.proto, file.folder)
    if not stored.skeleton.graph.input:
        raise ModelError("the model takes no inputs", where=where, remedy="Give a network with inputs")
    if not stored.skeleton.graph.output:
        raise ModelError("the model gives no outputs", where=where, remedy="Give a network with outputs")
    original = Session(file.source, where)
    _require_no_chance(stored, where)
    found_inputs = trial(original, _ports(stored), batch=1)
    imported = _import(stored, convert=True, fold_batch_norm=fold_batch_norm)
    checked = _check(imported, original, found_inputs, where)
    if checked is None:
        imported = _import(stored, convert=False, fold_batch_norm=fold_batch_norm)
        checked = _check(imported, original, found_inputs, where)
    if checked is None:
        raise ModelError(
            "the imported model does not run, or gives other outputs than the file",
            where=where,
            remedy="If onnxruntime runs the file as it should, this is a fault of kppstat: please report it",
        )
    lifted, batch, notes = _free_batch(imported.lifted, original, found_inputs)
    graph = graph_of(lifted.skeleton.graph, lifted.constants)
    found = find(graph)
    if not found.weights:
        raise ModelError(why_none(found.exact), where=where, remedy=f"Device variation acts on {OPERATORS}")
    return Model(
        path=Path(path),
        sha256=file.sha256,
        graph=graph,
        weights=found.weights,
        exact=found.exact,
        notes=(*file.notes, *imported.notes, *checked, *notes, *found.notes),
        batch=batch,
        skeleton=lifted.skeleton.SerializeToString(),
        factors=imported.factors,
        aliases=imported.aliases,
    )


@dataclass(frozen=True, eq=False)
class _Imported:
    lifted: Lifted
    notes: tuple[str, ...]
    factors: dict[str, np.ndarray]  # what batch-norm folding multiplied each weight with
    aliases: dict[str, str]  # values of the file that another value stands for


def _import(stored: Lifted, *, convert: bool, fold_batch_norm: bool) -> _Imported:
    """Normalise and fold a copy of the model."""
    notes: list[str] = []
    lifted = stored.copy()
    if convert:
        lifted = normalise(lifted, notes)
    else:
        opset = opset_of(lifted.skeleton)
        notes.append(
            f"Operators stay at opset {opset}: at opset {OPSET} the model does not run or gives other outputs."
        )
    lifted.skeleton.ir_version = max(lifted.skeleton.ir_version, IR_VERSION)
    if domains := sorted({n.domain for n in all_nodes(lifted.skeleton.graph) if canonical(n.domain)}):
        notes.append(f"Operators of {', '.join(domains)} are kept as they are.")
    aliases = fold(lifted, notes)
    factors = fold_batch_norms(lifted, notes) if fold_batch_norm else {}
    return _Imported(lifted, tuple(notes), factors, aliases)


def _require_no_chance(lifted: Lifted, where: str) -> None:
    """Refuse operators that draw random numbers: what an instance scores would not depend on its weights alone."""
    for node in all_nodes(lifted.skeleton.graph):
        if node.op_type in _RANDOM and not canonical(node.domain):
            raise ModelError(
                f"{node.op_type} '{node.name or node.output[0]}' draws random numbers: no score would come twice",
                where=where,
                remedy="Remove the node, or export the model for inference",
            )


def _ports(lifted: Lifted) -> tuple[Port, ...]:
    return graph_of(lifted.skeleton.graph, {}).inputs


def _check(imported: _Imported, original: Session, found: Trial | None, where: str) -> list[str] | None:
    """Compare the imported model with the file on random inputs: return notes, or None if they differ."""
    try:
        session = session_of(imported.lifted.skeleton, imported.lifted.constants)
    except ModelError:
        return None  # onnxruntime may lack an operator of the new opset
    if found is None:
        return ["The import was not compared with the file: no inputs were found that onnxruntime accepts in time."]
    if not same(original.run(found.feeds), found.outputs):
        raise ModelError(
            "two runs on the same inputs give different outputs, so a score would not be one of the instance alone",
            where=where,
            remedy="Export the model for inference",
        )
    return [] if same(session.run(found.feeds), found.outputs) else None


def _free_batch(lifted: Lifted, original: Session, found: Trial | None) -> tuple[Lifted, int | None, list[str]]:
    """Return the model with a free batch if that can be had and proved, the batch to feed, and notes."""
    ports = _ports(lifted)
    names, size = batch_inputs(ports)
    fixed = f"The file fixes the batch at {size}, so inputs are fed in groups of {size}."
    if not names or found is None:
        return lifted, size, [] if size is None else [fixed]
    others = [again(found.feeds, names, seed) for seed in (1, 2)]
    wanted = together([found.outputs, *map(original.run, others)])
    if wanted is not None:
        free = lifted if size is None else freed(lifted, names, size)
        try:
            if same(session_of(free.skeleton, free.constants).run(joined([found.feeds, *others], names)), wanted):
                note = f"The batch was fixed at {size}; it is free now, with the same outputs."
                return free, None, [] if size is None else [note]
        except ModelError:
            pass  # the guess did not make a valid model
    why = "several at once give other outputs" if wanted is not None else "its outputs have no axis for them"
    if size is None:
        return lifted, 1, [f"Inputs are fed one at a time: the file declares the batch free, but {why}."]
    return lifted, size, [fixed]

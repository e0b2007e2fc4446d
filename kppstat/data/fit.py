"""Check arrays against the inputs of a model, and make them fit where nothing is lost by it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kppstat.data.dataset import Dataset, blocks, content_hash
from kppstat.errors import DataError
from kppstat.graph import Port
from kppstat.onnx_io import Model
from kppstat.onnx_io.batch import batch_inputs

#: Inputs are cast once if the result takes at most this many bytes, and batch by batch otherwise.
_CAST_AT_ONCE = 1 << 30


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    targets: np.ndarray | None,
    model: Model,
    *,
    source: str = "arrays",
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Return a dataset from arrays in memory.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        By name of the model's inputs; a model with one input takes any name.
    targets : ndarray or None
        Labels, shape (n,), or whatever the performance compares outputs with, shape (n, ...).
    model : Model
    source : str
        Named in messages.
    notes : tuple of str
        Taken over into the dataset.

    Raises
    ------
    DataError
        If the arrays do not fit the model.
    """
    ports = model.graph.inputs
    named = _by_port(arrays, ports, source)
    remarks = list(notes)
    counting = batch_inputs(ports)[0]
    whole = frozenset(p.name for p in ports if p.shape is not None and p.name not in counting)
    inputs = {port.name: _fitted(named[port.name], port, port.name in whole, source, remarks) for port in ports}
    counts = {name: len(a) for name, a in inputs.items() if name not in whole}
    if targets is not None:
        targets = _plain(targets, "targets", source)
        if not targets.ndim:
            raise DataError("targets have no axis", where=source, remedy="Give one target for each input")
        counts["targets"] = len(targets)
    _same_lengths(counts, source)
    if targets is None:
        remarks.append("The data has no targets: the score is agreement with the clean model.")
    dtypes = {port.name: np.dtype(port.dtype) for port in ports}
    digest = content_hash(inputs, targets)
    for name, array in inputs.items():
        inputs[name] = _cast(array, dtypes[name], name, source, remarks)
        _all_finite(inputs[name], name, source)
    if targets is not None:
        _all_finite(targets, "targets", source)
    return Dataset(inputs, dtypes, whole, targets, source, digest, tuple(remarks))


def _by_port(arrays: Mapping[str, np.ndarray], ports: tuple[Port, ...], source: str) -> dict[str, np.ndarray]:
    """Match arrays with the inputs of the model by name, or by being the only ones."""
    if len(ports) == 1 and len(arrays) == 1:
        return {ports[0].name: next(iter(arrays.values()))}
    wanted = [p.name for p in ports]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise DataError(
            f"there is no array {quoted(missing)}; it has {quoted(list(arrays)) or 'none'}",
            where=source,
            remedy=f"Name the arrays after the model's inputs ({quoted(wanted)})"
            + (", or 'x'" if len(ports) == 1 else ""),
        )
    return {name: arrays[name] for name in wanted}


def _fitted(array: np.ndarray, port: Port, whole: bool, source: str, notes: list[str]) -> np.ndarray:
    """Check dtype and shape; add axes of length 1 where only those are missing."""
    array = _plain(array, port.name, source)
    target = np.dtype(port.dtype)
    if target.kind in "iub" and array.dtype.kind == "f":
        raise DataError(
            f"array '{port.name}' is {array.dtype}, and the model takes {target}",
            where=source,
            remedy=f"Save it as {target}",
        )
    if whole:
        if not _matches(array.shape, port.shape or ()):
            raise _misfit(array, port, source, "It is the same for all inputs: give it without an axis for them")
        return array
    if not array.ndim:
        raise _misfit(array, port, source, "Give it one axis for the inputs, then the axes of one input")
    if port.shape is None:
        return array
    inner = port.shape[1:]
    if _matches(array.shape[1:], inner):
        return array
    reshaped = _with_unit_axes(array.shape[1:], inner)
    if reshaped is not None:
        notes.append(f"Input '{port.name}' was given axes of length 1: {array.shape[1:]} became {reshaped}.")
        return array.reshape(len(array), *reshaped)
    if array.ndim == len(inner) and _matches(array.shape, inner):
        raise _misfit(array, port, source, "It is a single input: add an axis in front, x[None]")
    raise _misfit(array, port, source, _layout_remedy(array.shape, inner))


def _plain(array: np.ndarray, name: str, source: str) -> np.ndarray:
    """Refuse anything but numbers."""
    array = np.asanyarray(array)
    if array.dtype.kind not in "fiub":
        kind = "Python objects" if array.dtype.hasobject else str(array.dtype)
        raise DataError(f"array '{name}' holds {kind}, not numbers", where=source, remedy="Save it as float32 or int64")
    return array


def _matches(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or s == w for s, w in zip(shape, wanted, strict=True))


def _with_unit_axes(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> tuple[int, ...] | None:
    """Return `shape` with axes of length 1 put in where `wanted` has them, or None if that does not make it fit."""
    own = [s for s in shape if s != 1]
    rest = [w for w in wanted if w != 1]
    if not _matches(tuple(own), tuple(rest)):
        return None
    sizes = iter(own)
    return tuple(1 if w == 1 else next(sizes) for w in wanted)


def _layout_remedy(shape: tuple[int, ...], inner: tuple[int | None, ...]) -> str:
    """Name a mix-up of channels-first and channels-last, if it is one."""
    if len(shape) == 4 and len(inner) == 3:
        if _matches((shape[3], shape[1], shape[2]), inner):
            return "This looks like channels last (NHWC) for a channels-first (NCHW) model: use x.transpose(0, 3, 1, 2)"
        if _matches((shape[2], shape[3], shape[1]), inner):
            return "This looks like channels first (NCHW) for a channels-last (NHWC) model: use x.transpose(0, 2, 3, 1)"
    return "Preprocess the inputs as for the model's training"


def _misfit(array: np.ndarray, port: Port, source: str, remedy: str) -> DataError:
    sizes = ["n" if i == 0 and s is None else "?" if s is None else str(s) for i, s in enumerate(port.shape or ())]
    return DataError(
        f"array for input '{port.name}' has shape {array.shape}, and the model takes ({', '.join(sizes)})",
        where=source,
        remedy=remedy,
    )


def _same_lengths(counts: dict[str, int], source: str) -> None:
    lengths = set(counts.values())
    if lengths == {0}:
        raise DataError("the data is empty", where=source, remedy="Give at least one input")
    if len(lengths) > 1:
        listed = ", ".join(f"'{name}' {n}" for name, n in counts.items())
        raise DataError(f"the arrays differ in length: {listed}", where=source, remedy="Give one target for each input")
    if not counts:
        raise DataError("no array counts the inputs", where=source, remedy="Give arrays with an axis for the inputs")


def _cast(array: np.ndarray, dtype: np.dtype, name: str, source: str, notes: list[str]) -> np.ndarray:
    """Bring an array to the dtype of the model, now if it is small, or else note that batches will be."""
    if array.dtype == dtype:
        return array
    if array.dtype.kind in "iub" and dtype.kind == "f":
        notes.append(
            f"Input '{name}' was cast from {array.dtype} to {dtype} without scaling "
            f"(values {_range(array)}): the model must bring its own."
        )
    elif dtype.kind in "iu" and array.dtype.kind in "iu":
        _within(array, dtype, name, source)
    if array.size * dtype.itemsize > _CAST_AT_ONCE:
        return array
    with np.errstate(over="ignore"):  # what overflows is found as infinite
        return array.astype(dtype)


def _within(array: np.ndarray, dtype: np.dtype, name: str, source: str) -> None:
    """Refuse integers that another integer type cannot hold."""
    limits = np.iinfo(dtype)
    if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
        raise DataError(f"array '{name}' has values {_range(array)} that {dtype} cannot hold", where=source)


def _range(array: np.ndarray) -> str:
    return f"{array.min()} to {array.max()}"


def _all_finite(array: np.ndarray, name: str, source: str) -> None:
    """Refuse NaN and infinity, and name the first input that has one."""
    if array.dtype.kind != "f":
        return
    start = 0
    for part in blocks(array):
        # A sum is finite unless a value is not, or it overflows: far cheaper than looking at each value.
        with np.errstate(over="ignore", invalid="ignore"):
            suspicious = not np.isfinite(part.sum(dtype=np.float64))
        if suspicious and not (fine := np.isfinite(part)).all():
            first = int(np.argwhere(~fine)[0][0])
            value = "NaN" if np.isnan(part[~fine][0]) else "infinity"
            raise DataError(
                f"'{name}' holds {value} at input {start + first}", where=source, remedy="Remove or repair that input"
            )
        start += len(part)


def quoted(names: list[str]) -> str:
    """Return names for a message, the first of them where there are many."""
    return ", ".join(f"'{n}'" for n in names[:8]) + (" ..." if len(names) > 8 else "")

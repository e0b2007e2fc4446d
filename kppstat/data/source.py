"""Where data comes from: a file, a pair of files, a folder, a function, or the file beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kppstat.data import idx, images, numpy_files
from kppstat.data.dataset import Dataset
from kppstat.data.fit import from_arrays, quoted
from kppstat.errors import DataError
from kppstat.onnx_io import Model
from kppstat.user_code import function_named, in_short, names_function

#: What data may be given as: text or a path, arrays, or None for the file beside the model.
Source = str | Path | tuple[Any, Any] | Mapping[str, Any] | np.ndarray | None

Arrays = tuple[Mapping[str, np.ndarray], np.ndarray | None]

WAYS = (
    "Give a .npz file with x and y, two files 'x.npy,y.npy', IDX files 'images,labels', a folder with one subfolder of "
    "images for each class, or module:function"
)


def load(source: Source, model: Model) -> Dataset:
    """Read evaluation data and check it against the model.

    Parameters
    ----------
    source : str, Path, arrays or None
        A ``.npz`` file (``x``, or arrays named after the model's inputs, and ``y``); ``x.npy,y.npy``; IDX files
        ``images,labels``, plain or gzip; a folder of images, one subfolder for each class in alphabetical order;
        ``module:function`` returning inputs and targets; None takes ``model.npz`` beside ``model.onnx``. Targets may
        be left out everywhere: then the score is agreement with the clean model. Arrays are given as inputs, as a pair
        of inputs and targets, or by name as in a ``.npz`` file.
    model : Model

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If there is no data, or it cannot be read or does not fit the model.
    """
    if source is None:
        path = model.path.with_suffix(".npz")
        if not path.is_file():
            raise DataError(f"no data was given, and there is no {path.name} beside {model.path}", remedy=WAYS)
        source = path
    if not isinstance(source, str | Path):
        return from_arrays(*_arrays_of(source, model, "arrays"), model)
    text = str(source)
    if names_function(text) and not Path(text).exists():
        arrays, targets = _from_function(text, model)
        notes: tuple[str, ...] = ()
    elif Path(text).is_dir():
        arrays, targets, notes = images.read(Path(text), model.graph.inputs)
    else:
        arrays, targets = _from_files(text, model)
        notes = ()
    return from_arrays(arrays, targets, model, source=text, notes=notes)


def _from_files(text: str, model: Model) -> Arrays:
    """Read one file, or an inputs file and a targets file with a comma between."""
    parts = [text] if Path(text).exists() else text.split(",")
    paths = [Path(part.strip()) for part in parts]
    if len(paths) > 2:
        raise DataError(f"{len(paths)} files are given", where=text, remedy="Give inputs and targets: 'x.npy,y.npy'")
    for path in paths:
        if not path.is_file():
            raise DataError("there is no such file", where=str(path), remedy=WAYS)
    if len(paths) == 1:
        if paths[0].suffix == ".npz":
            return _split(numpy_files.read_npz(paths[0]), model, text)
        if paths[0].suffix != ".npy" and (partner := idx.labels_beside(paths[0])) is not None:
            paths.append(partner)
    arrays = [_read_array(path) for path in paths]
    return {"x": arrays[0]}, arrays[1] if len(arrays) > 1 else None


def _read_array(path: Path) -> np.ndarray:
    """Read a file that holds one array."""
    if path.suffix == ".npy":
        return numpy_files.read_npy(path)
    if idx.is_idx(path):
        return idx.read(path)
    raise DataError("this is neither a NumPy nor an IDX file", where=str(path), remedy=WAYS)


def _from_function(text: str, model: Model) -> Arrays:
    """Call the user's function, which returns inputs, (inputs, targets) or a mapping of arrays."""
    function = function_named(text, "--data")
    try:
        result: Any = function()
    except Exception as problem:
        raise DataError(f"the function failed with {in_short(problem)}", where=text) from None
    return _arrays_of(result, model, text)


def _arrays_of(result: Any, model: Model, source: str) -> Arrays:
    """Return as arrays what somebody's Python code gives: inputs, (inputs, targets) or a mapping of arrays."""
    inputs, targets = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    arrays = inputs if isinstance(inputs, Mapping) else {"x": inputs}
    try:
        plain = {str(k): np.asarray(v) for k, v in arrays.items()}
        labels = None if targets is None else np.asarray(targets)
    except Exception as problem:
        raise DataError(
            f"what was given is no array: {in_short(problem)}", where=source, remedy="Give (x, y) as arrays"
        ) from None
    return _split(plain, model, source) if isinstance(result, Mapping) else (plain, labels)


def _split(arrays: Mapping[str, np.ndarray], model: Model, source: str) -> Arrays:
    """Tell inputs from targets: inputs go by the model's names, or ``x``; targets are ``y``."""
    names = [port.name for port in model.graph.inputs]
    target = "targets" if "y" in names else "y"
    if len(names) == 1 and names[0] not in arrays:
        inputs = {"x": arrays["x"]} if "x" in arrays else {k: a for k, a in arrays.items() if k != target}
        missing = [] if len(inputs) == 1 else ["x"]
        called = " or ".join(f"'{k}'" for k in dict.fromkeys(["x", *names]))
    else:
        inputs = {k: a for k, a in arrays.items() if k in names}
        missing = [k for k in names if k not in inputs]
        called = quoted(names)
    if missing:
        raise DataError(
            f"there is no array {quoted(missing)}; it has {quoted(list(arrays)) or 'none'}",
            where=source,
            remedy=f"Name the inputs {called}, and the targets '{target}'",
        )
    unused = ", ".join(f"'{k}'" for k in arrays if k not in inputs and k != target)
    if unused and target not in arrays and len(inputs) == len(names):
        # Without targets the score is agreement with the clean model, which nobody should get by a wrong name.
        remedy = f"Name the targets '{target}', or leave the other arrays out"
        raise DataError(
            f"there is no array '{target}'; it has {unused} besides the inputs", where=source, remedy=remedy
        )
    return inputs, arrays.get(target)

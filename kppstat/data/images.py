"""A folder of images, one subfolder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kppstat.errors import DataError
from kppstat.graph import Port
from kppstat.user_code import in_short

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def read(folder: Path, ports: tuple[Port, ...]) -> tuple[dict[str, np.ndarray], np.ndarray | None, tuple[str, ...]]:
    """Read all images as uint8 in the layout of the model's input, and the numbers of their classes.

    Raises
    ------
    DataError
        If pillow is missing, there are no images, or they do not fit the model.
    """
    try:
        from PIL import Image
    except ImportError:
        raise DataError(
            "reading images needs pillow, which is not installed", where=str(folder), remedy="Run: pip install pillow"
        ) from None
    if len(ports) != 1:
        raise DataError(
            f"the model has {len(ports)} inputs, and a folder of images serves one",
            where=str(folder),
            remedy="Use a .npz file",
        )
    channels, last = _layout(ports[0], str(folder))
    files, labels, names = _files(folder)
    pixels: np.ndarray | None = None
    for number, file in enumerate(files):
        try:
            with Image.open(file) as image:
                array = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.uint8)
        except Exception as problem:  # damaged images fail in many ways
            raise DataError(
                f"the image cannot be read ({in_short(problem)})", where=str(file), remedy="Remove or repair it"
            ) from None
        array = array.reshape(*array.shape[:2], channels)
        array = array if last else array.transpose(2, 0, 1)
        if pixels is None:
            pixels = np.empty((len(files), *array.shape), np.uint8)
        if array.shape != pixels.shape[1:]:
            size, first = ("x".join(map(str, a)) for a in (array.shape, pixels.shape[1:]))
            raise DataError(
                f"the image is {size}, and the first one is {first}",
                where=str(file),
                remedy="Bring all images to the size that the model takes",
            )
        pixels[number] = array
    assert pixels is not None
    if not names:
        return {"x": pixels}, None, ()
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(names[:10])) + (", ..." if len(names) > 10 else "")
    note = f"Classes are numbered by the alphabetical order of the {len(names)} subfolders: {listed}."
    return {"x": pixels}, np.array(labels, np.int64), (note,)


def _layout(port: Port, where: str) -> tuple[int, bool]:
    """Return the number of channels and whether they come last."""
    shape = port.shape or ()
    if len(shape) == 4 and shape[1] in (1, 3):
        return int(shape[1] or 0), False
    if len(shape) == 4 and shape[3] in (1, 3):
        return int(shape[3] or 0), True
    raise DataError(
        f"input '{port.name}' of shape {shape} does not take images with 1 or 3 channels",
        where=where,
        remedy="Use a .npz file",
    )


def _files(folder: Path) -> tuple[list[Path], list[int], list[str]]:
    """Return the image files in order, their labels, and the names of the classes (none for a flat folder)."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        files = _images_in(folder)
        labels: list[int] = []
    else:
        groups = [_images_in(c) for c in classes]
        empty = [c.name for c, group in zip(classes, groups, strict=True) if not group]
        if empty and len(empty) < len(classes):
            raise DataError(
                f"there is no image in subfolder '{empty[0]}'", where=str(folder), remedy="Remove it or fill it"
            )
        files = [f for group in groups for f in group]
        labels = [i for i, group in enumerate(groups) for _ in group]
    if not files:
        raise DataError(
            "there are no images in this folder", where=str(folder), remedy="Put them into one subfolder for each class"
        )
    return files, labels, [c.name for c in classes]


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())

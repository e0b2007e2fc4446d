"""``kppstat doctor``: what is installed, and what each command would miss."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

NEEDS = {
    "estimate, check, demo, merge": (
        "numpy",
        "scipy",
        "numba",
        "onnx",
        "onnxruntime",
        "array-api-compat",
        "rich",
        "cyclopts",
    ),
    "--report and figures": ("matplotlib", "jinja2"),
    "training, gradients, GPU": ("torch",),
    "Dask": ("distributed",),
}


def doctor() -> int:
    """Print versions and what is missing for each command; exit code 2 if the main command cannot run."""
    print(f"kppstat {version('kppstat')}, Python {platform.python_version()}, {os.cpu_count()} CPU cores")
    worst = 0
    for purpose, packages in NEEDS.items():
        found = {name: _version(name) for name in packages}
        missing = [name for name, v in found.items() if v is None]
        print(f"{purpose}: " + ", ".join(f"{name} {v}" for name, v in found.items() if v is not None))
        if missing:
            print(f"    missing: {', '.join(missing)}; pip install {' '.join(missing)}")
            worst = max(worst, 2 if purpose.startswith("estimate") else 0)
    try:
        import onnxruntime

        print("onnxruntime runs on: " + ", ".join(onnxruntime.get_available_providers()))
    except ImportError as e:
        print(f"onnxruntime does not load: {e}")
    return worst


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["order", "sequence", "stages", "plan", "share"])
def test_importing_a_module_loads_nothing_heavy(module):
    code = f"import sys, kppstat.stats.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"scipy.stats", "numba", "torch", "onnx", "matplotlib", "pandas"} & set(loaded)

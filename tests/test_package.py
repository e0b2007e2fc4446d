import subprocess
import sys

import kppstat


def test_import_is_light() -> None:
    program = "import sys, kppstat; print([m for m in ('torch', 'onnx', 'matplotlib', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_estimating_needs_no_torch() -> None:
    program = "import sys, kppstat.cli.estimate; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


def test_every_public_name_is_there() -> None:
    for name in kppstat.__all__:
        assert getattr(kppstat, name) is not None


def test_public_functions_are_not_hidden_by_packages() -> None:
    import_all = "; ".join(f"import kppstat.{room}" for room in ("prediction", "sampling", "training", "worst_case"))
    program = f"{import_all}; import kppstat; print(callable(kppstat.predict), callable(kppstat.estimate))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True"

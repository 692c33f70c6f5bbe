"""The house is built downwards, and its door opens quickly."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "numpy", "sklearn", "faiss", "bm25s", "ir_measures", "matplotlib")


def python(code: str, *, cwd: Path = ROOT) -> str:
    """The standard output of a fresh interpreter that sees this source tree."""
    finished = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout.strip()


def test_no_module_imports_upwards() -> None:
    """The contracts stand in pyproject.toml; import-linter prints the path of every import that breaks one."""
    pytest.importorskip("importlinter", reason="import-linter is a development package")
    code = (
        "from importlinter.cli import lint_imports\n"
        "sys.stdout.reconfigure(errors='replace')\n"
        "raise SystemExit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )
    assert "kept, 0 broken" in python(code)


def test_the_linter_sees_a_forbidden_import(tmp_path: Path) -> None:
    """A contract that nothing can break proves nothing: a small house with the same contract, and one bad import."""
    pytest.importorskip("importlinter", reason="import-linter is a development package")
    for name, code in {"ground": "import roof", "roof": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
    (tmp_path / "contracts.toml").write_text(
        '[tool.importlinter]\nroot_packages = ["ground", "roof"]\n[[tool.importlinter.contracts]]\n'
        'name = "downwards"\ntype = "layers"\nlayers = ["roof", "ground"]\n'
    )
    code = (
        "sys.path.insert(0, '.')\nfrom importlinter.cli import lint_imports\n"
        "sys.stdout.reconfigure(errors='replace')\n"
        "sys.exit(0 if lint_imports(config_filename='contracts.toml', no_cache=True) == 1 else 1)"
    )
    assert "1 broken" in python(code, cwd=tmp_path)


@pytest.mark.parametrize("package", ["genir", "docids", "retrievers", "rag", "experiments"])
def test_a_package_imports_by_itself_and_lightly(package: str) -> None:
    loaded = python(f"import {package}\nprint([name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded == "[]"


def test_the_command_line_loads_nothing_heavy() -> None:
    """`genir --help` must not wait for torch: heavy imports stand inside the commands."""
    loaded = python(f"import experiments.cli\nprint([name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded == "[]"


def test_help_is_printed_before_anything_heavy_loads() -> None:
    code = (
        "import contextlib, io\nfrom experiments.cli import app\nout = io.StringIO()\n"
        "with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):\n"
        "    app(['--help'], prog_name='genir')\n"
        "assert 'evaluate' in out.getvalue(), out.getvalue()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert python(code) == "[]"

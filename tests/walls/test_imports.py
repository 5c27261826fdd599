"""What a fresh interpreter really loads: static contracts can't tell a deferred import from one at the top."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT, SAMPLES, needs_samples

HEAVY = ("tensorflow", "keras", "textual", "rich", "h5py", "pyarrow", "PIL", "pandas", "numkong")


def loaded(code: str) -> set[str]:
    """Top-level packages in sys.modules after running `code` in a fresh interpreter."""
    script = f"{code}\nimport sys\nprint('\\n'.join({{m.split('.')[0] for m in sys.modules}}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@needs_samples
@pytest.mark.parametrize("what", ["digits", "digits.keras"])
def test_ls_loads_nothing_heavy(what: str) -> None:
    code = f"from ckptui.cli import run\nassert run(['ls', {str(SAMPLES / what)!r}]) == 0"
    assert not loaded(code) & set(HEAVY)


@needs_samples
def test_ls_of_a_checkpoint_does_without_numpy() -> None:
    code = f"from ckptui.cli import run\nassert run(['ls', {str(SAMPLES / 'digits')!r}]) == 0"
    assert "numpy" not in loaded(code)


def test_the_screen_loads_no_tensorflow_and_no_h5py() -> None:
    assert not loaded("import ckptui.ui.app") & {"tensorflow", "keras", "h5py", "pandas", "pyarrow", "numkong"}


def test_everything_below_the_screen_loads_no_textual() -> None:
    modules = [
        str(path.relative_to(ROOT)).removesuffix(".py").replace("/", ".")
        for folder in ("core", "readers", "triage", "engine", "predict")
        for path in sorted((ROOT / "ckptui" / folder).glob("*.py"))
        if path.name not in ("__init__.py", "child.py", "image_child.py")
    ]
    assert len(modules) > 20
    code = "\n".join(f"import {m}" for m in [*modules, "ckptui.session", "ckptui.output", "ckptui.commands"])
    assert not loaded(code) & {"textual", "rich", "tensorflow", "keras", "h5py"}


def test_no_source_file_outgrows_its_room() -> None:
    long = {str(p): n for p in sorted((ROOT / "ckptui").rglob("*.py")) if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_functions_and_classes_stay_small() -> None:
    import ast

    too_big: list[str] = []
    for path in sorted((ROOT / "ckptui").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if (node.end_lineno or 0) - node.lineno >= 60:
                    too_big.append(f"{path}:{node.name}")
            elif isinstance(node, ast.ClassDef):
                methods = [n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
                if len(methods) > 20 and "ui" not in path.parts:
                    too_big.append(f"{path}:{node.name} ({len(methods)} methods)")
    assert not too_big


def test_the_worker_folder_parses_as_python_3_7() -> None:
    import ast

    files = sorted((ROOT / "ckptui" / "predict" / "worker").glob("*.py"))
    assert files
    for path in files:
        ast.parse(path.read_text(), feature_version=(3, 7))


@needs_samples
def test_only_an_image_of_filters_loads_pillow(tmp_path: Path) -> None:
    save, target = str(SAMPLES / "digits.keras"), str(tmp_path / "sheet.png")
    assert "PIL" not in loaded(f"from ckptui.cli import run\nassert run(['filters', {save!r}]) == 0")
    heavy = loaded(f"from ckptui.cli import run\nassert run(['filters', {save!r}, '--png', {target!r}]) == 0")
    assert heavy & set(HEAVY) == {"PIL"}

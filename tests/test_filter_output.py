"""What `ckptui filters` says to people: in words, with numbers of filters, within 80 columns."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptui.cli import run
from ckptui.core.filters import analyse
from ckptui.core.model import Layer
from ckptui.filter_output import filters_text, kernel_text
from tests.core.draws import fresh_uniform, normal
from tests.places import SAMPLES, needs_samples


def layer_of(kernel: Any, name: str = "conv/kernel", axes: str = "plain") -> Layer:
    layer = analyse(kernel, name, axes=axes)
    assert layer is not None
    return layer


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """(exit code, all that is printed) of `ckptui filters`."""
    code = run(["filters", *arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def planted() -> Any:
    kernel = normal((3, 3, 4, 24))
    kernel[..., 3] = 0
    kernel[..., 5] *= 1e-5
    kernel[..., 8] = kernel[..., 2]
    kernel[0, 0, 0, 9] = np.nan
    for index in (10, 11, 12, 13, 14, 15, 16, 17):
        kernel[..., index] += kernel[:, ::-1, :, index].copy()
    return kernel


def test_a_line_a_kernel_names_what_is_flagged() -> None:
    layers = [layer_of(planted()), layer_of(fresh_uniform((3, 3, 4, 8)), "model/_operations/2/_kernel/.ATTRIBUTES/V")]
    lines = filters_text(layers, [])
    assert lines[0].split() == ["kernel", "size", "filters", "initializer", "symmetric", "flagged"]
    assert "8, chance 0" in lines[1]
    assert "8 mirrored: 10 11 12 13 14 15 …, 1 not finite: 9, 1 zero: 3, 1 dead: 5, 1 duplicate: 8" in lines[1]
    assert lines[2].startswith("model/_operations/2/_kernel ")
    assert "glorot_uniform" in lines[2]
    assert "untouched" not in lines[2]


def test_a_kernel_alone_has_a_line_a_filter() -> None:
    lines = kernel_text(layer_of(planted()), [])
    assert lines[1] == "  3×3, 24 filters of 4 inputs, trained"
    assert max(map(len, lines)) <= 80
    rows = {int(line.split()[0]): line for line in lines if line.split() and line.split()[0].isdigit()}
    assert list(rows) == list(range(24))
    assert rows[8].endswith("repeats 2")
    assert rows[10].endswith("mirror-symmetric")
    assert rows[3].endswith("zero")
    assert not rows[0].strip().endswith(("zero", "symmetric"))
    assert "front-back" in "\n".join(kernel_text(layer_of(normal((3, 3, 3, 2, 4))), []))
    assert "mirror" not in "\n".join(kernel_text(layer_of(normal((12, 4)), axes="dense"), []))


@needs_samples
@pytest.mark.parametrize(
    ("save", "words"),
    [
        ("mirror_symmetric.keras", "32 of 32 filters mirror-symmetric; chance gives 2"),
        ("dead_filters.keras", "6 of 24 filters have under a thousandth of the median norm, 6 of them are all zero"),
    ],
)
def test_findings_of_samples_are_in_words(capsys: pytest.CaptureFixture[str], save: str, words: str) -> None:
    path = str(SAMPLES / "suspicious" / save)
    code, told = call(capsys, "--no-cache", path)
    assert code == 0
    assert words in told
    assert call(capsys, "--no-cache", "--fail-on", "warning", path)[0] == 1


@needs_samples
def test_tensors_without_filters_are_told_from_unknown_ones(capsys: pytest.CaptureFixture[str]) -> None:
    save = str(SAMPLES / "suspicious" / "mirror_symmetric.keras")
    code, told = call(capsys, save, "nothing")
    assert code == 2
    assert "No such tensor" in told
    code, told = call(capsys, save, "layers/conv2d/vars/1")
    assert code == 2
    assert "has no filters" in told


@needs_samples
def test_what_of_a_damaged_save_can_be_read_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.h5"
    shutil.copy(SAMPLES / "digits.h5", path)
    with h5py.File(path) as file:
        names = [name for name in _datasets(file) if name.endswith("kernel") and not name.startswith("optimizer")]
        end = {name: file[name].id.get_offset() + file[name].id.get_storage_size() for name in names}
    last = max(end, key=lambda name: end[name])
    with open(path, "r+b") as raw:
        raw.truncate(end[last] - 8)
    code, told = call(capsys, "--no-cache", str(path))
    assert code == 1
    assert [name for name in names if name in told and name != last]
    assert "hdf5-damaged" in told


def _datasets(file: Any) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found

"""What `ckptui filters` says to people: in words, with numbers of filters, within 80 columns."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptui.cli import run
from ckptui.core.filters import analyse
from ckptui.core.model import Finding, Layer, Storage, Tensor
from ckptui.filter_output import filters_text, kernel_text, verdict_words
from tests.core.draws import fresh_uniform, normal
from tests.places import SAMPLES, needs_samples


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no name is shortened; a test before may have left a narrow one."""
    monkeypatch.setenv("COLUMNS", "200")


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
    assert "8, chance none" in lines[1]
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


def tensor_of(layer: Layer, path: str, own: str = "", crc: int | None = None, **more: Any) -> Tensor:
    shape = (*layer.kernel, layer.channels, layer.filters)
    return Tensor(
        layer.tensor, "float32", shape, 4, own, object_path=path, storage=Storage("plain", crc32c=crc),
        **{"role": "kernel", **more},
    )  # fmt: skip


def flagged(tensor: str, code: str = "dead-filters") -> Finding:
    return Finding(code, "warning", "A title", "m", tensor, detail="in words")


TAIL = "/.ATTRIBUTES/VARIABLE_VALUE"


def test_a_layer_is_called_what_the_model_calls_it_and_fits_the_screen() -> None:
    stored = [f"model/_functional/_operations/{n}/depthwise_kernel{TAIL}" for n in range(3)]
    layers = [layer_of(planted(), stored[0]), *(layer_of(normal((3, 3, 4, 1200)), name) for name in stored[1:])]
    tensors = [tensor_of(one, f"a_model/block{n}/kernel", f"block{n}") for n, one in enumerate(layers)]
    lines = filters_text(layers, [flagged(stored[0])], tensors, "m", width=200)
    assert lines[0].split() == ["kernel", "size", "filters", "initializer", "symmetric", "flagged", "stored", "as"]
    assert lines[1].startswith("▲  block0/kernel")
    assert lines[1].endswith("  model/_functional/_operations/0/depthwise_kernel")
    assert lines[2].startswith("   block1/kernel  3×3     1,200  trained")
    assert "▲ dead-filters  model/_functional/_operations/0/depthwise_kernel (block0/kernel)" in lines
    assert lines[-1] == "3 kernels, 1 with findings"
    narrow = filters_text(layers[1:], [], tensors, "m", width=80)
    assert "stored as" not in narrow[0]
    assert max(map(len, narrow)) <= 80
    assert narrow[-1] == "2 kernels, nothing found"
    unnamed = filters_text(layers[1:], [], (), "m", width=80)
    assert max(map(len, unnamed)) <= 80
    assert unnamed[1].startswith("model/_func…")
    assert "/1/depthwise_kernel " in unnamed[1]


def test_shortened_names_stay_apart() -> None:
    names = [f"separable_conv2d_{n}_1/{part}wise_kernel" for n in (1, 2, 3) for part in ("depth", "point")]
    lines = filters_text([layer_of(normal((3, 3, 4, 8)), name) for name in names], [], width=50)
    shown = [line.split()[0] for line in lines[1:7]]
    assert len(set(shown)) == 6
    assert all("…" in name for name in shown)


def test_a_kernel_stored_twice_stands_there_once() -> None:
    layers = [layer_of(planted(), name + TAIL) for name in ("_all_variables/8", "variables/8")]
    tensors = [tensor_of(one, "model/c2/kernel", "c2", crc=7) for one in layers]
    lines = filters_text(layers, [flagged(one.tensor) for one in layers], tensors, "m", width=200)
    assert lines[-1] == "1 kernel, 1 of them stored twice, 1 with findings"
    assert sum(line.startswith("▲  c2/kernel ") for line in lines) == 1
    assert [line for line in lines if "dead-filters" in line] == ["▲ dead-filters  variables/8 (c2/kernel)"]
    # a copy that holds other values is no copy
    other = [layers[0], layer_of(normal((3, 3, 4, 24)), layers[1].tensor)]
    assert filters_text(other, [], tensors, "m")[-1].startswith("2 kernels, ")


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"role": "embedding"}, "embedding"),
        ({"layer_class": "LSTMCell"}, "LSTM"),
        ({"layer_class": "GRU"}, "GRU"),
        ({"layer_class": "MultiHeadAttention"}, "attention"),
        ({"layer_class": "Dense"}, "dense"),
        ({"layer_class": "Custom"}, "matrix"),
        ({}, "matrix"),
    ],
)
def test_what_has_no_extent_in_space_is_called_what_it_is(more: dict[str, Any], word: str) -> None:
    layer = layer_of(normal((16, 1200)), axes="dense")
    tensor = tensor_of(layer, "a/b/weights", **more)
    line = kernel_text(layer, [], tensor)[2]
    assert line.startswith(f"  {word}, 1,200 {'rows of 16 values' if word == 'embedding' else 'units of 16 inputs'}")
    if word != "embedding":
        assert f"  {word} " in filters_text([layer], [], [tensor])[1]


def test_words_of_verdicts() -> None:
    zeros = normal((3, 3, 4, 24))
    zeros[..., [2, 7, 11]] = 0
    assert "3 dead, all zero: 2 7 11" in filters_text([layer_of(zeros)], [])[1]
    layer = layer_of(normal((24, 16)), axes="dense")
    partly: dict[str, Any] = {"verdict": "partly", "on_grid": 0.26, "rows": 0, "certainty": "confirmed"}
    cases: list[tuple[dict[str, Any], dict[str, int], str]] = [
        (partly, {}, "partly: 26 % on the grid"),
        ({**partly, "rows": 103}, {}, "partly: 103 inputs untouched"),
        (partly, {"untouched": 4}, "partly: 4 of 16"),
        ({"verdict": "at-initializer", "match": "orthogonal", "certainty": "likely"}, {}, "orthogonal (likely)"),
    ]
    for said, counts, words in cases:
        one = replace(layer, initializer=said, counts={**layer.counts, **counts})
        assert f"  {words} " in filters_text([one], [])[1]
    assert verdict_words(layer_of(fresh_uniform((3, 3, 4, 8)))) == "untouched since the initializer, glorot_uniform"
    assert verdict_words(layer_of(zeros)) == "trained"


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


@needs_samples
def test_show_says_of_one_kernel_what_its_filters_say(capsys: pytest.CaptureFixture[str]) -> None:
    told: dict[str, str] = {}
    for save, layer in (("dead_filters", 1), ("untouched_layer", 1), ("mirror_symmetric", 0)):
        path = str(SAMPLES / "suspicious" / f"{save}.keras")
        tensor = f"layers/conv2d{'_1' if layer else ''}/vars/0"
        assert run(["show", path, tensor, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["findings"]
        assert run(["filters", path, tensor, "--json"]) == 0
        assert [f["code"] for f in json.loads(capsys.readouterr().out)["findings"]] == [f["code"] for f in found]
        assert run(["show", path, tensor]) == 0
        told[save] = capsys.readouterr().out
        assert all(f["code"] in told[save] for f in found)
        assert run(["show", path, tensor.replace("vars/0", "vars/1")]) == 0
        assert "  weights " not in capsys.readouterr().out
    assert all("  weights    " in text and "  argmin     [" in text for text in told.values())
    assert "dead, all zero: " in told["dead_filters"]
    assert "  weights    untouched since the initializer" in told["untouched_layer"]
    assert ": all untouched\n" in told["untouched_layer"]
    assert "mirrored" in told["mirror_symmetric"]


@needs_samples
def test_check_says_that_training_is_another_question(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(SAMPLES / "suspicious" / "untouched_layer.keras")
    assert run(["check", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "`ckptui filters SAVE`" in line] == [lines[-2]]
    assert run(["check", "--quick", path]) == 0
    assert "ckptui filters" not in capsys.readouterr().out
    assert run(["filters", "--help"]) == 0
    assert "exit code is 0 but with --fail-on warning" in " ".join(capsys.readouterr().out.split())


def test_one_save_is_not_named_in_every_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.ones((4, 4), "f4")
    values[1, 2] = np.nan
    for save in ("one", "two"):
        with h5py.File(tmp_path / f"{save}.h5", "w") as file:
            group = file.create_group("model_weights/a")
            group.attrs["weight_names"] = ["seq/a/kernel"]
            group["seq/a/kernel"] = values
            file["model_weights"].attrs["layer_names"] = ["a"]
            file["model_weights"].attrs["backend"] = "tensorflow"
    assert run(["check", str(tmp_path / "one.h5")]) == 1
    told = capsys.readouterr().out
    assert "✖ non-finite  model_weights/a/seq/a/kernel" in told
    assert run(["check", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    for save in ("one", "two"):
        assert f"✖ non-finite  {tmp_path / save}.h5  model_weights/a/seq/a/kernel" in told


def _datasets(file: Any) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found

"""`ckptui filters --png`: what is drawn where, by the pixels of the file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckptui import commands
from ckptui.cli import run
from ckptui.core.colours import NOT_FINITE, diverging, normalised, signed_rgb
from ckptui.core.pictures import layer_limit, layer_scale
from ckptui.session import Session
from ckptui.sheet import planning
from ckptui.sheet.canvas import BACKGROUND, TONES, fitted, printable, width_of
from ckptui.sheet.planning import INNER, MOST_HEIGHT, WIDTH
from ckptui.ui.theme import DARK
from tests.places import CORPUS, SAMPLES, needs_corpus, needs_samples
from tests.readers.make_bundle import write_bundle
from tests.sheets import Bytes, Framed, frames, kernel, opened, rgb


@pytest.fixture(scope="module")
def shared() -> Iterator[Session]:
    with Session(cache=False) as session:
        yield session


@pytest.fixture(autouse=True)
def _one_session(shared: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reader children are started once, not for every call."""
    monkeypatch.setattr(commands, "Session", lambda **_: contextlib.nullcontext(shared))


def drawn(save: Path | str, target: Path, *arguments: str, code: int = 0) -> Bytes:
    """The sheet of a save."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(["filters", str(save), *arguments, "--png", str(target), "--no-cache"]) == code
    return opened(target)


def bundle(folder: Path, **tensors: Any) -> str:
    """A checkpoint of these tensors; `__` in a name is a slash."""
    return write_bundle(folder / "ckpt-1", {name.replace("__", "/"): value for name, value in tensors.items()})


def every(sheet: Bytes) -> list[Framed]:
    """All frames in reading order, whatever their colour."""
    found = [frame for tone in ("frame", "warning", "error", "odd", "muted") for frame in frames(sheet, tone)]
    return sorted((f for f in found if f.width < 170), key=lambda frame: (frame.y, frame.x))


def unpacked(pixels: Any) -> Bytes:
    """0xRRGGBB as (..., 3) bytes."""
    return np.stack([pixels >> 16 & 255, pixels >> 8 & 255, pixels & 255], axis=-1).astype(np.uint8)


def planted() -> Any:
    """A 5x5x1 kernel of 40: three mirror-symmetric, one zero, one dead, one twice, one with a NaN."""
    values = kernel(5, 5, 1, 40)
    for index in (3, 17, 30):
        values[..., index] = (values[..., index] + values[:, ::-1, :, index]) / 2
    values[..., 8] = 0
    values[..., 9] *= 1e-5
    values[..., 21] = values[..., 20]
    values[1, 2, 0, 25] = np.nan
    return values


def test_flagged_filters_are_framed_in_their_colours_where_they_belong(tmp_path: Path) -> None:
    values = planted()
    sheet = drawn(bundle(tmp_path, conv__kernel=values), tmp_path / "sheet.png", code=1)
    assert sheet.shape[1] == WIDTH
    tiles = every(sheet)
    assert len(tiles) == 40
    assert len({tile.width for tile in tiles}) == 1
    tones = {tone: [tiles.index(frame) for frame in frames(sheet, tone) if frame in tiles] for tone in TONES}
    assert tones["warning"] == [3, 8, 9, 17, 30]
    assert tones["odd"] == [21]
    assert tones["error"] == [25]
    # nothing else than the frame tells it apart for eyes that see no colour: a word stands above each
    above = [sheet[t.y - 13 : t.y - 2, t.x : t.x + t.width] for t in tiles]
    inked = [int((piece != rgb(BACKGROUND)).any(axis=-1).sum()) for piece in above]
    assert min(inked[i] for i in (3, 8, 9, 17, 21, 25, 30)) > max(inked[i] for i in (0, 1, 2, 4, 5, 6, 7))


def test_every_cell_has_the_colour_of_its_weight_on_the_scale_of_the_layer(tmp_path: Path) -> None:
    values = planted()
    sheet = drawn(bundle(tmp_path, conv__kernel=values), tmp_path / "sheet.png", code=1)
    planes = values[:, :, 0, :].transpose(2, 0, 1)
    limit = layer_scale(planes)
    for index, tile in enumerate(every(sheet)):
        wanted = unpacked(diverging(normalised(planes[index], limit)))
        cells = tile.cells(sheet, 5, 5)
        whole = np.isfinite(planes[index])
        np.testing.assert_array_equal(cells[whole], wanted[whole])
    print(f"{len(planes)} filters of 25 cells drawn in their colours")


def test_a_value_that_is_not_finite_is_hatched_in_a_colour_of_its_own(tmp_path: Path) -> None:
    values = kernel(3, 3, 1, 16)
    values[0, 1, 0, 4], values[2, 2, 0, 4] = np.nan, np.inf
    sheet = drawn(bundle(tmp_path, conv__kernel=values), tmp_path / "sheet.png", code=1)
    tile = every(sheet)[4]
    inner = sheet[tile.y + 3 : tile.y + tile.height - 3, tile.x + 3 : tile.x + tile.width - 3]
    side = inner.shape[0] // 3
    odd = rgb(f"#{NOT_FINITE:06x}")
    for row in range(3):
        for column in range(3):
            cell = inner[row * side : (row + 1) * side, column * side : (column + 1) * side].reshape(-1, 3)
            colours = {tuple(pixel) for pixel in cell.tolist()}
            broken = (row, column) in ((0, 1), (2, 2))
            assert colours == {odd, rgb(BACKGROUND)} if broken else len(colours) == 1 and odd not in colours


def test_zero_is_not_the_background(tmp_path: Path) -> None:
    values = kernel(3, 3, 1, 16)
    values[..., 5] = 0
    sheet = drawn(bundle(tmp_path, conv__kernel=values), tmp_path / "sheet.png")
    cells = every(sheet)[5].cells(sheet, 3, 3).reshape(-1, 3)
    assert {tuple(cell) for cell in cells.tolist()} == {(68, 71, 79)}
    assert rgb(BACKGROUND) not in {(68, 71, 79)}


def test_three_channels_are_red_green_and_blue(tmp_path: Path) -> None:
    values = kernel(3, 3, 3, 16)
    sheet = drawn(bundle(tmp_path, conv__kernel=values), tmp_path / "sheet.png")
    planes = values.transpose(3, 0, 1, 2)
    for index, tile in enumerate(every(sheet)):
        wanted = unpacked(signed_rgb(normalised(planes[index], layer_scale(planes))))
        np.testing.assert_array_equal(tile.cells(sheet, 3, 3), wanted)


def test_many_channels_are_their_first_component(tmp_path: Path) -> None:
    values = kernel(3, 3, 8, 24)
    # one channel pattern times one spatial pattern: the component is the spatial pattern, whatever computes it
    spatial, weight = kernel(3, 3, 24, seed=1), np.abs(kernel(8, 24, seed=2)) + 0.05
    values = np.einsum("hwn,cn->hwcn", spatial, weight).astype(np.float32)
    sheet = drawn(bundle(tmp_path, conv__kernel=values), tmp_path / "sheet.png", "--per-filter")
    for index, tile in enumerate(every(sheet)):
        wanted = unpacked(diverging(normalised(spatial[..., index], layer_limit(spatial[..., index]))))
        assert np.abs(tile.cells(sheet, 3, 3).astype(int) - wanted).max() <= 1


def test_per_filter_scales_and_orders(tmp_path: Path) -> None:
    values = kernel(3, 3, 1, 16)
    values *= np.linspace(0.2, 1, 16, dtype=np.float32)
    save = bundle(tmp_path, conv__kernel=values)
    planes = values[:, :, 0, :].transpose(2, 0, 1)
    sheet = drawn(save, tmp_path / "own.png", "--per-filter")
    for index, tile in enumerate(every(sheet)):
        wanted = unpacked(diverging(normalised(planes[index], layer_limit(planes[index]))))
        np.testing.assert_array_equal(tile.cells(sheet, 3, 3), wanted)
    sheet = drawn(save, tmp_path / "norm.png", "--sort", "norm")
    order = np.argsort(-np.sqrt((planes.astype(np.float64) ** 2).sum(axis=(1, 2))), kind="stable")
    for tile, index in zip(every(sheet), order, strict=True):
        wanted = unpacked(diverging(normalised(planes[index], layer_scale(planes))))
        np.testing.assert_array_equal(tile.cells(sheet, 3, 3), wanted)


def test_sorted_by_symmetry_and_by_flags_the_planted_come_first(tmp_path: Path) -> None:
    save = bundle(tmp_path, conv__kernel=planted())
    by_flag = every(flagged := drawn(save, tmp_path / "flagged.png", "--sort", "flagged", code=1))
    assert [by_flag.index(f) for f in frames(flagged, "warning") if f in by_flag] == [0, 1, 2, 3, 6]
    by_symmetry = every(sheet := drawn(save, tmp_path / "symmetry.png", "--sort", "symmetry", code=1))
    assert [by_symmetry.index(f) for f in frames(sheet, "warning") if f in by_symmetry][:3] == [0, 1, 2]


def test_slices_of_a_3d_kernel_lie_side_by_side(tmp_path: Path) -> None:
    values = kernel(3, 3, 3, 1, 24)
    sheet = drawn(bundle(tmp_path, conv3d__kernel=values), tmp_path / "sheet.png")
    limit = layer_scale(values[:, :, :, 0].transpose(3, 1, 0, 2).reshape(24, 3, 9))
    tiles = every(sheet)
    assert len(tiles) == 24
    for index, tile in enumerate(tiles):
        cells = tile.cells(sheet, 3, 11)
        for depth in range(3):
            wanted = unpacked(diverging(normalised(values[depth, :, :, 0, index], limit)))
            np.testing.assert_array_equal(cells[:, depth * 4 : depth * 4 + 3], wanted)
        assert (cells[:, (3, 7)] == rgb(BACKGROUND)).all()


def test_units_of_a_heat_map_are_marked_beside_it(tmp_path: Path) -> None:
    values = kernel(40, 30)
    values[:, 7] = 0
    values[:, 20] = np.nan
    sheet = drawn(bundle(tmp_path, dense__kernel=values), tmp_path / "sheet.png", code=1)
    frame = frames(sheet, "frame", least=100)[0]
    # 40 inputs across, 30 units down: the longer axis lies across
    assert (frame.width - 2) * 30 == (frame.height - 2) * 40
    side = (frame.width - 2) // 40
    lane = sheet[frame.y + 1 : frame.y + frame.height - 1, frame.x - 6]
    for tone, unit in (("warning", 7), ("error", 20)):
        marked = np.flatnonzero((lane == rgb(TONES[tone])).all(axis=-1))
        assert marked.tolist() == list(range(unit * side, (unit + 1) * side))
    inner = sheet[frame.y + 1 + side // 2 : frame.y + 1 + 30 * side : side, frame.x + 1 + side // 2 :: side][:, :40]
    wanted = unpacked(diverging(normalised(values.T, layer_limit(values))))
    whole = np.isfinite(values.T)
    np.testing.assert_array_equal(inner[whole], wanted[whole])


def test_a_layer_of_thousands_shows_its_flagged_filters_first(tmp_path: Path) -> None:
    values = kernel(3, 3, 2, 2048)
    values[..., (1500, 2040)] = 0
    save = bundle(tmp_path, conv__kernel=values)
    sheet = drawn(save, tmp_path / "sheet.png")
    tiles = every(sheet)
    assert len(tiles) == 1024
    assert [tiles.index(f) for f in frames(sheet, "warning") if f in tiles] == [1022, 1023]
    assert sheet.shape[0] <= MOST_HEIGHT


def test_a_save_of_many_layers_keeps_its_height_and_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "MOST_HEIGHT", 1500)
    tensors = {f"conv_{i:02}/kernel": kernel(3, 3, 1, 32, seed=i) for i in range(24)}
    tensors["conv_22/kernel"][..., 3] = 0
    save = write_bundle(tmp_path / "ckpt-1", tensors)
    sheet = drawn(save, tmp_path / "sheet.png")
    assert 1300 < sheet.shape[0] <= 1500
    # the flagged layer is there although it comes late, the others are cut to a row
    tiles = every(sheet)
    assert len([f for f in frames(sheet, "warning") if f in tiles]) == 1
    assert len(tiles) % 24 == 0
    assert len(tiles) < 24 * 24
    foot = sheet[-42:-10]
    assert ((foot != rgb(BACKGROUND)).any(axis=-1)).sum() > 300
    print(f"{len(tiles) // 24} of 24 layers in {sheet.shape[0]} pixels")


# ------------------------------------------------------------------ files


def test_json_is_the_same_with_and_without_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save = bundle(tmp_path, conv__kernel=planted())
    assert run(["filters", save, "--json"]) == 1
    alone = capsys.readouterr()
    target = tmp_path / "sheet.png"
    assert run(["filters", save, "--json", "--png", str(target)]) == 1
    both = capsys.readouterr()
    assert json.loads(alone.out) == json.loads(both.out)
    assert alone.err == ""
    height, width, _ = opened(target).shape
    assert f"wrote {target}: {width}x{height} pixels" in both.err
    assert run(["filters", save, "--png", str(tmp_path / "other.png"), "--fail-on", "never"]) == 0


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(["filters", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_what_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save = bundle(tmp_path, conv__kernel=kernel(3, 3, 1, 16))
    target = tmp_path / "sheet.png"
    target.write_bytes(b"mine")
    assert "exists" in refused(capsys, save, "--png", str(target))
    assert target.read_bytes() == b"mine"
    drawn(save, target, "--force")
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "nowhere.png")
    assert "exists" in refused(capsys, save, "--png", str(link))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "ckpt-1.data-00000-of-00001", "ckpt-1.index", "link.png", "sheet.png",
    ]  # fmt: skip


def test_other_names_and_options_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save = bundle(tmp_path, conv__kernel=kernel(3, 3, 1, 16), bias=np.zeros(4, np.float32))
    assert ".png" in refused(capsys, save, "--png", str(tmp_path / "sheet.jpg"))
    assert "no path" in refused(capsys, save, "--png", "-")
    assert "no path" in refused(capsys, save, "--png", "--force")
    assert "does not exist" in refused(capsys, save, "--png", str(tmp_path / "no" / "sheet.png"))
    assert "--sort" in refused(capsys, save, "--sort", "norm")
    assert "--force" in refused(capsys, save, "--force")
    assert "--per-filter" in refused(capsys, save, "--per-filter")
    assert "has no filters" in refused(capsys, save, "bias", "--png", str(tmp_path / "sheet.png"))
    only = write_bundle(tmp_path / "only-1", {"bias": np.zeros(4, np.float32)})
    assert "no filters to draw" in refused(capsys, only, "--png", str(tmp_path / "sheet.png"))
    assert not list(tmp_path.glob("*.png"))
    assert not list(tmp_path.glob(".ckptui*"))


@needs_samples
def test_nothing_is_written_into_a_saved_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(SAMPLES / "digits_saved_model", folder)
    before = sorted(folder.rglob("*"))
    assert "inside the save" in refused(capsys, str(folder), "--png", str(folder / "variables" / "sheet.png"))
    assert sorted(folder.rglob("*")) == before
    assert drawn(folder, tmp_path / "sheet.png").shape[1] == WIDTH


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = bundle(tmp_path, conv__kernel=kernel(3, 3, 1, 16))

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fails)
    assert run(["filters", save, "--png", str(tmp_path / "sheet.png")]) == 2
    assert sorted(os.listdir(tmp_path)) == ["ckpt-1.data-00000-of-00001", "ckpt-1.index"]


# ------------------------------------------------------------------ damage and odd names


def test_what_does_not_read_has_its_place_and_reason(tmp_path: Path) -> None:
    save = bundle(tmp_path, a__kernel=kernel(3, 3, 1, 16), b__kernel=kernel(3, 3, 1, 16), c__kernel=kernel(3, 3, 1, 16))
    shard = Path(save + ".data-00000-of-00001")
    shard.write_bytes(shard.read_bytes()[:-100])
    sheet = drawn(save, tmp_path / "sheet.png", code=1)
    assert len(every(sheet)) == 32
    assert [f.width for f in frames(sheet, "error")] == [INNER]
    alone = drawn(save, tmp_path / "alone.png", "c/kernel", code=1)
    assert [f.width for f in frames(alone, "error")] == [INNER]
    assert len(every(alone)) == 0


def test_hostile_names_are_escaped_and_drawn(tmp_path: Path) -> None:
    names = [
        "conv\x1b]52;c;aGk=\x07[/red]\u202eevil/kernel", "卷积/層/kernel", "é\u0301\u0301/kernel",
        "x" * 3000 + "/kernel", "\U0001f600/kernel", "a\nb\tc/kernel", "…/kernel",
    ]  # fmt: skip
    save = write_bundle(tmp_path / "ckpt-1", {name: kernel(3, 3, 1, 16) for name in names})
    sheet = drawn(save, tmp_path / "sheet.png")
    assert len(every(sheet)) == 16 * len(names)
    for name in names:
        shown = fitted(name, 500, 15, middle=True)
        assert width_of(shown, 15) <= 500
        assert shown.isprintable()
        assert "\u202e" not in shown
    assert printable("卷/kernel") == "\\u5377/kernel"
    assert printable("3×3 −1") == "3x3 -1"


@needs_samples
@pytest.mark.parametrize("name", ["digits.weights.h5", "digits", "suspicious/mirror_symmetric.keras"])
def test_samples(name: str, tmp_path: Path) -> None:
    sheet = drawn(SAMPLES / name, tmp_path / "sheet.png")
    symmetric = len([f for f in frames(sheet, "warning") if f.width < 200 and f.height > 30])
    assert symmetric == (32 if "mirror" in name else 0)


@needs_corpus
def test_corpus(tmp_path: Path) -> None:
    # pictures of 3x3 kernels: the residual network's 3 of 16, 2 of 32, 2 of 64; all of mini_XCEPTION's
    for name, count in (("mlperf-tiny/pretrainedResnet.h5", 240), ("face-classification/mini_XCEPTION_KDEF.hdf5", 383)):
        start = time.perf_counter()
        sheet = drawn(CORPUS / name, tmp_path / f"{count}.png", "--fail-on", "never")
        print(f"{name}: {sheet.shape[1]}x{sheet.shape[0]} pixels in {time.perf_counter() - start:.1f} s")
        assert len(every(sheet)) == count


def test_the_colours_are_those_of_the_workbench() -> None:
    assert TONES["error"] == DARK.error
    assert TONES["warning"] == DARK.warning
    assert TONES["plain"] == DARK.foreground
    assert DARK.background == BACKGROUND
    assert {TONES[name] for name in ("odd", "faint")} == {DARK.variables["odd"], DARK.variables["faint"]}
    assert TONES["muted"] == DARK.variables["dim"]

"""Labels: found beside the model or the image, and used only where they can be meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptui.errors import NoSuchPath, UsageError
from ckptui.predict.labels import find_labels, labels_for, read_labels


def test_the_nearest_file_wins_the_models_folder_before_the_images(tmp_path: Path) -> None:
    model = tmp_path / "runs" / "a" / "model.keras"
    image = tmp_path / "runs" / "images" / "x.png"
    for folder in (model.parent, image.parent):
        folder.mkdir(parents=True)
    assert find_labels(str(model), [str(image)]) is None
    (image.parent / "labels.txt").write_text("image\n")
    assert find_labels(str(model), [str(image)]) == str(image.parent / "labels.txt")
    (model.parent.parent / "labels.txt").write_text("above\n")
    assert find_labels(str(model), [str(image)]) == str(model.parent.parent / "labels.txt")
    (model.parent / "labels.txt").write_text("beside\n")
    assert find_labels(str(model), [str(image)]) == str(model.parent / "labels.txt")


def test_an_images_folder_elsewhere_names_nothing(tmp_path: Path) -> None:
    image = tmp_path / "samples" / "images" / "x.png"
    for folder in (image.parent, tmp_path / "samples" / "deep", tmp_path / "other" / "m"):
        folder.mkdir(parents=True)
    near = image.parent / "labels.txt"
    near.write_text("a\n")
    for model in ("samples/m.keras", "samples/images/m.keras", "samples/deep/m.keras", "samples/saved_model"):
        assert find_labels(str(tmp_path / model), [str(image)]) == str(near), model
    for model in ("other/m.keras", "other/m/m.keras", "samples/deep/er/m.keras"):
        assert find_labels(str(tmp_path / model), [str(image)]) is None, model


def test_labels_that_merely_lie_near_must_name_every_output(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    near = labels_for(str(tmp_path / "m.keras"), [], None)
    asked = labels_for(str(tmp_path / "m.keras"), [], str(tmp_path / "labels.txt"))
    assert near.fitting(3) == ("a", "b", "c")
    assert near.fitting(7) == ()
    assert asked.fitting(7) == ("a", "b", "c")
    assert asked.misfit(7) == "3 labels for 7 outputs"
    assert (asked.misfit(3), near.misfit(7), near.misfit(3)) == ("", "", "")
    assert labels_for(str(tmp_path / "sub" / "sub2" / "m.keras"), [], None).fitting(3) == ()


def test_what_a_labels_file_says_is_made_harmless(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"cat \n\x1b[2Jdog\r\n\xff\n")
    assert read_labels(str(tmp_path / "labels.txt")) == ("cat", "\\x1b[2Jdog", "�")


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "binary"])
def test_what_is_no_labels_file_is_one_plain_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "labels.txt"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "binary":
        path.write_bytes(b"\x89PNG\0\0")
    with pytest.raises((NoSuchPath, UsageError), match=r"labels\.txt"):
        read_labels(str(path))

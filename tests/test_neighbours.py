"""What lies around a save: a model it fits, images to try, the save before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptui.errors import UsageError
from ckptui.session import Session
from tests.places import SAMPLES, needs_samples

pytestmark = needs_samples


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session() as shared:
        yield shared


@pytest.mark.parametrize("name", ["digits/ckpt-5", "digits.weights.h5"])
def test_a_save_without_a_model_borrows_the_one_its_weights_fit(session: Session, name: str) -> None:
    assert session.sibling_model(str(SAMPLES / name)) == str(SAMPLES / "digits.keras")


def test_a_model_of_other_weights_is_not_borrowed(session: Session, tmp_path: Path) -> None:
    for name in ("model.ckpt-300.index", "model.ckpt-300.data-00000-of-00001"):
        shutil.copy(SAMPLES / "estimator" / name, tmp_path)
    shutil.copy(SAMPLES / "digits.h5", tmp_path)
    assert session.sibling_model(str(tmp_path / "model.ckpt-300")) is None
    assert session.sibling_model(str(SAMPLES / "broken" / "flipped_bit" / "ckpt-1")) is None


def test_a_damaged_model_is_not_borrowed(session: Session, tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    shutil.copy(SAMPLES / "digits.weights.h5", inner)
    (inner / "digits.keras").write_bytes((SAMPLES / "digits.keras").read_bytes()[:-5000])
    assert session.sibling_model(str(inner / "digits.weights.h5")) is None
    shutil.copy(SAMPLES / "digits.keras", inner.parent)
    assert session.sibling_model(str(inner / "digits.weights.h5")) == str(inner.parent / "digits.keras")


def test_images_are_found_beside_and_above(session: Session) -> None:
    images = session.sibling_images(str(SAMPLES / "digits" / "ckpt-5"))
    assert [Path(image).name for image in images] == [f"{n}.png" for n in range(10)]


@needs_samples
def test_without_a_fitting_model_it_is_said_what_was_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    for suffix in ("index", "data-00000-of-00001"):
        shutil.copy(SAMPLES / "estimator" / f"model.ckpt-300.{suffix}", folder / f"model.ckpt-300.{suffix}")
    weights = str(folder / "model.ckpt-300")
    with Session() as session:
        with pytest.raises(UsageError, match=r"no \.keras or \.h5 lies in its folder or the two above it"):
            list(session.predict(weights, ["a.png"]))
        shutil.copy(SAMPLES / "digits.keras", folder)
        shutil.copy(SAMPLES / "broken" / "truncated.keras", folder)
        shutil.copy(SAMPLES / "digits.weights.h5", folder)
        with pytest.raises(UsageError, match=r"digits\.keras: 1 of 6 weights fit, truncated\.keras: it is damaged"):
            list(session.predict(weights, ["a.png"]))
        looked: list[str] = []
        assert session.sibling_model(weights, looked) is None
        assert "digits.weights.h5: it holds no architecture" in looked

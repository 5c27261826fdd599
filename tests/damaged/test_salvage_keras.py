"""Keras files brought back: what reads of a truncated or damaged .h5, .keras or .weights.h5, loaded by Keras again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckptui.errors import UsageError
from ckptui.session import Session
from tests.damaged.salvaging import outcomes, planned, salvaged
from tests.places import SAMPLES, needs_samples

Oracle = Callable[..., Any]
FORMS = ("model.h5", "model.keras", "model.weights.h5")


@pytest.fixture(scope="module")
def models(tensorflow: Oracle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """One model, with a recurrent layer and a model in the model, saved three ways; digests of its weights."""
    folder = tmp_path_factory.mktemp("models")
    return folder, tensorflow("keras_files", str(folder))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def damaged(models: tuple[Path, list[str]], folder: Path, name: str, share: float) -> Path:
    """A copy of one of the files, cut off after a share of its bytes."""
    (folder / "run").mkdir(exist_ok=True)
    data = (models[0] / name).read_bytes()
    path = folder / "run" / name
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("name", FORMS)
def test_a_whole_file_becomes_weights_that_keras_loads(
    shared_session: Session, tensorflow: Oracle, models: tuple[Path, list[str]], out: Path, name: str
) -> None:
    target = out / "again.weights.h5"
    report = salvaged(shared_session, models[0] / name, target)
    assert set(outcomes(report).values()) == {"recovered"}
    assert tensorflow("load_weights", str(models[0] / "model.keras"), str(target), False) == models[1]
    first, second = tensorflow("predict", str(models[0] / "model.keras"), str(target))
    assert first == second


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("name", FORMS)
def test_what_reads_of_a_truncated_file_is_right(
    shared_session: Session,
    tensorflow: Oracle,
    models: tuple[Path, list[str]],
    tmp_path: Path,
    out: Path,
    name: str,
    share: float,
) -> None:
    """Nothing that comes back differs from the whole file's; what Keras loads of it is the model's own."""
    path = damaged(models, tmp_path, name, share)
    whole = planned(shared_session, models[0] / name)
    if not planned(shared_session, path).writable:
        print(name, share, "nothing")
        with pytest.raises(UsageError, match="nothing can be recovered"):
            salvaged(shared_session, path, out / "rest.npz")
        assert not list(out.iterdir())
        return
    report = salvaged(shared_session, path, out / "rest.npz")
    rest = np.load(out / "rest.npz")
    salvaged(shared_session, models[0] / name, out / "whole.npz")
    complete = np.load(out / "whole.npz")
    got = outcomes(report)
    kept = {n for n, outcome in got.items() if outcome == "recovered"}
    print(name, share, len(kept), "of", len(whole.items))
    assert set(rest.files) == {n for n, outcome in got.items() if outcome in ("recovered", "unverified")}
    for key in rest.files:
        if got[key] == "recovered":
            assert np.array_equal(rest[key], complete[key]), key
        else:
            # the name is lost, the values are some weight's all the same
            assert "unnamed@" in key
            assert any(np.array_equal(rest[key], complete[other]) for other in complete.files)
    plan = planned(shared_session, path)
    if ".weights.h5" not in plan.targets:
        return
    target = out / "rest.weights.h5"
    salvaged(shared_session, path, target)
    loaded = tensorflow("load_weights", str(models[0] / "model.keras"), str(target), True)
    blank = tensorflow("load_weights", str(models[0] / "model.keras"), str(_empty(out)), True)
    own = [digest == right for digest, right in zip(loaded, models[1], strict=True)]
    assert all(mine or digest == half for mine, digest, half in zip(own, loaded, blank, strict=True))
    print("loaded", sum(own), "of", len(own))
    if len(kept) == len(whole.items):
        assert all(own)


def _empty(folder: Path) -> Path:
    """A weights file without weights."""
    path = folder / "empty.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("layers")
    return path


@needs_samples
@pytest.mark.parametrize("name", ["truncated.h5", "truncated.keras"])
def test_the_truncated_samples(shared_session: Session, tensorflow: Oracle, out: Path, name: str) -> None:
    report = salvaged(shared_session, SAMPLES / "broken" / name, out / "rescued")
    read = tensorflow("read", str(out / "rescued"))
    assert set(read) == {item.name for item in report.plan.writable}


@needs_samples
@pytest.mark.parametrize("name", ["digits.h5", "digits.keras", "digits.weights.h5"])
def test_a_keras_file_as_a_checkpoint(shared_session: Session, tensorflow: Oracle, out: Path, name: str) -> None:
    report = salvaged(shared_session, SAMPLES / name, out / "ckpt")
    read = tensorflow("read", str(out / "ckpt"))
    assert set(read) == set(outcomes(report))
    for item in report.plan.items:
        assert read[item.name][0] == list(item.shape)


def test_the_weights_of_a_checkpoint_have_no_place_in_a_weights_file(shared_session: Session, out: Path) -> None:
    plan = planned(shared_session, SAMPLES / "digits" / "ckpt-5")
    assert ".weights.h5" not in plan.targets
    with pytest.raises(UsageError, match="can't become"):
        list(shared_session.salvage(plan, str(out / "x.weights.h5")))


def test_half_precision_keeps_its_bits_in_a_weights_file(
    shared_session: Session, tensorflow: Oracle, tmp_path: Path, out: Path
) -> None:
    """bfloat16 lies in HDF5 as opaque bytes; Keras knows it by the attribute beside them."""
    folder = tmp_path / "half"
    folder.mkdir()
    digests = tensorflow("bfloat16_file", str(folder))
    target = out / "half.weights.h5"
    report = salvaged(shared_session, folder / "half.weights.h5", target)
    assert set(outcomes(report).values()) == {"recovered"}
    assert {item.dtype for item in report.plan.items} == {"bfloat16"}
    assert tensorflow("load_weights", str(folder / "half.keras"), str(target), False) == digests


def test_a_damaged_member_is_not_vouched_for(
    shared_session: Session, models: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """The archive's CRC-32 vouches for the weights of a whole .keras, and of no other."""
    assert {i.evidence["vouched"] for i in planned(shared_session, models[0] / "model.keras").items} == {
        "the archive's CRC-32"
    }
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "model.keras"
    shutil.copy(models[0] / "model.keras", path)
    data = bytearray(path.read_bytes())
    first = np.load(_npz(shared_session, models[0] / "model.weights.h5", tmp_path))
    values = first["layers/batch_normalization/vars/0"].tobytes()
    place = data.find(values)
    assert place > 0
    data[place + 2] ^= 1
    path.write_bytes(data)
    plan = planned(shared_session, path)
    assert {f.code for f in plan.findings} >= {"zip-damaged"}
    assert [i.name for i in plan.items if i.outcome == "repairable"] == ["layers/batch_normalization/vars/0"]
    others = {i.evidence["vouched"].partition(";")[0] for i in plan.items if i.outcome == "recovered"}
    assert others == {"the archive's CRC-32 but for one flipped bit"}
    data[place + 3] ^= 3
    path.write_bytes(data)
    plan = planned(shared_session, path)
    assert {i.outcome for i in plan.items} == {"unverified"}
    assert {i.evidence["vouched"] for i in plan.items} == {False}
    assert {i.evidence["vouched"] for i in planned(shared_session, models[0] / "model.h5").items} == {False}


def _npz(session: Session, path: Path, folder: Path) -> Path:
    (folder / "npz").mkdir()
    salvaged(session, path, folder / "npz" / "x.npz")
    return folder / "npz" / "x.npz"

"""The use cases by themselves: what is kept, what is merged, what a name leads to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckptui.core.model import Artifact, Finding, Listing
from ckptui.errors import NoSuchTensor
from ckptui.session import Session, checked_listing
from tests.places import SAMPLES, needs_samples
from tests.readers.make_bundle import write_bundle


def finding(code: str, tensor: str | None = None, severity: str = "error") -> Finding:
    return Finding(code, severity, "t", "m", tensor)  # type: ignore[arg-type]


def listing(*findings: Finding) -> Listing:
    return Listing(Artifact("m", "tf-checkpoint", "m", None, 0, 0, 0, 0, 0.0), (), findings)


def test_a_full_check_earns_ok_and_findings_take_it_away() -> None:
    assert checked_listing(listing(), []).artifact.status == "ok"
    assert checked_listing(listing(), [finding("constant", "w", "warning")]).artifact.status == "warning"
    assert checked_listing(listing(finding("shard-missing")), []).artifact.status == "error"


def test_a_finding_is_told_once() -> None:
    same = finding("non-finite", "w")
    assert checked_listing(listing(same), [same, finding("non-finite", "v")]).findings == (
        same,
        finding("non-finite", "v"),
    )


def test_zeros_where_data_should_be_say_why_a_checksum_is_wrong() -> None:
    told = checked_listing(listing(finding("checksum-mismatch", "w")), [finding("zero-filled", "w")]).findings
    assert [f.code for f in told] == ["zero-filled"]
    told = checked_listing(listing(finding("checksum-mismatch", "w")), [finding("zero-filled", "v")]).findings
    assert len(told) == 2


def test_a_save_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "c", {"w": np.zeros(3, "f4")})
    with Session() as session:
        first = session.open(prefix)
        assert session.open(prefix) is first
        write_bundle(tmp_path / "c", {"w": np.zeros(3, "f4"), "v": np.zeros(3, "f4")})
        assert [t.name for t in session.open(prefix).tensors] == ["v", "w"]


def test_an_unknown_tensor_names_the_nearest(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "c", {"conv1/kernel": np.zeros(3, "f4")})
    with Session() as session:
        opened = session.open(prefix)
        assert session.tensor(opened, "conv1/kernel").shape == (3,)
        with pytest.raises(NoSuchTensor) as raised:
            session.tensor(opened, "conv1/kernal")
        with pytest.raises(NoSuchTensor, match="conv1/kernel"):
            session.tensor(opened, "conv1/kernal")
        assert session.tensor(opened, "kernel").name == "conv1/kernel"
    assert "conv1/kernel" in raised.value.hint


def test_a_name_that_fits_several_tensors_lists_them(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "c", {f"conv{n}/kernel": np.zeros(3, "f4") for n in range(8)})
    with Session() as session:
        opened = session.open(prefix)
        with pytest.raises(NoSuchTensor) as raised:
            session.tensor(opened, "kernel")
    assert str(raised.value).startswith("8 tensors fit this name: kernel in ")
    assert raised.value.hint == f"Which of: {', '.join(f'conv{n}/kernel' for n in range(5))} and 3 more?"


@needs_samples
def test_neighbours_of_a_save_in_a_run() -> None:
    with Session() as session:
        model = session.sibling_model(str(SAMPLES / "digits/ckpt-5"))
        assert model is not None
        assert Path(model).resolve() == (SAMPLES / "digits.keras").resolve()
        images = session.sibling_images(str(SAMPLES / "digits/ckpt-5"))
    assert [Path(image).name for image in images] == [f"{n}.png" for n in range(10)]

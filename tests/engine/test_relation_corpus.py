"""The relation of real saves: epochs of one run, Estimator saves, samples, and two trainings that share nothing."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import DiffReport, Pair
from ckptui.core.relation import RelationRow, relation
from ckptui.session import Session
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus, needs_estimator, needs_samples


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(cache=False) as made:
        yield made


def told(session: Session, a: Path, b: Path) -> dict[str, Any]:
    report = list(session.diff(session.open(str(a)), session.open(str(b))))[-1]
    assert isinstance(report, DiffReport)
    return dict(report.relation)


@needs_corpus
def test_no_two_epochs_of_a_run_are_independent(session: Session) -> None:
    import h5py

    epochs = sorted((CORPUS / "fer2013-sequence").glob("*.hdf5"))
    kernels: list[dict[str, np.ndarray[Any, Any]]] = []
    for path in epochs:
        with h5py.File(path, "r") as file:
            found: dict[str, np.ndarray[Any, Any]] = {}
            file["model_weights"].visititems(
                lambda name, item, found=found: (
                    found.update({name: item[()].ravel().astype(np.float64)})
                    if isinstance(item, h5py.Dataset) and "kernel" in name
                    else None
                )
            )
        kernels.append(found)
    words: Counter[str] = Counter()
    smallest = float("inf")
    cosines = {name: np.corrcoef(np.stack([epoch[name] for epoch in kernels])) for name in kernels[0]}
    for a, b in itertools.combinations(range(len(kernels)), 2):
        rows = [
            RelationRow(Pair(name, name, "kernel", "changed", "name", count=kernels[a][name].size), float(cosine[a, b]))
            for name, cosine in cosines.items()
        ]
        said = relation(rows)
        words[said["verdict"]] += 1
        smallest = min(smallest, said["evidence"]["smallest_z"])
    print(f"epochs: {len(epochs)}, pairs: {sum(words.values())}, {dict(words)}, smallest z {smallest:.1f}")
    assert words == {"related": len(epochs) * (len(epochs) - 1) // 2}
    by_step = sorted(epochs, key=lambda path: int(path.name.split(".")[1].split("-")[0]))
    far = told(session, by_step[0], by_step[-1])
    assert (far["verdict"], far["certainty"]) == ("same-run", "possible")


@needs_corpus
def test_another_network_of_one_form_is_independent(session: Session) -> None:
    other = CORPUS / "face-classification" / "tiny_XCEPTION_KDEF.hdf5"
    epoch = sorted((CORPUS / "fer2013-sequence").glob("*.hdf5"))[-1]
    assert told(session, epoch, other)["verdict"] in ("independent", "different-architecture")


@needs_estimator
def test_saves_of_an_estimator_and_its_export(session: Session) -> None:
    prefix = str(ESTIMATOR / "model.ckpt-")
    for a, b in (("10", "20"), ("20", "30"), ("30", "10")):
        found = told(session, Path(prefix + a), Path(prefix + b))
        assert found["verdict"] == "same-run"
        assert found["evidence"]["moments"]["below"] == 0
        assert found["evidence"]["moments"]["assumed"] is False
    (export,) = (ESTIMATOR / "export" / "exporter").iterdir()
    assert told(session, Path(prefix + "30"), export)["verdict"] == "identical"
    assert told(session, Path(prefix + "20"), export)["verdict"] == "related"


@needs_samples
def test_saves_of_the_digits_run_in_every_form(session: Session) -> None:
    run = SAMPLES / "digits"
    for a, b in (
        (run / "ckpt-4", run / "ckpt-5"),
        (run / "ckpt-5", run / "ckpt-1"),
        (run / "ckpt-1", SAMPLES / "digits.keras"),
    ):
        found = told(session, a, b)
        assert (found["verdict"], found["certainty"]) == ("same-run", "likely")
        print(f"{a.name} {b.name}: {found['evidence']['reason']}")
    for name in ("digits.keras", "digits.h5", "digits_saved_model", "digits.weights.h5"):
        assert told(session, run / "ckpt-5", SAMPLES / name)["verdict"] == "identical"
    other = SAMPLES / "suspicious" / "mirror_symmetric.keras"
    assert told(session, SAMPLES / "digits.keras", other)["verdict"] == "independent"

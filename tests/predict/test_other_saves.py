"""Another save beside the first: one that does not load, one with another number of values; hints that fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ckptui.core.model import Finding
from ckptui.errors import ModelDoesNotLoad
from ckptui.predict import rivals
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Order
from ckptui.predict.protocol import EXPORT, OTHER_TENSORFLOW, refusal
from ckptui.predict.wish import Wish
from tests.predict.asking import listing
from tests.predict.test_course import FakeModel, FakeWorker, begun, follows, pictures, report, rows

__all__ = ["pictures"]

pytestmark = pytest.mark.usefixtures("pictures")


def test_another_number_of_values_is_told_and_has_no_labels_of_the_first() -> None:
    other = rivals.Against(listing("/x/ckpt-2", "keras-archive"))
    course = begun(FakeModel(), ["a.png"], against=other, labels=Labels(("a", "b", "c"), True))
    course.fresh.function = lambda x: np.tile(follows(x), (1, 2))[:, :5]  # type: ignore[attr-defined]
    found = report(course)
    run = rows(found)["against"]
    assert run.detail == "ckpt-2, 5 values against 3"
    assert run.max_abs_diff == np.inf
    assert all(label == str(place) for place, label, _ in run.top)
    assert "ckpt-2, 5 values against 3: they can't be compared." in found.images[0].verdict


def test_what_is_wrong_with_the_other_save_joins_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(worker: FakeWorker, order: Order) -> FakeModel:
        refusing = ModelDoesNotLoad("h5: truncated", OTHER_TENSORFLOW) if order.path == "/x/b.h5" else None
        return FakeModel(worker, order, loading=refusing)

    monkeypatch.setattr(rivals, "Loaded", refused)
    whole = listing("/x/b.h5", "keras-h5")
    torn = Finding("hdf5-damaged", "error", "The HDF5 file is damaged", "/x/b.h5")
    for save, codes in ((whole, []), (replace(whole, findings=(torn,)), ["hdf5-damaged"])):
        found = report(begun(FakeModel(), ["a.png"], against=rivals.Against(save)))
        errors = [finding for finding in found.findings if finding.severity == "error"]
        assert [finding.code for finding in errors] == [*codes, "model-does-not-load"]
        assert all(finding.artifact == "/x/b.h5" for finding in errors)
        assert ("Another TensorFlow" in rows(found)["against"].error) == (not codes)
        assert ("Another TensorFlow" in errors[-1].advice) == (not codes)


def test_who_named_a_python_is_not_told_to_name_one() -> None:
    torn = Finding("hdf5-damaged", "error", "The HDF5 file is damaged", "m.keras")
    own = "ckptui's own Python may load it: leave out --tf-python"
    read = "Read what each loader said, in the detail."
    for pythons, others, damage, advice in (
        ((), [], (), OTHER_TENSORFLOW),
        (("/py",), [FakeWorker], (), own),
        (("/py",), [], (), read),
        (("/py", "/other"), [FakeWorker], (), read),
        (("/py",), [FakeWorker], (torn,), read),
        ((), [], (torn,), read),
    ):
        model = FakeModel(loading=ModelDoesNotLoad("no loader", OTHER_TENSORFLOW))
        found = report(begun(model, ["a.png"], Wish(tf_python=pythons), others=others, damage=damage))
        assert found.findings[-1].advice == advice, (pythons, others, damage)
    model = FakeModel(loading=ModelDoesNotLoad("no loader", "Name the architecture"))
    assert report(begun(model, ["a.png"], Wish(tf_python=("/py",)))).findings[-1].advice == "Name the architecture"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("keras: ValueError: Unknown layer: 'mine>Scale'. Please ensure", EXPORT),
        ("keras: TypeError: Could not locate function 'swish2'. Make sure", EXPORT),
        ("keras: OSError: Unable to open file", OTHER_TENSORFLOW),
    ],
)
def test_code_that_no_file_holds_is_got_by_an_export(said: str, hint: str) -> None:
    error = refusal({"error": "load", "detail": said, "hint": "", "said": [said]})
    assert error is not None
    assert error.hint == hint

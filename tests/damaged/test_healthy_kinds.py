"""Healthy saves of less usual kinds: no finding about storage, every tensor listed and read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ckptui.checking import check
from ckptui.readers.keras_shards import open_shards
from tests import warm_tensorflow

pytestmark = pytest.mark.tensorflow

MAKER = Path(__file__).with_name("keras_varied.py")


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a model: m.keras, m.h5, m (a folder), m.weights.h5, shards/m.weights.json."""
    folder = tmp_path_factory.mktemp("varied")
    done = warm_tensorflow.run([MAKER, folder], timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("model", ["nested_and_compiled", "without_weights"])
def test_nothing_is_said_about_a_healthy_model_however_it_is_saved(varied: Path, model: str) -> None:
    answer = check([str(varied / model)], quick=False)
    document = answer.document()
    about = [(f["artifact"], f["code"], f["detail"]) for f in document["findings"]]
    assert [one for one in about if one[1] not in ("all-zero", "constant", "slots-at-zero")] == []
    assert document["summary"]["tensors_unreadable"] == 0
    assert document["summary"]["artifacts"] == 5


def test_a_shard_with_weights_is_left_over_where_the_map_is_empty(varied: Path, tmp_path: Path) -> None:
    shutil.copytree(varied / "without_weights" / "shards", tmp_path / "s")
    shutil.copy(varied / "nested_and_compiled" / "m.weights.h5", tmp_path / "s" / "m_00000.weights.h5")
    with open_shards(tmp_path / "s" / "m.weights.json") as opened:
        (finding,) = opened.listing().findings
    assert (finding.code, finding.evidence["names"]) == ("orphan-shard", ["m_00000.weights.h5"])

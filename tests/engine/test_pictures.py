"""Filters made ready in a child are those the gallery shows; answers that are none are refused."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core import layout as layouts
from ckptui.core.layout import layout_of
from ckptui.core.pictures import FilterSet
from ckptui.engine.pictures import Values, Wanted, _checked, read_pictures, shown
from ckptui.errors import CkptuiError, ReaderFailed
from ckptui.session import Session
from tests.readers.make_bundle import write_bundle
from tests.sheets import kernel


@pytest.mark.parametrize(
    "shape", [(3, 3, 1, 20), (5, 5, 3, 20), (3, 3, 16, 70), (1, 7, 40, 33), (3, 3, 3, 4, 20), (7, 8, 20)]
)
@pytest.mark.parametrize("block", [1 << 21, 500])
def test_they_are_the_pictures_of_the_gallery(
    shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "BLOCK_VALUES", block)
    values = kernel(*shape)
    values.reshape(-1)[5] = np.nan
    layout = layout_of(values, "kernel", "conv")
    assert layout is not None
    gallery = FilterSet(layout, None)
    gallery.complete()
    picks = [3, 0, 19, 7]
    answer = shown(layout, picks)
    planes = np.stack([gallery.plane(i, 0) for i in picks])
    # a component of other company in a batch may differ in the last bit
    np.testing.assert_allclose(answer.planes, planes, rtol=1e-4, atol=1e-6)
    assert answer.limit == pytest.approx(gallery.limit(0), rel=1e-5)
    if answer.share is not None:
        assert answer.share == pytest.approx(gallery.share, rel=1e-5)


def test_children_answer_for_filters_and_heat_maps_and_say_what_fails(tmp_path: Path) -> None:
    conv, dense = kernel(3, 3, 1, 40), kernel(300, 20)
    save = write_bundle(
        tmp_path / "ckpt-1", {"conv/kernel": conv, "dense/kernel": dense, "bias": np.zeros(4, np.float32)}
    )
    wanted = [Wanted("conv/kernel", (4, 2)), Wanted("dense/kernel", (), 100, 50), Wanted("bias", (0,)), Wanted("none")]
    with Session() as session:
        artifact = session.open(save).artifact
        found = dict(read_pictures(session.pool, artifact, wanted))
    first, second = found[0], found[1]
    assert isinstance(first, Values)
    np.testing.assert_array_equal(first.planes, conv[:, :, 0, [4, 2]].transpose(2, 0, 1))
    assert first.largest == np.abs(conv).max()
    assert isinstance(second, Values)
    assert second.planes.shape == (100, 20)
    assert isinstance(found[2], CkptuiError)
    assert isinstance(found[3], CkptuiError)


def answer(shape: list[int], **changed: Any) -> dict[str, Any]:
    raw = np.zeros(max(int(np.prod(shape)), 0), "<f4").tobytes()
    doc = {"shape": shape, "values": base64.b64encode(raw).decode(), "limit": 1.0, "largest": 1.0, "share": None}
    return {**doc, **changed}


def test_a_child_can_not_make_the_parent_believe_anything() -> None:
    filters, heat = Wanted("k", (0, 1)), Wanted("k", (), 4, 5)
    assert isinstance(_checked(filters, answer([2, 3, 3])), Values)
    assert isinstance(_checked(filters, answer([2, 3, 3, 3])), Values)
    assert isinstance(_checked(heat, answer([4, 5])), Values)
    odds: list[Any] = [None, [], "text", {"shape": [4, 5]}, {**answer([4, 5]), "shape": ["a"]}]
    bad: list[tuple[Wanted, Any]] = [
        *((filters, answer(shape)) for shape in ([3, 3, 3], [2, 3], [2, 3, 3, 4], [2, 0, 3])),
        *((heat, answer(shape)) for shape in ([5, 5], [4, 6], [4, 5, 1], [], [-4, -5])),
        *((heat, answer([4, 5], values=text)) for text in ("!!", "AAAA", 5)),
        *((heat, answer([4, 5], limit=number)) for number in ("x", None, float("nan"))),
        *((heat, odd) for odd in odds),
        (heat, answer([4, 5], largest=float("inf"))),
    ]
    for wanted, doc in bad:
        assert isinstance(_checked(wanted, doc), ReaderFailed), doc
    print(f"{len(bad)} answers that are none, all refused")

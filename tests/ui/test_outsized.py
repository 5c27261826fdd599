"""Filters and units that dwarf all others: marked, and said beside the scale they do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ckptui.core.filter_flags import outsized
from ckptui.core.layout import layout_of
from ckptui.core.model import Finding, TensorScan
from ckptui.core.pictures import FilterSet, scale_ends
from ckptui.ui.widgets.gallery import Gallery
from ckptui.ui.widgets.inspector import Inspector
from ckptui.ui.widgets.subject import subject_of, unit_at
from tests.ui.cells_at import text
from tests.ui.driving import until
from tests.ui.pane_data import Array, kernel, layer_of, listing_of, scan_of, tensor_of
from tests.ui.test_inspector import InspectorApp


def filters(values: Array, norms: dict[int, float]) -> FilterSet:
    layout = layout_of(values, "kernel", "conv/kernel")
    assert layout is not None
    return FilterSet(layout, layer_of("conv/kernel", values.shape, {i: {"l2": norm} for i, norm in norms.items()}))


def test_a_norm_over_a_thousand_times_the_median_is_marked() -> None:
    values = kernel(1, (3, 3, 16, 24), 0.1)
    values[1, 1, 3, 8] = -1.5e37
    found = filters(values, {8: 1.5e37})
    assert [i for i in range(24) if found.flag(i)] == [8]
    flag = found.flag(8)
    assert flag is not None
    assert (flag.word, flag.tone) == ("huge", "warning")
    assert any("1,000 times" in part for part in found.describe(8))
    # 200 times the others is no damage by itself
    assert filters(values, {8: 200.0}).flag(8) is None


def test_where_most_filters_faded_the_few_healthy_ones_are_not_the_odd_ones() -> None:
    layer = layer_of("conv/kernel", (3, 3, 16, 24), {i: {"l2": 1e-9} for i in range(20)})
    assert outsized(layer) == frozenset()
    assert outsized(replace(layer, detail=())) == frozenset()


def test_the_filter_with_the_implausible_value_is_marked_when_it_is_told() -> None:
    values = kernel(2, (3, 3, 16, 24), 0.1)
    values[0, 2, 5, 17] = 31.0
    values[0, 0, 0, 3] = np.inf
    found = filters(values, {})
    assert found.flag(17) is None
    assert found.hold_implausible(True)
    assert not found.hold_implausible(True)
    flag = found.flag(17)
    assert flag is not None
    assert (flag.word, flag.tone) == ("huge", "error")
    assert found.order("flagged first")[0] == 17
    assert found.describe(17)[0] == "17 holds a value no training makes"
    assert found.hold_implausible(False)
    assert found.flag(17) is None


def test_the_scale_says_what_it_clips() -> None:
    values = kernel(3, (3, 3, 16, 24), 0.1)
    assert "largest" not in filters(values, {}).scale_words(0, False)
    values[1, 1, 3, 8] = -1.5e37
    found = filters(values, {})
    assert found.scale_words(0, False).endswith(", largest 3.8e36"), "of the component, as the scale is"
    assert found.scale_words(4, False).endswith(", largest 1.5e37"), "of the channel"
    assert scale_ends(0.082, 0.082) == "−0.082 … 0.082"
    dense = kernel(4, (64, 10), 0.1)
    dense[3, 4] = 9e8
    what = subject_of(tensor_of("dense/kernel", dense), dense, None)
    assert what.matrix is not None
    assert (what.matrix.largest, what.matrix.limit < 1) == (np.float32(9e8), True)


def test_the_unit_of_a_value_is_its_column_or_of_an_embedding_its_row() -> None:
    values = kernel(5, (64, 10), 0.1)
    assert unit_at(tensor_of("dense/kernel", values), 37) == 7
    assert unit_at(tensor_of("embed/embeddings", values, "embedding"), 37) == 3
    assert unit_at(tensor_of("conv/kernel", kernel(6, (3, 3, 2, 4))), 37) is None


async def test_the_gallery_marks_it_and_says_so_on_a_narrow_pane() -> None:
    app = InspectorApp()
    async with app.run_test(size=(44, 30)) as pilot:
        values = kernel(7, (3, 3, 32, 24), 0.06)
        values[1, 1, 3, 8] = -1.5e37
        listing = listing_of("ckpt-5", 5000)
        app.session.values[listing.artifact.path] = {"conv1/kernel": (values, "kernel")}
        tensor = tensor_of("conv1/kernel", values)
        told = Finding("implausible-values", "error", "A value no training makes", "/x", "conv1/kernel",
                       evidence={"flat_index": 1})  # fmt: skip
        scan: TensorScan = replace(scan_of("conv1/kernel", values), findings=(told,))
        inspector = app.query_one(Inspector)
        inspector.show_tensor(listing, tensor, scan)
        inspector.show_filters()
        gallery = app.query_one(Gallery)
        await until(pilot, lambda: gallery.subject is not None and gallery.subject.pictures is not None)
        grid = gallery.grid
        await until(pilot, lambda: any("huge" in text(grid, y) for y in range(grid.size.height)))
        words = str(gallery.query_one("#gallery-scale").render())
        assert "largest 2.7e36" in words
        assert "of 24 shown" in words

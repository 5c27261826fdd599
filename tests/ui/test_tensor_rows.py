"""Which tensors the table shows, in which order, under which folds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import overload

import pytest

from ckptui.core.model import Artifact, Finding, Listing, Role, Tensor
from ckptui.ui.tensor_rows import Flag, RowsQuery, build_rows, flag_of, make_source, prepare


def tensor(name: str, role: Role = "kernel", size: int = 100, object_path: str = "") -> Tensor:
    return Tensor(name, "float32", (size // 4,), size, role=role, object_path=object_path)


def listing(tensors: Sequence[Tensor], findings: Sequence[Finding] = ()) -> Listing:
    artifact = Artifact("/x/ckpt-1", "tf-checkpoint", "ckpt-1", 1, 0, 1, len(tensors), 0, 0.0)
    return Listing(artifact, tensors, tuple(findings))


SMALL = listing(
    [
        tensor("b/kernel", size=400),
        tensor("a10/bias", "bias"),
        tensor("a9/bias", "bias"),
        tensor("b/kernel/Adam", "slot"),
        tensor("b/kernel/Adam_1", "slot"),
        tensor("save_counter", "counter", 8),
        tensor("global_step", "step", 8),
        tensor("_CHECKPOINTABLE_OBJECT_GRAPH", "object-graph", 900),
    ]
)
SOURCE = make_source(SMALL)


def names(query: RowsQuery, flags: dict[str, Flag] | None = None) -> list[str]:
    """What each row shows: a stored name, or a fold's label in brackets."""
    rows = build_rows(SOURCE, query, flags or {})
    return [
        f"[{fold.label} {len(fold.members)}]" if (fold := rows.fold_at(i)) else SOURCE.names[rows.order[i]]
        for i in range(len(rows))
    ]


def test_slots_and_counters_fold_into_one_row_each_below_the_weights() -> None:
    assert names(RowsQuery()) == [
        "b/kernel", "a10/bias", "a9/bias", "[optimizer adam 2]", "[counters 2]", "_CHECKPOINTABLE_OBJECT_GRAPH",
    ]  # fmt: skip


def test_an_open_fold_shows_its_members_below_it() -> None:
    shown = names(RowsQuery(unfolded=frozenset({"optimizer"})))
    assert shown[3:6] == ["[optimizer adam 2]", "b/kernel/Adam", "b/kernel/Adam_1"]


def test_a_flagged_slot_does_not_hide_in_its_fold() -> None:
    shown = names(RowsQuery(), {"b/kernel/Adam": Flag("error", "NaN 3")})
    assert shown[0] == "b/kernel/Adam"
    assert "[optimizer adam 2]" not in shown


def test_an_info_stays_in_the_fold() -> None:
    assert "[optimizer adam 2]" in names(RowsQuery(), {"b/kernel/Adam": Flag("info", "slots 0")})


def test_worst_first_is_errors_then_warnings_then_the_file_order() -> None:
    flags = {"a9/bias": Flag("error", "NaN 1"), "a10/bias": Flag("warning", "all zero")}
    assert names(RowsQuery(), flags)[:3] == ["a9/bias", "a10/bias", "b/kernel"]


def test_names_sort_by_their_numbers() -> None:
    assert names(RowsQuery(sort="name"))[:3] == ["a9/bias", "a10/bias", "b/kernel"]


def test_largest_first() -> None:
    assert names(RowsQuery(sort="size"))[0] == "b/kernel"


def test_a_filter_looks_into_folds_and_ignores_case() -> None:
    assert names(RowsQuery(text="ADAM")) == ["b/kernel/Adam", "b/kernel/Adam_1"]


def test_a_filter_with_signs_is_a_regular_expression() -> None:
    assert names(RowsQuery(text="^a.*bias$")) == ["a10/bias", "a9/bias"]


@pytest.mark.parametrize("text", ["kernel(", "[", "(?P<", "*", "a{99999999999}"])
def test_a_broken_expression_is_looked_for_as_it_stands(text: str) -> None:
    rows = build_rows(SOURCE, RowsQuery(text=text), {})
    assert len(rows) == 0
    assert rows.problem


def test_a_filter_finds_variables_by_their_own_names() -> None:
    source = make_source(listing([tensor("layer-0/kernel/.ATTRIBUTES/VARIABLE_VALUE", object_path="conv1/kernel")]))
    assert len(build_rows(source, RowsQuery(text="conv1"), {})) == 1
    assert source.shown_name(0, stored=False) == "conv1/kernel"
    assert source.shown_name(0, stored=True).endswith("VARIABLE_VALUE")


def test_state_words_are_those_of_the_gravest_finding_and_say_how_many_more() -> None:
    findings = [
        Finding("at-initializer", "warning", "t", tensor="x"),
        Finding("non-finite", "error", "t", tensor="x", evidence={"nan": 12}),
    ]
    assert flag_of(findings) == Flag("error", "NaN 12 +1")


def test_the_first_rows_know_the_findings_of_the_listing() -> None:
    found = Finding("shard-truncated", "error", "t", tensor="a9/bias")
    rows = prepare(listing(SMALL.tensors, [found]))
    assert rows.source.names[rows.order[0]] == "a9/bias"


class Lazy(Sequence[Tensor]):
    """Entries decoded when asked for, and counted."""

    def __init__(self, count: int) -> None:
        ends = ("kernel", "bias", "kernel/.OPTIMIZER_SLOT/optimizer/m")
        self.names = [f"m/block_{i // 3}/{ends[i % 3]}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(count)]
        self.decoded = 0

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        assert isinstance(index, int)
        self.decoded += 1
        return tensor(self.names[index])


def test_a_hundred_thousand_names_are_made_ready_without_decoding_one() -> None:
    lazy = Lazy(99_999)
    started = time.thread_time()
    rows = prepare(listing(lazy))
    assert time.thread_time() - started < 1.0
    assert lazy.decoded == 0
    assert rows.source.huge
    assert len(rows) == 66_666 + 1
    assert rows.fold_at(len(rows) - 1) is not None


def test_a_hundred_thousand_names_are_filtered_within_a_frame_or_two() -> None:
    source = make_source(listing(Lazy(99_999)))
    started = time.thread_time()
    rows = build_rows(source, RowsQuery(text="block_77"), {})
    assert time.thread_time() - started < 0.25
    assert 0 < len(rows) < 5000

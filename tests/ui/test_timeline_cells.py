"""What stands in the cells of a timeline: saves on columns, the worst of those that share one, curves in place."""

from __future__ import annotations

from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st

from ckptui.core.model import Found, RunFolder, SaveColumn, Scalars, TensorPoint, TimelineRow, TimelineStart
from ckptui.ui.timeline_cells import (
    NAME_LEAST,
    PLAIN_BLOCKS,
    chosen_curves,
    curve_rows,
    fit,
    labels,
    placed,
    scale_for,
    spark,
)
from ckptui.ui.timeline_rows import NEVER, Course, CourseQuery, Track, arrange
from tests.ui.fake_session import digits


def course_of(points: list[list[TensorPoint | None]]) -> Course:
    """A course of made-up points by row and save."""
    saves = tuple(
        Found(f"/r/ckpt-{n}", "tf-checkpoint", f"ckpt-{n}", "/r", 100 * n, "/r") for n in range(len(points[0]))
    )
    run = RunFolder("/r", "r", tuple(s.path for s in saves))
    course = Course(TimelineStart(run, saves))
    rows = tuple(TimelineRow(f"t{n}/kernel", (2,), "float32", "kernel") for n in range(len(points)))
    artifact = next(iter(digits().listings.values())).artifact
    for place in range(len(saves)):
        column = {n: point for n, row in enumerate(points) if (point := row[place]) is not None}
        course.take(SaveColumn(place, artifact, rows if not place else (), column))
    return course


def drawn(course: Course, track: Track, room: int, measure: str = "change") -> str:
    cells = spark(course, track, measure, scale_for(len(course), room), plain=True)  # type: ignore[arg-type]
    return "".join(char for char, _ in cells)


def still(l2: float = 1.0) -> TensorPoint:
    return TensorPoint(l2, 0.0, 0, 0, 8)


def moved(delta: float, l2: float = 1.0) -> TensorPoint:
    return TensorPoint(l2, delta, 8, 0, 8)


FIRST, BROKEN = TensorPoint(1.0, None, None, 0, 8), TensorPoint(1.0, 0.1, 2, 2, 8)


@given(st.integers(1, 500), st.integers(1, 200))
def test_every_save_has_a_column_and_every_column_its_saves(saves: int, room: int) -> None:
    scale = scale_for(saves, room)
    assert scale.width <= room
    shown = [place for column in range(0, scale.width, scale.each) for place in scale.places_at(column)]
    assert shown == list(range(saves))
    for place in range(saves):
        assert place in scale.places_at(scale.column_of(place))


@given(st.integers(30, 250), st.integers(1, 500), st.integers(0, 60), st.integers(5, 22))
def test_columns_fit_their_width_whole(width: int, saves: int, names: int, state: int) -> None:
    columns = fit(width, saves, names, state)
    used = 1 + columns.name + 1 + columns.scale.width
    used += sum(2 + size for size in (columns.last, columns.state) if size)
    assert used <= width
    assert columns.name >= NAME_LEAST
    assert columns.state in (0, state)


def test_bars_are_shares_of_the_rows_highest_and_equal_bits_a_dot() -> None:
    course = course_of([[FIRST, moved(1.0), still(), moved(0.5)]])
    cells = drawn(course, course.tracks[0], 4)
    assert cells[0] == "─"
    assert cells[1] == PLAIN_BLOCKS[-1]
    assert cells[2] == "·"
    assert PLAIN_BLOCKS.index(cells[3]) in (2, 3)


def test_of_saves_that_share_a_column_the_worst_is_kept() -> None:
    points: list[TensorPoint | None] = [FIRST, *(moved(0.1) for _ in range(98)), still()]
    points[42], points[71] = moved(5.0), BROKEN
    points[13] = TensorPoint(problem="cut off")
    course = course_of([points])
    cells = drawn(course, course.tracks[0], 10)
    assert len(cells) == 10
    assert cells[1] == "×"
    assert cells[4] == PLAIN_BLOCKS[-1]
    assert cells[7] == "!"
    assert course.tracks[0].flag is not None
    assert course.tracks[0].flag.words == "NaN at ckpt-71 +1"


def test_words_tell_since_when_and_whether_it_came_back() -> None:
    course = course_of(
        [[FIRST, moved(1), BROKEN, BROKEN], [FIRST, BROKEN, moved(1), moved(1)], [FIRST, *[still()] * 3]]
    )
    words = [track.flag.words if track.flag else "" for track in course.tracks]
    assert words == ["NaN since ckpt-2", "NaN at ckpt-1", NEVER]


def test_never_changed_goes_under_a_fold_and_worst_stands_first() -> None:
    course = course_of([[FIRST, *[still()] * 4], [FIRST, *[moved(1.0)] * 4], [FIRST, *[moved(1.0)] * 3, BROKEN]])
    rows = arrange(course, CourseQuery())
    assert rows.order == (2, 1, -1)
    assert [(fold.key, fold.members) for fold in rows.folds] == [(NEVER, (0,))]
    opened = arrange(course, CourseQuery(unfolded=frozenset({NEVER})))
    assert opened.order == (2, 1, -1, 0)
    by_change = arrange(course, CourseQuery(sort="change"))
    assert by_change.order[0] == 1


def test_relative_change_is_by_the_norm_of_the_save_before_that_could_be_read() -> None:
    course = course_of([[TensorPoint(4.0, None, None, 0, 8), TensorPoint(problem="cut off"), moved(1.0, 5.0)]])
    assert course.tracks[0].relative[2] == 0.25
    zero = course_of([[TensorPoint(0.0, None, None, 0, 8), moved(1.0)]])
    assert zero.tracks[0].relative[1] == inf


def test_norms_run_from_the_rows_smallest_to_its_largest() -> None:
    course = course_of([[TensorPoint(1.0), TensorPoint(2.0), TensorPoint(3.0)]])
    cells = drawn(course, course.tracks[0], 3, "norm")
    assert cells[0] == PLAIN_BLOCKS[0]
    assert cells[2] == PLAIN_BLOCKS[-1]


def test_a_curve_lies_where_its_steps_are_and_what_is_beyond_the_axis_is_left_out() -> None:
    course = course_of([[FIRST] * 4])
    curve = Scalars("loss", "", tuple(range(0, 301, 50)), (6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5))
    points = placed(curve, course.with_steps())
    assert [place for place, _ in points] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    later = Scalars("loss", "", (*range(0, 301, 50), 900), (1.0,) * 8)
    assert all(place <= 3.5 for place, _ in placed(later, course.with_steps()))
    rows = curve_rows(points, scale_for(4, 8), 3, plain=True)
    tops = [next(y for y in range(3) if rows[y][x][0] == "*") for x in range(1, 8)]
    assert tops == sorted(tops), "it falls"
    broken = curve_rows([(0.0, 1.0), (2.0, nan)], scale_for(4, 8), 3, plain=True)
    assert "!" in "".join(char for char, _ in broken[-1])


def test_curves_worth_a_place_are_shown_once() -> None:
    steps, values = (1, 2), (1.0, 0.5)
    curves = [
        Scalars("accuracy", "", steps, values),
        Scalars("learning_rate", "", steps, (0.1, 0.1)),
        Scalars("my_loss", "", steps, values),
        Scalars("loss", "", steps, values),
        Scalars("empty_loss", "", (), ()),
    ]
    assert [curve.tag for curve in chosen_curves(curves)] == ["loss", "learning_rate"]


def test_labels_stand_apart_over_their_saves() -> None:
    course = course_of([[FIRST] * 40])
    scale = scale_for(40, 40)
    text, ticks = labels(course, scale, 60)
    assert text.startswith("0  ")
    assert "3,900" in text
    assert "  " in text.strip()
    for tick in ticks:
        assert text[tick] != " "

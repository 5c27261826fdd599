"""Outputs that are a class, an output asked for by name, several rows in one call."""

from __future__ import annotations

import numpy as np
import pytest

from ckptui.predict.answers import Answer, Feed
from ckptui.predict.compare import FLIP_LR, Facts, best, bests, compared_run, original_run, top_of
from ckptui.predict.words import verdict
from tests.predict.test_compare import BASE, OTHER, said


def test_a_single_integer_is_the_class_itself() -> None:
    seven, three = np.array([7]), np.array([[3]], np.int32)
    assert (best(seven), best(three)) == (7, 3)
    assert top_of(three, ("a", "b", "c", "d"), 5) == ((3, "d", 3.0),)
    assert top_of(seven, ("a",), 5) == ((7, "7", 7.0),)
    assert top_of(np.array([-1]), ("a",), 5) == ((-1, "-1", -1.0),)
    assert compared_run(FLIP_LR, said(seven), [said(np.array([2]))], 0.1, (), 5).top1_changed
    assert not compared_run(FLIP_LR, said(seven), [said(np.array([7]))], 0.1, (), 5).top1_changed


def test_the_best_of_many_are_those_of_a_full_stable_sort() -> None:
    draw = np.random.default_rng(4)
    for size, count in ((1, 5), (7, 0), (7, 7), (1000, 5), (1000, 999)):
        values = draw.integers(0, 9, size).astype(np.float32)
        for put in ((), (0, -1), range(size)):
            values[list(put)] = np.nan
            ranked = sorted(range(size), key=lambda i: (np.isnan(values[i]), -values[i] if values[i] >= 0 else 0, i))
            assert [place for place, _, _ in top_of(values, (), count)] == ranked[:count]


def test_an_output_that_was_named_is_compared_alone() -> None:
    outputs = [("ArgMax", np.array([7])), ("scores", BASE)]
    moved = [("ArgMax", np.array([7])), ("scores", OTHER)]
    named = Answer.of(outputs, "ArgMax"), Answer.of(moved, "ArgMax")
    assert (named[0].apart(named[1]), named[0].same_bits(named[1]), named[0].relative(named[1])) == (0, True, 0)
    assert named[0].row(0, 1).alone
    assert named[0].scale == 7
    assert named[0].relative(named[1], alone=False) == pytest.approx(0.5 / 0.7)
    free = Answer.of(outputs), Answer.of(moved)
    assert free[0].apart(free[1]) == pytest.approx(0.5)
    assert not free[0].same_bits(free[1])


def test_of_several_rows_the_first_is_shown_and_all_are_compared() -> None:
    feed = Feed.of(np.zeros((3, 16, 16, 1), np.float32))
    table = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]], np.float32)
    other = table.copy()
    other[2] = [0.8, 0.1, 0.1]
    base, moved = said(table).in_rows(feed, True), said(other).in_rows(feed, True)
    assert (base.rows, bests(base), bests(moved)) == (3, (1, 0, 2), (1, 0, 0))
    shown = original_run(base, 0.1, ("a", "b", "c"), 1)
    assert [name for _, name, _ in shown.top] == ["b"]
    assert shown.detail == "row 1 of 3 is shown, all are compared"
    assert len(shown.output) == 9
    run = compared_run(FLIP_LR, base, [moved], 0.1, ("a", "b", "c"), 3)
    assert run.top1_changed
    assert run.top == original_run(base, 0.1, ("a", "b", "c"), 3).top
    made = Facts("x.npy", rows=3)
    made.keep(shown)
    assert verdict(made).startswith("Row 1 of 3 is shown, all are compared.")
    classes = said(np.array([4, 5, 6]))
    assert bests(classes.in_rows(feed, True)) == (4, 5, 6)
    assert classes.in_rows(feed, False).rows == 1, "three values of an input without a batch axis"
    assert said(BASE).in_rows(feed, True).rows == 1
    assert said(table).in_rows(Feed((*feed.parts, ("b", np.zeros(2)))), True).rows == 1

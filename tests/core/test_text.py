"""The one `safe()` and the shortening of names and numbers."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ckptui.core.text import human_bytes, middle, number_text, safe, shape_text, shorten_name


@given(st.text())
def test_nothing_a_terminal_acts_on_survives_safe(text: str) -> None:
    shown = safe(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="\\")))
def test_plain_names_stay_as_they_are(text: str) -> None:
    assert safe(text) == text


def test_escapes_are_visible_and_distinct() -> None:
    assert safe("\x1b]52;c;x\x07") == "\\x1b]52;c;x\\x07"
    assert safe("a\u202eb") == "a\\u202eb"
    assert safe("\\x1b") == "\\\\x1b"
    assert safe("e" + "\u0301" * 3) == "e\u0301\\u0301\\u0301"


@given(st.text(max_size=60), st.integers(0, 40))
def test_middle_keeps_both_ends_and_the_width(text: str, width: int) -> None:
    short = middle(text, width)
    assert len(short) <= max(width, 0)
    if len(text) > width >= 5:
        assert short[0] == text[0]
        assert short[-1] == text[-1]


def test_sizes_and_shapes_read_well() -> None:
    assert [human_bytes(n) for n in (0, 999, 1000, 3456, 99_960, 2_100_000, 5 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "3.5 kB", "100 kB", "2.1 MB", "5.0 TB",
    ]  # fmt: skip
    assert shape_text((3, 3, 1, 32)) == "3×3×1×32"
    assert shape_text(()) == "scalar"
    assert shape_text((None, 28)) == "?×28"


def test_numbers_fit_their_column() -> None:
    assert number_text(None) == "–"
    assert number_text(0.0) == "0"
    assert number_text(-1.2149) == "−1.215"
    assert number_text(float("nan")) == "nan"
    assert number_text(float("-inf")) == "−inf"
    assert len(number_text(-1.23456e-38)) <= 8
    assert number_text(7) == "7"


def test_shortened_names_keep_the_number_of_the_layer_and_what_it_holds() -> None:
    names = [f"batch_normalization_{n}/moving_mean" for n in range(12)]
    assert len({shorten_name(name, 24) for name in names}) == 12
    assert all(shorten_name(name, 24).endswith("/moving_mean") for name in names)
    assert shorten_name("conv1/kernel", 24) == "conv1/kernel"
    assert shorten_name("a" * 40, 9) == middle("a" * 40, 9)
    # no room for a layer: both ends of the whole
    assert shorten_name("layer/" + "x" * 40, 20) == middle("layer/" + "x" * 40, 20)
    assert all(len(shorten_name(name, width)) <= width for name in names for width in range(1, 40))

"""Text in cells: harmless, measured, its end kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ckptui.ui.fitting import fit_middle, left, right, shown, wrap
from ckptui.ui.theme import needs_plain, plain


@given(st.text(max_size=60), st.integers(0, 40))
def test_untrusted_text_never_takes_more_than_its_cells(text: str, width: int) -> None:
    assert cell_len(shown(text, width)) <= width


@given(st.text(max_size=60), st.integers(1, 40))
def test_padded_text_takes_exactly_its_cells(text: str, width: int) -> None:
    safe_text = shown(text, 200)
    assert cell_len(left(safe_text, width)) == width
    assert cell_len(right(safe_text, width)) == width


def test_the_middle_goes_and_the_end_stays() -> None:
    assert fit_middle("model/layer_with_weights-17/kernel", 17) == "model/la…7/kernel"
    assert cell_len(fit_middle("模型/卷积层/偏置", 9)) <= 9
    assert fit_middle("模型/卷积层/偏置", 9).endswith("偏置")


@given(st.text(alphabet="ab /\n模", max_size=80), st.integers(4, 30))
def test_wrapped_lines_fit_and_lose_no_letter(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text(max_size=40))
def test_plain_signs_are_ascii_of_the_same_width(text: str) -> None:
    text = shown(text, 200)
    assert plain(text).isascii()
    assert len(plain(text)) == cell_len(text)


def test_locales_without_utf8_and_the_linux_console_get_plain_signs() -> None:
    assert needs_plain({"LC_ALL": "C", "LANG": "en_US.UTF-8"})
    assert needs_plain({"LANG": "de_DE.ISO-8859-1"})
    assert needs_plain({"LANG": "en_US.UTF-8", "TERM": "linux"})
    assert not needs_plain({"LANG": "en_US.UTF-8", "TERM": "xterm-256color"})
    assert not needs_plain({"LC_ALL": "", "LANG": "C.utf8"})
    assert not needs_plain({})

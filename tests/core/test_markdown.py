"""Text from files in Markdown: whatever it holds, a renderer gives it back as it was and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ckptui.core.markdown import markdown_name, markdown_table, markdown_text
from ckptui.core.text import safe

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    "conv1/kernel",
    "a|b",
    "`code`",
    "``",
    "a`|`b",
    "\\|",
    "\\",
    "<script>alert(1)</script>",
    "<!-- x -->",
    "![x](http://evil/x.png)",
    "[click](javascript:alert(1))",
    "http://evil.example/x",
    "www.evil.example",
    "me@evil.example",
    "@everyone",
    "#123",
    "line\nbreak",
    "line\r\n\n# title",
    "|\n|---|\n",
    "&lt;b&gt; &#60;",
    "**bold** _it_ __b__ ~~gone~~",
    "$x$ :smile:",
    "- item",
    "1. item",
    "    code",
    "\u202e\x1b[31m",
    " ",
    "",
    "§ ü 漢字",
]
MARKS = st.text(st.sampled_from("`|\\<>[]()*_~#&!:/@.- \nab1"), max_size=24)
TAGS = re.compile(r"</?(table|thead|tbody|tr|th|td|code|p)\b[^>]*>")


def shown(html: str) -> str:
    """The text of rendered HTML; anything but a table, paragraphs and code in it is a break-out."""
    rest = TAGS.sub("", html)
    assert "<" not in rest, html
    for name, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&nbsp;", " "), ("&amp;", "&")):
        rest = rest.replace(name, char)
    return rest


def cells(text: str) -> list[str]:
    """The cells of the one row of a rendered table, whose second one must stay as it is."""
    lines = markdown_table(["name", "beside"], [[text, "beside"]])
    assert len(lines) == 3
    html = RENDERER.render("\n".join(lines))
    row = html[html.index("<tbody>") :]
    assert row.count("<tr>") == 1, html
    return [shown(cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_in_a_table_reads_as_it_is(text: str) -> None:
    assert cells(markdown_name(text)) == [safe(text).strip(), "beside"]


@pytest.mark.parametrize("text", HOSTILE)
def test_words_in_a_list_read_as_they_are(text: str) -> None:
    html = RENDERER.render(f"- said: {markdown_text(text)}\n- next")
    said, beside = re.findall(r"<li>(.*?)</li>", html, re.DOTALL)
    assert shown(said).strip() == f"said: {safe(text)}".strip()
    assert beside == "next"


@settings(max_examples=80)
@given(MARKS)
def test_nothing_made_of_marks_breaks_out(text: str) -> None:
    expected = " ".join(safe(text).split())
    for found in (cells(markdown_name(text)), cells(markdown_text(text))):
        assert [" ".join(cell.split()) for cell in found] == [expected, "beside"]


def test_addresses_and_mentions_are_no_source_for_automatic_links() -> None:
    for text in ("http://evil.example", "https://x.y", "www.evil.example", "me@evil.example", "@all", "#12"):
        said = markdown_text(text)
        assert not re.search(r"https?://|www\.|@|#\d+(?!;)", said.replace("&#", "&")), said
        name = markdown_name(text)
        assert name.startswith("`") or "http" not in name


def test_plain_names_stay_readable() -> None:
    assert markdown_name("block1/conv_2:0") == "`block1/conv_2:0`"
    assert markdown_text("moving_mean went from 0.1 to 0.2, see conv1/kernel") == (
        "moving_mean went from 0.1 to 0.2, see conv1/kernel"
    )

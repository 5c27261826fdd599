"""The table of messages against the programs that print them, and the page made of it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ckptui.core.catalogue import CODES
from ckptui.core.sayings import SAYINGS, says
from docs.messages import PAGE, page
from tests import warm_tensorflow
from tests.places import ROOT


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What TensorFlow, Keras and h5py say about each damage, asked once."""
    folder = tmp_path_factory.mktemp("sayings")
    child = Path(__file__).with_name("sayings_child.py")
    done = warm_tensorflow.run([child, folder], timeout=240, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    return {line["case"]: line for line in lines}


def pattern(saying: str) -> str:
    """The text of a saying with anything for its `{names}`."""
    text = SAYINGS[saying].text.replace("{{", "\1").replace("}}", "\2")
    parts = [re.escape(part) for part in re.split(r"{[a-z_]+}", text)]
    return ".+".join(parts).replace("\1", r"\{").replace("\2", r"\}")


@pytest.mark.parametrize("saying", sorted(SAYINGS))
def test_it_is_what_they_say(saying: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[saying]
    assert re.search(pattern(saying), answer["text"]), answer
    assert answer["error"] == SAYINGS[saying].error


def test_names_are_filled_in_where_known() -> None:
    assert says("no-shard", file="a{b}.data-00000-of-00001") == "a{b}.data-00000-of-00001; No such file or directory"
    assert says("entry-size", tensor="w").startswith("Invalid size in bundle entry: key w; stored size {stored};")
    assert says("no-graph", folder="/m").endswith("/m/{saved_model.pbtxt|saved_model.pb}")


def test_every_code_named_exists() -> None:
    assert {code for saying in SAYINGS.values() for code in saying.codes} <= CODES.keys()


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `python -m docs.messages`"

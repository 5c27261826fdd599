"""Writes symptoms.md: three symptoms walked through on the sample models, with what the commands really print.

Usage: `python -m docs.symptoms`. It runs every command of the page, TensorFlow included.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_name("symptoms.md")

SECTIONS = ("Ruled out", "Not asked", "Steps")
"""Headings in what `ckptui why` prints; what comes before them is its answer."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A command and which parts of its output the page shows: the answer, and the entries of sections named here."""

    command: str
    sections: tuple[str, ...] = ()
    lines: str = ""
    """Of those sections only entries in which this is found."""


CONSTANT = Shown(
    "ckptui why sample_models/suspicious/ignores_input.keras sample_models/images/3.png --symptom constant"
)
UNTOUCHED = Shown("ckptui why sample_models/suspicious/untouched_layer.keras --symptom constant --no-predict")
FLIP = Shown(
    "ckptui why sample_models/suspicious/mirror_symmetric.keras sample_models/images/3.png --symptom flip",
    ("Ruled out", "Not asked"),
    "symmetric|one side only",
)
DROPOUT = Shown("ckptui why sample_models/suspicious/dropout_live.keras sample_models/images/3.png --symptom unstable")
STALE = Shown("ckptui why sample_models/broken/stale_state_file --symptom unstable --no-predict")
BIT = Shown("ckptui why sample_models/broken/flipped_bit --symptom unstable --no-predict")
OTHER = Shown(
    "ckptui why sample_models/digits/ckpt-4 --against sample_models/digits/ckpt-5 --symptom unstable --no-predict"
)
COMMANDS = (CONSTANT, UNTOUCHED, FLIP, DROPOUT, STALE, BIT, OTHER)

_TEXT = """\
# Three symptoms

`ckptui why MODEL [IMAGE...]` (in the workbench: `w`) makes every check that bears on a symptom, one after the other:
the save's storage, its values, its filters, the saves beside it, then what the model answers. It stops for nothing.
It ends in causes, the likeliest first, each with its evidence and the next step; in what speaks against the others;
and in what could not be asked here, with what would tell. A cause that showed in an answer ranks before a suspicion
that rests on values. Without an image those beside the model are used, else noise; beside one to three named images
further ones from beside the model are (it says which), unless `--symptom unstable` or `--expect` is given: that
answers are the same shows in several. `--no-predict` asks the
model nothing and needs no TensorFlow. A file that ends too early is not loaded: nothing opens it.

Behind its code each cause says how sure it is (confirmed, likely, possible) and how it stands to what was seen:

| words | meaning | factor |
|---|---|---|
| explains what was seen | the answers show its symptom | 1 |
| would explain it, the model was not asked | there is no answer to look at | 0.6 |
| would explain it, not seen | the model was asked, and its answers do not show the symptom | 0.3 |
| a fact beside | it explains no symptom | |
| explains another symptom | than the one that was asked for with `--symptom` | 0.2 |

Causes are ranked by a score, which stands in `--json` alone: how much of its symptom the cause explains (1: all of it),
times how sure it is (confirmed 1, likely 0.7, possible 0.4), times, for what rests on values or settings, about the
factor above. It is a rank from 0 to 1, and no probability. What was ruled out rests on what could be read: where a part
of the save could not be, the same line stands under "Not asked" and says so.

All commands below run in the project's folder on `sample_models/`, and print what is shown (cut where a line says
`...`). This page is made by `python -m docs.symptoms`; a test runs its commands.

## The same prediction for every input

A model answers "three" with 0.12, whatever you show it.

@CONSTANT@

The image, its flips and five inputs that have nothing to do with it gave the same bits, so it is no matter of *this*
image. Layer by layer, `gate` is the first whose output no longer moves. `ckptui check` finds nothing in this save,
and rightly: every byte and every weight is as it was trained.

What else gives one answer for all, and where it shows:

| cause | shows in |
|---|---|
| `output-disconnected` | no path from the input to the output; an input that leads to no layer |
| `dead-layer` | the first layer whose output does not vary over the probes |
| `weights-zero`, `weights-not-finite` | the values of a tensor; a moving variance of 0 |
| `weights-untouched` | weights exactly on the grid of the initializer's draws |
| `statistics-never-updated` | moving mean 0 and variance 1 throughout |
| `preprocessing-off` | a Normalization that was never adapted; two Rescalings in a row; another range moves it |
| `restore-partial` | weights that the restore did not bind |

Some of these are seen without an answer. Here a layer is as its initializer drew it, because nothing was restored
into it, or nothing trained it:

@UNTOUCHED@

## The same prediction unless the image is flipped

@FLIP@

**Symmetric filters are no cause of this.** That all filters of the first layer mirror themselves is a plain fact of
these weights, and common advice is to blame it. It is the wrong way round: a symmetric filter answers a mirrored
image with the mirrored map, so symmetric filters make an answer *survive* flips. They cannot make it depend on them.

**One image proves nothing about the training.** How far a flip moves the answer varies from image to image by as much
as the mean itself. Give `--images DIR` with 20 or more; then the mean change under each flip stands beside controls
(a shift by one pixel, noise, brightness, small and large turns), each with its interval. A model that was trained
with flipped images bears that flip as it bears no other large change; one trained on one side reacts to it as to a
turn by 90 degrees. Digits *should* react: a mirrored three is no three.

What else makes an answer depend on the layout: a live `RandomFlip`, a `Permute` of height and width, code around the
model that reads columns as rows (`--expect FILE` with the other side's answers shows it: the recorded answer is the
one to the flipped image), and a model that looks at a part of the image which is the same in all of them until it is
flipped.

## Another prediction each time

@DROPOUT@

The layer is named from the save's own configuration: a call of it says `training=True`. Whether it is seeded is seen
by comparing *sequences* of several calls from several processes. One call each would mislead: a seeded dropout gives
the same first answer in every process, and another one at the second call.

**A fixed shuffle seed is no cause of this, and no cure.** It decides in which order a data set comes, so predictions
may stand beside the wrong labels, and a metric changes. It cannot change what a model answers to one image, and it
cannot make two answers the same.

**Repeats with the same bits are no all-clear.** A BatchNormalization that takes its statistics from the batch at hand
repeats to the bit, and still answers otherwise when the image stands among others. `why` asks that, too.

Between two machines the save itself may be another one. A state file that names an older save:

@STALE@

A save that was damaged on its way:

@BIT@

Two saves that should be the same, held against each other:

@OTHER@

What else changes an answer: a layer configured otherwise or a `Rescaling` on one side only (`--against` with the
other model), another preprocessing (`--expect FILE` with the answers of the server), another TensorFlow (`--tf-python
PYTHON`, given twice for two versions), weights that a restore left out and that are drawn anew at each load.
"""

NAMES = {
    name: shown
    for name, shown in globals().items()
    if isinstance(shown, Shown)
}  # fmt: skip


def run(command: str) -> list[str]:
    """What a command prints, line by line."""
    from ckptui.cli import run as call

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        call(shlex.split(command)[1:])
    return out.getvalue().splitlines()


def essential(shown: Shown, lines: list[str]) -> list[str]:
    """The part of a command's output that the page shows."""
    ends = [n for n, line in enumerate(lines) if line in SECTIONS]
    kept = lines[: ends[0]] if ends else list(lines)
    for begin, end in zip(ends, [*ends[1:], len(lines)], strict=True):
        if lines[begin] in shown.sections:
            chosen = [e for e in _entries(lines[begin + 1 : end]) if re.search(shown.lines, "\n".join(e))]
            kept += [lines[begin], *(line for entry in chosen for line in entry), "  ..."] if chosen else []
    while kept and not kept[-1]:
        kept.pop()
    return kept


def _entries(lines: list[str]) -> Iterator[list[str]]:
    """Entries of a section: a line and those indented below it."""
    entry: list[str] = []
    for line in filter(None, lines):
        if not line.startswith("    ") and entry:
            yield entry
            entry = []
        entry.append(line)
    if entry:
        yield entry


def page(ask: Callable[[str], list[str]] = run) -> str:
    """The whole page."""
    text = _TEXT
    for name, shown in NAMES.items():
        lines = "\n".join(
            f"    {line}".rstrip() for line in [f"$ {shown.command}", *essential(shown, ask(shown.command))]
        )
        text = text.replace(f"@{name}@", lines)
    return text


if __name__ == "__main__":
    import os

    os.chdir(ROOT)
    PAGE.write_text(page())

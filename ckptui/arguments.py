"""What the commands take and which function carries each out; the screen or the session is imported only inside each.

A command comes to a `Call`, which the command line prints and turns into an exit code.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ckptui import __version__
from ckptui.predict_options import prediction_options

if TYPE_CHECKING:
    from ckptui.core.causes import Symptom
    from ckptui.output import Answer

COMMANDS = (
    "ls",
    "show",
    "stats",
    "check",
    "export",
    "salvage",
    "diff",
    "digest",
    "timeline",
    "filters",
    "predict",
    "why",
)
SYMPTOMS = ("constant", "flip", "unstable")
FAIL_ON = ("error", "warning", "info", "never")
SORTS = ("index", "symmetry", "norm", "flagged")


class Call(NamedTuple):
    """What a command came to, and how it is wanted."""

    answer: Answer
    as_json: bool
    fail_on: str


def _no_option(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A target as typed, unless an option or `-` was taken for it."""
    if value is not None and value.startswith("-"):
        raise click.BadParameter(f"{value!r} is no path. Write ./{value} for a file of that name", context, parameter)
    return value


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        print(f"ckptui {__version__}")
        context.exit()


_version_option = click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_fail_on = click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="error",
    show_default=True,
    help="Exit 1 from this severity on.",
)
_match = click.option("--match", metavar="RE", help="Only tensors whose name matches this regular expression.")
_artifact = click.argument("artifact")
_cache = click.option(
    "--no-cache",
    "cache",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Read every byte anew and keep no results.",
)
_HELP = {"help_option_names": ["-h", "--help"]}


@click.command(context_settings=_HELP, epilog=f"Commands for scripts: {', '.join(COMMANDS)}; `ckptui COMMAND --help`.")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--ascii", "ascii_only", is_flag=True, help="Plain signs, for terminals without UTF-8.")
@_cache
@_version_option
def workbench(paths: tuple[str, ...], ascii_only: bool, cache: bool) -> Call | int:
    """Open the workbench on PATH (default: the current folder)."""
    places = list(paths) or ["."]
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "") in ("", "dumb"):
        from ckptui import checking

        answer = checking.list_saves(places)
        answer.notes.append("no terminal here, so this is the listing; `ckptui ls` is the command for it")
        return Call(answer, False, "error")
    from ckptui.session import Session
    from ckptui.ui.app import run_workbench

    for place in places:
        if not os.path.lexists(place):
            with Session() as session:
                session.resolve(place)
    with Session(attended=True, cache=cache) as session:
        return run_workbench(places, session, ascii=ascii_only or session.settings.ascii)


@click.group(context_settings=_HELP)
@_version_option
def group() -> None:
    """Forensics on TensorFlow checkpoints, SavedModels and Keras files.

    `ckptui PATH` opens the workbench; the commands below print, for scripts and pipes.
    """


@group.command()
@click.argument("paths", nargs=-1, required=True)
@_json
@_fail_on
def ls(paths: tuple[str, ...], as_json: bool, fail_on: str) -> Call:
    """List the saves found below PATHS with a quick check of each."""
    from ckptui import checking

    return Call(checking.list_saves(paths), as_json, fail_on)


@group.command()
@_artifact
@click.argument("tensor", required=False)
@_json
@_fail_on
def show(artifact: str, tensor: str | None, as_json: bool, fail_on: str) -> Call:
    """Show what ARTIFACT holds, or all about one TENSOR (by its stored name, or like `conv1/kernel`)."""
    from ckptui import commands

    return Call(commands.show(artifact, tensor), as_json, fail_on)


@group.command()
@_artifact
@_match
@_cache
@_json
@_fail_on
def stats(artifact: str, match: str | None, cache: bool, as_json: bool, fail_on: str) -> Call:
    """Print the numbers of every tensor, from one pass over the values; `ckptui filters` tells which were trained."""
    from ckptui import commands

    return Call(commands.stats(artifact, match, cache=cache), as_json, fail_on)


@group.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--quick", is_flag=True, help="Read no tensor bytes.")
@_json
@_fail_on
def check(paths: tuple[str, ...], quick: bool, as_json: bool, fail_on: str) -> Call:
    """Look for damage: every stored checksum, non-finite and implausible values of every save below PATHS.

    Whether the weights were trained is not looked at here: see `ckptui filters`.
    """
    from ckptui import checking

    return Call(checking.check(paths, quick=quick), as_json, fail_on)


@group.command()
@_artifact
@_match
@click.option(
    "-o",
    "--output",
    required=True,
    callback=_no_option,
    metavar="FILE",
    help="A .npz, .safetensors or (one tensor) .npy file.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@_json
@_fail_on
def export(artifact: str, match: str | None, output: str, force: bool, as_json: bool, fail_on: str) -> Call:
    """Write the readable tensors of ARTIFACT to FILE."""
    from ckptui import commands

    return Call(commands.export(artifact, match, output, force=force), as_json, fail_on)


@group.command()
@_artifact
@click.option(
    "-o",
    "--output",
    required=True,
    callback=_no_option,
    metavar="PREFIX",
    help="A checkpoint's prefix, or a .npz, .safetensors or .weights.h5 file; never in ARTIFACT's own folder.",
)
@click.option("--layout", metavar="SIBLING", help="Another save of the same model, for a checkpoint without its index.")
@click.option("--repair-bits", is_flag=True, help="Turn single flipped bits back where a checksum tells which.")
@_json
@_fail_on
def salvage(artifact: str, output: str, layout: str | None, repair_bits: bool, as_json: bool, fail_on: str) -> Call:
    """Write what survives of a damaged ARTIFACT as a complete save, with a report of what was lost."""
    from ckptui import salvaging

    return Call(salvaging.salvage(artifact, output, layout=layout, repair_bits=repair_bits), as_json, fail_on)


def _threshold(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """A distance: a number that is not negative, and one at all."""
    if value is not None and not 0 <= value < float("inf"):
        raise click.BadParameter(f"{value} is no distance. It takes a number from 0 on", context, parameter)
    return value


@group.command()
@click.argument("a")
@click.argument("b")
@_match
@click.option(
    "--only",
    multiple=True,
    metavar="STATUS",
    help="Print only pairs that are changed, identical, shape-changed, dtype-changed, only-a, only-b or unreadable "
    "(several: with commas, or again). Summary, relation and exit code stay those of all pairs.",
)
@click.option(
    "--fail-above",
    type=float,
    callback=_threshold,
    metavar="X",
    help="Values count as different only where ||a-b||/||a|| is above X; lone, reshaped and unreadable tensors always.",
)
@click.option(
    "--weights",
    is_flag=True,
    help="Compare the model's weights alone: no slots, counters, RNG states and metrics, in the exit code neither.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown, for a ticket.")
@_json
@_fail_on
def diff(
    a: str,
    b: str,
    match: str | None,
    only: tuple[str, ...],
    fail_above: float | None,
    weights: bool,
    markdown: bool,
    as_json: bool,
    fail_on: str,
) -> Call:
    """Hold B against A, tensor by tensor; exit 1 if they differ.

    Slots and counters count as differences too, also where only one of them has any; see --weights.
    Tensors are paired within and across formats. A and B are saves, or digests (`ckptui digest`; - for standard
    input). Where one of them is the folder of a run, the save of it that the other one was made from is looked for,
    and compared; of two runs their latest saves.
    """
    from ckptui import comparing

    if markdown and as_json:
        raise click.UsageError("--markdown and --json exclude each other")
    options = comparing.DiffOptions(match, comparing.statuses(only), fail_above, markdown, weights)
    return Call(comparing.diff(a, b, options), as_json, fail_on)


@group.command()
@_artifact
@click.option("--json", is_flag=True, expose_value=False, help="As without: it prints one JSON document.")
@_fail_on
def digest(artifact: str, fail_on: str) -> Call:
    """Print hashes of all tensors, for a diff on another box.

    One JSON document with names, shapes, hashes and a few values, which `ckptui diff` takes in place of the save.
    """
    from ckptui import comparing

    return Call(comparing.digest(artifact), True, fail_on)


@group.command()
@click.argument("run")
@_match
@_json
@_fail_on
def timeline(run: str, match: str | None, as_json: bool, fail_on: str) -> Call:
    """Follow every tensor over the saves of a run.

    A line a save as it is read, then a course for each tensor. RUN is the folder of a training's successive saves, or
    one of these saves. Jumps, saves that went back and tensors that never changed are warnings: the exit code is 0
    but with --fail-on warning.
    """
    from ckptui import comparing

    return Call(comparing.timeline(run, match), as_json, fail_on)


@group.command()
@_artifact
@click.argument("tensor", required=False)
@click.option("--png", callback=_no_option, metavar="FILE", help="Draw the filters into this image, too.")
@click.option("--sort", type=click.Choice(SORTS), help="Order in the image.  [default: index]")
@click.option("--per-filter", is_flag=True, help="In the image, each filter on its own scale.")
@click.option("--force", is_flag=True, help="Replace the image if it exists.")
@_cache
@_json
@_fail_on
def filters(
    artifact: str, tensor: str | None, png: str | None, cache: bool, as_json: bool, fail_on: str, **look: Any
) -> Call:
    """Look at kernels filter by filter: untouched, symmetric, zero, constant, duplicate.

    TENSOR is a stored name, or as much of the end of a variable's own name as is clear: `conv1/kernel`. What is found
    of filters are warnings: unless the save is damaged, the exit code is 0 but with --fail-on warning.
    """
    from ckptui import commands

    return Call(commands.filters(artifact, tensor, png, cache=cache, **look), as_json, fail_on)


@group.command()
@click.argument("model")
@click.argument("images", nargs=-1, metavar="[IMAGE...]")
@prediction_options
@_json
@_fail_on
def predict(model: str, images: tuple[str, ...], as_json: bool, fail_on: str, **options: Any) -> Call:
    """Run each IMAGE through MODEL every way that should not matter, side by side.

    As it is, flipped, repeated, in a batch, reloaded, in a fresh process, in training mode; with --against by another
    save, with several --tf-python under other TensorFlows. A model that takes no image gets its inputs by --input.
    """
    from ckptui import predicting

    return Call(predicting.predict(model, images, options, may_ask=not as_json), as_json, fail_on)


@group.command()
@click.argument("model")
@click.argument("images", nargs=-1, metavar="[IMAGE...]")
@click.option(
    "--symptom",
    type=click.Choice(SYMPTOMS),
    help="constant: the same answer for every input; flip: the same unless the image is flipped; unstable: another "
    "answer from run to run, after a reload or an export.  [default: all three]",
)
@click.option("--no-predict", "asks", is_flag=True, default=True, flag_value=False, help="Ask the model nothing.")
@prediction_options
@_json
@_fail_on
def why(
    model: str,
    images: tuple[str, ...],
    symptom: Symptom | None,
    asks: bool,
    as_json: bool,
    fail_on: str,
    **options: Any,
) -> Call:
    """Say why MODEL misbehaves: all checks that bear on a symptom, the causes ranked with their evidence.

    Storage, values, filters, the saves beside it, then what it answers; what can't be checked is said and stops
    nothing. Without an IMAGE those beside the model are used, else noise; beside one to three, further ones.

    Each cause says how sure it is and how it stands to what was seen: it explains it, would explain it, or is a fact
    beside. With --json its score, 0 to 1, is the rank that follows from both, and no probability.
    """
    from ckptui import diagnosing

    return Call(diagnosing.why(model, images, symptom, options, predict=asks, may_ask=not as_json), as_json, fail_on)

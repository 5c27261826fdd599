"""Arguments, exit codes and printing; imports the screen or the session only inside each command.

Exit code: 0 done, nothing at or above --fail-on found; 1 such a finding, or a difference; 2 could not be done;
130 interrupted. `--json` prints exactly one document on stdout; narration goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ckptui import __version__
from ckptui.core.model import SEVERITY_RANK
from ckptui.errors import Cancelled, CkptuiError, UsageError

if TYPE_CHECKING:
    from ckptui.output import Answer


class Terminated(BaseException):
    """SIGTERM or SIGHUP came: everything is tidied up on the way out, as after Ctrl+C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


COMMANDS = ("ls", "show", "stats", "check", "export", "salvage", "diff", "filters", "predict")
FAIL_ON = ("error", "warning", "info", "never")
SORTS = ("index", "symmetry", "norm", "flagged")


def run(argv: Sequence[str]) -> int:
    """Carry out one call and return its exit code; never raises, never shows a traceback."""
    wants_json = "--json" in argv
    _mend_standard_streams()
    try:
        return _dispatch(list(argv))
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        detail, _, hint = error.format_message().partition(". ")
        return _fail(UsageError(detail.rstrip("."), hint or f"See `{_called(error)} --help`"), wants_json)
    except CkptuiError as error:
        return 130 if isinstance(error, Cancelled) else _fail(error, wants_json)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Terminated as stop:
        return 128 + stop.number
    except BrokenPipeError:
        _let_go_of_stdout()
        return 0
    except MemoryError:
        return _fail(CkptuiError("not enough memory", title="Out of memory"), wants_json)
    except RecursionError:
        return _fail(CkptuiError("the input is nested too deeply", title="Failed"), wants_json)
    except OSError as error:
        what = error.strerror or str(error)
        return _fail(CkptuiError(f"{error.filename}: {what}" if error.filename else what, title="Failed"), wants_json)
    # the outermost border: a fault of ckptui's own is one line too, and the traceback is there for whoever asks
    except Exception as error:
        if os.environ.get("CKPTUI_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        hint = "This is a fault of ckptui; CKPTUI_DEBUG=1 shows where"
        return _fail(CkptuiError(what, hint, title="Internal error"), wants_json)


def _no_option(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A target as typed, unless an option or `-` was taken for it."""
    if value is not None and value.startswith("-"):
        raise click.BadParameter(f"{value!r} is no path. Write ./{value} for a file of that name", context, parameter)
    return value


def _called(error: click.ClickException) -> str:
    """The command whose call went wrong, as it is typed."""
    context = getattr(error, "ctx", None)
    return f"ckptui {context.info_name}" if context is not None and context.parent is not None else "ckptui"


def _mend_standard_streams() -> None:
    """Stand-ins for closed standard streams, so that no file of ours gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # the lowest free number is taken, which is this one
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _let_go_of_stdout() -> None:
    """Nobody reads our output any more: say nothing, and keep the interpreter's last flush from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _end_on_signals() -> None:
    def end(number: int, _: FrameType | None) -> None:
        raise Terminated(number)

    # only in the main thread may handlers be set; a library that calls `run` elsewhere keeps its own
    with contextlib.suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)


def _dispatch(argv: list[str]) -> int:
    try:
        if argv and (argv[0] in COMMANDS or argv[0] in ("--help", "-h", "--version")):
            _end_on_signals()
            result = group.main(argv, prog_name="ckptui", standalone_mode=False)
        elif "--json" in argv:
            raise UsageError("--json goes with a command", f"One of {', '.join(COMMANDS)}")
        else:
            result = workbench.main(argv, prog_name="ckptui", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as error:
        # click's own answer to a closed pipe while it prints help
        raise BrokenPipeError from error
    return int(result or 0)


def _fail(error: CkptuiError, wants_json: bool) -> int:
    from ckptui.core.text import encodable, safe

    line = safe(str(error)).replace(chr(92) * 2, chr(92))
    with contextlib.suppress(OSError):
        print(f"ckptui: {encodable(line, sys.stderr.encoding or 'utf-8')}", file=sys.stderr)
    if wants_json:
        try:
            print(json.dumps(error.to_json()))
            sys.stdout.flush()
        except OSError:
            _let_go_of_stdout()
    return 2


def _finish(answer: Answer, as_json: bool, fail_on: str) -> int:
    from ckptui.core.text import encodable

    with contextlib.suppress(OSError):
        for note in answer.notes:
            print(f"ckptui: {encodable(note, sys.stderr.encoding or 'utf-8')}", file=sys.stderr)
    try:
        _print(answer, as_json)
    except BrokenPipeError:
        # what was found stays found, whoever stopped reading
        _let_go_of_stdout()
    except OSError as error:
        _let_go_of_stdout()
        raise CkptuiError(f"the output can't be written: {error.strerror or error}", title="Failed") from error
    if answer.differs:
        return 1
    if fail_on == "never":
        return 0
    return int(any(SEVERITY_RANK[f.severity] >= SEVERITY_RANK[fail_on] for f in answer.findings))


def _print(answer: Answer, as_json: bool) -> None:
    from ckptui.core.text import encodable

    if as_json:
        from ckptui.output import json_pieces

        for piece in json_pieces(answer.document()):
            sys.stdout.write(piece)
        sys.stdout.write("\n")
    else:
        for line in answer.text():
            print(encodable(line, sys.stdout.encoding or "utf-8"))
    sys.stdout.flush()


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
def workbench(paths: tuple[str, ...], ascii_only: bool, cache: bool) -> int:
    """Open the workbench on PATH (default: the current folder)."""
    places = list(paths) or ["."]
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "") in ("", "dumb"):
        from ckptui import checking

        answer = checking.list_saves(places)
        answer.notes.append("no terminal here, so this is the listing; `ckptui ls` is the command for it")
        return _finish(answer, False, "error")
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
def ls(paths: tuple[str, ...], as_json: bool, fail_on: str) -> int:
    """List the saves found below PATHS with a quick check of each."""
    from ckptui import checking

    return _finish(checking.list_saves(paths), as_json, fail_on)


@group.command()
@_artifact
@click.argument("tensor", required=False)
@_json
@_fail_on
def show(artifact: str, tensor: str | None, as_json: bool, fail_on: str) -> int:
    """Show what ARTIFACT holds, or all about one TENSOR (by its stored name, or like `conv1/kernel`)."""
    from ckptui import commands

    return _finish(commands.show(artifact, tensor), as_json, fail_on)


@group.command()
@_artifact
@_match
@_cache
@_json
@_fail_on
def stats(artifact: str, match: str | None, cache: bool, as_json: bool, fail_on: str) -> int:
    """Print the numbers of every tensor, from one pass over the values; `ckptui filters` tells which were trained."""
    from ckptui import commands

    return _finish(commands.stats(artifact, match, cache=cache), as_json, fail_on)


@group.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--quick", is_flag=True, help="Read no tensor bytes.")
@_json
@_fail_on
def check(paths: tuple[str, ...], quick: bool, as_json: bool, fail_on: str) -> int:
    """Look for damage: every stored checksum, non-finite and implausible values of every save below PATHS.

    Whether the weights were trained is not looked at here: see `ckptui filters`.
    """
    from ckptui import checking

    return _finish(checking.check(paths, quick=quick), as_json, fail_on)


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
def export(artifact: str, match: str | None, output: str, force: bool, as_json: bool, fail_on: str) -> int:
    """Write the readable tensors of ARTIFACT to FILE."""
    from ckptui import commands

    return _finish(commands.export(artifact, match, output, force=force), as_json, fail_on)


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
def salvage(artifact: str, output: str, layout: str | None, repair_bits: bool, as_json: bool, fail_on: str) -> int:
    """Write what survives of a damaged ARTIFACT as a complete save, with a report of what was lost."""
    from ckptui import salvaging

    return _finish(salvaging.salvage(artifact, output, layout=layout, repair_bits=repair_bits), as_json, fail_on)


@group.command()
@click.argument("a")
@click.argument("b")
@_match
@_json
@_fail_on
def diff(a: str, b: str, match: str | None, as_json: bool, fail_on: str) -> int:
    """Hold candidate B against baseline A, tensor by tensor; exit 1 if they differ."""
    from ckptui import commands

    return _finish(commands.diff(a, b, match), as_json, fail_on)


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
) -> int:
    """Look at kernels filter by filter: untouched, symmetric, zero, constant, duplicate.

    TENSOR is a stored name, or as much of the end of a variable's own name as is clear: `conv1/kernel`. What is found
    of filters are warnings: unless the save is damaged, the exit code is 0 but with --fail-on warning.
    """
    from ckptui import commands

    return _finish(commands.filters(artifact, tensor, png, cache=cache, **look), as_json, fail_on)


@group.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--preprocess",
    type=click.Choice(["auto", "0..1", "-1..1", "0..255", "caffe", "torch"]),
    default="auto",
    show_default=True,
    help="What the pixels are turned into.",
)
@click.option("--labels", metavar="FILE", help="One label a line; default: labels.txt beside the model.")
@click.option("--architecture", metavar="ARTIFACT", help="A .keras or .h5 whose architecture the weights go into.")
@click.option("--signature", metavar="NAME", help="Signature of a SavedModel.")
@click.option("--tf-python", metavar="PYTHON", help="Python of the environment whose TensorFlow predicts.")
@_json
@_fail_on
def predict(model: str, images: tuple[str, ...], as_json: bool, fail_on: str, **options: Any) -> int:
    """Run IMAGEs through MODEL as is, flipped, repeated, reloaded and in a fresh process."""
    from ckptui import commands

    given = {name: value for name, value in options.items() if value is not None}
    return _finish(commands.predict(model, images, given), as_json, fail_on)

"""Running a call: exit codes, printing, errors, signals. What the commands take is in `arguments`.

Exit code: 0 done, nothing at or above --fail-on found; 1 such a finding, or a difference; 2 could not be done;
130 interrupted. `--json` prints exactly one document on stdout; narration goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Generator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

import click

from ckptui.arguments import COMMANDS, Call, group, workbench
from ckptui.core.model import SEVERITY_RANK
from ckptui.errors import Cancelled, CkptuiError, UsageError

if TYPE_CHECKING:
    from ckptui.output import Answer


class Terminated(BaseException):
    """SIGTERM or SIGHUP came: everything is tidied up on the way out, as after Ctrl+C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


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
        code = _finish(*result) if isinstance(result, Call) else int(result or 0)
        sys.stdout.flush()
    except SystemExit as error:
        # click's own answer to a closed pipe while it prints help
        raise BrokenPipeError from error
    return code


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


class Unwritten(Exception):
    """stdout takes no more; the reason is the cause."""


def _finish(answer: Answer, as_json: bool, fail_on: str) -> int:
    from ckptui.core.text import encodable

    with contextlib.suppress(OSError):
        for note in answer.notes:
            print(f"ckptui: {encodable(note, sys.stderr.encoding or 'utf-8')}", file=sys.stderr)
    try:
        _print(answer, as_json)
    except Unwritten as stop:
        _let_go_of_stdout()
        error = stop.__cause__
        # what was found stays found, whoever stopped reading
        if not isinstance(error, BrokenPipeError):
            reason = getattr(error, "strerror", None) or error
            raise CkptuiError(f"the output can't be written: {reason}", title="Failed") from error
    if answer.differs:
        return 1
    if fail_on == "never":
        return 0
    return int(any(SEVERITY_RANK[f.severity] >= SEVERITY_RANK[fail_on] for f in answer.findings))


def _print(answer: Answer, as_json: bool) -> None:
    """Print the document or the text; lines that come while their command is at work are shown as they come."""
    from ckptui.core.text import encodable

    if as_json:
        from ckptui.output import json_pieces

        for piece in json_pieces(answer.document()):
            _write(piece)
        _write("\n", at_once=True)
        return
    with contextlib.closing(_lines(answer)) as lines:
        for line in lines:
            _write(f"{encodable(line, sys.stdout.encoding or 'utf-8')}\n", at_once=answer.streams)
    _write("", at_once=True)


def _lines(answer: Answer) -> Generator[str, None, None]:
    """The text, closed with whatever it holds open when nobody wants more of it."""
    yield from answer.text()


def _write(text: str, *, at_once: bool = False) -> None:
    try:
        sys.stdout.write(text)
        if at_once:
            sys.stdout.flush()
    except OSError as error:
        raise Unwritten from error

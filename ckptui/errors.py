"""Every error a user can meet: a title (what), a detail (where, expected, found) and a hint (what to do next)."""

from __future__ import annotations


class CkptuiError(Exception):
    """The one family. `str()` gives one plain line; the three parts go to JSON and dialogs."""

    title = "Something went wrong"

    def __init__(self, detail: str, hint: str = "", *, title: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        if title is not None:
            self.title = title

    def __str__(self) -> str:
        line = f"{self.title}: {self.detail}" if self.detail else self.title
        return f"{line}. {self.hint}" if self.hint else line

    def to_json(self) -> dict[str, str]:
        """The error document of `--json`."""
        return {"schema": "ckptui/error/1", "title": self.title, "detail": self.detail, "hint": self.hint}


class UsageError(CkptuiError):
    """The call itself can't be carried out as given."""

    title = "Can't do that"


class NoSuchPath(CkptuiError):
    """The path does not exist, or is no regular file or folder."""

    title = "No such file or folder"


class NotASave(CkptuiError):
    """There is something at the path, but nothing that looks like a save."""

    title = "Nothing that looks like a save"


class NoSuchTensor(CkptuiError):
    """The save holds no tensor of that name."""

    title = "No such tensor"


class Damaged(CkptuiError):
    """Bytes that contradict their format; `code` is the finding that says which way.

    `evidence` holds the facts (expected, found, offset, bytes missing) for the finding made of it.
    """

    title = "Damaged"

    def __init__(
        self,
        detail: str,
        *,
        code: str = "entry-invalid",
        evidence: dict[str, object] | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(detail, hint)
        self.code = code
        self.evidence = evidence or {}


class Unreadable(Damaged):
    """The system refuses the bytes: an I/O error, no permission, a name it can't take."""

    title = "Can't be read"

    def __init__(
        self,
        detail: str,
        *,
        evidence: dict[str, object] | None = None,
        hint: str = "",
        code: str = "unreadable",
    ) -> None:
        super().__init__(detail, code=code, evidence=evidence, hint=hint)


class ChangedWhileReading(CkptuiError):
    """The file was replaced, truncated or written to between two reads."""

    title = "Changed while reading"


class ReaderFailed(CkptuiError):
    """A reader child could not finish: see the subclasses.

    `item` is what it worked on (a tensor's name) as far as it had said; `stderr` the end of what it wrote there.
    """

    title = "Reader failed"

    def __init__(
        self, detail: str, hint: str = "", *, title: str | None = None, item: str = "", stderr: str = ""
    ) -> None:
        super().__init__(detail, hint, title=title)
        self.item = item
        self.stderr = stderr


class ReaderCrashed(ReaderFailed):
    """The child died (a signal or an exit code) while it parsed the file."""

    title = "Reader crashed"


class ReaderHung(ReaderFailed):
    """The child made no progress for its time limit and was killed."""

    title = "Reader hung"


class WorkerFailed(CkptuiError):
    """The prediction worker died, hung, or answered with something that is no answer."""

    title = "Prediction worker failed"


class OutOfMemory(WorkerFailed):
    """The prediction worker needed more memory than it may have, and was ended or refused."""


class Blocked(WorkerFailed):
    """The model tried to write a file, open a connection or start a program, and the worker's cage refused."""

    title = "The model was blocked"


class ModelDoesNotLoad(CkptuiError):
    """Every loader refused the model; the detail carries what each said."""

    title = "The model does not load"

    def __init__(
        self, detail: str, hint: str = "", said: tuple[str, ...] = (), bound: tuple[int, int] | None = None
    ) -> None:
        super().__init__(detail, hint)
        self.said = said
        """What each loader said, where the detail is all of that."""
        self.bound = bound
        """(bound, of) where the weights are those of another model."""


class Flagged(CkptuiError):
    """The model holds ops or layers that reach outside; someone has to say that it may run all the same.

    `findings` are those that were flagged, for whoever asks the question.
    """

    title = "The model is flagged"

    def __init__(self, detail: str, hint: str = "", *, findings: tuple[object, ...] = ()) -> None:
        super().__init__(detail, hint)
        self.findings = findings


class Cancelled(CkptuiError):
    """The user took the request back."""

    title = "Cancelled"

"""How the worker says no: a kind the client turns into its own error, a sentence, and what each loader said."""

from __future__ import annotations


class Refused(Exception):
    """A request that can't be carried out. `kind`: load | input | missing | request."""

    def __init__(self, kind: str, detail: str, hint: str = "", said: list[str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.hint = hint
        self.said = said or []


def brief(error: BaseException, limit: int = 300) -> str:
    """One line of an exception: its type and the first lines of what it says."""
    text = " ".join(str(error).split())
    return (type(error).__name__ + ": " + text)[:limit] if text else type(error).__name__

"""How widgets reach the session and the user, without knowing the app's class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from textual.message_pump import MessagePump

if TYPE_CHECKING:
    from ckptui.session import Session


def say(node: MessagePump, words: str, seconds: float = 3) -> None:
    """Words for a moment, in the place of those before: they must not pile up over the rows they speak of."""
    node.app.clear_notifications()
    node.app.notify(words, timeout=seconds, markup=False)


class HasSession(Protocol):
    """What widgets need of the app."""

    session: Session


def session_of(widget: MessagePump) -> Session:
    """The session of the app that `widget` is in; its calls block, so only threads make them."""
    return cast(HasSession, widget.app).session

"""How widgets reach the session and hear of failures, without knowing the app's class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from textual.message_pump import MessagePump

if TYPE_CHECKING:
    from ckptui.session import Session


class HasSession(Protocol):
    """What widgets need of the app."""

    session: Session


def session_of(widget: MessagePump) -> Session:
    """The session of the app that `widget` is in; its calls block, so only threads make them."""
    return cast(HasSession, widget.app).session

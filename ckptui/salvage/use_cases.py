"""The use cases of salvage, as a session offers them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckptui.core.model import Progress

if TYPE_CHECKING:
    from ckptui.core.salvage import SalvagePlan, SalvageReport
    from ckptui.salvage.planning import Saves


class SalvageUseCases:
    """The part of a session that plans salvages and carries them out."""

    def check_salvage_target(self: Saves, path: str, target: str) -> None:
        """Raise UsageError where nothing of the save at `path` may be written as `target`; reads nothing of it."""
        from ckptui.salvage.targets import look_at

        found = self.resolve(path)
        look_at(target, found.path, found.kind)

    def plan_salvage(
        self: Saves,
        path: str,
        *,
        layout: str | None = None,
        repair_bits: bool = False,
        cancel: threading.Event | None = None,
    ) -> Iterator[Progress | SalvagePlan]:
        """What can be brought back from a save, tensor by tensor; the plan comes last, nothing is written.

        `layout` names another save of the same model, for one whose index is lost. With `repair_bits`, what one flipped
        bit explains is `repaired` in the plan, else `repairable`.

        Raises:
            NoSuchPath, NotASave: nothing is there that looks like a save.
            UsageError: nothing says what lies in the data, or `layout` can't.
            Cancelled: `cancel` was set.
        """
        from ckptui.salvage.planning import plan

        yield from plan(self, path, layout=layout, repair_bits=repair_bits, cancel=cancel)

    def salvage(
        self: Saves,
        plan: SalvagePlan,
        target: str,
        *,
        repair_bits: bool = False,
        cancel: threading.Event | None = None,
    ) -> Iterator[Progress | SalvageReport]:
        """Write what a plan brings back to `target`, a checkpoint's prefix or a file by its suffix; the report is last.

        `repair_bits` turns `repairable` tensors of the plan into repaired ones.

        Raises:
            UsageError: the target won't do (told before anything is read), or nothing can be brought back.
            ChangedWhileReading: the save is not what it was when the plan was made.
            Cancelled: `cancel` was set; nothing was written.
        """
        from ckptui.salvage.writing import salvage

        yield from salvage(self.pool, plan, target, repair_bits=repair_bits, cancel=cancel)

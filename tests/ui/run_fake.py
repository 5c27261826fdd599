"""`python -m tests.ui.run_fake`: the workbench on made-up saves, for tests that drive a real terminal."""

from __future__ import annotations

import sys
from typing import cast

from ckptui.session import Session
from ckptui.ui.app import run_workbench
from tests.ui.fake_session import ROOT, digits

if __name__ == "__main__":
    session = digits()
    if "--busy" in sys.argv:
        session.gate.clear()
    code = run_workbench([ROOT], cast(Session, session), ascii="--ascii" in sys.argv)
    print("closed" if session.closed else "left open")
    sys.exit(code)

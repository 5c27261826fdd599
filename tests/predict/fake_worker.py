"""A stand-in for the worker that does, on request, everything a child can do wrong. Run as a script."""

from __future__ import annotations

import os
import signal
import sys
import time

from ckptui.predict.worker import frames


def half(request: object) -> bytes:
    """The first half of an answer."""
    whole = b"".join(bytes(p) for p in frames.encode({"id": request, "value": "x" * 8000}))
    return whole[: len(whole) // 2]


def die(op: str, doc: dict[str, object], replies: int) -> None:
    """Ways of ending without an answer; returns for anything else."""
    if op == "exit":
        print("giving up for a reason", file=sys.stderr, flush=True)
        os._exit(3)
    if op == "signal":
        os.kill(os.getpid(), int(str(doc["signal"])))
        time.sleep(30)
    if op == "half":
        os.write(replies, half(doc["id"]))
        os._exit(0)
    if op == "close":
        os.close(replies)
        time.sleep(60)


def misbehave(op: str, doc: dict[str, object], replies: int) -> None:
    """Ways of not answering properly while alive; returns when a proper answer is still to follow."""
    if op == "hang":
        time.sleep(60)
    if op == "beat-forever":
        while True:
            frames.write_frame(replies, {"id": doc["id"], "beat": True})
            time.sleep(0.05)
    if op == "noise":
        os.write(replies, b"WARNING: something chatty on the protocol's own pipe\n")
    if op == "garbage":
        os.write(replies, os.urandom(64))
    if op == "half-then-hang":
        os.write(replies, half(doc["id"]))
        time.sleep(60)
    if op == "wrong-id":
        frames.write_frame(replies, {"id": int(str(doc["id"])) - 1, "value": "of another request"})
        time.sleep(60)
    if op == "too-large":
        os.write(replies, frames.HEAD.pack(frames.MAGIC, 1 << 31, 1 << 40))
    if op == "flood":
        for _ in range(2000):
            os.write(2, b"x" * 4000 + b"\n")


def overdo(op: str, doc: dict[str, object], replies: int) -> None:
    """Ways of saying or taking too much."""
    if op == "loud":
        # 8 MB on the protocol's pipe: nothing of it is an answer.
        for _ in range(2048):
            os.write(replies, b"y" * 4096)
    if op == "late":
        # The answer to the request before, then the one that is due.
        frames.write_frame(replies, {"id": int(str(doc["id"])) - 1, "value": "late"})
    if op == "slow-half":
        # A whole answer, the second half of it late.
        whole = b"".join(bytes(p) for p in frames.encode({"id": doc["id"], "value": doc.get("value")}))
        os.write(replies, whole[: len(whole) // 2])
        time.sleep(float(str(doc["seconds"])))
        os.write(replies, whole[len(whole) // 2 :])
    if op == "twice":
        frames.write_frame(replies, {"id": doc["id"], "value": doc.get("value")})
    if op == "eat":
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1 << 20)) * 16)


def main() -> None:
    """Answer `echo`, `slow` and `refuse`; misbehave for anything else."""
    replies, requests = os.dup(1), os.dup(0)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while (frame := frames.read_frame(requests)) is not None:
        doc, arrays = frame
        op = str(doc["op"])
        if op.startswith("late-"):
            time.sleep(float(str(doc["seconds"])))
            op = op[len("late-") :]
        die(op, doc, replies)
        misbehave(op, doc, replies)
        overdo(op, doc, replies)
        if op == "slow-half":
            continue
        if op == "slow":
            time.sleep(float(str(doc["seconds"])))
        print("noise of a library, on file descriptor 1", flush=True)
        if op == "refuse":
            frames.write_frame(replies, {"id": doc["id"], "error": doc["kind"], "detail": "no\x1b[31m", "hint": "h"})
        else:
            frames.write_frame(replies, {"id": doc["id"], "value": doc.get("value"), "pid": os.getpid()}, arrays)


if __name__ == "__main__":
    main()

"""Ops for drills: a child that echoes, dies, hangs, floods and lies on command."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
import time
from typing import Any

from ckptui import errors
from ckptui.engine.ops import Items

PREPARED: list[str] = []


def prepare(op: str, args: Any) -> None:
    PREPARED.append(op)
    if op == "slow_import":
        time.sleep(1.5)


def echo(call: Any, args: Any) -> Any:
    print("noise of a library on standard output")
    os.write(1, b"noise of C code\n")
    return args, [bytes([n]) * n for n in args.get("sizes", [])]


def pid(call: Any, args: Any) -> Any:
    return os.getpid(), []


def slow_import(call: Any, args: Any) -> Any:
    return "done", []


def events(call: Any, args: Any) -> Any:
    for n in range(args["count"]):
        call.begin(f"tensor {n}")
        call.event({"n": n}, [b"x" * n])
        time.sleep(args.get("pause", 0))
    return "end", []


def die(call: Any, args: Any) -> Any:
    call.begin("conv1/kernel")
    sys.stderr.write("x" * 100_000 + "\nlast words\n")
    sys.stderr.flush()
    os.kill(os.getpid(), getattr(signal, args["signal"]))
    time.sleep(9)


def die_once(call: Any, args: Any) -> Any:
    if args["pid"] == 0 or os.getpid() == args["pid"]:
        os.kill(os.getpid(), signal.SIGSEGV)
    return "survived", []


def leave(call: Any, args: Any) -> Any:
    os._exit(args["code"])


def hang(call: Any, args: Any) -> Any:
    call.begin("conv2/kernel")
    while args.get("busy"):
        pass
    time.sleep(60)


def hang_noisily(call: Any, args: Any) -> Any:
    while True:
        os.write(2, b"still here\n" * 100)
        time.sleep(0.01)


def _raw(call: Any) -> int:
    replies: int = call._replies
    return replies


def garbage(call: Any, args: Any) -> Any:
    os.write(_raw(call), b"\xff" * 4096)
    time.sleep(9)


def no_json(call: Any, args: Any) -> Any:
    os.write(_raw(call), struct.pack("<I", 5) + b"hello")
    time.sleep(9)


def flood(call: Any, args: Any) -> Any:
    for _ in range(8):
        os.write(_raw(call), b"A" * (1 << 20))
    time.sleep(9)


def half_frame(call: Any, args: Any) -> Any:
    os.write(_raw(call), struct.pack("<I", 100) + b'{"id"')
    time.sleep(args.get("pause", 9))
    os._exit(0)


def wrong_id(call: Any, args: Any) -> Any:
    call._number += 7
    return "for someone else", []


def unknown_kind(call: Any, args: Any) -> Any:
    call.send("gossip", "...")
    time.sleep(9)


def raise_(call: Any, args: Any) -> Any:
    if args["class"] == "Damaged":
        raise errors.Damaged(
            "bytes 3 to 5",
            code="zero-filled",
            evidence={"offset": 3, "size": float("inf")},
            hint="copy it again",
        )
    if args["class"] == "MemoryError":
        bytearray(1 << 40)
    if args["class"] == "KeyError":
        raise KeyError("no such thing")
    raise getattr(errors, args["class"])("it is so", "do that")


def try_limits(call: Any, args: Any) -> Any:
    """What the child can still do, each as an errno or 0."""

    def attempt(action: Any) -> Any:
        try:
            action()
        except OSError as error:
            return error.errno
        except MemoryError:
            return "memory"
        return 0

    def write_on() -> None:
        with open(args["file"], "a") as file:
            file.write("x")

    def truncate() -> None:
        os.close(os.open(args["file"], os.O_RDONLY | os.O_TRUNC))

    def program() -> None:
        os.posix_spawn("/bin/true", ["true"], {})

    found = {
        "socket": attempt(lambda: socket.socket()),
        "write": attempt(write_on),
        "truncate": attempt(truncate),
        "unlink": attempt(lambda: os.unlink(args["file"])),
        "rename": attempt(lambda: os.rename(args["file"], args["file"] + "2")),
        "execute": attempt(program),
        "memory": attempt(lambda: bytearray(3 << 30)),
        "read": attempt(lambda: open(args["file"]).close()),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "io": ctypes.CDLL(None).syscall(ctypes.c_long(252), 1, 0) >> 13,
        "group": os.getpgrp() == os.getpid(),
        "stdin": os.read(0, 10).decode(),
    }
    return found, []


def work(call: Any, args: Any) -> Any:
    """Item after item; its name says what happens: crash, hang, fail, flaky (crashes unless careful), heavy..."""
    items = Items(call, args["careful"])
    if args.get("broken"):
        os.kill(os.getpid(), signal.SIGSEGV)

    def one(name: str) -> Any:
        if name.startswith("crash") or (name.startswith("flaky") and not args["careful"]):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("hang"):
            time.sleep(60)
        if name.startswith("fail"):
            raise errors.Damaged(f"{name} is bad", code="entry-invalid")
        if name.startswith("memory"):
            bytearray(1 << 40)
        items.beat(10)
        return name.upper()

    if args.get("lazy"):
        return None, []
    items.run(args, one, lambda name: name.endswith("heavy"))
    if args.get("lie"):
        call.event({"done": [[99, {"ok": 1}]], "bytes": 0})
    return None, []


OPS = {
    name.rstrip("_"): function
    for name, function in list(globals().items())
    if callable(function) and getattr(function, "__module__", "") == __name__ and name != "prepare"
}

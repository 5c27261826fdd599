"""What a reader child takes from itself before it looks at a file: memory, files, network, priority.

Every measure that the system does not offer is left out and reported; none is a reason not to read.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

OPEN_FILES = 256

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38
"""seccomp(2): let pass; fail with EPERM; fail with ENOSYS, so that callers take the older call."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Classic BPF: load a word, the three jumps, return."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_OPENAT2 = 437
_IO_URING = (425, 426, 427)

_X86_64 = {
    "audit": 0xC000003E,
    "open": ((2, 1), (257, 2)),
    "ioprio_set": 251,
    "refused": (
        *(41, 42, 43, 44, 46, 49, 50, 53, 288, 307),
        *(59, 322, 101, 310, 311, 165, 175),
        *(76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94, 133),
        *(132, 235, 280),
        *(258, 259, 260, 263, 264, 265, 266, 268, 316),
    ),
}
_AARCH64 = {
    "audit": 0xC00000B7,
    "open": ((56, 2),),
    "ioprio_set": 30,
    "refused": (
        *(198, 199, 200, 201, 202, 203, 206, 211, 242, 269),
        *(221, 281, 117, 270, 271, 40, 105),
        *(33, 34, 35, 36, 37, 38, 45, 46, 52, 53, 54, 55, 88, 276),
    ),
}
"""System calls refused, by number: sockets; programs, tracing, mounting; changing, making or removing files.
`open`: (number, place of its flags), refused when the flags ask for writing."""

_MACHINES: dict[str, dict[str, Any]] = {"x86_64": _X86_64, "aarch64": _AARCH64, "arm64": _AARCH64}


def apply(*, parent: int, nice: int, address_space: int) -> dict[str, bool]:
    """Limit this process for good; says for each measure whether it holds.

    `parent` is the process without which this one must not live; `nice` above 0 also means idle I/O priority.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    table = _MACHINES.get(os.uname().machine) if sys.platform == "linux" and sys.maxsize > 2**32 else None
    applied: dict[str, bool] = {}
    applied["core"] = _held(lambda: _limit("RLIMIT_CORE", 0))
    applied["file-size"] = _held(lambda: _limit("RLIMIT_FSIZE", 0))
    applied["open-files"] = _held(lambda: _limit("RLIMIT_NOFILE", OPEN_FILES))
    applied["memory"] = _held(lambda: _limit("RLIMIT_AS", address_space))
    applied["out-of-memory"] = _held(_first_to_go)
    if nice > 0:
        applied["nice"] = _held(lambda: os.nice(nice) > 0)
        applied["idle-io"] = table is not None and _held(lambda: _idle_io(libc, table["ioprio_set"]))
    applied["dies-with-parent"] = sys.platform == "linux" and _held(lambda: _die_with(libc, parent))
    applied["no-new-privileges"] = sys.platform == "linux" and _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    applied["no-network"] = table is not None and _held(lambda: _filter(libc, table))
    applied["no-writing"] = applied["no-network"]
    return applied


def _held(measure: Callable[[], bool]) -> bool:
    try:
        return measure()
    except (OSError, ValueError, AttributeError):
        return False


def _prctl(libc: Any, option: int, *arguments: int) -> bool:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return bool(libc.prctl(ctypes.c_int(option), *map(ctypes.c_ulong, padded)) == 0)


def _limit(which: str, most: int) -> bool:
    number = getattr(resource, which)
    _, hard = resource.getrlimit(number)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(number, (most, most))
    return True


def _first_to_go() -> bool:
    """When memory runs out, this process goes before the training job beside it."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("700")
    return True


def _idle_io(libc: Any, number: int) -> bool:
    process, idle_class = 1, 3 << 13
    return bool(libc.syscall(ctypes.c_long(number), process, 0, idle_class) == 0)


def _die_with(libc: Any, parent: int) -> bool:
    if not _prctl(libc, _PR_SET_PDEATHSIG, int(signal.SIGKILL)):
        return False
    if os.getppid() != parent:
        # the parent went before the signal was asked for
        os._exit(0)
    return True


def filter_program(table: dict[str, Any]) -> bytes:
    """The seccomp filter as classic BPF instructions (struct sock_filter, 8 bytes each)."""
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, table["audit"]),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),
        # the x32 calls of x86-64 have numbers of their own
        (_AT_LEAST, 0, 1, 0x40000000),
        (_RETURN, 0, 0, _REFUSE),
        (_EQUAL, 0, 1, _OPENAT2),
        (_RETURN, 0, 0, _UNKNOWN),
    ]
    for number in (*table["refused"], *_IO_URING):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    for number, place in table["open"]:
        flags = 16 + 8 * place
        code += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, flags),
            (_ANY_BIT, 0, 1, _WRITING),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _filter(libc: Any, table: dict[str, Any]) -> bool:
    code = filter_program(table)
    program = _Program(len(code) // 8, code)
    return _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))

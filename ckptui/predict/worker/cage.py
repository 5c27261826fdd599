"""Lock this process in: no core dump, no large files, no writes outside its folder, no network, no programs.

Each layer is taken where the kernel offers it, without root, and reported; none is required. Reading stays free:
a model's files lie anywhere. Constants: linux/landlock.h, linux/seccomp.h, linux/audit.h, asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import stat
import struct
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT = 444, 445, 446
FILE_RIGHTS = 1 << 1 | 1 << 14
"""What may be granted on a single file: write, truncate."""
WRITE_RIGHTS = 1 << 1 | sum(1 << bit for bit in range(4, 13))
"""Write, remove and make things, as of Landlock ABI 1; REFER (ABI 2) and TRUNCATE (ABI 3) are added."""
MACHINES = {"x86_64": (0xC000003E, 41, (59, 322)), "aarch64": (0xC00000B7, 198, (221, 281))}
"""Audit architecture, number of socket, numbers of execve and execveat."""
EPERM = 0x00050001
ALLOW = 0x7FFF0000
MAX_FILE = 64 << 20
"""Bytes a file may have: nothing at all would stop tensorflow's import."""


def apply(own_folder: str, gpu: bool = False) -> dict[str, Any]:
    """Take every layer there is; what was taken, by name. `gpu` leaves devices and helper programs usable."""
    libc = ctypes.CDLL(None, use_errno=True)
    report: dict[str, Any] = {"parent_death": libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0}
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, MAX_FILE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    report["no_new_privs"] = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    writable = [own_folder, os.devnull] + (["/dev", "/proc/self"] if gpu else [])
    report["landlock"] = landlock(libc, writable) if report["no_new_privs"] else 0
    report["seccomp"] = bool(report["no_new_privs"]) and seccomp(libc, programs=gpu)
    return report


def limit(what: int, value: int) -> None:
    """Lower a resource limit as far as it is not lower already."""
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def landlock(libc: Any, writable: list[str]) -> int:
    """Allow writing below `writable` only, and no TCP; the kernel's Landlock ABI, 0 where there is none."""
    abi = int(libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1))
    if abi < 1:
        return 0
    rights = WRITE_RIGHTS | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0)
    rules = struct.pack("QQ", rights, 3) if abi >= 4 else struct.pack("Q", rights)
    ruleset = int(libc.syscall(LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), 0))
    if ruleset < 0:
        return 0
    try:
        for path in writable:
            allow(libc, ruleset, path, rights)
        return abi if libc.syscall(LANDLOCK_RESTRICT, ruleset, 0) == 0 else 0
    finally:
        os.close(ruleset)


def allow(libc: Any, ruleset: int, path: str, rights: int) -> None:
    """Grant `rights` on `path` and below; a path that is not there grants nothing."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        folder = stat.S_ISDIR(os.fstat(place).st_mode)
        rule = struct.pack("=Qi", rights if folder else rights & FILE_RIGHTS, place)
        libc.syscall(LANDLOCK_ADD_RULE, ruleset, 1, rule, 0)
    finally:
        os.close(place)


def seccomp(libc: Any, programs: bool) -> bool:
    """Refuse internet sockets and, unless `programs`, starting a program; whether the kernel took the filter."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    audit, socket_number, exec_numbers = machine

    def statement(code: int, value: int) -> bytes:
        return struct.pack("HBBI", code, 0, 0, value)

    def unless_equal(value: int, skip: int) -> bytes:
        return struct.pack("HBBI", 0x15, 0, skip, value)

    load, answer = 0x20, 0x06
    program = [statement(load, 4), unless_equal(audit, 0), statement(load, 0)]
    for number in () if programs else exec_numbers:
        program += [unless_equal(number, 1), statement(answer, EPERM)]
    program += [unless_equal(socket_number, 5), statement(load, 16)]
    for family in (2, 10):
        program += [unless_equal(family, 1), statement(answer, EPERM)]
    program += [statement(answer, ALLOW)]
    program[1] = unless_equal(audit, len(program) - 3)
    code = b"".join(program)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    handle = Filter(len(program), ctypes.addressof(buffer))
    return bool(libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(handle), 0, 0) == 0)

"""Lock this process in: no core dump, no large files, no writes outside its folder, no network, no programs.

Each layer is taken where the kernel offers it, without root, and reported; none is required. Reading stays free:
a model's files lie anywhere. Constants: linux/landlock.h, linux/seccomp.h, linux/audit.h, asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import socket
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
MACHINES = {
    "x86_64": (0xC000003E, 41, (59, 322), (425, 101, 311, 438), 317),
    "aarch64": (0xC00000B7, 198, (221, 281), (425, 117, 271, 438), 277),
}
"""Audit architecture; numbers of socket, of execve and execveat, of what reaches around the filter or into other
processes (io_uring_setup, ptrace, process_vm_writev, pidfd_getfd), of seccomp itself."""
INTERNET = (2, 10)
"""AF_INET, AF_INET6."""
X32 = 0x40000000
"""Bit of the system calls of x86-64's third ABI, which shares the audit architecture."""
ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
LOAD, EQUAL, AT_LEAST, ANSWER = 0x20, 0x15, 0x35, 0x06
THREAD_SYNC = 1
MAX_FILE = 64 << 20
"""Bytes a file may have: nothing at all would stop tensorflow's import."""
ADDRESSES_OVER = 6 << 30
"""Address space that TensorFlow reserves and never touches, generously; its import reserves 1.8 GiB."""


def apply(own_folder: str, gpu: bool = False, memory: int = 0) -> dict[str, Any]:
    """Take every layer there is; what holds now, by name. `gpu` leaves devices and helper programs usable.

    `memory`: bytes the client lets it have resident; the address space ends some way above, except with a GPU, whose
    driver reserves far more than it uses. Keys: `writes`, `network`, `programs`, `core`, `parent_death`, `file_size`,
    `addresses` say what is enforced; `landlock` (the ABI), `seccomp`, `no_new_privs`, `gpu` say by what.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    report: dict[str, Any] = {"gpu": gpu}
    report["parent_death"] = libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0
    report["core"] = limit(resource.RLIMIT_CORE, 0)
    report["file_size"] = limit(resource.RLIMIT_FSIZE, MAX_FILE)
    report["addresses"] = bool(memory) and not gpu and limit(resource.RLIMIT_AS, memory + ADDRESSES_OVER)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    report["no_new_privs"] = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    writable = [own_folder, os.devnull] + (["/dev", "/proc/self"] if gpu else [])
    report["landlock"] = landlock(libc, writable) if report["no_new_privs"] else 0
    report["seccomp"] = bool(report["no_new_privs"]) and install(libc, forbidding(gpu))
    report["writes"] = bool(report["landlock"]) and refused_outside(own_folder)
    report["network"] = bool(report["seccomp"]) and refused_network()
    report["programs"] = bool(report["seccomp"]) and not gpu
    return report


def arm() -> bool:
    """From now on an internet socket ends the process at once, by SIGSYS; whether the kernel took it, for all threads.

    Refusing alone is not enough to be told: TensorFlow's services try again for ever. To be called after imports,
    some of which try for IPv6 and mean no harm.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    rules = [([machine[1]], list(INTERNET), KILL)]
    return install(ctypes.CDLL(None, use_errno=True), compiled(machine[0], rules, ALLOW), machine[4])


def limit(what: int, value: int) -> bool:
    """Lower a resource limit as far as it is not lower already; whether it holds."""
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(what, (value, value))
    except (OSError, ValueError):
        return False
    return True


def refused_outside(own_folder: str) -> bool:
    """Whether a nameless file beside our folder is refused; nothing is left behind where it is not."""
    try:
        os.close(os.open(os.path.dirname(os.path.abspath(own_folder)), os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError:
        return True
    return False


def refused_network() -> bool:
    """Whether an internet socket is refused."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def landlock(libc: Any, writable: list[str]) -> int:
    """Allow writing below `writable` only, no TCP, no signals out; the kernel's Landlock ABI, 0 where there is none."""
    abi = int(libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1))
    if abi < 1:
        return 0
    rights = WRITE_RIGHTS | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0)
    fields = [rights] + ([3] if abi >= 4 else []) + ([3] if abi >= 6 else [])
    rules = struct.pack("%dQ" % len(fields), *fields)
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


def forbidding(gpu: bool) -> bytes:
    """The filter from the start: no sockets, no programs, no way around; with a GPU helpers and local sockets stay."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return b""
    audit, socket_number, programs, around, _ = machine
    rules: list[Any] = [(list(around), [], EPERM), ([socket_number], list(INTERNET) if gpu else [], EPERM)]
    if not gpu:
        rules.append((list(programs), [], EPERM))
    return compiled(audit, rules, EPERM)


def compiled(audit: int, rules: list[Any], foreign: int) -> bytes:
    """Classic BPF of `rules`: ([system call, ...], [values of its first argument, or any], answer).

    `foreign` answers system calls of another architecture's numbering, which the rules can't name.
    """

    def statement(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    program = [statement(LOAD, 4), statement(EQUAL, audit, 1, 0), statement(ANSWER, foreign), statement(LOAD, 0)]
    program += [statement(AT_LEAST, X32, 0, 1), statement(ANSWER, foreign)]
    for numbers, values, answer in rules:
        for number in numbers:
            body = [statement(ANSWER, answer)]
            if values:
                # The argument's place holds 64 bits; the kernel reads a family from the lower 32.
                body = [statement(LOAD, 16)]
                for value in values:
                    body += [statement(EQUAL, value, 0, 1), statement(ANSWER, answer)]
                body += [statement(LOAD, 0)]
            program += [statement(EQUAL, number, 0, len(body)), *body]
    return b"".join(program + [statement(ANSWER, ALLOW)])


def install(libc: Any, code: bytes, seccomp_number: int = 0) -> bool:
    """Put a filter on this thread, or with the number of seccomp(2) on all threads; whether the kernel took it."""
    if not code:
        return False
    buffer = ctypes.create_string_buffer(code, len(code))

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    handle = Filter(len(code) // 8, ctypes.addressof(buffer))
    if seccomp_number:
        return bool(libc.syscall(seccomp_number, 1, THREAD_SYNC, ctypes.byref(handle)) == 0)
    return bool(libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(handle), 0, 0) == 0)

"""Which system calls the cage refuses, as a filter for seccomp(2).

Numbers: asm/unistd.h of each machine; the program: linux/bpf_common.h, linux/seccomp.h, linux/audit.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import Any

PR_SET_SECCOMP = 22
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The architecture a system call is numbered by."""
NUMBERS = {
    "socket": (41, 198),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    # around the filter, or into other processes
    "io_uring_setup": (425, 425),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    # what files have besides their bytes, which Landlock leaves open
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    # what stays when the process is gone
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # the machine itself
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}
"""Of x86-64 and of 64-bit Arm."""
SECCOMP = (317, 277)
PROGRAMS = ("execve", "execveat")
FORKS = ("fork", "vfork")
TO_A_PROCESS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
"""Signals to a process named first; it may be this one, abort(3) ends so."""
SETTLED = {"socket", "clone", "clone3", "prlimit64", *PROGRAMS, *FORKS, *TO_A_PROCESS}
"""Refused only in part, or not with a GPU."""

INTERNET = (2, 10)
"""AF_INET, AF_INET6."""
CLONE_THREAD = 0x10000
X32 = 0x40000000
"""Bit of the system calls of x86-64's third ABI, which shares the audit architecture."""
ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
ENOSYS = 0x00050000 | errno.ENOSYS
LOAD, EQUAL, AT_LEAST, HAS_BITS, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
THREAD_SYNC = 1


def forbidding(gpu: bool) -> bytes:
    """The filter from the start; empty on a machine whose system calls are not known here.

    No sockets, no programs and no processes, no way around; nothing done to files besides writing, which is
    Landlock's, nor to other processes. With a GPU helpers and local sockets stay.
    """
    if platform.machine() not in AUDIT:
        return b""
    rules: list[Any] = [
        (["socket"], "is" if gpu else "any", list(INTERNET) if gpu else [], EPERM),
        ([name for name in NUMBERS if name not in SETTLED], "any", [], EPERM),
        (TO_A_PROCESS, "is not", [os.getpid()], EPERM),
        (["prlimit64"], "is not", [0, os.getpid()], EPERM),
    ]
    if not gpu:
        rules += [
            (PROGRAMS + FORKS, "any", [], EPERM),
            (["clone"], "lacks", [CLONE_THREAD], EPERM),
            # Its flags lie in memory, where no filter looks; the C library asks `clone` then.
            (["clone3"], "any", [], ENOSYS),
        ]
    return compiled(rules, EPERM)


def arm() -> bool:
    """From now on an internet socket ends the process at once, by SIGSYS; whether the kernel took it, for all threads.

    Refusing alone is not enough to be told: TensorFlow's services try again for ever. To be called after imports,
    some of which try for IPv6 and mean no harm.
    """
    if platform.machine() not in AUDIT:
        return False
    code = compiled([(["socket"], "is", list(INTERNET), KILL)], ALLOW)
    return install(ctypes.CDLL(None, use_errno=True), code, SECCOMP[_column()])


def _column() -> int:
    return list(AUDIT).index(platform.machine())


def compiled(rules: Any, foreign: int) -> bytes:
    """Classic BPF of `rules`: (names of system calls, how, values, answer).

    `how` says for which first argument the answer holds: `any`, one that `is` or `is not` among the values, or one
    that `lacks` the bits of the single value. `foreign` answers system calls of another architecture's numbering,
    which the rules can't name.
    """
    column, audit = _column(), AUDIT[platform.machine()]
    program = [statement(LOAD, 4), statement(EQUAL, audit, 1, 0), statement(ANSWER, foreign), statement(LOAD, 0)]
    program += [statement(AT_LEAST, X32, 0, 1), statement(ANSWER, foreign)]
    for names, how, values, answer in rules:
        body = answered(how, values, answer)
        for number in [NUMBERS[name][column] for name in names]:
            if number is not None:
                program += [statement(EQUAL, number, 0, len(body)), *body]
    return b"".join(program + [statement(ANSWER, ALLOW)])


def answered(how: str, values: Any, answer: int) -> list[bytes]:
    """The part that answers one system call, or leaves its number loaded for what follows."""
    refuse = statement(ANSWER, answer)
    if how == "any":
        return [refuse]
    # An argument's place holds 64 bits; families, process ids and these flags are in the lower 32.
    body = [statement(LOAD, 16)]
    if how == "is":
        for value in values:
            body += [statement(EQUAL, value, 0, 1), refuse]
    elif how == "is not":
        body += [statement(EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)] + [refuse]
    else:
        body += [statement(HAS_BITS, values[0], 1, 0), refuse]
    return [*body, statement(LOAD, 0)]


def statement(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; `yes` and `no` are how many that follow are left out."""
    return struct.pack("HBBI", code, yes, no, value)


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

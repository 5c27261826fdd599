"""Lock this process in: no core dump, no large files, no writes outside its folder, no network, no programs.

Each layer is taken where the kernel offers it, without root, and reported; none is required. Reading stays free:
a model's files lie anywhere. Constants: linux/landlock.h. What seccomp refuses is in `filters`.
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

from .filters import forbidding, install

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT = 444, 445, 446
FILE_RIGHTS = 1 << 1 | 1 << 14 | 1 << 15
"""What may be granted on a single file: write, truncate, control of a device."""
WRITE_RIGHTS = 1 << 1 | sum(1 << bit for bit in range(4, 13))
"""Write, remove and make things, as of Landlock ABI 1; REFER, TRUNCATE and IOCTL_DEV are added as of 2, 3 and 5."""
CAPABILITIES_3 = 0x20080522
READ_ANYTHING = 1 << 2
"""CAP_DAC_READ_SEARCH."""
CAPSET = {"x86_64": 126, "aarch64": 91}
TERMINALS = ("tty", "pts", "ptmx", "console", "vcs")
"""How the names of terminals in /dev begin."""
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
    if not gpu:
        drop_powers(libc)
    report["no_new_privs"] = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    writable = [own_folder, os.devnull] + ([*devices(), "/proc/self"] if gpu else [])
    report["landlock"] = landlock(libc, writable) if report["no_new_privs"] else 0
    report["seccomp"] = bool(report["no_new_privs"]) and install(libc, forbidding(gpu))
    report["writes"] = bool(report["landlock"]) and refused_outside(own_folder)
    report["network"] = bool(report["seccomp"]) and refused_network()
    report["programs"] = bool(report["seccomp"]) and not gpu
    return report


def drop_powers(libc: Any) -> None:
    """Of what root may do keep only reading, as capabilities(7) tells it; nothing changes for anybody else.

    In a container people are root, and neither Landlock nor the filter covers all that root can do to the machine.
    """
    number = CAPSET.get(platform.machine())
    if number is None or os.geteuid() != 0:
        return
    head = struct.pack("=Ii", CAPABILITIES_3, 0)
    # Effective, permitted and inheritable of the lower 32, then of the upper.
    libc.syscall(number, head, struct.pack("=6I", READ_ANYTHING, READ_ANYTHING, 0, 0, 0, 0))


def devices() -> list[str]:
    """What a GPU's driver may open: everything in /dev but terminals and consoles."""
    names = sorted(os.listdir("/dev")) if os.path.isdir("/dev") else []
    return [os.path.join("/dev", name) for name in names if not name.startswith(TERMINALS)]


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
    # The last keeps a terminal that is merely opened for reading from being set otherwise.
    rights = WRITE_RIGHTS | sum(1 << bit for bit, since in ((13, 2), (14, 3), (15, 5)) if abi >= since)
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

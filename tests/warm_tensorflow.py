"""Scripts that need TensorFlow, run one by one in forks of a process that has imported it: the import takes seconds.

`run` and `Running` take what the interpreter takes after its name: a script, `-m MODULE` or `-c CODE`, and arguments.
Each starts as it would alone: own process, `__main__`, `sys.argv`, folder, environment and streams. What it does not
get is the import of numpy, h5py, TensorFlow, Keras and tf_keras, which lies behind it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
LARGEST = 1 << 20
"""Bytes of a request."""


# ---------------------------------------------------------------- the process that has TensorFlow


def _become(request: dict[str, Any], streams: Sequence[int]) -> int:
    """Run what is asked, as the interpreter would; gives the exit code."""
    import runpy
    import types

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 256)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    given = [entry for entry in request["env"].get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[1:1] = [entry for entry in given if entry not in sys.path]
    kind, rest = request["arguments"][0], request["arguments"][1:]
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    try:
        if kind == "-m":
            sys.argv, sys.path[0] = rest, request["cwd"]
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)
        else:
            sys.argv, sys.path[0] = [kind, *rest], os.path.dirname(os.path.abspath(kind))
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _look_after(request: dict[str, Any], answers: int, streams: Sequence[int]) -> None:
    """Start one script, tell its process id, wait for it, tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        os.setsid()
        code = 1
        with contextlib.suppress(BaseException):
            code = _become(request, streams)
            # what the interpreter does at its end, but for the memory nobody needs any more
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    for stream in streams:
        os.close(stream)
    os.write(answers, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def serve(requests: socket.socket) -> None:
    """Import everything once, then fork for each request until nobody asks any more."""
    import gc

    import h5py  # noqa: F401
    import keras
    import tensorflow as tf
    import tf_keras  # noqa: F401

    # both are loaded at their first use
    assert keras.layers
    assert tf.compat.v1.Session
    gc.freeze()
    while True:
        data, fds, _, _ = socket.recv_fds(requests, LARGEST, 4)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not data:
            break
        answers, *streams = fds
        if not os.fork():
            with contextlib.suppress(BaseException):
                requests.close()
                _look_after(json.loads(data), answers, streams)
            os._exit(0)
        for fd in fds:
            os.close(fd)


# ---------------------------------------------------------------- the side of the tests

_server: tuple[subprocess.Popen[bytes], socket.socket, IO[bytes]] | None = None


def _ask() -> socket.socket:
    """Where requests go; the first starts the process."""
    global _server
    if _server is None or _server[0].poll() is not None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        # one thread of the linear algebra libraries: none is left half-way by a fork
        env = {**os.environ, **QUIET, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())]
        said = tempfile.TemporaryFile()  # noqa: SIM115
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
        child = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env, **pipes)
        theirs.close()
        _server = child, ours, said
    return _server[1]


def _said() -> str:
    """The last words of the process that has TensorFlow."""
    if _server is None:
        return ""
    _server[2].seek(0)
    return _server[2].read().decode(errors="replace")[-2000:]


def end() -> None:
    """End the process that has TensorFlow, if there is one."""
    global _server
    if _server is not None:
        _server[1].close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            _server[0].wait(10)
        _server[0].kill()
        _server[0].wait()
        _server[2].close()
        _server = None


class Running:
    """A script under way; `stdin`, `stdout` and `stderr` are descriptors it takes over."""

    def __init__(
        self,
        arguments: Sequence[object],
        stdin: int,
        stdout: int,
        stderr: int,
        cwd: str | Path | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        mine, theirs = os.pipe()
        request = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
        }
        data = json.dumps(request).encode()
        assert len(data) < LARGEST // 2, "too long a command"
        socket.send_fds(_ask(), [data], [theirs, stdin, stdout, stderr])
        os.close(theirs)
        self._answers = open(mine)  # noqa: SIM115 (as long-lived as this)
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"no TensorFlow to fork from: {_said()}")
        self.pid = int(line)
        self.returncode: int | None = None

    def wait(self) -> int:
        """Its exit code, negative for a signal, once it has ended."""
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
        return self.returncode

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def run(
    arguments: Sequence[object],
    *,
    check: bool = False,
    input: str = "",
    timeout: float = 280,
    cwd: str | Path | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives with `capture_output` and `text`.

    Raises subprocess.TimeoutExpired, and subprocess.CalledProcessError where `check` is asked.
    """
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write(input.encode())
        stdin.seek(0)
        running = Running(arguments, stdin.fileno(), out.fileno(), err.fileno(), cwd, env)
        late = threading.Event()

        def stop() -> None:
            late.set()
            running.kill()

        watch = threading.Timer(timeout, stop)
        watch.start()
        code = running.wait()
        watch.cancel()
        watch.join()
        out.seek(0)
        err.seek(0)
        said = [stream.read().decode(errors="replace") for stream in (out, err)]
    command = [str(argument) for argument in arguments]
    if late.is_set():
        raise subprocess.TimeoutExpired(command, timeout, *said)
    if check and code:
        print(said[1][-3000:], file=sys.stderr)
        raise subprocess.CalledProcessError(code, command, *said)
    return subprocess.CompletedProcess(command, code, *said)


def talking(arguments: Sequence[object], stderr: int | None = None) -> tuple[Running, IO[str], IO[str]]:
    """A script that answers for as long as it is asked, and the ends of its stdin and stdout."""
    asked, asks = os.pipe()
    told, tells = os.pipe()
    quiet = os.open(os.devnull, os.O_WRONLY)
    child = Running(arguments, asked, tells, quiet if stderr is None else stderr)
    for end in (asked, tells, quiet):
        os.close(end)
    return child, open(asks, "w"), open(told)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given)

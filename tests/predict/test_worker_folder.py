"""The worker's folder runs under any Python from 3.7 on, alone, and locks itself in."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ckptui.errors import WorkerFailed
from ckptui.predict.client import WORKER, Worker
from ckptui.predict.worker.errors import Refused, brief
from ckptui.predict.worker.loaders import by_each_keras, first, keras_of, with_suffix
from ckptui.predict.worker.serve import answer

FILES = sorted(WORKER.glob("*.py"))
ALLOWED = set(sys.stdlib_module_names) | {"numpy", "tensorflow", "tf_keras", "ml_dtypes", "__future__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_module_is_python_3_7(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 7))
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    later = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} & {"removeprefix", "removesuffix"}
    assert not later, "methods of Python 3.9"
    futures = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    assert futures or len(tree.body) == 1, "annotations would be evaluated"
    assert "print" not in names


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_no_module_needs_more_than_numpy_and_tensorflow(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        found = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [node.module or ""]
        assert {name.split(".")[0] for name in found} <= ALLOWED


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_tensorflow_is_imported_only_inside_functions(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            text = ast.unparse(node)
            assert not [name for name in ("tensorflow", "keras", "numpy") if name in text]


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (
            "Graph execution error:\n\nDetected at node save/RestoreV2 defined at (most recent call last):\n"
            '  File "/home/me/x.py", line 4, in <module>\n    load(x)\n\n'
            "Unsuccessful TensorSliceReader constructor\n\t [[{{node save/RestoreV2_1}}]] [Op:__inference_50]",
            "OSError: Unsuccessful TensorSliceReader constructor",
        ),
        (
            "{{function_node __wrapped__RestoreV2_device_/job:x}} Key a/b not found in checkpoint [Op:Re]\n"
            " You may be trying to load on a different device from the computational device. Consider setting it.",
            "OSError: Key a/b not found in checkpoint",
        ),
        (
            "<class 'Sequential'> could not be deserialized properly. config={'a': {'b': 1}}.\n\n"
            "Exception encountered: <class 'Dense'> could not be deserialized. config={}.\n\n"
            "Exception encountered: \x1b[1mCould not locate function 'mine'.\x1b[0m",
            "OSError: Could not locate function 'mine'",
        ),
        (
            "Table not initialized.\n\nOriginal stack trace for 'hash':\n  File \"/x.py\"",
            "OSError: Table not initialized",
        ),
        ("    ", "OSError"),
        ("    only indented", "OSError: only indented"),
        ("x" * 1000, "OSError: " + "x" * 291),
    ],
)
def test_what_a_loader_said_becomes_one_short_line(said: str, left: str) -> None:
    assert brief(OSError(said)) == left


def fake_tensorflow(folder: Path, source: str) -> Worker:
    """A worker whose `import tensorflow` finds this source."""
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow" / "__init__.py").write_text(source)
    worker = Worker()
    worker._env["PYTHONPATH"] = str(folder)
    return worker


NOISY = """
import os, sys
print("import noise")
os.write(1, b"noise from C on file descriptor 1")
print(sys.stdin.read())
__version__ = "9.9.9"
"""


def test_whatever_tensorflow_prints_or_reads_while_imported_the_protocol_stays_clean(tmp_path: Path) -> None:
    worker = fake_tensorflow(tmp_path, NOISY)
    assert worker.hello()["tensorflow"] == "9.9.9"
    # the thread that reads what it prints ends with it
    worker.close()
    assert worker._drain is not None
    worker._drain.join(60)
    assert any(b"noise from C" in line for line in worker._tail)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ImportError('libcudart.so is missing')", "no usable TensorFlow .*libcudart.so is missing"),
        ("import nothing_of_that_name", "no usable TensorFlow .*nothing_of_that_name"),
        ("", "is not TensorFlow"),
        ("raise RuntimeError('boom')", "no usable TensorFlow .*RuntimeError: boom"),
        ("import os; os._exit(7)", "`import tensorflow` failed in .*: it ended with exit code 7"),
        ("import os; os.abort()", "`import tensorflow` failed in .*: it was killed by SIGABRT"),
    ],
)
def test_a_tensorflow_that_does_not_import_is_told(tmp_path: Path, source: str, words: str) -> None:
    worker = fake_tensorflow(tmp_path, source)
    with pytest.raises(WorkerFailed, match=words) as caught:
        worker.hello()
    assert "--tf-python" in caught.value.hint or "is not TensorFlow" in words
    worker.close()


LAZY = """
__version__ = "2.99"
class Lazy:
    def __getattr__(self, name):
        raise ImportError("Keras cannot be imported. Check that it is installed.")
keras = Lazy()
"""


def test_a_tensorflow_without_its_keras_is_a_tensorflow(tmp_path: Path) -> None:
    worker = fake_tensorflow(tmp_path, LAZY)
    facts = worker.hello()
    assert (facts["tensorflow"], facts["keras"]) == ("2.99", "")
    worker.close()


def test_a_keras_that_does_not_import_is_told_with_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow keeps the reason to itself."""
    monkeypatch.setitem(sys.modules, "keras", None)
    lazy: dict[str, Any] = {}
    exec(LAZY, lazy)
    with pytest.raises(Refused) as caught:
        keras_of(SimpleNamespace(keras=lazy["keras"]))
    assert caught.value.detail.startswith(f"no usable Keras in {sys.executable} (ModuleNotFoundError: import of keras")
    assert "--tf-python" in caught.value.hint
    assert keras_of(SimpleNamespace()) is None
    with pytest.raises(Refused, match=r"keras: no usable Keras in .*; tf_keras: ") as whole:
        first([*by_each_keras(SimpleNamespace(keras=lazy["keras"]), None)[:1], ("tf_keras", lambda: 1 / 0)])
    assert "--tf-python" in whole.value.hint


def test_a_bug_of_the_worker_is_told_as_ckptuis_own_and_another_ones_is_not() -> None:
    """None has no attribute `variables`: whose code asks for it makes the difference."""

    def theirs() -> Any:
        return getattr(None, "variables")  # noqa: B009

    def ours() -> Any:
        return with_suffix(None, ".keras")  # type: ignore[arg-type]

    with pytest.raises(Refused) as caught:
        first([("one", theirs), ("two", ours)])
    one, two = caught.value.said
    assert one == "one: AttributeError: 'NoneType' object has no attribute 'variables'"
    assert two.startswith("two: a fault of ckptui's own (loaders.py, line ")
    assert two.endswith("): AttributeError: 'NoneType' object has no attribute 'endswith'")

    class Broken:
        def __init__(self, run: Any) -> None:
            self.run = lambda *given: run()

    doc, _ = answer(Broken(ours), {}, ())  # type: ignore[arg-type]
    assert doc["detail"].startswith("a fault of ckptui's own (loaders.py")
    assert "report" in doc["hint"]
    doc, _ = answer(Broken(theirs), {}, ())  # type: ignore[arg-type]
    assert doc["detail"].startswith("AttributeError")
    assert not doc["hint"]


class PermissionDeniedError(Exception):
    """As TensorFlow's own: no OSError."""


SEALED = "Unable to open file (unable to open file: name = '%s', errno = 13, error message = 'Permission denied')"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (lambda _: PermissionDeniedError("{{node w}} /out/x; Permission denied"), "blocked", "tried to write /out/x;"),
        (lambda _: PermissionError(13, "Permission denied", "/out/x"), "blocked", "tried to write /out/x;"),
        (lambda sealed: PermissionError(13, SEALED % sealed), "load", "Unable to open file"),
        (lambda sealed: PermissionDeniedError(f"{sealed}; Permission denied"), "load", "Permission denied"),
        (lambda _: ValueError("no such layer"), "load", "no such layer"),
    ],
)
def test_what_a_model_tries_while_it_is_loaded_is_told_from_files_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, kind: str, words: str
) -> None:
    sealed = tmp_path / "model.h5"
    sealed.write_bytes(b"x")
    # root may read everything
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(sealed))

    def attempt() -> Any:
        raise error(sealed)

    with pytest.raises(Refused, match=words) as caught:
        first([("one", attempt), ("two", attempt)])
    assert caught.value.kind == kind
    assert [line.partition(":")[0] for line in caught.value.said] == ["one", "two"]


def test_no_module_of_the_worker_shadows_one_of_another(tmp_path: Path) -> None:
    source = "import sys\n__version__ = repr([p for p in sys.path if 'predict/worker' in p])"
    worker = fake_tensorflow(tmp_path, source)
    assert worker.hello()["tensorflow"] == "[]"
    worker.close()


ESCAPES = """
import fcntl, json, os, resource, socket, subprocess, sys, tempfile, termios, threading
from ckptui.predict.worker import cage
own, outside = sys.argv[1:3]
report = cage.apply(own)
done = {}
def attempt(name, action):
    try:
        action()
        done[name] = True
    except OSError as error:
        done[name] = False
def write(path):
    with open(path, "w") as file:
        file.write("x")
attempt("own", lambda: write(own + "/file"))
attempt("outside", lambda: write(outside + "/file"))
attempt("overwrite", lambda: write(outside + "/there"))
attempt("truncate", lambda: os.truncate(outside + "/there", 0))
attempt("remove", lambda: os.unlink(outside + "/there"))
attempt("rename", lambda: os.rename(outside + "/there", own + "/taken"))
attempt("null", lambda: write("/dev/null"))
attempt("read", lambda: open(outside + "/there").read())
attempt("run", lambda: subprocess.run(["/bin/true"]))
attempt("internet", lambda: socket.socket(socket.AF_INET))
attempt("internet6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
attempt("large", lambda: os.truncate(own + "/file", 1 << 30))
attempt("local", lambda: socket.socket(socket.AF_UNIX).close())
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close())
attempt("raw", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
attempt("pair", lambda: [end.close() for end in socket.socketpair()])
def ring():
    import ctypes, platform
    params = ctypes.create_string_buffer(120)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(425, 1, params)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
attempt("ring", ring)
there = outside + "/there"
attempt("chmod", lambda: os.chmod(there, 0o777))
attempt("chown", lambda: os.chown(there, os.getuid(), os.getgid()))
attempt("touch", lambda: os.utime(there, (1, 1)))
attempt("attribute", lambda: os.setxattr(there, "user.x", b"1"))
def fork():
    if os.fork() == 0:
        os._exit(0)
attempt("fork", fork)
attempt("signal", lambda: os.kill(os.getppid(), 0))
attempt("limits", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 5))
def terminal(change):
    screen = os.open(sys.argv[3], os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    fcntl.ioctl(screen, change, b"\\0" * 64)
attempt("resize", lambda: terminal(termios.TIOCSWINSZ))
attempt("settings", lambda: terminal(termios.TCSETS if hasattr(termios, "TCSETS") else 0x5402))
attempt("hostname", lambda: socket.sethostname(socket.gethostname()))
attempt("thread", lambda: [t.start() or t.join() for t in [threading.Thread(target=int)]])
attempt("own signal", lambda: os.kill(os.getpid(), 0))
attempt("own limits", lambda: resource.getrlimit(resource.RLIMIT_NOFILE))
print(json.dumps([report, done]))
"""


@pytest.fixture(scope="module")
def escaped(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, bool]]:
    own, outside = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("outside")
    (outside / "there").write_text("keep me")
    mode = (outside / "there").stat().st_mode
    master, screen = os.openpty()
    command = [sys.executable, "-c", ESCAPES, str(own), str(outside), os.ttyname(screen)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    os.close(master)
    os.close(screen)
    report, done = json.loads(answer.stdout)
    if report["seccomp"]:
        assert (outside / "there").stat().st_mode == mode
    if report["landlock"]:
        assert (outside / "there").read_text() == "keep me"
    return report, done


@pytest.mark.parametrize("action", ["own", "null", "read", "pair", "thread", "own signal", "own limits"])
def test_the_cage_leaves_reading_and_its_own_folder(
    escaped: tuple[dict[str, Any], dict[str, bool]], action: str
) -> None:
    assert escaped[1][action]


@pytest.mark.parametrize("action", ["outside", "overwrite", "truncate", "remove", "rename"])
def test_the_cage_forbids_writing_elsewhere(escaped: tuple[dict[str, Any], dict[str, bool]], action: str) -> None:
    if not escaped[0]["landlock"]:
        pytest.skip("this kernel offers no Landlock")
    if action == "truncate" and escaped[0]["landlock"] < 3:
        pytest.skip("this kernel's Landlock can't forbid truncating")
    assert not escaped[1][action]


@pytest.mark.parametrize("action", ["run", "internet", "internet6", "local", "netlink", "raw", "ring"])
def test_the_cage_forbids_programs_and_the_network(
    escaped: tuple[dict[str, Any], dict[str, bool]], action: str
) -> None:
    if not escaped[0]["seccomp"]:
        pytest.skip("this kernel offers no seccomp filter")
    assert not escaped[1][action]


@pytest.mark.parametrize(
    "action", ["chmod", "chown", "touch", "attribute", "fork", "signal", "limits", "priority", "hostname"]
)
def test_the_cage_forbids_what_writing_does_not_cover(
    escaped: tuple[dict[str, Any], dict[str, bool]], action: str
) -> None:
    """Modes and owners of files, processes that would outlive this one, and what others are allowed."""
    if not escaped[0]["seccomp"]:
        pytest.skip("this kernel offers no seccomp filter")
    assert not escaped[1][action]


@pytest.mark.parametrize("action", ["resize", "settings"])
def test_the_cage_keeps_a_terminal_as_it_is(escaped: tuple[dict[str, Any], dict[str, bool]], action: str) -> None:
    if escaped[0]["landlock"] < 5:
        pytest.skip("this kernel's Landlock can't forbid control of devices")
    assert not escaped[1][action]


def test_the_cage_forbids_large_files(escaped: tuple[dict[str, Any], dict[str, bool]]) -> None:
    assert not escaped[1]["large"]

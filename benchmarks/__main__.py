"""`make bench`: every figure the README names, measured in one run, as a Markdown table.

Absolute seconds depend on the machine and its neighbours; the ratios are taken in turns within this run.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Terminal, in_turn, run_process

LIST_VARIABLES = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
print(len(tf.train.list_variables(sys.argv[1])))
"""

# the cursor's bar and, but for colours, right after it the name of the row it is on
CURSOR_AT = [
    lambda seen, name=name: re.search("▌".encode() + rb"(\x1b\[[0-9;]*m|\s)*" + name, seen) is not None
    for name in (b"layer_001", b"layer_000")
]

Row = tuple[str, str, str, str]


def _python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def _ckptui(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ckptui", *arguments]


def cold_commands(prefix: Path, what: str, rounds: int) -> list[Row]:
    """`ls` and `show` in a fresh process against `tf.train.list_variables` in a fresh process."""
    costs = in_turn(
        {
            "ls": _ckptui("ls", str(prefix.parent)),
            "show": _ckptui("show", str(prefix)),
            "tensorflow": _python(LIST_VARIABLES, str(prefix)),
        },
        rounds,
    )
    base = costs["tensorflow"]
    return [
        (
            f"`ckptui {name}`, {what}, cold process",
            f"{costs[name].seconds:.2f} s, {costs[name].peak_mb:.0f} MB",
            f"`tf.train.list_variables` in a fresh process: {base.seconds:.2f} s, {base.peak_mb:.0f} MB",
            f"{base.seconds / costs[name].seconds:.1f} x faster",
        )
        for name in ("ls", "show")
    ]


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    """A workbench on a pseudo-terminal that is hung up at the end."""
    screen = Terminal(arguments)
    try:
        yield screen
    finally:
        screen.close()


def first_screen(prefix: Path, what: str, row: bytes, rounds: int) -> Row:
    """From the command until the first tensor rows are drawn."""
    taken = []
    for turn in range(rounds + 1):
        with terminal(str(prefix.parent)) as screen:
            seconds = screen.until(lambda seen: row in seen)
        if turn:
            taken.append(seconds)
    python = run_process([sys.executable, "-c", "import textual.app"]).seconds
    return (
        f"first screen with rows, {what}",
        f"{statistics.median(taken):.2f} s",
        f"a Python that only imports textual: {python:.2f} s",
        f"{statistics.median(taken) / python:.1f} x",
    )


def key_latency(idle: Path, busy: Path, presses: int) -> Row:
    """Key press to drawn cursor, idle and while a scan of `busy` runs."""
    figures = {}
    for name, prefix in (("idle", idle), ("scan", busy)):
        with terminal(str(prefix.parent)) as screen:
            screen.until(lambda seen: b"layer_000" in seen)
            screen.settle()
            if name == "scan":
                screen.key(b"c", bool)
            # down and up again, so that no press falls on an end of the table
            taken = []
            for press in range(presses):
                screen.settle(quiet=0.002, at_most=0.05)
                taken.append(screen.key(b"jk"[press % 2 :][:1], CURSOR_AT[press % 2]))
            figures[name] = sorted(taken)

    def p99(values: list[float]) -> float:
        return values[min(len(values) - 1, int(len(values) * 0.99))] * 1000

    busy_p99, idle_p99 = p99(figures["scan"]), p99(figures["idle"])
    median = statistics.median(figures["scan"]) * 1000
    return (
        f"key press to drawn row while a scan runs, p99 of {presses}",
        f"{busy_p99:.0f} ms (median {median:.0f} ms)",
        f"the same while idle: {idle_p99:.0f} ms",
        f"{busy_p99 / idle_p99:.1f} x",
    )


def full_pass(command: str, small: Path, large: Path, rounds: int) -> Row:
    """A full pass against reading and checksumming the same bytes in as many processes: the marginal rates."""
    processes = os.cpu_count() or 1
    costs = in_turn(
        {
            f"{kind} {name}": (
                _ckptui(command, str(prefix))
                if kind == "ckptui"
                else [sys.executable, "-m", "benchmarks.floor", str(processes), f"{prefix}.data-00000-of-00001"]
            )
            for kind in ("ckptui", "floor")
            for name, prefix in (("small", small), ("large", large))
        },
        rounds,
    )
    more = (_data_bytes(large) - _data_bytes(small)) / 1e9
    own = more / (costs["ckptui large"].seconds - costs["ckptui small"].seconds)
    floor = more / (costs["floor large"].seconds - costs["floor small"].seconds)
    return (
        f"`ckptui {command}`, each further GB ({round(more + 1)} GB against 1 GB), {processes} processes",
        f"{own:.1f} GB/s",
        f"reading and checksumming the same bytes: {floor:.1f} GB/s",
        f"{own / floor:.2f} of its speed",
    )


def memory(what: str, command: list[str]) -> Row:
    """Peak resident memory of the largest of all processes of a command."""
    cost = run_process(command, children=True)
    return what, f"{cost.peak_mb:.0f} MB in the largest process", f"{cost.seconds:.1f} s", ""


def _data_bytes(prefix: Path) -> int:
    return Path(f"{prefix}.data-00000-of-00001").stat().st_size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each command")
    parser.add_argument("--keys", type=int, default=300, help="key presses timed in each state")
    parser.add_argument("--gigabytes", type=int, default=3, help="of the larger save in marginal rates; 9 drowns noise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ckptui-bench-") as folder:
        places = {name: Path(folder) / name / "ckpt-1" for name in ("large", "huge", "many", "sparse", "holes")}
        for place in places.values():
            place.parent.mkdir()
        # made in a child: a process starts with its parent's peak memory on its own account
        subprocess.run([sys.executable, "-m", "benchmarks.saves", folder, str(options.gigabytes)], check=True)
        large, many, sparse = places["large"], places["many"], places["sparse"]
        rows = [full_pass(command, large, places["huge"], options.rounds) for command in ("check", "stats")]
        rows.append(memory("`ckptui check`, 20 GB sparse checkpoint", _ckptui("check", str(sparse))))
        rows.append(memory("the same, its checksums all wrong", _ckptui("check", str(places["holes"]))))
        rows += cold_commands(large, "1 GB checkpoint", options.rounds)
        rows += cold_commands(many, "100,000 tensors", options.rounds)
        rows.append(first_screen(large, "1 GB checkpoint", b"layer_000", options.rounds))
        rows.append(first_screen(many, "100,000 tensors", b"model/", options.rounds))
        rows.append(key_latency(large, sparse, options.keys))
    print("| what | ckptui | beside it | ratio |\n|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

"""`make bench`: every figure the README names, measured in one run, as a Markdown table.

Absolute seconds depend on the machine and its neighbours; the ratios are taken in turns within this run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.diff import diff_rows
from benchmarks.filters import filter_rows
from benchmarks.gallery import gallery_rows
from benchmarks.measure import Terminal, in_turn, run_process
from benchmarks.predict import predict_rows

LIST_VARIABLES = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
print(len(tf.train.list_variables(sys.argv[1])))
"""

TENSORFLOW_STATS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1])
for name in sorted(reader.get_variable_to_shape_map()):
    values = reader.get_tensor(name).reshape(-1)
    wide = values.astype(np.float64)
    print(name, values.size, wide.mean(), wide.std(), values.min(), values.max(), values.argmin(), values.argmax(),
          np.sqrt(np.dot(wide, wide)), np.count_nonzero(values == 0), np.count_nonzero(np.isnan(values)),
          np.count_nonzero(np.isposinf(values)), np.count_nonzero(np.isneginf(values)))
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


def full_passes(small: Path, large: Path, rounds: int) -> list[Row]:
    """Full passes against reading and checksumming the same bytes in as many processes: the marginal rates.

    `stats` also against TensorFlow's reader and numpy in float64, for the same numbers. All in turns.
    """
    processes = os.cpu_count() or 1
    commands: dict[str, Sequence[str]] = {}
    for size, prefix in (("small", small), ("large", large)):
        data = f"{prefix}.data-00000-of-00001"
        commands[f"floor {size}"] = [sys.executable, "-m", "benchmarks.floor", str(processes), data]
        # `check` reads anew of itself
        commands[f"check {size}"] = _ckptui("check", str(prefix))
        commands[f"stats {size}"] = _ckptui("stats", "--no-cache", str(prefix))
    costs = in_turn(commands, rounds)
    costs |= in_turn(
        {
            f"tensorflow {size}": _python(TENSORFLOW_STATS, str(prefix))
            for size, prefix in (("small", small), ("large", large))
        },
        min(rounds, 2),
    )
    more = (_data_bytes(large) - _data_bytes(small)) / 1e9
    rate = {
        name: more / (costs[f"{name} large"].seconds - costs[f"{name} small"].seconds)
        for name in ("floor", "check", "stats", "tensorflow")
    }
    sizes = f"each further GB ({round(more + 1)} GB against 1 GB)"
    rows = [
        (
            f"`ckptui {command}`, {sizes}, {processes} processes",
            f"{rate[command]:.1f} GB/s",
            f"reading and checksumming the same bytes: {rate['floor']:.1f} GB/s",
            f"{rate[command] / rate['floor']:.2f} of its speed",
        )
        for command in ("check", "stats")
    ]
    beside = f"`tf.train.load_checkpoint` + numpy in float64, the same numbers: {rate['tensorflow']:.2f} GB/s"
    times = f"{rate['stats'] / rate['tensorflow']:.1f} x faster"
    return [*rows, (f"`ckptui stats`, {sizes}", f"{rate['stats']:.1f} GB/s", beside, times)]


def dtype_rows(rounds: int) -> list[Row]:
    """All statistics of values in memory, a dtype at a time, on one core, against numpy in float64."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.numbers", str(rounds)], check=True, capture_output=True, text=True
    )
    rows = []
    for name, own, plain, glance in json.loads(answer.stdout):
        what = f"statistics of {name} in memory, one core"
        beside = f"numpy in float64: {plain:.2f} GB/s"
        asked = "" if glance is None else f" (what `check` asks: {glance:.1f})"
        rows.append((what, f"{own:.1f} GB/s{asked}", beside, f"{own / plain:.0f} x faster"))
    return rows


def memory(what: str, command: list[str]) -> Row:
    """Peak resident memory of the largest of all processes of a command."""
    cost = run_process(command, children=True)
    return what, f"{cost.peak_mb:.0f} MB in the largest process", f"{cost.seconds:.1f} s", ""


def _data_bytes(prefix: Path) -> int:
    return Path(f"{prefix}.data-00000-of-00001").stat().st_size


def _all_else(places: dict[str, Path], options: argparse.Namespace) -> list[Row]:
    """Memory, cold commands and screens."""
    large, many, sparse = places["large"], places["many"], places["sparse"]
    return [
        memory("`ckptui check`, 20 GB sparse checkpoint", _ckptui("check", str(sparse))),
        memory("the same, its checksums all wrong", _ckptui("check", str(places["holes"]))),
        *cold_commands(large, "1 GB checkpoint", options.rounds),
        *cold_commands(many, "100,000 tensors", options.rounds),
        first_screen(large, "1 GB checkpoint", b"layer_000", options.rounds),
        first_screen(many, "100,000 tensors", b"model/", options.rounds),
        key_latency(large, sparse, options.keys),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each command")
    parser.add_argument("--keys", type=int, default=300, help="key presses timed in each state")
    parser.add_argument("--gigabytes", type=int, default=3, help="of the larger save in marginal rates; 9 drowns noise")
    parser.add_argument("--passes", action="store_true", help="only the full passes, diff and the dtypes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ckptui-bench-") as folder:
        places = {name: Path(folder) / name / "ckpt-1" for name in ("large", "huge", "many", "sparse", "holes")}
        for place in places.values():
            place.parent.mkdir()
        # made in a child: a process starts with its parent's peak memory on its own account
        subprocess.run([sys.executable, "-m", "benchmarks.saves", folder, str(options.gigabytes)], check=True)
        rows = full_passes(places["large"], places["huge"], options.rounds)
        rows += diff_rows(Path(folder), options.rounds, options.gigabytes)
        rows += dtype_rows(options.rounds)
        if not options.passes:
            rows += filter_rows(Path(folder), options.rounds)
            rows += _all_else(places, options)
            rows += gallery_rows(Path(folder), options.rounds)
            rows += predict_rows(Path(folder), options.rounds)
    print("| what | ckptui | beside it | ratio |\n|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

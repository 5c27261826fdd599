"""Start the worker: keep the protocol's pipes to itself, lock itself in, then serve requests until they end."""

from __future__ import annotations

import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def as_package(name: str) -> str:
    """Make this folder importable as package `name` alone, so that none of its modules shadows another's."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.getcwd()) != HERE]
    where = os.path.join(HERE, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, where, submodule_search_locations=[HERE])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return name


def claim_pipes() -> tuple[int, int]:
    """Duplicates of stdin and stdout for the protocol; whoever prints from here on prints to stderr.

    It has to happen before tensorflow is imported: its C++ side writes to file descriptor 1 by number.
    """
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


if __name__ == "__main__":
    pipes = claim_pipes()
    __package__ = as_package("ckptui_worker")
    from . import serve

    serve.main(*pipes)

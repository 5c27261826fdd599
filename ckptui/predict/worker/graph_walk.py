"""What an input of a graph reaches, called functions entered: outputs, parsers of Examples, decoders of images.

Formats: tensorflow/core/framework/graph.proto, function.proto (names of inputs: `node:output:index`), node_def.proto.
"""

from __future__ import annotations

from typing import Any, Iterator

from .graph_specs import PARSERS, decoder_channels, parser_specs

LARGEST = 200_000
"""Nodes of a graph and its functions together that are walked."""
MOST_STEPS = 2_000_000
DEEPEST = 40
SHAPE_ONLY = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
"""Operations whose answer holds nothing of their input's values."""
WRITERS = ("Assign", "Scatter", "LookupTableI", "LookupTableR", "TensorArrayW", "StackPush", "Enqueue", "ResourceApply")
"""Beginnings of operations that keep what they are given: what is read there later can't be followed."""
BRANCHING = {
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "While": ("cond", "body"),
    "StatelessWhile": ("cond", "body"),
    "Case": ("branches",),
    "StatelessCase": ("branches",),
}
"""Functions by attribute of operations that choose among them; the first input of all but loops is the choice alone."""
LOOPS = ("While", "StatelessWhile")


class Body:
    """The nodes of a graph, or of one function, and who takes what from whom."""

    def __init__(self, nodes: Any, args: list[str], results: dict[str, str], result_names: list[str]) -> None:
        self.nodes = {str(node.name): node for node in nodes}
        self.args = args
        self.takers: dict[str, list[tuple[str, int, str]]] = {}
        for node in nodes:
            for place, reference in enumerate(node.input):
                if not reference.startswith("^"):
                    source, output = split(str(reference))
                    self.takers.setdefault(source, []).append((str(node.name), place, output))
        self.results: dict[str, list[tuple[int, str]]] = {}
        for place, name in enumerate(result_names):
            source, output = split(str(results[name]))
            self.results.setdefault(source, []).append((place, output))


class Scope:
    """One call of a function: its body, and where in the caller's its arguments come from."""

    def __init__(self, body: Body, caller: Scope | None, call: str, first: int, depth: int) -> None:
        self.body = body
        self.caller = caller
        self.call = call
        self.first = first
        """Place of the function's first argument among the calling node's inputs."""
        self.depth = depth
        self.inside: dict[tuple[str, str], Scope] = {}

    def constant(self, reference: str) -> Any:
        """The node that a reference comes from, arguments followed into the callers; None where it can't be told."""
        scope: Scope | None = self
        source = split(reference)[0]
        for _ in range(10 * DEEPEST):
            if scope is None:
                return None
            node = scope.body.nodes.get(source)
            if node is None or node.op in ("_Arg",):
                if source not in scope.body.args or scope.caller is None:
                    return None
                place = scope.body.args.index(source) + scope.first
                caller = scope.caller.body.nodes[scope.call]
                if place >= len(caller.input):
                    return None
                source, scope = split(str(caller.input[place]))[0], scope.caller
            elif node.op == "Identity" and node.input:
                source = split(str(node.input[0]))[0]
            else:
                return node
        return None


class Found:
    """What one input reaches."""

    def __init__(self) -> None:
        self.outputs: set[str] = set()
        self.everything = False
        """It is written somewhere, or the graph is too much to follow: no one can say what it does not reach."""
        self.parsing: list[dict[str, Any]] = []
        self.encoded: int | None = None
        self.decoders: set[str] = set()
        """Operations that decode an image of it, or of a field that is parsed out of it."""
        self.plain = False
        self.base64 = False
        """Whether a decoder gets it as it is, and what was decoded as base64 before."""


class Walk:
    """A graph with its functions, walked from its inputs."""

    def __init__(self, graph: Any) -> None:
        self.usable = len(graph.node) + sum(len(f.node_def) for f in graph.library.function) <= LARGEST
        self._functions = {str(f.signature.name): f for f in graph.library.function} if self.usable else {}
        self._bodies: dict[str, Body] = {}
        self.top = Body(graph.node if self.usable else (), [], {}, [])

    def body(self, name: str) -> Body:
        """The nodes of a function."""
        if name not in self._bodies:
            function = self._functions[name]
            args = [str(arg.name) for arg in function.signature.input_arg]
            names = [str(arg.name) for arg in function.signature.output_arg]
            self._bodies[name] = Body(function.node_def, args, dict(function.ret), names)
        return self._bodies[name]

    def calls(self, node: Any) -> list[tuple[str, int]]:
        """(function, place of its first argument among the node's inputs) of each function a node calls."""
        if node.op in self._functions:
            return [(str(node.op), 0)]
        if node.op in BRANCHING:
            first = 0 if node.op in LOOPS else 1
            named = branches(node)
            return [(name, first) for name in named if name in self._functions]
        name = str(node.attr["f"].func.name) if "f" in node.attr else ""
        plain = node.op in ("PartitionedCall", "StatefulPartitionedCall")
        return [(name, 0)] if plain and name in self._functions else []

    def reach(self, start: str, goals: dict[str, str]) -> Found:
        """What the tensor `start` (`node:0`) reaches; `goals` are outputs by tensor."""
        found = Found()
        top = Scope(self.top, None, "", 0, 0)
        wanted: dict[str, list[tuple[str, str]]] = {}
        for name, reference in goals.items():
            node, place = split(reference)
            wanted.setdefault(node, []).append((place, name))
        waiting: list[tuple[Scope, str, str | None, bool]] = [(top, *split(start), False)]
        seen: set[tuple[int, str, str | None, bool]] = set()
        steps = 0
        while waiting:
            scope, source, output, base64 = waiting.pop()
            if (id(scope), source, output, base64) in seen or (id(scope), source, None, base64) in seen:
                continue
            seen.add((id(scope), source, output, base64))
            steps += 1
            if steps > MOST_STEPS:
                found.everything = True
                break
            if scope is top:
                found.outputs.update(name for told, name in wanted.get(source, ()) if output in (None, told))
            waiting.extend(self._next(scope, source, output, base64, found))
        return found

    def _next(
        self, scope: Scope, source: str, output: str | None, base64: bool, found: Found
    ) -> Iterator[tuple[Scope, str, Any, bool]]:
        """Where a tensor goes: nodes that take it, into functions, and out of the one it is in.

        With each whether it was decoded as base64 on the way.
        """
        for taker, place, told in scope.body.takers.get(source, ()):
            if output is None or told == output:
                node = scope.body.nodes[taker]
                if node.op in SHAPE_ONLY:
                    continue
                if node.op.startswith(WRITERS):
                    found.everything = True
                if node.op in PARSERS and place == 0:
                    found.parsing += parser_specs(node, scope.constant)
                channels = decoder_channels(node)
                if channels is not None and place == 0:
                    found.decoders.add(str(node.op))
                    found.plain, found.base64 = found.plain or not base64, found.base64 or base64
                    found.encoded = found.encoded if found.parsing else channels
                text = base64 or node.op == "DecodeBase64"
                for inner, name, told_there in self._through(scope, node, place):
                    yield inner, name, told_there, text
        for place, told in scope.body.results.get(source, ()):
            if scope.caller is not None and (output is None or told == output):
                yield scope.caller, scope.call, self.called_output(scope, place), base64

    def _through(self, scope: Scope, node: Any, place: int) -> Iterator[tuple[Scope, str, Any]]:
        called = self.calls(node)
        if called and scope.depth < DEEPEST:
            for inner, argument in self.entered(scope, node, place):
                yield inner, inner.body.args[argument], "0"
        if not called or node.op in BRANCHING or scope.depth >= DEEPEST:
            yield scope, str(node.name), None

    def entered(self, scope: Scope, node: Any, place: int) -> Iterator[tuple[Scope, int]]:
        """Each call that a node's input `place` goes into, with the place of the argument it is there.

        Nothing where functions call each other too deep.
        """
        for name, first in self.calls(node) if scope.depth < DEEPEST else ():
            body = self.body(name)
            if first <= place < first + len(body.args):
                key = (str(node.name), name)
                inner = scope.inside.get(key)
                if inner is None:
                    inner = scope.inside[key] = Scope(body, scope, str(node.name), first, scope.depth + 1)
                yield inner, place - first

    @staticmethod
    def called_output(scope: Scope, place: int) -> str | None:
        """How the caller refers to result `place` of a call; None (any of them) where it names them otherwise."""
        assert scope.caller is not None
        op = scope.caller.body.nodes[scope.call].op
        return str(place) if op in ("PartitionedCall", "StatefulPartitionedCall") else None


def branches(node: Any) -> list[str]:
    """Names of the functions that an operation chooses among."""
    attributes = [node.attr[key] for key in BRANCHING[node.op]]
    return [str(one.name) for a in attributes for one in (a.list.func or [a.func])]


def split(reference: str) -> tuple[str, str]:
    """Node and output of `node`, `node:1` or, inside a function, `node:output:1`."""
    parts = reference.lstrip("^").split(":")
    if len(parts) == 3:
        # lists of one name, as calls have, are told by the index; several names of a node are told apart by both
        return parts[0], parts[2] if parts[1] == "output" else parts[1] + ":" + parts[2]
    return parts[0], parts[1] if len(parts) == 2 else "0"

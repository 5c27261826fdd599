"""What a Keras model takes and gives: inputs and outputs by name, whatever structure they are built into."""

from __future__ import annotations

from typing import Any

TEXT_LAYERS = ("TextVectorization", "StringLookup", "Hashing")


class Inputs:
    """The inputs of a model in its own order, and how named tensors become what it is called with."""

    def __init__(self, model: Any) -> None:
        self.ends: list[dict[str, Any]] = []
        """`{"name", "dtype", "shape"}` of each."""
        self.optional: list[str] = []
        self.guessed: list[str] = []
        """Those whose dtype nobody stated."""
        self.keywords = False
        """The structure's keys are names of arguments: `call(self, image, mask)`."""
        self._struct = structure_of(model)
        if self._struct is None:
            self._struct, self.keywords = built_structure(model)
        flat = list(leaves(self._struct))
        keys = [key for key, _ in flat]
        for key, leaf in flat:
            # Several in a list under one key: each goes by its own name.
            self._add(key if keys.count(key) == 1 or isinstance(leaf, Shape) else "", leaf)

    def _add(self, key: str, leaf: Any) -> None:
        entry: dict[str, Any]
        if isinstance(leaf, Shape):
            entry = {"name": key or "input", "dtype": leaf.dtype, "shape": leaf.dims}
        else:
            name = key or str(getattr(leaf, "name", "") or "input")
            entry = {"name": name, "dtype": dtype_name(leaf.dtype), "shape": dims(leaf.shape)}
        entry["name"] = unused(entry["name"], [end["name"] for end in self.ends])
        self.ends.append(entry)
        if isinstance(leaf, Shape):
            self.guessed.append(entry["name"])
        history = getattr(leaf, "_keras_history", None)
        layer = history[0] if history else None
        if getattr(layer, "optional", False):
            self.optional.append(entry["name"])

    def arranged(self, values: Any) -> Any:
        """The structure with `values[name]` in the place of each input; None for one that is left out."""
        names = iter([end["name"] for end in self.ends])

        def fill(part: Any) -> Any:
            if isinstance(part, dict):
                return {key: fill(inner) for key, inner in part.items()}
            if isinstance(part, (list, tuple)):
                filled = [fill(inner) for inner in part]
                return tuple(filled) if isinstance(part, tuple) else filled
            return values.get(next(names))

        whole = fill(self._struct)
        return whole[0] if isinstance(whole, (list, tuple)) and len(whole) == 1 else whole


class Shape:
    """An input known by its shape alone."""

    def __init__(self, shape: Any, dtype: str) -> None:
        extents = [] if shape is None else list(shape)[1:]
        known = [None if extent is None else int(extent) for extent in extents]
        self.dims: list[int | None] | None = None if shape is None else [None, *known]
        self.dtype = dtype


def structure_of(model: Any) -> Any:
    """The structure of symbolic tensors a graph of layers was built from; None where there is no graph."""
    inner = getattr(model, "_functional", None)
    for owner in (model, inner):
        for name in ("_inputs_struct", "_nested_inputs"):
            found = getattr(owner, name, None)
            if found is not None:
                return found
    try:
        return list(model.inputs) or None
    except (AttributeError, ValueError, TypeError):
        return None


def built_structure(model: Any) -> tuple[Any, bool]:
    """What a subclassed model was built for, by its own record of shapes; and whether the keys are arguments."""
    try:
        config = model.get_build_config() or {}
    except Exception:  # a subclass may do anything here; it only costs the shapes
        config = {}
    dtype = first_dtype(model)
    shapes = config.get("shapes_dict")
    if isinstance(shapes, dict) and len(shapes) > 1:
        suffix = "_shape"
        named = {key[: -len(suffix)] if key.endswith(suffix) else key: shape for key, shape in shapes.items()}
        return {key: shaped(shape, dtype) for key, shape in named.items()}, True
    return shaped(config.get("input_shape"), dtype), False


def shaped(shape: Any, dtype: str) -> Any:
    """A structure of `Shape` from a structure of shapes."""
    if isinstance(shape, dict):
        return {str(key): shaped(inner, dtype) for key, inner in shape.items()}
    if isinstance(shape, (list, tuple)) and shape and all(isinstance(inner, (list, tuple)) for inner in shape):
        return [shaped(inner, dtype) for inner in shape]
    return Shape(shape if isinstance(shape, (list, tuple)) else None, dtype)


def first_dtype(model: Any) -> str:
    """What a subclassed model most likely takes, by the first of its layers."""
    for layer in getattr(model, "layers", None) or []:
        name = type(layer).__name__
        if name in TEXT_LAYERS:
            return "string"
        return "int32" if name == "Embedding" else "float32"
    return "float32"


def leaves(struct: Any, key: str = "") -> Any:
    """(key, leaf) of a structure of dicts, lists and tuples; keys of dicts joined by `/`, "" where there are none."""
    if isinstance(struct, dict):
        for name, inner in struct.items():
            yield from leaves(inner, key + "/" + str(name) if key else str(name))
    elif isinstance(struct, (list, tuple)):
        for inner in struct:
            yield from leaves(inner, key)
    else:
        yield key, struct


def output_names(model: Any) -> list[str]:
    """The names `named_outputs` will give; none where only a call tells."""
    inner = getattr(model, "_functional", None)
    for owner in (model, inner):
        for name in ("_outputs_struct", "_nested_outputs"):
            found = getattr(owner, name, None)
            if found is not None:
                return [name for name, _ in named_outputs(model, found)]
    return []


def named_outputs(model: Any, answer: Any) -> list[Any]:
    """`[(output, value), ...]`: by the keys of a dict, else by the model's own names, each name once."""
    given = getattr(model, "output_names", None)
    if given is None:
        given = getattr(getattr(model, "_functional", None), "output_names", None)
    flat = list(leaves(answer))
    plain = [str(name) for name in given or []] if all(not key for key, _ in flat) else []
    found: list[Any] = []
    for place, (key, value) in enumerate(flat):
        name = key or (plain[place] if place < len(plain) else "output_%d" % place)
        found.append((unused(name, [name for name, _ in found]), value))
    return found


def unused(name: str, taken: Any) -> str:
    """The name, with a number where it is taken."""
    given, number = name, 2
    while name in taken:
        name, number = "%s (%d)" % (given, number), number + 1
    return name


def dtype_name(dtype: Any) -> str:
    """`float32` from a string, a DType or a numpy dtype."""
    return str(getattr(dtype, "name", dtype))


def dims(shape: Any) -> list[int | None] | None:
    """A shape as a list with None for unknown extents; None for an unknown rank."""
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    return [None if extent is None else int(extent) for extent in list(shape)]

"""What in a Keras config would run code, import modules or open files if the model were loaded.

Nothing found means "no flagged entries found", never "safe". The rules are those Keras' own loader has been
bypassed with: CVE-2024-3660 (Lambda), CVE-2025-1550 (modules), CVE-2025-9905, CVE-2025-12058 (vocabulary paths).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ckptui.core.model import Finding, Severity
from ckptui.core.text import safe
from ckptui.readers.keras_config import mapping, text_of
from ckptui.readers.keras_findings import note

MAX_VALUES = 5_000_000
"""JSON values looked at."""

_OWN_MODULE = re.compile(r"(keras|tf_keras|tensorflow|builtins)(\..*)?")
_KNOWN_EXTENSION = re.compile(r"(keras_hub|keras_nlp|keras_cv|keras_tuner|tensorflow_addons)(\..*)?")
_GADGETS = frozenset(
    {"load_model", "load_weights", "get_file", "enable_unsafe_deserialization", "run_command", "save_img"}
)
_LOOKUPS = frozenset({"StringLookup", "IntegerLookup", "TextVectorization", "Hashing"})
_TF_GADGETS = re.compile(r"(tf\.)?(io\..*|raw_ops\..*|py_function|numpy_function|py_func|load_library.*)")
_BUILT_IN_CLASSES = frozenset({"function", "type", "dict", "tuple", "slice", "list", "set"})


@dataclass(frozen=True, slots=True)
class Flag:
    """One flagged entry."""

    layer: str
    severity: Severity
    what: str
    """In words, without the layer's name."""
    rule: str


def unsafe_layers(config: Any, path: str) -> list[Finding]:
    """One finding for each kind of flagged entry and layer in a config of any shape; the walk is iterative."""
    seen: dict[tuple[str, str, str], Flag] = {}
    for flag in _flags(config):
        seen.setdefault((flag.rule, flag.layer, flag.what), flag)
    return [
        note(
            "unsafe-layer",
            path,
            f"{safe(flag.layer, 120) or 'the model'}: {flag.what}",
            severity=flag.severity,
            evidence={"layer": flag.layer, "rule": flag.rule},
        )
        for flag in seen.values()
    ]


def _flags(config: Any) -> Iterator[Flag]:
    stack: list[tuple[Any, str]] = [(config, "")]
    for _ in range(MAX_VALUES):
        if not stack:
            return
        value, layer = stack.pop()
        if isinstance(value, list):
            stack.extend((one, layer) for one in reversed(value))
        elif isinstance(value, dict):
            inner = mapping(value.get("config"))
            if "Policy" not in text_of(value.get("class_name")):
                layer = text_of(inner.get("name")) or layer
            if "class_name" in value:
                yield from _judge(value, inner, layer)
            stack.extend((one, layer) for one in reversed(list(value.values())))


def _judge(entry: Mapping[str, Any], inner: Mapping[str, Any], layer: str) -> Iterator[Flag]:
    class_name = text_of(entry.get("class_name"))
    yield from _judge_class(class_name, inner, layer)
    module, registered = entry.get("module"), text_of(entry.get("registered_name"))
    names = {class_name, text_of(entry.get("config")), registered.rpartition(">")[2]}
    for name in sorted(names & _GADGETS):
        yield Flag(layer, "error", f"names the function {name}", "gadget")
    if isinstance(module, str) and not _OWN_MODULE.fullmatch(module):
        known = _KNOWN_EXTENSION.fullmatch(module) is not None
        what = f"{safe(class_name, 80)} comes from the module {safe(module, 120)}"
        yield Flag(layer, "warning" if known else "error", what, "foreign-module")
    elif module == "builtins" and class_name not in _BUILT_IN_CLASSES:
        yield Flag(layer, "error", f"names the built-in {safe(class_name, 80)}", "foreign-module")
    elif "module" in entry and module is None and class_name not in ("__lambda__", "__tensor__"):
        shown = safe(registered or class_name, 120)
        yield Flag(layer, "warning", f"the custom class {shown}, whose code is not in the file", "custom-class")


def _judge_class(class_name: str, inner: Mapping[str, Any], layer: str) -> Iterator[Flag]:
    if class_name == "Lambda":
        function = inner.get("function")
        bytecode = isinstance(function, list) or mapping(function).get("class_name") == "__lambda__"
        if bytecode:
            yield Flag(layer, "error", "a Lambda layer with Python bytecode", "lambda-bytecode")
        else:
            named = safe(text_of(function) or text_of(mapping(function).get("config")), 80)
            yield Flag(layer, "warning", f"a Lambda layer that names the function {named}", "lambda-name")
    elif class_name == "TorchModuleWrapper":
        yield Flag(layer, "error", "a PyTorch module, loaded by unpickling", "torch-module")
    elif class_name == "TFSMLayer":
        where = safe(text_of(inner.get("filepath")), 120)
        yield Flag(layer, "error", f"loads and runs the SavedModel {where}", "saved-model-layer")
    elif class_name in _LOOKUPS and isinstance(inner.get("vocabulary"), str):
        where = safe(str(inner["vocabulary"]), 120)
        yield Flag(layer, "error", f"reads its vocabulary from the file {where}", "vocabulary-path")
    elif class_name == "TFOpLambda" and _TF_GADGETS.fullmatch(text_of(inner.get("function"))):
        yield Flag(layer, "error", f"calls tf.{safe(str(inner['function']), 80)}", "tf-op")

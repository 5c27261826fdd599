"""Files a Keras layer keeps beside the weights: which an architecture must have, and which are not there.

Lookup layers whose vocabulary is not in the config have written it to `assets/<path>/vocabulary.txt` ever since there
are `.keras` archives (Keras 2.12 to 3.15), adapted or not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ckptui.core.model import Finding
from ckptui.core.sayings import says
from ckptui.readers.keras_config import Node
from ckptui.readers.keras_findings import note

VOCABULARY = "vocabulary.txt"
_LOOKUPS = frozenset({"StringLookup", "IntegerLookup", "TextVectorization"})
_OWN_MODULES = ("keras.", "keras", "tf_keras", "tensorflow.keras")


SMALL = 256
"""Bytes of a vocabulary that may hold no word; more are not read."""


def expected_assets(root: Node) -> list[tuple[str, str]]:
    """(layer, member) of every file the architecture makes certain: standard layers of standard models only."""
    return [(layer, member) for layer, _, member in _lookups(root)]


def _lookups(root: Node) -> list[tuple[str, Mapping[str, Any], str]]:
    """(layer, its config, member) of every lookup layer that keeps its vocabulary in a file."""
    found: list[tuple[str, Mapping[str, Any], str]] = []
    stack = [(root, "")]
    while stack:
        node, path = stack.pop()
        if node.is_model and not node.standard:
            continue
        own = node.module.startswith(_OWN_MODULES) or not node.module
        if node.class_name in _LOOKUPS and own and path and node.config.get("vocabulary", "") is None:
            found.append((node.name, node.config, f"assets/{path}/{VOCABULARY}"))
        if node.is_model:
            below = [
                (child, f"{path}/layers/{child.key}" if path else f"layers/{child.key}") for child in node.children
            ]
            stack.extend(reversed([one for one in below if one[0].key]))
    return found


def missing_assets(path: str, root: Node | None, members: Collection[str], has_store: bool) -> list[Finding]:
    """A finding for each layer whose file is not among `members`.

    Keras looks for assets only in an archive of more than three members (`has_store`); in others the layer is left
    empty without a word.
    """
    findings: list[Finding] = []
    for layer, member in [] if root is None else expected_assets(root):
        if member in members:
            continue
        detail = f"{layer} keeps its vocabulary in {member}, which is not there"
        evidence = {"layer": layer, "member": member, "file": path}
        if has_store:
            evidence["tensorflow_says"] = says("no-vocabulary")
        else:
            detail += "; Keras loads the model without a word, with an empty vocabulary"
        findings.append(note("asset-missing", path, detail, evidence=evidence))
    return findings


def empty_vocabularies(path: str, root: Node | None, contents: Mapping[str, bytes]) -> list[Finding]:
    """A finding for each lookup layer whose file lists nothing but the mask and the token for the unknown.

    `contents`: files small enough to be so, by member. Keras 3 saves such a model and refuses to load it.
    """
    findings: list[Finding] = []
    for layer, config, member in [] if root is None else _lookups(root):
        text = contents.get(member)
        if text is None:
            continue
        own = {"", "[UNK]", "-1", *(str(config[key]) for key in ("mask_token", "oov_token") if key in config)}
        words = text.decode("utf-8", "replace").split("\n")
        if all(word in own for word in words):
            detail = f"{layer} knows no word: {member} lists only what stands for a mask and for the unknown"
            detail += "; Keras 3 refuses to load the model"
            evidence = {"layer": layer, "member": member, "file": path}
            title = "A lookup layer was never adapted"
            findings.append(note("normalization-unadapted", path, detail, evidence=evidence, title=title))
    return findings

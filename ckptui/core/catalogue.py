"""Every finding code: its usual severity, the one-line title and the advice. docs/findings.md has the long form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckptui.core.model import Certainty, Finding, Severity


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means when nothing more special is known."""

    severity: Severity
    title: str
    advice: str


_E: Severity = "error"
_W: Severity = "warning"
_I: Severity = "info"

RECOPY = (
    "Copy the file again from where it was written and compare sizes; keep this copy until then. "
    "If there is no other, `ckptui salvage` brings back what survives."
)

CODES: dict[str, Code] = {
    # storage
    "index-missing": Code(
        _E,
        "The .index file is missing",
        "Look for PREFIX_temp/part-*.index or PREFIX.index.tempstate*: with one of them nothing is lost. "
        "Without, `ckptui salvage` borrows the layout of another save of the same model.",
    ),
    "index-damaged": Code(
        _E,
        "The index is damaged",
        "What still parses is listed, each tensor's own checksum decides what is whole. " + RECOPY,
    ),
    "shard-missing": Code(_E, "A data shard is missing", "Copy the missing shard from where the save was made."),
    "shard-truncated": Code(_E, "A data shard is cut off", RECOPY),
    "shard-oversized": Code(
        _W,
        "A data shard is longer than its index says",
        "TensorFlow ignores the extra bytes; look who appended them.",
    ),
    "checksum-mismatch": Code(
        _E,
        "Stored checksum and bytes disagree",
        "Restore this tensor from another save; the others are not affected.",
    ),
    "zero-filled": Code(
        _E,
        "Zeros where data should be",
        "Typical after a power loss or a full disk: take an earlier save, or copy this one again.",
    ),
    "index-data-mismatch": Code(
        _E, "Index and data come from different saves", "Put the matching .index beside this data file."
    ),
    "duplicate-key": Code(
        _E, "A tensor name stands twice in the index", "Do not trust either copy; take another save."
    ),
    "entry-invalid": Code(
        _E, "An entry contradicts itself", "Take another save; this entry can't be restored as it is."
    ),
    "state-dangling": Code(
        _E, "The state file names a save that is not there", "Point `checkpoint` at a save that exists."
    ),
    "state-stale": Code(
        _W,
        "Newer saves exist than the state file names",
        "latest_checkpoint returns the older one: restore by path.",
    ),
    "state-elsewhere": Code(
        _W,
        "The state file points outside its folder",
        "After a move, make the paths in `checkpoint` relative.",
    ),
    "interrupted-save": Code(
        _W,
        "Leftovers of a save that did not finish",
        "Use the last complete save; the leftovers can be removed.",
    ),
    "orphan-shard": Code(
        _W, "A shard that no index names", "Harmless, unless its index was lost: see the sibling saves."
    ),
    "graph-missing": Code(
        _E, "A SavedModel without its saved_model.pb", "Export again, or read the weights from variables/."
    ),
    "graph-damaged": Code(_E, "The graph can't be read completely", RECOPY),
    "graph-variables-mismatch": Code(
        _E, "Graph and variables do not belong together", "Copy graph and variables from one export."
    ),
    "hdf5-damaged": Code(_E, "The HDF5 file is damaged", RECOPY),
    "hdf5-not-closed": Code(
        _W,
        "The HDF5 file was never closed by its writer",
        "The save was killed or is still running; wait or copy again.",
    ),
    "zip-damaged": Code(_E, "The .keras archive is damaged", RECOPY),
    "weights-missing": Code(
        _E,
        "Weights the architecture needs are not in the file",
        "Look for a complete save of the same model.",
    ),
    "weights-never-saved": Code(
        _E,
        "Weights of the model were never saved",
        "Save with model.save_weights or assign the layers directly.",
    ),
    "asset-missing": Code(
        _E, "A file the model keeps beside its weights is missing", "Copy the whole save again, assets included."
    ),
    "weights-unexpected": Code(
        _W, "Weights the architecture does not know", "Check that architecture and weights belong together."
    ),
    "shape-mismatch": Code(
        _E, "A shape contradicts the architecture", "Check that architecture and weights belong together."
    ),
    "not-a-model": Code(_E, "The content is not what the name promises", "Fetch the real file."),
    "empty-file": Code(_E, "The file is empty", RECOPY),
    "suspicious-blocks": Code(
        _W, "Zero or repeated blocks where nothing has a checksum", "Compare with another copy of the file."
    ),
    "unsupported-format": Code(_I, "A format ckptui does not read", "Use that format's own tools."),
    "changed-while-reading": Code(
        _W, "The file changed while it was read", "Somebody is writing it: read it again when they are done."
    ),
    "unreadable": Code(_E, "The system does not let it be read", "Check permissions and the disk, then look again."),
    "reader-crashed": Code(
        _E,
        "The reader did not survive this file",
        "The file is damaged or hostile; keep it away from programs that open it in their own process.",
    ),
    # values
    "non-finite": Code(_E, "NaN or infinite values", "Training diverged, or bytes are damaged: take an earlier save."),
    "implausible-values": Code(
        _E,
        "A value no training makes",
        "A flipped bit shows like this: compare with another copy of the file.",
    ),
    "all-zero": Code(_W, "Every value is zero", "Check that this layer was restored and trained."),
    "constant": Code(_W, "Every value is the same", "Check that this layer was restored and trained."),
    "at-initializer": Code(
        _W,
        "Untouched since its initializer",
        "These weights were never trained or never restored, or the learning rate was too small to move them: "
        "check the restore's status object and `trainable`.",
    ),
    "untouched-filters": Code(
        _W,
        "Some filters are untouched since the initializer",
        "No gradient reached them, or the learning rate was too small to move them: look at masks and dead inputs.",
    ),
    "symmetric-filters": Code(
        _W,
        "More mirror-symmetric filters than chance gives",
        "Answers of such a layer survive flips; it is no fault.",
    ),
    "duplicate-filters": Code(_W, "Filters that repeat others", "Check how the kernel was initialised or widened."),
    "constant-filters": Code(
        _W, "Filters of one value", "Hardly ever trained that way: check how the kernel was made or restored."
    ),
    "dead-filters": Code(_W, "Filters with almost no weight", "They add nothing to the answer; see regularisation."),
    "statistics-at-initial": Code(
        _W,
        "Batch statistics were never updated",
        "Moving mean 0 and variance 1: the layer never ran in training mode, or the statistics were not restored.",
    ),
    "statistics-implausible": Code(
        _E, "A negative variance", "No training makes one: the statistics are damaged or in the wrong place."
    ),
    "normalization-unadapted": Code(
        _W, "A Normalization layer was never adapted", "Call adapt() on the training data before saving."
    ),
    "generator-unused": Code(
        _I,
        "A random generator never drew",
        "Dropout, noise and augmentation draw in training mode only: none ran since the model was built or loaded "
        "(.keras and .h5 files don't keep this state).",
    ),
    "slots-at-zero": Code(_I, "The optimizer never stepped", "Normal for a save made before training."),
    "never-changed": Code(
        _W,
        "Never changed over the run",
        "Frozen, or not trained: check `trainable`, and whether the layers have a path to the loss.",
    ),
    "jump": Code(
        _W,
        "An unusual jump between two saves",
        "Look for a restart, layers initialised anew, or a fault of the learning rate between them.",
    ),
    "went-back": Code(
        _W, "Weights equal an earlier save", "The save was overwritten, or training restarted from there."
    ),
    "rng-state-repeated": Code(
        _W,
        "A random state repeats",
        "The generator was reset between these saves: dropout and shuffling repeat. Save it, or seed it anew.",
    ),
    "config-changed": Code(
        _W, "A layer's configuration differs", "No tensor shows it: compare the two configurations."
    ),
    "spatial-collapse": Code(_I, "The image shrinks to one point early", "Check strides and padding."),
    # behaviour
    "constant-output": Code(
        _E,
        "The answer does not depend on the input",
        "Look for a dead or disconnected layer with the filters view.",
    ),
    "flip-changes-prediction": Code(
        _I,
        "Another answer when the image is flipped",
        "A fact of this image; many images are needed to judge training.",
    ),
    "flip-invariant": Code(
        _I,
        "Flipping the image changes nothing",
        "Check that the flip reaches the model, then its first layers.",
    ),
    "reload-differs": Code(
        _E,
        "Another answer after reloading",
        "State outside the file decides the answer: look for unsaved weights and random ops.",
    ),
    "nondeterministic": Code(
        _E,
        "The same call gives different answers",
        "Look for dropout or random ops that are live at inference (training=True).",
    ),
    "batch-dependent": Code(
        _E,
        "The answer depends on the other images of the batch",
        "Batch statistics at inference: export training=False.",
    ),
    "training-mode-differs": Code(_I, "Training mode answers differently", "Normal for dropout and batch statistics."),
    "preprocessing-matters": Code(
        _I, "The preprocessing decides the answer", "Use the one the model was trained with."
    ),
    "versions-differ": Code(
        _W, "TensorFlow versions answer differently", "Pin the version the model was trained with."
    ),
    "expectation-differs": Code(_E, "Another answer than the recorded one", "Compare weights and preprocessing."),
    "model-does-not-load": Code(_E, "The model does not load", "Read what each loader said, in the detail."),
    # trust
    "unsafe-op": Code(_W, "The graph holds an op that reaches outside", "Know the author before you run this model."),
    "unsafe-layer": Code(_W, "A layer carries code", "Know the author before you load this model."),
    "external-reference": Code(_W, "The file refers to another file", "ckptui does not follow it: look at the target."),
    "name-hostile": Code(_W, "A name holds characters that act on terminals", "They are shown escaped here."),
}


def make(
    code: str,
    artifact: str,
    tensor: str | None = None,
    *,
    detail: str = "",
    evidence: Mapping[str, Any] | None = None,
    certainty: Certainty = "confirmed",
    severity: Severity | None = None,
    title: str | None = None,
    advice: str | None = None,
) -> Finding:
    """A finding with the catalogue's severity, title and advice unless told otherwise; KeyError for an unknown code."""
    known = CODES[code]
    return Finding(
        code=code,
        severity=severity or known.severity,
        certainty=certainty,
        artifact=artifact,
        tensor=tensor,
        title=title or known.title,
        detail=detail,
        evidence=dict(evidence or {}),
        advice=known.advice if advice is None else advice,
    )

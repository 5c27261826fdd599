"""What TensorFlow, Keras and h5py say about each kind of damage, so that a user can search for the text they saw.

Texts as printed by TensorFlow 2.21, Keras 3.15 and h5py 3.14; parts that change from file to file are `{names}`.
Findings carry the one that fits their damage as `tensorflow_says` in their evidence; docs/messages.md lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Saying:
    """One message of another program."""

    text: str
    """With `{names}` where the message quotes paths or numbers."""
    error: str
    """The Python exception it comes in, as measured; h5py gives others for the same text. Empty for a log line."""
    caller: str
    """The call that says it."""
    codes: tuple[str, ...]
    """The findings that stand for it here."""


_CHECKPOINT = "tf.train.load_checkpoint"
_TENSOR = "load_checkpoint(...).get_tensor"
_SAVED_MODEL = "tf.saved_model.load"
_KERAS = "keras.models.load_model"
_WEIGHTS = "model.load_weights"
_STATE = "tf.train.latest_checkpoint"

SAYINGS: dict[str, Saying] = {
    # TensorBundle
    "no-index": Saying(
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for {prefix}",
        "NotFoundError",
        _CHECKPOINT,
        ("index-missing",),
    ),
    "no-shard": Saying("{file}; No such file or directory", "OpError", _TENSOR, ("shard-missing",)),
    "short-shard": Saying(
        "Read less bytes than requested", "IndexError", _TENSOR, ("shard-truncated", "empty-file", "not-a-model")
    ),
    "checksum": Saying(
        "TensorBundle at {prefix} shard {shard} ({bytes} bytes): Checksum does not match: stored {stored} vs. "
        "calculated on the restored bytes {calculated}",
        "OpError",
        _TENSOR,
        ("checksum-mismatch", "zero-filled", "index-data-mismatch"),
    ),
    "length-checksum": Saying(
        "The length checksum does not match: expected {stored} but actual is {calculated}",
        "OpError",
        _TENSOR,
        ("checksum-mismatch", "zero-filled", "index-data-mismatch"),
    ),
    "block-checksum": Saying(
        "Unable to read file ({file}). Perhaps the file is corrupt or was produced by a newer version of TensorFlow "
        "with format changes (failed to seek to header entry): block checksum mismatch",
        "OpError",
        _CHECKPOINT,
        ("index-damaged",),
    ),
    "directory-checksum": Saying("block checksum mismatch", "OpError", _CHECKPOINT, ("index-damaged", "not-a-model")),
    "directory-beyond": Saying("Read less bytes than requested", "IndexError", _CHECKPOINT, ("index-damaged",)),
    "bad-magic": Saying(
        "not an sstable (bad magic number)", "OpError", _CHECKPOINT, ("index-damaged", "not-a-model", "zero-filled")
    ),
    "short-index": Saying(
        "file is too short to be an sstable", "OpError", _CHECKPOINT, ("index-damaged", "empty-file", "not-a-model")
    ),
    "index-folder": Saying("{file}; Is a directory", "OpError", _CHECKPOINT, ("not-a-model",)),
    "entry-size": Saying(
        "Invalid size in bundle entry: key {tensor}; stored size {stored}; expected size {expected}",
        "OpError",
        _TENSOR,
        ("entry-invalid",),
    ),
    "slices": Saying(
        "Does not have sufficient slices for partitioned tensor {tensor}", "ValueError", _TENSOR, ("entry-invalid",)
    ),
    "consumer": Saying(
        "Checkpoint min consumer version {min_consumer} above current version 1 for TensorFlow 2.21.0.  "
        "Please upgrade TensorFlow.",
        "ValueError",
        _CHECKPOINT,
        ("unsupported-format",),
    ),
    # V1 checkpoints
    "v1-table": Saying(
        "Unable to open table file {file}: DATA_LOSS: {reason}: perhaps your file is in a different file format and "
        "you need to use a different restore operator?",
        "DataLossError",
        _CHECKPOINT,
        ("index-damaged", "not-a-model", "empty-file", "shard-truncated", "zero-filled"),
    ),
    "v1-no-list": Saying(
        "Failed to find the saved tensor slices at the beginning of the checkpoint file: {file}",
        "InternalError",
        _CHECKPOINT,
        ("index-damaged",),
    ),
    "v1-tensor": Saying(
        "{tensor} not found in checkpoint file",
        "NotFoundError",
        _TENSOR,
        ("checksum-mismatch", "shard-missing", "entry-invalid"),
    ),
    # .meta
    "meta-wire": Saying(
        "'utf-8' codec can't decode byte",
        "UnicodeDecodeError",
        "tf.compat.v1.train.import_meta_graph",
        ("graph-damaged",),
    ),
    # state file
    "empty-state": Saying(
        "Invalid checkpoint state loaded from {folder}", "ValueError", _STATE, ("empty-file", "state-dangling")
    ),
    "ignored-state": Saying("{file}: Checkpoint ignored", "", _STATE, ("state-dangling",)),
    "undecoded-state": Saying("'utf-8' codec can't decode byte", "UnicodeDecodeError", _STATE, ("state-dangling",)),
    "no-match": Saying("Couldn't match files for checkpoint {prefix}", "", _STATE, ("state-dangling",)),
    # SavedModel
    "no-graph": Saying(
        "SavedModel file does not exist at: {folder}/{{saved_model.pbtxt|saved_model.pb}}",
        "OSError",
        _SAVED_MODEL,
        ("graph-missing", "unsupported-format"),
    ),
    "empty-graph": Saying(
        "Importing a SavedModel with `tf.saved_model.load` requires a `tags=` argument if there is more than one "
        "MetaGraph. Got `tags=None`, but there are 0 MetaGraphs in the SavedModel with tag sets: []. Pass a `tags=` "
        "argument to load this SavedModel.",
        "ValueError",
        _SAVED_MODEL,
        ("empty-file", "graph-damaged"),
    ),
    "graph-wire": Saying(
        "Cannot parse file b'{file}': Error parsing message with type 'tensorflow.SavedModel': Wire format was "
        "corrupt.",
        "OSError",
        _SAVED_MODEL,
        ("graph-damaged", "not-a-model"),
    ),
    "graph-utf8": Saying(
        "Cannot parse file b'{file}': Error parsing message with type 'tensorflow.SavedModel': String field had bad "
        "UTF-8.",
        "OSError",
        _SAVED_MODEL,
        ("graph-damaged",),
    ),
    "graph-text": Saying("Cannot parse file b'{file}': ", "OSError", _SAVED_MODEL, ("graph-damaged", "not-a-model")),
    "graph-text-field": Saying(
        "Cannot parse file b'{file}': {line}:{column} : "
        'Message type "tensorflow.SavedModel" has no field named "{name}"..',
        "OSError",
        _SAVED_MODEL,
        ("graph-damaged",),
    ),
    "no-variables": Saying(
        "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for {prefix}",
        "FileNotFoundError",
        _SAVED_MODEL,
        ("index-missing",),
    ),
    "no-asset": Saying("{file}; No such file or directory", "FileNotFoundError", _SAVED_MODEL, ("asset-missing",)),
    "no-key": Saying(
        "Key {tensor} not found in checkpoint", "NotFoundError", _SAVED_MODEL, ("graph-variables-mismatch",)
    ),
    "unbound": Saying(
        "Found {count} Python objects that were not bound to checkpointed values, likely due to changes in the Python "
        "program.",
        "AssertionError",
        _SAVED_MODEL,
        ("graph-variables-mismatch",),
    ),
    "variable-tensor-shape": Saying(
        "Received incompatible tensor with shape {stored} when attempting to restore variable with shape {expected} "
        "and name {name}.",
        "ValueError",
        _SAVED_MODEL,
        ("graph-variables-mismatch",),
    ),
    # HDF5
    "short-hdf5": Saying(
        "Unable to synchronously open file (truncated file: eof = {found}, sblock->base_addr = {base}, "
        "stored_eof = {expected})",
        "OSError",
        _KERAS,
        ("hdf5-damaged",),
    ),
    "no-signature": Saying(
        "Unable to synchronously open file (file signature not found)",
        "OSError",
        _KERAS,
        ("empty-file", "not-a-model", "hdf5-damaged", "zero-filled"),
    ),
    "open-for-write": Saying(
        "Unable to synchronously open file (file is already open for write (may use <h5clear file> to clear file "
        "consistency flags))",
        "OSError",
        _KERAS,
        ("hdf5-not-closed",),
    ),
    "object-type": Saying(
        "Unable to synchronously open object (unable to determine object type)", "KeyError", _KERAS, ("hdf5-damaged",)
    ),
    "address-overflow": Saying(
        "(addr overflow, addr = {addr}, size = {size}, eoa = {eoa})", "KeyError", _KERAS, ("hdf5-damaged",)
    ),
    "b-tree": Saying("(wrong B-tree signature)", "RuntimeError", _KERAS, ("hdf5-damaged",)),
    "free-list": Saying("(bad heap free list)", "RuntimeError", _KERAS, ("hdf5-damaged",)),
    "local-heap": Saying("(bad local heap signature)", "RuntimeError", _KERAS, ("hdf5-damaged",)),
    "symbol-node": Saying("(bad symbol table node signature)", "RuntimeError", _KERAS, ("hdf5-damaged",)),
    "object-header": Saying("(bad object header version number)", "OSError", _KERAS, ("hdf5-damaged",)),
    "no-config": Saying("No model config found in the file at {file}.", "ValueError", _KERAS, ()),
    "no-layer-group": Saying("'{layer}'", "KeyError", _KERAS, ("weights-missing",)),
    # .keras
    "no-archive": Saying(
        "File not found: filepath={file}. Please ensure the file is an accessible `.keras` zip file.",
        "ValueError",
        _KERAS,
        ("zip-damaged", "empty-file", "not-a-model"),
    ),
    "zip-header": Saying("Bad magic number for file header", "BadZipFile", _KERAS, ("zip-damaged", "not-a-model")),
    "zip-crc": Saying("Bad CRC-32 for file '{member}'", "BadZipFile", _KERAS, ("zip-damaged",)),
    "zip-directory": Saying("Bad magic number for central directory", "BadZipFile", _KERAS, ("zip-damaged",)),
    "zip-names": Saying(
        "File name in directory '{directory}' and header b'{header}' differ.", "BadZipFile", _KERAS, ("zip-damaged",)
    ),
    "zip-encrypted": Saying(
        "File '{member}' is encrypted, password required for extraction", "RuntimeError", _KERAS, ("zip-damaged",)
    ),
    "zip-method": Saying(
        "That compression method is not supported",
        "NotImplementedError",
        _KERAS,
        ("zip-damaged", "unsupported-format"),
    ),
    "zip-deflate": Saying("Error -3 while decompressing data: ", "error", _KERAS, ("zip-damaged",)),
    "zip-member": Saying(
        "\"There is no item named '{member}' in the archive\"", "KeyError", _KERAS, ("zip-damaged", "weights-missing")
    ),
    "no-weights-member": Saying(
        "Expected a model.weights.h5 or model.weights.npz file.", "ValueError", _KERAS, ("weights-missing",)
    ),
    "no-vocabulary": Saying(
        "expected str, bytes or os.PathLike object, not NoneType", "ValueError", _KERAS, ("asset-missing",)
    ),
    # sharded weights
    "no-json": Saying(
        "Expecting value: line {line} column {column} (char {offset})",
        "JSONDecodeError",
        _WEIGHTS,
        ("index-damaged", "empty-file", "not-a-model", "zero-filled"),
    ),
    "no-shard-file": Saying(
        "[Errno 2] Unable to synchronously open file (unable to open file: name = '{file}', errno = 2, error message = "
        "'No such file or directory', flags = 0, o_flags = 0)",
        "FileNotFoundError",
        _WEIGHTS,
        ("shard-missing",),
    ),
    "layer-variables": Saying(
        "Layer '{layer}' expected {expected} variables, but received {found} variables during loading.",
        "ValueError",
        _KERAS,
        ("weights-missing",),
    ),
    "variable-shape": Saying(
        "The shape of the target variable and the shape of the target value in `variable.assign(value)` must match.",
        "ValueError",
        _KERAS,
        ("shape-mismatch",),
    ),
}
"""By a short name of the damage."""


def says(saying: str, **values: object) -> str:
    """The message of a kind of damage with the file's own paths and numbers; unknown ones stay `{names}`.

    KeyError for a saying that is not in the table.
    """
    return SAYINGS[saying].text.format_map(_Left(values))


class _Left(dict[str, object]):
    """Leaves a name that has no value as it stands."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"

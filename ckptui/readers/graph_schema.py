"""The fields of a SavedModel's messages that matter to a reader, by number and by name.

Field numbers are those of TensorFlow's `saved_model.proto`, `meta_graph.proto`, `graph.proto`, `function.proto`,
`node_def.proto`, `attr_value.proto`, `tensor.proto`, `tensor_shape.proto`, `saver.proto`, `types.proto`,
`saved_object_graph.proto` and `struct.proto`; messages of the same form share a name here. What is not in the
table is skipped as an unknown field, as protobuf does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scalar = Literal["varint", "fixed32", "fixed64", "string", "bytes"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    number: int
    name: str
    scalar: Scalar | None
    """How a value is written; None for a message."""
    message: str
    """Name of the message it holds; empty for scalars."""
    kept: bool
    """Whether its values are remembered; others are only walked for damage."""
    repeated: bool


_SPEC = """
SavedModel: 1 saved_model_schema_version varint! | 2 meta_graphs MetaGraphDef!*
MetaGraphDef: 1 meta_info_def MetaInfoDef! | 2 graph_def GraphDef! | 3 saver_def SaverDef!
  | 4 collection_def CollectionEntry!* | 5 signature_def SignatureEntry!* | 6 asset_file_def AssetFileDef!*
  | 7 object_graph_def SavedObjectGraph!
MetaInfoDef: 1 meta_graph_version string | 2 stripped_op_list OpList | 3 any_info Any | 4 tags string!*
  | 5 tensorflow_version string! | 6 tensorflow_git_version string! | 7 stripped_default_attrs varint!
  | 8 function_aliases StringEntry*
Any: 1 type_url string | 2 value bytes!
StringEntry: 1 key string | 2 value string
OpList: 1 op OpDef*
OpDef: 1 name string! | 2 input_arg ArgDef!* | 3 output_arg ArgDef* | 4 attr AttrDef* | 5 summary string
  | 6 description string | 8 deprecation OpDeprecation | 20 control_output string*
ArgDef: 1 name string! | 2 description string | 3 type varint | 4 type_attr string | 5 number_attr string
  | 6 type_list_attr string | 7 handle_data DtypeAndShape* | 17 experimental_full_type FullTypeDef
AttrDef: 1 name string | 2 type string | 3 default_value AttrValue | 4 description string | 6 minimum varint
  | 7 allowed_values AttrValue
OpDeprecation: 1 version varint | 2 explanation string
FullTypeDef: 1 type_id varint | 2 args FullTypeDef* | 3 s string | 4 i varint
DtypeAndShape: 1 dtype varint | 2 shape TensorShapeProto
GraphDef: 1 node NodeDef!* | 2 library FunctionDefLibrary! | 3 version varint | 4 versions VersionDef!
  | 5 debug_info GraphDebugInfo
VersionDef: 1 producer varint! | 2 min_consumer varint! | 3 bad_consumers varint*
GraphDebugInfo: 1 files string* | 2 traces TraceEntry* | 4 frames_by_id FrameEntry* | 6 traces_by_id TraceIdEntry*
TraceEntry: 1 key string | 2 value StackTrace
TraceIdEntry: 1 key fixed64 | 2 value StackTrace
FrameEntry: 1 key fixed64 | 2 value FileLineCol
StackTrace: 1 file_line_cols FileLineCol* | 2 frame_id fixed64*
FileLineCol: 1 file_index varint | 2 line varint | 3 col varint | 4 func string | 5 code string
FunctionDefLibrary: 1 function FunctionDef!* | 2 gradient GradientDef!* | 3 registered_gradients GradientDef*
GradientDef: 1 function_name string! | 2 gradient_func string!
FunctionDef: 1 signature OpDef! | 3 node_def NodeDef!* | 4 ret StringEntry* | 5 attr AttrEntry*
  | 6 control_ret StringEntry* | 7 arg_attr ArgAttrEntry* | 8 resource_arg_unique_id NumberEntry*
ArgAttrEntry: 1 key varint | 2 value ArgAttrs
ArgAttrs: 1 attr AttrEntry*
NumberEntry: 1 key varint | 2 value varint
NodeDef: 1 name string! | 2 op string! | 3 input string!* | 4 device string | 5 attr AttrEntry!*
  | 6 experimental_debug_info DebugNames | 7 experimental_type FullTypeDef
DebugNames: 1 original_node_names string* | 2 original_func_names string*
AttrEntry: 1 key string! | 2 value AttrValue!
AttrValue: 1 list AttrList! | 2 s bytes! | 3 i varint! | 4 f fixed32! | 5 b varint! | 6 type varint!
  | 7 shape TensorShapeProto! | 8 tensor TensorProto! | 9 placeholder string | 10 func NameAttrList!
AttrList: 2 s bytes* | 3 i varint!* | 4 f fixed32* | 5 b varint* | 6 type varint* | 7 shape TensorShapeProto*
  | 8 tensor TensorProto* | 9 func NameAttrList!*
NameAttrList: 1 name string! | 2 attr AttrEntry!*
TensorShapeProto: 2 dim Dim!* | 3 unknown_rank varint!
Dim: 1 size varint! | 2 name string
TensorProto: 1 dtype varint! | 2 tensor_shape TensorShapeProto! | 3 version_number varint | 4 tensor_content bytes!
  | 5 float_val fixed32!* | 6 double_val fixed64!* | 7 int_val varint* | 8 string_val bytes!* | 9 scomplex_val fixed32*
  | 10 int64_val varint* | 11 bool_val varint* | 12 dcomplex_val fixed64* | 13 half_val varint!*
  | 14 resource_handle_val ResourceHandle* | 15 variant_val VariantData* | 16 uint32_val varint*
  | 17 uint64_val varint* | 18 float8_val bytes
ResourceHandle: 1 device string | 2 container string | 3 name string | 4 hash_code varint | 5 maybe_type_name string
  | 6 dtypes_and_shapes DtypeAndShape*
VariantData: 1 type_name string | 2 metadata bytes | 3 tensors TensorProto*
SaverDef: 1 filename_tensor_name string! | 2 save_tensor_name string! | 3 restore_op_name string!
  | 4 max_to_keep varint | 5 sharded varint | 6 keep_checkpoint_every_n_hours fixed32 | 7 version varint!
CollectionEntry: 1 key string! | 2 value CollectionDef!
CollectionDef: 1 node_list StringList | 2 bytes_list BytesList | 3 int64_list IntList | 4 float_list FloatList
  | 5 any_list AnyList!
StringList: 1 value string*
BytesList: 1 value bytes*
IntList: 1 value varint*
FloatList: 1 value fixed32*
AnyList: 1 value Any!*
SignatureEntry: 1 key string! | 2 value SignatureDef!
SignatureDef: 1 inputs TensorInfoEntry!* | 2 outputs TensorInfoEntry!* | 3 method_name string!
  | 4 defaults TensorEntry*
TensorEntry: 1 key string | 2 value TensorProto
TensorInfoEntry: 1 key string! | 2 value TensorInfo!
TensorInfo: 1 name string! | 2 dtype varint! | 3 tensor_shape TensorShapeProto! | 4 coo_sparse CooSparse!
  | 5 composite_tensor CompositeTensor!
CooSparse: 1 values_tensor_name string! | 2 indices_tensor_name string! | 3 dense_shape_tensor_name string!
CompositeTensor: 1 type_spec TypeSpec | 2 components TensorInfo!*
AssetFileDef: 1 tensor_info TensorInfo! | 2 filename string!
SavedObjectGraph: 1 nodes SavedObject!* | 2 concrete_functions ConcreteEntry*
ConcreteEntry: 1 key string | 2 value ConcreteFunction
ConcreteFunction: 2 bound_inputs varint* | 3 canonicalized_input_signature Structured
  | 4 output_signature Structured
SavedObject: 1 children ObjectReference* | 3 slot_variables SlotReference* | 4 user_object SavedUserObject!
  | 5 asset NumberEntry | 6 function SavedFunction | 7 variable SavedVariable!
  | 8 bare_concrete_function BareFunction | 9 constant Named | 10 resource Named
  | 11 saveable_objects SaveableEntry* | 12 captured_tensor CapturedTensor
  | 13 registered_name string | 14 serialized_user_proto Any | 15 dependencies ObjectReference*
  | 16 registered_saver string
ObjectReference: 1 node_id varint | 2 local_name string
SlotReference: 1 original_variable_node_id varint | 2 slot_name string | 3 slot_variable_node_id varint
SavedUserObject: 1 identifier string! | 2 version VersionDef | 3 metadata string!
SavedFunction: 1 concrete_functions string* | 2 function_spec FunctionSpec
BareFunction: 1 concrete_function_name string | 2 argument_keywords string* | 3 allowed_positional_arguments varint
  | 4 function_spec FunctionSpec
FunctionSpec: 1 fullargspec Structured | 2 is_method varint | 5 input_signature Structured | 6 jit_compile varint
SavedVariable: 1 dtype varint | 2 shape TensorShapeProto | 3 trainable varint | 4 synchronization varint
  | 5 aggregation varint | 6 name string | 7 device string | 8 components SavedVariable*
Named: 1 name string
SaveableEntry: 1 key string | 2 value NumberEntry
CapturedTensor: 1 name string | 2 concrete_function string
Structured: 1 none_value Nothing | 11 float64_value fixed64 | 12 int64_value varint | 13 string_value string
  | 14 bool_value varint | 31 tensor_shape_value TensorShapeProto | 32 tensor_dtype_value varint
  | 33 tensor_spec_value TensorSpec | 34 type_spec_value TypeSpec | 35 bounded_tensor_spec_value BoundedSpec
  | 51 list_value Values | 52 tuple_value Values | 53 dict_value Pairs | 54 named_tuple_value NamedTuple
  | 55 tensor_value TensorProto | 56 numpy_value TensorProto
Nothing:
Values: 1 values Structured*
Pairs: 1 fields Pair*
Pair: 1 key string | 2 value Structured
NamedTuple: 1 name string | 2 values Pair*
TensorSpec: 1 name string | 2 shape TensorShapeProto | 3 dtype varint
BoundedSpec: 1 name string | 2 shape TensorShapeProto | 3 dtype varint | 4 minimum TensorProto
  | 5 maximum TensorProto
TypeSpec: 1 type_spec_class varint | 2 type_state Structured | 3 type_spec_class_name string
  | 4 num_flat_components varint
KerasMetadata: 1 nodes KerasNode!*
KerasNode: 2 node_id varint! | 3 node_path string! | 4 identifier string! | 5 metadata string!
  | 6 version VersionDef
FingerprintDef: 1 saved_model_checksum varint! | 2 graph_def_program_hash varint! | 3 signature_def_hash varint!
  | 4 saved_object_graph_hash varint! | 5 checkpoint_hash varint! | 6 version VersionDef! | 7 uuid string!
"""

_SCALARS: dict[str, Scalar] = {
    "varint": "varint",
    "fixed32": "fixed32",
    "fixed64": "fixed64",
    "string": "string",
    "bytes": "bytes",
}


def _parse(spec: str) -> dict[str, dict[int, Field]]:
    tables: dict[str, dict[int, Field]] = {}
    for line in spec.strip().replace("\n  ", " ").splitlines():
        message, _, rest = line.partition(":")
        fields = {}
        for piece in filter(str.strip, rest.split("|")):
            number, name, kind = piece.split()
            bare = kind.rstrip("!*")
            scalar = _SCALARS.get(bare)
            fields[int(number)] = Field(
                int(number), name, scalar, "" if scalar else bare, "!" in kind, kind.endswith("*")
            )
        tables[message] = fields
    return tables


SCHEMA: dict[str, dict[int, Field]] = _parse(_SPEC)
"""Message name to its fields by number."""

BY_NAME: dict[str, dict[str, Field]] = {
    message: {field.name: field for field in fields.values()} for message, fields in SCHEMA.items()
}
"""Message name to its fields by name, as a text proto writes them."""

DT_NAMES: tuple[str, ...] = (
    "DT_INVALID",
    "DT_FLOAT",
    "DT_DOUBLE",
    "DT_INT32",
    "DT_UINT8",
    "DT_INT16",
    "DT_INT8",
    "DT_STRING",
    "DT_COMPLEX64",
    "DT_INT64",
    "DT_BOOL",
    "DT_QINT8",
    "DT_QUINT8",
    "DT_QINT32",
    "DT_BFLOAT16",
    "DT_QINT16",
    "DT_QUINT16",
    "DT_UINT16",
    "DT_COMPLEX128",
    "DT_HALF",
    "DT_RESOURCE",
    "DT_VARIANT",
    "DT_UINT32",
    "DT_UINT64",
    "DT_FLOAT8_E5M2",
    "DT_FLOAT8_E4M3FN",
    "DT_FLOAT8_E4M3FNUZ",
    "DT_FLOAT8_E4M3B11FNUZ",
    "DT_FLOAT8_E5M2FNUZ",
    "DT_INT4",
    "DT_UINT4",
    "DT_INT2",
    "DT_UINT2",
    "DT_FLOAT4_E2M1FN",
)
"""Names of the DataType enum by number, as a text proto writes them; a reference adds `_REF` and 100."""

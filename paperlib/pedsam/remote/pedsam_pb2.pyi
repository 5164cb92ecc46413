from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FORMAT_UNSPECIFIED: _ClassVar[Format]
    FORMAT_FLOAT32: _ClassVar[Format]
    FORMAT_FLOAT16: _ClassVar[Format]
    FORMAT_INT8: _ClassVar[Format]
FORMAT_UNSPECIFIED: Format
FORMAT_FLOAT32: Format
FORMAT_FLOAT16: Format
FORMAT_INT8: Format

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Description(_message.Message):
    __slots__ = ("version", "weights", "tokens", "window", "channels", "patch_values", "limit_rows", "limit_bytes", "instance")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    PATCH_VALUES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_ROWS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    version: int
    weights: str
    tokens: int
    window: int
    channels: int
    patch_values: int
    limit_rows: int
    limit_bytes: int
    instance: bytes
    def __init__(self, version: _Optional[int] = ..., weights: _Optional[str] = ..., tokens: _Optional[int] = ..., window: _Optional[int] = ..., channels: _Optional[int] = ..., patch_values: _Optional[int] = ..., limit_rows: _Optional[int] = ..., limit_bytes: _Optional[int] = ..., instance: _Optional[bytes] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("format", "rows", "features", "values", "scales")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    format: Format
    rows: int
    features: int
    values: bytes
    scales: bytes
    def __init__(self, format: _Optional[_Union[Format, str]] = ..., rows: _Optional[int] = ..., features: _Optional[int] = ..., values: _Optional[bytes] = ..., scales: _Optional[bytes] = ...) -> None: ...

class ComputeRequest(_message.Message):
    __slots__ = ("weights", "blocks", "windows", "pixels", "values")
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    weights: str
    blocks: _containers.RepeatedScalarFieldContainer[int]
    windows: _containers.RepeatedScalarFieldContainer[int]
    pixels: bool
    values: Tensor
    def __init__(self, weights: _Optional[str] = ..., blocks: _Optional[_Iterable[int]] = ..., windows: _Optional[_Iterable[int]] = ..., pixels: _Optional[bool] = ..., values: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class ComputeReply(_message.Message):
    __slots__ = ("values", "seconds", "cpu_seconds")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    values: Tensor
    seconds: float
    cpu_seconds: float
    def __init__(self, values: _Optional[_Union[Tensor, _Mapping]] = ..., seconds: _Optional[float] = ..., cpu_seconds: _Optional[float] = ...) -> None: ...

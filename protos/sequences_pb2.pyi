from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OpenMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRESH: _ClassVar[OpenMode]
    RESUME: _ClassVar[OpenMode]
    REPLACE: _ClassVar[OpenMode]
    REJOIN: _ClassVar[OpenMode]

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNSPECIFIED: _ClassVar[ErrorCode]
    INVALID_INPUT: _ClassVar[ErrorCode]
    UNKNOWN_MODEL: _ClassVar[ErrorCode]
    UNKNOWN_SEQUENCE: _ClassVar[ErrorCode]
    ALREADY_EXISTS: _ClassVar[ErrorCode]
    WRONG_POSITION: _ClassVar[ErrorCode]
    TAKEN_OVER: _ClassVar[ErrorCode]
    OVERLOADED: _ClassVar[ErrorCode]
    DEADLINE_EXCEEDED: _ClassVar[ErrorCode]
    CANCELLED: _ClassVar[ErrorCode]
    UNAVAILABLE: _ClassVar[ErrorCode]
    MODEL_FAILED: _ClassVar[ErrorCode]
    SEQUENCE_FULL: _ClassVar[ErrorCode]

class Ending(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOT_ENDED: _ClassVar[Ending]
    END: _ClassVar[Ending]
    STOP: _ClassVar[Ending]
    MOST: _ClassVar[Ending]
    FULL: _ClassVar[Ending]
    LATE: _ClassVar[Ending]
FRESH: OpenMode
RESUME: OpenMode
REPLACE: OpenMode
REJOIN: OpenMode
UNSPECIFIED: ErrorCode
INVALID_INPUT: ErrorCode
UNKNOWN_MODEL: ErrorCode
UNKNOWN_SEQUENCE: ErrorCode
ALREADY_EXISTS: ErrorCode
WRONG_POSITION: ErrorCode
TAKEN_OVER: ErrorCode
OVERLOADED: ErrorCode
DEADLINE_EXCEEDED: ErrorCode
CANCELLED: ErrorCode
UNAVAILABLE: ErrorCode
MODEL_FAILED: ErrorCode
SEQUENCE_FULL: ErrorCode
NOT_ENDED: Ending
END: Ending
STOP: Ending
MOST: Ending
FULL: Ending
LATE: Ending

class Request(_message.Message):
    __slots__ = ("opens", "steps", "cancels", "closes")
    OPENS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    CLOSES_FIELD_NUMBER: _ClassVar[int]
    opens: _containers.RepeatedCompositeFieldContainer[Open]
    steps: Steps
    cancels: Cancels
    closes: bytes
    def __init__(self, opens: _Optional[_Iterable[_Union[Open, _Mapping]]] = ..., steps: _Optional[_Union[Steps, _Mapping]] = ..., cancels: _Optional[_Union[Cancels, _Mapping]] = ..., closes: _Optional[bytes] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("key", "model", "version", "id", "mode", "incarnation", "tenant", "source")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    key: int
    model: str
    version: str
    id: str
    mode: OpenMode
    incarnation: int
    tenant: str
    source: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, key: _Optional[int] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., id: _Optional[str] = ..., mode: _Optional[_Union[OpenMode, str]] = ..., incarnation: _Optional[int] = ..., tenant: _Optional[str] = ..., source: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Steps(_message.Message):
    __slots__ = ("keys", "positions", "lengths", "acked", "timeouts_us", "values")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_US_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    keys: bytes
    positions: bytes
    lengths: bytes
    acked: bytes
    timeouts_us: bytes
    values: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, keys: _Optional[bytes] = ..., positions: _Optional[bytes] = ..., lengths: _Optional[bytes] = ..., acked: _Optional[bytes] = ..., timeouts_us: _Optional[bytes] = ..., values: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Cancels(_message.Message):
    __slots__ = ("keys", "positions")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    keys: bytes
    positions: bytes
    def __init__(self, keys: _Optional[bytes] = ..., positions: _Optional[bytes] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("opened", "stepped", "errors", "closed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    STEPPED_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    opened: _containers.RepeatedCompositeFieldContainer[Opened]
    stepped: _containers.RepeatedCompositeFieldContainer[Stepped]
    errors: _containers.RepeatedCompositeFieldContainer[Error]
    closed: bytes
    def __init__(self, opened: _Optional[_Iterable[_Union[Opened, _Mapping]]] = ..., stepped: _Optional[_Iterable[_Union[Stepped, _Mapping]]] = ..., errors: _Optional[_Iterable[_Union[Error, _Mapping]]] = ..., closed: _Optional[bytes] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("key", "version", "position", "resumed")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    key: int
    version: str
    position: int
    resumed: bool
    def __init__(self, key: _Optional[int] = ..., version: _Optional[str] = ..., position: _Optional[int] = ..., resumed: _Optional[bool] = ...) -> None: ...

class Stepped(_message.Message):
    __slots__ = ("keys", "positions", "lengths", "values")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    keys: bytes
    positions: bytes
    lengths: bytes
    values: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, keys: _Optional[bytes] = ..., positions: _Optional[bytes] = ..., lengths: _Optional[bytes] = ..., values: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("key", "position", "code", "message", "expected_position", "retry_after_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_POSITION_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    key: int
    position: int
    code: ErrorCode
    message: str
    expected_position: int
    retry_after_ms: int
    def __init__(self, key: _Optional[int] = ..., position: _Optional[int] = ..., code: _Optional[_Union[ErrorCode, str]] = ..., message: _Optional[str] = ..., expected_position: _Optional[int] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("model", "version", "prompts", "copies", "most", "stop", "sampling", "timeout_us")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_US_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    prompts: _containers.RepeatedCompositeFieldContainer[Prompt]
    copies: int
    most: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    sampling: Sampling
    timeout_us: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., prompts: _Optional[_Iterable[_Union[Prompt, _Mapping]]] = ..., copies: _Optional[int] = ..., most: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., timeout_us: _Optional[int] = ...) -> None: ...

class Prompt(_message.Message):
    __slots__ = ("text", "tokens", "source_text", "source")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    text: str
    tokens: _containers.RepeatedScalarFieldContainer[int]
    source_text: str
    source: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, text: _Optional[str] = ..., tokens: _Optional[_Iterable[int]] = ..., source_text: _Optional[str] = ..., source: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("temperature", "top_k", "top_p", "repetition_penalty", "seed")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int
    def __init__(self, temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class GenerateReply(_message.Message):
    __slots__ = ("prompts", "copies", "lengths", "tokens", "texts", "ends")
    class End(_message.Message):
        __slots__ = ("cell", "ending", "error")
        CELL_FIELD_NUMBER: _ClassVar[int]
        ENDING_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        cell: int
        ending: Ending
        error: Error
        def __init__(self, cell: _Optional[int] = ..., ending: _Optional[_Union[Ending, str]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    prompts: bytes
    copies: bytes
    lengths: bytes
    tokens: bytes
    texts: _containers.RepeatedScalarFieldContainer[str]
    ends: _containers.RepeatedCompositeFieldContainer[GenerateReply.End]
    def __init__(self, prompts: _Optional[bytes] = ..., copies: _Optional[bytes] = ..., lengths: _Optional[bytes] = ..., tokens: _Optional[bytes] = ..., texts: _Optional[_Iterable[str]] = ..., ends: _Optional[_Iterable[_Union[GenerateReply.End, _Mapping]]] = ...) -> None: ...

class ForkRequest(_message.Message):
    __slots__ = ("model", "version", "tenant", "id", "copies", "incarnation")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    tenant: str
    id: str
    copies: _containers.RepeatedScalarFieldContainer[str]
    incarnation: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., tenant: _Optional[str] = ..., id: _Optional[str] = ..., copies: _Optional[_Iterable[str]] = ..., incarnation: _Optional[int] = ...) -> None: ...

class ForkReply(_message.Message):
    __slots__ = ("position", "version", "error")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    position: int
    version: str
    error: Error
    def __init__(self, position: _Optional[int] = ..., version: _Optional[str] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelsReply(_message.Message):
    __slots__ = ("models", "frame_bytes", "frame_rows")
    class Model(_message.Message):
        __slots__ = ("name", "version", "spec", "device")
        NAME_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        SPEC_FIELD_NUMBER: _ClassVar[int]
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        name: str
        version: str
        spec: str
        device: str
        def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., spec: _Optional[str] = ..., device: _Optional[str] = ...) -> None: ...
    MODELS_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAME_ROWS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelsReply.Model]
    frame_bytes: int
    frame_rows: int
    def __init__(self, models: _Optional[_Iterable[_Union[ModelsReply.Model, _Mapping]]] = ..., frame_bytes: _Optional[int] = ..., frame_rows: _Optional[int] = ...) -> None: ...

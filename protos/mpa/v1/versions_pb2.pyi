import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VersionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_STATE_UNSPECIFIED: _ClassVar[VersionState]
    VERSION_STATE_UNLOADED: _ClassVar[VersionState]
    VERSION_STATE_LOADING: _ClassVar[VersionState]
    VERSION_STATE_AVAILABLE: _ClassVar[VersionState]
    VERSION_STATE_DRAINING: _ClassVar[VersionState]
    VERSION_STATE_FAILED: _ClassVar[VersionState]

class SwapWay(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SWAP_WAY_UNSPECIFIED: _ClassVar[SwapWay]
    SWAP_WAY_TWO_SLOTS: _ClassVar[SwapWay]
    SWAP_WAY_IN_PLACE: _ClassVar[SwapWay]
    SWAP_WAY_ADAPTER: _ClassVar[SwapWay]

class FollowerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FOLLOWER_STATE_UNSPECIFIED: _ClassVar[FollowerState]
    FOLLOWER_STATE_LOADING: _ClassVar[FollowerState]
    FOLLOWER_STATE_SERVING: _ClassVar[FollowerState]
    FOLLOWER_STATE_FAILED: _ClassVar[FollowerState]
    FOLLOWER_STATE_LOST: _ClassVar[FollowerState]
VERSION_STATE_UNSPECIFIED: VersionState
VERSION_STATE_UNLOADED: VersionState
VERSION_STATE_LOADING: VersionState
VERSION_STATE_AVAILABLE: VersionState
VERSION_STATE_DRAINING: VersionState
VERSION_STATE_FAILED: VersionState
SWAP_WAY_UNSPECIFIED: SwapWay
SWAP_WAY_TWO_SLOTS: SwapWay
SWAP_WAY_IN_PLACE: SwapWay
SWAP_WAY_ADAPTER: SwapWay
FOLLOWER_STATE_UNSPECIFIED: FollowerState
FOLLOWER_STATE_LOADING: FollowerState
FOLLOWER_STATE_SERVING: FollowerState
FOLLOWER_STATE_FAILED: FollowerState
FOLLOWER_STATE_LOST: FollowerState

class Contract(_message.Message):
    __slots__ = ("answer_template", "chat_template_sha256", "processor_sha256", "decoding", "training_template", "system_prompt", "normaliser", "pixel_budget")
    class Decoding(_message.Message):
        __slots__ = ("temperature", "max_new_tokens", "top_p")
        TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
        MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
        TOP_P_FIELD_NUMBER: _ClassVar[int]
        temperature: float
        max_new_tokens: int
        top_p: float
        def __init__(self, temperature: _Optional[float] = ..., max_new_tokens: _Optional[int] = ..., top_p: _Optional[float] = ...) -> None: ...
    ANSWER_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    CHAT_TEMPLATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    PROCESSOR_SHA256_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    TRAINING_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_PROMPT_FIELD_NUMBER: _ClassVar[int]
    NORMALISER_FIELD_NUMBER: _ClassVar[int]
    PIXEL_BUDGET_FIELD_NUMBER: _ClassVar[int]
    answer_template: str
    chat_template_sha256: str
    processor_sha256: str
    decoding: Contract.Decoding
    training_template: str
    system_prompt: str
    normaliser: str
    pixel_budget: str
    def __init__(self, answer_template: _Optional[str] = ..., chat_template_sha256: _Optional[str] = ..., processor_sha256: _Optional[str] = ..., decoding: _Optional[_Union[Contract.Decoding, _Mapping]] = ..., training_template: _Optional[str] = ..., system_prompt: _Optional[str] = ..., normaliser: _Optional[str] = ..., pixel_budget: _Optional[str] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("name", "state", "error", "weights_sha256", "parent", "run", "recipe", "create_time", "contract", "metrics", "leases", "canaries", "canaries_passed", "adapter_of", "size_bytes", "needed", "is_trial", "model")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    CANARIES_FIELD_NUMBER: _ClassVar[int]
    CANARIES_PASSED_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_OF_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    IS_TRIAL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: VersionState
    error: str
    weights_sha256: str
    parent: str
    run: str
    recipe: str
    create_time: _timestamp_pb2.Timestamp
    contract: Contract
    metrics: _containers.ScalarMap[str, float]
    leases: int
    canaries: int
    canaries_passed: int
    adapter_of: str
    size_bytes: int
    needed: str
    is_trial: bool
    model: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[VersionState, str]] = ..., error: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., parent: _Optional[str] = ..., run: _Optional[str] = ..., recipe: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., contract: _Optional[_Union[Contract, _Mapping]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., leases: _Optional[int] = ..., canaries: _Optional[int] = ..., canaries_passed: _Optional[int] = ..., adapter_of: _Optional[str] = ..., size_bytes: _Optional[int] = ..., needed: _Optional[str] = ..., is_trial: bool = ..., model: _Optional[str] = ...) -> None: ...

class Follower(_message.Message):
    __slots__ = ("address", "state", "version", "error", "silent_seconds")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SILENT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    address: str
    state: FollowerState
    version: str
    error: str
    silent_seconds: float
    def __init__(self, address: _Optional[str] = ..., state: _Optional[_Union[FollowerState, str]] = ..., version: _Optional[str] = ..., error: _Optional[str] = ..., silent_seconds: _Optional[float] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions", "live", "candidate", "previous", "swap_way", "swap_reason", "preset", "followers", "owner", "max_in_flight")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    SWAP_WAY_FIELD_NUMBER: _ClassVar[int]
    SWAP_REASON_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    FOLLOWERS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    live: str
    candidate: str
    previous: str
    swap_way: SwapWay
    swap_reason: str
    preset: str
    followers: _containers.RepeatedCompositeFieldContainer[Follower]
    owner: str
    max_in_flight: int
    def __init__(self, versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ..., live: _Optional[str] = ..., candidate: _Optional[str] = ..., previous: _Optional[str] = ..., swap_way: _Optional[_Union[SwapWay, str]] = ..., swap_reason: _Optional[str] = ..., preset: _Optional[str] = ..., followers: _Optional[_Iterable[_Union[Follower, _Mapping]]] = ..., owner: _Optional[str] = ..., max_in_flight: _Optional[int] = ...) -> None: ...

class GetVersionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetVersionResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: Version
    def __init__(self, version: _Optional[_Union[Version, _Mapping]] = ...) -> None: ...

class LoadVersionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class LoadVersionResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: Version
    def __init__(self, version: _Optional[_Union[Version, _Mapping]] = ...) -> None: ...

class PromoteVersionRequest(_message.Message):
    __slots__ = ("name", "expected_live", "card")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_LIVE_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    name: str
    expected_live: str
    card: str
    def __init__(self, name: _Optional[str] = ..., expected_live: _Optional[str] = ..., card: _Optional[str] = ...) -> None: ...

class PromoteVersionResponse(_message.Message):
    __slots__ = ("live", "previous", "swap_way", "followers")
    LIVE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    SWAP_WAY_FIELD_NUMBER: _ClassVar[int]
    FOLLOWERS_FIELD_NUMBER: _ClassVar[int]
    live: str
    previous: str
    swap_way: SwapWay
    followers: _containers.RepeatedCompositeFieldContainer[Follower]
    def __init__(self, live: _Optional[str] = ..., previous: _Optional[str] = ..., swap_way: _Optional[_Union[SwapWay, str]] = ..., followers: _Optional[_Iterable[_Union[Follower, _Mapping]]] = ...) -> None: ...

class RollbackVersionRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackVersionResponse(_message.Message):
    __slots__ = ("live", "previous", "swap_way")
    LIVE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    SWAP_WAY_FIELD_NUMBER: _ClassVar[int]
    live: str
    previous: str
    swap_way: SwapWay
    def __init__(self, live: _Optional[str] = ..., previous: _Optional[str] = ..., swap_way: _Optional[_Union[SwapWay, str]] = ...) -> None: ...

class ExportVersionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ExportVersionResponse(_message.Message):
    __slots__ = ("path", "data")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    path: str
    data: bytes
    def __init__(self, path: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class DeleteVersionRequest(_message.Message):
    __slots__ = ("name", "unload")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNLOAD_FIELD_NUMBER: _ClassVar[int]
    name: str
    unload: bool
    def __init__(self, name: _Optional[str] = ..., unload: bool = ...) -> None: ...

class DeleteVersionResponse(_message.Message):
    __slots__ = ("freed_bytes",)
    FREED_BYTES_FIELD_NUMBER: _ClassVar[int]
    freed_bytes: int
    def __init__(self, freed_bytes: _Optional[int] = ...) -> None: ...

from google.longrunning import operations_pb2 as _operations_pb2
from protos.mpa.v1 import versions_pb2 as _versions_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainingSample(_message.Message):
    __slots__ = ("image_sha256", "question", "answer", "weight", "anchor")
    IMAGE_SHA256_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    image_sha256: str
    question: str
    answer: str
    weight: float
    anchor: bool
    def __init__(self, image_sha256: _Optional[str] = ..., question: _Optional[str] = ..., answer: _Optional[str] = ..., weight: _Optional[float] = ..., anchor: bool = ...) -> None: ...

class UploadDatasetRequest(_message.Message):
    __slots__ = ("image", "sample")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    sample: TrainingSample
    def __init__(self, image: _Optional[bytes] = ..., sample: _Optional[_Union[TrainingSample, _Mapping]] = ...) -> None: ...

class UploadDatasetResponse(_message.Message):
    __slots__ = ("dataset", "samples", "images")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    samples: int
    images: int
    def __init__(self, dataset: _Optional[str] = ..., samples: _Optional[int] = ..., images: _Optional[int] = ...) -> None: ...

class Hyperparameters(_message.Message):
    __slots__ = ("learning_rate", "batch_size", "epochs", "warmup_ratio", "weight_decay", "loss", "seed", "lora_rank", "lora_alpha", "trainable", "tower_rate")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_RATIO_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LORA_RANK_FIELD_NUMBER: _ClassVar[int]
    LORA_ALPHA_FIELD_NUMBER: _ClassVar[int]
    TRAINABLE_FIELD_NUMBER: _ClassVar[int]
    TOWER_RATE_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    batch_size: int
    epochs: int
    warmup_ratio: float
    weight_decay: float
    loss: str
    seed: int
    lora_rank: int
    lora_alpha: float
    trainable: str
    tower_rate: float
    def __init__(self, learning_rate: _Optional[float] = ..., batch_size: _Optional[int] = ..., epochs: _Optional[int] = ..., warmup_ratio: _Optional[float] = ..., weight_decay: _Optional[float] = ..., loss: _Optional[str] = ..., seed: _Optional[int] = ..., lora_rank: _Optional[int] = ..., lora_alpha: _Optional[float] = ..., trainable: _Optional[str] = ..., tower_rate: _Optional[float] = ...) -> None: ...

class TrainRequest(_message.Message):
    __slots__ = ("request_id", "dataset", "base_version", "run", "recipe", "hyperparameters", "training_template", "contract", "is_trial")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    IS_TRIAL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    dataset: str
    base_version: str
    run: str
    recipe: str
    hyperparameters: Hyperparameters
    training_template: str
    contract: _versions_pb2.Contract
    is_trial: bool
    def __init__(self, request_id: _Optional[str] = ..., dataset: _Optional[str] = ..., base_version: _Optional[str] = ..., run: _Optional[str] = ..., recipe: _Optional[str] = ..., hyperparameters: _Optional[_Union[Hyperparameters, _Mapping]] = ..., training_template: _Optional[str] = ..., contract: _Optional[_Union[_versions_pb2.Contract, _Mapping]] = ..., is_trial: bool = ...) -> None: ...

class TrainMetadata(_message.Message):
    __slots__ = ("request_id", "base_version", "dataset", "step", "total_steps", "loss", "samples_per_second", "eta_seconds", "phase")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    base_version: str
    dataset: str
    step: int
    total_steps: int
    loss: float
    samples_per_second: float
    eta_seconds: float
    phase: str
    def __init__(self, request_id: _Optional[str] = ..., base_version: _Optional[str] = ..., dataset: _Optional[str] = ..., step: _Optional[int] = ..., total_steps: _Optional[int] = ..., loss: _Optional[float] = ..., samples_per_second: _Optional[float] = ..., eta_seconds: _Optional[float] = ..., phase: _Optional[str] = ...) -> None: ...

class TrainResponse(_message.Message):
    __slots__ = ("version", "train_loss", "seconds")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    version: str
    train_loss: float
    seconds: float
    def __init__(self, version: _Optional[str] = ..., train_loss: _Optional[float] = ..., seconds: _Optional[float] = ...) -> None: ...

class PlanTrainingRequest(_message.Message):
    __slots__ = ("base_version", "hyperparameters")
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_FIELD_NUMBER: _ClassVar[int]
    base_version: str
    hyperparameters: Hyperparameters
    def __init__(self, base_version: _Optional[str] = ..., hyperparameters: _Optional[_Union[Hyperparameters, _Mapping]] = ...) -> None: ...

class PlanTrainingResponse(_message.Message):
    __slots__ = ("fits", "reason", "memory_bytes", "free_memory_bytes", "micro_batch", "gradient_checkpointing", "swap_way", "swap_reason", "takes_anchors")
    FITS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MICRO_BATCH_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_FIELD_NUMBER: _ClassVar[int]
    SWAP_WAY_FIELD_NUMBER: _ClassVar[int]
    SWAP_REASON_FIELD_NUMBER: _ClassVar[int]
    TAKES_ANCHORS_FIELD_NUMBER: _ClassVar[int]
    fits: bool
    reason: str
    memory_bytes: int
    free_memory_bytes: int
    micro_batch: int
    gradient_checkpointing: bool
    swap_way: _versions_pb2.SwapWay
    swap_reason: str
    takes_anchors: bool
    def __init__(self, fits: bool = ..., reason: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., free_memory_bytes: _Optional[int] = ..., micro_batch: _Optional[int] = ..., gradient_checkpointing: bool = ..., swap_way: _Optional[_Union[_versions_pb2.SwapWay, str]] = ..., swap_reason: _Optional[str] = ..., takes_anchors: bool = ...) -> None: ...

class GetSampleLossesRequest(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: str
    def __init__(self, operation: _Optional[str] = ...) -> None: ...

class GetSampleLossesResponse(_message.Message):
    __slots__ = ("first", "epochs", "losses")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    first: int
    epochs: int
    losses: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, first: _Optional[int] = ..., epochs: _Optional[int] = ..., losses: _Optional[_Iterable[float]] = ...) -> None: ...

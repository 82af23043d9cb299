"""What the inference service reads from the environment."""

from pydantic import Field

from services.common.manifest import Provenance
from services.common.settings import (
    MIB,
    ArtifactSettings,
    BaseFilesSettings,
    RegistryClientSettings,
    ServerSettings,
    TrustSettings,
)

GIB = 1024 * MIB


class InferenceSettings(ServerSettings, ArtifactSettings, RegistryClientSettings, BaseFilesSettings, TrustSettings):
    """Address and limits of the server, registry, artifact store, base files, trusted keys, engine."""

    inference_admit: Provenance = Field(
        Provenance.DECLARED,
        description="Adapters served: witnessed for those alone that Tenon trained, declared for imported ones, too.",
    )
    inference_allow_derivatives: bool = Field(
        False,
        description="Serve an adapter also on a base that is declared derived from its own, if a request names that base "
        "and the adapter's probe is met there.",
    )

    inference_memory_bytes: int = Field(
        16 * GIB, ge=MIB, description="Most memory that the weights of all loaded bases may take."
    )
    inference_dtype: str = Field(
        "float32", pattern="^(float32|bfloat16|float16)$", description="Number format that bases compute in."
    )
    inference_device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where bases compute.")
    inference_threads: int | None = Field(
        None, ge=1, le=1024, description="Processor threads of one computation; unset leaves it to torch."
    )
    inference_load_threads: int = Field(
        4, ge=1, le=256, description="Bases and adapters that are fetched and checked at the same time."
    )
    inference_verify_always: bool = Field(
        False, description="Hash a base's files at every load, even if they have not changed since the last time."
    )
    inference_queue_size: int = Field(
        64, ge=1, le=10_000, description="Requests that may wait for one base; one more is answered QUEUE_FULL."
    )
    inference_idle_adapters: int = Field(
        64, ge=0, le=100_000, description="Adapters of one base that stay in memory when no request uses them."
    )
    inference_adapter_file_bytes: int = Field(2 * GIB, ge=MIB, description="Largest adapter file that is loaded.")
    inference_adapter_cache_bytes: int = Field(
        10 * GIB, ge=MIB, description="Disk that downloaded adapters may take below TENON_CACHE_DIR."
    )

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
        16 * GIB,
        ge=MIB,
        description="Most memory that all loaded bases may take: their weights, and their budgets for keys and values.",
    )
    inference_kv_bytes: int = Field(
        1 * GIB, ge=MIB, description="Memory for keys and values of the requests of one base."
    )
    inference_prefix_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="Memory in which one base keeps keys and values of how earlier requests began, for later ones that "
        "begin alike.",
    )
    inference_batch_rows: int = Field(64, ge=1, le=4096, description="Requests of one base that compute together.")
    inference_slots: int = Field(
        64, ge=1, le=4096, description="Adapters of one base that can take part in one computation."
    )
    inference_kernels: bool = Field(
        default=True,
        description="Compile kernels for this processor at the first start, where there is a C compiler, and use them.",
    )
    inference_dtype: str = Field(
        "auto",
        pattern="^(auto|float32|bfloat16|float16)$",
        description="Number format that bases compute in; auto takes the one they are stored in where this machine "
        "computes fast in it, else float32.",
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
        256, ge=1, le=10_000, description="Requests that may wait for one base; one more is answered QUEUE_FULL."
    )
    inference_adapter_memory_bytes: int = Field(
        2 * GIB, ge=MIB, description="Most memory that the adapters of one base may take; idle ones make room."
    )
    inference_adapter_file_bytes: int = Field(2 * GIB, ge=MIB, description="Largest adapter file that is loaded.")
    inference_adapter_cache_bytes: int = Field(
        10 * GIB, ge=MIB, description="Disk that downloaded adapters may take below TENON_CACHE_DIR."
    )

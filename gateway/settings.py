"""Settings of the gateway."""

from pydantic import Field

from services.common.settings import MIB, ListeningSettings, RegistryClientSettings


class GatewaySettings(ListeningSettings, RegistryClientSettings):
    """What ``python -m gateway`` understands."""

    trainer_target: str = Field(description="host:port of the trainer.")
    inference_target: str = Field(description="host:port of inference.")
    grpc_max_message_bytes: int = Field(16 * MIB, ge=MIB, le=256 * MIB, description="Largest message accepted or sent.")
    drain_seconds: float = Field(10.0, ge=0, description="How long a stopping server lets its calls end.")
    http_max_body_bytes: int = Field(8 * MIB, ge=1, description="Largest JSON body accepted, in bytes.")
    http_max_upload_bytes: int = Field(2048 * MIB, ge=1, description="Largest body of an upload accepted, in bytes.")
    http_max_adapter_bytes: int = Field(
        2048 * MIB, ge=1, description="Largest body of an adapter's import accepted, in bytes."
    )
    http_head_seconds: float = Field(
        20.0, gt=0, description="How long the head of a request, its line and headers, may take to arrive."
    )
    http_body_seconds: float = Field(60.0, gt=0, description="How long a JSON body may take to arrive.")
    http_stall_seconds: float = Field(
        60.0, gt=0, description="How long an upload may bring nothing, and a client take nothing of an answer."
    )
    generate_seconds: float = Field(600.0, gt=0, description="How long an answer may take, loading its base included.")
    upload_seconds: float = Field(3600.0, gt=0, description="How long an upload and its check may take.")

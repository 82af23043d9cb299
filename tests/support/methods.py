"""Every method of the contracts, and requests for them."""

from collections.abc import Iterator

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from tenon.iam.v1 import iam_pb2
from tenon.inference.v1 import inference_pb2
from tenon.registry.v1 import adapter_pb2, base_model_pb2
from tenon.trainer.v1 import adapter_transfer_pb2, dataset_pb2, storage_pb2, training_job_pb2

CONTRACTS = (
    iam_pb2, inference_pb2, adapter_pb2, base_model_pb2, adapter_transfer_pb2, dataset_pb2, storage_pb2, training_job_pb2,
)  # fmt: skip


def methods() -> Iterator[MethodDescriptor]:
    """Every method of every contract."""
    for contract in CONTRACTS:
        for service in contract.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def path(method: MethodDescriptor) -> str:
    """As gRPC calls it."""
    assert method.containing_service is not None
    return f"/{method.containing_service.full_name}/{method.name}"


def fill(message: Message, name: str) -> None:
    """Write a name into every text of a message, whatever it is for."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name):
            continue
        value = getattr(message, field.name)
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(message, field.name, name)
        elif field.type == field.TYPE_STRING:
            value.append(name)
        elif field.message_type is not None and not field.is_repeated:
            value.SetInParent()
            if field.message_type.full_name.startswith("tenon."):
                fill(value, name)

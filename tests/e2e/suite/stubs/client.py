"""Calls a registry with nothing but tenon-client: ``client.py HOST:PORT KEY [AUTHORITIES]`` prints what it found as JSON.

With AUTHORITIES, a file of certificates to believe, it speaks TLS.
"""

import json
import sys
from pathlib import Path
from typing import cast

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tenon.errors.v1 import error_reason_pb2
from tenon.registry.v1 import adapter_pb2, adapter_pb2_grpc, base_model_pb2, base_model_pb2_grpc

PREFIX = "ERROR_REASON_"


def reason_of(error: grpc.RpcError) -> tuple[int, dict[str, str]]:
    """Why a call was refused, a number of ErrorReason, with what there is to know about it."""
    # What a call raises is the call as well, which grpc's types do not say.
    trailers = dict(cast("grpc.Call", error).trailing_metadata())
    for detail in Status.FromString(trailers["grpc-status-details-bin"]).details:
        info = ErrorInfo()
        if detail.Unpack(info) and info.domain == "tenon":
            return error_reason_pb2.ErrorReason.Value(PREFIX + info.reason), dict(info.metadata)
    raise error


def open_channel(target: str, authorities: Path | None) -> grpc.Channel:
    """A connection, in plain text or by TLS."""
    if authorities is None:
        return grpc.insecure_channel(target)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(authorities.read_bytes()))


def main(target: str, key: str, authorities: Path | None = None) -> None:
    """List the bases, find an adapter's latest version, and ask for an adapter that is not there."""
    metadata = (("authorization", f"Bearer {key}"),)
    with open_channel(target, authorities) as channel:
        bases = base_model_pb2_grpc.BaseModelServiceStub(channel)
        listed = bases.ListBaseModels(base_model_pb2.ListBaseModelsRequest(), metadata=metadata, timeout=10)
        adapters = adapter_pb2_grpc.AdapterServiceStub(channel)
        found = {"bases": [base.name for base in listed.base_models]}
        for name in ("parrot", "nobody"):
            request = adapter_pb2.ResolveAdapterRequest(name=f"projects/default/adapters/{name}")
            try:
                version = adapters.ResolveAdapter(request, metadata=metadata, timeout=10).adapter_version
                found[name] = [version.name, version.base_model]
            except grpc.RpcError as error:
                reason, told = reason_of(error)
                assert reason == error_reason_pb2.ERROR_REASON_ADAPTER_NOT_FOUND
                found[name] = [error_reason_pb2.ErrorReason.Name(reason), *told.values()]
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(Path, sys.argv[3:]))

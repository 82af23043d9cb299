"""tenon.inference.v1.InferenceService."""

# ruff: noqa: N802 - gRPC calls methods by the names of the contract.

from collections.abc import AsyncIterator
from contextlib import aclosing

from services.common.rpc.interceptors import Context
from services.inference import convert
from services.inference.bases import BasePool
from services.inference.generate import Generator
from services.inference.loaded import list_loaded
from services.inference.unload import Unloader
from tenon.inference.v1 import inference_pb2 as pb
from tenon.inference.v1 import inference_pb2_grpc


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Answers; status codes as in inference.proto."""

    def __init__(self, generator: Generator, unloader: Unloader, bases: BasePool) -> None:
        """Serve these."""
        self._generator = generator
        self._unloader = unloader
        self._bases = bases

    async def Generate(self, request: pb.GenerateRequest, _: Context) -> pb.GenerateResponse:
        """See inference.proto."""
        return convert.generate_response(await self._generator.answer(convert.generation_request(request)))

    async def StreamGenerate(self, request: pb.GenerateRequest, _: Context) -> AsyncIterator[pb.StreamGenerateResponse]:
        """See inference.proto."""
        async with aclosing(self._generator.stream(convert.generation_request(request))) as pieces:
            async for piece in pieces:
                yield convert.stream_response(piece)

    async def LoadModel(self, request: pb.LoadModelRequest, _: Context) -> pb.LoadModelResponse:
        """See inference.proto."""
        model = await self._generator.load(request.model, request.base_model)
        return pb.LoadModelResponse(model=convert.loaded_model(model))

    async def UnloadModel(self, request: pb.UnloadModelRequest, _: Context) -> pb.UnloadModelResponse:
        """See inference.proto."""
        return pb.UnloadModelResponse(unloaded=await self._unloader.unload(request.model))

    async def ListLoadedModels(self, request: pb.ListLoadedModelsRequest, _: Context) -> pb.ListLoadedModelsResponse:
        """See inference.proto."""
        models, token = list_loaded(self._bases, request.page_size, request.page_token)
        return pb.ListLoadedModelsResponse(models=map(convert.loaded_model, models), next_page_token=token)

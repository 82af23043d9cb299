"""The decode loop of one request: prompt in, one token at a time out; and one step of it by itself."""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from services.common.errors import DomainError, Reason
from services.inference.engine.protocol import EngineRequest, FinishReason, TokenEvent
from services.inference.engine.sampling import RowPicker, pick


def decode(model: PreTrainedModel, request: EngineRequest) -> Iterator[TokenEvent]:
    """Generate until a stop token or ``max_tokens``; the caller may stop asking at any time.

    Raises:
        DomainError: what ``pick`` answers; OUT_OF_MEMORY.
    """
    device = next(model.parameters()).device
    fed, cache, picker = torch.tensor([request.token_ids], device=device), None, None
    for count in range(1, request.max_tokens + 1):
        logits, cache = _step(model, fed, cache)
        picker = picker or _picker(request, len(logits))
        picked = pick(logits[None], [picker])[0]
        if isinstance(picked, DomainError):
            raise picked
        finish = _finish(picker, count, request)
        yield TokenEvent(picked.token_id, finish, picked.logprobs)
        if finish is not None:
            return
        fed = torch.tensor([[picked.token_id]], device=device)


def next_token_logits(model: PreTrainedModel, token_ids: Sequence[int]) -> torch.Tensor:
    """Logits [vocabulary] after a prompt, float32 on the CPU; finite or not.

    Raises:
        DomainError: OUT_OF_MEMORY.
    """
    logits, _ = _step(model, torch.tensor([token_ids], device=next(model.parameters()).device), None)
    return logits.to(dtype=torch.float32, device="cpu")


def _step(model: PreTrainedModel, fed: torch.Tensor, cache: object) -> tuple[torch.Tensor, object]:
    """Logits [vocabulary] after the last token fed, and the keys and values so far."""
    try:
        with torch.inference_mode():
            output = model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
    except (torch.OutOfMemoryError, MemoryError):
        raise _out_of_memory() from None
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise _out_of_memory() from None
        raise
    return output.logits[0, -1], output.past_key_values


def _picker(request: EngineRequest, vocabulary_size: int) -> RowPicker:
    return RowPicker(
        request.sampling,
        request.token_ids,
        vocabulary_size,
        request.stop_token_ids,
        request.constraint,
        adapter=request.adapter,
    )


def _finish(picker: RowPicker, count: int, request: EngineRequest) -> FinishReason | None:
    if picker.ended:
        return FinishReason.STOP
    return FinishReason.LENGTH if count == request.max_tokens else None


def _out_of_memory() -> DomainError:
    return DomainError(
        Reason.OUT_OF_MEMORY, "There is not enough memory for this request. Send a shorter one.", retry_after=5.0
    )

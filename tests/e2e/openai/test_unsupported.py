"""What OpenAI's clients have and Tenon has not: errors of the client's own classes, with a sentence."""

from collections.abc import Callable
from typing import Any

import openai
import pytest

CALLS: dict[str, Callable[[openai.OpenAI], Any]] = {
    "embeddings": lambda c: c.embeddings.create(model="tiny-qwen", input="x"),
    "moderations": lambda c: c.moderations.create(input="x"),
    "images": lambda c: c.images.generate(prompt="x"),
    "speech": lambda c: c.audio.speech.create(model="x", voice="alloy", input="x"),
    "transcriptions": lambda c: c.audio.transcriptions.create(model="x", file=("x.wav", b"x")),
    "videos": lambda c: c.videos.create(prompt="x"),
    "responses": lambda c: c.responses.create(model="tiny-qwen", input="x"),
    "conversations": lambda c: c.conversations.create(),
    "batches": lambda c: c.batches.list(),
    "uploads": lambda c: c.uploads.cancel("upload_1"),
    "vector stores": lambda c: c.vector_stores.list(),
    "evals": lambda c: c.evals.list(),
    "containers": lambda c: c.containers.list(),
    "stored completions": lambda c: c.chat.completions.list(),
    "a stored completion": lambda c: c.chat.completions.retrieve("chatcmpl-1"),
    "permissions": lambda c: c.fine_tuning.checkpoints.permissions.retrieve("ftckpt-1"),
    "graders": lambda c: c.fine_tuning.alpha.graders.validate(
        grader={"type": "string_check", "name": "x", "input": "x", "reference": "x", "operation": "eq"}
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_refused_with_a_sentence(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        CALLS[name](client)
    assert (caught.value.code, caught.value.type) == ("unsupported_endpoint", "not_found_error")
    assert caught.value.message.startswith("Error code: 404") or "Tenon has no" in caught.value.message


def test_a_mistyped_address_is_told_apart(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.get("/chat/completion", cast_to=object)
    assert caught.value.code == "unknown_url"

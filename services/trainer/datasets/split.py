"""Which rows are held out, decided by what they say: equal rows are never on both sides, and no order matters."""

from hashlib import blake2b
from typing import Final

from services.trainer.datasets.model import Conversation, TextPair

DIGEST_BYTES: Final = 16

Example = Conversation | TextPair


def content_digest(example: Example) -> bytes:
    """Digest what is learnt of a row: roles, texts, and which answers count; the same in every process."""
    if isinstance(example, TextPair):
        shape, texts = "", [example.prompt, example.completion]
    else:
        shape = "".join([turn.role[0] + ("+" if turn.supervised else "-") for turn in example.messages])
        texts = [turn.content for turn in example.messages]
    # No text in UTF-8 holds the byte 0xFF, so no two different rows are written the same.
    written = b"\xff".join([text.encode() for text in (shape, *texts)])
    return blake2b(written, digest_size=DIGEST_BYTES).digest()

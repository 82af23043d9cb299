"""Which rows are held out, decided by what they say: equal rows are never on both sides, and no order matters."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from services.trainer.datasets.model import Conversation, TextPair

DIGEST_BYTES: Final = 16

LEAST_ROWS: Final = 50
"""Different rows from which on some are held out unasked: of fewer, none can be spared and few tell little."""

USUAL_FRACTION: Final = 0.1
MOST_FRACTION: Final = 0.5

SPLIT_SEED: Final = 0
"""Not the job's seed: every job holds out the same rows, so that held-out losses of two jobs can be compared, and what one
version was measured on, the next one has not learnt."""

_MASK: Final = 2**64 - 1

Example = Conversation | TextPair


def content_digest(example: Example) -> bytes:
    """Digest what is learnt of a row: roles, texts, and which answers count; the same in every process."""
    # No text in UTF-8 holds the byte 0xFF, so no two different rows are written the same.
    written = b"\xff".join([text.encode() for text in _content(example)])
    return blake2b(written, digest_size=DIGEST_BYTES).digest()


def content_hash(example: Example) -> bytes:
    """Digest the same in eight bytes and a third of the time, for this process alone."""
    return (hash(_content(example)) & _MASK).to_bytes(8, "little")


def _content(example: Example) -> tuple[str, ...]:
    """What kind of row it is, then its texts."""
    if isinstance(example, TextPair):
        return "", example.prompt, example.completion
    shape = "".join([turn.role[0] + ("+" if turn.supervised else "-") for turn in example.messages])
    return (shape, *[turn.content for turn in example.messages])


def usual_fraction(distinct_rows: int, *, has_validation: bool) -> float:
    """Share of different rows that is held out where nobody asked for one."""
    return USUAL_FRACTION if distinct_rows >= LEAST_ROWS and not has_validation else 0.0


def held_out_count(distinct_rows: int, fraction: float) -> int:
    """How many of so many different rows are held out: rounded, at least one where any is asked for, and never all."""
    return min(max(1, round(distinct_rows * fraction)), distinct_rows - 1) if fraction > 0 and distinct_rows > 1 else 0


def held_out(digests: Iterable[bytes], fraction: float, seed: int = SPLIT_SEED) -> frozenset[bytes]:
    """Choose the contents that are held out.

    The same contents give the same choice in any order and however often each occurs, and most of the choice stays where
    rows are added.

    Args:
        digests: ``content_digest`` of every row.
        fraction: share of the different ones, 0 to MOST_FRACTION.
        seed: of the choice.

    Returns:
        ``held_out_count`` of the digests.
    """
    key = seed.to_bytes(8, "big")
    # Ranked by a keyed digest: nobody can write rows that are sure to be held out, or not to be, under every seed.
    ranked = sorted(set(digests), key=lambda digest: blake2b(digest, digest_size=DIGEST_BYTES, key=key).digest())
    return frozenset(ranked[: held_out_count(len(ranked), fraction)])

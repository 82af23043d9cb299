"""Which rows are held out, decided by what they say: equal rows are never on both sides, and no order matters.

Synthetic rows, which were made from others, are never measured on, and never learnt where what they were made from is.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from services.common.rows.content import DIGEST_BYTES

LEAST_ROWS: Final = 50
"""Different rows from which on some are held out unasked: of fewer, none can be spared and few tell little."""

USUAL_FRACTION: Final = 0.1
MOST_FRACTION: Final = 0.5

SPLIT_SEED: Final = 0
"""Not the job's seed: every job holds out the same rows, so that held-out losses of two jobs can be compared, and what one
version was measured on, the next one has not learnt."""


class Origin(NamedTuple):
    """What a row says, and what the row says that it was made from, as content digests; None where it is no one's."""

    content: bytes
    source: bytes | None


class Parts(NamedTuple):
    """Rows by what becomes of them, each named by its place, in order.

    Attributes:
        learnt: those to train on.
        measured: those to measure on; never synthetic.
        withheld: synthetic ones that could tell what is measured, and synthetic ones of a validation data set.
    """

    learnt: tuple[int, ...]
    measured: tuple[int, ...]
    withheld: int


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


def genuine(rows: Iterable[Origin]) -> frozenset[bytes]:
    """Return what the rows say that were not made from others: of these alone some may be held out."""
    return frozenset(row.content for row in rows if row.source is None)


def hold_out(rows: Sequence[Origin], fraction: float) -> Parts:
    """Part the rows of one data set.

    Where any row is held out, a synthetic one is learnt only if the row it was made from is learnt too. If that one is not
    there, it may be a held-out row as it was before somebody edited it.

    Args:
        rows: of the data set.
        fraction: share of the different genuine ones to hold out.
    """
    known = genuine(rows)
    chosen = held_out(known, fraction)
    sources = known - chosen
    learnt = [
        index
        for index, (content, source) in enumerate(rows)
        if content not in chosen and (source is None or not chosen or source in sources)
    ]
    measured = [index for index, (content, source) in enumerate(rows) if source is None and content in chosen]
    return Parts(tuple(learnt), tuple(measured), len(rows) - len(learnt) - len(measured))


def keep_apart(training: Sequence[Origin], validation: Sequence[Origin]) -> tuple[Parts, Parts]:
    """Part two data sets, one to learn and one to measure on.

    A row that both have is learnt. A synthetic row is not learnt where it was made from one to measure on, nor where it was
    made from another synthetic row, which may have been; synthetic rows of the validation data set are passed over.

    Returns:
        The training rows, none measured; then the validation rows, none learnt.
    """
    known = genuine(training)
    barred = (genuine(validation) - known) | (frozenset(row.content for row in training) - known)
    learnt = [index for index, row in enumerate(training) if row.source not in barred]
    seen = frozenset(training[index].content for index in learnt)
    unseen = [index for index, (content, source) in enumerate(validation) if source is None and content not in seen]
    synthetic = sum(row.source is not None for row in validation)
    return Parts(tuple(learnt), (), len(training) - len(learnt)), Parts((), tuple(unseen), synthetic)

"""One step's rows, packed: what is computed, in which order, and where everything about it lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from services.inference.engine.batched.arrangement import Arrangement, OtherChange, Stacks, Tokens, arrange
from services.inference.engine.batched.attention import WIDEST_GAP, AttentionPlan, PromptPiece, Run
from services.inference.engine.batched.kv import Span
from services.inference.engine.batched.rows import Piece
from services.inference.engine.batched.slots import Bank
from services.inference.engine.changes import Change
from services.inference.engine.native.kernels import Kernels

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row and its adapter are.

    Attributes:
        span: of keys and values.
        bank: of the adapter's slot, or None without an adapter, or for one that changes no linear module.
        slot: in the bank.
        others: what the adapter does to modules beside.
    """

    span: Span
    bank: Bank | None
    slot: int
    others: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class PackedStep:
    """One step, ready to be computed.

    Attributes:
        pieces: in the order of their tokens.
        ids: [1, tokens].
        positions: [1, tokens] of each token in its row.
        ends: [complete pieces] the last token of each complete piece: those whose logits are wanted.
        attention: where the tokens are in memory.
        body: their adapters, or None if there is none.
        head: those of the last tokens, likewise.
    """

    pieces: Sequence[Piece]
    ids: Tensor
    positions: Tensor
    ends: Tensor
    attention: AttentionPlan
    body: Tokens | None
    head: Tokens | None


def pack(
    pieces: Sequence[Piece], place_of: Callable[[Piece], Place], device: torch.device, kernels: Kernels | None = None
) -> PackedStep:
    """Pack the pieces of a step: first tokens that are generated, then prompts; in both, those of one adapter together."""
    placed = sorted(((piece, place_of(piece)) for piece in pieces), key=lambda item: _order(*item))
    ids = [token for piece, _ in placed for token in piece.row.tokens[piece.row.computed :][: piece.count]]
    spans = [(place.span.begin, piece.row.computed, piece.count) for piece, place in placed]
    positions = [position for _, start, count in spans for position in range(start, start + count)]
    places = [begin + position for begin, start, count in spans for position in range(start, start + count)]
    last = -1
    ends = [last for piece, _ in placed if (last := last + piece.count) >= 0 and piece.complete]
    complete = [(piece, place, 1) for piece, place in placed if piece.complete]
    at = torch.tensor(positions, device=device)
    return PackedStep(
        [piece for piece, _ in placed],
        torch.tensor([ids], device=device),
        at.unsqueeze(0),
        torch.tensor(ends, device=device),
        _attention(placed, torch.tensor(places, device=device), at),
        _tokens([(piece, place, piece.count) for piece, place in placed], device, kernels),
        _tokens(complete, device, kernels),
    )


def _order(piece: Piece, place: Place) -> tuple[bool, int, int, int]:
    """By kind, bank and slot; rows of the same adapter, or of none, by where they lie in memory."""
    return not piece.row.decoding, id(place.bank) if place.bank else 0, place.slot, place.span.begin


def _attention(placed: Sequence[tuple[Piece, Place]], places: Tensor, positions: Tensor) -> AttentionPlan:
    decoding = [(place.span, piece.row.computed + 1) for piece, place in placed if piece.row.decoding]
    prompts, begin = [], len(decoding)
    for piece, place in placed[len(decoding) :]:
        prompts.append(PromptPiece(slice(begin, begin + piece.count), place.span.begin, piece.row.computed))
        begin += piece.count
    runs, order = _runs(decoding, places.device)
    if order == list(range(len(decoding))):
        return AttentionPlan(places, positions, len(decoding), runs, None, None, prompts)
    back = [0] * len(decoding)
    for index, token in enumerate(order):
        if token >= 0:
            back[token] = index
    device = places.device
    spans = torch.tensor([max(token, 0) for token in order], device=device)
    return AttentionPlan(places, positions, len(decoding), runs, spans, torch.tensor(back, device=device), prompts)


def _runs(decoding: Sequence[tuple[Span, int]], device: torch.device) -> tuple[list[Run], list[int]]:
    """Rows whose spans are neighbours, together; and the token of each of their spans, or -1."""
    runs: list[Run] = []
    order: list[int] = []
    lengths: list[int] = []
    first = last = Span(0, 0)

    def close() -> None:
        if lengths:
            run = Run(first.begin, first.capacity, torch.tensor(lengths, device=device), max(lengths))
            runs.append(run)
            lengths.clear()

    for token in sorted(range(len(decoding)), key=lambda i: (decoding[i][0].capacity, decoding[i][0].begin)):
        span, length = decoding[token]
        gap, rest = divmod(span.begin - last.begin, span.capacity)
        if not lengths or span.capacity != first.capacity or rest or gap - 1 > WIDEST_GAP:
            close()
            first = span
        else:
            lengths += [0] * (gap - 1)
            order += [-1] * (gap - 1)
        lengths.append(length)
        order.append(token)
        last = span
    close()
    return runs, order


def _tokens(placed: Sequence[tuple[Piece, Place, int]], device: torch.device, kernels: Kernels | None) -> Tokens | None:
    """What adapters do to some tokens of each piece."""
    total = sum(count for _, _, count in placed)
    # Generated tokens and prompts apart: so both are spread evenly.
    taken: dict[tuple[Bank, bool], list[tuple[int, int]]] = {}
    begins: dict[tuple[Bank, bool], int] = {}
    others: dict[str, dict[int, tuple[Change, list[int]]]] = {}
    begin = 0
    for piece, place, count in placed:
        if place.bank is not None:
            key = (place.bank, piece.row.decoding)
            begins.setdefault(key, begin)
            taken.setdefault(key, []).append((place.slot, count))
        for name, change in place.others.items():
            others.setdefault(name, {}).setdefault(id(change), (change, []))[1].extend(range(begin, begin + count))
        begin += count
    parts: list[tuple[Stacks, Arrangement]] = [
        (key[0].window(arrangement.slots), arrangement)
        for key, pieces in taken.items()
        for arrangement in arrange(pieces, begins[key], device, kernels)
    ]
    if not parts and not others:
        return None
    changed = {
        name: [OtherChange(torch.tensor(tokens, device=device), change) for change, tokens in found.values()]
        for name, found in others.items()
    }
    return Tokens(total, parts, changed)

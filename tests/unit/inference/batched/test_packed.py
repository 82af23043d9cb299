"""Packed matrices: what they compute, and rows read where they lie."""

import pytest
import torch

from services.inference.engine.batched.packed import PackedEmbedding, PackedMatrix, PackedRows, pack, packs

SHAPES = [(1, 1), (5, 3), (64, 64), (100, 48), (1000, 72), (2049, 130)]


def matrix(rows: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(rows * width)).to(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_are_read_where_they_lie(shape: tuple[int, int]) -> None:
    plain = matrix(*shape)
    rows = PackedRows.find(pack(plain), plain)
    if rows is None:
        pytest.skip("an order that is not known here: such a matrix stays as it is")
    ids = torch.randint(shape[0], (3, 7))
    assert len(rows) == shape[0]
    assert torch.equal(rows(ids), plain[ids])


def test_an_order_that_is_not_the_one_is_not_taken() -> None:
    assert PackedRows.find(pack(matrix(200, 64)), matrix(200, 64).flip(0)) is None


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("pieces", [1, 4])
def test_pieces_compute_what_the_whole_does(pieces: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, x, residual = matrix(1000, 64), matrix(5, 64), matrix(5, 1000)
    offset = matrix(1, 1000)[0] if bias else None
    monkeypatch.setattr(PackedMatrix, "LARGEST", 2**30 if pieces == 1 else 1000)
    want = torch.nn.functional.linear(x, plain, offset)
    packed = PackedMatrix.whole(plain.clone())
    assert len(packed.pieces) == pieces
    assert torch.equal(packed.dense(), plain)
    torch.testing.assert_close(packed.product(x, offset), want)
    torch.testing.assert_close(packed.product_onto(x, offset, residual), want + residual)


@pytest.mark.parametrize("pieces", [1, 4])
def test_one_matrix_embeds_and_makes_logits(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = matrix(1000, 64)
    monkeypatch.setattr(PackedMatrix, "LARGEST", 2**30 if pieces == 1 else 1000)
    shared = PackedEmbedding.share(plain.clone())
    if shared is None:
        pytest.skip("an order that is not known here: such a matrix stays as it is")
    packed, embedding = shared
    ids = torch.tensor([[0, 999, 249, 250, 251, 499, 500, 750, 42]])
    assert torch.equal(embedding(ids), plain[ids])
    assert torch.equal(embedding.weight, plain)
    torch.testing.assert_close(packed.product(matrix(3, 64), None), matrix(3, 64) @ plain.T)


def test_short_formats_are_read_too() -> None:
    plain = matrix(300, 64, torch.bfloat16)
    if not packs(plain):
        pytest.skip("this processor does not compute with it")
    rows = PackedRows.find(pack(plain), plain)
    assert rows is None or torch.equal(rows(torch.arange(300)), plain)

"""The kernels in C against what torch computes."""

import stat
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from services.inference.engine.native import compiler
from services.inference.engine.native.compiler import CompilingError, compiled
from services.inference.engine.native.kernels import (
    AS_IT_IS,
    GATE,
    NORM,
    AdaptedPart,
    AdapterTable,
    Before,
    HeadShape,
    Kernels,
    NativeHeads,
)
from services.inference.engine.native.matrix import NativeMatrix


@pytest.fixture(scope="module", params=[(), ("-DWIDTH=4",), ("-DWIDTH=8",), ("-DWIDTH=16",)], ids=str)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """As they are here, and in the shapes that they have on other processors."""
    strict = ("-Wall", "-Wextra", "-Werror", "-Wno-psabi")
    return Kernels(compiled(tmp_path_factory.mktemp("kernels") / "made", *strict, *request.param))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def matrix_of(kernels: Kernels, dense: Tensor, bias: Tensor | None = None) -> NativeMatrix:
    matrix = NativeMatrix(kernels, *dense.shape)
    matrix.write(0, dense)
    matrix.use_bias(bias)
    return matrix


@pytest.mark.parametrize("tokens", [1, 2, 5, 6, 7, 16, 33, 64, 300])
@pytest.mark.parametrize(("inputs", "outputs"), [(32, 48), (64, 33), (30, 7), (2100, 70)])
def test_a_product(kernels: Kernels, tokens: int, inputs: int, outputs: int) -> None:
    dense, bias = torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs)
    x, residual = torch.randn(tokens, inputs), torch.randn(tokens, outputs)
    plain = matrix_of(kernels, dense)
    close(plain.product(x, AS_IT_IS), x @ dense.T)
    close(plain.product(x, AS_IT_IS, residual), x @ dense.T + residual)
    biased = matrix_of(kernels, dense, bias)
    close(biased.product(x, AS_IT_IS), functional.linear(x, dense, bias))
    close(biased.product(x, AS_IT_IS, residual), functional.linear(x, dense, bias) + residual)


@pytest.mark.parametrize("tokens", [1, 6, 17, 64])
@pytest.mark.parametrize("inputs", [32, 45, 300])
def test_what_comes_before_a_product(kernels: Kernels, tokens: int, inputs: int) -> None:
    matrix = matrix_of(kernels, dense := torch.randn(40, inputs) / inputs**0.5)
    x, weight, kept = torch.randn(tokens, inputs) * 3, torch.randn(inputs), torch.empty(tokens, inputs)
    expected = functional.rms_norm(x, (inputs,), weight, 1e-6)
    close(matrix.product(x, Before(NORM, weight, 1e-6), None, kept), expected @ dense.T)
    close(kept, expected)
    close(matrix.product(x, Before(NORM, weight, 1e-6)), expected @ dense.T)
    both = torch.randn(tokens, 2 * inputs) * 20
    gate, up = both.chunk(2, -1)
    expected = functional.silu(gate) * up
    close(matrix.product(both, Before(GATE), None, kept), expected @ dense.T)
    torch.testing.assert_close(kept, expected, rtol=2e-6, atol=1e-6)


def test_an_infinity_stays_one(kernels: Kernels) -> None:
    matrix = matrix_of(kernels, torch.eye(16))
    x = torch.zeros(1, 16)
    x[0, 3] = torch.inf
    assert not matrix.product(x, AS_IT_IS).isfinite().all()
    gate = torch.full((1, 32), torch.nan)
    assert not matrix.product(gate, Before(GATE)).isfinite().any()


def test_what_is_no_number_is_not_hidden_by_attention(kernels: Kernels) -> None:
    heads = NativeHeads(HeadShape(2, 1, 16, None, 1.0, None))
    keys, values, out = torch.randn(30, 1, 16), torch.randn(30, 1, 16), torch.empty(1, 32)
    keys[7] = torch.nan
    kernels.attend(heads, torch.randn(1, 64), torch.tensor([20]), torch.tensor([20]), (keys, values), out, 1)
    assert out.isnan().all()


def test_a_matrix_written_in_parts_and_read_again(kernels: Kernels) -> None:
    dense = torch.randn(5 * kernels.panel + 3, 20)
    matrix = NativeMatrix(kernels, *dense.shape)
    matrix.write(0, dense[: 2 * kernels.panel])
    matrix.write(2 * kernels.panel, dense[2 * kernels.panel :])
    assert torch.equal(matrix.dense(), dense)
    ids = torch.randint(len(dense), (3, 7))
    assert torch.equal(matrix.rows(ids), dense[ids])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rank", [8, 64])
@pytest.mark.parametrize("scaled", [False, True])
def test_adapters(kernels: Kernels, rank: int, scaled: bool, threads: int) -> None:
    slots, inputs, outputs = 5, 44, (32, 21)
    a = torch.randn(slots, 2 * rank, inputs) / inputs**0.5
    parts, begin = [], 0
    for index, size in enumerate(outputs):
        b = torch.randn(slots, rank, size) / rank**0.5
        gain, shift = (torch.randn(slots, size), torch.randn(slots, size)) if scaled else (None, None)
        parts.append(AdaptedPart(index * rank, begin, b, gain, shift))
        begin += size
    used = torch.tensor([0, 0, 0, 0, 0, 2, 3, 3, 4, 1, 1, 1], dtype=torch.int32)
    x, y = torch.randn(len(used), inputs), torch.randn(len(used), sum(outputs) + 2)
    expected = y.clone()
    for token, slot in enumerate(used.tolist()):
        for part in parts:
            columns = slice(part.begin, part.begin + part.b.shape[2])
            low = a[slot, part.low : part.low + rank] @ x[token]
            if part.gain is not None and part.shift is not None:
                expected[token, columns] = expected[token, columns] * part.gain[slot] + part.shift[slot]
            expected[token, columns] += low @ part.b[slot]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    kernels.adapt(AdapterTable(a, parts), used, x, y)
    torch.set_num_threads(before)
    close(y, expected)


@pytest.mark.parametrize("window", [None, 1, 7])
@pytest.mark.parametrize(("heads", "shared", "width"), [(8, 2, 64), (4, 4, 16), (6, 1, 20), (3, 3, 128)])
@pytest.mark.parametrize("normed", [False, True])
def test_attention(kernels: Kernels, heads: int, shared: int, width: int, window: int | None, normed: bool) -> None:
    norms = (torch.randn(width), torch.randn(width), 1e-6) if normed else None
    native = NativeHeads(HeadShape(heads, shared, width, norms, width**-0.5, window))
    positions = torch.tensor([0, 4, 300, 511, 0])
    begins = torch.tensor([0, 10, 100, 500, 20])
    keys, values = torch.randn(1100, shared, width), torch.randn(1100, shared, width)
    qkv = torch.randn(len(positions), (heads + 2 * shared) * width)
    angles = torch.randn(len(positions), width // 2)
    cos, sin = angles.cos(), angles.sin()
    whole = qkv.view(len(positions), -1, width)
    expected_keys, expected_values = keys.clone(), values.clone()
    query, key = whole[:, :heads].clone(), whole[:, heads : heads + shared].clone()
    if norms is not None:
        query, key = (functional.rms_norm(x, (width,), norm, 1e-6) for x, norm in ((query, norms[0]), (key, norms[1])))
    query, key = (turned(x, cos, sin) for x in (query, key))
    places = begins + positions
    expected_keys[places], expected_values[places] = key, whole[:, heads + shared :]

    kernels.turn(native, qkv, (cos, sin), places, (keys, values))
    close(keys, expected_keys)
    assert torch.equal(values, expected_values)
    close(qkv.view(len(positions), -1, width)[:, :heads], query)
    out = torch.empty(len(positions), heads * width)
    kernels.attend(native, qkv, places, positions, (keys, values), out, len(positions))
    for row, (begin, position) in enumerate(zip(begins.tolist(), positions.tolist(), strict=True)):
        seen = slice(begin + max(0, position + 1 - (window or 10**6)), begin + position + 1)
        k, v = (x[seen].transpose(0, 1) for x in (keys, values))
        one = functional.scaled_dot_product_attention(
            query[row].unsqueeze(1).unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), enable_gqa=True
        )
        close(out[row], one.flatten())


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    one, other = x.chunk(2, -1)
    c, s = cos.unsqueeze(1), sin.unsqueeze(1)
    return torch.cat([one * c - other * s, other * c + one * s], -1)


def test_they_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(tmp_path / "made")
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700
    (library,) = (tmp_path / "made").iterdir()
    monkeypatch.setattr(compiler, "_compile", lambda *_: pytest.fail("compiled again"))
    compiled(tmp_path / "made")
    library.unlink()


def test_no_code_is_loaded_from_where_others_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # what is refused
    with pytest.raises(CompilingError, match="somebody else"):
        compiled(tmp_path)


@pytest.mark.parametrize("wanted", ["no-such-compiler", "false"])
def test_without_a_compiler(tmp_path: Path, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", wanted)
    with pytest.raises(CompilingError, match=r"no C compiler|failed"):
        compiled(tmp_path / "made")

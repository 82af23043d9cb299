import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import DomainError, Reason
from services.common.identity import TensorEntry, parse_header
from services.common.identity.safetensors_header import BITS, MAX_HEADER_BYTES, header_length
from tests.unit.identity.build import safetensors_bytes, tensors_of


def parse(header: str | bytes, data_bytes: int) -> tuple[TensorEntry, ...]:
    raw = header.encode() if isinstance(header, str) else header
    return parse_header(raw, file_size=8 + len(raw) + data_bytes, what="x.safetensors")


def entry(dtype: str = "U8", shape: Any = (4,), offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def test_reads_entries_in_the_order_of_their_bytes() -> None:
    text = json.dumps({"b": entry(offsets=(2, 6)), "__metadata__": {"format": "pt"}, "a": entry("U16", (1,), (0, 2))})
    start = 8 + len(text)
    assert parse(text, 6) == (
        TensorEntry("a", "U16", (1,), start, start + 2),
        TensorEntry("b", "U8", (4,), start + 2, start + 6),
    )


@pytest.mark.parametrize("dtype", BITS)
def test_every_dtype_of_the_format_has_its_size(dtype: str) -> None:
    assert parse(json.dumps({"t": entry(dtype, (8,), (0, BITS[dtype]))}), BITS[dtype])[0].dtype == dtype


def test_scalars_empty_tensors_escapes_and_padding_are_fine() -> None:
    text = json.dumps({"é\n": entry("F32", (), (0, 4)), "none": entry("F32", (0, 3), (4, 4))}) + "   "
    assert {found.name: found.shape for found in parse(text, 4)} == {"é\n": (), "none": (0, 3)}


GOOD = json.dumps(entry())
HOSTILE: dict[str, str | bytes] = {
    "not an object": "[]",
    "empty": "",
    "not utf-8": b'{"\xff": 1}',
    "leading space": " {}",
    "something after it": "{} x",
    "unterminated": '{"a": ' + GOOD,
    "trailing comma": '{"a": ' + GOOD + ",}",
    "duplicate name": f'{{"a": {GOOD}, "a": {GOOD}}}',
    "duplicate name by escape": f'{{"a": {GOOD}, "\\u0061": {GOOD}}}',
    "duplicate field": '{"a": {"dtype": "U8", "dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
    "duplicate metadata key": '{"__metadata__": {"k": "v", "k": "v"}, "a": ' + GOOD + "}",
    "metadata that is no text": '{"__metadata__": {"k": 1}, "a": ' + GOOD + "}",
    "half a surrogate pair": '{"\\ud800": ' + GOOD + "}",
    "empty name": '{"": ' + GOOD + "}",
    "long name": json.dumps({"n" * 1025: entry()}),
    "missing field": '{"a": {"dtype": "U8", "shape": [4]}}',
    "unknown field": json.dumps({"a": entry(extra=1)}),
    "unknown dtype": json.dumps({"a": entry("F128")}),
    "lower-case dtype": json.dumps({"a": entry("u8")}),
    "negative size": json.dumps({"a": entry(shape=[-4])}),
    "fraction": json.dumps({"a": entry(shape=[4.0])}),
    "exponent": '{"a": {"dtype": "U8", "shape": [4e0], "data_offsets": [0, 4]}}',
    "leading zero": '{"a": {"dtype": "U8", "shape": [04], "data_offsets": [0, 4]}}',
    "boolean size": json.dumps({"a": entry(shape=[True])}),
    "overflowing product": json.dumps({"a": entry(shape=[2**62, 2**62, 2**62])}),
    "twenty digits": json.dumps({"a": entry(shape=[10**19])}),
    "rank 17": json.dumps({"a": entry(shape=[1] * 16 + [4])}),
    "shape against bytes": json.dumps({"a": entry(shape=[5])}),
    "sub-byte remainder": json.dumps({"a": entry("F4", [7], [0, 3])}),
    "end before begin": json.dumps({"a": entry(offsets=[4, 0])}),
    "three offsets": json.dumps({"a": entry(offsets=[0, 4, 4])}),
    "hole at the start": json.dumps({"a": entry(shape=[3], offsets=[1, 4])}),
    "hole at the end": json.dumps({"a": entry(shape=[3], offsets=[0, 3])}),
    "overlap": json.dumps({"a": entry(), "b": entry(shape=[2], offsets=[2, 4])}),
    "beyond the file": json.dumps({"a": entry(shape=[5], offsets=[0, 5])}),
    "far beyond the file": json.dumps({"a": entry(shape=[2**60], offsets=[0, 2**60])}),
    "nested deeply": '{"a": ' * 20000 + "1" + "}" * 20000,
    "nested lists": '{"a": {"dtype": "U8", "shape": ' + "[" * 20000 + "]" * 20000 + "}}",
    "no tensor but bytes": "{}",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused(case: str) -> None:
    with pytest.raises(DomainError) as caught:
        parse(HOSTILE[case], 4)
    assert caught.value.reason is Reason.SAFETENSORS_INVALID
    assert "x.safetensors" in caught.value.message


@pytest.mark.parametrize("prefix", [b"", b"\x00" * 7, b"\xff" * 8, (93).to_bytes(8, "little")])
def test_lengths_that_do_not_fit_the_file_are_refused(prefix: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        header_length(prefix, file_size=100, what="x")
    assert caught.value.reason is Reason.SAFETENSORS_INVALID


def test_a_header_above_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(DomainError) as caught:
        header_length((MAX_HEADER_BYTES + 1).to_bytes(8, "little"), file_size=1 << 40, what="x")
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


@given(st.binary(max_size=300), st.integers(0, 2**40))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_raise_nothing_else(header: bytes, file_size: int) -> None:
    _parse_or_refuse(header, file_size)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
_sizes = st.lists(st.integers(-1, 2**64), max_size=4)
_entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*BITS, "F128", ""]),
        "shape": _sizes | _json,
        "data_offsets": st.lists(st.integers(-1, 64), min_size=1, max_size=3) | _json,
    }
)


@given(st.dictionaries(st.text(max_size=4), _entries | _json, max_size=4), st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_arbitrary_objects_raise_nothing_else(header: dict[str, Any], data_bytes: int) -> None:
    raw = json.dumps(header).encode()
    _parse_or_refuse(raw, 8 + len(raw) + data_bytes)


VALID = safetensors_bytes(tensors_of({"a.weight": (2, 3), "b.weight": (4,)}), {"format": "pt"})


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.integers(0, len(VALID)))
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_refused_or_says_the_truth(position: int, byte: int, length: int) -> None:
    damaged = bytearray(VALID)
    damaged[position] = byte
    damaged = damaged[:length]
    try:
        size = header_length(bytes(damaged[:8]), file_size=len(damaged), what="x")
    except DomainError:
        return
    entries = _parse_or_refuse(bytes(damaged[8 : 8 + size]), len(damaged))
    assert not entries or entries[-1].end == len(damaged)


def _parse_or_refuse(header: bytes, file_size: int) -> tuple[TensorEntry, ...]:
    try:
        return parse_header(header, file_size=file_size, what="x")
    except DomainError:
        return ()


def test_memory_stays_proportional_to_the_header() -> None:
    hostile = ('{"a": {"dtype": "U8", "shape": [' + "1," * 500_000).encode()
    tracemalloc.start()
    try:
        _parse_or_refuse(hostile, 1 << 50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(hostile)

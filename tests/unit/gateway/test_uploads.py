"""Forms and files on their way through."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from gateway.adapter_form import AdapterForm
from gateway.multipart import MAX_FIELD_BYTES, MAX_PARTS, FileStart, read_form
from gateway.uploads import CHUNK_BYTES, GuardedStream, UploadForm, chunked
from services.common.errors import DomainError, Reason

BOUNDARY = "b0undary"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
PURPOSE = part("purpose", b"fine-tune")
FILE = part("file", b"the rows", "行.jsonl")


def request(body: bytes, size: int = 7, content_type: str = f"multipart/form-data; boundary={BOUNDARY}") -> Request:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    async def receive() -> Message:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def upload(body: bytes, size: int = 7) -> tuple[str, dict[str, str], bytes]:
    form = UploadForm(read_form(request(body, size)))
    await form.open()
    content = b"".join([piece async for piece in form.file()])
    return form.filename, form.fields, content


@pytest.mark.parametrize("size", [1, 2, 13, 10_000])
async def test_fields_and_file_arrive_however_the_body_is_cut(size: int) -> None:
    form = PURPOSE + part("format", b"alpaca") + FILE + END
    assert await upload(form, size) == ("行.jsonl", {"purpose": "fine-tune", "format": "alpaca"}, b"the rows")


async def test_the_purpose_may_follow_the_file() -> None:
    assert (await upload(FILE + PURPOSE + END))[2] == b"the rows"


async def test_bytes_that_look_like_the_boundary_belong_to_the_file() -> None:
    content = f"\r\n--{BOUNDARY[:-1]}\r\n--\r\n".encode()
    assert (await upload(PURPOSE + part("file", content, "x") + END, 1))[2] == content


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (PURPOSE + END, "file"),
        (FILE + END, "purpose"),
        (part("purpose", b"batch") + FILE + END, "purpose"),
        (part("purpose", b"fine-tune") * 2 + FILE + END, "purpose"),
        (part("colour", b"red") + PURPOSE + FILE + END, "colour"),
        (PURPOSE + FILE + part("format", b"alpaca") + END, "format"),
        (PURPOSE + FILE + FILE + END, "file"),
        (PURPOSE + part("attachment", b"x", "x") + END, "attachment"),
        (PURPOSE + FILE, "body"),
        ((PURPOSE + FILE)[:-20], "body"),
        (b"no form at all", "body"),
        (b"", "body"),
        (part("x" * 8, b"\xff") + END, "body"),
        (part("purpose", b"") * (MAX_PARTS + 1) + END, "purpose"),
    ],
)
async def test_what_is_wrong_with_a_form_is_named(body: bytes, field: str) -> None:
    with pytest.raises(DomainError) as caught:
        await upload(body, 64)
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "multipart/form-data; x=y"])
async def test_what_is_no_form_is_refused(content_type: str) -> None:
    with pytest.raises(DomainError, match="multipart/form-data"):
        await UploadForm(read_form(request(FILE + END, content_type=content_type))).open()


async def test_a_field_may_not_be_endless() -> None:
    with pytest.raises(DomainError) as caught:
        await upload(part("purpose", b"x" * (MAX_FIELD_BYTES + 1)) + FILE + END, 4096)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


async def pieces_of(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@given(sizes=st.lists(st.integers(0, 3 * CHUNK_BYTES), max_size=5))
def test_chunks_hold_the_same_bytes_and_only_the_last_is_short(sizes: list[int]) -> None:
    pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]

    async def read() -> list[bytes]:
        return [chunk async for chunk in chunked(pieces_of(pieces))]

    chunks = asyncio.run(read())
    assert b"".join(chunks) == b"".join(pieces)
    assert all(len(chunk) == CHUNK_BYTES for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


async def test_a_guarded_stream_raises_what_its_source_raised_and_never_ends_as_if_whole() -> None:
    ended = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        yield b"first"
        raise DomainError(Reason.INVALID_ARGUMENT, "cut off")

    async def call(messages: GuardedStream[bytes]) -> str:
        async for _ in messages:
            pass
        ended.set()
        return "stored"

    guarded = GuardedStream(broken())
    with pytest.raises(DomainError, match="cut off"):
        await guarded.unless_failed(call(guarded))
    assert not ended.is_set()


async def test_a_guarded_stream_gives_what_the_call_answers() -> None:
    async def call(messages: GuardedStream[bytes]) -> bytes:
        return b"".join([message async for message in messages])

    guarded = GuardedStream(pieces_of([b"a", b"b"]))
    assert await guarded.unless_failed(call(guarded)) == b"ab"


BASE_MODEL = part("base_model", b"tiny")
CONFIG, WEIGHTS = part("file", b"{}", "adapter_config.json"), part("file", b"w" * 30, "adapter_model.safetensors")


async def adapter(body: bytes, size: int = 7) -> tuple[str, list[tuple[str, bytes]]]:
    form = AdapterForm(read_form(request(body, size)))
    base_model = await form.open()
    files: list[tuple[str, bytes]] = []
    async for item in form.files():
        if isinstance(item, FileStart):
            files.append((item.filename, b""))
        else:
            name, content = files.pop()
            files.append((name, content + item))
    return base_model, files


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_an_adapter_s_files_arrive_however_the_body_is_cut(size: int) -> None:
    found = await adapter(BASE_MODEL + CONFIG + part("file", b"", "empty") + WEIGHTS + END, size)
    assert found == (
        "tiny",
        [("adapter_config.json", b"{}"), ("empty", b""), ("adapter_model.safetensors", b"w" * 30)],
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (CONFIG + END, "base_model"),
        (CONFIG + BASE_MODEL + END, "base_model"),
        (BASE_MODEL + END, "file"),
        (BASE_MODEL + BASE_MODEL + CONFIG + END, "base_model"),
        (BASE_MODEL + part("colour", b"red") + CONFIG + END, "colour"),
        (BASE_MODEL + CONFIG + part("colour", b"red") + END, "colour"),
        (BASE_MODEL + part("files", b"{}", "adapter_config.json") + END, "files"),
        (BASE_MODEL + CONFIG + part("weights", b"{}", "x") + END, "weights"),
        (BASE_MODEL + CONFIG, "body"),
    ],
    ids=["no base", "base last", "no file", "two bases", "field", "field behind", "name", "name behind", "cut off"],
)
async def test_an_adapter_s_form_is_strict(body: bytes, field: str) -> None:
    with pytest.raises(DomainError) as raised:
        await adapter(body)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in raised.value.violations] == [field]

"""Files: ``client.files`` and what it sends."""

import io
import json
from pathlib import Path

import httpx2
import openai
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.gateway.stack import ROWS, Stack


def test_a_file_goes_in_and_comes_out_as_it_was(client: openai.OpenAI) -> None:
    file = client.files.create(file=("行 1.jsonl", ROWS), purpose="fine-tune")
    assert (file.filename, file.bytes, file.purpose, file.status) == ("行 1.jsonl", len(ROWS), "fine-tune", "processed")
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).content == ROWS
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_large_file_passes_through(client: openai.OpenAI, stack: Stack) -> None:
    row = json.dumps({"prompt": "p" * 500, "completion": "c" * 500}).encode() + b"\n"
    content = b"".join(b'{"prompt": "%d", "completion": "x"}\n' % n + row for n in range(40_000))
    file = client.files.create(file=("large.jsonl", content), purpose="fine-tune")
    assert file.bytes == len(content)
    assert b"".join(client.files.content(file.id).iter_bytes()) == content
    client.files.delete(file.id)
    # 40 MB went through in both directions.
    assert memory_high_mark(stack.processes["gateway"].pid) < 150 * 1024 * 1024


def test_files_are_listed_newest_first_and_paged_by_id(client: openai.OpenAI) -> None:
    ids = [client.files.create(file=(f"{n}.jsonl", ROWS), purpose="fine-tune").id for n in range(5)]
    page = client.files.list(limit=2)
    assert [file.id for file in page.data] == ids[:2:-1]
    assert page.has_more
    assert [file.id for file in client.files.list(limit=2)][:5] == ids[::-1]
    after = client.files.list(after=ids[1], limit=1)
    assert [file.id for file in after.data] == [ids[0]]
    assert not client.files.list(purpose="assistants").data
    for file_id in ids:
        client.files.delete(file_id)


def test_faulty_rows_are_listed_with_their_lines_and_nothing_is_stored(client: openai.OpenAI) -> None:
    before = [file.id for file in client.files.list()]
    content = ROWS + b'{"instruction": "no output"}\nnonsense\n'
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("bad.jsonl", content), purpose="fine-tune")
    assert caught.value.code == "dataset_invalid"
    body = caught.value.body
    assert isinstance(body, dict)
    fields = [violation["field"] for violation in body["details"]["violations"]]
    assert [field.partition(",")[0] for field in fields] == ["line 9", "line 10"]
    assert [file.id for file in client.files.list()] == before


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "dataset_empty"),
        (b"\n\n", "dataset_empty"),
        (b'{"instruction": "\xff", "output": "b"}\n', "dataset_invalid"),
        (b'[{"instruction": "a", "ou', "dataset_invalid"),
        (ROWS + b'{"prompt": "a", "completion": "b"}\n', "dataset_invalid"),
    ],
)
def test_what_is_no_data_set_is_refused(client: openai.OpenAI, content: bytes, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("x.jsonl", content), purpose="fine-tune")
    assert caught.value.code == code


def test_a_row_of_10_mb_is_refused(client: openai.OpenAI) -> None:
    content = ROWS + json.dumps({"instruction": "a", "output": "b" * 10_000_000}).encode()
    with pytest.raises(openai.APIStatusError) as caught:
        client.files.create(file=("x.jsonl", content), purpose="fine-tune")
    assert caught.value.status_code in {400, 413}


def test_a_format_can_be_named(http: httpx2.Client) -> None:
    def send(row_format: str) -> httpx2.Response:
        fields = {"purpose": "fine-tune", "format": row_format}
        return http.post("/v1/files", data=fields, files={"file": ("rows.jsonl", ROWS)})

    assert send("alpaca").json()["tenon"]["format"] == "alpaca"
    assert send("sharegpt").json()["error"]["code"] == "dataset_invalid"
    assert send("tsv").json()["error"]["param"] == "format"


def test_an_upload_that_is_cut_off_stores_nothing(http: httpx2.Client) -> None:
    before = http.get("/v1/files").json()
    boundary = "cut"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--{boundary}\r\n'
    body = head.encode() + b'Content-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + ROWS
    answer = http.post("/v1/files", content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert answer.status_code == 400
    assert "cut off" in answer.json()["error"]["message"]
    assert http.get("/v1/files").json() == before


def test_the_same_upload_sent_again_is_the_same_file(http: httpx2.Client) -> None:
    def send(content: bytes) -> httpx2.Response:
        headers = {"Idempotency-Key": "0a6a3c1e-6a7b-4b6e-8d7e-2f8f4f0c9a11"}
        return http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("r", content)}, headers=headers)

    assert send(ROWS).json()["id"] == send(ROWS).json()["id"]
    other = send(ROWS * 2)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "request_id_reused")


def test_a_parquet_file_is_a_file_too(client: openai.OpenAI) -> None:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([json.loads(line) for line in ROWS.splitlines()]), content)
    file = client.files.create(file=("rows.parquet", content.getvalue()), purpose="fine-tune")
    assert file.model_extra is not None
    assert file.model_extra["tenon"]["format"] == "alpaca"
    assert file.model_extra["tenon"]["statistics"]["row_count"] == 8
    client.files.delete(file.id)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/files/file-nobody", 404),
        ("GET", "/v1/files/file-nobody/content", 404),
        ("DELETE", "/v1/files/file-nobody", 404),
        ("GET", "/v1/files/A..B", 400),
        ("GET", "/v1/files/..%2Fx", 404),
        ("GET", "/v1/files?after=file-nobody", 400),
        ("GET", "/v1/files?limit=0", 400),
        ("GET", "/v1/files?limit=many", 400),
        ("GET", "/v1/files?colour=red", 400),
        ("PUT", "/v1/files", 405),
    ],
)
def test_what_is_not_there_or_cannot_be(http: httpx2.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code", "details"}


def memory_high_mark(pid: int) -> int:
    """Most memory a process has used, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_files_are_listed_from_the_oldest(client: openai.OpenAI) -> None:
    ids = [client.files.create(file=(f"{n}.jsonl", ROWS), purpose="fine-tune").id for n in range(3)]
    assert [file.id for file in client.files.list(order="asc", limit=2)][-3:] == ids
    assert [file.id for file in client.files.list(order="asc", after=ids[0])] == ids[1:]
    for file_id in ids:
        client.files.delete(file_id)


def test_what_a_file_cannot_be_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("x.jsonl", ROWS), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="expires_after"):
        client.files.create(
            file=("x.jsonl", ROWS), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
        )

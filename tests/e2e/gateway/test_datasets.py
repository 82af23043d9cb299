"""Checks, statistics and previews of data sets over REST."""

import json

import httpx2

from tests.e2e.gateway.stack import ROWS


def test_a_check_tells_every_fault_and_ends_with_a_summary(http: httpx2.Client) -> None:
    answer = http.post("/v1/datasets/check", content=ROWS + b"nonsense\n" * 300)
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["fault"]["line"] for line in lines[:-1]] == list(range(9, 309))
    assert lines[-1]["summary"]["row_count"] == 8
    assert lines[-1]["summary"]["format"] == "alpaca"


def test_a_check_of_a_named_format(http: httpx2.Client) -> None:
    answer = http.post("/v1/datasets/check?format=openai_chat", content=ROWS)
    assert json.loads(answer.text.splitlines()[-1])["summary"]["faulty_row_count"] == 8
    assert http.post("/v1/datasets/check?format=tsv", content=ROWS).json()["error"]["param"] == "format"


def test_a_check_with_a_base_counts_tokens(http: httpx2.Client) -> None:
    answer = http.post("/v1/datasets/check?base_model=tiny-qwen&max_sequence_length=32", content=ROWS)
    tokens = json.loads(answer.text.splitlines()[-1])["summary"]["tokens"]
    assert (tokens["base_model"], tokens["max_sequence_length"], tokens["measured_row_count"]) == ("tiny-qwen", 32, 8)
    assert 0 < tokens["supervised_share"] < 1
    assert [item["percent"] for item in tokens["percentiles"]][-1] == 100
    assert sum(bucket["row_count"] for bucket in tokens["histogram"]) == 8
    refused = http.post("/v1/datasets/check?base_model=nobody", content=ROWS)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "base_model_not_found")


def test_a_file_is_measured_and_shown_as_training_sees_it(http: httpx2.Client, file_id: str) -> None:
    measured = http.get(f"/v1/datasets/{file_id}/statistics?base_model=tiny-gpt").json()
    assert measured["row_count"] == measured["tokens"]["measured_row_count"] == 8
    assert measured["tokens"]["uses_plain_template"]
    shown = http.get(f"/v1/datasets/{file_id}/preview?base_model=tiny-gpt&skip=6").json()
    assert [row["row"] for row in shown["data"]] == [7, 8]
    learnt = "".join(token["text"] for token in shown["data"][0]["tokens"] if token["supervised"])
    assert learnt.startswith("It is 6.")
    http_errors = {
        f"/v1/datasets/{file_id}/preview": 400,
        f"/v1/datasets/{file_id}/preview?base_model=tiny-gpt&limit=-1": 400,
        f"/v1/datasets/{file_id}/preview?base_model=tiny-gpt&max_sequence_length=5": 400,
        f"/v1/datasets/{file_id}/preview?base_model=nobody": 404,
        "/v1/datasets/data-nobody/statistics?base_model=tiny-gpt": 404,
    }
    assert {path: http.get(path).status_code for path in http_errors} == http_errors

"""Models: ``client.models``."""

import httpx2
import openai
import pytest

pytestmark = pytest.mark.usefixtures("job_id")


def test_models_are_listed_and_described(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {"tiny-qwen", "tiny-gpt", "parrot"} <= set(models)
    tenon = (models["parrot"].model_extra or {})["tenon"]
    assert (tenon["kind"], tenon["base_model"]) == ("adapter", "tiny-qwen")
    # Other tests may have given it others.
    assert "latest" in tenon["aliases"]
    assert client.models.retrieve("parrot") == models["parrot"]
    assert client.models.retrieve("parrot:latest").id == "parrot:latest"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"


def test_a_version_is_a_model_too(client: openai.OpenAI, http: httpx2.Client) -> None:
    version = http.get("/v1/adapters/parrot").json()["latest_version"]
    assert client.models.retrieve(f"parrot@{version}").id == f"parrot@{version}"
    answer = client.chat.completions.create(
        model=f"parrot@{version}", messages=[{"role": "user", "content": "hi"}], max_tokens=2
    )
    assert answer.model == f"parrot@{version}"

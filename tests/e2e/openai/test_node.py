"""OpenAI's package for Node as it is, over the same suite."""

import json
import subprocess
from pathlib import Path

from tests.e2e.gateway.stack import Stack
from tests.support.node import NODE, node_environment


def test_openais_client_for_node_does_the_same(stack: Stack, project_root: Path) -> None:
    script = Path(__file__).parent / "node" / "client.js"
    environment = {
        **node_environment(),
        "NODE_PATH": str(project_root / "node_modules"),
        "OPENAI_API_KEY": stack.key or "",
    }
    ran = subprocess.run(
        [str(NODE), str(script), stack.url], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert {"tiny-qwen", "tiny-gpt"} <= set(answer["models"])
    assert answer["streamed"] == {"text": answer["text"], "usage": answer["usage"]}
    assert answer["file"]["same"]
    assert answer["file"]["deleted"]
    assert (answer["trained"]["queued"], answer["trained"]["cancelled"]) == ("queued", "cancelled")
    assert answer["trained"]["events"] == ["The job is cancelled", "The job is queued"]
    assert (answer["called"]["name"], json.loads(answer["called"]["arguments"])) == ("now", {})
    assert answer["refusals"] == {
        "unknown": {"class": "NotFoundError", "status": 404, "code": "model_not_found", "param": None},
        "bad": {"class": "BadRequestError", "status": 400, "code": "invalid_argument", "param": "temperature"},
        "embeddings": {"class": "NotFoundError", "status": 404, "code": "unsupported_endpoint", "param": None},
    }

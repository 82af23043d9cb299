"""Another platform's client: Node, from the .proto files alone."""

import json
import subprocess
from pathlib import Path

import grpc

from tests.support.node import NODE, node_environment
from tests.support.suite import RunningSuite


def test_node_drives_registry_and_inference(trained: RunningSuite, project_root: Path) -> None:
    script = Path(__file__).parent / "node" / "client.js"
    arguments = [
        str(project_root / "protos"),
        trained.endpoints["registry"],
        trained.endpoints["inference"],
        "projects/default/adapters/parrot",
        "baseModels/tiny-gpt",
        trained.key,
    ]
    environment = {**node_environment(), "NODE_PATH": str(project_root / "node_modules")}
    ran = subprocess.run(
        [str(NODE), str(script), *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert {"baseModels/tiny-gpt", "baseModels/tiny-qwen"} <= set(answer["bases"])
    assert answer["text"] == answer["streamed"]
    assert answer["identity"]["adapterVersion"] == answer["version"]
    assert answer["refusedCode"] == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert answer["refusedDetails"] == 1
    assert "tiny-qwen" in answer["refusedMessage"]
    assert "tiny-gpt" in answer["refusedMessage"]

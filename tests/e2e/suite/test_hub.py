"""`tenon base add hf://…` against a server that speaks the hub's protocol: the way most bases come."""

import json
from pathlib import Path

from services.common.identity import fingerprint_base
from tests.support.hub import running_hub
from tests.support.suite import environment, running_suite
from tests.support.tiny_bases import make_tiny_base


def test_a_base_of_the_hub_is_pinned_trained_on_and_served(tmp_path: Path, rows_file: Path) -> None:
    directory = make_tiny_base(tmp_path / "base", seed=5)
    with running_hub() as hub:
        commit = hub.push_directory("tenon-tests/Tiny-0.1B", directory)
        at_hub = {"env": environment(HF_ENDPOINT=hub.endpoint)}
        with running_suite(tmp_path / "data", HF_ENDPOINT=hub.endpoint) as suite:
            added = suite.tenon("base", "add", "hf://tenon-tests/Tiny-0.1B", "--json", **at_hub)
            assert added.returncode == 0, added.stderr
            base = json.loads(added.stdout)
            assert base["id"] == "tiny-0.1b"
            assert base["display_name"] == "tenon-tests/Tiny-0.1B"
            assert base["sources"] == [f"hf://tenon-tests/Tiny-0.1B@{commit}"]
            assert base["fingerprint"]["id"] == fingerprint_base(directory).id
            trained = suite.tenon("train", "--base", "tiny-0.1b", "--data", rows_file, "--name", "from-hub")
            assert trained.returncode == 0, trained.stderr
            answered = suite.tenon("chat", "from-hub", "-m", "Say 1", "--max-tokens", "2")
            assert answered.returncode == 0, answered.stderr
            missing = suite.tenon("base", "add", "hf://tenon-tests/nothing", **at_hub)
            assert missing.returncode in {3, 4}
            assert "tenon-tests/nothing" in missing.stderr

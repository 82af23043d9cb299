"""One trace through gateway, inference and registry, as a collector receives it."""

from pathlib import Path

from tests.support.otlp import Received, otlp_receiver
from tests.support.suite import running_suite
from tests.support.tiny_bases import make_tiny_base


def chats(received: Received) -> list[bytes]:
    """The traces that began with a chat."""
    return [span.trace_id for _, span in received.spans if span.name == "POST /v1/chat/completions"]


def test_one_request_is_one_trace_through_every_hop(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base")
    with otlp_receiver() as received:
        with running_suite(tmp_path / "data", TENON_OTLP_ENDPOINT=received.endpoint) as suite:
            assert suite.tenon("base", "add", base, "--name", "tiny").returncode == 0
            assert suite.tenon("chat", "tiny", "-m", "hi", "--max-tokens", "2").returncode == 0
        hops = {"tenon-gateway", "tenon-inference", "tenon-registry"}
        assert received.wait_for(lambda: any(hops <= received.traces()[trace] for trace in chats(received)))
        assert {service for service, _ in received.metrics} >= hops
    trace_id = chats(received)[0].hex()
    for name in ("inference", "registry"):
        assert trace_id in (tmp_path / "data" / "logs" / f"{name}.log").read_text()

"""What the gateway adds to an answer, and whether it holds two hundred streams at once.

    python -m benchmarks.gateway [--runs N] [--json]

A suite of its own with a tiny base, keys on. The same answer is asked for by gRPC from inference directly and by REST from the gateway,
in turns; what is told are medians of the differences of neighbours, so that a noisy machine is noisy for both. Then as many streams
as asked at the same time. Exit status 1 if a target is missed.

gRPC's client is compiled. So that the gateway is measured and not the client beside it, a whole answer is asked for over a bare connection of
HTTP/1.1, and by httpx too, which is what OpenAI's Python client has beneath it; streams are read by httpx.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from pydantic import SecretStr

from services.common.auth.credentials import KeyCredentials
from services.common.rpc.channel import open_channel
from tenon.inference.v1 import inference_pb2, inference_pb2_grpc
from tests.support.suite import RunningSuite, running_suite
from tests.support.tiny_bases import make_tiny_base

WHOLE_MS: Final = 3.0
TOKEN_MS: Final = 0.3
STREAMS: Final = 200
WHOLE_TOKENS: Final = 1
STREAMED_TOKENS: Final = 64
CONCURRENT_TOKENS: Final = 32
TIMEOUT: Final = 300.0


@dataclass(frozen=True, slots=True)
class Result:
    """What was seen.

    Attributes:
        whole_ms: what an answer of one token takes longer by REST, whole.
        httpx_ms: the same with httpx for a client.
        token_ms: what each token of a streamed answer takes longer.
        direct_whole_ms: such an answer by gRPC.
        direct_token_ms: such a token by gRPC.
        streams: how many ran at once.
        failures: how those of them ended that did not as they should.
        seconds: until the last had ended.
    """

    whole_ms: float
    httpx_ms: float
    token_ms: float
    direct_whole_ms: float
    direct_token_ms: float
    streams: int
    failures: tuple[str, ...]
    seconds: float

    @property
    def met(self) -> bool:
        """Whether every target is met."""
        return self.whole_ms <= WHOLE_MS and self.token_ms <= TOKEN_MS and not self.failures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="pairs of answers of each kind (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        base = make_tiny_base(directory / "tiny")
        with running_suite(directory / "data") as suite:
            added = suite.tenon("base", "add", base, "--name", "tiny")
            if added.returncode:
                raise SystemExit(added.stderr)
            result = asyncio.run(measure(suite, options.runs))
    print(json.dumps(as_document(result), indent=2) if options.json else as_text(result))
    return int(not result.met)


async def measure(suite: RunningSuite, runs: int) -> Result:
    """Ask by both ways in turns, then by many at once."""
    key = suite.key
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx2.Limits(max_connections=STREAMS, max_keepalive_connections=STREAMS)
    async with (
        open_channel(suite.endpoints["inference"], credentials=KeyCredentials(SecretStr(key))) as channel,
        httpx2.AsyncClient(
            base_url=suite.endpoints["gateway"], headers=headers, timeout=TIMEOUT, limits=limits, trust_env=False
        ) as http,
    ):
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        bare = await Bare.connect(suite.endpoints["gateway"], key)
        try:
            whole = await compare(runs, lambda: direct(stub), bare.ask, lambda: by_rest(http))
        finally:
            bare.close()
        streamed = await compare(runs, lambda: direct_stream(stub), lambda: rest_stream(http, STREAMED_TOKENS))
        began = time.perf_counter()
        ended = await asyncio.gather(
            *(rest_stream(http, CONCURRENT_TOKENS) for _ in range(STREAMS)), return_exceptions=True
        )
        seconds = time.perf_counter() - began
    return Result(
        whole_ms=whole[1] * 1000,
        httpx_ms=whole[2] * 1000,
        token_ms=streamed[1] * 1000 / STREAMED_TOKENS,
        direct_whole_ms=whole[0] * 1000,
        direct_token_ms=streamed[0] * 1000 / STREAMED_TOKENS,
        streams=STREAMS,
        failures=tuple(repr(outcome) for outcome in ended if outcome is not None),
        seconds=seconds,
    )


async def compare(runs: int, *calls: Callable[[], Awaitable[None]]) -> list[float]:
    """Median seconds of the first, and medians of what each of the others takes longer; each run begins with another one."""
    for _ in range(5):
        for call in calls:
            await call()
    taken: dict[int, list[float]] = {number: [] for number in range(len(calls))}
    for run in range(runs):
        for place in range(len(calls)):
            number = (run + place) % len(calls)
            began = time.perf_counter()
            await calls[number]()
            taken[number].append(time.perf_counter() - began)
    first, *others = taken.values()
    longer = [[one - other for one, other in zip(times, first, strict=True)] for times in others]
    return [statistics.median(first), *map(statistics.median, longer)]


@dataclass(frozen=True, slots=True)
class Bare:
    """A connection of HTTP/1.1 that is kept, and no more of a client than answers need."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str

    @classmethod
    async def connect(cls, url: str, key: str) -> "Bare":
        """Connect to the gateway."""
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {key}\r\n"
        return cls(reader, writer, f"{head}Content-Type: application/json\r\nContent-Length: ")

    async def ask(self) -> None:
        """One answer.

        Raises:
            RuntimeError: it is none.
        """
        content = json.dumps(body(WHOLE_TOKENS)).encode()
        self.writer.write(f"{self.head}{len(content)}\r\n\r\n".encode() + content)
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        answer = json.loads(await self.reader.readexactly(length))
        if b" 200 " not in status or not answer["choices"]:
            raise RuntimeError(f"{status!r}: {answer}")

    def close(self) -> None:
        """Let go of the connection."""
        self.writer.close()


def request(tokens: int) -> inference_pb2.GenerateRequest:
    """Ask for so many tokens, and no fewer."""
    said = inference_pb2.ChatMessage(role="user", parts=[inference_pb2.ContentPart(text="Say 3")])
    return inference_pb2.GenerateRequest(
        model="baseModels/tiny",
        conversation=inference_pb2.Conversation(messages=[said]),
        max_tokens=tokens,
        sampling=inference_pb2.SamplingParameters(temperature=0.0),
        constraint=inference_pb2.Constraint(regex=f"[a-z]{{{4 * tokens}}}"),
    )


def body(tokens: int, **more: Any) -> dict[str, Any]:
    """Ask for the same by REST."""
    return {
        "model": "base/tiny",
        "messages": [{"role": "user", "content": "Say 3"}],
        "max_tokens": tokens,
        "temperature": 0,
        "regex": f"[a-z]{{{4 * tokens}}}",
        **more,
    }


async def direct(stub: "inference_pb2_grpc.InferenceServiceAsyncStub") -> None:
    """One answer by gRPC."""
    await stub.Generate(request(WHOLE_TOKENS))


async def by_rest(http: httpx2.AsyncClient) -> None:
    """One answer by REST."""
    answer = await http.post("/v1/chat/completions", json=body(WHOLE_TOKENS))
    answer.raise_for_status()


async def direct_stream(stub: "inference_pb2_grpc.InferenceServiceAsyncStub") -> None:
    """One answer in pieces, by gRPC."""
    async for _ in stub.StreamGenerate(request(STREAMED_TOKENS)):
        pass


async def rest_stream(http: httpx2.AsyncClient, tokens: int) -> None:
    """One answer in pieces, by REST.

    Raises:
        RuntimeError: it did not end as a stream ends.
    """
    last = ""
    async with http.stream("POST", "/v1/chat/completions", json=body(tokens, stream=True)) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            last = line or last
    if last != "data: [DONE]":
        raise RuntimeError(f"the stream ended with {last[:200]}")


def as_document(result: Result) -> dict[str, Any]:
    """For machines."""
    return {name: getattr(result, name) for name in Result.__slots__} | {"met": result.met}


def as_text(result: Result) -> str:
    """For people."""
    return (
        f"whole answer: +{result.whole_ms:.2f} ms over {result.direct_whole_ms:.2f} by gRPC (target {WHOLE_MS:g})\n"
        f"  with httpx for a client: +{result.httpx_ms:.2f} ms\n"
        f"each streamed token: +{result.token_ms:.3f} ms over {result.direct_token_ms:.3f} (target {TOKEN_MS:g})\n"
        f"{result.streams} streams at once: {len(result.failures)} failed (target: none), {result.seconds:.1f} s"
        + "".join(f"\n  {failure}" for failure in result.failures[:5])
    )


if __name__ == "__main__":
    sys.exit(main())

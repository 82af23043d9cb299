"""The list of reasons, and the passage of an error through google.rpc.Status."""

import pickle
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import DomainError, Violation, from_status, to_status
from services.common.reasons import STATUS_CODE, Reason
from tenon.errors.v1 import error_reason_pb2

TEXT = st.text(max_size=50)


def test_reasons_are_those_of_the_contract() -> None:
    contract = [name.removeprefix("ERROR_REASON_") for name in dict(error_reason_pb2.ErrorReason.items())]
    assert ["UNSPECIFIED", *Reason.__members__] == contract


def test_every_reason_has_the_status_code_that_the_contract_states(project_root: Path) -> None:
    source = (project_root / "protos/tenon/errors/v1/error_reason.proto").read_text()
    for reason, code in STATUS_CODE.items():
        comment = source.partition(f"ERROR_REASON_{reason} =")[0].rpartition(" = ")[2]
        assert f"({code.name})" in comment, reason
    assert set(STATUS_CODE) == set(Reason)


@given(
    st.sampled_from(list(Reason)),
    TEXT,
    st.dictionaries(TEXT, TEXT, max_size=4),
    st.lists(st.builds(Violation, TEXT, TEXT), max_size=4),
    st.none() | st.integers(0, 10**6).map(lambda ms: ms / 1000),
)
def test_an_error_survives_the_wire(
    reason: Reason, message: str, metadata: dict[str, str], violations: list[Violation], retry: float | None
) -> None:
    sent = DomainError(reason, message, metadata, violations=violations, retry_after=retry)
    wire = to_status(sent).SerializeToString()
    got = from_status(status_pb2.Status.FromString(wire))
    assert got is not None
    assert (got.reason, got.message, got.metadata) == (reason, message, metadata)
    assert (got.violations, got.retry_after) == (tuple(violations), retry)


def test_an_error_can_be_sent_to_another_process() -> None:
    error = DomainError(Reason.LEASE_LOST, "gone", {"job": "1"}, violations=[Violation("a", "b")], retry_after=1.0)
    got = pickle.loads(pickle.dumps(error))
    assert (got.reason, got.message, got.metadata) == (error.reason, error.message, error.metadata)
    assert (got.violations, got.retry_after) == (error.violations, error.retry_after)


@pytest.mark.parametrize(
    "info",
    [
        error_details_pb2.ErrorInfo(domain="tenon", reason="FROM_A_NEWER_VERSION"),
        error_details_pb2.ErrorInfo(domain="elsewhere", reason="LEASE_LOST"),
        None,
    ],
)
def test_a_status_that_is_not_ours_is_not_taken_for_ours(info: error_details_pb2.ErrorInfo | None) -> None:
    status = status_pb2.Status(code=grpc.StatusCode.ABORTED.value[0], message="x")
    if info is not None:
        status.details.add().Pack(info)
    assert from_status(status) is None


def test_a_detail_that_does_not_decode_is_not_fatal() -> None:
    status = to_status(DomainError(Reason.LEASE_LOST, "gone"))
    status.details.append(AnyMessage(type_url="type.googleapis.com/unknown.Type", value=b"\xff"))
    got = from_status(status)
    assert got is not None
    assert got.reason is Reason.LEASE_LOST

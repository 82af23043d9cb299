"""Every method of every contract has a rule, and every request that can name a project is looked at."""

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from services.common.auth.caller import Scope
from services.common.auth.projects import project_of, resources_of
from services.common.auth.rules import RULES
from tenon.inference.v1 import inference_pb2
from tests.support.methods import fill, methods, path

NAMELESS = {"ListBaseModels", "ListLoadedModels", "ListProjects", "CollectGarbage", "RecordAuditEvents"}
"""Bases are shared; lists of what is loaded and of projects are filtered by who asks; the rest is the suite's own."""


def test_every_method_has_a_rule_and_there_is_no_other_rule() -> None:
    assert RULES.keys() == {path(method) for method in methods()}


def test_what_changes_something_is_audited() -> None:
    verbs = (
        "Create",
        "Upload",
        "Delete",
        "Update",
        "Cancel",
        "Pause",
        "Resume",
        "Import",
        "Finalize",
        "Revoke",
        "Collect",
    )
    for method in methods():
        assert RULES[path(method)].mutates is method.name.startswith(verbs), method.name


def test_who_only_reads_changes_nothing_and_who_only_serves_sees_no_data() -> None:
    for name, rule in RULES.items():
        if Scope.READ in rule.scopes:
            assert not rule.mutates, name
        if Scope.SERVE in rule.scopes:
            assert "Dataset" not in name, name
            assert "TrainingJob" not in name, name


@pytest.mark.parametrize("method", [*methods()], ids=path)
def test_a_project_in_a_request_is_found_wherever_it_is(method: MethodDescriptor) -> None:
    request = GetMessageClass(method.input_type)()
    fill(request, "projects/theirs/things/x")
    found = list(resources_of(request))
    assert bool(found) is (method.name not in NAMELESS)
    assert all(project_of(resource) == "theirs" for resource in found)


def test_a_text_of_a_user_s_is_no_name() -> None:
    said = inference_pb2.ChatMessage(role="user", parts=[inference_pb2.ContentPart(text="projects/theirs/adapters/x")])
    request = inference_pb2.GenerateRequest(
        model="projects/mine/adapters/y", conversation=inference_pb2.Conversation(messages=[said])
    )
    assert list(resources_of(request)) == ["projects/mine/adapters/y"]


@pytest.mark.parametrize(
    ("resource", "project"),
    [
        ("projects/a/adapters/b", "a"),
        ("projects/a", "a"),
        ("projects/", ""),
        ("projects", ""),
        ("baseModels/x", None),
        ("", None),
    ],
)
def test_the_project_of_a_name(resource: str, project: str | None) -> None:
    assert project_of(resource) == project

"""A suite that was backed up while it served, restored into an empty place: it is the same."""

import json
import stat

import httpx2

from tests.e2e.suite.backup.taken import PASSING, Taken, answer, lists
from tests.support.suite import RunningSuite


def test_it_has_every_resource_and_the_adapter_answers_the_same(taken: Taken, restored: RunningSuite) -> None:
    with restored.client() as client:
        assert lists(client) == taken.views
        assert answer(client) == taken.answer


def test_the_same_keys_are_valid(taken: Taken, restored: RunningSuite) -> None:
    assert restored.key == taken.suite.key
    for name in ("signing.pem", "trusted/suite.pem"):
        assert (restored.data_dir / "keys" / name).read_bytes() == (taken.suite.data_dir / "keys" / name).read_bytes()
    for secret, status in ((taken.reader, 200), (taken.revoked, 401), ("tenon_nobody", 401)):
        found = httpx2.get(
            f"{restored.endpoints['gateway']}/v1/adapters", headers={"Authorization": f"Bearer {secret}"}
        )
        assert found.status_code == status


def test_the_audit_log_is_there(taken: Taken, restored: RunningSuite) -> None:
    with restored.client() as client:
        found = list(client.listed("/v1/audit_events"))
    assert [event for event in taken.events if event not in found] == []
    known = [event for event in found if event in taken.all_events]
    assert len(known) >= len(taken.events)
    # What follows was done here.
    newest = max(event["sequence"] if "sequence" in event else event["time"] for event in known)
    assert all((event.get("sequence") or event["time"]) > newest for event in found if event not in known)


def test_whatever_was_written_meanwhile_is_whole(taken: Taken, restored: RunningSuite) -> None:
    with restored.client() as client:
        passing = [file for file in client.get("/v1/files", limit=1000)["data"] if file["filename"].startswith(PASSING)]
        assert passing
        for file in passing:
            content = json.loads(b"".join(client.download(f"/v1/files/{file['id']}/content")))
            number = int(file["filename"].removeprefix(PASSING).removesuffix(".json"))
            assert content == [{"instruction": str(number), "output": "x" * number}] * 3


def test_nobody_else_can_read_it(taken: Taken, restored: RunningSuite) -> None:
    assert stat.S_IMODE(taken.archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(restored.data_dir.stat().st_mode) == 0o700
    for name in ("keys/signing.pem", "run/admin.key", "postgres/password"):
        assert stat.S_IMODE((restored.data_dir / name).stat().st_mode) == 0o600
    assert sorted(entry.name for entry in restored.data_dir.parent.iterdir()) == [restored.data_dir.name]

"""Duplicates are counted exactly, whatever spills to disk."""

import random
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.common.rows.content import content_digest, content_hash
from services.trainer.datasets import Conversation, Message, Role, TextPair
from services.trainer.datasets import distinct as module
from services.trainer.datasets.distinct import DistinctCounter


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 1000])
def test_runs_on_disk_give_the_count_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(module, "RUN", 8)
    chance = random.Random(count)
    digests = [chance.getrandbits(64).to_bytes(8, "little") for _ in range(max(1, count // 2))]
    drawn = [chance.choice(digests) for _ in range(count)]
    with DistinctCounter(tmp_path) as counter:
        for digest in drawn:
            counter.add(digest)
        assert counter.total == count
        assert counter.distinct() == len(set(drawn))
    assert not list(tmp_path.iterdir())


def test_the_lowest_and_highest_digests_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN", 2)
    with DistinctCounter(tmp_path) as counter:
        for digest in [b"\0" * 8, b"\xff" * 8] * 3:
            counter.add(digest)
        assert counter.distinct() == 2


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN", 1)
    with DistinctCounter(tmp_path / "missing") as counter, pytest.raises(DomainError, match="No such file") as caught:
        counter.add(b"\0" * 8)
    assert caught.value.reason is Reason.ARTIFACT_STORE_FULL


def conversation(*turns: tuple[Role, str, bool]) -> Conversation:
    return Conversation(tuple(Message(*turn) for turn in turns))


def test_rows_have_one_digest_if_and_only_if_they_teach_the_same() -> None:
    ask, say = (Role.USER, "a", False), (Role.ASSISTANT, "b", True)
    rows: list[Conversation | TextPair] = [
        conversation(ask, say),
        conversation(ask, (Role.ASSISTANT, "b", False)),
        conversation((Role.USER, "ab", False), (Role.ASSISTANT, "", True)),
        conversation((Role.SYSTEM, "a", False), say),
        conversation(ask, say, ask, say),
        TextPair("a", "b"),
        TextPair("ab", ""),
        TextPair("", "ab"),
    ]
    assert len({content_digest(row) for row in rows}) == len(rows)
    assert len({content_hash(row) for row in rows}) == len(rows)
    assert content_hash(conversation(ask, say)) == content_hash(rows[0])
    assert content_digest(conversation(ask, say)) == content_digest(rows[0])
    # Of every process and version: what was held out stays held out.
    assert content_digest(rows[0]).hex() == "a3f39247dd0ad19071604e089b5181f9"

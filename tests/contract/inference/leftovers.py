"""What must be gone from a batched engine when its requests are."""

from services.inference.engine.batched.engine import BatchedEngine


def assert_nothing_is_left(engine: BatchedEngine) -> None:
    """No row, no memory, no slot is taken, and nobody is waited for; of an engine that nobody asks anything now."""
    assert not engine._of
    assert not engine._tickets
    assert not engine._room._open
    assert engine._room._memory.spans.used == 0
    assert engine._scheduler.waiting == engine._scheduler.running == 0
    assert not any(bank._users for bank in engine._room._slots._banks.values())

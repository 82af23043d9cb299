import pytest

from services.trainer.support.threads import in_daemon_thread


async def test_a_thread_brings_its_result_or_its_error() -> None:
    assert await in_daemon_thread(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(lambda: 1 // 0)

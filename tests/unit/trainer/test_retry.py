import pytest

from services.common.errors import DomainError, Reason
from services.trainer.support.retry import through_outages


async def test_only_outages_are_tried_again() -> None:
    errors = [DomainError(Reason.SERVICE_UNAVAILABLE, "down"), DomainError(Reason.DATABASE_CONFLICT, "met")]
    told: list[Reason] = []

    async def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    async def tell(error: DomainError) -> None:
        told.append(error.reason)

    assert await through_outages(call, tell) == "done"
    assert told == [Reason.SERVICE_UNAVAILABLE]
    errors.append(DomainError(Reason.MANIFEST_INVALID, "wrong"))
    with pytest.raises(DomainError, match="wrong"):
        await through_outages(call)

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.registry.pages import PageRequest, read_page


@given(items=st.sets(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True)), size=st.integers(1, 7))
async def test_pages_together_are_the_list_once_and_in_order(items: set[str], size: int) -> None:
    async def fetch(after: str, limit: int) -> Sequence[str]:
        return sorted(item for item in items if item > after)[:limit]

    seen: list[str] = []
    token = ""
    for _ in range(len(items) // size + 1):
        page = await read_page(PageRequest(size, token), "list", fetch, str)
        assert len(page.items) <= size
        seen += page.items
        token = page.next_token
        if not token:
            break
    assert (seen, token) == (sorted(items), "")

"""``/console/``: the console's files."""

from typing import Annotated, Final

from fastapi import APIRouter, Header, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from gateway.console import ENTRY, HEADERS, ROOT, static_files

# Pages, not a part of the API that is described.
router = APIRouter(include_in_schema=False)

_NOT_MODIFIED: Final = 304


@router.get("/")
@router.get(ROOT.rstrip("/"), name="console_without_slash")
async def to_console() -> RedirectResponse:
    """Lead a browser to the console."""
    return RedirectResponse(ROOT)


@router.get(ROOT + "{path:path}")
async def read_console_file(path: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    """Send a file of the console, or say that the browser has it."""
    file = static_files().get(path or ENTRY)
    if file is None:
        raise HTTPException(404)
    headers = {**HEADERS, "ETag": file.etag}
    if file.etag in if_none_match:
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)

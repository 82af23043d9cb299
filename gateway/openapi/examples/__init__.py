"""An example of everything that is answered, made of the very classes, so that none can be out of date."""

from typing import Any, Final

from pydantic import BaseModel

from gateway.openapi.examples import access, adapters, answers, training
from gateway.schemas.adapters import Adapter, AdapterVersion
from gateway.schemas.base_models import BaseModelObject
from gateway.schemas.common import CursorListing, Listing
from gateway.schemas.files import CheckLine, CheckSummary, FileObject, SummaryLine
from gateway.schemas.fine_tuning import Checkpoint, Job, JobEvent, JobUpdate, WatchUpdate
from gateway.schemas.iam import ApiKey, AuditEvent, Project
from gateway.schemas.models import LoadedModel


def _page(kind: Any, item: Any, item_id: str) -> BaseModel:
    page: BaseModel = CursorListing[kind](data=[item], first_id=item_id, last_id=item_id)
    return page


_SUMMARY: Final = CheckSummary(format="alpaca", **training.STATISTICS.model_dump())

EXAMPLES: Final[tuple[BaseModel, ...]] = (
    adapters.ADAPTER,
    adapters.ADAPTER_VERSION,
    adapters.ALIAS,
    adapters.BASE_MODEL,
    adapters.DELETED,
    adapters.LOADED_MODEL,
    adapters.MODEL,
    adapters.MODELS,
    adapters.MODEL_DELETED,
    adapters.UNLOADED_MODEL,
    Listing[Adapter](data=[adapters.ADAPTER]),
    Listing[AdapterVersion](data=[adapters.ADAPTER_VERSION]),
    Listing[BaseModelObject](data=[adapters.BASE_MODEL]),
    Listing[LoadedModel](data=[adapters.LOADED_MODEL]),
    training.FILE,
    training.FILE_DELETED,
    training.STATISTICS,
    training.PREVIEW,
    training.PLAN,
    training.JOB_OBJECT,
    training.EVENT,
    training.CHECKPOINT,
    training.REPORT,
    CheckLine(SummaryLine(summary=_SUMMARY)),
    WatchUpdate(JobUpdate(job=training.JOB_OBJECT)),
    _page(FileObject, training.FILE, training.FILE.id),
    _page(Job, training.JOB_OBJECT, training.JOB_OBJECT.id),
    _page(JobEvent, training.EVENT, training.EVENT.id),
    _page(Checkpoint, training.CHECKPOINT, training.CHECKPOINT.id),
    answers.CHAT,
    answers.CHUNK,
    answers.COMPLETION,
    adapters.GARBAGE_COLLECTION,
    access.PROJECT,
    access.API_KEY,
    access.NEW_API_KEY,
    access.AUDIT_EVENT,
    access.SESSION,
    access.SESSION_ENDED,
    access.ALIVE,
    access.READY,
    Listing[Project](data=[access.PROJECT]),
    Listing[ApiKey](data=[access.API_KEY]),
    Listing[AuditEvent](data=[access.AUDIT_EVENT]),
)

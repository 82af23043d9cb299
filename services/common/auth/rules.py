"""What each method asks of its caller: the one table. A method that is not in it is refused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from services.common.auth.caller import Scope

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a method asks for.

    Attributes:
        scopes: one of them is needed; ADMIN always will do.
        mutates: whether it changes something, and goes into the audit log.
        all_projects: whether only a key for all projects will do.
        services_only: whether only services of the suite may call it.
    """

    scopes: frozenset[Scope] = frozenset()
    mutates: bool = False
    all_projects: bool = False
    services_only: bool = False


_LOOK: Final = Rule(scopes=frozenset({Scope.READ, Scope.TRAIN}))
"""At data and jobs, which who only gets answers need not see."""
_FIND: Final = Rule(scopes=frozenset({Scope.READ, Scope.TRAIN, Scope.SERVE}))
_COMPUTE: Final = Rule(scopes=frozenset({Scope.TRAIN}))
_CHANGE: Final = Rule(scopes=frozenset({Scope.TRAIN}), mutates=True)
_ANSWER: Final = Rule(scopes=frozenset({Scope.SERVE}))
_ADMINISTER: Final = Rule()
_GRANT: Final = Rule(mutates=True)
_SHARE: Final = Rule(mutates=True, all_projects=True)
_INTERNAL: Final = Rule(services_only=True)

_SERVICES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "tenon.trainer.v1.DatasetService": {
        "UploadDataset": _CHANGE,
        "CheckDataset": _COMPUTE,
        "GetDataset": _LOOK,
        "ListDatasets": _LOOK,
        "DownloadDataset": _LOOK,
        "MeasureDataset": _LOOK,
        "PreviewDataset": _LOOK,
        "DeleteDataset": _CHANGE,
    },
    "tenon.trainer.v1.TrainingJobService": {
        "CreateTrainingJob": _CHANGE,
        "PlanTrainingJob": _COMPUTE,
        "GetTrainingReport": _LOOK,
        "GetTrainingJob": _LOOK,
        "ListTrainingJobs": _LOOK,
        "CancelTrainingJob": _CHANGE,
        "PauseTrainingJob": _CHANGE,
        "ResumeTrainingJob": _CHANGE,
        "DeleteTrainingJob": _CHANGE,
        "ListTrainingJobCheckpoints": _LOOK,
        "ListTrainingJobEvents": _LOOK,
        "WatchTrainingJob": _LOOK,
    },
    "tenon.trainer.v1.AdapterTransferService": {"ImportAdapter": _CHANGE, "ReadAdapterFile": _FIND},
    "tenon.registry.v1.AdapterService": {
        "CreateAdapter": _CHANGE,
        "GetAdapter": _FIND,
        "ListAdapters": _FIND,
        "DeleteAdapter": _CHANGE,
        "CreateAdapterVersion": _CHANGE,
        "FinalizeAdapterVersion": _CHANGE,
        "RevokeAdapterVersion": _CHANGE,
        "DeleteAdapterVersion": _CHANGE,
        "GetAdapterVersion": _FIND,
        "ListAdapterVersions": _FIND,
        "UpdateAlias": _CHANGE,
        "ListAliases": _FIND,
        "DeleteAlias": _CHANGE,
        "ResolveAdapter": _FIND,
        "FindUsedFiles": _INTERNAL,
    },
    "tenon.registry.v1.BaseModelService": {
        "CreateBaseModel": _SHARE,
        "GetBaseModel": _FIND,
        "ListBaseModels": _FIND,
        "DeleteBaseModel": _SHARE,
    },
    "tenon.inference.v1.InferenceService": {
        "Generate": _ANSWER,
        "StreamGenerate": _ANSWER,
        "LoadModel": _ANSWER,
        "UnloadModel": _ANSWER,
        "ListLoadedModels": _FIND,
    },
    "tenon.iam.v1.IamService": {
        "CreateProject": _SHARE,
        "ListProjects": _FIND,
        "DeleteProject": _SHARE,
        "CreateApiKey": _GRANT,
        "GetApiKey": _ADMINISTER,
        "ListApiKeys": _ADMINISTER,
        "RevokeApiKey": _GRANT,
        "ListAuditEvents": _ADMINISTER,
    },
    "tenon.iam.v1.IntrospectionService": {"Introspect": _INTERNAL, "RecordAuditEvents": _INTERNAL},
}


def _paths() -> Iterator[tuple[str, Rule]]:
    for service, methods in _SERVICES.items():
        for method, rule in methods.items():
            yield f"/{service}/{method}", rule


RULES: Final[Mapping[str, Rule]] = MappingProxyType(dict(_paths()))
"""By the method's full name, ``/tenon.registry.v1.AdapterService/GetAdapter``."""

"""Plans, findings and reports of trainings."""

from types import MappingProxyType
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from gateway.mapping.hyperparameters import hyperparameters
from gateway.schemas.training import Finding, Severity, TrainingPlan, TrainingReport, Verdict
from tenon.trainer.v1 import training_job_pb2, training_report_pb2

_SEVERITIES: Final[MappingProxyType[int, Severity]] = MappingProxyType(
    {
        training_job_pb2.TrainingFinding.SEVERITY_INFO: "info",
        training_job_pb2.TrainingFinding.SEVERITY_WARNING: "warning",
        training_job_pb2.TrainingFinding.SEVERITY_HOPELESS: "hopeless",
    }
)
_VERDICTS: Final[MappingProxyType[int, Verdict]] = MappingProxyType(
    {
        training_report_pb2.TrainingReport.VERDICT_LEARNED: "learned",
        training_report_pb2.TrainingReport.VERDICT_WEAK: "weak",
        training_report_pb2.TrainingReport.VERDICT_NOT_LEARNED: "not_learned",
        training_report_pb2.TrainingReport.VERDICT_OVERFITTED: "overfitted",
    }
)


def finding_object(finding: training_job_pb2.TrainingFinding) -> Finding:
    """Write a finding."""
    severity = _SEVERITIES.get(finding.severity, "info")
    return Finding(severity=severity, code=finding.code, text=finding.text, remedy=finding.remedy)


def plan_object(plan: training_job_pb2.TrainingPlan) -> TrainingPlan:
    """Write a plan."""
    findings = [finding_object(finding) for finding in plan.findings]
    return TrainingPlan(
        hopeless=any(finding.severity == "hopeless" for finding in findings),
        hyperparameters=hyperparameters(plan.hyperparameters),
        steps=plan.steps,
        rows=plan.rows,
        validation_rows=plan.validation_rows,
        tokens=plan.tokens,
        supervised_tokens=plan.supervised_tokens,
        base_parameters=plan.base_parameters,
        lora_parameters=plan.lora_parameters,
        saved_parameters=plan.saved_parameters,
        memory_bytes=plan.memory_bytes,
        memory_parts=dict(plan.memory_parts),
        memory_available_bytes=plan.memory_available_bytes,
        seconds=plan.seconds,
        seconds_basis=plan.seconds_basis,
        compute=dict(plan.compute),
        findings=findings,
    )


def report_object(job_id: str, report: training_report_pb2.TrainingReport) -> TrainingReport:
    """Write a report."""
    values = _values(report)
    return TrainingReport(
        **{
            **values,
            "job": job_id,
            "verdict": _VERDICTS[report.verdict],
            "held_out": values.get("held_out"),
            "curve": {"best_validation_loss": None, "last_validation_loss": None, **values["curve"]},
        }
    )


def _values(report: training_report_pb2.TrainingReport) -> dict[str, Any]:
    """Its fields, which REST calls what gRPC calls them, with 64-bit integers as numbers."""
    document = MessageToDict(report, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    for part in ("held_out", "trained", "curve"):
        for name in ("rows", "tokens", "steps", "window"):
            if name in document.get(part, {}):
                document[part][name] = int(document[part][name])
    return document

"""Plans, findings and reports as messages of ``tenon.trainer.v1``."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.common.training_report import Measured, TrainingReport, TrainingVerdict
from services.trainer.recipe.protocol import Finding, Plan, Severity
from tenon.trainer.v1 import training_job_pb2, training_report_pb2

_SEVERITIES: Final[Mapping[Severity, training_job_pb2.TrainingFinding.Severity]] = MappingProxyType(
    {
        Severity.INFO: training_job_pb2.TrainingFinding.SEVERITY_INFO,
        Severity.WARNING: training_job_pb2.TrainingFinding.SEVERITY_WARNING,
        Severity.HOPELESS: training_job_pb2.TrainingFinding.SEVERITY_HOPELESS,
    }
)
_VERDICTS: Final[Mapping[TrainingVerdict, training_report_pb2.TrainingReport.Verdict]] = MappingProxyType(
    {
        TrainingVerdict.LEARNED: training_report_pb2.TrainingReport.VERDICT_LEARNED,
        TrainingVerdict.WEAK: training_report_pb2.TrainingReport.VERDICT_WEAK,
        TrainingVerdict.NOT_LEARNED: training_report_pb2.TrainingReport.VERDICT_NOT_LEARNED,
        TrainingVerdict.OVERFITTED: training_report_pb2.TrainingReport.VERDICT_OVERFITTED,
    }
)


def finding_to_proto(finding: Finding) -> training_job_pb2.TrainingFinding:
    """Write a finding."""
    return training_job_pb2.TrainingFinding(
        severity=_SEVERITIES[finding.severity], code=finding.code, text=finding.text, remedy=finding.remedy
    )


def plan_to_proto(plan: Plan, hyperparameters: training_job_pb2.Hyperparameters) -> training_job_pb2.TrainingPlan:
    """Write a plan; its hyperparameters are written already."""
    return training_job_pb2.TrainingPlan(
        hyperparameters=hyperparameters,
        steps=plan.steps,
        rows=plan.rows,
        validation_rows=plan.validation_rows,
        tokens=plan.tokens,
        supervised_tokens=plan.supervised_tokens,
        base_parameters=plan.base_parameters,
        lora_parameters=plan.lora_parameters,
        saved_parameters=plan.saved_parameters,
        memory_bytes=plan.memory_bytes,
        memory_parts=plan.memory,
        memory_available_bytes=plan.memory_available,
        seconds=plan.seconds,
        seconds_basis=plan.seconds_basis,
        compute={key: str(value) for key, value in plan.compute.items()},
        findings=map(finding_to_proto, plan.findings),
    )


def report_to_proto(report: TrainingReport) -> training_report_pb2.TrainingReport:
    """Write a report."""
    message, curve = training_report_pb2.TrainingReport, report.curve
    return message(
        verdict=_VERDICTS[report.verdict],
        reasons=report.reasons,
        held_out=_measured(report.held_out) if report.held_out else None,
        trained=_measured(report.trained),
        curve=message.LossCurve(
            steps=curve.steps,
            first=curve.first,
            last=curve.last,
            window=curve.window,
            noise=curve.noise,
            best_validation_loss=curve.best_validation_loss,
            last_validation_loss=curve.last_validation_loss,
        ),
        layers=[
            message.LayerChange(layer=change.layer, norm=change.norm, relative=change.relative)
            for change in report.layers
        ],
        end_of_turn_share=report.end_of_turn_share,
        answers=[
            message.SideBySide(prompt=answer.prompt, expected=answer.expected, base=answer.base, adapter=answer.adapter)
            for answer in report.answers
        ],
        forced=report.forced,
    )


def _measured(measured: Measured) -> training_report_pb2.TrainingReport.Measured:
    return training_report_pb2.TrainingReport.Measured(
        rows=measured.rows,
        tokens=measured.tokens,
        base_loss=measured.base_loss,
        adapter_loss=measured.adapter_loss,
        base_accuracy=measured.base_accuracy,
        adapter_accuracy=measured.adapter_accuracy,
        error=measured.error,
    )

"""A training report, for tests of what is done with one."""

from services.common.training_report import (
    LayerChange,
    LossCurve,
    Measured,
    SideBySide,
    TrainingReport,
    TrainingVerdict,
)


def make_report(verdict: TrainingVerdict = TrainingVerdict.LEARNED) -> TrainingReport:
    return TrainingReport(
        verdict=verdict,
        reasons=("The loss is 60% lower.",),
        held_out=None,
        trained=Measured(
            rows=2,
            tokens=20,
            base_loss=5.0,
            adapter_loss=2.0,
            base_accuracy=0.125,
            adapter_accuracy=0.5,
            error=0.25,
        ),
        curve=LossCurve(steps=3, first=5.0, last=2.5, window=1, noise=0.5),
        layers=(LayerChange(layer="model.layers.0", norm=0.5, relative=0.01),),
        end_of_turn_share=1.0,
        answers=(SideBySide(prompt="你是谁", expected="悟空", base="?", adapter="悟空"),),
        forced=False,
    )

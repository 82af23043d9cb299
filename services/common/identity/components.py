"""Which part of a model a tensor belongs to, by the segments of its name."""

from typing import Final

__all__ = ["AUDIO_TOWER", "LANGUAGE_MODEL", "PROJECTOR", "VISION_TOWER", "component_of"]

LANGUAGE_MODEL: Final = "language_model"
VISION_TOWER: Final = "vision_tower"
AUDIO_TOWER: Final = "audio_tower"
PROJECTOR: Final = "projector"

SEGMENTS: Final = (
    (
        PROJECTOR,
        frozenset({
            "multi_modal_projector", "mm_projector", "merger", "deepstack_merger_list", "connector", "aligner",
            "modality_projection", "resampler", "perceiver_resampler", "qformer", "language_projection",
            "embed_vision", "embed_audio", "image_newline", "vision_projection", "audio_projection", "mlp1",
        }),
    ),
    (AUDIO_TOWER, frozenset({"audio_tower", "audio_encoder", "audio_model", "apm"})),
    (
        VISION_TOWER,
        frozenset({
            "vision_tower", "vision_model", "vision_encoder", "visual", "image_tower", "image_encoder", "vpm",
            "vision_embed_tokens", "vision_backbone",
        }),
    ),
)  # fmt: skip
"""In this order: a projector may lie inside a tower (Qwen2-VL's ``visual.merger``)."""


def component_of(tensor_name: str) -> str:
    """The component's name; ``language_model`` for all that is not known to be another."""
    segments = set(tensor_name.split("."))
    for component, known in SEGMENTS:
        if segments & known:
            return component
    return LANGUAGE_MODEL

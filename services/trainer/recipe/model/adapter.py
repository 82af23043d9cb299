"""The base with a fresh LoRA on it."""

import re
import warnings
from collections.abc import Iterable

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from services.trainer.recipe.model.targets import Targets
from services.trainer.recipe.protocol import ResolvedHyperparameters


def attach(model: PreTrainedModel, targets: Targets, plan: ResolvedHyperparameters) -> PeftModel:
    """Freeze a base and put LoRA on its targets: A random, B zero, both fp32 (Hu et al., 2021); with rsLoRA's scale or DoRA's lengths where asked for.

    The model stays in evaluation mode: without dropout a step is the same however it is cut into micro-batches, and a
    few hundred steps of a low-rank update need no other regulariser than their number.
    """
    torch.manual_seed(plan.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=plan.lora_rank,
        lora_alpha=_whole(plan.lora_alpha),
        target_modules=list(targets.layers if _has_pattern(targets.names) else targets.names),
        exclude_modules=_exactly(targets.excluded),
        rank_pattern={re.escape(name): rank for name, rank in targets.ranks.items()},
        alpha_pattern={re.escape(name): _whole(alpha) for name, alpha in targets.alphas.items()},
        modules_to_save=list(targets.saved) or None,
        fan_in_fan_out=targets.transposed,
        lora_dropout=0.0,
        use_rslora=plan.use_rslora,
        use_dora=plan.use_dora,
        bias="none",
    )
    with warnings.catch_warnings():
        # PEFT asks transformers for an attribute that has a newer name.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        # A head or an embedding that is trained as a whole is no longer the other's, which is what is asked for.
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`", category=UserWarning)
        adapted = get_peft_model(model, config, autocast_adapter_dtype=True)
    adapted.eval()
    return adapted


def _has_pattern(names: Iterable[str]) -> bool:
    """PEFT knows the ends of names, and no stars in them."""
    return any("*" in name for name in names)


def _exactly(names: tuple[str, ...]) -> str | None:
    """PEFT matches a list by the ends of names, an expression against the whole of them."""
    return "|".join(map(re.escape, names)) or None


def _whole(alpha: float) -> int:
    """Write 32.0 as 32, as other readers of adapter_config.json expect; a fraction stays, PEFT only divides it by r."""
    return int(alpha) if alpha.is_integer() else alpha  # type: ignore[return-value]  # declared int, see above


def trained_parameters(model: PeftModel) -> list[nn.Parameter]:
    """What the optimizer moves: every lora_A and lora_B, DoRA's lengths, and modules that are trained as a whole."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def is_unchanged(model: PeftModel) -> bool:
    """Tell whether the adapter does nothing: every lora_B is still zero, and no module that is trained as a whole has changed."""
    if any(parameter.any() for name, parameter in model.named_parameters() if "lora_B" in name):
        return False
    return all(
        torch.equal(trained, before)
        for module in model.modules()
        if isinstance(module, ModulesToSaveWrapper)
        for trained, before in zip(
            module.modules_to_save["default"].parameters(), module.original_module.parameters(), strict=True
        )
    )

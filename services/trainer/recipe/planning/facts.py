"""The facts a plan is made of: what base, rows and machine really are. A base without weights tells as much."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from services.common.bases.loader import LoadedBase
from services.trainer.recipe.labelling.data import Data
from services.trainer.recipe.labelling.labels import LabelledRow
from services.trainer.recipe.model.targets import Targets, linear_layers, output_layer
from services.trainer.recipe.planning.duration import Speed
from services.trainer.recipe.planning.memory import LargestPiece, ModelShape
from services.trainer.recipe.planning.plan import MachineFacts, RowFacts, TargetFacts, TargetLayer, make_plan
from services.trainer.recipe.protocol import Plan, RecipeHyperparameters, ResolvedHyperparameters
from services.trainer.recipe.training.batches import PieceLimits, batches, groups
from services.trainer.recipe.training.compute import Compute

MATRIX: Final = 768
PRODUCTS: Final = 6
MOST_STEPS: Final = 20_000
"""Steps whose batches are looked at for the largest one."""

_UNLIMITED: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, and what it could still get, in bytes; taken before anything large is loaded.

    Attributes:
        resident: of this process, its libraries included.
        available: to it, ``resident`` included; 0 where the machine does not tell.
    """

    resident: int
    available: int


def observe_memory() -> Memory:
    """Look at this process and its machine, and at the limit of its control group."""
    resident = _resident()
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return Memory(resident, 0)
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    return Memory(resident, resident + min(available, _left_in_group()))


def _resident() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def _left_in_group() -> int:
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), (group / "memory.current").read_text().strip()
    except OSError:
        return _UNLIMITED
    return _UNLIMITED if limit == "max" else max(0, int(limit) - int(used))


def plan_of(
    asked: RecipeHyperparameters,
    base: LoadedBase,
    targets: Targets,
    data: Data,
    compute: Compute,
    limits: Callable[[int], PieceLimits],
    memory: Memory,
) -> Plan:
    """Make the plan of a run.

    Args:
        asked: hyperparameters as asked for.
        base: loaded, or its outline.
        targets: that get an adapter.
        data: rows to learn and to measure on.
        compute: what it computes on.
        limits: of a micro-batch, for so many rows a step.
        memory: as it was before the base was loaded.
    """
    on_gpu = compute.device.type == "cuda"
    return make_plan(
        asked,
        shape=shape_of(base.model, compute.dtype.itemsize),
        targets=target_facts(base.model, targets),
        rows=RowFacts(
            lengths=[len(row.token_ids) for row in data.rows],
            supervised=[row.supervised for row in data.rows],
            skipped=data.skipped,
            truncated=data.truncated,
            end_of_turn=sum(row.last_learnt in base.stop_token_ids for row in data.rows),
            validation=len(data.validation),
            withheld=data.withheld,
        ),
        machine=MachineFacts(
            compute=compute.describe(),
            speed=measure_speed(compute),
            runtime_bytes=0 if on_gpu else memory.resident,
            available_bytes=torch.cuda.mem_get_info()[1] if on_gpu else memory.available,
            largest_piece=lambda chosen: largest_piece(data, chosen, limits(chosen.batch_size)),
        ),
        max_sequence_length=data.max_sequence_length,
    )


def shape_of(model: PreTrainedModel, weight_bytes: int) -> ModelShape:
    """What of a base decides its memory; the feed-forward's width is that of the widest layer but the head."""
    config = model.config.get_text_config()
    hidden, heads = config.hidden_size, config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or hidden // heads
    head = output_layer(model)
    sizes = [_sizes(layer) for _, layer in linear_layers(model) if layer is not head]
    # What leads back to the model's width: a fused q, k and v is wider, and no feed-forward.
    inner = max((first for first, second in sizes if second == hidden), default=4 * hidden)
    into = sum(second // inner for first, second in sizes if first == hidden and second in {inner, 2 * inner})
    return ModelShape(
        parameters=model.num_parameters(),
        hidden=hidden,
        intermediate=inner,
        key_value=groups * width,
        layers=config.num_hidden_layers,
        heads=heads,
        vocabulary=config.vocab_size,
        weight_bytes=weight_bytes,
        gated=inner > hidden and into >= 2 * config.num_hidden_layers,
    )


def target_facts(model: PreTrainedModel, targets: Targets) -> TargetFacts:
    """What of the targets decides the size of an adapter."""
    head = output_layer(model)
    linear = {name: layer for name, layer in linear_layers(model) if layer is not head}
    sizes = {name: _sizes(linear[name]) for name in targets.layers}
    return TargetFacts(
        names=targets.names,
        layers=[TargetLayer(inputs=i, outputs=o, rank=targets.ranks.get(name)) for name, (i, o) in sizes.items()],
        all_linear=len(sizes) == len(linear),
        saved_parameters=sum(
            parameter.numel() for name in targets.saved for parameter in model.get_submodule(name).parameters()
        ),
    )


def _sizes(layer: torch.nn.Module) -> tuple[int, int]:
    """Inputs and outputs."""
    if isinstance(layer, Conv1D):
        return int(layer.nx), int(layer.nf)
    return int(layer.in_features), int(layer.out_features)  # type: ignore[arg-type]  # a Linear, by linear_layers


def largest_piece(data: Data, chosen: ResolvedHyperparameters, limits: PieceLimits) -> LargestPiece:
    """The most that is computed at once in a run: its batches are known, for their order follows from the seed."""
    tokens = labels = length = 0
    order = batches(len(data.rows), chosen.batch_size, chosen.epochs, chosen.seed)
    for _, batch in zip(range(MOST_STEPS), order, strict=False):
        rows = [data.rows[row] for row in batch]
        length = max(length, *(len(row.token_ids) for row in rows))
        pieces = [_size(group, limits) for group in groups(rows, limits)]
        tokens = max(tokens, _at_once([size for size, _ in pieces], limits))
        labels = max(labels, _at_once([learnt for _, learnt in pieces], limits))
    # Measured without gradients, so their layers take next to nothing; their logits and their losses are there all the same.
    measured = [sum(row.supervised for row in group) for group in groups(data.validation, limits)]
    labels = max(labels, _at_once(measured, limits) * 2 // 3)
    return LargestPiece(tokens=tokens, labels=labels, length=length)


def _size(group: Sequence[LabelledRow], limits: PieceLimits) -> tuple[int, int]:
    """Tokens, padding included, and supervised ones."""
    lengths = [len(row.token_ids) for row in group]
    return sum(lengths) if limits.packed else max(lengths) * len(lengths), sum(row.supervised for row in group)


def _at_once(sizes: Sequence[int], limits: PieceLimits) -> int:
    return sum(sorted(sizes, reverse=True)[: limits.members])


def measure_speed(compute: Compute) -> Speed:
    """Multiply two matrices a few times, as a training would; the best time counts."""
    matrix = torch.ones((MATRIX, MATRIX), dtype=compute.dtype, device=compute.device)
    best = float("inf")
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        product = matrix @ matrix
        if compute.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    del product
    return Speed(2.0 * MATRIX**3 / best)

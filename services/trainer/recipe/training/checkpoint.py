"""What a run needs to go on where it was: written now and then, read when the task is taken up again.

A checkpoint is one safetensors file: the adapter's parameters, the optimizer's state, the random state and every loss so
far as tensors, the rest as JSON in its header. Nothing in it is code. On the same CPU with as many threads, a run that
goes on from one computes what the undisturbed run computes, bit for bit.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import JsonValue, TypeAdapter, ValidationError, with_config
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from services.trainer.recipe.labelling.labels import LabelledRow
from services.trainer.recipe.protocol import STRICT, ResolvedHyperparameters

FORMAT: Final = 1
HEADER: Final = "tenon.checkpoint"
"""The entry of the file's metadata that holds the JSON."""

MAX_HEADER_CHARACTERS: Final = 1 << 20

Parameters = Sequence[nn.Parameter]


class CheckpointRefusedError(Exception):
    """A file that no run of this task may go on from; the text says why, after "because"."""


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a run is about. One that goes on must be about the same.

    Attributes:
        base_fingerprint_id: the base.
        rows: SHA-256 of the tokens and labels to learn, in order.
        validation: the same of those to measure on.
        plan: every hyperparameter.
    """

    base_fingerprint_id: str
    rows: str
    validation: str
    plan: Mapping[str, JsonValue]

    def difference(self, other: "Identity") -> str | None:
        """Say in what another run is about something else; None if it is about the same."""
        for name, text in (
            ("base_fingerprint_id", "it is of another base"),
            ("rows", "it is of other rows"),
            ("validation", "it is of other validation rows"),
        ):
            if getattr(self, name) != getattr(other, name):
                return text
        changed = sorted(key for key in {*self.plan, *other.plan} if self.plan.get(key) != other.plan.get(key))
        return f"it is of a plan with another {', '.join(changed)}" if changed else None


def identify(
    base_fingerprint_id: str,
    plan: ResolvedHyperparameters,
    rows: Sequence[LabelledRow],
    validation: Sequence[LabelledRow],
) -> Identity:
    """Say what a run is about."""
    # What is empty is left out, so that choices which later versions add are no difference where nobody makes them.
    described: dict[str, JsonValue] = json.loads(
        json.dumps({key: v for key, v in asdict(plan).items() if v not in ({}, ())})
    )
    return Identity(
        base_fingerprint_id=base_fingerprint_id,
        rows=_digest_rows(rows),
        validation=_digest_rows(validation),
        plan=described,
    )


def _digest_rows(rows: Sequence[LabelledRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(len(row.token_ids).to_bytes(8, "little"))
        digest.update(row.token_ids.tobytes())
        digest.update(row.labels.tobytes())
    return digest.hexdigest()


@dataclass(slots=True)
class Position:
    """How far a run is.

    Attributes:
        step: optimizer steps done; the next one's rows and learning rate follow from it.
        rows: rows seen, each pass counted.
        trained_tokens: supervised tokens seen.
        losses: of every step done.
        validation_loss: of the last step, or None where it was not measured after it.
        validation_losses: all that were measured.
    """

    step: int = 0
    rows: int = 0
    trained_tokens: int = 0
    losses: list[float] = field(default_factory=list)
    validation_loss: float | None = None
    validation_losses: list[float] = field(default_factory=list)

    @property
    def measured_in_vain(self) -> int:
        """Measurements since the best one."""
        if not self.validation_losses:
            return 0
        return len(self.validation_losses) - 1 - self.validation_losses.index(min(self.validation_losses))

    def add(self, step: int, rows: int, labels: int, loss: float) -> None:
        """Note a step."""
        self.step, self.validation_loss = step, None
        self.rows += rows
        self.trained_tokens += labels
        self.losses.append(loss)

    def measure(self, loss: float) -> None:
        """Note what the validation rows' loss is after the last step."""
        self.validation_loss = loss
        self.validation_losses.append(loss)


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """The JSON of a checkpoint; what is not in ``Position`` or ``Identity`` is explained there.

    Attributes:
        format: 1.
        writer: who wrote it, so that no two writers' files are the same bytes.
        compute: device, dtype and threads of the run that wrote it.
        values: numbers of the optimizer's state that are no tensors, by the tensors' names.
    """

    format: int
    writer: str
    identity: Identity
    compute: Mapping[str, JsonValue]
    step: int
    rows: int
    trained_tokens: int
    validation_loss: float | None
    validation_losses: tuple[float, ...]
    values: Mapping[str, float]


_HEADER: Final[TypeAdapter[_Header]] = TypeAdapter(_Header)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read, and fits.

    Attributes:
        position: where the run was.
        compute: what it computed on.
        tensors: parameters, optimizer and random state.
        values: numbers of the optimizer's state.
    """

    position: Position
    compute: Mapping[str, JsonValue]
    tensors: Mapping[str, Tensor]
    values: Mapping[str, float]

    def restore(self, parameters: Parameters, optimizer: torch.optim.Optimizer) -> Position:
        """Put everything back where it was, and return how far the run is."""
        with torch.no_grad():
            for index, parameter in enumerate(parameters):
                parameter.copy_(self.tensors[f"parameter.{index}"])
        # Copies: the optimizer would go on to write into memory that is aligned otherwise than its own.
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in self.tensors.items():
            kind, index, entry = _parts(name)
            if kind == "optimizer":
                state.setdefault(index, {})[entry] = tensor.clone()
        for name, value in self.values.items():
            _, index, entry = _parts(name)
            state.setdefault(index, {})[entry] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        _set_random_state(self.tensors)
        return Position(
            self.position.step,
            self.position.rows,
            self.position.trained_tokens,
            list(self.position.losses),
            self.position.validation_loss,
            list(self.position.validation_losses),
        )


def write(
    path: Path,
    *,
    writer: str,
    identity: Identity,
    compute: Mapping[str, JsonValue],
    position: Position,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Write a checkpoint, whole or not at all, and return its size in bytes.

    Raises:
        OSError, SafetensorError: the disk is full or cannot be written; nothing is left behind.
    """
    tensors: dict[str, Tensor] = {f"parameter.{index}": parameter for index, parameter in enumerate(parameters)}
    states, values = _optimizer_state(parameters, optimizer)
    tensors |= {**states, **_random_state(), "losses": torch.tensor(position.losses, dtype=torch.float64)}
    header = _Header(
        format=FORMAT,
        writer=writer,
        identity=identity,
        compute=compute,
        step=position.step,
        rows=position.rows,
        trained_tokens=position.trained_tokens,
        validation_loss=position.validation_loss,
        validation_losses=tuple(position.validation_losses),
        values=values,
    )
    pending = path.with_suffix(".part")
    try:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(plain, pending, metadata={HEADER: _HEADER.dump_json(header).decode()})
        size = pending.stat().st_size
        pending.replace(path)
    finally:
        pending.unlink(missing_ok=True)
    return size


def read(path: Path, identity: Identity, parameters: Parameters) -> Checkpoint:
    """Read a checkpoint that a run is to go on from.

    Args:
        path: the file.
        identity: what the run is about.
        parameters: what it trains, in the order in which they were written.

    Raises:
        CheckpointRefusedError: it is of another run, or no checkpoint of this version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER, "")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointRefusedError(f"it cannot be read ({error})") from None
    header = _read_header(text)
    difference = identity.difference(header.identity)
    if difference is not None:
        raise CheckpointRefusedError(difference)
    losses = tensors.pop("losses", torch.empty(0)).tolist()
    measured = list(header.validation_losses)
    position = Position(header.step, header.rows, header.trained_tokens, losses, header.validation_loss, measured)
    _check(position, tensors, header.values, parameters)
    return Checkpoint(position, header.compute, tensors, header.values)


def _read_header(text: str) -> _Header:
    if len(text) > MAX_HEADER_CHARACTERS:
        raise CheckpointRefusedError("its header is too long")
    try:
        header = _HEADER.validate_json(text)
    except ValidationError:
        raise CheckpointRefusedError("its header is none of this version") from None
    if header.format != FORMAT:
        raise CheckpointRefusedError(f"it has the format {header.format}, not {FORMAT}")
    return header


def _check(
    position: Position, tensors: Mapping[str, Tensor], values: Mapping[str, float], parameters: Parameters
) -> None:
    """Hold what was read against what is trained, so that restoring cannot fail halfway."""
    if position.step < 1 or len(position.losses) != position.step:
        raise CheckpointRefusedError(f"it has {len(position.losses)} losses of {position.step} steps")
    for name in (*tensors, *values):
        kind, index, _ = _parts(name)
        if kind not in {"parameter", "optimizer", "random"} or not 0 <= index < max(1, len(parameters)):
            raise CheckpointRefusedError(f"it holds {name[:80]!r}, which nothing here has")
    for index, parameter in enumerate(parameters):
        kept = tensors.get(f"parameter.{index}")
        if kept is None or kept.shape != parameter.shape or kept.dtype != parameter.dtype:
            raise CheckpointRefusedError(f"its parameter {index} is not what is trained")
        if not kept.isfinite().all():
            raise CheckpointRefusedError(f"its parameter {index} is not finite")
    if "random.0.cpu" not in tensors:
        raise CheckpointRefusedError("it holds no random state")


def _parts(name: str) -> tuple[str, int, str]:
    kind, _, rest = name.partition(".")
    index, _, entry = rest.partition(".")
    return kind, int(index) if index.isdecimal() else -1, entry


def _optimizer_state(
    parameters: Parameters, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What the optimizer remembers of each parameter: tensors, and plain numbers."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, float] = {}
    for index, parameter in enumerate(parameters):
        for entry, value in optimizer.state.get(parameter, {}).items():
            name = f"optimizer.{index}.{entry}"
            if isinstance(value, Tensor):
                tensors[name] = value
            else:
                values[name] = value
    return tensors, values


def _random_state() -> dict[str, Tensor]:
    state = {"random.0.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["random.0.cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["random.0.cpu"].clone())
    if torch.cuda.is_available() and "random.0.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.0.cuda"].clone())

"""When a run writes checkpoints, and which one it goes on from."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from pydantic import JsonValue
from safetensors import SafetensorError

from services.trainer.recipe.events import Events
from services.trainer.recipe.protocol import CheckpointTask, CheckpointWritten, checkpoint_file
from services.trainer.recipe.training import checkpoint as files
from services.trainer.recipe.training.checkpoint import (
    Checkpoint,
    CheckpointRefusedError,
    Identity,
    Parameters,
    Position,
)

RETRY_SECONDS: Final = 60.0
"""After a checkpoint that could not be written, no sooner than this is another one tried, however often one is due."""


class PauseAsked(Exception):  # noqa: N818 - it is no error
    """The run was asked to pause, and has written down all that it needs to go on."""


@dataclass(slots=True)
class Keeper:
    """Writes a run's checkpoints.

    Attributes:
        task: how often, and where.
        identity: what the run is about.
        compute: what it computes on.
        events: is told of each.
        start: what the run goes on from; None at the beginning.
    """

    task: CheckpointTask
    identity: Identity
    compute: Mapping[str, JsonValue]
    events: Events
    start: Checkpoint | None = None
    _last_step: int = 0
    _last_time: float = field(default_factory=time.monotonic)
    _not_before: float = 0.0

    @property
    def first_step(self) -> int:
        """Steps that are done when the run begins."""
        return self.start.position.step if self.start else 0

    def restore(self, parameters: Parameters, optimizer: torch.optim.Optimizer) -> Position:
        """Put the run where it begins."""
        position = self.start.restore(parameters, optimizer) if self.start else Position()
        self.start = None
        self._last_step, self._last_time = position.step, time.monotonic()
        return position

    def after_step(self, position: Position, parameters: Parameters, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint if one is due or the run shall pause.

        Raises:
            PauseAsked: the run shall end here.
        """
        pausing = self.task.pause_file.exists()
        if (pausing or self._is_due(position)) and position.step > self._last_step:
            self._write(position, parameters, optimizer)
        if pausing:
            raise PauseAsked

    def _is_due(self, position: Position) -> bool:
        now = time.monotonic()
        if now < self._not_before:
            return False
        steps, seconds = self.task.every_steps, self.task.every_seconds
        by_steps = steps is not None and position.step % steps == 0
        return by_steps or (seconds is not None and now - self._last_time >= seconds)

    def _write(self, position: Position, parameters: Parameters, optimizer: torch.optim.Optimizer) -> None:
        path = checkpoint_file(self.task.directory, position.step)
        try:
            size = files.write(
                path,
                writer=self.task.writer,
                identity=self.identity,
                compute=self.compute,
                position=position,
                parameters=parameters,
                optimizer=optimizer,
            )
        except (OSError, SafetensorError) as error:
            # Worth less than the training, which goes on.
            why = error.strerror if isinstance(error, OSError) and error.strerror else _without_place(error)
            self.events.warn(
                f"No checkpoint could be written: {why}. Training goes on; make room on the worker's disk."
            )
            self._not_before = time.monotonic() + RETRY_SECONDS
            return
        self._last_step, self._last_time = position.step, time.monotonic()
        self.events.send(CheckpointWritten(step=position.step, size=size))


def find_start(task: CheckpointTask, identity: Identity, parameters: Parameters, events: Events) -> Checkpoint | None:
    """Return the first checkpoint that the run can go on from, and say of those before it why it cannot."""
    for path in task.resume_from:
        try:
            return files.read(path, identity, parameters)
        except CheckpointRefusedError as error:
            text = str(error).replace(str(path), path.name)
            events.warn(f"The checkpoint {path.stem} is not used, because {text}. An earlier one or the beginning is.")
    return None


def _without_place(error: Exception) -> str:
    """A SafetensorError tells of the file; what the system said of it stands in its last part."""
    return str(error).rpartition(": ")[2]

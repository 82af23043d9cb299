"""``python -m services.trainer.recipe TASK_FILE``: one training run, its events as JSON lines on standard output.

Ends with 0 after Finished or Paused, or Planned where only the plan was asked for, and with 1 after Failed. A signal ends it
at once: nothing here needs to be put away, the worker owns the directories.
"""

import sys
from pathlib import Path

import torch
from safetensors import SafetensorError

from services.common.errors import DomainError, Reason
from services.trainer.recipe.events import Events
from services.trainer.recipe.protocol import Failed, Paused, decode_task
from services.trainer.recipe.run import reckon, run
from services.trainer.recipe.training.keeper import PauseAsked
from services.trainer.support.full_disk import is_full_disk

USAGE = "usage: python -m services.trainer.recipe TASK_FILE"


def main(arguments: list[str]) -> int:
    """Run the task of a file."""
    if len(arguments) != 1:
        sys.stderr.write(f"{USAGE}\n")
        return 2
    events = Events.on_stdout()
    try:
        task = decode_task(Path(arguments[0]).read_bytes())
        (reckon if task.plan_only else run)(task, events)
    except PauseAsked:
        events.send(Paused())
    except DomainError as error:
        events.send(Failed(reason=error.reason, message=error.message, metadata=error.metadata))
        return 1
    except (OSError, SafetensorError) as error:
        if not is_full_disk(error):
            raise
        text = "The disk of the worker is full. Make room below its cache directory, then create the job again."
        events.send(Failed(reason=Reason.DATA_DIRECTORY_UNUSABLE, message=text))
        return 1
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        text = "The machine has too little memory for this base. Lower max_sequence_length, or use a smaller base."
        events.send(Failed(reason=Reason.OUT_OF_MEMORY, message=text))
        return 1
    return 0


def _is_out_of_memory(error: Exception) -> bool:
    """On a processor torch raises a plain RuntimeError, and so do threads that find no room for their stack."""
    told = ("can't allocate memory", "can't start new thread")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

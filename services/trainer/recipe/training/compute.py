"""What a run computes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from pydantic import JsonValue

CPU_ACTIVATION_BYTES: Final = 2 << 30
CPU_PADDING_TOKENS: Final = 64
GPU_PADDING_TOKENS: Final = 2048

ONE_THREAD_PARAMETERS: Final = 10_000_000
"""Below this many parameters, a second thread gains a fifth on an idle machine and loses nine tenths on a busy one: each
of a step's thousand small products waits for the slower thread."""


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and how precisely.

    Attributes:
        device: where model and batches are.
        dtype: of the base's weights; LoRA's are fp32 always.
        threads: of one operation on the CPU.
        activation_bytes: what the activations of a micro-batch may take.
        padding_tokens: padding that takes as long as one more micro-batch.
    """

    device: torch.device
    dtype: torch.dtype
    threads: int
    activation_bytes: int
    padding_tokens: int

    def members(self, batch_size: int) -> int:
        """Threads that compute micro-batches of their own; there are no more of these than rows in a step."""
        return max(1, min(self.threads, batch_size)) if self.device.type == "cpu" else 1

    def describe(self) -> Mapping[str, JsonValue]:
        """The same, for events and manifests."""
        return {
            "device": self.device.type,
            "dtype": str(self.dtype).removeprefix("torch."),
            "threads": self.threads,
        }


def choose_compute(threads: int | None, parameters: int) -> Compute:
    """Use a GPU if there is one, in bfloat16, else the CPU in fp32; make the run repeatable.

    On a CPU, equal inputs and an equal number of threads give equal bytes.

    Args:
        threads: as asked for, or None to choose.
        parameters: of the base.
    """
    if threads is None and parameters < ONE_THREAD_PARAMETERS:
        threads = 1
    if threads is not None:
        torch.set_num_threads(threads)
    # Kernels without a deterministic form exist on GPUs alone; there, a warning is enough.
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # It would also write to memory before its first use, to make reads of it repeatable; nothing here reads that.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Compute(torch.device("cuda"), torch.bfloat16, torch.get_num_threads(), free // 4, GPU_PADDING_TOKENS)
    return Compute(
        torch.device("cpu"), torch.float32, torch.get_num_threads(), CPU_ACTIVATION_BYTES, CPU_PADDING_TOKENS
    )

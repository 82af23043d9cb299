"""What is told when computing fails."""

import torch

from services.common.errors import DomainError, Reason


def computing_failure(error: Exception) -> DomainError:
    """Make what a computation raised into what its requests are told."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        return DomainError(
            Reason.OUT_OF_MEMORY, "There is not enough memory for this request. Send a shorter one.", retry_after=5.0
        )
    return DomainError(Reason.INTERNAL, f"The engine failed to compute a step ({type(error).__name__}). Send it again.")

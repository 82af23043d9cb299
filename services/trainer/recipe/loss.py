"""The loss of the answers, with the LM head at work on their positions alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from services.trainer.recipe.batches import MicroBatch


class SupervisedLoss:
    """Computes a causal LM's loss where there are labels and nowhere else.

    A prompt's hidden states never reach the LM head: with a vocabulary of a hundred thousand words that is most of the
    memory and, on small models, of the time. The model's own forward runs, so whatever an architecture does to its
    logits afterwards (scaling, soft caps) is kept.
    """

    def __init__(self, model: nn.Module, head: nn.Module) -> None:
        """Use a model and its LM head, both as they will be called."""
        self._model = model
        self._head = head

    def sum(self, batch: MicroBatch) -> Tensor:
        """Return the negative log-likelihood summed over the batch's labels, a scalar in fp32."""
        with _only_at(self._head, batch.supervised):
            logits = self._model(input_ids=batch.token_ids, use_cache=False).logits
        return cross_entropy(logits.float(), batch.targets, reduction="sum")


@contextmanager
def _only_at(head: nn.Module, positions: Tensor) -> Iterator[None]:
    """Let the head see hidden states [labels, hidden] instead of [rows, length, hidden]."""

    def gather(_: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        hidden: Tensor = inputs[0]
        return hidden[positions[:, 0], positions[:, 1]]

    hook = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()

"""The loss of the answers, with the LM head at work on their positions alone."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from services.trainer.recipe.training.batches import MicroBatch
from services.trainer.recipe.training.fused import fused
from services.trainer.recipe.training.packing import packed, rows_of

AGREED: Final = 1e-4
"""By how much logits of packed rows may differ from those of each alone, relative to the largest."""


class SupervisedLoss:
    """Computes a causal LM's loss where there are labels and nowhere else.

    A prompt's hidden states never reach the LM head: with a vocabulary of a hundred thousand words that is most of the
    memory and, on small models, of the time. The model's own forward runs, so whatever an architecture does to its
    logits afterwards (scaling, soft caps) is kept.

    Attributes:
        packs: whether it takes packed rows, while ``ready``. That is tried, and not assumed of any architecture.
    """

    def __init__(self, model: PeftModel, head: nn.Module) -> None:
        """Use a model and its LM head, both as they will be called."""
        self._model = model
        self._base = cast("PreTrainedModel", model.get_base_model())
        self._head = head
        self._ready = False
        self._positions = threading.local()
        self.packs = model.device.type == "cpu" and _takes_packed_rows(model)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Compute fast until the block ends; outside, the model is as it was, and takes padded rows only."""
        with ExitStack() as stack:
            stack.enter_context(fused(self._model))
            if self.packs:
                stack.enter_context(packed(self._base))
            hook = self._head.register_forward_pre_hook(self._gather)
            stack.callback(hook.remove)
            self._ready = True
            stack.callback(setattr, self, "_ready", False)
            yield

    def sum(self, batch: MicroBatch) -> Tensor:
        """Return the negative log-likelihood summed over the batch's labels, a scalar in fp32. Threads may call it at once."""
        return cross_entropy(self.logits(batch), batch.targets, reduction="sum")

    def logits(self, batch: MicroBatch) -> Tensor:
        """Return what predicts each label, fp32 [labels, vocabulary]."""
        if not self._ready:
            with self.ready():
                return self.logits(batch)
        self._positions.supervised = batch.supervised
        try:
            with rows_of(batch.lengths):
                output = self._model(input_ids=batch.token_ids, position_ids=batch.positions, use_cache=False)
        finally:
            del self._positions.supervised
        logits: Tensor = output.logits
        return logits.float()

    def _gather(self, _: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        """Let the head see hidden states [labels, hidden] instead of [rows, length, hidden]."""
        hidden: Tensor = inputs[0]
        return hidden.flatten(0, 1).index_select(0, self._positions.supervised)


@torch.no_grad()
def _takes_packed_rows(model: PeftModel) -> bool:
    """Whether rows that lie one behind the other give the logits that each gives alone."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    texts = [
        [(factor * index + 3) % vocabulary for index in range(count)] for factor, count in ((7, 11), (5, 6), (11, 9))
    ]
    base = cast("PreTrainedModel", model.get_base_model())
    alone = [model(input_ids=torch.tensor([text]), use_cache=False).logits[0] for text in texts]
    lengths = [len(text) for text in texts]
    positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0)
    ids = torch.tensor([[token for text in texts for token in text]])
    try:
        with packed(base), fused(model), rows_of(lengths):
            together = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
    except Exception:  # noqa: BLE001  # whatever an architecture does not take, of the many that there are
        return False
    expected = torch.cat(alone)
    return bool((together - expected).abs().max() <= AGREED * expected.abs().max().clamp(min=1))

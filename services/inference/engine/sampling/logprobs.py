"""What the model itself thought of the tokens that were picked."""

from collections.abc import Sequence

import torch

from services.inference.engine.protocol import TokenLogprobs
from services.inference.engine.sampling.row import RowPicker


class RawLogprobs:
    """Log-probabilities of the rows that ask for them, before anything changes their logits."""

    def __init__(self, logits: torch.Tensor, rows: Sequence[RowPicker]) -> None:
        """Read the logits [rows, vocabulary], which may be changed afterwards."""
        self._wanted = {index: row.sampling.logprobs for index, row in enumerate(rows)}
        self._asking = [index for index, wanted in self._wanted.items() if wanted is not None]
        if self._asking:
            self._logprobs = logits[self._asking].float().log_softmax(-1)

    def report(self, tokens: Sequence[int]) -> dict[int, TokenLogprobs]:
        """What is told of the tokens picked, for each row that asks."""
        if not self._asking:
            return {}
        chosen = torch.tensor([tokens[index] for index in self._asking], device=self._logprobs.device)
        picked = self._logprobs.gather(-1, chosen[:, None]).squeeze(-1).tolist()
        most = max(self._wanted[index] or 0 for index in self._asking)
        top = self._logprobs.topk(min(most, self._logprobs.shape[-1]))
        rows = zip(self._asking, picked, top.indices.tolist(), top.values.tolist(), strict=True)
        return {
            index: TokenLogprobs(logprob, tuple(zip(ids, values, strict=True))[: self._wanted[index]])
            for index, logprob, ids, values in rows
        }

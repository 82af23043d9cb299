"""What an engine's tokens are held against: plain PEFT, computing every step of the same text."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel

from tests.contract.inference.samples import load_plain, quiet_peft

NEAR_TIE: Final = 1e-4
"""Logits that are closer than this may change places: kernels differ by the number of rows."""


class Reference:
    """A base, and adapters on it from their directories, as transformers and PEFT load them."""

    def __init__(self, base: Path) -> None:
        self._plain = load_plain(base)
        self._adapted: dict[Path, Any] = {}

    def check_greedy(self, prompt: Sequence[int], tokens: Sequence[int], adapter: Path | None) -> None:
        """Every token is the likeliest after those before it, or as good as."""
        logits = self._logits(prompt, tokens, adapter)
        best = logits.max(-1)
        behind = best.values - logits.gather(-1, torch.tensor(tokens)[:, None])[:, 0]
        wrong = (behind > NEAR_TIE).nonzero()[:, 0].tolist()
        assert not wrong, f"steps {wrong} of {list(tokens)} differ from {best.indices.tolist()}, by {behind[wrong]}"

    @torch.no_grad()
    def _logits(self, prompt: Sequence[int], tokens: Sequence[int], adapter: Path | None) -> torch.Tensor:
        """Logits [len(tokens), vocabulary] before each token."""
        text = torch.tensor([[*prompt, *tokens[:-1]]])
        logits: torch.Tensor = self._model(adapter)(input_ids=text).logits[0, len(prompt) - 1 :]
        return logits

    def _model(self, adapter: Path | None) -> Any:
        if adapter is None:
            return self._plain.eval()  # type: ignore[no-untyped-call]
        if adapter not in self._adapted:
            with quiet_peft():
                # PEFT changes the model that it is given.
                self._adapted[adapter] = PeftModel.from_pretrained(copy.deepcopy(self._plain), str(adapter)).eval()
        return self._adapted[adapter]

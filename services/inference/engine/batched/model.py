"""A model of transformers that computes many rows in one pass, each with its own adapter.

Its own forward pass is used, with three things put in place of others: attention, the linear modules, and embeddings; for a few
families the whole pass is (``decoder``). Whether it then still computes what it did is not assumed of any architecture: it is tried,
on every model that is loaded.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.pytorch_utils import Conv1D

from services.common.identity import LinearModule
from services.inference.engine import heap
from services.inference.engine.batched.arrangement import OtherChange, Segment, Tokens
from services.inference.engine.batched.attention import BatchedAttention, GatheredPlan, Plan, UnsupportedAttentionError
from services.inference.engine.batched.decoder import FusedDecoder, is_known, joined, names_of
from services.inference.engine.batched.forms import ModuleGroup
from services.inference.engine.batched.graphs import Recorder, StepGraphs
from services.inference.engine.batched.kv import KvMemory, LayerShape
from services.inference.engine.batched.linear import BatchedEmbedding, BatchedLinear, LinearPart, Step
from services.inference.engine.batched.packing import Place, pack
from services.inference.engine.batched.room import AttachedAdapter
from services.inference.engine.batched.rows import Piece, Row
from services.inference.engine.changes import is_changeable
from services.inference.engine.native.kernels import Kernels
from services.inference.engine.protocol import EngineRequest

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

AGREED: Final = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""By how much logits may differ from those computed the usual way, relative to the largest."""

_NAMES: Final = itertools.count()


class NotBatchableError(Exception):
    """A model whose rows cannot be computed together; says why, for people.

    Attributes:
        damaged: whether the model must be loaded again to be used in another way.
    """

    def __init__(self, why: str, *, damaged: bool = False) -> None:
        """Say why."""
        super().__init__(why)
        self.damaged = damaged


class BatchedModel:
    """A model taken over. Computes in one thread at a time."""

    def __init__(
        self,
        model: PreTrainedModel,
        modules: Iterable[LinearModule],
        kernels: Kernels | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Take a model over, and try whether it computes as before.

        Args:
            model: in evaluation mode; belongs to this from now on.
            modules: its modules with a matrix, as its fingerprint lists them.
            kernels: to compute with, where the model is one that they know; or None.
            recorder: of steps, where the whole pass is computed here; or None.

        Raises:
            NotBatchableError: where it does not.
        """
        self._model = model
        self._kernels = kernels if model.dtype is torch.float32 and model.device.type == "cpu" else None
        self._attention = BatchedAttention()
        self._decoder: FusedDecoder | None = None
        self._recorder: Recorder | None = None
        self._graphs: StepGraphs | None = None
        self._step = Step()
        self._registered = f"tenon-{next(_NAMES)}"
        expected = self._expected()
        with self._checked(damaged=False):
            usual = model.config._attn_implementation  # noqa: SLF001
            self._use_attention()
        try:
            self._try(expected)
        except NotBatchableError:
            model.set_attn_implementation(usual)
            self.close()
            raise
        names = {module.name for module in modules}
        fused = is_known(model)
        self._linear = self._replace_linear(names_of(joined(model)) if fused else {})
        self._embeddings = self._replace_embeddings(names)
        self._parts = {name: LinearPart(whole, name) for name, whole in self._linear.items() if name in names}
        if fused:
            self._decoder = FusedDecoder(model, self._linear, self._attention, self._kernels)
        try:
            self._try(expected, damaged=True)
        except NotBatchableError:
            self.close()
            raise
        if fused and recorder is not None:
            self._try_recording(recorder, expected)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._model.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self._model.dtype

    @property
    def layers(self) -> Sequence[LayerShape]:
        """What its layers keep of each position."""
        return list(self._attention.shapes.values())

    @property
    def groups(self) -> Sequence[ModuleGroup]:
        """Linear modules that adapters may change, as they are computed."""
        wholes = dict.fromkeys(self._linear[name] for name in self._parts)
        return [whole.group for whole in wholes]

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Modules that adapters may change."""
        return {**self._parts, **self._embeddings}

    @property
    def packed(self) -> int:
        """Matrices whose weights are prepacked."""
        return sum(whole.packed for whole in set(self._linear.values()))

    @property
    def fused(self) -> bool:
        """Whether the whole forward pass is computed here."""
        return self._decoder is not None

    @property
    def native(self) -> bool:
        """Whether kernels compute that were compiled for this processor."""
        return self._kernels is not None

    @property
    def recorded(self) -> bool:
        """Whether steps of generated tokens are recorded and replayed."""
        return self._recorder is not None

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""
        packed = sum(whole.own_bytes for whole in set(self._linear.values()))
        return packed + sum(parameter.nbytes for parameter in self._model.parameters())

    def use_memory(self, memory: KvMemory) -> None:
        """Keep keys and values there from now on."""
        self._attention.memory = memory
        if self._recorder is not None:
            self._graphs = StepGraphs(self._compute_gathered, self._recorder, self.device)

    @torch.inference_mode()
    def compute(self, pieces: Sequence[Piece], place_of: Callable[[Piece], Place]) -> tuple[list[Row], Tensor]:
        """Compute a step.

        Returns:
            The rows of complete pieces, and the logits [rows, vocabulary] of their next tokens.
        """
        if self._graphs is not None:
            replayed = self._graphs.compute(pieces, place_of)
            if replayed is not None:
                return [piece.row for piece in pieces], replayed
        packed = pack(pieces, place_of, self.device, self._kernels)
        rows = [piece.row for piece in packed.pieces if piece.complete]
        head = packed.head if packed.head is not None and packed.head.count else None
        with self._running(packed.attention, packed.body, head):
            logits = self._logits(packed.ids, packed.positions, packed.ends if rows else 1)
        return rows, logits[: len(rows)]

    def _compute_gathered(self, ids: Tensor, positions: Tensor, plan: GatheredPlan, tokens: Tokens | None) -> Tensor:
        """Implements ``Compute``."""
        with self._running(plan, tokens, tokens):
            return self._logits(ids.unsqueeze(0), positions.unsqueeze(0), len(ids))

    @torch.inference_mode()
    def next_token_logits(self, token_ids: Sequence[int], adapter: AttachedAdapter | None) -> Tensor:
        """Logits [vocabulary] of the token after a prompt; nothing is kept."""
        count = len(token_ids)
        self._step.body = _alone(adapter, count, self.device)
        self._step.head = _alone(adapter, 1, self.device)
        self._attention.plan = None
        try:
            ids = torch.tensor([token_ids], device=self.device)
            return self._logits(ids, torch.arange(count, device=self.device).unsqueeze(0), 1)[0]
        finally:
            self._step.body = self._step.head = None

    def close(self) -> None:
        """Take attention out of transformers' list again."""
        ALL_ATTENTION_FUNCTIONS._global_mapping.pop(self._registered, None)  # noqa: SLF001

    def _use_attention(self) -> None:
        ALL_ATTENTION_FUNCTIONS.register(self._registered, self._attention)
        self._model.set_attn_implementation(self._registered)

    def _logits(self, ids: Tensor, positions: Tensor, keep: Tensor | int) -> Tensor:
        if self._decoder is not None:
            return self._decoder(ids, positions, keep)
        output = self._model(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=keep)
        logits: Tensor = output.logits[0]
        return logits

    @contextmanager
    def _running(self, plan: Plan, body: Tokens | None, head: Tokens | None) -> Iterator[None]:
        self._attention.plan, self._step.body, self._step.head = plan, body, head
        try:
            yield
        finally:
            self._attention.plan = self._step.body = self._step.head = None

    @torch.inference_mode()
    def _expected(self) -> list[tuple[list[int], Tensor]]:
        """Two texts, and the logits after them as the model computes them by itself."""
        vocabulary = self._model.get_input_embeddings().get_parameter("weight").shape[0]
        texts = [[(7 * i + 3) % vocabulary for i in range(12)], [(11 * i + 5) % vocabulary for i in range(6)]]
        return [(text, self._model(input_ids=torch.tensor([text], device=self.device)).logits[0, -1]) for text in texts]

    def _try(self, expected: Sequence[tuple[list[int], Tensor]], *, damaged: bool = False) -> None:
        """Compute both texts alone, then in pieces and together, down to a token each.

        Raises:
            NotBatchableError: where it fails or gives other logits.
        """
        with self._checked(damaged=damaged):
            for text, logits in expected:
                self._compare(self.next_token_logits(text, None), logits, damaged=damaged)
            memory = KvMemory(self.layers, budget_bytes=2**62, most_tokens=512, dtype=self.dtype, device=self.device)
            self.use_memory(memory)
            rows = {
                Row(EngineRequest(tuple(text), None, 1, frozenset()), 0.0): memory.spans.take(len(text))
                for text, _ in expected
            }
            places = {row: Place(span, None, 0, {}) for row, span in rows.items() if span is not None}
            first, second = rows
            for counts in ((5, 3), (6, 2), (1, 1)):
                pieces = [Piece(first, counts[0]), Piece(second, counts[1])]
                complete, logits = self.compute(pieces, lambda piece: places[piece.row])
                for piece in pieces:
                    piece.row.computed += piece.count
            for row, found in zip(complete, logits, strict=True):
                self._compare(found, expected[0 if row is first else 1][1], damaged=damaged)
            self._attention.memory = None

    def _try_recording(self, recorder: Recorder, expected: Sequence[tuple[list[int], Tensor]]) -> None:
        """Record steps from now on, unless they give other logits then."""
        self._recorder = recorder
        try:
            self._try(expected)
        except NotBatchableError as why:
            log.warning("steps are not recorded", why=str(why))
            self._recorder = None
        if self._graphs is None or not self._graphs.in_use:
            self._recorder = None
        self._graphs = None

    def _compare(self, found: Tensor, expected: Tensor, *, damaged: bool) -> None:
        error = (found - expected).abs().max().item() / max(1.0, expected.abs().max().item())
        if not error <= AGREED.get(self.dtype, AGREED[torch.bfloat16]):
            raise NotBatchableError(f"computed together, its rows give other logits (by {error:.1g})", damaged=damaged)

    @contextmanager
    def _checked(self, *, damaged: bool) -> Iterator[None]:
        """Whatever a model does not take, of the many that there are: it is not batched then."""
        try:
            yield
        except NotBatchableError:
            raise
        except UnsupportedAttentionError as error:
            raise NotBatchableError(f"it has {error}", damaged=damaged) from None
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            raise NotBatchableError(
                f"its layers do not take rows together ({type(error).__name__}: {first})", damaged=damaged
            ) from error

    def _replace_linear(self, together: Mapping[str, tuple[str, ...]]) -> dict[str, BatchedLinear]:
        """Put a ``BatchedLinear`` in the place of every linear module, one after another, so that memory stays flat.

        Args:
            together: for modules that are computed in one product, the names of all of them.
        """
        head = self._model.get_output_embeddings()  # type: ignore[no-untyped-call]
        embedded = {id(m.weight) for m in self._model.modules() if isinstance(m, nn.Embedding)}
        linear = {n: m for n, m in self._model.named_modules() if type(m) in {nn.Linear, Conv1D}}
        found: dict[str, BatchedLinear] = {}
        for name in list(linear):
            if name in found:
                continue
            modules = {member: linear.pop(member) for member in together.get(name, (name,))}
            module = modules[name]
            shared = id(module.weight) in embedded
            whole = BatchedLinear(modules, self._step, kernels=self._kernels, head=module is head, shared=shared)
            for member in modules:
                found[member] = whole
                self._model.set_submodule(member, whole if len(modules) == 1 else nn.Identity())
            modules.clear()
            del module
            if shared:
                self._share(whole)
            heap.give_back()
        return found

    def _share(self, whole: BatchedLinear) -> None:
        """Have the embedding that a linear module shares its weight with read that where it is packed."""
        name, embedding = self._embedding()
        if type(embedding) is not nn.Embedding:
            return
        packed = whole.share()
        if packed is not None:
            self._model.set_submodule(name, packed)

    def _embedding(self) -> tuple[str, nn.Module]:
        embedding = self._model.get_input_embeddings()
        return next((name, module) for name, module in self._model.named_modules() if module is embedding)

    def _replace_embeddings(self, adaptable: set[str]) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        for name, module in list(self._model.named_modules()):
            if isinstance(module, nn.Embedding) and name in adaptable and is_changeable(module):
                found[name] = module
                self._model.set_submodule(name, BatchedEmbedding(name, module, self._step))
        return found


def _alone(adapter: AttachedAdapter | None, count: int, device: torch.device) -> Tokens | None:
    """So many tokens that all use one adapter, which need not be in a slot."""
    if adapter is None:
        return None
    parts = []
    if adapter.host is not None:
        flat = adapter.host.flat.to(device)
        parts.append((adapter.host.layout.stacks(flat), Segment(slice(0, count), 0)))
    everything = torch.arange(count, device=device)
    others = {name: [OtherChange(everything, change)] for name, change in adapter.others.items()}
    return Tokens(count, parts, others)

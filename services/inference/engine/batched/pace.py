"""How many prompt tokens go into a step: as many as those who decode beside them hardly notice."""

from collections import deque
from collections.abc import Callable, Iterable
from statistics import median

_REMEMBERED = 15
_FEW = 3
_LONG_PREFILL = 64
_MIXED_STEPS = 64
_UNKNOWN_CHUNK = 512
# Fewer tokens do not compute as fast.
_SMALL_CHUNK = 128


class Pace:
    """Learns what steps cost, and keeps those with decoding rows near ``slowdown`` times a step without prompts.

    That is for one prompt. Where several wait, each may take as much time of those who decode: the work must be done anyway, and rows
    that begin together compute together. But no step takes much longer than ``longest``.

    Told too little, it is careful: few prompt tokens at first, more as it learns what they cost.
    """

    def __init__(
        self, *, max_chunk: int = 2048, min_chunk: int = 16, slowdown: float = 1.8, longest: float = 0.5
    ) -> None:
        """Begin knowing nothing.

        Args:
            max_chunk: most prompt tokens of a step.
            min_chunk: fewest beside decoding rows: a prompt always comes to its end.
            slowdown: how long a step with prompt tokens may take, in steps of the same decoding rows without them.
            longest: seconds that a step should take at most, as long as a prompt's tokens still compute together well.
        """
        self._max_chunk = max_chunk
        self._min_chunk = min_chunk
        self._slowdown = slowdown
        self._longest = longest
        self._decode: dict[int, _Recent] = {}
        self._prompt_token = _Recent(max)
        self._mixed: dict[int, int] = {}

    def observe(self, decoding: int, prefilled: int, seconds: float) -> None:
        """Learn from a step.

        Args:
            decoding: rows that it computed one token for.
            prefilled: prompt tokens that it computed besides.
            seconds: how long it took.
        """
        if decoding == 0:
            # All that a step costs by itself is in here too; it counts little where the prompt is long.
            if prefilled >= _LONG_PREFILL:
                self._prompt_token.add(seconds / prefilled)
            return
        bucket = _bucket(decoding)
        if prefilled == 0:
            self._decode.setdefault(bucket, _Recent(min)).add(seconds)
            self._mixed[bucket] = 0
            return
        self._mixed[bucket] = self._mixed.get(bucket, 0) + 1
        alone = self._alone(decoding)
        if alone is not None and prefilled >= self._min_chunk:
            self._prompt_token.add(max(seconds - alone, 0.0) / prefilled)

    def budget(self, decoding: int, prompts: int = 1) -> int:
        """Most prompt tokens of a step beside so many decoding rows, where so many rows have prompts to compute.

        Now and then none, where steps without prompts have become rare: what one takes must be measured to be known.
        """
        if decoding == 0:
            return self._chunk()
        bucket = _bucket(decoding)
        if self._mixed.get(bucket, 0) >= _MIXED_STEPS:
            self._mixed[bucket] = 0
            return 0
        alone, token = self._alone(decoding), self._prompt_token.value
        if alone is None or token is None:
            return self._min_chunk
        allowed = (self._slowdown - 1) * alone * prompts
        return max(min(_tokens(allowed, token), self._chunk()), self._min_chunk)

    def _chunk(self) -> int:
        """Most prompt tokens of a step without regard to anybody."""
        token = self._prompt_token.value
        fitting = _UNKNOWN_CHUNK if token is None else max(_tokens(self._longest, token), _SMALL_CHUNK)
        return min(fitting, self._max_chunk)

    def _alone(self, decoding: int) -> float | None:
        """Seconds of a step of so many rows without prompts; rather too few than too many where it was never seen."""
        bucket = _bucket(decoding)
        if bucket in self._decode:
            return self._decode[bucket].value
        below = [seen for seen in self._decode if seen < bucket]
        if below:
            return self._decode[max(below)].value
        above = min(self._decode, default=None)
        if above is None:
            return None
        value = self._decode[above].value
        return None if value is None else value * bucket / above


class _Recent:
    """The median of the last measurements, which a stray one does not move; of very few, the most careful one."""

    def __init__(self, careful: Callable[[Iterable[float]], float]) -> None:
        self.value: float | None = None
        self._careful = careful
        self._seen: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, seconds: float) -> None:
        self._seen.append(seconds)
        self.value = self._careful(self._seen) if len(self._seen) < _FEW else median(self._seen)


def _tokens(seconds: float, token: float) -> int:
    """How many tokens of so many seconds each fit; more than are ever asked for where they cost nothing."""
    return int(min(seconds / token, 2**31)) if token > 0 else 2**31


def _bucket(rows: int) -> int:
    """A number of rows without what follows its first three binary digits: steps of a bucket cost about the same."""
    shift = max(rows.bit_length() - 3, 0)
    return rows >> shift << shift

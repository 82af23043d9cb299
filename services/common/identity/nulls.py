"""Where null in a configuration is not the same as absence.

Nearly everywhere transformers takes a key that is absent for null. Where a class has another default, null turns something
off: ``"sliding_window": null`` is no window, and without the key Mistral has one of 4096. The table beside this file names
these keys and the model types; it was read off the configuration classes of transformers 5.23, and is part of the scheme.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

__all__ = ["is_meaningful_null", "meaningful_nulls"]

TABLE: Final = "meaningful_nulls.json"


def is_meaningful_null(model_type: object, key: str) -> bool:
    """Whether null says something else than the absence of the key, or could, in a part that does not say what it is."""
    return not isinstance(model_type, str) or model_type in meaningful_nulls().get(key, frozenset())


@cache
def meaningful_nulls() -> Mapping[str, frozenset[str]]:
    """Key → model types."""
    table = json.loads(resources.files(__package__).joinpath(TABLE).read_text("utf-8"))
    return {key: frozenset(model_types) for key, model_types in table.items()}

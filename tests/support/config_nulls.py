"""Where transformers' configurations understand null as something else than absence."""

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING


def optional_keys_with_a_default() -> dict[str, list[str]]:
    """Return key → model types whose class takes null for the key, and another value where the key is absent."""
    found: dict[str, list[str]] = {}
    for model_type in sorted(CONFIG_MAPPING.keys()):
        config = CONFIG_MAPPING[model_type]
        names = {
            name
            for name, annotation, default in _fields(config)
            if default is not None and ("None" in annotation or "Optional" in annotation)
        }
        # An alias sets the same attribute.
        names |= {alias for alias, name in config.attribute_map.items() if name in names}
        for name in names:
            found.setdefault(name, []).append(model_type)
    return dict(sorted(found.items()))


def _fields(config: Any) -> Iterator[tuple[str, str, Any]]:
    if not dataclasses.is_dataclass(config):
        for name, parameter in inspect.signature(config.__init__).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                yield name, str(parameter.annotation), parameter.default
        return
    for field in dataclasses.fields(config):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield field.name, str(field.type), None if default is dataclasses.MISSING else default

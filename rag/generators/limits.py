"""What a backend cannot do is refused, never dropped silently."""

from collections.abc import Sequence
from dataclasses import fields

from genir.errors import ConfigError
from genir.protocols import SamplingParams


def refuse(params: SamplingParams, names: Sequence[str], backend: str) -> None:
    """Raise ConfigError where one of the fields `names`, which `backend` does not know, has another value than its default."""
    for field in fields(SamplingParams):
        value = getattr(params, field.name)
        if field.name in names and value != field.default:
            raise ConfigError(
                f"{field.name} {value!r}: {backend} does not know it; leave it at {field.default!r}, or use the generator llama"
            )

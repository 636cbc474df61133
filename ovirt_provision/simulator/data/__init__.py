"""What is the same in every engine of this version, as tables. Source: replies of an engine 4.5.8."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def load(name: str) -> Any:
    """The table `name`; its first line says what the columns are."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(files(__package__).joinpath(f"{name}.yaml").read_text(), loader)  # noqa: S506

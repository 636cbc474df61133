"""What people write for the simulator as YAML: worlds, timing profiles, faults. Read strictly."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

_T = TypeVar("_T")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it: ten times as fast


class DocumentError(ValueError):
    """A document that cannot be used. `source` is its file or what else it is; `problems` are all that is
    wrong, each beginning with the path of the field.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("; ".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = list(problems)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name; empty when none is near."""
    near = get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def read_yaml(file: Path, kind: type[_T]) -> _T:
    """A YAML file as a pydantic type. Raises `DocumentError`, also for a file that cannot be read."""
    try:
        content = yaml.load(file.read_bytes(), _Loader)  # noqa: S506 - a safe one
    except OSError as error:
        raise DocumentError(str(file), [f"cannot be read: {error.strerror}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(str(file), ["not valid YAML: " + " ".join(str(error).split())]) from None
    return check(str(file), content, kind)


def check(source: str, content: Any, kind: type[_T]) -> _T:
    """`content` as a pydantic type. Raises `DocumentError` with all that is wrong."""
    adapter: TypeAdapter[_T] = TypeAdapter(kind)
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        raise DocumentError(source, problems(error, kind)) from None


def problems(error: ValidationError, kind: Any) -> list[str]:
    """What is wrong, a line each: the field's path, what was given, what is allowed, the near miss."""
    found = []
    for one in error.errors():
        location = [part for part in one["loc"] if part != "[key]"]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
        message = one["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
        if one["type"] == "extra_forbidden":
            known = _fields(kind, location[:-1])
            near = did_you_mean(str(location[-1]), known)
            message = f"is not a known key{near or '; known are ' + ', '.join(known)}"
        elif one["type"] == "missing":
            message = "is required"
        elif isinstance(one["input"], str | int | float) and str(one["input"]) not in message:
            message += f", not {one['input']!r}"
        found.append(f"{place}: {message}" if place else message)
    return found


def _fields(kind: Any, location: Sequence[int | str]) -> list[str]:
    """The names of the fields of the model at a location below `kind`."""
    model = _model(kind)
    for part in location:
        if model is not None and isinstance(part, str) and part in model.model_fields:
            model = _model(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_model, get_args(annotation)) if found is not None), None)

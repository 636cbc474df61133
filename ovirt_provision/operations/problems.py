"""All that is wrong with a request, so that it is told at once."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovirt_provision.errors import (
    InvalidRequest,
    ProvisionError,
    ReferencesNotFound,
    Violation,
    there_is,
)


@dataclass
class Problems:
    """What is wrong with a request: names that the engine does not have, and all else."""

    missing: list[Violation]
    wrong: list[Violation]

    def miss(self, field: str, description: str) -> None:
        """Adds something that the engine does not have; once, though several things may be named by it."""
        _add(self.missing, field, description)

    def miss_name(self, field: str, kind: str, name: str, known: Iterable[str]) -> None:
        """Adds a name that is none of those that the engine has."""
        self.miss(field, f"no {kind} '{name}'{there_is(name, known)}")

    def id_of(self, field: str, kind: str, name: str, known: Mapping[str, str]) -> str:
        """The id of a name; added where it is none of those that the engine has, and then empty."""
        if name not in known:
            self.miss_name(field, kind, name, known)
        return known.get(name, "")

    def refuse(self, field: str, description: str) -> None:
        """Adds something else that is wrong, once."""
        _add(self.wrong, field, description)

    def insist_on_none(self) -> None:
        """Raises InvalidRequest, or ReferencesNotFound where nothing but names is wrong."""
        if self.wrong:
            raise InvalidRequest([*self.wrong, *self.missing])
        if self.missing:
            raise ReferencesNotFound(self.missing)


def _add(told: list[Violation], field: str, description: str) -> None:
    if Violation(field, description) not in told:
        told.append(Violation(field, description))


async def all_at_once(
    *look_ups: Awaitable[dict[str, Any]], violations: Sequence[Violation] = ()
) -> dict[str, Any]:
    """What several look-ups have found, in one. Raises for all that they found wrong with the request, and
    for the `violations` that are known already."""
    found: dict[str, Any] = {}
    wrong: list[ProvisionError] = [InvalidRequest(violations)] if violations else []
    for outcome in await asyncio.gather(*look_ups, return_exceptions=True):
        if isinstance(outcome, ProvisionError) and outcome.violations:
            wrong.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            found |= outcome
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        unknown = all(isinstance(error, ReferencesNotFound) for error in wrong)
        told = [violation for error in wrong for violation in error.violations]
        raise (ReferencesNotFound if unknown else InvalidRequest)(told)
    return found

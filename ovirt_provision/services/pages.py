"""Pages of listings, whose tokens are offsets."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from ovirt_provision.errors import InvalidRequest, Violation

T = TypeVar("T")

_DEFAULT_SIZE = 100


def size_of(request: Any) -> int:
    """How many entries a request for a listing wants at most."""
    return int(request.page_size) or _DEFAULT_SIZE


def offset_of(page_token: str) -> int:
    """The offset that a token stands for, 0 for none. Raises InvalidRequest for a token that we did not
    make."""
    if not page_token:
        return 0
    # Of at most 18 digits, which the ledger's integers hold.
    if not re.fullmatch("[0-9]{1,18}", page_token):
        raise InvalidRequest([Violation("page_token", f"'{page_token}' is not a token of an earlier reply")])
    return int(page_token)


def page_of(found: Sequence[T], request: Any) -> tuple[Sequence[T], str]:
    """The entries that a request for a listing wants of all that there are, and the token of the page after
    these. Raises as `offset_of`."""
    start = offset_of(request.page_token)
    page = found[start : start + size_of(request)]
    return page, next_page(start, len(page), len(found))


def next_page(start: int, length: int, total: int) -> str:
    """The token of the page after this one; empty on the last."""
    return str(start + length) if start + length < total else ""

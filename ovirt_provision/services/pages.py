"""Page tokens that are offsets."""

import re

from ovirt_provision.errors import InvalidRequest, Violation


def offset_of(page_token: str) -> int:
    """The offset that a token stands for, 0 for none. Raises InvalidRequest for a token that we did not
    make."""
    if not page_token:
        return 0
    # Of at most 18 digits, which the ledger's integers hold.
    if not re.fullmatch("[0-9]{1,18}", page_token):
        raise InvalidRequest([Violation("page_token", f"'{page_token}' is not a token of an earlier reply")])
    return int(page_token)


def next_page(start: int, length: int, total: int) -> str:
    """The token of the page after this one; empty on the last."""
    return str(start + length) if start + length < total else ""

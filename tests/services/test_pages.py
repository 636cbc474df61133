"""Listings page by page: every entry once, in order, and an end."""

import pytest

from ovirt_provision.errors import InvalidRequest
from ovirt_provision.services.pages import page_of
from ovirt_provision.v1.disks_pb2 import ListDisksRequest


@pytest.mark.parametrize(
    ("entries", "size", "pages"), [(0, 0, [0]), (5, 2, [2, 2, 1]), (4, 2, [2, 2]), (150, 0, [100, 50])]
)
def test_pages_hold_each_entry_once(entries: int, size: int, pages: list[int]) -> None:
    request, seen, sizes = ListDisksRequest(page_size=size), [], []
    while True:
        page, request.page_token = page_of(range(entries), request)
        seen += page
        sizes.append(len(page))
        if not request.page_token:
            break
    assert (seen, sizes) == (list(range(entries)), pages)


def test_a_token_of_nobody_s_is_refused_and_one_beyond_the_end_is_the_end() -> None:
    with pytest.raises(InvalidRequest, match="'two' is not a token"):
        page_of([1, 2], ListDisksRequest(page_token="two"))
    page, token = page_of([1, 2], ListDisksRequest(page_token="9"))
    assert (list(page), token) == ([], "")

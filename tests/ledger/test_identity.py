"""Ids and marks: what proves that an engine object is ours."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from ovirt_provision.ledger.identity import Mark, vm_id

INSTALLATION = str(uuid.UUID(int=7))
text = st.text(max_size=60)
marks = st.builds(
    Mark,
    kind=st.sampled_from(["vm", "template", "disk", "snapshot"]),
    installation=st.uuids().map(str),
    owner=text,
    key=text,
    generation=st.integers(1, 10**6),
    request=st.uuids().map(str),
)


@given(marks, text)
def test_a_mark_reads_back_from_the_last_line_of_any_comment(mark, comment):
    assert Mark.parse(f"{comment}\n{mark}") == mark


@given(text)
def test_no_comment_of_somebody_else_is_taken_for_a_mark(comment):
    assert Mark.parse(comment) is None


def test_a_comment_after_the_mark_hides_it():
    mark = Mark("vm", INSTALLATION, "uid:1", "web", 1, "r")
    assert Mark.parse(f"{mark}\nedited by hand") is None


def test_a_vm_is_ours_only_with_the_mark_of_its_own_id():
    mark = Mark("vm", INSTALLATION, "uid:1", "web", 1, "r")
    ours = vm_id(INSTALLATION, "uid:1", "web", 1)

    assert mark.is_of_vm(ours, INSTALLATION)
    assert not mark.is_of_vm(str(uuid.uuid4()), INSTALLATION), "a copied mark"
    assert not mark.is_of_vm(ours, str(uuid.uuid4())), "another installation's"
    assert not Mark("template", INSTALLATION, "uid:1", "web", 1, "r").is_of_vm(ours, INSTALLATION)


def test_every_generation_owner_and_key_has_an_id_of_its_own():
    ids = {
        vm_id(INSTALLATION, owner, key, generation)
        for owner in ("uid:1", "uid:2")
        for key in ("a", "b")
        for generation in (1, 2)
    }
    assert len(ids) == 8

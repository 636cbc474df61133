"""Switches defences of the product off, in this process, to see that the tests notice."""

import dataclasses
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest

from ovirt_provision.engine.machines import Machines
from ovirt_provision.engine.model import Vm
from ovirt_provision.engine.vm_requests import VmRequest
from ovirt_provision.ledger.store import Ledger, Object
from ovirt_provision.operations import clone_machine, create_template, new_machine, removal
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.provisioning import Provisioning


def _name_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request asks for a VM of a new name, and the engine chooses its id."""
    create = Machines.create

    async def create_another(machines: Machines, wanted: VmRequest, *, correlation_id: str) -> Vm:
        another = dataclasses.replace(wanted, id="", name=f"{wanted.name}-{uuid.uuid4().hex[:6]}")
        return await create(machines, another, correlation_id=correlation_id)

    monkeypatch.setattr(Machines, "create", create_another)


def _forget_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger does not hear of a request before its effect is known."""
    update = Ledger.update_object

    def update_object(ledger: Ledger, object_id: int, **values: Any) -> Object:
        if values.get("unanswered"):
            values["unanswered"] = False
            values.pop("details", None)
        return update(ledger, object_id, **values)

    monkeypatch.setattr(Ledger, "update_object", update_object)


def _never_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether a create without an answer had its effect."""

    async def not_found() -> None:
        return None

    async def blindly(run: Provisioning, row: Object, **how: Any) -> None:
        how["find"] = not_found
        how.pop("may_repeat", None)
        await create_once(run, row, **how)

    for module in (new_machine, create_template, clone_machine):
        monkeypatch.setattr(module, "create_once", blindly)


def _bury_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for what comes after it was destroyed."""
    monkeypatch.setattr(Ledger, "bury", lambda *_: None)


def _own_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is at hand counts as ours."""
    monkeypatch.setattr(Provisioning, "insist_on_ours", lambda *_: None)
    monkeypatch.setattr(removal, "_foreign_disks", lambda *_: [])


DEFENCES: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    "identity": _name_at_random,
    "intent": _forget_what_was_asked,
    "adoption": _never_look,
    "tombstones": _bury_nothing,
    "marks": _own_everything,
}
"""Identity and intent before effect, adoption of what stands, tombstones, and marks of what is ours."""


def switch_off(monkeypatch: pytest.MonkeyPatch, names: Collection[str]) -> None:
    for name in names:
        DEFENCES[name](monkeypatch)

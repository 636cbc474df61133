"""Tombstones of docker-machine's plugins: a daemon destroys, at its start, what forgotten hosts had."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ovirt_provision.errors import RequestIdReused
from ovirt_provision.ledger.store import Operation
from ovirt_provision.operations.dispatcher import Dispatcher
from ovirt_provision.services.calls import Caller, Context, calling
from ovirt_provision.services.machine_service import MachineServicer
from ovirt_provision.v1 import machines_pb2
from tests.harness import OWNER, Site, spec

KEY = "docker-machine-web-1"
REQUEST = str(uuid.UUID(int=7))


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the harness."""
    monkeypatch.setattr("ovirt_provision.operations.tombstone_files.local_owner", lambda: OWNER)


def set_tombstone(s: Site, **fields: Any) -> Path:
    """As the plugin sets it, for a host of the store `store`."""
    folder = s.bridge.state / "tombstones"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{KEY}.json"
    file.touch(0o600)
    told = {
        "version": 1,
        "machine": "web",
        "key": KEY,
        "engine": "",
        "engine_url": s.simulator.url,
        "installation": s.bridge.installation,
        "request_id": REQUEST,
        "config": str(s.bridge.state / "store/config.json"),
    }
    file.write_text(json.dumps(told | fields))
    return file


async def create(s: Site) -> None:
    await s.run("CreateMachine", key=KEY, spec=spec(name="web"))
    s.bridge.leases.confirm(s.bridge.ledger.living_machine(OWNER, KEY), ttl=None)


async def restart(s: Site) -> list[Operation]:
    """A new daemon that has sent what it can; returns the destroys of its ledger."""
    await s.restart()
    await s.bridge._background[-1]
    destroys = [one for one in s.bridge.ledger.unended_operations() if one.verb == "DestroyMachine"]
    for destroy in destroys:
        await s.ended(destroy)
    return destroys


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_forgotten_host_leaves_no_vm(site: Any, run_virtually: Any, defence: str) -> None:
    async def scenario() -> None:
        async with site() as s:
            await create(s)
            file = set_tombstone(s)
            if defence == "off":
                file.unlink()
            await restart(s)
            assert s.vms() == ([] if defence == "on" else ["web"])
            assert s.disks() == (1 if defence == "on" else 2)
            assert not file.exists()

    run_virtually(scenario())


@pytest.mark.parametrize("ttl", [7200, None])
def test_a_host_whose_config_is_lost_ends_by_its_ttl(
    direct_site: Any, run_virtually: Any, ttl: int | None
) -> None:
    """Nobody runs `rm`, so there is no tombstone; all that is left is what the plugin said at the create."""

    async def scenario() -> None:
        async with direct_site() as s:
            calling.set(Caller(OWNER, s.bridge.config.limits(OWNER)))
            await s.run("CreateMachine", key=KEY, spec=spec(name="web"))
            confirmed = machines_pb2.ConfirmMachineRequest(key=KEY)
            if ttl is not None:
                confirmed.ttl.seconds = ttl
            machines = MachineServicer(lambda: s.bridge)
            lease = (await machines.ConfirmMachine(confirmed, cast(Context, None))).machine.lease
            assert lease.HasField("expire_time") == (ttl is not None)
            await s.clock.sleep(3600)
            await s.restart()
            await s.clock.sleep(3600 - 60)
            assert s.vms() == ["web"]
            await s.clock.sleep(120)
            assert (s.vms(), s.disks()) == (([], 1) if ttl is not None else (["web"], 2))

    run_virtually(scenario())


def test_a_daemon_killed_before_the_file_is_gone_asks_once_more_for_the_same(
    site: Any, run_virtually: Any
) -> None:
    async def scenario() -> None:
        async with site() as s:
            await create(s)
            file = set_tombstone(s)
            told = file.read_text()
            (first,) = await restart(s)
            file.touch(0o600)
            file.write_text(told)
            assert await restart(s) == []
            assert s.bridge.ledger.operation_of_request(OWNER, REQUEST).id == first.id
            assert s.vms() == []
            assert not file.exists()

    run_virtually(scenario())


def test_a_destroy_that_is_not_accepted_keeps_the_file(
    site: Any, run_virtually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> Operation:
        raise RequestIdReused(request_id=REQUEST, verb="DestroyMachine")

    async def scenario() -> None:
        async with site() as s:
            await create(s)
            file = set_tombstone(s)
            with monkeypatch.context() as patch:
                patch.setattr(Dispatcher, "call", refuse)
                await restart(s)
            assert file.exists()
            await restart(s)
            assert s.vms() == []
            assert not file.exists()

    run_virtually(scenario())


def _keep_the_host(s: Site, _file: Path) -> None:
    store = s.bridge.state / "store"
    store.mkdir()
    (store / "config.json").write_text(json.dumps({"Driver": {"Key": KEY}}))


def _other(**fields: Any) -> Callable[[Site, Path], None]:
    return lambda s, _: set_tombstone(s, **fields) and None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_keep_the_host, id="the host is known"),
        pytest.param(_other(installation=str(uuid.UUID(int=43))), id="another installation"),
        pytest.param(_other(engine_url="https://other.example.com/ovirt-engine/api"), id="another engine"),
        pytest.param(_other(engine="nowhere"), id="unknown profile"),
        pytest.param(_other(key="docker-machine-web-2"), id="unknown key"),
        pytest.param(_other(version=2), id="another version"),
        pytest.param(lambda _s, file: file.write_text("{"), id="damaged"),
        pytest.param(lambda _s, file: file.chmod(0o644), id="not private"),
    ],
)
def test_what_cannot_be_told_for_sure_is_not_destroyed(
    site: Any, run_virtually: Any, change: Callable[[Site, Path], None]
) -> None:
    async def scenario() -> None:
        async with site() as s:
            await create(s)
            file = set_tombstone(s)
            change(s, file)
            await restart(s)
            assert s.vms() == ["web"]
            assert file.exists()

    run_virtually(scenario())

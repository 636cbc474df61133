"""Operations that an earlier version of the daemon has begun."""

from pathlib import Path

import pytest

from ovirt_provision.ledger.database import FILE
from ovirt_provision.ledger.store import FAILED, SUCCEEDED
from tests.harness import spec, started
from tests.schemas import make_0001, rename_disks


@pytest.mark.parametrize("phase", ["creating", "booting"])
def test_an_upgrade_takes_up_what_the_version_before_had_under_way(
    site, run_virtually, tmp_path: Path, phase
):
    async def scenario() -> None:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec(), start_with=started())
            async for seen in s.bridge.dispatcher.runner.watch(creating.id):
                if seen.phase == phase:
                    break
            await s.bridge.close()
            make_0001(tmp_path / "state" / FILE)
            s.bridge = s.new_bridge()
            s.bridge.start()

            ended = await s.ended(creating)

            assert ended.state == SUCCEEDED, ended.error
            assert (s.vms(), s.disks()) == (["web"], 2)
            destroyed = await s.run("DestroyMachine", key="web")
            assert destroyed.state == SUCCEEDED
            assert (s.vms(), s.disks()) == ([], 1)

    run_virtually(scenario())


def test_without_the_new_name_of_its_disks_what_was_under_way_fails(site, run_virtually, tmp_path: Path):
    async def scenario() -> str:
        async with site() as s:
            creating = await s.call("CreateMachine", key="web", spec=spec())
            await s.bridge.close()
            rename_disks(tmp_path / "state" / FILE)
            s.bridge = s.new_bridge()
            s.bridge.start()
            return (await s.ended(creating)).state

    assert run_virtually(scenario()) == FAILED

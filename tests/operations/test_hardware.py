"""What a MachineSpec asks of the hardware: made as asked, else inherited, and refused all at once."""

from ovirt_provision.ledger.store import SUCCEEDED
from ovirt_provision.v1 import resources_pb2
from tests.harness import Site, spec

GIB = 1 << 30
DiskSpec = resources_pb2.DiskSpec


def changes(site: Site) -> list[str]:
    """The requests that changed something, in order, with ids left out."""
    told = []
    for request in site.simulator.requests:
        if request.method != "GET" and "/sso" not in request.path and "sso" not in request.path:
            parts = ["{id}" if len(part) == 36 else part for part in request.path.split("/")]
            told.append(f"{request.method} {'/'.join(parts)}")
    return told


def test_new_disks_are_made_under_ids_of_ours_and_go_with_the_machine(site, run_virtually):
    async def scenario() -> None:
        async with site() as s:
            made = await s.run(
                "CreateMachine",
                key="web",
                spec=spec(
                    new_disks=[
                        DiskSpec(size_bytes=5 * GIB),
                        DiskSpec(
                            name="data",
                            size_bytes=7 * GIB,
                            format=resources_pb2.DISK_FORMAT_RAW,
                            interface=resources_pb2.DISK_INTERFACE_VIRTIO,
                            read_only=True,
                            wipe_after_delete=True,
                        ),
                    ]
                ),
            )

            assert made.state == SUCCEEDED, made.error
            (vm,) = s.simulator.world.vms.values()
            shown = [(a.disk.name, a.disk.size, a.interface, a.bootable, a.active) for a in vm.attachments]
            assert shown[1:] == [
                ("web_Disk2", 5 * GIB, "virtio_scsi", False, True),
                ("data", 7 * GIB, "virtio", False, True),
            ]
            data = vm.attachments[2]
            assert (data.disk.format, data.read_only, data.disk.wipe_after_delete) == ("raw", True, True)
            assert changes(s) == ["POST /vms", *["POST /disks"] * 2, *["POST /vms/{id}/diskattachments"] * 2]
            assert {finding for finding, _, _ in await s.census()} == {"ours"}

            assert (await s.run("DestroyMachine", key="web")).state == SUCCEEDED
            assert (s.vms(), s.disks()) == ([], 1)
            assert await s.census() == []

    run_virtually(scenario())

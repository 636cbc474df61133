"""Images that become disks and templates."""

from ovirt_provision.ledger.store import REMOVING
from ovirt_provision.v1 import images_pb2, resources_pb2
from tests.harness import spec
from tests.images import qcow2


def disk(**fields):
    return images_pb2.ImportedDisk(**{"name": "golden", **fields})


def template(**fields):
    machine = spec(template=resources_pb2.TemplateRef(name="Blank"), cluster="Default", memory_bytes=1 << 30)
    return images_pb2.ImportedTemplate(**{"name": "golden", "machine": machine, **fields})


def content_of(site, name):
    """The bytes that the engine has of a disk."""
    (found,) = (one for one in site.simulator.world.disks.values() if one.name == name)
    return site.simulator.world.images.path(found).with_suffix(".kept").read_bytes()


def no_transfer_is_open(site):
    return all(one.ended for one in site.simulator.world.transfers.values())


def test_an_image_becomes_a_disk_byte_by_byte(site, run_virtually):
    async def scenario():
        async with site() as s:
            content = qcow2()
            checksum = await s.upload(content)
            done = await s.run("ImportImage", checksum=checksum, disk=disk(description="of Packer"))
            assert done.state == "succeeded", done.error
            (made,) = (one for one in s.simulator.world.disks.values() if one.name == "golden")
            assert (made.status, made.size, made.format, made.content_type) == ("ok", 64 << 20, "cow", "data")
            assert content_of(s, "golden") == content
            assert made.description.startswith("of Packer\novirt-provision/1 disk ")
            assert no_transfer_is_open(s)
            assert await s.census() == [("ours", "disk", "golden")]
            assert (await s.run("DestroyDisk", id=made.id)).state == "succeeded"
            assert s.disks() == 1

    run_virtually(scenario())


def test_an_image_becomes_a_template_and_nothing_is_left_beside_it(site, run_virtually):
    async def scenario():
        async with site() as s:
            checksum = await s.upload(qcow2())
            done = await s.run("ImportImage", checksum=checksum, template=template(description="of Packer"))
            assert done.state == "succeeded", done.error
            assert (s.templates(), s.vms(), s.disks()) == (["golden"], [], 2)
            (made,) = (one for one in s.simulator.world.templates.values() if one.name == "golden")
            assert made.description == "of Packer"
            assert await s.census() == [("ours", "template", "golden")]
            assert not s.bridge.ledger.list_objects(REMOVING)
            golden = resources_pb2.TemplateRef(name="golden")
            web = await s.run("CreateMachine", key="web", spec=spec(template=golden))
            assert web.state == "succeeded", web.error

    run_virtually(scenario())

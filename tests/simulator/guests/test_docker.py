"""The guest image with a Docker engine; tests/e2e has the life of a Docker host on it."""

import asyncio
from pathlib import Path

import pytest

from ovirt_provision.simulator.guests import image
from ovirt_provision.simulator.guests.qemu import QemuGuests


@pytest.mark.guests
@pytest.mark.timeout(600)  # the image may have to be built first
async def test_a_docker_host_can_be_sealed(tmp_path: Path) -> None:
    # Each image has a kernel of its own.
    images = {
        "minimal-base": image.build(image.cache_folder()),
        "docker-base": image.build(image.cache_folder(image.DOCKER), recipe=image.DOCKER),
    }
    guests = QemuGuests(tmp_path / "disks", images)
    try:
        await guests.clone_disk("template", "docker-base", thin=False).task
        work = guests.seal_disk("template")
        await asyncio.wait([work.task])
        assert work.error is None
    finally:
        await guests.close()

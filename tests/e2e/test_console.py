"""An installation by hand: a boot disc whose prompt is typed into, by daemon, ticket and QEMU's VNC."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ovirtsdk4
import pytest
import requests
from ovirtsdk4 import types
from stage import Stage

from tests.boot_disc import make_boot_disc

# All that takes the shift key on a US keyboard is in it, and `<` as the command line has it.
TYPED = 'Hello, World 0123456789! ~@#$%^&*()_+{}|:"<lt>>? AZaz `-=[];,./'
ARRIVED = TYPED.replace("<lt>", "<")
DEADLINE = 90  # seconds, for what takes 2 on an idle machine


@contextlib.contextmanager
def engine(stage: Stage) -> Iterator[Any]:
    variables = {name: stage.environment[f"OVIRT_{name.upper()}"] for name in ("url", "username", "password")}
    with ovirtsdk4.Connection(**variables, ca_file=stage.environment["OVIRT_CAFILE"]) as connection:
        yield connection.system_service()


def add_iso(stage: Stage, system: Any, name: str, image: bytes) -> str:
    """Uploads an ISO image as people do, and returns the name of its storage domain."""
    (domain,) = system.storage_domains_service().list()
    disk = types.Disk(
        name=name,
        content_type=types.DiskContentType.ISO,
        format=types.DiskFormat.RAW,
        provisioned_size=len(image),
        storage_domains=[types.StorageDomain(id=domain.id)],
    )
    service = system.disks_service().disk_service(system.disks_service().add(disk).id)
    until(lambda: service.get().status == types.DiskStatus.OK, "the disk is ok")
    upload = types.ImageTransfer(
        disk=types.Disk(id=service.get().id), direction=types.ImageTransferDirection.UPLOAD
    )
    transfer = system.image_transfers_service().add(upload)
    ca_file = stage.environment["OVIRT_CAFILE"]
    requests.put(transfer.transfer_url, image, verify=ca_file, timeout=30).raise_for_status()
    system.image_transfers_service().image_transfer_service(transfer.id).finalize()
    until(lambda: service.get().status == types.DiskStatus.OK, "the upload has ended")
    return str(domain.name)


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for what another process brings about, which tells nobody."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


@pytest.mark.guests
@pytest.mark.timeout(300)
def test_a_prompt_is_typed_into_and_what_was_installed_boots(tmp_path: Path) -> None:
    with Stage(tmp_path / "stage", guests="qemu") as stage, engine(stage) as system:
        # Then hosts offer consoles over TLS alone.
        (cluster,) = system.clusters_service().list()
        service = system.clusters_service().cluster_service(cluster.id)
        service.update(types.Cluster(vnc_encryption=True))
        domain = add_iso(stage, system, "installer.iso", make_boot_disc(tmp_path))
        stage.provision(
            *("machine", "create", "web", "--template=Blank", "--cluster=Default", "--memory=128MiB"),
            *(f"--storage-domain={domain}", "--new-disk=1GiB", "--start", "--iso=installer.iso"),
            "--no-address",
        )
        machine = stage.provision("machine", "get", "web")
        console = stage.folder / f"simulator/disks/{machine['id']}.console"

        def said() -> str:
            return console.read_text() if console.exists() else ""

        def type_keys(text: str) -> bool:
            return stage.run(*stage.cli("machine", "type", "web", text)).returncode == 0

        until(lambda: "press enter" in said(), "the disc boots, for the disk is blank")
        until(lambda: type_keys("<enter>") and "boot: " in said(), "the firmware reads its keyboard")
        type_keys(f"{TYPED}<enter>")
        until(lambda: "installed: " in said(), "the guest has rebooted, from its disk")
        until(lambda: said().endswith(f"boot: {ARRIVED}\ninstalled: {ARRIVED}\n"), said())

        # Nobody waits for it to be up: a guest that says nothing is so after a minute.
        stage.provision("machine", "stop", "web", "--force")
        stage.provision("machine", "start", "web", "--no-wait")
        until(lambda: said() == f"installed: {ARRIVED}\n", said())
        stage.provision("machine", "destroy", "web")
        assert stage.provision("census")["entries"] == []

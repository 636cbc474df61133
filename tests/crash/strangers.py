"""What is in the engine beside us: objects that look like ours, and people who work on ours."""

import uuid
from collections.abc import Callable

from lxml import etree

from ovirt_provision.ledger.identity import Mark, vm_id
from tests.crash.schedule import KEYS
from tests.harness import OWNER

# Asks the engine past the bridge: method, path, body. None where the engine refuses.
Ask = Callable[[str, str, str], "etree._Element | None"]


class Strangers:
    """Others in the same engine."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._installation = ""
        self._vms: list[str] = []
        self._disks: list[str] = []

    def settle_in(self, installation: str) -> None:
        """Makes VMs with names like ours and marks like ours, and disks to be attached later."""
        self._installation = installation
        marks = {
            # Copied from ours to another id, and another installation's.
            "web-copy": Mark("vm", installation, OWNER, "web", 1, str(uuid.uuid4())),
            "db-2": Mark("vm", str(uuid.uuid4()), OWNER, "db", 1, str(uuid.uuid4())),
            "nobody": None,
        }
        for name, mark in marks.items():
            id = vm_id(str(uuid.uuid4()), OWNER, name, 1)
            self._vms.append(id)
            self._add(
                "/vms",
                f'<vm id="{id}"><name>{name}</name><comment>{mark or ""}</comment>'
                "<cluster><name>Default</name></cluster><template><name>Blank</name></template></vm>",
            )
        for key in KEYS:
            disk = self._add(
                "/disks",
                f"<disk><name>precious-{key}</name><format>cow</format>"
                "<provisioned_size>1073741824</provisioned_size>"
                "<storage_domains><storage_domain><name>data</name></storage_domain></storage_domains></disk>",
            )
            self._disks.append(disk)

    def attach(self, key: str) -> None:
        """Puts a disk on the VM of our Machine of that key, as far as the engine lets them."""
        found = self._ask("GET", "/vms", "")
        for vm in found if found is not None else ():
            mark = Mark.parse(vm.findtext("comment") or "")
            ours = mark is not None and mark.installation == self._installation and mark.key == key
            if ours and vm.get("id") not in self._vms and self._disks:
                self._ask(
                    "POST",
                    f"/vms/{vm.get('id')}/diskattachments",
                    f'<disk_attachment><disk id="{self._disks.pop()}"/><interface>virtio</interface>'
                    "<bootable>false</bootable><active>true</active></disk_attachment>",
                )
                return

    def _add(self, path: str, body: str) -> str:
        made = self._ask("POST", path, body)
        assert made is not None
        return str(made.get("id"))

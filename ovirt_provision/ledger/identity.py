"""Identity before effect: the ids that we choose and the mark that says an engine object is ours."""

import uuid
from dataclasses import dataclass
from urllib.parse import quote, unquote

_PREFIX = "ovirt-provision/1"


def vm_id(installation: str, owner: str, key: str, generation: int) -> str:
    """The id of the VM behind the given generation of an owner's key. `installation` is a UUID."""
    return str(uuid.uuid5(uuid.UUID(installation), "\n".join((owner, key, str(generation)))))


def disk_id(vm_id: str, number: int) -> str:
    """The id of a disk that a Machine has besides its template's. `number` counts them, from 1."""
    return str(uuid.uuid5(uuid.UUID(vm_id), f"disk {number}"))


def imported_disk_id(installation: str, owner: str, request_id: str) -> str:
    """The id of a disk that is made of an image, by itself."""
    return str(uuid.uuid5(uuid.UUID(installation), "\n".join(("image", owner, request_id))))


@dataclass(frozen=True)
class Mark:
    """What an engine object carries to say who made it, and for which request.

    Written as the last line of `comment` of VMs and templates and of `description` of disks and snapshots:
    `ovirt-provision/1 <kind> <installation> <owner> <key> <generation> <request>`, each field
    percent-encoded.
    """

    kind: str
    installation: str
    owner: str
    key: str
    generation: int
    request: str

    def __str__(self) -> str:
        fields = (self.kind, self.installation, self.owner, self.key, str(self.generation), self.request)
        return " ".join((_PREFIX, *(quote(field, safe="") for field in fields)))

    @classmethod
    def parse(cls, text: str) -> "Mark | None":
        """The mark in the last line of a comment or description; None if there is none."""
        lines = text.rstrip().splitlines()
        if not lines or not lines[-1].startswith(_PREFIX + " "):
            return None
        fields = [unquote(field) for field in lines[-1].split(" ")[1:]]
        if len(fields) != 6 or not fields[4].isdecimal():
            return None
        kind, installation, owner, key, generation, request = fields
        return cls(kind, installation, owner, key, int(generation), request)

    def is_of_vm(self, object_id: str, installation: str) -> bool:
        """True if this mark proves that the VM with that id is ours.

        It has to name this installation and to recompute to the VM's own id: a mark that was copied to
        another VM, or inherited from one, does not.
        """
        return (
            self.kind == "vm"
            and self.installation == installation
            and vm_id(installation, self.owner, self.key, self.generation) == object_id
        )

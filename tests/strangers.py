"""Other people on the engine: they make what looks like ours, lay hands on what is ours, and own what a
bridge must never change."""

import difflib
import random
import re
import uuid
from collections.abc import Callable

from ovirt_provision.ledger.identity import Mark, disk_id, imported_disk_id, vm_id
from ovirt_provision.ledger.store import Object
from ovirt_provision.simulator.faults import Fault, Refusal
from ovirt_provision.simulator.markup import Element, find_text, to_xml
from tests.harness import INSTALLATION, OWNER, TEMPLATE, Site
from tests.wire import Change

KEYS = ("web", "db", "build")
TEMPLATES = ("golden", "web")
_OTHER_INSTALLATION = str(uuid.UUID(int=7))
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNSETTLED = "unsettled"
_POWER = ("start", "stop", "shutdown")
# What only running changes of a VM.
_OF_POWER = (
    "status",
    "start_time",
    "stop_time",
    "stop_reason",
    "host",
    "fqdn",
    "guest_operating_system",
    "guest_time_zone",
    "display",
    "run_once",
)


class Refused(Exception):
    """The engine did not let them."""


class Strangers:
    """What they do is chosen by `rng`; `deeds` says what they did and `violations` what was done to them.

    `request_id` is that of the call that comes next, as far as they have got hold of it.
    """

    def __init__(self, site: Site, rng: random.Random, *, newer: bool = False) -> None:
        """With `newer` they also do what concerns the verbs that came later."""
        self._site = site
        self._world = site.simulator.world
        self._rng = rng
        self._deeds = [*_DEEDS, *_NEWER_DEEDS] if newer else _DEEDS
        self._lent: set[str] = set()
        self.request_id = ""
        self.deeds: list[str] = []
        self.violations: list[str] = []
        # By path below the API's base, as it looked when it was last seen; of snapshots nothing.
        self._theirs: dict[str, str] = {}
        for collection in ("vms", "disks", "templates"):
            for each in getattr(self._world, collection):
                self._own(f"/{collection}/{each}")

    def act(self, deed: "Callable[[Strangers], None] | None" = None) -> None:
        """Does something, or just that, if the engine lets them."""
        self.look()
        deed = deed or self._rng.choice(self._deeds)
        try:
            deed(self)
            self.deeds.append(deed.__name__.strip("_"))
        except (Refused, IndexError, StopIteration):
            pass
        self._remember()

    def look(self) -> None:
        """Compares what is theirs with how they last saw it."""
        for path, before in self._theirs.items():
            now = self._state(path)
            if before == _UNSETTLED:
                self._theirs[path] = now
            elif now not in (before, _UNSETTLED):
                differing = difflib.unified_diff(before.splitlines(), now.splitlines(), n=0, lineterm="")
                self.violations.append(f"{path} was changed: {' '.join(differing)}")

    def lend(self, path: str) -> None:
        """Lets the bridge have a VM of theirs that it may start and stop, a disk that it may attach to VMs of
        its own, or a storage domain that it may mark as one for backups."""
        self._lent.add(path)
        if path in self._theirs:
            self._own(path)

    def may_be_adopted(self, vm: str) -> bool:
        """Whether a VM is theirs and no Machine of any installation."""
        mark = Mark.parse(self._world.vms[vm].comment)
        return f"/vms/{vm}" in self._theirs and (mark is None or not mark.is_of_vm(vm, mark.installation))

    def judge(self, change: Change) -> None:
        """Looks whether a request of the bridge is at something of theirs."""
        segments = change.path.strip("/").split("/")
        named = {path for path in self._theirs if path.rsplit("/", 1)[1] in segments}
        if segments[0] == "storagedomains":
            named = {f"/storagedomains/{segments[1]}"} - self._lent
        elif segments[2:] == ["export"]:
            return  # a reading of a template
        elif segments[0] == "vms" and segments[2:] and segments[2] in _POWER:
            named -= self._lent
        if segments[2:3] == ["diskattachments"] and change.method == "DELETE" and change.detach_only:
            named -= {f"/disks/{segments[3]}"}  # to take a disk off a VM of ours is no change of the disk
        if change.status < 400:
            # Templates are there to make VMs of.
            kinds = ("/vms/", "/disks/")
            named |= {
                path
                for path in self._theirs
                if path.startswith(kinds) and path.rsplit("/", 1)[1] in _UUID.findall(change.body)
            }
            if segments == ["vms"]:
                of_templates = [a.disk for one in self._world.templates.values() for a in one.attachments]
                named -= {f"/disks/{disk.id}" for disk in of_templates}
            elif segments[2:] == ["diskattachments"]:
                named -= self._lent
            elif segments == ["imagetransfers"] and "<direction>download" in change.body:
                named = set()
            if change.method == "POST" and segments == ["templates"]:
                source = self._world.vms.get(next(iter(_UUID.findall(change.body)), ""))
                attached = source.attachments if source is not None else []
                named |= {f"/disks/{a.disk.id}" for a in attached if f"/disks/{a.disk.id}" in self._theirs}
        if named:
            self.violations.append(f"{change.method} {change.path} ({change.status}) is at {sorted(named)}")

    # What they look at

    def _own(self, path: str) -> None:
        self._theirs[path] = self._state(path)

    def _remember(self) -> None:
        for path in self._theirs:
            self._theirs[path] = self._state(path)

    def _state(self, path: str) -> str:
        """All of an object that the engine shows; `_UNSETTLED` while the engine still works on it."""
        self._world.settle()
        if "/snapshots/" in path or "/imagetransfers/" in path:
            return ""
        try:
            element = self._get(path)
        except Refused:
            return "gone"
        if find_text(element, "status") in ("locked", "image_locked"):
            return _UNSETTLED
        if path.startswith("/vms/"):
            vm = self._world.vms[path.split("/")[2]]
            rest = [(a.disk.id, a.disk.image_id, a.bootable, a.active) for a in vm.attachments]
            for child in element if path in self._lent else ():
                if child.tag in _OF_POWER:
                    element.remove(child)
            return f"{to_xml(element).decode()} {rest} {vm.nics} {[s.id for s in vm.snapshots]}"
        return to_xml(element).decode()

    # What they do

    def _call(self, method: str, path: str, body: str = "", **query: str) -> Element:
        try:
            reply = self._site.simulator.call(method, path, body, **query)
        except (Refusal, Fault) as error:
            raise Refused(str(error)) from None
        if reply.status >= 400 or reply.element is None:
            raise Refused(path)
        return reply.element

    def _get(self, path: str) -> Element:
        return self._call("GET", path)

    def _our_vms(self, *states: str) -> list[Object]:
        """Rows of VMs of ours that stand and are not a stranger's by now, or those in other states."""
        wanted = states or ("present",)
        return [
            row
            for row in self._site.bridge.ledger.list_objects(*wanted)
            if row.kind == "vm"
            and (states or (row.engine_id in self._world.vms and f"/vms/{row.engine_id}" not in self._theirs))
        ]

    def _marks(self) -> list[str]:
        """Marks that there are to copy, and some that look like it."""
        everything = [*self._world.vms.values(), *self._world.templates.values()]
        marks = [each.comment for each in everything if each.comment]
        request = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        key = self._rng.choice(KEYS)
        return [
            *marks,
            "",
            "ovirt-provision/1 vm",
            *(str(Mark("vm", str(INSTALLATION), OWNER, key, n, request)) for n in (1, 2, 3)),
            str(Mark("template", str(INSTALLATION), OWNER, key, 1, request)),
            str(Mark("vm", _OTHER_INSTALLATION, OWNER, key, 1, request)),
        ]

    def _foreign_mark(self, engine_id: str) -> str:
        """One that does not make a VM with that id ours (law 2), mostly one of our installation."""
        marks = [(text, Mark.parse(text)) for text in self._marks()]
        foreign = [(t, m) for t, m in marks if m is None or not m.is_of_vm(engine_id, str(INSTALLATION))]
        of_ours = [t for t, m in foreign if m and (m.kind, m.installation) == ("vm", str(INSTALLATION))]
        if of_ours and self._rng.random() < 0.6:
            return self._rng.choice(of_ours)
        return self._rng.choice(foreign)[0]

    def _names(self) -> list[str]:
        named = [vm.name for vm in self._world.vms.values()]
        return [*named, *KEYS, *(key.upper() for key in KEYS), *(f"{key}-copy" for key in KEYS)]

    def _make_vm(self, name: str, comment: str, engine_id: str = "", template: str = "Blank") -> str:
        chosen = f' id="{engine_id}"' if engine_id else ""
        body = (
            f"<vm{chosen}><name>{name}</name><comment>{comment}</comment><cluster><name>Default</name></cluster>"
            f"<template><name>{template}</name></template></vm>"
        )
        made = self._call("POST", "/vms", body).get("id") or ""
        self._own(f"/vms/{made}")
        for attachment in self._world.vms[made].attachments:
            self._own(f"/disks/{attachment.disk.id}")
        return made

    def _look_alike(self) -> None:
        self._make_vm(self._rng.choice(self._names()), "")

    def _copied_mark(self) -> None:
        self._make_vm(self._rng.choice(self._names()), self._rng.choice(self._marks()))

    def _other_installation(self) -> None:
        key = self._rng.choice(KEYS)
        mark = Mark("vm", _OTHER_INSTALLATION, OWNER, key, 1, str(uuid.UUID(int=9)))
        self._make_vm(f"{key}-theirs", str(mark), vm_id(_OTHER_INSTALLATION, OWNER, key, 1))

    def _reused_id(self) -> None:
        """Removes a VM of ours, if it is there, and makes one with its id, be it with its name or another's
        mark."""
        row = self._rng.choice(self._our_vms("present", "gone"))
        if f"/vms/{row.engine_id}" in self._theirs:
            raise Refused
        if row.known_id in self._world.vms:
            self._remove(row)
        comment = self._foreign_mark(row.known_id)
        self._make_vm(self._rng.choice([row.name, f"{row.name}-new"]), comment, row.known_id)

    def _next_id(self) -> None:
        """Takes the id that the next Machine of a key is to have."""
        key = self._rng.choice(KEYS)
        last = self._site.bridge.ledger.last_machine(OWNER, key)
        generation = last.generation + 1 if last else 1
        mark = str(Mark("vm", str(INSTALLATION), OWNER, key, generation + 1, str(uuid.UUID(int=9))))
        self._make_vm(
            f"{key}-{self._rng.randint(1, 9)}",
            self._rng.choice(["", mark]),
            vm_id(str(INSTALLATION), OWNER, key, generation),
        )

    def _remove(self, row: Object) -> None:
        """Removes a VM of ours, but no disk of theirs with it."""
        if any(f"/disks/{a.disk.id}" in self._theirs for a in self._world.vms[row.known_id].attachments):
            raise Refused
        self._call("DELETE", f"/vms/{row.engine_id}")

    def _attached_disk(self) -> None:
        row = self._rng.choice(self._our_vms())
        ours = self._world.vms[row.known_id].attachments
        name = self._rng.choice(["precious", *(attachment.disk.name for attachment in ours)])
        disk = self._world.add_disk(name)
        self._own(f"/disks/{disk.id}")
        body = (
            f'<disk_attachment><disk id="{disk.id}"/><interface>virtio</interface><bootable>false</bootable>'
            "<active>true</active></disk_attachment>"
        )
        self._call("POST", f"/vms/{row.engine_id}/diskattachments", body)

    def _snapshot(self) -> None:
        """Of a VM of ours, described as people do or with a mark."""
        row = self._rng.choice(self._our_vms())
        description = self._rng.choice(["before the upgrade", *self._marks()])
        body = f"<snapshot><description>{description}</description></snapshot>"
        made = self._call("POST", f"/vms/{row.engine_id}/snapshots", body)
        self._own(f"/vms/{row.engine_id}/snapshots/{made.get('id')}")

    def _template_of_ours(self) -> None:
        """It inherits the VM's comment, unless it is given one."""
        row = self._rng.choice(self._our_vms())
        comment = self._rng.choice(["", *(f"<comment>{mark}</comment>" for mark in self._marks())])
        self._make_template(f'<vm id="{row.engine_id}"/>{comment}')

    def _version(self) -> None:
        """A version of a template, as likely of one of ours as of another."""
        row = self._rng.choice(self._our_vms())
        base = self._rng.choice([t.id for t in self._world.templates.values() if t.attachments])
        comment = self._rng.choice(self._marks())
        self._make_template(
            f'<vm id="{row.engine_id}"/><comment>{comment}</comment>'
            f'<version><base_template id="{base}"/><version_name>v</version_name></version>'
        )

    def _make_template(self, content: str) -> None:
        name = self._rng.choice([*TEMPLATES, "silver", "bronze"])
        made = self._call("POST", "/templates", f"<template><name>{name}</name>{content}</template>")
        template = self._world.templates[made.get("id") or ""]
        self._own(f"/templates/{template.id}")
        for attachment in template.attachments:
            self._own(f"/disks/{attachment.disk.id}")

    def _renamed(self) -> None:
        """Renames a VM of ours, and takes its name for one of their own."""
        row = self._rng.choice(self._our_vms())
        name = f"renamed-{self._rng.randint(1, 999)}"
        self._call("PUT", f"/vms/{row.engine_id}", f"<vm><name>{name}</name></vm>")
        if self._rng.random() < 0.7:
            self._make_vm(row.name, self._rng.choice(self._marks()))

    def _taken_over(self) -> None:
        """Replaces the mark of a VM of ours: from then on it is theirs, with its disks and snapshots."""
        row = self._rng.choice(self._our_vms())
        vm = self._world.vms[row.known_id]
        ours = [one for one in vm.snapshots if f"/vms/{vm.id}/snapshots/{one.id}" not in self._theirs]
        if vm.status != "down" or ours:
            raise Refused
        comment = self._foreign_mark(vm.id)
        self._call("PUT", f"/vms/{vm.id}", f"<vm><comment>{comment}</comment></vm>")
        for path in (f"/vms/{vm.id}", *(f"/disks/{attachment.disk.id}" for attachment in vm.attachments)):
            self._own(path)

    def _moved_disk(self) -> None:
        """Takes a disk off a VM of ours, and mostly attaches it to one of theirs."""
        row = self._rng.choice(self._our_vms())
        disk = self._rng.choice(self._world.vms[row.known_id].attachments).disk
        self._call("DELETE", f"/vms/{row.engine_id}/diskattachments/{disk.id}", detach_only="true")
        if self._rng.random() < 0.7:
            theirs = self._make_vm(f"theirs-{self._rng.randint(1, 999)}", self._rng.choice(self._marks()))
            body = (
                f'<disk_attachment><disk id="{disk.id}"/><interface>virtio</interface>'
                "<bootable>true</bootable><active>true</active></disk_attachment>"
            )
            self._call("POST", f"/vms/{theirs}/diskattachments", body)

    def _vm_of_our_template(self) -> None:
        rows = self._site.bridge.ledger.list_objects("present")
        row = self._rng.choice([row for row in rows if row.kind == "template"])
        self._make_vm(f"theirs-{self._rng.randint(1, 999)}", self._rng.choice(self._marks()), "", row.name)

    def _ordinary(self) -> None:
        """A VM with a guest, as people have them."""
        name = f"theirs-{self._rng.randint(1, 999)}"
        self._make_vm(name, self._rng.choice(["", *self._marks()]), "", TEMPLATE)

    def _spare_disk(self) -> None:
        disk = self._world.add_disk(self._rng.choice(["precious", "golden", *KEYS]))
        self._own(f"/disks/{disk.id}")

    def take_next_disk_id(self) -> None:
        """Takes the id that a disk is to have which is imported, or made for the next Machine of a key."""
        key = self._rng.choice(KEYS)
        last = self._site.bridge.ledger.last_machine(OWNER, key)
        vm = vm_id(str(INSTALLATION), OWNER, key, last.generation + 1 if last else 1)
        taken = [disk_id(vm, 1), imported_disk_id(str(INSTALLATION), OWNER, self.request_id)]
        request = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        mark = Mark("disk", str(INSTALLATION), OWNER, key, 1, request)
        domain = next(one for one in self._world.domains.values() if one.name == "data")
        made = self._call(
            "POST",
            "/disks",
            f'<disk id="{self._rng.choice(taken)}"><name>precious</name><format>raw</format>'
            f"<description>{self._rng.choice(['', str(mark)])}</description><sparse>true</sparse>"
            "<provisioned_size>1048576</provisioned_size>"
            f'<storage_domains><storage_domain id="{domain.id}"/></storage_domains></disk>',
        )
        self._own(f"/disks/{made.get('id')}")

    def _other_boot_disk(self) -> None:
        """Has a VM of ours boot from a disk of theirs: of one whose disks the bridge has seen. Before that it
        only counts them, and cannot tell one that is exchanged."""
        row = self._rng.choice([row for row in self._our_vms() if row.details.get("disks_known")])
        ours = next(one for one in self._world.vms[row.known_id].attachments if one.bootable).disk
        self._call("DELETE", f"/vms/{row.engine_id}/diskattachments/{ours.id}", detach_only="true")
        disk = self._world.add_disk(self._rng.choice(["precious", ours.name]))
        disk.format = "raw"
        self._own(f"/disks/{disk.id}")
        self._call(
            "POST",
            f"/vms/{row.engine_id}/diskattachments",
            f'<disk_attachment><disk id="{disk.id}"/><interface>virtio</interface>'
            "<bootable>true</bootable><active>true</active></disk_attachment>",
        )

    def _transfer(self) -> None:
        """Downloads a disk that the bridge could be asked to export."""
        of_templates = [a.disk for template in self._world.templates.values() for a in template.attachments]
        disk = self._rng.choice([*of_templates, *self._world.disks.values()])
        body = (
            f'<image_transfer><disk id="{disk.id}"/><direction>download</direction><format>raw</format>'
            "</image_transfer>"
        )
        self._own(f"/imagetransfers/{self._call('POST', '/imagetransfers', body).get('id')}")

    def _exported(self) -> None:
        """Copies a template to the export domain."""
        template = self._rng.choice([t for t in self._world.templates.values() if t.attachments])
        shelf = next(one for one in self._world.domains.values() if one.type == "export")
        body = f'<action><exclusive>false</exclusive><storage_domain id="{shelf.id}"/></action>'
        self._call("POST", f"/templates/{template.id}/export", body)

    def _removed(self) -> None:
        row = self._rng.choice(self._our_vms())
        self._remove(row)
        if self._rng.random() < 0.5:
            self._make_vm(row.name, self._rng.choice(self._marks()))


_DEEDS: list[Callable[[Strangers], None]] = [
    Strangers._look_alike,
    Strangers._copied_mark,
    Strangers._other_installation,
    Strangers._reused_id,
    Strangers._next_id,
    Strangers._attached_disk,
    Strangers._snapshot,
    Strangers._template_of_ours,
    Strangers._version,
    Strangers._renamed,
    Strangers._taken_over,
    Strangers._moved_disk,
    Strangers._vm_of_our_template,
    Strangers._removed,
]
_NEWER_DEEDS: list[Callable[[Strangers], None]] = [
    Strangers._ordinary,
    Strangers._ordinary,
    Strangers._spare_disk,
    Strangers.take_next_disk_id,
    Strangers._other_boot_disk,
    Strangers._transfer,
    Strangers._exported,
]

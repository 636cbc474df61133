"""The graphics consoles of VMs, and the tickets that open them."""

import ssl
from dataclasses import dataclass

from ovirtsdk4 import types

from ovirt_provision.config import EngineProfile
from ovirt_provision.engine.account import Need
from ovirt_provision.engine.session import Session


@dataclass(frozen=True)
class Console:
    """A VNC console. `address` and `port` are empty and 0 while the VM has none: it is on no host yet."""

    id: str
    address: str
    port: int


class Consoles:
    """The consoles of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session, profile: EngineProfile) -> None:
        self._session = session
        self._profile = profile

    async def vnc(self, vm_id: str) -> Console | None:
        """The VNC console of a VM that runs; None for one that has none (behaviour.md 47, 48)."""
        found = await self._session.call(
            f"read the consoles of VM {vm_id}",
            lambda system: (
                system.vms_service().vm_service(vm_id).graphics_consoles_service().list(current=True)
            ),
        )
        vnc = next((one for one in found if one.protocol == types.GraphicsType.VNC), None)
        return Console(vnc.id, vnc.address or "", vnc.port or 0) if vnc is not None else None

    async def ticket(
        self, vm_id: str, name: str, console_id: str, *, seconds: int, correlation_id: str
    ) -> str:
        """What opens a console for so long. It is a secret, and void once there is another one."""
        ticket = await self._session.call(
            f"get a ticket for the console of VM {name}",
            lambda system: (
                system.vms_service()
                .vm_service(vm_id)
                .graphics_consoles_service()
                .console_service(console_id)
                .ticket(ticket=types.Ticket(expiry=seconds))
            ),
            correlation_id=correlation_id,
            needs=[Need("connect_to_vm", "VM", vm_id, name)],
        )
        return str(ticket.value)

    def tls(self) -> ssl.SSLContext:
        """How hosts prove who they are: by certificates of the engine's CA."""
        ca_file = self._profile.ca_file
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if self._profile.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

"""Which NICs a MachineSpec asks for, held against template and vNIC profiles before the first effect."""

from collections.abc import Sequence
from typing import Any

from ovirt_provision.engine.model import Nic, VnicProfile
from ovirt_provision.errors import did_you_mean
from ovirt_provision.operations.enumerations import NIC_INTERFACES
from ovirt_provision.operations.spec_resolver import SpecResolver
from ovirt_provision.v1 import resources_pb2


class NicResolver(SpecResolver):
    """Looks up the NICs."""

    async def resolve(self) -> list[dict[str, Any]]:
        """The plan: fields of NicRequest. Of a request without NICs none: the template's stay as they are."""
        spec, template = self._spec, self._template
        if not spec.nics:
            return []
        profiles = await self._call.engine.catalog.vnic_profiles(self._cluster)
        inherited: dict[str, Nic] = {nic.name: nic for nic in template.nics} if template else {}
        return [
            self._nic(f"spec.nics[{n}]", nic, inherited.get(nic.name), list(inherited), profiles)
            for n, nic in enumerate(spec.nics)
        ]

    def _nic(
        self,
        path: str,
        wanted: resources_pb2.Nic,
        inherited: Nic | None,
        known: Sequence[str],
        profiles: Sequence[VnicProfile],
    ) -> dict[str, Any]:
        profile: VnicProfile | None = None
        if wanted.vnic_profile:
            profile = self._profile(path, wanted.vnic_profile, profiles)
        elif wanted.network:
            profile = self._profile_of_network(path, wanted.network, profiles)
        elif inherited is not None:
            profile = next((one for one in profiles if one.id == inherited.vnic_profile_id), None)
        elif self._template is not None:
            has = ", ".join(known) or "none"
            self._wrong(
                f"{path}.vnic_profile",
                f"is needed, or network; the template has no NIC '{wanted.name}' to take it from, but {has}"
                f"{did_you_mean(wanted.name, known)}",
            )
        interface = NIC_INTERFACES.get(wanted.interface, inherited.interface if inherited else "")
        if profile is not None:
            if not interface or (profile.pass_through and not wanted.interface):
                interface = "pci_passthrough" if profile.pass_through else "virtio"
            elif interface == "pci_passthrough" and not profile.pass_through and not wanted.interface:
                interface = "virtio"
            if profile.pass_through != (interface == "pci_passthrough"):
                takes = "takes PCI_PASSTHROUGH" if profile.pass_through else "does not pass through"
                self._wrong(f"{path}.interface", f"vNIC profile '{profile.name}' {takes}, not {interface}")
        kept = inherited.vnic_profile_id if inherited is not None else ""
        return {
            "name": wanted.name,
            "vnic_profile_id": profile.id if profile is not None else kept,
            "interface": interface,
            "mac": wanted.mac.lower(),
            "linked": wanted.linked if wanted.HasField("linked") else None,
        }

    @property
    def _where(self) -> str:
        return f"networks of cluster '{self._cluster.name}'" if self._cluster else "all networks"

    def _profile(self, path: str, name: str, profiles: Sequence[VnicProfile]) -> VnicProfile | None:
        matches = [one for one in profiles if name in (one.name, one.full_name)]
        if len(matches) == 1:
            return matches[0]
        if not matches:
            known = {text for one in profiles for text in (one.name, one.full_name)}
            self._missing(
                f"{path}.vnic_profile",
                f"no vNIC profile '{name}'{did_you_mean(name, known)} (looked in {self._where})",
            )
        elif self._cluster is not None:
            choices = ", ".join(sorted(one.full_name for one in matches))
            self._missing(
                f"{path}.vnic_profile", f"'{name}' names several vNIC profiles: {choices}; name one of these"
            )
        return None

    def _profile_of_network(
        self, path: str, network: str, profiles: Sequence[VnicProfile]
    ) -> VnicProfile | None:
        matches = [one for one in profiles if one.network == network]
        own = [one for one in matches if one.name == network]
        if len(matches) == 1 or (own and self._cluster is not None):
            return (own or matches)[0]
        if not matches:
            known = {one.network for one in profiles}
            self._missing(
                f"{path}.network",
                f"no network '{network}' with a vNIC profile{did_you_mean(network, known)} "
                f"(looked in {self._where})",
            )
        elif self._cluster is not None:
            choices = ", ".join(sorted(one.full_name for one in matches))
            self._wrong(
                f"{path}.network",
                f"'{network}' has several vNIC profiles, none of its own name; as vnic_profile name one of "
                f"{choices}",
            )
        return None

"""Networks: read."""

from collections.abc import Sequence
from typing import Any

from ovirtsdk4 import types

from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.model import Network
from ovirt_provision.engine.session import Session


class Networks:
    """The networks of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._readings: Batch[Sequence[Network]] = Batch(self._read)

    async def for_vms(self) -> Sequence[Network]:
        """The networks that VMs can be on, with their vNIC profiles; read once for all who ask at the same
        time."""
        return await self._readings.get("")

    async def _read(self, keys: Sequence[str]) -> dict[str, Sequence[Network]]:
        """Three requests, however many networks there are. The engine has no search for vNIC profiles
        (behaviour.md 57)."""

        def read(system: Any) -> Sequence[Network]:
            centers = {center.id: center.name for center in system.data_centers_service().list()}
            profiles: dict[str, list[str]] = {}
            for profile in system.vnic_profiles_service().list():
                if profile.network:
                    profiles.setdefault(profile.network.id, []).append(profile.name)
            return [
                Network.of(network, centers, profiles)
                for network in system.networks_service().list()
                if types.NetworkUsage.VM in (network.usages or ())
            ]

        found = await self._session.call("read the networks", read)
        return dict.fromkeys(keys, found)

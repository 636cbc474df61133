"""Storage domains: read one, mark it as one for backups. Else they are read in inventory.py."""

from ovirtsdk4 import types

from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.inventory import StorageDomain, storage_domain
from ovirt_provision.engine.session import Session


class StorageDomains:
    """The storage domains of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, domain_id: str) -> StorageDomain | None:
        """The storage domain with that id, or None; its status is unknown, which only a data center tells."""
        try:
            found = await self._session.call(
                f"read storage domain {domain_id}",
                lambda system: system.storage_domains_service().storage_domain_service(domain_id).get(),
            )
        except EngineNotFound:
            return None
        return storage_domain(found)

    async def has_template(self, domain_id: str, template_id: str) -> bool:
        """Whether an export domain has a copy of that template version."""
        try:
            await self._session.call(
                f"read template {template_id} on storage domain {domain_id}",
                lambda system: (
                    system.storage_domains_service()
                    .storage_domain_service(domain_id)
                    .templates_service()
                    .template_service(template_id)
                    .get()
                ),
            )
        except EngineNotFound:
            return False
        return True

    async def mark(self, domain: StorageDomain, *, backup: bool, correlation_id: str) -> None:
        """Marks a storage domain as one for backups, or takes the mark away; as it is already is fine.

        It is refused for one with disks of VMs that run (behaviour.md 62).
        """
        change = types.StorageDomain(backup=backup)
        await self._session.call(
            f"change storage domain {domain.name}",
            lambda system: system.storage_domains_service().storage_domain_service(domain.id).update(change),
            correlation_id=correlation_id,
        )

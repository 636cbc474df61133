"""Templates: create from a VM, remove and read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ovirtsdk4 import types

from ovirt_provision.clock import Clock
from ovirt_provision.engine.account import Need
from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Template
from ovirt_provision.engine.session import Session

# Of one template, in one search.
_MOST_VERSIONS = 100


@dataclass(frozen=True)
class DiskCopy:
    """What is to differ in the template's copy of a disk of the VM; empty means as it is there.

    `format` is cow or raw, and `sparse` counts only with it.
    """

    id: str
    domain_id: str = ""
    format: str = ""
    sparse: bool = True


@dataclass(frozen=True)
class TemplateRequest:
    """A template to make from a VM, or with `base_id` the next version of that template.

    Without `clone_permissions` who may do what with the VM is not copied.
    """

    name: str
    vm_id: str
    comment: str
    description: str = ""
    seal: bool = False
    base_id: str = ""
    version_name: str = ""
    clone_permissions: bool = False
    disks: Sequence[DiskCopy] = ()
    cluster_id: str = ""  # of the VM, to tell which permit is missing


def needs_of_template(cluster_id: str) -> Sequence[Need]:
    """What the engine asks of who makes a template of a VM of a cluster. Source: `AddVmTemplateCommand`."""
    return [Need("create_template", "data center", "", cluster_id=cluster_id)]


def needs_of_ova(template: Template) -> Sequence[Need]:
    """What the engine asks of who writes a template to a file of a host. Source:
    `ExportVmTemplateToOvaCommand`."""
    return [Need("import_export_vm", "template", template.id, template.name)]


def needs_of_export(domain_id: str) -> Sequence[Need]:
    """What the engine asks of who copies a template to an export domain. Source:
    `MoveOrCopyTemplateCommand`."""
    return [Need("import_export_vm", "storage domain", domain_id)]


class Templates:
    """The templates of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session, clock: Clock, recent: float) -> None:
        """`recent` is for how many seconds a reading may be used again where that is good enough."""
        self._session = session
        self._clock = clock
        self._recent = recent
        self._batches: dict[str, Batch[list[Template]]] = {}
        self._remembered: dict[tuple[str, str], tuple[float, list[Template]]] = {}

    async def recent_versions_of(self, name: str, *, follow: str = "") -> list[Template]:
        """As `versions_of`, maybe from a moment ago, but never from before a change that we have made."""
        read_at, versions = self._remembered.get((name, follow), (float("-inf"), []))
        if not versions or self._clock.monotonic() - read_at > self._recent:
            read_at, remembered = self._clock.monotonic(), self._remembered
            versions = await self.versions_of(name, follow=follow)
            remembered[name, follow] = (read_at, versions)
        return versions

    def forget(self) -> None:
        """What was remembered is out of date. A reading under way is not remembered either."""
        self._remembered = {}

    async def get(self, template_id: str, *, follow: str = "", all_content: bool = False) -> Template | None:
        """The template version with that id, or None; its initialization only with `all_content`."""
        query = {"all_content": "true"} if all_content else None
        try:
            template = await self._session.call(
                f"read template {template_id}",
                lambda system: (
                    system.templates_service()
                    .template_service(template_id)
                    .get(follow=follow or None, query=query)
                ),
            )
        except EngineNotFound:
            return None
        return Template.of(template)

    async def search(self, query: str, *, follow: str = "", max_rows: int = 100) -> list[Template]:
        """The template versions that match a search expression."""
        found = await self._session.call(
            f"search templates by {query or 'nothing'}",
            lambda system: system.templates_service().list(
                search=query or None, follow=follow or None, max=max_rows
            ),
        )
        return [Template.of(template) for template in found]

    async def versions_of(self, name: str, *, follow: str = "") -> list[Template]:
        """All versions of the template with exactly that name, newest first; read together with what others
        ask for at the same time."""
        if follow not in self._batches:
            self._batches[follow] = Batch(lambda names: self._versions_of_all(names, follow), most=20)
        return await self._batches[follow].get(name)

    async def _versions_of_all(self, names: Sequence[str], follow: str) -> dict[str, list[Template]]:
        query = " or ".join(f'name="{name}"' for name in names)
        found = await self.search(query, follow=follow, max_rows=_MOST_VERSIONS * len(names))
        newest_first = sorted(found, key=lambda template: template.version, reverse=True)
        return {name: [one for one in newest_first if one.name == name] for name in names}

    async def create(self, wanted: TemplateRequest, *, correlation_id: str) -> Template:
        """Sends the create request once.

        Never with an id: the engine takes it for the id of the source VM (behaviour.md 39). The comment is
        always sent, because the template would inherit the VM's. Nothing keeps a second request for a version
        from making another one (behaviour.md, identity).
        """
        source = types.Vm(id=wanted.vm_id)
        if wanted.disks:
            source.disk_attachments = [types.DiskAttachment(disk=_copied(disk)) for disk in wanted.disks]
        template = types.Template(
            name=wanted.name, comment=wanted.comment, description=wanted.description, vm=source
        )
        if wanted.base_id:
            template.version = types.TemplateVersion(
                base_template=types.Template(id=wanted.base_id), version_name=wanted.version_name or None
            )
        self.forget()
        created = await self._session.call(
            f"create template {wanted.name}",
            lambda system: system.templates_service().add(
                template, seal=wanted.seal or None, clone_permissions=wanted.clone_permissions or None
            ),
            correlation_id=correlation_id,
            once=True,
            needs=needs_of_template(wanted.cluster_id) if wanted.cluster_id else (),
        )
        return Template.of(created)

    async def rename(self, template_id: str, name: str, *, correlation_id: str) -> None:
        """Gives a template and all its versions a name (behaviour.md 25); it may have that already."""
        self.forget()
        await self._session.call(
            f"rename template {template_id} to {name}",
            lambda system: (
                system.templates_service().template_service(template_id).update(types.Template(name=name))
            ),
            correlation_id=correlation_id,
            needs=[Need("edit_template_properties", "template", template_id)],
        )

    async def add_tag(self, template_id: str, tag_id: str, *, correlation_id: str) -> None:
        """Gives a template a tag; one that it has already is fine (behaviour.md 43)."""
        self.forget()
        await self._session.call(
            f"tag template {template_id}",
            lambda system: (
                system.templates_service()
                .template_service(template_id)
                .tags_service()
                .add(types.Tag(id=tag_id))
            ),
            correlation_id=correlation_id,
        )

    async def export_to_host(
        self, template: Template, host_id: str, directory: str, file_name: str, *, correlation_id: str
    ) -> None:
        """Has a host begin to write a template to an OVA file. Nothing keeps a second request from writing to
        the same file at the same time: the engine's lock is shared (`ExportVmTemplateToOvaCommand`)."""
        await self._export(
            template,
            lambda service: service.export_to_path_on_host(
                host=types.Host(id=host_id), directory=directory, filename=file_name
            ),
            needs_of_ova(template),
            correlation_id,
        )

    async def export_to_domain(
        self, template: Template, domain_id: str, *, replace: bool, correlation_id: str
    ) -> None:
        """Has the engine begin to copy a template to an export domain; with `replace` over what is there."""
        await self._export(
            template,
            lambda service: service.export(
                exclusive=replace, storage_domain=types.StorageDomain(id=domain_id)
            ),
            needs_of_export(domain_id),
            correlation_id,
        )

    async def _export(
        self, template: Template, ask: Callable[[Any], Any], needs: Sequence[Need], correlation_id: str
    ) -> None:
        self.forget()
        await self._session.call(
            f"export template {template.name}",
            lambda system: ask(system.templates_service().template_service(template.id)),
            correlation_id=correlation_id,
            once=True,
            needs=needs,
        )

    async def remove(self, template_id: str, name: str, *, correlation_id: str) -> None:
        """Removes a template version; gone already is fine."""
        self.forget()
        try:
            await self._session.call(
                f"remove template {name}",
                lambda system: system.templates_service().template_service(template_id).remove(),
                correlation_id=correlation_id,
                needs=[Need("delete_template", "template", template_id, name)],
            )
        except EngineNotFound:
            return


def _copied(disk: DiskCopy) -> types.Disk:
    copied = types.Disk(id=disk.id)
    if disk.domain_id:
        copied.storage_domains = [types.StorageDomain(id=disk.domain_id)]
    if disk.format:
        copied.format, copied.sparse = types.DiskFormat(disk.format), disk.sparse
    return copied

"""Templates: create from a VM, remove and read."""

from ovirtsdk4 import types

from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Template
from ovirt_provision.engine.session import Session


class Templates:
    """The templates of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, template_id: str, *, follow: str = "") -> Template | None:
        """The template version with that id, or None."""
        try:
            template = await self._session.call(
                f"read template {template_id}",
                lambda system: (
                    system.templates_service().template_service(template_id).get(follow=follow or None)
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
        """All versions of the template with exactly that name, newest first."""
        found = await self.search(f'name="{name}"', follow=follow)
        return sorted((t for t in found if t.name == name), key=lambda t: t.version, reverse=True)

    async def create(
        self,
        name: str,
        *,
        vm_id: str,
        comment: str,
        description: str,
        seal: bool,
        correlation_id: str,
        base_id: str = "",
        version_name: str = "",
    ) -> Template:
        """Sends the create request once.

        Never with an id: the engine takes it for the id of the source VM (behaviour.md 39). The comment is
        always sent, because the template would inherit the VM's. With `base_id` it is the next version of
        that template, and nothing keeps a second request from making another one (behaviour.md, identity).
        """
        template = types.Template(name=name, comment=comment, description=description, vm=types.Vm(id=vm_id))
        if base_id:
            template.version = types.TemplateVersion(
                base_template=types.Template(id=base_id), version_name=version_name or None
            )
        created = await self._session.call(
            f"create template {name}",
            lambda system: system.templates_service().add(template, seal=seal or None),
            correlation_id=correlation_id,
            once=True,
        )
        return Template.of(created)

    async def remove(self, template_id: str, name: str, *, correlation_id: str) -> None:
        """Removes a template version; gone already is fine."""
        try:
            await self._session.call(
                f"remove template {name}",
                lambda system: system.templates_service().template_service(template_id).remove(),
                correlation_id=correlation_id,
            )
        except EngineNotFound:
            return

"""Templates: create from a VM, remove and read."""

from collections.abc import Sequence

from ovirtsdk4 import types

from ovirt_provision.clock import Clock
from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Template
from ovirt_provision.engine.session import Session

# Of one template, in one search.
_MOST_VERSIONS = 100


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
        self.forget()
        created = await self._session.call(
            f"create template {name}",
            lambda system: system.templates_service().add(template, seal=seal or None),
            correlation_id=correlation_id,
            once=True,
        )
        return Template.of(created)

    async def remove(self, template_id: str, name: str, *, correlation_id: str) -> None:
        """Removes a template version; gone already is fine."""
        self.forget()
        try:
            await self._session.call(
                f"remove template {name}",
                lambda system: system.templates_service().template_service(template_id).remove(),
                correlation_id=correlation_id,
            )
        except EngineNotFound:
            return

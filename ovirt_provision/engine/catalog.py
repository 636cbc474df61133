"""Where a request wants its Machine: template and cluster, looked up before the first effect."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ovirtsdk4 import types

from ovirt_provision.clock import Clock
from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Cluster, Template, VnicProfile
from ovirt_provision.engine.session import Session
from ovirt_provision.engine.templates import Templates
from ovirt_provision.errors import Violation, did_you_mean

# For how many seconds a cluster is taken to have the name that it was read with, and to be there: the engine
# refuses what is asked of one that is gone.
_CLUSTER_KNOWN = 60.0


@dataclass(frozen=True)
class Placement:
    """What a request refers to, as far as there is such a thing; `violations` tells of the rest."""

    template: Template | None
    cluster: Cluster | None
    violations: Sequence[Violation]


@dataclass
class Wanted:
    """References as the user gave them, with the paths of their fields."""

    template_id: str = ""
    template_name: str = ""
    template_version: int = 0
    cluster: str = ""
    # Whether the template's NICs are to be read as well.
    with_nics: bool = False
    # Which of the engine's templates and clusters a near miss may name.
    tells_template: Callable[[str], bool] = lambda _name: True
    tells_cluster: Callable[[str], bool] = lambda _name: True


class Catalog:
    """Looks up templates, clusters and vNIC profiles of one engine."""

    def __init__(self, session: Session, templates: Templates, clock: Clock) -> None:
        self._session = session
        self._templates = templates
        self._clock = clock
        self._clusters_by_id: Batch[Cluster | None] = Batch(self._read_clusters)
        self._known_clusters: dict[str, tuple[float, Cluster]] = {}

    async def resolve(self, wanted: Wanted) -> Placement:
        """Finds the template and the cluster."""
        violations: list[Violation] = []
        template = await self._template(wanted, violations)
        cluster = await self._cluster(wanted, template, violations)
        return Placement(template, cluster, violations)

    async def _template(self, wanted: Wanted, violations: list[Violation]) -> Template | None:
        follow = "disk_attachments.disk,nics" if wanted.with_nics else "disk_attachments.disk"
        if wanted.template_id:
            template = await self._templates.get(wanted.template_id, follow=follow)
            if template is None:
                violations.append(
                    Violation(
                        "spec.template.id", f"the engine has no template with the id {wanted.template_id}"
                    )
                )
            return self._usable(template, "spec.template.id", violations)
        versions = await self._templates.recent_versions_of(wanted.template_name, follow=follow)
        if not versions:
            found = await self._templates.search("", max_rows=1000)
            names = {template.name for template in found if wanted.tells_template(template.name)}
            violations.append(
                Violation("spec.template.name", _unknown("template", wanted.template_name, names))
            )
            return None
        if not wanted.template_version:
            # One that is still being made, or has failed, keeps nobody from the version before.
            ready = [version for version in versions if version.status == "ok"]
            return self._usable((ready or versions)[0], "spec.template.name", violations)
        for version in versions:
            if version.version == wanted.template_version:
                return self._usable(version, "spec.template.version", violations)
        known = ", ".join(str(version.version) for version in reversed(versions))
        violations.append(
            Violation(
                "spec.template.version",
                f"template '{wanted.template_name}' has no version {wanted.template_version}; it has {known}",
            )
        )
        return None

    @staticmethod
    def _usable(template: Template | None, field_path: str, violations: list[Violation]) -> Template | None:
        if template is not None and template.status != "ok":
            violations.append(
                Violation(
                    field_path, f"template '{template.name}' ({template.id}) is {template.status}, not ok"
                )
            )
        return template

    async def _cluster(
        self, wanted: Wanted, template: Template | None, violations: list[Violation]
    ) -> Cluster | None:
        if wanted.cluster:
            found = await self._clusters(f'name="{wanted.cluster}"')
            for cluster in found:
                if cluster.name == wanted.cluster:
                    return cluster
            known = {
                cluster.name for cluster in await self._clusters("") if wanted.tells_cluster(cluster.name)
            }
            violations.append(Violation("spec.cluster", _unknown("cluster", wanted.cluster, known)))
            return None
        if template is None:
            return None
        if not template.cluster_id:
            violations.append(
                Violation(
                    "spec.cluster", f"is needed: template '{template.name}' belongs to no cluster of its own"
                )
            )
            return None
        own = await self.cluster(template.cluster_id)
        if own is None:
            violations.append(
                Violation("spec.cluster", f"is needed: you may not see the cluster of '{template.name}'")
            )
        return own

    async def cluster(self, cluster_id: str) -> Cluster | None:
        """The cluster with that id, as it was read a moment ago; None for one that cannot be seen."""
        read_at, remembered = self._known_clusters.get(cluster_id, (float("-inf"), None))
        if remembered is not None and self._clock.monotonic() - read_at < _CLUSTER_KNOWN:
            return remembered
        read_at = self._clock.monotonic()
        found = await self._clusters_by_id.get(cluster_id)
        if found is not None:
            self._known_clusters[cluster_id] = (read_at, found)
        return found

    async def _read_clusters(self, ids: Sequence[str]) -> dict[str, Cluster | None]:
        """Clusters by id, each read once for all who ask at the same time; there are few."""
        found: dict[str, Cluster | None] = dict.fromkeys(ids)
        for cluster_id in ids:
            try:
                cluster = await self._session.call(
                    "read the template's cluster",
                    lambda system, cluster_id=cluster_id: (  # type: ignore[misc]
                        system.clusters_service().cluster_service(cluster_id).get()
                    ),
                )
            except EngineNotFound:
                continue
            found[cluster_id] = Cluster.of(cluster)
        return found

    async def _clusters(self, query: str) -> list[Cluster]:
        found = await self._session.call(
            "read the clusters", lambda system: system.clusters_service().list(search=query or None)
        )
        return [Cluster.of(cluster) for cluster in found]

    async def vnic_profiles(self, cluster: Cluster | None) -> list[VnicProfile]:
        """The vNIC profiles of the networks of a cluster.

        Without one, which is then reported already, those of all networks, so that a misspelt profile is told
        as well. The engine has no search for vNIC profiles: it answers with an empty list (behaviour.md 57).
        """
        where = f"networks of cluster '{cluster.name}'" if cluster else "all networks"
        found = await self._session.call(
            f"read the {where}",
            lambda system: (
                system.clusters_service().cluster_service(cluster.id).networks_service().list()
                if cluster
                else system.networks_service().list()
            ),
        )
        networks = {network.id: network.name for network in found}
        return [
            VnicProfile(
                profile.id,
                profile.name,
                networks[profile.network.id],
                bool(profile.pass_through and profile.pass_through.mode == types.VnicPassThroughMode.ENABLED),
            )
            for profile in await self._session.call(
                "read the vNIC profiles", lambda system: system.vnic_profiles_service().list()
            )
            if profile.network and profile.network.id in networks
        ]


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"no {kind} '{name}'{did_you_mean(name, known)}"

"""What a request refers to by name: looked up before the first effect, all that is wrong reported at once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ovirt_provision.clock import Clock
from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Template
from ovirt_provision.engine.session import Session
from ovirt_provision.engine.templates import Templates
from ovirt_provision.errors import ReferencesNotFound, Violation, did_you_mean

# For how many seconds a cluster is taken to have the name that it was read with, and to be there: the engine
# refuses what is asked of one that is gone.
_CLUSTER_KNOWN = 60.0


@dataclass(frozen=True)
class Placement:
    """A request's references, resolved to ids. `vnic_profile_ids` are in the order of the request's NICs."""

    template: Template
    cluster_id: str
    cluster_name: str
    vnic_profile_ids: Sequence[str]


@dataclass(frozen=True)
class _Cluster:
    id: str
    name: str


@dataclass
class Wanted:
    """References as the user gave them, with the paths of their fields."""

    template_id: str = ""
    template_name: str = ""
    template_version: int = 0
    cluster: str = ""
    vnic_profiles: Sequence[str] = field(default_factory=tuple)
    # Which of the engine's templates and clusters a near miss may name.
    tells_template: Callable[[str], bool] = lambda _name: True
    tells_cluster: Callable[[str], bool] = lambda _name: True


class Catalog:
    """Looks up templates, clusters and vNIC profiles of one engine."""

    def __init__(self, session: Session, templates: Templates, clock: Clock) -> None:
        self._session = session
        self._templates = templates
        self._clock = clock
        self._clusters_by_id: Batch[_Cluster | None] = Batch(self._read_clusters)
        self._known_clusters: dict[str, tuple[float, _Cluster]] = {}

    async def resolve(self, wanted: Wanted) -> Placement:
        """Finds everything that is wanted.

        Raises ReferencesNotFound with a violation for each reference that does not exist or is not unique.
        """
        violations: list[Violation] = []
        template = await self._template(wanted, violations)
        cluster = await self._cluster(wanted, template, violations)
        profiles = await self._vnic_profiles(wanted.vnic_profiles, cluster, violations)
        if violations or template is None or cluster is None:
            raise ReferencesNotFound(violations)
        return Placement(template, cluster.id, cluster.name, profiles)

    async def _template(self, wanted: Wanted, violations: list[Violation]) -> Template | None:
        follow = "disk_attachments.disk"
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
    ) -> _Cluster | None:
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
        read_at, remembered = self._known_clusters.get(template.cluster_id, (float("-inf"), None))
        if remembered is not None and self._clock.monotonic() - read_at < _CLUSTER_KNOWN:
            return remembered
        read_at = self._clock.monotonic()
        cluster_found = await self._clusters_by_id.get(template.cluster_id)
        if cluster_found is None:
            violations.append(
                Violation("spec.cluster", f"is needed: you may not see the cluster of '{template.name}'")
            )
        else:
            self._known_clusters[template.cluster_id] = (read_at, cluster_found)
        return cluster_found

    async def _read_clusters(self, ids: Sequence[str]) -> dict[str, _Cluster | None]:
        """Clusters by id, each read once for all who ask at the same time; there are few."""
        found: dict[str, _Cluster | None] = dict.fromkeys(ids)
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
            found[cluster_id] = _Cluster(cluster.id, cluster.name)
        return found

    async def _clusters(self, query: str) -> list[_Cluster]:
        found = await self._session.call(
            "read the clusters", lambda system: system.clusters_service().list(search=query or None)
        )
        return [_Cluster(cluster.id, cluster.name) for cluster in found]

    async def _vnic_profiles(
        self, names: Sequence[str], cluster: _Cluster | None, violations: list[Violation]
    ) -> list[str]:
        """Ids of vNIC profiles by `profile` or `network/profile`, among the networks of the cluster.

        Without a cluster, which is then reported already, all networks count, so that a misspelt profile is
        still told. The engine has no search for vNIC profiles: it answers with an empty list (behaviour.md
        57).
        """
        if not names:
            return []
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
        profiles = [
            (profile.id, networks[profile.network.id], profile.name)
            for profile in await self._session.call(
                "read the vNIC profiles", lambda system: system.vnic_profiles_service().list()
            )
            if profile.network and profile.network.id in networks
        ]
        ids = []
        for index, name in enumerate(names):
            path = f"spec.nics[{index}].vnic_profile"
            matches = [p for p in profiles if name in (p[2], f"{p[1]}/{p[2]}")]
            if len(matches) == 1:
                ids.append(matches[0][0])
            elif matches and cluster:
                choices = ", ".join(sorted(f"{network}/{profile}" for _, network, profile in matches))
                violations.append(
                    Violation(path, f"'{name}' names several vNIC profiles: {choices}; name one of these")
                )
            elif not matches:
                known = {p[2] for p in profiles} | {f"{p[1]}/{p[2]}" for p in profiles}
                violations.append(
                    Violation(path, f"{_unknown('vNIC profile', name, known)} (looked in {where})")
                )
        return ids


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"no {kind} '{name}'{did_you_mean(name, known)}"

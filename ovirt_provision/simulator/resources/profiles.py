"""`/diskprofiles` and `/cpuprofiles`: one of each storage domain and cluster."""

from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    find_or_404,
    links,
    reference,
)
from ovirt_provision.simulator.entities import Cluster, StorageDomain
from ovirt_provision.simulator.markup import Element, node

routes = Routes()


def _profile(tag: str, path: str, identity: str, name: str, owner: Element) -> Element:
    path = f"{path}/{identity}"
    return node(
        tag, None, node("name", name), *links(path, ["permissions"]), owner, href=BASE + path, id=identity
    )


def render_disk_profile(domain: StorageDomain) -> Element:
    owner = reference("storage_domain", "/storagedomains", domain.id)
    path = f"/storagedomains/{domain.id}/diskprofiles"
    return _profile("disk_profile", path, domain.profile_id, domain.name, owner)


def render_cpu_profile(cluster: Cluster) -> Element:
    owner = reference("cluster", "/clusters", cluster.id)
    path = f"/clusters/{cluster.id}/cpuprofiles"
    return _profile("cpu_profile", path, cluster.cpu_profile_id, cluster.name, owner)


@routes.add("GET", "/diskprofiles")
def list_disk_profiles(request: Request) -> Reply:
    return collection(request, "disk_profiles", list(request.world.domains.values()), render_disk_profile)


@routes.add("GET", "/storagedomains/{domain}/diskprofiles")
def list_disk_profiles_of_domain(request: Request, domain: str) -> Reply:
    rows = [one for one in request.world.domains.values() if one.id == domain]
    return collection(request, "disk_profiles", rows, render_disk_profile)


@routes.add("GET", "/diskprofiles/{profile}")
def show_disk_profile(request: Request, profile: str) -> Reply:
    domains = {one.profile_id: one for one in request.world.domains.values()}
    return Reply(200, render_disk_profile(find_or_404(domains, profile)))


@routes.add("GET", "/storagedomains/{domain}/diskprofiles/{profile}")
def show_disk_profile_of_domain(request: Request, domain: str, profile: str) -> Reply:
    domains = {one.profile_id: one for one in request.world.domains.values() if one.id == domain}
    return Reply(200, render_disk_profile(find_or_404(domains, profile)))


@routes.add("GET", "/cpuprofiles")
def list_cpu_profiles(request: Request) -> Reply:
    return collection(request, "cpu_profiles", list(request.world.clusters.values()), render_cpu_profile)


@routes.add("GET", "/clusters/{cluster}/cpuprofiles")
def list_cpu_profiles_of_cluster(request: Request, cluster: str) -> Reply:
    rows = [one for one in request.world.clusters.values() if one.id == cluster]
    return collection(request, "cpu_profiles", rows, render_cpu_profile)


@routes.add("GET", "/cpuprofiles/{profile}")
def show_cpu_profile(request: Request, profile: str) -> Reply:
    clusters = {one.cpu_profile_id: one for one in request.world.clusters.values()}
    return Reply(200, render_cpu_profile(find_or_404(clusters, profile)))


@routes.add("GET", "/clusters/{cluster}/cpuprofiles/{profile}")
def show_cpu_profile_of_cluster(request: Request, cluster: str, profile: str) -> Reply:
    clusters = {one.cpu_profile_id: one for one in request.world.clusters.values() if one.id == cluster}
    return Reply(200, render_cpu_profile(find_or_404(clusters, profile)))

"""Look-ups that change nothing: templates, disks and networks by name, regular expression, tags and age.

Each reads the engine in a few requests, whatever it has, and picks in memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import re2

from ovirt_provision.engine import Engine
from ovirt_provision.engine.model import Disk, Network, Template
from ovirt_provision.errors import (
    Ambiguous,
    InvalidRequest,
    NothingFound,
    Violation,
    did_you_mean,
)

T = TypeVar("T")

_MOST = 10_000
_MOST_CANDIDATES = 10


@dataclass(frozen=True)
class Named:
    """Which names count: one, those in which a regular expression is found, or all."""

    name: str = ""
    regex: str = ""

    def test(self) -> Callable[[str], bool]:
        """Raises InvalidRequest for what is no regular expression of RE2, which takes linear time."""
        name = self.name
        if name:
            return lambda known: known == name
        if not self.regex:
            return lambda _: True
        options = re2.Options()
        options.log_errors = False
        try:
            pattern = re2.compile(self.regex, options)
        except re2.error as error:
            told = error.args[0] if error.args else ""
            said = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
            raise InvalidRequest(
                [Violation("name_regex", f"'{self.regex}' is no regular expression (RE2): {said}")]
            ) from None
        return lambda known: pattern.search(known) is not None

    def __str__(self) -> str:
        if self.name:
            return f"named '{self.name}'"
        return f"whose name matches '{self.regex}'" if self.regex else "at all"


async def list_templates(
    engine: Engine,
    named: Named,
    *,
    tags: Sequence[str],
    latest: bool,
    may_see: Callable[[str], bool],
    follow: str = "",
) -> list[Template]:
    """Templates by name and version. With `latest` only the newest of each name that is ok; `may_see` says of
    which names the caller may know. `follow` as in the oVirt API."""
    test = named.test()
    follow = ",".join(dict.fromkeys([*(["tags"] if tags else []), *([follow] if follow else [])]))
    if named.name:
        found = await engine.templates.versions_of(named.name, follow=follow)
    else:
        found = await engine.templates.search("", max_rows=_MOST, follow=follow)
    found = [
        template
        for template in found
        if test(template.name) and may_see(template.name) and set(tags) <= set(template.tags)
    ]
    found.sort(key=lambda template: (template.name, template.version, template.id))
    if latest:
        newest = {template.name: template for template in found if template.status == "ok"}
        found = list(newest.values())
    return found


async def find_template(
    engine: Engine,
    named: Named,
    *,
    tags: Sequence[str],
    latest: bool,
    version: int,
    counts: Callable[[Template], bool],
    may_see: Callable[[str], bool],
) -> Template:
    """The one template version that is described. Raises NothingFound and Ambiguous.

    `latest` is the one that was made last of those that are ok; `counts` says which count beside the rest.
    """
    listed = await list_templates(engine, named, tags=tags, latest=False, may_see=may_see)
    found = [
        template
        for template in listed
        if counts(template) and version in (0, template.version) and (template.status == "ok" or not latest)
    ]
    if latest and found:
        found = [max(found, key=lambda template: (template.created_at, template.version))]
    if not found and not listed and named.name:
        known = {template.name for template in await engine.templates.search("", max_rows=_MOST)}
        raise NothingFound(
            kind="template",
            described=str(named),
            near=did_you_mean(named.name, filter(may_see, known)),
        )
    described = [
        str(named),
        *([f"of version {version}"] if version else []),
        *([f"with the tags {', '.join(tags)}"] if tags else []),
        *(["that is ok"] if latest else []),
    ]
    return _only(
        "template",
        " ".join(described),
        found,
        lambda template: f"{template.name}:{template.version} ({template.id})",
        hint="" if latest else ", or ask for the latest",
    )


async def list_disks(
    engine: Engine, named: Named, *, content_type: str, counts: Callable[[Disk], bool]
) -> list[Disk]:
    """Disks by name; `content_type` is that of the engine, empty for any."""
    test = named.test()
    found = [
        disk
        for disk in await engine.disks.search("", max_rows=_MOST)
        if test(disk.name) and content_type in ("", disk.content_type) and counts(disk)
    ]
    return sorted(found, key=lambda disk: (disk.name, disk.id))


async def find_disk(
    engine: Engine,
    named: Named,
    *,
    content_type: str,
    counts: Callable[[Disk], bool],
    made_at: Callable[[Disk], float] | None,
) -> Disk:
    """The one disk that is described, or with `made_at` the one for which that is the latest. Raises
    NothingFound and Ambiguous."""
    found = await list_disks(engine, named, content_type=content_type, counts=counts)
    if made_at is not None and found:
        found = [max(found, key=made_at)]
    if not found and named.name:
        known = {disk.name for disk in await list_disks(engine, Named(), content_type="", counts=counts)}
        raise NothingFound(kind="disk", described=str(named), near=did_you_mean(named.name, known))
    described = f"{named} of the type {content_type}" if content_type else str(named)
    return _only("disk", described, found, lambda disk: f"{disk.name} ({disk.id})")


async def list_networks(engine: Engine, named: Named, *, data_center: str) -> list[Network]:
    """Networks for VMs by name; `data_center` is a name, empty for any."""
    test = named.test()
    found = [
        network
        for network in await engine.networks.for_vms()
        if test(network.name) and data_center in ("", network.data_center)
    ]
    return sorted(found, key=lambda network: (network.name, network.data_center, network.id))


async def find_network(engine: Engine, named: Named, *, data_center: str) -> Network:
    """The one network that is described. Raises NothingFound and Ambiguous."""
    found = await list_networks(engine, named, data_center=data_center)
    if not found and named.name:
        known = {network.name for network in await engine.networks.for_vms()}
        raise NothingFound(kind="network", described=str(named), near=did_you_mean(named.name, known))
    described = f"{named} in data center '{data_center}'" if data_center else str(named)
    return _only(
        "network",
        described,
        found,
        lambda network: f"{network.name} in data center {network.data_center} ({network.id})",
        hint="" if data_center else ", such as by its data center",
    )


def _only(kind: str, described: str, found: Sequence[T], shown: Callable[[T], str], *, hint: str = "") -> T:
    if not found:
        raise NothingFound(kind=kind, described=described, near="")
    if len(found) > 1:
        candidates = ", ".join(shown(one) for one in found[:_MOST_CANDIDATES])
        candidates += f" and {len(found) - _MOST_CANDIDATES} more" if len(found) > _MOST_CANDIDATES else ""
        raise Ambiguous(kind=kind, count=len(found), candidates=candidates, hint=hint)
    return found[0]

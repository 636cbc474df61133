"""The examination of an engine: what would keep Machines from being made. It changes nothing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ovirt_provision.clock import Clock
from ovirt_provision.engine import Engine
from ovirt_provision.engine.account import role_for
from ovirt_provision.engine.inventory import About, Grant
from ovirt_provision.engine.model import BLANK, Template
from ovirt_provision.errors import (
    EngineCertificateInvalid,
    EngineSessionExpired,
    EngineUnreachable,
    ProvisionError,
)
from ovirt_provision.images.errors import QemuImgMissing
from ovirt_provision.images.qemu_img import missing
from ovirt_provision.ledger.store import PRESENT, REMOVING, Ledger
from ovirt_provision.operations.census import AWAITING_ENGINE, LEAKED, MISSING, take_census

T = TypeVar("T")

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"

# Seconds that the engine's clock may differ from ours.
CLOCK_SKEW = 30.0
# Days before the certificate expires at which it becomes a warning.
CERTIFICATE_DAYS = 14
_GIB = 1 << 30
_MAX_NAMES = 5

# What each verb asks of an administrator's roles, beyond making VMs and templates. Everybody else is the
# manager of what they make. Source: the engine's `ActionType` and `shouldMakeCreatorExplicitOwner`.
_PERMITS_OF_VERBS = {
    "CreateMachine": ("run_vm", "configure_vm_network", "configure_vm_storage"),
    "CloneMachine": ("manipulate_vm_snapshots",),
    "StartMachine": ("run_vm",),
    "StopMachine": ("shut_down_vm", "stop_vm"),
    "DestroyMachine": ("delete_vm",),
    "DestroyTemplate": ("delete_template",),
    "ExportTemplate": ("import_export_vm",),
    "DetachDisk": ("configure_vm_storage", "edit_disk_properties"),
    "DestroyDisk": ("delete_disk",),
    "SparsifyDisk": ("sparsify_disk",),
    "SendKeys": ("connect_to_vm",),
    "ImportImage": ("edit_disk_properties", "attach_disk", "configure_vm_storage", "delete_vm"),
}

# What each verb asks of everybody else on a VM or template that they have made.
_PERMITS_ON_OWN: Mapping[str, Mapping[str, Sequence[str]]] = {
    "vm": {
        "CloneMachine": ("manipulate_vm_snapshots",),
        "StartMachine": ("run_vm",),
        "StopMachine": ("shut_down_vm", "stop_vm"),
        "DestroyMachine": ("delete_vm",),
        "DetachDisk": ("configure_vm_storage",),
        "SparsifyDisk": ("sparsify_disk",),
        "SendKeys": ("connect_to_vm",),
    },
    "disk": {"DestroyDisk": ("delete_disk",)},
    "template": {"DestroyTemplate": ("delete_template",)},
}


@dataclass(frozen=True)
class Finding:
    """One line of the examination; the fields are those of `ovirt_provision.v1.Finding`."""

    name: str
    severity: str
    summary: str
    advice: str = ""


async def examine(engine: Engine, ledger: Ledger, installation: str, clock: Clock) -> Sequence[Finding]:
    """Examines an engine. What goes wrong with it is a finding too, so this raises none of the engine's
    errors."""
    findings, reachable = await _connection(engine)
    if not reachable:
        return findings
    try:
        about = await engine.inventory.about()
    except ProvisionError as error:
        return [*findings, _login_failed(engine, error)]
    findings.append(Finding("login", OK, f"logged in as {engine.username}"))
    findings.append(Finding("version", OK, f"oVirt Engine {about.version}"))
    findings.append(_clock(about, clock))
    findings.append(_images())
    examination = _Examination(engine, about)
    await examination.read_templates()
    parts = await asyncio.gather(
        examination.readable(),
        examination.account(ledger),
        examination.templates(),
        examination.leftovers(ledger, installation),
    )
    return findings + [finding for part in parts for finding in part]


def _images() -> Finding:
    absent = missing()
    if not absent:
        return Finding("images", OK, "images can be looked at and converted")
    text = f"the daemon's machine has no {' and no '.join(absent)}: images cannot be imported"
    return Finding("images", WARNING, text, QemuImgMissing.advice)


async def _connection(engine: Engine) -> tuple[list[Finding], bool]:
    if engine.url.startswith("http:"):
        text = f"{engine.url} has no TLS: the password goes over the network in the clear"
        return [Finding("certificate", WARNING, text, "Use https:// and remove `insecure`.")], True
    try:
        certificate = await engine.session.certificate()
    except EngineCertificateInvalid as error:
        reached = Finding("connection", OK, f"{engine.url} answers")
        return [reached, Finding("certificate", PROBLEM, str(error), error.what_to_do)], False
    except EngineUnreachable as error:
        return [Finding("connection", PROBLEM, str(error), error.what_to_do)], False
    findings = [Finding("connection", OK, f"{engine.url} answers")]
    days = int(certificate.seconds_left // 86400)
    expiry = f"expires in {days} days" if days >= 0 else "has expired"
    if engine.session.insecure:
        findings.append(
            Finding(
                "certificate",
                WARNING,
                f"is not verified, since the profile is `insecure`; it {expiry}",
                "Fetch the engine's CA with `ovirt-provision engine trust`, name it in `ca_file` and remove "
                "`insecure`.",
            )
        )
    elif days < CERTIFICATE_DAYS:
        findings.append(
            Finding(
                "certificate",
                WARNING,
                f"{certificate.subject} verifies, but {expiry}",
                "Renew it with `engine-setup --offline` on the engine's machine.",
            )
        )
    else:
        text = f"{certificate.subject} verifies and {expiry} (issued by {certificate.issuer})"
        findings.append(Finding("certificate", OK, text))
    return findings, True


def _login_failed(engine: Engine, error: ProvisionError) -> Finding:
    if isinstance(error, EngineSessionExpired):
        # The token is a moment old, so what the API refuses is the user (behaviour.md 3).
        return Finding(
            "login",
            PROBLEM,
            f"{engine.username} may log in, but not use the API",
            "Give the account a role with the permit login, such as PowerUserRole on a data center.",
        )
    text = f"{error}: {error.engine_text}" if error.engine_text not in str(error) else str(error)
    return Finding("login", PROBLEM, text, error.what_to_do)


def _clock(about: About, clock: Clock) -> Finding:
    skew = about.time - clock.time()
    if abs(skew) <= CLOCK_SKEW:
        return Finding("clock", OK, f"the engine's clock is within {CLOCK_SKEW:g} s of the daemon's")
    return Finding(
        "clock",
        WARNING,
        f"the engine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the daemon's",
        "Let both machines take their time by NTP: dates of events and operations cannot be compared.",
    )


class _Examination:
    """What is left once the log-in has worked; each method makes a few findings."""

    def __init__(self, engine: Engine, about: About) -> None:
        self._engine = engine
        self._about = about
        self._templates: list[Template] = []
        self._templates_error: ProvisionError | None = None

    async def read_templates(self) -> None:
        """The templates but for Blank, with their disks; what goes wrong is told by `templates`."""
        try:
            found = await self._engine.templates.search("", follow="disk_attachments.disk", max_rows=1000)
        except ProvisionError as error:
            self._templates_error = error
        else:
            self._templates = [template for template in found if template.id != BLANK]

    async def readable(self) -> list[Finding]:
        inventory = self._engine.inventory
        return [
            await self._read("read-vms", "VMs", lambda: self._engine.machines.search("", max_rows=1)),
            await self._read(
                "read-templates",
                "templates",
                lambda: self._engine.templates.search("", max_rows=1),
                if_none="no template is to be seen, so there is nothing to make a Machine from",
            ),
            await self._read(
                "read-clusters",
                "clusters",
                inventory.clusters,
                if_none="no cluster is to be seen, so there is nowhere to make a Machine",
            ),
            await self._read(
                "read-vnic-profiles",
                "vNIC profiles",
                inventory.vnic_profiles,
                if_none="no vNIC profile is to be seen, so Machines cannot get a network of their own",
                severity_if_none=WARNING,
            ),
            await self._read(
                "read-events",
                "events",
                inventory.newest_event,
                severity=WARNING,
                loss="errors will lack the engine's reason, and waiting takes longer",
            ),
            await self._read(
                "read-jobs",
                "jobs",
                inventory.jobs,
                severity=WARNING,
                loss="that a job still runs is noticed only by what it has locked",
            ),
        ]

    async def _read(
        self,
        name: str,
        what: str,
        read: Callable[[], Awaitable[object]],
        *,
        severity: str = PROBLEM,
        loss: str = "",
        if_none: str = "",
        severity_if_none: str = PROBLEM,
    ) -> Finding:
        try:
            found = await read()
        except ProvisionError as error:
            return _unread(name, what, error, severity, loss)
        if if_none and not found:
            return Finding(
                name,
                severity_if_none,
                if_none,
                f"Make one, or give {self._engine.username} a role on those that there are.",
            )
        return Finding(name, OK, f"{what} can be read")

    async def account(self, ledger: Ledger) -> list[Finding]:
        try:
            grants: list[Grant] | None = await self._engine.inventory.grants(self._about.user_id)
        except ProvisionError:
            grants = None
        sees_all = grants is not None and any(
            grant.administrative and grant.scope == "system" for grant in grants
        )
        return [
            *self._permissions(grants),
            *self._verbs(grants, ledger),
            await self._hosts(sees_all=sees_all),
            await self._storage(sees_all=sees_all),
        ]

    def _permissions(self, grants: Sequence[Grant] | None) -> list[Finding]:
        if grants is None:
            advice = "Ask the engine's administrator, or try: what fails is undone."
            return [
                Finding(
                    name,
                    WARNING,
                    f"whether {what} may be made is not known: {self._who} may not look",
                    advice,
                )
                for name, what in (("create-vms", "VMs"), ("create-templates", "templates"))
            ]

        def roles(permit: str, *scopes: str) -> list[str]:
            return sorted(
                {
                    f"{grant.role} ({grant.scope.replace('_', ' ')})"
                    for grant in grants
                    if permit in grant.permits and grant.scope in ("system", "data_center", *scopes)
                }
            )

        vms, disks = roles("create_vm", "cluster"), roles("create_disk", "storage_domain")
        templates = roles("create_template")
        seen = {template.id for template in self._templates}
        usable = roles("create_vm") or [
            grant.role for grant in grants if "create_vm" in grant.permits and grant.object_id in seen
        ]
        if not vms:
            creates = Finding(
                "create-vms",
                PROBLEM,
                f"{self._who} may not make VMs: no role with the permit create_vm on a cluster",
                f"Give the account the role {role_for('create_vm', 'cluster')} on the cluster.",
            )
        elif seen and not usable:
            creates = Finding(
                "create-vms",
                PROBLEM,
                f"{self._who} may make VMs, but of no template: no role with the permit create_vm on one",
                f"Give the account the role {role_for('create_vm', 'template')} on the template.",
            )
        elif not disks:
            creates = Finding(
                "create-vms",
                WARNING,
                f"{self._who} may make VMs, but no disks: no role with the permit create_disk",
                "Give the account the role DiskCreator on the storage domain.",
            )
        else:
            creates = Finding("create-vms", OK, f"{self._who} may make VMs by {_some(vms)}")
        if templates:
            return [
                creates,
                *self._networks(grants),
                Finding("create-templates", OK, f"{self._who} may make templates by {_some(templates)}"),
            ]
        return [
            creates,
            *self._networks(grants),
            Finding(
                "create-templates",
                WARNING,
                f"{self._who} may not make templates: no role with the permit create_template",
                "To build templates, give the account the role TemplateCreator on the data center.",
            ),
        ]

    def _networks(self, grants: Sequence[Grant]) -> list[Finding]:
        """On vNIC profiles the engine does not tell where a role holds: any counts that may be on one. Of
        administrators `_verbs` tells."""
        own = ("vm", "template", "disk", "vm_pool")
        if any(grant.administrative for grant in grants):
            return []
        if any("configure_vm_network" in grant.permits and grant.scope not in own for grant in grants):
            return [Finding("use-networks", OK, f"{self._who} may connect NICs")]
        return [
            Finding(
                "use-networks",
                WARNING,
                f"{self._who} may not connect NICs: no role with the permit configure_vm_network on a vNIC "
                "profile",
                f"Give the account the role {role_for('configure_vm_network', 'vNIC profile')} on it.",
            )
        ]

    def _verbs(self, grants: Sequence[Grant] | None, ledger: Ledger) -> list[Finding]:
        """Which permit is missing for what."""
        if grants is None:
            return []
        if not any(grant.administrative for grant in grants):
            return [self._verbs_on_own(grants, ledger)]
        granted = {permit for grant in grants for permit in grant.permits}
        missing = [
            f"{verb} lacks {', '.join(lacking)}"
            for verb, permits in _PERMITS_OF_VERBS.items()
            if (lacking := [permit for permit in permits if permit not in granted])
        ]
        if not missing:
            return [Finding("verbs", OK, f"{self._who} has the permits of every verb")]
        advice = "Give the account a role with these permits, such as UserVmManager on the cluster."
        return [Finding("verbs", WARNING, "; ".join(missing), advice)]

    def _verbs_on_own(self, grants: Sequence[Grant], ledger: Ledger) -> Finding:
        """Who makes something manages it, unless somebody took that role away."""
        told = []
        roles = set()
        for row in ledger.list_objects(PRESENT, REMOVING, engine=self._engine.name):
            if row.parent_id is not None:
                continue
            above = ("system", "data_center", *(("cluster",) if row.kind == "vm" else ()))
            permits = {
                permit
                for grant in grants
                if grant.scope in above or grant.object_id == row.engine_id
                for permit in grant.permits
            }
            kind = {"vm": "VM"}.get(row.kind, row.kind)
            for verb, wanted in _PERMITS_ON_OWN.get(row.kind, {}).items():
                for permit in wanted:
                    if permit not in permits:
                        told.append(f"{verb} lacks {permit} on {kind} '{row.name}'")
                        roles.add(role_for(permit, kind))
        if not told:
            return Finding("verbs", OK, f"{self._who} manages what it makes, so every other verb is open")
        advice = f"Give the account the role {' and '.join(sorted(roles))} on what is named."
        return Finding("verbs", WARNING, _some(told), advice)

    @property
    def _who(self) -> str:
        return self._engine.username

    async def _hosts(self, *, sees_all: bool) -> Finding:
        advice = "Activate a host of the cluster, or add one, in the engine's Administration Portal."
        try:
            hosts = await self._engine.inventory.hosts()
            clusters = await self._engine.inventory.clusters()
        except ProvisionError as error:
            return _unread("hosts", "hosts", error, WARNING)
        if not hosts and not sees_all:
            return _hidden("hosts", "no host is to be seen, which may be for want of a role")
        up = [host for host in hosts if host.status == "up"]
        if not up:
            states = ", ".join(f"{host.name} is {host.status}" for host in hosts[:_MAX_NAMES])
            text = f"no host is up, so no Machine can start{f': {states}' if states else ''}"
            return Finding("hosts", PROBLEM, text, advice)
        served = {host.cluster_id for host in up}
        idle = sorted(name for cluster_id, name in clusters.items() if cluster_id not in served)
        text = f"{len(up)} of {len(hosts)} hosts are up"
        if idle and sees_all:
            return Finding("hosts", WARNING, f"{text}, none of them in cluster {_some(idle)}", advice)
        return Finding("hosts", OK, text)

    async def _storage(self, *, sees_all: bool) -> Finding:
        try:
            domains = await self._engine.inventory.data_domains()
        except ProvisionError as error:
            return _unread("storage", "storage domains", error, WARNING)
        if not domains and not sees_all:
            return _hidden("storage", "no storage domain is to be seen, which may be for want of a role")
        usable = [domain for domain in domains if not domain.unfit]
        if not usable:
            states = ", ".join(
                f"{domain.name} is {'for backups' if domain.backup else domain.status}"
                for domain in domains[:_MAX_NAMES]
            )
            return Finding(
                "storage",
                PROBLEM,
                f"no data domain is active, so no disk can be made{f': {states}' if states else ''}",
                "Activate a data domain of the data center in the engine's Administration Portal.",
            )
        full = [domain for domain in usable if domain.available <= domain.critical_space]
        low = [
            domain
            for domain in usable
            if domain.available * 100 < domain.low_space_percent * (domain.available + domain.used)
        ]
        free = ", ".join(
            f"{domain.name} has {domain.available / _GIB:.0f} GiB free"
            for domain in (full or low or usable)[:_MAX_NAMES]
        )
        advice = "Remove disks and templates that nobody needs, or extend the domain."
        if len(full) == len(usable):
            return Finding("storage", PROBLEM, f"full, and the engine refuses new disks: {free}", advice)
        if full or low:
            return Finding("storage", WARNING, f"nearly full: {free}", advice)
        return Finding("storage", OK, free)

    async def templates(self) -> list[Finding]:
        if self._templates_error is not None:
            return [_unread("templates", "templates", self._templates_error, WARNING)]
        own = self._templates
        illegal = sorted({template.name for template in own if template.status == "illegal"})
        empty = sorted({template.name for template in own if template.status == "ok" and not template.disks})
        usable = {template.name for template in own if template.status == "ok" and template.disks}
        if not usable:
            return [
                Finding(
                    "templates",
                    WARNING,
                    "no template has a disk that a Machine could boot from",
                    "Import one, such as a cloud image, in the engine's Administration Portal, or give the "
                    f"account the role {role_for('create_vm', 'template')} on one.",
                )
            ]
        text = f"{len(usable)} with disks"
        if illegal or empty:
            odd = [
                f"{_some(names)} {what}"
                for names, what in ((empty, "without a disk"), (illegal, "illegal"))
                if names
            ]
            return [
                Finding(
                    "templates",
                    WARNING,
                    f"{text}; {', '.join(odd)}",
                    "Machines of these do not start: make them anew, or remove them.",
                )
            ]
        return [Finding("templates", OK, text)]

    async def leftovers(self, ledger: Ledger, installation: str) -> list[Finding]:
        try:
            entries = await take_census(self._engine, ledger, installation)
        except ProvisionError as error:
            return [_unread("leftovers", "objects with our mark", error, WARNING)]
        counts = Counter(entry.finding for entry in entries)
        told = [
            f"{counts[finding]} {finding}"
            for finding in (LEAKED, MISSING, AWAITING_ENGINE)
            if counts[finding]
        ]
        if counts[LEAKED] or counts[MISSING]:
            return [Finding("leftovers", WARNING, ", ".join(told), "See `ovirt-provision census`.")]
        if told:
            return [Finding("leftovers", OK, f"{told[0]}: they go as soon as the engine lets go of them")]
        return [Finding("leftovers", OK, "nothing is left behind")]


def _unread(name: str, what: str, error: ProvisionError, severity: str, loss: str = "") -> Finding:
    text = f"{what} cannot be read: {error.engine_text or error}{f'; {loss}' if loss else ''}"
    advice = error.what_to_do or "Give the account a role that may read them, such as ReadOnlyAdmin."
    return Finding(name, severity, text, advice)


def _hidden(name: str, text: str) -> Finding:
    return Finding(
        name,
        WARNING,
        text,
        "Ask the engine's administrator; to look from here, it takes a role such as ReadOnlyAdmin.",
    )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")

"""The one typed error of the bridge: classes with fields, mapped once to gRPC (services/errors.py).

A class gives the code, a stable reason, the message as a template over its fields, and what to do about it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum
from typing import Any, ClassVar


class Code(IntEnum):
    """The gRPC status codes that we use, with their wire numbers, so that only services/ needs grpc."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a request: the field's path, and what was given, what is allowed, the near
    miss."""

    field: str
    description: str


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, compared without regard to case; empty when none is
    near."""
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(given.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""


def there_is(given: str, known: Iterable[str]) -> str:
    """As `did_you_mean`; when none is near, what there is, at most ten."""
    names = sorted(set(known))
    has = f"; there is {', '.join(names[:10])}" if names else "; none is to be seen"
    return did_you_mean(given, names) or has


class ProvisionError(Exception):
    """Base of all errors that reach a user.

    Subclasses take their fields as keyword arguments; `message` and `advice` are templates over them.
    """

    code: ClassVar[Code] = Code.UNKNOWN
    reason: ClassVar[str] = "UNKNOWN"
    message: ClassVar[str] = "{detail}"
    advice: ClassVar[str] = ""

    def __init__(
        self,
        *,
        phase: str = "",
        engine_text: str = "",
        correlation_id: str = "",
        violations: Sequence[Violation] = (),
        **fields: Any,
    ) -> None:
        super().__init__()
        self.phase = phase
        self.engine_text = engine_text
        self.correlation_id = correlation_id
        self.violations = tuple(violations)
        self.fields = fields

    def __str__(self) -> str:
        return self.message.format(**self.fields)

    @property
    def what_to_do(self) -> str:
        """The advice, filled in."""
        return self.advice.format(**self.fields)

    def report(self) -> "ErrorReport":
        """The error as data, as it is stored and sent."""
        return ErrorReport(
            code=int(self.code),
            reason=self.reason,
            message=str(self),
            phase=self.phase,
            engine_text=self.engine_text,
            correlation_id=self.correlation_id,
            advice=self.what_to_do,
            violations=self.violations,
        )


@dataclass(frozen=True)
class ErrorReport:
    """An error as data; the fields are those of `ovirt_provision.v1.Error`."""

    code: int
    reason: str
    message: str
    phase: str = ""
    engine_text: str = ""
    correlation_id: str = ""
    advice: str = ""
    violations: Sequence[Violation] = ()


class InvalidRequest(ProvisionError):
    code = Code.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"
    message = "{summary}"
    advice = "Correct the named fields and call again; nothing was changed."

    def __init__(self, violations: Sequence[Violation], **fields: Any) -> None:
        summary = "; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in violations)
        super().__init__(violations=violations, summary=summary, **fields)


class ReferencesNotFound(InvalidRequest):
    code = Code.NOT_FOUND
    reason = "REFERENCES_NOT_FOUND"


class RequestIdReused(ProvisionError):
    code = Code.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"
    message = "request_id {request_id} was already used for {verb} with other arguments"
    advice = "Use a new request_id for a new request, and the same one only to repeat a request unchanged."


class KeyInUse(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "KEY_IN_USE"
    message = "Machine '{key}' already exists, made with other arguments; these differ: {differing}"
    advice = "Destroy the Machine first, use another key, or repeat the arguments that made it."


class EngineProfileNotFound(ProvisionError):
    code = Code.NOT_FOUND
    reason = "ENGINE_PROFILE_NOT_FOUND"
    message = "the daemon has no engine profile '{profile}'; it has: {known}{near}"
    advice = "Name one of these profiles, or add the profile to the daemon's configuration."


class NotAllowed(ProvisionError):
    """An owner's allow-list lacks what a request names. `what` is engines, clusters or templates."""

    code = Code.PERMISSION_DENIED
    reason = "NOT_ALLOWED"
    message = "{owner} may not use {given}; allowed {what} are {allowed}{near}"
    advice = "Name one that is allowed, or have `owners` in the daemon's configuration extended."


class TooManyMachines(ProvisionError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_MACHINES"
    message = "{owner} has {held} Machines, and may have {allowed} ({what})"
    advice = "Destroy one first, or have `max_machines` in the daemon's configuration raised."


class AddressRangeExhausted(ProvisionError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "ADDRESS_RANGE_EXHAUSTED"
    message = "no address of {range} is free: living Machines have them all"
    advice = "Destroy Machines that nobody needs, or give a larger range."


class EngineMismatch(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "ENGINE_MISMATCH"
    message = (
        "the daemon serves {url} as {username} (fingerprint {daemon_fingerprint}), not the engine of your "
        "OVIRT_* variables (fingerprint {caller_fingerprint})"
    )
    advice = (
        "Stop that daemon, point OVIRT_PROVISION_ADDRESS at another one, or name an engine profile of the "
        "running daemon."
    )


class MachineNotFound(ProvisionError):
    code = Code.NOT_FOUND
    reason = "MACHINE_NOT_FOUND"
    message = "there is no Machine '{key}' of {owner} on engine {engine}{near}"


class MachineAdopted(ProvisionError):
    """A verb that would change a VM which somebody else made."""

    code = Code.FAILED_PRECONDITION
    reason = "MACHINE_ADOPTED"
    message = "Machine '{key}' was adopted: it is started, stopped and restarted, and nothing else"
    advice = "Use the engine's own tools for a VM that the bridge did not make."


class VmNotAdoptable(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "VM_NOT_ADOPTABLE"
    message = "VM {id} cannot be adopted: {why}"


class AdoptionNotAllowed(ProvisionError):
    """Tells whose VM it is no more than that there is one."""

    code = Code.PERMISSION_DENIED
    reason = "ADOPTION_NOT_ALLOWED"
    message = "{owner} may not adopt VM {id}; VMs that {owner} may adopt are called {allowed}"
    advice = "Have `adopt` of that owner in the daemon's configuration extended, or have an admin adopt it."


class OperationNotFound(ProvisionError):
    code = Code.NOT_FOUND
    reason = "OPERATION_NOT_FOUND"
    message = "there is no operation {id}"


class TemplateNotFound(ProvisionError):
    code = Code.NOT_FOUND
    reason = "TEMPLATE_NOT_FOUND"
    message = "the engine has no template with the id {id}"


class NameInUse(ProvisionError):
    code = Code.ALREADY_EXISTS
    reason = "NAME_IN_USE"
    message = "the name '{name}' is taken by {kind} {holder}, which is not ours"
    advice = "Choose another name; what is not ours is never changed."


class TemplateExists(NameInUse):
    message = "there is a {kind} '{name}' already, made by this installation ({holder})"
    advice = "Replace it, add a version to it, or choose another name."


class TemplateHasVersions(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "TEMPLATE_HAS_VERSIONS"
    message = "template {name} has the versions {versions}, and only one that has no others can be replaced"
    advice = "Add a version to it and say how many to keep, or destroy those that are not needed first."


class TemplateBusy(ProvisionError):
    code = Code.ABORTED
    reason = "TEMPLATE_BUSY"
    message = "template {name} ({id}) is being replaced by operation {operation}"
    advice = "Wait for that operation or cancel it, then call again."


class TemplateInUse(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "TEMPLATE_IN_USE"
    message = "template {name} ({id}) cannot be removed, because it is in use by {users}{new}"
    advice = "Destroy the VMs that were made from it, or choose another name."


class TemplateNotClean(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "TEMPLATE_NOT_CLEAN"
    message = "template {name} carries an initialization that its Machine did not have: {fields}"
    advice = "See with the engine's events who has changed the VM or the template meanwhile."


class DiskInUse(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "DISK_IN_USE"
    message = "disk {name} ({id}) cannot be {doing}, because a VM has it"
    advice = "Detach it from that VM first."


class DiskNotDetachable(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "DISK_NOT_DETACHABLE"
    message = "the boot disk of Machine '{key}' cannot be detached: {why}"
    advice = "Make the Machine as a full copy (`clone`), and remove its snapshots."


class DiskNotSparsifiable(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "DISK_NOT_SPARSIFIABLE"
    message = "disk {name} ({id}) cannot be sparsified: {why}"
    advice = "The engine sparsifies sparse RAW disks without snapshots alone; {instead}."


class Ambiguous(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "AMBIGUOUS"
    message = "{count} {kind}s match: {candidates}"
    advice = "Describe it more closely{hint}."


class NothingFound(ProvisionError):
    code = Code.NOT_FOUND
    reason = "NOT_FOUND"
    message = "the engine has no {kind} {described}{near}"


class NotOurs(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "NOT_OURS"
    message = "{kind} {name} ({id}) was not made by this installation: {detail}"
    advice = "Only what this installation made is ever changed or removed; use the engine's own tools."


class NotAnAdmin(ProvisionError):
    code = Code.PERMISSION_DENIED
    reason = "NOT_AN_ADMIN"
    message = "{caller} may not name another owner, such as '{owner}'"
    advice = "Leave `owner` empty to mean your own, or have an admin call."


class AdminsOnly(ProvisionError):
    code = Code.PERMISSION_DENIED
    reason = "ADMINS_ONLY"
    message = "{caller} may not {doing}"
    advice = "Have an owner with the role admin in the daemon's configuration call."


class StorageDomainInUse(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "STORAGE_DOMAIN_IN_USE"
    message = "storage domain {name} ({id}) cannot be marked as backup, because VMs run from it: {vms}"
    advice = "Stop these VMs, or move their disks; from a backup domain no VM runs."


class NotYours(ProvisionError):
    code = Code.PERMISSION_DENIED
    reason = "NOT_YOURS"
    message = "{kind} {id} was made by another owner than {owner}"
    advice = "Only its owner and an admin may remove it."


class ForeignDiskAttached(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "FOREIGN_DISK_ATTACHED"
    message = (
        "disk {disk} ({id}), attached to Machine '{key}', was not made with it and would go into the template"
    )
    advice = "Detach that disk first; what is not ours is never read or changed."


class ForeignVersion(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "FOREIGN_VERSION"
    message = "template {name} cannot be removed: its version {version} ({id}) is not ours"
    advice = "Remove that version with the engine's own tools first; without its base it would be changed."


class MachineBusy(ProvisionError):
    code = Code.ABORTED
    reason = "MACHINE_BUSY"
    message = "Machine '{key}' is in use by operation {operation} ({verb})"
    advice = "Wait for that operation or cancel it, then call again."


class MachineNotDown(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "MACHINE_NOT_DOWN"
    message = "Machine '{key}' is {status}, it must be down"
    advice = "Stop the Machine first."


class MachineNotRunning(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "MACHINE_NOT_RUNNING"
    message = "Machine '{key}' is {status}, {why}"
    advice = "Start the Machine, and see why it does not run where it was started."


class NoVncConsole(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "NO_VNC_CONSOLE"
    message = "the VM of Machine '{key}' has no VNC console"
    advice = "Make the Machine with `vnc_console`; one from the template Blank has it."


class ConsoleUnreachable(ProvisionError):
    code = Code.UNAVAILABLE
    reason = "CONSOLE_UNREACHABLE"
    message = "the console of Machine '{key}' cannot be reached at {place}: {detail}"
    advice = (
        "The daemon goes to the VM's host itself: let its machine reach the hosts' display network at TCP "
        "ports 5900 to 6923."
    )


class ConsoleTicketRefused(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "CONSOLE_TICKET_REFUSED"
    message = "the console of Machine '{key}' at {place} refuses the engine's ticket: {detail}"
    advice = (
        "Another ticket may have been given out meanwhile, to a person who opened the console: call again."
    )


class ConsoleTlsRefused(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "CONSOLE_TLS_REFUSED"
    message = "TLS to the console of Machine '{key}' at {place} fails: {detail}"
    advice = (
        "The host's certificate for VNC has to be of the engine's CA, which `ca_file` of the profile names, "
        "and for that address; reinstalling the host in the engine makes a new one."
    )


class ConsoleUnsupported(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "CONSOLE_UNSUPPORTED"
    message = "the console of Machine '{key}' at {place} cannot be opened: {detail}"
    advice = (
        "The daemon speaks VNC with a ticket, also over TLS with a certificate (X509Vnc). Hosts in FIPS mode "
        "offer another login."
    )


class ConsoleLost(ProvisionError):
    code = Code.UNAVAILABLE
    reason = "CONSOLE_LOST"
    message = "the console of Machine '{key}' has hung up after {typed} key events"
    advice = "The VM has gone down or moved to another host; see how it is, and open the console anew."


class MachineNotClonable(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "MACHINE_NOT_CLONABLE"
    message = "Machine '{key}' is {status}, it must be up or down to be copied"
    advice = "Wait until it is up or down, or start or stop it, then call again."


class MachineIncomplete(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "MACHINE_INCOMPLETE"
    message = (
        "Machine '{key}' was not made whole: operation {operation} failed and kept it, as it was asked to"
    )
    advice = "Destroy the Machine first, or use another key."


class MachineUnfinished(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "MACHINE_UNFINISHED"
    message = "Machine '{key}' is still being made by operation {operation}"
    advice = "Wait until that operation has succeeded."


class MachineFailed(ProvisionError):
    code = Code.ABORTED
    reason = "MACHINE_FAILED"
    message = "VM {name} went {status} while {doing}"
    advice = "Look at the engine's events for this VM."


class EngineOperationFailed(ProvisionError):
    code = Code.ABORTED
    reason = "ENGINE_OPERATION_FAILED"
    message = "the engine could not finish {doing}: {engine_says}"
    advice = "See the engine's log and events under the correlation id."


class LeaseExpired(ProvisionError):
    code = Code.ABORTED
    reason = "LEASE_EXPIRED"
    message = "lease expired at {expired_at}: Machine '{key}' {why} and has been destroyed"
    advice = "Create the Machine again."


class OperationCancelled(ProvisionError):
    code = Code.CANCELLED
    reason = "OPERATION_CANCELLED"
    message = "{verb} was cancelled {by}"


class DeadlineExceeded(ProvisionError):
    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    message = "{phase_name} did not end within {seconds:g} s (time-out `{timeout}`); last seen: {last_seen}"
    advice = "Raise `timeouts.{timeout}` in the daemon's configuration if the engine needs longer."


class NoAddress(DeadlineExceeded):
    """A guest has no address that counts; `why` is a value of guest.addresses.Absence."""

    reason = "NO_ADDRESS"
    message = "VM {name} has no address after {seconds:g} s (time-out `{timeout}`): the guest {told}"
    advice = "{what}"

    _WHAT: ClassVar = {
        "agent-silent": "Install and start qemu-guest-agent in the template; the VM's console shows whether "
        "the guest has booted.",
        "no-lease": "Check that its network has a DHCP server, or give a static address in "
        "nic_configurations, with the name that the interface has in the guest.",
        "only-ignored": "Change the address selection, or the network of the VM's NIC.",
        "unsettled": "Give a shorter settle time, or find out in the guest what changes its addresses.",
    }

    def __init__(self, *, why: str, **fields: Any) -> None:
        super().__init__(why=why, what=self._WHAT[why], **fields)


class EngineUnreachable(ProvisionError):
    code = Code.UNAVAILABLE
    reason = "ENGINE_UNREACHABLE"
    message = "the engine at {url} cannot be reached: {detail}"
    advice = "Check OVIRT_URL (or `url` of the profile), the network, and that the engine runs."


class EngineNotConnected(EngineUnreachable):
    """No connection could be made: the request has not gone out."""


class EngineCertificateInvalid(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "ENGINE_CERTIFICATE_INVALID"
    message = "the certificate of {url} cannot be verified: {detail}"
    advice = (
        "Fetch the engine's CA with `ovirt-provision engine trust`, and set OVIRT_CAFILE (or `ca_file` of "
        "the profile) to its file."
    )


class EngineLoginFailed(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "ENGINE_LOGIN_FAILED"
    message = "the engine at {url} refused the login of {username}"
    advice = "Check user, profile (as in admin@internal) and password."


class EngineSessionExpired(ProvisionError):
    code = Code.UNAVAILABLE
    reason = "ENGINE_SESSION_EXPIRED"
    message = "the session with {url} has expired and could not be renewed"
    advice = "Call again; if it stays so, look at the engine's SSO log."


@dataclass(frozen=True)
class Lack:
    """A permit that an account of the engine lacks, on which object, and a role that has it."""

    permit: str
    where: str
    role: str


class EnginePermissionDenied(ProvisionError):
    """The engine's account may not do something: `lacks` says why, as far as that is known.

    `needs` is what the refused request takes, as `engine.account` has it.
    """

    code = Code.PERMISSION_DENIED
    reason = "ENGINE_PERMISSION_DENIED"
    message = "{username} may not {doing}{why}"
    advice = "{how}"

    def __init__(self, *, lacks: Sequence[Lack] = (), needs: Sequence[Any] = (), **fields: Any) -> None:
        super().__init__(**fields)
        self.needs = tuple(needs)
        self.lacks = tuple(lacks)
        self._tell()

    def because(self, lacks: Sequence[Lack]) -> "EnginePermissionDenied":
        """The same, now that it is known what the account lacks."""
        self.lacks = tuple(lacks)
        self._tell()
        return self

    def _tell(self) -> None:
        why = " and ".join(f"{lack.permit} on {lack.where}" for lack in self.lacks)
        how = " and ".join(dict.fromkeys(f"{lack.role} on {lack.where}" for lack in self.lacks))
        self.fields["why"] = f": it lacks the permit {why}" if why else ""
        self.fields["how"] = (
            f"Give the user the role {how}, or another role with this permit."
            if how
            else "Give the user a role with this permission on the engine."
        )


class EngineRefused(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "ENGINE_REFUSED"
    message = "the engine refused to {doing} (HTTP {status}): {engine_says}"
    advice = "Mend what the engine names, then call again; its log has more under the correlation id."


class EngineBroken(ProvisionError):
    code = Code.UNAVAILABLE
    reason = "ENGINE_BROKEN"
    message = "the engine answered {status} to {doing}: {engine_says}"
    advice = "See the engine's log; the request is safe to repeat."


class SecretsLost(ProvisionError):
    code = Code.ABORTED
    reason = "SECRETS_LOST"
    message = "the secrets of this operation could not be read again after the restart: {detail}"
    advice = "Call again. To survive a reboot, give the daemon a key through systemd's LoadCredential."

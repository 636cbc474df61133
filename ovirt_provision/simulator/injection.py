"""Faults on command: by name, by rate and seed, or at the n-th request that matches."""

import contextlib
import itertools
import logging
import random
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ovirt_provision.simulator.documents import check, did_you_mean
from ovirt_provision.simulator.entities import is_uuid

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaultKind:
    """A fault that there is.

    `effect` is what a client notices. `method` and `path` are regular expressions of the requests at which it
    can fire when a rule says nothing else; the path is below the API's base. `seconds` is the default of a
    rule's `seconds` and None where there is nothing to last; they are those of the machine's clock when
    `real`, else of the simulator's.
    """

    effect: str
    method: str = "[A-Z]*"
    path: str = "(?!/ovirt-engine/).*"
    seconds: float | None = None
    real: bool = False


_CHANGES = "POST|PUT|DELETE"
_MADE = "/(vms|disks|templates|vms/[^/]+/diskattachments)"
_NEW_VM = "/vms(/[^/]+/clone)?"
_START = "/vms/[^/]+/start"

FAULTS: Mapping[str, FaultKind] = {
    # On the wire
    "drop-reply": FaultKind("the request has its effect, then the connection breaks"),
    "late-effect": FaultKind(
        "the connection breaks at once, and the request has its effect only `seconds` later", seconds=30
    ),
    "delay": FaultKind(
        "the request has its effect, but its reply comes `seconds` late: beyond the client's time-out",
        seconds=60,
        real=True,
    ),
    "reset": FaultKind("the connection is reset, without effect"),
    "unavailable": FaultKind("503 with the HTML page of an HTTP proxy, without effect"),
    "unauthorized": FaultKind("401 in HTML, without effect; the session lives on"),
    "session-revoked": FaultKind(
        "the session of the request is dead: from here on 401 in HTML, `invalid_grant: …`; a new log-in helps"
    ),
    "engine-restart": FaultKind(
        "the connection breaks without effect; for `seconds` nobody listens; then every session is dead, "
        "jobs of starting VMs are gone, others without a task of a host are `unknown`; tasks of hosts go on",
        seconds=20,
    ),
    # Refused by the engine
    "forbidden": FaultKind("403 as for an account without the permission, 400 for `/jobs`; without effect"),
    "host-lost": FaultKind(
        "400 `[Network error during communication with the Host.]` after `seconds`, without effect; a host "
        "is `connecting` for twice as long, by the simulator's clock; event 9027",
        _CHANGES,
        "/(vms|disks|templates)(/.*)?",
        13,
        real=True,
    ),
    "mac-pool-empty": FaultKind(
        "409 `… Not enough MAC addresses left in MAC Address Pool.`", "POST", "/vms(/[^/]+/(nics|clone))?"
    ),
    "quota-exceeded": FaultKind("409 `… Quota has insufficient storage resources.`", "POST", _MADE),
    "storage-full": FaultKind("409 `… Low disk space on Storage Domain …`", "POST", _MADE),
    # In the background
    "job-hangs": FaultKind("the job of the request never ends, whatever becomes of what it does", _CHANGES),
    "disk-fails": FaultKind(
        "a new disk vanishes, its job fails; event 2022", "POST", "/(disks|vms/[^/]+/diskattachments)"
    ),
    "disk-stays-locked": FaultKind("new or changed disks never leave `locked`", _CHANGES),
    "disk-illegal": FaultKind(
        "new or changed disks become `illegal`; a start is 409 `… disks are in ILLEGAL status …`", _CHANGES
    ),
    "vm-fails": FaultKind("a new VM vanishes with its disks, its job fails; event 60", "POST", _NEW_VM),
    "template-fails": FaultKind(
        "a new template vanishes with its disks, its job fails; event 1322", "POST", "/templates"
    ),
    "seal-fails": FaultKind(
        "a new template vanishes when it is sealed, its job fails; event 1324", "POST", "/templates"
    ),
    "sparsify-fails": FaultKind(
        "a disk takes what it took before, the job fails; event 1327", "POST", "/disks/[^/]+/sparsify"
    ),
    "export-fails": FaultKind(
        "nothing is exported, the job fails; event 1151, 1157, 1225 or 1228",
        "POST",
        "/(vms|templates)/[^/]+/export",
    ),
    "snapshot-fails": FaultKind(
        "a new snapshot vanishes, its job fails; event 69", "POST", "/vms(/[^/]+/(snapshots|clone))?"
    ),
    "late-event": FaultKind(
        "the next event becomes visible `seconds` later than those after it", path=".*", seconds=5
    ),
    # A VM that starts
    "start-fails": FaultKind(
        "the host refuses: the VM goes `down`, its job fails; event 119", "POST", _START
    ),
    "vm-crashes": FaultKind("the VM goes `down` instead of `up`, its job fails; event 119", "POST", _START),
    "vm-pauses": FaultKind("the VM goes to `paused` instead of `up`; event 139", "POST", _START),
    "vm-not-responding": FaultKind(
        "the VM goes from `up` to `not_responding`, for `seconds` or (0) for ever; event 126",
        "POST",
        _START,
        seconds=0,
    ),
    "agent-silent": FaultKind("the VM is `up`, but never reports a device or a name", "POST", _START),
    "address-late": FaultKind("the guest reports its devices only `seconds` late", "POST", _START, 120),
    "address-none": FaultKind(
        "for `seconds` or (0) for ever the guest's interfaces have no address", "POST", _START, seconds=0
    ),
    "address-flaps": FaultKind(
        "for `seconds` or (0) for ever the guest has another address each second", "POST", _START, seconds=0
    ),
    "many-interfaces": FaultKind(
        "the guest reports lo, bridges, a veth and a tunnel before its others", "POST", _START
    ),
    "address-docker0": FaultKind(
        "the guest reports the device `docker0` (172.17.0.1) before its others", "POST", _START
    ),
    "address-link-local": FaultKind(
        "for `seconds` or (0) for ever the guest reports link-local addresses only (169.254.…, fe80::…)",
        "POST",
        _START,
        seconds=0,
    ),
}
"""All faults by name.

Texts and codes: recorded replies of an engine, `AppErrors.properties`, and for what a restart does to jobs
`DeleteRunningJobsOfTasklessCommands` and `UpdateStartedExecutionEntitiesToUnknown` in its database.
"""


class FaultRule(BaseModel):
    """When a fault of the table fires: at the n-th request that matches, or at each with a probability."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fault: str = Field(description="Its name in the table of faults.")
    method: str | None = Field(None, description="Regular expression of the whole method.")
    path: str | None = Field(
        None, description="Regular expression of the whole path below `/ovirt-engine/api`, without the query."
    )
    nth: Annotated[int, Field(ge=1)] = Field(
        1, description="Fires first at the n-th request that matches, and is quiet before."
    )
    times: Annotated[int, Field(ge=1)] | None = Field(
        None, description="How often it fires: once by default, with `rate` without end."
    )
    rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="The probability with which it fires at each request that matches."
    )
    seed: int | None = Field(
        None, description="Of the draws of `rate`; by default one is made up. The log has it, for a replay."
    )
    seconds: Annotated[float, Field(ge=0)] | None = Field(
        None, description="How long or how late, where the table has a default."
    )

    @field_validator("fault")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in FAULTS:
            near = did_you_mean(name, FAULTS)
            raise ValueError(f"there is no fault '{name}'{near or '; there are: ' + ', '.join(FAULTS)}")
        return name

    @field_validator("method", "path")
    @classmethod
    def _is_expression(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"'{text}' is not a regular expression: {error}") from None
        return text

    @model_validator(mode="after")
    def _fits(self) -> "FaultRule":
        if self.seed is not None and self.rate is None:
            raise ValueError("`seed` is for `rate` only")
        if self.seconds is not None and FAULTS[self.fault].seconds is None:
            raise ValueError(f"'{self.fault}' has nothing that lasts, so it takes no `seconds`")
        return self

    def __str__(self) -> str:
        """As the command line takes it."""
        fields = self.model_dump(exclude_defaults=True, exclude={"fault"})
        return " ".join([self.fault, *(shlex.quote(f"{name}={value}") for name, value in fields.items())])

    @classmethod
    def parse(cls, text: str) -> "FaultRule":
        """Reads `NAME [FIELD=VALUE]…`, quoted as for a shell. Raises `ValueError`."""
        name, *rest = shlex.split(text) or [""]
        pairs = [part.partition("=") for part in rest]
        bare = next((field for field, mark, _ in pairs if not mark), None)
        if bare is not None:
            raise ValueError(f"'{bare}' is not FIELD=VALUE")
        return check(f"fault '{name}'", {"fault": name, **{field: value for field, _, value in pairs}}, cls)


@dataclass(frozen=True)
class Firing:
    """A fault that has fired; `number` counts what its rule had matched by then."""

    rule: int
    fault: str
    method: str
    path: str
    number: int


@dataclass
class _Armed:
    rule: FaultRule
    method: re.Pattern[str]
    path: re.Pattern[str]
    left: float
    matched: int = 0


class Injections:
    """The faults that are armed, and those that have fired (`fired`, the oldest first).

    Draws for a `rate` depend on the seed, on the operation (method and path without ids) and on how often it
    was asked for, not on what else was asked in between: clients that interleave differently replay the same.
    """

    def __init__(self) -> None:
        self._armed: dict[int, _Armed] = {}
        self._ids = itertools.count(1)
        self._operations: Counter[tuple[int, str]] = Counter()
        self._request = ("", "")
        self.fired: list[Firing] = []

    @property
    def armed(self) -> Mapping[int, FaultRule]:
        """The rules that can still fire, by the ids that `arm` gave them."""
        return {number: armed.rule for number, armed in self._armed.items()}

    def arm(self, rule: FaultRule | str, **fields: Any) -> int:
        """Arms a fault, given as a rule or by its name and the fields of a rule; returns an id for `disarm`.

        Raises `DocumentError`, a `ValueError`, for what is no rule.
        """
        if isinstance(rule, str):
            rule = check("fault", {"fault": rule, **fields}, FaultRule)
        if rule.rate is not None and rule.seed is None:
            rule = rule.model_copy(update={"seed": random.SystemRandom().getrandbits(31)})
        kind = FAULTS[rule.fault]
        number = next(self._ids)
        self._armed[number] = _Armed(
            rule,
            re.compile(kind.method if rule.method is None else rule.method),
            re.compile(kind.path if rule.path is None else rule.path),
            rule.times or (1 if rule.rate is None else float("inf")),
        )
        log.info("fault armed: %s", rule)
        return number

    def disarm(self, number: int | None = None) -> None:
        """Disarms the rule of that id, or all. Raises `KeyError` for an id that is not armed."""
        if number is None:
            self._armed.clear()
        else:
            del self._armed[number]

    @contextlib.contextmanager
    def during(self, method: str, path: str) -> Iterator[None]:
        """While the block handles a request, `fires` is about that request."""
        before, self._request = self._request, (method, path)
        try:
            yield
        finally:
            self._request = before

    def fires(self, fault: str) -> float | None:
        """The rule's or the table's seconds (0 where there are none) if the fault fires now; else None.

        It is to be asked where the fault could have its effect, while the request that causes it is handled.
        """
        method, path = self._request
        for number, armed in list(self._armed.items()):
            rule = armed.rule
            matches = rule.fault == fault and armed.method.fullmatch(method) and armed.path.fullmatch(path)
            if not matches:
                continue
            armed.matched += 1
            if armed.matched < rule.nth or not self._drawn(number, rule, operation(method, path)):
                continue
            armed.left -= 1
            if armed.left <= 0:
                del self._armed[number]
            self.fired.append(Firing(number, fault, method, path, armed.matched))
            log.info("fault fired: %s, at match %d: %s %s", rule, armed.matched, method, path)
            return rule.seconds if rule.seconds is not None else FAULTS[fault].seconds or 0.0
        return None

    def _drawn(self, number: int, rule: FaultRule, asked: str) -> bool:
        if rule.rate is None:
            return True
        self._operations[number, asked] += 1
        draw = random.Random(f"{rule.seed} {asked} {self._operations[number, asked]}")  # noqa: S311
        return draw.random() < rule.rate


def operation(method: str, path: str) -> str:
    """Method and path without ids, query and matrix parameters, such as `POST /vms/{id}/start`."""
    parts = (part.partition(";")[0] for part in path.partition("?")[0].split("/"))
    return f"{method} {'/'.join('{id}' if is_uuid(part) else part for part in parts)}"

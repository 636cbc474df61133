"""The daemon's metrics for Prometheus, each defined once. Who exposes them is services/metrics.py.

No label holds an owner, a key, a name or an id: labels are words of this program, profiles of the
configuration and HTTP's methods and codes, so that there are few series and nothing in them is a secret.
"""

import re

from prometheus_client import Counter, Gauge, Histogram, Info

_SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_REQUEST_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# What is a word in a path of the API; all else is an id.
_WORD = re.compile(r"[a-z]+")

BUILD = Info("ovirt_provision_build", "Version of the daemon.")
OPERATIONS = Counter(
    "ovirt_provision_operations",
    "Operations that ended: succeeded, failed or cancelled, and the phase that they ended in.",
    ["verb", "phase", "result"],
)
OPERATION_SECONDS = Histogram(
    "ovirt_provision_operation_duration_seconds",
    "From accepting a call to the end of its operation, undo included.",
    ["verb", "result"],
    buckets=_SECONDS,
)
PHASE_SECONDS = Histogram(
    "ovirt_provision_phase_duration_seconds",
    "Phases that were completed.",
    ["verb", "phase"],
    buckets=_SECONDS,
)
OPERATIONS_UNDER_WAY = Gauge(
    "ovirt_provision_operations_under_way",
    "Operations that have not ended: running or undoing.",
    ["verb", "phase", "state"],
)
CLEANUPS_PENDING = Gauge(
    "ovirt_provision_cleanups_pending",
    "Operations that ended and left something for the janitor to remove (`cleanup: pending`).",
)
ENGINE_REQUESTS = Counter(
    "ovirt_provision_engine_requests",
    "Requests to the engine's API by HTTP status, or `none` without an answer. Logins are not among them.",
    ["engine", "method", "path", "status"],
)
ENGINE_REQUEST_SECONDS = Histogram(
    "ovirt_provision_engine_request_duration_seconds",
    "From sending a request to the engine to the end of its answer, or to giving up.",
    ["engine", "method"],
    buckets=_REQUEST_SECONDS,
)
SESSIONS = Counter(
    "ovirt_provision_engine_sessions",
    "What became of SSO sessions: `login`, `login-failed`, `rejected` (the engine answered 401 to a token), "
    "`logout`, `logout-failed`.",
    ["engine", "event"],
)
WATCHER_LAG = Gauge(
    "ovirt_provision_watcher_lag_seconds",
    "Since the watcher last read all that it had to while something waits on the engine; else 0. It swings "
    "up to timeouts.watch_interval, and grows while the engine cannot be read.",
    ["engine"],
)
WATCHER_WAITS = Gauge(
    "ovirt_provision_watcher_waits", "Waits for an object in the engine, all in the one watcher.", ["engine"]
)
OBJECTS = Gauge(
    "ovirt_provision_objects",
    "What the ledger holds: intended (asked for), present, removing, or late (turned up after it was "
    "destroyed). The last two await the engine.",
    ["engine", "kind", "state"],
)
LEASES = Gauge(
    "ovirt_provision_leases",
    "Leases of living Machines: session, kept, handed-over, or expired while they are being reaped.",
    ["kind"],
)
CENSUS = Gauge(
    "ovirt_provision_census",
    "The last census: ours, foreign, awaiting-engine, leaked (our mark, but no row in the ledger), missing "
    "(removed by somebody else), adopted. Absent until one was taken.",
    ["engine", "finding", "kind"],
)
CENSUS_TIME = Gauge(
    "ovirt_provision_census_timestamp_seconds",
    "When the last census was taken, in seconds since the epoch.",
    ["engine"],
)
QUEUE_LENGTH = Gauge(
    "ovirt_provision_queue_length", "Operations that wait for their turn at an engine.", ["engine"]
)
QUEUE_SECONDS = Histogram(
    "ovirt_provision_queue_duration_seconds",
    "How long operations waited for their turn at an engine.",
    ["engine"],
    buckets=_SECONDS,
)

# In the order of their table in docs/metrics.md.
ALL = (
    OPERATIONS,
    OPERATION_SECONDS,
    PHASE_SECONDS,
    OPERATIONS_UNDER_WAY,
    CLEANUPS_PENDING,
    QUEUE_LENGTH,
    QUEUE_SECONDS,
    ENGINE_REQUESTS,
    ENGINE_REQUEST_SECONDS,
    SESSIONS,
    WATCHER_LAG,
    WATCHER_WAITS,
    OBJECTS,
    LEASES,
    CENSUS,
    CENSUS_TIME,
    BUILD,
)


def path_template(path: str) -> str:
    """`/vms/{id}/start` of `/vms/123e4567-…/start`: a path of the API without its ids."""
    return "/".join(part if not part or _WORD.fullmatch(part) else "{id}" for part in path.split("/"))

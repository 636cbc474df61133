"""The metrics that are read rather than counted: what the ledger and the watchers hold at this moment."""

from collections import Counter

from ovirt_provision import metrics
from ovirt_provision.ledger.store import (
    EXPIRED,
    HANDED_OVER,
    INTENDED,
    KEPT,
    LATE,
    PRESENT,
    REMOVING,
    SESSION,
)
from ovirt_provision.operations.bridge import Bridge


def read_gauges(bridge: Bridge) -> None:
    """Brings the gauges up to date; reads the ledger, never an engine."""
    under_way = Counter(
        (operation.verb, operation.phase, operation.state) for operation in bridge.ledger.unended_operations()
    )
    metrics.OPERATIONS_UNDER_WAY.clear()
    for labels, count in under_way.items():
        metrics.OPERATIONS_UNDER_WAY.labels(*labels).set(count)
    metrics.CLEANUPS_PENDING.set(len(bridge.ledger.awaiting_cleanup()))

    # Zeros as well, so that a rule can tell none from no daemon.
    objects = bridge.ledger.count_objects()
    kinds = {
        (name, kind) for name in bridge.config.engines for kind in ("vm", "disk", "template", "snapshot")
    }
    for profile, kind in sorted(kinds | {(name, kind) for name, kind, _ in objects}):
        for state in (INTENDED, PRESENT, REMOVING, LATE):
            metrics.OBJECTS.labels(profile, kind, state).set(objects.get((profile, kind, state), 0))
    leases = bridge.ledger.count_leases()
    for kind in (SESSION, KEPT, HANDED_OVER, EXPIRED):
        metrics.LEASES.labels(kind).set(leases.get(kind, 0))

    waiting = bridge.dispatcher.queue_lengths()
    for name in sorted(waiting.keys() | bridge.config.engines.keys()):
        metrics.QUEUE_LENGTH.labels(name).set(waiting.get(name, 0))
    for engine in bridge.engines_in_use:
        metrics.WATCHER_LAG.labels(engine.name).set(engine.watcher.lag)
        metrics.WATCHER_WAITS.labels(engine.name).set(engine.watcher.waits)

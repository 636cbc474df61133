"""Time-outs that a request has for itself, in place of the configuration's."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from ovirt_provision.config import Timeouts
from ovirt_provision.errors import Violation, did_you_mean

OF_AN_OPERATION = (
    "create_machine",
    "machine_ready",
    "disk_ready",
    "fetch_image",
    "convert_image",
    "transfer_image",
    "transfer_ready",
    "create_template",
    "start",
    "address",
    "shutdown",
    "power_off",
    "destroy",
    "job",
    "engine_lock",
    "explain",
    "undo",
)
"""Names of the time-outs that a request can set: its phases wait with them. The others are the daemon's."""


def violations_of_timeouts(request: Any) -> Sequence[Violation]:
    """A violation for each of a request's time-outs whose name means nothing there."""
    return [
        Violation(
            f"timeouts.{name}",
            f"there is no such time-out{near}"
            if (near := did_you_mean(name, OF_AN_OPERATION))
            else f"there is no such time-out for this request; there are {', '.join(OF_AN_OPERATION)}",
        )
        for name in sorted(request.timeouts)
        if name not in OF_AN_OPERATION
    ]


def timeouts_of(request: Message, configured: Timeouts) -> Timeouts:
    """The time-outs of an operation: those of its request, else those of the configuration."""
    own = getattr(request, "timeouts", {})
    if not own:
        # A copy for each of a thousand operations would be 3 MB.
        return configured
    return configured.model_copy(
        update={name: own[name].ToTimedelta().total_seconds() for name in own if name in OF_AN_OPERATION}
    )

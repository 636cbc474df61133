"""What the look-ups of a MachineSpec, of its disks and of its NICs work with."""

from ovirt_provision.engine.model import Cluster, Template
from ovirt_provision.operations.problems import Problems
from ovirt_provision.operations.verb import Call
from ovirt_provision.v1 import resources_pb2


class SpecResolver:
    """Looks up and checks what one request wants; `template` and `cluster` are None where they are not known.

    What cannot be looked up, because the account may not, is left to the engine to refuse.
    """

    def __init__(
        self,
        call: Call,
        spec: resources_pb2.MachineSpec,
        template: Template | None,
        cluster: Cluster | None,
        problems: Problems,
    ) -> None:
        """`problems` is where what is wrong is added to."""
        self._call = call
        self._spec = spec
        self._template = template
        self._cluster = cluster
        self._problems = problems
        self._missing, self._wrong, self._unknown = problems.miss, problems.refuse, problems.miss_name
        self._inventory = call.engine.inventory

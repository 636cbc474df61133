"""RestartMachine: down and up again, with an address at the end."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ovirt_provision.ledger.runner import Phase
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.start_machine import BOOTING, WAITING_FOR_ADDRESS
from ovirt_provision.operations.stop_machine import (
    POWERING_OFF,
    SHUTTING_DOWN,
    intend,
    resolve,
    shut_down,
)
from ovirt_provision.operations.verb import Verb
from ovirt_provision.v1 import machines_pb2


def phases(_request: machines_pb2.RestartMachineRequest) -> Sequence[Phase[Provisioning]]:
    return (
        replace(SHUTTING_DOWN, done=40, act=partial(shut_down, then=["run_vm"])),
        replace(POWERING_OFF, done=50),
        BOOTING,
        WAITING_FOR_ADDRESS,
    )


RESTART_MACHINE = Verb("RestartMachine", machines_pb2.RestartMachineRequest, resolve, intend, phases)

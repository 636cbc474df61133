"""How long things take in the simulated engine: one table per profile.

| field | `engine` | `recorded` | `fast` | what |
| --- | --- | --- | --- | --- |
| storage_grid | 10 | 0 | 0 | the engine looks at storage tasks every so many seconds; 0: at once |
| storage_end | 4 | 4 | 0.1 | from noticing the end of a storage task to the end of the command |
| disk_lag | 1 | 0 | 0.1 | a VM or template leaves its lock this much before its disks |
| complete_lead | 2 | 2 | 0.1 | `creation_status` is complete this much before the VM leaves `image_locked` |
| lock_tail | 5 | 5 | 0.1 | a VM of a template without disks keeps its name locked after it is made |
| create_disk | 2 | 4 | 0.5 | the host makes an empty disk |
| clone_thin | 2 | 4 | 0.5 | the host makes a thin disk over one of a template |
| copy_disk | 30 | 4 | 1 | the host copies a disk into a template |
| clone_full | 30 | 16 | 1 | the host copies a disk for `clone=true` |
| seal_disk | 20 | 26 | 1 | the host seals a disk |
| edit_disk | 1.5 | 1.5 | 0.1 | a disk stays locked after every PUT |
| extend_disk | 8 | 8 | 0.5 | a disk stays locked after it has been extended |
| remove_disk | 10 | 11 | 0.5 | a disk is still there after its removal was accepted |
| remove_end | 7 | 4 | 0.1 | the removing job goes on after that |
| launch | 3 | 3 | 0.3 | `wait_for_launch` |
| boot | 20 | 9 | 1 | `powering_up` at least; a guest that has not booted by then prolongs it |
| shutdown | 8 | 9.5 | 0.5 | `powering_down` at least |
| stop | 3 | 14 | 0.2 | from a stop to `down` |
| kill | 0.5 | 0.5 | 0.1 | from a shutdown in `wait_for_launch` to `down` |
| reboot | 15 | 15 | 1 | `reboot_in_progress` |
| guest_agent | 5 | 0 | 0.2 | from `up` until the guest reports its devices |
| command | 0.15 | 0 | 0.005 | **real** seconds for which a changing request holds its locks |
| refused_login | 5 | 0 | 0 | **real** seconds before a wrong password is answered |

All but the two marked **real** are seconds of the simulator's clock. `engine` follows a real engine with a
real host, `recorded` the durations of the recordings (an engine 4.5.8 with a fake host), `fast` is for demos
and tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """A profile; see the table above. All fields are seconds."""

    storage_grid: float
    storage_end: float
    disk_lag: float
    complete_lead: float
    lock_tail: float
    create_disk: float
    clone_thin: float
    copy_disk: float
    clone_full: float
    seal_disk: float
    edit_disk: float
    extend_disk: float
    remove_disk: float
    remove_end: float
    launch: float
    boot: float
    shutdown: float
    stop: float
    kill: float
    reboot: float
    guest_agent: float
    command: float
    refused_login: float


ENGINE = Timing(
    storage_grid=10,
    storage_end=4,
    disk_lag=1,
    complete_lead=2,
    lock_tail=5,
    create_disk=2,
    clone_thin=2,
    copy_disk=30,
    clone_full=30,
    seal_disk=20,
    edit_disk=1.5,
    extend_disk=8,
    remove_disk=10,
    remove_end=7,
    launch=3,
    boot=20,
    shutdown=8,
    stop=3,
    kill=0.5,
    reboot=15,
    guest_agent=5,
    command=0.15,
    refused_login=5,
)

RECORDED = Timing(
    storage_grid=0,
    storage_end=4,
    disk_lag=0,
    complete_lead=2,
    lock_tail=5,
    create_disk=4,
    clone_thin=4,
    copy_disk=4,
    clone_full=16,
    seal_disk=26,
    edit_disk=1.5,
    extend_disk=8,
    remove_disk=11,
    remove_end=4,
    launch=3,
    boot=9,
    shutdown=9.5,
    stop=14,
    kill=0.5,
    reboot=15,
    guest_agent=0,
    command=0,
    refused_login=0,
)

FAST = Timing(
    storage_grid=0,
    storage_end=0.1,
    disk_lag=0.1,
    complete_lead=0.1,
    lock_tail=0.1,
    create_disk=0.5,
    clone_thin=0.5,
    copy_disk=1,
    clone_full=1,
    seal_disk=1,
    edit_disk=0.1,
    extend_disk=0.5,
    remove_disk=0.5,
    remove_end=0.1,
    launch=0.3,
    boot=1,
    shutdown=0.5,
    stop=0.2,
    kill=0.1,
    reboot=1,
    guest_agent=0.2,
    command=0.005,
    refused_login=0,
)

PROFILES: Mapping[str, Timing] = {"engine": ENGINE, "recorded": RECORDED, "fast": FAST}

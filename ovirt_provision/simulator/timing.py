"""How long things take in the simulated engine: one table per profile.

`engine` follows a real engine with a real host, `recorded` the durations of recordings (an engine 4.5.8 with
a fake host), `fast` is for demos and tests. Sources of `engine`: the engine's configuration
(`AsyncTaskPollingRate`, `AsyncCommandPollingLoopInSeconds`, `AsyncCommandPollingRateInSeconds`,
`VdsRefreshRate`, `SucceededJobCleanupTimeInMinutes`, `FailedJobCleanupTimeInMinutes`) and recordings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from ovirt_provision.simulator.documents import DocumentError, did_you_mean, read_yaml

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Timing(BaseModel):
    """A profile. All fields are seconds, of the simulator's clock but for those described as real."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage_grid: Seconds = Field(
        description="the engine looks at the tasks of storage every so many seconds; 0: at once"
    )
    callback_first: Seconds = Field(
        description="a command in the background is looked at this long after its start, then after twice as "
        "long each time; its end is noticed there; 0: `storage_end` alone counts"
    )
    callback_longest: Seconds = Field(description="the longest time between two such looks")
    storage_end: Seconds = Field(
        description="from noticing the end of a storage task to the end of its command, at least"
    )
    vm_refresh: Seconds = Field(
        description="the engine looks at the VMs of a host every so many seconds; 0: at once"
    )
    disk_lag: Seconds = Field(description="a VM or template leaves its lock this long before its disks")
    job_lag: Seconds = Field(description="the disks leave their locks this long before the job ends")
    complete_lead: Seconds = Field(
        description="`creation_status` is complete this long before the VM leaves `image_locked`"
    )
    lock_tail: Seconds = Field(
        description="a VM of a template without disks keeps its name locked after it is made"
    )
    create_disk: Seconds = Field(description="the host makes an empty disk")
    clone_thin: Seconds = Field(description="the host makes a thin disk over one of a template")
    copy_disk: Seconds = Field(description="the host copies a disk into a template")
    clone_full: Seconds = Field(description="the host copies a disk for `clone=true`")
    seal_disk: Seconds = Field(description="the host seals a disk")
    edit_disk: Seconds = Field(description="a disk stays locked after every PUT")
    extend_disk: Seconds = Field(description="a disk stays locked after it has been extended")
    remove_disk: Seconds = Field(description="a disk is still there after its removal was accepted")
    remove_end: Seconds = Field(description="the removing job goes on after that")
    launch: Seconds = Field(description="`wait_for_launch`")
    boot: Seconds = Field(
        description="`powering_up` at least; a guest that has not booted by then prolongs it"
    )
    shutdown: Seconds = Field(description="`powering_down` at least")
    stop: Seconds = Field(description="from a stop to `down`")
    kill: Seconds = Field(description="from a shutdown in `wait_for_launch` to `down`")
    reboot: Seconds = Field(description="`reboot_in_progress`")
    guest_agent: Seconds = Field(description="from `up` until the guest reports its devices")
    finished_job: Seconds = Field(description="a finished job can be seen this long")
    failed_job: Seconds = Field(description="a failed job can be seen this long")
    command: Seconds = Field(description="real: a changing request holds its locks")
    refused_login: Seconds = Field(description="real: from a wrong password to the answer")


ENGINE = Timing(
    storage_grid=10,
    callback_first=1,
    callback_longest=10,
    storage_end=2,
    vm_refresh=3,
    disk_lag=1,
    job_lag=1,
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
    finished_job=600,
    failed_job=3600,
    command=0.15,
    refused_login=5,
)

RECORDED = Timing(
    storage_grid=0,
    callback_first=0,
    callback_longest=0,
    storage_end=4,
    vm_refresh=0,
    disk_lag=0,
    job_lag=0,
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
    finished_job=600,
    failed_job=3600,
    command=0,
    refused_login=0,
)

FAST = Timing(
    storage_grid=0,
    callback_first=0,
    callback_longest=0,
    storage_end=0.1,
    vm_refresh=0,
    disk_lag=0.1,
    job_lag=0.1,
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
    finished_job=600,
    failed_job=3600,
    command=0.005,
    refused_login=0,
)

PROFILES: Mapping[str, Timing] = {"engine": ENGINE, "recorded": RECORDED, "fast": FAST}


_Written = create_model(
    "_Written",
    __config__=ConfigDict(extra="forbid"),
    base=(Literal["engine", "recorded", "fast"], "engine"),
    **dict.fromkeys(Timing.model_fields, (Seconds | None, None)),  # type: ignore[call-overload]
)


def find_profile(name: str) -> Timing:
    """The profile of that name, or of the YAML file of that name.

    The file has fields of `Timing`; those left out are as in the profile that it names as `base`, or else as
    in `engine`. Raises `DocumentError`.
    """
    if name in PROFILES:
        return PROFILES[name]
    file = Path(name)
    if not file.suffix and not file.exists():
        near = did_you_mean(name, PROFILES)
        known = "; there are: " + ", ".join(PROFILES) + ", or a file"
        raise DocumentError("profile", [f"there is no timing profile '{name}'{near or known}"])
    written = read_yaml(file, _Written)
    base = PROFILES[written.base]
    return base.model_copy(update=written.model_dump(exclude={"base"}, exclude_none=True))

import signal
from pathlib import Path

import grpc
import pytest
from google.rpc import code_pb2

from ovirt_provision.v1 import machines_pb2, operations_pb2, resources_pb2
from ovirt_provision.v1.resources_pb2 import Error, FieldViolation, NicConfiguration, Operation

from .conftest import DEADLINE, Cli, FakeDaemon, machine, operation

CREATE = ("machine", "create", "web", "--template", "debian-12")


def succeeded(revision: int = 9) -> Operation:
    return operation(revision, state=Operation.STATE_SUCCEEDED, percent=100, machine=machine())


def test_create_sends_what_the_options_say(cli: Cli, daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = [succeeded()]
    (tmp_path / "key.pub").write_text("# mine\nssh-ed25519 AAAA me@here\n")
    (tmp_path / "more.yaml").write_text("runcmd: [date]\n")
    result = cli.run(
        "machine", "create", "web", "--template", "debian-12:3", "--clone", "--cluster", "Default",
        "--cpu-sockets", "2", "--cpu-cores", "4", "--memory", "2GiB", "--nic", "nic1=ovirtmgmt", "--start",
        "--user", "me", "--ssh-key", str(tmp_path / "key.pub"), "--hostname", "web", "--dhcp", "eth0",
        "--user-data", str(tmp_path / "more.yaml"), "--boot-disk-size", "20GiB",
        "--address", "eth1=10.11.0.5/24,10.11.0.1", "--address", "eth1=2001:db8::5/64,2001:db8::1",
        "--dns-server", "10.0.0.2", "--dns-search", "a.example", "--time-zone", "Europe/Berlin",
        "--address-nic", "nic1", "--address-in", "10.11.0.0/16", "--no-address",
    )  # fmt: skip
    assert result.code == 0, result.err
    sent = daemon.last(machines_pb2.CreateMachineRequest)
    assert (sent.spec.template.name, sent.spec.template.version) == ("debian-12", 3)
    assert (sent.spec.clone, sent.spec.cluster, sent.spec.memory_bytes) == (True, "Default", 2 * 2**30)
    assert (sent.spec.cpu.sockets, sent.spec.cpu.cores) == (2, 4)
    assert [(nic.name, nic.vnic_profile) for nic in sent.spec.nics] == [("nic1", "ovirtmgmt")]
    assert (sent.start_with.user_name, sent.start_with.host_name) == ("me", "web")
    assert list(sent.start_with.authorized_ssh_keys) == ["ssh-ed25519 AAAA me@here"]
    assert sent.start_with.user_data == "runcmd: [date]\n"
    assert sent.spec.boot_disk.size_bytes == 20 * 2**30
    dhcp, static = sent.start_with.nic_configurations
    assert (dhcp.name, dhcp.boot_protocol) == ("eth0", NicConfiguration.BOOT_PROTOCOL_DHCP)
    assert (static.name, static.static_address, static.gateway) == ("eth1", "10.11.0.5/24", "10.11.0.1")
    assert (static.ipv6_static_address, static.ipv6_gateway) == ("2001:db8::5/64", "2001:db8::1")
    assert sent.start_with.time_zone == "Europe/Berlin"
    selected = sent.address_selection
    assert (list(selected.nics), list(selected.cidrs)) == (["nic1"], ["10.11.0.0/16"])
    assert selected.do_not_wait
    assert list(sent.start_with.dns_servers) == ["10.0.0.2"]
    assert list(sent.start_with.dns_search_domains) == ["a.example"]


def test_create_says_what_lies_in_the_drives(cli: Cli, daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = [succeeded()]
    (tmp_path / "ks.cfg").write_text("install")
    drives = [
        *("--iso", "debian.iso", "--boot-from", "cdrom,hd", "--payload", str(tmp_path / "ks.cfg")),
        *("--payload-type", "floppy", "--payload-label", "OEMDRV"),
    ]
    assert "they take --start" in cli.run(*CREATE, *drives).err
    result = cli.run(*CREATE, *drives, "--start", "--os", "rhel_9x64", "--vnc", "--new-disk", "20GiB")
    assert result.code == 0, result.err
    sent = daemon.last(machines_pb2.CreateMachineRequest)
    assert (sent.spec.operating_system, sent.spec.vnc_console) == ("rhel_9x64", True)
    media = sent.start_media
    assert (media.cd_rom.name, list(media.boot_order)) == ("debian.iso", [2, 1])
    assert (media.payload.type, media.payload.volume_id) == (resources_pb2.Payload.TYPE_FLOPPY, "OEMDRV")
    assert [(file.name, file.content) for file in media.payload.files] == [("ks.cfg", "install")]
    iso = "0a6f0c9e-0b7a-4f0e-9a53-3e0f8a1d2c4b"
    daemon.script = [succeeded()]
    assert cli.run(*CREATE, "--start", "--iso", iso.upper()).code == 0
    assert daemon.last(machines_pb2.CreateMachineRequest).start_media.cd_rom.disk_id == iso


def test_create_keeps_the_machine_and_shows_it(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [succeeded()]
    result = cli.run(*CREATE)
    assert "127.0.0.5" in result.out
    assert "kept" in result.out
    assert daemon.last(machines_pb2.ConfirmMachineRequest).key == "web"


def test_create_without_waiting_says_how_to_keep_the_machine(cli: Cli, daemon: FakeDaemon) -> None:
    result = cli.run(*CREATE, "--no-wait")
    assert "ovirt-provision machine confirm web" in result.err
    assert not [r for r in daemon.requests if isinstance(r, machines_pb2.ConfirmMachineRequest)]


def test_create_sends_the_hardware_that_the_options_say(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [succeeded()]
    disk = "6a5a1b8e-0d2f-4c79-9a43-0d5b8d1d7f10"
    result = cli.run(
        *CREATE, "--cpu-threads", "2", "--guaranteed-memory", "1GiB", "--instance-type", "Large",
        "--tag", "ci",
        "--boot-disk", "size=20GiB,interface=virtio,bootable=no", "--template-disk", "data,wipe-after-delete",
        "--new-disk", "5GiB,name=scratch,storage-domain=fast,format=raw,sparse=no,quota=team,bootable",
        "--attach-disk", f"{disk},read-only", "--nic", "nic1=ovirtmgmt,interface=e1000,linked=no",
        "--nic", "nic2,network=lab,mac=56:6f:ab:cd:00:05", "--storage-domain", "data",
        "--bios", "q35-secure-boot",
        "--tpm", "--no-virtio-scsi", "--nic-multi-queues", "--host", "host1", "--affinity", "pinned",
        "--affinity-group", "together", "--affinity-label", "ssd", "--quota", "team",
        "--custom-property", "sndbuf=10",
    )  # fmt: skip
    assert result.code == 0, result.err
    wanted = resources_pb2.MachineSpec(
        template=resources_pb2.TemplateRef(name="debian-12"),
        cpu=resources_pb2.Cpu(threads=2),
        guaranteed_memory_bytes=1 << 30,
        instance_type="Large",
        boot_disk=resources_pb2.DiskSpec(
            size_bytes=20 << 30, interface=resources_pb2.DISK_INTERFACE_VIRTIO, bootable=False
        ),
        template_disks=[resources_pb2.DiskSpec(name="data", wipe_after_delete=True)],
        new_disks=[
            resources_pb2.DiskSpec(
                name="scratch",
                size_bytes=5 << 30,
                storage_domain="fast",
                format=resources_pb2.DISK_FORMAT_RAW,
                sparse=False,
                quota="team",
                bootable=True,
            )
        ],
        attached_disks=[resources_pb2.AttachedDisk(id=disk, read_only=True)],
        nics=[
            resources_pb2.Nic(
                name="nic1",
                vnic_profile="ovirtmgmt",
                interface=resources_pb2.NIC_INTERFACE_E1000,
                linked=False,
            ),
            resources_pb2.Nic(name="nic2", network="lab", mac="56:6f:ab:cd:00:05"),
        ],
        storage_domain="data",
        bios_type=resources_pb2.BIOS_TYPE_Q35_SECURE_BOOT,
        tpm=True,
        virtio_scsi=False,
        nic_multi_queues=True,
        placement=resources_pb2.Placement(hosts=["host1"], affinity=resources_pb2.Placement.AFFINITY_PINNED),
        affinity_groups=["together"],
        affinity_labels=["ssd"],
        quota="team",
        custom_properties={"sndbuf": "10"},
        tags=["ci"],
    )
    assert daemon.last(machines_pb2.CreateMachineRequest).spec == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--new-disk", "5GiB,naem=x"), "did you mean 'name'"),
        (("--new-disk", "big"), "'big' is not a size"),
        (("--boot-disk", "interface=virtoi"), "did you mean 'virtio'"),
        (("--boot-disk", "bootable=maybe"), "neither yes nor no"),
        (("--nic", "nic1"), "NIC=PROFILE"),
        (("--bios", "uefi"), "q35-ovmf"),
        (("--custom-property", "sndbuf"), "NAME=VALUE"),
    ],
)
def test_what_hardware_cannot_be_is_a_usage_error(cli: Cli, given: tuple[str, str], said: str) -> None:
    result = cli.run(*CREATE, *given)
    assert result.code == 2
    assert said in " ".join(result.err.replace("│", " ").split())


def test_clone_sends_what_the_options_say_and_keeps_the_machine(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [succeeded()]
    result = cli.run(
        "machine", "clone", "db", "web", "--name", "web-1", "--description", "a copy", "--start",
        "--hostname", "web", "--dhcp", "eth0",
    )  # fmt: skip
    assert result.code == 0, result.err
    sent = daemon.last(machines_pb2.CloneMachineRequest)
    assert (sent.source_key, sent.key, sent.name, sent.description) == ("db", "web", "web-1", "a copy")
    assert (sent.start_with.host_name, sent.start_with.nic_configurations[0].name) == ("web", "eth0")
    assert daemon.last(machines_pb2.ConfirmMachineRequest).key == "web"
    assert "kept" in result.out


def test_clone_tells_the_guest_nothing_without_a_start(cli: Cli, daemon: FakeDaemon) -> None:
    result = cli.run("machine", "clone", "db", "web", "--hostname", "web", "--dhcp", "eth0")
    assert result.code == 2
    assert "--hostname" in result.err
    assert "--start" in result.err
    daemon.script = [succeeded()]
    assert cli.run("machine", "clone", "db", "web").code == 0
    assert not daemon.last(machines_pb2.CloneMachineRequest).HasField("start_with")


def test_adopt_keeps_the_machine_and_shows_it(cli: Cli, daemon: FakeDaemon) -> None:
    vm_id = "11111111-1111-4111-8111-111111111111"
    result = cli.run("machine", "adopt", "web", "--vm-id", vm_id, "--address-nic", "nic1")
    assert result.code == 0, result.err
    sent = daemon.last(machines_pb2.AdoptMachineRequest)
    assert (sent.key, sent.vm_id, list(sent.address_selection.nics)) == ("web", vm_id, ["nic1"])
    assert daemon.last(machines_pb2.ConfirmMachineRequest).key == "web"
    assert "kept" in result.out


def test_stop_may_keep_a_guest_running_that_does_not_obey(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [succeeded()]
    assert cli.run("machine", "stop", "web", "--keep-running").code == 0
    assert daemon.last(machines_pb2.StopMachineRequest).keep_running


def test_restart(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [succeeded()]
    assert cli.run("machine", "restart", "web", "--force").code == 0
    assert daemon.last(machines_pb2.RestartMachineRequest).force


def test_ignition_and_answer_files_are_read_from_files(cli: Cli, daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = [succeeded()]
    (tmp_path / "file").write_text("{}")
    assert cli.run(*CREATE, "--start", "--ignition", str(tmp_path / "file")).code == 0
    assert daemon.last(machines_pb2.CreateMachineRequest).start_with.ignition == "{}"
    daemon.script = [succeeded()]
    assert cli.run(*CREATE, "--start", "--sysprep", str(tmp_path / "file")).code == 0
    sent = daemon.last(machines_pb2.CreateMachineRequest)
    assert sent.start_with.sysprep.unattend_xml == "{}"
    assert not sent.HasField("address_selection"), "what was said before goes on"
    assert "only with --start" in cli.run(*CREATE, "--sysprep", str(tmp_path / "file")).err


def test_an_interface_with_dhcp_gets_no_other_ipv4_address(cli: Cli) -> None:
    result = cli.run(*CREATE, "--start", "--dhcp", "eth0", "--address", "eth0=10.11.0.5/24")
    assert result.code == 2
    assert "another IPv4" in result.err


def test_a_static_address_may_be_any_of_a_range(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [succeeded()]
    cli.run(*CREATE, "--start", "--address", "eth0=10.11.0.50-10.11.0.99/24,10.11.0.1")
    (nic,) = daemon.last(machines_pb2.CreateMachineRequest).start_with.nic_configurations
    assert (nic.static_range, nic.static_address, nic.gateway) == (
        "10.11.0.50-10.11.0.99/24",
        "",
        "10.11.0.1",
    )


def test_a_static_address_without_interface_is_a_usage_error(cli: Cli) -> None:
    result = cli.run(*CREATE, "--start", "--address", "10.11.0.5/24")
    assert result.code == 2
    assert "eth0=10.11.0.5/24" in result.err


def test_json_is_the_operation_under_the_names_of_the_schema(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [succeeded()]
    told = cli.run(*CREATE, "--output", "json").json
    assert told["state"] == "STATE_SUCCEEDED"
    assert told["machine"]["addresses"][0]["ip"] == "127.0.0.5"
    assert told["machine"]["template_id"] == ""


def test_a_log_gets_a_line_for_each_phase_and_each_ten_percent(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [
        operation(2, phase="creating", percent=1, progress="disk d is locked"),
        operation(3, phase="creating", percent=4),
        operation(4, phase="creating", percent=15),
        operation(5, phase="booting", percent=16),
        succeeded(),
    ]
    lines = [line for line in cli.run(*CREATE).err.splitlines() if line.startswith("[")]
    assert [line.split("] ")[1] for line in lines] == [
        "CreateMachine   1 % creating: disk d is locked",
        "CreateMachine  15 % creating",
        "CreateMachine  16 % booting",
    ]


def test_the_watch_is_taken_up_again_where_it_broke(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [operation(7, phase="creating"), grpc.StatusCode.UNAVAILABLE, succeeded()]
    assert cli.run(*CREATE).code == 0
    assert daemon.last(operations_pb2.WatchOperationRequest).after_revision == 7


def test_a_failed_operation_tells_all_that_is_known(cli: Cli, daemon: FakeDaemon) -> None:
    failed = operation(5, state=Operation.STATE_FAILED)
    failed.error.CopyFrom(
        Error(
            code=code_pb2.ABORTED,
            message="VM web [1] went down",
            phase="booting",
            engine_text="Exit message: Lost connection with qemu process.",
            correlation_id="op-77",
            advice="Look at the engine's events.",
        )
    )
    daemon.script = [failed]
    result = cli.run(*CREATE)
    assert result.code == 1
    for part in (
        "VM web [1] went down",
        "booting",
        "Lost connection with qemu",
        "op-77",
        "Look at the engine's",
    ):
        assert part in result.err


def test_all_violations_are_listed(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.refusal = Error(
        code=code_pb2.NOT_FOUND,
        reason="REFERENCES_NOT_FOUND",
        message="spec.cluster: no cluster 'Defualt'; did you mean 'Default'?; "
        "spec.nics[0].vnic_profile: no vNIC profile 'x'",
        violations=[
            FieldViolation(field="spec.cluster", description="no cluster 'Defualt'; did you mean 'Default'?"),
            FieldViolation(field="spec.nics[0].vnic_profile", description="no vNIC profile 'x'"),
        ],
    )
    result = cli.run(*CREATE, "--output", "json")
    assert result.code == 4
    assert result.err.splitlines()[:3] == [
        "error: 2 things are wrong:",
        "  spec.cluster: no cluster 'Defualt'; did you mean 'Default'?",
        "  spec.nics[0].vnic_profile: no vNIC profile 'x'",
    ]
    assert result.json["error"]["reason"] == "REFERENCES_NOT_FOUND"
    assert len(result.json["error"]["violations"]) == 2


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (code_pb2.INVALID_ARGUMENT, 2),
        (code_pb2.NOT_FOUND, 4),
        (code_pb2.ALREADY_EXISTS, 5),
        (code_pb2.FAILED_PRECONDITION, 6),
        (code_pb2.PERMISSION_DENIED, 7),
        (code_pb2.DEADLINE_EXCEEDED, 8),
        (code_pb2.UNAVAILABLE, 9),
        (code_pb2.CANCELLED, 10),
        (code_pb2.INTERNAL, 1),
    ],
)
def test_each_class_of_error_has_its_exit_code(
    cli: Cli, daemon: FakeDaemon, code: int, exit_code: int
) -> None:
    daemon.refusal = Error(code=code, message="no")
    assert cli.run("machine", "list").code == exit_code


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_cancels_and_waits_for_the_undo(
    cli: Cli, daemon: FakeDaemon, number: signal.Signals, exit_code: int
) -> None:
    daemon.script = [operation(2, phase="creating")]
    process = cli.start(*CREATE)
    assert process.stderr is not None
    assert "creating" in process.stderr.readline()
    assert cli.interrupt(process, number).code == exit_code
    cancelled = daemon.last(operations_pb2.CancelOperationRequest)
    assert cancelled.id == operation().id


def test_an_interrupt_before_the_daemon_has_answered_cancels_too(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.answers.clear()
    process = cli.start(*CREATE)
    assert daemon.asked.wait(DEADLINE)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "Interrupted" in process.stderr.readline()
    daemon.answers.set()
    assert cli.result(process).code == 130
    assert daemon.cancelled.is_set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_hold_renews_until_ctrl_c(cli: Cli, daemon: FakeDaemon, number: signal.Signals) -> None:
    daemon.script = [succeeded()]
    # As a shell starts what it is to run in the background.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = cli.start(*CREATE, "--hold")
    finally:
        signal.signal(signal.SIGINT, before)
    assert daemon.renewed.acquire(timeout=DEADLINE)
    daemon.missed = [machines_pb2.RenewLeaseRequest]
    for _ in range(3):
        assert daemon.renewed.acquire(timeout=DEADLINE)
    result = cli.interrupt(process, number)
    assert result.code == (0 if number == signal.SIGINT else 143)
    assert "Not renewed this time" in result.err
    assert "No longer renewed" in result.err
    assert not daemon.cancelled.is_set()


def test_no_wait_prints_the_operation_at_once(cli: Cli, daemon: FakeDaemon) -> None:
    assert cli.run(*CREATE, "--no-wait", "-o", "json").json["state"] == "STATE_RUNNING"


def test_the_given_request_id_is_sent(cli: Cli, daemon: FakeDaemon) -> None:
    request_id = "6a5a1b8e-0d2f-4c79-9a43-0d5b8d1d7f10"
    cli.run(*CREATE, "--no-wait", "--request-id", request_id)
    assert daemon.last(machines_pb2.CreateMachineRequest).request_id == request_id


def test_list_shows_every_page(cli: Cli, daemon: FakeDaemon) -> None:
    rows = cli.run("machine", "list").out.splitlines()
    assert [row.split()[0] for row in rows] == ["KEY", "web", "db"]
    listed = cli.run("machine", "list", "--owner", "uid:7", "-o", "json").json["machines"]
    assert [machine["key"] for machine in listed] == ["web", "db"]
    assert daemon.last(machines_pb2.ListMachinesRequest).owner == "uid:7"


def test_destroy_says_so(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [operation(3, verb="DestroyMachine", state=Operation.STATE_SUCCEEDED)]
    result = cli.run("machine", "destroy", "web", "--owner", "uid:7")
    assert (result.code, result.err.splitlines()[-1]) == (0, "Machine 'web' is gone.")
    assert daemon.last(machines_pb2.DestroyMachineRequest).owner == "uid:7"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--memory", "2GB"), "'2GB' is not a size"),
        (("--nic", "nic1"), "'nic1' is not NIC=PROFILE"),
        (("--request-id", "7"), "'7' is not a UUID"),
        (("--user", "me"), "--user: only with --start"),
        (("--hold", "--no-wait"), "does not go with --no-wait"),
        (("--start", "--ssh-key", "/no/such/key.pub"), "/no/such/key.pub cannot be read"),
    ],
)
def test_wrong_options_are_explained_and_nothing_is_asked(
    cli: Cli, daemon: FakeDaemon, arguments: tuple[str, ...], told: str
) -> None:
    result = cli.run(*CREATE, *arguments)
    assert result.code == 2
    assert told in result.err
    assert not daemon.requests


def test_a_private_key_is_refused(cli: Cli, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nxyz\n")
    result = cli.run(*CREATE, "--start", "--ssh-key", str(tmp_path / "id"))
    assert result.code == 2
    assert "is a private key" in result.err
    assert not daemon.requests


def test_a_machine_is_kept_for_the_time_that_was_given(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.script = [succeeded()]
    assert cli.run(*CREATE, "--ttl", "8h", "--on-failure", "stop").code == 0
    assert daemon.last(machines_pb2.CreateMachineRequest).on_failure == resources_pb2.ON_FAILURE_STOP
    assert daemon.last(machines_pb2.ConfirmMachineRequest).ttl.seconds == 8 * 3600
    assert cli.run("machine", "confirm", "web").code == 0
    assert not daemon.last(machines_pb2.ConfirmMachineRequest).HasField("ttl")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--ttl", "soon"), "'soon' is not a time"),
        (("--ttl", "0h"), "'0h' is not a time"),
        (("--ttl", "8h", "--no-wait"), "does not go with --no-wait"),
        (("--ttl", "8h", "--hold"), "does not go with --hold"),
        (("--on-failure", "kep"), "'kep' is not one of"),
    ],
)
def test_a_wrong_end_is_refused_before_anything_is_made(
    cli: Cli, daemon: FakeDaemon, options: tuple[str, ...], told: str
) -> None:
    result = cli.run(*CREATE, *options)
    assert result.code == 2
    assert told in " ".join(result.err.replace("│", " ").split())
    assert not daemon.requests

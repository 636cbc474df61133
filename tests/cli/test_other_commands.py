import hashlib
from pathlib import Path

import pytest

from ovirt_provision.v1 import backups_pb2, disks_pb2, engines_pb2, machines_pb2, templates_pb2
from ovirt_provision.v1.engines_pb2 import CensusEntry
from ovirt_provision.v1.resources_pb2 import DiskInfo, Operation, SparsifiedDisk, Template

from .conftest import Cli, FakeDaemon, operation


def entry(finding: CensusEntry.Finding.ValueType) -> CensusEntry:
    return CensusEntry(finding=finding, kind="vm", id="1", name="web", detail="a reason")


def test_a_clean_census_ends_with_0(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.census = [entry(CensusEntry.FINDING_OURS), entry(CensusEntry.FINDING_FOREIGN)]
    result = cli.run("census")
    assert result.code == 0
    assert "2 objects, 0 of them leaked or missing" in result.err


@pytest.mark.parametrize("finding", [CensusEntry.FINDING_LEAKED, CensusEntry.FINDING_MISSING])
def test_a_census_with_a_leak_or_a_loss_ends_with_3(
    cli: Cli, daemon: FakeDaemon, finding: CensusEntry.Finding.ValueType
) -> None:
    daemon.census = [entry(CensusEntry.FINDING_OURS), entry(finding)]
    result = cli.run("census", "-o", "json")
    assert result.code == 3
    assert [e["detail"] for e in result.json["entries"]] == ["a reason", "a reason"]


def test_the_engine_of_the_environment_is_named_by_its_fingerprint(
    cli: Cli, daemon: FakeDaemon, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(b"a certificate")
    cli.environment |= {
        "OVIRT_URL": "https://engine/ovirt-engine/api",
        "OVIRT_USERNAME": "admin@internal",
        "OVIRT_CAFILE": str(ca),
    }
    cli.run("machine", "list")
    told = f"https://engine/ovirt-engine/api\nadmin@internal\n{hashlib.sha256(b'a certificate').hexdigest()}"
    assert (
        daemon.last(machines_pb2.ListMachinesRequest).engine.fingerprint
        == hashlib.sha256(told.encode()).hexdigest()
    )

    cli.run("machine", "list", "--engine", "lab")
    named = daemon.last(machines_pb2.ListMachinesRequest).engine
    assert (named.profile, named.fingerprint) == ("lab", "")


def test_a_ca_file_that_cannot_be_read_is_named(cli: Cli, daemon: FakeDaemon) -> None:
    cli.environment |= {"OVIRT_URL": "https://engine/ovirt-engine/api", "OVIRT_CAFILE": "/no/ca.pem"}
    result = cli.run("machine", "list")
    assert result.code == 2
    assert "OVIRT_CAFILE: /no/ca.pem cannot be read" in result.err


def test_no_daemon_at_a_chosen_address(cli: Cli) -> None:
    cli.address = "unix:/nowhere/daemon.sock"
    result = cli.run("machine", "list")
    assert result.code == 9
    assert "no daemon answers at unix:/nowhere/daemon.sock (OVIRT_PROVISION_ADDRESS)" in result.err


def test_a_malformed_address_is_explained(cli: Cli) -> None:
    cli.address = "nowhere"
    result = cli.run("machine", "list")
    assert result.code == 2
    assert "'nowhere' is neither `unix:/path` nor `host:port`" in result.err


def test_a_new_version_of_a_template(cli: Cli, daemon: FakeDaemon) -> None:
    made = Template(name="golden", version=2, version_name="spring")
    daemon.script = [operation(9, state=Operation.STATE_SUCCEEDED, percent=100, template=made)]
    create = ("template", "create", "web", "golden", "--version-name", "spring")
    result = cli.run(*create, "--new-version", "--no-seal")
    assert result.code == 0, result.err
    sent = daemon.last(templates_pb2.CreateTemplateRequest)
    assert (sent.machine_key, sent.name, sent.version_name) == ("web", "golden", "spring")
    assert (sent.new_version, sent.seal) == (True, False)
    assert result.out.split()[:6] == ["name", "golden", "version", "2", "version", "name"]

    alone = cli.run(*create)
    assert alone.code == 2
    assert "--new-version" in alone.err


def test_all_that_a_template_may_be_asked_to_be(cli: Cli, daemon: FakeDaemon) -> None:
    made = Template(name="golden", version=1)
    told = "version 1 (x) of template golden was not removed: it is in use by web"
    daemon.script = [operation(9, state=Operation.STATE_SUCCEEDED, template=made, warnings=[told])]
    options = (
        *("--replace", "--boot-test", "ssh", "--tag", "linux", "--disk-format", "raw"),
        *("--grant", "TemplateOwner=jane@internal", "--grant-group", "UserTemplateBasedVm=Everyone"),
        *("--storage-domain", "data", "--sparsify"),
    )
    result = cli.run("template", "create", "web", "golden", *options)
    assert result.code == 0, result.err
    assert f"warning: {told}" in result.err
    sent = daemon.last(templates_pb2.CreateTemplateRequest)
    assert (sent.replace, sent.HasField("boot_test"), sent.boot_test.address_only) == (True, True, False)
    assert (list(sent.tags), sent.storage_domain, sent.disk_format) == (["linux"], "data", 2)
    assert sent.sparsify
    assert [(p.role, p.user, p.group) for p in sent.permissions] == [
        ("TemplateOwner", "jane@internal", ""),
        ("UserTemplateBasedVm", "", "Everyone"),
    ]

    checked = cli.run("template", "create", "web", "golden", *options, "--dry-run")
    assert (checked.code, checked.out) == (0, "")
    assert daemon.last(templates_pb2.CreateTemplateRequest).validate_only

    for wrong in (("--keep-versions", "2"), ("--replace", "--new-version"), ("--grant", "TemplateOwner")):
        assert cli.run("template", "create", "web", "golden", *wrong).code == 2


def test_a_disk_is_kept(cli: Cli, daemon: FakeDaemon) -> None:
    kept = DiskInfo(name="golden-disk", id="the-id", size_bytes=10 << 30)
    daemon.script = [operation(9, verb="DetachDisk", state=Operation.STATE_SUCCEEDED, disk=kept)]
    result = cli.run("disk", "detach", "web", "golden-disk", "--description", "hardened")
    assert result.code == 0, result.err
    assert "10 GiB" in result.out
    sent = daemon.last(disks_pb2.DetachDiskRequest)
    assert (sent.machine_key, sent.name, sent.description) == ("web", "golden-disk", "hardened")


def test_a_disk_is_sparsified(cli: Cli, daemon: FakeDaemon) -> None:
    less = SparsifiedDisk(name="web_Disk1", id="the-id", bytes_before=5 << 30, bytes_after=1 << 20)
    daemon.script = [operation(9, state=Operation.STATE_SUCCEEDED, sparsified=[less])]
    result = cli.run("disk", "sparsify", "--machine", "web")
    assert result.code == 0, result.err
    assert result.out.splitlines()[1].split() == ["web_Disk1", "5", "GiB", "1", "MiB", "the-id"]
    assert daemon.last(disks_pb2.SparsifyDiskRequest).machine_key == "web"
    for wrong in ((), ("some-id", "--machine", "web")):
        assert cli.run("disk", "sparsify", *wrong).code == 2


def test_a_template_is_exported(cli: Cli, daemon: FakeDaemon) -> None:
    def sent(*arguments: str) -> templates_pb2.ExportTemplateRequest:
        daemon.script = [operation(9, state=Operation.STATE_SUCCEEDED)]
        result = cli.run("template", "export", "web:3", *arguments)
        assert (result.code, "Template web:3 " in result.err) == (0, True), result.err
        request = daemon.last(templates_pb2.ExportTemplateRequest)
        assert (request.template.name, request.template.version) == ("web", 3)
        return request

    for given, directory, file_name in (
        ("host1:/var/tmp", "/var/tmp", ""),
        ("host1:/var/tmp/", "/var/tmp/", ""),
        ("host1:/var/tmp/web.ova", "/var/tmp", "web.ova"),
        ("host1:/web.ova", "/", "web.ova"),
    ):
        ova = sent("--ova", given).ova
        assert (ova.host, ova.directory, ova.file_name) == ("host1", directory, file_name)
    shelf = sent("--export-domain", "shelf", "--replace").export_domain
    assert (shelf.storage_domain, shelf.replace) == ("shelf", True)
    assert sent("--export-domain", "shelf", "--dry-run").validate_only
    for wrong in (
        (),
        ("--ova", "host1:/tmp", "--export-domain", "shelf"),
        ("--ova", "host1:/tmp", "--replace"),
        ("--ova", "/var/tmp"),
        ("--ova", "host1:var/tmp"),
    ):
        assert cli.run("template", "export", "web", *wrong).code == 2


def test_backups(cli: Cli, daemon: FakeDaemon) -> None:
    made = Template(name="web.backup-1f6f0a3c", version=1)

    def run(*arguments: str) -> int:
        daemon.script = [operation(9, state=Operation.STATE_SUCCEEDED, template=made)]
        return cli.run("backup", *arguments).code

    assert run("create", "golden:2", "--to", "vault") == 0
    sent = daemon.last(backups_pb2.CreateBackupRequest)
    assert (sent.template.name, sent.template.version, sent.storage_domain) == ("golden", 2, "vault")
    assert run("create", "--machine", "web", "--to", "vault", "--name", "saved") == 0
    sent = daemon.last(backups_pb2.CreateBackupRequest)
    assert (sent.machine_key, sent.name) == ("web", "saved")
    listed = cli.run("backup", "list", "vault")
    assert listed.out.splitlines()[1].split()[:5] == ["web.backup-1f6f0a3c", "1", "vault", "3", "GiB"]
    assert run("restore", "saved", "--name", "golden", "--to", "data") == 0
    assert daemon.last(backups_pb2.RestoreBackupRequest).backup.name == "saved"
    for arguments, request in (
        (("create", "golden", "--to", "vault"), backups_pb2.CreateBackupRequest),
        (("restore", "saved", "--name", "golden", "--to", "data"), backups_pb2.RestoreBackupRequest),
        (("restore", "saved", "--machine", "web", "--to", "data"), machines_pb2.CreateMachineRequest),
    ):
        checked = cli.run("backup", *arguments, "--dry-run")
        assert (checked.code, checked.out) == (0, "")
        assert daemon.last(request).validate_only
    for command, backup in (("mark", True), ("unmark", False)):
        assert run(command, "the-id") == 0
        assert daemon.last(backups_pb2.MarkBackupDomainRequest).backup == backup
    for wrong in (("create", "--to", "vault"), ("restore", "saved", "--to", "data")):
        assert run(*wrong) == 2


def test_what_is_described_is_found(cli: Cli, daemon: FakeDaemon) -> None:
    daemon.templates = [Template(name="golden", version=3, tags=["linux"])]
    found = cli.run("template", "find", "--regex", "^gold", "--tag", "linux", "--latest")
    assert found.code == 0, found.err
    assert "golden" in found.out
    sent = daemon.last(templates_pb2.FindTemplateRequest)
    assert (sent.name_regex, list(sent.tags), sent.latest) == ("^gold", ["linux"], True)

    listed = cli.run("disk", "list", "--content-type", "iso")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["NAME", "disk-1", "disk-2"]
    assert daemon.last(disks_pb2.ListDisksRequest).content_type == "iso"

    network = cli.run("network", "find", "ovirtmgmt", "--data-center", "Default")
    assert "ovirtmgmt/ovirtmgmt" in network.out
    assert cli.run("network", "find", "ovirtmgmt", "--regex", "^o").code == 2


def test_a_template_is_found_by_name_and_version(cli: Cli, daemon: FakeDaemon) -> None:
    ids = ["00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"]
    daemon.templates = [
        Template(name="golden", version=version, id=template_id)
        for version, template_id in enumerate(ids, start=1)
    ]
    daemon.script = [operation(3, verb="DestroyTemplate", state=Operation.STATE_SUCCEEDED)]
    assert cli.run("template", "destroy", "golden:2").code == 0
    assert daemon.last(templates_pb2.DestroyTemplateRequest).id == ids[1]

    ambiguous = cli.run("template", "destroy", "golden")
    assert ambiguous.code == 2
    assert "has the versions 1, 2; name one, such as golden:2" in ambiguous.err

    absent = cli.run("template", "destroy", "goldn")
    assert absent.code == 4
    assert "did you mean 'golden'?" in absent.err


def test_engines_are_listed(cli: Cli, daemon: FakeDaemon) -> None:
    assert "lab" in cli.run("engine", "list").out
    assert daemon.last(engines_pb2.ListEnginesRequest)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "machine",
        "machine create",
        "template create",
        "disk detach",
        "network list",
        "operation watch",
        "census",
        "doctor",
        "engine trust",
        "serve",
        "simulate",
    ],
)
def test_help_needs_no_daemon(cli: Cli, command: str) -> None:
    cli.address = "unix:/nowhere/daemon.sock"
    assert "Usage: ovirt-provision" in cli.run(*command.split(), "--help").out


def test_the_simulator_tells_what_it_covers(cli: Cli) -> None:
    lines = cli.run("simulate", "--coverage").out.splitlines()
    count = int(lines[-1].split()[0])
    assert lines[-1] == f"{count} of 862 operations are simulated"
    assert sum(line.split()[-1] == "yes" for line in lines[:-1]) == count
    assert any(line.split() == ["VmsService", "Add", "POST", "/vms", "yes"] for line in lines)

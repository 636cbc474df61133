"""What an examination says of an engine in good order, and of each thing that can be wrong with it."""

import asyncio
import dataclasses
import socket
from collections.abc import Callable

import pytest

from ovirt_provision.config import EngineProfile, Timeouts
from ovirt_provision.engine import Engine
from ovirt_provision.engine.certificate import Certificate
from ovirt_provision.engine.inventory import Grant, Inventory
from ovirt_provision.operations import examination
from ovirt_provision.operations.examination import OK, PROBLEM, WARNING, Finding, examine
from ovirt_provision.simulator.certificates import make_certificates
from tests.harness import ENGINE, Site, spec

EVERYTHING = {
    "images",
    "connection",
    "certificate",
    "login",
    "version",
    "clock",
    "read-vms",
    "read-templates",
    "read-clusters",
    "read-vnic-profiles",
    "read-events",
    "read-jobs",
    "create-vms",
    "create-templates",
    "verbs",
    "hosts",
    "storage",
    "templates",
    "leftovers",
}
GIB = 1 << 30


async def examined(
    site: Site, before: Callable[[], None] = lambda: None, **changes: object
) -> dict[str, Finding]:
    """Findings by name; keyword arguments change the engine's profile, `before` is called once it is read."""
    site.simulator.world.timing = site.simulator.world.timing.model_copy(update={"refused_login": 0.0})
    profile = {
        "url": site.simulator.url,
        "username": site.simulator.username,
        "password": site.simulator.password,
        "ca_file": site.simulator.ca_file,
    }
    engine = Engine(
        ENGINE,
        EngineProfile.model_validate(profile | changes),
        Timeouts(engine_connect=2, engine_request=5),
        site.clock,
    )
    before()
    try:
        findings = await examine(engine, site.bridge.ledger, site.bridge.installation, site.clock)
    finally:
        await engine.close()
    found = {finding.name: finding for finding in findings}
    assert len(found) == len(findings)
    assert all(bool(finding.advice) == (finding.severity != OK) for finding in findings), findings
    return found


def odd(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.severity for name, finding in found.items() if finding.severity != OK}


@pytest.fixture
def examine_when(site, run_virtually):
    """Examines an engine after `prepare(simulator)`; keyword arguments change the profile."""

    def run(prepare=lambda _: None, **changes):
        async def scenario():
            async with site() as s:
                prepare(s.simulator)
                return await examined(s, **changes)

        return run_virtually(scenario())

    return run


def test_an_engine_in_good_order(examine_when):
    found = examine_when()
    assert set(found) == EVERYTHING
    assert odd(found) == {}
    assert "expires in 29 days" in found["certificate"].summary
    assert "SuperUser (system)" in found["create-vms"].summary


def test_a_daemon_without_qemu_img_says_how_to_get_it(examine_when, monkeypatch):
    monkeypatch.setattr(examination, "missing", lambda: ["qemu-img"])
    found = examine_when()
    assert odd(found) == {"images": WARNING}
    assert "qemu-utils" in found["images"].advice


def test_it_changes_nothing_and_logs_in_once(site, run_virtually):
    async def scenario():
        async with site() as s:
            await examined(s)
            requests = s.simulator.requests
            assert not [request for request in requests if request.mutates]
            assert sum("oauth/token" in request.path for request in requests) == 1

    run_virtually(scenario())


def test_a_wrong_password(examine_when):
    found = examine_when(password="canary-7f3a")
    assert odd(found) == {"login": PROBLEM}
    assert set(found) == {"connection", "certificate", "login"}
    assert "Cannot authenticate user 'admin@internal'" in found["login"].summary
    assert "password" in found["login"].advice
    assert "canary" not in repr(found)


def test_a_wrong_ca(examine_when, tmp_path):
    other, _ = make_certificates(tmp_path / "other", "127.0.0.1")
    found = examine_when(ca_file=str(other))
    assert odd(found) == {"certificate": PROBLEM}
    assert "login" not in found
    assert "ovirt-provision engine trust" in found["certificate"].advice


@pytest.mark.parametrize(
    "content", ["-----BEGIN CERTIFICATE-----\ntorn\n-----END CERTIFICATE-----\n", None], ids=["torn", "gone"]
)
def test_a_ca_file_that_cannot_be_used_is_not_taken_for_a_bad_network(site, run_virtually, tmp_path, content):
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n")

    def spoil():
        file.unlink()
        if content:
            file.write_text(content)

    async def scenario():
        async with site() as s:
            return await examined(s, spoil, ca_file=str(file))

    found = run_virtually(scenario())
    assert odd(found) == {"certificate": PROBLEM}
    assert str(file) in found["certificate"].summary


def test_a_profile_without_tls_is_warned_of(examine_when):
    found = examine_when(url="http://127.0.0.1:1/ovirt-engine/api", insecure=True, ca_file=None)
    assert odd(found) == {"certificate": WARNING, "login": PROBLEM}


def test_a_name_that_the_certificate_is_not_for(site, run_virtually, monkeypatch):
    resolve = socket.getaddrinfo

    async def scenario():
        async with site() as s:
            monkeypatch.setattr(
                socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
            )
            return await examined(s, url=s.simulator.url.replace("127.0.0.1", "other.example"))

    found = run_virtually(scenario())
    assert odd(found) == {"certificate": PROBLEM}
    assert "not valid for 'other.example'" in found["certificate"].summary


def test_an_engine_that_is_down(examine_when):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}/ovirt-engine/api"
        found = examine_when(url=url)
    assert odd(found) == {"connection": PROBLEM}
    assert set(found) == {"connection"}
    assert "Connection refused" in found["connection"].summary


def test_an_engine_that_is_being_restarted(examine_when):
    found = examine_when(lambda simulator: simulator.world.injections.arm("unavailable", path="/"))
    assert odd(found) == {"login": PROBLEM}
    assert "text/html" in found["login"].summary


def test_an_account_without_any_role(examine_when):
    # Such a user gets a token, and 401 for everything (behaviour.md 3).
    found = examine_when(lambda simulator: simulator.world.injections.arm("unauthorized", path="/", times=2))
    assert odd(found) == {"login": PROBLEM}
    assert "PowerUserRole" in found["login"].advice


@pytest.mark.parametrize(
    ("collection", "name", "severity"),
    [
        ("/jobs", "read-jobs", WARNING),
        ("/events", "read-events", WARNING),
        ("/vms", "read-vms", PROBLEM),
        ("/vnicprofiles", "read-vnic-profiles", PROBLEM),
    ],
)
def test_what_the_account_may_not_read(examine_when, collection, name, severity):
    found = examine_when(
        lambda simulator: simulator.world.injections.arm("forbidden", path=collection, times=9)
    )
    assert found[name].severity == severity
    assert found[name].advice


def test_forbidden_jobs_are_told_in_the_engines_words(examine_when):
    found = examine_when(lambda simulator: simulator.world.injections.arm("forbidden", path="/jobs"))
    assert odd(found) == {"read-jobs": WARNING}
    assert "insufficient permissions" in found["read-jobs"].summary


@pytest.mark.parametrize(
    ("role", "wanted"),
    [
        # It shows nothing that lies below its object, so no template.
        ("PowerUserRole", {"read-jobs": WARNING, "templates": WARNING}),
        ("UserRole", {"read-jobs": WARNING, "create-vms": PROBLEM, "create-templates": WARNING}),
    ],
)
def test_what_the_account_may_make(examine_when, role, wanted):
    def give(simulator):
        simulator.world.role = role

    assert odd(examine_when(give)) == wanted


def granted(permit, scope):
    return Grant(f"{permit}-role", False, frozenset([permit]), scope)


@pytest.mark.parametrize(
    ("grants", "wanted"),
    [
        # Everybody may use the template Blank; that alone makes no VM in any cluster.
        (
            [granted("create_vm", "template")],
            {"create-vms": PROBLEM, "create-templates": WARNING, "use-networks": WARNING},
        ),
        # Nor does a cluster without any template.
        (
            [granted("create_vm", "cluster"), granted("create_disk", "storage_domain")],
            {"create-vms": PROBLEM, "create-templates": WARNING, "use-networks": WARNING},
        ),
        (
            [granted("create_vm", "data_center"), granted("configure_vm_network", "system")],
            {"create-vms": WARNING, "create-templates": WARNING},
        ),
        (
            [
                granted("create_vm", "data_center"),
                granted("create_disk", "storage_domain"),
                granted("configure_vm_network", "vm"),
            ],
            {"create-templates": WARNING, "use-networks": WARNING},
        ),
        (
            [
                granted(permit, "data_center")
                for permit in ("create_vm", "create_disk", "create_template", "configure_vm_network")
            ],
            {},
        ),
        (
            [
                granted("create_vm", "data_center"),
                granted("create_disk", "disk"),
                granted("create_template", "vm"),
                granted("configure_vm_network", "system"),
            ],
            {"create-vms": WARNING, "create-templates": WARNING},
        ),
    ],
)
def test_a_permission_counts_where_it_is_needed(examine_when, monkeypatch, grants, wanted):
    async def given(_inventory, _user_id):
        return grants

    monkeypatch.setattr(Inventory, "grants", given)
    assert odd(examine_when()) == wanted


def test_the_permits_that_each_verb_lacks_are_named(examine_when, monkeypatch):
    permits = frozenset({"create_vm", "create_disk", "create_template", "run_vm", "stop_vm", "delete_vm"})

    async def given(_inventory, _user_id):
        return [Grant("builder", True, permits, "system")]

    monkeypatch.setattr(Inventory, "grants", given)
    found = examine_when()
    assert odd(found) == {"verbs": WARNING}
    assert found["verbs"].summary == (
        "CreateMachine lacks configure_vm_network, configure_vm_storage; "
        "CloneMachine lacks manipulate_vm_snapshots; StopMachine lacks shut_down_vm; "
        "DestroyTemplate lacks delete_template; ExportTemplate lacks import_export_vm; "
        "DetachDisk lacks configure_vm_storage, edit_disk_properties; DestroyDisk lacks delete_disk; "
        "SparsifyDisk lacks sparsify_disk; SendKeys lacks connect_to_vm; "
        "ImportImage lacks edit_disk_properties, attach_disk, configure_vm_storage"
    )


def test_permissions_that_may_not_be_looked_at_are_not_guessed(examine_when):
    found = examine_when(
        lambda simulator: simulator.world.injections.arm("forbidden", path="/users/.*", times=9)
    )
    assert odd(found) == {"create-vms": WARNING, "create-templates": WARNING}
    assert "is not known" in found["create-vms"].summary


def test_no_host_is_up(examine_when):
    def stop(simulator):
        for host in simulator.world.hosts.values():
            host.status = "maintenance"

    found = examine_when(stop)
    assert odd(found) == {"hosts": PROBLEM}
    assert "is maintenance" in found["hosts"].summary


@pytest.mark.parametrize(("role", "severity"), [("SuperUser", PROBLEM), ("PowerUserRole", WARNING)])
def test_no_host_at_all_or_only_none_to_be_seen(examine_when, role, severity):
    def clear(simulator):
        simulator.world.role = role
        simulator.world.hosts.clear()

    assert odd(examine_when(clear))["hosts"] == severity


def test_a_cluster_without_a_host_is_named(examine_when):
    def add(simulator):
        cluster = next(iter(simulator.world.clusters.values()))
        empty = dataclasses.replace(cluster, id="00000000-0000-4000-8000-000000000002", name="empty")
        simulator.world.clusters[empty.id] = empty

    found = examine_when(add)
    assert odd(found) == {"hosts": WARNING}
    assert "none of them in cluster empty" in found["hosts"].summary


def each_domain(**fields):
    def change(simulator):
        for domain in simulator.world.domains.values():
            for name, value in fields.items():
                setattr(domain, name, value)

    return change


@pytest.mark.parametrize(
    ("fields", "severity", "told"),
    [
        ({"status": "maintenance"}, PROBLEM, "is maintenance"),
        ({"backup": True}, PROBLEM, "is for backups"),
        ({"available": 4 * GIB, "used": 900 * GIB}, PROBLEM, "4 GiB free"),
        ({"available": 40 * GIB, "used": 900 * GIB}, WARNING, "40 GiB free"),
        ({"available": 400 * GIB, "used": 900 * GIB}, OK, "400 GiB free"),
    ],
)
def test_storage(examine_when, fields, severity, told):
    found = examine_when(each_domain(**fields))
    assert found["storage"].severity == severity
    assert told in found["storage"].summary


def test_no_template_has_a_disk(examine_when):
    def strip(simulator):
        for template in simulator.world.templates.values():
            template.attachments.clear()

    assert odd(examine_when(strip)) == {"templates": WARNING}


def test_an_illegal_template_is_named(examine_when):
    def break_it(simulator):
        template = next(t for t in simulator.world.templates.values() if t.name == "debian-12")
        simulator.world.templates["0" * 8] = dataclasses.replace(
            template, id="00000000-0000-4000-8000-000000000001", name="torn", status="illegal"
        )

    found = examine_when(break_it)
    assert odd(found) == {"templates": WARNING}
    assert "torn illegal" in found["templates"].summary


def test_clocks_that_differ(examine_when, virtual_clock, monkeypatch):
    ours = virtual_clock.time
    examine = examination.examine

    async def examine_late(engine, ledger, installation, clock):
        monkeypatch.setattr(clock, "time", lambda: ours() - 90)
        return await examine(engine, ledger, installation, clock)

    monkeypatch.setitem(globals(), "examine", examine_late)
    found = examine_when()
    assert odd(found) == {"clock": WARNING}
    assert "90 s ahead of" in found["clock"].summary


@pytest.mark.parametrize(("days", "severity"), [(15, OK), (13, WARNING), (-1, WARNING)])
def test_a_certificate_near_its_end(examine_when, monkeypatch, days, severity):
    certificate = Certificate("CN=engine", "CN=ca", (days + 0.5) * 86400)
    monkeypatch.setattr("ovirt_provision.engine.session.read_certificate", lambda *_, **__: certificate)
    found = examine_when()
    assert found["certificate"].severity == severity
    assert ("has expired" if days < 0 else f"expires in {days} days") in found["certificate"].summary


def test_an_insecure_profile(examine_when):
    found = examine_when(insecure=True, ca_file=None)
    assert odd(found) == {"certificate": WARNING}


def test_leftovers(site, run_virtually):
    async def scenario():
        async with site() as s:
            await s.run("CreateMachine", key="web", spec=spec())
            assert odd(await examined(s)) == {}
            vm = next(iter(s.simulator.world.vms.values()))
            del s.simulator.world.vms[vm.id]
            found = await examined(s)
            assert odd(found) == {"leftovers": WARNING}
            assert "1 missing" in found["leftovers"].summary
            assert "ovirt-provision census" in found["leftovers"].advice

    run_virtually(scenario())


def test_an_engine_that_hangs_is_told_in_time(site, run_virtually):
    async def scenario():
        async with site() as s:
            with socket.create_server(("127.0.0.1", 0)) as silent:
                url = f"https://127.0.0.1:{silent.getsockname()[1]}/ovirt-engine/api"
                found = await asyncio.wait_for(examined(s, url=url), 30)
        assert odd(found) == {"connection": PROBLEM}

    run_virtually(scenario())

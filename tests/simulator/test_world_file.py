"""Worlds of one's own: `--data FILE`."""

import pytest
import yaml
from ovirtsdk4 import types

from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.documents import DocumentError
from ovirt_provision.simulator.world_file import WorldFile, read

WORLD = """
password: secret
data_centers: [{name: East, description: the other one}]
mac_pools: [{name: small, first: "02:00:00:00:00:01", last: "02:00:00:00:00:02"}]
clusters: [{name: c2, data_center: East, mac_pool: small}]
hosts: [{name: host1, status: maintenance}, {name: host2}, {name: host3, cluster: c2}]
storage_domains: [{name: fast, available: 10GiB, used: 1GiB}]
networks: [{name: lab, vlan: 7}, {name: dmz, clusters: [Default, c2], vnic_profiles: [dmz-filtered]}]
tags: [{name: team}, {name: web, parent: team}]
templates: [{name: golden, memory: 2GiB, cpus: 2, disk: 20GiB}, {name: golden, description: newer}]
vms:
  - {name: web, id: 6a0f1a52-0000-4000-8000-000000000001, template: golden, tags: [web], comment: mine}
  - {name: node, count: 3, status: up}
disks: [{name: spare, size: 1GiB, storage_domain: fast, status: illegal}]
faults: [{fault: unavailable, path: /hosts}]
"""


def test_a_world_is_as_its_file_says(play, tmp_path):
    file = tmp_path / "world.yaml"
    file.write_text(WORLD)

    async def scenario(lab):
        root = lab.system
        assert lab.simulator.password == "secret"
        assert (await lab.request("GET", "/hosts")).status == 503
        hosts = await lab.call(root.hosts_service().list)
        assert {(host.name, host.status.value) for host in hosts} == {
            ("host1", "maintenance"),
            ("host2", "up"),
            ("host3", "up"),
        }
        centers = await lab.call(root.data_centers_service().list)
        assert [center.name for center in centers] == ["Default", "East"]
        (web,) = await lab.call(lab.vms.list, search="tag=team")
        assert (web.id, web.comment, web.name) == ("6a0f1a52-0000-4000-8000-000000000001", "mine", "web")
        newest = lab.world.templates_named("golden")[0]
        assert (web.template.id, newest.version_number, newest.description) == (newest.id, 2, "newer")
        nodes = await lab.call(lab.vms.list, search="name=node-*")
        assert [(vm.name, vm.status) for vm in nodes] == [
            (f"node-{number}", types.VmStatus.UP) for number in (1, 2, 3)
        ]
        (disk,) = await lab.call(root.disks_service().list, search="name=spare")
        assert (disk.provisioned_size, disk.status) == (1 << 30, types.DiskStatus.ILLEGAL)
        (domain,) = await lab.call(root.storage_domains_service().list, search="name=fast")
        assert (domain.available, domain.master) == (10 << 30, False)
        profiles = await lab.call(root.vnic_profiles_service().list)
        assert {"dmz", "dmz-filtered"} <= {profile.name for profile in profiles}

    play(scenario, data=file)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("vmz: []", "vmz: is not a known key; did you mean 'vms'?"),
        ("vms: [{nam: web}]", "vms[0].name: is required"),
        ("vms: [{name: web, memry: 1GiB}]", "vms[0].memry: is not a known key; did you mean 'memory'?"),
        ("vms: [{name: web, status: paused}]", "vms[0].status: must be 'down' or 'up', not 'paused'"),
        ("vms: [{name: web, memory: much}]", "vms[0].memory: could not parse value"),
        ("vms: [{name: 'a b'}]", "vms[0].name: String should match pattern"),
        (
            "vms: [{name: web, template: debian-21}]",
            "vms[0].template: there is no template 'debian-21'; did you mean 'debian-12'?",
        ),
        ("hosts: [{name: h, cluster: c}]", "hosts[0].cluster: there is no cluster 'c'; there are: Default"),
        ("vms: [{name: web}, {name: web}]", "vms[1].name: there is a VM 'web' already"),
        ("vms: [{name: web, count: 70000}]", "vms[0].count: the default MAC pool has not so many addresses"),
        (
            "hosts: [{name: host1, status: maintenance}]\nvms: [{name: web, status: up}]",
            "vms[0].status: cluster 'Default' has no host that is up",
        ),
        ("faults: [{fault: rest}]", "faults[0].fault: there is no fault 'rest'; did you mean 'reset'?"),
        ("- a", "must be a valid dictionary"),
        ("roles: [{name: a, permits: [create_wm]}]", "roles[0].permits[0]: there is no permit 'create_wm'"),
        (
            "users: [{name: a, password: b, permissions: [{role: VmCreatr}]}]",
            "users[0].permissions[0].role: there is no role 'VmCreatr'; did you mean 'VmCreator'?",
        ),
        (
            "users: [{name: a, password: b, permissions: [{role: UserRole, vm: x, cluster: Default}]}]",
            "users[0].permissions[0]: is on one object, not on cluster, vm",
        ),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_told_by_field_with_the_near_miss(tmp_path, written, said):
    file = tmp_path / "world.yaml"
    file.write_text(written)
    with pytest.raises(DocumentError) as refused:
        Simulator(data=file)
    assert refused.value.problems[0].startswith(said)
    assert str(refused.value).startswith(f"{file}: ")


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    file = tmp_path / "world.yaml"
    file.write_text("vms: [{name: a, template: x, cluster: y}, {name: b, tags: [z]}]")
    with pytest.raises(DocumentError) as refused:
        Simulator(data=file)
    assert len(refused.value.problems) == 3


def test_a_password_is_not_in_an_error(tmp_path):
    file = tmp_path / "world.yaml"
    file.write_text(yaml.dump({"password": ["secret-canary"], "vms": 1}))
    with pytest.raises(DocumentError) as refused:
        read(file)
    assert "secret-canary" not in str(refused.value)
    world = {"password": "secret-canary", "users": [{"name": "a", "password": "secret-canary"}]}
    assert "secret-canary" not in repr(WorldFile.model_validate(world))

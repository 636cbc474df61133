"""The reader of the config drive, run on a file tree of its own instead of a guest."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ovirt_provision.simulator.guests import first_boot

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEq8 somebody"
# As the engine writes it, before the custom script that is appended as text.
ENGINE_USER_DATA = """#cloud-config
{user}disable_root: false
output:
  all: '>> /var/log/cloud-init-output.log'
runcmd:
- 'sed -i ''/^datasource_list: /d'' /etc/cloud/cloud.cfg'
chpasswd:
  expire: false
ssh_pwauth: true
"""


class FakeGuest(first_boot.Guest):
    """A guest whose commands are only written down; `useradd` adds a line to /etc/passwd."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.commands: list[tuple[str, ...]] = []
        self.owners: dict[str, str] = {}

    def run(self, *command: str, text: str | None = None) -> None:
        self.commands.append((*command, text) if text else command)
        if command[0] == "useradd":
            with self.path("/etc/passwd").open("a") as passwd:
                passwd.write(f"{command[-1]}:x:1000:1000::/home/{command[-1]}:/bin/bash\n")

    def own(self, path: Path, user: str, group: str | None = None) -> None:
        self.owners["/" + str(path.relative_to(self.root))] = f"{user}:{group or user}"

    def text(self, path: str) -> str:
        return self.path(path).read_text()


@pytest.fixture
def guest(tmp_path: Path) -> FakeGuest:
    root = tmp_path / "root"
    for folder in ("etc/ssh/sshd_config.d", "etc/sudoers.d", "etc/network", "root", "sys/class/net/eth0"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/hosts").write_text("127.0.0.1\tlocalhost\n")
    (root / "etc/ssh/ssh_host_ed25519_key").write_text("of the template")
    return FakeGuest(root)


@pytest.fixture
def boot(tmp_path: Path, guest: FakeGuest) -> Callable[..., list[str]]:
    """Boots the guest from a drive; returns what it complains about."""

    def run(
        user_data: str = "",
        *,
        user: str = "",
        network: object = None,
        files: dict[str, str] | None = None,
        **meta: object,
    ) -> list[str]:
        drive = tmp_path / "drive"
        latest = drive / "openstack/latest"
        latest.mkdir(parents=True, exist_ok=True)
        (latest / "meta_data.json").write_text(json.dumps({"uuid": "instance-1", **meta}))
        text = ENGINE_USER_DATA.format(user=f"user: {user}\n" if user else "") + user_data
        (latest / "user_data").write_text(text)
        if network is not None:
            (latest / "network_data.json").write_text(json.dumps(network))
        for path, content in (files or {}).items():
            (drive / path).parent.mkdir(parents=True, exist_ok=True)
            (drive / path).write_text(content)
        said: list[str] = []
        first_boot.apply(drive, guest, said.append)
        return said

    return run


def test_the_user_of_the_drive_gets_the_keys_and_sudo(
    boot: Callable[..., list[str]], guest: FakeGuest
) -> None:
    assert boot(user="packer", public_keys=[KEY]) == []
    assert ("useradd", "--create-home", "--shell", "/bin/bash", "packer") in guest.commands
    assert guest.text("/home/packer/.ssh/authorized_keys") == KEY + "\n"
    assert guest.owners["/home/packer/.ssh/authorized_keys"] == "packer:packer"
    assert guest.text("/etc/sudoers.d/90-cloud-init-users") == "packer ALL=(ALL) NOPASSWD:ALL\n"
    for path, mode in (("/home/packer/.ssh", 0o700), ("/home/packer/.ssh/authorized_keys", 0o600)):
        assert stat.S_IMODE(guest.path(path).stat().st_mode) == mode


def test_root_gets_the_keys_too_because_the_engine_enables_root(
    boot: Callable[..., list[str]], guest: FakeGuest
) -> None:
    boot(user="packer", public_keys=[KEY])
    assert guest.text("/root/.ssh/authorized_keys") == KEY + "\n"


def test_a_drive_that_names_nobody_makes_the_distribution_user(
    boot: Callable[..., list[str]], guest: FakeGuest
) -> None:
    boot(public_keys=[KEY])
    assert guest.text("/home/debian/.ssh/authorized_keys") == KEY + "\n"


def test_a_new_key_is_added_to_those_that_are_there(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    boot(user="packer", public_keys=[KEY])
    other = KEY.replace("somebody", "somebody-else")
    boot(user="packer", public_keys=[other, KEY], uuid="instance-2")
    assert guest.text("/home/packer/.ssh/authorized_keys").splitlines() == [KEY, other]
    assert [command[0] for command in guest.commands].count("useradd") == 1


def test_an_instance_is_set_up_once(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    boot(hostname="one")
    boot(hostname="two")
    assert guest.text("/etc/hostname") == "one\n"
    boot(hostname="two", uuid="instance-2")
    assert guest.text("/etc/hostname") == "two\n"


@pytest.mark.parametrize(
    ("setting", "kept"), [("", False), ("ssh_deletekeys: true\n", False), ("ssh_deletekeys: false\n", True)]
)
def test_a_new_instance_loses_the_host_keys_of_its_template(
    boot: Callable[..., list[str]], guest: FakeGuest, setting: str, kept: bool
) -> None:
    boot(setting)
    assert guest.path("/etc/ssh/ssh_host_ed25519_key").exists() is kept


def test_the_hostname_resolves(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    boot(hostname="web.example.org")
    assert guest.text("/etc/hostname") == "web\n"
    assert guest.text("/etc/hosts").splitlines() == ["127.0.0.1\tlocalhost", "127.0.1.1\tweb.example.org web"]


def test_users_of_the_custom_script(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    users = [
        "default",
        {"name": "ops", "groups": ["adm", "sudo"], "sudo": ["ALL=(ALL) ALL"], "ssh_authorized_keys": [KEY]},
        {"name": "batch", "hashed_passwd": "$6$salt$hash", "shell": "/bin/sh"},
    ]
    boot(yaml.safe_dump({"users": users}), user="packer")
    made = [command for command in guest.commands if command[0] == "useradd"]
    assert made == [
        ("useradd", "--create-home", "--shell", "/bin/bash", "packer"),
        ("useradd", "--create-home", "--shell", "/bin/bash", "--groups", "adm,sudo", "ops"),
        ("useradd", "--create-home", "--shell", "/bin/sh", "batch"),
    ]
    assert ("chpasswd", "--encrypted", "batch:$6$salt$hash\n") in guest.commands
    assert guest.text("/home/ops/.ssh/authorized_keys") == KEY + "\n"
    assert "ops ALL=(ALL) ALL" in guest.text("/etc/sudoers.d/90-cloud-init-users")


def test_the_password_of_the_drive_opens_ssh(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    boot("password: s3cret\n", user="packer")
    assert ("chpasswd", "packer:s3cret\n") in guest.commands
    assert not [command for command in guest.commands if command[0] == "passwd"], "expire: false"
    assert guest.text("/etc/ssh/sshd_config.d/50-cloud-init.conf") == "PasswordAuthentication yes\n"


def test_write_files(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    files = [
        {"path": "/etc/app/a", "content": "plain\n", "permissions": "0640", "owner": "root:adm"},
        {"path": "/etc/app/b", "content": "aGVsbG8=", "encoding": "b64"},
        {"path": "/etc/app/a", "content": "more\n", "append": True, "permissions": "0640"},
        {"path": "/home/packer/c", "content": "late", "owner": "packer:packer", "defer": True},
    ]
    boot(yaml.safe_dump({"write_files": files}), user="packer")
    assert guest.text("/etc/app/a") == "plain\nmore\n"
    assert stat.S_IMODE(guest.path("/etc/app/a").stat().st_mode) == 0o640
    assert guest.text("/etc/app/b") == "hello"
    assert guest.owners["/home/packer/c"] == "packer:packer"


def test_a_second_runcmd_replaces_the_engines_own(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    boot("runcmd:\n- echo one\n- [echo, two words]\n")
    script = guest.path("/var/lib/ovirt-guest/instance/runcmd")
    assert script.read_text() == "#!/bin/sh\necho one\necho 'two words'\n"
    assert stat.S_IMODE(script.stat().st_mode) == 0o700


def test_network_data_becomes_interfaces(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    guest.path("/sys/class/net/eth1").mkdir()
    network = {
        "links": [{"id": "eth0", "name": "eth0", "type": "vif"}],
        "networks": [
            {
                "id": "eth0",
                "link": "eth0",
                "type": "ipv4",
                "ip_address": "192.0.2.10",
                "netmask": "255.255.255.0",
                "gateway": "192.0.2.1",
                "dns_nameservers": ["192.0.2.53"],
            },
            {"id": "eth0", "link": "eth0", "type": "ipv6_dhcp"},
        ],
    }
    boot(network=network)
    lines = [line.strip() for line in guest.text("/etc/network/interfaces").splitlines() if line]
    assert lines == [
        "auto lo", "iface lo inet loopback",
        "auto eth0", "iface eth0 inet static", "address 192.0.2.10", "netmask 255.255.255.0",
        "gateway 192.0.2.1", "dns-nameservers 192.0.2.53",
        "auto eth0", "iface eth0 inet6 dhcp",
        "auto eth1", "iface eth1 inet dhcp",
    ]  # fmt: skip


def test_interfaces_of_the_older_protocol(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    boot(
        network_config={"content_path": "/content/0000", "path": "/etc/network/interfaces"},
        files={"openstack/content/0000": "auto eth0\niface eth0 inet dhcp\n"},
    )
    assert guest.text("/etc/network/interfaces").endswith("auto eth0\niface eth0 inet dhcp\n")


def test_one_broken_part_does_not_cost_the_login(boot: Callable[..., list[str]], guest: FakeGuest) -> None:
    said = boot("write_files:\n- content: no path\n", user="packer", public_keys=[KEY])
    assert [line.split("\n")[0] for line in said] == ["write_files failed:"]
    assert guest.text("/home/packer/.ssh/authorized_keys") == KEY + "\n"


def test_what_is_not_cloud_config_is_refused_aloud_and_the_keys_still_work(
    boot: Callable[..., list[str]], guest: FakeGuest, tmp_path: Path
) -> None:
    said = boot("runcmd: [unclosed\n", public_keys=[KEY])
    assert len(said) == 1
    assert said[0].startswith("user_data is ignored")
    assert guest.text("/home/debian/.ssh/authorized_keys") == KEY + "\n"


def test_what_it_cannot_do_is_named(boot: Callable[..., list[str]]) -> None:
    assert boot("packages: [nginx]\nswap: {}\n") == ["ignored: packages", "ignored: swap"]


def test_the_time_zone_is_set_if_there_is_such_a_one(
    boot: Callable[..., list[str]], guest: FakeGuest
) -> None:
    zones = guest.path("/usr/share/zoneinfo/Europe")
    zones.mkdir(parents=True)
    (zones / "Berlin").touch()
    assert boot("timezone: Europe/Berlin\n") == []
    assert guest.text("/etc/timezone") == "Europe/Berlin\n"
    assert guest.path("/etc/localtime").readlink() == Path("/usr/share/zoneinfo/Europe/Berlin")
    (said,) = boot("timezone: Europe/Berln\n", uuid="instance-2")
    assert "no time zone Europe/Berln" in said
    assert guest.text("/etc/timezone") == "Europe/Berlin\n"

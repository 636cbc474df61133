"""Where files lie and where the daemon listens."""

import os

import pytest

from ovirt_provision import paths


def test_the_folders_of_the_xdg_specification():
    environ = {
        "HOME": "/home/u",
        "XDG_CONFIG_HOME": "/c",
        "XDG_STATE_HOME": "/s",
        "XDG_RUNTIME_DIR": "/run/user/1",
    }
    assert str(paths.config_file(environ)) == "/c/ovirt-provision/config.yaml"
    assert str(paths.state_folder(environ)) == "/s/ovirt-provision"
    assert str(paths.runtime_folder(environ)) == "/run/user/1/ovirt-provision"


@pytest.mark.parametrize(
    "given", [{}, {"XDG_CONFIG_HOME": "", "XDG_STATE_HOME": "relative", "XDG_RUNTIME_DIR": "run"}]
)
def test_unset_and_relative_variables_are_ignored(given):
    environ = {"HOME": "/home/u", **given}
    assert str(paths.config_file(environ)) == "/home/u/.config/ovirt-provision/config.yaml"
    assert str(paths.state_folder(environ)) == "/home/u/.local/state/ovirt-provision"
    assert paths.runtime_folder(environ) is None
    assert paths.daemon_address(environ).target == "unix:/home/u/.local/state/ovirt-provision/run/daemon.sock"


def test_only_the_default_address_is_worth_an_auto_start():
    default = paths.daemon_address({"XDG_RUNTIME_DIR": "/run/user/1"})
    assert (default.target, default.chosen) == ("unix:/run/user/1/ovirt-provision/daemon.sock", False)
    chosen = paths.daemon_address({"OVIRT_PROVISION_ADDRESS": "unix:/x/d.sock"})
    assert (chosen.target, str(chosen.socket), chosen.chosen) == ("unix:/x/d.sock", "/x/d.sock", True)
    assert paths.daemon_address({"OVIRT_PROVISION_ADDRESS": "unix:///x/d.sock"}).target == "unix:/x/d.sock"


@pytest.mark.parametrize("text", ["bridge.example.com:4711", "[::1]:4711", "127.0.0.1:1"])
def test_network_addresses(text):
    address = paths.daemon_address({"OVIRT_PROVISION_ADDRESS": text})
    assert (address.target, address.socket) == (text, None)


@pytest.mark.parametrize(
    "text", ["unix:relative", "unix:", "host", "host:", ":1", "host:70000", "host:x", "http://h:1", "/d.sock"]
)
def test_what_is_no_address_is_named_with_its_source(text):
    with pytest.raises(paths.AddressInvalid) as refused:
        paths.daemon_address({"OVIRT_PROVISION_ADDRESS": text})
    assert str(refused.value).startswith("OVIRT_PROVISION_ADDRESS: '")
    assert "host:port" in refused.value.what_to_do


def test_a_socket_path_may_have_107_bytes():
    longest = "/" + "x" * 106
    assert paths.parse_address(f"unix:{longest}", "x").target == f"unix:{longest}"
    with pytest.raises(paths.AddressInvalid, match="108 bytes; a unix socket allows 107"):
        paths.parse_address(f"unix:{longest}y", "x")
    with pytest.raises(paths.AddressInvalid, match="the default address"):
        paths.daemon_address({"XDG_RUNTIME_DIR": f"/{'ü' * 60}"})


def test_a_private_folder_is_made_for_its_user_alone(tmp_path):
    before = os.umask(0)
    try:
        made = paths.private_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert made.stat().st_mode & 0o777 == 0o700
    assert paths.private_folder(made) == made


def test_folders_that_are_not_private_are_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o750)
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    (tmp_path / "file").touch()
    for name, said in {
        "open": "mode 0750",
        "link": "is neither",
        "file": "is not a folder",
        "file/x": "file is not a folder",
    }.items():
        with pytest.raises(paths.PathUnsafe, match=said):
            paths.private_folder(tmp_path / name)


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    folder = paths.private_folder(tmp_path / "mine")
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(paths.PathUnsafe, match="belongs to user id"):
        paths.private_folder(folder)


def test_a_written_file_is_private_and_never_half(tmp_path):
    file = tmp_path / "f"
    paths.write_private(file, b"old")
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / ".f.new").write_bytes(b"left by a crash")
    paths.write_private(file, b"new")
    assert file.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]

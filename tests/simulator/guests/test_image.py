"""The recipe of the guest image, and what its command says when it cannot work."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovirt_provision.simulator.guests import first_boot, image


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that subordinate ids may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_the_hash_follows_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    shutil.copytree(image._RECIPES, folder)
    monkeypatch.setattr(image, "_RECIPES", folder)
    minimal, docker = image.MINIMAL.hash, image.DOCKER.hash
    assert minimal != docker
    assert minimal == image.MINIMAL.hash

    with (folder / "docker/packages").open("a") as packages:
        packages.write("nginx-light\n")
    assert image.MINIMAL.hash == minimal
    assert image.DOCKER.hash != docker

    before = image.MINIMAL.hash
    (folder / "minimal/root/usr/lib/ovirt-guest/boot").chmod(0o644)
    assert image.MINIMAL.hash != before

    before = image.MINIMAL.hash
    with (folder / "common/root/etc/fstab").open("a") as fstab:
        fstab.write("tmpfs /tmp tmpfs\n")
    assert image.MINIMAL.hash != before


def test_an_unknown_recipe_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(image.ImageError, match="no recipe 'dokcer'; there are: docker, minimal"):
        image.Recipe("dokcer")


def test_an_image_gets_the_files_of_its_recipe_as_roots(tmp_path: Path) -> None:
    archive = tmp_path / "files.tar"
    image._pack(image.MINIMAL.files, archive)
    with tarfile.open(archive) as tar:
        entries = {entry.name: entry for entry in tar}
        reader = tar.extractfile("usr/lib/ovirt-guest/first_boot.py")
        assert reader is not None
        assert reader.read() == Path(first_boot.__file__).read_bytes()
    assert {(entry.uid, entry.gid, entry.isfile()) for entry in entries.values()} == {(0, 0, True)}
    assert entries["usr/lib/ovirt-guest/seal"].mode == 0o755
    assert entries["etc/fstab"].mode == 0o644
    assert "etc/inittab" not in image.DOCKER.files


def test_only_a_finished_image_is_found_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = image.cache_folder(image.DOCKER)
    assert folder == tmp_path / "ovirt-provision/guests" / image.DOCKER.hash
    folder.mkdir(parents=True)
    assert image.find_cached(image.DOCKER) is None
    (folder / "manifest.json").touch()
    assert image.find_cached(image.DOCKER) == folder
    assert image.find_cached(image.MINIMAL) is None


def test_no_image_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        image.ImageError, match=r"python -m ovirt_provision\.simulator\.guests\.image --output"
    ):
        image.GuestImage.open(tmp_path)


def test_missing_packages_are_all_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(image.ImageError, match="apt-get install mmdebstrap e2fsprogs qemu-utils"):
        image.build(tmp_path / "image")


def test_a_full_disk_is_seen_before_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(image, "TOOLS", {})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 1 << 40, 100 << 20))  # type: ignore[attr-defined]
    with pytest.raises(image.ImageError, match=r"1024 MiB in .*, 100 MiB are free"):
        image.build(tmp_path / "image", lambda _: None)


def test_somebody_elses_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one").touch()
    with pytest.raises(image.ImageError, match="photos is not empty"):
        image.build(tmp_path / "photos")


def test_only_debians_own_sources_of_this_machine_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text(
        "#!/bin/sh\n"
        "echo 'Packages|Debian|bookworm|http://mirror.test/debian/|bookworm|main'\n"
        "echo 'Packages|Debian|bookworm-security|http://mirror.test/security/|bookworm-security|main'\n"
        "echo 'Packages|Somebody|bookworm|http://mirror.test/other/|bookworm|main'\n"
        "echo 'Translation|Debian|bookworm|http://mirror.test/debian/|bookworm|main'\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert image._sources() == [
        "deb http://mirror.test/debian/ bookworm main",
        "deb http://mirror.test/security/ bookworm-security main",
    ]


@pytest.mark.guests
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(
    tmp_path: Path, open_folder: Path, number: signal.Signals
) -> None:
    temporary, output = open_folder, tmp_path / "out"
    # What a shell starts in the background ignores SIGINT, and so does all that it starts.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "ovirt_provision.simulator.guests.image"]
    build = subprocess.Popen(
        [*command, "--output", str(output / "image")],
        env=os.environ | {"TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(temporary.glob("*/mmdebstrap.*")):
        assert time.monotonic() < deadline, "mmdebstrap did not begin"
        assert build.poll() is None
    build.send_signal(number)
    assert "nothing is left behind" in build.communicate(timeout=60)[1]
    assert build.returncode == 130
    assert list(temporary.iterdir()) == []
    assert [path.name for path in output.iterdir()] == ["image.lock"]
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(temporary) in _text(p)]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

"""Guest images, built from Debian's packages by mmdebstrap, each from a recipe: a folder in `recipes/`.

`minimal` boots to SSH in seconds; `docker` is a Debian as people have it, with systemd, cloud-init and a
Docker engine. A recipe holds `packages` (one a line), `root/` (files for the new tree, besides those of
`common/`) and `customize` (a script for the whole tree).

`python -m ovirt_provision.simulator.guests.image` builds one into the cache, or into `--output DIR`. A folder
holds `disk.qcow2` (ext4, no partition table), `vmlinuz` and `initrd.img` (QEMU boots the kernel itself) and
`manifest.json`. No root is needed where the user has subordinate ids.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

SUITE = "bookworm"
DPKG_OPTIONS = (
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/i18n/*",
)
DISK_SIZE = 4 << 30  # bytes, as the guest sees it; the file holds what is used

FREE_IN_TMP = 1 << 30
FREE_IN_OUTPUT = 2 << 30
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "tar": "tar",
    "unshare": "util-linux",
}

_MODULE = "ovirt_provision.simulator.guests.image"
_RECIPES = Path(__file__).parent / "recipes"
_COMMON = "common"
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


class ImageError(Exception):
    """The image cannot be built or used; the text says why and what to do."""


@dataclass(frozen=True)
class GuestImage:
    """A built image. `filesystem` is the UUID of the root file system on its disk."""

    folder: Path
    filesystem: uuid.UUID

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @classmethod
    def open(cls, folder: Path) -> "GuestImage":
        """The image in `folder`; ImageError when there is none."""
        try:
            manifest = json.loads((folder / "manifest.json").read_text())
            return cls(folder.resolve(), uuid.UUID(manifest["filesystem"]))
        except (OSError, ValueError, KeyError) as error:
            raise ImageError(
                f"no guest image in {folder} ({error}); build it with `python -m {_MODULE} --output {folder}`"
            ) from None


@dataclass(frozen=True)
class Recipe:
    """What goes into an image; `name` is that of the folder."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in recipe_names():
            raise ImageError(f"no recipe '{self.name}'; there are: {', '.join(recipe_names())}")

    @property
    def packages(self) -> Sequence[str]:
        return (_RECIPES / self.name / "packages").read_text().split()

    @property
    def customize(self) -> str:
        return (_RECIPES / self.name / "customize").read_text()

    @property
    def files(self) -> Mapping[str, Path]:
        """The files for the new tree, by their paths in it."""
        return {
            str(path.relative_to(root)): path
            for root in (_RECIPES / _COMMON / "root", _RECIPES / self.name / "root")
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    @property
    def hash(self) -> str:
        """Sixteen hex digits that change with all that we put into the image, not with Debian's versions."""
        digest = hashlib.sha256()
        for text in (SUITE, *self.packages, *DPKG_OPTIONS, self.customize, str(DISK_SIZE)):
            digest.update(text.encode() + b"\0")
        for name, path in self.files.items():
            mode = f"{_mode(path):o}"
            digest.update(name.encode() + b"\0" + mode.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]


def recipe_names() -> Sequence[str]:
    return sorted(path.parent.name for path in _RECIPES.glob("*/packages"))


MINIMAL = Recipe("minimal")
DOCKER = Recipe("docker")


def cache_folder(recipe: Recipe = MINIMAL) -> Path:
    """Where the image of today's recipe is kept for all clones of the project, built or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "ovirt-provision" / "guests" / recipe.hash


def find_cached(recipe: Recipe) -> Path | None:
    """The folder of the image in the cache; None when nobody has built it."""
    folder = cache_folder(recipe)
    return folder if (folder / "manifest.json").exists() else None


def build(output: Path, report: Callable[[str], None] = print, recipe: Recipe = MINIMAL) -> GuestImage:
    """Builds the image of `recipe` as the folder `output`, which appears whole or not at all.

    An image that is already there is kept. `report` gets progress lines. Raises ImageError.
    """
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with _locked(output.with_name(output.name + ".lock"), report):
        if (output / "manifest.json").exists():
            report(f"guest image: {output} is there")
            return GuestImage.open(output)
        if output.exists() and any(output.iterdir()):
            raise ImageError(
                f"--output {output} is not empty and holds no guest image; name another folder or empty it"
            )
        _check(output.parent)
        with _scratch(output.parent) as beside, _scratch(None) as temporary:
            _bootstrap(recipe, beside / "root", temporary, report)
            _assemble(recipe, beside / "root", beside / "image", report)
            if output.exists():
                output.rmdir()
            (beside / "image").rename(output)
    report(f"guest image: {output} is ready")
    return GuestImage.open(output)


def _check(output: Path) -> None:
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if os.geteuid() != 0:
        if shutil.which("newuidmap") is None:
            missing.append("uidmap")
        user = os.environ.get("USER", "")
        names = {line.split(":")[0] for line in _lines(Path("/etc/subuid"))}
        if not missing and not names & {user, str(os.getuid())}:
            raise ImageError(
                f"without root, the guest image needs subordinate ids, and /etc/subuid has none for {user}; "
                f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
            )
        temporary = Path(tempfile.gettempdir()).resolve()
        for folder in (temporary, *temporary.parents):
            if not folder.stat().st_mode & 0o001:
                raise ImageError(
                    f"subordinate ids cannot enter {folder}, where the guest image is to be built; "
                    "set TMPDIR to a folder that everybody may enter, such as /var/tmp"
                )
    if missing:
        raise ImageError(
            f"building the guest image needs packages that are missing: apt-get install {' '.join(missing)}"
        )
    machine = os.uname().machine
    if machine != "x86_64":
        raise ImageError(
            f"the guest image is built for x86_64 and this machine is {machine}; use `--guests none`"
        )
    for folder, needed in ((Path(tempfile.gettempdir()), FREE_IN_TMP), (output, FREE_IN_OUTPUT)):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise ImageError(
                f"building the guest image needs {needed >> 20} MiB in {folder}, {free >> 20} MiB are free; "
                "make room, or set TMPDIR and XDG_CACHE_HOME to folders elsewhere"
            )


def _bootstrap(recipe: Recipe, root: Path, temporary: Path, report: Callable[[str], None]) -> None:
    report("guest image: 1/3 install Debian's packages")
    root.mkdir()
    temporary.chmod(0o1777)
    files = temporary / "files.tar"
    _pack(recipe.files, files)
    # By a name, because mmdebstrap repeats the whole text of a hook that fails.
    customize = temporary / "customize"
    customize.write_text(recipe.customize)
    customize.chmod(0o644)
    mmdebstrap = [
        "mmdebstrap",
        "--quiet",
        "--mode=root" if os.geteuid() == 0 else "--mode=unshare",
        "--variant=minbase",
        "--architectures=amd64",
        "--format=tar",
        f"--include={','.join(recipe.packages)}",
        *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
        "--aptopt=Acquire::Languages none",
        f"--essential-hook=tar-in {files} /",
        f'--customize-hook=sh {customize} "$1"',
        SUITE,
        "-",
        *_sources(),
    ]
    # Without the device nodes, which only real root can make; the kernel has its own.
    unpack = _as_root(
        "tar", "--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--exclude=./dev/*",
        f"--directory={root}",
    )  # fmt: skip
    log = temporary / "mmdebstrap.log"
    environment = os.environ | {"TMPDIR": str(temporary)}
    started = time.monotonic()
    with (
        log.open("wb") as errors,
        _child(mmdebstrap, stdout=subprocess.PIPE, stderr=errors, env=environment) as packages,
    ):
        with _child(unpack, stdin=packages.stdout, stderr=errors) as unpacking:
            assert packages.stdout is not None
            packages.stdout.close()
            while unpacking.poll() is None:
                try:
                    unpacking.wait(15)
                except subprocess.TimeoutExpired:
                    report(f"guest image: 1/3 … {time.monotonic() - started:.0f} s")
        packages.wait()
    for name, status in (("mmdebstrap", packages.returncode), ("tar", unpacking.returncode)):
        if status:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise ImageError(f"{name} ended with status {status}:\n{tail}")


def _pack(files: Mapping[str, Path], archive: Path) -> None:
    """Writes files that will be root's; an archive, because only root can give files to root."""
    with tarfile.open(archive, "w", dereference=True) as tar:
        for name, path in files.items():
            entry = tar.gettarinfo(path, name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mode = _mode(path)
            with path.open("rb") as content:
                tar.addfile(entry, content)
    archive.chmod(0o644)


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _assemble(recipe: Recipe, root: Path, image: Path, report: Callable[[str], None]) -> None:
    report("guest image: 2/3 make the file system")
    image.mkdir()
    filesystem = uuid.uuid4()
    raw = image / "disk.raw"
    (kernel,) = root.glob("boot/vmlinuz-*")
    (initrd,) = root.glob("boot/initrd.img-*")
    shutil.copyfile(kernel, image / "vmlinuz")
    shutil.copyfile(initrd, image / "initrd.img")
    with raw.open("wb") as file:
        file.truncate(DISK_SIZE)
    options = "lazy_itable_init=0,lazy_journal_init=0,assume_storage_prezeroed=1,root_owner=0:0"
    _run(_as_root("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-L", "ovirt-guest", "-U", str(filesystem),
                  "-E", options, "-d", str(root), str(raw)))  # fmt: skip
    report("guest image: 3/3 write the qcow2")
    disk = image / "disk.qcow2"
    _run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)])
    raw.unlink()
    disk.chmod(0o444)
    manifest = {
        "recipe": recipe.hash,
        "suite": SUITE,
        "kernel": kernel.name.removeprefix("vmlinuz-"),
        "filesystem": str(filesystem),
    }
    (image / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _sources() -> list[str]:
    """This machine's own apt sources of the suite, one line each; none lets mmdebstrap use Debian's own."""
    if shutil.which("apt-get") is None:
        return []
    form = "$(CREATED_BY)|$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", form], capture_output=True, text=True, check=False
    )
    entries = []
    for line in listed.stdout.splitlines():
        kind, origin, codename, uri, release, component = line.split("|")
        if kind == "Packages" and origin == "Debian" and codename.split("-")[0] == SUITE:
            entries.append(f"deb {uri} {release} {component}")
    # Without the suite itself the others cannot make a system.
    return list(dict.fromkeys(entries)) if any(entry.split()[2] == SUITE for entry in entries) else []


def _as_root(*command: str) -> list[str]:
    """The command as root: of the machine, or of a namespace whose ids are this user's subordinate ids."""
    prefix = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--map-auto"]
    return [*prefix, *command]


def _run(command: Sequence[str]) -> None:
    with _child(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        _, errors = process.communicate()
    if process.returncode:
        raise ImageError(
            f"{command[0]} ended with status {process.returncode}: {errors.decode(errors='replace').strip()}"
        )


def _unblock_interrupts() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


@contextmanager
def _child(command: Sequence[str], **options: object) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a session of its own that is ended, and waited for, when the block is left early."""
    # An interrupt between fork and `try` would leave the process behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        process = subprocess.Popen(  # type: ignore[call-overload]
            command, start_new_session=True, preexec_fn=_unblock_interrupts, **options
        )
    except BaseException:
        _unblock_interrupts()
        raise
    try:
        _unblock_interrupts()
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    """A folder that is gone afterwards, whoever of our subordinate ids owns what is in it."""
    folder = Path(tempfile.mkdtemp(prefix=".ovirt-guest-image-", dir=parent))
    try:
        yield folder
    finally:
        subprocess.run(_as_root("rm", "-rf", "--one-file-system", str(folder)), check=False)


@contextmanager
def _locked(path: Path, report: Callable[[str], None]) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"guest image: waiting for another build ({path})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}", description="Builds a guest image of the simulator."
    )
    parser.add_argument(
        "--recipe", default=MINIMAL.name, choices=recipe_names(), help="which image (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder to make (default: the cache, by recipe hash)"
    )
    parser.add_argument("--hash", action="store_true", help="print the hash of the recipe and build nothing")
    options = parser.parse_args(arguments)
    recipe = Recipe(options.recipe)
    if options.hash:
        print(recipe.hash)
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        build(options.output or cache_folder(recipe), lambda line: print(line, flush=True), recipe)
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("guest image: interrupted, nothing is left behind", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

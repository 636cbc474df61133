"""The system of a stub: a file tree that the config drive is applied to, and commands that see it as theirs.

A command runs in namespaces of its own, in which the folders of the tree lie over those of this machine and
nothing else can be written. What would change a real system is a small script there, see `commands/`; the
rest is this machine's own.
"""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ovirt_provision.simulator.guests import first_boot

_COMMANDS = Path(__file__).with_name("commands")
_SILENT = ("apt-get", "chpasswd", "cloud-init", "curl", "ip", "passwd")
# The last one may hold the tree itself, which `cd` has entered before.
_FOLDERS = ("etc", "home", "root", "run", "usr/local", "var", "tmp")
_ENTER = f"""cd "$1" || exit 126
shift
for folder in {" ".join(_FOLDERS)}; do mount --bind "$folder" "/$folder" || exit 126; done
mount -o remount,bind,ro / || exit 126
cd "$HOME" && exec "$@"
"""
_OS_RELEASE = """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
ID=debian
"""
_DOCKER_PORT = Path("run/docker.port")
_HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key")
_OF_ONE_MACHINE = (_HOST_KEY, Path("etc/machine-id"), Path("var/lib/ovirt-guest"))


def missing_tool() -> str | None:
    """What stubs need and this machine lacks; None when all is there."""
    try:
        ended = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "--uts", "true"], capture_output=True
        )
    except FileNotFoundError:
        return "unshare (Debian: util-linux) is missing"
    return None if ended.returncode == 0 else "this kernel allows no user namespaces"


class System(first_boot.Guest):
    """A file tree at `root`, made when it is missing."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for folder in (*_FOLDERS, "usr/local/bin", "etc/docker", "etc/ssh", "etc/sudoers.d", "var/run"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root / "run")
        (root / "run").mkdir()
        for file, content in {
            "etc/os-release": _OS_RELEASE,
            "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
            "etc/group": "root:x:0:\n",
            "etc/hosts": "127.0.0.1\tlocalhost\n",
            "etc/hostname": "debian\n",
        }.items():
            if not (root / file).exists():
                (root / file).write_text(content)
        programs = root / "usr/local/bin"
        for name in (*(file.name for file in _COMMANDS.iterdir()), *_SILENT):
            shutil.copyfile(_COMMANDS / ("nothing" if name in _SILENT else name), programs / name)
            (programs / name).chmod(0o755)
        (programs / "netstat").unlink(missing_ok=True)
        (programs / "netstat").symlink_to("ss")

    def boot(self, config_drive: Mapping[str, bytes]) -> None:
        """Applies the config drive, if there is one, and starts what is enabled. Blocks for a while."""
        if config_drive:
            with tempfile.TemporaryDirectory(prefix="drive-", dir=self.root.parent) as folder:
                for name, content in config_drive.items():
                    file = Path(folder) / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
                first_boot.apply(Path(folder), self, self._log)
            script = self.path("/var/lib/ovirt-guest/instance/runcmd")
            if script.is_file():
                with contextlib.suppress(subprocess.CalledProcessError):
                    self.run("sh", "/var/lib/ovirt-guest/instance/runcmd")
        if self.path("/etc/docker/enabled").exists():
            self.run("systemctl", "start", "docker")

    def run(self, *command: str, text: str | None = None) -> None:
        subprocess.run(
            self._within(*command),
            env=self._environment("root"),
            input=text or "",
            text=True,
            check=True,
            capture_output=True,
        )

    def own(self, path: Path, user: str, group: str | None = None) -> None:
        """Nobody here but the owner of the tree."""

    async def start(self, command: str, user: str) -> asyncio.subprocess.Process:
        """Starts a shell command of a user, with pipes for its streams."""
        return await asyncio.create_subprocess_exec(
            *self._within("sh", "-c", command),
            env=self._environment(user),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )

    def authorized_keys(self, user: str) -> str:
        """The lines of the user's authorized_keys; empty where there is no such user."""
        file = self.path(self.home(user)) / ".ssh/authorized_keys"
        return file.read_text() if self.exists(user) and file.is_file() else ""

    @property
    def host_key(self) -> Path:
        """Where the private half of the SSH server's key is."""
        return self.root / _HOST_KEY

    @property
    def hostname(self) -> str:
        return (self.root / "etc/hostname").read_text().strip()

    @property
    def docker(self) -> tuple[int, int] | None:
        """The port of the Docker engine and which of its starts this is; None when there is no such port."""
        file = self.root / _DOCKER_PORT
        with contextlib.suppress(FileNotFoundError):
            if port := file.read_text().strip():
                return int(port), file.stat().st_mtime_ns
        return None

    def seal(self) -> None:
        """Forgets what only one machine may have."""
        for path in _OF_ONE_MACHINE:
            shutil.rmtree(self.root / path, ignore_errors=True)
            with contextlib.suppress(OSError):
                (self.root / path).unlink(missing_ok=True)

    def _within(self, *command: str) -> list[str]:
        enter = ("sh", "-c", _ENTER, "sh", str(self.root))
        return ["unshare", "--user", "--map-root-user", "--mount", "--uts", "--", *enter, *command]

    def _environment(self, user: str) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": self.home(user),
            "USER": user,
            "LOGNAME": user,
        }

    def _log(self, message: str) -> None:
        with (self.root / "var/cloud-init-output.log").open("a") as log:
            log.write(message + "\n")

"""A project for Test Kitchen on a stage, as the demo and the end-to-end tests use it."""

import os
import shutil
import subprocess
from pathlib import Path

from stage import ROOT, SSH_PORT, Stage

KITCHEN = ROOT / "tools/kitchen/kitchen"
SOURCE = ROOT / "tools/kitchen/project"
INSTANCES = ("web-debian-12", "db-debian-12")
"""What the project makes: the first has its address by DHCP, the second has STATIC_ADDRESS."""
STATIC_ADDRESS = "10.11.12.13"

_NEEDED = ("grpc", "net/ssh", "ovirt_provision/v1/resources_pb")
# Where Ruby finds a Test Kitchen that is not a gem of the system.
_RUBYS_VARIABLES = ("RUBYLIB", "GEM_HOME", "GEM_PATH")


def what_is_missing() -> str | None:
    """What the driver lacks on this machine, in the user's words; None where it can run."""
    if _ruby(*_NEEDED) is not None:
        return None
    return (
        "the Kitchen driver cannot run here: it needs Debian's packages ruby ruby-grpc ruby-net-ssh maven "
        "protobuf-compiler-grpc, then `make generate`"
    )


def installed_version() -> str | None:
    """The version of the Test Kitchen that is installed; None where its stand-in runs in its place."""
    return _ruby("kitchen/version", say="Kitchen::VERSION")


def _ruby(*features: str, say: str = "") -> str | None:
    """The value of a Ruby expression once the features are loaded; None where that fails."""
    ruby = shutil.which("ruby")
    if ruby is None:
        return None
    loaded = [f"-r{feature}" for feature in features]
    ended = subprocess.run(
        [ruby, f"-I{ROOT / 'plugins/kitchen/lib'}", *loaded, "-e", f"print({say})"],
        capture_output=True,
        text=True,
    )
    return ended.stdout if ended.returncode == 0 else None


class KitchenProject:
    """A copy of tools/kitchen/project in the folder of a stage, whose instances are made from `template`."""

    def __init__(self, stage: Stage, *, template: str = "debian-12") -> None:
        self.folder = shutil.copytree(SOURCE, stage.folder / "kitchen", dirs_exist_ok=True)
        self._stage = stage
        self._variables = {
            "STATIC_ADDRESS": STATIC_ADDRESS,
            "KITCHEN_TEMPLATE": template,
            "GUEST_SSH_PORT": str(SSH_PORT),
            **{name: os.environ[name] for name in _RUBYS_VARIABLES if name in os.environ},
        }

    def command(self, *arguments: str) -> list[str]:
        """The command line of `kitchen ARGUMENTS` in the project, for `Stage.run` and `Stage.start`.

        Where Test Kitchen is not installed its stand-in runs, which says so and knows `test` and `destroy`.
        """
        variables = [f"{name}={value}" for name, value in self._variables.items()]
        return ["env", f"--chdir={self.folder}", *variables, str(KITCHEN), *arguments]

    def run(self, *arguments: str) -> tuple[int, str]:
        """Runs `kitchen ARGUMENTS` to its end; returns its exit code and all that it said."""
        process = self._stage.start(
            *self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = process.communicate()
        return process.returncode, said

    def left(self) -> list[Path]:
        """The state files and keys of instances that were not destroyed."""
        return sorted(path for path in self.folder.glob(".kitchen/*") if path.suffix in {".yml", ".pem"})

"""What is shipped: the dependencies that pyproject.toml names, and the wheel in an environment of its own."""

import ast
import functools
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import tarfile
import time
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovirt_provision import __version__, paths

ROOT = Path(__file__).parents[1]
# Seconds.
INSTALL_TIMEOUT = 600
RUN_TIMEOUT = 60


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def dependencies() -> set[str]:
    """The names of the distributions that the package needs to run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {canonical(re.split(r"[^\w.-]", wanted)[0]) for wanted in project["dependencies"]}


def imported() -> Iterator[str]:
    """The modules that ovirt_provision imports, those of Python and of its own aside."""
    for file in (ROOT / "ovirt_provision").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            for module in modules:
                if module.split(".")[0] not in {*sys.stdlib_module_names, "ovirt_provision", "buf", "pytest"}:
                    yield module


# Reading all of them takes a while.
distributions = functools.cache(importlib.metadata.packages_distributions)


def distribution_of(module: str) -> str:
    if module.startswith("google."):
        return "protobuf" if module.startswith("google.protobuf") else "googleapis-common-protos"
    (name,) = set(distributions()[module.split(".")[0]])
    return canonical(name)


def test_the_dependencies_are_what_is_imported():
    # pydantic-core comes with pydantic, which pins it.
    assert {distribution_of(module) for module in imported()} - {"pydantic-core"} == dependencies()


def test_the_container_keeps_in_its_volume_what_has_to_stay():
    container = (ROOT / "packaging/Containerfile").read_text().replace("\\\n", " ")
    environ = dict(re.findall(r"(\w+)=(\S+)", re.findall("(?m)^ENV (.*)", container)[0]))
    made = re.findall(r"install -d -m 700 -o \S+ -g \S+ (.*)", container)[0].split()
    volume = re.findall("(?m)^VOLUME (.*)", container)[0]

    assert str(paths.state_folder(environ)) == volume
    assert made == [volume, str(paths.runtime_folder(environ))]
    assert paths.config_file(environ) == Path("/etc/ovirt-provision/config.yaml")
    assert container.index("USER ovirt-provision") < container.index("ENTRYPOINT")


class Installed:
    """The package in a virtual environment that has nothing but it, for a user who has nothing either."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._bin = folder / "venv/bin"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
        }
        (folder / "run").mkdir(mode=0o700)
        (folder / "home").mkdir()
        venv.create(folder / "venv", with_pip=True)
        constraints = folder / "constraints.txt"
        locked = re.findall(r"(?m)^[\w.-]+==[^\\\n]+", (ROOT / "requirements.lock").read_text())
        constraints.write_text("\n".join(locked))
        subprocess.run(
            [self._bin / "python", "-m", "pip", "install", "-q", "-c", constraints, wheel],
            check=True,
            timeout=INSTALL_TIMEOUT,
            # pip's settings, such as the index and the cache, are the machine's.
            env={**os.environ, "PYTHONPATH": ""},
        )

    def start(self, *arguments: str, **streams: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self._bin / "ovirt-provision", *arguments], env=self.environment, cwd="/", text=True, **streams
        )

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = process.communicate(timeout=RUN_TIMEOUT)
        assert process.returncode == 0, said
        return said


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")

    def build(target: str, source: Path) -> Path:
        command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
        (built,) = folder.glob("*.tar.gz" if target == "sdist" else "*.whl")
        return built

    with tarfile.open(build("sdist", ROOT)) as archive:
        archive.extractall(folder, filter="data")
    return build("wheel", folder / f"ovirt_provision-{__version__}")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"), wheel)


@pytest.mark.wheel
@pytest.mark.timeout(INSTALL_TIMEOUT + 120)
def test_the_wheel_runs_where_nothing_else_is_installed(installed: Installed, tmp_path: Path):
    ready = tmp_path / "engine.env"
    assert "machine" in installed.run("--help")
    assert __version__ in installed.run("version")

    simulator = installed.start(
        *("simulate", "--guests", "none", "--profile", "fast", "--port", "0"),
        *("--ready-file", str(ready), "--state-dir", str(tmp_path / "simulator")),
        stdout=subprocess.DEVNULL,
    )
    daemon = None
    try:
        deadline = time.monotonic() + RUN_TIMEOUT
        while not ready.exists():
            assert simulator.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        words = shlex.split(ready.read_text())
        installed.environment |= dict(word.split("=", 1) for word in words if "=" in word)
        daemon = installed.start("serve", stderr=subprocess.PIPE)
        assert daemon.stderr is not None
        assert any("event=serving" in line for line in daemon.stderr)

        assert "4." in installed.run("engine", "get")
        installed.run("doctor")
        installed.run("machine", "create", "web", "--template", "debian-12")
        assert "web" in installed.run("machine", "list")
        installed.run("machine", "destroy", "web")
    finally:
        for process in (daemon, simulator):
            if process is not None:
                process.terminate()
                process.communicate(timeout=RUN_TIMEOUT)
    assert (daemon.returncode, simulator.returncode) == (0, 0)

"""Imports flow one way: services → operations → guest → ledger, engine, images; see CONTRIBUTING.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ovirt_provision"

# What each room may import of ours, itself aside. What is not listed is a leaf: it imports nothing of ours
# but leaves.
LEAVES = {"errors", "clock", "config", "logs", "paths", "tokens", "v1", "__init__"}
ROOMS = {
    "engine": set(),
    "images": set(),
    "ledger": set(),
    "guest": {"engine"},
    "operations": {"engine", "images", "ledger", "guest"},
    "services": {"operations", "engine", "images", "ledger", "guest"},
    "runtime": {"operations", "services"},
    "daemon": {"services", "runtime"},
    "simulator": set(),
    "cli": {"daemon", "simulator", "services"},
    "__main__": {"cli"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sources() -> Iterator[Path]:
    return (path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) != "v1")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(room, module) of each import of ours, also of those inside functions; (``, module) for the others'."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            first, *rest = module.split(".")
            yield (rest[0] if first == "ovirt_provision" and rest else "", module)


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_upwards(path):
    room = room_of(path)
    allowed = LEAVES | ROOMS.get(room, set()) | {room}

    upwards = {
        module
        for target, module in imports(path)
        if target in ROOMS.keys() | LEAVES and target not in allowed
    }

    assert not upwards


def test_only_the_engine_room_imports_the_sdk():
    rooms = {room_of(path) for path in sources() if any("ovirtsdk4" in module for _, module in imports(path))}

    assert rooms == {"engine"}


def test_only_the_grpc_rooms_import_grpc():
    rooms = {
        room_of(path)
        for path in sources()
        if any(module.split(".")[0] in ("grpc", "grpc_status", "grpc_health") for _, module in imports(path))
    }

    assert rooms <= {"services", "cli"}

"""KVM is used only where a kernel has booted under it."""

from pathlib import Path
from uuid import UUID

import pytest

from ovirt_provision.simulator.guests import accelerator
from ovirt_provision.simulator.guests.image import GuestImage

IMAGE = GuestImage(Path("/nowhere"), UUID(int=0))


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bool]:
    """The results of the test boots to come; the device exists and is usable."""
    results: list[bool] = []

    async def boot(_: GuestImage) -> bool:
        return results.pop(0)

    (tmp_path / "kvm").touch()
    (tmp_path / "boot_id").write_text("first\n")
    monkeypatch.setattr(accelerator, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(accelerator, "BOOT_ID", tmp_path / "boot_id")
    monkeypatch.setattr(accelerator, "_boots", boot)
    return results


@pytest.mark.parametrize(("works", "expected"), [(True, "kvm"), (False, "tcg")])
async def test_the_test_boot_decides_once_per_boot_of_the_machine(
    boots: list[bool], tmp_path: Path, works: bool, expected: str
) -> None:
    boots.append(works)
    assert await accelerator.find(IMAGE, tmp_path / "cache/answer") == expected
    assert await accelerator.find(IMAGE, tmp_path / "cache/answer") == expected
    (tmp_path / "boot_id").write_text("second\n")
    boots.append(not works)
    assert await accelerator.find(IMAGE, tmp_path / "cache/answer") != expected


async def test_without_the_device_nothing_is_tried(
    boots: list[bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(accelerator, "KVM", tmp_path / "missing")
    assert await accelerator.find(IMAGE, tmp_path / "answer") == "tcg"

"""Builds of the real packer with our plugin, on a stage."""

import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from stage import PACKER, Stage

TEMPLATE = """
packer {{
  required_plugins {{
    ovirt = {{
      version = ">= 0.1.0"
      source  = "github.com/ovirt-provision/ovirt"
    }}
  }}
}}

source "{builder}" "test" {{
  {source}
  communicator = "{communicator}"
  ssh_username = "packer"
  {options}
}}

build {{
  sources = ["source.{builder}.test"]
  {provisioners}
}}
"""
# A command of a provisioner, for an installer that does not shut the machine down itself.
STOP = (
    "curl -fsS --cacert $OVIRT_CAFILE -u $OVIRT_USERNAME:$OVIRT_PASSWORD -H 'Content-Type: application/xml' "
    "-d '<action/>' $OVIRT_URL/vms/${build.VMID}/stop"
)
# `packer -machine-readable` says where an operation is: time, builder, `progress`, verb, phase, percent.
_PROGRESS = re.compile(r"^\d+,[^,]*,progress,(?P<verb>\w+),(?P<phase>[\w-]+),")
# The lines that a step begins with; what varies comes after these words.
_SAID = re.compile(
    r",ui,say,(?:==> [\w.-]+: )?"
    r"(Using engine|Uploading|Starting HTTP server|Typing the boot command|Waiting for SSH|"
    r"Running local shell|Shutting)"
)


def write(
    folder: Path,
    options: str,
    *,
    builder: str = "ovirt-clone",
    source: str = "debian-12",
    communicator: str = "none",
    provisioners: str = "",
) -> Path:
    """Writes a build file; `options` is HCL for the source, `provisioners` for the build. `source` is the
    template of ovirt-clone."""
    folder.mkdir(exist_ok=True)
    file = folder / "build.pkr.hcl"
    file.write_text(
        TEMPLATE.format(
            builder=builder,
            source=f'source_template_name = "{source}"' if builder == "ovirt-clone" else "",
            communicator=communicator,
            options=options,
            provisioners=provisioners,
        )
    )
    return file


def start(
    stage: Stage, file: Path, *arguments: str, extra: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Starts a build; `arguments` come after `packer build`, `extra` adds to the environment."""
    return stage.start(
        *(str(PACKER), "-machine-readable", "build", *arguments, str(file)),
        extra=extra,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(stage: Stage, file: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Builds to the end; the exit code and all that packer said."""
    process = start(stage, file, *arguments, extra=extra)
    told, _ = process.communicate()
    return process.returncode, told.replace("%!(PACKER_COMMA)", ",").replace("\\n", "\n")


def validate(stage: Stage, file: Path) -> tuple[int, str]:
    """`packer validate`; the exit code and all that it said."""
    process = stage.start(
        str(PACKER), "validate", str(file), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    told, _ = process.communicate()
    return process.returncode, told


def moments(told: str) -> list[str]:
    """What a build went through, in order: `Verb phase` of each operation, and the lines between them that
    begin a step."""
    found: dict[str, None] = {}
    for line in told.splitlines():
        if moment := _moment(line):
            found.setdefault(moment)
    return list(found)


def cancel_at(stage: Stage, file: Path, moment: str, *arguments: str) -> tuple[int, str]:
    """Builds and does at that moment what Ctrl-C does: SIGINT to the whole group. Raises AssertionError when
    the build never gets there."""
    process = start(stage, file, *arguments)
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if _moment(line) == moment:
            subprocess.run(["kill", f"-{signal.SIGINT.value}", "--", f"-{process.pid}"], check=True)
            break
    else:
        raise AssertionError(f"the build never came to '{moment}':\n{''.join(seen)}")
    told, _ = process.communicate()
    return process.returncode, "".join(seen) + told


def _moment(line: str) -> str:
    if progress := _PROGRESS.match(line):
        return f"{progress['verb']} {progress['phase']}"
    said = _SAID.search(line)
    return said[1] if said else ""

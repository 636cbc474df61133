#!/usr/bin/env python3
"""Measures what builds of the Packer plugin ask of an engine, and how long they take.

Run it by `make bench-packer`. The builds are as small as they can be and run at once: each starts its
machine, waits for its address, and makes a template of it. The engine is the simulator, without guests.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from stage import PACKER, Stage

SOURCE = """
source "ovirt-clone" "build{number}" {{
  source_template_name = "debian-12"
  template_name        = "made-{number}"
  template_seal        = {seal}
  host_name            = "build{number}"
  communicator         = "none"
}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--builds", type=int, default=1, help="how many at once")
    parser.add_argument("--profile", default="recorded", help="timing profile of the simulator")
    parser.add_argument("--no-seal", action="store_true", help="do not seal the templates")
    arguments = parser.parse_args()
    numbers = range(1, arguments.builds + 1)
    seal = "false" if arguments.no_seal else "true"
    names = ", ".join(f'"source.ovirt-clone.build{number}"' for number in numbers)
    text = "".join(SOURCE.format(number=number, seal=seal) for number in numbers)
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder) / "stage", guests="none", timing=arguments.profile) as stage,
    ):
        stage.install_plugin()
        file = stage.folder / "builds.pkr.hcl"
        file.write_text(f"{text}\nbuild {{\n  sources = [{names}]\n}}\n")
        stage.provision("engine", "get")  # so that the daemon is there and logged in
        started, before = time.monotonic(), stage.requests()
        ended = stage.run(str(PACKER), "build", str(file), output=True)
        seconds, asked = time.monotonic() - started, stage.requests() - before
    if ended.returncode:
        print(ended.stdout)
    else:
        for operation, times in sorted(asked.items()):
            print(f"{times:6} {operation}")
        print(f"{arguments.builds} at once: {asked.total()} requests, {seconds:.1f} s")
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())

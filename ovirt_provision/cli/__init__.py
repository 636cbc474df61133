"""`ovirt-provision`, the command line of the bridge: daemon, simulator, and a client like every other."""

import os
import sys

# Not for its users: gRPC's own notes on stderr, such as those about forks.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def main() -> None:
    """The entry point of the command `ovirt-provision`."""
    if sys.argv[1:2] == ["serve"]:
        # Lives long, so it is not to carry what the others need: 4 MB.
        from ovirt_provision.cli.serve import run
    else:
        from ovirt_provision.cli.commands import run
    run()

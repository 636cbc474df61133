"""What docker-machine hosts that were forgotten have left to be destroyed: tombstones, a file each.

`docker-machine rm -f` forgets a host even when no daemon could be asked to remove its VM. The driver then
leaves a file with the key (plugins/docker_machine/driver/tombstone.go), which the next plugin sends, or the
next daemon. Not to be taken for the ledger's tombstones, which hold ids that were destroyed.
"""

from pathlib import Path
from typing import Annotated, Literal

import structlog
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from ovirt_provision import paths
from ovirt_provision.config import Config, local_owner
from ovirt_provision.errors import ProvisionError
from ovirt_provision.ledger.store import Ledger
from ovirt_provision.operations.destroy_machine import DESTROY_MACHINE
from ovirt_provision.operations.dispatcher import Dispatcher
from ovirt_provision.v1 import machines_pb2

FOLDER = "tombstones"
_LONGEST = 65536  # bytes
_log = structlog.get_logger(__name__)
_Text = Annotated[str, StringConstraints(max_length=4096)]


class _Tombstone(BaseModel):
    """The fields that count here; `config` is the path of the host's config.json."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    version: Literal[1]
    key: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    engine: _Text
    engine_url: _Text
    installation: _Text
    request_id: Annotated[str, StringConstraints(min_length=36, max_length=36)]
    config: _Text

    def is_forgotten(self) -> bool:
        """Whether docker-machine no longer knows the host; otherwise its user may go on with it."""
        try:
            return self.key.encode() not in Path(self.config).read_bytes()
        except FileNotFoundError:
            return True


class TombstoneFiles:
    """The tombstones in a folder, which are of the user that the daemon runs as."""

    def __init__(
        self, folder: Path, config: Config, ledger: Ledger, dispatcher: Dispatcher, installation: str
    ) -> None:
        self._folder = folder
        self._config = config
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._installation = installation
        self._owner = local_owner()

    async def send(self) -> None:
        """Accepts the destroy of each Machine of this daemon whose host is forgotten; then its file goes.

        What cannot be used stays, for a plugin or a later daemon. Asks no engine.
        """
        for file in sorted(self._folder.glob("*.json")):
            try:
                await self._send(file)
            except (OSError, ValidationError, ProvisionError) as error:
                _log.warning("a tombstone waits", file=str(file), problem=str(error))

    async def _send(self, file: Path) -> None:
        paths.check_private(file)
        with file.open("rb") as opened:
            tombstone = _Tombstone.model_validate_json(opened.read(_LONGEST))
        name, profile = self._config.engine(tombstone.engine)
        ours = tombstone.installation == self._installation and (
            tombstone.engine or profile.url == tombstone.engine_url
        )
        # One that another owner made, over TLS, only that owner can have destroyed.
        made = self._ledger.last_machine(self._owner, tombstone.key)
        if not ours or made is None or not tombstone.is_forgotten():
            return
        request = machines_pb2.DestroyMachineRequest(request_id=tombstone.request_id, key=tombstone.key)
        await self._dispatcher.call(DESTROY_MACHINE, self._owner, name, request)
        file.unlink(missing_ok=True)  # noqa: ASYNC240
        paths.sync_folder(self._folder)
        _log.info("the host of a Machine was forgotten", key=tombstone.key)

"""BackupService: calls in, messages out."""

from collections.abc import Callable

from ovirt_provision.operations.backups import CREATE_BACKUP, RESTORE_BACKUP, list_backups
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.mark_backup_domain import MARK_BACKUP_DOMAIN
from ovirt_provision.operations.provisioning import our_template
from ovirt_provision.services.calls import Context, caller_of, engine_of, run_verb
from ovirt_provision.services.messages import details_of, template_message
from ovirt_provision.services.pages import page_of
from ovirt_provision.v1 import backups_pb2, backups_pb2_grpc


class BackupServicer(backups_pb2_grpc.BackupServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    async def MarkBackupDomain(
        self, request: backups_pb2.MarkBackupDomainRequest, context: Context
    ) -> backups_pb2.MarkBackupDomainResponse:
        operation = await run_verb(self._bridge(), MARK_BACKUP_DOMAIN, request, context)
        return backups_pb2.MarkBackupDomainResponse(operation=operation)

    async def CreateBackup(
        self, request: backups_pb2.CreateBackupRequest, context: Context
    ) -> backups_pb2.CreateBackupResponse:
        return backups_pb2.CreateBackupResponse(
            operation=await run_verb(self._bridge(), CREATE_BACKUP, request, context)
        )

    async def ListBackups(
        self, request: backups_pb2.ListBackupsRequest, context: Context
    ) -> backups_pb2.ListBackupsResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        limits = caller_of(context).limits
        found = await list_backups(
            engine, request.storage_domain, may_see=lambda name: limits.may_use("templates", name)
        )
        page, token = page_of(found, request)
        details = await details_of(engine, page)
        listed = []
        for template in page:
            row = our_template(bridge.ledger, bridge.installation, engine.name, template)
            show_owner = row is not None and caller_of(context).may_see(row.owner)
            message = template_message(engine.name, template, row, show_owner=show_owner, details=details)
            names = {name for disk in message.disks for name in disk.storage_domains}
            listed.append(
                backups_pb2.Backup(
                    template=message,
                    storage_domains=sorted(names),
                    size_bytes=sum(disk.actual_size for disk in template.disks),
                )
            )
        return backups_pb2.ListBackupsResponse(backups=listed, next_page_token=token)

    async def RestoreBackup(
        self, request: backups_pb2.RestoreBackupRequest, context: Context
    ) -> backups_pb2.RestoreBackupResponse:
        return backups_pb2.RestoreBackupResponse(
            operation=await run_verb(self._bridge(), RESTORE_BACKUP, request, context)
        )

"""TemplateService: calls in, messages out."""

from collections.abc import Callable

from ovirt_provision.engine import Engine
from ovirt_provision.engine.model import Template
from ovirt_provision.errors import TemplateNotFound
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.create_template import CREATE_TEMPLATE
from ovirt_provision.operations.destroy_template import DESTROY_TEMPLATE
from ovirt_provision.operations.export_template import EXPORT_TEMPLATE
from ovirt_provision.operations.lookups import Named, find_template, list_templates
from ovirt_provision.operations.provisioning import our_template
from ovirt_provision.services.calls import Context, caller_of, engine_of, run_verb
from ovirt_provision.services.messages import Details, details_of, template_message
from ovirt_provision.services.pages import page_of
from ovirt_provision.v1 import resources_pb2, templates_pb2, templates_pb2_grpc

_DETAILS = "disk_attachments.disk,tags"


class TemplateServicer(templates_pb2_grpc.TemplateServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    def _message(
        self, engine: str, template: Template, context: Context, details: Details | None = None
    ) -> resources_pb2.Template:
        bridge = self._bridge()
        row = our_template(bridge.ledger, bridge.installation, engine, template)
        show_owner = row is not None and caller_of(context).may_see(row.owner)
        return template_message(engine, template, row, show_owner=show_owner, details=details)

    async def _whole(self, engine: Engine, template_id: str, context: Context) -> resources_pb2.Template:
        """A template with its details. Raises TemplateNotFound, also for one of which the caller may not
        know."""
        template = await engine.templates.get(template_id, follow=_DETAILS)
        if template is None or not caller_of(context).limits.may_use("templates", template.name):
            raise TemplateNotFound(id=template_id)
        return self._message(engine.name, template, context, await details_of(engine, [template]))

    async def CreateTemplate(
        self, request: templates_pb2.CreateTemplateRequest, context: Context
    ) -> templates_pb2.CreateTemplateResponse:
        return templates_pb2.CreateTemplateResponse(
            operation=await run_verb(self._bridge(), CREATE_TEMPLATE, request, context)
        )

    async def DestroyTemplate(
        self, request: templates_pb2.DestroyTemplateRequest, context: Context
    ) -> templates_pb2.DestroyTemplateResponse:
        return templates_pb2.DestroyTemplateResponse(
            operation=await run_verb(self._bridge(), DESTROY_TEMPLATE, request, context)
        )

    async def ExportTemplate(
        self, request: templates_pb2.ExportTemplateRequest, context: Context
    ) -> templates_pb2.ExportTemplateResponse:
        return templates_pb2.ExportTemplateResponse(
            operation=await run_verb(self._bridge(), EXPORT_TEMPLATE, request, context)
        )

    async def GetTemplate(
        self, request: templates_pb2.GetTemplateRequest, context: Context
    ) -> templates_pb2.GetTemplateResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        return templates_pb2.GetTemplateResponse(template=await self._whole(engine, request.id, context))

    async def FindTemplate(
        self, request: templates_pb2.FindTemplateRequest, context: Context
    ) -> templates_pb2.FindTemplateResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        limits = caller_of(context).limits
        found = await find_template(
            engine,
            Named(request.name, request.name_regex),
            tags=request.tags,
            latest=request.latest,
            version=request.version,
            counts=lambda template: (
                not request.ours
                or our_template(bridge.ledger, bridge.installation, engine.name, template) is not None
            ),
            may_see=lambda name: limits.may_use("templates", name),
        )
        return templates_pb2.FindTemplateResponse(template=await self._whole(engine, found.id, context))

    async def ListTemplates(
        self, request: templates_pb2.ListTemplatesRequest, context: Context
    ) -> templates_pb2.ListTemplatesResponse:
        engine = engine_of(self._bridge(), request.engine, context)
        limits = caller_of(context).limits
        found = await list_templates(
            engine,
            Named(request.name, request.name_regex),
            tags=request.tags,
            latest=request.latest,
            may_see=lambda name: limits.may_use("templates", name),
            follow=_DETAILS if request.details else "",
        )
        page, token = page_of(found, request)
        details = await details_of(engine, page) if request.details else None
        return templates_pb2.ListTemplatesResponse(
            templates=[self._message(engine.name, template, context, details) for template in page],
            next_page_token=token,
        )

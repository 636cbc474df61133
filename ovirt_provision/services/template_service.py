"""TemplateService: calls in, messages out."""

from collections.abc import Callable

from ovirt_provision.engine.model import Template
from ovirt_provision.errors import TemplateNotFound
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.create_template import CREATE_TEMPLATE
from ovirt_provision.operations.destroy_template import DESTROY_TEMPLATE
from ovirt_provision.operations.provisioning import our_template
from ovirt_provision.services.calls import Context, caller_of, engine_of, owner_of
from ovirt_provision.services.messages import operation_message, template_message
from ovirt_provision.services.pages import next_page, offset_of
from ovirt_provision.v1 import resources_pb2, templates_pb2, templates_pb2_grpc

_DEFAULT_PAGE = 100
_MAX_TEMPLATES = 10_000


class TemplateServicer(templates_pb2_grpc.TemplateServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    def _message(self, engine: str, template: Template, context: Context) -> resources_pb2.Template:
        bridge = self._bridge()
        row = our_template(bridge.ledger, bridge.installation, engine, template)
        show_owner = row is not None and caller_of(context).may_see(row.owner)
        return template_message(engine, template, row, show_owner=show_owner)

    async def CreateTemplate(
        self, request: templates_pb2.CreateTemplateRequest, context: Context
    ) -> templates_pb2.CreateTemplateResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        operation = await bridge.dispatcher.call(CREATE_TEMPLATE, owner_of(context), engine.name, request)
        return templates_pb2.CreateTemplateResponse(operation=operation_message(bridge, operation))

    async def DestroyTemplate(
        self, request: templates_pb2.DestroyTemplateRequest, context: Context
    ) -> templates_pb2.DestroyTemplateResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        operation = await bridge.dispatcher.call(DESTROY_TEMPLATE, owner_of(context), engine.name, request)
        return templates_pb2.DestroyTemplateResponse(operation=operation_message(bridge, operation))

    async def GetTemplate(
        self, request: templates_pb2.GetTemplateRequest, context: Context
    ) -> templates_pb2.GetTemplateResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        template = await engine.templates.get(request.id)
        if template is None or not caller_of(context).limits.may_use("templates", template.name):
            raise TemplateNotFound(id=request.id)
        return templates_pb2.GetTemplateResponse(template=self._message(engine.name, template, context))

    async def ListTemplates(
        self, request: templates_pb2.ListTemplatesRequest, context: Context
    ) -> templates_pb2.ListTemplatesResponse:
        bridge = self._bridge()
        engine = engine_of(bridge, request.engine, context)
        found = (
            await engine.templates.versions_of(request.name)
            if request.name
            else await engine.templates.search("", max_rows=_MAX_TEMPLATES)
        )
        limits = caller_of(context).limits
        found = [template for template in found if limits.may_use("templates", template.name)]
        found = sorted(found, key=lambda template: (template.name, template.version, template.id))
        start = offset_of(request.page_token)
        page = found[start : start + (request.page_size or _DEFAULT_PAGE)]
        return templates_pb2.ListTemplatesResponse(
            templates=[self._message(engine.name, template, context) for template in page],
            next_page_token=next_page(start, len(page), len(found)),
        )

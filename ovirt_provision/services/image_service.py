"""ImageService: calls in, messages out."""

import asyncio
from collections.abc import AsyncIterator, Callable

from ovirt_provision.errors import InvalidRequest, Violation
from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.export_image import EXPORT_IMAGE, remove_image
from ovirt_provision.operations.import_image import IMPORT_IMAGE
from ovirt_provision.services.calls import Context, engine_of, owner_of, run_verb
from ovirt_provision.services.messages import image_message, operation_message
from ovirt_provision.v1 import images_pb2, images_pb2_grpc

_CHUNK = 1 << 20


class ImageServicer(images_pb2_grpc.ImageServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    async def UploadImage(
        self, requests: AsyncIterator[images_pb2.UploadImageRequest], context: Context
    ) -> images_pb2.UploadImageResponse:
        images, owner = self._bridge().images, owner_of(context)
        first = await anext(requests, None)
        if first is None or not first.HasField("header"):
            raise InvalidRequest([Violation("header", "has to be in the first message, before any chunk")])
        header = first.header

        async def chunks() -> AsyncIterator[bytes]:
            async for request in requests:
                if request.HasField("header"):
                    raise InvalidRequest([Violation("header", "belongs into the first message alone")])
                yield request.chunk

        image = await images.receive(owner, header.checksum, header.size_bytes, header.offset, chunks())
        return images_pb2.UploadImageResponse(image=image_message(image))

    async def GetImage(
        self, request: images_pb2.GetImageRequest, context: Context
    ) -> images_pb2.GetImageResponse:
        images, owner = self._bridge().images, owner_of(context)
        image = images.find(owner, request.checksum)
        return images_pb2.GetImageResponse(
            image=image_message(image) if image is not None else None,
            received_bytes=images.received(owner, request.checksum),
        )

    async def ListImages(
        self, request: images_pb2.ListImagesRequest, context: Context
    ) -> images_pb2.ListImagesResponse:
        found = self._bridge().images.list(owner_of(context))
        return images_pb2.ListImagesResponse(images=[image_message(image) for image in found])

    async def RemoveImage(
        self, request: images_pb2.RemoveImageRequest, context: Context
    ) -> images_pb2.RemoveImageResponse:
        bridge, owner = self._bridge(), owner_of(context)
        remove_image(bridge.images, bridge.ledger, owner, request.checksum, request.export_id)
        return images_pb2.RemoveImageResponse()

    async def ImportImage(
        self, request: images_pb2.ImportImageRequest, context: Context
    ) -> images_pb2.ImportImageResponse:
        bridge, owner = self._bridge(), owner_of(context)
        engine = engine_of(bridge, request.engine, context)
        if request.validate_only:
            plan = await bridge.dispatcher.validate(IMPORT_IMAGE, owner, engine.name, request)
            return images_pb2.ImportImageResponse(reused="reused" in plan)
        operation = await bridge.dispatcher.call(IMPORT_IMAGE, owner, engine.name, request)
        return images_pb2.ImportImageResponse(
            operation=operation_message(bridge, operation),
            reused=operation.request_id != request.request_id,
        )

    async def ExportImage(
        self, request: images_pb2.ExportImageRequest, context: Context
    ) -> images_pb2.ExportImageResponse:
        return images_pb2.ExportImageResponse(
            operation=await run_verb(self._bridge(), EXPORT_IMAGE, request, context)
        )

    async def DownloadImage(
        self, request: images_pb2.DownloadImageRequest, context: Context
    ) -> AsyncIterator[images_pb2.DownloadImageResponse]:
        images, owner = self._bridge().images, owner_of(context)
        image = images.need(owner, request.checksum)
        if request.offset > image.size:
            wrong = f"{request.offset} is more than the {image.size} bytes of the image"
            raise InvalidRequest([Violation("offset", wrong)])
        # It may be removed while it is sent: who has it open goes on.
        with images.path(owner, image.checksum).open("rb") as file:
            yield images_pb2.DownloadImageResponse(image=image_message(image))
            file.seek(request.offset)
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield images_pb2.DownloadImageResponse(chunk=chunk)

"""Images on the wire: a stream of chunks, and what breaks it."""

import hashlib
from types import SimpleNamespace

import grpc
import pytest

from ovirt_provision.clock import SystemClock
from ovirt_provision.config import Images
from ovirt_provision.images.store import ImageStore
from ovirt_provision.services.image_service import ImageServicer
from ovirt_provision.v1 import images_pb2, images_pb2_grpc, resources_pb2
from tests.image_files import RAW

SUM = f"sha256:{hashlib.sha256(RAW).hexdigest()}"


@pytest.fixture
async def service(serve, tmp_path):
    images = ImageStore(tmp_path / "images", Images.model_validate({}), SystemClock())
    bridge = SimpleNamespace(images=images, ledger=None)
    add = images_pb2_grpc.add_ImageServiceServicer_to_server
    _, channel = await serve((add, ImageServicer(lambda: bridge)))
    return images_pb2_grpc.ImageServiceStub(channel)


def header(**fields):
    known = {"checksum": SUM, "size_bytes": len(RAW)}
    return images_pb2.UploadImageRequest(header=images_pb2.UploadImageRequest.Header(**{**known, **fields}))


def chunks(content):
    return [
        images_pb2.UploadImageRequest(chunk=content[n : n + 100_000]) for n in range(0, len(content), 100_000)
    ]


async def received(service):
    return await service.GetImage(images_pb2.GetImageRequest(checksum=SUM))


async def test_an_image_is_uploaded_listed_and_removed(service):
    reply = await service.UploadImage(iter([header(), *chunks(RAW)]))
    assert (reply.image.checksum, reply.image.format) == (SUM, resources_pb2.Image.FORMAT_RAW)
    assert (await received(service)).image == reply.image
    assert list((await service.ListImages(images_pb2.ListImagesRequest())).images) == [reply.image]
    again = await service.UploadImage(iter([header()]))
    assert again.image == reply.image, "it need not be sent again"
    await service.RemoveImage(images_pb2.RemoveImageRequest(checksum=SUM))
    assert (await received(service)).received_bytes == 0


async def test_an_upload_whose_client_is_gone_goes_on(service):
    upload = service.UploadImage()
    await upload.write(header())
    for chunk in chunks(RAW)[:2]:
        await upload.write(chunk)
    await _until_received(service, 200_000)
    upload.cancel()
    with pytest.raises(BaseException):  # noqa: B017, PT011 - a cancelled call
        await upload
    await service.UploadImage(iter([header(offset=200_000), *chunks(RAW[200_000:])]))
    assert (await received(service)).image.size_bytes == len(RAW)


async def _until_received(service, wanted):
    while (await received(service)).received_bytes < wanted:
        pass


@pytest.mark.parametrize(
    ("requests", "code", "says"),
    [
        ([], grpc.StatusCode.INVALID_ARGUMENT, "header: has to be in the first message"),
        (chunks(RAW), grpc.StatusCode.INVALID_ARGUMENT, "header: has to be in the first message"),
        ([header(), header()], grpc.StatusCode.INVALID_ARGUMENT, "header: belongs into the first message"),
        ([header(checksum="md5:1")], grpc.StatusCode.INVALID_ARGUMENT, "header.checksum"),
        ([images_pb2.UploadImageRequest()], grpc.StatusCode.INVALID_ARGUMENT, "give one of header, chunk"),
        (
            [header(), images_pb2.UploadImageRequest(chunk=bytes((1 << 20) + 1))],
            grpc.StatusCode.INVALID_ARGUMENT,
            "chunk",
        ),
        ([header(), *chunks(b"x" + RAW[1:])], grpc.StatusCode.DATA_LOSS, "another checksum"),
        ([header(), *chunks(RAW[:-1])], grpc.StatusCode.DATA_LOSS, "cut off"),
        ([header(offset=1)], grpc.StatusCode.FAILED_PRECONDITION, "begins at byte 1"),
    ],
    ids=["nothing", "no-header", "two-headers", "md5", "empty", "too-large", "wrong", "cut-off", "gap"],
)
async def test_what_is_wrong_with_an_upload_is_told(service, requests, code, says):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.UploadImage(iter(requests))
    assert refused.value.code() == code
    assert says in refused.value.details()


async def test_an_image_is_downloaded_whole_or_from_an_offset(service):
    await service.UploadImage(iter([header(), *chunks(RAW)]))
    for offset in (0, 300_001, len(RAW)):
        request = images_pb2.DownloadImageRequest(checksum=SUM, offset=offset)
        first, *rest = [reply async for reply in service.DownloadImage(request)]
        assert (first.image.size_bytes, first.chunk) == (len(RAW), b"")
        assert b"".join(reply.chunk for reply in rest) == RAW[offset:]
    for wrong, code in (
        ({"offset": len(RAW) + 1}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"checksum": f"sha256:{'0' * 64}"}, grpc.StatusCode.NOT_FOUND),
    ):
        request = images_pb2.DownloadImageRequest(**{"checksum": SUM, **wrong})
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.DownloadImage(request).read()
        assert refused.value.code() == code


async def test_what_is_removed_meanwhile_is_sent_to_its_end(service):
    await service.UploadImage(iter([header(), *chunks(RAW)]))
    download = service.DownloadImage(images_pb2.DownloadImageRequest(checksum=SUM))
    replies = aiter(download)
    await anext(replies)
    await service.RemoveImage(images_pb2.RemoveImageRequest(checksum=SUM))
    got = b"".join([reply.chunk async for reply in replies])
    assert got == RAW

"""What can be wrong with an image, or with moving it."""

from ovirt_provision.errors import Code, ProvisionError


class ImageNotFound(ProvisionError):
    code = Code.NOT_FOUND
    reason = "IMAGE_NOT_FOUND"
    message = "the daemon has no image {checksum} of yours{partly}"
    advice = "Upload it, or give a `url` to fetch it from; the daemon may also have removed it to make room."


class ImageCorrupt(ProvisionError):
    """What arrived is not the file that the checksum is of."""

    code = Code.DATA_LOSS
    reason = "IMAGE_CORRUPT"
    message = "the image {problem}: expected {expected}, got {actual}"
    advice = "See that the file is whole, and that the checksum is that of this very file."


class ImageRefused(ProvisionError):
    """An image that is no disk by itself, or that is not what it claims to be."""

    code = Code.INVALID_ARGUMENT
    reason = "IMAGE_REFUSED"
    message = "the image {checksum} is refused: {problem}"
    advice = "{remedy}"


class ImageBusy(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "IMAGE_BUSY"
    message = "the image {checksum} is used by operation {operation}"
    advice = "Wait until that has ended, or cancel it."


class UploadOffset(ProvisionError):
    """An upload that would leave a gap."""

    code = Code.FAILED_PRECONDITION
    reason = "UPLOAD_OFFSET"
    message = (
        "the upload begins at byte {offset}, but the daemon has only the first {received} bytes of {checksum}"
    )
    advice = "Ask GetImage how much there is, and go on there."


class NoRoomForImage(ProvisionError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "NO_ROOM_FOR_IMAGE"
    message = "there is no room for {wanted} bytes in {folder}: {why}"
    advice = "{remedy}"


class UrlRefused(ProvisionError):
    """A URL that the daemon does not fetch, or that leads to one."""

    code = Code.PERMISSION_DENIED
    reason = "URL_REFUSED"
    message = "{url} is not fetched: {why}"
    advice = "{remedy}"


class FetchFailed(ProvisionError):
    code = Code.UNAVAILABLE
    reason = "FETCH_FAILED"
    message = "{url} cannot be fetched: {why}"
    advice = (
        "See that the URL is right and that the daemon's machine reaches it; what has come is kept for the "
        "next try."
    )


class QemuImgMissing(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "QEMU_IMG_MISSING"
    message = "the daemon's machine has no {program}, which looks at images and converts them"
    advice = "Install it there (package qemu-utils on Debian and Ubuntu, qemu-img on RHEL and its kin)."


class QemuImgFailed(ProvisionError):
    code = Code.FAILED_PRECONDITION
    reason = "QEMU_IMG_FAILED"
    message = "qemu-img could not {doing}: {said}"
    advice = "If it ran out of time or room, raise the limits under `images` in the daemon's configuration."


class TransferFailed(ProvisionError):
    """The bytes of a disk could not be moved; the engine's and the host's own words are in `why`."""

    code = Code.UNAVAILABLE
    reason = "TRANSFER_FAILED"
    message = "the {direction} of disk {disk} failed: {why}"
    advice = (
        "See that the daemon's machine reaches port 54322 of the hosts, or 54323 of the engine, and what the "
        "engine's events say."
    )

"""Makes CD-ROMs of files, such as the config drive, label `config-2`, by which a guest configures itself."""

import io
from collections.abc import Mapping
from pathlib import PurePosixPath

import pycdlib

LABEL = "config-2"


def make_iso(files: Mapping[str, bytes], label: str = LABEL) -> bytes:
    """An ISO 9660 image, with Rock Ridge and Joliet names, of `files` by relative path."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label)
    short: dict[PurePosixPath, PurePosixPath] = {PurePosixPath("/"): PurePosixPath("/")}

    def name(path: PurePosixPath) -> str:
        """The ISO 9660 name beside the real one: a number, since most characters are not allowed in it."""
        short[path] = short[path.parent] / f"N{len(short):07}"
        return str(short[path])

    for relative, content in sorted(files.items()):
        path = PurePosixPath("/") / relative
        for folder in reversed(path.parents):
            if folder not in short:
                iso.add_directory(name(folder), rr_name=folder.name, joliet_path=str(folder))
        iso.add_fp(
            io.BytesIO(content), len(content), name(path) + ".;1", rr_name=path.name, joliet_path=str(path)
        )
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()

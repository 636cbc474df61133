"""A boot disc that asks for a line, writes it to the first disk and boots from that; see boot_disc.S."""

import io
import subprocess
from pathlib import Path

import pycdlib

_SOURCE = Path(__file__).with_suffix(".S")


def make_boot_disc(folder: Path) -> bytes:
    """Its ISO image; `folder` is for what is made on the way."""
    compiled, program = folder / "boot.o", folder / "boot.bin"
    subprocess.run(["as", "--32", "-o", compiled, _SOURCE], check=True)
    plain = ["-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary"]
    subprocess.run(["ld", *plain, "-o", program, compiled], check=True)
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident="INSTALLER")
    iso.add_fp(io.BytesIO(program.read_bytes()), program.stat().st_size, "/BOOT.;1")
    iso.add_eltorito("/BOOT.;1", bootcatfile="/BOOT.CAT;1", boot_load_size=4)
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()

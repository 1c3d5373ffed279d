"""Where the headers of the running kernel are, which bcc compiles against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nfsnitch.adapters.bpf.libbpf import BpfError

ELSEWHERE = "BCC_KERNEL_SOURCE"
"""Environment variable of bcc's: a folder with headers, in place of those that would be found."""
ARCHIVE = Path("/sys/kernel/kheaders.tar.xz")
"""Headers that the kernel has with it (CONFIG_IKHEADERS)."""
_MODULES = Path("/lib/modules")
_PROOF = Path("include/generated/autoconf.h")
"""What only the headers of a configured kernel have."""


def found(modules: Path = _MODULES, archive: Path = ARCHIVE) -> Path:
    """Return the folder or archive with the headers of the running kernel.

    The packages of distributions leave links in ``/lib/modules/VERSION``: ``build``, to what was
    made for this configuration, and some also ``source``, to what is the same in all of them.

    Raises:
        BpfError: there are none; the message says what to install.

    """
    version = os.uname().release
    folder = modules / version
    if os.environ.get(ELSEWHERE):
        return Path(os.environ[ELSEWHERE])
    build = folder / "build"
    if (build / _PROOF).is_file() and _has_sources(folder):
        return build
    if archive.is_file():
        return archive
    raise BpfError(
        f"the headers of kernel {version} are not here: neither below {build} nor in {archive}; "
        f"{remedy()}"
    )


def _has_sources(folder: Path) -> bool:
    part = Path("include/linux/kconfig.h")
    return any((folder / name / part).is_file() for name in ("source", "build"))


def remedy() -> str:
    """Return what to do where there are none."""
    return f"install the package linux-headers-{os.uname().release}, or use a kernel that has BTF"


@contextmanager
def unpacked(place: Path) -> Iterator[Path]:
    """Yield *place*; if it is an archive, a folder of our own with what is in it.

    bcc by itself would unpack to a place below /tmp whose name anybody knows, and take what is
    there already; so it never gets to do that.
    """
    if not place.is_file():
        yield place
        return
    import tarfile  # noqa: PLC0415  of no use to those who only ask where headers are
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="nfsnitch-kheaders-") as folder:
        with tarfile.open(place) as archive:
            archive.extractall(folder)  # noqa: S202  the kernel's own, or named by root
        yield Path(folder)

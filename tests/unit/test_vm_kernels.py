"""What a guest boots from, made of a kernel package as Debian builds it."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest

from vm import kernels
from vm.kernels import Kernel, NoKernelError

PLAIN = """\
kernel/net/9p/9pnet.ko:
kernel/net/9p/9pnet_virtio.ko: kernel/net/9p/9pnet.ko kernel/drivers/virtio.ko
kernel/drivers/virtio.ko:
kernel/fs/9p/9p.ko: kernel/fs/netfs.ko kernel/net/9p/9pnet.ko
kernel/fs/netfs.ko:
kernel/other.ko: kernel/fs/netfs.ko
"""


@pytest.fixture(name="cache")
def fixture_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return kernels.folder()


def unpack(cache: Path, dep: str) -> Kernel:
    root = cache / "6.1"
    modules = root / "lib" / "modules" / "6.1.0-1-amd64"
    for line in dep.splitlines():
        path = modules / line.partition(":")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.name.encode()
        path.write_bytes(lzma.compress(data) if path.suffix == ".xz" else data)
    (modules / "modules.dep").write_text(dep, encoding="ascii")
    (modules / "modules.builtin").write_text("kernel/virtio_pci.ko\n", encoding="ascii")
    (root / "boot").mkdir()
    (root / "boot" / "vmlinuz-6.1.0-1-amd64").touch()
    return Kernel.of("6.1")


def test_each_module_comes_after_those_it_needs_and_built_in_ones_not_at_all(cache: Path) -> None:
    kernel = unpack(cache, PLAIN)

    names = [name for name, _ in kernel.first_modules()]

    assert names == ["virtio", "9pnet", "9pnet_virtio", "netfs", "9p"]


def test_compressed_modules_are_unpacked(cache: Path) -> None:
    kernel = unpack(cache, PLAIN.replace(".ko", ".ko.xz"))

    assert dict(kernel.first_modules())["9p"] == b"9p.ko.xz"


def test_a_kernel_without_a_module_that_is_needed_is_refused_by_its_name(cache: Path) -> None:
    kernel = unpack(cache, PLAIN.replace("fs/9p/9p.ko", "fs/9p/x.ko"))

    with pytest.raises(NoKernelError, match="has no module 9p"):
        list(kernel.first_modules())


def test_a_kernel_that_was_not_fetched_is_said(cache: Path) -> None:
    with pytest.raises(NoKernelError, match=r"no kernel 6\.12 below .*nfsnitch/kernels"):
        Kernel.of("6.12")
    assert not cache.exists()


@pytest.mark.vm
def test_the_archive_holds_every_file_whatever_its_length(tmp_path: Path) -> None:
    files = {"init": b"x", "modules/one": b"four", "modules/three": b"12345"}

    archive = kernels.cpio(("modules",), files)
    unpacking = ["busybox", "cpio", "-id"]
    subprocess.run(unpacking, input=archive, cwd=tmp_path, check=True)

    assert {name: (tmp_path / name).read_bytes() for name in files} == files

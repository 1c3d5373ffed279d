"""How the eBPF programs come to fit the running kernel."""

from __future__ import annotations

from enum import StrEnum


class Loader(StrEnum):
    """The values of ``--bpf``; docs/bcc.md says how they differ."""

    AUTO = "auto"
    """`CORE` where the kernel describes its types (BTF), else `BCC`."""
    CORE = "core"
    """Compiled once, when nfsnitch is built; libbpf fits them to the kernel as they are loaded."""
    BCC = "bcc"
    """Compiled at the start, against the headers of the running kernel."""

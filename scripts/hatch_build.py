"""Hatchling's build hook: what is not Python goes into the wheel's `nfsnitch/data`.

Not so for an editable install: that uses the files of the tree, and a copy of them in the virtual
environment would grow old unseen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DataFilesHook(BuildHookInterface[Any]):
    """Adds the nft rulesets, the eBPF programs (compiled, and their sources) and the man pages."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to *build_data*, unless *version* is the editable one."""
        if version == "editable":
            return
        compiled = sorted(Path(self.root, "bpf", "build").glob("*.bpf.o"))
        if not compiled:
            raise FileNotFoundError("the eBPF object has not been built: run make -C bpf first")
        files = {str(each): f"nfsnitch/data/bpf/{each.name}" for each in compiled}
        # The sources, too: where the kernel does not describe its types, bcc compiles them.
        for each in (*Path(self.root, "bpf").glob("*.bpf.c"), *Path(self.root, "bpf").glob("*.h")):
            files[str(each)] = f"nfsnitch/data/bpf/{each.name}"
        files[str(Path(self.root, "nft"))] = "nfsnitch/data/nft"
        build_data["force_include"].update(files)
        build_data["shared_data"].update(
            (str(each), f"share/man/man{each.suffix[1:]}/{each.name}")
            for each in sorted(Path(self.root, "man").iterdir())
        )

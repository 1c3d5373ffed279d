"""What a command was asked to do, apart from how the command line says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nfsnitch.core.attach import AttachMode
from nfsnitch.core.loader import Loader

DEFAULT_RULES = Path("/etc/nfsnitch/rules.yaml")
DEFAULT_STATE = Path("/var/lib/nfsnitch")
DEFAULT_QUEUE_NUM = 7301


class UsageError(Exception):
    """Options that do not fit together."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of ``nfsnitch run``."""

    rules: tuple[Path, ...] = (DEFAULT_RULES,)
    """Rule files, merged in this order."""
    cgroup: Path | None = None
    """Directory of the cgroup v2 that hooks of a cgroup are put on; None for the root of them all.

    In `AttachMode.CGROUP` the processes below it are those that are watched; the other modes watch
    all.
    """
    queue_num: int = DEFAULT_QUEUE_NUM
    """NFQUEUE number, 0-65535."""
    records: str | None = None
    """File to append records to, ``-`` for standard output, None for nowhere."""
    attach: AttachMode = AttachMode.AUTO
    """Where the eBPF programs sit."""
    loader: Loader = Loader.AUTO
    """How they come to fit the kernel."""
    forward: bool = False
    """Whether what this network namespace forwards is judged, too."""
    socket: Path | None = None
    """Where clients find the daemon; None for the place of its network namespace."""
    state: Path = DEFAULT_STATE
    """Directory of what is kept over restarts: which programs were let out."""
    group: str | None = None
    """Group whose members may watch; None for ``nfsnitch``, if there is such a group."""
    answer_group: str | None = None
    """Group whose members may answer, too; None for ``nfsnitch-answer``, if there is one."""
    cache: bool = True
    """Whether the kernel repeats decisions by itself, where it can."""
    answers: Path | None = None
    """File of the rules that answers make; None for ``answers.yaml`` in *state*."""

    @property
    def answers_file(self) -> Path:
        """The file of the rules that answers make."""
        return self.answers or self.state / "answers.yaml"

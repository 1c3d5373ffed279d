"""The firewall on a kernel that does not describe its types: bcc compiles its eBPF programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.adapters.bpf import kernel_headers
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import EndedError
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

ALLOW = "default: deny\nrules: [{name: everything, action: allow}]\n"
COMPILE_S = 120
MEMORY_KB = 40 * 1024
WITHOUT_BTF = ("unshare", "--mount", "sh", "-c")
HIDE = 'mount -t tmpfs none /sys/kernel/btf && exec "$@"'
HIDE_ALL = f"mount -t tmpfs none /lib/modules && {HIDE}"


def on_kernel_without_types(firewall: Firewall, script: str = HIDE) -> Firewall:
    """Have it find the machine as such a kernel would leave it."""
    firewall.argv = (*WITHOUT_BTF, script, "sh", *firewall.argv)
    return firewall


def status_of(pid: int, field: str) -> int:
    """Return a number of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(found)


@pytest.mark.slow
@pytest.mark.usefixtures("services")
@pytest.mark.vm_guest(modes=("kprobe",))
@pytest.mark.timeout(900)
def test_without_btf_the_programs_are_compiled_and_the_daemon_stays_small(
    world: World, rules: WriteRules
) -> None:
    try:
        kernel_headers.found()
    except BpfError as problem:
        pytest.skip(str(problem))
    firewall = Firewall(world, [rules(ALLOW)], ready_timeout_s=COMPILE_S)
    with on_kernel_without_types(firewall):
        done = world.run([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])
        record = firewall.wait_for_record(having(pid=done.pid))
        pid = firewall.child.pid
        used_kb = status_of(pid, "VmRSS")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        said = firewall.child.stderr.text()

    assert (record["owner"], record["exe"]) == ("process", str(build_program("one_connect")))
    assert record["verdict"] == "accept"
    assert "the eBPF programs were made for this kernel" in said
    assert used_kb < MEMORY_KB
    assert children == []


def test_without_btf_and_without_headers_the_start_says_what_to_install(
    world: World, rules: WriteRules
) -> None:
    firewall = on_kernel_without_types(Firewall(world, [rules(ALLOW)]), HIDE_ALL)

    with pytest.raises(EndedError, match=r"install the package linux-headers-"), firewall:
        pass

"""Units, apps and containers, told by the path of a cgroup; and what cannot be forged of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.core.cgroup_path import place, unescaped
from nfsnitch.core.unknown import Unknown

ID = "3f2a90c1d5e7" * 5 + "aaaa"
USER = "/user.slice/user-1000.slice/user@1000.service"


def known(value: object) -> object:
    return None if isinstance(value, Unknown) else value


@pytest.mark.parametrize(
    ("path", "unit", "user_unit"),
    [
        ("/system.slice/cron.service", "cron.service", None),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", None),
        ("/init.scope", "init.scope", None),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", None),
        ("/system.slice/dbus.socket", "dbus.socket", None),
        ("/system.slice/_cpu.service", "cpu.service", None),
        (f"{USER}/init.scope", "user@1000.service", "user@1000.service/init.scope"),
        (
            f"{USER}/app.slice/app-gnome-x\\x2dy-7.scope",
            "user@1000.service",
            "user@1000.service/app-gnome-x\\x2dy-7.scope",
        ),
        (USER, "user@1000.service", None),
        (f"{USER}/app.slice", "user@1000.service", None),
        (f"{USER}/anything", "user@1000.service", None),
        ("/", None, None),
        ("/system.slice", None, None),
        ("/docker/x/system.slice/cron.service", None, None),
        ("/lxc.payload.a/cron.service", None, None),
        ("/../system.slice/cron.service", None, None),
        ("/cron.services", None, None),
    ],
)
def test_a_path_tells_the_unit(path: str, unit: str | None, user_unit: str | None) -> None:
    assert known(place(path).unit) == unit
    assert known(place(path).user_unit) == user_unit


@pytest.mark.parametrize(
    ("path", "app"),
    [
        (
            f"{USER}/app.slice/app-flatpak-org.mozilla.firefox-12.scope",
            "flatpak:org.mozilla.firefox",
        ),
        (f"{USER}/app.slice/app-flatpak-org.a\\x2db.C-12.scope", "flatpak:org.a-b.C"),
        (f"{USER}/app.slice/snap.firefox.firefox-5ab0.scope", "snap:firefox"),
        (f"{USER}/app.slice/snap.firefox.hook.configure-5ab0.scope", "snap:firefox"),
        ("/system.slice/snap.lxd.daemon.service", "snap:lxd"),
        ("/system.slice/snap.foo_two.app.service", "snap:foo_two"),
        (f"/system.slice/docker-{ID}.scope", f"container:{ID}"),
        (f"/docker/{ID}", f"container:{ID}"),
        (f"/docker/{ID}/init", f"container:{ID}"),
        (f"/machine.slice/libpod-{ID}.scope/container", f"container:{ID}"),
        (f"{USER}/user.slice/libpod-{ID}.scope/container", f"container:{ID}"),
        (f"/kubepods.slice/kubepods-podx.slice/cri-containerd-{ID}.scope", f"container:{ID}"),
        (f"/kubepods/burstable/pod1-2/{ID}", f"container:{ID}"),
        (f"/kubepods/pod1-2/{ID}", f"container:{ID}"),
        ("/lxc/web/system.slice/cron.service", "container:web"),
        ("/lxc.payload.web/init.scope", "container:web"),
        ("/machine.slice/systemd-nspawn@web.service/payload", "container:web"),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "container:qemu-1-vm"),
        (f"/machine.slice/libpod-conmon-{ID}.scope", None),
        (f"/docker/{ID}x", None),
        (f"/docker/{ID[:-1]}", None),
        ("/lxc.monitor.web", None),
        ("/system.slice/cron.service", None),
        (f"{USER}/app.slice/app-gnome-firefox-12.scope", None),
        ("/", None),
    ],
)
def test_a_path_tells_the_app_or_container(path: str, app: str | None) -> None:
    assert known(place(path).app) == app


_names = st.one_of(
    st.sampled_from(
        [
            *("cron.service", "system.slice", "user@1000.service", "init.scope", "payload", ".."),
            *(f"docker-{ID}.scope", "docker", ID, "snap.lxd.daemon.service", "lxc", "x"),
        ]
    ),
    st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12),
)


@given(st.lists(_names, max_size=6))
def test_any_path_has_a_place(names: list[str]) -> None:
    for value in place("/" + "/".join(names)):
        assert isinstance(value, Unknown) or value


@given(
    st.sampled_from(["/system.slice/ssh.service", f"/system.slice/docker-{ID}.scope", "/docker/x"]),
    st.lists(_names.filter(lambda name: name != ".."), max_size=4),
)
def test_nothing_below_a_system_unit_or_container_changes_what_it_is(
    given_away: str, below: list[str]
) -> None:
    assert place("/".join([given_away, *below])).unit == place(given_away).unit


@given(st.lists(_names.filter(lambda name: name != ".."), max_size=4))
def test_a_user_cannot_make_a_cgroup_that_is_taken_for_a_system_unit(names: list[str]) -> None:
    found = place("/".join([USER, *names]))
    assert found.unit == "user@1000.service"
    assert isinstance(found.user_unit, Unknown) or "/" in found.user_unit


@given(st.binary(max_size=12))
def test_systemds_escapes_are_undone(raw: bytes) -> None:
    escaped = "".join(f"\\x{byte:02x}" for byte in raw)
    assert unescaped(escaped) == raw.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("path", "pod"),
    [
        ("/kubepods/podab-12/c0ffee", "ab-12"),
        ("/kubepods/burstable/podab-12", "ab-12"),
        ("/kubepods.slice/kubepods-podab_12.slice/crio-1.scope", "ab-12"),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab_12.slice/x", "ab-12"),
        (f"/machine.slice/machine-libpod_pod_{'a' * 64}.slice/libpod-1.scope", "a" * 64),
        ("/user.slice/kubepods/podab-12/x", None),
        ("/user.slice/user@1.service/kubepods.slice/kubepods-podab_12.slice/x", None),
        ("/kubepods/podab-12x/../podab-13", None),
        ("/system.slice/cron.service", None),
    ],
)
def test_a_pod_is_what_slices_at_the_top_say(path: str, pod: str | None) -> None:
    found = place(path).pod

    assert (None if isinstance(found, Unknown) else found) == pod

#!/usr/bin/env bash
# Boots an ordinary Debian, with systemd as its first process and nfsnitch installed, under qemu, and
# runs check.py in it. See docs/install.md, "Trying the units".
#
# usage (as root, after `make setup`): tests/systemd/boot.sh [KERNEL_LINE [SCRIPT]]
#   KERNEL_LINE   a folder of those that scripts/vm-kernels unpacks, 6.12 if not given
#   SCRIPT        another script to run in the guest
#
# The root file system is made once, by debootstrap (below the user's cache directory, 500 MB).
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly LINE=${1:-6.12} SCRIPT=${2:-$here/check.py}
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/nfsnitch
readonly KERNEL=$CACHE/kernels/$LINE IMAGE=$CACHE/systemd-root.ext4
readonly SUITE=bookworm TIMEOUT_S=${TIMEOUT_S:-600}
readonly PACKAGES=systemd-sysv,dbus,udev,kmod,python3,python3-nftables,libbpf1,libnetfilter-queue1,nftables,iptables,conntrack,netbase,iproute2,procps
# Nobody sits at this machine, and emulated hardware takes long to be looked at.
readonly MASKED="systemd.mask=systemd-udev-trigger.service systemd.mask=serial-getty@ttyS0.service \
systemd.mask=getty@tty1.service systemd.mask=e2scrub_reap.service systemd.mask=systemd-logind.service"
export PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(basename "$KERNEL"/lib/modules/*)

make_image() {
    local source root=$work/root
    # shellcheck disable=SC2016 # apt fills it in
    source=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        sort -u | awk -v suite="$SUITE" '$2 == suite { print $1; exit }')
    debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$root" "${source:?}" >"$work/log" ||
        { tail -n 20 "$work/log" >&2; exit 1; }
    finish_image "$root"
}

finish_image() {
    rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/usr/share/doc
    truncate -s 1200M "$work/image"
    mkfs.ext4 -q -d "$1" "$work/image"
    mv "$work/image" "$IMAGE"
}

# What is not in the image, as an archive on a disk of its own: the project, the check, its unit.
make_payload() {
    local tree=$work/tree
    mkdir -p "$tree/usr/lib/modules" "$tree/etc/systemd/system" "$tree/opt"
    DESTDIR=$tree make -s -C "$here/../.." install >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    cp -a "$KERNEL/lib/modules/$version" "$tree/usr/lib/modules/"
    cp "$SCRIPT" "$tree/opt/check"
    cp "$here"/*.service "$tree/etc/systemd/system/"
    printf 'default: deny\nrules: [{name: good, action: allow, exe: /opt/good}]\n' \
        >"$tree/etc/nfsnitch/rules.yaml"
    mkdir -p "$tree/usr/lib/sysusers.d"
    printf 'g nfsnitch -\nu watcher -\nm watcher nfsnitch\n' >"$tree/usr/lib/sysusers.d/check.conf"
    for unit in sysinit:nfsnitch-early sysinit:check-world sysinit:check-sender \
        multi-user:nfsnitch multi-user:check; do
        wants=$tree/etc/systemd/system/${unit%:*}.target.wants
        mkdir -p "$wants"
        unit=${unit#*:}.service
        if [[ -e $tree/etc/systemd/system/$unit ]]; then
            ln -s "/etc/systemd/system/$unit" "$wants/$unit"
        else
            ln -s "/usr/local/lib/systemd/system/$unit" "$wants/$unit"
        fi
    done
    tar -C "$tree" -cf "$work/payload" .
}

make_initramfs() {
    local tree=$work/initramfs number=10 module
    mkdir -p "$tree"/{bin,dev,root,modules}
    cp "$(command -v busybox)" "$tree/bin/busybox"
    while read -r _ module; do
        ((number += 1))
        xzcat -f "$module" >"$tree/modules/$number.ko"
    done < <(for each in virtio_pci virtio_blk ext4; do
        modprobe -d "$KERNEL" -S "$version" --show-depends "$each"
    done | grep '^insmod' | awk '!seen[$0]++')
    cat >"$tree/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs none /dev
for module in /modules/*; do $b insmod "$module"; done
$b mount -t ext4 /dev/vda /root
$b tar -C /root -xf /dev/vdb
exec $b switch_root /root /sbin/init
INIT
    chmod 755 "$tree/init"
    (cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
}

boot() {
    timeout "$TIMEOUT_S" nice -n "${NICE-10}" qemu-system-x86_64 -nodefaults -no-reboot -display none -machine q35 \
        -accel tcg,thread=multi -cpu max -smp 1 -m 1G -snapshot \
        -kernel "$KERNEL/boot/vmlinuz-$version" -initrd "$work/initrd" \
        -append "console=ttyS0 loglevel=4 panic=-1 $MASKED ${APPEND-}" \
        -drive "file=$IMAGE,format=raw,if=virtio" -drive "file=$work/payload,format=raw,if=virtio" \
        -serial "file:$work/console" -serial "file:$work/output" </dev/null || true
}

[[ -e $IMAGE ]] || make_image
make_payload
make_initramfs
boot
[[ -z ${KEEP-} ]] || cp "$work/console" "$work/output" "$KEEP/"
cat "$work/output"
if ! grep -q '^check: all is well' "$work/output"; then
    tail -n 40 "$work/console"
    exit 1
fi

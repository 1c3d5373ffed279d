#!/usr/bin/env bash
# The first process of a guest: makes a machine of the kernel, runs one command in it, turns it off.
#
# usage (by the kernel alone): guest.sh MODULES SHARE
#   MODULES   the folder with this kernel's modules
#   SHARE     the folder that host and guest share: `command` is run with its output in `output`, and
#             its exit status is written to `status`; `up` is there from the beginning
set -u
modules=$1
share=$2

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# No translations: Python's argparse looks for one of each of its words, in folders of the host.
export LANGUAGE=C

end() {
    sync
    # Neither init nor anything else is there to ask.
    echo o >/proc/sysrq-trigger
    while :; do sleep 10; done
}

mount -t proc proc /proc
trap end EXIT
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
ln -s /proc/self/fd /dev/fd

# Where the kernel's own modprobe looks as well.
mount -t tmpfs -o mode=755 tmpfs /lib/modules
ln -s "$modules" "/lib/modules/$(uname -r)"

# Elsewhere udev makes the device nodes by which programs have these loaded.
modprobe --all --quiet loop tun

mkdir -p /run/netns
mkdir -m 1777 /run/tmp
# The host's /tmp is seen, but cannot be written to.
export TMPDIR=/run/tmp PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=/run/hypothesis
ulimit -n 65536
hostname guest
ip link set lo up
: >"$share/up"

bash "$share/command" >"$share/output" 2>&1 </dev/null
echo $? >"$share/status"

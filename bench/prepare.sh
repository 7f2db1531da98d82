#!/bin/bash
# bench/prepare.sh: makes what bench/run needs, in $BUILD/bench: the workload programs and their data (disk/, appears as /bench), the user space of Debian
# packages that guests and the native runs share (root/, root.cpio), and with "systemd" as argument one that boots to a login prompt (systemd/).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${BUILD:-build}/bench
disk=$out/disk
mkdir -p "$disk/bin"
cc=${CC:-gcc}
flags="-O2 -D_GNU_SOURCE -Wall -Wextra -Ibench/work"

gcc12=usr/lib/gcc/x86_64-linux-gnu/12
OMIT="$gcc12/*.a $gcc12/lto1 $gcc12/plugin usr/bin/*lto-dump* usr/bin/*dwp* usr/bin/*gold usr/bin/gp-* usr/lib/x86_64-linux-gnu/lib?san* usr/lib/x86_64-linux-gnu/gprofng
      usr/lib/x86_64-linux-gnu/libgprofng* usr/lib/x86_64-linux-gnu/perl-base/unicore/lib usr/lib/x86_64-linux-gnu/*.a" \
    script/make-userland.sh "$out/root" busybox-static sqlite3 python3-minimal lua5.4 gcc-12 perl-base xz-utils zstd gzip openssl 7zip
mkdir -p "$out/root/bench"

newer() { [ -e "$1" ] && [ -z "$(find bench/work bench/prepare.sh -newer "$1" -print -quit)" ]; }
if ! newer "$disk/run"; then
    rm -rf "$disk"
    mkdir -p "$disk/bin"
    awk -v COUNT=20000 -f bench/work/cold.awk >"$out/cold.s"
    # shellcheck disable=SC2086
    {
        for p in integer memory float system code smp; do
            $cc $flags -static -pthread bench/work/$p.c bench/work/main.c -o "$disk/$p" -lm
        done
        $cc $flags -static bench/work/cold.c bench/work/main.c "$out/cold.s" -o "$disk/cold"
        $cc $flags bench/work/crypto.c bench/work/main.c -o "$disk/crypto" # libcrypto is there as a shared library only
        $cc $flags -static bench/work/true.c -o "$disk/true"
        for p in integer system; do $cc $flags -E -P bench/work/$p.c -o "$disk/$p.i"; done
        $cc $flags -static bench/work/run.c -o "$disk/run"
    }
    cp bench/work/mix.* bench/work/configure.sh bench/work/hello.c "$disk"
    head -c 1000000 "$out/cold.s" >"$disk/text"
    for applet in sh cat tr sed grep expr test rm sort tail echo; do ln -s /bin/busybox "$disk/bin/$applet"; done
    touch "$disk/run"
fi

if [ "${1-}" = systemd ]; then
    script/make-userland.sh "$out/systemd" systemd systemd-sysv dbus udev login passwd util-linux bash coreutils kmod base-files base-passwd libpam-modules libpam-runtime procps
    if [ ! -e "$out/systemd-more.cpio" ]; then
        more=$(mktemp -d)
        chmod 755 "$more"
        mkdir -p "$more/etc"
        ln -s lib/systemd/systemd "$more/init"
        echo bench >"$more/etc/hostname"
        echo 0123456789abcdef0123456789abcdef >"$more/etc/machine-id"
        (cd "$more" && find . | cpio -o -H newc -R 0:0 --quiet) >"$out/systemd-more.cpio"
        rm -rf "$more"
    fi
    cat "$out/systemd.cpio" "$out/systemd-more.cpio" >"$out/systemd-initrd"
fi

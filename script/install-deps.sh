#!/bin/sh
# Installs the Debian packages that building and testing rhea needs: those that are missing, and says which.  Run by make, make run and make test when
# something is missing; `make deps` runs it by hand.
set -eu

# package            for
# gcc libc6-dev      compiling
# pkg-config         finding the libraries
# libcapstone-dev    disassembly (-d in_asm, monitor x/i, rhea explain)
# libelf-dev         symbols of ELF files (rhea explain)
# libcmocka-dev      unit tests
# busybox-static     the guest's user space in `make run` and the boot test
# cpio gzip          packing the initramfs
# python3            the tables and pages of bench/, and their tests
# lz4 xz-utils       unpacking the kernel inside a bzImage (script/extract-vmlinux.sh)
packages="gcc libc6-dev make pkg-config libcapstone-dev libelf-dev libcmocka-dev busybox-static cpio gzip lz4 xz-utils python3"

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ||
        # pkgconf stands in for pkg-config, any compiler that answers to the name for gcc
        { [ "$1" = pkg-config ] && command -v pkg-config >/dev/null; } || { [ "$1" = gcc ] && command -v gcc >/dev/null; }
}

missing=
for p in $packages; do
    installed "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "rhea needs these Debian packages, and there is no apt-get here; install what your system calls them:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    if ! command -v sudo >/dev/null; then
        echo "rhea needs packages; as root, run: apt-get install$missing" >&2
        exit 1
    fi
fi
echo "rhea: installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
install_them() {
    # shellcheck disable=SC2086
    $as_root apt-get install -y --no-install-recommends $missing
}
# An index that is missing or old names files that the mirror no longer has: look again, then.
install_them >/dev/null 2>&1 || { $as_root apt-get update -q || true; install_them; }

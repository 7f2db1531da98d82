#!/bin/sh
# Fetches a Debian kernel by apt and unpacks it, without installing it, into build/kernels/PACKAGE/.  Prints the path of its vmlinuz.
#
#     script/fetch-kernel.sh [PACKAGE[:ARCHITECTURE]]     linux-image-cloud-amd64 (default), linux-image-amd64, linux-image-686-pae:i386
# Another package is unpacked in the same way (busybox-static:i386, for an initramfs under a 32-bit kernel); its directory is printed.
#
# Another architecture is fetched with an apt state of its own under build/kernels/apt, so that the machine's apt stays as it is.
set -eu
cd "$(dirname "$0")/.."
want=${1:-linux-image-cloud-amd64}
name=${want%%:*}
arch=$(dpkg --print-architecture)
case $want in *:*) arch=${want##*:} ;; esac
dir=${BUILD:-build}/kernels/$name
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ -e "$dir/vmlinuz" ]; then
    echo "$dir/vmlinuz"
    exit 0
fi
if [ -d "$dir/root" ] && [ ! -e "$dir/root/boot" ]; then
    echo "$dir/root"
    exit 0
fi

apt_options="-o APT::Sandbox::User=root"
update="apt-get update -q"
if [ "$(id -u)" != 0 ]; then
    update="sudo $update"
fi
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
    state=$(dirname "$dir")/apt-$arch
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    apt_options="-o Dir::State=$state -o Dir::State::lists=$state/lists -o Dir::State::status=$state/status -o Dir::Cache=$state/cache
        -o APT::Architecture=$arch -o APT::Architectures=$arch -o APT::Sandbox::User=root -o Acquire::Languages=none"
    update="apt-get $apt_options update -q"
fi

# The name is of a package that only depends on the newest kernel's.
# shellcheck disable=SC2086
resolve() {
    apt-cache $apt_options show --no-all-versions "$name" 2>/dev/null |
        sed -n 's/^Depends: .*\(linux-image-[0-9][^ ,]*\).*/\1/p' | head -n 1
}
# shellcheck disable=SC2086
download() {
    real=$(resolve)
    (cd "$dir" && apt-get $apt_options -q download "${real:-$name}")
}
echo "rhea: fetching $want into $dir" >&2
# An update that fails in part (a mirror in the middle of its own) may still have told what is needed.
download >&2 || { $update >&2 || true; download >&2; }
mkdir -p "$dir/root"
dpkg-deb -x "$dir"/*.deb "$dir/root"
rm -f "$dir"/*.deb
if [ ! -d "$dir/root/boot" ]; then
    echo "$dir/root"
    exit 0
fi
ln -sf "$(cd "$dir" && ls root/boot/vmlinuz-* | tail -n 1)" "$dir/vmlinuz"
echo "$dir/vmlinuz"

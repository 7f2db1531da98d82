#!/bin/bash
# Unpacks Debian packages and all they depend on into a directory that a guest can have as its root, and packs it as an initramfs.
#
#     script/make-userland.sh DIRECTORY PACKAGE...        makes DIRECTORY and DIRECTORY.cpio; nothing to do if both are there for the same packages
#
# Nothing is installed and no maintainer script runs: packages are downloaded by an apt state of its own, which believes that nothing is installed yet,
# and their files laid out under the merged /usr that Debian has.  What the scripts would have made and guests need is made here: accounts (base-passwd),
# /etc/shadow without passwords, alternatives (awk, cc), the dynamic linker's cache.  Documentation, translations and headers are left out.
# The archive is not compressed: unpacking is the guest's work.  It holds no /init: append an archive that does (the kernel unpacks one after another),
# or boot with rdinit=PROGRAM.  OMIT="pattern..." (paths without the leading slash) leaves out more.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 1; }
root=$1
shift
wanted="$* ${OMIT-}"
[ -e "$root.cpio" ] && [ "$(cat "$root.packages" 2>/dev/null)" = "$wanted" ] && exit 0

state=$root.apt
rm -rf "$root" "$root.cpio" "$root.packages"
mkdir -p "$root" "$state/archives/partial"
state=$(cd "$state" && pwd)
: >"$state/status"
options=(-q -o Dir::State::status="$state/status" -o Dir::Cache::archives="$state/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
fetch() { apt-get "${options[@]}" install -y --no-install-recommends --download-only "$@" >"$state/log" 2>&1; }
echo "rhea: fetching $*" >&2
if ! fetch "$@"; then
    # Lists that are old name files that the mirror no longer has.
    if [ "$(id -u)" = 0 ]; then apt-get update -q; else sudo apt-get update -q; fi >>"$state/log" 2>&1 || true
    fetch "$@" || { cat "$state/log" >&2; exit 1; }
fi

mkdir -p "$root"/usr/{bin,sbin,lib,lib64,lib32} "$root"/{proc,sys,dev,run,tmp,root,etc,var/log,var/tmp}
for d in bin sbin lib lib64 lib32; do ln -s usr/$d "$root/$d"; done
set -f
excludes=()
for path in usr/share/doc/ usr/share/man usr/share/info usr/share/locale usr/share/i18n usr/share/lintian usr/share/bash-completion usr/share/zoneinfo \
    usr/include usr/lib/x86_64-linux-gnu/gconv ${OMIT-}; do
    excludes+=("--exclude=./${path%/}*")
done
set +f
for deb in "$state"/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner "${excludes[@]}" -C "$root"
done

if [ -d "$root/usr/share/base-passwd" ]; then
    cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
    cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
else
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
fi
sed 's/^\([^:]*\):.*/\1::19000:0:99999:7:::/' "$root/etc/passwd" >"$root/etc/shadow"
chmod 600 "$root/etc/shadow"
alternative() { if [ -e "$root/usr/bin/$2" ] && [ ! -e "$root/usr/bin/$1" ]; then ln -s "$2" "$root/usr/bin/$1"; fi; }
for pair in awk:mawk sh:dash cc:gcc gcc:gcc-12 cpp:cpp-12 lua:lua5.4; do alternative "${pair%:*}" "${pair#*:}"; done
for library in blas/libblas.so.3 lapack/liblapack.so.3; do
    [ ! -e "$root/usr/lib/x86_64-linux-gnu/$library" ] || ln -sf "$library" "$root/usr/lib/x86_64-linux-gnu/"
done
ldconfig -r "$root" 2>/dev/null || true
chmod 1777 "$root/tmp" "$root/var/tmp"
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$root.cpio.part"
mv "$root.cpio.part" "$root.cpio"
echo "$wanted" >"$root.packages"
rm -rf "$state"

#!/bin/sh
# Packs an initramfs around Debian's busybox-static.
#
#     script/make-initramfs.sh OUT [BUSYBOX [FILE...]]        the files go to /root
#
# Its /init mounts /proc, /sys and /dev, prints "rhea: init reached", runs what the kernel's command line says in rhea.run="..." (or else a
# shell on the console), and powers the machine off.
set -eu
out=$1
busybox=${2:-$(command -v busybox)}
shift
[ $# -eq 0 ] || shift
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/proc" "$work/sys" "$work/dev" "$work/tmp" "$work/root" "$work/etc"
cp "$busybox" "$work/bin/busybox"
[ $# -eq 0 ] || cp "$@" "$work/root/"
echo 'root:x:0:0:root:/root:/bin/sh' >"$work/etc/passwd"
cat >"$work/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
# poweroff, halt and reboot ask process 1, by these signals.
trap 'busybox poweroff -f' USR2
trap 'busybox halt -f' USR1
trap 'busybox reboot -f' TERM
export PATH=/bin HOME=/root TERM=vt100 PS1='# '
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
console=/dev/$(sed 's/.* //' /sys/class/tty/console/active)
exec <"$console" >"$console" 2>&1
hostname rhea
cd /root
echo "rhea: init reached"
run=$(sed -n 's/.*rhea\.run="\([^"]*\)".*/\1/p' /proc/cmdline)
[ -n "$run" ] || run=$(sed -n 's/.*rhea\.run=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$run" ]; then
    sh -c "$run"
    echo "rhea: run ended with $?"
else
    echo "A shell of the guest.  poweroff ends it."
    setsid cttyhack sh <"$console" &
    wait $!
fi
sync
poweroff -f
INIT
chmod +x "$work/init"
mkdir -p "$(dirname "$out")"
(cd "$work" && find . | sort | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$out"

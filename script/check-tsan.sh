#!/bin/bash
# Boots Debian's cloud kernel on build/tsan/rhea (made by `make check-tsan`, needs gcc) with 2 and with 4 processors, some work in the guest, and the monitor
# used meanwhile.  Fails at any report of thread sanitizer.
cd "$(dirname "$0")/.."
build=${BUILD:-build}
kernel=$build/kernels/linux-image-cloud-amd64/vmlinuz
initramfs=$build/kernels/initramfs.cpio.gz
out=$build/tsan/report
status=0
work='i=0; while [ $i -lt 40 ]; do i=$((i+1)); (echo $i | cat >/dev/null; ls /proc >/dev/null) & done; wait; cat /proc/cpuinfo | grep -c processor'
for n in 2 4; do
    # No address randomization: the sanitizer wants its own layout.
    (for s in 4 8 12; do sleep $s; printf '\001cstop\ninfo registers -a\ninfo lapic\ncont\n\001c'; done) |
        TSAN_OPTIONS="exitcode=66 ${TSAN_OPTIONS:-}" timeout "${TSAN_TIMEOUT:-600}" setarch -R "$build/tsan/rhea" run -m 512M -nographic -no-reboot -smp $n \
            -kernel "$kernel" -initrd "$initramfs" -append "console=ttyS0 panic=-1 rhea.run=\"$work\"" >"$out.$n" 2>&1
    code=${PIPESTATUS[1]}
    reports=$(grep -c 'WARNING: ThreadSanitizer' "$out.$n")
    echo "-smp $n: exit status $code, $reports reports ($out.$n)"
    grep 'SUMMARY: ThreadSanitizer' "$out.$n" | sort | uniq -c
    grep -q 'rhea: run ended with 0' "$out.$n" && [ "$code" -eq 0 ] && [ "$reports" -eq 0 ] || status=1
done
exit $status

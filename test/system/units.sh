#!/bin/bash
# A program that uses AVX2, FMA, AVX-512, AES, SHA and BMI2, natively and in Debian's kernel: on the host's units, and as on hosts that have no AVX-512,
# or nothing beyond SSE4.2, where these insns run in C.  It must print the same.
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
kernel=$build/kernels/linux-image-cloud-amd64/vmlinuz
. test/result.sh
gcc -O2 -static -o "$dir/units" test/system/guest/units.c || exit 1
script/make-initramfs.sh "$dir/initramfs" "$(command -v busybox)" "$dir/units" || exit 1
"$dir/units" >"$dir/native"

for accel in tcg tcg,x-vector=32 tcg,x-units=off interp,x-units=off; do
    [ $accel != interp,x-units=off ] || [ -n "${SLOW:-}" ] || continue # a minute
    timeout 200 "$build/rhea" run -accel $accel -m 256M -nographic -no-reboot -kernel "$kernel" -initrd "$dir/initramfs" \
        -append "console=ttyS0 panic=-1 quiet rhea.run=/root/units" </dev/null 2>&1 | tr -d '\r' >"$dir/out"
    result "units: -accel $accel: power-off ends rhea with status 0" "${PIPESTATUS[0]}"
    grep '^units ' "$dir/out" | cmp - "$dir/native"
    result "units: -accel $accel: the program prints what it prints natively" $?
done
[ $status -eq 0 ] || tail -n 40 "$dir/out" "$dir/native"
exit $status

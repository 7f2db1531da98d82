#!/bin/bash
# Two vCPUs against one, on the cloud kernel with -smp 2: independent work, futex ping-pong, a shared counter (bench/smp.c), under rhea and under QEMU, by
# turns.  bench/smp.sh [ROUNDS]: the best of each is printed, and the median of the ratios of one boot each.  The host must have two processors to spare.
set -u
cd "$(dirname "$0")/.."
build=${BUILD:-build}
rounds=${1:-3}
kernel=$build/kernels/linux-image-cloud-amd64/vmlinuz
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
gcc -O2 -static -pthread -o "$dir/smp" bench/smp.c && script/make-initramfs.sh "$dir/initramfs" "$(command -v busybox)" "$dir/smp" || exit 1

guest() { # EMULATOR...
    timeout 200 "$@" -m 512M -smp 2 -nographic -no-reboot -kernel "$kernel" -initrd "$dir/initramfs" \
        -append "console=ttyS0 panic=-1 quiet rhea.run=/root/smp" </dev/null 2>/dev/null | tr -d '\r' | grep -E '^(one|two|pingpong|counter[12]) [0-9]+$'
}
who="rhea"
command -v qemu-system-x86_64 >/dev/null && who="rhea qemu"
for ((i = 0; i < rounds; i++)); do
    for w in $who; do
        case $w in
        rhea) guest "$build/rhea" run ;;
        qemu) guest qemu-system-x86_64 -accel tcg,thread=multi -cpu max ;;
        esac >>"$dir/$w"
    done
done
for ((i = 0; i < rounds; i++)); do "$dir/smp"; done >"$dir/native"
echo "              independent work:            futex round    one counter, millions/s"
echo "              one    two    ratio          trips/s        one      two"
for w in native $who; do
    ratio=$(awk '$1 == "one" { one = $2 } $1 == "two" && one { print $2 / one }' "$dir/$w" | sort -n | awk '{ r[NR] = $1 } END { print (r[int((NR + 1) / 2)] + r[int(NR / 2) + 1]) / 2 }')
    awk -v w="$w" -v ratio="$ratio" '{ if ($2 > most[$1]) most[$1] = $2 }
        END { printf "%-12s %5d  %5d   %5.2f         %8d     %7.1f  %7.1f\n", w, most["one"], most["two"], ratio,
            most["pingpong"], most["counter1"] / 1e6, most["counter2"] / 1e6 }' "$dir/$w"
done

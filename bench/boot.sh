#!/bin/bash
# bench/boot.sh: wall time from start to the first line of init, rhea beside qemu-system-x86_64 -accel tcg, same kernel, same initramfs.
# usage: bench/boot.sh [ROUNDS] [KERNEL-PACKAGE]      QEMU=program names another QEMU.  Needs `make kernels` (make run does that too).
# Rounds are interleaved; the table gives minimum, median and maximum of each, the ratio of the medians, and rhea's translator throughput.
set -e
cd "$(dirname "$0")/.."
rounds=${1:-5}
kernel=build/kernels/${2:-linux-image-cloud-amd64}/vmlinuz
initrd=build/kernels/initramfs.cpio.gz
qemu=${QEMU:-qemu-system-x86_64}
[ -r "$kernel" ] && [ -r "$initrd" ] || { echo "bench/boot.sh: no $kernel or $initrd: run 'make kernels' first" >&2; exit 1; }
command -v "$qemu" >/dev/null || { echo "bench/boot.sh: no $qemu: install qemu-system-x86 or set QEMU=" >&2; exit 1; }
stats=$(mktemp)
trap 'rm -f "$stats"' EXIT

# Seconds until the guest's init prints its first line.
first_line() {
    local begin=$EPOCHREALTIME line
    while IFS= read -r line; do
        case $line in *"rhea: init reached"*) break ;; esac
    done < <(timeout 120 "$@" -m 512M -nographic -no-reboot -kernel "$kernel" -initrd "$initrd" \
                 -append "console=ttyS0 panic=-1 rhea.run=true" </dev/null 2>"$stats")
    echo "$EPOCHREALTIME $begin" | awk '{printf "%.3f\n", $1 - $2}'
    wait
}
summary() { sort -n | awk '{v[NR] = $1} END {printf "min %.2f  median %.2f  max %.2f", v[1], v[int((NR + 1) / 2)], v[NR]}'; }
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

for ((i = 1; i <= rounds; i++)); do
    printf 'round %d of %d\r' "$i" "$rounds" >&2
    rhea+=$(first_line build/rhea run -accel tcg,stats=on)$'\n'
    speed+=$(awk '/guest insns translated a second/ {print $1}' "$stats")$'\n'
    other+=$(first_line "$qemu" -accel tcg -cpu max)$'\n'
done
rhea=${rhea%$'\n'} other=${other%$'\n'} speed=${speed%$'\n'}
printf 'rhea  %s  seconds to init\n' "$(summary <<<"$rhea")"
printf 'qemu  %s  seconds to init (%s)\n' "$(summary <<<"$other")" "$("$qemu" --version | head -1)"
awk -v q="$(median <<<"$other")" -v r="$(median <<<"$rhea")" 'BEGIN {printf "rhea is %.2f times as fast (medians)\n", q / r}'
printf 'rhea translates %s million guest insns a second\n' "$(summary <<<"$speed")"

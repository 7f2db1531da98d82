#!/bin/bash
# Debian's kernel patches its own code on a 4-vCPU guest under load: the function tracer, kprobes, tracepoints and static keys, BPF programs loaded and
# unloaded.  GUEST_SECONDS=600 for long; CPUS=4.
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
kernel=$build/kernels/linux-image-cloud-amd64/vmlinuz
seconds=${GUEST_SECONDS:-8}
. test/result.sh
gcc -O1 -static -o "$dir/bpf" test/system/guest/bpf.c && cp test/system/guest/patch.sh "$dir" && chmod +x "$dir/patch.sh" || exit 1
script/make-initramfs.sh "$dir/initramfs" "$(command -v busybox)" "$dir/bpf" "$dir/patch.sh" || exit 1
timeout $((seconds * 4 + 120)) "$build/rhea" run -m 1G -smp "${CPUS:-4}" -nographic -no-reboot -kernel "$kernel" -initrd "$dir/initramfs" \
    -append "console=ttyS0 panic=-1 rhea.run=\"/root/patch.sh $seconds /root/bpf; dmesg\"" </dev/null 2>&1 | tr -d '\r' >"$dir/out"
code=${PIPESTATUS[0]}

result "patching: power-off ends rhea with status 0" "$code"
grep -E '^(patch|bpf): [0-9]+ ' "$dir/out"
grep -qE '^patch: [1-9][0-9]* rounds$' "$dir/out"
result "patching: tracer, kprobes and static keys, on and off" $?
[ "$(grep -cE '^bpf: [1-9][0-9]* programs$' "$dir/out")" -eq 2 ]
result "patching: BPF programs, loaded, run, unloaded" $?
! grep -E '^patch: no|^bpf: [a-z]|WARNING:|BUG:|Oops|general protection|lockup|rcu.*(stall|self-detected)|Call Trace|segfault|invalid opcode|int3:|Modules linked' "$dir/out"
result "patching: no warning, no crash" $?
[ $status -eq 0 ] || tail -n 40 "$dir/out"
exit $status

#!/bin/bash
# Boots Debian's kernels, as Debian ships them, with the initramfs, in several ways; looks at what the guest says, and at how rhea ends.
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
kernel=$build/kernels/linux-image-cloud-amd64/vmlinuz
initramfs=$build/kernels/initramfs.cpio.gz
. test/result.sh

# boot NAME COMMAND [OPTIONS...]: the guest's output goes to $dir/NAME; rhea must end with 0 after the guest's poweroff.
boot() {
    local name=$1 command=$2
    shift 2
    timeout "${BOOT_TIMEOUT:-120}" "$build/rhea" run -m 512M -nographic -no-reboot -kernel "$kernel" -initrd "$initramfs" \
        -append "console=ttyS0 panic=-1 ${append:-} rhea.run=\"$command\"" "$@" </dev/null 2>&1 | tr -d '\r' >"$dir/$name"
    local code=${PIPESTATUS[0]}
    [ "$code" -eq 0 ] || { echo "$name: exit status $code"; tail -n 15 "$dir/$name"; }
    result "$name: power-off ends rhea with status 0" "$code"
}
has() { # NAME WHAT REGEX
    grep -qE -- "$3" "$dir/$1"
    result "$1: $2" $?
}
lacks() { # NAME WHAT REGEX
    ! grep -E -- "$3" "$dir/$1"
    result "$1: $2" $?
}

boot shell 'uname -a; cat /proc/cpuinfo; i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; echo loop $i; echo pipe | cat | tr a-z A-Z; (exit 7); echo status $?; echo dmesg begins; dmesg'
has shell "init runs" '^rhea: init reached$'
has shell "uname" '^Linux rhea 6\.1\..* x86_64 GNU/Linux$'
has shell "/proc/cpuinfo" '^model name'
has shell "a shell loop" '^loop 1000$'
has shell "fork, exec, pipes" '^PIPE$'
has shell "exit status of a child" '^status 7$'
has shell "the kernel powers off by ACPI" 'reboot: Power down'
trouble='WARNING:|BUG:|Oops|general protection|unchecked MSR|soft lockup|rcu.*stall|Call Trace|segfault'
lacks shell "no warning, bug or oops in dmesg" "$trouble"

append="nopti nokaslr" boot plain 'echo 6*7=$((6*7))'
has plain "nopti nokaslr: init runs" '^6\*7=42$'
boot max "cat /sys/devices/system/cpu/vulnerabilities/* | grep -vcx 'Not affected'; cat /sys/devices/system/cpu/vulnerabilities/meltdown; cat /sys/devices/system/cpu/vulnerabilities/spectre_v2"
has max "-cpu max: the kernel mends nothing but Spectre v1 and v2" "^2$"
has max "-cpu max: no page-table isolation" "^Not affected$"
has max "-cpu max: no retpolines" "^Mitigation: Enhanced / Automatic IBRS"
boot qemu64 'grep -c . /proc/cpuinfo; echo here' -cpu qemu64
has qemu64 "-cpu qemu64: init runs" '^here$'

kernel=$build/kernels/linux-image-amd64/vmlinuz boot standard 'uname -v; dmesg' -m 8G
has standard "the standard kernel, -m 8G: init runs" '^#1 SMP PREEMPT_DYNAMIC Debian'
lacks standard "no warning, bug or oops in dmesg" "$trouble"
kernel=$build/kernels/vmlinux boot pvh 'cat /proc/sys/kernel/bootloader_type; dmesg'
has pvh "vmlinux by its PVH entry: the kernel's own name for that loader" '^176$'
lacks pvh "no warning, bug or oops in dmesg" "$trouble"
kernel=$build/kernels/linux-image-686-pae/vmlinuz initramfs=$build/kernels/initramfs-i386.cpio.gz boot i386 'uname -m; dmesg' -smp 2
has i386 "the 32-bit kernel: init runs" '^i686$'
lacks i386 "no warning, bug or oops in dmesg" "$trouble"

# The second has translation tables of two levels, and more vCPUs than any host of ours has cores.
for n in 4 24; do
    boot smp$n 'grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online; plug() { for i in 1 2 3; do echo $1 >/sys/devices/system/cpu/cpu$i/online; done; cat /sys/devices/system/cpu/online; }; [ -e /sys/devices/system/cpu/cpu4 ] || echo cpus $(plug 0; plug 1; plug 0; plug 1); for i in 1 2 3 4 5 6 7 8; do (j=0; while [ $j -lt 500 ]; do j=$((j+1)); done; echo done $i | cat) & done; wait; dmesg' -smp $n,sockets=2
    has smp$n "-smp $n: processors" "^$n\$"
    has smp$n "-smp $n: all online" "^0-$((n - 1))\$"
    has smp$n "-smp $n: processes run" '^done 8$'
    [ $n -eq 4 ] && has smp4 "-smp 4: processors taken away and brought back" '^cpus 0 0-3 0 0-3$'
    lacks smp$n "-smp $n: no warning, stall or lockup" 'WARNING:|BUG:|Oops|general protection|lockup|rcu.*(stall|self-detected)|Call Trace|segfault|stuck'
done
exit $status

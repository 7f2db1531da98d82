#!/bin/bash
# The independent suite kvm-unit-tests under rhea, a line for each test: name, architecture, result.  doc/suites.md says where it is from and what came out.
#
#     script/check-kvm-unit-tests.sh DIR [NAME...]      DIR: a tree of it, configured and built; NAME: only these tests (default: all of x86/unittests.cfg)
#
# QEMU=qemu-system-x86_64: what this program (-accel tcg) makes of the same image stands beside it.  LOGS=FOLDER keeps what the tests print.
# TIMEOUT=S: seconds for each test (240).
# Ends with "N passed, N failed, N skipped".
set -uo pipefail
tree=${1:?"usage: $0 DIR [NAME...]"}
shift
only=" $* "
rhea=${BUILD:-$(dirname "$0")/../build}/rhea
arch=$(sed -n 's/^ARCH=//p' "$tree/config.mak") || exit 1
work=$(mktemp -d)
logs=${LOGS:-$work}
trap 'rm -rf "$work"' EXIT
mkdir -p "$logs"

# What is not run, and why.  Mostly not the processor's: interfaces of hypervisors to their guests, and devices of QEMU's; by test or group.
not_run() { # NAME GROUPS ACCEL
    case " $1 $2 " in
    *" svm "* | *" svm_"* | *" vmx "* | *" ept "*) echo "nested virtualization" ;;
    *" hyperv "*) echo "Hyper-V's interface" ;;
    *" kvmclock_test "* | *" asyncpf "* | *" hypercall "* | *" vmexit_vmcall "*) echo "KVM's interface" ;;
    *" s3 "*) echo "rhea cannot suspend to RAM yet" ;;
    *" intel_iommu "*) echo "an IOMMU on QEMU's q35 board" ;;
    *) [ "$3" != kvm ] || echo "needs KVM itself" ;;
    esac
}

# The exit status is 2v + 1 for a v written to the exit port, which makes 1, 3, and 77 for "skipped".
verdict() { # STATUS LOG
    local summary
    summary=$(sed -n 's/^SUMMARY: //p' "$2" | tail -n 1 | tr -d '\r' | sed 's/ *$//')
    if [ "$1" = 1 ] && grep -aqE '^(rhea|qemu-system[^:]*): ([^w]|w[^a])' "$2"; then
        echo "NOT STARTED"
        return
    fi
    case $1 in
    1) echo "PASS${summary:+ ($summary)}" ;;
    77) echo "SKIP ($(sed -n 's/^SKIP: //p' "$2" | tail -n 1 | tr -d '\r'))" ;;
    124 | 137) echo "TIMEOUT" ;;
    *) echo "FAIL (${summary:-status $1})" ;;
    esac
}

# emulate LOG PROGRAM...: runs it with the words of the test; its result.
emulate() {
    local log=$1
    shift
    timeout -k 5 "${TIMEOUT:-240}" "$@" -no-reboot -nodefaults -display none -serial stdio -device pc-testdev \
        -device isa-debug-exit,iobase=0xf4,iosize=0x4 -kernel "$image" -smp "$smp" -initrd "$work/env" "${words[@]}" </dev/null >"$log" 2>&1
    verdict $? "$log"
}

passed=0 failed=0 skipped=0
one() { # the test whose keys stand in name, file, smp, args, params, for_arch, groups, accel
    [ -n "$name" ] || return
    [ "$only" = "  " ] || [[ $only == *" $name "* ]] || return
    [ -z "$for_arch" ] || [ "$for_arch" = "$arch" ] || return
    local why image=$tree/x86/$file words mine theirs=
    why=$(not_run "$name" "$groups" "$accel")
    [ -n "$why" ] || [ -f "$image" ] || why="not built"
    [ -z "$why" ] || {
        printf '%-28s %-7s - %s\n' "$name" "$arch" "$why"
        return
    }
    eval "words=(${params//-enable-kvm/})"
    [[ $params == *"-m "* ]] || words+=(-m 128M)
    [[ $params == *"-cpu "* ]] || words+=(-cpu qemu64)
    [ -z "$args" ] || eval "words+=(-append $args)"
    # The suite's environment comes as an initial RAM disk; it tells what else QEMU's fw_cfg would.  TEST_DEVICE=0 makes apic.flat leave KVM's hypercall alone, at
    # which any processor would end it.
    printf 'NR_CPUS=%s\nMEMSIZE=%s\nTEST_DEVICE=%s\n' "$smp" "$(sed -n 's/.*-m \([0-9]*\).*/\1/p' <<<"${words[*]}")" "$([ "$file" != apic.flat ] && echo 1 || echo 0)" >"$work/env"
    mine=$(emulate "$logs/$name-$arch.rhea" "$rhea" run)
    [ -z "${QEMU:-}" ] || theirs=$(emulate "$logs/$name-$arch.qemu" "$QEMU" -accel tcg)
    case $mine in
    PASS*) passed=$((passed + 1)) ;;
    SKIP*) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
    printf '%-28s %-7s %-36s %s\n' "$name" "$arch" "$mine" "$theirs"
}

clear_keys() { name='' file='' smp=1 args='' params='' for_arch='' groups='' accel=''; }
clear_keys
while IFS= read -r line || [ -n "$line" ]; do
    value=${line#*= }
    case $line in
    \[*\])
        one
        clear_keys
        name=${line#[}
        name=${name%]}
        ;;
    "file = "*) file=$value ;;
    "smp = "*) smp=$value ;;
    "test_args = "*) args=$value ;;
    "qemu_params = "*) params=$value ;;
    "arch = "*) for_arch=$value ;;
    "groups = "*) groups=$value ;;
    "accel = "*) accel=$value ;;
    esac
done <"$tree/x86/unittests.cfg"
one
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

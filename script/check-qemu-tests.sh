#!/bin/bash
# QEMU's own tests of its translator (tests/tcg for i386 and x86_64) on this processor, in a guest under rhea, and in the same guest under QEMU.
#
#     script/check-qemu-tests.sh DIRECTORY        DIRECTORY: QEMU's sources unpacked, for instance by `apt-get source qemu`
#
# The programs are built by the suite's own Makefile, statically.  One line each: how it ended (its exit status) natively, under rhea and under QEMU, and
# whether it printed what it prints natively ("alike", "differs"; "-" where that depends on threads or addresses).  The system tests boot by themselves,
# on no processor of this machine: what they print says whether they passed.
# Ends with "N passed, N failed": rhea against the processor; status 1 if any failed.  doc/suites.md explains the lines.
# QEMU=program: another QEMU; QEMU=: none.  TIMEOUT=seconds for a whole guest (900).  The guests' consoles are kept in $BUILD/qemu-tests.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 1 ] && [ -d "$1/tests/tcg" ] || { sed -n '4s/^# \{0,1\}//p' "$0" >&2; exit 1; }
suite=$(cd "$1" && pwd)
build=${BUILD:-build}
out=$build/qemu-tests
qemu=${QEMU-qemu-system-x86_64}
mkdir -p "$out"

build_all() {
    local cpu kind
    for cpu in x86_64 i386; do
        for kind in linux-user softmmu; do
            mkdir -p "$out/$cpu-$kind"
            make -C "$out/$cpu-$kind" -k -j2 -f "$suite/tests/tcg/Makefile.target" TARGET=$cpu-$kind TARGET_NAME=$cpu SRC_PATH="$suite" BUILD_STATIC=y \
                PYTHON=python3 SPEED=slow CROSS_CC_HAS_I386_NOPIE=y CC="gcc $([ $cpu = x86_64 ] || echo -m32)" all >"$out/$cpu-$kind.log" 2>&1 ||
                echo "not all of $cpu-$kind could be built: $out/$cpu-$kind.log" >&2
        done
    done
}

programs() { # CPU KIND: the names of what was built
    find "$out/$1-$2" -maxdepth 1 -type f -perm -1 -printf '%f\n' | LC_ALL=C sort
}

# The same shell runs them in the guest, so what it says of signals is the same.
run_here() { busybox sh -c 'timeout 300 "$0" </dev/null >"$1" 2>&1; echo $?' "$1" "$2"; }

# A directory of programs, each with its status and what it prints natively; without the latter where it is not always the same.
run_native() {
    local cpu name p
    rm -rf "$out/root"
    mkdir -p "$out/root"
    for cpu in x86_64 i386; do
        for name in $(programs $cpu linux-user); do
            p=$out/root/$cpu-$name
            strip -o "$p" "$out/$cpu-linux-user/$name"
            run_here "$p" "$p.native" >"$p.status"
            case $name in signals | test-mmap | testthread | vsyscall) rm "$p.native" ;; esac
            if [ "$(stat -c %s "$p.native" 2>/dev/null || echo 0)" -gt 10000000 ]; then # too much to take along
                md5sum <"$p.native" >"$p.md5"
                rm "$p.native"
            fi
        done
    done
    cat >"$out/root/run" <<'RUN'
#!/bin/busybox sh
busybox ifconfig lo up
cd /root
for s in *.status; do
    name=${s%.status}
    timeout 300 ./$name </dev/null >/tmp/out 2>&1
    status=$?
    same=-
    if [ -e $name.native ]; then
        cmp -s $name.native /tmp/out && same=alike || same=differs
    elif [ -e $name.md5 ]; then
        md5sum </tmp/out | cmp -s - $name.md5 && same=alike || same=differs
    fi
    echo "result $name $status $same"
    [ $same != differs ] || [ ! -e $name.native ] || diff $name.native /tmp/out | head -10
done
RUN
    chmod +x "$out/root/run"
}

in_guest() { # NAME EMULATOR...
    local name=$1
    shift
    timeout "${TIMEOUT:-900}" "$@" -m 1G -nographic -no-reboot -kernel "$build/kernels/linux-image-amd64/vmlinuz" -initrd "$out/initrd" \
        -append "console=ttyS0 quiet panic=-1 vsyscall=xonly rhea.run=/root/run" </dev/null 2>&1 | tr -d '\r' >"$out/$name.console"
}

system_test() { # NAME KERNEL EMULATOR...: its status, and what the test itself says
    local name=$1 kernel=$2 status says=failed
    shift 2
    timeout 120 "$@" -m 128M -display none -serial none -monitor none -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x4 -debugcon stdio \
        -kernel "$kernel" </dev/null >"$out/$name.console" 2>&1
    status=$?
    grep -qE '^(Test complete: PASSED|Hello World)' "$out/$name.console" && says=passed
    echo "$status $says"
}

passed=0 failed=0
line() { # NAME NATIVE RHEA QEMU GOOD(0)
    printf '%-6s  %-34s %-12s %-12s %s\n' "$([ "$5" -eq 0 ] && echo ok || echo FAILED)" "$1" "$2" "$3" "$4"
    if [ "$5" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

result() { sed -n "s/^result $2 //p" "$out/$1.console" | head -1; }

build_all
run_native
make -s all more-kernels || exit 1 # the cloud kernel has no 16-bit segments
script/make-initramfs.sh "$out/initrd" "$(command -v busybox)" "$out"/root/* || exit 1
# shellcheck disable=SC2086
in_guest rhea "$build/rhea" run ${RHEA:-}
[ -z "$qemu" ] || in_guest qemu "$qemu" -accel tcg -cpu max

printf '        %-34s %-12s %-12s %s\n' program natively rhea QEMU
for s in "$out"/root/*.status; do
    name=$(basename "${s%.status}")
    want="$(cat "$s") $(compgen -G "$out/root/$name.[nm]*" >/dev/null && echo alike || echo -)"
    got=$(result rhea "$name")
    line "$name" "$(cat "$s")" "${got:-none}" "$([ -z "$qemu" ] || result qemu "$name")" "$([ "$got" = "$want" ]; echo $?)"
done
for cpu in x86_64 i386; do
    for name in $(programs $cpu softmmu); do
        got=$(system_test "rhea-$cpu-$name" "$out/$cpu-softmmu/$name" "$build/rhea" run)
        theirs=$([ -z "$qemu" ] || system_test "qemu-$cpu-$name" "$out/$cpu-softmmu/$name" "$qemu" -accel tcg -cpu max)
        line "$cpu-system-$name" - "$got" "$theirs" "$([ "$got" = "0 passed" ]; echo $?)"
    done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

#!/bin/bash
# Builds the bare-metal guests into $BUILD/bare and runs each under rhea: with the translator, with pairs in all blocks, and with the interpreter.
# One line per test case, as script/run-tests.sh counts them; last line "N passed, N failed".  Names as arguments: only those guests.
#     With another emulator, for information: EMULATOR="qemu-system-x86_64 -accel tcg -cpu max" test/bare/run.sh
set -u
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
out=$build/bare
emulator=${EMULATOR:-$build/rhea run}
guests64="exceptions paging smc live debug privilege interrupts insns x87 amd"
guests32="segments32 modes32"
guests_smp="litmus xmc" # 64-bit too; run with 2 and with 4 processors
passed=0 failed=0
mkdir -p "$out"
flags="-ffreestanding -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -mgeneral-regs-only -fcf-protection=none -mno-red-zone
    -O1 -Wall -Wextra -Werror -Itest/bare"

result() { # NAME GOOD(0)
    if [ "$2" -eq 0 ]; then
        echo "[       OK ] $1"
        passed=$((passed + 1))
    else
        echo "[  FAILED  ] $1"
        failed=$((failed + 1))
    fi
}

# guest NAME BITS: $out/NAME.bin, an ELF32 file whatever its code is: multiboot loaders want that.
guest() {
    local dir=$out/$1 emulation=elf_x86_64 source
    [ "$2" -eq 32 ] && emulation=elf_i386
    mkdir -p "$dir"
    local sources="lib/start$2.S lib/trap$2.c lib/common.c $1.c" objects=
    [ "$2" -eq 64 ] && sources="$sources lib/smp64.S lib/smp64.c"
    for source in $sources; do
        objects="$objects $dir/$(basename "${source%.*}")$(case $source in *.S) echo _s ;; esac).o"
        # shellcheck disable=SC2086
        gcc -m"$2" $flags -c "test/bare/$source" -o "${objects##* }" || return 1
    done
    # shellcheck disable=SC2086
    ld -m $emulation -n --no-warn-rwx-segments -z noexecstack -T test/bare/lib/link.ld -o "$dir/guest.elf" $objects && objcopy -O elf32-i386 "$dir/guest.elf" "$out/$1.bin"
}

declare -A cpu=([amd]=max,vendor=AuthenticAMD,+cr8legacy)
machine="-m 64M -display none -serial none -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4"

# run NAME WAY [OPTIONS...]: each line of the guest is a case; one more: that it came to its end (exit status 1 or 3 by isa-debug-exit).
run() {
    local name=$1 way=$2 line status
    shift 2
    # shellcheck disable=SC2086
    timeout "${TIMEOUT:-60}" $emulator $machine ${cpu[$name]:+-cpu ${cpu[$name]}} -monitor none -debugcon stdio -kernel "$out/$name.bin" "$@" </dev/null >"$out/$name.$way.out" 2>"$out/$name.$way.err"
    status=$?
    while IFS= read -r line; do
        case $line in
            ok\ *) result "$name ($way): ${line#ok }" 0 ;;
            FAIL\ *) result "$name ($way): ${line#FAIL }" 1 ;;
            *passed,*failed) ;;
            *) echo "        $line" ;;
        esac
    done <"$out/$name.$way.out"
    if [ $status -eq 1 ] || [ $status -eq 3 ]; then
        status=0
    else
        head -n 3 "$out/$name.$way.err" | sed 's/^/        /'
    fi
    result "$name ($way): came to its end" $status
}

# counters NAME APPEND: rhea's counters when the guest says "ready", in $out/NAME.APPEND.jit.  Without pairs: a block that becomes hot is made anew.
counters() { # NAME APPEND [x-NAME=off]
    local say=$out/$1.$2.out pipe=$out/monitor pid n=0
    rm -f "$pipe" "$say"
    mkfifo "$pipe"
    # shellcheck disable=SC2086
    timeout 60 $emulator $machine -accel tcg,x-pairs=off${3:+,$3} -monitor stdio -debugcon "file:$say" -kernel "$out/$1.bin" -append "$2" <"$pipe" >"$out/$1.$2.jit" 2>&1 &
    pid=$!
    exec 3>"$pipe"
    while [ $n -lt 200 ] && ! grep -qs '^ready' "$say"; do
        sleep 0.1
        n=$((n + 1))
    done
    echo "info jit" >&3
    echo "quit" >&3
    exec 3>&-
    wait $pid
}
counter() { # FILE TEXT
    sed -n "s/^ *\([0-9]*\) *$2.*/\1/p" "$out/$1" | head -n 1
}

wanted() {
    [ ${#only[@]} -eq 0 ] && return 0
    for w in "${only[@]}"; do
        [ "$w" = "$1" ] && return 0
    done
    return 1
}
# --build NAME: nothing is run
if [ "${1:-}" = --build ]; then
    guest "$2" 64
    exit
fi
only=("$@")

for name in $guests64 $guests32; do
    wanted "$name" || continue
    bits=64
    case " $guests32 " in *" $name "*) bits=32 ;; esac
    if ! guest "$name" $bits; then
        result "$name: builds" 1
        continue
    fi
    if [ -n "${EMULATOR:-}" ]; then
        run "$name" other
        continue
    fi
    run "$name" tcg -accel tcg
    run "$name" pairs -accel tcg,x-heat=off
    run "$name" plain -accel tcg,x-pairs=off,x-links=off,x-jump-cache=off,x-flags=off,x-passes=off,x-string-runs=off,x-owed=off,x-shares=off
    run "$name" interp -accel interp
done

for name in $guests_smp; do
    wanted "$name" || continue
    if ! guest "$name" 64; then
        result "$name: builds" 1
        continue
    fi
    for n in 2 4; do
        run "$name" "smp$n" -smp $n ${APPEND:+-append "$APPEND"}
    done
done

# One thread for all processors: the order is the same each time.
if [ -z "${EMULATOR:-}" ] && wanted order && guest order 64; then
    run order one -smp 4 -accel tcg,thread=single
    run order two -smp 4 -accel tcg,thread=single
    cmp -s "$out/order.one.out" "$out/order.two.out"
    result "order: thread=single gives the same order twice" $?
fi

# Stores near code: 10000 that miss it drop no block, 10 that hit one drop that one.
if [ -z "${EMULATOR:-}" ] && wanted smc_counters && guest smc_counters 64; then
    counters smc_counters none
    counters smc_counters stores x-chart=off
    a=$(counter smc_counters.none.jit 'blocks dropped: their bytes were stored to')
    b=$(counter smc_counters.stores.jit 'blocks dropped: their bytes were stored to')
    echo "        blocks dropped: ${a:-?} without the stores, ${b:-?} with them"
    result "smc_counters: 10 stores to code drop 10 blocks, 10000 next to code none" $((${b:-0} - ${a:-1} == 10 ? 0 : 1))
    a=$(counter smc_counters.none.jit 'slow writes: page holds code')
    b=$(counter smc_counters.stores.jit 'slow writes: page holds code')
    result "smc_counters: the stores next to code were noticed" $((${b:-0} - ${a:-0} >= 10010 ? 0 : 1))
    counters smc_counters stores
    b=$(counter smc_counters.stores.jit 'slow writes: page holds code')
    result "smc_counters: with a chart, C sees few of them" $((${b:-9999} - ${a:-0} < 200 ? 0 : 1))
    b=$(counter smc_counters.stores.jit 'blocks dropped: their bytes were stored to')
    a=$(counter smc_counters.none.jit 'blocks dropped: their bytes were stored to')
    result "smc_counters: ... and as many blocks are dropped" $((${b:-0} - ${a:-1} == 10 ? 0 : 1))
    [ "$(cat $out/smc_counters.none.out)" = "$(cat $out/smc_counters.stores.out)" ]
    result "smc_counters: same results" $?
    counters smc_counters patches
    a=$(counter smc_counters.patches.jit 'blocks dropped: their bytes were stored to')
    b=$(counter smc_counters.patches.jit 'immediates translated to be read when the insn runs')
    result "smc_counters: 1000 patches of an operand drop few blocks" $((${a:-1000} < 10 && ${b:-0} == 1 ? 0 : 1))
    counters smc_counters patches x-live=off
    a=$(counter smc_counters.patches.jit 'blocks dropped: their bytes were stored to')
    result "smc_counters: ... with x-live=off one each" $((${a:-0} == 1000 ? 0 : 1))
    [ "$(cat $out/smc_counters.none.out)" = "$(cat $out/smc_counters.patches.out)" ]
    result "smc_counters: same results" $?
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]

#!/bin/bash
# How a run ends: debug exit, power-off, resets, triple faults, the monitor.  The guest is a few bytes of real-mode code in a firmware image.
cd "$(dirname "$0")/../.."
rhea=${BUILD:-build}/rhea
. test/result.sh

# image HEX: a 64 KB image with this code at F000:0000, where the reset vector jumps.
image() {
    { printf "$(echo "$1" | sed 's/ *\([0-9a-f][0-9a-f]\)/\\x\1/g')"; head -c 65536 /dev/zero; } | head -c 65520 >"$dir/bios"
    printf '\xea\0\0\0\xf0\0\0\0\0\0\0\0\0\0\0\0' >>"$dir/bios"
}
# expect NAME STATUS TEXT OPTIONS...: ends with the status, and prints TEXT.
expect() {
    local name=$1 want=$2 text=$3
    shift 3
    timeout 20 "$rhea" run -m 16M -display none -bios "$dir/bios" "$@" >"$dir/out" 2>&1 <"${input:-/dev/null}"
    local code=$?
    [ $code -eq "$want" ] && { [ -z "$text" ] || grep -qF -- "$text" "$dir/out"; }
    local good=$?
    result "$name" $good
    if [ $good -ne 0 ]; then
        echo "$name: exit status $code, expected $want and the text '$text'"
        head -n 20 "$dir/out"
    fi
}

exit_11="b0 11 e6 f4 eb fe"                # mov al, 11h; out f4h, al; jmp $
device="isa-debug-exit,iobase=0xf4,iosize=0x04"

image "ba 01 05 b0 15 ee eb fe"            # mov dx, 501h; mov al, 15h; out dx, al
expect debug_exit_default_port 43 "" -device isa-debug-exit
image "$exit_11"
expect debug_exit_port_f4 35 "" -device $device
image "ba f8 03 b0 53 ee b0 0a ee $exit_11" # COM1: "S\n"
expect serial_stdio 35 "S" -device $device -serial stdio
image "b0 44 e6 e9 b0 0a e6 e9 $exit_11"   # port E9h: "D\n"
expect debugcon_stdio 35 "D" -device $device -debugcon stdio
image "ba 04 06 b8 00 20 ef eb fe"         # ACPI PM1 control: SLP_EN
expect power_off 0 ""

# lidt [100h] (limit 0 there); int3
triple="31 c0 8e d8 0f 01 1e 00 01 cc"
image "$triple"
expect triple_fault_shows_registers 0 "triple fault" -no-reboot
expect triple_fault_shows_registers_rip 0 "rip 00000000" -no-reboot

# If byte 40h of the CMOS is 1, end with 35; else set it and go on with what follows.
once="b0 40 e6 70 e4 71 3c 01 75 06 $exit_11 b0 40 e6 70 b0 01 e6 71"
image "$once $triple"
expect triple_fault_resets 35 "triple fault" -device $device
image "$once ba f9 0c b0 06 ee eb fe"      # reset control register
expect reset_by_cf9 35 "" -device $device
image "$once b0 01 e6 92 eb fe"            # port 92h
expect reset_by_port_92 35 "" -device $device
image "$once b0 fe e6 64 eb fe"            # keyboard controller
expect reset_by_keyboard_controller 35 "" -device $device
expect reset_with_no_reboot_ends 0 "" -device $device -no-reboot
expect interpreter 35 "" -device $device -accel interp
expect no_chain 35 "" -device $device -d nochain
expect log_in_asm 35 "out      0x64, al" -device $device -d in_asm
expect log_out_asm 35 "OUT:" -device $device -d out_asm

image "$exit_11"
input=$dir/input
printf 'info status\nx/1i $pc\ncont\n' >"$input"
expect stopped_until_cont 35 "VM status: paused" -S -monitor stdio -device $device
expect monitor_disassembles 35 "ljmp" -S -monitor stdio -device $device
image "f4 eb fd"                           # hlt
printf 'info registers\nsystem_reset\ninfo mtree\ninfo jit\nquit\n' >"$input"
expect monitor_quits 0 "ioapic" -monitor stdio
exit $status

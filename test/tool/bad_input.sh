#!/bin/bash
# Bad input, end to end: exit status 1, one line on stderr that names the trouble, nothing of a guest on stdout.
cd "$(dirname "$0")/../.."
rhea=${BUILD:-build}/rhea
. test/result.sh

# expect NAME TEXT ARGUMENTS...: rhea refuses the arguments, and its line has TEXT in it.
expect() {
    local name=$1 text=$2
    shift 2
    timeout 20 "$@" >"$dir/out" 2>"$dir/err" </dev/null
    local code=$?
    [ $code -eq 1 ] && [ "$(wc -l <"$dir/err")" -eq 1 ] && grep -qF -- "$text" "$dir/err" && ! [ -s "$dir/out" ]
    local good=$?
    result "$name" $good
    if [ $good -ne 0 ]; then
        echo "$name: exit status $code, expected 1 and one line with: $text"
        head -n 5 "$dir/err"
    fi
}

: >"$dir/empty"
printf 'this is no kernel, and it is longer than a boot sector would need to be to look like one' >"$dir/text"
head -c 100000 /dev/zero >"$dir/zeros"
# A setup header (Linux, Documentation/arch/x86/boot.rst) that promises more than the file holds.
{ head -c 497 /dev/zero; printf '\x1f'; head -c 12 /dev/zero; printf '\x55\xaa\xeb\x66HdrS\x0f\x02'; head -c 506 /dev/zero; } >"$dir/cut"
# An ELF header and no more.
printf '\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0' >"$dir/elf"
truncate -s 40M "$dir/big"
run="$rhea run -nographic -m 64M"

expect nothing_to_run "-kernel FILE" $rhea run -nographic
expect unknown_option "-frobnicate" $run -frobnicate
expect unknown_option_as_qemu "-frobnicate" "${BUILD:-build}/rhea-system-x86_64" -frobnicate
expect unknown_subcommand "runn" $rhea runn
expect unknown_device "nosuch" $run -device nosuch
expect memory_nonsense "-m" $rhea run -m lots -kernel "$dir/text"
expect kernel_missing "$dir/missing" $run -kernel "$dir/missing"
expect kernel_empty "$dir/empty" $run -kernel "$dir/empty"
expect kernel_text "$dir/text" $run -kernel "$dir/text"
expect kernel_zeros "$dir/zeros" $run -kernel "$dir/zeros"
expect kernel_cut "$dir/cut" $run -kernel "$dir/cut"
expect kernel_elf_cut "$dir/elf" $run -kernel "$dir/elf"
expect kernel_directory "$dir" $run -kernel "$dir"
expect bios_missing "$dir/missing" $run -bios "$dir/missing"
expect bios_empty "$dir/empty" $run -bios "$dir/empty"
expect log_unwritable "/nonexistent/log" $run -kernel "$dir/text" -d int -D /nonexistent/log
expect log_item "nosuch" $run -d nosuch
expect serial_unwritable "/nonexistent/serial" $run -kernel "$dir/text" -serial file:/nonexistent/serial
expect serial_unknown "nosuch" $run -kernel "$dir/text" -serial nosuch
expect terminal_twice "mon:stdio" $run -kernel "$dir/text" -serial stdio -monitor stdio
expect cpu_unknown "nosuch" $run -cpu nosuch
expect cpu_nearly 'do you mean "Haswell"?' $run -cpu Hasswell
expect cpu_feature_nearly 'do you mean "smap"?' $run -cpu max,+smaap
expect cpu_enforce "cannot be had: vmx" $run -cpu max,+vmx,enforce -kernel "$dir/text"
expect cpu_vendor "12 characters" $run -cpu max,vendor=me
expect explain_bytes "zz" $rhea explain --bytes "zz"
expect explain_bytes_cut "end inside" $rhea explain --bytes "48"
expect explain_symbol "nosuch" $rhea explain "$rhea" --symbol nosuch
expect explain_not_elf "ELF" $rhea explain "$dir/text" --symbol main
expect explain_elf_cut "$dir/elf" $rhea explain "$dir/elf" --symbol main
kernel=${BUILD:-build}/kernels/linux-image-cloud-amd64/vmlinuz
if [ -e "$kernel" ]; then
    head -c 3000000 "$kernel" >"$dir/half"
    expect kernel_half "$dir/half" $run -kernel "$dir/half"
    expect initrd_missing "$dir/missing" $run -kernel "$kernel" -initrd "$dir/missing"
    expect initrd_too_large "$dir/big" $rhea run -nographic -m 80M -kernel "$kernel" -initrd "$dir/big"
fi
exit $status

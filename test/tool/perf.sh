#!/bin/bash
# -perfmap, -jitdump, -symbols: a boot in little code memory, so that regions are evicted; what perf would read of it.
cd "$(dirname "$0")/../.." || exit 1
build=$(realpath "${BUILD:-build}")
. test/result.sh
map=
trap 'rm -rf "$dir"; [ -z "$map" ] || rm -f "$map"' EXIT
cd "$dir" || exit 1

# Debian's kernel has its text from ffffffff81000000 on if it does not move itself.
printf 'ffffffff81000000 T first\nffffffff81100000 T second\nffffffff81101000 D data\nffffffff82800000 T last\n' >symbols
timeout 120 "$build/rhea" run -accel tcg,tb-size=8,stats=on -perfmap -jitdump -symbols symbols -m 512M -nographic -no-reboot \
    -kernel "$build/kernels/linux-image-cloud-amd64/vmlinuz" -initrd "$build/kernels/initramfs.cpio.gz" \
    -append "console=ttyS0 quiet nokaslr panic=-1 rhea.run=true" </dev/null >out 2>&1
code=$?
dump=$(echo jit-*.dump)
pid=${dump//[^0-9]/}
map=/tmp/perf-$pid.map
[ $code -eq 0 ] && ! grep -q ' 0  blocks dropped: region evicted' out && [ -r "$map" ]
result boots_with_evictions $?

cat >check.py <<'END'
import struct, sys
kind, path = sys.argv[1:]
if kind == "map":
    rows = sorted((int(at, 16), int(size, 16), name) for at, size, name in (l.rstrip("\n").split(" ", 2) for l in open(path)))
    assert len(rows) > 1000 and any(r[2] == "rhea thunks" for r in rows)
    assert all(a[0] + a[1] <= b[0] for a, b in zip(rows, rows[1:])), "places overlap"
    for name in (r[2] for r in rows):
        if " second+0x" in name:
            offset, address = (int(w.split("+")[-1], 16) for w in name.split()[-2:])
            assert 0xffffffff81100000 + offset == address, name
    assert any(n[2].startswith("guest user 0x") for n in rows) and any(" second+0x" in n[2] for n in rows) and not any(" data+" in n[2] for n in rows)
else:
    data = open(path, "rb").read()
    magic, version, size, machine = struct.unpack_from("<IIII", data)
    assert (magic, version, machine) == (0x4a695444, 1, 62)
    at, last, count = size, 0, 0
    while at < len(data):
        kind, total, stamp, pid, tid, vma, address, length, index = struct.unpack_from("<IIQIIQQQQ", data, at)
        name = data[at + 56:data.index(b"\0", at + 56)]
        assert kind == 0 and stamp >= last and index == count and vma == address and total == 56 + len(name) + 1 + length
        at, last, count = at + total, stamp, count + 1
    assert at == len(data) and count > 1000
END
python3 check.py map "$map"
result map_has_one_name_a_place $?
python3 check.py dump "$dump"
result dump_is_a_chain_of_loads $?
timeout 20 "$build/rhea" run -perfmap -symbols out/none -kernel "$build/kernels/linux-image-cloud-amd64/vmlinuz" </dev/null >said 2>&1
[ $? -eq 1 ] && grep -q 'out/none' said
result no_symbol_file $?
exit $status

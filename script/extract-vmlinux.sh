#!/bin/sh
# Unpacks the ELF kernel inside a bzImage (Linux documentation, "The Linux/x86 Boot Protocol": payload_offset, payload_length).
#
#     script/extract-vmlinux.sh BZIMAGE OUT
set -eu
number() { # OFFSET BYTES: little-endian
    od -An -t "u$2" -j "$1" -N "$2" "$in" | tr -d ' '
}
in=$1
out=$2
if [ "$(dd if="$in" bs=1 skip=514 count=4 2>/dev/null)" != HdrS ]; then
    echo "extract-vmlinux: $in is not a bzImage" >&2
    exit 1
fi
sectors=$(number 497 1) # of the 16-bit part, without the boot sector
start=$(((sectors + 1) * 512 + $(number 584 4)))
length=$(number 588 4)
payload() {
    tail -c "+$((start + 1))" "$in" | head -c "$length"
}
# The last four bytes of a payload that is not gzip are its unpacked size, not part of the stream.
case $(payload | od -An -t x1 -N 4 | tr -d ' ') in
fd377a58) payload | head -c -4 | xz -dc >"$out.tmp" ;;
02214c18) payload | head -c -4 | lz4 -dcq >"$out.tmp" ;;
28b52ffd) payload | head -c -4 | zstd -dcq >"$out.tmp" ;;
1f8b08*) payload | gzip -dcq >"$out.tmp" ;;
7f454c46) payload >"$out.tmp" ;;
*)
    echo "extract-vmlinux: $in: the kernel is packed in a way that is not known here" >&2
    exit 1
    ;;
esac
mv "$out.tmp" "$out"

#!/bin/bash
# Runs the bare-metal guests under rhea and under QEMU (Debian's qemu-system-x86, or what $QEMU says), and prints the cases that end differently,
# with what QEMU's guest got and what the manual wants.  README.md explains each.  Names as arguments: only those guests.
set -u
cd "$(dirname "$0")/../.."
out=${BUILD:-build}/bare
qemu=${QEMU:-qemu-system-x86_64 -accel tcg -cpu max}
command -v "${qemu%% *}" >/dev/null || {
    echo "there is no ${qemu%% *}: install Debian's package qemu-system-x86" >&2
    exit 1
}
rm -f "$out"/*.tcg.out "$out"/*.other.out
test/bare/run.sh "$@" >/dev/null
EMULATOR=$qemu test/bare/run.sh "$@" >/dev/null 2>&1
same=0 differ=0 lost=0
for rhea in "$out"/*.tcg.out; do
    name=$(basename "$rhea" .tcg.out)
    # Case by case: "ok NAME" or "FAIL NAME: got .. wanted ..".
    while IFS= read -r line; do
        case $line in
            "= "*) same=$((same + 1)) ;;
            "- "*) lost=$((lost + 1)) ;;
            *)
                differ=$((differ + 1))
                echo "$name: $line"
                ;;
        esac
    done < <(awk '
        function key(s) { sub(/^(ok|FAIL) /, "", s); sub(/: got .* wanted .*$/, "", s); return s }
        /^(ok|FAIL) / && NR == FNR { mine[key($0)] = $0; order[++n] = key($0); next }
        /^(ok|FAIL) / { other[key($0)] = $0 }
        END {
            for (i = 1; i <= n; i++) {
                k = order[i]
                if (!(k in other)) {
                    if (!stopped++) print "QEMU does not come to, or beyond: " k
                    else print "- " k
                }
                else if (mine[k] == other[k]) print "= " k
                else print "QEMU: " other[k] (mine[k] ~ /^FAIL/ ? "   rhea: " mine[k] : "")
            }
        }' "$rhea" "$out/$name.other.out")
done
echo "$same cases the same, $differ different, $lost not reached"

#!/bin/bash
# Checks the bars of the design on the whole tree:
#   - no source file over 1000 lines, no function over 120;
#   - include arrows point one way: which folder may include which is the table below (doc/tour.md has the reasons);
#   - no writable variables at file scope (state hangs off structs), but in tool/, base/os_*, and base/panic.c's hook.
# The last needs objects: run it as `make bars`.
set -u
cd "$(dirname "$0")/.."
build=${BUILD:-build}
status=0
say() {
    echo "$1"
    status=1
}

sources=$(ls base/*.[ch] ir/*.[ch] opt/*.[ch] host/*.h host/amd64/*.[ch] guest/x86/*.[ch] mem/*.[ch] code/*.[ch] exec/*.[ch] dev/*.[ch] mach/*.[ch] \
    tool/*.[ch] test/*/*.[ch])

for f in $sources; do
    n=$(wc -l <"$f")
    [ "$n" -le 1000 ] || say "$f: $n lines, the bar is 1000"
    # A function's braces stand alone in column 1.
    awk -v f="$f" '/^{/ { from = NR; next } /^}/ && from { if (NR - from - 1 > 120) { print f ":" from ": function of " NR - from - 1 " lines, the bar is 120"; bad = 1 } from = 0 }
        END { exit bad }' "$f" || status=1
done

# What each folder may include, itself apart.  guest/x86 has two sides, which meet in state.h and helpers.def.
allowed() {
    case $1 in
    base/*) echo "" ;;
    ir/*) echo "base" ;;
    guest/x86/lift* | guest/x86/decode*) echo "base ir" ;;
    guest/x86/*) echo "base ir mem" ;;
    opt/*) echo "base ir" ;;
    host/*) echo "base ir host" ;;
    code/*) echo "base host" ;;
    mem/*) echo "base" ;;
    exec/*) echo "base ir guest/x86 opt host code mem" ;;
    dev/*) echo "base mem" ;;
    mach/*) echo "base ir mem dev exec guest/x86" ;;
    *) echo any ;;
    esac
}
for f in $sources; do
    may=$(allowed "$f")
    [ "$may" = any ] && continue
    sed -n 's/^# *include "\([^"]*\)".*/\1/p' "$f" | while read -r header; do
        folder=$(dirname "$header")
        [ "$folder" = "$(dirname "$f")" ] && continue
        case " $may " in *" $folder "*) ;; *) echo "$f: includes $header; its folder may include: ${may:-nothing of ours}" ;; esac
    done
done | grep . && status=1

for f in $sources; do
    case $f in *.c) o=$build/${f%.c}.o ;; *) continue ;; esac
    case $f in tool/* | test/* | base/os_* | base/panic.c) continue ;; esac
    [ -e "$o" ] || continue
    # Objects (O) in sections that are written at run time; .data.rel.ro is constant once loaded.
    objdump -t "$o" | awk -v f="$f" '$3 == "O" || $4 == "O" { for (i = 3; i <= 5; i++) if ($i ~ /^\.(data|bss|tdata|tbss)($|\.)/ && $i !~ /^\.data\.rel\.ro/) {
        print f ": writable variable " $NF; bad = 1 } } END { exit bad }' || status=1
done

[ $status -eq 0 ] && echo "all bars hold"
exit $status

#!/bin/bash
# Runs every unit test (build/test/*/test_*) and every system test (test/*/*.sh), each with a time limit, counts test cases, and ends with one line
# "N passed, N failed".  Exit status 0 only if none failed.  Names as arguments: only tests whose path contains one of them.
set -u
cd "$(dirname "$0")/.."
build=${BUILD:-build}
limit=${TEST_TIMEOUT:-300}
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

wanted() {
    [ ${#only[@]} -eq 0 ] && return 0
    for w in "${only[@]}"; do
        case $1 in *"$w"*) return 0 ;; esac
    done
    return 1
}
only=("$@")

# A test program prints cmocka's "[       OK ] name" and "[  FAILED  ] name", a script the same; both end with 0 or not.
count() {
    local name=$1 status=$2 ok bad
    ok=$(grep -c '^\[ *OK *\]' "$log")
    bad=$(grep -c '^\[  FAILED  \] [^ ]*$' "$log")
    # cmocka lists failed tests again at the end.
    bad=$(grep '^\[  FAILED  \] [^ ]*$' "$log" | sort -u | wc -l)
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
    fi
    passed=$((passed + ok))
    failed=$((failed + bad))
    if [ "$status" -eq 0 ]; then
        echo "ok      $name ($ok)"
    else
        [ "$status" -eq 124 ] && echo "timed out after $limit s" >>"$log"
        echo "FAILED  $name ($ok passed, $bad failed, exit status $status)"
        grep -v '^\[ *\(OK\|RUN\) *\]' "$log" | tail -n 40 | sed 's/^/        /'
    fi
}

for test in "$build"/test/*/test_* test/*/*.sh; do
    case $test in *.o | *.d | test/bare/qemu.sh) continue ;; esac # the last compares with another emulator, by hand
    [ -x "$test" ] && wanted "$test" || continue
    if [ "${test%.sh}" = "$test" ] && [ ! -e "${test#"$build"/}.c" ]; then
        continue # its source is gone
    fi
    timeout -k 5 "$limit" "$test" >"$log" 2>&1 </dev/null
    count "$test" $?
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

#!/bin/bash
# Golden files: what rhea explain says about small pieces of code, so that a change of the translator shows what it changes.
#
# test/tool/golden/NAME.args holds the arguments, NAME.expect what is printed.  `make bless` writes the .expect files anew; read the diff then.
cd "$(dirname "$0")/../.." || exit 1
status=0
for args in test/tool/golden/*.args; do
    expected=${args%.args}.expect
    name=golden_$(basename "${args%.args}")
    now=$(eval "${BUILD:-build}/rhea explain $(cat "$args")" 2>&1)
    if [ "${1:-}" = bless ]; then
        printf '%s\n' "$now" >"$expected"
    elif [ "$now" = "$(cat "$expected")" ]; then
        echo "[       OK ] $name"
    else
        echo "[  FAILED  ] $name"
        diff <(printf '%s\n' "$now") "$expected" | head -n 30
        status=1
    fi
done
exit $status

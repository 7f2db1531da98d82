#!/bin/bash
# -accel tcg,stats=on: a boot whose last act is to sleep for a second; what the breakdown at the end must agree with.
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
. test/result.sh

timeout 120 "$build/rhea" run -accel tcg,stats=on -m 512M -nographic -no-reboot -kernel "$build/kernels/linux-image-cloud-amd64/vmlinuz" \
    -initrd "$build/kernels/initramfs.cpio.gz" -append 'console=ttyS0 quiet panic=-1 rhea.run="sleep 1"' </dev/null 2>&1 >/dev/null |
    grep -A200 '^vCPU 0:' >"$dir/stats"
cat "$dir/stats"

# Lines are "MS ms PERCENT % TIMES  TEXT".
awk '/^vCPU/ { all = $3 } / ms / && !/^vCPU/ && !/  helper / { sum += $1 } END { exit !(all > 1000 && sum > all - 3 && sum < all + 3) }' "$dir/stats"
result the_rows_make_up_the_whole $?
awk '/  helpers$/ { all = $1; times = $5 } /  helper / { sum += $1; n += $5 } END { exit !(times > 1000 && n == times && sum > all - 3 && sum < all + 3) }' "$dir/stats"
result helpers_by_name_make_up_helpers $?
awk '/waiting: / { wait = $1 } END { exit !(wait > 800) }' "$dir/stats"
result sleep_is_waiting $?
awk '/generated code, guest kernel/ { kernel = $1 } /generated code, guest user/ { user = $1 } END { exit !(kernel > 20 && user > 1 && kernel > user) }' "$dir/stats"
result both_modes_ran $?
exit $status

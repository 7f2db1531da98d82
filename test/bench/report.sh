#!/bin/bash
# bench/report on samples made by hand: medians, ratios, means, failed rows; and bench/rows is well formed.
cd "$(dirname "$0")/../.." || exit 1
. test/result.sh

# Medians: a 0.1 / 0.4 / 0.2 (2 times as fast, 2 times native), b 0.1 / 0.8 / 0.1 (8 times, 1 time); their means 4 and 1.41.  c failed and counts in none.
# d 0.1 / 1.6 / 0.1 is in another group of integer programs (16 times): of all three the mean is 6.35 (the third root of 256).
# Two vCPUs: 2 * 0.1 / 0.125 = 1.6.
row() { printf '{"name": "%s", "group": "%s", "what": "", "samples": {"native": [%s], "qemu": [%s], "rhea": [%s]}, "trouble": {%s}, "skipped": {}}' "$@"; }
cat >"$dir/a.json" <<END
{"facts": {"date": "2026-01-01 00:00", "cpu": "C<1>", "kernel": "K", "guest_kernel": "G", "qemu": "Q", "rhea": "R", "rounds": 3, "accel": "tcg", "load": 0},
 "rows": [$(row a integer "0.1, 0.1, 0.5" "0.3, 0.4, 0.9" "0.2, 0.1, 0.3" ""),
  $(row b integer 0.1 0.8 0.1 ""), $(row c integer 0.1 0.1 0.1 '"sum": "results differ"'), $(row d memory 0.1 1.6 0.1 ""),
  $(row one smp 0.1 0.1 0.1 ""), $(row two smp 0.1 0.1 0.125 "")]}
END
text=$(bench/report --text "$dir/a.json")
grep -Eq '^a +100.0 ms \(100.0..500.0\) +400.0 ms \(300.0..900.0\) +200.0 ms \(100.0..300.0\) +2.00 +2.00$' <<<"$text"
result medians_spread_ratios $?
grep -Eq '^= integer +4.00 +1.41$' <<<"$text"
result geometric_mean_without_failed_rows $?
grep -Eq '^= all integer programs \(the groups above\) +6.35 +1.26 +bar 3: held$' <<<"$text"
result mean_of_several_groups $?
grep -Eq '^c .* - +- +FAILED sum: results differ$' <<<"$text"
result failed_row_is_loud $?
grep -q 'rhea 1.60$' <<<"$text"
result scaling $?
grep -q '^slower than QEMU: two$' <<<"$text"
result slower_rows_are_named $?
grep -q '^| \*\*integer\*\* | | | | \*\*4.00\*\* | \*\*1.41\*\* |$' <<<"$(bench/report --markdown "$dir/a.json")"
result markdown $?
bench/report "$dir/a.json" "$dir/a.json" >"$dir/page.html"
grep -q 'C&lt;1&gt;' "$dir/page.html" && grep -q '<polyline' "$dir/page.html" && ! grep -qE 'https?://' "$dir/page.html"
result page_is_complete_in_itself $?
awk -F'|' '!/^#/ && NF { if (NF != 5) bad = 1; gsub(/ /, "", $2); if (seen[$2]++) bad = 1 } END { exit bad }' bench/rows
result rows_have_five_columns_and_one_name_each $?
exit $status

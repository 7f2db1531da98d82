#!/bin/bash
# Guests that answer to nobody (test/bare/unruly.c), on 4 processors: rhea still does what the monitor, Ctrl-a x and SIGTERM say, and ends.
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
rhea=$build/rhea
. test/result.sh
test/bare/run.sh --build unruly || exit 1

# start MODE OPTIONS...: with the monitor behind Ctrl-a c on standard input (descriptor 3); back when the guest says "ready"
start() {
    local mode=$1 n=0
    shift
    rm -f "$dir/in" "$dir/say"
    mkfifo "$dir/in"
    timeout 60 "$rhea" run -m 64M -display none -serial mon:stdio -debugcon "file:$dir/say" -kernel "$build/bare/unruly.bin" -append "mode=$mode" -smp 4 "$@" \
        <"$dir/in" >"$dir/out" 2>&1 &
    pid=$!
    exec 3>"$dir/in"
    while [ $n -lt 200 ] && ! grep -qs '^ready' "$dir/say"; do
        sleep 0.05
        n=$((n + 1))
    done
    sleep 0.2
}
# The job is `timeout`; its child is rhea.
ended() { # NAME: it ends by itself, with status 0
    local code
    wait $pid
    code=$?
    exec 3>&-
    [ $code -eq 0 ] || { echo "exit status $code"; tail -n 5 "$dir/out"; }
    result "$1" $code
}

for mode in "1 interrupts off" "2 storm of interrupts" "3 processors started at rubbish" "4 locked accesses across pages" "5 stores to code"; do
    name=${mode#* } mode=${mode%% *}
    start "$mode" -no-shutdown
    printf '\001x' >&3
    ended "$name: Ctrl-a x"
    start "$mode"
    pkill -TERM -P $pid
    ended "$name: SIGTERM"
    start "$mode"
    printf '\001c' >&3
    for i in 1 2 3 4 5; do printf 'stop\ninfo registers -a\ninfo cpus\ncont\n'; done >&3
    printf 'system_reset\nstop\ninfo lapic\ncont\nquit\n' >&3
    ended "$name: stop, cont, reset, quit by the monitor"
    [ "$(tr -d '\r' <"$dir/out" | grep -c 'rip\|RIP')" -ge 5 ]
    result "$name: the monitor shows registers" $?
done
start 2 -accel tcg,thread=single
printf '\001c' >&3
printf 'stop\ncont\nstop\ncont\nsystem_reset\nquit\n' >&3
ended "storm of interrupts, thread=single: stop, cont, reset, quit by the monitor"
exit $status

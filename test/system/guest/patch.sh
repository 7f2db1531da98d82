#!/bin/busybox sh
# Runs in a Linux guest: has the kernel patch its own code while other processors run it.  patch.sh SECONDS BPF-PROGRAM
mount -t tracefs trace /sys/kernel/tracing
cd /sys/kernel/tracing
seconds=$1
end=$(($(date +%s) + seconds))
echo 1 >/proc/sys/net/core/bpf_jit_enable 2>/dev/null
work() { # what the others run meanwhile
    while [ "$(date +%s)" -lt $end ]; do
        cat /proc/stat >/dev/null
        echo x | tr x y >/dev/null
        ls -l /proc /dev >/dev/null 2>&1
    done
}
for i in 1 2 3 4; do work & done
"$2" 2 "$seconds" &
n=0
while [ "$(date +%s)" -lt $end ]; do
    echo function >current_tracer || echo "patch: no function tracer"
    echo 'p:one vfs_read' >kprobe_events && echo 'r:two do_sys_openat2' >>kprobe_events && echo 'p:three kmem_cache_alloc' >>kprobe_events ||
        echo "patch: no kprobes"
    echo 1 >events/kprobes/enable
    echo 1 >events/sched/enable
    echo 1 >/proc/sys/kernel/sched_schedstats
    echo nop >current_tracer
    echo 1 >events/syscalls/enable
    echo 0 >events/kprobes/enable
    echo 0 >events/enable
    echo >kprobe_events
    echo 0 >/proc/sys/kernel/sched_schedstats
    n=$((n + 1))
done
wait
echo "patch: $n rounds"

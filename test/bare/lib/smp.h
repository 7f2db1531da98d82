/* test/bare/lib/smp.h: several processors in a 64-bit guest.
 *
 *     unsigned n = smp_start()        starts all others there are (at most SMP_MAX); number of processors, this one too
 *     smp_run(fn, arg)                fn(cpu, arg) on all of them, cpu 0 here; returns when all have returned
 *     smp_barrier(n)                  inside fn: all n meet
 *     smp_ipi(vector)                 to all others; on_vector[] handlers end with smp_eoi()
 *
 * Others run with interrupts off until fn says `sti`; exceptions go to on_vector[] on their own stack.
 */
#ifndef BARE_SMP_H
#define BARE_SMP_H

#include "bare.h"

enum { SMP_MAX = 16 };
unsigned smp_start(void);
void smp_run(void (*fn)(unsigned cpu, void *arg), void *arg);
void smp_barrier(unsigned n);
void smp_ipi(unsigned vector);
void smp_eoi(void);
/* The number after NAME= on the kernel's command line, or `otherwise`. */
uint64_t command_line(const char *name, uint64_t otherwise);

static inline void smp_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}
static inline uint32_t load32(const volatile uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
static inline void store32(volatile uint32_t *p, uint32_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
#endif

/* base: what every folder may use: scalar types, assertions, status, arenas, byte access, log, event loop.
 *
 * Nothing here knows guests, hosts or devices.  The only #ifdefs for the host operating system live in base/os_*.c.
 */
#ifndef RHEA_BASE_H
#define RHEA_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t gva_t; /* guest virtual (linear) address */
typedef uint64_t gpa_t; /* guest physical address */

#define ARRAY_LEN(a)                  (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

/* ---- broken beliefs of our own: always on, print and abort ------------------------------------------------- */

_Noreturn void rh_panic(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void rh_broken(const char *file, int line, const char *cond, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
#define rh_assert(cond, ...) ((cond) ? (void)0 : rh_broken(__FILE__, __LINE__, #cond, " " __VA_ARGS__))
/* Called once by a rh_panic or failed rh_assert of this thread before it aborts, with arg; NULL clears it.  Used to
 * print the block being translated. */
void rh_panic_hook(void (*print)(void *arg), void *arg);

/* ---- problems of the outside world: a message for the user ------------------------------------------------- */

struct status {
    char text[1024]; /* empty: no problem so far */
};
/* Fill s with what is wrong, where, and what to do.  Always returns false, so callers can `return status_set(...)`. */
bool status_set(struct status *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- arena: memory that is given back all at once ---------------------------------------------------------- */

struct arena {
    uint8_t *base;
    size_t used, size;
};
/* One mapping of `size` bytes, committed as touched. */
bool arena_init(struct arena *a, size_t size, struct status *st);
void arena_fini(struct arena *a);
/* Zeroed, 16-byte aligned; NULL when the arena is full ("no room" is an ordinary result). */
void *arena_alloc(struct arena *a, size_t n);
/* The same with whatever bytes are there. */
void *arena_room(struct arena *a, size_t n);
void arena_reset(struct arena *a);

/* ---- little-endian bytes ----------------------------------------------------------------------------------- */

static inline uint64_t bytes_get(const void *p, unsigned n) /* n = 1..8 */
{
    uint64_t v = 0;
    __builtin_memcpy(&v, p, n);
    return v;
}
static inline void bytes_put(void *p, uint64_t v, unsigned n)
{
    __builtin_memcpy(p, &v, n);
}
static inline int64_t sign_extend(uint64_t v, unsigned bits)
{
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}
static inline uint64_t mask_bits(unsigned bits) /* bits = 0..64 */
{
    return bits >= 64 ? ~0ull : (1ull << bits) - 1;
}

/* ---- log: the items of -d, one row each in log.def --------------------------------------------------------- */

enum log_item {
#define LOG_ITEM(NAME, text, help) LOG_##NAME##_BIT,
#include "base/log.def"
    LOG_ITEM_COUNT
};
enum {
#define LOG_ITEM(NAME, text, help) LOG_##NAME = 1u << LOG_##NAME##_BIT,
#include "base/log.def"
};
struct log {
    FILE *out;        /* stderr, or the file of -D */
    uint32_t items;   /* LOG_ bits wanted */
    unsigned nranges; /* -dfilter: 0 means every address */
    struct {
        gva_t from, to;
    } range[16];
};
/* "in_asm,int" to bits; "help" and unknown names give false with a message that lists the items. */
bool log_parse(struct log *l, const char *list, struct status *st);
/* QEMU's -dfilter syntax: "0x1000..0x2000,0x3000+0x200,0x5000-0x100". */
bool log_filter(struct log *l, const char *list, struct status *st);
static inline bool log_on(const struct log *l, uint32_t items)
{
    return __builtin_expect(l->items & items, 0);
}
bool log_wants_pc(const struct log *l, gva_t pc);
void log_print(struct log *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- host memory (os_linux.c) ------------------------------------------------------------------------------ */

/* Reserve address space that reads as zero and costs nothing until touched; NULL if the host refuses. */
void *os_reserve(size_t size);
void os_release(void *p, size_t size);
/* Give touched pages of a reservation back; they read as zero again. */
void os_discard(void *p, size_t size);
/* Tell thread sanitizer that who uses these bytes is the guest's business, whose locks it does not see. */
void os_shared_with_guest(void *p, size_t size);
/* Make sure that no processor of the host runs what was there in the process's code before this call. */
void os_code_changed(void);
unsigned os_processors(void);      /* that may run this process */
uint64_t os_times_preempted(void); /* how often the calling thread had to make room for another on its processor */
/* Wishes about the size of the host's pages there; ignored by hosts that cannot. */
void os_prefer_huge(void *p, size_t size);
void os_prefer_small(void *p, size_t size);
/* Have the host find memory for all of it now, which it does faster than page by page as they are touched.  A wish, too. */
void os_touch(void *p, size_t size);
/* One memory seen twice: *rw may be written, *rx executed.  false with a message if the host refuses. */
struct os_code {
    uint8_t *rw, *rx;
    size_t size;
    int file; /* -1: none.  Then perf looks for names of what runs there in its map (tool/perf.c), and touching is slower */
};
bool os_code_memory(struct os_code *c, size_t size, bool named, struct status *st); /* named: without a file */
void os_code_memory_free(struct os_code *c);
/* os_touch for the writable view; nothing was written there yet.  At best in multiples of OS_TOUCH, from one on. */
void os_code_touch(const struct os_code *c, uint8_t *rw, size_t size);
enum { OS_TOUCH = 64 << 10 };

/* ---- the host processor (os_linux.c) ------------------------------------------------------------------------- */

/* What it tells of itself: CPUID's EAX, EBX, ECX, EDX; zeros where there is no such leaf, or no such insn. */
void os_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4]);

/* ---- faults of the host processor in this process (os_linux.c) ----------------------------------------------- */

enum os_fault { OS_FAULT_MEMORY, OS_FAULT_DIVIDE, OS_FAULT_FLOAT };
/* Call fn(arg, what, context) on the faulting thread, as a signal handler.  It may change the registers in context (a
 * ucontext_t) and return true to go on there; false: the fault is a bug of ours and kills the process.  One fn a
 * process: a later call replaces the earlier. */
bool os_catch_faults(bool (*fn)(void *arg, enum os_fault what, void *context), void *arg, struct status *st);

/* ---- time and the event loop (one thread; devices' timers and back ends run on it) --------------------------- */

uint64_t os_nanoseconds(void); /* monotonic */

struct loop;
struct loop_timer {
    struct loop *loop;
    void (*fn)(void *arg); /* runs on the loop's thread */
    void *arg;
    uint64_t deadline; /* os_nanoseconds() time; UINT64_MAX: not set */
    struct loop_timer *next;
};
bool loop_init(struct loop **l, struct status *st);
void loop_fini(struct loop *l);
/* Run until loop_stop.  Any thread may call loop_timer_set, loop_post, loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
void loop_timer_init(struct loop_timer *t, struct loop *l, void (*fn)(void *), void *arg);
void loop_timer_set(struct loop_timer *t, uint64_t deadline); /* replaces; UINT64_MAX clears */
/* Call fn(arg) when fd is readable; fn NULL removes.  Loop's thread, or before loop_run. */
bool loop_watch(struct loop *l, int fd, void (*fn)(void *arg), void *arg);
/* Run fn(arg) on the loop's thread soon.  Any thread. */
void loop_post(struct loop *l, void (*fn)(void *), void *arg);

#endif

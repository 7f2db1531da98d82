/* mach/bios.c: what a kernel that a boot loader starts finds of the BIOS when it goes back to real mode with interrupts on: a vector
 * table, all of it leading to an IRET, but for the timer's, which counts ticks; and the timer running.  No services: INT 10h,
 * 13h and their like return with nothing done.
 *
 *     0000:0000  256 vectors       F000:FEA5  IRQ 0 (INT 8)
 *     0040:006C  ticks             F000:FF53  IRET            (where the BIOS of the IBM PC had them)
 */
#include <string.h>

#include "mach/mach.h"

enum { SEGMENT = 0xf000, TIMER_AT = 0xfea5, IRET_AT = 0xff53, TIMER_VECTOR = 8, VECTORS = 256 };

static void code_put(struct pc *pc, unsigned at, const uint8_t *code, unsigned n)
{
    memcpy(pc_ram(pc, SEGMENT * 16 + at, n), code, n);
}

void bios_stand_in(struct pc *pc)
{
    static const uint8_t iret[] = {0xcf};
    static const uint8_t timer[] = {
        0x50, 0x1e,                   /* push ax, ds */
        0x31, 0xc0, 0x8e, 0xd8,       /* ds = 0 */
        0x66, 0xff, 0x06, 0x6c, 0x04, /* inc dword [046ch] */
        0xb0, 0x20, 0xe6, 0x20,       /* end of interrupt */
        0x1f, 0x58, 0xcf,             /* pop ds, ax; iret */
    };
    static const struct {
        uint16_t port;
        uint8_t v;
    } script[] = {{0x43, 0x34}, {0x40, 0}, {0x40, 0}, {0x21, 0xfe}}; /* channel 0: every 65536 counts; IRQ 0 unmasked */
    uint8_t *table = pc_ram(pc, 0, VECTORS * 4);

    code_put(pc, IRET_AT, iret, sizeof iret);
    code_put(pc, TIMER_AT, timer, sizeof timer);
    for (unsigned n = 0; n < VECTORS; n++)
        bytes_put(table + 4 * n, (uint32_t)SEGMENT << 16 | (n == TIMER_VECTOR ? TIMER_AT : IRET_AT), 4);
    for (unsigned i = 0; i < ARRAY_LEN(script); i++)
        bus_write(pc->io, script[i].port, script[i].v, 1);
}

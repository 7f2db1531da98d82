/* guest/x86/sys_io.c: IN and OUT.
 *
 * An access to ports is allowed in real mode, at CPL <= IOPL, or where the I/O permission bitmap of a 32- or 64-bit
 * TSS has a zero for each port touched (SDM vol. 1, 19.5.2).  The processor always reads two bytes of the bitmap;
 * both must be inside the TSS's limit.  String forms use sys_io_check and go to the same bus.
 */
#include "guest/x86/sys.h"

enum { TSS_IOMAP_BASE = 102, TSS_TYPE = 9, TSS_BUSY = 2 };

static void port_permit(struct x86 *x, unsigned port, unsigned bytes)
{
    if (!(x->mode & MODE_PROT))
        return;
    if (!x86_vm86(x) && x86_cpl(x) <= x86_iopl(x))
        return;
    if ((x->tr.attr & 15 & ~TSS_BUSY) != TSS_TYPE || !(x->tr.attr & SEG_P) || x->tr.limit < TSS_IOMAP_BASE + 1)
        x86_raise_error(x, EX_GP, 0);
    uint64_t at = x86_load_system(x, x->tr.base + TSS_IOMAP_BASE, 2) + port / 8;
    if (at + 1 > x->tr.limit)
        x86_raise_error(x, EX_GP, 0);
    uint64_t bits = x86_load_system(x, x->tr.base + at, 2) >> (port & 7);
    if (bits & mask_bits(bytes))
        x86_raise_error(x, EX_GP, 0);
}

void sys_io_check(struct x86 *x, unsigned port, unsigned bytes)
{
    port_permit(x, port, bytes);
    x86_watch_io(x, (uint16_t)port, bytes);
    x->count.io++;
}

X86_HELP(help_in)
{
    unsigned port = a & 0xffff, bytes = (unsigned)b;

    sys_io_check(x, port, bytes);
    return bus_read(x->io, port, bytes);
}

X86_HELP(help_out)
{
    unsigned port = a & 0xffff, bytes = (unsigned)b;

    sys_io_check(x, port, bytes);
    bus_write(x->io, port, c & mask_bits(bytes * 8), bytes);
    return 0;
}

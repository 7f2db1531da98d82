/* mach/pc.c: the PC: what is there, at which address, on which line.
 *
 *     00000000  RAM, with a hole at A0000..BFFFF where a display would be       FEC00000  I/O APIC
 *     C0000000  nothing (PCI's) when RAM is larger                              FED00000  HPET
 *     100000000 the rest of RAM                                                 FEE00000  local APICs
 *                                                                               ..FFFFFFFF  firmware
 *
 *     IRQ n -> 8259 input n and I/O APIC input n (0 -> 2) -> local APICs.  8259's INTR -> LINT0 of CPU 0.
 *     0 PIT   1 keyboard   3, 4 serial ports   8 RTC   9 ACPI.   The HPET takes 0 and 8 over in legacy replacement.
 */
#include <cpuid.h>
#include <string.h>
#include <x86intrin.h>

#include "mach/mach.h"

enum {
    ARENA = 4 << 20,
    VGA_AT = 0xa0000,
    VGA_SIZE = 0x20000,
    ROM_MAX = 16 << 20,
    ROM_LOW = 0x20000,
    CALIBRATE_NS = 20000000
};

const uint16_t pc_serial_port[PC_SERIAL_MAX] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
const uint8_t pc_serial_irq[PC_SERIAL_MAX] = {4, 3, 4, 3};

/* ---- time ---------------------------------------------------------------------------------------------------- */

static uint64_t tsc_measure(void)
{
    uint64_t t0 = os_nanoseconds(), c0 = __rdtsc(), t1;
    do
        t1 = os_nanoseconds();
    while (t1 - t0 < CALIBRATE_NS);
    return dev_scale(__rdtsc() - c0, 1000000000, t1 - t0);
}

uint64_t pc_tsc_hz(void)
{
    uint64_t measured = tsc_measure();
    unsigned a, b, c, d;
    if (__get_cpuid_max(0, NULL) < 0x15 || !__get_cpuid(0x15, &a, &b, &c, &d) || !a || !b || !c)
        return measured;
    /* A hypervisor may show numbers of another machine: believe them only if the clock agrees. */
    uint64_t named = dev_scale(c, b, a), off = named > measured ? named - measured : measured - named;
    return off < measured / 5000 ? named : measured;
}

static uint64_t board_tsc(void *arg)
{
    const struct x86 *x = arg;
    return __rdtsc() + x->cpu.tsc_offset;
}

/* ---- lines ----------------------------------------------------------------------------------------------------- */

static void isa_line(void *arg, unsigned n, bool level)
{
    struct pc *pc = arg;
    pic_line(pc->pic, n, level);
    ioapic_line(pc->ioapic, n == 0 ? 2 : n, level);
}

/* Port n's wire joins the other port's on the same line. */
static void serial_line(void *arg, unsigned n, bool level)
{
    struct pc *pc = arg;
    unsigned shared = 0;
    for (unsigned i = 0; i < PC_SERIAL_MAX; i++)
        shared |= (pc_serial_irq[i] == pc_serial_irq[n]) << i;
    pthread_mutex_lock(&pc->serial_lock);
    pc->serial_level = (uint8_t)(level ? pc->serial_level | 1u << n : pc->serial_level & ~(1u << n));
    isa_line(pc, pc_serial_irq[n], pc->serial_level & shared);
    pthread_mutex_unlock(&pc->serial_lock);
}

static void rtc_line(void *arg, unsigned n, bool level)
{
    struct pc *pc = arg;
    if (!__atomic_load_n(&pc->hpet_legacy, __ATOMIC_ACQUIRE))
        isa_line(pc, n, level);
}

static void hpet_route(void *arg, unsigned n, bool level)
{
    struct pc *pc = arg;
    ioapic_line(pc->ioapic, n, level);
}

static void hpet_legacy_changed(void *arg, bool on)
{
    struct pc *pc = arg;
    __atomic_store_n(&pc->hpet_legacy, on, __ATOMIC_RELEASE);
    if (pc->pit)
        pit_mute(pc->pit, on);
}

/* Lines of the ISA bus reach both controllers, the others the I/O APIC. */
static void test_line(void *arg, unsigned n, bool level)
{
    struct pc *pc = arg;
    if (n < 16)
        isa_line(pc, n, level);
    else
        ioapic_line(pc->ioapic, n, level);
}

static void intr_line(void *arg, unsigned n, bool level)
{
    struct pc *pc = arg;
    lapic_lint(pc->lapic[0], n, level);
}

static struct dev_line isa(struct pc *pc, unsigned n)
{
    return (struct dev_line){isa_line, pc, n};
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void ask_power_off(void *arg, int value)
{
    (void)value;
    struct pc *pc = arg;
    if (pc->requests.power_off)
        pc->requests.power_off(pc->requests.arg);
}

static void ask_reset(void *arg, int value)
{
    (void)value;
    struct pc *pc = arg;
    if (pc->requests.reset)
        pc->requests.reset(pc->requests.arg);
}

static void ask_exit(void *arg, int code)
{
    struct pc *pc = arg;
    if (pc->requests.debug_exit)
        pc->requests.debug_exit(pc->requests.arg, code);
}

static void ask_a20(void *arg, int on)
{
    struct pc *pc = arg;
    if (pc->requests.a20)
        pc->requests.a20(pc->requests.arg, on);
}

/* ---- memory
 * -------------------------------------------------------------------------------------------------------- */

static uint64_t hole_read(void *dev, uint64_t offset, unsigned size)
{
    (void)dev, (void)offset;
    return mask_bits(size * 8);
}

static void hole_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    (void)dev, (void)offset, (void)v, (void)size;
}

static const struct mmio_ops hole_ops = {hole_read, hole_write, W8 | W16 | W32 | W64};

static bool memory_init(struct pc *pc, struct status *st)
{
    uint64_t size = pc->config.ram_size;
    if (size < 1 << 20 || size & 4095)
        return status_set(st, "%llu bytes of memory: a PC needs at least 1 MB, in whole pages",
                          (unsigned long long)size);
    if (!ram_init(&pc->ram, size, PC_PCI_HOLE, st))
        return false;
    struct bus_range hole = {.base = VGA_AT, .size = VGA_SIZE, .ops = &hole_ops, .dev = pc, .name = "no-vga"};
    if (!ram_map(&pc->ram, pc->mem) || !bus_map(pc->mem, &hole))
        return status_set(st, "the memory bus has no room for RAM");
    return true;
}

/* The image ends at 4 GB; its last 128 KB are also in RAM below 1 MB, where real-mode code expects them (and may
 * write). */
static bool firmware_load(struct pc *pc, struct status *st)
{
    struct pc_file f;
    if (!pc_file_open(&f, pc->config.bios, st))
        return false;
    bool ok = f.size && f.size <= ROM_MAX && f.size % 4096 == 0;
    if (!ok) {
        status_set(st, "%s: %llu bytes is no firmware image: it must be whole 4 KB pages, at most 16 MB", f.path,
                   (unsigned long long)f.size);
    } else if (!pc->rom) {
        pc->rom = os_reserve(f.size);
        pc->rom_size = f.size;
        struct bus_range r = {
            .base = (1ull << 32) - f.size, .size = f.size, .host = pc->rom, .readonly = true, .name = "firmware"};
        ok = pc->rom && bus_map(pc->mem, &r);
        if (!ok)
            status_set(st, "%s: no room for firmware", f.path);
    } else if (pc->rom_size != f.size) {
        ok = status_set(st, "%s: the firmware image has changed its size since the machine started", f.path);
    }
    if (ok) {
        memcpy(pc->rom, f.data, f.size);
        uint64_t low = f.size < ROM_LOW ? f.size : ROM_LOW;
        memcpy(pc_ram(pc, (1 << 20) - low, low), f.data + f.size - low, low);
    }
    pc_file_close(&f);
    return ok;
}

uint8_t *pc_ram(struct pc *pc, gpa_t gpa, uint64_t n)
{
    const struct ram *r = &pc->ram;
    if (gpa < r->low)
        return n <= r->low - gpa ? r->host + gpa : NULL;
    if (gpa < 1ull << 32)
        return NULL;
    uint64_t at = gpa - (1ull << 32), high = r->size - r->low;
    return at <= high && n <= high - at ? r->host + r->low + at : NULL;
}

/* ---- devices
 * --------------------------------------------------------------------------------------------------------- */

static bool interrupts_init(struct pc *pc)
{
    const struct dev_env *e = &pc->env;
    /* Interrupt controllers first: devices drive their lines from the moment they exist. */
    pc->apics = apic_net_init(e);
    if (!pc->apics)
        return false;
    /* The PIC and CPU 0's APIC know each other; INTR is low until the PIC is programmed, so nothing calls before both
     * exist. */
    pc->pic = pic_init(e, (struct dev_line){intr_line, pc, 0});
    for (unsigned i = 0; i < pc->config.cpus; i++) {
        pc->lapic[i] =
            lapic_init(e, pc->apics, i, x86_topology_id(&pc->config.topology, i), pc->tsc_hz, i == 0 ? pc->pic : NULL);
        if (!pc->lapic[i])
            return false;
    }
    pc->ioapic = ioapic_init(e, IOAPIC_BASE, PC_IOAPIC_ID, pc->apics);
    return pc->pic && pc->ioapic;
}

static bool clocks_init(struct pc *pc)
{
    const struct dev_env *e = &pc->env;
    struct dev_line route = {hpet_route, pc, 0}, irq8 = {rtc_line, pc, 8};
    if (!pc->config.no_pit)
        pc->pit = pit_init(e, isa(pc, 0));
    pc->rtc = rtc_init(e, pc->ram.low, pc->ram.size - pc->ram.low, irq8);
    if ((!pc->pit && !pc->config.no_pit) || !pc->rtc)
        return false;
    if (pc->config.no_hpet)
        return true;
    pc->hpet = hpet_init(e, HPET_BASE, route, isa(pc, 0), isa(pc, 8), pc->apics, hpet_legacy_changed, pc);
    return pc->hpet;
}

static bool serial_init(struct pc *pc)
{
    for (unsigned i = 0; i < PC_SERIAL_MAX; i++) {
        if (!pc->config.serial[i])
            continue;
        pc->uart[i] =
            uart_init(&pc->env, pc_serial_port[i], (struct dev_line){serial_line, pc, i}, pc->config.serial[i]);
        if (!pc->uart[i])
            return false;
    }
    return true;
}

static bool system_init(struct pc *pc)
{
    const struct dev_env *e = &pc->env;
    struct dev_request reset = {ask_reset, pc}, a20 = {ask_a20, pc};
    pc->i8042 = i8042_init(e, isa(pc, 1), reset, a20);
    pc->port92 = port92_init(e, reset, a20);
    pc->acpi = acpi_pm_init(e, PC_PM_BASE, isa(pc, 9), (struct dev_request){ask_power_off, pc});
    pc->pci = pci_init(e, reset);
    return pc->i8042 && pc->port92 && pc->acpi && pc->pci && piix_init(e, pc->pci, pc->acpi, PC_PM_BASE);
}

static bool debug_init(struct pc *pc)
{
    const struct pc_config *c = &pc->config;
    if (c->debugcon && !debugcon_init(&pc->env, c->debugcon_port ? c->debugcon_port : 0xe9, c->debugcon))
        return false;
    if (c->testdev && !testdev_init(&pc->env, (struct dev_line){test_line, pc, 0}))
        return false;
    return !c->debug_exit ||
           debug_exit_init(&pc->env, c->debug_exit_port ? c->debug_exit_port : 0x501,
                           c->debug_exit_size ? c->debug_exit_size : 2, (struct dev_request){ask_exit, pc});
}

bool pc_init(struct pc *pc, const struct pc_config *c, const struct pc_requests *r, struct loop *l, struct log *log,
             struct status *st)
{
    memset(pc, 0, sizeof *pc);
    pc->config = *c;
    if (!c->topology.cores)
        pc->config.topology = (struct x86_topology){1, 1, c->cpus, 1};
    pc->requests = *r;
    pc->log = log;
    if (c->cpus < 1 || c->cpus > APIC_CPUS_MAX)
        return status_set(st, "%u processors: a PC has 1 to %u", c->cpus, (unsigned)APIC_CPUS_MAX);
    pthread_mutex_init(&pc->serial_lock, NULL);
    dev_clock_host(&pc->clock, l);
    pc->tsc_hz = pc_tsc_hz();
    bool ok = arena_init(&pc->arena, ARENA, st) && bus_init(&pc->mem, 52, log, st) && bus_init(&pc->io, 16, log, st) &&
              memory_init(pc, st);
    pc->env = (struct dev_env){&pc->arena, pc->mem, pc->io, &pc->clock, log};
    if (ok) {
        ok = interrupts_init(pc) && clocks_init(pc) && serial_init(pc) && system_init(pc) && debug_init(pc);
        if (!ok)
            status_set(st, "no room for the board's devices");
    }
    if (!ok)
        pc_fini(pc);
    return ok;
}

void pc_fini(struct pc *pc)
{
    if (pc->apics)
        apic_net_fini(pc->apics);
    if (pc->rom)
        os_release(pc->rom, pc->rom_size);
    if (pc->ram.host)
        ram_fini(&pc->ram);
    if (pc->io)
        bus_fini(pc->io);
    if (pc->mem)
        bus_fini(pc->mem);
    if (pc->arena.base)
        arena_fini(&pc->arena);
    memset(pc, 0, sizeof *pc);
}

/* ---- processors
 * ---------------------------------------------------------------------------------------------------------- */

static void reset_from_cpu(void *arg)
{
    ask_reset(arg, 0);
}

void pc_attach_cpu(struct pc *pc, unsigned index, struct x86 *x, const struct lapic_cpu *cpu)
{
    struct lapic_cpu wired = *cpu;
    if (!wired.tsc) {
        wired.tsc = board_tsc;
        wired.tsc_arg = x;
    }
    lapic_attach(pc->lapic[index], &wired);
    pc->cpu[index] = x;
    x->mem = pc->mem;
    x->io = pc->io;
    x->ram = &pc->ram;
    x->log = pc->log;
    x->index = index;
    x->apic_id = lapic_id(pc->lapic[index]);
    x->nvcpus = pc->config.cpus;
    x->topology = pc->config.topology;
    x->tsc_hz = pc->tsc_hz;
    x->a20_mask = ~0ull;
    x->reset_request = reset_from_cpu;
    x->reset_arg = pc;
    x->intc = (struct x86_intc){
        .dev = pc->lapic[index],
        .pending = lapic_pending,
        .accept = lapic_accept,
        .get_tpr = lapic_get_tpr,
        .set_tpr = lapic_set_tpr,
        .get_base = lapic_get_base,
        .set_base = lapic_set_base,
        .msr_read = lapic_msr_read,
        .msr_write = lapic_msr_write,
    };
}

void pc_cpu_thread(struct pc *pc, unsigned index)
{
    apic_this_thread(pc->apics, index);
}

bool pc_boot_state(struct pc *pc, struct x86 *x)
{
    if (x->index != 0)
        return false;
    boot_state_set(x, &pc->entry);
    if (!pc->entry.firmware)
        lapic_virtual_wire(pc->lapic[0]);
    return true;
}

/* ---- loading
 * -------------------------------------------------------------------------------------------------------------- */

/* What firmware would have left: vectors of the 8259s at 08h and 70h, everything masked; the BIOS data area's memory
 * words. */
static void firmware_stand_in(struct pc *pc)
{
    static const struct {
        uint16_t port;
        uint8_t v;
    } script[] = {{0x20, 0x11}, {0x21, 0x08}, {0x21, 0x04}, {0x21, 0x01}, {0x21, 0xff}, {0xa0, 0x11},
                  {0xa1, 0x70}, {0xa1, 0x02}, {0xa1, 0x01}, {0xa1, 0xff}, {0x4d1, 0x02}};
    for (unsigned i = 0; i < ARRAY_LEN(script); i++)
        bus_write(pc->io, script[i].port, script[i].v, 1);
    bytes_put(pc_ram(pc, 0x40e, 2), PC_EBDA >> 4, 2);
    bytes_put(pc_ram(pc, 0x413, 2), PC_EBDA >> 10, 2);
    bytes_put(pc_ram(pc, PC_EBDA, 2), 1, 2); /* its size in KB */
}

static bool kernel_load(struct pc *pc, struct status *st)
{
    struct pc_file f;
    if (!pc_file_open(&f, pc->config.kernel, st))
        return false;
    acpi_build(pc);
    e820_build(pc);
    firmware_stand_in(pc);
    enum pc_loaded done = load_linux(pc, &f, st);
    if (done == PC_NOT_MINE)
        done = load_multiboot(pc, &f, st);
    if (done == PC_NOT_MINE)
        done = load_pvh(pc, &f, st);
    if (done == PC_NOT_MINE)
        status_set(
            st, "%s: not a kernel: it must be a Linux bzImage, a multiboot image or an ELF file with a PVH entry note",
            f.path);
    pc_file_close(&f);
    return done == PC_LOADED;
}

bool pc_load(struct pc *pc, struct status *st)
{
    if (!pc->config.kernel && !pc->config.bios)
        return status_set(st, "nothing to run: give a kernel (-kernel) or firmware (-bios)");
    if (!pc->config.kernel && (pc->config.initrd || pc->config.append))
        return status_set(st, "-initrd and -append are a kernel's: give one with -kernel");
    if (pc->config.bios && !firmware_load(pc, st))
        return false;
    pc->entry = (struct pc_entry){.firmware = true};
    return !pc->config.kernel || kernel_load(pc, st);
}

bool pc_reset(struct pc *pc, struct status *st)
{
    /* Devices let go of their lines before the controllers forget what they saw. */
    for (unsigned i = 0; i < PC_SERIAL_MAX; i++)
        if (pc->uart[i])
            uart_reset(pc->uart[i]);
    pci_reset(pc->pci);
    acpi_pm_reset(pc->acpi);
    port92_reset(pc->port92);
    i8042_reset(pc->i8042);
    if (pc->hpet)
        hpet_reset(pc->hpet);
    rtc_reset(pc->rtc);
    if (pc->pit)
        pit_reset(pc->pit);
    ioapic_reset(pc->ioapic);
    pic_reset(pc->pic);
    for (unsigned i = 0; i < pc->config.cpus; i++)
        lapic_reset(pc->lapic[i]);
    ask_a20(pc, true);
    return pc_load(pc, st);
}

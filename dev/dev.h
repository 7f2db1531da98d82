/* dev: devices, one a file, and the back ends (back_*.c) that tie them to the host's terminal, files and sockets.
 *
 * A device is made by its x_init from the environment (where its memory, buses and clock come from) and typed wires:
 * that call is its whole dependency list.  x_init returns NULL if there is no room.  x_reset is what the board's
 * reset line does; the vCPUs stand still while it runs.  Devices live in the board's arena and need no x_fini; back
 * ends own descriptors and have one.
 *
 * Threads and locks
 *   - Registers are accessed from every vCPU thread; timers and received bytes come on the event loop's thread.  Each
 *     device has one mutex of its own, and there is no other lock.
 *   - A device may drive a dev_line and write to a back end while it holds its mutex.  Lines go one way:
 *         device -> pic, ioapic -> lapic -> lapic_cpu callbacks
 *     and that is the lock order.  Whoever goes the other way (lapic to ioapic for EOI, lapic to pic for a vector)
 *     holds nothing while it does.
 *   - lapic_pending takes no lock, so a vCPU thread may call it while it holds the mutex that its kick callback takes.
 */
#ifndef RHEA_DEV_H
#define RHEA_DEV_H

#include "mem/mem.h"

/* ---- environment and wires --------------------------------------------------------------------------------- */

/* Where time comes from.  Devices never ask the host themselves, so a test can be the clock. */
struct dev_clock {
    uint64_t (*now)(void *arg);                                      /* nanoseconds, monotonic; any thread */
    void (*set)(void *arg, struct loop_timer *t, uint64_t deadline); /* as loop_timer_set; any thread */
    int64_t (*date)(void *arg);                                      /* seconds since 1970, UTC */
    void *arg;
    struct loop *loop;
};
void dev_clock_host(struct dev_clock *c, struct loop *l); /* the real one */

struct dev_env {
    struct arena *arena;
    struct bus *mem, *io;
    const struct dev_clock *clock;
    struct log *log;
};
static inline uint64_t dev_now(const struct dev_env *e)
{
    return e->clock->now(e->clock->arg);
}
void dev_timer_init(const struct dev_env *e, struct loop_timer *t, void (*fn)(void *), void *arg);
void dev_timer_set(const struct dev_env *e, struct loop_timer *t, uint64_t deadline); /* UINT64_MAX: off */
/* a * b / c without overflow in between; the result must fit. */
static inline uint64_t dev_scale(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}

/* An interrupt wire.  fn NULL: not connected. */
struct dev_line {
    void (*fn)(void *arg, unsigned n, bool level);
    void *arg;
    unsigned n;
};
static inline void dev_line_set(const struct dev_line *l, bool level)
{
    if (l->fn)
        l->fn(l->arg, l->n, level);
}

/* A request to whoever runs the machine (power off, reset, exit, A20).  fn NULL: nobody listens. */
struct dev_request {
    void (*fn)(void *arg, int value);
    void *arg;
};
static inline void dev_request_send(const struct dev_request *r, int value)
{
    if (r->fn)
        r->fn(r->arg, value);
}

bool dev_map_io(const struct dev_env *e, uint16_t port, unsigned count, const struct mmio_ops *ops, void *dev,
                const char *name);
bool dev_map_mem(const struct dev_env *e, gpa_t base, uint64_t size, const struct mmio_ops *ops, void *dev,
                 const char *name);

/* ---- back ends: streams of bytes ----------------------------------------------------------------------------- */

/* One end is a consumer (a UART, the monitor), the other the host.  The consumer fills room, receive, event, arg. */
struct back_char {
    void (*write)(struct back_char *b, const void *data, size_t n); /* any thread */
    void (*accept)(struct back_char *b); /* the consumer has room again; any thread; NULL: not needed */
    void (*fini)(struct back_char *b);   /* restores what it changed, frees b */

    size_t (*room)(void *arg);                                 /* bytes the consumer takes now; NULL: whatever comes */
    void (*receive)(void *arg, const uint8_t *data, size_t n); /* loop's thread, n <= room(); NULL: bytes are dropped */
    void (*line_break)(void *arg);                             /* a break condition; may be NULL */
    void *arg;
};
static inline void back_write(struct back_char *b, const void *data, size_t n)
{
    if (b)
        b->write(b, data, n);
}
static inline void back_accept(struct back_char *b)
{
    if (b && b->accept)
        b->accept(b);
}
void back_fini(struct back_char *b); /* NULL is fine */

bool back_null_init(struct back_char **b, struct status *st);
bool back_file_init(struct back_char **b, const char *path, struct status *st); /* what is written goes to the file */
/* Standard input and output.  A terminal goes into raw mode; `signals`: Ctrl-C still ends the program. */
bool back_stdio_init(struct back_char **b, struct loop *l, bool signals, struct status *st);
/* Put the terminal back as it was; for panic hooks and signal handlers, harmless to repeat.  b is from
 * back_stdio_init. */
void back_stdio_restore(struct back_char *b);
/* Over descriptors: reads `in` (-1: nothing to read), writes `out`; closes them at fini if `owned`. */
bool back_fd_init(struct back_char **b, struct loop *l, int in, int out, bool owned, struct status *st);
/* A listening socket: one peer at a time, the next when it has gone.  Without a peer, what is written is dropped. */
bool back_fd_listen(struct back_char **b, struct loop *l, int listener, struct status *st);
/* Let inner's bytes go to whoever is outer's consumer. */
void back_forward(struct back_char *inner, struct back_char *outer);
bool back_pty_init(struct back_char **b, struct loop *l, char *name, size_t name_size, struct status *st);
/* "unix:PATH" or "tcp:HOST:PORT", then ",server" to listen and ",nowait" or ",wait=off" not to wait for the first
 * peer. */
bool back_socket_init(struct back_char **b, struct loop *l, const char *spec, struct status *st);
/* QEMU's -serial words: null, none, stdio, file:PATH, pty, unix:..., tcp:...  ("mon:" is the mux, see below.) */
bool back_open(struct back_char **b, struct loop *l, const char *spec, struct status *st);

/* Two consumers on one terminal.  Ctrl-a h help, x quit, b break, c changes consumer, Ctrl-a Ctrl-a sends Ctrl-a. */
struct back_mux;
bool back_mux_init(struct back_mux **m, struct loop *l, struct back_char *under, void (*quit)(void *arg), void *arg,
                   struct status *st);
struct back_char *back_mux_end(struct back_mux *m,
                               unsigned n); /* 0: the guest's serial port (has the focus first), 1: the monitor */
void back_mux_focus(struct back_mux *m, unsigned n); /* any thread */
void back_mux_fini(struct back_mux *m);              /* the one below too */

/* ---- interrupt controllers ------------------------------------------------------------------------------------- */

/* 8259A pair at 20h/A0h and 4D0h (edge/level).  int_out: the INTR pin. */
struct pic;
struct pic *pic_init(const struct dev_env *e, struct dev_line int_out);
void pic_reset(struct pic *p);
void pic_line(void *pic, unsigned irq, bool level); /* for a dev_line, irq 0..15 */
int pic_pending(struct pic *p);                     /* vector that an INTA would give now, -1: none.  No lock. */
int pic_accept(struct pic *p);                      /* INTA cycle; the spurious vector if the request went away */

/* The wires between local APICs and I/O APICs. */
enum { APIC_CPUS_MAX = 255, APIC_BASE = 0xfee00000, IOAPIC_BASE = 0xfec00000 };
enum apic_mode { APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_RESERVED, APIC_NMI, APIC_INIT, APIC_STARTUP, APIC_EXTINT };
struct apic_message {
    uint32_t dest; /* physical id or logical set */
    uint8_t vector;
    uint8_t mode;        /* enum apic_mode */
    bool logical, level; /* level: level triggered, EOI is broadcast */
    bool x2;             /* dest is 32 bits wide (sent in x2APIC mode) */
};
struct apic_net;
struct lapic;
struct apic_net *apic_net_init(const struct dev_env *e);
void apic_net_fini(struct apic_net *n);
void apic_deliver(struct apic_net *n, const struct apic_message *m);
void apic_net_add(struct apic_net *n, struct lapic *l); /* by lapic_init */
/* ICR's shorthands: to everybody but `self`, and to `self` too if `also_self`. */
void apic_broadcast(struct apic_net *n, const struct apic_message *m, const struct lapic *self, bool also_self);
void apic_move(struct apic_net *n, gpa_t base); /* IA32_APIC_BASE names another page */
void apic_eoi(struct apic_net *n, uint8_t vector);
void apic_eoi_listener(struct apic_net *n, void (*fn)(void *arg, uint8_t vector), void *arg);
/* A message signalled interrupt: a write of data to FEExxxxxh (SDM vol. 3, 11.11). */
void apic_msi(struct apic_net *n, uint64_t address, uint32_t data);
/* The calling thread runs this CPU: its accesses to the APIC's page go to this CPU's APIC. */
void apic_this_thread(struct apic_net *n, unsigned cpu);

/* What a local APIC asks of its processor.  All may be called from any thread, and, but for tsc, without the APIC's
 * lock. */
struct lapic_cpu {
    void (*kick)(void *arg); /* lapic_pending may have changed: look, wake if halted */
    void (*nmi)(void *arg);
    void (*smi)(void *arg);
    void (*init)(void *arg);                    /* INIT: the APIC has reset itself */
    void (*startup)(void *arg, uint8_t vector); /* SIPI: start at vector * 1000h if waiting for it */
    uint64_t (*tsc)(void *tsc_arg);             /* the guest's time stamp counter now */
    void *tsc_arg;
    void *arg;
};
/* The functions below fit struct x86_intc.  `extint` is the PIC behind LINT0 (NULL: none). */
struct lapic *lapic_init(const struct dev_env *e, struct apic_net *n, unsigned cpu, uint32_t apic_id, uint64_t tsc_hz,
                         struct pic *extint);
void lapic_attach(struct lapic *l, const struct lapic_cpu *cpu); /* before anything runs */
void lapic_reset(struct lapic *l);                               /* power-on; IA32_APIC_BASE too */
void lapic_lint(void *lapic, unsigned pin, bool level);          /* for a dev_line; pin 0 or 1 */
int lapic_pending(void *lapic); /* no lock.  An ExtINT's vector may still change before it is accepted. */
int lapic_accept(void *lapic);
uint64_t lapic_get_tpr(void *lapic); /* CR8 */
void lapic_set_tpr(void *lapic, uint64_t v);
uint64_t lapic_get_base(void *lapic);
bool lapic_set_base(void *lapic, uint64_t v);
bool lapic_msr_read(void *lapic, uint32_t msr, uint64_t *v);
bool lapic_msr_write(void *lapic, uint32_t msr, uint64_t v);
uint32_t lapic_id(const struct lapic *l);      /* as it was made with */
uint32_t lapic_answers(const struct lapic *l); /* the physical id that messages reach it by now.  No lock. */
/* What firmware leaves on CPU 0: enabled, LINT0 = ExtINT, LINT1 = NMI.  For boards that start kernels without
 * firmware. */
void lapic_virtual_wire(struct lapic *l);
bool lapic_matches(struct lapic *l, const struct apic_message *m); /* is it one of m's destinations? */
void lapic_take(struct lapic *l, const struct apic_message *m);    /* m arrives */
unsigned lapic_priority(struct lapic *l);                          /* PPR, for lowest-priority delivery */
void lapic_print(FILE *out, struct lapic *l);                      /* monitor: info lapic */
/* The registers as memory: what the page at the APIC's base does for this APIC. */
uint64_t lapic_read(void *lapic, uint64_t offset, unsigned size);
void lapic_write(void *lapic, uint64_t offset, uint64_t v, unsigned size);

/* 24 pins. */
struct ioapic;
struct ioapic *ioapic_init(const struct dev_env *e, gpa_t base, uint8_t id, struct apic_net *n);
void ioapic_reset(struct ioapic *io);
void ioapic_line(void *ioapic, unsigned pin, bool level); /* for a dev_line */
void ioapic_print(FILE *out, struct ioapic *io);

/* ---- clocks ---------------------------------------------------------------------------------------------------- */

/* 8254 at 40h and port 61h.  Channel 0 drives `irq0` unless pit_mute (HPET legacy replacement). */
struct pit;
struct pit *pit_init(const struct dev_env *e, struct dev_line irq0);
void pit_reset(struct pit *p);
void pit_mute(void *pit, bool mute);

/* MC146818 and 128 bytes of CMOS at 70h.  ram_size sets the memory size bytes. */
struct rtc;
struct rtc *rtc_init(const struct dev_env *e, uint64_t ram_low, uint64_t ram_high, struct dev_line irq8);
void rtc_reset(struct rtc *r);

/* Three timers, 100 MHz.  lines[0..31] are I/O APIC inputs through route.fn(arg, pin, level); legacy: pins of IRQ0
 * and IRQ8. legacy_changed(arg, on) mutes the PIT and RTC. */
struct hpet;
struct hpet *hpet_init(const struct dev_env *e, gpa_t base, struct dev_line route, struct dev_line legacy0,
                       struct dev_line legacy8, struct apic_net *msi, void (*legacy_changed)(void *arg, bool on),
                       void *arg);
void hpet_reset(struct hpet *h);
enum { HPET_BASE = 0xfed00000, HPET_PERIOD_FS = 10000000 };

/* ---- ACPI, resets, small ports ---------------------------------------------------------------------------------- */

/* Offsets from the PM base, as in the FADT. */
enum {
    ACPI_PM1_EVENT = 0,
    ACPI_PM1_CONTROL = 4,
    ACPI_PM_TIMER = 8,
    ACPI_GPE0 = 12,
    ACPI_PM_SIZE = 64,
    ACPI_S5 = 0,
    ACPI_S3 = 1,
};
struct acpi_pm;
/* power_off gets 0.  sci: level triggered. */
struct acpi_pm *acpi_pm_init(const struct dev_env *e, uint16_t base, struct dev_line sci, struct dev_request power_off);
void acpi_pm_reset(struct acpi_pm *a);
void acpi_pm_power_button(struct acpi_pm *a); /* system_powerdown */
void acpi_pm_move(struct acpi_pm *a, uint16_t base, bool enabled);

/* Port CF9h lives in the PCI file (it lies over CF8h..CFBh); 92h and the keyboard controller here. */
struct i8042;
struct i8042 *i8042_init(const struct dev_env *e, struct dev_line irq1, struct dev_request reset,
                         struct dev_request a20);
void i8042_reset(struct i8042 *k);
struct port92;
struct port92 *port92_init(const struct dev_env *e, struct dev_request reset, struct dev_request a20);
void port92_reset(struct port92 *p);
bool debugcon_init(const struct dev_env *e, uint16_t port, struct back_char *out);
/* A write of v asks for exit code (v << 1) | 1. */
bool debug_exit_init(const struct dev_env *e, uint16_t port, unsigned count, struct dev_request quit);
/* lines.fn is called with n = 0..23, the I/O APIC's inputs. */
bool testdev_init(const struct dev_env *e, struct dev_line lines);

/* ---- serial ------------------------------------------------------------------------------------------------------- */

/* 16550A; `back` may be NULL (nothing connected). */
struct uart;
struct uart *uart_init(const struct dev_env *e, uint16_t port, struct dev_line irq, struct back_char *back);
void uart_reset(struct uart *u);

/* ---- PCI ---------------------------------------------------------------------------------------------------------- */

/* Bus 0 behind ports CF8h/CFCh (mechanism #1), and the reset control register at CF9h. */
struct pci;
struct pci_function {
    uint8_t config[256];
    uint8_t writable[256]; /* bits the guest may change */
    uint8_t clear[256];    /* bits that a written 1 clears */
    void (*changed)(struct pci_function *f, unsigned offset,
                    unsigned size); /* after a write; may be NULL; pci's lock is held */
    void *dev;
    struct {
        uint32_t size; /* power of two; 0: no such BAR */
        bool io, mapped;
        const struct mmio_ops *ops;
        uint64_t at;
    } bar[6];
    uint8_t devfn;
    const char *name;
    uint8_t config_reset[256]; /* what pci_reset puts back: taken by pci_add */
};
struct pci *pci_init(const struct dev_env *e, struct dev_request reset);
void pci_reset(struct pci *p);
bool pci_add(struct pci *p, struct pci_function *f); /* f stays the caller's, at f->devfn */
void pci_bar(struct pci_function *f, unsigned n, uint32_t size, bool io,
             const struct mmio_ops *ops); /* before pci_add */
void pci_print(FILE *out, struct pci *p); /* monitor: info pci */
void pci_put(struct pci_function *f, unsigned offset, uint32_t v, unsigned size);
/* i440FX host bridge 00:00.0, PIIX3 ISA bridge 00:01.0, PIIX4 power management 00:01.3 in front of `pm`. */
bool piix_init(const struct dev_env *e, struct pci *p, struct acpi_pm *pm, uint16_t pm_base);

#endif

/* mach: boards.  mach/pc.c is the wiring diagram of the PC: which devices, at which address, on which line.
 *
 * How exec and tool use it:
 *     pc_init            everything but processors: RAM, buses, devices, as the config says
 *     pc_attach_cpu      for each vCPU, before its thread starts: wires its local APIC, sets x->mem, io, ram, intc,
 *     tsc_hz
 *     pc_load            kernel, firmware, ACPI tables into RAM, what to run is remembered
 *     pc_boot_state      for each vCPU, after x86_reset(x, false): the registers it starts with (CPU 0: the loader's
 *     entry; the
 *                        others wait for SIPI).  Then x86_mode_update.  false: this vCPU waits for SIPI.
 *     pc_cpu_thread      first thing in each vCPU's thread
 *     pc_reset           vCPUs standing still: devices and RAM image as after pc_load; then x86_reset, pc_boot_state
 *     again
 */
#ifndef RHEA_MACH_H
#define RHEA_MACH_H

#include <pthread.h>

#include "dev/dev.h"
#include "guest/x86/state.h"

enum { PC_SERIAL_MAX = 4, PC_IOAPIC_ID = 0 };
#define PC_PCI_HOLE 0xc0000000u /* RAM ends here or before; the rest goes on at 4 GB */
extern const uint16_t pc_serial_port[PC_SERIAL_MAX];
extern const uint8_t pc_serial_irq[PC_SERIAL_MAX];

struct pc_config {
    uint64_t ram_size;                       /* bytes, a multiple of 4096 */
    unsigned cpus;                           /* 1..APIC_CPUS_MAX */
    struct x86_topology topology;            /* cores 0: all are cores of one package.  May have room for more cpus */
    const char *kernel;                      /* bzImage, PVH ELF or multiboot; NULL: none */
    const char *initrd;                      /* a file, or multiboot's "file1 args,file2 args" */
    const char *append;                      /* the kernel's command line */
    const char *bios;                        /* flat image that ends at 4 GB */
    struct back_char *serial[PC_SERIAL_MAX]; /* COM1..COM4; NULL: the port is absent */
    struct back_char *debugcon;              /* NULL: none */
    uint16_t debugcon_port;                  /* E9h when 0 */
    bool debug_exit;                         /* isa-debug-exit */
    uint16_t debug_exit_port;                /* 501h when 0 */
    unsigned debug_exit_size;                /* 2 when 0 */
    bool testdev;                            /* pc-testdev */
    bool no_acpi, no_hpet, no_pit;
};

/* Any thread may make these calls; the listener must only note the wish and wake who carries it out. */
struct pc_requests {
    void (*power_off)(void *arg);
    void (*reset)(void *arg);
    void (*debug_exit)(void *arg, int code); /* exit status, already (v << 1) | 1 */
    void (*a20)(void *arg, bool on);         /* set every a20_mask before the vCPU's next insn */
    void *arg;
};

enum pc_mode { PC_REAL, PC_PROTECTED, PC_LONG };
/* How CPU 0 starts. */
struct pc_entry {
    enum pc_mode mode;
    uint64_t rip, rsp, rsi, cr3; /* RIP in real mode: linear, becomes CS:IP */
    uint32_t eax, ebx;
    uint64_t gdt;    /* where the loader put one (PC_GDT_SIZE bytes); 0: none */
    uint16_t cs, ds; /* selectors, not for real mode */
    bool firmware;   /* plain reset state: FFFFFFF0h */
};

/* Pieces of memory in use, for the memory map that a loader passes on. */
enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4, E820_MAX = 16 };
struct pc_e820 {
    struct {
        uint64_t base, size;
        uint32_t type;
    } entry[E820_MAX];
    unsigned n;
};

struct pc {
    struct pc_config config;
    struct pc_requests requests;
    struct log *log;
    struct arena arena;
    struct dev_clock clock;
    struct dev_env env;
    uint64_t tsc_hz;
    struct bus *mem, *io;
    struct ram ram;

    struct apic_net *apics;
    struct lapic *lapic[APIC_CPUS_MAX];
    struct x86 *cpu[APIC_CPUS_MAX];
    struct pic *pic;
    struct ioapic *ioapic;
    struct pit *pit;
    struct rtc *rtc;
    struct hpet *hpet;
    struct acpi_pm *acpi;
    struct i8042 *i8042;
    struct port92 *port92;
    struct uart *uart[PC_SERIAL_MAX];
    pthread_mutex_t serial_lock; /* guards serial_level; taken under a UART's lock, above the interrupt controllers' */
    uint8_t serial_level;        /* a bit a port: COM1 and COM3 share a line, and COM2 and COM4 */
    struct pci *pci;
    bool hpet_legacy; /* changed and read atomically */

    uint8_t *rom; /* the firmware image, ends at 4 GB */
    uint64_t rom_size;
    struct pc_e820 e820;
    uint64_t rsdp;      /* 0: no ACPI tables */
    uint64_t tables_at; /* RAM from here to ram.low is ACPI's */
    struct pc_entry entry;
};

/* The clock starts with it.  `l` must outlive pc.  On false, pc needs no pc_fini. */
bool pc_init(struct pc *pc, const struct pc_config *c, const struct pc_requests *r, struct loop *l, struct log *log,
             struct status *st);
void pc_fini(struct pc *pc);
/* cpu->tsc may be NULL: the board then takes host TSC + x->cpu.tsc_offset. */
void pc_attach_cpu(struct pc *pc, unsigned index, struct x86 *x, const struct lapic_cpu *cpu);
void pc_cpu_thread(struct pc *pc, unsigned index);
bool pc_load(struct pc *pc, struct status *st);
bool pc_boot_state(struct pc *pc, struct x86 *x);
bool pc_reset(struct pc *pc, struct status *st);
/* Ticks a second of the host's time stamp counter: CPUID 15H or 16H, else 20 ms against the monotonic clock. */
uint64_t pc_tsc_hz(void);

/* ---- inside mach/ ------------------------------------------------------------------------------------------------ */

/* A whole file in memory; loaders read within size only. */
struct pc_file {
    const uint8_t *data;
    uint64_t size;
    const char *path;
};
bool pc_file_open(struct pc_file *f, const char *path, struct status *st);
void pc_file_close(struct pc_file *f);
/* n bytes at offset, or NULL if the file is shorter. */
const uint8_t *pc_file_at(const struct pc_file *f, uint64_t offset, uint64_t n);

/* Put f's bytes at gpa; false with a message if there is no RAM for them. */
bool pc_file_place(struct pc *pc, const struct pc_file *f, gpa_t gpa, const char *what, struct status *st);
/* Read the initrd (if there is one) to just below `top`, not below `bottom`; *at and *size are 0 without one. */
bool pc_initrd_place(struct pc *pc, gpa_t bottom, gpa_t top, gpa_t *at, uint64_t *size, struct status *st);
/* The command line, zero-terminated, to PC_CMDLINE.  `max`: longest the kernel takes. */
bool pc_cmdline_place(struct pc *pc, uint64_t max, struct status *st);

struct elf_image {
    uint64_t entry, low, high; /* physical; [low, high) with zero-filled parts */
    uint32_t pvh_entry;        /* 0: no such note */
};
bool elf_is(const struct pc_file *f);
/* Copy the loadable segments to their physical addresses. */
bool elf_load(struct pc *pc, const struct pc_file *f, struct elf_image *image, struct status *st);

/* A loader says no (and leaves st empty) when the file is not its format, and fails with st filled when it is but is
 * bad. */
enum pc_loaded { PC_NOT_MINE, PC_LOADED, PC_BAD };
enum pc_loaded load_linux(struct pc *pc, const struct pc_file *kernel, struct status *st);
enum pc_loaded load_multiboot(struct pc *pc, const struct pc_file *kernel, struct status *st);
enum pc_loaded load_pvh(struct pc *pc, const struct pc_file *kernel, struct status *st);

/* n bytes of RAM at gpa, or NULL if they are not wholly in one piece of RAM below 4 GB's hole or above it. */
uint8_t *pc_ram(struct pc *pc, gpa_t gpa, uint64_t n);
void acpi_build(struct pc *pc); /* tables into RAM, sets rsdp, tables_at, reserves in e820 */
void e820_build(struct pc *pc);
void bios_stand_in(struct pc *pc); /* real mode's vectors, and the timer running (multiboot kernels) */
void boot_state_set(struct x86 *x, const struct pc_entry *e); /* x is in its reset state; caller runs x86_mode_update */
/* Write the flat GDT that entries use (null, null, code 10h, data 18h) at gpa. */
void boot_gdt_write(uint8_t *at, bool code64);
/* Identity mapping of 4 GB by 2 MB pages, in six pages at gpa. */
bool boot_page_tables(struct pc *pc, gpa_t gpa);
struct pc_entry boot_entry_protected(struct pc *pc, uint32_t rip); /* flat 32-bit, GDT at PC_BOOT_GDT */
enum { PC_GDT_SIZE = 32, BOOT_CS = 0x10, BOOT_DS = 0x18 };
/* Where loaders put their own small things: below the EBDA, above the BIOS data area. */
enum {
    PC_PAGE_TABLES = 0x9000,
    PC_BOOT_PARAMS = 0x7000,
    PC_BOOT_GDT = 0x6000,
    PC_BOOT_INFO = 0x5000,
    PC_STACK = 0x8ff0,
    PC_CMDLINE = 0x20000,
    PC_CMDLINE_MAX = 0x10000,
    PC_EBDA = 0x9fc00,
    PC_PM_BASE = 0x600
};

#endif

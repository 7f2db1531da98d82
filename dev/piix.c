/* dev/piix.c: what a PC of the i440FX kind has on PCI without any card: host bridge 00:00.0 (82441FX, 290549), ISA
 * bridge 00:01.0 (PIIX3, 290550) and power management 00:01.3 (PIIX4, 290562).  The first two only answer to their
 * names; shadow RAM and interrupt routing registers keep what is written, which is what firmware checks.  Of the
 * third, PMBASE and its enable bit move the ACPI ports.
 */
#include "dev/dev.h"

enum {
    DEVFN_HOST = 0x00,
    DEVFN_ISA = 0x08,
    DEVFN_PM = 0x0b,
    VENDOR_INTEL = 0x8086,
    DEVICE_82441 = 0x1237,
    DEVICE_PIIX3 = 0x7000,
    DEVICE_PIIX4_PM = 0x7113,

    CONFIG_COMMAND = 0x04,
    CONFIG_STATUS = 0x06,
    CONFIG_REVISION = 0x08,
    CONFIG_CLASS = 0x0a,
    CONFIG_HEADER = 0x0e,
    CONFIG_INTERRUPT_LINE = 0x3c,
    CONFIG_INTERRUPT_PIN = 0x3d,
    HOST_PAM = 0x59, /* ..5F */
    HOST_SMRAM = 0x72,
    ISA_ROUTE = 0x60, /* ..63 */
    PM_BASE = 0x40,
    PM_ENABLE = 0x80,
    HEADER_MULTIFUNCTION = 0x80,
    CLASS_HOST = 0x0600,
    CLASS_ISA = 0x0601,
    CLASS_OTHER = 0x0680,
};

static struct pci_function *function_new(const struct dev_env *e, uint8_t devfn, uint16_t device, uint16_t class,
                                         uint8_t revision, const char *name)
{
    struct pci_function *f = arena_alloc(e->arena, sizeof *f);
    if (!f)
        return NULL;
    f->devfn = devfn;
    f->name = name;
    pci_put(f, 0, VENDOR_INTEL | (uint32_t)device << 16, 4);
    pci_put(f, CONFIG_REVISION, revision, 1);
    pci_put(f, CONFIG_CLASS, class, 2);
    pci_put(f, CONFIG_STATUS, 0x0200, 2); /* medium DEVSEL timing */
    f->writable[CONFIG_INTERRUPT_LINE] = 0xff;
    return f;
}

static bool host_bridge_add(const struct dev_env *e, struct pci *p)
{
    struct pci_function *f = function_new(e, DEVFN_HOST, DEVICE_82441, CLASS_HOST, 2, "82441FX host bridge");
    if (!f)
        return false;
    for (unsigned i = 0; i < 7; i++)
        f->writable[HOST_PAM + i] = i ? 0x33 : 0x30;
    f->config[HOST_SMRAM] = 0x02;
    f->writable[HOST_SMRAM] = 0x78;
    return pci_add(p, f);
}

static bool isa_bridge_add(const struct dev_env *e, struct pci *p)
{
    struct pci_function *f = function_new(e, DEVFN_ISA, DEVICE_PIIX3, CLASS_ISA, 0, "PIIX3 ISA bridge");
    if (!f)
        return false;
    f->config[CONFIG_HEADER] = HEADER_MULTIFUNCTION;
    f->config[CONFIG_COMMAND] = 7;
    for (unsigned i = 0; i < 4; i++) {
        f->config[ISA_ROUTE + i] = 0x80;
        f->writable[ISA_ROUTE + i] = 0x8f;
    }
    return pci_add(p, f);
}

static void pm_changed(struct pci_function *f, unsigned offset, unsigned size)
{
    (void)offset, (void)size;
    acpi_pm_move(f->dev, (uint16_t)(bytes_get(f->config + PM_BASE, 2) & 0xffc0), f->config[PM_ENABLE] & 1);
}

static bool pm_add(const struct dev_env *e, struct pci *p, struct acpi_pm *pm, uint16_t base)
{
    struct pci_function *f = function_new(e, DEVFN_PM, DEVICE_PIIX4_PM, CLASS_OTHER, 3, "PIIX4 power management");
    if (!f)
        return false;
    f->dev = pm;
    f->changed = pm_changed;
    pci_put(f, PM_BASE, base | 1u, 4);
    bytes_put(f->writable + PM_BASE, 0xffc0, 2);
    f->config[PM_ENABLE] = 1;
    f->writable[PM_ENABLE] = 1;
    f->config[CONFIG_INTERRUPT_LINE] = 9;
    f->config[CONFIG_INTERRUPT_PIN] = 1;
    return pci_add(p, f);
}

bool piix_init(const struct dev_env *e, struct pci *p, struct acpi_pm *pm, uint16_t pm_base)
{
    return host_bridge_add(e, p) && isa_bridge_add(e, p) && pm_add(e, p, pm, pm_base);
}

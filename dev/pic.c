/* dev/pic.c: the two 8259A interrupt controllers of a PC (Intel 8259A data sheet, 231468): master at 20h with lines
 * 0..7, slave at A0h with lines 8..15 on the master's input 2, and the edge/level registers at 4D0h.
 *
 * A controller is three bytes: IRR (asked), ISR (in service), IMR (masked).  Which request wins is a pure function of
 * them and of the rotation; after every change pic_update works it out for both and drives the INTR pin.  The vector
 * that an acknowledge would give now is left in an atomic, because processors look at it without our lock.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "dev/dev.h"

/* ICW1, OCW2, OCW3 as bits of a write to the even port. */
enum {
    ICW1_SELECT = 0x10,
    ICW1_ICW4 = 0x01,
    ICW1_SINGLE = 0x02,
    ICW1_LEVEL = 0x08,
    OCW3_SELECT = 0x08,
    OCW3_READ = 0x02,
    OCW3_READ_ISR = 0x01,
    OCW3_POLL = 0x04,
    OCW3_SMM_SET = 0x40,
    OCW3_SMM = 0x20,
    ICW4_AUTO_EOI = 0x02,
    ICW4_NESTED = 0x10,
    PORT_MASTER = 0x20,
    PORT_SLAVE = 0xa0,
    PORT_ELCR = 0x4d0,
    CASCADE = 2,
    SPURIOUS = 7,
};

struct chip {
    struct pic *pic;
    unsigned index; /* 0: master */
    uint8_t irr, isr, imr, pins, elcr, elcr_mask;
    uint8_t base, lowest; /* lowest: input of lowest priority (7 after reset) */
    uint8_t icw;          /* the ICW expected next at the odd port; 0: none */
    bool need_icw4, single, auto_eoi, rotate_auto_eoi, special_mask, special_nested, read_isr, poll, level_all;
};

struct pic {
    pthread_mutex_t lock;
    struct chip chip[2];
    struct dev_line int_out;
    bool out;
    atomic_int pending;
};

/* The input that would be served now, or -1: highest requested and unmasked one above everything in service. */
static int chip_winner(const struct chip *c)
{
    uint8_t asked = c->irr & (uint8_t)~c->imr;
    uint8_t busy = c->isr;
    if (c->special_mask)
        busy &= (uint8_t)~c->imr;
    for (unsigned k = 1; k <= 8; k++) {
        unsigned n = (c->lowest + k) & 7;
        uint8_t bit = (uint8_t)(1u << n);
        bool nested_slave = c->special_nested && c->index == 0 && n == CASCADE;
        if ((busy & bit) && !nested_slave && !c->special_mask)
            return -1;
        if ((asked & bit) && (!(busy & bit) || nested_slave))
            return (int)n;
    }
    return -1;
}

static void chip_pin(struct chip *c, unsigned n, bool level)
{
    uint8_t bit = (uint8_t)(1u << n);
    bool level_mode = c->level_all || (c->elcr & bit);
    if (level && (level_mode || !(c->pins & bit)))
        c->irr |= bit;
    else if (!level)
        c->irr &= (uint8_t)~bit;
    c->pins = level ? c->pins | bit : c->pins & (uint8_t)~bit;
}

static void pic_update(struct pic *p)
{
    struct chip *master = &p->chip[0], *slave = &p->chip[1];
    int s = chip_winner(slave);
    chip_pin(master, CASCADE, s >= 0);
    int m = chip_winner(master);
    int vector = -1;
    if (m == CASCADE)
        vector = slave->base | (s >= 0 ? s : SPURIOUS);
    else if (m >= 0)
        vector = master->base | m;
    atomic_store(&p->pending, vector);
    if (p->out != (m >= 0)) {
        p->out = m >= 0;
        dev_line_set(&p->int_out, p->out);
    }
}

/* The chip's part of an INTA cycle: input n moves from asked to in service. */
static void chip_acknowledge(struct chip *c, unsigned n)
{
    uint8_t bit = (uint8_t)(1u << n);
    bool level_mode = c->level_all || (c->elcr & bit);
    if (!level_mode)
        c->irr &= (uint8_t)~bit;
    if (!c->auto_eoi)
        c->isr |= bit;
    else if (c->rotate_auto_eoi)
        c->lowest = (uint8_t)n;
}

int pic_pending(struct pic *p)
{
    return atomic_load(&p->pending);
}

int pic_accept(struct pic *p)
{
    pthread_mutex_lock(&p->lock);
    struct chip *master = &p->chip[0], *slave = &p->chip[1];
    int m = chip_winner(master), vector;
    if (m < 0) {
        vector = master->base | SPURIOUS;
    } else if (m == CASCADE) {
        int s = chip_winner(slave);
        vector = slave->base | (s < 0 ? SPURIOUS : s);
        chip_acknowledge(master, CASCADE);
        if (s >= 0)
            chip_acknowledge(slave, (unsigned)s);
    } else {
        chip_acknowledge(master, (unsigned)m);
        vector = master->base | m;
    }
    pic_update(p);
    pthread_mutex_unlock(&p->lock);
    return vector;
}

/* In service with the highest priority, or -1. */
static int chip_top_in_service(const struct chip *c)
{
    for (unsigned k = 1; k <= 8; k++) {
        unsigned n = (c->lowest + k) & 7;
        if ((c->isr & 1u << n) && !(c->special_mask && (c->imr & 1u << n)))
            return (int)n;
    }
    return -1;
}

/* Operation command word 2: bits 7..5 rotate, specific, EOI; bits 2..0 the input meant by "specific". */
static void chip_ocw2(struct chip *c, uint8_t v)
{
    bool rotate = v & 0x80, specific = v & 0x40, eoi = v & 0x20;
    int n = specific ? v & 7 : chip_top_in_service(c);
    if (!eoi && !specific) {
        c->rotate_auto_eoi = rotate;
        return;
    }
    if (n < 0)
        return;
    if (eoi)
        c->isr &= (uint8_t) ~(1u << n);
    if (rotate)
        c->lowest = (uint8_t)n;
}

static void chip_start(struct chip *c, uint8_t icw1)
{
    c->irr = c->level_all ? c->irr : 0;
    c->imr = c->isr = 0;
    c->lowest = 7;
    c->special_mask = c->special_nested = c->read_isr = c->poll = c->auto_eoi = c->rotate_auto_eoi = false;
    c->need_icw4 = icw1 & ICW1_ICW4;
    c->single = icw1 & ICW1_SINGLE;
    c->level_all = icw1 & ICW1_LEVEL;
    c->irr = (uint8_t)(c->pins & (c->level_all ? 0xff : c->elcr));
    c->icw = 2;
}

static void chip_write_even(struct chip *c, uint8_t v)
{
    if (v & ICW1_SELECT) {
        chip_start(c, v);
    } else if (v & OCW3_SELECT) {
        if (v & OCW3_READ)
            c->read_isr = v & OCW3_READ_ISR;
        if (v & OCW3_POLL)
            c->poll = true;
        if (v & OCW3_SMM_SET)
            c->special_mask = v & OCW3_SMM;
    } else {
        chip_ocw2(c, v);
    }
}

static void chip_write_odd(struct chip *c, uint8_t v)
{
    switch (c->icw) {
    case 0: c->imr = v; break;
    case 2:
        c->base = v & 0xf8;
        c->icw = !c->single ? 3 : c->need_icw4 ? 4 : 0;
        break;
    case 3: c->icw = c->need_icw4 ? 4 : 0; break;
    default:
        c->auto_eoi = v & ICW4_AUTO_EOI;
        c->special_nested = v & ICW4_NESTED;
        c->icw = 0;
        break;
    }
}

/* A read after a poll command is an acknowledge: bit 7 says whether there was a request. */
static uint8_t chip_poll(struct chip *c)
{
    int n = chip_winner(c);
    c->poll = false;
    if (n < 0)
        return 0;
    chip_acknowledge(c, (unsigned)n);
    return (uint8_t)(0x80 | n);
}

static uint64_t chip_read(void *dev, uint64_t offset, unsigned size)
{
    (void)size;
    struct chip *c = dev;
    pthread_mutex_lock(&c->pic->lock);
    uint8_t v;
    if (c->poll) {
        v = chip_poll(c);
        pic_update(c->pic);
    } else if (offset) {
        v = c->imr;
    } else {
        v = c->read_isr ? c->isr : c->irr;
    }
    pthread_mutex_unlock(&c->pic->lock);
    return v;
}

static void chip_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)size;
    struct chip *c = dev;
    pthread_mutex_lock(&c->pic->lock);
    if (offset)
        chip_write_odd(c, (uint8_t)value);
    else
        chip_write_even(c, (uint8_t)value);
    pic_update(c->pic);
    pthread_mutex_unlock(&c->pic->lock);
}

static uint64_t elcr_read(void *dev, uint64_t offset, unsigned size)
{
    (void)size;
    struct pic *p = dev;
    pthread_mutex_lock(&p->lock);
    uint8_t v = p->chip[offset & 1].elcr;
    pthread_mutex_unlock(&p->lock);
    return v;
}

static void elcr_write(void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    (void)size;
    struct pic *p = dev;
    struct chip *c = &p->chip[offset & 1];
    pthread_mutex_lock(&p->lock);
    c->elcr = (uint8_t)value & c->elcr_mask;
    pthread_mutex_unlock(&p->lock);
}

void pic_line(void *pic, unsigned irq, bool level)
{
    struct pic *p = pic;
    pthread_mutex_lock(&p->lock);
    if (irq != CASCADE)
        chip_pin(&p->chip[irq >> 3 & 1], irq & 7, level);
    pic_update(p);
    pthread_mutex_unlock(&p->lock);
}

void pic_reset(struct pic *p)
{
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < 2; i++) {
        struct chip *c = &p->chip[i];
        uint8_t pins = c->pins;
        /* Lines 0, 1, 2, 8 and 13 are always edge triggered (PIIX4 data sheet, ELCR1 and ELCR2). */
        *c = (struct chip){.pic = p, .index = i, .lowest = 7, .pins = pins, .elcr_mask = i ? 0xde : 0xf8};
    }
    pic_update(p);
    pthread_mutex_unlock(&p->lock);
}

static const struct mmio_ops chip_ops = {chip_read, chip_write, W8};
static const struct mmio_ops elcr_ops = {elcr_read, elcr_write, W8};

struct pic *pic_init(const struct dev_env *e, struct dev_line int_out)
{
    struct pic *p = arena_alloc(e->arena, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->int_out = int_out;
    atomic_store(&p->pending, -1);
    pic_reset(p);
    bool ok = dev_map_io(e, PORT_MASTER, 2, &chip_ops, &p->chip[0], "pic") &&
              dev_map_io(e, PORT_SLAVE, 2, &chip_ops, &p->chip[1], "pic") &&
              dev_map_io(e, PORT_ELCR, 2, &elcr_ops, p, "pic-elcr");
    return ok ? p : NULL;
}

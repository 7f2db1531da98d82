/* dev/i8042.c: keyboard controller at 60h and 64h with nothing plugged in.  What is left of it is what PC software
 * needs: the self tests, the output port with the A20 gate, and the pulse on the reset line (command FEh).
 *
 * A byte sent to the absent keyboard or mouse comes back as a timeout, as the real controller reports it, so that
 * drivers give up soon.
 */
#include <pthread.h>

#include "dev/dev.h"

enum {
    PORT_DATA = 0x60,
    PORT_COMMAND = 0x64,

    STATUS_OUTPUT_FULL = 0x01,
    STATUS_SYSTEM = 0x04,
    STATUS_COMMAND = 0x08,
    STATUS_UNLOCKED = 0x10,
    STATUS_MOUSE = 0x20,
    STATUS_TIMEOUT = 0x40,

    COMMAND_READ_MODE = 0x20,
    COMMAND_WRITE_MODE = 0x60,
    COMMAND_MOUSE_OFF = 0xa7,
    COMMAND_MOUSE_ON = 0xa8,
    COMMAND_MOUSE_TEST = 0xa9,
    COMMAND_SELF_TEST = 0xaa,
    COMMAND_KEYBOARD_TEST = 0xab,
    COMMAND_KEYBOARD_OFF = 0xad,
    COMMAND_KEYBOARD_ON = 0xae,
    COMMAND_READ_INPUT = 0xc0,
    COMMAND_READ_OUTPUT = 0xd0,
    COMMAND_WRITE_OUTPUT = 0xd1,
    COMMAND_FAKE_KEYBOARD = 0xd2,
    COMMAND_FAKE_MOUSE = 0xd3,
    COMMAND_MOUSE_BYTE = 0xd4,
    COMMAND_A20_OFF = 0xdd,
    COMMAND_A20_ON = 0xdf,
    COMMAND_PULSE = 0xf0, /* ..FF: output port bits that are 0 below are pulsed */

    MODE_INTERRUPT = 0x01,
    MODE_KEYBOARD_OFF = 0x10,
    MODE_MOUSE_OFF = 0x20,
    OUTPUT_NOT_RESET = 0x01,
    OUTPUT_A20 = 0x02,
    REPLY_RESEND = 0xfe,
    TEST_PASSED = 0x55,
};

struct i8042 {
    pthread_mutex_t lock;
    struct dev_line irq1;
    struct dev_request reset, a20;
    uint8_t status, mode, output, data;
    uint8_t command; /* waits for its data byte; 0: none */
};

/* What a write asks for, sent without the lock. */
struct wishes {
    bool reset, a20;
};

static void i8042_reply(struct i8042 *k, uint8_t v, uint8_t flags)
{
    k->data = v;
    k->status = (uint8_t)((k->status & ~(STATUS_MOUSE | STATUS_TIMEOUT)) | STATUS_OUTPUT_FULL | flags);
    dev_line_set(&k->irq1, (k->mode & MODE_INTERRUPT) && !(flags & STATUS_MOUSE));
}

static void i8042_set_output(struct i8042 *k, uint8_t v, struct wishes *w)
{
    w->a20 = (v ^ k->output) & OUTPUT_A20;
    w->reset = !(v & OUTPUT_NOT_RESET);
    k->output = v | OUTPUT_NOT_RESET;
}

static void i8042_command(struct i8042 *k, uint8_t v, struct wishes *w)
{
    k->command = 0;
    k->status |= STATUS_COMMAND;
    switch (v) {
    case COMMAND_READ_MODE: i8042_reply(k, k->mode, 0); break;
    case COMMAND_MOUSE_OFF: k->mode |= MODE_MOUSE_OFF; break;
    case COMMAND_MOUSE_ON: k->mode &= (uint8_t)~MODE_MOUSE_OFF; break;
    case COMMAND_KEYBOARD_OFF: k->mode |= MODE_KEYBOARD_OFF; break;
    case COMMAND_KEYBOARD_ON: k->mode &= (uint8_t)~MODE_KEYBOARD_OFF; break;
    case COMMAND_SELF_TEST:
        k->status |= STATUS_SYSTEM;
        i8042_reply(k, TEST_PASSED, 0);
        break;
    case COMMAND_MOUSE_TEST:
    case COMMAND_KEYBOARD_TEST: i8042_reply(k, 0, 0); break;
    case COMMAND_READ_INPUT: i8042_reply(k, 0x80, 0); break;
    case COMMAND_READ_OUTPUT: i8042_reply(k, k->output, 0); break;
    case COMMAND_A20_OFF: i8042_set_output(k, k->output & (uint8_t)~OUTPUT_A20, w); break;
    case COMMAND_A20_ON: i8042_set_output(k, k->output | OUTPUT_A20, w); break;
    case COMMAND_WRITE_MODE:
    case COMMAND_WRITE_OUTPUT:
    case COMMAND_FAKE_KEYBOARD:
    case COMMAND_FAKE_MOUSE:
    case COMMAND_MOUSE_BYTE: k->command = v; break;
    default:
        if (v >= COMMAND_PULSE && !(v & OUTPUT_NOT_RESET))
            w->reset = true;
        break;
    }
}

static void i8042_data(struct i8042 *k, uint8_t v, struct wishes *w)
{
    uint8_t command = k->command;
    k->command = 0;
    k->status &= (uint8_t)~STATUS_COMMAND;
    switch (command) {
    case COMMAND_WRITE_MODE: k->mode = v; break;
    case COMMAND_WRITE_OUTPUT: i8042_set_output(k, v, w); break;
    case COMMAND_FAKE_KEYBOARD: i8042_reply(k, v, 0); break;
    case COMMAND_FAKE_MOUSE: i8042_reply(k, v, STATUS_MOUSE); break;
    case COMMAND_MOUSE_BYTE: i8042_reply(k, REPLY_RESEND, STATUS_TIMEOUT | STATUS_MOUSE); break;
    default:
        k->mode &= (uint8_t)~MODE_KEYBOARD_OFF;
        i8042_reply(k, REPLY_RESEND, STATUS_TIMEOUT);
        break;
    }
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned size)
{
    (void)offset, (void)size;
    struct i8042 *k = dev;
    pthread_mutex_lock(&k->lock);
    uint8_t v = k->data;
    k->status &= (uint8_t) ~(STATUS_OUTPUT_FULL | STATUS_MOUSE | STATUS_TIMEOUT);
    dev_line_set(&k->irq1, false);
    pthread_mutex_unlock(&k->lock);
    return v;
}

static uint64_t status_read(void *dev, uint64_t offset, unsigned size)
{
    (void)offset, (void)size;
    struct i8042 *k = dev;
    pthread_mutex_lock(&k->lock);
    uint8_t v = k->status;
    pthread_mutex_unlock(&k->lock);
    return v;
}

static void i8042_write(struct i8042 *k, void (*fn)(struct i8042 *, uint8_t, struct wishes *), uint8_t v)
{
    struct wishes w = {0};
    pthread_mutex_lock(&k->lock);
    fn(k, v, &w);
    bool a20 = k->output & OUTPUT_A20;
    pthread_mutex_unlock(&k->lock);
    if (w.a20)
        dev_request_send(&k->a20, a20);
    if (w.reset)
        dev_request_send(&k->reset, 0);
}

static void data_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    (void)offset, (void)size;
    i8042_write(dev, i8042_data, (uint8_t)v);
}

static void command_write(void *dev, uint64_t offset, uint64_t v, unsigned size)
{
    (void)offset, (void)size;
    i8042_write(dev, i8042_command, (uint8_t)v);
}

void i8042_reset(struct i8042 *k)
{
    pthread_mutex_lock(&k->lock);
    k->status = STATUS_UNLOCKED | STATUS_SYSTEM;
    k->mode = MODE_KEYBOARD_OFF | MODE_MOUSE_OFF;
    k->output = OUTPUT_NOT_RESET | OUTPUT_A20;
    k->command = k->data = 0;
    dev_line_set(&k->irq1, false);
    pthread_mutex_unlock(&k->lock);
}

static const struct mmio_ops data_ops = {data_read, data_write, W8};
static const struct mmio_ops command_ops = {status_read, command_write, W8};

struct i8042 *i8042_init(const struct dev_env *e, struct dev_line irq1, struct dev_request reset,
                         struct dev_request a20)
{
    struct i8042 *k = arena_alloc(e->arena, sizeof *k);
    if (!k)
        return NULL;
    pthread_mutex_init(&k->lock, NULL);
    k->irq1 = irq1;
    k->reset = reset;
    k->a20 = a20;
    i8042_reset(k);
    bool ok =
        dev_map_io(e, PORT_DATA, 1, &data_ops, k, "i8042") && dev_map_io(e, PORT_COMMAND, 1, &command_ops, k, "i8042");
    return ok ? k : NULL;
}

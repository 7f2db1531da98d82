/* The command line: what each option accepts and refuses, and that nobody crashes on nonsense. */
#include "tool/tool.h"

#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

static enum options_result parse(struct options *o, struct status *st, const char *first, const char *second)
{
    char *argv[] = {(char *)first, (char *)second};
    *st = (struct status){""};
    return options_parse(o, second ? 2 : 1, argv, st);
}

static void good(struct options *o, const char *first, const char *second)
{
    struct status st;
    if (parse(o, &st, first, second) != OPTIONS_RUN)
        fail_msg("%s %s was refused: %s", first, second ? second : "", st.text);
}

/* Refused, in one line that has `says` in it. */
static void bad(const char *first, const char *second, const char *says)
{
    struct options o;
    struct status st;
    if (parse(&o, &st, first, second) != OPTIONS_BAD)
        fail_msg("%s %s was accepted", first, second ? second : "");
    if (!strstr(st.text, says) || strchr(st.text, '\n'))
        fail_msg("%s %s: the message is '%s'", first, second ? second : "", st.text);
}

static void test_memory(void **state)
{
    struct options o;
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        {"512", 512ull << 20},   {"512M", 512ull << 20},           {"2G", 2ull << 30},
        {"2g", 2ull << 30},      {"size=1G", 1ull << 30},          {"64G", 64ull << 30},
        {"0x100", 256ull << 20}, {"2097152k", 2ull << 30},         {"size=16", 16ull << 20},
        {"16777216b", 16 << 20}, {"16777217b", (16 << 20) + 4096},
    };
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        good(&o, "-m", sizes[i].text);
        assert_int_equal(o.ram, sizes[i].bytes);
    }
    static const char *const nonsense[] = {"",
                                           "M",
                                           "abc",
                                           "-1",
                                           "0",
                                           "512X",
                                           "512MM",
                                           "1.5G",
                                           "65G",
                                           "99999999999999999999",
                                           "18014398509481984M",
                                           "512,512",
                                           "size=",
                                           " 512"};
    for (unsigned i = 0; i < ARRAY_LEN(nonsense); i++)
        bad("-m", nonsense[i], "-m");
    bad("-m", "512M,slots=2", "slots");
}

static void test_smp(void **state)
{
    struct options o;
    (void)state;
    good(&o, "-smp", "4");
    assert_int_equal(o.cpus, 4);
    good(&o, "-smp", "cpus=6,cores=3,threads=2");
    assert_int_equal(o.cpus, 6);
    good(&o, "-smp", "cores=2,threads=2");
    assert_int_equal(o.cpus, 4);
    bad("-smp", "0", "1 to");
    bad("-smp", "256", "1 to");
    bad("-smp", "two", "two");
    good(&o, "-smp", "8,sockets=2");
    assert_int_equal(o.topology.sockets, 2);
    assert_int_equal(o.topology.cores, 4);
    good(&o, "-smp", "2,maxcpus=12,sockets=1,dies=2,threads=2");
    assert_int_equal(o.cpus, 2);
    assert_int_equal(o.topology.dies, 2);
    assert_int_equal(o.topology.cores, 3);
    good(&o, "-smp", "8,cores=2");
    assert_int_equal(o.topology.sockets, 4);
    assert_int_equal(o.topology.threads, 1);
    good(&o, "-smp", "8,cores=2,sockets=2");
    assert_int_equal(o.topology.threads, 2);
    good(&o, "-smp", "255");
    assert_int_equal(o.topology.cores, 255);
    bad("-smp", "4,cores=3", "impossible");
    bad("-smp", "4,sockets=8", "impossible");
    bad("-smp", "sockets=100,cores=100", "1 to");
    bad("-smp", "4,maxcpus=2", "more than maxcpus");
    bad("-smp", "4,clusters=2", "no clusters");
    bad("-smp", "cpu=4", "cpu");
}

static void test_machine(void **state)
{
    struct options o;
    (void)state;
    good(&o, "-M", "pc");
    good(&o, "-machine", "pc-i440fx-7.2,accel=tcg,usb=off");
    good(&o, "-machine", "accel=interp");
    assert_true(o.exec.interp);
    good(&o, "-machine", "accel=kvm:tcg");
    assert_false(o.exec.interp);
    good(&o, "-machine", "pc,acpi=off,hpet=off");
    assert_true(o.no_acpi && o.no_hpet && !o.no_pit);
    good(&o, "-machine", "pit=off");
    assert_true(o.no_pit && !o.no_hpet);
    bad("-M", "microvm", "pc");
    bad("-M", "pc,usb=on", "usb");
    bad("-M", "pc,foo=bar", "foo");
    bad("-M", "pc,acpi=maybe", "on or off");
    bad("-M", "accel=kvm", "tcg");
}

static void test_accel(void **state)
{
    struct options o;
    (void)state;
    good(&o, "-accel", "tcg,thread=multi,tb-size=64");
    assert_int_equal(o.exec.code_size, 64ull << 20);
    good(&o, "-accel", "tcg,x-insns=1");
    assert_int_equal(o.exec.insns_max, 1);
    bad("-accel", "kvm", "tcg");
    bad("-accel", "tcg,tb-size=0", "tb-size");
    bad("-accel", "tcg,tb-size=99999", "tb-size");
    bad("-accel", "tcg,thread=some", "thread");
    bad("-accel", "tcg,foo=1", "foo");
    bad("-enable-kvm", NULL, "no hardware virtualisation");
}

static void test_device(void **state)
{
    struct options o;
    (void)state;
    good(&o, "-device", "isa-debug-exit");
    assert_true(o.debug_exit);
    good(&o, "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04");
    assert_int_equal(o.debug_exit_port, 0xf4);
    assert_int_equal(o.debug_exit_size, 4);
    assert_false(o.testdev);
    good(&o, "-device", "pc-testdev");
    assert_true(o.testdev);
    bad("-device", "pc-testdev,iobase=1", "iobase");
    bad("-device", "virtio-net-pci", "isa-debug-exit");
    bad("-device", "", "isa-debug-exit");
    bad("-device", "isa-debug-exit,iobase=0x10000", "iobase");
    bad("-device", "isa-debug-exit,iosize=3", "iosize");
    bad("-device", "isa-debug-exit,size=3", "size");
}

static void test_log(void **state)
{
    struct options o;
    (void)state;
    good(&o, "-d", "in_asm,int,nochain");
    assert_int_equal(o.log_items, LOG_IN_ASM | LOG_INT);
    assert_true(o.exec.no_links);
    bad("-d", "in_asm,nosuch", "nosuch");
    bad("-dfilter", "0x1000", "-dfilter");
    good(&o, "-dfilter", "0x1000..0x2000");
}

static void test_shape(void **state)
{
    struct options o;
    (void)state;
    good(&o, "--nographic", NULL);
    assert_true(o.nographic);
    bad("-nosuch", NULL, "-nosuch");
    bad("--", NULL, "--");
    bad("-kernel", NULL, "argument");
    bad("disk.img", NULL, "disk.img");
    bad("-", NULL, "'-'");
    bad("-cpu", "nosuch", "nosuch");
    bad("-cpu", "max,+nosuch", "nosuch");
    bad("-display", "gtk", "gtk");
    bad("-vga", "std", "std");
    bad("-rtc", "base=localtime", "base=utc");
    good(&o, "-net", "none");
}

static void test_words(void **state)
{
    struct option_word w;
    (void)state;
    const char *list = "a=b,c,,d=e=f,,g,x=";
    assert_true(option_next(&list, &w));
    assert_string_equal(w.key, "a");
    assert_string_equal(w.value, "b");
    assert_true(option_next(&list, &w));
    assert_string_equal(w.key, "c,d");
    assert_string_equal(w.value, "e=f,g");
    assert_true(option_next(&list, &w));
    assert_string_equal(w.key, "x");
    assert_string_equal(w.value, "");
    assert_false(option_next(&list, &w));
    /* longer than the room for it */
    char text[4000];
    memset(text, 'k', sizeof text);
    text[100] = text[3000] = '=';
    text[sizeof text - 1] = 0;
    list = text;
    assert_true(option_next(&list, &w));
    assert_int_equal(strlen(w.value), sizeof w.value - 1);
    assert_false(option_next(&list, &w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory), cmocka_unit_test(test_smp),    cmocka_unit_test(test_machine),
        cmocka_unit_test(test_accel),  cmocka_unit_test(test_device), cmocka_unit_test(test_log),
        cmocka_unit_test(test_shape),  cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

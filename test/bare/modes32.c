/* test/bare/modes32.c: real mode and back, virtual-8086 mode (chapter 20), 2-level and PAE paging (4.3, 4.4).
 * Sections: Intel SDM vol. 3.
 *
 * Code that runs in real and virtual-8086 mode is copied to 8000H; its data is at 9000H.
 */
#include "lib/bare.h"

#define PA(p) ((uintptr_t)(p))
enum { LOW = 0x8000, DATA = 0x9000 };
static uint8_t *const data = (uint8_t *)DATA;

/* ---- real mode
 * ------------------------------------------------------------------------------------------------------------ */

__asm__(".pushsection .text\n"
        "go_real:\n" /* through 16-bit protected code, as 9.9.2 says */
        "    pusha\n"
        "    mov %esp, saved_esp\n"
        "    sidt saved_idt\n"
        "    lidt real_idt\n"
        "    mov $0x40, %eax\n"
        "    mov %eax, %ds\n mov %eax, %es\n mov %eax, %fs\n mov %eax, %ss\n mov $0x10, %eax\n mov %eax, %gs\n"
        "    ljmp $0x38, $0x8000\n"
        "back_protected:\n"
        "    mov $0x10, %eax\n"
        "    mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n"
        "    mov saved_esp, %esp\n"
        "    lidt saved_idt\n"
        "    popa\n"
        "    ret\n"
        ".code16\n"
        "real_begin:\n"
        "    mov %cr0, %eax\n and $~1, %al\n mov %eax, %cr0\n"
        "    ljmp $0, $(0x8000 + 1f - real_begin)\n"
        "1:  xor %ax, %ax\n mov %ax, %ss\n mov $0x7000, %sp\n mov %ax, %ds\n"
        "    mov $0x900, %ax\n mov %ax, %es\n" /* ES = DATA */
        /* INT through the vector table at 0 */
        "    movw $(0x8000 + rint - real_begin), 0x60*4\n movw %cs, 0x60*4+2\n"
        "    movw $(0x8000 + rfault - real_begin), 13*4\n movw %cs, 13*4+2\n"
        "    movw $(0x8000 + rde - real_begin), 0\n movw %cs, 2\n"
        "    sti\n int $0x60\n"
        "rint_back: cli\n"
        "    mov %ax, %es:0\n"     /* 0: 1234 from the handler */
        "    pushf\n popw %es:2\n" /* 2: FLAGS after IRET */
        /* the BIOS: its timer ticks, its other vectors return */
        "    movl 0x46c, %ecx\n mov $0xfe, %al\n out %al, $0x21\n"
        "    sti\n hlt\n cli\n"
        "    mov $0xff, %al\n out %al, $0x21\n"
        "    movl 0x46c, %eax\n subl %ecx, %eax\n movl %eax, %es:24\n"
        "    int $0x1c\n"
        /* #GP: word at FFFF */
        "    mov $0xffff, %bx\n"
        "rgp: mov %es:(%bx), %ax\n"
        "rgp_next: movw %si, %es:4\n" /* 4: IP pushed */
        /* #DE: the fault's address is the DIV */
        "    mov $5, %ax\n xor %cx, %cx\n"
        "rdiv: div %cl\n"
        "    movw %si, %es:6\n"
        /* addresses above 1 MB */
        "    mov $0xffff, %ax\n mov %ax, %fs\n mov %fs:0x10, %al\n movb %al, %es:8\n" /* byte at 100000H */
        /* PUSH SP wraps nothing; far call and ret */
        "    lcall $0x800, $(rfar - real_begin)\n"
        "    mov %ax, %es:10\n"
        /* 32-bit operands and addresses by prefix */
        "    movl $0x9000, %esi\n movl $0xdeadbeef, %eax\n addr32 movl %eax, 12(%esi)\n"
        /* a limit of 4 GB, loaded in protected mode, stays in real mode (9.9.2: hidden parts are kept) */
        "    movl $0x100000, %esi\n addr32 movl %gs:(%esi), %eax\n movl %eax, %es:20\n"
        "    mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n"
        "    ljmpl $0x08, $back_protected\n"
        "rint: mov $0x1234, %ax\n pushf\n popw %es:16\n iret\n"
        "rfault: pop %si\n push $(0x8000 + rgp_next - real_begin)\n iret\n"
        "rde: pop %si\n mov $1, %cl\n push %si\n iret\n"
        "rfar: mov %cs, %ax\n lret\n"
        "real_end:\n"
        ".code32\n.popsection\n"
        ".data\nreal_idt: .word 0x3ff\n .long 0\nsaved_idt: .word 0\n .long 0\nsaved_esp: .long 0\n.text\n");
extern char real_begin[], real_end[], rgp[], rdiv[];
void go_real(void);

static uint16_t word(unsigned at)
{
    return *(volatile uint16_t *)(data + at);
}

static void real(void)
{
    memcpy((void *)LOW, real_begin, (size_t)(real_end - real_begin));
    memset(data, 0, 64);
    gdt[CODE16 / 8] = descriptor(0, 0xffff, 0x9b, 0);
    gdt[DATA16 / 8] = descriptor(0, 0xffff, 0x93, 0);
    go_real();
    CHECK("real mode: INT and IRET", word(0), 0x1234);
    CHECK("real mode: IF cleared in the handler (20.1.4)", word(16) & F_IF, 0);
    CHECK("real mode: IF restored by IRET", word(2) & F_IF, 0);
    CHECK("real mode: the BIOS counts timer ticks", *(volatile uint32_t *)(data + 24) != 0, true);
    CHECK("real mode: a word at FFFFH is #GP, its IP", word(4), LOW + (rgp - real_begin));
    CHECK("real mode: #DE's IP is the DIV", word(6), LOW + (rdiv - real_begin));
    CHECK("real mode: FFFF:0010 is 100000H (A20 on)", data[8], *(volatile uint8_t *)0x100000);
    CHECK("real mode: far CALL and RET", word(10), 0x800);
    CHECK("real mode: 32-bit operand and address", *(volatile uint32_t *)(data + 12), 0xdeadbeef);
    CHECK("real mode: a big GS loaded before stays big", *(volatile uint32_t *)(data + 20),
          *(volatile uint32_t *)0x100000);
    CHECK("back in protected mode", READ_REG(cr0) & 1, 1);
}

/* ---- virtual-8086 mode: chapter 20
 * ------------------------------------------------------------------------------------------- */

__asm__(".pushsection .text\n"
        "v86_enter:\n" /* (image of gs fs ds es ss esp eflags cs eip, in that order) */
        "    mov 4(%esp), %eax\n"
        "    pushl (%eax)\n pushl 4(%eax)\n pushl 8(%eax)\n pushl 12(%eax)\n pushl 16(%eax)\n pushl 20(%eax)\n pushl "
        "24(%eax)\n pushl 28(%eax)\n pushl 32(%eax)\n"
        "    iret\n"
        ".code16\n"
        "v_begin:\n"
        "v_int80: mov $0x55aa, %ax\n mov %ds, %bx\n int $0x80\n"
        "v_hlt: hlt\n"
        "v_cli: cli\n"
        "v_pushf: pushf\n"
        "v_in: in $0x80, %al\n"
        "v_seg: mov $0x1000, %ax\n mov %ax, %ds\n movb $0x5a, 4\n int $0x80\n"
        "v_gp: mov $0xffff, %bx\n mov (%bx), %ax\n"
        "v_lgdt: lgdt 0\n"
        "v_ud: lar %ax, %ax\n"
        "v_int3: int3\n"
        "v_iret: iret\n"
        "v_div: xor %cx, %cx\n div %cx\n"
        "v_sti: sti\n hlt\n"
        "v_pushf2: pushf\n popw %ax\n hlt\n"
        "v_popf: pushw $0x202\n popf\n hlt\n"
        "v_popf_tf: pushw $0x302\n popf\n hlt\n"
        "v_int21: int $0x21\n hlt\n"
        "v_handler: movw $0x2121, %ax\n hlt\n"
        "v_end:\n"
        ".code32\n.popsection\n");
extern char v_begin[], v_end[], v_int80[], v_hlt[], v_cli[], v_pushf[], v_in[], v_seg[], v_gp[], v_lgdt[], v_ud[],
    v_int3[], v_iret[], v_div[], v_sti[], v_pushf2[], v_popf[], v_popf_tf[], v_int21[], v_handler[];
void v86_enter(void *);
struct v86 {
    uint32_t gs, fs, ds, es, ss, esp, eflags, cs, eip;
};

static void v86(char *at, unsigned flags)
{
    struct v86 v = {0x111, 0x222, 0x333, 0x444, 0x700, 0x800, F_VM | 2 | flags, LOW >> 4, (uint32_t)(at - v_begin)};
    catch_call(v86_enter, &v);
}
#define V_AT(label) (unsigned)(label - v_begin)

static void virtual_8086(void)
{
    memcpy((void *)LOW, v_begin, (size_t)(v_end - v_begin));
    v86(v_int80, 0x3000);
    CHECK_CAUGHT("INT n in VM86 with IOPL 3, gate of DPL 3", EXIT, 0, V_AT(v_int80) + 7);
    CHECK("pushed CS, SS, ESP", caught.cs == LOW >> 4 && caught.ss == 0x700 && caught.sp == 0x800, true);
    CHECK("pushed ES, DS, FS, GS",
          caught.v_es == 0x444 && caught.v_ds == 0x333 && caught.v_fs == 0x222 && caught.v_gs == 0x111, true);
    CHECK("pushed VM", caught.flags & F_VM, F_VM);
    CHECK("segment registers are null in the handler", (caught.gs | caught.fs | caught.es | caught.ds) & 0xffff, 0);
    CHECK("DS in the task", caught.ax << 16 | (caught.bx & 0xffff), 0x55aau << 16 | 0x333);
    v86(v_int80, 0);
    CHECK_CAUGHT("#GP: INT n with IOPL 0 (20.2.7)", GP, 0, V_AT(v_int80) + 5);
    v86(v_hlt, 0x3000);
    CHECK_CAUGHT("#GP: HLT", GP, 0, V_AT(v_hlt));
    v86(v_cli, 0);
    CHECK_CAUGHT("#GP: CLI with IOPL 0", GP, 0, V_AT(v_cli));
    v86(v_cli, 0x3000);
    CHECK("CLI with IOPL 3 goes on", caught.ip != V_AT(v_cli), true);
    v86(v_pushf, 0);
    CHECK_CAUGHT("#GP: PUSHF with IOPL 0", GP, 0, V_AT(v_pushf));
    v86(v_iret, 0);
    CHECK_CAUGHT("#GP: IRET with IOPL 0", GP, 0, V_AT(v_iret));
    v86(v_in, 0x3000);
    CHECK_CAUGHT("#GP: IN by the bitmap, whatever IOPL (20.2.8.1)", GP, 0, V_AT(v_in));
    tss32.bitmap[0x80 / 8] = 0xfe;
    v86(v_in, 0);
    CHECK("IN that the bitmap allows", caught.ip != V_AT(v_in), true);
    tss32.bitmap[0x80 / 8] = 0xff;
    v86(v_seg, 0x3000);
    CHECK("segment * 16", *(volatile uint8_t *)0x10004, 0x5a);
    v86(v_gp, 0);
    CHECK_CAUGHT("#GP: word at FFFFH", GP, 0, V_AT(v_gp) + 3);
    v86(v_lgdt, 0x3000);
    CHECK_CAUGHT("#GP: LGDT", GP, 0, V_AT(v_lgdt));
    v86(v_ud, 0);
    CHECK_CAUGHT("#UD: LAR", UD, 0, V_AT(v_ud));
    v86(v_int3, 0);
    CHECK_CAUGHT("INT3 with IOPL 0: no #GP (20.3.3)", BP, 0, V_AT(v_int3) + 1);
    v86(v_div, 0);
    CHECK_CAUGHT("#DE", DE, 0, V_AT(v_div) + 2);
    CHECK("VM86 runs at CPL 3", caught.flags & F_VM, F_VM);
}

/* ---- 2-level paging: 4.3
 * --------------------------------------------------------------------------------------------------------- */

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PS = 128, G = 256 };
static uint32_t pd[1024] __attribute__((aligned(4096))), pt[1024] __attribute__((aligned(4096)));
static uint64_t pae_pdpt[4] __attribute__((aligned(32))), pae_pd[4][512] __attribute__((aligned(4096))),
    pae_pt[512] __attribute__((aligned(4096)));
static uint8_t page[4096] __attribute__((aligned(4096)));
#define T 0x40000000u /* where the pages under test are */

CODE(load, "mov 4(%esp), %ecx\n" AT(load) "mov (%ecx), %eax")
CODE(store, "mov 4(%esp), %ecx\n" AT(store) "movl $1, (%ecx)")
CODE(call_it, "mov 4(%esp), %ecx\njmp *%ecx")
CODE(load_cr3, "mov 4(%esp), %ecx\n" AT(load_cr3) "mov %ecx, %cr3")
CODE(cr4_pae_toggle, "mov %cr4, %ecx\nxor $0x20, %ecx\nmov %ecx, %cr4")

static void paging_on(uintptr_t cr3, uintptr_t cr4)
{
    WRITE_REG(cr4, (READ_REG(cr4) & ~(uintptr_t)(CR4_PAE | CR4_PSE)) | cr4);
    WRITE_REG(cr3, cr3);
    WRITE_REG(cr0, READ_REG(cr0) | CR0_PG);
}

static void paging_off(void)
{
    WRITE_REG(cr0, READ_REG(cr0) & ~(uintptr_t)CR0_PG);
}

static void common_faults(const char *what, void (*set)(unsigned leaf, unsigned upper))
{
    unsigned wrong = 0;
    for (unsigned n = 0; n < 128; n++) { /* leaf P W U, upper W U, WP, CPL */
        unsigned leaf = n & 7, upper = P | (n & 8 ? W : 0) | (n & 16 ? U : 0);
        bool wp = n & 32, user = n & 64;
        set(leaf, upper);
        WRITE_REG(cr0, wp ? READ_REG(cr0) | CR0_WP : READ_REG(cr0) & ~(uintptr_t)CR0_WP);
        for (unsigned write = 0; write < 2; write++) {
            bool w = leaf & upper & W, u = leaf & upper & U;
            unsigned code = (write ? 2 : 0) | (user ? 4 : 0);
            int wanted = !(leaf & P) ? (int)code : (user && !u) || (write && !w && (user || wp)) ? (int)code | 1 : -1;
            (user ? catch_user : catch_call)(write ? store : load, (void *)T);
            int got = caught.vector == NONE || caught.vector == EXIT ? -1
                      : caught.vector == PF                          ? (int)caught.error
                                                                     : -2;
            if (got != wanted && ++wrong < 5)
                put("%s: leaf %u upper %u WP %u user %u write %u: got %x wanted %x\n", what, leaf, upper, wp, user,
                    write, (uint64_t)(unsigned)got, (uint64_t)(unsigned)wanted);
        }
    }
    CHECK(what, wrong, 0);
}

static void set32(unsigned leaf, unsigned upper)
{
    pd[T >> 22] = PA(pt) | upper;
    pt[0] = PA(page) | leaf;
    WRITE_REG(cr3, READ_REG(cr3));
}

static void two_level(void)
{
    for (unsigned n = 0; n < 1024; n++)
        pd[n] = n << 22 | P | W | U | PS;
    paging_on(PA(pd), CR4_PSE);
    common_faults("2-level paging: rights and error codes", set32);
    set32(P | W | U, P | W | U);
    *(volatile uint32_t *)page = 0x1234;
    CHECK("2-level: 4 KB page", *(volatile uint32_t *)T, 0x1234);
    CHECK("2-level: A in both, no D", (pd[T >> 22] & A) && (pt[0] & (A | D)) == A, true);
    *(volatile uint32_t *)T = 5;
    CHECK("2-level: D", (pt[0] & D) && *(volatile uint32_t *)page == 5, true);
    pd[T >> 22] = (PA(page) & 0xffc00000) | P | W | U | PS;
    WRITE_REG(cr3, READ_REG(cr3));
    CHECK("2-level: 4 MB page", *(volatile uint32_t *)(T + (PA(page) & 0x3fffff)), 5);
    pd[T >> 22] |= 1 << 21;
    WRITE_REG(cr3, READ_REG(cr3));
    catch_call(load, (void *)T);
    CHECK_CAUGHT("2-level: bit 21 of a 4 MB page is reserved (table 4-4)", PF, 9, load_at);
    pd[T >> 22] = 0;
    WRITE_REG(cr3, READ_REG(cr3));
    catch_call(call_it, (void *)T);
    CHECK_CAUGHT("2-level: fetch: no I/D bit", PF, 0, T);
    CHECK("2-level: CR2", caught_cr2, T);
    pd[T >> 22] = PA(pt) | P | W;
    pt[0] = PA(page) | P | W;
    pt[1] = 0;
    WRITE_REG(cr3, READ_REG(cr3));
    catch_call(store, (void *)(T + 4094));
    CHECK_CAUGHT("2-level: store across into a missing page", PF, 2, store_at);
    CHECK("2-level: CR2 is the second page", caught_cr2, T + 4096);
    /* INVLPG in a 4 MB page drops all of it */
    pd[T >> 22] = (PA(page) & 0xffc00000) | P | W | U | PS;
    WRITE_REG(cr3, READ_REG(cr3));
    (void)*(volatile uint32_t *)(T + 0x3000);
    (void)*(volatile uint32_t *)(T + 0x203000);
    pd[T >> 22] = 0;
    invlpg(T + 0x1000);
    catch_call(load, (void *)(T + 0x3000));
    CHECK("INVLPG drops a 4 MB page: low half", caught.vector, PF);
    catch_call(load, (void *)(T + 0x203000));
    CHECK("INVLPG drops a 4 MB page: high half", caught.vector, PF);
    paging_off();
    CHECK("paging off", *(volatile uint32_t *)page, 5);
}

/* ---- PAE: 4.4
 * --------------------------------------------------------------------------------------------------------------------- */

static void set_pae(unsigned leaf, unsigned upper)
{
    pae_pd[T >> 30][0] = PA(pae_pt) | upper;
    pae_pt[0] = PA(page) | leaf;
    WRITE_REG(cr3, READ_REG(cr3));
}

static void pae(void)
{
    for (unsigned n = 0; n < 2048; n++)
        pae_pd[n >> 9][n & 511] = (uint64_t)n << 21 | P | W | U | PS;
    for (unsigned n = 0; n < 4; n++)
        pae_pdpt[n] = PA(pae_pd[n]) | P;
    paging_on(PA(pae_pdpt), CR4_PAE);
    common_faults("PAE paging: rights and error codes", set_pae);
    set_pae(P | W | U, P | W | U);
    *(volatile uint32_t *)page = 0x4321;
    CHECK("PAE: 4 KB page", *(volatile uint32_t *)T, 0x4321);
    CHECK("PAE: A, no D", pae_pt[0] & (A | D), A);
    wrmsr(EFER, rdmsr(EFER) | 1 << 11);
    pae_pt[0] |= 1ull << 63;
    invlpg(T);
    page[0] = 0xc3;
    catch_call(call_it, (void *)T);
    CHECK_CAUGHT("PAE: NX", PF, 0x11, T);
    pae_pt[0] &= ~(1ull << 63);
    invlpg(T);
    catch_call(call_it, (void *)T);
    CHECK("PAE: executable", caught.vector, NONE);
    pae_pt[0] |= 1ull << 62;
    invlpg(T);
    catch_call(load, (void *)T);
    CHECK_CAUGHT("PAE: bit 62 is reserved (table 4-11)", PF, 9, load_at);
    pae_pt[0] &= ~(1ull << 62);
    pae_pdpt[1] |= 2; /* a reserved bit: checked when CR3 is loaded (4.4.1) */
    catch_call(load_cr3, (void *)PA(pae_pdpt));
    CHECK_CAUGHT("#GP: MOV CR3 with a reserved bit in a PDPTE", GP, 0, load_cr3_at);
    pae_pdpt[1] = 0; /* in memory only: the register holds the old one until MOV CR3 */
    invlpg(T);
    catch_call(load, (void *)T);
    CHECK("PDPTEs are registers: a change in memory waits for MOV CR3", caught.vector, NONE);
    WRITE_REG(cr3, PA(pae_pdpt));
    catch_call(load, (void *)T);
    CHECK_CAUGHT("PDPTE not present", PF, 0, load_at);
    pae_pdpt[1] = PA(pae_pd[1]) | P;
    WRITE_REG(cr3, PA(pae_pdpt));
    paging_off();
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_PAE);
}

/* ---- VME: 20.3, CR4.VME
 * --------------------------------------------------------------------------------------------------------------- */

static void vme(void)
{
    if (!(cpuid(1, 0).d >> 1 & 1)) {
        put("skip: no VME\n");
        return;
    }
    memcpy((void *)LOW, v_begin, (size_t)(v_end - v_begin));
    WRITE_REG(cr4, READ_REG(cr4) | 1);
    v86(v_cli, F_VIF);
    CHECK("VME: CLI with IOPL 0 clears VIF, goes on", caught.ip != V_AT(v_cli) && !(caught.flags & F_VIF), true);
    v86(v_sti, 0);
    CHECK_CAUGHT("VME: STI with IOPL 0 goes on", GP, 0, V_AT(v_sti) + 1);
    CHECK("VME: STI sets VIF", caught.flags & (F_VIF | F_IF), F_VIF);
    v86(v_sti, F_VIP);
    CHECK_CAUGHT("VME: STI with VIP is #GP", GP, 0, V_AT(v_sti));
    v86(v_pushf2, F_VIF);
    CHECK_CAUGHT("VME: PUSHF goes on", GP, 0, V_AT(v_pushf2) + 2);
    CHECK("VME: PUSHF: IF is VIF, IOPL is 3", caught.ax & 0x3200, 0x3200);
    v86(v_pushf2, 0);
    CHECK("VME: PUSHF: VIF = 0", caught.ax & 0x3200, 0x3000);
    v86(v_popf, 0);
    CHECK("VME: POPF puts IF into VIF", caught.flags & (F_VIF | F_IF), F_VIF);
    v86(v_popf, F_VIP);
    CHECK_CAUGHT("VME: POPF of IF with VIP is #GP", GP, 0, V_AT(v_popf) + 3);
    v86(v_popf_tf, 0);
    CHECK_CAUGHT("VME: POPF of TF is #GP", GP, 0, V_AT(v_popf_tf) + 3);
    /* 20.3.3.4: the redirection map lies under the I/O map; a clear bit: the task's own vector table */
    uint16_t map = tss32.map;
    tss32.map = 104 + 32;
    memset(tss32.bitmap, 0xff, 32);
    v86(v_int21, 0);
    CHECK_CAUGHT("VME: INT n, bit set, IOPL 0: #GP", GP, 0, V_AT(v_int21));
    tss32.bitmap[0x21 / 8] = (uint8_t) ~(1 << (0x21 % 8));
    ((volatile uint16_t *)0)[0x42] = (uint16_t)V_AT(v_handler);
    ((volatile uint16_t *)0)[0x43] = LOW >> 4;
    v86(v_int21, F_VIF);
    CHECK_CAUGHT("VME: INT n, bit clear: through 0:84H", GP, 0, V_AT(v_handler) + 3);
    CHECK("VME: the handler ran", caught.ax & 0xffff, 0x2121);
    CHECK("VME: VIF is cleared there, IF as before", caught.flags & F_VIF, 0);
    volatile uint16_t *sp = (volatile uint16_t *)(0x7000 + 0x800 - 6);
    CHECK("VME: pushed IP, CS", sp[0] == V_AT(v_int21) + 2 && sp[1] == LOW >> 4, true);
    CHECK("VME: pushed FLAGS: IF is VIF, IOPL 3", sp[2] & 0x3200, 0x3200);
    tss32.map = map;
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)1);
}

void test_main(void)
{
    real();
    virtual_8086();
    two_level();
    pae();
    vme();
}

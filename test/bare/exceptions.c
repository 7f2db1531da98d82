/* test/bare/exceptions.c: each exception of 64-bit mode: vector, error code, pushed state, and which one wins when
 * several apply. Sections are of the Intel SDM, volume 3, unless named otherwise.
 */
#include "lib/bare.h"

#define UNMAPPED     0x8000000000ull /* no PML4 entry */
#define NONCANONICAL 0x8000000000000000ull

/* ---- 6.15: the exceptions one by one --------------------------------------------------------------------------- */

CODE(de_zero, "xor %ecx, %ecx; mov $1, %eax; cdq; mov $0x1234, %r8d; stc\n" AT(de_zero) "div %ecx")
CODE(int3_insn, "int3" NEXT(int3_insn) "nop")
CODE(int3_long, "int $3" NEXT(int3_long) "nop")
CODE(int4, "int $4" NEXT(int4) "nop")
CODE(icebp, ".byte 0xf1" NEXT(icebp) "nop")
CODE(ud2, AT(ud2) "ud2")
CODE(ud1, AT(ud1) ".byte 0x0f, 0xb9, 0xc0")
CODE(ud0, AT(ud0) ".byte 0x0f, 0xff, 0xc0")
CODE(push_es, AT(push_es) ".byte 0x06")
CODE(aaa, AT(aaa) ".byte 0x37")
CODE(into64, AT(into64) ".byte 0xce")
CODE(lock_reg, AT(lock_reg) ".byte 0xf0, 0x01, 0xc0")
CODE(lock_mov, AT(lock_mov) ".byte 0xf0, 0x89, 0x07")
CODE(mov_cs, AT(mov_cs) ".byte 0x8e, 0xc8")
CODE(lea_reg, AT(lea_reg) ".byte 0x8d, 0xc0")
CODE(far_imm, AT(far_imm) ".byte 0x9a, 0, 0, 0, 0, 8, 0")
CODE(mov_cr1, AT(mov_cr1) ".byte 0x0f, 0x20, 0xc8")
CODE(long_insn, AT(long_insn) ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90")
CODE(insn15, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90")
CODE(load, AT(load) "mov (%rdi), %rax")
CODE(load_rbp, "push %rbp; mov %rdi, %rbp\n" AT(load_rbp) "mov (%rbp), %rax; pop %rbp")
CODE(store_rsp, "mov %rsp, %rax; mov %rdi, %rsp\n" AT(store_rsp) "push %rax")
CODE(jump_to, AT(jump_to) "jmp *%rdi")
CODE(call_to, "push $0x55\npop %rax\n" AT(call_to) "call *%rdi")
CODE(call_to_mem, "push %rdi\npush $0x55\nadd $8, %rsp\n" AT(call_to_mem) "call *(%rsp)")
CODE(ret_to, "push %rdi\n" AT(ret_to) "ret")
CODE(fetch_next, "mov %rdi, %rax; jmp *%rax")
CODE(movaps_mem, AT(movaps_mem) "movaps (%rdi), %xmm0")
CODE(load_ds, "mov %edi, %eax\n" AT(load_ds) "mov %eax, %ds")
CODE(load_ss, "mov %edi, %eax\n" AT(load_ss) "mov %eax, %ss\nnop")
CODE(load_fs, "mov %edi, %eax\n" AT(load_fs) "mov %eax, %fs")
CODE(int50, AT(int50) "int $0x50" NEXT(int50))
CODE(intff, AT(intff) "int $0xff")
CODE(hlt_insn, AT(hlt_insn) "hlt")
CODE(cli_insn, AT(cli_insn) "cli")
CODE(sti_insn, AT(sti_insn) "sti")
CODE(in_insn, AT(in_insn) "in $0x80, %al")
CODE(outs_insn, "mov $0x80, %edx\n" AT(outs_insn) "outsb")
CODE(rdmsr_insn, "mov $0xc0000080, %ecx\n" AT(rdmsr_insn) "rdmsr")
CODE(rdmsr_bad, "mov $0x12345678, %ecx\n" AT(rdmsr_bad) "rdmsr")
CODE(wrmsr_bad, "mov $0x12345678, %ecx\n" AT(wrmsr_bad) "wrmsr")
CODE(wrmsr_lstar, "mov $0xc0000082, %ecx; xor %eax, %eax; mov $0x00800000, %edx\n" AT(wrmsr_lstar) "wrmsr")
CODE(read_cr0, AT(read_cr0) "mov %cr0, %rax")
CODE(read_dr0, AT(read_dr0) "mov %dr0, %rax")
CODE(lgdt_insn, AT(lgdt_insn) "lgdt (%rdi)")
CODE(sgdt_insn, "sub $16, %rsp\n" AT(sgdt_insn) "sgdt (%rsp)\nadd $16, %rsp")
CODE(smsw_insn, AT(smsw_insn) "smsw %eax")
CODE(str_insn, AT(str_insn) "str %eax")
CODE(lldt_insn, AT(lldt_insn) "lldt %ax")
CODE(invd_insn, AT(invd_insn) "invd")
CODE(wbinvd_insn, AT(wbinvd_insn) "wbinvd")
CODE(invlpg_insn, AT(invlpg_insn) "invlpg (%rdi)")
CODE(swapgs_insn, AT(swapgs_insn) "swapgs")
CODE(sysret_insn, AT(sysret_insn) "sysretq")
CODE(clts_insn, AT(clts_insn) "clts")
CODE(rdtsc_insn, AT(rdtsc_insn) "rdtsc")
CODE(rdpmc_insn, "mov $0x100, %ecx\n" AT(rdpmc_insn) "rdpmc")
CODE(xsetbv_insn, "xor %ecx, %ecx; xor %eax, %eax; xor %edx, %edx\n" AT(xsetbv_insn) "xsetbv")
CODE(cr0_pg_off, "mov %cr0, %rax; btr $31, %rax\n" AT(cr0_pg_off) "mov %rax, %cr0")
CODE(cr0_nw, "mov %cr0, %rax; bts $29, %rax\n" AT(cr0_nw) "mov %rax, %cr0")
CODE(cr0_high, "mov %cr0, %rax; bts $32, %rax\n" AT(cr0_high) "mov %rax, %cr0")
CODE(cr4_reserved, "mov %cr4, %rax; bts $31, %rax\n" AT(cr4_reserved) "mov %rax, %cr4")
CODE(cr4_pae_off, "mov %cr4, %rax; btr $5, %rax\n" AT(cr4_pae_off) "mov %rax, %cr4")
CODE(cr3_reserved, "mov %cr3, %rax; bts $60, %rax\n" AT(cr3_reserved) "mov %rax, %cr3")
CODE(cr8_reserved, "mov $16, %eax\n" AT(cr8_reserved) "mov %rax, %cr8")
CODE(efer_lme, "mov $0xc0000080, %ecx; rdmsr; btr $8, %eax\n" AT(efer_lme) "wrmsr")
CODE(dr7_high, "mov $1, %eax; shl $32, %rax\n" AT(dr7_high) "mov %rax, %dr7")

/* Loops whose last round faults, at the first or second access after a jump; (%rdi, ...) holds pointers. */
CODE(flags_cmp,
     "lea 0x98(%rdi), %r8\n1: mov (%rdi), %rdx\n" AT(flags_cmp) "mov (%rdx), %eax\nadd $8, %rdi; cmp %r8, %rdi; jne 1b")
CODE(flags_test, "1: mov (%rdi), %rdx\n" AT(flags_test) "mov (%rdx), %eax\nadd $8, %rdi; test %rdx, %rdx; jne 1b")
CODE(flags_spoilt, "1: mov (%rdi), %rdx; add $8, %rdi; jmp 2f; nop\n2: " AT(
                       flags_spoilt) "mov (%rdx), %eax\nmov %eax, %ecx\ntest %rdx, %rdx; jne 1b")
CODE(flags_add, "mov $-19, %rcx; lea 0x98(%rdi), %rdi\n1: mov (%rdi, %rcx, 8), %rdx\n" AT(
                    flags_add) "mov (%rdx), %eax\nadd $1, %rcx; jne 1b")
CODE(flags_forward, "1: mov (%rdi), %rdx; add $8, %rdi; cmp $0, %edi; je 2f\n" AT(
                        flags_forward) "mov (%rdx), %eax\nxor %eax, %eax; jz 1b\n2:")
CODE(flags_store, "mov $19, %ecx; jmp 1f; nop\n1: mov -8(%rdi, %rcx, 8), %rdx\n" AT(
                      flags_store) "mov %ecx, (%rdx)\nsub $1, %ecx; jne 1b")

CODE(flags_popf, "lea 0x98(%rdi), %r8\n1: mov (%rdi), %rdx; push $0x45; popf; jmp 2f; nop\n2: " AT(
                     flags_popf) "mov (%rdx), %eax\nadd $8, %rdi; cmp %r8, %rdi; jne 1b")
CODE(flags_sahf, "1: mov (%rdi), %rdx; add $8, %rdi; mov $0x4500, %eax; sahf; jmp 2f; nop\n2: " AT(
                     flags_sahf) "mov (%rdx), %ecx\ncmp %r8, %rdi; jmp 1b")

/* 6.5: a fault's pushed flags are those of the last insn that set any, also if that was before a jump. */
static void pushed_flags(void)
{
    enum { ARITH = F_CF | F_PF | F_ZF | F_SF | F_OF };
    static uint32_t target[64] __attribute__((aligned(256)));
    static uint64_t list[32] __attribute__((aligned(256))); /* 19 used: the last, or first, faults */
    static const struct {
        const char *name;
        void (*fn)(void *);
        char *at;
        bool first;
        unsigned flags;
    } loops[] = {
        {"CMP", flags_cmp, flags_cmp_at, false, F_CF | F_SF},                     /* 90H - 98H = F8H */
        {"TEST of what then changes", flags_test, flags_test_at, false, 0},       /* the low byte is 4 */
        {"ADD in the block before", flags_spoilt, flags_spoilt_at, false, 0},     /* 90H + 8 = 98H */
        {"ADD", flags_add, flags_add_at, false, F_PF | F_SF},                     /* -2 + 1 = -1 */
        {"CMP before a jump forward", flags_forward, flags_forward_at, false, 0}, /* 98H - 0 */
        {"POPF", flags_popf, flags_popf_at, false, F_CF | F_PF | F_ZF},
        {"SAHF", flags_sahf, flags_sahf_at, false, F_CF | F_PF | F_ZF},
        {"SUB", flags_store, flags_store_at, true, 0}, /* 2 - 1 */
    };
    for (unsigned i = 0; i < sizeof loops / sizeof *loops; i++)
        for (unsigned user = 0; user < 2; user++) {
            for (unsigned k = 0; k < 19; k++)
                list[k] = (uintptr_t)&target[1];
            list[loops[i].first ? 0 : 18] = UNMAPPED;
            (user ? catch_user : catch_call)(loops[i].fn, list);
            CHECK_CAUGHT(loops[i].name, PF, (loops[i].first ? 2 : 0) | (user ? 4 : 0), loops[i].at);
            CHECK(loops[i].name, caught.flags & ARITH, loops[i].flags);
        }
}

static void pushed_state(void)
{
    /* 6.5: a fault's return address is the insn; 17.3.1.1: RF is set in the image of faults; 6.14.2: stack aligned to
     * 16. */
    catch_call(de_zero, NULL);
    CHECK_CAUGHT("#DE", DE, 0, de_zero_at);
    CHECK("#DE pushed CS", caught.cs, KCODE);
    CHECK("#DE pushed SS", caught.ss, KDATA);
    CHECK("#DE pushed CF and RF", caught.flags & (F_CF | F_RF | F_IF | F_TF), F_CF | F_RF);
    CHECK("#DE registers kept", caught.r8 == 0x1234 && caught.ax == 1 && caught.dx == 0, true);
    CHECK("#DE frame is aligned below the old stack", caught_at & 15, 0);
    CHECK("#DE frame lies under pushed RSP", caught.sp - caught_at - 48 < 16, true);
    catch_user(de_zero, NULL);
    CHECK_CAUGHT("#DE at CPL 3", DE, 0, de_zero_at);
    CHECK("#DE at CPL 3 pushed CS", caught.cs, USER64);
    CHECK("#DE at CPL 3 pushed SS", caught.ss, USERDS);
    CHECK("#DE at CPL 3 pushed RSP", caught.sp, (uintptr_t)user_stack_top - 64);
    CHECK("#DE at CPL 3 switches to TSS.RSP0", caught_at, (uintptr_t)kernel_stack_top - 48);

    /* 6.15, interrupts 1, 3, 4: traps, the return address is the next insn. */
    catch_call(int3_insn, NULL);
    CHECK_CAUGHT("#BP by INT3", BP, 0, int3_insn_next);
    CHECK("#BP pushed RF", caught.flags & F_RF, 0);
    catch_call(int3_long, NULL);
    CHECK_CAUGHT("#BP by INT 3", BP, 0, int3_long_next);
    catch_user(int4, NULL);
    CHECK_CAUGHT("#OF by INT 4 at CPL 3", OF, 0, int4_next);
    catch_call(icebp, NULL);
    CHECK_CAUGHT("#DB by INT1", DB, 0, icebp_next);
    catch_user(icebp, NULL);
    CHECK_CAUGHT("#DB by INT1 at CPL 3 (no DPL check: vol. 2, INT n)", DB, 0, icebp_next);
}

static void undefined(void)
{
    static const struct {
        const char *name;
        void (*fn)(void *);
        char *at;
    } list[] = {
        {"#UD: UD2", ud2, ud2_at},
        {"#UD: UD1", ud1, ud1_at},
        {"#UD: UD0", ud0, ud0_at},
        {"#UD: PUSH ES in 64-bit mode", push_es, push_es_at},
        {"#UD: AAA in 64-bit mode", aaa, aaa_at},
        {"#UD: INTO in 64-bit mode", into64, into64_at},
        {"#UD: LOCK with a register destination", lock_reg, lock_reg_at},
        {"#UD: LOCK MOV", lock_mov, lock_mov_at},
        {"#UD: MOV to CS", mov_cs, mov_cs_at},
        {"#UD: LEA of a register", lea_reg, lea_reg_at},
        {"#UD: CALL ptr16:32 in 64-bit mode", far_imm, far_imm_at},
        {"#UD: MOV from CR1", mov_cr1, mov_cr1_at},
    };
    for (unsigned n = 0; n < ARRAY_LEN(list); n++) { /* vol. 2, each insn's exceptions; 6.15, interrupt 6 */
        catch_call(list[n].fn, gdt);
        CHECK_CAUGHT(list[n].name, UD, 0, list[n].at);
    }
    CHECK("#UD pushed RF", caught.flags & F_RF, F_RF);
}

static void general_protection(void)
{
    catch_call(load, (void *)NONCANONICAL); /* vol. 1, 3.3.7.1 */
    CHECK_CAUGHT("#GP: non-canonical load", GP, 0, load_at);
    catch_call(load, (void *)0x7ffffffffff9ull); /* last byte at 0x800000000000 */
    CHECK_CAUGHT("#GP: load that ends in the non-canonical hole", GP, 0, load_at);
    catch_call(load, (void *)0x7ffffffffff8ull);
    CHECK_CAUGHT("last 8 canonical bytes: #PF", PF, 0, load_at);
    catch_call(load, (void *)0xffff7fffffffffffull);
    CHECK_CAUGHT("#GP: load that begins in the hole", GP, 0, load_at);
    catch_call(load,
               (void *)0xfffffffffffffffcull); /* 2^64 - 4: second half at 0, which is mapped; both halves canonical */
    CHECK_CAUGHT("load across 2^64: #PF of the first page", PF, 0, load_at);
    CHECK("load across 2^64: CR2", caught_cr2, 0xfffffffffffffffcull);
    catch_call(load_rbp, (void *)NONCANONICAL); /* vol. 3, 6.15, interrupt 12 */
    CHECK_CAUGHT("#SS: non-canonical load by RBP", SS, 0, load_rbp_at);
    catch_call(movaps_mem, (uint8_t *)user_stack + 8); /* vol. 2, MOVAPS */
    CHECK_CAUGHT("#GP: MOVAPS misaligned", GP, 0, movaps_mem_at);
    catch_call(long_insn, NULL); /* 6.15, interrupt 13 */
    CHECK_CAUGHT("#GP: insn of 16 bytes", GP, 0, long_insn_at);
    catch_call(insn15, NULL);
    CHECK("insn of 15 bytes runs", caught.vector, NONE);
    catch_call(jump_to, (void *)NONCANONICAL); /* vol. 2, JMP: fault of the jump, not of the fetch */
    CHECK_CAUGHT("#GP: JMP to a non-canonical address", GP, 0, jump_to_at);
    catch_user(call_to, (void *)NONCANONICAL);
    CHECK_CAUGHT("#GP: CALL to a non-canonical address", GP, 0, call_to_at);
    CHECK("#GP: CALL: RSP and what lies below it are as they were", ((uint64_t *)caught.sp)[-1], 0x55);
    catch_user(call_to_mem, (void *)0x800000000000ull);
    CHECK_CAUGHT("#GP: CALL by memory to a non-canonical address", GP, 0, call_to_mem_at);
    CHECK("#GP: CALL by memory: nothing is stored", ((uint64_t *)caught.sp)[-1], 0x55);
    catch_user(call_to, (void *)0xffff800000000000ull); /* the other half, not mapped: the call is made */
    CHECK_CAUGHT("CALL to the other half of the address space: #PF there", PF, 0x14, 0xffff800000000000ull);
    CHECK("and the return address is pushed", *(uint64_t *)caught.sp, call_to_at + 2);
    catch_call(ret_to, (void *)NONCANONICAL);
    CHECK_CAUGHT("#GP: RET to a non-canonical address", GP, 0, ret_to_at);
    catch_call(fetch_next, (void *)UNMAPPED); /* fault of the fetch; 4.7: I/D set as NXE = 1 */
    CHECK_CAUGHT("#PF: fetch from an unmapped page", PF, 0x10, UNMAPPED);
    CHECK("#PF: fetch: CR2", caught_cr2, UNMAPPED);

    static const struct {
        const char *name;
        void (*fn)(void *);
        char *at;
    } ring0[] = {
        {"#GP: RDMSR of none", rdmsr_bad, rdmsr_bad_at},
        {"#GP: WRMSR of none", wrmsr_bad, wrmsr_bad_at},
        {"#GP: WRMSR LSTAR non-canonical", wrmsr_lstar, wrmsr_lstar_at},
        {"#GP: CR0.PG off in 64-bit mode", cr0_pg_off, cr0_pg_off_at},
        {"#GP: CR0.NW without CD", cr0_nw, cr0_nw_at},
        {"#GP: CR0 bit 32", cr0_high, cr0_high_at},
        {"#GP: CR4 bit 31", cr4_reserved, cr4_reserved_at},
        {"#GP: CR4.PAE off in long mode", cr4_pae_off, cr4_pae_off_at},
        {"#GP: CR3 bit 60", cr3_reserved, cr3_reserved_at},
        {"#GP: CR8 bit 4", cr8_reserved, cr8_reserved_at},
        {"#GP: EFER.LME changed with paging", efer_lme, efer_lme_at},
        {"#GP: DR7 bit 32", dr7_high, dr7_high_at},
    };
    for (unsigned n = 0; n < ARRAY_LEN(ring0); n++) { /* vol. 2, MOV CRn, MOV DRn, WRMSR; vol. 3, 2.5 */
        catch_call(ring0[n].fn, NULL);
        CHECK_CAUGHT(ring0[n].name, GP, 0, ring0[n].at);
    }
}

static void privileged(void)
{
    static const struct {
        const char *name;
        void (*fn)(void *);
        char *at;
    } list[] = {
        {"#GP at CPL 3: HLT", hlt_insn, hlt_insn_at},          {"#GP at CPL 3: CLI", cli_insn, cli_insn_at},
        {"#GP at CPL 3: STI", sti_insn, sti_insn_at},          {"#GP at CPL 3: IN", in_insn, in_insn_at},
        {"#GP at CPL 3: OUTS", outs_insn, outs_insn_at},       {"#GP at CPL 3: RDMSR", rdmsr_insn, rdmsr_insn_at},
        {"#GP at CPL 3: MOV from CR0", read_cr0, read_cr0_at}, {"#GP at CPL 3: MOV from DR0", read_dr0, read_dr0_at},
        {"#GP at CPL 3: LGDT", lgdt_insn, lgdt_insn_at},       {"#GP at CPL 3: LLDT", lldt_insn, lldt_insn_at},
        {"#GP at CPL 3: INVD", invd_insn, invd_insn_at},       {"#GP at CPL 3: WBINVD", wbinvd_insn, wbinvd_insn_at},
        {"#GP at CPL 3: INVLPG", invlpg_insn, invlpg_insn_at}, {"#GP at CPL 3: SWAPGS", swapgs_insn, swapgs_insn_at},
        {"#GP at CPL 3: CLTS", clts_insn, clts_insn_at},
    };
    for (unsigned n = 0; n < ARRAY_LEN(list); n++) { /* 5.9 */
        catch_user(list[n].fn, NULL);
        CHECK_CAUGHT(list[n].name, GP, 0, list[n].at);
    }
    uintptr_t cr4 = READ_REG(cr4);
    catch_user(rdtsc_insn, NULL);
    CHECK("RDTSC at CPL 3 with TSD = 0", caught.vector, EXIT);
    WRITE_REG(cr4, cr4 | CR4_TSD); /* 2.5 */
    catch_user(rdtsc_insn, NULL);
    CHECK_CAUGHT("#GP at CPL 3: RDTSC with TSD", GP, 0, rdtsc_insn_at);
    catch_call(rdtsc_insn, NULL);
    CHECK("RDTSC at CPL 0 with TSD", caught.vector, NONE);
    WRITE_REG(cr4, cr4);
    catch_user(rdpmc_insn, NULL); /* PCE = 0 */
    CHECK_CAUGHT("#GP at CPL 3: RDPMC", GP, 0, rdpmc_insn_at);
    catch_user(sgdt_insn, NULL);
    CHECK("SGDT at CPL 3 without UMIP", caught.vector, EXIT);
    if (cpuid(7, 0).c & 4) {
        WRITE_REG(cr4, cr4 | CR4_UMIP); /* 2.5, 5.9.1 */
        catch_user(sgdt_insn, NULL);
        CHECK_CAUGHT("#GP at CPL 3: SGDT with UMIP", GP, 0, sgdt_insn_at);
        catch_user(smsw_insn, NULL);
        CHECK_CAUGHT("#GP at CPL 3: SMSW with UMIP", GP, 0, smsw_insn_at);
        catch_user(str_insn, NULL);
        CHECK_CAUGHT("#GP at CPL 3: STR with UMIP", GP, 0, str_insn_at);
        WRITE_REG(cr4, cr4);
    }
    catch_call(xsetbv_insn, NULL); /* vol. 2, XSETBV: #UD without OSXSAVE */
    CHECK_CAUGHT("#UD: XSETBV without OSXSAVE", UD, 0, xsetbv_insn_at);
    catch_user(sysret_insn, NULL); /* EFER.SCE = 0: #UD (vol. 2, SYSRET) */
    CHECK_CAUGHT("#UD at CPL 3: SYSRET without SCE", UD, 0, sysret_insn_at);

    /* 19.5.2: the I/O permission bitmap: a port whose bit is clear may be used; all bits of a wide access count. */
    tss64[104 + 0x80 / 8] = 0xfe;
    catch_user(in_insn, NULL);
    CHECK("IN at CPL 3 that the bitmap allows", caught.vector, EXIT);
    tss64[104 + 0x80 / 8] = 0xff;
}

/* ---- interrupts 10 to 12: segments
 * --------------------------------------------------------------------------------- */

static void selectors(void)
{
    enum { A = FREE, B = FREE + 8, C = FREE + 16, D = FREE + 24 };
    gdt[A / 8] = descriptor(0, 0xfffff, 0x13, 12); /* data, not present */
    gdt[B / 8] = descriptor(0, 0xfffff, 0x91, 12); /* read-only data */
    gdt[C / 8] = descriptor(0, 0xfffff, 0x99, 10); /* code, execute only */
    gdt[D / 8] = descriptor(0, 0xfffff, 0x89, 0);  /* a system descriptor (TSS) */
    catch_call(load_ds, (void *)A);
    CHECK_CAUGHT("#NP: DS not present", NP, A, load_ds_at);
    catch_call(load_ss, (void *)A);
    CHECK_CAUGHT("#SS: SS not present", SS, A, load_ss_at);
    catch_call(load_ss, (void *)B);
    CHECK_CAUGHT("#GP: SS read-only", GP, B, load_ss_at);
    catch_call(load_ss, (void *)0);
    CHECK("null SS at CPL 0 in 64-bit mode", caught.vector, NONE);
    catch_call(load_ss, (void *)3);
    CHECK_CAUGHT("#GP: null SS with RPL 3 at CPL 0", GP, 0, load_ss_at);
    catch_user(load_ss, (void *)3);
    CHECK_CAUGHT("#GP at CPL 3: null SS", GP, 0, load_ss_at);
    catch_call(load_ss, (void *)USERDS);
    CHECK_CAUGHT("#GP: SS of another privilege", GP, USERDS & ~3u, load_ss_at);
    catch_call(load_ds, (void *)C);
    CHECK_CAUGHT("#GP: DS execute-only", GP, C, load_ds_at);
    catch_call(load_fs, (void *)D);
    CHECK_CAUGHT("#GP: FS system descriptor", GP, D, load_fs_at);
    catch_call(load_fs, (void *)(GDT_ENTRIES * 8));
    CHECK_CAUGHT("#GP: FS beyond the GDT", GP, GDT_ENTRIES * 8, load_fs_at);
    __asm__ volatile("lldt %w0" : : "r"(0)); /* reset leaves one of 64 KB at 0 (table 10-1) */
    catch_call(load_fs, (void *)(GDT_ENTRIES * 8 | 7));
    CHECK_CAUGHT("#GP: FS in an LDT that is not there", GP, GDT_ENTRIES * 8 | 4, load_fs_at);
    catch_user(load_ds, (void *)KDATA);
    CHECK_CAUGHT("#GP at CPL 3: DS of DPL 0", GP, KDATA, load_ds_at);
    catch_call(load_ds, (void *)3);
    CHECK("null DS with RPL 3", caught.vector, NONE);
    gdt[A / 8] = descriptor(0, 0xfffff, 0x92, 12); /* data, not accessed */
    catch_call(load_ds, (void *)A);
    CHECK("accessed bit is set (3.4.5.1)", gdt[A / 8] >> 40 & 0xff, 0x93);
    catch_call(store_rsp, (void *)NONCANONICAL); /* #SS, whose delivery is #SS again on that stack: #DF by IST */
    CHECK_CAUGHT("#DF: PUSH on a non-canonical stack", DF, 0, store_rsp_at);
    catch_call(store_rsp, (void *)UNMAPPED);
    CHECK_CAUGHT("#DF: PUSH on an unmapped stack", DF, 0, store_rsp_at);
    CHECK("#DF: CR2 is of the delivery", caught_cr2 >= UNMAPPED - 64 && caught_cr2 < UNMAPPED, true);
    CHECK("#DF: pushed RSP", caught.sp, UNMAPPED);
    CHECK("#DF: on its IST stack", caught_at, (uintptr_t)catch_stack_top - 48);
}

/* ---- 6.12, 6.13, 6.15 (interrupt 8): gates, EXT and IDT bits, double faults
 * ---------------------------------------- */

static void tr_reload(unsigned limit)
{
    gdt[TSS / 8] = descriptor((uint32_t)(uintptr_t)tss64, limit, 0x89, 0);
    __asm__ volatile("ltr %w0" : : "r"(TSS));
}

static void gates(void)
{
    uint64_t ud = idt[UD][0], gp = idt[GP][0], pf = idt[PF][0], i50 = idt[0x50][0], bp = idt[BP][0];
    catch_user(int50, NULL);
    CHECK_CAUGHT("#GP at CPL 3: INT n through a gate of DPL 0", GP, 0x50 * 8 + 2, int50_at);
    catch_call(int50, NULL);
    CHECK_CAUGHT("INT n", 0x50, 0, int50_next);
    idt[0x50][0] = i50 & ~(1ull << 47);
    catch_call(int50, NULL);
    CHECK_CAUGHT("#NP: INT n, gate not present: IDT bit, no EXT", NP, 0x50 * 8 + 2, int50_at);
    idt[0x50][0] = (i50 & ~(31ull << 40)) | 5ull << 40;
    catch_call(int50, NULL);
    CHECK_CAUGHT("#GP: INT n, task gate in long mode", GP, 0x50 * 8 + 2, int50_at);
    idt[0x50][0] = (i50 & ~0xffff0000ull) | KDATA << 16;
    catch_call(int50, NULL);
    CHECK_CAUGHT("#GP: INT n, gate to a data segment", GP, KDATA, int50_at);
    idt[0x50][0] = (i50 & ~0xffff0000ull) | KCODE32 << 16;
    catch_call(int50, NULL);
    CHECK_CAUGHT("#GP: INT n, gate to 32-bit code", GP, KCODE32, int50_at);
    idt[0x50][0] = i50 & ~0xffff0000ull;
    catch_call(int50, NULL);
    CHECK_CAUGHT("#GP: INT n, gate with a null selector", GP, 0, int50_at);
    idt[0x50][0] = i50;
    uint64_t high = idt[0x50][1];
    idt[0x50][1] = 0x8000;
    catch_call(int50, NULL);
    CHECK_CAUGHT("#GP: INT n, gate to a non-canonical address", GP, 0, int50_at);
    idt[0x50][1] = high;

    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) p = {255 * 16 - 1, (uintptr_t)idt};
    __asm__ volatile("lidt %0" : : "m"(p));
    catch_call(intff, NULL);
    CHECK_CAUGHT("#GP: INT n beyond the IDT", GP, 0xff * 8 + 2, intff_at);
    p.limit = 4095;
    __asm__ volatile("lidt %0" : : "m"(p));

    idt[UD][0] = ud & ~(1ull << 47); /* benign, then contributory: the second is delivered, EXT set */
    catch_call(ud2, NULL);
    CHECK_CAUGHT("#NP while delivering #UD: EXT and IDT bits", NP, UD * 8 + 3, ud2_at);
    idt[UD][0] = ud;
    idt[BP][0] = bp & ~(1ull << 47);
    catch_call(int3_insn, NULL); /* INT3 is a software interrupt: no EXT; return address is the INT3 */
    CHECK_CAUGHT("#NP while delivering INT3: no EXT", NP, BP * 8 + 2, int3_insn);
    idt[BP][0] = bp;
    idt[GP][0] = gp & ~(1ull << 47);
    catch_call(load, (void *)NONCANONICAL);
    CHECK_CAUGHT("#DF: #NP while delivering #GP", DF, 0, load_at);
    idt[GP][0] = gp;
    idt[PF][0] = pf & ~(1ull << 47);
    catch_call(load, (void *)UNMAPPED);
    CHECK_CAUGHT("#DF: #NP while delivering #PF", DF, 0, load_at);
    idt[PF][0] = pf;

    tr_reload(11); /* RSP0 ends at byte 11; 12 bytes are enough, 11 are not */
    catch_user(ud2, NULL);
    CHECK_CAUGHT("TSS just long enough for RSP0", UD, 0, ud2_at);
    tr_reload(67 + 24); /* with IST7 for #DF */
    catch_user(ud2, NULL);
    CHECK_CAUGHT("TSS with IST, without I/O map", UD, 0, ud2_at);
    uint64_t sp = NONCANONICAL, old;
    memcpy(&old, tss64 + 4, 8);
    memcpy(tss64 + 4, &sp, 8);
    tr_reload(sizeof tss64 - 1);
    catch_user(ud2, NULL); /* #SS(0) while delivering #UD: delivered on the same stack: contributory again: #DF */
    CHECK_CAUGHT("#DF: RSP0 non-canonical", DF, 0, ud2_at);
    memcpy(tss64 + 4, &old, 8);
    idt[TS][0] |= 7ull << 32;
    idt[UD][0] = ud | 1ull << 32; /* IST1 lies beyond a TSS of 36 bytes */
    tr_reload(35);
    idt[TS][0] &= ~(7ull << 32);
    catch_call(ud2, NULL);
    CHECK_CAUGHT("#TS: IST beyond the TSS's limit", TS, TSS + 1, ud2_at);
    idt[UD][0] = ud;
    tr_reload(sizeof tss64 - 1);
}

/* ---- interrupt 7, 16, 19: x87 and SSE
 * ------------------------------------------------------------------------------ */

CODE(fld1_insn, AT(fld1_insn) "fld1")
CODE(fwait_insn, AT(fwait_insn) "fwait")
CODE(fninit_insn, AT(fninit_insn) "fninit")
CODE(sse_reg, AT(sse_reg) "addps %xmm0, %xmm0")
CODE(sse_mem, AT(sse_mem) "addps (%rdi), %xmm0")
CODE(mmx_reg, AT(mmx_reg) "paddb %mm0, %mm0")
CODE(lfence_insn, "lfence; sfence; mfence")
CODE(x87_div, "fninit; pushq $0x37b; fldcw (%rsp); pop %rax; fld1; fldz; fdivrp\nfnstsw %ax\n" AT(x87_div) "fwait")
CODE(x87_div_fnstsw, "fninit; pushq $0x37b; fldcw (%rsp); pop %rax; fld1; fldz; fdivrp; fnstsw %ax; fnclex; fwait")
CODE(sse_divide, "xorps %xmm0, %xmm0\npushq $0x1f00\nldmxcsr (%rsp)\npop %rax\n" AT(sse_divide) "divps %xmm0, %xmm0")
CODE(sse_flag, "pushq $0x1f81\nldmxcsr (%rsp)\nmovq $0x1f01, (%rsp)\nldmxcsr (%rsp)\npop %rax\nxorps %xmm0, "
               "%xmm0\naddps %xmm0, %xmm0")
CODE(mxcsr_reserved, "pushq $0x11f80\n" AT(mxcsr_reserved) "ldmxcsr (%rsp)\npop %rax")
CODE(mxcsr_restore, "pushq $0x1f80\nldmxcsr (%rsp)\npop %rax\nfninit")

static void floating(void)
{
    uintptr_t cr0 = READ_REG(cr0), cr4 = READ_REG(cr4);
    struct {
        const char *name;
        uintptr_t set, clear;
        void (*fn)(void *);
        unsigned vector;
        char *at;
    } list[] = {
        /* vol. 3, table 2-2 and 13.1, 2.5 (EM, MP, TS) */
        {"#NM: x87 with TS", CR0_TS, 0, fld1_insn, NM, fld1_insn_at},
        {"#NM: FNINIT with TS", CR0_TS, 0, fninit_insn, NM, fninit_insn_at},
        {"#NM: x87 with EM", CR0_EM, 0, fld1_insn, NM, fld1_insn_at},
        {"#NM: WAIT with TS and MP", CR0_TS | CR0_MP, 0, fwait_insn, NM, fwait_insn_at},
        {"WAIT with TS without MP", CR0_TS, CR0_MP, fwait_insn, NONE, NULL},
        {"#NM: SSE with TS", CR0_TS, 0, sse_reg, NM, sse_reg_at},
        {"#UD: SSE with EM", CR0_EM, 0, sse_reg, UD, sse_reg_at},
        {"#UD: SSE with EM and TS", CR0_EM | CR0_TS, 0, sse_reg, UD, sse_reg_at},
        {"#NM: MMX with TS", CR0_TS, 0, mmx_reg, NM, mmx_reg_at},
        {"#UD: MMX with EM", CR0_EM, 0, mmx_reg, UD, mmx_reg_at},
        {"fences with TS", CR0_TS, 0, lfence_insn, NONE, NULL},
        /* 6.9, table 6-2: what decoding finds comes before what executing finds */
        {"#NM before #PF", CR0_TS, 0, sse_mem, NM, sse_mem_at},
    };
    for (unsigned n = 0; n < ARRAY_LEN(list); n++) {
        WRITE_REG(cr0, (cr0 | list[n].set) & ~list[n].clear);
        catch_call(list[n].fn, (void *)UNMAPPED);
        WRITE_REG(cr0, cr0);
        if (list[n].vector == NONE)
            CHECK(list[n].name, caught.vector, NONE);
        else
            CHECK_CAUGHT(list[n].name, list[n].vector, 0, list[n].at);
    }
    WRITE_REG(cr4, cr4 & ~CR4_OSFXSR); /* 2.5: OSFXSR */
    catch_call(sse_reg, NULL);
    CHECK_CAUGHT("#UD: SSE without OSFXSR", UD, 0, sse_reg_at);
    WRITE_REG(cr4, cr4);
    catch_call(x87_div, NULL); /* 6.15, interrupt 16: at the next waiting insn */
    CHECK_CAUGHT("#MF at WAIT after 1/0", MF, 0, x87_div_at);
    CHECK("#MF: ZE, ES and B in the status word", caught.ax & 0x80ff, 0x8084);
    catch_call(x87_div_fnstsw, NULL);
    CHECK("FNSTSW and FNCLEX do not wait", caught.vector, NONE);
    catch_call(mxcsr_restore, NULL);
    catch_call(sse_divide, NULL); /* 6.15, interrupt 19 */
    CHECK_CAUGHT("#XM: 0/0", XM, 0, sse_divide_at);
    uint32_t mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    CHECK("#XM: IE is set in MXCSR", mxcsr, 0x1f01);
    WRITE_REG(cr4, cr4 & ~CR4_OSXMMEXCPT);
    catch_call(mxcsr_restore, NULL);
    catch_call(sse_divide, NULL);
    CHECK_CAUGHT("#UD: 0/0 without OSXMMEXCPT", UD, 0, sse_divide_at);
    WRITE_REG(cr4, cr4);
    catch_call(mxcsr_restore, NULL);
    catch_call(sse_flag, NULL); /* vol. 1, 10.2.3: an unmasked flag that is already set raises nothing */
    CHECK("unmasked flag set by LDMXCSR raises nothing", caught.vector, NONE);
    catch_call(mxcsr_reserved, NULL); /* vol. 2, LDMXCSR */
    CHECK_CAUGHT("#GP: LDMXCSR of reserved bits", GP, 0, mxcsr_reserved_at);
    catch_call(mxcsr_restore, NULL);
}

/* ---- interrupt 17
 * --------------------------------------------------------------------------------------------------- */

CODE(ac_load4, "pushfq; orq $0x40000, (%rsp); popfq; lea 1(%rdi), %rcx\n" AT(ac_load4) "mov (%rcx), %eax")
CODE(ac_load1,
     "pushfq; orq $0x40000, (%rsp); popfq; mov 1(%rdi), %al; mov 2(%rdi), %ax; mov 4(%rdi), %eax; mov 8(%rdi), %rax")
CODE(ac_store2, "pushfq; orq $0x40000, (%rsp); popfq\n" AT(ac_store2) "movw $1, 3(%rdi)")
CODE(ac_push, "pushfq; orq $0x40000, (%rsp); popfq; mov %rsp, %rdx; lea -1(%rsp), %rsp\n" AT(
                  ac_push) "push %rax\nmov %rdx, %rsp")
CODE(ac_rmw, "pushfq; orq $0x40000, (%rsp); popfq\n" AT(ac_rmw) "lock addq $1, 4(%rdi)")
CODE(ac_movups, "pushfq; orq $0x40000, (%rsp); popfq; movups 16(%rdi), %xmm0\n" AT(ac_movups) "movups 8(%rdi), %xmm0")
CODE(ac_movsd, "pushfq; orq $0x40000, (%rsp); popfq; movsd 8(%rdi), %xmm0\n" AT(ac_movsd) "movsd %xmm0, 4(%rdi)")
CODE(ac_lods, "pushfq; orq $0x40000, (%rsp); popfq; lea 2(%rdi), %rsi\n" AT(ac_lods) "lodsl")

static void alignment(void)
{
    static uint64_t data[4] __attribute__((aligned(32)));
    uintptr_t cr0 = READ_REG(cr0);
    catch_user(ac_load4, data);
    CHECK("misaligned load at CPL 3 with AC, without AM", caught.vector, EXIT);
    WRITE_REG(cr0, cr0 | CR0_AM);
    catch_user(ac_load4, data);
    CHECK_CAUGHT("#AC: load of 4", AC, 0, ac_load4_at);
    catch_user(ac_load4, data); /* the table entry is there now, the check stays */
    CHECK_CAUGHT("#AC: load of 4 again", AC, 0, ac_load4_at);
    catch_user(ac_load1, data);
    CHECK("aligned loads with AC", caught.vector, EXIT);
    catch_user(ac_store2, data);
    CHECK_CAUGHT("#AC: store of 2", AC, 0, ac_store2_at);
    CHECK("#AC: nothing stored", data[0], 0);
    catch_user(ac_push, data);
    CHECK_CAUGHT("#AC: PUSH", AC, 0, ac_push_at);
    catch_user(ac_rmw, data);
    CHECK_CAUGHT("#AC: LOCK ADD", AC, 0, ac_rmw_at);
    catch_user(ac_lods, data);
    CHECK_CAUGHT("#AC: LODS", AC, 0, ac_lods_at);
    catch_user(ac_movups, data); /* 16 bytes: as the processors at hand have it */
    CHECK_CAUGHT("#AC: MOVUPS", AC, 0, ac_movups_at);
    catch_user(ac_movsd, data);
    CHECK_CAUGHT("#AC: MOVSD", AC, 0, ac_movsd_at);
    catch_call(ac_load4, data);
    CHECK("misaligned load at CPL 0 with AC and AM", caught.vector, NONE);
    catch_user(load, (uint8_t *)UNMAPPED + 1);
    CHECK("misaligned load at CPL 3 without AC: #PF", caught.vector, PF);
    WRITE_REG(cr0, cr0);
}

/* ---- 6.9, table 6-2: several at once
 * ----------------------------------------------------------------------------------- */

CODE(lock_hlt, AT(lock_hlt) ".byte 0xf0, 0xf4")
CODE(lock_bad_mem, AT(lock_bad_mem) ".byte 0xf0, 0x8b, 0x07")
CODE(div_mem, "xor %eax, %eax; xor %edx, %edx\n" AT(div_mem) "divl (%rdi)")
CODE(movaps_unmapped, AT(movaps_unmapped) "movaps 8(%rdi), %xmm0")

static void priorities(void)
{
    catch_user(lock_hlt, NULL);
    CHECK_CAUGHT("#UD before #GP: LOCK HLT at CPL 3", UD, 0, lock_hlt_at);
    catch_call(lock_bad_mem, (void *)UNMAPPED);
    CHECK_CAUGHT("#UD before #PF: LOCK MOV", UD, 0, lock_bad_mem_at);
    catch_call(div_mem, (void *)UNMAPPED);
    CHECK_CAUGHT("#PF of the operand before #DE", PF, 0, div_mem_at);
    catch_call(movaps_unmapped, (void *)UNMAPPED);
    CHECK_CAUGHT("#GP of alignment before #PF", GP, 0, movaps_unmapped_at);
}

void test_main(void)
{
    pushed_state();
    pushed_flags();
    undefined();
    general_protection();
    privileged();
    selectors();
    gates();
    floating();
    alignment();
    priorities();
}

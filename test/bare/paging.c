/* test/bare/paging.c: 4-level paging: rights in all combinations against a model of vol. 3, 4.6, error codes (4.7), A
 * and D (4.8), large pages, reserved bits, invalidation (4.10), PCID, protection keys.
 *
 *      PML4[0]   all of the first 4 GB, for the supervisor only: this code
 *      PML4[1]   the pages under test, at T
 *      PML4[2]   the first 4 GB again, for users: where CPL 3 runs (ALIAS)
 *      PML4[511] one page at the very end
 */
#include "lib/bare.h"

enum { P = 1, W = 2, U = 4, PWT = 8, PCD = 16, A = 32, D = 64, PS = 128, G = 256 };
#define NX    (1ull << 63)
#define T     0x8000000000ull
#define ALIAS 0x10000000000ull
#define LAST  0xfffffffffffff000ull
enum { E_P = 1, E_W = 2, E_U = 4, E_RSVD = 8, E_I = 16, E_PK = 32 };

extern uint64_t pml4[512], pdpt[512];
static uint64_t pdpt1[512] __attribute__((aligned(4096))), pd1[512] __attribute__((aligned(4096))),
    pt1[512] __attribute__((aligned(4096)));
static uint64_t pdpt2[512] __attribute__((aligned(4096))), pd2[512] __attribute__((aligned(4096))),
    pt2[512] __attribute__((aligned(4096)));
static uint64_t pml4_b[512] __attribute__((aligned(4096)));
static uint8_t page_a[4096] __attribute__((aligned(4096))), page_b[4096] __attribute__((aligned(4096))),
    page_c[4096] __attribute__((aligned(4096)));

#define PA(p) ((uint64_t)(uintptr_t)(p))

static void flush(void)
{
    WRITE_REG(cr3, READ_REG(cr3));
}

/* ---- rights
 * ------------------------------------------------------------------------------------------------------------ */

CODE(do_read, AT(do_read) "mov (%rdi), %al")
CODE(do_write, AT(do_write) "mov %al, (%rdi)")
CODE(do_fetch, "jmp *%rdi")
CODE(do_read_ac, "pushfq; orq $0x40000, (%rsp); popfq\n" AT(do_read_ac) "mov (%rdi), %al")
CODE(do_write_ac, "pushfq; orq $0x40000, (%rsp); popfq\n" AT(do_write_ac) "mov %al, (%rdi)")
CODE(do_fetch_ac, "pushfq; orq $0x40000, (%rsp); popfq; jmp *%rdi")
CODE(user_end, "int $0x80")

static bool user_run(void (*fn)(void *), void *arg)
{
    uint64_t *sp = (uint64_t *)user_stack_top - 8;
    *sp = PA(user_end) + ALIAS;
    return catch_user_at((void (*)(void *))(PA(fn) + ALIAS), arg, PA(sp) + ALIAS);
}

enum { READ, WRITE, FETCH };
struct situation {
    bool p, w, u, nx, w2, u2, nx2, wp, smep, smap, ac, user;
    unsigned access;
    unsigned pkru; /* bits AD, WD of the page's key; 0 without PKE */
    unsigned pkrs; /* the same, for supervisor pages; 0 without PKS */
};

/* Vol. 3, 4.6.1, 4.6.2, 4.7.  -1: allowed, else the error code.  EFER.NXE is 1. */
static int model(const struct situation *s)
{
    bool user_page = s->u && s->u2, writable = s->w && s->w2, execute = !s->nx && !s->nx2;
    bool ok, key = false;
    int error = (s->access == WRITE ? E_W : 0) | (s->user ? E_U : 0) | (s->access == FETCH ? E_I : 0);
    if (!s->p)
        return error;
    if (s->access == FETCH) {
        ok = execute && (s->user ? user_page : !(user_page && s->smep));
        return ok ? -1 : error | E_P;
    }
    if (s->user)
        ok = user_page && (s->access == READ || writable);
    else
        ok = !(user_page && s->smap && !s->ac) && (s->access == READ || writable || !s->wp);
    unsigned rights = user_page ? s->pkru : s->pkrs;
    key = rights & 1 || (s->access == WRITE && rights & 2 && (s->user || s->wp));
    if (!ok)
        return error | E_P | (key ? E_PK : 0);
    return key ? error | E_P | E_PK : -1;
}

static void situation_set(const struct situation *s)
{
    uintptr_t cr4 = READ_REG(cr4) & ~(uintptr_t)(CR4_SMEP | CR4_SMAP);
    WRITE_REG(cr0, s->wp ? READ_REG(cr0) | CR0_WP : READ_REG(cr0) & ~(uintptr_t)CR0_WP);
    WRITE_REG(cr4, cr4 | (s->smep ? CR4_SMEP : 0) | (s->smap ? CR4_SMAP : 0));
}

static int situation_try(const struct situation *s)
{
    static void (*const fn[])(void *) = {do_read, do_write, do_fetch, do_read_ac, do_write_ac, do_fetch_ac};
    pd1[0] = PA(pt1) | P | (s->w2 ? W : 0) | (s->u2 ? U : 0) | (s->nx2 ? NX : 0);
    pt1[0] = PA(page_a) | (s->p ? P : 0) | (s->w ? W : 0) | (s->u ? U : 0) | (s->nx ? NX : 0);
    invlpg(T);
    void (*f)(void *) = fn[s->access + (s->ac ? 3 : 0)];
    if (s->user)
        user_run(f, (void *)T);
    else
        catch_call(f, (void *)T);
    if (caught.vector == NONE || caught.vector == EXIT)
        return -1;
    return caught.vector == PF && caught_cr2 == T ? (int)caught.error : -2;
}

static void rights(void)
{
    unsigned wrong = 0, wrong_ad = 0, total = 0;
    page_a[0] = 0xcd; /* int $0x80: ends a fetch at either CPL */
    page_a[1] = 0x80;
    bool have = cpuid(7, 0).b >> 20 & 1;
    for (unsigned control = 0; control < (have ? 8 : 2); control++) {
        struct situation s = {.wp = control & 1, .smep = control & 2, .smap = control & 4};
        situation_set(&s);
        for (unsigned n = 0; n < 1 << 9; n++) {
            s.p = n & 1, s.w = n & 2, s.u = n & 4, s.nx = n & 8, s.w2 = n & 16, s.u2 = n & 32, s.nx2 = n & 64,
            s.ac = n & 128, s.user = n & 256;
            for (s.access = READ; s.access <= FETCH; s.access++) {
                page_a[0] = 0xcd;
                int wanted = model(&s), got = situation_try(&s);
                total++;
                if (got != wanted && ++wrong <= 8)
                    put("leaf P%u W%u U%u NX%u upper W%u U%u NX%u WP%u SMEP%u SMAP%u AC%u user%u access %u: got %x "
                        "wanted %x\n",
                        s.p, s.w, s.u, s.nx, s.w2, s.u2, s.nx2, s.wp, s.smep, s.smap, s.ac, s.user, s.access,
                        (uint64_t)(unsigned)got, (uint64_t)(unsigned)wanted);
                uint64_t ad = pt1[0] & (A | D);
                if (wanted < 0 ? ad != (s.access == WRITE ? A | D : A) : (ad & D) != 0)
                    wrong_ad++;
            }
        }
    }
    CHECK("combinations tried", total, have ? 12288 : 3072);
    CHECK("rights and error codes that differ from 4.6 and 4.7", wrong, 0);
    CHECK("A and D that differ from 4.8", wrong_ad, 0);
    struct situation plain = {.wp = true};
    situation_set(&plain);
}

static void keys(void)
{
    if (!(cpuid(7, 0).c >> 3 & 1)) {
        put("skip: no protection keys\n");
        return;
    }
    enum { PKRS = 0x6e1 };
    bool both = cpuid(7, 0).c >> 31;
    unsigned wrong = 0;
    WRITE_REG(cr4, READ_REG(cr4) | CR4_PKE | (both ? CR4_PKS : 0));
    struct situation s = {.p = true, .w2 = true, .u2 = true};
    for (unsigned n = 0; n < (both ? 256 : 64); n++) {
        s.w = n & 1, s.u = n & 2, s.wp = n & 4, s.user = n & 8, s.pkru = n >> 4 & 3, s.pkrs = n >> 6;
        situation_set(&s);
        for (s.access = READ; s.access <= FETCH; s.access++) {
            static void (*const fn[])(void *) = {do_read, do_write, do_fetch};
            page_a[0] = 0xcd;
            pd1[0] = PA(pt1) | P | W | U;
            pt1[0] = PA(page_a) | P | (s.w ? W : 0) | (s.u ? U : 0) | 5ull << 59; /* key 5 */
            invlpg(T);
            uint32_t pkru = s.pkru << 10;
            if (both)
                wrmsr(PKRS, s.pkrs << 10);
            __asm__ volatile("wrpkru"
                             :
                             : "a"(pkru), "c"(0), "d"(0)
                             : "memory"); /* no invalidation needed: 4.6.2 is per access */
            if (s.user)
                user_run(fn[s.access], (void *)T);
            else
                catch_call(fn[s.access], (void *)T);
            __asm__ volatile("wrpkru" : : "a"(0), "c"(0), "d"(0) : "memory");
            if (both)
                wrmsr(PKRS, 0);
            int got = caught.vector == NONE || caught.vector == EXIT ? -1
                      : caught.vector == PF                          ? (int)caught.error
                                                                     : -2,
                wanted = model(&s);
            if (s.user && !s.u && got >= 0) /* refused by U/S: is the key told of too? */
                got &= ~E_PK, wanted &= ~E_PK;
            if (got != wanted && ++wrong <= 8)
                put("key: W%u U%u WP%u user%u pkru %u pkrs %u access %u: got %x wanted %x\n", s.w, s.u, s.wp, s.user,
                    s.pkru, s.pkrs, s.access, (uint64_t)(unsigned)got, (uint64_t)(unsigned)wanted);
        }
    }
    CHECK("protection keys that differ from 4.6.2", wrong, 0);
    /* PKRU alone changes what a cached translation allows. */
    struct situation plain = {.wp = true};
    situation_set(&plain);
    pt1[0] = PA(page_a) | P | W | U | 5ull << 59;
    invlpg(T);
    catch_call(do_write, (void *)T);
    __asm__ volatile("wrpkru" : : "a"(2 << 10), "c"(0), "d"(0) : "memory");
    catch_call(do_write, (void *)T);
    CHECK_CAUGHT("WRPKRU takes effect on a cached translation", PF, E_P | E_W | E_PK, do_write_at);
    __asm__ volatile("wrpkru" : : "a"(0), "c"(0), "d"(0) : "memory");
    catch_call(do_write, (void *)T);
    CHECK("and again", caught.vector, NONE);
    if (both) {
        pt1[0] = PA(page_a) | P | W | 5ull << 59;
        invlpg(T);
        catch_call(do_write, (void *)T);
        wrmsr(PKRS, 2 << 10);
        catch_call(do_write, (void *)T);
        CHECK_CAUGHT("WRMSR of PKRS takes effect on a cached translation", PF, E_P | E_W | E_PK, do_write_at);
        wrmsr(PKRS, 0);
        catch_call(do_write, (void *)T);
        CHECK("and again, PKRS", caught.vector, NONE);
    }
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)(CR4_PKE | CR4_PKS));
}

/* ---- structure
 * --------------------------------------------------------------------------------------------------------------- */

static uint64_t peek(uint64_t at)
{
    return *(volatile uint64_t *)at;
}

static void reserved(void)
{
    unsigned maxphys = cpuid(0x80000008, 0).a & 255;
    pd1[0] = PA(pt1) | P | W | U;
    pt1[0] = PA(page_a) | P | W | U | (maxphys < 52 ? 1ull << 51 : 0);
    flush();
    if (maxphys < 52) {
        catch_call(do_read, (void *)T); /* 4.5, table 4-19; 4.7: P and RSVD */
        CHECK_CAUGHT("reserved: PTE bit 51", PF, E_P | E_RSVD, do_read_at);
    }
    pt1[0] = PA(page_a) | P | W | U;
    pd1[0] = (0x200000 | 1 << 13) | P | W | U | PS;
    flush();
    catch_call(do_write, (void *)T);
    CHECK_CAUGHT("reserved: bit 13 of a 2 MB page", PF, E_P | E_RSVD | E_W, do_write_at);
    user_run(do_write, (void *)T);
    CHECK("reserved: at CPL 3", caught.error, E_P | E_RSVD | E_W | E_U);
    pdpt1[0] = PA(pd1) | P | W | U;
    uint64_t old = pml4[1];
    pml4[1] = old | PS;
    flush();
    catch_call(do_read, (void *)T);
    CHECK_CAUGHT("reserved: PS in a PML4E", PF, E_P | E_RSVD, do_read_at);
    pml4[1] = old & ~(uint64_t)P;
    pml4[1] |= PS;
    flush();
    catch_call(do_read, (void *)T);
    CHECK_CAUGHT("not present: other bits do not matter", PF, 0, do_read_at);
    pml4[1] = old;
    pdpt1[0] = 0x40000000 | 1 << 20 | P | W | U | PS;
    flush();
    catch_call(do_read, (void *)T);
    CHECK_CAUGHT("reserved: bit 20 of a 1 GB page", PF, E_P | E_RSVD, do_read_at);
    pdpt1[0] = PA(pd1) | P | W | U;
    pd1[0] = PA(pt1) | P | W | U;
    pt1[0] = PA(page_a) | P | W | U | NX;
    wrmsr(EFER, rdmsr(EFER) & ~(1ull << 11)); /* NXE = 0: NX is reserved (4.5), and fetches do not say so (4.7) */
    flush();
    catch_call(do_read, (void *)T);
    CHECK_CAUGHT("reserved: NX without NXE", PF, E_P | E_RSVD, do_read_at);
    pt1[0] = 0;
    flush();
    catch_call(do_fetch, (void *)T);
    CHECK_CAUGHT("fetch without NXE and SMEP: no I/D bit", PF, 0, T);
    wrmsr(EFER, rdmsr(EFER) | 1 << 11);
    flush();
}

static void large(void)
{
    pdpt1[0] = PA(pd1) | P | W | U;
    pd1[0] = (PA(page_a) & ~0x1fffffull) | P | W | U | PS;
    flush();
    page_a[8] = 0x5a;
    uint64_t at = T + (PA(page_a) & 0x1fffff);
    CHECK("2 MB page: read", *(volatile uint8_t *)(at + 8), 0x5a);
    CHECK("2 MB page: A, no D", pd1[0] & (A | D), A);
    *(volatile uint8_t *)(at + 9) = 0x77;
    CHECK("2 MB page: write", page_a[9], 0x77);
    CHECK("2 MB page: D", pd1[0] & (A | D), A | D);
    pdpt1[0] = 0 | P | W | U | PS;
    flush();
    if (cpuid(0x80000001, 0).d >> 26 & 1) {
        CHECK("1 GB page: read", *(volatile uint8_t *)(T + PA(page_a) + 9), 0x77);
        CHECK("1 GB page: A, no D", pdpt1[0] & (A | D), A);
        *(volatile uint8_t *)(T + PA(page_a) + 10) = 0x78;
        CHECK("1 GB page: write and D", page_a[10] == 0x78 && (pdpt1[0] & D), true);
    }
    pdpt1[0] = PA(pd1) | P | W | U;
    pd1[0] = PA(pt1) | P | W | U;
    pt1[0] = PA(page_a) | P | W | U;
    pml4[1] &= ~(uint64_t)A;
    flush();
    peek(T);
    CHECK("A is set at every level (4.8)", (pml4[1] & A) && (pdpt1[0] & A) && (pd1[0] & A) && (pt1[0] & A), true);
    CHECK("no D above the page", (pml4[1] | pdpt1[0]) & D, 0);
    pt1[0] = PA(page_a) | P | W | U | A;
    flush();
    peek(T); /* a cached clean translation: the write must still set D */
    *(volatile uint8_t *)T = 1;
    CHECK("D is set by a write after a read", pt1[0] & D, D);
    pt1[0] &= ~(uint64_t)(D | A);
    invlpg(T);
    *(volatile uint8_t *)T = 1;
    CHECK("A and D cleared, INVLPG, write: set again", pt1[0] & (A | D), A | D);
}

/* ---- the end of the lower half: vol. 2, CALL, JMP, Jcc
 * ----------------------------------------------------------------------------------------------------- */

CODE(go_there, "push $0x55\npop %rax\njmp *%rdi")

static void put_code(unsigned at, const uint8_t *bytes, unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        page_c[at + k] = bytes[k];
}

static void branches_into_hole(void)
{
    static const uint8_t call[] = {0xe8, 0, 0x10, 0, 0}, jmp[] = {0xe9, 0, 0x10, 0, 0}; /* one page on */
    static const uint8_t jns[] = {0x48, 0x85, 0xff, 0x0f, 0x89, 0, 0x10, 0, 0};
    const uint64_t last = 0x7ffffffff000;
    put_code(0, call, sizeof call), put_code(64, jmp, sizeof jmp), put_code(128, jns, sizeof jns);
    pml4[255] = PA(pdpt1) | P | W;
    pdpt1[511] = PA(pd1) | P | W;
    pd1[511] = PA(pt1) | P | W;
    pt1[511] = PA(page_c) | P | W;
    flush();
    catch_call(go_there, (void *)last);
    CHECK_CAUGHT("#GP: CALL rel32 to a non-canonical address", GP, 0, last);
    CHECK("it stores nothing", ((uint64_t *)caught.sp)[-1], 0x55);
    catch_call(go_there, (void *)(last + 64));
    CHECK_CAUGHT("#GP: JMP rel32 to a non-canonical address", GP, 0, last + 64);
    catch_call(go_there, (void *)(last + 128));
    CHECK_CAUGHT("#GP: JNS rel32 to a non-canonical address", GP, 0, last + 131);
    pml4[255] = pdpt1[511] = pd1[511] = pt1[511] = 0;
    flush();
}

/* ---- invalidation: 4.10.4
 * ----------------------------------------------------------------------------------------------------- */

static void invalidation(void)
{
    *(uint64_t *)page_a = 0xaaaa;
    *(uint64_t *)page_b = 0xbbbb;
    pt1[0] = PA(page_a) | P | W | U;
    flush();
    CHECK("page a", peek(T), 0xaaaa);
    pt1[0] = PA(page_b) | P | W | U;
    invlpg(T);
    CHECK("INVLPG: page b", peek(T), 0xbbbb);
    pt1[0] = PA(page_a) | P | W | U;
    flush();
    CHECK("MOV CR3: page a", peek(T), 0xaaaa);
    pt1[0] = 0;
    invlpg(T + 4095);
    catch_call(do_read, (void *)T);
    CHECK_CAUGHT("INVLPG of another byte of the page: not present", PF, 0, do_read_at);
    pt1[0] = PA(page_b) | P | U; /* 4.10.4.3: not present to present needs no invalidation */
    CHECK("not present to present", peek(T), 0xbbbb);
    catch_call(do_write, (void *)T);
    CHECK_CAUGHT("write to a read-only page, WP", PF, E_P | E_W, do_write_at);
    pt1[0] |= W; /* 4.10.4.1: the page fault has dropped the entry */
    catch_call(do_write, (void *)T);
    CHECK("made writable by the handler, no INVLPG", caught.vector, NONE);
    pt1[0] &= ~(uint64_t)W;
    invlpg(T);
    catch_call(do_write, (void *)T);
    CHECK_CAUGHT("made read-only, INVLPG", PF, E_P | E_W, do_write_at);
    WRITE_REG(cr0,
              READ_REG(cr0) &
                  ~(uintptr_t)CR0_WP); /* 4.10.4.1 says nothing of WP; every processor acts on it at once (4.6.1) */
    catch_call(do_write, (void *)T);
    CHECK("WP = 0: supervisor writes to read-only", caught.vector, NONE);
    WRITE_REG(cr0, READ_REG(cr0) | CR0_WP);
    catch_call(do_write, (void *)T);
    CHECK_CAUGHT("WP = 1 again", PF, E_P | E_W, do_write_at);

    *(uint64_t *)page_b = 0xbbbb;
    WRITE_REG(cr4, READ_REG(cr4) | CR4_PGE);
    pt1[0] = PA(page_a) | P | W | G;
    flush();
    CHECK("global page: a", peek(T), 0xaaaa);
    pt1[0] = PA(page_b) | P | W | G;
    invlpg(T);
    CHECK("global page, INVLPG: b", peek(T), 0xbbbb);
    pt1[0] = PA(page_a) | P | W | G;
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_PGE);
    WRITE_REG(cr4, READ_REG(cr4) | CR4_PGE);
    CHECK("global page, CR4.PGE toggled: a", peek(T), 0xaaaa);
    pt1[0] = PA(page_b) | P | W;
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_PGE);
    CHECK("CR4.PGE off: b", peek(T), 0xbbbb);

    /* An upper entry changed, INVLPG of one address below it: its paging-structure caches go too. */
    pt1[0] = PA(page_a) | P | W;
    pt2[0] = PA(page_b) | P | W;
    flush();
    CHECK("by the first table", peek(T), 0xaaaa);
    pd1[0] = PA(pt2) | P | W | U;
    invlpg(T);
    CHECK("by the second table after INVLPG", peek(T), 0xbbbb);
    pd1[0] = PA(pt1) | P | W | U;
    /* A large page in place of a table */
    pd1[0] = (PA(page_a) & ~0x1fffffull) | P | W | PS;
    invlpg(T);
    CHECK("2 MB page in place of a table",
          *(volatile uint8_t *)(T + (PA(page_b) & 0x1fffff)) == 0xbb || (PA(page_a) >> 21 != PA(page_b) >> 21), true);
    peek(T + 0x5000);
    pd1[0] = PA(pt1) | P | W;
    pt1[5] = PA(page_b) | P;
    pt1[0] = PA(page_a) | P;
    invlpg(T + 0x100000); /* any address of the 2 MB page drops it whole */
    CHECK("INVLPG anywhere in a 2 MB page", peek(T + 0x5000), 0xbbbb);
    pt1[5] = 0;
    flush();
}

CODE(pcide_with_pcid, "mov %cr3, %rcx; mov %rcx, %rax; or $5, %rax; mov %rax, %cr3; mov %cr4, %rax; bts $17, %rax\n" AT(
                          pcide_with_pcid) "mov %rax, %cr4")
struct invpcid {
    uint64_t type, pcid, address;
};
CODE(do_invpcid, "mov (%rdi), %rax\n" AT(do_invpcid) "invpcid 8(%rdi), %rax")

static void invpcid(uint64_t type, uint64_t pcid, uint64_t address)
{
    struct invpcid d = {type, pcid, address};
    catch_call(do_invpcid, &d);
}

static void pcids(void)
{
    if (!(cpuid(1, 0).c >> 17 & 1)) {
        put("skip: no PCID\n");
        return;
    }
    memcpy(pml4_b, pml4, 4096);
    pml4_b[1] = PA(pdpt2) | P | W | U;
    pdpt2[0] = PA(pd2) | P | W | U;
    pd2[0] = PA(pt2) | P | W | U;
    pt1[0] = PA(page_a) | P | W;
    pt2[0] = PA(page_b) | P | W;
    uint64_t cr3a = PA(pml4) | 1, cr3b = PA(pml4_b) | 2, keep = 1ull << 63;
    catch_call(pcide_with_pcid, NULL);
    CHECK_CAUGHT("#GP: PCIDE set while CR3[11:0] is not 0", GP, 0, pcide_with_pcid_at);
    WRITE_REG(cr3, PA(pml4));
    WRITE_REG(cr4, READ_REG(cr4) | CR4_PCIDE);
    WRITE_REG(cr3, cr3a);
    CHECK("PCID 1: a", peek(T), 0xaaaa);
    WRITE_REG(cr3, cr3b);
    CHECK("PCID 2: b", peek(T), 0xbbbb);
    WRITE_REG(cr3, cr3a | keep);
    CHECK("PCID 1 kept: a", peek(T), 0xaaaa);
    CHECK("CR3 bit 63 reads 0", READ_REG(cr3), cr3a);
    WRITE_REG(cr3, cr3b | keep);
    CHECK("PCID 2 kept: b", peek(T), 0xbbbb);
    pt1[0] = PA(page_c) | P | W;
    *(uint64_t *)page_c = 0xcccc;
    WRITE_REG(cr3, cr3a); /* bit 63 clear: PCID 1's entries go */
    CHECK("PCID 1 flushed by MOV CR3: c", peek(T), 0xcccc);
    WRITE_REG(cr3, cr3b | keep);
    pt1[0] = PA(page_a) | P | W;
    if (cpuid(7, 0).b >> 10 & 1) {
        invpcid(0, 1, T);
        WRITE_REG(cr3, cr3a | keep);
        CHECK("INVPCID of one address of PCID 1, from PCID 2: a", peek(T), 0xaaaa);
        WRITE_REG(cr3, cr3b | keep);
        pt1[0] = PA(page_c) | P | W;
        invpcid(1, 1, 0);
        WRITE_REG(cr3, cr3a | keep);
        CHECK("INVPCID of PCID 1: c", peek(T), 0xcccc);
        pt1[0] = PA(page_a) | P | W;
        pt2[0] = PA(page_c) | P | W;
        invpcid(3, 0, 0);
        CHECK("INVPCID of all but global: PCID 1", peek(T), 0xaaaa);
        WRITE_REG(cr3, cr3b | keep);
        CHECK("INVPCID of all but global: PCID 2", peek(T), 0xcccc);
        pt2[0] = PA(page_b) | P | W;
        invpcid(2, 0, 0);
        CHECK("INVPCID of all", peek(T), 0xbbbb);
        invpcid(4, 0, 0); /* vol. 2, INVPCID */
        CHECK_CAUGHT("#GP: INVPCID type 4", GP, 0, do_invpcid_at);
        invpcid(0, 0x1000, T);
        CHECK_CAUGHT("#GP: INVPCID descriptor bit 12", GP, 0, do_invpcid_at);
        invpcid(0, 1, 1ull << 62);
        CHECK_CAUGHT("#GP: INVPCID non-canonical", GP, 0, do_invpcid_at);
    }
    /* The same PCID with another table: MOV CR3 without bit 63 */
    WRITE_REG(cr3, (cr3a & ~4095ull) | 2);
    CHECK("PCID 2 with the first table: a", peek(T), 0xaaaa);
    WRITE_REG(cr3, PA(pml4));
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_PCIDE);
    CHECK("PCIDE off", peek(T), 0xaaaa);
    if (cpuid(7, 0).b >> 10 & 1) {
        invpcid(1, 1, 0);
        CHECK_CAUGHT("#GP: INVPCID of PCID 1 without PCIDE", GP, 0, do_invpcid_at);
    }
}

/* ---- random changes, each followed by an invalidation that suffices for it
 * ------------------------------------------------ */

enum { SPACES = 2, PAGES = 8, FRAMES = 4 };
static uint8_t frame[FRAMES][4096] __attribute__((aligned(4096)));

static uint32_t random32(void)
{
    static uint64_t x = 88172645463325252ull; /* xorshift64 (Marsaglia) */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 16);
}

struct space {
    uint64_t cr3, *pt;
    bool stale; /* changed while another space was current: flush as it is entered */
};

/* Read, write or call page n; true: as its entry says. */
static bool page_obeys(const struct space *s, unsigned n, unsigned access)
{
    uint64_t pte = s->pt[n], at = T + n * 4096ull;
    unsigned id = (unsigned)((pte & 0xfffff000) - PA(frame)) / 4096;
    bool ok = pte & P && !(access == WRITE && !(pte & W)) && !(access == FETCH && pte & NX);
    unsigned error = (pte & P ? E_P : 0) | (access == WRITE ? E_W : 0) | (access == FETCH ? E_I : 0);
    static void (*const fn[])(void *) = {do_read, do_write, do_fetch};
    catch_call(fn[access], (void *)(at + (access == FETCH ? 0x100 : access == WRITE ? 8 : 0)));
    if (!ok)
        return caught.vector == PF && caught.error == error;
    if (access == FETCH)
        return caught.vector == EXIT && (uint32_t)caught.ax == id;
    return caught.vector == NONE && *(volatile uint32_t *)at == id;
}

static void random_changes(void)
{
    bool pcid = cpuid(1, 0).c >> 17 & 1, has_invpcid = cpuid(7, 0).b >> 10 & 1;
    struct space space[SPACES] = {{PA(pml4) | (pcid ? 1 : 0), pt1, false}, {PA(pml4_b) | (pcid ? 2 : 0), pt2, false}};
    unsigned current = 0, wrong = 0;
    memcpy(pml4_b, pml4, 4096);
    pml4_b[1] = PA(pdpt2) | P | W | U;
    pdpt2[0] = PA(pd2) | P | W | U;
    pd2[0] = PA(pt2) | P | W | U;
    pdpt1[0] = PA(pd1) | P | W | U;
    pd1[0] = PA(pt1) | P | W | U;
    for (unsigned n = 0; n < PAGES; n++)
        pt1[n] = pt2[n] = 0;
    for (unsigned n = 0; n < FRAMES; n++) {
        static const uint8_t code[] = {0xb8, 0, 0, 0, 0, 0xcd, 0x80}; /* mov $id, %eax; int $0x80 */
        memcpy(frame[n] + 0x100, code, sizeof code);
        frame[n][0x101] = (uint8_t)n;
        *(uint32_t *)frame[n] = n;
    }
    flush();
    if (pcid)
        WRITE_REG(cr4, READ_REG(cr4) | CR4_PCIDE);
    WRITE_REG(cr3, space[0].cr3);
    for (unsigned round = 0; round < 20000; round++) {
        struct space *s = &space[current];
        unsigned n = random32() % PAGES;
        uint64_t pte = PA(frame[random32() % FRAMES]) | (random32() % 4 ? P : 0) | (random32() % 2 ? W : 0) |
                       (random32() % 2 ? NX : 0);
        switch (random32() % 8) {
        case 0: /* change, INVLPG */
            s->pt[n] = pte;
            invlpg(T + n * 4096ull);
            break;
        case 1: /* change, MOV CR3 */
            s->pt[n] = pte;
            WRITE_REG(cr3, s->cr3);
            break;
        case 2: /* not present to present needs nothing */
            if (!(s->pt[n] & P))
                s->pt[n] = pte | P;
            break;
        case 3: /* change another space, with or without INVPCID */
            s = &space[!current];
            s->pt[n] = pte;
            if (pcid && has_invpcid && random32() % 2) {
                struct invpcid d = {random32() % 2, s->cr3 & 0xfff, T + n * 4096ull};
                __asm__ volatile("invpcid %0, %1" : : "m"(d.pcid), "r"(d.type) : "memory");
            } else {
                s->stale = true;
            }
            break;
        case 4: /* the other space */
            current = !current;
            WRITE_REG(cr3, space[current].cr3 | (pcid && !space[current].stale ? 1ull << 63 : 0));
            space[current].stale = false;
            break;
        default:
            if (!page_obeys(s, n, random32() % 3) && ++wrong < 5)
                put("round %u page %u entry %x: vector %u error %x\n", round, n, s->pt[n], (unsigned)caught.vector,
                    caught.error);
        }
    }
    CHECK("20000 random changes and accesses in two address spaces", wrong, 0);
    WRITE_REG(cr3, PA(pml4));
    WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_PCIDE);
}

/* ---- accesses
 * -------------------------------------------------------------------------------------------------------------------- */

CODE(store8, AT(store8) "mov %rax, (%rdi)")
CODE(load8, AT(load8) "mov (%rdi), %rax")
CODE(add_mem, AT(add_mem) "addl $1, (%rdi)")
CODE(cmpxchg_mem, "xor %eax, %eax; mov $7, %ecx\n" AT(cmpxchg_mem) "lock cmpxchg %ecx, (%rdi)")
CODE(bt_mem, "mov $8 * 4096 + 3, %eax\n" AT(bt_mem) "bt %eax, (%rdi)")
CODE(bts_mem, "mov $8 * 4096 + 3, %eax\n" AT(bts_mem) "bts %eax, (%rdi)")
CODE(movups_store, AT(movups_store) "movups %xmm0, (%rdi)")
CODE(push_there, "mov %rsp, %rdx; lea 8(%rdi), %rsp\n" AT(push_there) "pushq $1\nmov %rdx, %rsp")
CODE(call_there, "mov %rsp, %rdx; lea 8(%rdi), %rsp\n" AT(call_there) "call 1f\n1: mov %rdx, %rsp")
CODE(enter_there,
     "push %rbp; mov %rsp, %rdx; lea 8(%rdi), %rsp\n" AT(enter_there) "enter $16, $0\nmov %rdx, %rsp; pop %rbp")
CODE(pop_mem, "push $1\n" AT(pop_mem) "pop (%rdi)")
CODE(load_ds, "mov %edi, %eax\n" AT(load_ds) "mov %eax, %ds")

static void accesses(void)
{
    pml4[1] |= U | W;
    pd1[0] = PA(pt1) | P | W | U;
    pt1[0] = PA(page_a) | P | W | U;
    pt1[1] = 0;
    flush();
    memset(page_a, 0x11, 4096);
    catch_call(store8, (void *)(T + 4093));
    CHECK_CAUGHT("store across into a missing page", PF, E_W, store8_at);
    CHECK("its CR2 is the second page", caught_cr2, T + 4096);
    CHECK("nothing was stored in the first", page_a[4093] == 0x11 && page_a[4095] == 0x11, true);
    catch_call(movups_store, (void *)(T + 4088));
    CHECK("16-byte store across: CR2", caught_cr2, T + 4096);
    CHECK("16-byte store across: nothing stored", page_a[4088], 0x11);
    user_run(load8, (void *)(T + 4090));
    CHECK_CAUGHT("load across into a missing page at CPL 3", PF, E_U, PA(load8_at) + ALIAS);
    CHECK("its CR2", caught_cr2, T + 4096);
    pt1[1] = PA(page_b) | P | U; /* read-only */
    catch_call(store8, (void *)(T + 4093));
    CHECK_CAUGHT("store across into a read-only page", PF, E_P | E_W, store8_at);
    CHECK("store across: CR2", caught_cr2, T + 4096);
    CHECK("nothing was stored in the writable page", page_a[4093], 0x11);
    catch_call(add_mem, (void *)(T + 4096));
    CHECK_CAUGHT("read-modify-write of a read-only page says write", PF, E_P | E_W, add_mem_at);
    *(uint32_t *)page_b = 5;
    catch_call(cmpxchg_mem, (void *)(T + 4096));
    CHECK_CAUGHT("CMPXCHG that fails writes too (vol. 2)", PF, E_P | E_W, cmpxchg_mem_at);
    catch_call(bt_mem, (void *)T);
    CHECK("BT of a read-only page reads", caught.vector, NONE);
    catch_call(bts_mem, (void *)T);
    CHECK_CAUGHT("BTS reaches beyond its operand: CR2 page", PF, E_P | E_W, bts_mem_at);
    CHECK("BTS: CR2", caught_cr2, T + 4096);
    user_run(push_there, (void *)(T + 4096));
    CHECK_CAUGHT("PUSH to a read-only page", PF, E_P | E_W | E_U, PA(push_there_at) + ALIAS);
    CHECK("PUSH: RSP unchanged", caught.sp, T + 4096 + 8);
    user_run(call_there, (void *)(T + 4096));
    CHECK_CAUGHT("CALL with a read-only stack", PF, E_P | E_W | E_U, PA(call_there_at) + ALIAS);
    CHECK("CALL: RSP unchanged", caught.sp, T + 4096 + 8);
    user_run(enter_there, (void *)(T + 4096));
    CHECK_CAUGHT("ENTER with a read-only stack", PF, E_P | E_W | E_U, PA(enter_there_at) + ALIAS);
    CHECK("ENTER: RSP unchanged", caught.sp, T + 4096 + 8);
    user_run(pop_mem, (void *)(T + 4096));
    CHECK_CAUGHT("POP to a read-only page", PF, E_P | E_W | E_U, PA(pop_mem_at) + ALIAS);
    CHECK("POP: RSP unchanged", caught.sp, PA(user_stack_top) + ALIAS - 72);

    /* Insns across a page end */
    pt1[1] = 0;
    flush();
    memset(page_a, 0x90, 4096);
    page_a[4093] = 0xb8; /* mov $imm32, %eax: two bytes of it in the next page */
    catch_call(do_fetch, (void *)(T + 4090));
    CHECK_CAUGHT("insn across into a missing page", PF, E_I, T + 4093);
    CHECK("insn across: CR2", caught_cr2, T + 4096);
    pt1[1] = PA(page_b) | P | W | NX;
    flush();
    catch_call(do_fetch, (void *)(T + 4090));
    CHECK_CAUGHT("insn across into a no-execute page", PF, E_I | E_P, T + 4093);
    pt1[1] = PA(page_b) | P | W;
    memset(page_b, 0x22, 2);
    page_b[2] = 0xcd;
    page_b[3] = 0x80;
    flush();
    catch_call(do_fetch, (void *)(T + 4090));
    CHECK_CAUGHT("insn across two pages runs", EXIT, 0, T + 4096 + 4);
    CHECK("and has its bytes from both", caught.ax, 0x22229090);
    page_a[4094] = 0xcd;
    page_a[4095] = 0x80;
    page_a[4093] = 0x90;
    pt1[1] = 0;
    flush();
    catch_call(do_fetch, (void *)(T + 4090));
    CHECK_CAUGHT("insn that ends at the page's end", EXIT, 0, T + 4096);
    page_a[4094] = page_a[4095] = 0x90;
    catch_call(do_fetch, (void *)(T + 4090));
    CHECK_CAUGHT("running into a missing page", PF, E_I, T + 4096);

    /* vol. 1, 3.3.7: addresses wrap at 2^64 */
    pml4[511] = PA(pdpt2) | P | W;
    pdpt2[511] = PA(pd2) | P | W;
    pd2[511] = PA(pt2) | P | W;
    pt2[511] = PA(page_c) | P | W;
    flush();
    *(uint32_t *)(page_c + 4092) = 0x44332211;
    catch_call(load8, (void *)(LAST + 4092));
    CHECK("load across 2^64", caught.vector == NONE || caught.vector == PF || caught.vector == GP, true);
    CHECK("last byte of the address space", *(volatile uint8_t *)(LAST + 4095), 0x44);
    pml4[511] = 0;
    flush();
}

/* Implicit supervisor accesses at CPL 3 (4.6): a GDT whose second page is missing. */
static void implicit(void)
{
    static uint64_t tables[1024] __attribute__((aligned(4096)));
    pt1[0] = PA(tables) | P | W;
    pt1[1] = PA(tables + 512) | P | W;
    flush();
    memcpy((uint8_t *)tables + 4096 - 128, gdt, 128);
    tables[512] = gdt[USERDS / 8] & ~(1ull << 40); /* selector 80H, not accessed */
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) p = {255, T + 4096 - 128};
    __asm__ volatile("lgdt %0" : : "m"(p));
    user_run(load_ds, (void *)0x83);
    CHECK("segment load at CPL 3 from a supervisor page", caught.vector, EXIT);
    CHECK("sets the accessed bit there", tables[512] >> 40 & 1, 1);
    pt1[1] = 0;
    invlpg(T + 4096);
    user_run(load_ds, (void *)0x83);
    CHECK_CAUGHT("descriptor in a missing page: no U/S bit", PF, 0, PA(load_ds_at) + ALIAS);
    CHECK("descriptor in a missing page: CR2", caught_cr2, T + 4096);
    pt1[1] = PA(tables + 512) | P;
    tables[512] &= ~(1ull << 40);
    invlpg(T + 4096);
    user_run(load_ds, (void *)0x83);
    CHECK_CAUGHT("accessed bit in a read-only page, WP", PF, E_P | E_W, PA(load_ds_at) + ALIAS);
    if (cpuid(7, 0).b >> 20 & 1) {
        pt1[1] = PA(tables + 512) | P | W | U;
        invlpg(T + 4096);
        WRITE_REG(cr4, READ_REG(cr4) | CR4_SMAP);
        user_run(load_ds, (void *)0x83);
        CHECK_CAUGHT("descriptor in a user page, SMAP", PF, E_P, PA(load_ds_at) + ALIAS);
        WRITE_REG(cr4, READ_REG(cr4) & ~(uintptr_t)CR4_SMAP);
    }
    p.limit = sizeof gdt - 1;
    p.base = PA(gdt);
    __asm__ volatile("lgdt %0" : : "m"(p));
}

void test_main(void)
{
    pml4[0] &= ~(uint64_t)U;
    pml4[2] = PA(pdpt) | P | W | U;
    pml4[1] = PA(pdpt1) | P | W | U;
    pdpt1[0] = PA(pd1) | P | W | U;
    flush();
    rights();
    keys();
    reserved();
    large();
    branches_into_hole();
    invalidation();
    pcids();
    random_changes();
    accesses();
    implicit();
}

/* host/amd64/emit.h: what the emitter's files share.  Not for others: see host/host.h.
 *
 * Register plan
 *     guest RAX RCX RDX RBX RSP RBP RSI RDI R12 R13 R14 R15
 *     host  r12 rcx rdx rbx r13 rbp rsi rdi r8  r9  r10 r11
 *     the others, R8..R11 and IR registers 16..31: memory operands in struct cpu.  (Programs name R12..R15, which calls preserve,
 *     two and a half to four times as often as R8..R11.)
 *     vector and mask registers: the host's of the same number, as wide as cpu.vec_bytes says
 *     rax: the emitter's own within one op (addends, LAHF, implicit operands);  r14, r15: temps
 *     rsp: in struct cpu, see cpu.stack;  gs: struct cpu, for thunks and the signal handler
 *
 * Rules to know before editing
 *   - No pinned register may change before the last host instruction of an op that can fault: slow paths save the
 *     pinned registers as they find them, and that is the guest's state.
 *   - rax dies at every op's end.  r14 and r15 survive calls (callee-saved in C).
 *   - F is in the host's flags (f_host), in cpu.cc (f_mem), or both, or only faults may want it (f_owed).  An op that spoils the host's flags
 *     first calls f_spoil; an op that defines F calls f_define before its instruction.
 */
#ifndef RHEA_HOST_EMIT_H
#define RHEA_HOST_EMIT_H

#include "host/amd64/asm.h"
#include "host/amd64/check.h"
#include "host/host.h"

enum { NSCRATCH = 2, NSLOTS = CPU_SLOTS };

/* A field of struct cpu, in a block: rsp points to cpu + CPU_FRAME. */
static inline struct rm rm_cpu(size_t offset)
{
    return rm_mem(RSP, (int32_t)offset - CPU_FRAME);
}

/* rm_cpu in a block, rm_gs in what blocks and thunks call, where rsp has moved. */
typedef struct rm cpu_field(size_t offset);

/* mem_read and mem_write thunks: one entry, THUNK_STRIDE bytes apart, for each register that may hold the address,
 * and one for "in cpu.scratch[1] already". */
enum { THUNK_ADDRESS_KEPT = 16, THUNK_STRIDE = 16 };
/* What they find in a cold stub, from their return address: a jump, then these. */
enum { COLD_DESC = 5, COLD_INSN_OFF = 9, COLD_DISP = 11, COLD_COPY = 13 }; /* insn_off and disp have 16 bits */

/* In a cold stub's desc, above the tag: which remembered entry. */
enum { MD_PAIR_SHIFT = 24 };

extern const int8_t host_pin[IR_NREG]; /* host register of an IR register, NOREG: in memory */

/* The memory access that is being emitted, and its slow path. */
struct access {
    uint32_t miss, misaligned, crosses; /* displacements that lead to the slow path; 0: none */
    uint32_t at;                        /* offset of the access's host instructions */
    uint32_t fault;                     /* index of its host_fault */
    uint32_t desc;
    uint32_t maker; /* 1 + index of the op to compute F from, 0: cpu.cc has it */
    int8_t addr;    /* register that holds the guest address, but for op->disp */
    uint8_t pair;   /* 1 + the remembered entry that is tried first, or 0 */
    bool near;      /* ... which is a W entry, for reads too */
    uint32_t keep;  /* shared, the first: where its entry, in rax, is kept for the others */
    bool merged;    /* address also in cpu.scratch[1]; addr is spoilt by the access */
    bool raises;    /* a store that may raise a numeric exception */
    bool select;    /* an AVX op that touches some elements only */
};

struct emitter {
    struct asmbuf a, cold; /* what runs as a rule, and what seldom does; offsets of both are from the first byte of a */
    const struct ir_block *b;
    const struct host_thunks *t;
    struct host_code *out;
    const struct ir_op *op;
    unsigned index;
    int32_t insn_off;

    int8_t *reg;    /* by ir_ref: the host register that holds it, r14 and r15 of temps and copies included, or NOREG */
    int8_t *slot;   /* by temp: its slot, or -1 */
    uint16_t *last; /* by ir_ref, of temps: index of the last op that mentions it; others' are written and never read */
    ir_ref held[NSCRATCH]; /* r14 and r15: the temp there, or the unpinned register whose copy it is; IR_NONE: free */
    unsigned locked;       /* bit a scratch register: in use by the current op */
    uint64_t slots;        /* bit a slot: taken */
    uint64_t current;      /* bit a slot: it holds its temp's value */
    struct check *check;   /* with -DRHEA_VERIFY */
    bool vec_noted;        /* see note_vec */

    bool f_host, f_mem, f_owed; /* owed: in neither, the ops' cold stubs compute it anew from op f_maker */
    unsigned f_maker;           /* index of the last op that defined F */
    bool f_entry;               /* no op defined F yet, and the block before may owe it */
    uint32_t owes[2];           /* offsets of immediates that become what cpu.f_maker is to be */
    unsigned nowes;

    bool x87_due; /* cpu.x87_ip is still to become that of the insn at x87_off */
    int32_t x87_off;

    uint32_t cold_at; /* offset of the cold part */
    struct access access;
    struct host_fault *cold_fault; /* those in the cold part, which the table has behind the others */
    unsigned ncold_faults;
    uint32_t *label_at; /* offset of each label */
    struct {
        uint32_t at;
        int64_t label;
    } * branch;
    unsigned nbranches;
};

/* ---- place.c: where values live ------------------------------------------------------------------------------ */

/* An IR register that lives in struct cpu. */
static inline bool place_unpinned(ir_ref r)
{
    return ir_is_reg(r) && host_pin[r] == NOREG;
}

bool place_init(struct emitter *e, struct arena *scratch);
void place_op_end(struct emitter *e); /* unlock, free what died here */
int place_scratch(struct emitter *e); /* a scratch register for this op only; spills a temp if it must */
/* The host register that holds r, or NOREG. */
static inline int place_reg_of(struct emitter *e, ir_ref r)
{
    if (r >= IR_CONST0)
        return NOREG;
    int reg = e->reg[r];
    if (reg >= R14) {
        e->locked |= 1u << (reg - R14);
        check(e, CHECK_READ, r, reg);
    }
    return reg;
}
/* r is a temp and this op is the last to mention it. */
static inline bool place_dies(const struct emitter *e, ir_ref r)
{
    return ir_is_temp(r) && e->last[r] == e->index;
}
bool place_in_slot(const struct emitter *e, ir_ref temp); /* its slot holds it */
struct rm place_rm(struct emitter *e, ir_ref r);          /* r as an r/m operand (not a constant) */
/* r's value in a register: its own, or loaded into `spare` (zero-extended from the type); constants too. */
int place_src(struct emitter *e, ir_ref r, enum ir_type t, int spare);
/* r's value in a register that is surely not rax; takes a scratch register when r has none. */
int place_src_kept(struct emitter *e, ir_ref r, enum ir_type t);
/* The register to compute d in: its own, a new one for a temp (that of `from` if that temp dies here), a copy or rax
 * for an unpinned register. */
int place_dst_in_memory(struct emitter *e, ir_ref d, ir_ref from);
static inline int place_dst(struct emitter *e, ir_ref d, ir_ref from)
{
    if (!ir_is_reg(d) || host_pin[d] == NOREG)
        return place_dst_in_memory(e, d, from);
    check(e, CHECK_DST, d, host_pin[d]);
    return host_pin[d];
}
/* The same for e->op's d while its sources hold their registers: rax where none is left.  Then, the value being there,
 * bring it to where d lives. */
int place_early(struct emitter *e, ir_ref from);
void place_early_done(struct emitter *e, int work);
/* After computing d at type t in reg: write it home if that is memory. */
void place_home_done(struct emitter *e, ir_ref d, enum ir_type t, int reg);
static inline void place_dst_done(struct emitter *e, ir_ref d, enum ir_type t, int reg)
{
    if (place_unpinned(d))
        place_home_done(e, d, t, reg);
}
struct rm place_home(ir_ref r); /* where it lives */
struct rm place_home_by(ir_ref r, cpu_field *field);
void place_forget(struct emitter *e,
                  ir_ref r); /* its home is written directly, or its copy's register spoilt: drop the copy */
void place_forget_all(struct emitter *e);
void place_gone(struct emitter *e, ir_ref temp); /* its register is taken over: move it to its slot if it lives on */
static inline bool fits32(int64_t v)
{
    return v == (int32_t)v;
}

/* ---- fixed.c: sequences that are copied ------------------------------------------------------------------------ */

void fixed_make(struct host_thunks *t);
/* Places to patch. */
enum { FIXED_MISS, FIXED_MISALIGNED, FIXED_LOW_BITS, FIXED_PAGES = 0 };
/* Copy f; returns the offset of its first byte. */
static inline uint32_t fixed_copy(struct asmbuf *a, const struct host_fixed *f)
{
    uint8_t *p = a->p;
    __builtin_memcpy(p, f->bytes, sizeof f->bytes);
    a->p = p + f->size;
    return (uint32_t)(p - a->start);
}

/* ---- flags.c: where F lives ----------------------------------------------------------------------------------- */

void f_put_away(struct asmbuf *a, struct rm cc); /* the host's flags into cpu.cc, and nothing is owed */
void f_look_ahead(struct emitter *e);            /* at the block's begin: fill e->out->entry */
bool f_can_make(const struct emitter *e);        /* the last maker's registers hold what they held */
uint16_t f_made_of(const struct emitter *e);     /* ... which are these */
void f_emit_maker(struct emitter *e);            /* behind the block: what cpu.f_maker says where to find */
void f_save(struct emitter *e);                  /* make cpu.cc current; keeps the host's flags; uses rax */
/* The coming access spoils the host's flags.  Returns 1 + the index of the op to make F of if it faults, 0: cpu.cc has it;
 * see owed.c. */
uint32_t f_for_faults(struct emitter *e);
void f_pay(struct emitter *e, uint32_t maker); /* in its cold stub: cpu.cc gets what is owed; keeps rax */
/* Compute F of that op anew into the host's flags; uses rax. */
void f_make(struct emitter *e, struct asmbuf *a, unsigned maker, cpu_field *field);
void f_load(struct emitter *e);    /* make the host's flags current; uses rax */
void f_spoil(struct emitter *e);   /* the coming instructions spoil the host's flags */
void f_define(struct emitter *e);  /* the coming instruction defines e->op->setf natively */
void f_defined(struct emitter *e); /* ... and now has */
/* The coming instruction may raise an exception, which must find F in cpu.cc; or it sets flags. */
void f_keep(struct emitter *e);
unsigned f_condition(struct emitter *e, enum ir_cc cc); /* emit what is needed; returns the host condition to test */

/* ---- by kind of op --------------------------------------------------------------------------------------------- */

/* /n of the 80..83 and C0, D0, D2 groups, by IR opcode. */
unsigned alu_number(unsigned op);
unsigned shift_number(unsigned op);
/* Each emits e->op, which is one of those that emit.c's table has it for. */
typedef void emit_fn(struct emitter *e);
emit_fn emit_mov, emit_extend, emit_pc, emit_load_field, emit_store_field, emit_load_live, emit_lea, emit_cmov;
emit_fn emit_alu, emit_compare, emit_shift, emit_mul_div, emit_bits, emit_two_sources, emit_unary;
emit_fn emit_setcc, emit_getf, emit_setf, emit_carry;
emit_fn emit_load, emit_store, emit_rmw, emit_cmpxchg, emit_exchange, emit_probe;
emit_fn emit_vec, emit_avx, emit_x87;
emit_fn emit_call, emit_label, emit_branch, emit_branch_zero, emit_goto, emit_goto_if, emit_goto_indirect, emit_leave,
    emit_expect_page, emit_fence;
/* Bring a's value into reg for a two-operand instruction at type t. */
void bring(struct emitter *e, enum ir_type t, int reg, ir_ref a);
/* Before an op that C may see other than from its cold stub: write what is due. */
void x87_tell(struct emitter *e);
void x87_tell_cold(struct emitter *e); /* in a cold stub; keeps rax */
void avx_select(struct emitter *e);    /* tell the slow path which elements o touches */
/* Jump by the entry at byte offset r15 of the jump cache's table r14 if it is for rax.  Returns the other jump's place. */
uint32_t jump_by_entry(struct asmbuf *a);
uint32_t jump_probe(struct asmbuf *a); /* ... by the first of its two entries, if that is for rax */
void note_vec(struct emitter *e);      /* before a vector op: tell helper calls, unless an op on the way here did */

enum table { TABLE_R, TABLE_W, TABLE_X };
/* reg holds a guest address; it becomes the host address of that address's entry in the table.  With tables of two levels
 * reg must be rax. */
void mem_table_entry(struct asmbuf *a, const struct host_thunks *t, enum table which, int reg, cpu_field *field);
/* The entry of the page that rax points to, in rax, and the jumps for a miss and, if `sized`, for an address that
 * has low bits set, of a mask still to be written.  Returns where those three are. */
struct mem_lookup {
    uint32_t miss, misaligned, low_bits;
};
struct mem_lookup mem_lookup(struct asmbuf *a, const struct host_thunks *t, bool write, bool sized);
/* Start the memory access of e->op: look its address up; afterwards *m is its memory operand, which rax is part of.  merge: it
 * is in one register, without rax.  Marks where the access is. */
struct access *mem_begin(struct emitter *e, unsigned desc, bool merge, struct rm *m);
void mem_fault_here(struct emitter *e); /* the next instruction is the one that touches memory */
void mem_end(struct emitter *e);        /* the access's instructions are complete: emit its cold stub */
void fault_here(struct emitter *e);     /* the next instruction may fault on the host (SIGFPE) */
void fault_divide_here(struct emitter *e, bool restore_rdx); /* the same for DIV; rdx is kept in cpu.scratch[3] */

#endif

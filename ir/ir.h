/* ir: the intermediate representation: blocks of ops over guest registers, temps and constants.
 *
 * The IR is not SSA.  Guest registers are operands like temps, so an insn that both guest and host know stays one op
 * on its own registers, and at every op that can fault the guest registers hold the architectural state by
 * construction:
 *     lifters write guest registers and F only after the last op of the insn that can fault.
 * Passes may forward, fold and delete, but never move a guest register write across an op with effects.
 *
 * F, the arithmetic flags, is one implicit register with six bits.  An op's setf says which it must define, livef which
 * are wanted after it (filled by opt_wanted).  setf = 0 on an ADD means: leave F exactly as it is.
 *
 * Temps are written once or more, live between two LABELs, and never survive the block.
 *
 * Text form (printer and parser agree), one op a line:
 *     name.type[.sub] dests = sources, imm !setf ?livef lock poll tag=N
 *     add.i64 r0 = r0, r3 !CZSOAP ?CZ
 *     t0 = ... temps; r0..r31 guest registers; v0..v31 vector registers; k0..k7 mask registers; #0x10 constants; L1
 *     labels; @0x7f page
 *     offsets; _ absent Operands stand in the order of their letters (absent ones at the end may be left out); ;
 *     starts a comment. sub: a condition (setcc.i8.ne), RMW's operation (rmw.i32.add), a type (lds.i8.i32), a leave
 *     reason (leave.next), else a number; ops on no value have no type (insn.3 @0x10).  VEC: the row's name and form,
 *     vec.paddb.y_u, or vec.paddb.y_u~1 where a second row has both.  AVX: the encoding in the manual's notation, see
 *     struct ir_avx.
 */
#ifndef RHEA_IR_H
#define RHEA_IR_H

#include "base/base.h"
#include "ir/cpu.h"

enum ir_opcode {
#define IR_OP(NAME, ...) IR_##NAME,
#include "ir/ops.def"
    IR_OP_COUNT
};

enum ir_type { I8, I16, I32, I64, IR_TYPE_COUNT }; /* 1 << type bytes */
static inline unsigned ir_bits(enum ir_type t)
{
    return 8u << t;
}

/* The six bits of F as setf/livef masks. */
enum {
    IRF_CF = 1,
    IRF_PF = 2,
    IRF_AF = 4,
    IRF_ZF = 8,
    IRF_SF = 16,
    IRF_OF = 32,
    IRF_ALL = 63,
};

/* Conditions, in x86's numbering: odd is the negation of even. */
enum ir_cc { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

typedef uint16_t ir_ref;
enum {
    IR_REG0 = 0,   /* 0..31   guest registers */
    IR_VEC0 = 32,  /* 32..63  vector registers */
    IR_MASK0 = 64, /* 64..71  mask registers */
    IR_TEMP0 = 72, /* 72..    temps */
    IR_TEMP_MAX = 4096,
    IR_CONST0 = 0x8000, /* constants: index into block->consts */
    IR_NONE = 0xffff,
};
static inline bool ir_is_reg(ir_ref r)
{
    return r < IR_VEC0;
}
static inline bool ir_is_vec(ir_ref r)
{
    return r >= IR_VEC0 && r < IR_MASK0;
}
static inline bool ir_is_mask(ir_ref r)
{
    return r >= IR_MASK0 && r < IR_TEMP0;
}
static inline bool ir_is_temp(ir_ref r)
{
    return r >= IR_TEMP0 && r < IR_CONST0;
}
static inline bool ir_is_const(ir_ref r)
{
    return r >= IR_CONST0 && r != IR_NONE;
}

/* Op flags. */
enum {
    IR_LOCK = 1,  /* atomic with respect to all vCPUs */
    IR_POLL = 2,  /* GOTO: look at cpu.kick first (set on every backward jump) */
    IR_NEAR = 4,  /* memory: by way of the stack pointer, a hint: the page is most likely written to, too */
    IR_FIRST = 8, /* memory, with `share`: the first of those that share */
};

enum { IR_LABEL_MAX = 256 }; /* labels in a block */

/* Where in an encoding a register stands. */
enum ir_avx_at { IR_AT_NONE, IR_AT_REG, IR_AT_RM, IR_AT_VVVV, IR_AT_LAST };

/* Which operands a form has: d written (and, maybe, read); a, b read in this order, a being the address where there is
 * one.  c stands where the encoding's last register does: EVEX.aaa (a mask), else bits 7..4 of the immediate. */
enum ir_avx_form {
#define IR_AVX_FORM(name, ...) IR_AVX_##name,
#include "ir/avx.def"
    IR_AVX_FORM_COUNT
};
struct ir_avx_form_row {
    const char *name, *operands;
    uint8_t d, a, b, c; /* enum ir_avx_at; a of a memory form is the address, whatever this says */
};
extern const struct ir_avx_form_row ir_avx_forms[IR_AVX_FORM_COUNT];

/* Which elements of a memory operand are touched, and may fault (Intel SDM vol. 2, exception types E1 to E12). */
enum ir_select {
    IR_SELECT_ALL,    /* all, whatever is masked */
    IR_SELECT_MASK,   /* element n if bit n of mask c is set, or, where elements are repeated, bit n + i * elements */
    IR_SELECT_PACKED, /* as many elements, from the first on, as bits of mask c are set */
    IR_SELECT_SIGN,   /* element n if the sign of element n of vector b is */
};

/* The encoding of op AVX, registers apart, in VEX's and EVEX's own terms (vol. 2A, 2.3.5 and 2.7.1).  Text form:
 *     avx.reg_vvvv_mem.evex.512.66.0f38.w1.a8[.z][.b][.x][.i7f][.m64[a]][.mask.8x8] v1 = r3, v2, k1
 * After form and encoding, z: EVEX.z; b: EVEX.b; x: raises; i: the immediate; m: bytes of memory, `a` if they must be
 * aligned; mask, packed, sign: which elements are touched, bytes of one and how many bits of the mask count.  A
 * group's extension follows the opcode: 73/2.  Vector length 3 is 1024. */
struct ir_avx {
    uint8_t opcode, imm;
    uint8_t form; /* enum ir_avx_form */
    uint8_t msize;
    uint8_t map : 3, pp : 2, l : 2, w : 1;
    uint8_t evex : 1, z : 1, b : 1, has_imm : 1, align : 1, ext : 3;
    uint8_t select : 3, element : 2,
        count : 3;      /* element: log2 of its bytes; count: log2 of the mask bits that count */
    uint8_t raises : 1; /* may raise a numeric exception */
};

struct ir_op {
    uint8_t op;    /* enum ir_opcode */
    uint8_t type;  /* enum ir_type */
    uint8_t sub;   /* condition, shift, RMW's operation, link slot, leave reason: see ops.def */
    uint8_t flags; /* IR_LOCK, IR_POLL */
    uint8_t setf;  /* IRF_: flags this op must define */
    uint8_t livef; /* IRF_: flags wanted after this op */
    uint8_t tag;   /* memory ops: the guest's own (x86: segment number), handed to the slow path */
    uint8_t pair;  /* memory ops, a hint: 1 + which of cpu.pair_page to try first; 0: none */
    uint16_t row;  /* VEC: row of vec.def */
    ir_ref d, e, a, b, c;
    int16_t disp;  /* memory ops that take one (ir_takes_disp): the address is a + disp */
    uint8_t share; /* memory ops: 1 + which of ir_block.share it is checked with; 0: none (opt/share.c) */
    union {
        int64_t imm;
        struct ir_avx avx; /* AVX */
    };
};

/* Accesses that are looked up together, by the first of them: `size` bytes from its a + from on hold them all. */
enum { IR_SHARES = CPU_SHARES, IR_SHARE_BYTES = 127 };
struct ir_share {
    int16_t from;
    uint8_t size;
    bool write; /* one of them writes, or all are by way of the stack pointer: a W entry is what they want */
};

struct ir_block {
    struct ir_op *op;
    unsigned nops, op_cap;
    int64_t *consts;
    unsigned nconsts, const_cap;
    unsigned ntemps, nlabels;
    unsigned ninsns;
    unsigned accesses;   /* ops that may access guest memory, at most */
    int64_t guest_off;   /* page offset of the first insn */
    uint32_t guest_size; /* bytes of guest code covered, from guest_off */
    uint8_t near_pair;   /* ir_op.pair of all ops with IR_NEAR that have none of their own */
    unsigned counter;    /* 1 + which of cpu.counter counts how often it runs; 0: none */
    struct ir_share share[IR_SHARES];
    bool f_shown[2]; /* a hint, by GOTO's slot: the block it leads to may show F in a fault before it defines it */
    bool full;       /* an append found no room: the block is void, translate a shorter one */
};

/* Storage comes from the arena; capacity for `max_ops` ops.  false: no room. */
bool ir_block_init(struct ir_block *b, struct arena *a, unsigned max_ops);

/* ---- building ---------------------------------------------------------------------------------------------- */

/* Append a zeroed op with all refs IR_NONE; when full, a scratch op is returned and b->full set. */
struct ir_op *ir_append(struct ir_block *b, enum ir_opcode op, enum ir_type type);
ir_ref ir_temp(struct ir_block *b);
ir_ref ir_const(struct ir_block *b, int64_t v);
int ir_label(struct ir_block *b); /* a fresh label number, to be placed by LABEL */
static inline int64_t ir_const_value(const struct ir_block *b, ir_ref r)
{
    return b->consts[r - IR_CONST0];
}
/* d = op(a, b), setf as given. */
struct ir_op *ir_alu(struct ir_block *b, enum ir_opcode op, enum ir_type t, unsigned setf, ir_ref d, ir_ref x,
                     ir_ref y);

/* ---- what an op is ----------------------------------------------------------------------------------------- */

enum ir_effects {
    IRE_PURE = 0,
    IRE_READS = 1,
    IRE_WRITES = 2,
    IRE_CALLS = 4,
    IRE_LOADS = 8,
    IRE_STORES = 16,
    IRE_ENDS = 32,
    IRE_FAULTS = 64, /* may leave the block as a guest fault: all guest state must be exact */
    IRE_STAYS = 128, /* touches nothing, but is never deleted: markers, branches, fences */
};
struct ir_shape {
    const char *name;     /* as in ops.def; text uses lower case */
    const char *operands; /* the deabci letters */
    const char *doc;
};
extern const struct ir_shape ir_shapes[IR_OP_COUNT];
/* The operand letters of this very op: those of its shape, or for VEC and AVX those of its row or form. */
const char *ir_operands(const struct ir_op *o);
/* Operands by position in the letters. */
enum { IR_D, IR_E, IR_A, IR_B, IR_C, IR_FIELDS };
static inline ir_ref *ir_field(struct ir_op *o, unsigned n)
{
    return (ir_ref *)((char *)o + offsetof(struct ir_op, d)) + n;
}
static inline ir_ref ir_get(const struct ir_op *o, unsigned n)
{
    return *((const ir_ref *)((const char *)o + offsetof(struct ir_op, d)) + n);
}
/* How many low bits of the source in field n matter (8, 16, 32, 64); of an X operand too. */
unsigned ir_read_bits(const struct ir_op *o, unsigned n);
/* How many low bits of the general register or temp in field n change: 8, 16, or 64 for a whole write. */
unsigned ir_write_bits(const struct ir_op *o, unsigned n);
/* May the address of such a memory op have a displacement?  Not if hosts may have to put it together in a register. */
bool ir_takes_disp(unsigned opcode, unsigned sub, unsigned flags);
bool ir_access_only(const struct ir_op *o); /* a load or store that cannot fault but by its memory access */
/* What an opcode tells without a look at the op's other fields, or with one that takes no branch: passes ask for every op of
 * every block. */
struct ir_facts {
    uint8_t effects, writes_f;
    uint8_t reads_f, keeps_f,
        cc;        /* flags read: always; as far as setf asks for them; all bits if those of condition sub */
    uint8_t whole; /* a bit a type: operand d is wholly written and not read, and there is no e; see odd */
    uint8_t odd;   /* IR_ODD_: what depends on more, ask the function */
    bool accesses; /* memory of the guest, or may do so */
};
enum { IR_ODD_EFFECTS = 1, IR_ODD_WRITES = 2, IR_ODD_READS = 4, IR_ODD_DEST = 8 };
extern const struct ir_facts ir_facts[IR_OP_COUNT];
extern const uint8_t ir_cc_flags[8]; /* by condition / 2 */
unsigned ir_odd_effects(const struct ir_op *o);
unsigned ir_odd_writes_f(const struct ir_op *o);
unsigned ir_odd_reads_f(const struct ir_op *o);
static inline unsigned ir_effects(const struct ir_op *o)
{
    const struct ir_facts *f = &ir_facts[o->op];
    return f->odd & IR_ODD_EFFECTS ? ir_odd_effects(o) : f->effects;
}
/* Flags the op may change, whatever setf says: 0 if setf is 0. */
static inline unsigned ir_writes_f(const struct ir_op *o)
{
    const struct ir_facts *f = &ir_facts[o->op];
    return o->setf == 0 ? 0 : f->odd & IR_ODD_WRITES ? ir_odd_writes_f(o) : f->writes_f;
}
static inline unsigned ir_cc_reads(enum ir_cc cc)
{
    return ir_cc_flags[cc >> 1 & 7];
}
/* Flags the op needs, those seen by a fault included. */
static inline unsigned ir_reads_f(const struct ir_op *o)
{
    const struct ir_facts *f = &ir_facts[o->op];
    if (f->odd & IR_ODD_READS)
        return ir_odd_reads_f(o);
    return f->reads_f | (f->keeps_f & o->setf) | (f->cc & ir_cc_reads(o->sub));
}

/* What an op computes, apart from guest memory and struct cpu: the one C meaning of all arithmetic, at any type. */
struct ir_result {
    uint64_t d, e; /* values for d and e at the type; I8 UMUL, SMUL, UDIV, SDIV: 16 bits in d */
    unsigned f;    /* all six flags after it (IRF_), if setf is not 0 */
    bool keep;     /* d is not written (BSF, BSR of 0) */
    bool fault;    /* a division that raises #DE: the rest means nothing */
};
/* d, a, b, c: values of those operands (b of LEA included, 0 for absent ones); f: the flags before. */
struct ir_result ir_eval(const struct ir_op *o, uint64_t d, uint64_t a, uint64_t b, uint64_t c, unsigned f);
bool ir_cc_holds(enum ir_cc cc, unsigned f);
static inline bool ir_is_shift(unsigned opcode) /* SHL to SHRD: the ops with a masked count */
{
    return opcode >= IR_SHL && opcode <= IR_SHRD;
}
static inline unsigned ir_count_mask(enum ir_type t)
{
    return t == I64 ? 63 : 31;
}
/* IRF_ bits to and from the x86 positions of GETF, SETF. */
uint32_t ir_f_to_x86(unsigned f);
unsigned ir_f_of_x86(uint32_t x);

/* ---- vector rows (vec.def) --------------------------------------------------------------------------------- */

enum ir_vec_form {
    VF_W_U, /* d = vector written, a = vector read */
    VF_W_M, /* d = vector written, a = address */
    VF_Y_U, /* d = vector read and written, a = vector */
    VF_Y_M,
    VF_M_U, /* memory at a = vector b */
    VF_R_U, /* d = general register, a = vector */
    VF_R_M, /* d = general register, a = address */
    VF_W_R, /* d = vector written, a = general */
    VF_Y_R,
    VF_F_U,  /* flags of (vector b, vector a) */
    VF_F_M,  /* flags of (vector b, memory a) */
    VF_Y,    /* d = vector read and written, immediate only; b unused (shift groups: /ext) */
    VF_Y_U0, /* VF_Y_U and VF_Y_M that also read b = vector register 0, which the encoding implies */
    VF_Y_M0,
    VF_I_U, /* string compare of vector b with vector a: d = register 1 gets the index, flags; e and c are registers 0 */
    VF_I_M, /* and 2, the lengths */
    VF_K_U, /* the same, but d = vector register 0 gets the mask */
    VF_K_M,
};
/* amd64 encoding, also the identity of the operation: mandatory prefix, map (1 = 0F, 2 = 0F38, 3 = 0F3A), opcode
 * byte, W, /ext. */
struct ir_vec_row {
    const char *name;
    uint8_t form;   /* enum ir_vec_form */
    uint8_t prefix; /* 0, 0x66, 0xf3, 0xf2 */
    uint8_t map, opcode;
    uint8_t w;       /* REX.W */
    uint8_t ext;     /* modrm.reg when the form has no register there */
    uint8_t msize;   /* bytes of memory touched, 0 if none */
    uint8_t align;   /* alignment the memory form demands (16), or 1 */
    uint8_t has_imm; /* bytes of immediate */
};
extern const struct ir_vec_row ir_vec_rows[];
extern const unsigned ir_vec_row_count;
/* Row with this encoding and form, or -1. */
int ir_vec_find(enum ir_vec_form form, unsigned prefix, unsigned map, unsigned opcode, unsigned w, unsigned ext);

static inline bool ir_avx_sets_flags(const struct ir_avx *x)
{
    return x->form == IR_AVX_F_REG_RM || x->form == IR_AVX_F_REG_MEM;
}
static inline bool ir_avx_stores(const struct ir_avx *x)
{
    return x->form == IR_AVX_MEM_REG || x->form == IR_AVX_MEM_VVVV_REG;
}
/* How elements are selected, as one word (cpu.select_how). */
uint32_t ir_avx_select_how(const struct ir_avx *x);
/* The bytes of a memory operand that are touched, a bit each: `from` is mask c, or the signs of vector b. */
uint64_t ir_avx_selected(uint32_t how, uint64_t from);
static inline bool ir_avx_selects_by_sign(uint32_t how)
{
    return (how & 7) == IR_SELECT_SIGN;
}
static inline unsigned ir_avx_element_bytes(uint32_t how)
{
    return 1u << (how >> 3 & 3);
}
static inline unsigned ir_avx_memory_bytes(uint32_t how)
{
    return ir_avx_element_bytes(how) << (how >> 8 & 7);
}
/* The signs of the elements, of `bytes` bytes, of the 64 bytes at v. */
uint64_t ir_avx_signs(const uint8_t *v, unsigned bytes);
/* The alignment that an access under a mask is checked for where the guest asks for checks (#AC). */
unsigned ir_avx_checked_alignment(uint32_t how);

/* ---- x87 and MMX -------------------------------------------------------------------------------------------- */

/* What an X87 op has beside the x87 and MMX registers that its modrm names. */
enum ir_x87_form {
    X87_REG,      /* nothing */
    X87_READ,     /* a = address read */
    X87_WRITE,    /* a = address written */
    X87_TO_GPR,   /* d = general register, all of it */
    X87_FROM_GPR, /* a = general register */
    X87_FLAGS,    /* flags written (FCOMI) */
    X87_CMOV,     /* flags read (FCMOVcc) */
    X87_FORMS
};
/* imm: the insn.  Registers stand in modrm; memory and general operands in the op. */
enum { IR_X87_MODRM = 8, IR_X87_MAP = 16, IR_X87_IMM = 24, IR_X87_BYTES = 32 }; /* first bits; opcode: 0 */
#define IR_X87_HAS_IMM (1ll << 40)
#define IR_X87_W       (1ll << 41) /* REX.W */
#define IR_X87_RECORDS (1ll << 42) /* cpu.x87_ip = PCB + offset of this insn, when next C can see it */
static inline unsigned ir_x87_byte(const struct ir_op *o, unsigned at)
{
    return (unsigned)(o->imm >> at) & 0xff;
}

/* ---- text, verifier, interpreter --------------------------------------------------------------------------- */

/* Print ops [from, to) as text; helper_name gives a CALL's name, or NULL. */
void ir_print(FILE *out, const struct ir_block *b, const char *(*helper_name)(unsigned));
/* Parse text into an initialised, empty block.  false with a message naming the line. */
bool ir_parse(struct ir_block *b, const char *text, int (*helper_number)(const char *), struct status *st);
/* Every rule of ops.def and of this page that can be checked statically; false with a message naming the op. */
bool ir_verify(const struct ir_block *b, struct status *st);

/* How the interpreter reaches memory and helpers; the same slow-path functions generated code uses. */
struct ir_interp_calls {
    int64_t (*mem_read)(struct cpu *, gva_t, unsigned desc);
    int64_t (*mem_write)(struct cpu *, gva_t, unsigned desc);
    void (*mem_commit)(struct cpu *);
    /* Run the vector operation `row` of op natively on cpu->vec/reg with `mem` as its memory operand. */
    void (*vec)(struct cpu *, const struct ir_op *, void *mem);
    void (*divide_error)(struct cpu *); /* raises the guest's #DE; never comes back */
    /* Run an X87 op on the saved x87 state, with `mem` as its memory operand; general operands are cpu->reg. */
    void (*x87)(struct cpu *, const struct ir_op *, void *mem);
};
/* Run b once from its first op; returns the reason, with cpu->pc (and link slot in *slot for LEAVE_LINK) set.  GOTO
 * and GOTOI always return.  Faults leave through the calls and never come back. */
enum cpu_leave ir_interp(const struct ir_block *b, struct cpu *c, const struct ir_interp_calls *calls, unsigned *slot);

/* The generic path (generic.c): run a VEC or AVX op in plain C on cpu state, for hosts without the unit.  `mem` as for
 * the call `vec` above; false: an exception that cpu.mxcsr unmasks, nothing but its flags written. */
bool ir_generic(struct cpu *c, const struct ir_op *o, void *mem);
bool ir_generic_has(const struct ir_op *o); /* it can */

/* ---- slow memory accesses ---------------------------------------------------------------------------------- */

/* desc: what an access is, made by host and interpreter alike. */
enum {
    MD_SIZE = 0x7f, /* bytes, 1..64 */
    MD_WRITE = 0x80,
    MD_RMW = 0x100, /* read, then write (implies MD_WRITE) */
    MD_LOCK = 0x200,
    MD_ALIGN = 0x400,      /* must be aligned to its size, else the guest faults */
    MD_PROBE = 0x800,      /* a check only: never touch a device */
    MD_SYSTEM = 0x1000,    /* by the processor itself: supervisor rights whatever the privilege is */
    MD_ONCE = 0x2000,      /* a store that cannot be run again: what could abandon it does so before it */
    MD_SELECT = 0x4000,    /* only the bytes that cpu.select and select_how tell are touched */
    MD_ANY_ALIGN = 0x8000, /* alignment is not checked, whatever the guest's flags ask for */
    MD_TAG_SHIFT = 16,     /* ir_op.tag */
};

#endif

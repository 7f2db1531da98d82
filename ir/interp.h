/* ir/interp.h: the reference interpreter's state.  Private to interp*.c. */
#ifndef RHEA_IR_INTERP_H
#define RHEA_IR_INTERP_H

#include "ir/ir.h"

struct interp {
    const struct ir_block *b;
    struct cpu *c;
    const struct ir_interp_calls *calls;
    int64_t insn_off; /* of the last INSN */
    uint64_t temp[IR_TEMP_MAX - IR_TEMP0];
};

uint64_t interp_get(const struct interp *r, ir_ref ref); /* 0 for an absent one */
void interp_put(struct interp *r, ir_ref ref, uint64_t v, unsigned bits);
/* F as IRF_ bits; put changes what the op says it writes. */
unsigned interp_get_f(const struct interp *r);
void interp_put_f(struct interp *r, const struct ir_op *o, unsigned f);

/* interp_mem.c: the ops that reach guest memory, VEC, AVX and X87 among them. */
void interp_memory(struct interp *r, const struct ir_op *o);
void interp_vec(struct interp *r, const struct ir_op *o);
void interp_x87(struct interp *r, const struct ir_op *o);
void interp_avx(struct interp *r, const struct ir_op *o);

#endif

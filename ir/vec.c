/* ir/vec.c: the rows of vec.def, and finding one by its encoding.
 *
 * A row's encoding is its identity: two rows with the same form, prefix, map, opcode, W and /ext do not compile (a
 * duplicate case label below), which is the check that the table is sound.
 */
#include "ir/ir.h"

const struct ir_vec_row ir_vec_rows[] = {
#define IR_VEC(name, form, prefix, map, opcode, w, ext, msize, align, imm)                                             \
    {#name, form, prefix, map, opcode, w, ext, msize, align, imm},
#include "ir/vec.def"
#undef IR_VEC
    {"none", VF_Y, 0, 0, 0, 0, 0, 0, 1, 0}, /* not a row: keeps an empty table legal */
};
const unsigned ir_vec_row_count = ARRAY_LEN(ir_vec_rows) - 1;

/* 0, 0x66, 0xf3, 0xf2 to 0, 2, 1, 3. */
#define PREFIX_KEY(prefix) ((prefix) == 0 ? 0u : (prefix) == 0x66 ? 2u : (prefix) == 0xf3 ? 1u : 3u)
#define VEC_KEY(form, prefix, map, opcode, w, ext)                                                                     \
    ((form) | PREFIX_KEY(prefix) << 5 | (map) << 7 | (opcode) << 9 | (w) << 17 | (ext) << 18)

enum { VEC_FIRST = __COUNTER__ + 1 };

int ir_vec_find(enum ir_vec_form form, unsigned prefix, unsigned map, unsigned opcode, unsigned w, unsigned ext)
{
    switch (VEC_KEY(form, prefix, map, opcode, w, ext)) {
#define IR_VEC(name, form, prefix, map, opcode, w, ext, msize, align, imm)                                             \
    case VEC_KEY(form, prefix, map, opcode, w, ext):                                                                   \
        return __COUNTER__ - VEC_FIRST;
#include "ir/vec.def"
#undef IR_VEC
    default: return -1;
    }
}

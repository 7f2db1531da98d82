/* ir/text.h: words shared by the printer and the parser.  Private to the two. */
#ifndef RHEA_IR_TEXT_H
#define RHEA_IR_TEXT_H

#include "ir/ir.h"

extern const char *const ir_text_types[IR_TYPE_COUNT];
extern const char *const ir_text_cc[16];
extern const char *const ir_text_leave[LEAVE_NEXT + 1];
extern const char *const ir_text_form[VF_K_M + 1];
extern const char ir_text_flags[7];        /* letters, and */
extern const uint8_t ir_text_flag_bits[6]; /* their IRF_ bits */

enum ir_text_sub { IR_SUB_NUMBER, IR_SUB_CC, IR_SUB_OP, IR_SUB_TYPE, IR_SUB_LEAVE, IR_SUB_ROW, IR_SUB_AVX };
enum ir_text_sub ir_text_sub(unsigned opcode); /* how the op's sub is written */
bool ir_text_typeless(unsigned opcode);        /* type is left out when it is I8 */

/* The form and encoding of an AVX op, what stands behind "avx."; parsing cuts s into pieces. */
void ir_avx_print(FILE *out, const struct ir_avx *x);
bool ir_avx_parse(char *s, struct ir_avx *x);

#endif

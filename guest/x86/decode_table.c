/* guest/x86/decode_table.c: the constants made from x86.def and operand.def.
 *
 * Rows keep the order of the file.  x86_last_row leads from (space, map, opcode) and ModRM.reg to the last row of that key
 * that asks for this reg, or for none, from which the decoder walks backwards: of two initialisers of one element the later
 * one counts (C11 6.7.9, 19), so writing every row's number to its elements leaves the last.
 */
#include "guest/x86/decode_table.h"
#include "ir/ir.h"

/* clang-format off */

/* X86.def's words for what the struct holds as numbers. */
enum {
    MOD__, MOD_R, MOD_M,
    EXT__ = -1, EXT_0, EXT_1, EXT_2, EXT_3, EXT_4, EXT_5, EXT_6, EXT_7,
    L_0 = 1, L_1 = 2, L_2 = 4, L_12 = 6, L_V = 7, L__ = 7,
    LOCK = ATTR_LOCK, D64 = ATTR_D64, F64 = ATTR_F64, NO64 = ATTR_NO64, ONLY64 = ATTR_ONLY64, CPL0 = ATTR_CPL0, ENDS = ATTR_ENDS,
    PROT = ATTR_PROT, ALIGN = ATTR_ALIGN, BYTE = ATTR_BYTE, NO66 = ATTR_NO66, MODREG = ATTR_MODREG, BCAST16 = ATTR_BCAST16,
    BCAST32 = ATTR_BCAST32, BCAST64 = ATTR_BCAST64, ER = ATTR_ER, SAE = ATTR_SAE, N1 = ATTR_N1, N2 = ATTR_N2, N4 = ATTR_N4,
    N8 = ATTR_N8, MASK = ATTR_MASK, ZERO = ATTR_ZERO, MASKREQ = ATTR_MASKREQ, DISTINCT = ATTR_DISTINCT, E1 = ATTR_E1, E2 = ATTR_E2, E4 = ATTR_E4, E8 = ATTR_E8,
    FP = ATTR_FP,
};
/* Sets of flags, by their letters. */
enum {
    FLAGS__ = 0,
    FLAGS_O = IRF_OF, FLAGS_S = IRF_SF, FLAGS_Z = IRF_ZF, FLAGS_A = IRF_AF, FLAGS_P = IRF_PF, FLAGS_C = IRF_CF,
    FLAGS_AC = IRF_AF | IRF_CF,
    FLAGS_OC = IRF_OF | IRF_CF,
    FLAGS_OAC = IRF_OF | IRF_AF | IRF_CF,
    FLAGS_OS = IRF_OF | IRF_SF,
    FLAGS_OSZ = IRF_OF | IRF_SF | IRF_ZF,
    FLAGS_OSAP = IRF_OF | IRF_SF | IRF_AF | IRF_PF,
    FLAGS_OSAPC = IRF_OF | IRF_SF | IRF_AF | IRF_PF | IRF_CF,
    FLAGS_OSZP = IRF_OF | IRF_SF | IRF_ZF | IRF_PF,
    FLAGS_OSZC = IRF_OF | IRF_SF | IRF_ZF | IRF_CF,
    FLAGS_OSZPC = IRF_OF | IRF_SF | IRF_ZF | IRF_PF | IRF_CF,
    FLAGS_OSZAP = IRF_ALL & ~IRF_CF,
    FLAGS_OSZAPC = IRF_ALL,
    FLAGS_SZP = IRF_SF | IRF_ZF | IRF_PF,
    FLAGS_SZAP = IRF_SF | IRF_ZF | IRF_AF | IRF_PF,
    FLAGS_SZAPC = IRF_ALL & ~IRF_OF,
    FLAGS_SAP = IRF_SF | IRF_AF | IRF_PF,
    FLAGS_AP = IRF_AF | IRF_PF,
    FLAGS_OZC = IRF_OF | IRF_ZF | IRF_CF,
    FLAGS_ZC = IRF_ZF | IRF_CF,
};

/* Operands. */
enum {
    OP__,
#define X86_OPERAND(name, method, fixed, reg_size, mem_size) OP_##name,
#include "guest/x86/operand.def"
};
/* What methods say. */
enum {
#define X86_METHOD(name, kind, memory, number, doc)                                                                    \
    KIND_##name = OPERAND_##kind, MEMORY_##name = OPERAND_##memory, NUMBER_##name = FROM_##number,
#include "guest/x86/method.def"
};

/* Their methods; their bytes as registers; whether they may be a byte register. */
enum {
    OPM__ = METHOD_NONE, OPS__ = 0, OPB__ = 0,
#define X86_OPERAND(name, method, fixed, reg_size, mem_size)                                                           \
    OPM_##name = METHOD_##method, OPS_##name = SIZE_##reg_size,                                                        \
    OPB_##name = (int)KIND_##method == (int)OPERAND_GPR && (int)SIZE_##reg_size == 1,
#include "guest/x86/operand.def"
};
#define IS(m, method) ((int)(m) == (int)(method))
#define IS_IMMEDIATE(m) (IS(m, METHOD_I) || IS(m, METHOD_IS) || IS(m, METHOD_J))
/* decode_simple.c knows these. */
#define IS_SIMPLE(m)                                                                                                   \
    (IS(m, METHOD_NONE) || IS(m, METHOD_E) || IS(m, METHOD_R) || IS(m, METHOD_M) || IS(m, METHOD_G) ||                 \
     IS(m, METHOD_Z) || IS(m, METHOD_REG) || IS_IMMEDIATE(m))
#define NEEDS_MODRM(m) ((int)(m) >= (int)METHOD_E && (int)(m) <= (int)METHOD_LAST_MODRM)
#define HAS_MODRM(mod, reg, o1, o2, o3)                                                                                \
    (EXT_##reg >= 0 || MOD_##mod != MOD__ || NEEDS_MODRM(OPM_##o1) || NEEDS_MODRM(OPM_##o2) || NEEDS_MODRM(OPM_##o3))
#define NEEDS_VVVV(m) (IS(m, METHOD_H) || IS(m, METHOD_B) || IS(m, METHOD_KH) || IS(m, METHOD_TH))

/* Bytes by a size rule, where the operand size is 1 << o. */
#define BYTES(size, o)                                                                                                 \
    ((size) <= 64              ? (size)                                                                                \
     : (size) == SIZE_V        ? 1 << (o)                                                                              \
     : (size) == SIZE_Z        ? ((o) == 1 ? 2 : 4)                                                                    \
     : (size) == SIZE_Y        ? ((o) == 3 ? 8 : 4)                                                                    \
     : (size) == SIZE_FAR      ? (1 << (o)) + 2                                                                        \
     : (size) == SIZE_PAIR     ? 2 << (o)                                                                              \
     : (size) == SIZE_MODE || (size) == SIZE_ADDR ? 8                                                                  \
     : (size) == SIZE_MODE2    ? 16                                                                                    \
     : (size) == SIZE_TABLE    ? 10                                                                                    \
     : (size) == SIZE_ENV      ? 28                                                                                    \
     : (size) == SIZE_STATE    ? 108                                                                                   \
     : (size) == SIZE_FX       ? 512 : 0)
#define LOG_OSIZE(attr, w) ((attr) & BYTE ? 0 : (w) || (attr) & (D64 | F64) ? 3 : 2)
#define IMM_BYTES(o1, o2, o3, o)                                                                                       \
    (15 & (IS_IMMEDIATE(OPM_##o1)   ? BYTES((int)OPS_##o1, o)                                                          \
           : IS_IMMEDIATE(OPM_##o2) ? BYTES((int)OPS_##o2, o)                                                          \
           : IS_IMMEDIATE(OPM_##o3) ? BYTES((int)OPS_##o3, o) : 0))

#define SIZE_OR(size, other) ((int)(size) ? (int)(size) : (int)(other))
#define OPERANDS(method, fixed, reg, mem, o)                                                                           \
    {{KIND_##method, fixed, BYTES(reg, o), false}, {MEMORY_##method, fixed, BYTES(mem, o), false}}
#define FORM(method, fixed, reg, mem)                                                                                  \
    .size = {reg, mem},                                                                                                \
    .number = {NUMBER_##method, IS(MEMORY_##method, OPERAND_MEM) ? FROM_NONE : NUMBER_##method},                       \
    .operand = {OPERANDS(method, fixed, reg, mem, 0), OPERANDS(method, fixed, reg, mem, 1),                            \
                OPERANDS(method, fixed, reg, mem, 2), OPERANDS(method, fixed, reg, mem, 3)}
const struct x86_operand_form x86_operand_forms[] = {
    [OP__] = {.method = METHOD_NONE},
#define X86_OPERAND(name, method, fixed, reg_size, mem_size)                                                           \
    [OP_##name] = {METHOD_##method, fixed, SIZE_##reg_size, SIZE_##mem_size,                                           \
                   FORM(method, fixed, SIZE_OR(SIZE_##reg_size, SIZE_##mem_size), SIZE_OR(SIZE_##mem_size, SIZE_##reg_size))},
#include "guest/x86/operand.def"
};

const struct x86_row x86_rows[] = {
#define X86_ROW(SPACE, MAP, OPCODE, PREFIX, MOD, REG, RM, W, L, NAME, O1, O2, O3, O4, ATTR, FEATURE, READ, WRITTEN, UNDEF, LIFT) { \
    .name = #NAME,                                                                                                     \
    .attr = (ATTR) | (X86_##SPACE == X86_LEGACY ? 0 : ATTR_PROT),                                                      \
    .key = X86_KEY(X86_##SPACE, MAP, OPCODE),                                                                          \
    .space = X86_##SPACE,                                                                                              \
    .map = MAP,                                                                                                        \
    .opcode = OPCODE,                                                                                                  \
    .prefix = PFX_##PREFIX,                                                                                            \
    .ext = EXT_##REG,                                                                                                  \
    .rm = EXT_##RM,                                                                                                    \
    .mod = MOD_##MOD,                                                                                                  \
    .w = W_##W,                                                                                                        \
    .l = L_##L,                                                                                                        \
    .plain = X86_##SPACE == X86_LEGACY && PFX_##PREFIX == PFX__ && EXT_##RM < 0 && MOD_##MOD == MOD__ && \
             W_##W == W__ && !((ATTR) & (NO64 | ONLY64)),                                                              \
    .modrm = HAS_MODRM(MOD, REG, O1, O2, O3),                                                                          \
    .vvvv = NEEDS_VVVV(OPM_##O1) || NEEDS_VVVV(OPM_##O2) || NEEDS_VVVV(OPM_##O3),                                      \
    .operand = {OP_##O1, OP_##O2, OP_##O3, OP_##O4},                                                                   \
    .noperands = (OP_##O1 != OP__) + (OP_##O2 != OP__) + (OP_##O3 != OP__) + (OP_##O4 != OP__),                        \
    .simple = X86_##SPACE == X86_LEGACY && IS_SIMPLE(OPM_##O1) && IS_SIMPLE(OPM_##O2) && IS_SIMPLE(OPM_##O3) &&        \
              OP_##O4 == OP__ && !((ATTR) & (DISTINCT | MODREG)) &&                                                    \
              IS_IMMEDIATE(OPM_##O1) + IS_IMMEDIATE(OPM_##O2) + IS_IMMEDIATE(OPM_##O3) <= 1,                           \
    .log_osize = {LOG_OSIZE(ATTR, 0), LOG_OSIZE(ATTR, 1)},                                                             \
    .asked = (EXT_##REG >= 0 ? 0x38 : 0) | (EXT_##RM >= 0 ? 7 : 0) | (MOD_##MOD != MOD__ ? 0x40 : 0),                  \
    .answer = (EXT_##REG >= 0 ? (EXT_##REG & 7) << 3 : 0) | (EXT_##RM >= 0 ? EXT_##RM : 0) | (MOD_##MOD == MOD_R ? 0x40 : 0), \
    .byte = OPB_##O1 || OPB_##O2 || OPB_##O3,                                                                              \
    .imm_bytes = {IMM_BYTES(O1, O2, O3, LOG_OSIZE(ATTR, 0)), IMM_BYTES(O1, O2, O3, LOG_OSIZE(ATTR, 1))},               \
    .imm_signed = !IS(OPM_##O1, METHOD_I) && !IS(OPM_##O2, METHOD_I) && !IS(OPM_##O3, METHOD_I),                       \
    .feature = FEAT_##FEATURE,                                                                                         \
    .flags_read = FLAGS_##READ,                                                                                        \
    .flags_written = FLAGS_##WRITTEN,                                                                                  \
    .flags_undefined = FLAGS_##UNDEF,                                                                                  \
    .lift = LIFT_##LIFT},
#include "guest/x86/x86.def"
};
const unsigned x86_row_count = ARRAY_LEN(x86_rows);

/* Row numbers by the line of x86.def the row stands on. */
#define ROW_OF_LINE(line) ROW_##line
#define ROW_AT(line) ROW_OF_LINE(line)
enum {
#define X86_ROW(...) ROW_AT(__LINE__),
#include "guest/x86/x86.def"
};

/* How many opcodes beyond its own a row with a Z operand stands for. */
#define SPAN(opcode, m1, m2) (IS(m1, METHOD_Z) || IS(m2, METHOD_Z) ? 7 - ((opcode)&7) : 0)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
const struct x86_last_row x86_last_row[X86_KEY_COUNT][8] = {
#define X86_ROW(SPACE, MAP, OPCODE, PREFIX, MOD, REG, RM, W, L, NAME, O1, O2, O3, O4, ATTR, ...)                       \
    [X86_KEY(X86_##SPACE, MAP, OPCODE) ... X86_KEY(X86_##SPACE, MAP, OPCODE) + SPAN(OPCODE, OPM_##O1, OPM_##O2)]       \
    [EXT_##REG < 0 ? 0 : EXT_##REG ... EXT_##REG < 0 ? 7 : EXT_##REG] =                                                \
        {ROW_AT(__LINE__) + 1, HAS_MODRM(MOD, REG, O1, O2, O3),                                                        \
         IMM_BYTES(O1, O2, O3, LOG_OSIZE(ATTR, 0)) | IMM_BYTES(O1, O2, O3, LOG_OSIZE(ATTR, 1)) << 4},
#include "guest/x86/x86.def"
};
#pragma GCC diagnostic pop

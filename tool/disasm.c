/* tool/disasm.c: disassembly of guest and host code, by capstone. */
#include "tool/disasm.h"

#include <capstone/capstone.h>
#include <inttypes.h>
#include <stdbool.h>

static bool open_for(int bits, csh *cs)
{
    cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 : CS_MODE_16;
    return cs_open(CS_ARCH_X86, mode, cs) == CS_ERR_OK;
}

static void print_line(FILE *out, uint64_t pc, const uint8_t *bytes, unsigned n, const char *name, const char *operands)
{
    int column = fprintf(out, "0x%08" PRIx64 ":  ", pc);
    for (unsigned i = 0; i < n; i++)
        column += fprintf(out, "%02x ", bytes[i]);
    fprintf(out, "%*s%-8s %s\n", column < 44 ? 44 - column : 1, "", name, operands);
}

unsigned disasm_one(FILE *out, const uint8_t *code, size_t n, uint64_t pc, int bits)
{
    csh cs;
    cs_insn *insn = NULL;
    unsigned length = 1;
    bool opened = open_for(bits, &cs);
    size_t found = opened ? cs_disasm(cs, code, n, pc, 1, &insn) : 0;
    if (found) {
        length = insn->size;
        print_line(out, pc, code, length, insn->mnemonic, insn->op_str);
    } else {
        print_line(out, pc, code, 1, "(bad)", "");
    }
    if (insn)
        cs_free(insn, found);
    if (opened)
        cs_close(&cs);
    return length;
}

void disasm_print(void *unused, FILE *out, const uint8_t *code, size_t n, uint64_t pc, int bits)
{
    (void)unused;
    for (size_t at = 0; at < n;)
        at += disasm_one(out, code + at, n - at, pc + at, bits);
}

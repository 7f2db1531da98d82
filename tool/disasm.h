/* tool/disasm.h: disassembly.  Apart from tool.h, because capstone's header has names of its own for what guest/x86
 * also names. */
#ifndef RHEA_TOOL_DISASM_H
#define RHEA_TOOL_DISASM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One line an instruction: address, bytes, text.  bits: 16, 32, 64.  Bytes that are no instruction are shown as such,
 * one a line. */
void disasm_print(void *unused, FILE *out, const uint8_t *code, size_t n, uint64_t pc, int bits);
/* The first instruction only; its length, at least 1. */
unsigned disasm_one(FILE *out, const uint8_t *code, size_t n, uint64_t pc, int bits);

#endif

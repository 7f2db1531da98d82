/* guest/x86/run.c: the helpers by number.
 *
 * helpers.def is the only list; this file turns it into the table that cpu.helper points at.  The functions live in
 * sys_*.c and model.c, and, where segments, transfers, control registers and paging are concerned, in the files
 * run_int.h names.
 */
#include "guest/x86/run_int.h"

x86_helper_fn *const x86_helpers[] = {
#define X86_HELPER(NAME, fn, doc) fn,
#include "guest/x86/helpers.def"
};

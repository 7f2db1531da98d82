/* guest/x86/model_int.h: what a CPU model is.  Internal to model.c and model_words.c. */
#ifndef RHEA_X86_MODEL_INT_H
#define RHEA_X86_MODEL_INT_H

#include "guest/x86/sys.h"

enum register_number { EAX, EBX, ECX, EDX };

enum { VENDOR_BYTES = 12, BRAND_BYTES = 48 };

struct x86_model {
    char vendor[VENDOR_BYTES + 1], brand[BRAND_BYTES + 1];
    bool intel; /* anyone but AMD and Hygon behaves as Intel's */
    unsigned family, model, stepping;
    uint32_t level, xlevel; /* last leaves */
    uint32_t set[(FEAT_COUNT + 31) / 32], missing[(FEAT_COUNT + 31) / 32];
    uint32_t phys_bits; /* of physical addresses; 0: the most */
    bool quiet;         /* check=off */
};

struct x86_feature_row {
    const char *name;
    uint32_t leaf, subleaf;
    uint8_t reg, bit;
};
extern const struct x86_feature_row x86_features[FEAT_COUNT];

void x86_model_put(struct x86_model *m, enum x86_feature f, bool on);
/* Features that need others go with them. */
void x86_model_close(struct x86_model *m);

#endif

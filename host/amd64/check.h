/* host/amd64/check.h: what place.c and the emitter tell the checker of placements (check.c).
 *
 * One hook, check(), which is nothing at all unless the file is compiled with -DRHEA_VERIFY.  Included by emit.h alone.
 */
#ifndef RHEA_HOST_CHECK_H
#define RHEA_HOST_CHECK_H

enum check_event {
    CHECK_READ,  /* r will be read from host register reg, or, NOREG, from its slot or home */
    CHECK_LOAD,  /* r was loaded whole into reg from its slot or home */
    CHECK_SPILL, /* reg was stored to the slot of temp r */
    CHECK_TAKE,  /* reg, not locked, is about to be an op's own; whatever was in it is lost */
    CHECK_SPOIL, /* reg was overwritten with something that is no value of the IR */
    CHECK_DST,   /* r is to be computed in reg */
    CHECK_DONE,  /* ... was, and stored from reg to r's home */
    CHECK_FAULT, /* the next host instruction may fault */
    CHECK_END,   /* the op is over, dead temps are dropped */
};

struct emitter;
bool check_begin(struct emitter *e, struct arena *scratch); /* false: no room */
void check_see(struct emitter *e, enum check_event what, ir_ref r, int reg);

static inline bool check_start(struct emitter *e, struct arena *scratch)
{
#ifdef RHEA_VERIFY
    return check_begin(e, scratch);
#else
    (void)e, (void)scratch;
    return true;
#endif
}

static inline void check(struct emitter *e, enum check_event what, ir_ref r, int reg)
{
#ifdef RHEA_VERIFY
    check_see(e, what, r, reg);
#else
    (void)e, (void)what, (void)r, (void)reg;
#endif
}

#endif

/* test_check: the checker of placements (host/amd64/check.c) lets right books pass and panics at each kind of wrong ones.
 * The books of a block in the middle of being emitted are spoilt by hand, in a child that must abort. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/amd64/emit.h"
#include "test/ir/irtest.h"

static const char text[] = "mov.i64 t0 = r0\n"
                           "st.i64 t0, r8\n" /* r8 comes to a register, which keeps a copy */
                           "mov.i64 t1 = r1\n"
                           "mov.i64 r8 = #0x1\n"
                           "add.i64 t0 = t0, t1\n"
                           "add.i64 r0 = t0, t1\n";

struct rig {
    struct irtest t;
    struct arena scratch;
    struct emitter e;
    uint8_t code[4096];
};

static void begin(struct rig *r, unsigned op)
{
    r->e.index = op;
    r->e.op = &r->t.block.op[op];
}

/* Everything as it should be up to op `upto`, and in it, but for that op's end. */
static void run(struct rig *r, unsigned upto)
{
    struct status st;
    struct emitter *e = &r->e;
    memset(r, 0, sizeof *r);
    irtest_init(&r->t);
    irtest_parse(&r->t, text);
    assert_true(arena_init(&r->scratch, 1 << 18, &st));
    *e = (struct emitter){.b = &r->t.block, .a = {.start = r->code, .p = r->code, .end = r->code + sizeof r->code}};
    assert_true(place_init(e, &r->scratch));
    for (unsigned i = 0; i <= upto; i++) {
        if (i)
            place_op_end(e);
        begin(r, i);
        const struct ir_op *o = e->op;
        if (o->op == IR_ST) {
            place_src_kept(e, o->a, I64);
            place_src_kept(e, o->b, I64);
        } else if (place_unpinned(o->d)) {
            place_forget(e, o->d); /* written straight to its home */
        } else {
            place_src(e, o->a, I64, RAX);
            place_dst_done(e, o->d, I64, place_dst(e, o->d, o->a));
        }
    }
}

static void right(struct rig *r)
{
    run(r, 5);
}

/* r8 is written in memory, its copy stays. */
static void copy_kept(struct rig *r)
{
    run(r, 1);
    assert_true(r->e.held[0] == 8 || r->e.held[1] == 8);
    place_op_end(&r->e);
    begin(r, 3);
}

static void temp_freed(struct rig *r)
{
    run(r, 2);
    unsigned i = r->e.held[0] == IR_TEMP0 ? 0 : 1;
    r->e.held[i] = IR_NONE;
    r->e.reg[IR_TEMP0] = NOREG;
}

static void temps_share(struct rig *r)
{
    run(r, 2);
    r->e.reg[IR_TEMP0 + 1] = r->e.reg[IR_TEMP0];
}

static void slot_stale(struct rig *r)
{
    run(r, 0);
    r->e.slot[0] = 3;
    r->e.current |= 1ull << 3;
}

static void lock_lost(struct rig *r)
{
    run(r, 1);
    r->e.locked = 0;
    check_see(&r->e, CHECK_READ, IR_TEMP0, r->e.reg[IR_TEMP0]);
}

static void home_behind(struct rig *r)
{
    run(r, 2);
    place_op_end(&r->e);
    begin(r, 3);
    place_forget(&r->e, 8);
    place_dst(&r->e, 8, IR_NONE); /* and never stored */
}

static int how(void (*spoil)(struct rig *))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        static struct rig r;
        signal(SIGABRT, SIG_DFL);
        close(2);
        spoil(&r);
        place_op_end(&r.e);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_checker(void **state)
{
    (void)state;
    assert_int_equal(how(right), 0);
    assert_int_equal(how(copy_kept), SIGABRT);
    assert_int_equal(how(temp_freed), SIGABRT);
    assert_int_equal(how(temps_share), SIGABRT);
    assert_int_equal(how(slot_stale), SIGABRT);
    assert_int_equal(how(lock_lost), SIGABRT);
    assert_int_equal(how(home_behind), SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_checker)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

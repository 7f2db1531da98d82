/* test/mach/board.h: a whole board for a test, and files made on the spot.
 */
#ifndef RHEA_TEST_BOARD_H
#define RHEA_TEST_BOARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "mach/mach.h"

struct board {
    struct pc pc;
    struct pc_config config;
    struct pc_requests requests;
    struct loop *loop;
    struct log log;
    struct status st;
    char path[8][32];
    unsigned files;
};

static inline void board_init(struct board *b, uint64_t ram, unsigned cpus)
{
    memset(b, 0, sizeof *b);
    b->config.ram_size = ram;
    b->config.cpus = cpus;
    assert_true(loop_init(&b->loop, &b->st));
}

static inline void board_start(struct board *b)
{
    if (!pc_init(&b->pc, &b->config, &b->requests, b->loop, &b->log, &b->st))
        fail_msg("%s", b->st.text);
}

static inline const char *board_file(struct board *b, const void *data, size_t n)
{
    char *path = b->path[b->files++];
    strcpy(path, "/tmp/rhea-test-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), n);
    close(fd);
    return path;
}

static inline void board_fini(struct board *b)
{
    pc_fini(&b->pc);
    loop_fini(b->loop);
    for (unsigned i = 0; i < b->files; i++)
        unlink(b->path[i]);
}

#endif

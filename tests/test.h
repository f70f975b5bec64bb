/* SPDX-License-Identifier: Apache-2.0 */
/* What a test program needs: checks that say both sides, and a count at the end. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int test_passed, test_failed, test_skipped;

#define CHECK(cond)                                                                                \
    ((cond) ? (void)test_passed++                                                                  \
            : (void)(test_failed++, fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond)))

#define CHECK_INT(a, op, b)                                                                        \
    do {                                                                                           \
        long long a_ = (long long)(a), b_ = (long long)(b);                                        \
        if (a_ op b_)                                                                              \
            test_passed++;                                                                         \
        else {                                                                                     \
            test_failed++;                                                                         \
            fprintf(stderr, "%s:%d: failed: %s " #op " %s: %lld and %lld\n", __FILE__, __LINE__,   \
                    #a, #b, a_, b_);                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_NUM(a, op, b)                                                                        \
    do {                                                                                           \
        double a_ = (a), b_ = (b);                                                                 \
        if (a_ op b_)                                                                              \
            test_passed++;                                                                         \
        else {                                                                                     \
            test_failed++;                                                                         \
            fprintf(stderr, "%s:%d: failed: %s " #op " %s: %.9g and %.9g\n", __FILE__, __LINE__,   \
                    #a, #b, a_, b_);                                                               \
        }                                                                                          \
    } while (0)

/* The call must succeed; prints oriel_error() if not. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        oriel_status s_ = (call);                                                                  \
        if (s_ == ORIEL_OK)                                                                        \
            test_passed++;                                                                         \
        else {                                                                                     \
            test_failed++;                                                                         \
            fprintf(stderr, "%s:%d: failed: %s: %s: %s\n", __FILE__, __LINE__, #call,              \
                    oriel_status_name(s_), oriel_error());                                         \
        }                                                                                          \
    } while (0)

/* The call must fail with this status, and say something. */
#define CHECK_FAILS(call, status)                                                                  \
    do {                                                                                           \
        oriel_status s_ = (call);                                                                  \
        if (s_ == (status) && oriel_error()[0])                                                    \
            test_passed++;                                                                         \
        else {                                                                                     \
            test_failed++;                                                                         \
            fprintf(stderr, "%s:%d: failed: %s: %s where " #status " was due\n", __FILE__,         \
                    __LINE__, #call, oriel_status_name(s_));                                       \
        }                                                                                          \
    } while (0)

#define SKIP(why) (test_skipped++, fprintf(stderr, "skipped: %s\n", why))

/* ../shared/data/..., where the project's larger test data lies; NULL where it is absent. */
static inline const char *test_data(const char *name)
{
    static char path[4][512];
    static int  turn;
    char       *p = path[turn++ & 3];
    const char *root = getenv("ORIEL_TEST_DATA");
    snprintf(p, sizeof path[0], "%s/%s", root ? root : "../shared/data", name);
    return access(p, R_OK) ? NULL : p;
}

static inline int test_end(void)
{
    printf("%d passed, %d failed, %d skipped\n", test_passed, test_failed, test_skipped);
    return test_failed ? 1 : test_passed ? 0 : 77;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static atomic_int caught;
static atomic_int idle, writing; /* writing: threads */
static atomic_long caught_at;    /* seconds */

static pthread_t reader; /* of standard input, once reading is true */
static int nothing = -1;
static atomic_int reading;

static void on_signal(int sig)
{
    struct timespec now;
    int before = errno;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((idle && !writing) || (caught && !writing && now.tv_sec > caught_at + 1))
        _exit(128 + sig);
    if (!caught) {
        caught_at = (long)now.tv_sec;
        caught = sig;
        if (reading) { /* a read that is cut short begins again, on an input that has ended */
            dup2(nothing, STDIN_FILENO);
            pthread_kill(reader, SIGUSR1);
        }
    }
    errno = before;
}

static void on_wake(int sig)
{
    (void)sig;
}

void stop_catch(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
    struct sigaction wake = {.sa_handler = on_wake, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &wake, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN) /* nohup stays */
            sigaction(signals[i], &sa, NULL);
    signal(SIGPIPE, SIG_IGN); /* a reader that has gone is an error of that output */
}

int stop_asked(void)
{
    return caught;
}

void stop_while_writing(bool on)
{
    writing += on ? 1 : -1;
}

void stop_while_idle(bool on)
{
    idle = on;
}

void stop_ends_stdin(void)
{
    if (reading || (nothing = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
        return;
    reader = pthread_self();
    reading = 1;
    if (caught) /* in between */
        dup2(nothing, STDIN_FILENO);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "video/video.h"

static oriel_status failed(const video_bytes *b)
{
    return oriel_fail(ORIEL_E_IO, "%s: %s", b->name, strerror(errno));
}

oriel_status video_bytes_open(video_bytes *b, const char *path)
{
    bool piped = !strcmp(path, "-");
    size_t n = strlen(path);
    *b = (video_bytes){.fd = -1};
    snprintf(b->name, sizeof b->name, "%s",
             piped ? "stdin" : path + (n < sizeof b->name ? 0 : n - sizeof b->name + 1));
    b->fd = piped ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    return b->fd < 0 ? failed(b) : ORIEL_OK;
}

static oriel_status fill(video_bytes *b, uint8_t *to, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size) {
        size_t left = size - *got;
        ssize_t n = read(b->fd, to + *got, left < 1 << 30 ? left : 1 << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) { /* a pipe that somebody made non-blocking */
            poll(&(struct pollfd){.fd = b->fd, .events = POLLIN}, 1, -1);
            continue;
        }
        if (n < 0)
            return failed(b);
        if (!n)
            break;
        *got += (size_t)n;
    }
    return ORIEL_OK;
}

oriel_status video_bytes_peek(video_bytes *b)
{
    size_t got;
    oriel_status s = fill(b, b->peek + b->peeked, sizeof b->peek - b->peeked, &got);
    b->peeked += got;
    return s;
}

oriel_status video_bytes_read(video_bytes *b, void *to, size_t size, size_t *got)
{
    size_t ready = b->peeked - b->at < size ? b->peeked - b->at : size;
    memcpy(to, b->peek + b->at, ready);
    b->at += ready;
    oriel_status s = fill(b, (uint8_t *)to + ready, size - ready, got);
    *got += ready;
    return s;
}

oriel_status video_bytes_some(video_bytes *b, void *to, size_t size, size_t *got)
{
    ssize_t n;
    if (b->at < b->peeked)
        return video_bytes_read(b, to, (size_t)oriel_min((int64_t)size, (int64_t)(b->peeked - b->at)), got);
    while ((n = read(b->fd, to, size)) < 0 && errno == EINTR)
        ;
    *got = n > 0 ? (size_t)n : 0;
    return n < 0 ? failed(b) : ORIEL_OK;
}

void video_bytes_close(video_bytes *b)
{
    if (b->fd > STDIN_FILENO)
        close(b->fd);
    b->fd = -1;
}

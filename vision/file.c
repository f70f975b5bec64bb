/* SPDX-License-Identifier: Apache-2.0 */
/* Files whole: read if they begin like a picture, written all or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vision/image.h"

/* ---- reading ------------------------------------------------------------------------------ */

/* Read until b holds `target` bytes or the file ends. */
static oriel_status fill(oriel_buffer *b, int fd, const char *path, size_t target, bool *end)
{
    while (!*end && b->size < target) {
        ssize_t got = read(fd, b->data + b->size, target - b->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
        *end = got == 0;
        b->size += (size_t)got;
    }
    return ORIEL_OK;
}

static oriel_status read_all(oriel_buffer *b, int fd, const char *path)
{
    oriel_status s;
    struct stat st;
    bool end = false;
    if ((s = oriel_buffer_reserve(b, ORIEL_SNIFF_BYTES)) ||
        (s = fill(b, fd, path, ORIEL_SNIFF_BYTES, &end)) ||
        (s = oriel_image_sniff(b->data, b->size)))
        return s;
    /* One byte more than the file has lets the last read see the end. */
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > (off_t)b->size &&
        (s = oriel_buffer_reserve(b, (size_t)st.st_size - b->size + 1)))
        return s;
    while (!end) {
        if (b->size == b->capacity && (s = oriel_buffer_reserve(b, 1 << 16)))
            return s;
        if ((s = fill(b, fd, path, b->capacity, &end)))
            return s;
    }
    return ORIEL_OK;
}

oriel_status oriel_file_read(oriel_buffer *out, const char *path)
{
    bool piped = !strcmp(path, "-");
    int fd = piped ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    oriel_status s = read_all(out, fd, piped ? "stdin" : path);
    if (!piped)
        close(fd);
    if (s) {
        oriel_dealloc(out->data);
        *out = (oriel_buffer){0};
    }
    return s;
}

/* ---- writing ------------------------------------------------------------------------------ */

static oriel_status write_all(int fd, const char *path, const uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t put = write(fd, bytes, size < 1 << 30 ? size : 1 << 30);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
        bytes += put;
        size -= (size_t)put;
    }
    return ORIEL_OK;
}

/* A new file in the folder of `path`: its name, to be freed, and its descriptor. The name does not
 * grow with the path's last part, which may be as long as names can be. */
static oriel_status open_temp(char **name, int *fd, const char *path)
{
    static atomic_uint turn;
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0, size = folder + 48;
    char *temp = oriel_alloc(size);
    if (!temp)
        return ORIEL_E_NOMEM;
    for (int tries = 0; tries < 1000; tries++) {
        snprintf(temp, size, "%.*s.oriel-%ld-%u.tmp", (int)folder, path, (long)getpid(),
                 atomic_fetch_add(&turn, 1));
        *fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd >= 0) {
            *name = temp;
            return ORIEL_OK;
        }
        if (errno != EEXIST)
            break;
    }
    oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    oriel_dealloc(temp);
    return ORIEL_E_IO;
}

static oriel_status exists_already(const char *path)
{
    return oriel_fail(ORIEL_E_IO, "%s: exists already, and overwriting was not asked for", path);
}

/* Claim the name with an empty file, then put the complete one in its place. */
oriel_status oriel_file_publish_by_claim(const char *temp, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno == EEXIST ? exists_already(path)
                               : oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    close(fd);
    if (!rename(temp, path))
        return ORIEL_OK;
    oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    unlink(path);
    return ORIEL_E_IO;
}

oriel_status oriel_file_publish(const char *temp, const char *path)
{
    if (!renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE))
        return ORIEL_OK;
    if (errno == EINVAL || errno == ENOSYS) /* NFS and exFAT, old kernels */
        return oriel_file_publish_by_claim(temp, path);
    return errno == EEXIST ? exists_already(path)
                           : oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
}

static oriel_status write_by_rename(const char *path, const void *bytes, size_t size,
                                    bool overwrite)
{
    char *temp;
    int fd;
    oriel_status s = open_temp(&temp, &fd, path);
    if (s)
        return s;
    s = write_all(fd, path, bytes, size);
    if (close(fd) && !s)
        s = oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    if (!s && !overwrite)
        s = oriel_file_publish(temp, path);
    else if (!s && rename(temp, path))
        s = oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    if (s)
        unlink(temp);
    oriel_dealloc(temp);
    return s;
}

/* A pipe or a device is written to, not replaced. */
static oriel_status write_through(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    oriel_status s = write_all(fd, path, bytes, size);
    if (close(fd) && !s)
        s = oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    return s;
}

oriel_status oriel_file_write(const char *path, const void *bytes, size_t size, bool overwrite)
{
    struct stat st;
    if (!strcmp(path, "-"))
        return write_all(STDOUT_FILENO, "stdout", bytes, size);
    if (stat(path, &st))
        return write_by_rename(path, bytes, size, overwrite);
    if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
        return write_through(path, bytes, size);
    if (S_ISDIR(st.st_mode))
        return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(EISDIR));
    if (!overwrite)
        return exists_already(path);
    /* Replace what a symbolic link points to, not the link. */
    char *target = realpath(path, NULL);
    if (!target)
        return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    oriel_status s = write_by_rename(target, bytes, size, true);
    free(target);
    return s;
}

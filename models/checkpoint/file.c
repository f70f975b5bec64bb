/* SPDX-License-Identifier: Apache-2.0 */
/* A file's bytes: mapped if it is a regular file, read to its end if it is a pipe. A mapped file
 * that is cut short by somebody else while it is in use raises SIGBUS, as everywhere. */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/checkpoint/format.h"

static oriel_status read_all(ckpt_file *f, int fd, const char *path)
{
    unsigned char *buf = NULL;
    size_t n = 0, cap = 0;
    for (;;) {
        if (n == cap) {
            size_t grown = cap ? cap * 2 : 1 << 16;
            unsigned char *p = oriel_realloc(buf, grown);
            if (!p) {
                oriel_dealloc(buf);
                return ORIEL_E_NOMEM;
            }
            buf = p;
            cap = grown;
        }
        ssize_t got = read(fd, buf + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            oriel_dealloc(buf);
            return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
        }
        if (!got)
            break;
        n += (size_t)got;
    }
    *f = (ckpt_file){buf, n, CKPT_READ};
    return ORIEL_OK;
}

oriel_status ckpt_file_open(ckpt_file *f, const char *path)
{
    *f = (ckpt_file){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    struct stat st;
    oriel_status s = ORIEL_OK;
    if (fstat(fd, &st)) {
        s = oriel_fail(ORIEL_E_IO, "%s: %s", path, strerror(errno));
    } else if (S_ISREG(st.st_mode) && st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            s = oriel_fail(ORIEL_E_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        else
            *f = (ckpt_file){p, (size_t)st.st_size, CKPT_MAPPED};
    } else if (S_ISDIR(st.st_mode)) {
        s = oriel_fail(ORIEL_E_IO, "%s: is a folder", path);
    } else {
        s = read_all(f, fd, path);
    }
    close(fd);
    return s;
}

void ckpt_file_close(ckpt_file *f)
{
    if (f->how == CKPT_MAPPED)
        munmap((void *)(uintptr_t)f->data, f->size);
    else if (f->how == CKPT_READ)
        oriel_dealloc((void *)(uintptr_t)f->data);
    *f = (ckpt_file){0};
}

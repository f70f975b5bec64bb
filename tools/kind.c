/* SPDX-License-Identifier: Apache-2.0 */
#include "kind.h"

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

static const char *const picture_names[] = {
    ".png",  ".jpg", ".jpeg", ".jpe",  ".bmp",  ".tga", ".pnm", ".ppm", ".pgm", ".pbm", ".pam",
    ".webp", ".tif", ".tiff", ".avif", ".heic", ".jxl", ".jp2", ".psd", ".hdr", ".exr",
};
static const char *const clip_names[] = {
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts",  ".m2ts",
    ".mts", ".wmv", ".flv", ".ogv", ".3gp",  ".gif", ".y4m", ".mxf",  ".nut",
};
static const char *const written_names[] = {".png", ".pnm", ".ppm", ".pgm", ".pam"};

static bool one_of(const char *word, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strcasecmp(word, list[i]))
            return true;
    return false;
}

#define ONE_OF(word, list) one_of(word, list, sizeof(list) / sizeof(list)[0])

path_kind kind_of_name(const char *path)
{
    if (ONE_OF(extension(path), picture_names))
        return KIND_PICTURE;
    return ONE_OF(extension(path), clip_names) ? KIND_CLIP : KIND_UNKNOWN;
}

bool kind_is_written(const char *path)
{
    return ONE_OF(extension(path), written_names);
}

/* One %d, %4d or %06d, and %% for a percent sign. */
bool kind_is_numbered(const char *path)
{
    int numbers = 0;
    for (const char *p = strchr(path, '%'); p; p = strchr(p, '%')) {
        size_t digits = strspn(++p, "0123456789");
        if (*p == '%')
            p++;
        else if (p[digits] != 'd' || digits > 2)
            return false;
        else
            numbers++;
    }
    return numbers == 1 && kind_is_written(path);
}

/* ---- content ------------------------------------------------------------------------------ */

typedef struct magic {
    path_kind kind;
    int at;
    int size;
    const char *bytes;
} magic;

static const magic magics[] = {
    {KIND_PICTURE, 0, 4, "\x89PNG"},
    {KIND_PICTURE, 0, 3, "\xff\xd8\xff"},
    {KIND_CLIP, 0, 10, "YUV4MPEG2 "},
    {KIND_CLIP, 0, 4, "GIF8"},
    {KIND_CLIP, 0, 4, "\x1a\x45\xdf\xa3"}, /* Matroska, WebM */
    {KIND_CLIP, 0, 4, "OggS"},
    {KIND_CLIP, 0, 3, "FLV"},
    {KIND_CLIP, 8, 4, "AVI "},
    {KIND_CLIP, 0, 4, "\x30\x26\xb2\x75"}, /* ASF, WMV */
    {KIND_CLIP, 0, 4, "\x00\x00\x01\xba"}, /* MPEG-PS */
    {KIND_CLIP, 0, 4, "\x00\x00\x01\xb3"}, /* MPEG video */
    {KIND_CLIP, 0, 4, "\x06\x0e\x2b\x34"}, /* MXF */
    {KIND_CLIP, 4, 4, "moov"},
    {KIND_CLIP, 4, 4, "mdat"},
    {KIND_CLIP, 4, 4, "wide"},
};

/* ISO media files share a beginning with AVIF and HEIC pictures. */
static path_kind of_ftyp(const uint8_t *b)
{
    static const char *const pictures[] = {"avif", "heic", "heix", "mif1", "jxl ", "jp2 "};
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++)
        if (!memcmp(b + 8, pictures[i], 4))
            return KIND_PICTURE;
    return KIND_CLIP;
}

static path_kind of_bytes(const uint8_t *b, size_t n)
{
    bool space = n > 2 && (b[2] == '\n' || b[2] == ' ' || b[2] == '\t' || b[2] == '\r');
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++) {
        const magic *m = &magics[i];
        if (n >= (size_t)(m->at + m->size) && !memcmp(b + m->at, m->bytes, (size_t)m->size))
            return m->kind;
    }
    if (n >= 12 && !memcmp(b + 4, "ftyp", 4))
        return of_ftyp(b);
    if (space && b[0] == 'P' && b[1] >= '1' && b[1] <= '7')
        return KIND_PICTURE;
    if (n >= 26 && b[0] == 'B' && b[1] == 'M' && !b[15] && !b[16] && !b[17]) /* small header */
        return KIND_PICTURE;
    if (n > 188 && b[0] == 0x47 && b[188] == 0x47) /* packets of MPEG-TS */
        return KIND_CLIP;
    return KIND_UNKNOWN;
}

/* What stands at the beginning of standard input, left where it is; 0 bytes where it cannot be
 * looked at. */
static size_t peek_stdin(uint8_t *to, size_t size)
{
    ssize_t n = pread(STDIN_FILENO, to, size, lseek(STDIN_FILENO, 0, SEEK_CUR));
    int ends[2];
    if (n >= 0)
        return (size_t)n;
    if ((n = recv(STDIN_FILENO, to, size, MSG_PEEK)) >= 0)
        return (size_t)n;
    if (pipe(ends))
        return 0;
    for (int tries = 0; tries < 100; tries++) { /* a slow writer's first bytes may be few */
        struct pollfd input = {STDIN_FILENO, POLLIN, 0};
        uint8_t again[256];
        ssize_t copied = tee(STDIN_FILENO, ends[1], size, 0);
        n = copied > 0 ? read(ends[0], again, size) : copied;
        if (n > 0)
            memcpy(to, again, (size_t)n);
        if (n <= 0 || (size_t)n >= 26 || (poll(&input, 1, 0) > 0 && (input.revents & POLLHUP)))
            break;
        usleep(10000);
    }
    close(ends[0]);
    close(ends[1]);
    return n > 0 ? (size_t)n : 0;
}

path_kind kind_of(const char *path)
{
    uint8_t b[256];
    ssize_t n = 0;
    if (strstr(path, "://"))
        return KIND_CLIP;
    if (!strcmp(path, "-")) {
        n = (ssize_t)peek_stdin(b, sizeof b);
    } else {
        struct stat st; /* a named pipe would lose its writer */
        int fd = !stat(path, &st) && S_ISREG(st.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        n = fd < 0 ? 0 : pread(fd, b, sizeof b, 0);
        if (fd >= 0)
            close(fd);
    }
    path_kind kind = n > 0 ? of_bytes(b, (size_t)n) : KIND_UNKNOWN;
    return kind != KIND_UNKNOWN ? kind : kind_of_name(path);
}

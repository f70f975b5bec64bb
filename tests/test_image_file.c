/* SPDX-License-Identifier: Apache-2.0 */
/* Picture files on disk and in pipes: names, refusals, nothing half written, nothing left behind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <oriel/vision.h>

#include "tests/test.h"
#include "vision/image.h"

static char folder[] = "/tmp/oriel-test-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[4][4096];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static int files_in_folder(void)
{
    DIR *d = opendir(folder);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
}

static bool holds(const char *path, const char *text)
{
    char got[256] = "";
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    size_t n = fread(got, 1, sizeof got - 1, f);
    fclose(f);
    return n == strlen(text) && !memcmp(got, text, n);
}

static oriel_image picture(int width, int height)
{
    oriel_image img;
    CHECK_OK(oriel_image_new(&img, width, height, 1, 8));
    for (int i = 0; i < width * height; i++)
        ((uint8_t *)img.data)[i] = (uint8_t)('a' + i % 26);
    return img;
}

static void test_reading(void)
{
    oriel_image img;
    CHECK_FAILS(oriel_image_read(&img, in_folder("absent.png"), NULL), ORIEL_E_IO);
    CHECK(strstr(oriel_error(), "absent.png"));
    CHECK_FAILS(oriel_image_read(&img, folder, NULL), ORIEL_E_IO);
    CHECK_FAILS(oriel_image_read(&img, NULL, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_read(NULL, "x", NULL), ORIEL_E_ARG);
    put(in_folder("empty.png"), "");
    CHECK_FAILS(oriel_image_read(&img, in_folder("empty.png"), NULL), ORIEL_E_FORMAT);
    put(in_folder("text.png"), "this is not a picture, whatever it is called");
    CHECK_FAILS(oriel_image_read(&img, in_folder("text.png"), NULL), ORIEL_E_FORMAT);
    /* By content, not by name. */
    put(in_folder("wrong.jpg"), "P5 2 1 255\nab");
    CHECK_OK(oriel_image_read(&img, in_folder("wrong.jpg"), NULL));
    CHECK(img.width == 2 && img.height == 1 && !memcmp(img.data, "ab", 2));
    oriel_image_free(&img);
    /* A file that is no picture is not read to its end: this one would not fit in memory. */
    int fd = open(in_folder("huge.mp4"), O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0 && write(fd, "\0\0\0\40ftypisom", 12) == 12 && !ftruncate(fd, (off_t)1 << 42));
    close(fd);
    CHECK_FAILS(oriel_image_read(&img, in_folder("huge.mp4"), NULL), ORIEL_E_FORMAT);
    CHECK(!img.data);
    unlink(in_folder("huge.mp4"));
    unlink(in_folder("wrong.jpg"));
    unlink(in_folder("text.png"));
    unlink(in_folder("empty.png"));
}

/* What the build left out says so and says how to get it. */
static void test_left_out(void)
{
    oriel_image img = picture(2, 2), back;
    uint8_t *bytes;
    size_t size;
    oriel_status s = oriel_image_encode(&img, &bytes, &size, NULL);
    if (WITH_PNG) {
        CHECK_INT(s, ==, ORIEL_OK);
        oriel_bytes_free(&bytes);
    } else {
        CHECK(s == ORIEL_E_UNSUPPORTED && strstr(oriel_error(), "libpng-dev"));
        CHECK_FAILS(oriel_image_decode(&back, "\x89PNG\r\n\x1a\n....", 12, NULL),
                    ORIEL_E_UNSUPPORTED);
        CHECK(strstr(oriel_error(), "libpng-dev"));
    }
    s = oriel_image_decode(&back, "\xff\xd8\xff....", 7, NULL);
    CHECK_INT(s, ==, WITH_STB ? ORIEL_E_FORMAT : ORIEL_E_UNSUPPORTED);
    CHECK(WITH_STB || strstr(oriel_error(), "libstb-dev"));
    oriel_image_free(&img);
}

static void test_writing(void)
{
    static const char *want = "P5\n2 1\n255\nab", *other = "P5\n1 1\n255\na";
    oriel_image img = picture(2, 1), small = picture(1, 1), back;
    oriel_image_write_options over = {.overwrite = true};
    char path[64], relative[64];
    snprintf(path, sizeof path, "%s/out.PGM", folder);

    CHECK_FAILS(oriel_image_write(&img, in_folder("out.webp"), NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_write(&img, in_folder("png"), NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_write(&img, NULL, NULL), ORIEL_E_ARG);
    CHECK_FAILS(oriel_image_write(&img, in_folder("no/such.pgm"), NULL), ORIEL_E_IO);
    CHECK_INT(files_in_folder(), ==, 0);

    umask(027);
    CHECK_OK(oriel_image_write(&img, path, NULL));
    struct stat st;
    CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0640);
    CHECK(holds(path, want));
    CHECK_OK(oriel_image_read(&back, path, NULL));
    CHECK(back.width == 2 && !memcmp(back.data, "ab", 2));
    oriel_image_free(&back);
    CHECK_FAILS(oriel_image_write(&small, path, NULL), ORIEL_E_IO);
    CHECK(holds(path, want));
    CHECK_OK(oriel_image_write(&small, path, &over));
    CHECK(holds(path, other));
    CHECK_INT(files_in_folder(), ==, 1);

    /* Through a link, the file changes and the link stays. */
    CHECK(!symlink("out.PGM", in_folder("link.pgm")));
    CHECK_FAILS(oriel_image_write(&img, in_folder("link.pgm"), NULL), ORIEL_E_IO);
    CHECK_OK(oriel_image_write(&img, in_folder("link.pgm"), &over));
    CHECK(!lstat(in_folder("link.pgm"), &st) && S_ISLNK(st.st_mode) && holds(path, want));
    unlink(path); /* now the link leads nowhere: still something that is there */
    CHECK_FAILS(oriel_image_write(&img, in_folder("link.pgm"), NULL), ORIEL_E_IO);
    unlink(in_folder("link.pgm"));
    CHECK(!mkdir(in_folder("d.pgm"), 0700));
    CHECK_FAILS(oriel_image_write(&img, in_folder("d.pgm"), &over), ORIEL_E_IO);
    CHECK(!rmdir(in_folder("d.pgm")));

    /* A name as long as names can be, and one without a folder. */
    char name[256];
    memset(name, 'x', 255);
    memcpy(name + 251, ".pgm", 5);
    CHECK_OK(oriel_image_write(&img, in_folder(name), NULL));
    unlink(in_folder(name));
    snprintf(relative, sizeof relative, "oriel-test-%ld.pgm", (long)getpid());
    CHECK(!chdir(folder));
    CHECK_OK(oriel_image_write(&img, relative, NULL));
    CHECK(holds(relative, want));
    unlink(relative);
    CHECK_INT(files_in_folder(), ==, 0);
    oriel_image_free(&img);
    oriel_image_free(&small);
}

/* Both ways to give a name only once, of which the first does on this filesystem. */
static void test_publishing(void)
{
    oriel_status (*const ways[])(const char *, const char *) = {oriel_file_publish,
                                                                oriel_file_publish_by_claim};
    for (int i = 0; i < 2; i++) {
        put(in_folder("temp"), "new");
        CHECK_OK(ways[i](in_folder("temp"), in_folder("file")));
        CHECK(holds(in_folder("file"), "new") && access(in_folder("temp"), F_OK));
        put(in_folder("temp"), "newer");
        CHECK_FAILS(ways[i](in_folder("temp"), in_folder("file")), ORIEL_E_IO);
        CHECK(strstr(oriel_error(), "exists"));
        CHECK(holds(in_folder("file"), "new") && holds(in_folder("temp"), "newer"));
        unlink(in_folder("file"));
        unlink(in_folder("temp"));
        CHECK_FAILS(ways[i](in_folder("temp"), in_folder("file")), ORIEL_E_IO);
        CHECK_INT(files_in_folder(), ==, 0);
    }
}

/* Of many that write one new name at once, one does. */
static void test_race(void)
{
    enum { WRITERS = 8, ROUNDS = 20 };
    for (int round = 0; round < ROUNDS; round++) {
        int winners = 0, losers = 0;
        pid_t child[WRITERS];
        for (int i = 0; i < WRITERS; i++)
            if (!(child[i] = fork())) {
                oriel_image img = picture(100, 100);
                memset(img.data, i, 100 * 100);
                oriel_status s = oriel_image_write(&img, in_folder("race.pgm"), NULL);
                _exit(s == ORIEL_OK ? 0 : s == ORIEL_E_IO ? 1 : 2);
            }
        for (int i = 0; i < WRITERS; i++) {
            int status = -1;
            waitpid(child[i], &status, 0);
            winners += WIFEXITED(status) && WEXITSTATUS(status) == 0;
            losers += WIFEXITED(status) && WEXITSTATUS(status) == 1;
        }
        CHECK_INT(winners, ==, 1);
        CHECK_INT(losers, ==, WRITERS - 1);
        CHECK_INT(files_in_folder(), ==, 1);
        unlink(in_folder("race.pgm"));
    }
}

/* When the disk is full, nothing is left behind and what was there stays. */
static void test_full_disk(void)
{
    put(in_folder("full.pgm"), "old");
    for (int overwrite = 0; overwrite < 2; overwrite++) {
        pid_t child = fork();
        if (!child) {
            oriel_image img = picture(100, 100);
            oriel_image_write_options opt = {.overwrite = overwrite};
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
            oriel_status s =
                oriel_image_write(&img, in_folder(overwrite ? "full.pgm" : "new.pgm"), &opt);
            _exit(s == ORIEL_E_IO && strstr(oriel_error(), strerror(EFBIG)) ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK_INT(files_in_folder(), ==, 1);
        CHECK(holds(in_folder("full.pgm"), "old"));
    }
    unlink(in_folder("full.pgm"));
    oriel_image img = picture(100, 100);
    CHECK_FAILS(oriel_image_write(&img, "/dev/full",
                                  &(oriel_image_write_options){.format = ORIEL_IMAGE_PNM}),
                ORIEL_E_IO);
    CHECK_OK(oriel_image_write(&img, "/dev/null",
                               &(oriel_image_write_options){.format = ORIEL_IMAGE_PNM}));
    struct stat st;
    CHECK(!stat("/dev/null", &st) && S_ISCHR(st.st_mode));
    oriel_image_free(&img);
}

static void test_no_memory(void)
{
    oriel_image img = picture(3, 3), back;
    oriel_image_write_options opt = {.format = ORIEL_IMAGE_PNM};
    oriel_status s = ORIEL_E_NOMEM;
    int n = 1;
    for (; s && n < 100; n++) {
        oriel_alloc_fail_at((uint64_t)n);
        s = oriel_image_write(&img, in_folder("m.pgm"), &opt);
        CHECK(s == ORIEL_OK || (s == ORIEL_E_NOMEM && files_in_folder() == 0));
    }
    CHECK_INT(n, >, 2);
    s = ORIEL_E_NOMEM;
    for (n = 1; s && n < 100; n++) {
        oriel_alloc_fail_at((uint64_t)n);
        s = oriel_image_read(&back, in_folder("m.pgm"), NULL);
        CHECK(s == ORIEL_OK || (s == ORIEL_E_NOMEM && !back.data));
    }
    CHECK_INT(n, >, 2);
    oriel_alloc_fail_at(0);
    unlink(in_folder("m.pgm"));
    oriel_image_free(&back);
    oriel_image_free(&img);
}

/* Through pipes, in pieces, more than a pipe holds. */
static void test_pipes(void)
{
    oriel_image img = picture(1000, 300), back;
    oriel_image_write_options opt = {.format = ORIEL_IMAGE_PNM};
    int ends[2], in = dup(STDIN_FILENO), status = -1;
    CHECK(!pipe(ends));
    pid_t child = fork();
    if (!child) {
        close(ends[0]);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[1]);
        if (write(STDOUT_FILENO, "P5", 2) != 2) /* a first piece too short to tell what comes */
            _exit(1);
        usleep(20000);
        uint8_t *bytes;
        size_t size;
        if (oriel_image_encode(&img, &bytes, &size, &opt) || write(1, bytes + 2, size - 2) < 0)
            _exit(1);
        _exit(0);
    }
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    CHECK_OK(oriel_image_read(&back, "-", NULL));
    CHECK(back.width == 1000 && back.height == 300 && !memcmp(img.data, back.data, 300000));
    oriel_image_free(&back);
    CHECK_FAILS(oriel_image_read(&back, "-", NULL), ORIEL_E_FORMAT); /* at its end: an empty file */
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    dup2(in, STDIN_FILENO);
    close(in);

    int out = dup(STDOUT_FILENO), fd = open(in_folder("stdout"), O_WRONLY | O_CREAT, 0600);
    dup2(fd, STDOUT_FILENO);
    oriel_status s = oriel_image_write(&img, "-", &opt);
    dup2(out, STDOUT_FILENO);
    close(out);
    close(fd);
    CHECK_INT(s, ==, ORIEL_OK);
    CHECK_OK(oriel_image_read(&back, in_folder("stdout"), NULL));
    CHECK(!memcmp(img.data, back.data, 300000));
    oriel_image_free(&back);
    unlink(in_folder("stdout"));
    oriel_image_free(&img);
}

int main(void)
{
    if (!mkdtemp(folder))
        return perror(folder), 1;
    test_reading();
    test_left_out();
    test_writing();
    test_publishing();
    test_race();
    test_full_disk();
    test_no_memory();
    test_pipes();
    CHECK(!rmdir(folder));
    return test_end();
}

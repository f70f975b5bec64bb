/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints that are cut short, damaged, hostile or of another kind; memory that runs out. */
#include "tests/checkpoint_samples.h"

/* Every file that opens; none of them may open with a byte less. */
static const char *const good[] = {
    "args.pth",         "big_endian.pth", "deflated.pth",  "legacy_types.pth",
    "legacy_views.pth", "lightning.pth",  "module.pth",    "numpy2.pkl",
    "numpy4.pkl",       "numpy5.pkl",     "wrapped.pth",   "zip64.pth",
    "zip_rare.pth",     "zip_types.pth",  "zip_views.pth", "zip_protocol4.pth",
};
enum { GOOD = sizeof good / sizeof *good };

/* The bytes in a block of exactly n bytes, so that ASan sees one too many. */
static oriel_status parse_exact(oriel_checkpoint **c, const unsigned char *p, size_t n)
{
    unsigned char *copy = malloc(n ? n : 1);
    if (!copy)
        exit(1);
    memcpy(copy, p, n);
    oriel_status s = ckpt_parse(c, copy, n, NULL);
    float sum = 0;
    for (int64_t i = 0; !s && i < ckpt_count(*c); i++) {
        const oriel_tensor *t = ckpt_tensor(*c, i);
        float v[64];
        if (ckpt_find(*c, ckpt_name(*c, i)) != t)
            CHECK(!"a listed tensor is found");
        if (oriel_tensor_count(t) <= 64) {
            ckpt_to_f32(t, v);
            for (int64_t k = 0; k < oriel_tensor_count(t); k++)
                sum += v[k];
        }
    }
    snprintf((char[32]){0}, 32, "%g", sum); /* so that no read is left out */
    if (!s)
        oriel_checkpoint_free(c);
    free(copy);
    return s;
}

static bool clean(oriel_status s, const oriel_checkpoint *c)
{
    return s && !c && oriel_error()[0] && (s == ORIEL_E_FORMAT || s == ORIEL_E_UNSUPPORTED);
}

static void test_cut_short(void)
{
    for (int f = 0; f < GOOD; f++) {
        bytes b = golden(good[f]);
        size_t opened = 0;
        for (size_t n = 0; n < b.n; n++) {
            oriel_checkpoint *c = NULL;
            opened += !clean(parse_exact(&c, b.p, n), c);
        }
        if (opened)
            fprintf(stderr, "%s: %zu of %zu\n", good[f], opened, b.n);
        CHECK_INT(opened, ==, 0);
        oriel_checkpoint *c = NULL;
        CHECK_OK(parse_exact(&c, b.p, b.n));
        free(b.p);
    }
}

/* Every byte changed in three ways: it opens, or it says why not. */
static void test_damaged(void)
{
    static const unsigned char change[] = {0x01, 0x80, 0xff};
    for (int f = 0; f < GOOD; f++) {
        bytes b = golden(good[f]);
        size_t wrong = 0, refused = 0;
        for (size_t i = 0; i < b.n; i++) {
            for (size_t k = 0; k < sizeof change; k++) {
                oriel_checkpoint *c = NULL;
                b.p[i] ^= change[k];
                oriel_status s = parse_exact(&c, b.p, b.n);
                wrong += s && !clean(s, c);
                refused += s != ORIEL_OK;
                b.p[i] ^= change[k];
            }
        }
        CHECK_INT(wrong, ==, 0);
        CHECK_INT(refused, >, 0);
        free(b.p);
    }
}

/* ---- files of another kind ----------------------------------------------------------------------
 */

static void refuses(const void *p, size_t n, oriel_status want, const char *text)
{
    oriel_checkpoint *c = NULL;
    oriel_status s = parse_exact(&c, p, n);
    CHECK_INT(s, ==, want);
    CHECK(strstr(oriel_error(), text));
    if (!strstr(oriel_error(), text))
        fprintf(stderr, "  said: %s\n  due: %s\n", oriel_error(), text);
}

static void test_other_kinds(void)
{
    static const struct {
        const char *file, *text;
        oriel_status status;
    } files[] = {
        {"bzip2.pth", "method 12", ORIEL_E_UNSUPPORTED},
        {"torchscript.pt", "TorchScript", ORIEL_E_UNSUPPORTED},
        {"module_object.pth", "torch.nn.modules.linear.Linear", ORIEL_E_UNSUPPORTED},
        {"list.pth", "no dictionary", ORIEL_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        bytes b = golden(files[i].file);
        refuses(b.p, b.n, files[i].status, files[i].text);
        free(b.p);
    }
    char tar[512] = "pickle";
    memcpy(tar + 257, "ustar", 5);
    refuses("", 0, ORIEL_E_FORMAT, "empty");
    refuses("not a checkpoint", 16, ORIEL_E_FORMAT, "neither");
    refuses("version https://git-lfs.github.com/spec/v1\n", 43, ORIEL_E_UNSUPPORTED, "LFS");
    refuses("<!DOCTYPE html>", 15, ORIEL_E_UNSUPPORTED, "web page");
    refuses("GGUF\3\0\0\0", 8, ORIEL_E_UNSUPPORTED, "GGUF");
    refuses("\x1f\x8b\x08", 3, ORIEL_E_UNSUPPORTED, "gzip");
    refuses(tar, sizeof tar, ORIEL_E_UNSUPPORTED, "tar");
    refuses("{\"weight_map\":{}}", 17, ORIEL_E_UNSUPPORTED, "index");
    refuses("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22, ORIEL_E_FORMAT, "data.pkl");
}

/* A build without JSON says so. */
static void test_json(void)
{
    bytes b = safetensors("{}", 0);
    oriel_checkpoint *c = NULL;
    if (WITH_JSON)
        CHECK_OK(parse_exact(&c, b.p, b.n));
    else
        refuses(b.p, b.n, ORIEL_E_UNSUPPORTED, "ORIEL_JSON=OFF");
    free(b.p);
}

/* A zip whose entries are given the same name, or made to overlap */
static void test_zip_directory(void)
{
    bytes b = golden("zip_types.pth");
    unsigned char *end = b.p + b.n - 22;
    while (memcmp(end, "PK\5\6", 4) != 0)
        end--;
    uint32_t at;
    memcpy(&at, end + 16, 4);
    unsigned char *first = b.p + at;
    size_t name = first[28], next = 46 + name + first[30] + first[32];
    unsigned char *second = first + next, keep[4];
    CHECK(!memcmp(second, "PK\1\2", 4));

    memcpy(keep, second + 42, 4); /* both at the first one's place: two names for one entry */
    memcpy(second + 42, first + 42, 4);
    refuses(b.p, b.n, ORIEL_E_FORMAT, "two names");
    memcpy(second + 42, keep, 4);

    memcpy(keep, first + 20, 4); /* longer by 64: into the next one's header */
    first[20] = (unsigned char)(first[20] + 64), first[24] = first[20];
    first[21] = (unsigned char)(first[21] + 1), first[25] = first[21];
    refuses(b.p, b.n, ORIEL_E_FORMAT, "overlap");
    memcpy(first + 20, keep, 4);
    memcpy(first + 24, keep, 4);

    first[8] |= 1; /* encrypted: the pickle is the first entry */
    refuses(b.p, b.n, ORIEL_E_UNSUPPORTED, "encrypted");
    first[8] &= 0xfe;
    oriel_checkpoint *c = NULL;
    CHECK_OK(parse_exact(&c, b.p, b.n));
    free(b.p);
}

/* ---- hostile pickles ----------------------------------------------------------------------------
 */

static char pickle[1 << 20];
static size_t length;

static void put(const char *p, size_t n)
{
    memcpy(pickle + length, p, n);
    length += n;
}
#define PUT(text) put(text, sizeof(text) - 1)

static void begin(void)
{
    length = 0;
    PUT("\x80\x02");
}

static void test_hostile_pickles(void)
{
    begin(); /* lists within lists, built from inside: no mark is open */
    for (PUT("]"); length < 500000;)
        PUT("\x85");
    PUT(".");
    refuses(pickle, length, ORIEL_E_FORMAT, "no dictionary");

    begin();
    for (int i = 0; i < 257; i++)
        PUT("(");
    refuses(pickle, length, ORIEL_E_FORMAT, "256 levels");
    begin();
    for (int i = 0; i < 256; i++)
        PUT("(");
    PUT(".");
    refuses(pickle, length, ORIEL_E_FORMAT, "open mark");

    begin(); /* doubling through the memo: 2^60 items, were they copied */
    PUT("]q\1");
    for (int i = 0; i < 60; i++)
        PUT("]q\1(h\1h\1e");
    PUT(".");
    length -= 0;
    refuses(pickle, length, ORIEL_E_FORMAT, "no dictionary");

    begin(); /* a dictionary within itself, in many places */
    PUT("}q\0(");
    for (int i = 0; i < 1000; i++)
        PUT("X\1\0\0\0ah\0");
    PUT("u.");
    refuses(pickle, length, ORIEL_E_FORMAT, "no dictionary");

    begin(); /* one list copied into many dictionaries */
    PUT("](");
    for (int i = 0; i < 1000; i++)
        PUT("NN\x86");
    PUT("e\x85q\1"
        "0"
        "ccollections\nOrderedDict\nq\2");
    for (int i = 0; i < 1000; i++)
        PUT("h\2h\1R");
    PUT(".");
    refuses(pickle, length, ORIEL_E_FORMAT, "more copies");

    begin(); /* memory for an index that nothing was written for */
    PUT("Nr\xff\xff\x3f\0.");
    refuses(pickle, length, ORIEL_E_FORMAT, "memo index");
    begin();
    PUT("h\5.");
    refuses(pickle, length, ORIEL_E_FORMAT, "never set");
    begin();
    PUT("X\xff\xff\xff\xff.");
    refuses(pickle, length, ORIEL_E_FORMAT, "16 MB");
    begin();
    PUT("B\xff\xff\xff\x0f.");
    refuses(pickle, length, ORIEL_E_FORMAT, "ends early");
}

static void test_broken_pickles(void)
{
    static const struct {
        const char *text;
        size_t n;
        const char *says;
        oriel_status status;
    } cases[] = {
#define CASE(text, says, status) {"\x80\x02" text, sizeof(text) + 1, says, status}
        CASE("R.", "stack is empty", ORIEL_E_FORMAT),
        CASE("NN(R.", "stack is empty", ORIEL_E_FORMAT), /* the mark hides what is below it */
        CASE("(.", "open mark", ORIEL_E_FORMAT),
        CASE(".", "empty stack", ORIEL_E_FORMAT),
        CASE("t.", "mark is missing", ORIEL_E_FORMAT),
        CASE("(Nd.", "key without a value", ORIEL_E_FORMAT),
        CASE("NNa.", "no list", ORIEL_E_FORMAT),
        CASE("NNNs.", "no dictionary", ORIEL_E_FORMAT),
        CASE("NN\x93.", "name is no text", ORIEL_E_FORMAT),
        CASE("cos\nsystem", "without an end", ORIEL_E_FORMAT),
        CASE("p0\n.", "opcode 0x70", ORIEL_E_UNSUPPORTED),
        CASE("\x80\x06.", "protocol", ORIEL_E_FORMAT),
        /* the classic attack: nothing happens, and there is no tensor */
        CASE("cos\nsystem\nX\2\0\0\0ls\x85R.", "no dictionary", ORIEL_E_FORMAT),
#define TENSOR "ctorch._utils\n_rebuild_tensor_v2\n"
        CASE("}X\1\0\0\0w" TENSOR ")Rs.", "torch never writes", ORIEL_E_FORMAT),
        CASE("}X\1\0\0\0w" TENSOR "NRs.", "torch never writes", ORIEL_E_FORMAT),
        CASE("}(X\1\0\0\0w" TENSOR ")RX\1\0\0\0w" TENSOR ")Ru.", "two tensors", ORIEL_E_FORMAT),
        CASE("}X\0\0\0\0" TENSOR ")Rs.", "name", ORIEL_E_FORMAT),
        CASE("}X\3\0\0\0a\0b" TENSOR ")Rs.", "zero byte", ORIEL_E_FORMAT),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuses(cases[i].text, cases[i].n, cases[i].status, cases[i].says);
}

/* ---- a legacy file whose tensor does what no tensor may -----------------------------------------
 */

/* A torch legacy file with one storage of four floats and one tensor of these sizes and strides,
 * all below 256, at this offset; count is what the tensor claims of its storage. */
static void legacy(int offset, int count, int size0, int size1, int stride0, int stride1)
{
    const char numbers[6] = {(char)offset, (char)count,   (char)size0,
                             (char)size1,  (char)stride0, (char)stride1};
    length = 0;
    PUT("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    PUT("\x80\x02M\xe9\x03.");
    PUT("\x80\x02}.");
    PUT("\x80\x02}X\1\0\0\0w" TENSOR
        "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0kX\3\0\0\0cpuK");
    put(numbers + 1, 1);
    PUT("NtQK");
    put(numbers, 1);
    PUT("K"), put(numbers + 2, 1), PUT("K"), put(numbers + 3, 1), PUT("\x86K");
    put(numbers + 4, 1), PUT("K"), put(numbers + 5, 1), PUT("\x86\x89}tRs.");
    PUT("\x80\x02]X\1\0\0\0ka.");
    PUT("\4\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40");
}

static void test_views_out_of_bounds(void)
{
    oriel_checkpoint *c = NULL;
    legacy(0, 4, 2, 2, 2, 1);
    CHECK_OK(ckpt_parse(&c, pickle, length, NULL));
    if (c) {
        float v[4];
        ckpt_to_f32(ckpt_find(c, "w"), v);
        CHECK(v[0] == 1 && v[1] == 2 && v[2] == 3 && v[3] == 4);
    }
    oriel_checkpoint_free(&c);
    legacy(1, 4, 3, 1, 1, 1); /* up to the last element */
    CHECK_OK(parse_exact(&c, (unsigned char *)pickle, length));
    legacy(4, 4, 0, 2, 1, 1); /* empty, at the end */
    CHECK_OK(parse_exact(&c, (unsigned char *)pickle, length));
    legacy(3, 4, 9, 9, 0, 0); /* the last one, eighty-one times */
    CHECK_OK(parse_exact(&c, (unsigned char *)pickle, length));
    legacy(1, 4, 2, 2, 2, 1);
    refuses(pickle, length, ORIEL_E_FORMAT, "leaves the storage");
    legacy(4, 4, 1, 1, 1, 1);
    refuses(pickle, length, ORIEL_E_FORMAT, "leaves the storage");
    legacy(5, 4, 0, 1, 1, 1);
    refuses(pickle, length, ORIEL_E_FORMAT, "leaves the storage");
    legacy(0, 4, 2, 2, 3, 1);
    refuses(pickle, length, ORIEL_E_FORMAT, "leaves the storage");
    legacy(0, 5, 2, 2, 2, 1);
    refuses(pickle, length, ORIEL_E_FORMAT, "storage k has 16 bytes");
}

/* ---- memory -------------------------------------------------------------------------------------
 */

static void test_no_memory(void)
{
    for (int f = 0; f < GOOD; f++) {
        bytes b = golden(good[f]);
        oriel_status s = ORIEL_E_NOMEM;
        uint64_t n = 1;
        for (; s == ORIEL_E_NOMEM && n < 1000; n++) {
            oriel_checkpoint *c = NULL;
            oriel_alloc_fail_at(n);
            s = ckpt_parse(&c, b.p, b.n, &(oriel_checkpoint_options){.sha256 = true});
            oriel_alloc_fail_at(0);
            if (s != ORIEL_OK && s != ORIEL_E_NOMEM)
                fprintf(stderr, "%s: request %llu: %s\n", good[f], (unsigned long long)n,
                        oriel_error());
            CHECK(!s == !!c);
            oriel_checkpoint_free(&c);
        }
        CHECK_INT(s, ==, ORIEL_OK);
        CHECK_INT(n, >, 5);
        free(b.p);
    }
}

int main(void)
{
    test_cut_short();
    test_damaged();
    test_other_kinds();
    test_json();
    test_zip_directory();
    test_hostile_pickles();
    test_broken_pickles();
    test_views_out_of_bounds();
    test_no_memory();
    return test_end();
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The window law (attn2d3d/window.h) against predicates "may query i see key j" written from the
 * papers, for every axis up to 20 tokens and every option:
 *   neighbourhood (arXiv 2504.16922) by search: of all runs of `size` keys of the residue class, the
 *   one whose middle lies nearest the leader of i's stride group; causal: those that end at i;
 *   shifted windows (arXiv 2103.14030): roll, partition, slices of the mask; what lies beside them (HAT,
 *   arXiv 2205.04437) by distance to any of their tokens;
 *   sliding and causal windows by distance;
 *   pooled keys (SRFormer, arXiv 2303.09735): the key is seen with each of its tokens.
 * Axes that are padded have keys before their first and after their last token.
 */
#include "attn2d3d/window.h"

#include "test.h"

enum { MOST = 20 };

typedef bool sees(oriel_axis a, int n, int i, int j);

static int whole(int v, int zero) /* a field whose zero means something else */
{
    return v ? v : zero;
}

/* Search: the tokens of i's class are numbered 0, 1, ...; stride groups are `stride` of them, the
 * leader is the middle one (right of it if even), the last one if causal, the class's last at most. */
static bool sees_neighbor(oriel_axis a, int n, int i, int j)
{
    int size = whole(a.size, n), d = whole(a.dilation, 1), s = whole(a.stride, 1);
    if (j % d != i % d)
        return false;
    int m = 0, own = 0, key = 0;
    for (int k = i % d; k < n; k += d, m++) {
        own = k == i ? m : own;
        key = k == j ? m : key;
    }
    int group = own / s, lead = -1;
    for (int k = 0, seen = 0; k < m; k++)
        if (k / s == group && (a.causal || seen++ <= s / 2))
            lead = k;
    if (a.causal)
        return key <= own && lead - key < size;
    int best = -1, far = MOST * 4;
    for (int first = 0; first + size <= m; first++) {
        int off = abs(first + size / 2 - lead);
        if (off < far)
            far = off, best = first;
    }
    return key >= best && key < best + size;
}

/* Roll the axis by -shift, cut it into windows, forbid what the mask's slices part: 0 .. n - size,
 * n - size .. n - shift, the rest. An axis that is no multiple is a longer one whose last tokens are
 * not there. */
static bool sees_block(oriel_axis a, int n, int i, int j)
{
    int size = whole(a.size, n), s = a.shift, all = (n + size - 1) / size * size;
    int ri = (i - s + all) % all, rj = (j - s + all) % all;
    int ci = ri < all - size ? 0 : ri < all - s ? 1 : 2, cj = rj < all - size ? 0 : rj < all - s ? 1 : 2;
    return ri / size == rj / size && ci == cj && !(a.causal && j > i);
}

static bool sees_slide(oriel_axis a, int n, int i, int j)
{
    (void)n;
    return i - j <= a.left && j - i <= a.right && !(a.causal && j > i);
}

/* A block and what lies up to `left` before it, `right` after it; padded: of an axis of whole blocks, and
 * not cut at its ends. */
static bool sees_overlap(oriel_axis a, int n, int i, int j, bool padded)
{
    int size = whole(a.size, n), all = padded ? (n + size - 1) / size * size : n;
    if (!padded && (j < 0 || j >= n))
        return false;
    for (int k = 0; k < all; k++)
        if (j >= k - a.left && j <= k + a.right && !(a.causal && j > i) &&
            sees_block((oriel_axis){.size = a.size, .shift = a.shift}, n, i, k))
            return true;
    return false;
}

/* Every key of a span is one that the predicate names, and no other is. */
static void check_overlap(oriel_axis a, int n)
{
    int bad = 0;
    for (int padded = 0; padded < 2; padded++)
        for (int i = 0; i < n; i++) {
            oriel_span s = oriel_axis_keys(a, n, 1, padded != 0, i);
            for (int j = -2 * n; j < 3 * n; j++)
                bad += (j >= s.first && j < s.first + s.count) != sees_overlap(a, n, i, j, padded != 0);
        }
    CHECK(!bad);
}

static void test_overlap(void)
{
    for (int n = 1; n <= 9; n++)
        for (int size = 0; size <= n; size++)
            for (int shift = 0; shift < whole(size, n); shift++)
                for (int left = 0; left <= n; left++)
                    for (int right = 0; right <= n; right++)
                        check_overlap((oriel_axis){.kind = ORIEL_AXIS_BLOCK, .size = size, .shift = shift, .left = left,
                                                   .right = right, .causal = right % 3 == 2}, n);
    for (int n = 1; n <= MOST; n++) /* pooled: a block of the keys that its tokens' blocks stand for */
        for (int pool = 2; pool * n <= MOST; pool++)
            for (int size = 1; size <= n; size++)
                for (int i = 0; i < n * pool; i++) {
                    oriel_axis a = {.kind = ORIEL_AXIS_BLOCK, .size = size * pool, .shift = size / 2 * pool}, b = a;
                    b.size = size, b.shift = size / 2;
                    oriel_span s = oriel_axis_keys(a, n, pool, false, i), t = oriel_axis_span(b, n, i / pool);
                    CHECK(s.first == t.first && s.count == t.count && s.step == 1);
                }
}

static bool sees_full(oriel_axis a, int n, int i, int j)
{
    (void)n;
    return !(a.causal && j > i);
}

static long pairs;

/* One axis, one query after the other: the keys are those of the predicate, each once, and within a
 * residue class both ends grow. */
static void check_axis(oriel_axis a, int n, sees *may)
{
    int        d = a.kind == ORIEL_AXIS_NEIGHBOR ? whole(a.dilation, 1) : 1, bad = 0;
    oriel_span before[MOST];
    for (int i = 0; i < n; i++) {
        oriel_span s = oriel_axis_span(a, n, i);
        bool       seen[MOST] = {false};
        bad += s.step != d || s.count < 1;
        for (int k = 0; k < s.count; k++) {
            int j = s.first + k * s.step;
            bad += j < 0 || j >= n || seen[j];
            if (j >= 0 && j < n)
                seen[j] = true;
        }
        for (int j = 0; j < n; j++, pairs++)
            bad += seen[j] != may(a, n, i, j);
        bad += !seen[i]; /* a query always sees itself */
        if (i >= d)
            bad += s.first < before[i - d].first || s.first + s.count * s.step <
                                                        before[i - d].first + before[i - d].count * d;
        before[i] = s;
    }
    CHECK(!bad);
    if (bad)
        fprintf(stderr, "kind %d n %d size %d stride %d dilation %d shift %d left %d right %d causal %d\n",
                (int)a.kind, n, a.size, a.stride, a.dilation, a.shift, a.left, a.right, a.causal);
}

static void check_both(oriel_axis a, int n, sees *may)
{
    for (int causal = 0; causal < 2; causal++) {
        a.causal = causal;
        check_axis(a, n, may);
    }
}

static void test_every_axis(void)
{
    for (int n = 1; n <= MOST; n++) {
        check_both((oriel_axis){0}, n, sees_full);
        for (int left = 0; left <= n; left++)
            for (int right = 0; right <= n; right++)
                check_both((oriel_axis){.kind = ORIEL_AXIS_SLIDE, .left = left, .right = right}, n, sees_slide);
        for (int size = 0; size <= n; size++) /* 0: the whole axis */
            for (int shift = 0; shift < whole(size, n); shift++)
                check_both((oriel_axis){.kind = ORIEL_AXIS_BLOCK, .size = size, .shift = shift}, n, sees_block);
        for (int size = 0; size <= n; size++)
            for (int stride = 0; stride <= whole(size, n); stride++)
                for (int d = 0; d * whole(size, n) <= n; d++)
                    check_both((oriel_axis){.kind = ORIEL_AXIS_NEIGHBOR, .size = size, .stride = stride,
                                            .dilation = d}, n, sees_neighbor);
    }
}

/* ---- beside the block, and past the ends -------------------------------------------------- */

static bool holds(oriel_span s, int j)
{
    return j >= s.first && j < s.first + s.count;
}

/* Both ways to end an axis; first, last: of the tokens of i's block on the padded axis. */
static int wrong_beside(int first, int last, oriel_axis a, int n, int i)
{
    oriel_span s = oriel_axis_keys(a, n, 1, true, i), cut = oriel_axis_span(a, n, i), same = oriel_axis_keys(a, n, 1, false, i);
    int bad = s.step != 1 || cut.step != 1 || same.first != cut.first || same.count != cut.count || s.count < 1;
    for (int j = -n - 1; j <= 3 * n + 1; j++, pairs++) {
        bool due = first - j <= a.left && j - last <= a.right && !(a.causal && j > i);
        bad += holds(s, j) != due;
        bad += holds(cut, j) != (due && j >= 0 && j < n);
    }
    return bad;
}

/* Every `left`, `right` and causal about the blocks of one size and shift. */
static bool beside_blocks(int n, int size, int shift)
{
    int first[MOST], last[MOST], side = whole(size, n), all = (n + side - 1) / side * side, bad = 0;
    for (int i = 0; i < n; i++) {
        first[i] = last[i] = -1;
        for (int j = 0; j < all; j++)
            if (sees_block((oriel_axis){.size = side, .shift = shift}, all, i, j)) {
                first[i] = first[i] < 0 ? j : first[i];
                last[i] = j;
            }
    }
    for (int k = 0; k < 2 * (n + 1) * (n + 1); k++) {
        oriel_axis a = {.kind = ORIEL_AXIS_BLOCK, .size = size, .shift = shift, .causal = k % 2,
                        .left = k / 2 % (n + 1), .right = k / 2 / (n + 1)};
        for (int i = 0; i < n; i++)
            bad += wrong_beside(first[i], last[i], a, n, i);
    }
    if (bad)
        fprintf(stderr, "n %d size %d shift %d: %d wrong\n", n, size, shift, bad);
    return !bad;
}

static void test_overlapping_blocks(void)
{
    for (int n = 1; n <= MOST; n++)
        for (int size = 0; size <= n; size++)
            for (int shift = 0; shift < whole(size, n); shift++)
                CHECK(beside_blocks(n, size, shift));
}

static void test_padded_slides(void)
{
    int bad = 0;
    for (int n = 1; n <= MOST; n++)
        for (int k = 0; k < 2 * (n + 1) * (n + 1); k++)
            for (int i = 0; i < n; i++) {
                oriel_axis a = {.kind = ORIEL_AXIS_SLIDE, .causal = k % 2, .left = k / 2 % (n + 1), .right = k / 2 / (n + 1)};
                oriel_span s = oriel_axis_keys(a, n, 1, true, i);
                for (int j = -n - 1; j <= 2 * n + 1; j++, pairs++)
                    bad += holds(s, j) != sees_slide(a, n, i, j);
            }
    CHECK_INT(bad, ==, 0);
}

/* Key u is seen if its tokens u * pool and after are, of which either all or none may be. */
static int wrong_pooled(oriel_axis a, int keys, int pool, bool padded, int i)
{
    oriel_span s = oriel_axis_keys(a, keys, pool, padded, i), each = oriel_axis_keys(a, keys * pool, 1, padded, i);
    int        bad = s.step != 1;
    for (int u = -keys - 1; u <= 3 * keys; u++, pairs++) {
        int seen = 0;
        for (int j = u * pool; j < (u + 1) * pool; j++)
            seen += holds(each, j);
        bad += seen != (holds(s, u) ? pool : 0);
    }
    return bad;
}

static void test_pooled_keys(void)
{
    int bad = 0, axes = 0;
    for (int keys = 1; keys <= MOST / 2; keys++)
        for (int pool = 2; keys * pool <= MOST; pool++)
            for (int size = 0; size <= keys; size++)
                for (int shift = 0; shift < whole(size, keys); shift++)
                    for (int k = 0; k < 18; k++, axes++) {
                        oriel_axis a = {.kind = ORIEL_AXIS_BLOCK, .size = size * pool, .shift = shift * pool,
                                        .left = k / 2 % 3 * pool, .right = k / 6 * pool};
                        for (int i = 0; i < keys * pool; i++)
                            bad += wrong_pooled(a, keys, pool, k % 2, i) + wrong_pooled((oriel_axis){0}, keys, pool, k % 2, i);
                    }
    CHECK_INT(bad, ==, 0);
    CHECK_INT(axes, >, 2000);
}

/* ---- published lists ---------------------------------------------------------------------- */

/* Sliding-tile attention is a neighbourhood whose stride is the tile, whose size is an odd multiple:
 * tile of the query and `half` tiles on either side, moved inside. */
static void test_sliding_tiles(void)
{
    for (int tile = 1; tile <= 4; tile++)
        for (int tiles = 3; tiles * tile <= MOST; tiles++)
            for (int half = 0; 2 * half + 1 <= tiles; half++) {
                oriel_axis a = {.kind = ORIEL_AXIS_NEIGHBOR, .size = (2 * half + 1) * tile, .stride = tile};
                for (int i = 0; i < tiles * tile; i++) {
                    oriel_span s = oriel_axis_span(a, tiles * tile, i);
                    int        first = i / tile - half;
                    first = first < 0 ? 0 : first + 2 * half + 1 > tiles ? tiles - 2 * half - 1 : first;
                    CHECK(s.first == first * tile && s.count == a.size);
                }
            }
}

/* Lists of another hand, if they are there: "n size stride dilation causal query key key ...", of
 * the project's oracle in Python. */
static void test_lists(const char *name)
{
    FILE *f = fopen(name, "r");
    char  line[512];
    int   bad = 0, lines = 0;
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f)) {
        int        n, i, causal, used, at = 0, key;
        oriel_axis a = {.kind = ORIEL_AXIS_NEIGHBOR};
        if (line[0] == '#')
            continue;
        if (sscanf(line, "%d %d %d %d %d %d%n", &n, &a.size, &a.stride, &a.dilation, &causal, &i, &used) != 6) {
            bad++;
            break;
        }
        a.causal = causal;
        oriel_span s = oriel_axis_span(a, n, i);
        for (int more; sscanf(line + used, "%d%n", &key, &more) == 1; used += more)
            bad += at >= s.count || key != s.first + at++ * s.step;
        bad += at != s.count;
        lines++;
    }
    if (f)
        fclose(f);
    CHECK_INT(bad, ==, 0);
    CHECK_INT(lines, >, 500);
}

int main(void)
{
    test_every_axis();
    test_overlapping_blocks();
    test_padded_slides();
    test_pooled_keys();
    test_overlap();
    test_sliding_tiles();
    test_lists("tests/golden/window.txt");
    printf("%ld pairs of query and key\n", pairs);
    return test_end();
}

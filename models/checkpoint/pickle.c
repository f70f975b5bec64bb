/* SPDX-License-Identifier: Apache-2.0 */
/* The pickle machine: a stack, a memo, and nodes that stand for what Python would have made.
 * Nothing is imported or called; a global is a name. Protocols 2 to 5 without out-of-band buffers.
 *
 * Hostile input: every node, stack slot and copied item is paid for by a byte of pickle, so memory
 * and time are linear in it. The memo holds references, so doubling a structure through it costs
 * what it costs to write. Depth is limited where it is open (marks); what is deep or cyclic once
 * built is harmless, because no walker follows it further than a fixed number of levels. */

#include "models/checkpoint/pickle.h"
#include "models/checkpoint/pickle_call.h"

enum { MAX_NODES = 16 << 20, MAX_MEMO = 4 << 20, MAX_MARKS = 256, MAX_STR = 16 << 20 };

typedef struct reader {
    pk_maker make; /* first: its mem, status, and budget */
    const unsigned char *p;
    size_t size, at;
    pk_node **stack;
    size_t n, cap;
    pk_node **memo;
    size_t memo_cap, memo_n; /* memo_n: entries set, what MEMOIZE numbers by */
    size_t mark[MAX_MARKS];
    int marks;
    pk_node *storages;
} reader;

static bool ok(const reader *r)
{
    return r->make.status == ORIEL_OK;
}

static void bad(reader *r, const char *what)
{
    if (ok(r))
        r->make.status =
            oriel_fail(ORIEL_E_FORMAT, "pickle: %s at byte %zu of %zu", what, r->at, r->size);
}

/* ---- input ------------------------------------------------------------------------------------
 */

static const unsigned char *take(reader *r, size_t n)
{
    if (r->size - r->at < n) {
        bad(r, "the data ends early");
        return NULL;
    }
    r->at += n;
    return r->p + r->at - n;
}

/* An unsigned little-endian number of n <= 8 bytes */
static uint64_t take_uint(reader *r, size_t n)
{
    const unsigned char *p = take(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static ckpt_text take_line(reader *r)
{
    const unsigned char *p = r->p + r->at, *end = memchr(p, '\n', r->size - r->at);
    if (!end) {
        bad(r, "a global without an end");
        return (ckpt_text){"", 0};
    }
    r->at += (size_t)(end - p) + 1;
    return (ckpt_text){(const char *)p, (size_t)(end - p)};
}

/* ---- stack ------------------------------------------------------------------------------------
 */

static size_t base(const reader *r) /* what lies below the last mark is out of reach */
{
    return r->marks ? r->mark[r->marks - 1] : 0;
}

static void push(reader *r, pk_node *node)
{
    if (!ok(r) || !node)
        return;
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        pk_node **s = oriel_realloc(r->stack, cap * sizeof *s);
        if (!s) {
            r->make.status = ORIEL_E_NOMEM;
            return;
        }
        r->stack = s;
        r->cap = cap;
    }
    r->stack[r->n++] = node;
}

static pk_node *pop(reader *r)
{
    if (r->n == base(r)) {
        bad(r, "the stack is empty");
        return NULL;
    }
    return r->stack[--r->n];
}

static pk_node *top(reader *r)
{
    if (r->n == base(r)) {
        bad(r, "the stack is empty");
        return NULL;
    }
    return r->stack[r->n - 1];
}

/* Close the last mark: the items above it, which stay where they are until the next push. */
static pk_node **pop_mark(reader *r, size_t *n)
{
    *n = 0;
    if (!r->marks) {
        bad(r, "a mark is missing");
        return NULL;
    }
    size_t from = r->mark[--r->marks];
    *n = r->n - from;
    r->n = from;
    return *n ? r->stack + from : NULL;
}

/* ---- memo -------------------------------------------------------------------------------------
 */

static void memo_put(reader *r, uint64_t i)
{
    pk_node *node = top(r);
    /* Picklers count up, so that an index is below the bytes read: memory stays linear. */
    if (i >= MAX_MEMO || i > r->at)
        bad(r, "a memo index out of range");
    if (!ok(r))
        return;
    if (i >= r->memo_cap) {
        size_t cap = r->memo_cap ? r->memo_cap * 2 : 64;
        cap = i >= cap ? (size_t)i + 1 : cap;
        pk_node **m = oriel_realloc(r->memo, cap * sizeof *m);
        if (!m) {
            r->make.status = ORIEL_E_NOMEM;
            return;
        }
        memset(m + r->memo_cap, 0, (cap - r->memo_cap) * sizeof *m);
        r->memo = m;
        r->memo_cap = cap;
    }
    r->memo_n += !r->memo[i];
    r->memo[i] = node;
}

static void memo_get(reader *r, uint64_t i)
{
    if (i >= r->memo_cap || !r->memo[i])
        bad(r, "a memo entry that was never set");
    else
        push(r, r->memo[i]);
}

/* ---- opcodes ----------------------------------------------------------------------------------
 */

static void push_text(reader *r, pk_kind kind, uint64_t n)
{
    if (n > MAX_STR && kind == PK_STR)
        bad(r, "a text of over 16 MB");
    if (n > UINT32_MAX)
        bad(r, "a bytes object of over 4 GB");
    const unsigned char *p = ok(r) ? take(r, (size_t)n) : NULL;
    if (p)
        push(r, pk_new_text(&r->make, kind, (const char *)p, (size_t)n));
}

static void push_long(reader *r, size_t n)
{
    uint64_t v = take_uint(r, n);
    if (n && n < 8 && v >> (8 * n - 1))
        v |= ~(uint64_t)0 << (8 * n);
    push(r, pk_new_int(&r->make, (int64_t)v));
}

static void push_double(reader *r)
{
    const unsigned char *p = take(r, 8);
    uint64_t bits = 0;
    for (int i = 0; p && i < 8; i++)
        bits = bits << 8 | p[i];
    double f;
    memcpy(&f, &bits, 8);
    push(r, pk_new_float(&r->make, f));
}

/* Opcodes that are a length of `width` bytes and as many bytes of content */
static bool op_text(reader *r, int op)
{
    static const struct {
        uint8_t op, width, kind;
    } texts[] = {
        {'X', 4, PK_STR},    /* BINUNICODE */
        {0x8c, 1, PK_STR},   /* SHORT_BINUNICODE */
        {0x8d, 8, PK_STR},   /* BINUNICODE8 */
        {'T', 4, PK_STR},    /* BINSTRING */
        {'U', 1, PK_STR},    /* SHORT_BINSTRING */
        {'B', 4, PK_BYTES},  /* BINBYTES */
        {'C', 1, PK_BYTES},  /* SHORT_BINBYTES */
        {0x8e, 8, PK_BYTES}, /* BINBYTES8 */
        {0x96, 8, PK_BYTES}, /* BYTEARRAY8 */
        {0x8a, 1, PK_LONG},  /* LONG1 */
        {0x8b, 4, PK_LONG},  /* LONG4 */
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].op == op) {
            uint64_t n = take_uint(r, texts[i].width);
            if (texts[i].kind == PK_LONG && n <= 8)
                push_long(r, (size_t)n);
            else
                push_text(r, texts[i].kind, n);
            return true;
        }
    return false;
}

static bool op_number(reader *r, int op)
{
    pk_maker *m = &r->make;
    switch (op) {
    case 'N':
        push(r, pk_new(m, PK_NONE));
        break;
    case 0x88: /* NEWTRUE, NEWFALSE */
    case 0x89:
        push(r, pk_new_bool(m, op == 0x88));
        break;
    case 'J':
        push(r, pk_new_int(m, (int32_t)take_uint(r, 4)));
        break;
    case 'K':
    case 'M':
        push(r, pk_new_int(m, (int64_t)take_uint(r, op == 'K' ? 1 : 2)));
        break;
    case 'G':
        push_double(r);
        break;
    default:
        return false;
    }
    return true;
}

/* Take what lies above the last mark (n < 0), or the n topmost values. They stay where they are
 * until the next push. */
static pk_node **take_items(reader *r, int n, size_t *count)
{
    if (n < 0)
        return pop_mark(r, count);
    *count = (size_t)n;
    if (r->n - base(r) < *count) {
        bad(r, "the stack is empty");
        return NULL;
    }
    r->n -= *count;
    return *count ? r->stack + r->n : NULL;
}

static void push_items(reader *r, pk_kind kind, int n)
{
    size_t count;
    pk_node **item = take_items(r, n, &count);
    if (kind == PK_DICT && count % 2)
        bad(r, "a key without a value");
    pk_node *node = ok(r) ? pk_new(&r->make, kind) : NULL;
    if (node && count)
        pk_append(&r->make, node, item, count);
    push(r, node);
}

/* Into the container below them */
static void add_items(reader *r, bool pairs, int n)
{
    size_t count;
    pk_node **item = take_items(r, n, &count);
    pk_node *to = ok(r) ? top(r) : NULL;
    if (!to)
        return;
    if (pairs && count % 2)
        bad(r, "a key without a value");
    else if (pairs)
        pk_set_items(&r->make, to, item, count);
    else if (to->kind == PK_LIST)
        pk_append(&r->make, to, item, count);
    else if (to->kind != PK_OBJECT) /* a subclass of list: its items are nobody's tensors */
        bad(r, "items for something that is no list");
}

static bool op_container(reader *r, int op)
{
    switch (op) {
    case '(':
        if (r->marks == MAX_MARKS)
            bad(r, "nesting of over 256 levels");
        else
            r->mark[r->marks++] = r->n;
        break;
    case ')':
        push_items(r, PK_TUPLE, 0);
        break;
    case 0x85:
        push_items(r, PK_TUPLE, 1);
        break;
    case 0x86:
        push_items(r, PK_TUPLE, 2);
        break;
    case 0x87:
        push_items(r, PK_TUPLE, 3);
        break;
    case 't':
        push_items(r, PK_TUPLE, -1);
        break;
    case ']':
    case 0x8f:
        push_items(r, PK_LIST, 0);
        break;
    case 'l':
    case 0x91:
        push_items(r, PK_LIST, -1);
        break;
    case '}':
        push_items(r, PK_DICT, 0);
        break;
    case 'd':
        push_items(r, PK_DICT, -1);
        break;
    case 'a':
        add_items(r, false, 1);
        break;
    case 'e':
    case 0x90:
        add_items(r, false, -1);
        break;
    case 's':
        add_items(r, true, 2);
        break;
    case 'u':
        add_items(r, true, -1);
        break;
    default:
        return false;
    }
    return true;
}

static bool op_memo(reader *r, int op)
{
    switch (op) {
    case 'q':
        memo_put(r, take_uint(r, 1));
        break;
    case 'r':
        memo_put(r, take_uint(r, 4));
        break;
    case 0x94:
        memo_put(r, r->memo_n);
        break;
    case 'h':
        memo_get(r, take_uint(r, 1));
        break;
    case 'j':
        memo_get(r, take_uint(r, 4));
        break;
    default:
        return false;
    }
    return true;
}

static void pop_any(reader *r)
{
    size_t n;
    if (r->marks && r->n == base(r))
        pop_mark(r, &n);
    else
        pop(r);
}

static bool op_object(reader *r, int op)
{
    pk_maker *m = &r->make;
    pk_node *a = NULL, *b = NULL;
    size_t n;
    switch (op) {
    case 'c': {
        ckpt_text module = take_line(r), name = take_line(r);
        if (ok(r))
            push(r, pk_new_global(m, pk_new_text(m, PK_STR, module.s, module.n),
                                  pk_new_text(m, PK_STR, name.s, name.n)));
        break;
    }
    case 0x93: /* STACK_GLOBAL */
        b = pop(r), a = pop(r);
        if (ok(r) && (a->kind != PK_STR || b->kind != PK_STR))
            bad(r, "a global whose name is no text");
        if (ok(r))
            push(r, pk_new_global(m, a, b));
        break;
    case 'R':  /* REDUCE */
    case 0x81: /* NEWOBJ */
        b = pop(r), a = pop(r);
        if (ok(r))
            push(r, pk_call(m, a, b, 0));
        break;
    case 0x92: /* NEWOBJ_EX */
        pop(r);
        b = pop(r), a = pop(r);
        if (ok(r))
            push(r, pk_call(m, a, b, 0));
        break;
    case 'b': /* BUILD */
        b = pop(r), a = top(r);
        if (ok(r) && a->kind == PK_OBJECT)
            a->u.obj->state = b;
        break;
    case 'Q': /* BINPERSID */
        a = pop(r);
        b = ok(r) ? pk_new_object(m, PK_STORAGE, NULL, a) : NULL;
        if (b) {
            b->u.obj->items = r->storages;
            r->storages = b;
        }
        push(r, b);
        break;
    case '0':
        pop_any(r);
        break;
    case '1':
        pop_mark(r, &n);
        break;
    case '2':
        push(r, top(r));
        break;
    default:
        return false;
    }
    return true;
}

/* One opcode; true when it was STOP. */
static bool step(reader *r)
{
    const unsigned char *p = take(r, 1);
    if (!p || *p == '.')
        return true;
    if (*p == 0x80) { /* PROTO */
        if (take_uint(r, 1) > 5)
            bad(r, "a protocol over 5");
    } else if (*p == 0x95) { /* FRAME: only says how much to read ahead */
        take(r, 8);
    } else if (!op_text(r, *p) && !op_number(r, *p) && !op_container(r, *p) && !op_memo(r, *p) &&
               !op_object(r, *p)) {
        r->make.status = oriel_fail(ORIEL_E_UNSUPPORTED, "pickle: opcode 0x%02x at byte %zu of %zu",
                                    *p, r->at - 1, r->size);
    }
    return !ok(r);
}

oriel_status pk_parse(ckpt_mem *mem, const void *data, size_t size, pk_result *result)
{
    reader r = {.make = {.mem = mem}, .p = data, .size = size};
    r.make.nodes_left = size < MAX_NODES ? size + 8 : MAX_NODES;
    r.make.copies_left = size;
    *result = (pk_result){0};
    while (!step(&r))
        ;
    if (ok(&r) && (r.marks || !r.n))
        bad(&r, "it ends with an open mark or an empty stack");
    if (ok(&r))
        *result = (pk_result){r.stack[r.n - 1], r.storages, r.at};
    oriel_dealloc(r.stack);
    oriel_dealloc(r.memo);
    return r.make.status;
}

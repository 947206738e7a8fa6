/* A vision transformer's forward pass in float32, on one core (see vit_pass.pyi): for AVX2, and for
 * AVX-512 where vit_pass_avx512.c includes it.
 *
 * A matrix product goes over panels: PANEL columns of the weights, row after row, so that a panel
 * stays in the nearest cache while all tokens pass it. ROWS tokens are multiplied at once, and
 * their sums stay in registers. A width that is no multiple of PANEL is filled up with zeros.
 *
 * Rounding decides the last digits of a vector, and of flat pictures more than the last: two passes
 * that are equally near to the exact one come to be 4e-5 apart. So each sum runs in the order, and
 * each function by the formula, of PyTorch 2.13 on a processor with these vectors and of the same
 * maker, where ViT-Tiny gives the same to the bit. Nothing is fused but where FUSED says so, and
 * companions change nothing.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef LANES
#define LANES 8
#endif
#include "vit_vectors.h"

enum { ALIGNMENT = 64 }; /* of rows, in bytes: a line of the cache */
enum { CROP = 224, PATCH = 16, SIDE = CROP / PATCH, PATCHES = SIDE * SIDE, TOKENS = PATCHES + 1 };
enum { CHANNELS = 3, DEPTH = CHANNELS * PATCH * PATCH, LEVELS = 256 };
enum {
    VECTORS = 2,
    PANEL = LANES * VECTORS,
    ROWS = LANES == 8 ? 6 : 12, /* with VECTORS, as many sums as there are registers for */
    KEYS = (TOKENS + PANEL - 1) / PANEL * PANEL,
    QUERIES = 48,                                 /* their scores stay in a near cache */
    CHUNK = (TOKENS / 2 + ROWS - 1) / ROWS * ROWS /* of tokens, and what is within a block */
};

/* What becomes of a product: written, through GELU first, or added to what is there. */
enum { PLAIN, GELU, ADD };

/* Weights as panels, and a bias or none. Products are summed up in chains, of which each begins at
 * zero and is added to what came before, the first one to the bias. With `through` there is one
 * chain, as oneDNN has it; for AVX2 it begins at the bias. */
typedef struct {
    const float *panels, *bias;
    size_t depth, columns;
    int through;
} Linear;

/* Some of the rows of a matrix, `step` numbers apart. */
typedef struct {
    float *at;
    size_t step;
} Rows;

typedef struct {
    size_t width, hidden, layers, heads;
    float eps;
    int projected;
} Config;

/* Sizes filled up to whole panels. */
typedef struct {
    size_t width, hidden, head, attention;
} Padded;

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

static inline size_t filled(size_t size) { return (size + PANEL - 1) / PANEL * PANEL; }

static Padded padded(const Config *config)
{
    size_t head = filled(config->width / config->heads);
    return (Padded){filled(config->width), filled(config->hidden), head, head * config->heads};
}

/* How many numbers an encoder's weights are, in the order in which the pass reads them. */
static size_t weights_of(const Config *config)
{
    Padded size = padded(config);
    size_t norm = 2 * size.width;
    size_t attention = 3 * size.attention * (config->width + 1) + size.width * (size.attention + 1);
    size_t perceptron = size.hidden * (config->width + 1) + size.width * (config->hidden + 1);
    size_t before = CHANNELS * LEVELS + size.width * (DEPTH + 1) + TOKENS * size.width;
    size_t projection = config->projected ? size.width * config->width : 0;
    return before + config->layers * (2 * norm + attention + perceptron) + norm + projection;
}

/* Mean and sum of squared differences from it, of `count` numbers. */
typedef struct {
    float count, mean, squares;
} Moments;

INLINE void join(Moments *all, float count, float mean, float squares)
{
    const float both = all->count + count, share = count / both, off = mean - all->mean;
    all->mean = fmaf(share, off, all->mean);
    all->squares += fmaf(off * off * share, all->count, squares);
    all->count = both;
}

/* Of a token, number by number (Welford, 1962) in each of eight lanes, sixteen at a time. PyTorch
 * has no other way for AVX-512. */
INLINE Moments moments(const float *x, size_t width)
{
    const size_t whole = width / EIGHT;
    Moments all = {0, 0, 0};
    Eight mean = {0}, squares = {0};
    for (size_t first = 0; first < whole; first += 16) {
        const size_t some = least(whole - first, 16);
        const float before = (float)first, share = (float)some / (float)(first + some);
        Eight own = {0}, own_squares = {0};
        for (size_t i = 0; i < some; i++) {
            const Eight value = EIGHT_AT(x + (first + i) * EIGHT), off = value - own;
            own = FUSED_EIGHT(off, EIGHT_ALIKE(1.0f / (float)(i + 1)), own);
            own_squares = FUSED_EIGHT(off, value - own, own_squares);
        }
        const Eight off = own - mean;
        mean += off * share;
        squares = FUSED_EIGHT(off, off * share * before, squares + own_squares);
    }
    for (size_t i = whole * EIGHT; i < width; i++) join(&all, 1, x[i], 0);
    for (int lane = 0; lane < EIGHT && whole; lane++)
        join(&all, (float)whole, mean[lane], squares[lane]);
    return all;
}

/* (x - mean) / sqrt(variance + eps) * weight + bias of a token; what fills it up becomes zero. */
INLINE void normalise(const float *x, const float *norm, const Config *config, float *out)
{
    const size_t step = filled(config->width);
    const Moments all = moments(x, config->width);
    const float scale = 1.0f / sqrtf(all.squares / (float)config->width + config->eps);
    for (size_t i = 0; i < step; i += LANES)
        AT(out + i) = FUSED((CONST_AT(x + i) - all.mean) * scale, CONST_AT(norm + i),
                            CONST_AT(norm + step + i));
}

/* Some rows by one panel, in one chain that begins at a row. */
INLINE void multiply(const float *a, size_t step, const float *panel, size_t depth, int rows,
                     const float *first, float *tile)
{
    V sums[ROWS][VECTORS];
    ALL for (int r = 0; r < rows; r++)
        ALL for (int v = 0; v < VECTORS; v++) sums[r][v] = CONST_AT(first + v * LANES);
    SOME for (size_t k = 0; k < depth; k++, panel += PANEL) {
        V b[VECTORS];
        ALL for (int v = 0; v < VECTORS; v++) b[v] = CONST_AT(panel + v * LANES);
        ALL for (int r = 0; r < rows; r++)
            ALL for (int v = 0; v < VECTORS; v++)
                sums[r][v] = FUSED(ALIKE(a[(size_t)r * step + k]), b[v], sums[r][v]);
    }
    ALL for (int r = 0; r < rows; r++)
        ALL for (int v = 0; v < VECTORS; v++) AT(tile + r * PANEL + v * LANES) = sums[r][v];
}

#define CASE(n)                                                                                    \
    case n:                                                                                        \
        multiply(a, step, panel, depth, n, first, tile);                                           \
        break;

#if LANES == 16
#define MORE_CASES CASE(12) CASE(11) CASE(10) CASE(9) CASE(8) CASE(7)
#else
#define MORE_CASES
#endif

/* The same for up to ROWS rows; apart, so that nothing else wants the registers of the sums. */
APART void tile(const float *a, size_t step, const float *panel, size_t depth, size_t rows,
                const float *first, float *tile)
{
    switch (rows) {
        MORE_CASES CASE(6) CASE(5) CASE(4) CASE(3) CASE(2) CASE(1)
    }
}
#undef CASE
#undef MORE_CASES

/* Whether MKL takes its code for Intel's processors; else that for AMD's. */
static inline int by_intel(void) { return __builtin_cpu_is("intel"); }

/* How many products MKL sums up in one chain. */
static size_t chain_of(size_t depth)
{
    const size_t most = by_intel() && LANES == 16 ? 384 : 192;
    const size_t chains = (depth + (by_intel() ? most / 2 : most - 1)) / most;
    return chains ? depth / chains : depth;
}

/* Rows by all panels, up to TOKENS of them. */
INLINE void product(Rows a, size_t count, const Linear *linear, Rows out, int how)
{
    static const float zeros[PANEL] __attribute__((aligned(ALIGNMENT)));
    float chain[ROWS * PANEL] __attribute__((aligned(ALIGNMENT)));
    float sums[TOKENS * PANEL] __attribute__((aligned(ALIGNMENT)));
    const size_t depth = linear->depth;
    const size_t length = linear->through ? depth : chain_of(depth);
    const int at_bias = linear->through && LANES == 8;
    for (size_t column = 0; column < linear->columns; column += PANEL) {
        const float *panel = linear->panels + column * depth;
        const float *bias = linear->bias ? linear->bias + column : zeros;
        const float *before = at_bias ? zeros : bias;
        for (size_t k = 0; k < depth; k += length) {
            const float *first = at_bias ? bias : zeros, *part = panel + k * PANEL;
            const size_t products = least(depth - k, length);
            for (size_t row = 0; row < count; row += ROWS) {
                const size_t rows = least(count - row, ROWS);
                float *own = sums + row * PANEL;
                tile(a.at + row * a.step + k, a.step, part, products, rows, first, chain);
                for (size_t i = 0; i < rows * PANEL; i += LANES)
                    AT(own + i) = CONST_AT(k ? own + i : before + i % PANEL) + AT(chain + i);
            }
        }
        for (size_t row = 0; row < count; row++)
            for (size_t v = 0; v < PANEL; v += LANES) {
                float *to = out.at + row * out.step + column + v;
                V x = AT(sums + row * PANEL + v);
                if (how == GELU) x = gelu(x);
                if (how == ADD) x += AT(to);
                AT(to) = x;
            }
    }
}

APART void plain(Rows a, size_t count, const Linear *linear, Rows out)
{
    product(a, count, linear, out, PLAIN);
}

APART void through_gelu(Rows a, size_t count, const Linear *linear, Rows out)
{
    product(a, count, linear, out, GELU);
}

APART void added(Rows a, size_t count, const Linear *linear, Rows out)
{
    product(a, count, linear, out, ADD);
}

/* The numerators of a query's softmax instead of its scores, which count `scale` times; what fills
 * them up is not looked at. Returns one by the denominator. */
INLINE float softmax(float *scores, float scale)
{
    const size_t whole = TOKENS / LANES * LANES;
    V most = ALIKE(-INFINITY), sums = {0};
    for (size_t i = 0; i < KEYS; i += LANES) AT(scores + i) *= scale;
    for (size_t i = 0; i < whole; i += LANES) most = LARGER(most, AT(scores + i));
    float top = most[0];
    for (int i = 1; i < LANES; i++) top = most[i] > top ? most[i] : top;
    for (size_t i = whole; i < TOKENS; i++) top = scores[i] > top ? scores[i] : top;
    for (size_t i = 0; i < whole; i += LANES) {
        const V x = power(AT(scores + i) - top);
        AT(scores + i) = x;
        sums += x;
    }
    float sum = total(sums);
    for (size_t i = whole; i < TOKENS; i++) sum += scores[i] = (float)exp(scores[i] - top);
    return 1.0f / sum;
}

/* The scores of queries, from number `from` on, with those keys that MKL sums up in two chains: for
 * AVX2 on Intel's processors four of the keys that fill no vector, and the last one with the
 * queries that fill none. */
UNIT static void sum_in_two(Rows queries, size_t from, size_t count, Rows keys, size_t head,
                            Rows scores)
{
    const size_t whole = TOKENS / LANES * LANES;
    for (size_t i = 0; i < count; i++)
        for (size_t t = whole; t < (from + i < whole ? TOKENS - 1 : TOKENS); t++) {
            const float *query = queries.at + i * queries.step, *key = keys.at + t * keys.step;
            float sums[2] = {0, 0};
            for (size_t k = 0; k < head; k++) sums[k % 2] = fmaf(query[k], key[k], sums[k % 2]);
            scores.at[i * scores.step + t] = sums[0] + sums[1];
        }
}

/* What each of `count` queries takes of all values, head by head. Queries, keys and values of a
 * token stand side by side; the room is what room_of() has for it. */
UNIT static void attend(const Config *config, Rows qkv, size_t count, Rows out, float *room)
{
    const Padded size = padded(config);
    const size_t head = config->width / config->heads;
    const float scale = 1.0f / sqrtf((float)head);
    float shares[QUERIES];
    float *key_panels = room, *value_panels = key_panels + KEYS * size.head;
    const Rows scores = {value_panels + TOKENS * size.head, KEYS};
    const Linear by_keys = {key_panels, NULL, head, KEYS, 0};
    const Linear by_values = {value_panels, NULL, TOKENS, size.head, 0};
    for (size_t h = 0; h < config->heads; h++) {
        const Rows queries = {qkv.at + h * size.head, qkv.step};
        const Rows keys = {queries.at + size.attention, qkv.step};
        const float *key = keys.at, *value = key + size.attention;
        for (size_t first = 0; first < KEYS; first += PANEL)
            for (size_t k = 0; k < head; k++)
                for (size_t i = 0; i < PANEL; i++)
                    key_panels[first * head + k * PANEL + i] =
                        first + i < TOKENS ? key[(first + i) * qkv.step + k] : 0;
        for (size_t first = 0; first < size.head; first += PANEL)
            for (size_t t = 0; t < TOKENS; t++)
                memcpy(value_panels + first * TOKENS + t * PANEL, value + t * qkv.step + first,
                       PANEL * sizeof(float));
        for (size_t q = 0; q < count; q += QUERIES) {
            const size_t some = least(count - q, QUERIES);
            const Rows asked = {queries.at + q * qkv.step, qkv.step};
            plain(asked, some, &by_keys, scores);
            if (LANES == 8 && by_intel()) sum_in_two(asked, q, some, keys, head, scores);
            const Rows own = {out.at + q * out.step + h * size.head, out.step};
            for (size_t i = 0; i < some; i++) shares[i] = softmax(scores.at + i * KEYS, scale);
            plain(scores, some, &by_values, own);
            for (size_t i = 0; i < some; i++)
                for (float *k = own.at + i * own.step, *end = k + size.head; k < end; k += LANES)
                    AT(k) *= shares[i];
        }
    }
}

/* What a perceptron is between its two products, and what a patch is before its one. */
static size_t inner_of(const Padded *size) { return size->hidden > DEPTH ? size->hidden : DEPTH; }

/* How many numbers a pass needs beside the weights. */
static size_t room_of(const Config *config)
{
    const Padded size = padded(config);
    return TOKENS * (2 * size.width + 4 * size.attention) + CHUNK * inner_of(&size) +
           (KEYS + TOKENS) * size.head + QUERIES * KEYS;
}

/* The pixels of some patches, normalised: row by row, each pixel's channels side by side. */
static void cut(const uint8_t *crop, const float *levels, size_t first, size_t count, float *out)
{
    for (size_t i = first; i < first + count; i++) {
        const uint8_t *from = crop + (i / SIDE * CROP + i % SIDE) * PATCH * CHANNELS;
        for (size_t y = 0; y < PATCH; y++, from += CROP * CHANNELS)
            for (size_t x = 0; x < PATCH * CHANNELS; x += CHANNELS)
                for (size_t c = 0; c < CHANNELS; c++) *out++ = levels[c * LEVELS + from[x + c]];
    }
}

/* From one crop, (224, 224, 3), to its vector, (width). */
UNIT static void pass(const Config *config, const float *weights, const uint8_t *crop, float *room,
                      float *vector)
{
    const Padded size = padded(config);
    const size_t width = config->width;
    const Rows x = {room, size.width}, normal = {x.at + TOKENS * size.width, size.width};
    const Rows qkv = {normal.at + TOKENS * size.width, 3 * size.attention};
    const Rows y = {qkv.at + TOKENS * qkv.step, size.attention};
    float *inner = y.at + TOKENS * y.step, *of_attention = inner + CHUNK * inner_of(&size);

#define TAKE(count) (weights += (count), weights - (count))
    const float *levels = TAKE(CHANNELS * LEVELS);
    Linear patch = {TAKE(size.width * DEPTH), NULL, DEPTH, size.width, 1};
    patch.bias = TAKE(size.width);
    memcpy(x.at, TAKE(TOKENS * size.width), TOKENS * size.width * sizeof(float)); /* positions */
    for (size_t first = 0; first < PATCHES; first += CHUNK) {
        const size_t some = least(PATCHES - first, CHUNK);
        cut(crop, levels, first, some, inner);
        added((Rows){inner, DEPTH}, some, &patch, (Rows){x.at + (first + 1) * x.step, x.step});
    }
    for (size_t layer = 0; layer < config->layers; layer++) {
        const size_t outputs = layer + 1 < config->layers ? TOKENS : 1; /* at last the class's */
        const float *norm = TAKE(2 * size.width);
        Linear into = {TAKE(qkv.step * width), NULL, width, qkv.step, 0};
        into.bias = TAKE(qkv.step);
        Linear from = {TAKE(size.width * size.attention), NULL, size.attention, size.width, 0};
        from.bias = TAKE(size.width);
        const float *norm_after = TAKE(2 * size.width);
        Linear up = {TAKE(size.hidden * width), NULL, width, size.hidden, 0};
        up.bias = TAKE(size.hidden);
        Linear down = {TAKE(size.width * config->hidden), NULL, config->hidden, size.width, 0};
        down.bias = TAKE(size.width);

        for (size_t t = 0; t < TOKENS; t++)
            normalise(x.at + t * x.step, norm, config, normal.at + t * normal.step);
        plain(normal, TOKENS, &into, qkv);
        attend(config, qkv, outputs, y, of_attention);
        added(y, outputs, &from, x);
        for (size_t first = 0; first < outputs; first += CHUNK) {
            const size_t some = least(outputs - first, CHUNK);
            const Rows own = {x.at + first * x.step, x.step};
            for (size_t t = 0; t < some; t++)
                normalise(own.at + t * x.step, norm_after, config, normal.at + t * normal.step);
            through_gelu(normal, some, &up, (Rows){inner, size.hidden});
            added((Rows){inner, size.hidden}, some, &down, own);
        }
    }
    const float *norm = TAKE(2 * size.width), *classes = normal.at;
    normalise(x.at, norm, config, normal.at);
    if (config->projected) {
        const Linear projection = {TAKE(size.width * width), NULL, width, size.width, 0};
        plain(normal, 1, &projection, y);
        classes = y.at;
    }
    memcpy(vector, classes, width * sizeof(float));
#undef TAKE
}

/* ---- The module ---- */

static int wrong(const char *what)
{
    PyErr_SetString(PyExc_ValueError, what);
    return 0;
}

static int runs(void)
{
    __builtin_cpu_init();
#if LANES == 16
    if (!__builtin_cpu_supports("avx512f")) return 0;
#endif
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* Whether PyTorch computes with the same vectors here, and is known to round as this pass does. */
static int agrees(void)
{
    if (!runs() || !(by_intel() || __builtin_cpu_is("amd"))) return 0;
#if LANES == 16
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    return !__builtin_cpu_supports("avx512f");
#endif
}

static int sensible(const Config *config)
{
    size_t most = 1 << 14;
    if (config->width < 1 || config->width > most || config->hidden < 1 || config->hidden > most ||
        config->layers < 1 || config->layers > most || config->heads < 1)
        return wrong("sizes are 1 to 16384");
    if (config->width % config->heads) return wrong("the width is no multiple of the heads");
    return 1;
}

static PyObject *embed(PyObject *module, PyObject *args)
{
    Py_buffer weights, crops, vectors;
    Py_ssize_t width, hidden, layers, heads;
    double eps;
    int projected, done = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "nnnndpy*y*w*", &width, &hidden, &layers, &heads, &eps, &projected,
                          &weights, &crops, &vectors))
        return NULL;
    Config config = {(size_t)width, (size_t)hidden, (size_t)layers,
                     (size_t)heads, (float)eps,     projected};
    const size_t crop = (size_t)CROP * CROP * CHANNELS;
    size_t count = (size_t)crops.len / crop;
    if (!runs())
        wrong("this processor has no such vectors");
    else if (!sensible(&config))
        ;
    else if ((size_t)weights.len != weights_of(&config) * sizeof(float) ||
             (uintptr_t)weights.buf % ALIGNMENT)
        wrong("the weights are not of these sizes, or do not begin at a multiple of 64");
    else if ((size_t)crops.len != count * crop)
        wrong("crops are 224 x 224 x 3");
    else if ((size_t)vectors.len != count * config.width * sizeof(float) ||
             (uintptr_t)vectors.buf % sizeof(float))
        wrong("there is not as much room for vectors as there are crops");
    else {
        float *own = NULL;
        if (posix_memalign((void **)&own, ALIGNMENT, room_of(&config) * sizeof(float)))
            PyErr_NoMemory();
        else {
            Py_BEGIN_ALLOW_THREADS
            for (size_t i = 0; i < count; i++)
                pass(&config, weights.buf, (const uint8_t *)crops.buf + i * crop, own,
                     (float *)vectors.buf + i * config.width);
            Py_END_ALLOW_THREADS
            done = 1;
        }
        free(own);
    }
    PyBuffer_Release(&weights);
    PyBuffer_Release(&crops);
    PyBuffer_Release(&vectors);
    return done ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef methods[] = {
    {"embed", embed, METH_VARARGS, "Embed crops; see vit_pass.pyi."},
    {NULL, NULL, 0, NULL},
};

static int add_constants(PyObject *module)
{
    const char *kind = LANES == 16 ? by_intel() ? "intel-avx512" : "amd-avx512"
                       : by_intel() ? "intel-avx2"
                                    : "amd-avx2";
    if (PyModule_AddIntConstant(module, "PANEL", PANEL) < 0) return -1;
    if (PyModule_AddStringConstant(module, "KIND", kind) < 0) return -1;
    if (PyModule_AddObjectRef(module, "RUNS", runs() ? Py_True : Py_False) < 0) return -1;
    return PyModule_AddObjectRef(module, "AGREES", agrees() ? Py_True : Py_False);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, add_constants},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "vit_pass",
    .m_methods = methods,
    .m_slots = slots,
};

#if LANES == 16
PyMODINIT_FUNC PyInit_vit_pass_avx512(void) { return PyModuleDef_Init(&definition); }
#else
PyMODINIT_FUNC PyInit_vit_pass(void) { return PyModuleDef_Init(&definition); }
#endif

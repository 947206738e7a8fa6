/* A vision transformer's forward pass in float32, on one core (see vit_pass.pyi).
 *
 * A matrix product goes over panels: PANEL columns of the weights, row after row, so that a panel
 * stays in the nearest cache while all tokens pass it. ROWS tokens are multiplied at once; their
 * sums do not leave the registers before they are complete. Each sum runs over its products in one order,
 * so an image's vector does not depend on its companions. A width that is no multiple of PANEL is
 * filled up with zeros.
 *
 * The file includes itself, once for each vector unit that it is compiled for.
 */
#ifndef LANES

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__x86_64__) || !defined(__GNUC__)
#error "written for x86-64 and a compiler with GCC's vectors; elsewhere PyTorch embeds"
#endif

enum { CROP = 224, PATCH = 16, SIDE = CROP / PATCH, PATCHES = SIDE * SIDE, TOKENS = PATCHES + 1 };
enum { CHANNELS = 3, DEPTH = CHANNELS * PATCH * PATCH, LEVELS = 256 };

/* What becomes of a product: written, through GELU first, or added to what is there. */
enum { PLAIN, GELU, ADD };

/* Weights as panels, and a bias or none. */
typedef struct {
    const float *panels, *bias;
    size_t depth, columns;
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

static inline size_t filled(size_t size, size_t panel)
{
    return (size + panel - 1) / panel * panel;
}

static Padded padded(const Config *config, size_t panel)
{
    size_t head = filled(config->width / config->heads, panel);
    return (Padded){filled(config->width, panel), filled(config->hidden, panel), head,
                    head * config->heads};
}

/* How many numbers an encoder's weights are, in the order in which the pass reads them. */
static size_t weights_of(const Config *config, size_t panel)
{
    Padded size = padded(config, panel);
    size_t norm = 2 * size.width;
    size_t attention = 3 * size.attention * (config->width + 1) + size.width * (size.attention + 1);
    size_t perceptron = size.hidden * (config->width + 1) + size.width * (config->hidden + 1);
    size_t before = CHANNELS * LEVELS + size.width * (DEPTH + 1) + TOKENS * size.width;
    size_t projection = config->projected ? size.width * config->width : 0;
    return before + config->layers * (2 * norm + attention + perceptron) + norm + projection;
}

#define LANES 8
#define VECTORS 2
#define ROWS 6
#define NAME(name) name##_avx2
#define LARGER(a, b) ((V)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define UNIT __attribute__((target("avx2,fma")))
#include "vit_pass.c"
#undef LANES
#undef ROWS
#undef NAME
#undef LARGER
#undef UNIT

#define LANES 16
#define ROWS 12
#define NAME(name) name##_avx512
#define LARGER(a, b) ((V)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define UNIT __attribute__((target("avx512f,fma")))
#include "vit_pass.c"

/* ---- The module ---- */

typedef struct {
    const char *name;
    size_t panel;
    size_t (*room)(const Config *);
    void (*pass)(const Config *, const float *, const uint8_t *, float *, float *);
    int there;
} Unit;

static Unit units[] = {
    {"avx512", 2 * 16, room_avx512, pass_avx512, 0},
    {"avx2", 2 * 8, room_avx2, pass_avx2, 0},
};
enum { UNITS = sizeof units / sizeof *units };

static void find_units(void)
{
    __builtin_cpu_init();
    units[0].there = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
    units[1].there = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int wrong(const char *what)
{
    PyErr_SetString(PyExc_ValueError, what);
    return 0;
}

static const Unit *unit_named(const char *name)
{
    for (int i = 0; i < UNITS; i++)
        if (units[i].there && !strcmp(units[i].name, name)) return &units[i];
    wrong("no such vector unit here");
    return NULL;
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
    const char *name;
    double eps;
    int projected, done = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "snnnndpy*y*w*", &name, &width, &hidden, &layers, &heads, &eps,
                          &projected, &weights, &crops, &vectors))
        return NULL;
    Config config = {(size_t)width, (size_t)hidden, (size_t)layers,
                     (size_t)heads, (float)eps,     projected};
    const size_t crop = (size_t)CROP * CROP * CHANNELS;
    size_t count = (size_t)crops.len / crop;
    const Unit *unit = unit_named(name);
    if (!unit || !sensible(&config))
        ;
    else if ((size_t)weights.len != weights_of(&config, unit->panel) * sizeof(float) ||
             (uintptr_t)weights.buf % 64)
        wrong("the weights are not of these sizes, or do not begin at a multiple of 64");
    else if ((size_t)crops.len != count * crop)
        wrong("crops are 224 x 224 x 3");
    else if ((size_t)vectors.len != count * config.width * sizeof(float) ||
             (uintptr_t)vectors.buf % sizeof(float))
        wrong("there is not as much room for vectors as there are crops");
    else {
        float *room = aligned_alloc(64, filled(unit->room(&config) * sizeof(float), 64));
        if (!room)
            PyErr_NoMemory();
        else {
            Py_BEGIN_ALLOW_THREADS
            for (size_t i = 0; i < count; i++)
                unit->pass(&config, weights.buf, (const uint8_t *)crops.buf + i * crop, room,
                           (float *)vectors.buf + i * config.width);
            Py_END_ALLOW_THREADS
            done = 1;
        }
        free(room);
    }
    PyBuffer_Release(&weights);
    PyBuffer_Release(&crops);
    PyBuffer_Release(&vectors);
    return done ? Py_NewRef(Py_None) : NULL;
}

static PyObject *panels(PyObject *module, PyObject *nothing)
{
    PyObject *answer = PyDict_New();
    (void)module, (void)nothing;
    for (int i = 0; answer && i < UNITS; i++) {
        if (!units[i].there) continue;
        PyObject *panel = PyLong_FromSize_t(units[i].panel);
        if (!panel || PyDict_SetItemString(answer, units[i].name, panel) < 0) Py_CLEAR(answer);
        Py_XDECREF(panel);
    }
    return answer;
}

static PyMethodDef methods[] = {
    {"embed", embed, METH_VARARGS, "Embed crops; see vit_pass.pyi."},
    {"panels", panels, METH_NOARGS, "The vector units there are; see vit_pass.pyi."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "vit_pass",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit_vit_pass(void)
{
    find_units();
    return PyModuleDef_Init(&definition);
}

#else /* ---- For one vector unit ---- */

#define PANEL (LANES * VECTORS)
#define ALL _Pragma("GCC unroll 16")
#define INLINE UNIT static inline __attribute__((always_inline))
#define APART UNIT static __attribute__((noinline))

typedef float NAME(V) __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t NAME(Bits) __attribute__((vector_size(4 * LANES), may_alias));
#define V NAME(V)
#define Bits NAME(Bits)
#define AT(pointer) (*(V *)(pointer)) /* aligned, as all rows here are */
#define CONST_AT(pointer) (*(const V *)(pointer))

enum {
    NAME(KEYS) = (TOKENS + PANEL - 1) / PANEL * PANEL,
    NAME(QUERIES) = 8 * ROWS,                           /* their scores stay in a near cache */
    NAME(CHUNK) = (TOKENS / 2 + ROWS - 1) / ROWS * ROWS /* of tokens, and what is within a block */
};
#define KEYS NAME(KEYS)
#define QUERIES NAME(QUERIES)
#define CHUNK NAME(CHUNK)

INLINE float NAME(total)(V sums)
{
    float total = 0;
    for (int i = 0; i < LANES; i++) total += sums[i];
    return total;
}

/* exp(x) for x <= 0, to 2e-7 of it; below -86 that of -86. */
INLINE V NAME(power)(V x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: to it added, a number loses its fraction */
    x = LARGER(x, (V){0} - 86.0f);
    V shifted = x * 1.44269504f + round;
    V whole = shifted - round;
    x = x - whole * 0.693359375f; /* ln 2 in two parts, the first with few digits */
    x = x + whole * 2.12194440e-4f;
    V y = x * 0.0013944609f + 0.0083719185f;
    y = y * x + 0.04166628f;
    y = y * x + 0.16666456f;
    y = y * x + 0.5f;
    y = y * x + 1.0f;
    y = y * x + 1.0f;
    return (V)((Bits)y + ((Bits)shifted << 23));
}

/* x * Phi(x), the exact GELU, to 3e-7. With u = |x| it is max(x, 0) - u / 2 * erfc(u / sqrt(2)),
 * and the logarithm of that erfc is u times a polynomial, fitted from 0 to 6; beyond, it is 0. */
INLINE V NAME(gelu)(V x)
{
    V u = LARGER(x, -x);
    V near = -LARGER(-u, (V){0} - 6.0f);
    V y = near * -2.7229376e-07f + 5.407192e-06f;
    y = y * near - 4.4644840e-05f;
    y = y * near + 1.7374483e-04f;
    y = y * near + 3.2428899e-05f;
    y = y * near - 4.8499582e-03f;
    y = y * near + 3.6372226e-02f;
    y = y * near + 3.1829995e-01f;
    y = y * near + 7.9788560e-01f;
    return LARGER(x, (V){0}) - 0.5f * u * NAME(power)(-(near * y));
}

/* (x - mean) / sqrt(variance + eps) * weight + bias of a token; what fills it up becomes zero. */
INLINE void NAME(normalise)(const float *x, const float *norm, const Config *config, float *out)
{
    const size_t width = config->width, whole = width / LANES * LANES;
    const float *weight = norm, *bias = norm + filled(width, PANEL);
    V sums = {0}, squares = {0};
    for (size_t i = 0; i < whole; i += LANES) sums += CONST_AT(x + i);
    float sum = NAME(total)(sums);
    for (size_t i = whole; i < width; i++) sum += x[i];
    const float mean = sum / (float)width;
    for (size_t i = 0; i < whole; i += LANES) {
        V off = CONST_AT(x + i) - mean;
        squares += off * off;
    }
    float square = NAME(total)(squares);
    for (size_t i = whole; i < width; i++) square += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / sqrtf(square / (float)width + config->eps);
    for (size_t i = 0; i < filled(width, PANEL); i += LANES)
        AT(out + i) = (CONST_AT(x + i) - mean) * scale * CONST_AT(weight + i) + CONST_AT(bias + i);
}

/* Some rows by one panel. */
INLINE void NAME(multiply)(const float *a, size_t step, const float *panel, size_t depth, int rows,
                           float *tile)
{
    V sums[ROWS][VECTORS];
    ALL for (int r = 0; r < rows; r++)
        ALL for (int v = 0; v < VECTORS; v++) sums[r][v] = (V){0};
    for (size_t k = 0; k < depth; k++, panel += PANEL) {
        V b[VECTORS];
        ALL for (int v = 0; v < VECTORS; v++) b[v] = CONST_AT(panel + v * LANES);
        ALL for (int r = 0; r < rows; r++)
            ALL for (int v = 0; v < VECTORS; v++) sums[r][v] += a[(size_t)r * step + k] * b[v];
    }
    ALL for (int r = 0; r < rows; r++)
        ALL for (int v = 0; v < VECTORS; v++) AT(tile + r * PANEL + v * LANES) = sums[r][v];
}

#define CASE(n)                                                                                    \
    case n:                                                                                        \
        NAME(multiply)(a, step, panel, depth, n, tile);                                            \
        break;

/* The same for up to ROWS rows; apart, so that nothing else wants the registers of the sums. */
APART void NAME(tile)(const float *a, size_t step, const float *panel, size_t depth, size_t rows,
                      float *tile)
{
    switch (rows) {
#if ROWS > 6
        CASE(12) CASE(11) CASE(10) CASE(9) CASE(8) CASE(7)
#endif
        CASE(6) CASE(5) CASE(4) CASE(3) CASE(2) CASE(1)
    }
}
#undef CASE

INLINE void NAME(product)(Rows a, size_t count, const Linear *linear, Rows out, int how)
{
    float room[ROWS * PANEL] __attribute__((aligned(64)));
    for (size_t column = 0; column < linear->columns; column += PANEL) {
        const float *panel = linear->panels + column * linear->depth;
        V bias[VECTORS] = {0};
        for (int v = 0; v < VECTORS && linear->bias; v++)
            bias[v] = CONST_AT(linear->bias + column + v * LANES);
        for (size_t row = 0; row < count; row += ROWS) {
            size_t rows = least(count - row, ROWS);
            NAME(tile)(a.at + row * a.step, a.step, panel, linear->depth, rows, room);
            for (size_t r = 0; r < rows; r++)
                for (int v = 0; v < VECTORS; v++) {
                    float *to = out.at + (row + r) * out.step + column + v * LANES;
                    V x = AT(room + r * PANEL + v * LANES) + bias[v];
                    if (how == GELU) x = NAME(gelu)(x);
                    if (how == ADD) x += AT(to);
                    AT(to) = x;
                }
        }
    }
}

APART void NAME(plain)(Rows a, size_t count, const Linear *linear, Rows out)
{
    NAME(product)(a, count, linear, out, PLAIN);
}

APART void NAME(through_gelu)(Rows a, size_t count, const Linear *linear, Rows out)
{
    NAME(product)(a, count, linear, out, GELU);
}

APART void NAME(added)(Rows a, size_t count, const Linear *linear, Rows out)
{
    NAME(product)(a, count, linear, out, ADD);
}

/* Softmax of a query's scores; what fills them up is not looked at. */
INLINE void NAME(softmax)(float *scores)
{
    const size_t whole = TOKENS / LANES * LANES;
    V most = (V){0} - INFINITY, sums = {0};
    for (size_t i = 0; i < whole; i += LANES) most = LARGER(most, AT(scores + i));
    float top = most[0];
    for (int i = 1; i < LANES; i++) top = most[i] > top ? most[i] : top;
    for (size_t i = whole; i < TOKENS; i++) top = scores[i] > top ? scores[i] : top;
    for (size_t i = 0; i < whole; i += LANES) {
        V x = NAME(power)(AT(scores + i) - top);
        AT(scores + i) = x;
        sums += x;
    }
    float sum = NAME(total)(sums);
    if (whole < TOKENS) {
        AT(scores + whole) = NAME(power)(AT(scores + whole) - top);
        for (size_t i = whole; i < TOKENS; i++) sum += scores[i];
    }
    const float scale = 1.0f / sum;
    for (size_t i = 0; i < KEYS; i += LANES) AT(scores + i) *= scale;
}

/* What each of `count` queries takes of all values, head by head. Queries, keys and values of a
 * token stand side by side; the room is what room() has for it. */
UNIT static void NAME(attend)(const Config *config, Rows qkv, size_t count, Rows out, float *room)
{
    const Padded size = padded(config, PANEL);
    const size_t head = config->width / config->heads;
    const float scale = 1.0f / sqrtf((float)head);
    float *key_panels = room, *value_panels = key_panels + KEYS * size.head;
    const Rows scores = {value_panels + TOKENS * size.head, KEYS};
    const Linear by_keys = {key_panels, NULL, head, KEYS};
    const Linear by_values = {value_panels, NULL, TOKENS, size.head};
    for (size_t h = 0; h < config->heads; h++) {
        const Rows queries = {qkv.at + h * size.head, qkv.step};
        const float *key = queries.at + size.attention, *value = key + size.attention;
        for (size_t first = 0; first < KEYS; first += PANEL)
            for (size_t k = 0; k < head; k++)
                for (size_t i = 0; i < PANEL; i++)
                    key_panels[first * head + k * PANEL + i] =
                        first + i < TOKENS ? key[(first + i) * qkv.step + k] * scale : 0;
        for (size_t first = 0; first < size.head; first += PANEL)
            for (size_t t = 0; t < TOKENS; t++)
                memcpy(value_panels + first * TOKENS + t * PANEL, value + t * qkv.step + first,
                       PANEL * sizeof(float));
        for (size_t q = 0; q < count; q += QUERIES) {
            const size_t some = least(count - q, QUERIES);
            NAME(plain)((Rows){queries.at + q * qkv.step, qkv.step}, some, &by_keys, scores);
            for (size_t i = 0; i < some; i++) NAME(softmax)(scores.at + i * KEYS);
            NAME(plain)(scores, some, &by_values,
                        (Rows){out.at + q * out.step + h * size.head, out.step});
        }
    }
}

/* What a perceptron is between its two products, and what a patch is before its one. */
static size_t NAME(inner)(const Padded *size)
{
    return size->hidden > DEPTH ? size->hidden : DEPTH;
}

/* How many numbers a pass needs beside the weights. */
static size_t NAME(room)(const Config *config)
{
    const Padded size = padded(config, PANEL);
    return TOKENS * (2 * size.width + 4 * size.attention) + CHUNK * NAME(inner)(&size) +
           (KEYS + TOKENS) * size.head + QUERIES * KEYS;
}

/* The pixels of some patches, normalised, as the patch projection multiplies them. */
static void NAME(cut)(const uint8_t *crop, const float *levels, size_t first, size_t count,
                      float *out)
{
    for (size_t i = first; i < first + count; i++) {
        const uint8_t *corner = crop + (i / SIDE * CROP + i % SIDE) * PATCH * CHANNELS;
        for (size_t c = 0; c < CHANNELS; c++)
            for (size_t y = 0; y < PATCH; y++)
                for (size_t x = 0; x < PATCH; x++)
                    *out++ = levels[c * LEVELS + corner[(y * CROP + x) * CHANNELS + c]];
    }
}

/* From one crop, (224, 224, 3), to its vector, (width). */
UNIT static void NAME(pass)(const Config *config, const float *weights, const uint8_t *crop,
                            float *room, float *vector)
{
    const Padded size = padded(config, PANEL);
    const size_t width = config->width;
    const Rows x = {room, size.width}, normal = {x.at + TOKENS * size.width, size.width};
    const Rows qkv = {normal.at + TOKENS * size.width, 3 * size.attention};
    const Rows y = {qkv.at + TOKENS * qkv.step, size.attention};
    float *inner = y.at + TOKENS * y.step, *of_attention = inner + CHUNK * NAME(inner)(&size);

#define TAKE(count) (weights += (count), weights - (count))
    const float *levels = TAKE(CHANNELS * LEVELS);
    Linear patch = {TAKE(size.width * DEPTH), NULL, DEPTH, size.width};
    patch.bias = TAKE(size.width);
    memcpy(x.at, TAKE(TOKENS * size.width), TOKENS * size.width * sizeof(float)); /* positions */
    for (size_t first = 0; first < PATCHES; first += CHUNK) {
        const size_t some = least(PATCHES - first, CHUNK);
        NAME(cut)(crop, levels, first, some, inner);
        NAME(added)((Rows){inner, DEPTH}, some, &patch,
                    (Rows){x.at + (first + 1) * x.step, x.step});
    }
    for (size_t layer = 0; layer < config->layers; layer++) {
        const size_t outputs = layer + 1 < config->layers ? TOKENS : 1; /* at last the class's */
        const float *norm = TAKE(2 * size.width);
        Linear into = {TAKE(qkv.step * width), NULL, width, qkv.step};
        into.bias = TAKE(qkv.step);
        Linear from = {TAKE(size.width * size.attention), NULL, size.attention, size.width};
        from.bias = TAKE(size.width);
        const float *norm_after = TAKE(2 * size.width);
        Linear up = {TAKE(size.hidden * width), NULL, width, size.hidden};
        up.bias = TAKE(size.hidden);
        Linear down = {TAKE(size.width * config->hidden), NULL, config->hidden, size.width};
        down.bias = TAKE(size.width);

        for (size_t t = 0; t < TOKENS; t++)
            NAME(normalise)(x.at + t * x.step, norm, config, normal.at + t * normal.step);
        NAME(plain)(normal, TOKENS, &into, qkv);
        NAME(attend)(config, qkv, outputs, y, of_attention);
        NAME(added)(y, outputs, &from, x);
        for (size_t first = 0; first < outputs; first += CHUNK) {
            const size_t some = least(outputs - first, CHUNK);
            const Rows own = {x.at + first * x.step, x.step};
            for (size_t t = 0; t < some; t++)
                NAME(normalise)(own.at + t * x.step, norm_after, config,
                                normal.at + t * normal.step);
            NAME(through_gelu)(normal, some, &up, (Rows){inner, size.hidden});
            NAME(added)((Rows){inner, size.hidden}, some, &down, own);
        }
    }
    const float *norm = TAKE(2 * size.width), *classes = normal.at;
    NAME(normalise)(x.at, norm, config, normal.at);
    if (config->projected) {
        const Linear projection = {TAKE(size.width * width), NULL, width, size.width};
        NAME(plain)(normal, 1, &projection, y);
        classes = y.at;
    }
    memcpy(vector, classes, width * sizeof(float));
#undef TAKE
}

#undef PANEL
#undef ALL
#undef INLINE
#undef APART
#undef V
#undef Bits
#undef AT
#undef CONST_AT
#undef KEYS
#undef QUERIES
#undef CHUNK

#endif

/* Cuts tiles out of a baseline JPEG's coded data, without decoding it (see jpeg_tiles.pyi).
 *
 * Coded data has no index: to know where a block begins, and which DC value it is coded relative to,
 * all before it has to be read. Of what is passed over only lengths are needed, so one look-up passes
 * as many Huffman codes with their extra bits as fit in it (ITU-T T.81, F.2.2). The blocks of a tile
 * are then copied bit by bit, but for their DC differences, which are written anew by the table of
 * annex K.3: the quantised coefficients stay as they are.
 *
 * The input is hostile. Every read is checked against the end of the data, every write against the
 * room there is; the time is proportional to the data. Whatever is not as the standard has it has no
 * answer, and is left to a decoder of the whole.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK = 12,            /* bits that are looked up at once: a table fits the nearest cache */
    END_OF_BLOCK = 128,   /* added to the coefficients that a step passes */
    COMPONENTS = 3,       /* at most */
    MOST_BLOCKS = 4,      /* of a component in a coded unit */
    MOST_CATEGORY = 11,   /* of a DC difference, with samples of 8 bits */
    MOST_UNITS = 1 << 13, /* along a side: 65,535 pixels in units of 8 */
    MOST_INTERVAL = 65535,
    WORD = 64
};

/* ---- Huffman tables ---- */

typedef struct {
    uint8_t used[1 << LOOK];    /* bits of the AC codes that begin there, with their extra bits */
    uint8_t passed[1 << LOOK];  /* coefficients that they pass; 0: look at the first one alone */
    uint8_t lengths[1 << LOOK]; /* bits of the first code; 0: longer than LOOK, or not a code */
    uint8_t symbols[1 << LOOK]; /* what it stands for */
    int32_t first[17], end[17]; /* codes of each length: the first, and one behind the last */
    uint8_t at[17];             /* where the symbols of each length begin */
    uint8_t all[256];
} Table;

/* Bits and coefficients of an AC symbol; 0 coefficients where the standard has no such symbol. */
static inline int size_of(int symbol) { return symbol & 15; }

static inline int passed_by(int symbol)
{
    int run = symbol >> 4;
    if (size_of(symbol)) return run + 1;
    return run == 15 ? 16 : run ? 0 : END_OF_BLOCK;
}

/* Tell for each LOOK bits how far the AC codes in them lead. */
static void find_steps(Table *table)
{
    for (int32_t bits = 0; bits < 1 << LOOK; bits++) {
        int used = 0, passed = 0;
        while (used < LOOK && passed < 64) {
            int32_t rest = (bits << used) & ((1 << LOOK) - 1);
            int length = table->lengths[rest], symbol = table->symbols[rest];
            int with_bits = length + size_of(symbol);
            if (!length || used + length > LOOK || !passed_by(symbol)) break;
            if (used && used + with_bits > LOOK) break; /* the first may be longer: 27 at most */
            used += with_bits;
            passed += passed_by(symbol);
        }
        table->used[bits] = (uint8_t)used;
        table->passed[bits] = (uint8_t)passed;
    }
}

/* Read a table as DHT has it: 16 counts, then symbols. */
static int read_table(Table *table, const uint8_t *body, Py_ssize_t size)
{
    int32_t code = 0;
    int count = 0;
    if (size < 16) return 0;
    memset(table, 0, sizeof *table);
    for (int length = 1; length <= 16; length++, code <<= 1) {
        int more = body[length - 1];
        /* libjpeg refuses a table that uses the code of ones alone, as the standard does */
        if (count + more > 256 || 16 + count + more > size || code + more >= 1 << length) return 0;
        table->first[length] = code;
        table->end[length] = code + more;
        table->at[length] = (uint8_t)count;
        for (; more; more--, code++, count++) {
            table->all[count] = body[16 + count];
            if (length > LOOK) continue;
            size_t from = (size_t)code << (LOOK - length), same = (size_t)1 << (LOOK - length);
            memset(table->lengths + from, length, same);
            memset(table->symbols + from, body[16 + count], same);
        }
    }
    return 16 + count == size;
}

/* ---- reading bits ---- */

typedef struct {
    uint64_t bits;           /* the next ones, from the top */
    int count;               /* how many of them are there; below 0 once too many were taken */
    const uint8_t *at, *end; /* the coded bytes that follow, up to their marker */
} Reader;

static inline uint64_t load(const uint8_t *at)
{
    return (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 | (uint64_t)at[2] << 40 |
           (uint64_t)at[3] << 32 | (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16 |
           (uint64_t)at[6] << 8 | (uint64_t)at[7];
}

/* Have 56 to 63 bits, or all there are. */
static inline void fill(Reader *reader)
{
    if (reader->count < 0) return;
    if (reader->end - reader->at >= 8) {
        uint64_t word = load(reader->at), inverse = ~word;
        uint64_t ones = (inverse - 0x0101010101010101u) & ~inverse & 0x8080808080808080u;
        if (!ones) { /* no byte is 0xFF; bits below the count are those of the next byte already */
            reader->bits |= word >> reader->count;
            reader->at += (WORD - 1 - reader->count) >> 3;
            reader->count |= 56;
            return;
        }
    }
    while (reader->count < 56 && reader->at < reader->end) {
        uint64_t byte = *reader->at;
        reader->at += byte == 0xFF ? 2 : 1; /* a zero is stuffed behind it */
        reader->bits |= byte << (56 - reader->count);
        reader->count += 8;
    }
}

static inline uint32_t front(const Reader *reader, int count) /* 1 to 32 */
{
    return (uint32_t)(reader->bits >> (WORD - count));
}

static inline void take(Reader *reader, int count)
{
    reader->bits <<= count;
    reader->count -= count;
}

/* Length of the code at the front, and its symbol; 0 where there is none. */
static inline int next_code(const Reader *reader, const Table *table, int *symbol)
{
    uint32_t place = front(reader, LOOK);
    int length = table->lengths[place];
    *symbol = table->symbols[place];
    if (length) return length;
    for (length = LOOK + 1; length <= 16; length++) {
        int32_t code = (int32_t)front(reader, length);
        if (code >= table->first[length] && code < table->end[length]) {
            *symbol = table->all[table->at[length] + code - table->first[length]];
            return length;
        }
    }
    return 0;
}

/* ---- writing bits ---- */

typedef struct {
    uint64_t bits;
    int count; /* of the lowest, which are still to be written: 0 to 31 */
    uint8_t *bytes;
    size_t used, room;
    int failed;
} Writer;

/* Write all whole bytes, seven at most. */
static void flush(Writer *writer)
{
    if (writer->room - writer->used < 16) { /* each may be 0xFF, behind which a zero is stuffed */
        size_t room = 2 * writer->room + 4096;
        uint8_t *bytes = realloc(writer->bytes, room);
        if (!bytes) {
            writer->failed = 1;
            writer->count = 0;
            return;
        }
        writer->bytes = bytes;
        writer->room = room;
    }
    while (writer->count >= 8) {
        uint8_t byte = (uint8_t)(writer->bits >> (writer->count -= 8));
        writer->bytes[writer->used++] = byte;
        if (byte == 0xFF) writer->bytes[writer->used++] = 0;
    }
}

static inline void put(Writer *writer, uint32_t bits, int count) /* 0 to 32 */
{
    writer->bits = writer->bits << count | bits;
    writer->count += count;
    if (writer->count >= 32) flush(writer);
}

/* Write a DC difference by annex K.3's table for luminance, which has every category. */
static int put_dc(Writer *writer, int32_t difference)
{
    static const uint16_t codes[] = {0, 2, 3, 4, 5, 6, 14, 30, 62, 126, 254, 510};
    static const uint8_t lengths[] = {2, 3, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9};
    uint32_t size = (uint32_t)(difference < 0 ? -difference : difference);
    int category = 0;
    while (size >> category) category++;
    if (category > MOST_CATEGORY) return 0;
    put(writer, codes[category], lengths[category]);
    put(writer, (uint32_t)(difference - (difference < 0)) & ((1u << category) - 1), category);
    return 1;
}

/* ---- blocks ---- */

/* Pass the DC coefficient of a block; `dc` becomes its value. */
static inline int pass_dc(Reader *reader, const Table *table, int32_t *dc)
{
    int category, length;
    fill(reader);
    length = next_code(reader, table, &category);
    if (!length || category > MOST_CATEGORY) return 0;
    take(reader, length);
    /* without a branch on whether there are extra bits, which could not be predicted */
    int32_t value = (int32_t)(reader->bits >> 1 >> (WORD - 1 - category));
    int32_t half = (1 << category) >> 1;
    *dc += value - (value < half ? 2 * half - 1 : 0);
    take(reader, category);
    return *dc >= INT16_MIN && *dc <= INT16_MAX && reader->count >= 0;
}

/* Pass the AC coefficients of a block, and copy them where there is a writer. */
static inline int pass_ac(Reader *reader, const Table *table, Writer *writer)
{
    for (int k = 1;;) {
        fill(reader);
        for (int turn = 0; turn < 2; turn++) { /* two steps of 27 bits are there */
            uint32_t place = front(reader, LOOK);
            int used = table->used[place], passed = table->passed[place], after = k + passed;
            if (!passed || (after > 64 && (after <= END_OF_BLOCK || after >= END_OF_BLOCK + 64))) {
                /* no short code, or codes of the next block were taken for some of this one */
                int symbol, length = next_code(reader, table, &symbol);
                used = length + size_of(symbol);
                after = k + passed_by(symbol);
                if (!length || after == k || (after > 64 && after < END_OF_BLOCK)) return 0;
            }
            if (writer) put(writer, front(reader, used), used);
            take(reader, used);
            k = after;
            if (k >= 64) return reader->count >= 0;
        }
        if (reader->count < 0) return 0;
    }
}

/* ---- the scan ---- */

typedef struct {
    const uint8_t *data;
    size_t *segments; /* begin and end of what lies between markers, in pairs */
    uint64_t segment_count;
    uint64_t interval;      /* coded units between restarts; 0: no restarts */
    uint64_t columns, rows; /* coded units */
    int components;
    int blocks[COMPONENTS]; /* of a coded unit */
    Table *dc[COMPONENTS], *ac[COMPONENTS];
} Scan;

typedef struct {
    Reader reader;
    uint64_t unit;          /* the next one */
    int32_t dc[COMPONENTS]; /* of each component's last block */
} Place;

typedef struct {
    uint64_t left, top, right, bottom; /* in coded units; right and bottom lie behind it */
    int32_t dc[COMPONENTS];            /* that the writer is at */
    Writer writer;
} Tile;

/* Find what lies between the restart markers, from the start of the scan to EOI. */
static int find_segments(Scan *scan, size_t start, size_t size)
{
    const uint8_t *data = scan->data;
    uint64_t units = scan->columns * scan->rows;
    uint64_t expected = scan->interval ? (units + scan->interval - 1) / scan->interval : 1;
    if (expected > size) return 0; /* each has a marker */
    scan->segments = malloc((size_t)expected * 2 * sizeof *scan->segments);
    if (!scan->segments) return 0;
    for (size_t at = start, begin = start; at + 1 < size;) {
        const uint8_t *found = memchr(data + at, 0xFF, size - 1 - at);
        if (!found) return 0;
        at = (size_t)(found - data) + 2;
        if (!found[1]) continue;
        if (scan->segment_count == expected) return 0;
        scan->segments[2 * scan->segment_count] = begin;
        scan->segments[2 * scan->segment_count + 1] = at - 2;
        begin = at;
        if (found[1] == 0xD9) return ++scan->segment_count == expected;
        if (found[1] != 0xD0 + scan->segment_count++ % 8) return 0;
    }
    return 0;
}

/* Begin the segment of a place's unit. */
static int restart(const Scan *scan, Place *place)
{
    uint64_t segment = scan->interval ? place->unit / scan->interval : 0;
    if (segment >= scan->segment_count) return 0;
    memset(place->dc, 0, sizeof place->dc);
    place->reader.bits = 0;
    place->reader.count = 0;
    place->reader.at = scan->data + scan->segments[2 * segment];
    place->reader.end = scan->data + scan->segments[2 * segment + 1];
    return 1;
}

/* Pass over everything before a unit. */
static int pass_to(const Scan *scan, Place *place, uint64_t unit)
{
    if (scan->interval && unit / scan->interval > place->unit / scan->interval) {
        place->unit = unit - unit % scan->interval;
        if (!restart(scan, place)) return 0;
    }
    Place here = *place; /* so that it can stay in registers */
    for (; here.unit < unit; here.unit++)
        for (int c = 0; c < scan->components; c++)
            for (int block = 0; block < scan->blocks[c]; block++)
                if (!pass_dc(&here.reader, scan->dc[c], &here.dc[c]) ||
                    !pass_ac(&here.reader, scan->ac[c], NULL))
                    return 0;
    *place = here;
    return 1;
}

/* Copy a tile's part of a row, which begins at a place. */
static int copy(const Scan *scan, Place place, Tile *tile)
{
    Writer *writer = &tile->writer;
    for (uint64_t left = tile->left; left < tile->right; left++, place.unit++) {
        if (scan->interval && place.unit % scan->interval == 0 && !restart(scan, &place)) return 0;
        for (int c = 0; c < scan->components; c++)
            for (int block = 0; block < scan->blocks[c]; block++) {
                if (!pass_dc(&place.reader, scan->dc[c], &place.dc[c])) return 0;
                if (!put_dc(writer, place.dc[c] - tile->dc[c])) return 0;
                tile->dc[c] = place.dc[c];
                if (!pass_ac(&place.reader, scan->ac[c], writer) || writer->failed) return 0;
            }
    }
    return 1;
}

/* The nearest unit, at `from` or behind it, at which a tile begins its part of a row. */
static uint64_t next_begin(const Scan *scan, const Tile *tiles, Py_ssize_t count, uint64_t row,
                           uint64_t from)
{
    uint64_t next = UINT64_MAX;
    for (const Tile *tile = tiles; tile < tiles + count; tile++) {
        uint64_t begin = row * scan->columns + tile->left;
        if (row >= tile->top && row < tile->bottom && begin >= from && begin < next) next = begin;
    }
    return next;
}

static int cut_tiles(const Scan *scan, Tile *tiles, Py_ssize_t count)
{
    Place place = {0};
    if (!restart(scan, &place)) return 0;
    for (uint64_t row = 0; row < scan->rows; row++) {
        uint64_t begin = next_begin(scan, tiles, count, row, 0);
        for (; begin != UINT64_MAX; begin = next_begin(scan, tiles, count, row, begin + 1)) {
            if (!pass_to(scan, &place, begin)) return 0;
            for (Tile *tile = tiles; tile < tiles + count; tile++)
                if (row >= tile->top && row < tile->bottom &&
                    row * scan->columns + tile->left == begin && !copy(scan, place, tile))
                    return 0;
        }
    }
    for (Tile *tile = tiles; tile < tiles + count; tile++) {
        int free_bits = -tile->writer.count & 7; /* filled with ones, as the standard has it */
        put(&tile->writer, (1u << free_bits) - 1, free_bits);
        flush(&tile->writer);
        if (tile->writer.failed) return 0;
    }
    return 1;
}

/* ---- Python ---- */

static int wrong(const char *what)
{
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, what);
    return 0;
}

static int is_tuple(PyObject *item)
{
    if (PyTuple_Check(item)) return 1;
    PyErr_SetString(PyExc_TypeError, "components and tiles are tuples");
    return 0;
}

/* Read a component: its blocks in a coded unit, and its tables' bodies. A body that is no table sets
 * `scan->components` to 0, as no error but no answer. */
static int read_component(PyObject *item, Scan *scan, int c, Table *tables)
{
    const char *dc, *ac;
    Py_ssize_t dc_size, ac_size;
    if (!is_tuple(item)) return 0;
    if (!PyArg_ParseTuple(item, "iy#y#", &scan->blocks[c], &dc, &dc_size, &ac, &ac_size)) return 0;
    if (scan->blocks[c] < 1 || scan->blocks[c] > MOST_BLOCKS) return wrong("1 to 4 blocks a unit");
    scan->dc[c] = &tables[2 * c];
    scan->ac[c] = &tables[2 * c + 1];
    if (!read_table(scan->dc[c], (const uint8_t *)dc, dc_size) ||
        !read_table(scan->ac[c], (const uint8_t *)ac, ac_size)) {
        scan->components = 0;
        return 1;
    }
    if (c > 1 && !memcmp(scan->ac[c]->all, scan->ac[c - 1]->all, sizeof scan->ac[c]->all) &&
        !memcmp(scan->ac[c]->first, scan->ac[c - 1]->first, sizeof scan->ac[c]->first) &&
        !memcmp(scan->ac[c]->end, scan->ac[c - 1]->end, sizeof scan->ac[c]->end))
        scan->ac[c] = scan->ac[c - 1]; /* one table in the cache for both chroma components */
    else
        find_steps(scan->ac[c]);
    return 1;
}

static int read_components(PyObject *list, Scan *scan, Table *tables)
{
    Py_ssize_t count = PySequence_Size(list);
    if (count != 1 && count != COMPONENTS) return wrong("a scan has one component or three");
    scan->components = (int)count;
    for (int c = 0; c < scan->components; c++) {
        PyObject *item = PySequence_GetItem(list, c);
        int read = item && read_component(item, scan, c, tables);
        Py_XDECREF(item);
        if (!read) return 0;
    }
    return 1;
}

static int read_tiles(PyObject *list, const Scan *scan, Tile *tiles, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t left, top, right, bottom;
        PyObject *item = PySequence_GetItem(list, i);
        int read = item && is_tuple(item) &&
                   PyArg_ParseTuple(item, "nnnn", &left, &top, &right, &bottom);
        Py_XDECREF(item);
        if (!read) return 0;
        if (left < 0 || left >= right || top < 0 || top >= bottom ||
            (uint64_t)right > scan->columns || (uint64_t)bottom > scan->rows)
            return wrong("a tile lies outside of the image");
        tiles[i].left = (uint64_t)left, tiles[i].right = (uint64_t)right;
        tiles[i].top = (uint64_t)top, tiles[i].bottom = (uint64_t)bottom;
    }
    return 1;
}

static PyObject *as_list(const Tile *tiles, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        const Writer *writer = &tiles[i].writer;
        PyObject *bytes =
            PyBytes_FromStringAndSize((const char *)writer->bytes, (Py_ssize_t)writer->used);
        if (!bytes || PyList_SetItem(list, i, bytes) < 0) Py_CLEAR(list);
    }
    return list;
}

static PyObject *cut(PyObject *module, PyObject *args)
{
    Py_buffer data;
    Py_ssize_t start, interval, columns, rows;
    PyObject *components, *boxes, *answer = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*nnnnOO", &data, &start, &interval, &columns, &rows, &components,
                          &boxes))
        return NULL;
    Scan scan = {.data = data.buf,
                 .interval = (uint64_t)interval,
                 .columns = (uint64_t)columns,
                 .rows = (uint64_t)rows};
    Py_ssize_t count = PySequence_Size(boxes);
    Tile *tiles = count > 0 ? calloc((size_t)count, sizeof *tiles) : NULL;
    Table *tables = malloc(2 * COMPONENTS * sizeof *tables);
    if (count < 1)
        wrong("there are no tiles");
    else if (!tiles || !tables)
        PyErr_NoMemory();
    else if (start < 0 || start > data.len)
        wrong("the scan begins outside of the data");
    else if (columns < 1 || rows < 1 || columns > MOST_UNITS || rows > MOST_UNITS)
        wrong("an image has 1 to 8192 coded units a side");
    else if (interval < 0 || interval > MOST_INTERVAL)
        wrong("there are 0 to 65535 coded units between restarts");
    else if (read_components(components, &scan, tables) && read_tiles(boxes, &scan, tiles, count)) {
        int whole;
        Py_BEGIN_ALLOW_THREADS
        whole = scan.components && find_segments(&scan, (size_t)start, (size_t)data.len) &&
                cut_tiles(&scan, tiles, count);
        Py_END_ALLOW_THREADS
        answer = whole ? as_list(tiles, count) : Py_NewRef(Py_None);
    }
    for (Py_ssize_t i = 0; tiles && i < count; i++) free(tiles[i].writer.bytes);
    free(tiles);
    free(tables);
    free(scan.segments);
    PyBuffer_Release(&data);
    return answer;
}

static PyMethodDef methods[] = {
    {"cut", cut, METH_VARARGS, "Cut tiles out of a JPEG's coded data; see jpeg_tiles.pyi."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "jpeg_tiles",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit_jpeg_tiles(void) { return PyModuleDef_Init(&definition); }

/* Pairs every free of a log with the allocation that it ends. Called by tracekit/log/lifetimes.py.

   The state is the live set, a table keyed by the number of the allocation. Rows that are complete go into columns
   that the caller hands in; when one of these is full the work stops at that event and is taken up again with a new
   one, so that nothing is copied a second time. */
#include "kernels.h"

#include <stdlib.h>
#include <string.h>

enum { KIND_ALLOCATION = 0, KIND_FREE = 1, KIND_GC_START = 2 };
enum { KIND, TIME_NS, THREAD_ID, ADDRESS, SIZE, DOMAIN, STACK_ID, ALLOC_SEQ, CAUSE, TYPE_ID, COLUMNS };
enum { TIERS = 3, UNMATCHED = TIERS, REALLOCS, TIMELINE, OUTPUTS };
enum { MOST_COLUMNS = 12, AHEAD = 16, NEIGHBOURS = 5 };

#define MOST_BYTES ((int64_t)1 << 62) /* as in tracekit/log/columns.py: sums must not overflow */

static const Py_ssize_t column_widths[COLUMNS] = {1, 8, 4, 8, 8, 1, 4, 8, 1, 4};

/* Widths of the columns of each output; 0 ends the list.
   A tier: alloc_seq free_seq time_ns freed_ns address size domain thread_id stack_id type_id cause freed_thread_id.
   Unmatched: seq time_ns thread_id address alloc_seq cause type_id. Reallocs: alloc_seq realloc_of.
   Timeline: seq time_ns live_bytes live_blocks. */
static const Py_ssize_t output_widths[OUTPUTS][MOST_COLUMNS + 1] = {
    {8, 8, 8, 8, 8, 8, 1, 4, 4, 4, 1, 4}, {8, 8, 8, 8, 8, 8, 1, 4, 4, 4, 1, 4}, {8, 8, 8, 8, 8, 8, 1, 4, 4, 4, 1, 4},
    {8, 8, 4, 8, 8, 1, 4},                {8, 8},                               {8, 8, 8, 8},
};

typedef struct {
    int64_t key; /* 1 + number of the allocation; 0: the cell is empty */
    int64_t time_ns, address, size;
    int32_t thread_id, stack_id, type_id;
    uint8_t domain;
} lived;

typedef struct {
    Py_buffer views[MOST_COLUMNS];
    int held;
    Py_ssize_t room, rows;
} output;

typedef struct {
    PyObject_HEAD
    lived *cells;
    uint64_t mask, count;
    unsigned shift;
    output outputs[OUTPUTS];
    int64_t tier_ends[TIERS - 1];
    int64_t live_bytes;
    int64_t allocations, frees, unmatched, collections, allocated_bytes;
    int64_t peak_bytes, peak_blocks, peak_seq; /* peak_seq -1: no event yet */
    int64_t last_seq, last_time_ns, last_bytes, last_blocks; /* after the last event; last_seq -1: none */
    bool peak_listed; /* the timeline has a row for peak_seq */
    bool busy;
} pairs;

/* -- the live set ---------------------------------------------------------------------------------------- */

/* Blocks that were made one after the other are neighbours: they are used and die at similar times, and fewer cache
   lines are touched. */
static inline uint64_t place_of(const pairs *self, int64_t key) {
    return ((uint64_t)key >> NEIGHBOURS) * 0x9E3779B97F4A7C15ull >> self->shift << NEIGHBOURS |
           ((uint64_t)key & ((1 << NEIGHBOURS) - 1));
}

static inline lived *find(const pairs *self, int64_t key) {
    uint64_t at = place_of(self, key);
    while (self->cells[at].key != key) {
        if (self->cells[at].key == 0) {
            return NULL;
        }
        at = (at + 1) & self->mask;
    }
    return &self->cells[at];
}

static bool begin_table(pairs *self, unsigned bits) {
    self->cells = calloc((size_t)1 << bits, sizeof *self->cells);
    self->mask = ((uint64_t)1 << bits) - 1;
    self->shift = 64 - bits + NEIGHBOURS;
    return self->cells != NULL;
}

/* An empty cell for a key that is not there; there must be room. */
static inline lived *put(pairs *self, int64_t key) {
    uint64_t at = place_of(self, key);
    while (self->cells[at].key != 0) {
        at = (at + 1) & self->mask;
    }
    self->count++;
    self->cells[at].key = key;
    return &self->cells[at];
}

/* Room for one more. False when memory is short: all is as before then. */
static inline bool make_room(pairs *self) {
    if (self->count < self->mask / 8 * 5) {
        return true;
    }
    lived *old = self->cells;
    uint64_t cells = self->mask + 1, count = self->count;
    unsigned shift = self->shift;
    if (!begin_table(self, 64 + NEIGHBOURS - shift + 1)) {
        self->cells = old;
        self->mask = cells - 1;
        self->shift = shift;
        return false;
    }
    for (uint64_t at = 0; at < cells; at++) {
        if (old[at].key != 0) {
            *put(self, old[at].key) = old[at];
        }
    }
    self->count = count;
    free(old);
    return true;
}

/* Take a cell out and close the gap, so that every other is still found from its place on. */
static inline void take_out(pairs *self, lived *gone) {
    uint64_t gap = (uint64_t)(gone - self->cells), at = gap;
    for (;;) {
        at = (at + 1) & self->mask;
        if (self->cells[at].key == 0) {
            break;
        }
        uint64_t home = place_of(self, self->cells[at].key);
        if (((at - home) & self->mask) >= ((at - gap) & self->mask)) {
            self->cells[gap] = self->cells[at];
            gap = at;
        }
    }
    self->cells[gap].key = 0;
    self->count--;
}

/* -- the fold -------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *kind, *domain, *cause;
    const int64_t *time_ns, *address, *size, *alloc_seq;
    const int32_t *thread_id, *stack_id, *type_id;
    int64_t first_seq;
} batch;

#define COLUMN(out, which, type) ((type *)(out)->views[which].buf)

static void list_level(pairs *self) {
    output *out = &self->outputs[TIMELINE];
    Py_ssize_t row = out->rows++;
    COLUMN(out, 0, int64_t)[row] = self->last_seq;
    COLUMN(out, 1, int64_t)[row] = self->last_time_ns;
    COLUMN(out, 2, int64_t)[row] = self->last_bytes;
    COLUMN(out, 3, int64_t)[row] = self->last_blocks;
    self->peak_listed |= self->last_seq == self->peak_seq;
}

static void list_dead(pairs *self, const batch *of, int64_t row, const lived *block) {
    int64_t seq = of->first_seq + row, born = block->key - 1, life = seq - born;
    output *out = &self->outputs[life < self->tier_ends[0] ? 0 : life < self->tier_ends[1] ? 1 : 2];
    Py_ssize_t to = out->rows++;
    COLUMN(out, 0, int64_t)[to] = born;
    COLUMN(out, 1, int64_t)[to] = seq;
    COLUMN(out, 2, int64_t)[to] = block->time_ns;
    COLUMN(out, 3, int64_t)[to] = of->time_ns[row];
    COLUMN(out, 4, int64_t)[to] = block->address;
    COLUMN(out, 5, int64_t)[to] = block->size;
    COLUMN(out, 6, uint8_t)[to] = block->domain;
    COLUMN(out, 7, int32_t)[to] = block->thread_id;
    COLUMN(out, 8, int32_t)[to] = block->stack_id;
    COLUMN(out, 9, int32_t)[to] = of->type_id[row];
    COLUMN(out, 10, uint8_t)[to] = of->cause[row];
    COLUMN(out, 11, int32_t)[to] = of->thread_id[row];
}

static void list_unmatched(pairs *self, const batch *of, int64_t row) {
    output *out = &self->outputs[UNMATCHED];
    Py_ssize_t to = out->rows++;
    COLUMN(out, 0, int64_t)[to] = of->first_seq + row;
    COLUMN(out, 1, int64_t)[to] = of->time_ns[row];
    COLUMN(out, 2, int32_t)[to] = of->thread_id[row];
    COLUMN(out, 3, int64_t)[to] = of->address[row];
    COLUMN(out, 4, int64_t)[to] = of->alloc_seq[row];
    COLUMN(out, 5, uint8_t)[to] = of->cause[row];
    COLUMN(out, 6, int32_t)[to] = of->type_id[row];
}

static bool take_allocation(pairs *self, const batch *of, int64_t row) {
    int64_t seq = of->first_seq + row, size = of->size[row];
    lived *block = find(self, seq + 1);
    if (block != NULL) { /* events out of order, which the rules of a log exclude */
        return false;
    }
    block = put(self, seq + 1);
    block->time_ns = of->time_ns[row];
    block->address = of->address[row];
    block->size = size;
    block->thread_id = of->thread_id[row];
    block->stack_id = of->stack_id[row];
    block->type_id = 0;
    block->domain = of->domain[row];
    self->allocations++;
    self->allocated_bytes += size;
    self->live_bytes += size;
    if (of->alloc_seq[row] >= 0) {
        output *out = &self->outputs[REALLOCS];
        Py_ssize_t to = out->rows++;
        COLUMN(out, 0, int64_t)[to] = seq;
        COLUMN(out, 1, int64_t)[to] = of->alloc_seq[row];
    }
    return self->live_bytes <= MOST_BYTES && self->allocated_bytes <= MOST_BYTES;
}

static void take_free(pairs *self, const batch *of, int64_t row) {
    int64_t ended = of->alloc_seq[row];
    lived *block = ended < 0 ? NULL : find(self, ended + 1);
    self->frees++;
    if (block == NULL) {
        self->unmatched++;
        list_unmatched(self, of, row);
        return;
    }
    list_dead(self, of, row, block);
    self->live_bytes -= block->size;
    take_out(self, block);
}

/* So many events can be taken before an output is full: each adds one row to an output at most. */
static int64_t events_left(const pairs *self) {
    int64_t least = INT64_MAX;
    for (int which = 0; which < OUTPUTS; which++) {
        int64_t left = self->outputs[which].room - self->outputs[which].rows;
        least = left < least ? left : least;
    }
    return least;
}

/* Number of an output that takes no more rows, -1: there is none. */
static int full_output(const pairs *self) {
    for (int which = 0; which < OUTPUTS; which++) {
        if (self->outputs[which].rows >= self->outputs[which].room) {
            return which;
        }
    }
    return -1;
}

enum ending { DONE, FULL, NO_MEMORY, IMPOSSIBLE };

/* From `*at` on, until all is done or something is in the way. */
static enum ending fold(pairs *self, const batch *of, int64_t *at, int64_t rows) {
    enum ending end = DONE;
    int64_t row = *at, checked = row;
    for (; row < rows; row++) {
        if (row == checked) {
            int64_t left = events_left(self);
            if (left <= 0) {
                end = FULL;
                break;
            }
            checked = left < rows - row ? row + left : rows;
        }
        if (row + AHEAD < rows && of->kind[row + AHEAD] == KIND_FREE) {
            __builtin_prefetch(&self->cells[place_of(self, of->alloc_seq[row + AHEAD] + 1)]);
        }
        if (self->last_seq >= 0 && self->last_time_ns != of->time_ns[row]) {
            list_level(self);
        }
        uint8_t kind = of->kind[row];
        if (kind == KIND_ALLOCATION) {
            if (!make_room(self)) {
                end = NO_MEMORY;
                break;
            }
            if (!take_allocation(self, of, row)) {
                end = IMPOSSIBLE;
                break;
            }
        } else if (kind == KIND_FREE) {
            take_free(self, of, row);
        } else {
            self->collections += kind == KIND_GC_START;
        }
        self->last_seq = of->first_seq + row;
        self->last_time_ns = of->time_ns[row];
        self->last_bytes = self->live_bytes;
        self->last_blocks = (int64_t)self->count;
        if (self->peak_seq < 0 || self->live_bytes > self->peak_bytes) {
            self->peak_bytes = self->live_bytes;
            self->peak_blocks = self->last_blocks;
            self->peak_seq = self->last_seq;
            self->peak_listed = false;
        }
    }
    *at = row;
    return end;
}

/* -- as a Python object ---------------------------------------------------------------------------------- */

static void let_go(output *out) {
    while (out->held > 0) {
        PyBuffer_Release(&out->views[--out->held]);
    }
    out->room = out->rows = 0;
}

static PyObject *pairs_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    (void)keywords;
    long long first, second;
    if (!PyArg_ParseTuple(arguments, "LL", &first, &second)) {
        return NULL;
    }
    pairs *self = (pairs *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->tier_ends[0] = first;
    self->tier_ends[1] = second;
    self->peak_seq = self->last_seq = -1;
    if (!begin_table(self, 12)) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void pairs_dealloc(pairs *self) {
    for (int which = 0; which < OUTPUTS; which++) {
        let_go(&self->outputs[which]);
    }
    free(self->cells);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static bool is_idle(const pairs *self) {
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the pairing is at work in another thread");
    }
    return !self->busy;
}

/* Buffers of a tuple, `count` of them with these widths and equally many items. Items, or -1 with an error set. */
static Py_ssize_t hold(PyObject *columns, const Py_ssize_t *widths, int count, Py_buffer *views, int flags) {
    Py_ssize_t items = -1;
    int held = 0;
    bool fine = PyTuple_GET_SIZE(columns) == count;
    for (; fine && held < count; held++) {
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(columns, held), &views[held], PyBUF_C_CONTIGUOUS | flags) != 0) {
            fine = false;
            break;
        }
        Py_ssize_t found = views[held].len / widths[held];
        items = held == 0 ? found : items;
        if (found != items || views[held].itemsize != widths[held]) {
            fine = false;
        }
    }
    if (!fine) {
        while (held > 0) {
            PyBuffer_Release(&views[--held]);
        }
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "columns of unequal length, of another type, or too few");
        }
        return -1;
    }
    return items;
}

PyDoc_STRVAR(output_doc, "output(which, columns)\n--\n\nWrite rows of an output into these columns from now on.\n\n"
                         "Returns how many rows are in those that it had before.");

static PyObject *pairs_output(pairs *self, PyObject *arguments) {
    int which;
    PyObject *columns;
    if (!PyArg_ParseTuple(arguments, "iO!", &which, &PyTuple_Type, &columns) || !is_idle(self)) {
        return NULL;
    }
    if (which < 0 || which >= OUTPUTS) {
        PyErr_SetString(PyExc_ValueError, "there is no such output");
        return NULL;
    }
    output fresh = {.held = 0};
    int count = 0;
    while (output_widths[which][count] != 0) {
        count++;
    }
    fresh.room = hold(columns, output_widths[which], count, fresh.views, PyBUF_WRITABLE);
    if (fresh.room < 0) {
        return NULL;
    }
    fresh.held = count;
    Py_ssize_t rows = self->outputs[which].rows;
    let_go(&self->outputs[which]);
    self->outputs[which] = fresh;
    return PyLong_FromSsize_t(rows);
}

PyDoc_STRVAR(run_doc, "run(first_seq, columns, row)\n--\n\nTake events into account, from a row of the ten columns on.\n\n"
                      "Returns the row at which it stopped because an output is full; the number of rows when all is\n"
                      "done. Raises OverflowError when what is alive is more than can be.");

static PyObject *pairs_run(pairs *self, PyObject *arguments) {
    long long first_seq, from;
    PyObject *columns;
    Py_buffer views[COLUMNS];
    if (!PyArg_ParseTuple(arguments, "LO!L", &first_seq, &PyTuple_Type, &columns, &from) || !is_idle(self)) {
        return NULL;
    }
    Py_ssize_t rows = hold(columns, column_widths, COLUMNS, views, 0);
    if (rows < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    if (from < 0 || from > rows || first_seq < 0 || first_seq > INT64_MAX - 1 - rows) {
        PyErr_SetString(PyExc_ValueError, "no such row or event");
    } else {
        const batch of = {
            .kind = views[KIND].buf, .domain = views[DOMAIN].buf, .cause = views[CAUSE].buf,
            .time_ns = views[TIME_NS].buf, .address = views[ADDRESS].buf, .size = views[SIZE].buf,
            .alloc_seq = views[ALLOC_SEQ].buf, .thread_id = views[THREAD_ID].buf, .stack_id = views[STACK_ID].buf,
            .type_id = views[TYPE_ID].buf, .first_seq = first_seq,
        };
        int64_t at = from;
        enum ending end;
        self->busy = true;
        Py_BEGIN_ALLOW_THREADS
        end = fold(self, &of, &at, rows);
        Py_END_ALLOW_THREADS
        self->busy = false;
        if (end == NO_MEMORY) {
            PyErr_NoMemory();
        } else if (end == IMPOSSIBLE) {
            PyErr_SetString(PyExc_OverflowError, "more is alive than can be");
        } else {
            result = PyLong_FromLongLong(at);
        }
    }
    for (int which = 0; which < COLUMNS; which++) {
        PyBuffer_Release(&views[which]);
    }
    return result;
}

PyDoc_STRVAR(full_doc, "full()\n--\n\nNumber of an output that is full, -1: there is none.");

static PyObject *pairs_full(pairs *self, PyObject *nothing) {
    (void)nothing;
    return is_idle(self) ? PyLong_FromLong(full_output(self)) : NULL;
}

PyDoc_STRVAR(types_doc, "types(alloc_seq, type_id)\n--\n\nSay of which types blocks are; those that are not alive are left out.");

static PyObject *pairs_types(pairs *self, PyObject *arguments) {
    static const Py_ssize_t widths[] = {8, 8};
    Py_buffer views[2];
    if (!is_idle(self)) {
        return NULL;
    }
    Py_ssize_t count = hold(arguments, widths, 2, views, 0);
    if (count < 0) {
        return NULL;
    }
    const int64_t *alloc_seq = views[0].buf, *type_id = views[1].buf;
    for (Py_ssize_t at = 0; at < count; at++) {
        lived *block = alloc_seq[at] < 0 || alloc_seq[at] == INT64_MAX ? NULL : find(self, alloc_seq[at] + 1);
        if (block != NULL) {
            block->type_id = (int32_t)type_id[at];
        }
    }
    PyBuffer_Release(&views[0]);
    PyBuffer_Release(&views[1]);
    Py_RETURN_NONE;
}

/* alloc_seq time_ns address size domain thread_id stack_id type_id */
static const Py_ssize_t live_widths[] = {8, 8, 8, 8, 1, 4, 4, 4};
enum { LIVE_COLUMNS = 8 };

PyDoc_STRVAR(live_doc, "live(columns)\n--\n\nWrite what is alive into columns of len(self) rows, in any order.");

static PyObject *pairs_live(pairs *self, PyObject *columns) {
    Py_buffer views[LIVE_COLUMNS];
    if (!PyTuple_Check(columns)) {
        PyErr_SetString(PyExc_TypeError, "columns are a tuple");
        return NULL;
    }
    Py_ssize_t room = is_idle(self) ? hold(columns, live_widths, LIVE_COLUMNS, views, PyBUF_WRITABLE) : -1;
    if (room < 0) {
        return NULL;
    }
    if ((uint64_t)room != self->count) {
        PyErr_SetString(PyExc_ValueError, "columns of another length");
    } else {
        Py_ssize_t to = 0;
        for (uint64_t at = 0; at <= self->mask; at++) {
            const lived *block = &self->cells[at];
            if (block->key != 0) {
                ((int64_t *)views[0].buf)[to] = block->key - 1;
                ((int64_t *)views[1].buf)[to] = block->time_ns;
                ((int64_t *)views[2].buf)[to] = block->address;
                ((int64_t *)views[3].buf)[to] = block->size;
                ((uint8_t *)views[4].buf)[to] = block->domain;
                ((int32_t *)views[5].buf)[to] = block->thread_id;
                ((int32_t *)views[6].buf)[to] = block->stack_id;
                ((int32_t *)views[7].buf)[to] = block->type_id;
                to++;
            }
        }
    }
    for (int which = 0; which < LIVE_COLUMNS; which++) {
        PyBuffer_Release(&views[which]);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(restore_doc, "restore(columns)\n--\n\nBegin with blocks that are alive, as live() wrote them. Before any event.");

static PyObject *pairs_restore(pairs *self, PyObject *columns) {
    Py_buffer views[LIVE_COLUMNS];
    if (!PyTuple_Check(columns)) {
        PyErr_SetString(PyExc_TypeError, "columns are a tuple");
        return NULL;
    }
    Py_ssize_t count = is_idle(self) ? hold(columns, live_widths, LIVE_COLUMNS, views, 0) : -1;
    if (count < 0) {
        return NULL;
    }
    for (Py_ssize_t at = 0; at < count && !PyErr_Occurred(); at++) {
        int64_t seq = ((const int64_t *)views[0].buf)[at], size = ((const int64_t *)views[3].buf)[at];
        if (seq < 0 || seq == INT64_MAX || size < 0 || size > MOST_BYTES - self->live_bytes || find(self, seq + 1) != NULL) {
            PyErr_SetString(PyExc_ValueError, "blocks that cannot be alive");
        } else if (!make_room(self)) {
            PyErr_NoMemory();
        } else {
            lived *block = put(self, seq + 1);
            block->time_ns = ((const int64_t *)views[1].buf)[at];
            block->address = ((const int64_t *)views[2].buf)[at];
            block->size = size;
            block->domain = ((const uint8_t *)views[4].buf)[at];
            block->thread_id = ((const int32_t *)views[5].buf)[at];
            block->stack_id = ((const int32_t *)views[6].buf)[at];
            block->type_id = ((const int32_t *)views[7].buf)[at];
            self->live_bytes += size;
        }
    }
    for (int which = 0; which < LIVE_COLUMNS; which++) {
        PyBuffer_Release(&views[which]);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(counts_doc, "counts()\n--\n\nWhat happened since the last call: allocations, frees, unmatched frees, collections, "
                         "bytes allocated.");

static PyObject *pairs_counts(pairs *self, PyObject *nothing) {
    (void)nothing;
    PyObject *result = Py_BuildValue("LLLLL", (long long)self->allocations, (long long)self->frees,
                                     (long long)self->unmatched, (long long)self->collections,
                                     (long long)self->allocated_bytes);
    self->allocations = self->frees = self->unmatched = self->collections = self->allocated_bytes = 0;
    return result;
}

static PyObject *pairs_get_peak(pairs *self, void *closure) {
    (void)closure;
    return Py_BuildValue("LLLO", (long long)self->peak_seq, (long long)self->peak_bytes, (long long)self->peak_blocks,
                         self->peak_listed ? Py_True : Py_False);
}

static int pairs_set_peak(pairs *self, PyObject *value, void *closure) {
    (void)closure;
    long long seq, bytes, blocks;
    int listed;
    if (value == NULL || !PyTuple_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "a peak is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(value, "LLLp", &seq, &bytes, &blocks, &listed)) {
        return -1;
    }
    self->peak_seq = seq;
    self->peak_bytes = bytes;
    self->peak_blocks = blocks;
    self->peak_listed = listed;
    return 0;
}

static PyObject *pairs_get_last(pairs *self, void *closure) {
    (void)closure;
    return Py_BuildValue("LLLL", (long long)self->last_seq, (long long)self->last_time_ns, (long long)self->last_bytes,
                         (long long)self->last_blocks);
}

static int pairs_set_last(pairs *self, PyObject *value, void *closure) {
    (void)closure;
    long long seq, time_ns, bytes, blocks;
    if (value == NULL || !PyTuple_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "a level is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(value, "LLLL", &seq, &time_ns, &bytes, &blocks)) {
        return -1;
    }
    self->last_seq = seq;
    self->last_time_ns = time_ns;
    self->last_bytes = bytes;
    self->last_blocks = blocks;
    return 0;
}

static PyObject *pairs_live_bytes(pairs *self, void *closure) {
    (void)closure;
    return PyLong_FromLongLong(self->live_bytes);
}

static Py_ssize_t pairs_length(pairs *self) {
    return (Py_ssize_t)self->count;
}

static PyMethodDef pairs_methods[] = {
    {"output", (PyCFunction)pairs_output, METH_VARARGS, output_doc},
    {"run", (PyCFunction)pairs_run, METH_VARARGS, run_doc},
    {"full", (PyCFunction)pairs_full, METH_NOARGS, full_doc},
    {"types", (PyCFunction)pairs_types, METH_VARARGS, types_doc},
    {"live", (PyCFunction)pairs_live, METH_O, live_doc},
    {"restore", (PyCFunction)pairs_restore, METH_O, restore_doc},
    {"counts", (PyCFunction)pairs_counts, METH_NOARGS, counts_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pairs_properties[] = {
    {"peak", (getter)pairs_get_peak, (setter)pairs_set_peak, "(seq, bytes, blocks, listed) of the highest level.", NULL},
    {"last", (getter)pairs_get_last, (setter)pairs_set_last, "(seq, time_ns, bytes, blocks) after the last event.", NULL},
    {"live_bytes", (getter)pairs_live_bytes, NULL, "Bytes of what is alive.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PySequenceMethods pairs_sequence = {.sq_length = (lenfunc)pairs_length};

PyTypeObject tk_pairs_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "tracekit._native._kernels.Pairs",
    .tp_doc = "Frees are paired with allocations, and blocks that died become rows of columns.",
    .tp_basicsize = sizeof(pairs),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = pairs_new,
    .tp_dealloc = (destructor)pairs_dealloc,
    .tp_methods = pairs_methods,
    .tp_getset = pairs_properties,
    .tp_as_sequence = &pairs_sequence,
};

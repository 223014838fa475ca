/* A batch of events to and from the steps and streams in which a log holds it (docs/log-format.md, coding of
   batches). Called by tracekit/log/columns.py. One step, a byte, an event: the bits say which fields were not
   guessed, and those are in the streams. Time and thread are runs. Nothing that a log may hold makes the decoder
   read or write outside of what it was given. */
#include "kernels.h"
#include "kernels_model.h"

#include <stdlib.h>

enum { KINDS, STACKS, SIZES, DOMAINS, LINKS, ADDRESSES, CAUSES, TYPES, DISTANCES, DIFFERENCES, STREAMS };
enum { TIMES = STREAMS, TIME_RUNS, THREADS, THREAD_RUNS, PILES };
enum { COLUMNS = 10 };

typedef struct {
    int64_t *values;
    size_t count, room;
} pile;

static inline bool push(pile *to, int64_t value) {
    if (to->count == to->room) {
        size_t room = 2 * to->room + 1024;
        int64_t *larger = realloc(to->values, room * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        to->values = larger;
        to->room = room;
    }
    to->values[to->count++] = value;
    return true;
}

static inline int64_t zigzag(int64_t value) {
    return (int64_t)((uint64_t)value << 1 ^ (uint64_t)(value >> 63));
}

static inline int64_t zagzig(int64_t value) {
    return (int64_t)((uint64_t)value >> 1 ^ -((uint64_t)value & 1));
}

/* -- encoding -------------------------------------------------------------------------------------------- */

static uint8_t encode_allocation(tk_model *model, int64_t row, int64_t alike, pile *piles, bool *fine) {
    uint8_t step = 0;
    int32_t stack = alike >= 0 ? model->stack_id[alike] : model->last_born >= 0 ? model->stack_id[model->last_born] : 0;
    if (model->stack_id[row] != stack) {
        step |= TK_STEP_STACK;
        *fine &= push(&piles[STACKS], model->stack_id[row]);
        alike = -1;
    }
    const tk_site *site = tk_model_site(model, model->stack_id[row]);
    int64_t size = alike >= 0 ? model->size[alike] : site->size;
    uint8_t domain = alike >= 0 ? model->domain[alike] : site->domain;
    if (model->size[row] != size) {
        step |= TK_STEP_SIZE;
        *fine &= push(&piles[SIZES], model->size[row]);
    }
    if (model->domain[row] != domain) {
        step |= TK_STEP_DOMAIN;
        *fine &= push(&piles[DOMAINS], model->domain[row]);
    }
    int64_t link = model->alloc_seq[row];
    if (link != tk_model_link(model, row)) {
        step |= TK_STEP_LINK;
        *fine &= push(&piles[LINKS], link < 0 ? 0 : model->first_seq + row - link);
    }
    uint64_t bytes = (uint64_t)model->size[row], address = (uint64_t)model->address[row];
    uint64_t guess = tk_pools_guess(&model->pools, bytes, model->domain[row]);
    if (address != guess) {
        step |= TK_STEP_ADDRESS;
        uint64_t *base = tk_pools_base(&model->pools, bytes, model->domain[row]);
        *fine &= push(&piles[ADDRESSES], zigzag((int64_t)(address - *base)));
        *base = address;
    }
    tk_pools_take(&model->pools, bytes, model->domain[row], guess, address);
    return step;
}

static uint8_t encode_free(tk_model *model, int64_t row, int64_t alike, pile *piles, bool *fine) {
    uint8_t step = 0;
    int64_t ended = model->alloc_seq[row], guess[2];
    tk_model_ends(model, row, alike, guess);
    if (ended == guess[0]) {
        /* nothing to say */
    } else if (ended == guess[1]) {
        step |= 8;
    } else {
        int64_t distance = ended < 0 ? 0 : model->first_seq + row - ended;
        int64_t difference = ended - model->last_ended;
        if (ended < 0 || distance <= llabs(difference)) {
            step |= 16;
            *fine &= push(&piles[DISTANCES], distance);
        } else {
            step |= 24;
            *fine &= push(&piles[DIFFERENCES], zigzag(difference));
        }
    }
    if (ended < 0) {
        *fine &= push(&piles[ADDRESSES], model->address[row]);
    }
    int64_t born = tk_model_row(model, ended, row);
    uint8_t cause = alike >= 0 ? model->cause[alike] : 0;
    if (model->cause[row] != cause) {
        step |= TK_STEP_CAUSE;
        *fine &= push(&piles[CAUSES], model->cause[row]);
    }
    int32_t type = born >= 0 ? *tk_model_type(model, born) : alike >= 0 ? model->type_id[alike] : 0;
    if (model->type_id[row] != type) {
        step |= TK_STEP_TYPE;
        *fine &= push(&piles[TYPES], model->type_id[row]);
    }
    return step;
}

static bool encode(tk_model *model, int64_t count, const int64_t *time_ns, const int32_t *thread_id, uint8_t *steps,
                   pile *piles) {
    bool fine = true;
    int64_t time_from = 0, thread_from = 0;
    for (int64_t row = 0; row < count && fine; row++) {
        if (row > 0 && time_ns[row] != time_ns[row - 1]) {
            fine &= push(&piles[TIMES], time_ns[row - 1]) && push(&piles[TIME_RUNS], row - time_from);
            time_from = row;
        }
        if (row > 0 && thread_id[row] != thread_id[row - 1]) {
            fine &= push(&piles[THREADS], thread_id[row - 1]) && push(&piles[THREAD_RUNS], row - thread_from);
            thread_from = row;
        }
        uint8_t step = 0, kind = model->kind[row];
        int64_t alike = model->match;
        uint8_t guess = alike >= 0 ? model->kind[alike] : TK_EVENT_ALLOCATION;
        if (kind != guess) {
            step = TK_STEP_KIND;
            fine &= push(&piles[KINDS], kind);
            alike = -1;
        }
        if (kind == TK_EVENT_ALLOCATION) {
            step |= encode_allocation(model, row, alike, piles, &fine);
        } else if (kind == TK_EVENT_FREE) {
            step |= encode_free(model, row, alike, piles, &fine);
        } else if (kind >= TK_EVENT_ARENA) {
            fine &= push(&piles[ADDRESSES], model->address[row]) && push(&piles[SIZES], model->size[row]);
        }
        steps[row] = step;
        tk_model_learn(model, row, alike >= 0 && tk_model_went_on(kind, step));
    }
    fine &= push(&piles[TIMES], time_ns[count - 1]) && push(&piles[TIME_RUNS], count - time_from);
    fine &= push(&piles[THREADS], thread_id[count - 1]) && push(&piles[THREAD_RUNS], count - thread_from);
    return fine;
}

/* -- decoding -------------------------------------------------------------------------------------------- */

typedef struct {
    const int64_t *values, *end;
} stream;

/* The next value of a stream, which must lie in 0..top. */
static inline int64_t next(stream *from, int64_t top, bool *fine) {
    if (from->values == from->end || *from->values < 0 || *from->values > top) {
        *fine = false;
        return 0;
    }
    return *from->values++;
}

/* The next value of a stream that may hold any. */
static inline int64_t next_any(stream *from, bool *fine) {
    if (from->values == from->end) {
        *fine = false;
        return 0;
    }
    return *from->values++;
}

static void decode_allocation(tk_model *model, int64_t row, int64_t alike, uint8_t step, stream *from, bool *fine) {
    int32_t stack = alike >= 0 ? model->stack_id[alike] : model->last_born >= 0 ? model->stack_id[model->last_born] : 0;
    if (step & TK_STEP_STACK) {
        stack = (int32_t)next(&from[STACKS], INT32_MAX, fine);
        alike = -1;
    }
    model->stack_id[row] = stack;
    const tk_site *site = tk_model_site(model, stack);
    model->size[row] = step & TK_STEP_SIZE ? next(&from[SIZES], INT64_MAX, fine)
                       : alike >= 0        ? model->size[alike]
                                           : site->size;
    model->domain[row] = step & TK_STEP_DOMAIN ? (uint8_t)next(&from[DOMAINS], 255, fine)
                         : alike >= 0          ? model->domain[alike]
                                               : site->domain;
    int64_t seq = model->first_seq + row;
    if (step & TK_STEP_LINK) {
        int64_t distance = next(&from[LINKS], seq, fine);
        model->alloc_seq[row] = distance == 0 ? -1 : seq - distance;
    } else {
        model->alloc_seq[row] = tk_model_link(model, row);
    }
    uint64_t bytes = (uint64_t)model->size[row];
    uint64_t guess = tk_pools_guess(&model->pools, bytes, model->domain[row]);
    uint64_t address = guess;
    if (step & TK_STEP_ADDRESS) {
        uint64_t *base = tk_pools_base(&model->pools, bytes, model->domain[row]);
        address = *base + (uint64_t)zagzig(next_any(&from[ADDRESSES], fine));
        *base = address;
    }
    model->address[row] = (int64_t)address;
    model->cause[row] = 0;
    model->type_id[row] = 0;
    tk_pools_take(&model->pools, bytes, model->domain[row], guess, address);
}

static void decode_free(tk_model *model, int64_t row, int64_t alike, uint8_t step, stream *from, bool *fine) {
    int64_t guess[2], ended, seq = model->first_seq + row;
    tk_model_ends(model, row, alike, guess);
    switch (step & TK_STEP_ENDS) {
    case 0:
        ended = guess[0];
        break;
    case 8:
        ended = guess[1];
        break;
    case 16:
        ended = next(&from[DISTANCES], seq, fine);
        ended = ended == 0 ? -1 : seq - ended;
        break;
    default:
        ended = (int64_t)((uint64_t)model->last_ended + (uint64_t)zagzig(next_any(&from[DIFFERENCES], fine)));
    }
    if (ended < -1 || ended >= seq) {
        *fine = false;
        ended = -1;
    }
    model->alloc_seq[row] = ended;
    model->address[row] = ended < 0 ? next(&from[ADDRESSES], INT64_MAX, fine) : 0;
    model->size[row] = 0;
    model->domain[row] = 0;
    model->stack_id[row] = 0;
    model->cause[row] = step & TK_STEP_CAUSE ? (uint8_t)next(&from[CAUSES], 255, fine)
                        : alike >= 0         ? model->cause[alike]
                                             : 0;
    int64_t born = tk_model_row(model, ended, row);
    model->type_id[row] = step & TK_STEP_TYPE ? (int32_t)next(&from[TYPES], INT32_MAX, fine)
                          : born >= 0         ? *tk_model_type(model, born)
                          : alike >= 0        ? model->type_id[alike]
                                              : 0;
}

static void decode_other(tk_model *model, int64_t row, uint8_t kind, stream *from, bool *fine) {
    bool arena = kind >= TK_EVENT_ARENA;
    model->address[row] = arena ? next(&from[ADDRESSES], INT64_MAX, fine) : 0;
    model->size[row] = arena ? next(&from[SIZES], INT64_MAX, fine) : 0;
    model->domain[row] = 0;
    model->stack_id[row] = 0;
    model->alloc_seq[row] = -1;
    model->cause[row] = 0;
    model->type_id[row] = 0;
}

/* Fill in all rows but time and thread. False when the streams do not fit the steps. */
static bool decode(tk_model *model, int64_t count, const uint8_t *steps, stream *from) {
    bool fine = true;
    for (int64_t row = 0; row < count && fine; row++) {
        uint8_t step = steps[row];
        int64_t alike = model->match;
        uint8_t kind = alike >= 0 ? model->kind[alike] : TK_EVENT_ALLOCATION;
        if (step & TK_STEP_KIND) {
            kind = (uint8_t)next(&from[KINDS], 255, &fine);
            alike = -1;
        }
        model->kind[row] = kind;
        if (kind == TK_EVENT_ALLOCATION) {
            decode_allocation(model, row, alike, step, from, &fine);
        } else if (kind == TK_EVENT_FREE) {
            decode_free(model, row, alike, step, from, &fine);
        } else {
            decode_other(model, row, kind, from, &fine);
        }
        tk_model_learn(model, row, alike >= 0 && tk_model_went_on(kind, step));
    }
    for (int which = 0; which < STREAMS; which++) {
        fine &= from[which].values == from[which].end;
    }
    return fine;
}

/* -- as a Python object ---------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    tk_model *model;
    bool busy;
} codec;

static const Py_ssize_t widths[COLUMNS] = {1, 8, 4, 8, 8, 1, 4, 8, 1, 4};
enum { KIND, TIME_NS, THREAD_ID, ADDRESS, SIZE, DOMAIN, STACK_ID, ALLOC_SEQ, CAUSE, TYPE_ID };

static PyObject *codec_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    (void)arguments;
    (void)keywords;
    codec *self = (codec *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->model = calloc(1, sizeof *self->model);
        if (self->model == NULL) {
            Py_CLEAR(self);
            return PyErr_NoMemory();
        }
    }
    return (PyObject *)self;
}

static void codec_dealloc(codec *self) {
    free(self->model);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static void release(Py_buffer *views, int held) {
    while (held > 0) {
        PyBuffer_Release(&views[--held]);
    }
}

/* The ten columns as buffers of equally many rows; returns the number of rows, -1 on error. */
static Py_ssize_t hold(PyObject *columns, Py_buffer *views, int flags) {
    Py_ssize_t rows = 0;
    for (int which = 0; which < COLUMNS; which++) {
        bool got = PyTuple_GET_SIZE(columns) == COLUMNS &&
                   PyObject_GetBuffer(PyTuple_GET_ITEM(columns, which), &views[which], PyBUF_C_CONTIGUOUS | flags) == 0;
        Py_ssize_t found = got ? views[which].len / widths[which] : 0;
        rows = which == 0 ? found : rows;
        if (!got || found != rows || rows > TK_MAX_ROWS || views[which].itemsize != widths[which]) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "columns that are too long, of unequal length or of another type");
            }
            release(views, which + got);
            return -1;
        }
    }
    return rows;
}

static bool begin(codec *self, int64_t first_seq, const Py_buffer *views) {
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the codec is at work in another thread");
        return false;
    }
    self->busy = true;
    tk_model *model = self->model;
    model->kind = views[KIND].buf;
    model->address = views[ADDRESS].buf;
    model->size = views[SIZE].buf;
    model->domain = views[DOMAIN].buf;
    model->stack_id = views[STACK_ID].buf;
    model->alloc_seq = views[ALLOC_SEQ].buf;
    model->cause = views[CAUSE].buf;
    model->type_id = views[TYPE_ID].buf;
    model->first_seq = first_seq;
    tk_model_begin(model);
    return true;
}

static PyObject *as_bytes(pile *piles, PyObject *steps) {
    PyObject *result = PyTuple_New(PILES + 1);
    if (result == NULL) {
        return NULL;
    }
    PyTuple_SET_ITEM(result, 0, Py_NewRef(steps));
    for (int which = 0; which < PILES; which++) {
        PyObject *values = PyBytes_FromStringAndSize((const char *)piles[which].values,
                                                     (Py_ssize_t)(piles[which].count * sizeof(int64_t)));
        if (values == NULL) {
            Py_DECREF(result);
            return NULL;
        }
        PyTuple_SET_ITEM(result, which + 1, values);
    }
    return result;
}

PyDoc_STRVAR(encode_doc, "encode(first_seq, columns)\n--\n\nThe steps of a batch and its streams as bytes of i64: kinds,\n"
                         "stacks, sizes, domains, links, addresses, causes, types, distances, differences, times and\n"
                         "their runs, threads and their runs.");

static PyObject *codec_encode(codec *self, PyObject *arguments) {
    long long first_seq;
    PyObject *columns;
    Py_buffer views[COLUMNS];
    if (!PyArg_ParseTuple(arguments, "LO!", &first_seq, &PyTuple_Type, &columns)) {
        return NULL;
    }
    Py_ssize_t rows = hold(columns, views, 0);
    if (rows < 0) {
        return NULL;
    }
    PyObject *result = NULL, *steps = PyBytes_FromStringAndSize(NULL, rows);
    pile piles[PILES] = {{NULL, 0, 0}};
    if (rows == 0) {
        PyErr_SetString(PyExc_ValueError, "a batch without events");
    } else if (steps != NULL && begin(self, first_seq, views)) {
        bool fine;
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(steps);
        Py_BEGIN_ALLOW_THREADS
        fine = encode(self->model, rows, views[TIME_NS].buf, views[THREAD_ID].buf, to, piles);
        Py_END_ALLOW_THREADS
        self->busy = false;
        result = fine ? as_bytes(piles, steps) : PyErr_NoMemory();
    }
    for (int which = 0; which < PILES; which++) {
        free(piles[which].values);
    }
    Py_XDECREF(steps);
    release(views, COLUMNS);
    return result;
}

PyDoc_STRVAR(decode_doc, "decode(first_seq, steps, streams, columns)\n--\n\nFill in columns, whatever they hold, except time\n"
                         "and thread, from the steps and the ten streams of i64. False when they do not fit each other.");

static PyObject *codec_decode(codec *self, PyObject *arguments) {
    long long first_seq;
    PyObject *streams, *columns;
    Py_buffer steps, views[COLUMNS], sources[STREAMS];
    if (!PyArg_ParseTuple(arguments, "Ly*O!O!", &first_seq, &steps, &PyTuple_Type, &streams, &PyTuple_Type, &columns)) {
        return NULL;
    }
    PyObject *result = NULL;
    Py_ssize_t rows = hold(columns, views, PyBUF_WRITABLE);
    int held = 0;
    stream from[STREAMS];
    bool fine = rows >= 0 && PyTuple_GET_SIZE(streams) == STREAMS && steps.len == rows;
    for (; fine && held < STREAMS; held++) {
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(streams, held), &sources[held], PyBUF_C_CONTIGUOUS) != 0) {
            fine = false;
            break;
        }
        from[held].values = sources[held].buf;
        from[held].end = from[held].values + sources[held].len / (Py_ssize_t)sizeof(int64_t);
    }
    if (!fine) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "steps or streams that do not belong to these columns");
        }
    } else if (first_seq < 0 || first_seq > INT64_MAX - rows) {
        PyErr_SetString(PyExc_ValueError, "no such number");
    } else if (begin(self, first_seq, views)) {
        Py_BEGIN_ALLOW_THREADS
        fine = decode(self->model, rows, steps.buf, from);
        Py_END_ALLOW_THREADS
        self->busy = false;
        result = PyBool_FromLong(fine);
    }
    release(sources, held);
    if (rows >= 0) {
        release(views, COLUMNS);
    }
    PyBuffer_Release(&steps);
    return result;
}

static PyMethodDef codec_methods[] = {
    {"encode", (PyCFunction)codec_encode, METH_VARARGS, encode_doc},
    {"decode", (PyCFunction)codec_decode, METH_VARARGS, decode_doc},
    {NULL, NULL, 0, NULL},
};

PyTypeObject tk_codec_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "tracekit._native._kernels.Codec",
    .tp_doc = "Batches of events to and from steps and streams. Each batch stands for itself.",
    .tp_basicsize = sizeof(codec),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = codec_new,
    .tp_dealloc = (destructor)codec_dealloc,
    .tp_methods = codec_methods,
};

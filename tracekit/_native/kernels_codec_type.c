/* The codec as a Python object: it holds columns, keeps a batch while that is being encoded, and lets the interpreter
   go on meanwhile. */
#include "kernels.h"
#include "kernels_codec.h"

#include <stdlib.h>

enum { COLUMNS = 10, MOST_KEPT = 1 << 17 };
enum { KIND, TIME_NS, THREAD_ID, ADDRESS, SIZE, DOMAIN, STACK_ID, ALLOC_SEQ, CAUSE, TYPE_ID };
static const Py_ssize_t widths[COLUMNS] = {1, 8, 4, 8, 8, 1, 4, 8, 1, 4};

typedef struct {
    PyObject_HEAD
    tk_model *model;
    bool busy; /* a pass runs, without the GIL */
    bool open; /* a batch is being encoded: of the columns in `views`, `room` rows each */
    Py_buffer views[COLUMNS];
    Py_ssize_t room;
    uint8_t *steps;
    tk_encoding now;
} codec;

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

static void release(Py_buffer *views, int held) {
    while (held > 0) {
        PyBuffer_Release(&views[--held]);
    }
}

/* Forget the batch that is being encoded, and give back what a large one needed. */
static void drop_batch(codec *self) {
    if (self->open) {
        self->open = false;
        release(self->views, COLUMNS);
    }
    for (int which = 0; which < TK_PILES; which++) {
        tk_values *pile = &self->now.piles[which];
        if (pile->room > MOST_KEPT) {
            free(pile->values);
            *pile = (tk_values){NULL, 0, 0};
        }
    }
}

static void codec_dealloc(codec *self) {
    drop_batch(self);
    for (int which = 0; which < TK_PILES; which++) {
        free(self->now.piles[which].values);
    }
    free(self->steps);
    free(self->model);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static bool usable(const codec *self) {
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the codec is at work in another thread");
    }
    return !self->busy;
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

static void begin(codec *self, int64_t first_seq, const Py_buffer *views) {
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
}

PyDoc_STRVAR(begin_doc, "begin(first_seq, columns)\n--\n\nBegin to encode a batch whose rows are still being filled in; one that\n"
                        "was begun before is forgotten.");

static PyObject *codec_begin(codec *self, PyObject *arguments) {
    long long first_seq;
    PyObject *columns;
    if (!PyArg_ParseTuple(arguments, "LO!", &first_seq, &PyTuple_Type, &columns) || !usable(self)) {
        return NULL;
    }
    drop_batch(self);
    Py_ssize_t room = hold(columns, self->views, 0);
    if (room < 0) {
        return NULL;
    }
    self->open = true;
    uint8_t *steps = realloc(self->steps, (size_t)room + 1);
    if (steps == NULL) {
        drop_batch(self);
        return PyErr_NoMemory();
    }
    self->steps = steps;
    self->room = room;
    self->now.rows = self->now.time_from = self->now.thread_from = 0;
    for (int which = 0; which < TK_PILES; which++) {
        self->now.piles[which].count = 0;
    }
    begin(self, first_seq, self->views);
    Py_RETURN_NONE;
}

static bool in_batch(const codec *self) {
    if (usable(self) && !self->open) {
        PyErr_SetString(PyExc_ValueError, "no batch was begun");
    }
    return !self->busy && self->open;
}

PyDoc_STRVAR(more_doc, "more(rows)\n--\n\nSo many rows of the batch are filled in and will not change: encode them.");

static PyObject *codec_more(codec *self, PyObject *count) {
    Py_ssize_t rows = PyLong_AsSsize_t(count);
    if ((rows == -1 && PyErr_Occurred()) || !in_batch(self)) {
        return NULL;
    }
    if (rows < self->now.rows || rows > self->room) {
        PyErr_SetString(PyExc_ValueError, "the batch has no such rows");
        return NULL;
    }
    bool fine;
    self->busy = true;
    Py_BEGIN_ALLOW_THREADS
    fine = tk_encode(self->model, &self->now, rows, self->views[TIME_NS].buf, self->views[THREAD_ID].buf, self->steps);
    Py_END_ALLOW_THREADS
    self->busy = false;
    if (!fine) {
        drop_batch(self);
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

static PyObject *as_bytes(const codec *self) {
    PyObject *result = PyTuple_New(TK_PILES + 1);
    for (int which = -1; which < TK_PILES && result != NULL; which++) {
        const tk_values *pile = which < 0 ? NULL : &self->now.piles[which];
        PyObject *values = pile == NULL ? PyBytes_FromStringAndSize((const char *)self->steps, self->now.rows)
                                        : PyBytes_FromStringAndSize((const char *)pile->values,
                                                                    (Py_ssize_t)(pile->count * sizeof(int64_t)));
        if (values == NULL) {
            Py_CLEAR(result);
        } else {
            PyTuple_SET_ITEM(result, which + 1, values);
        }
    }
    return result;
}

PyDoc_STRVAR(finish_doc, "finish()\n--\n\nThe steps of the batch and its streams as bytes of i64: kinds, stacks, sizes, domains,\n"
                         "links, addresses, causes, types, distances, differences, times and their runs, threads and\n"
                         "their runs. The columns are let go.");

static PyObject *codec_finish(codec *self, PyObject *unused) {
    (void)unused;
    if (!in_batch(self)) {
        return NULL;
    }
    PyObject *result = NULL;
    if (self->now.rows == 0) {
        PyErr_SetString(PyExc_ValueError, "a batch without events");
    } else if (!tk_encode_end(&self->now, self->views[TIME_NS].buf, self->views[THREAD_ID].buf)) {
        PyErr_NoMemory();
    } else {
        result = as_bytes(self);
    }
    drop_batch(self);
    return result;
}

PyDoc_STRVAR(decode_doc, "decode(first_seq, steps, streams, columns)\n--\n\nFill in columns, whatever they hold, except time\n"
                         "and thread, from the steps and the ten streams of i64. False when they do not fit each other.");

static PyObject *codec_decode(codec *self, PyObject *arguments) {
    long long first_seq;
    PyObject *streams, *columns;
    Py_buffer steps, views[COLUMNS], sources[TK_STREAMS];
    if (!PyArg_ParseTuple(arguments, "Ly*O!O!", &first_seq, &steps, &PyTuple_Type, &streams, &PyTuple_Type, &columns)) {
        return NULL;
    }
    PyObject *result = NULL;
    Py_ssize_t rows = hold(columns, views, PyBUF_WRITABLE);
    int held = 0;
    tk_stream from[TK_STREAMS];
    bool fine = rows >= 0 && PyTuple_GET_SIZE(streams) == TK_STREAMS && steps.len == rows;
    for (; fine && held < TK_STREAMS; held++) {
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
    } else if (usable(self)) {
        drop_batch(self);
        begin(self, first_seq, views);
        self->busy = true;
        Py_BEGIN_ALLOW_THREADS
        fine = tk_decode(self->model, rows, steps.buf, from);
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
    {"begin", (PyCFunction)codec_begin, METH_VARARGS, begin_doc},
    {"more", (PyCFunction)codec_more, METH_O, more_doc},
    {"finish", (PyCFunction)codec_finish, METH_NOARGS, finish_doc},
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

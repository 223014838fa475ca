/* tracekit._native._kernels.Pairs: the pairing of kernels_pairs.c as a Python object. */
#include "kernels_pairs.h"

#include <stdlib.h>

static const Py_ssize_t column_widths[COLUMNS] = {1, 8, 4, 8, 8, 1, 4, 8, 1, 4};

/* Widths of the columns of each output; 0 ends the list.
   A tier: alloc_seq free_seq time_ns freed_ns address size domain thread_id stack_id type_id cause freed_thread_id.
   Unmatched: seq time_ns thread_id address alloc_seq cause type_id. Reallocs: alloc_seq realloc_of.
   Timeline: seq time_ns live_bytes live_blocks. */
static const Py_ssize_t output_widths[OUTPUTS][MOST_COLUMNS + 1] = {
    {8, 8, 8, 8, 8, 8, 1, 4, 4, 4, 1, 4}, {8, 8, 8, 8, 8, 8, 1, 4, 4, 4, 1, 4}, {8, 8, 8, 8, 8, 8, 1, 4, 4, 4, 1, 4},
    {8, 8, 4, 8, 8, 1, 4},                {8, 8},                               {8, 8, 8, 8},
};

static void let_go(tk_output *out) {
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
    tk_pairs *self = (tk_pairs *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->tier_ends[0] = first;
    self->tier_ends[1] = second;
    self->peak_seq = self->last_seq = -1;
    if (!tk_pairs_begin(self)) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void pairs_dealloc(tk_pairs *self) {
    for (int which = 0; which < OUTPUTS; which++) {
        let_go(&self->outputs[which]);
    }
    free(self->cells);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static bool is_idle(const tk_pairs *self) {
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

static PyObject *pairs_output(tk_pairs *self, PyObject *arguments) {
    int which;
    PyObject *columns;
    if (!PyArg_ParseTuple(arguments, "iO!", &which, &PyTuple_Type, &columns) || !is_idle(self)) {
        return NULL;
    }
    if (which < 0 || which >= OUTPUTS) {
        PyErr_SetString(PyExc_ValueError, "there is no such output");
        return NULL;
    }
    tk_output fresh = {.held = 0};
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

static PyObject *pairs_run(tk_pairs *self, PyObject *arguments) {
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
        const tk_events of = {
            .kind = views[KIND].buf, .domain = views[DOMAIN].buf, .cause = views[CAUSE].buf,
            .time_ns = views[TIME_NS].buf, .address = views[ADDRESS].buf, .size = views[SIZE].buf,
            .alloc_seq = views[ALLOC_SEQ].buf, .thread_id = views[THREAD_ID].buf, .stack_id = views[STACK_ID].buf,
            .type_id = views[TYPE_ID].buf, .first_seq = first_seq,
        };
        int64_t at = from;
        tk_ending end;
        self->busy = true;
        Py_BEGIN_ALLOW_THREADS
        end = tk_pairs_fold(self, &of, &at, rows);
        Py_END_ALLOW_THREADS
        self->busy = false;
        if (end == TK_NO_MEMORY) {
            PyErr_NoMemory();
        } else if (end == TK_IMPOSSIBLE) {
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

static PyObject *pairs_full(tk_pairs *self, PyObject *nothing) {
    (void)nothing;
    return is_idle(self) ? PyLong_FromLong(tk_pairs_full(self)) : NULL;
}

PyDoc_STRVAR(types_doc, "types(alloc_seq, type_id)\n--\n\nSay of which types blocks are; those that are not alive are left out.");

static PyObject *pairs_types(tk_pairs *self, PyObject *arguments) {
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
        tk_lived *block = alloc_seq[at] < 0 || alloc_seq[at] == INT64_MAX ? NULL : tk_pairs_find(self, alloc_seq[at] + 1);
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

static PyObject *pairs_live(tk_pairs *self, PyObject *columns) {
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
            const tk_lived *block = &self->cells[at];
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

static PyObject *pairs_restore(tk_pairs *self, PyObject *columns) {
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
        if (seq < 0 || seq == INT64_MAX || size < 0 || size > MOST_BYTES - self->live_bytes || tk_pairs_find(self, seq + 1) != NULL) {
            PyErr_SetString(PyExc_ValueError, "blocks that cannot be alive");
        } else {
            tk_lived *block = tk_pairs_add(self, seq + 1);
            if (block == NULL) {
                PyErr_NoMemory();
                break;
            }
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

static PyObject *pairs_counts(tk_pairs *self, PyObject *nothing) {
    (void)nothing;
    PyObject *result = Py_BuildValue("LLLLL", (long long)self->allocations, (long long)self->frees,
                                     (long long)self->unmatched, (long long)self->collections,
                                     (long long)self->allocated_bytes);
    self->allocations = self->frees = self->unmatched = self->collections = self->allocated_bytes = 0;
    return result;
}

static PyObject *pairs_get_peak(tk_pairs *self, void *closure) {
    (void)closure;
    return Py_BuildValue("LLLO", (long long)self->peak_seq, (long long)self->peak_bytes, (long long)self->peak_blocks,
                         self->peak_listed ? Py_True : Py_False);
}

static int pairs_set_peak(tk_pairs *self, PyObject *value, void *closure) {
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

static PyObject *pairs_get_last(tk_pairs *self, void *closure) {
    (void)closure;
    return Py_BuildValue("LLLL", (long long)self->last_seq, (long long)self->last_time_ns, (long long)self->last_bytes,
                         (long long)self->last_blocks);
}

static int pairs_set_last(tk_pairs *self, PyObject *value, void *closure) {
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

static PyObject *pairs_live_bytes(tk_pairs *self, void *closure) {
    (void)closure;
    return PyLong_FromLongLong(self->live_bytes);
}

static Py_ssize_t pairs_length(tk_pairs *self) {
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
    .tp_basicsize = sizeof(tk_pairs),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = pairs_new,
    .tp_dealloc = (destructor)pairs_dealloc,
    .tp_methods = pairs_methods,
    .tp_getset = pairs_properties,
    .tp_as_sequence = &pairs_sequence,
};

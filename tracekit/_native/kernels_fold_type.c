/* The fold as a Python object; what it does is in kernels_fold.c. */
#include "kernels_fold.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const Py_ssize_t widths[TK_COLUMNS] = {1, 8, 4, 8, 8, 1, 4, 8, 1, 4};

static bool usable(tk_fold *self) {
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the fold is at work in another thread");
    }
    return !self->busy;
}

static bool hold_columns(tk_fold *self, PyObject *columns) {
    if (PyTuple_GET_SIZE(columns) != TK_COLUMNS) {
        PyErr_SetString(PyExc_ValueError, "there are ten columns");
        return false;
    }
    for (int which = 0; which < TK_COLUMNS; which++) {
        Py_buffer *view = &self->views[which];
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(columns, which), view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) != 0) {
            return false;
        }
        self->held_views = which + 1;
        Py_ssize_t room = view->len / widths[which];
        if (which == 0) {
            self->room = room;
        }
        if (view->itemsize != widths[which] || room != self->room || room == 0) {
            PyErr_SetString(PyExc_ValueError, "columns of unequal length or of another type");
            return false;
        }
    }
    return true;
}

static PyObject *fold_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    (void)keywords;
    PyObject *columns;
    if (!PyArg_ParseTuple(arguments, "O!", &PyTuple_Type, &columns)) {
        return NULL;
    }
    tk_fold *self = (tk_fold *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->moved = calloc(TK_THREADS, sizeof *self->moved);
    if (self->moved == NULL || !tk_table_begin(&self->live)) {
        PyErr_NoMemory();
        Py_DECREF(self);
        return NULL;
    }
    for (int which = 0; which < TK_AHEAD; which++) {
        self->ahead[which] = &self->no_cell;
    }
    if (!hold_columns(self, columns)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void fold_dealloc(tk_fold *self) {
    while (self->held_views > 0) {
        PyBuffer_Release(&self->views[--self->held_views]);
    }
    tk_table_end(&self->live);
    free(self->moved);
    free(self->nodes.data);
    free(self->typed.data);
    free(self->stamps.data);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

PyDoc_STRVAR(run_doc, "run(slots, at, position)\n--\n\nTake slots from number `at` on, the first of which stood at\n"
                      "`position` in the ring. Returns how far it came and why it ended there: 0 no more slots, 1 the\n"
                      "columns are full, 2 a definition.");

static PyObject *run(tk_fold *self, PyObject *arguments) {
    Py_buffer slots;
    Py_ssize_t at;
    unsigned long long position;
    if (!PyArg_ParseTuple(arguments, "y*nK", &slots, &at, &position)) {
        return NULL;
    }
    Py_ssize_t count = slots.len / (Py_ssize_t)sizeof(tk_slot);
    int why = TK_REACHED_END;
    bool fine = usable(self);
    if (fine && (at < 0 || at > count || (uintptr_t)slots.buf % 8 != 0)) {
        PyErr_SetString(PyExc_ValueError, "no such slot");
        fine = false;
    }
    if (fine) {
        self->busy = true;
        Py_BEGIN_ALLOW_THREADS
        fine = tk_fold_run(self, slots.buf, count, &at, position, &why);
        Py_END_ALLOW_THREADS
        self->busy = false;
        if (!fine) {
            PyErr_NoMemory();
        }
    }
    PyBuffer_Release(&slots);
    return fine ? Py_BuildValue("ni", at, why) : NULL;
}

PyDoc_STRVAR(event_doc, "event(kind, time_ns, thread)\n--\n\nAppend an event without a block, at this time or the last one\n"
                        "if that was later. Returns its number; raises ValueError when the columns are full.");

static PyObject *event(tk_fold *self, PyObject *arguments) {
    unsigned char kind;
    long long time_ns;
    unsigned short thread;
    if (!PyArg_ParseTuple(arguments, "bLH", &kind, &time_ns, &thread) || !usable(self)) {
        return NULL;
    }
    if (self->rows >= self->room) {
        PyErr_SetString(PyExc_ValueError, "the columns are full");
        return NULL;
    }
    self->time_ns = time_ns > self->time_ns ? time_ns : self->time_ns;
    return PyLong_FromLongLong(self->first_seq + tk_fold_row(self, kind, thread));
}

PyDoc_STRVAR(clear_doc, "clear()\n--\n\nThe rows were taken: the columns are filled from their beginning again.");

static PyObject *clear(tk_fold *self, PyObject *unused) {
    (void)unused;
    if (!usable(self)) {
        return NULL;
    }
    self->first_seq += self->rows;
    self->rows = 0;
    self->batch_bytes = 0;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stamp_doc, "stamp(pairs)\n--\n\nPairs of u64, ascending: slots from this position in the ring on were written at\n"
                        "this time (minus `origin_ns`) or later.");

static PyObject *stamp(tk_fold *self, PyObject *arguments) {
    Py_buffer pairs;
    if (!PyArg_ParseTuple(arguments, "y*", &pairs)) {
        return NULL;
    }
    bool fine = usable(self);
    if (fine && !tk_pile_add(&self->stamps, pairs.buf, (size_t)pairs.len / 16 * 16)) {
        PyErr_NoMemory();
        fine = false;
    }
    PyBuffer_Release(&pairs);
    if (!fine) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *take_pile(tk_fold *self, tk_pile *from) {
    if (!usable(self)) {
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(from->data, (Py_ssize_t)from->bytes);
    if (bytes != NULL) {
        from->bytes = 0;
    }
    return bytes;
}

PyDoc_STRVAR(take_nodes_doc, "take_nodes()\n--\n\nPayloads of the call path nodes since the last call, 16 bytes each.");

static PyObject *take_nodes(tk_fold *self, PyObject *unused) {
    (void)unused;
    return take_pile(self, &self->nodes);
}

PyDoc_STRVAR(take_typed_doc, "take_typed()\n--\n\nTypes of live blocks since the last call: pairs of i64, the number of the\n"
                             "allocation and that of the type.");

static PyObject *take_typed(tk_fold *self, PyObject *unused) {
    (void)unused;
    return take_pile(self, &self->typed);
}

PyDoc_STRVAR(counts_doc, "counts()\n--\n\nallocations, frees, unmatched frees, allocated bytes, live bytes, live blocks, peak\n"
                         "bytes, peak blocks, number of the peak's event, damaged slots.");

static PyObject *counts(tk_fold *self, PyObject *unused) {
    (void)unused;
    return Py_BuildValue("LLLLLLLLLL", (long long)self->allocations, (long long)self->frees, (long long)self->unmatched,
                         (long long)self->allocated_bytes, (long long)self->live_bytes, (long long)self->live_blocks,
                         (long long)self->peak_bytes, (long long)self->peak_blocks, (long long)self->peak_seq,
                         (long long)self->damaged);
}

static PyMethodDef fold_methods[] = {
    {"run", (PyCFunction)run, METH_VARARGS, run_doc},
    {"event", (PyCFunction)event, METH_VARARGS, event_doc},
    {"clear", (PyCFunction)clear, METH_NOARGS, clear_doc},
    {"stamp", (PyCFunction)stamp, METH_VARARGS, stamp_doc},
    {"take_nodes", (PyCFunction)take_nodes, METH_NOARGS, take_nodes_doc},
    {"take_typed", (PyCFunction)take_typed, METH_NOARGS, take_typed_doc},
    {"counts", (PyCFunction)counts, METH_NOARGS, counts_doc},
    {NULL, NULL, 0, NULL},
};

static PyObject *get_rows(tk_fold *self, void *closure) {
    (void)closure;
    return PyLong_FromSsize_t(self->rows);
}

static PyObject *get_number(tk_fold *self, void *offset) {
    return PyLong_FromLongLong(*(int64_t *)((char *)self + (size_t)offset));
}

static int set_number(tk_fold *self, PyObject *value, void *offset) {
    long long number = value == NULL ? -1 : PyLong_AsLongLong(value);
    if (value == NULL || PyErr_Occurred() || !usable(self)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "cannot be deleted");
        }
        return -1;
    }
    *(int64_t *)((char *)self + (size_t)offset) = number;
    return 0;
}

#define NUMBER(name, text) \
    {#name, (getter)get_number, (setter)set_number, text, (void *)offsetof(tk_fold, name)}

static PyGetSetDef fold_members[] = {
    {"rows", (getter)get_rows, NULL, "Rows of the columns that are filled.", NULL},
    NUMBER(first_seq, "Number of the event in the first row."),
    NUMBER(time_ns, "Time of the last event."),
    NUMBER(origin_ns, "CLOCK_MONOTONIC when the recording began, which stamps count from."),
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject tk_fold_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "tracekit._native._kernels.Fold",
    .tp_doc = "Fold(columns): slots of the ring become rows of ten columns (kind, time_ns, thread_id, address, size,\n"
              "domain, stack_id, alloc_seq, cause, type_id), from the first row on.",
    .tp_basicsize = sizeof(tk_fold),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = fold_new,
    .tp_dealloc = (destructor)fold_dealloc,
    .tp_methods = fold_methods,
    .tp_getset = fold_members,
};

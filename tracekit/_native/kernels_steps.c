/* Puts the steps of a window of events together. Called by tracekit/store/placing.py, which says what they are.

   Blocks come in any order; every value goes into the row that the number of its event says. There is one row more
   than there are steps, for what belongs to events outside of the window. */
#include "kernels.h"

#include <string.h>

enum { MOST_COLUMNS = 16, TILE = 1024 /* rows that are found at a time */ };

/* -- arguments ------------------------------------------------------------------------------------------- */

static void let_go(Py_buffer *views, Py_ssize_t held) {
    while (held > 0) {
        PyBuffer_Release(&views[--held]);
    }
}

/* A buffer with items of this width, any for 0. */
static bool hold(PyObject *object, Py_ssize_t width, int flags, Py_buffer *view) {
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags) != 0) {
        return false;
    }
    if ((width != 0 && view->itemsize != width) || view->itemsize <= 0 || (uintptr_t)view->buf % (uintptr_t)view->itemsize != 0) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_ValueError, "a column of another type");
        return false;
    }
    return true;
}

/* The first `count` arguments after the first one. False with an error set, and nothing held. */
static bool hold_all(PyObject *const *objects, const Py_ssize_t *widths, const int *flags, int count, Py_buffer *views) {
    for (int held = 0; held < count; held++) {
        if (!hold(objects[held], widths[held], flags[held], &views[held])) {
            let_go(views, held);
            return false;
        }
    }
    return true;
}

/* The number of an event within the window, `events` for one that is not in it. */
static inline uint64_t number_of(int64_t seq, int64_t first, uint64_t events) {
    uint64_t at = (uint64_t)seq - (uint64_t)first;
    return at < events ? at : events;
}

/* -- which events are steps ------------------------------------------------------------------------------ */

static PyObject *mark_steps(PyObject *module, PyObject *arguments) {
    (void)module;
    long long first;
    PyObject *objects[2];
    Py_buffer views[2];
    if (!PyArg_ParseTuple(arguments, "LOO", &first, &objects[0], &objects[1]) ||
        !hold_all(objects, (const Py_ssize_t[]){8, 1}, (const int[]){0, PyBUF_WRITABLE}, 2, views)) {
        return NULL;
    }
    const int64_t *seq = views[0].buf;
    uint8_t *there = views[1].buf;
    Py_ssize_t count = views[0].len / 8;
    bool fine = views[1].len > 0;
    if (fine) {
        uint64_t events = (uint64_t)views[1].len - 1;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < count; at++) {
            there[number_of(seq[at], first, events)] = 1;
        }
        Py_END_ALLOW_THREADS
    }
    let_go(views, 2);
    if (!fine) {
        PyErr_SetString(PyExc_ValueError, "columns of unequal length");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *number_steps(PyObject *module, PyObject *arguments) {
    (void)module;
    long long first;
    PyObject *objects[3];
    Py_buffer views[3];
    if (!PyArg_ParseTuple(arguments, "LOOO", &first, &objects[0], &objects[1], &objects[2]) ||
        !hold_all(objects, (const Py_ssize_t[]){1, 4, 8}, (const int[]){0, PyBUF_WRITABLE, PyBUF_WRITABLE}, 3, views)) {
        return NULL;
    }
    const uint8_t *there = views[0].buf;
    int32_t *row = views[1].buf;
    int64_t *seq = views[2].buf;
    Py_ssize_t events = views[0].len - 1;
    bool fine = events >= 0 && events < INT32_MAX && views[1].len / 4 == events + 1 && views[2].len / 8 == events + 1;
    int32_t steps = 0;
    if (fine) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < events; at++) {
            row[at] = steps;
            seq[steps] = first + at;
            steps += there[at] != 0;
        }
        row[events] = steps;
        Py_END_ALLOW_THREADS
    }
    let_go(views, 3);
    if (!fine) {
        PyErr_SetString(PyExc_ValueError, "columns of unequal length");
        return NULL;
    }
    return PyLong_FromLong(steps);
}

/* -- their values ---------------------------------------------------------------------------------------- */

#define PUT(type)                                                  \
    do {                                                           \
        type *to = column->buf;                                    \
        const type *from = (const type *)values->buf + begin;      \
        for (Py_ssize_t at = 0; at < count; at++) {                \
            to[rows[at]] = from[at];                               \
        }                                                          \
    } while (0)

static void put_column(const Py_buffer *column, const Py_buffer *values, Py_ssize_t begin, const uint32_t *rows,
                       Py_ssize_t count) {
    if (column->itemsize == 8) {
        PUT(uint64_t);
    } else if (column->itemsize == 4) {
        PUT(uint32_t);
    } else {
        PUT(uint8_t);
    }
}

/* `views` are seq, row, the columns and their values. False: a row that is not in the columns. */
static bool put_all(int64_t first, const Py_buffer *views, Py_ssize_t columns, Py_ssize_t room) {
    const int64_t *seq = views[0].buf;
    const uint32_t *row = views[1].buf;
    Py_ssize_t total = views[0].len / 8;
    uint64_t events = (uint64_t)views[1].len / 4 - 1;
    uint32_t rows[TILE];
    for (Py_ssize_t begin = 0; begin < total; begin += TILE) {
        Py_ssize_t count = total - begin < TILE ? total - begin : TILE;
        uint32_t last = 0;
        for (Py_ssize_t at = 0; at < count; at++) {
            rows[at] = row[number_of(seq[begin + at], first, events)];
            last = rows[at] > last ? rows[at] : last;
        }
        if (last >= (uint64_t)room) {
            return false;
        }
        for (Py_ssize_t column = 0; column < columns; column++) {
            put_column(&views[2 + column], &views[2 + columns + column], begin, rows, count);
        }
    }
    return true;
}

/* The buffers of both tuples, those of the columns first. False with an error set, and nothing held. */
static bool hold_columns(PyObject *columns, PyObject *values, Py_buffer *views) {
    Py_ssize_t count = PyTuple_GET_SIZE(columns);
    for (Py_ssize_t held = 0; held < 2 * count; held++) {
        bool is_column = held < count;
        PyObject *object = is_column ? PyTuple_GET_ITEM(columns, held) : PyTuple_GET_ITEM(values, held - count);
        Py_ssize_t width = is_column ? 0 : views[held - count].itemsize;
        if (!hold(object, width, is_column ? PyBUF_WRITABLE : 0, &views[held])) {
            let_go(views, held);
            return false;
        }
    }
    return true;
}

static PyObject *put_steps(PyObject *module, PyObject *arguments) {
    (void)module;
    long long first;
    PyObject *objects[2], *columns, *values;
    Py_buffer views[2 + 2 * MOST_COLUMNS];
    if (!PyArg_ParseTuple(arguments, "LOOO!O!", &first, &objects[0], &objects[1], &PyTuple_Type, &columns, &PyTuple_Type, &values)) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(columns);
    if (count > MOST_COLUMNS || PyTuple_GET_SIZE(values) != count) {
        PyErr_SetString(PyExc_ValueError, "another number of columns");
        return NULL;
    }
    if (!hold_all(objects, (const Py_ssize_t[]){8, 4}, (const int[]){0, 0}, 2, views)) {
        return NULL;
    }
    if (!hold_columns(columns, values, views + 2)) {
        let_go(views, 2);
        return NULL;
    }
    Py_ssize_t given = views[0].len / 8, room = INT32_MAX;
    bool fine = views[1].len > 0;
    for (Py_ssize_t which = 2; which < 2 + count; which++) {
        Py_ssize_t width = views[which].itemsize, rows = views[which].len / width;
        fine = fine && (width == 8 || width == 4 || width == 1) && views[which + count].len / width == given;
        room = rows < room ? rows : room;
    }
    if (fine) {
        Py_BEGIN_ALLOW_THREADS
        fine = put_all(first, views, count, room);
        Py_END_ALLOW_THREADS
    }
    let_go(views, 2 + 2 * count);
    if (!fine) {
        PyErr_SetString(PyExc_ValueError, "columns of unequal length");
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef tk_steps_methods[] = {
    {"mark_steps", mark_steps, METH_VARARGS,
     PyDoc_STR("mark_steps(first, seq, there)\n--\n\nSet the bytes of events, by their numbers from `first` on. The last\n"
               "byte is for events beyond the others.")},
    {"number_steps", number_steps, METH_VARARGS,
     PyDoc_STR("number_steps(first, there, row, seq)\n--\n\nGive the events whose bytes are set a row each, in order, and\n"
               "rows their seq. Returns how many there are, the row of all others beyond.")},
    {"put_steps", put_steps, METH_VARARGS,
     PyDoc_STR("put_steps(first, seq, row, columns, values)\n--\n\nPut the values of events into their rows, in each of the\n"
               "columns.")},
    {NULL, NULL, 0, NULL},
};

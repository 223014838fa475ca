/* Call path nodes of the native engine -> stacks of the log. Used by record/offsets.py, whose PythonOffsets does
   the same in Python and says what is right.

   A node is (parent node, code object, offset of the instruction); the log knows (stack above, code, line). The
   line is found in a table of runs, made once a code from its co_linetable, and the stack by what it consists of.
   Numbers come out of memory that a program can overwrite: none of them is an index before it was looked at. */
#include "kernels.h"

#include <stdlib.h>
#include <string.h>

enum { UNIT_BYTES = 2, MOST_CODES = 1 << 24, MOST_AHEAD = 1 << 20, FIRST_SITES = 1 << 10 };
enum { NO_LINE = INT32_MIN };

typedef struct {
    uint32_t end; /* bytes: the run holds up to here */
    int32_t line; /* or NO_LINE */
} run;

typedef struct {
    int32_t code_id, first_line;
    uint32_t count;
    run *runs;
} code;

typedef struct {
    int32_t stack_id, parent, code_id, line;
} stack;

typedef struct {
    PyObject_HEAD
    code **by_number; /* borrowed from `codes` */
    uint32_t numbers_room;
    code *beyond;
    code **codes; /* by code_id */
    uint32_t codes_room;
    int32_t *by_node; /* stack ids */
    uint32_t nodes_room, top;
    stack *stacks; /* by stack id; number 0 is none */
    uint32_t stacks_used, stacks_room, taken;
    uint32_t *sites; /* stack ids by what the stack is, open addressing */
    uint32_t mask;
} symbols;

/* Room for `needed` entries, those that are new all 0. */
static bool reserve(void **array, uint32_t *room, uint64_t needed, size_t width) {
    if (needed <= *room) {
        return true;
    }
    uint64_t larger = 2 * (uint64_t)*room + 1024;
    larger = larger < needed ? needed : larger;
    larger = larger > UINT32_MAX ? UINT32_MAX : larger;
    char *grown = realloc(*array, (size_t)larger * width);
    if (grown == NULL) {
        return false;
    }
    memset(grown + (size_t)*room * width, 0, (size_t)(larger - *room) * width);
    *array = grown;
    *room = (uint32_t)larger;
    return true;
}

/* -- codes ----------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at, *end;
} reader;

/* A variable-length integer: six bits a byte, least first, bit 6 says that more follow. Saturates. */
static uint64_t varint(reader *from) {
    uint64_t value = 0;
    for (unsigned shift = 0; from->at < from->end; shift += 6) {
        uint8_t byte = *from->at++;
        if (shift < 48) {
            value |= (uint64_t)(byte & 63) << shift;
        } else if ((byte & 63) != 0) {
            value |= (uint64_t)1 << 48;
        }
        if ((byte & 64) == 0) {
            break;
        }
    }
    return value;
}

/* The runs of a location table (Objects/locations.md of CPython). Ends at a line that none can be. */
static uint32_t read_runs(reader from, int32_t first_line, run *runs) {
    enum { ONE_LINE = 10, NO_COLUMN = 13, LONG = 14, NONE = 15 };
    uint32_t count = 0, end = 0;
    int64_t line = first_line;
    while (from.at < from.end) {
        uint8_t head = *from.at++;
        unsigned kind = head >> 3 & 15;
        if (kind == NO_COLUMN || kind == LONG) {
            uint64_t delta = varint(&from);
            line += delta & 1 ? -(int64_t)(delta >> 1) : (int64_t)(delta >> 1);
            for (int times = kind == LONG ? 3 : 0; times > 0; times--) {
                varint(&from);
            }
        } else if (kind >= ONE_LINE && kind != NONE) {
            line += kind - ONE_LINE;
            from.at += from.end - from.at < 2 ? from.end - from.at : 2;
        } else if (kind != NONE) {
            from.at += from.at < from.end;
        }
        if (line > INT32_MAX || line <= NO_LINE) {
            break;
        }
        int32_t here = kind == NONE ? NO_LINE : (int32_t)line;
        end += UNIT_BYTES * ((head & 7u) + 1);
        if (count > 0 && runs[count - 1].line == here) {
            runs[count - 1].end = end;
        } else {
            runs[count++] = (run){end, here};
        }
    }
    return count;
}

static int32_t line_at(const code *of, uint32_t offset) {
    uint32_t low = 0, high = of->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (of->runs[middle].end > offset) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low < of->count && of->runs[low].line != NO_LINE ? of->runs[low].line : of->first_line;
}

static code **place_of(symbols *self, uint64_t number) {
    if (number >= MOST_CODES) {
        return &self->beyond;
    }
    bool fine = reserve((void **)&self->by_number, &self->numbers_room, number + 1, sizeof *self->by_number);
    return fine ? &self->by_number[number] : NULL;
}

static code *new_code(int32_t code_id, int32_t first_line, const Py_buffer *table) {
    code *made = calloc(1, sizeof *made);
    run *runs = malloc((size_t)table->len * sizeof *runs + 1);
    if (made == NULL || runs == NULL) {
        free(made);
        free(runs);
        return NULL;
    }
    const uint8_t *data = table->buf;
    uint32_t count = read_runs((reader){data, data + table->len}, first_line, runs);
    run *fitting = realloc(runs, count * sizeof *runs + 1);
    *made = (code){code_id, first_line, count, fitting == NULL ? runs : fitting};
    return made;
}

PyDoc_STRVAR(code_doc, "code(number, code_id, first_line, table)\n--\n\nA code object of the ring is this one of the log, with\n"
                       "this co_linetable; only the first table that comes with a code_id counts.");

static PyObject *symbols_code(symbols *self, PyObject *arguments) {
    unsigned long long number;
    int code_id, first_line;
    Py_buffer table;
    if (!PyArg_ParseTuple(arguments, "Kiiy*", &number, &code_id, &first_line, &table)) {
        return NULL;
    }
    bool fine = code_id >= 0 && code_id < MOST_CODES && table.len < 1 << 26;
    if (!fine) {
        PyErr_SetString(PyExc_ValueError, "no such code");
    } else {
        code **place = place_of(self, number);
        fine = place != NULL &&
               reserve((void **)&self->codes, &self->codes_room, (uint64_t)code_id + 1, sizeof *self->codes);
        if (fine && self->codes[code_id] == NULL) {
            self->codes[code_id] = new_code(code_id, first_line, &table);
            fine = self->codes[code_id] != NULL;
        }
        if (fine) {
            *place = self->codes[code_id];
        } else {
            PyErr_NoMemory();
        }
    }
    PyBuffer_Release(&table);
    if (!fine) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- nodes ----------------------------------------------------------------------------------------------- */

static inline uint32_t hash_of(int32_t parent, int32_t code_id, int32_t line) {
    uint64_t mixed = ((uint64_t)(uint32_t)parent << 32 | (uint32_t)code_id) * 0x9E3779B97F4A7C15ull;
    mixed = (mixed ^ mixed >> 29 ^ (uint32_t)line) * 0xBF58476D1CE4E5B9ull;
    return (uint32_t)(mixed >> 32);
}

static bool grow_sites(symbols *self) {
    uint32_t mask = self->sites == NULL ? FIRST_SITES - 1 : 2 * self->mask + 1;
    uint32_t *larger = calloc((size_t)mask + 1, sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    for (uint32_t number = 1; number < self->stacks_used; number++) {
        const stack *of = &self->stacks[number];
        uint32_t at = hash_of(of->parent, of->code_id, of->line) & mask;
        while (larger[at] != 0) {
            at = (at + 1) & mask;
        }
        larger[at] = number;
    }
    free(self->sites);
    self->sites = larger;
    self->mask = mask;
    return true;
}

/* The stack that is this, a new one if there is none; 0 when memory is short. */
static uint32_t stack_of(symbols *self, int32_t parent, int32_t code_id, int32_t line) {
    if (2 * (uint64_t)self->stacks_used > self->mask && !grow_sites(self)) {
        return 0;
    }
    uint32_t at = hash_of(parent, code_id, line) & self->mask;
    for (; self->sites[at] != 0; at = (at + 1) & self->mask) {
        const stack *known = &self->stacks[self->sites[at]];
        if (known->parent == parent && known->code_id == code_id && known->line == line) {
            return self->sites[at];
        }
    }
    uint32_t number = self->stacks_used;
    if (number >= INT32_MAX / 2 ||
        !reserve((void **)&self->stacks, &self->stacks_room, (uint64_t)number + 1, sizeof *self->stacks)) {
        return 0;
    }
    self->stacks[number] = (stack){(int32_t)number, parent, code_id, line};
    self->sites[at] = number;
    self->stacks_used++;
    return number;
}

PyDoc_STRVAR(nodes_doc, "nodes(data, at)\n--\n\nTake nodes in from number `at` on: four u32 each, parent, code, offset, node.\n"
                        "Returns at which it ended and the number of a code that was never defined there, or -1.");

static PyObject *symbols_nodes(symbols *self, PyObject *arguments) {
    Py_buffer data;
    Py_ssize_t at;
    if (!PyArg_ParseTuple(arguments, "y*n", &data, &at)) {
        return NULL;
    }
    Py_ssize_t count = data.len / 16;
    long long unknown = -1;
    bool fine = true;
    for (at = at < 0 ? 0 : at; at < count; at++) {
        uint32_t node[4];
        memcpy(node, (const char *)data.buf + 16 * at, sizeof node);
        uint32_t parent = node[0], offset = node[2], number = node[3];
        const code *of = node[1] >= MOST_CODES            ? self->beyond
                         : node[1] < self->numbers_room ? self->by_number[node[1]]
                                                        : NULL;
        if (of == NULL) {
            unknown = node[1];
            break;
        }
        if (number > (uint64_t)self->top + MOST_AHEAD) {
            continue; /* numbers are given one after another: this one cannot be true */
        }
        int32_t above = parent < self->nodes_room ? self->by_node[parent] : 0;
        uint32_t found = stack_of(self, above, of->code_id, line_at(of, offset));
        fine = found != 0 &&
               reserve((void **)&self->by_node, &self->nodes_room, (uint64_t)number + 1, sizeof *self->by_node);
        if (!fine) {
            break;
        }
        self->by_node[number] = (int32_t)found;
        self->top = number > self->top ? number : self->top;
    }
    PyBuffer_Release(&data);
    return fine ? Py_BuildValue("nL", at, unknown) : PyErr_NoMemory();
}

PyDoc_STRVAR(map_doc, "map(nodes)\n--\n\nReplace every node of an int32 array by its stack, 0 for one that was never defined.");

static PyObject *symbols_map(symbols *self, PyObject *nodes) {
    Py_buffer view;
    if (PyObject_GetBuffer(nodes, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) != 0) {
        return NULL;
    }
    bool fine = view.itemsize == 4 && (uintptr_t)view.buf % 4 == 0;
    if (fine) {
        int32_t *at = view.buf;
        for (Py_ssize_t left = view.len / 4; left > 0; left--, at++) {
            uint32_t node = (uint32_t)*at;
            *at = node < self->nodes_room ? self->by_node[node] : 0;
        }
    } else {
        PyErr_SetString(PyExc_ValueError, "not an array of int32");
    }
    PyBuffer_Release(&view);
    if (!fine) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(take_doc, "take()\n--\n\nThe stacks that are new since the last call: four int32 each, stack, stack above, code_id, line.");

static PyObject *symbols_take(symbols *self, PyObject *unused) {
    (void)unused;
    Py_ssize_t bytes = (Py_ssize_t)((self->stacks_used - self->taken) * sizeof *self->stacks);
    PyObject *result =
        bytes == 0 ? PyBytes_FromStringAndSize(NULL, 0) : PyBytes_FromStringAndSize((char *)&self->stacks[self->taken], bytes);
    if (result != NULL) {
        self->taken = self->stacks_used;
    }
    return result;
}

static PyObject *symbols_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "")) {
        return NULL;
    }
    symbols *self = (symbols *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->stacks_used = self->taken = 1;
        if (!grow_sites(self)) {
            PyErr_NoMemory();
            Py_CLEAR(self);
        }
    }
    return (PyObject *)self;
}

static void symbols_dealloc(symbols *self) {
    for (uint32_t at = 0; at < self->codes_room; at++) {
        if (self->codes[at] != NULL) {
            free(self->codes[at]->runs);
            free(self->codes[at]);
        }
    }
    free(self->codes);
    free(self->by_number);
    free(self->by_node);
    free(self->stacks);
    free(self->sites);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef symbols_methods[] = {
    {"code", (PyCFunction)symbols_code, METH_VARARGS, code_doc},
    {"nodes", (PyCFunction)symbols_nodes, METH_VARARGS, nodes_doc},
    {"map", (PyCFunction)symbols_map, METH_O, map_doc},
    {"take", (PyCFunction)symbols_take, METH_NOARGS, take_doc},
    {NULL, NULL, 0, NULL},
};

PyTypeObject tk_stacks_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "tracekit._native._kernels.Stacks",
    .tp_doc = "Stacks(): call path nodes of the native engine become stacks of the log.",
    .tp_basicsize = sizeof(symbols),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = symbols_new,
    .tp_dealloc = (destructor)symbols_dealloc,
    .tp_methods = symbols_methods,
};

/* The extension module tracekit._native._engine: the native engine's C half. record/native.py drives it inside the
   program under observation. */
#include "compat.h"
#include "hooks.h"
#include "kept.h"
#include "live.h"
#include "marks.h"
#include "older.h"
#include "ring.h"
#include "settings.h"
#include "stack.h"
#include "text.h"
#include "threads.h"
#include "types.h"

#include <internal/pycore_interp.h> /* counts and thresholds of the collector, without making objects */

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static uint64_t collection_entered_ns;

static PyObject *attach(PyObject *module, PyObject *path) {
    const char *name = PyUnicode_AsUTF8(path);
    if (name == NULL) {
        return NULL;
    }
    int failure = tk_ring_open(name);
    if (failure != 0) {
        errno = failure;
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    }
    tk_ring_set_state(TK_STATE_ATTACHED);
    Py_RETURN_NONE;
}

static PyObject *define(PyObject *module, PyObject *arguments) {
    int what;
    unsigned long long number;
    Py_buffer payload;
    if (!PyArg_ParseTuple(arguments, "iKy*", &what, &number, &payload)) {
        return NULL;
    }
    bool fits = payload.len <= (Py_ssize_t)TK_MAX_PAYLOAD;
    if (fits) {
        tk_ring_define((uint8_t)what, tk_thread(true), number, payload.buf, (size_t)payload.len, NULL, 0, true);
    } else {
        PyErr_SetString(PyExc_ValueError, "definition too long");
    }
    PyBuffer_Release(&payload);
    return fits ? Py_NewRef(Py_None) : NULL;
}

/* What free lists hold, as one more fact behind those of facts.py: name and value, each behind its length. */
static size_t put_free_lists(char *to, size_t room) {
    static const char name[] = "free_lists";
    enum { NAME_BYTES = sizeof name - 1, HEAD_BYTES = 4 + NAME_BYTES + 4 };
    uint16_t counts[TK_FREE_LISTS];
    uint32_t name_bytes = NAME_BYTES, bytes = 0;
    tk_kept_counts(PyInterpreterState_Get(), counts);
    for (int i = 0; i < TK_FREE_LISTS; i++) {
        char *at = to + HEAD_BYTES + bytes;
        bytes += (uint32_t)snprintf(at, room - HEAD_BYTES - bytes, i == 0 ? "%u" : ",%u", counts[i]);
    }
    memcpy(to, &name_bytes, 4);
    memcpy(to + 4, name, NAME_BYTES);
    memcpy(to + 4 + NAME_BYTES, &bytes, 4);
    return HEAD_BYTES + bytes;
}

/* A function of its own, which is called without a tuple of arguments: that would be missing from the lists. */
static PyObject *hello(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    char fact[32 + 8 * TK_FREE_LISTS];
    if (count != 2 || !PyLong_Check(arguments[0]) || !PyBytes_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "hello(number of facts, facts)");
        return NULL;
    }
    size_t bytes = (size_t)PyBytes_GET_SIZE(arguments[1]);
    if (bytes + sizeof fact > TK_MAX_PAYLOAD) {
        PyErr_SetString(PyExc_ValueError, "definition too long");
        return NULL;
    }
    size_t more = put_free_lists(fact, sizeof fact);
    uint64_t number = PyLong_AsUnsignedLongLong(arguments[0]) + 1;
    tk_ring_define(TK_DEF_HELLO, tk_thread(true), number, PyBytes_AS_STRING(arguments[1]), bytes, fact, more, true);
    Py_RETURN_NONE;
}

/* A fork's child shares the ring's memory with its parent and must not touch it. This runs before anything of
   Python's does in the child. */
static void in_child(void) {
    tk_ring_let_go();
    tk_hooks_abandon();
}

static PyObject *prepare(PyObject *module, PyObject *own_folder) {
    static bool guarded;
    if (!guarded && pthread_atfork(NULL, NULL, in_child) != 0) {
        return PyErr_NoMemory();
    }
    guarded = true;
    if (tk_stack_begin() != 0 || tk_types_begin() != 0) {
        return PyErr_NoMemory();
    }
    tk_threads_begin();
    tk_marks_begin(own_folder);
    Py_RETURN_NONE;
}

static PyObject *know_type(PyObject *module, PyObject *type) {
    if (PyType_Check(type)) {
        tk_types_know((PyTypeObject *)type);
    }
    Py_RETURN_NONE;
}

static PyObject *start(PyObject *module, PyObject *time_zero) {
    uint64_t monotonic_ns = PyLong_AsUnsignedLongLong(time_zero);
    if (PyErr_Occurred()) {
        return NULL;
    }
    tk_ring_set_origin(monotonic_ns);
    tk_thread(true);
    tk_mark(0, "start", 5, true);
    tk_settings_begin(PyInterpreterState_Get());
    tk_older_tell();
    if (tk_hooks_install() != 0) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

static PyObject *stop(PyObject *module, PyObject *nothing) {
    tk_threads_name_all();
    tk_hooks_remove();
    tk_mark(tk_ring_now(), "end", 3, true);
    tk_ring_set_state(TK_STATE_ENDED);
    tk_ring_let_go();
    Py_RETURN_NONE;
}

/* In a fork's child, as soon as Python runs there; in_child() went before. */
static PyObject *disown(PyObject *module, PyObject *nothing) {
    tk_hooks_remove();
    tk_ring_disown();
    Py_RETURN_NONE;
}

static PyObject *outcome(PyObject *module, PyObject *nothing) {
    return PyLong_FromUnsignedLongLong(tk_ring_word(TK_WORD_OUTCOME));
}

static PyObject *release(PyObject *module, PyObject *nothing) {
    tk_ring_unmap();
    Py_RETURN_NONE;
}

static PyObject *mark(PyObject *module, PyObject *name) {
    static char buffer[TK_MAX_TEXT];
    size_t bytes = tk_put_utf8(buffer, name);
    tk_mark(tk_ring_now(), buffer, bytes, false);
    Py_RETURN_NONE;
}

static PyObject *live_types(PyObject *module, PyObject *nothing) {
    tk_hooks_quiet();
    int64_t written = tk_live_types(tk_thread(true));
    tk_hooks_loud();
    return PyLong_FromLongLong(written);
}

static PyObject *alive(PyObject *module, PyObject *nothing) { return PyBool_FromLong(tk_hooks_alive()); }

static PyObject *hook_again(PyObject *module, PyObject *nothing) {
    tk_hooks_remove();
    return tk_hooks_install() == 0 ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

static PyObject *recording(PyObject *module, PyObject *nothing) { return PyBool_FromLong(tk_ring_is_open()); }

enum { FREE_LISTS_BYTES = TK_FREE_LISTS * sizeof(uint16_t) };

static void collection_starts(uint64_t now, long generation, const uint16_t *free_lists) {
    const struct _gc_runtime_state *state = &PyInterpreterState_Get()->gc;
    const uint64_t long_lived[2] = {(uint64_t)state->long_lived_total, (uint64_t)state->long_lived_pending};
    uint32_t payload[11 + FREE_LISTS_BYTES / 4] = {(uint32_t)generation};
    for (int i = 0; i < 3; i++) {
        payload[1 + i] = (uint32_t)state->generations[i].count;
        payload[4 + i] = (uint32_t)state->generations[i].threshold;
    }
    memcpy(&payload[7], long_lived, sizeof long_lived);
    memcpy(&payload[11], free_lists, FREE_LISTS_BYTES);
    tk_settings_compare();
    tk_ring_define(TK_DEF_GC_START, tk_thread(true), now, payload, sizeof payload, NULL, 0, true);
    tk_collection_starts();
    collection_entered_ns = tk_ring_now();
}

static long field(PyObject *info, const char *name) {
    PyObject *value = PyDict_GetItemString(info, name);
    return value != NULL && PyLong_Check(value) ? PyLong_AsLong(value) : 0;
}

/* What gc.callbacks calls. A C function: it leaves no frame of ours in the program's stack. */
static PyObject *collection(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2 || !PyUnicode_Check(arguments[0]) || !PyDict_Check(arguments[1]) || !tk_ring_is_open()) {
        Py_RETURN_NONE;
    }
    uint64_t now = tk_ring_now();
    uint16_t free_lists[TK_FREE_LISTS];
    tk_kept_counts(PyInterpreterState_Get(), free_lists);
    tk_hooks_quiet();
    if (PyUnicode_CompareWithASCIIString(arguments[0], "start") == 0) {
        collection_starts(now, field(arguments[1], "generation"), free_lists);
    } else {
        tk_collection_stops();
        uint64_t payload[3] = {now - collection_entered_ns, (uint64_t)field(arguments[1], "collected"),
                               (uint64_t)field(arguments[1], "uncollectable")};
        tk_ring_define(TK_DEF_GC_STOP, tk_thread(true), now, payload, sizeof payload, free_lists, sizeof free_lists,
                       true);
    }
    tk_hooks_loud();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"attach", attach, METH_O, "attach(path): map the ring."},
    {"define", define, METH_VARARGS, "define(what, number, payload): write a definition."},
    {"hello", (PyCFunction)(void (*)(void))hello, METH_FASTCALL, "hello(number, facts): write what opens a recording."},
    {"prepare", prepare, METH_O, "prepare(own_folder): new numbers for threads, codes, stacks and types."},
    {"know_type", know_type, METH_O, "know_type(type): it exists, so its address may be taken for a type."},
    {"start", start, METH_O, "start(time_zero_ns): write the mark start and hook the allocators."},
    {"stop", stop, METH_NOARGS, "Unhook and write the mark end."},
    {"disown", disown, METH_NOARGS, "In a fork's child: let go of all that is the parent's."},
    {"outcome", outcome, METH_NOARGS, "What the collector said last of the log, 0 when nothing."},
    {"release", release, METH_NOARGS, "After stop(): give the ring's memory back."},
    {"mark", mark, METH_O, "mark(name): write a mark."},
    {"live_types", live_types, METH_NOARGS, "Write the types of live objects; returns how many, -1 without memory."},
    {"alive", alive, METH_NOARGS, "Whether every allocator still leads to the hooks."},
    {"hook_again", hook_again, METH_NOARGS, "Put new hooks on top."},
    {"recording", recording, METH_NOARGS, "Whether somebody reads what is written."},
    {"collection", (PyCFunction)(void (*)(void))collection, METH_FASTCALL, "For gc.callbacks."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "tracekit._native._engine", "The native engine's C half.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__engine(void) {
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the native engine does not work in a sub-interpreter");
        return NULL;
    }
    return PyModule_Create(&definition);
}

/* Reads the clock and the ring's counter of written slots at a steady pace, from a thread of its own.

   This is how events of the native engine get their time, at no cost to the program: a slot at or after a
   stamp's position was written after the stamp's time. Used by record/ringfile.py.

   The same thread has the kernel make and clear the pages of the ring that are written to next: the program's first
   write to a page that is there costs it half of what it costs otherwise. */
#include "kernels.h"
#include "kernels_slots.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum { ROOM = 1 << 14, AHEAD_BYTES = 1 << 20, STEP_BYTES = 1 << 18 };
/* A program that writes so many slots between two looks tells the time itself (ring.c). Then one look in four will do:
   each may interrupt the program, where the kernel finds no other processor free. */
enum { WRITES_MUCH = 1 << 10, LOOKS_SPARED = 4 };

typedef struct {
    uint64_t position;
    uint64_t time_ns;
} stamp;

typedef struct {
    PyObject_HEAD
    Py_buffer view;
    const _Atomic(uint64_t) *written;
    uint64_t made; /* bytes from the ring's beginning that are there */
    struct timespec interval, longer;
    pthread_t thread;
    bool runs;
    atomic_bool stopping;
    /* One thread appends, one takes; counters only grow. */
    _Atomic(uint64_t) appended, taken;
    stamp stamps[ROOM];
} stamps;

/* Where a kernel will not do it, the program's first write to a page does. */
static void make_pages(stamps *self, uint64_t position) {
    uint64_t all = (uint64_t)self->view.len;
    while (self->made < all && self->made < TK_HEADER_BYTES + position * sizeof(tk_slot) + AHEAD_BYTES) {
        uint64_t bytes = all - self->made < STEP_BYTES ? all - self->made : STEP_BYTES;
        bool done = madvise((char *)self->view.buf + self->made, bytes, MADV_POPULATE_WRITE) == 0;
        self->made = done ? self->made + bytes : all;
    }
}

static void *pace(void *argument) {
    stamps *self = argument;
    uint64_t last = UINT64_MAX, before = 0;
    while (!atomic_load(&self->stopping)) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t position = atomic_load(self->written);
        uint64_t appended = atomic_load(&self->appended);
        if (appended - atomic_load(&self->taken) < ROOM) {
            stamp *next = &self->stamps[appended % ROOM];
            *next = (stamp){position, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec};
            if (position != last) {
                last = position;
                atomic_store(&self->appended, appended + 1);
            }
        }
        make_pages(self, position);
        nanosleep(position - before < WRITES_MUCH ? &self->interval : &self->longer, NULL);
        before = position;
    }
    return NULL;
}

static void stop(stamps *self) {
    if (self->runs) {
        atomic_store(&self->stopping, true);
        Py_BEGIN_ALLOW_THREADS
        pthread_join(self->thread, NULL);
        Py_END_ALLOW_THREADS
        self->runs = false;
    }
    if (self->view.obj != NULL) {
        PyBuffer_Release(&self->view);
    }
}

static PyObject *stamps_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"memory", "word", "interval_ns", NULL};
    PyObject *memory;
    Py_ssize_t word;
    long interval_ns;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "Onl", names, &memory, &word, &interval_ns)) {
        return NULL;
    }
    stamps *self = (stamps *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    if (PyObject_GetBuffer(memory, &self->view, PyBUF_SIMPLE) != 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (word < 0 || interval_ns <= 0 || word >= self->view.len / 8 || (uintptr_t)self->view.buf % 8 != 0) {
        PyErr_SetString(PyExc_ValueError, "no such word in this memory, or no interval");
        Py_DECREF(self);
        return NULL;
    }
    self->written = (const _Atomic(uint64_t) *)self->view.buf + word;
    self->interval = (struct timespec){interval_ns / 1000000000, interval_ns % 1000000000};
    long longer_ns = LOOKS_SPARED * (interval_ns % 1000000000);
    self->longer = (struct timespec){LOOKS_SPARED * self->interval.tv_sec + longer_ns / 1000000000, longer_ns % 1000000000};
    if (pthread_create(&self->thread, NULL, pace, self) != 0) {
        PyErr_SetString(PyExc_RuntimeError, "no thread to be had");
        Py_DECREF(self);
        return NULL;
    }
    self->runs = true;
    return (PyObject *)self;
}

static void stamps_dealloc(stamps *self) {
    stop(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

PyDoc_STRVAR(take_doc, "take()\n--\n\nThe stamps since the last call: pairs of u64, position in the ring and\n"
                       "CLOCK_MONOTONIC in nanoseconds.");

static PyObject *take(stamps *self, PyObject *unused) {
    (void)unused;
    uint64_t from = atomic_load(&self->taken), until = atomic_load(&self->appended);
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)((until - from) * sizeof(stamp)));
    if (result == NULL) {
        return NULL;
    }
    char *to = PyBytes_AS_STRING(result);
    for (uint64_t at = from; at < until; at++, to += sizeof(stamp)) {
        memcpy(to, &self->stamps[at % ROOM], sizeof(stamp));
    }
    atomic_store(&self->taken, until);
    return result;
}

PyDoc_STRVAR(stop_doc, "stop()\n--\n\nEnd the thread and let go of the memory.");

static PyObject *stop_method(stamps *self, PyObject *unused) {
    (void)unused;
    stop(self);
    Py_RETURN_NONE;
}

static PyMethodDef stamps_methods[] = {
    {"take", (PyCFunction)take, METH_NOARGS, take_doc},
    {"stop", (PyCFunction)stop_method, METH_NOARGS, stop_doc},
    {NULL, NULL, 0, NULL},
};

PyTypeObject tk_stamps_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "tracekit._native._kernels.Stamps",
    .tp_doc = "Stamps(memory, word, interval_ns): when the ring was written how far.",
    .tp_basicsize = sizeof(stamps),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = stamps_new,
    .tp_dealloc = (destructor)stamps_dealloc,
    .tp_methods = stamps_methods,
};

/* tracekit._native._kernels.Simulator: the machine as a Python object. Called by tracekit/simulator/fast.py.

   What it is told comes from logs of strangers, so everything is checked here: numbers when the machine is made,
   rows one by one before they are taken (kernels_sim_machine.c). */
#include "kernels_sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a machine is told in `numbers`, in this order; fast.py has the same names. */
enum {
    ARENA_SIZE, POOL_SIZE, POOL_OVERHEAD, ALIGNMENT_SHIFT, SIZE_CLASSES, POOLS_PER_ARENA, PAGE_SIZE, MEMORY_LIMIT,
    BASE_BYTES, SAMPLE_EVERY, KEEP_PLACES, SMALL_THRESHOLD, SMALL_DOMAINS, BY_REALLOC, BY_GC, OF_UNKNOWN_CAUSE, COLLECTS_AT_CHECKS, ENABLED, GARBAGE, FREEZES, FREEZE_SEQ, OWN_THRESHOLDS,
    THRESHOLDS, COUNTS = THRESHOLDS + TK_SIM_GENERATIONS, LONG_LIVED_TOTAL = COUNTS + TK_SIM_GENERATIONS,
    LONG_LIVED_PENDING, LAGS, NUMBERS = LAGS + TK_SIM_LAGS
};

/* And in `columns`: the recording's collections, call paths, and what there was at the start (older.Layout). */
enum {
    START_SEQ, DUE_SEQ, GENERATION, ASKED, CORRECTION, YOUNG_SHARE, FULL_SHARE, OFF, RECORDED_THRESHOLDS, OPAQUE, OBSERVED, PATH_BYTES, STOP_SEQ,
    WAITING, DRIFT, PARKED, HELD_FROM, SET_SEQ, SET_ON, SET_THRESHOLDS,
    NTOTALPOOLS, POOL_ARENA, POOL_NUMBER, POOL_SZIDX, ADDRESS, BLOCK_POOL, BLOCK_INDEX, LATER_NTOTALPOOLS, COLUMNS
};

static const Py_ssize_t column_widths[COLUMNS] = {8, 8, 8, 1, 8, 8, 8, 1, 8, 1, 8, 8, 8, 2, 2, 2, 8, 8, 1, 8, 8, 8, 8, 8, 8, 8, 8, 8};

enum { ROW_COLUMNS = 14, MOST_SMALL = 512 /* SMALL_REQUEST_THRESHOLD cannot be above that */ };
static const Py_ssize_t row_widths[ROW_COLUMNS] = {8, 8, 1, 8, 8, 1, 4, 1, 4, 1, 8, 4, 8, 1};

typedef struct {
    PyObject_HEAD
    tk_sim sim;
    Py_buffer views[COLUMNS];
    int held;
    bool busy, over, broken;
} tk_simulator;

static void let_go(Py_buffer *views, int held) {
    while (held > 0) {
        PyBuffer_Release(&views[--held]);
    }
}

/* Buffers of a tuple, `count` of them with items of these widths. False with an error set. */
static bool hold(PyObject *columns, const Py_ssize_t *widths, int count, Py_buffer *views) {
    if (PyTuple_GET_SIZE(columns) != count) {
        PyErr_SetString(PyExc_ValueError, "another number of columns");
        return false;
    }
    for (int held = 0; held < count; held++) {
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(columns, held), &views[held], PyBUF_C_CONTIGUOUS) != 0) {
            let_go(views, held);
            return false;
        }
        if (views[held].itemsize != widths[held] || (uintptr_t)views[held].buf % (uintptr_t)widths[held] != 0) {
            let_go(views, held + 1);
            PyErr_SetString(PyExc_ValueError, "columns of another type");
            return false;
        }
    }
    return true;
}

/* -- making one ------------------------------------------------------------------------------------------ */

static bool is_within(int64_t number, int64_t least, int64_t most) {
    return number >= least && number <= most;
}

static bool are_within(const Py_buffer *view, int64_t least, int64_t most) {
    const int64_t *items = view->buf;
    for (Py_ssize_t at = 0; at < view->len / 8; at++) {
        if (!is_within(items[at], least, most)) {
            return false;
        }
    }
    return true;
}

static bool are_shares(const Py_buffer *view) {
    const double *items = view->buf;
    for (Py_ssize_t at = 0; at < view->len / 8; at++) {
        if (!(isfinite(items[at]))) {
            return false;
        }
    }
    return true;
}

static Py_ssize_t length(const tk_simulator *self, int which) {
    return self->views[which].len / column_widths[which];
}

static const char *set_numbers(tk_sim *sim, const int64_t *of) {
    const int64_t few = (int64_t)1 << 40;
    if (!is_within(of[ARENA_SIZE], 1, (int64_t)1 << 32) || !is_within(of[POOL_SIZE], 1, of[ARENA_SIZE]) ||
        !is_within(of[POOLS_PER_ARENA], 1, of[ARENA_SIZE] / of[POOL_SIZE]) || !is_within(of[POOL_OVERHEAD], 0, 4096) ||
        !is_within(of[ALIGNMENT_SHIFT], 0, 9) || !is_within(of[SIZE_CLASSES], 1, TK_SIM_CLASSES) ||
        !is_within(of[SIZE_CLASSES] << of[ALIGNMENT_SHIFT], 1, MOST_SMALL) ||
        (of[POOL_SIZE] - of[POOL_OVERHEAD]) / (of[SIZE_CLASSES] << of[ALIGNMENT_SHIFT]) < 2) {
        return "sizes that pymalloc cannot be built with";
    }
    if (!is_within(of[PAGE_SIZE], 1, 1 << 30) || (of[PAGE_SIZE] & (of[PAGE_SIZE] - 1)) != 0 ||
        !is_within(of[BASE_BYTES], 0, (int64_t)1 << 60) || of[MEMORY_LIMIT] < -1 ||
        !is_within(of[SAMPLE_EVERY], 1, (int64_t)1 << 60)) {
        return "numbers that no machine has";
    }
    for (int generation = 0; generation < TK_SIM_GENERATIONS; generation++) {
        if (!is_within(of[COUNTS + generation], -few, few)) {
            return "counts that no collector has";
        }
        sim->collector.thresholds[generation] = of[THRESHOLDS + generation];
        sim->collector.count[generation] = of[COUNTS + generation];
    }
    if (!is_within(of[GARBAGE], TK_SIM_RECORDED, TK_SIM_LIKELY) || !is_within(of[LONG_LIVED_TOTAL], -few, few) ||
        !is_within(of[LONG_LIVED_PENDING], -few, few)) {
        return "counts that no collector has";
    }
    for (int which = 0; which < TK_SIM_LAGS; which++) {
        if (!is_within(of[LAGS + which], 0, TK_SIM_MOST_BYTES)) {
            return "lifetimes that no block has";
        }
        sim->collector.lags[which] = of[LAGS + which];
    }
    if (!is_within(of[SMALL_THRESHOLD], 0, of[SIZE_CLASSES] << of[ALIGNMENT_SHIFT])) {
        return "sizes that pymalloc cannot be built with";
    }
    tk_sim_pymalloc *pymalloc = &sim->pymalloc;
    pymalloc->arena_size = of[ARENA_SIZE];
    pymalloc->pool_size = of[POOL_SIZE];
    pymalloc->pool_overhead = of[POOL_OVERHEAD];
    pymalloc->pools_per_arena = of[POOLS_PER_ARENA];
    pymalloc->alignment_shift = (unsigned)of[ALIGNMENT_SHIFT];
    pymalloc->size_classes = (uint32_t)of[SIZE_CLASSES];
    pymalloc->memory = &sim->memory;
    sim->memory.limit = of[MEMORY_LIMIT];
    sim->memory.footprint_bytes = of[BASE_BYTES];
    sim->page_size = of[PAGE_SIZE];
    sim->sample_every = of[SAMPLE_EVERY];
    sim->keep_places = of[KEEP_PLACES] != 0;
    sim->small_threshold = (uint64_t)of[SMALL_THRESHOLD];
    sim->small_domains = (uint64_t)of[SMALL_DOMAINS];
    sim->by_realloc = (uint8_t)of[BY_REALLOC];
    sim->by_gc = (uint8_t)of[BY_GC];
    sim->of_unknown_cause = (uint8_t)of[OF_UNKNOWN_CAUSE];
    tk_sim_collector *collector = &sim->collector;
    collector->collects_at_checks = of[COLLECTS_AT_CHECKS] != 0;
    collector->enabled = of[ENABLED] != 0;
    collector->garbage = (int)of[GARBAGE];
    collector->freezes = of[FREEZES] != 0;
    collector->freeze_seq = of[FREEZE_SEQ];
    collector->own_thresholds = of[OWN_THRESHOLDS] != 0;
    collector->older_objects = collector->long_lived_total = of[LONG_LIVED_TOTAL];
    collector->long_lived_pending = of[LONG_LIVED_PENDING];
    return NULL;
}

static const char *set_columns(tk_simulator *self) {
    Py_ssize_t total = length(self, START_SEQ);
    for (int which = DUE_SEQ; which <= FULL_SHARE; which++) {
        if (length(self, which) != total) {
            return "columns of unequal length";
        }
    }
    if (length(self, HELD_FROM) != total || length(self, OFF) != total + 1 ||
        length(self, RECORDED_THRESHOLDS) != (total + 1) * TK_SIM_GENERATIONS || total > INT32_MAX) {
        return "columns of unequal length";
    }
    const int64_t most_count = (int64_t)1 << 31; /* it is an int */
    if (!are_within(&self->views[GENERATION], 0, TK_SIM_GENERATIONS - 1) || !are_shares(&self->views[YOUNG_SHARE]) ||
        !are_shares(&self->views[FULL_SHARE]) || !are_within(&self->views[CORRECTION], -most_count, most_count)) {
        return "collections that no collector makes";
    }
    if (!are_within(&self->views[PATH_BYTES], 0, (int64_t)1 << 60)) {
        return "frames of impossible size";
    }
    tk_sim_collector *collector = &self->sim.collector;
    collector->total = total;
    collector->start_seq = self->views[START_SEQ].buf;
    collector->due_seq = self->views[DUE_SEQ].buf;
    collector->held_from = self->views[HELD_FROM].buf;
    collector->generation = self->views[GENERATION].buf;
    collector->asked = self->views[ASKED].buf;
    collector->off = self->views[OFF].buf;
    collector->correction = self->views[CORRECTION].buf;
    collector->young_share = self->views[YOUNG_SHARE].buf;
    collector->full_share = self->views[FULL_SHARE].buf;
    collector->recorded_thresholds = self->views[RECORDED_THRESHOLDS].buf;
    collector->opaque = self->views[OPAQUE].buf;
    collector->opaque_count = length(self, OPAQUE);
    self->sim.observed = self->views[OBSERVED].buf;
    self->sim.observed_count = length(self, OBSERVED);
    self->sim.path_bytes = self->views[PATH_BYTES].buf;
    self->sim.paths = length(self, PATH_BYTES);
    return NULL;
}

static const char *set_lists(tk_simulator *self) {
    Py_ssize_t told = length(self, DRIFT), total = length(self, START_SEQ);
    if (length(self, STOP_SEQ) != total || length(self, PARKED) != told || (told != 0 && told != total * TK_SIM_LISTS) ||
        length(self, WAITING) != (told != 0 ? told + TK_SIM_LISTS : 0)) {
        return "columns of unequal length";
    }
    const int16_t *parked = self->views[PARKED].buf, *waiting = self->views[WAITING].buf;
    bool fine = are_within(&self->views[STOP_SEQ], -1, INT64_MAX);
    for (Py_ssize_t at = 0; at < told; at++) {
        fine = fine && parked[at] >= 0 && waiting[at] >= 0;
    }
    if (!fine) {
        return "free lists of impossible length";
    }
    tk_sim_lists *lists = &self->sim.lists;
    lists->known = told > 0 && self->sim.collector.garbage != TK_SIM_RECORDED;
    lists->stop_seq = self->views[STOP_SEQ].buf;
    lists->waiting = waiting;
    lists->drift = self->views[DRIFT].buf;
    lists->parked = parked;
    for (int which = 0; told > 0 && which < TK_SIM_LISTS; which++) {
        lists->numfree[which] = lists->recorded[which] = waiting[which];
    }
    return NULL;
}

static const char *set_settings(tk_simulator *self) {
    tk_sim_collector *collector = &self->sim.collector;
    collector->settings = length(self, SET_SEQ);
    if (length(self, SET_ON) != collector->settings ||
        length(self, SET_THRESHOLDS) != collector->settings * TK_SIM_GENERATIONS) {
        return "columns of unequal length";
    }
    if (!are_within(&self->views[SET_SEQ], 0, INT64_MAX)) {
        return "settings before the first event";
    }
    collector->set_seq = self->views[SET_SEQ].buf;
    collector->set_on = self->views[SET_ON].buf;
    collector->set_thresholds = self->views[SET_THRESHOLDS].buf;
    return NULL;
}

static const char *set_layout(const tk_simulator *self, tk_sim_layout *layout) {
    layout->arenas = length(self, NTOTALPOOLS);
    layout->pools = length(self, POOL_ARENA);
    layout->blocks = length(self, ADDRESS);
    if (length(self, POOL_NUMBER) != layout->pools || length(self, POOL_SZIDX) != layout->pools ||
        length(self, BLOCK_POOL) != layout->blocks || length(self, BLOCK_INDEX) != layout->blocks) {
        return "columns of unequal length";
    }
    layout->ntotalpools = self->views[NTOTALPOOLS].buf;
    layout->pool_arena = self->views[POOL_ARENA].buf;
    layout->pool_number = self->views[POOL_NUMBER].buf;
    layout->pool_szidx = self->views[POOL_SZIDX].buf;
    layout->address = self->views[ADDRESS].buf;
    layout->block_pool = self->views[BLOCK_POOL].buf;
    layout->block_index = self->views[BLOCK_INDEX].buf;
    layout->later = length(self, LATER_NTOTALPOOLS);
    layout->later_ntotalpools = self->views[LATER_NTOTALPOOLS].buf;
    return NULL;
}

/* What a run that did not come to its end left. */
static bool complain(tk_sim_ending end) {
    if (end == TK_SIM_NO_MEMORY) {
        PyErr_NoMemory();
    } else if (end == TK_SIM_STRANGE) {
        PyErr_SetString(PyExc_ValueError, "rows that no program makes");
    }
    return PyErr_Occurred() != NULL;
}

static PyObject *simulator_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    (void)keywords;
    PyObject *numbers_array, *columns;
    if (!PyArg_ParseTuple(arguments, "OO!", &numbers_array, &PyTuple_Type, &columns)) {
        return NULL;
    }
    tk_simulator *self = (tk_simulator *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    const char *wrong = NULL;
    Py_buffer numbers;
    PyObject *one = PyTuple_Pack(1, numbers_array);
    if (one == NULL || !hold(one, column_widths, 1, &numbers)) {
        Py_XDECREF(one);
        Py_DECREF(self);
        return NULL;
    }
    wrong = numbers.len != NUMBERS * 8 ? "another number of numbers" : set_numbers(&self->sim, numbers.buf);
    PyBuffer_Release(&numbers);
    Py_DECREF(one);
    tk_sim_layout layout;
    if (wrong == NULL && hold(columns, column_widths, COLUMNS, self->views)) {
        self->held = COLUMNS;
        wrong = set_columns(self);
        wrong = wrong == NULL ? set_lists(self) : wrong;
        wrong = wrong == NULL ? set_settings(self) : wrong;
        wrong = wrong == NULL ? set_layout(self, &layout) : wrong;
        tk_sim_ending end = wrong == NULL ? tk_sim_begin(&self->sim, &layout) : TK_SIM_DONE;
        wrong = end == TK_SIM_STRANGE ? "blocks that cannot be where they are said to be" : wrong;
        if (end == TK_SIM_NO_MEMORY) {
            PyErr_NoMemory();
        }
    }
    if (wrong != NULL) {
        PyErr_SetString(PyExc_ValueError, wrong);
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void simulator_dealloc(tk_simulator *self) {
    tk_sim_end(&self->sim);
    let_go(self->views, self->held);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* -- running --------------------------------------------------------------------------------------------- */

static bool is_usable(const tk_simulator *self) {
    if (self->busy || self->broken || self->over) {
        PyErr_SetString(PyExc_RuntimeError, self->busy     ? "the machine is at work in another thread"
                                            : self->broken ? "the machine failed before"
                                                           : "the machine is at its end");
        return false;
    }
    return true;
}

PyDoc_STRVAR(feed_doc, "feed(columns)\n--\n\nTake rows: the columns of store.steps.Steps in their order.\n\n"
                       "Returns the number of the row that did not fit into the memory limit, -1: all did. Raises\n"
                       "ValueError for rows that no program makes, after which the machine is of no use.");

static PyObject *simulator_feed(tk_simulator *self, PyObject *columns) {
    Py_buffer views[ROW_COLUMNS];
    if (!PyTuple_Check(columns)) {
        PyErr_SetString(PyExc_TypeError, "columns are a tuple");
        return NULL;
    }
    if (!is_usable(self) || !hold(columns, row_widths, ROW_COLUMNS, views)) {
        return NULL;
    }
    Py_ssize_t count = views[0].len / row_widths[0];
    bool fine = true;
    for (int which = 1; which < ROW_COLUMNS; which++) {
        fine = fine && views[which].len / row_widths[which] == count;
    }
    int64_t at = 0;
    tk_sim_ending end = TK_SIM_DONE;
    if (!fine) {
        PyErr_SetString(PyExc_ValueError, "columns of unequal length");
    } else {
        const tk_sim_steps steps = {
            views[0].buf, views[1].buf, views[2].buf, views[3].buf, views[4].buf,  views[5].buf,  views[6].buf,
            views[7].buf, views[8].buf, views[9].buf, views[10].buf, views[11].buf, views[12].buf, views[13].buf,
        };
        self->busy = true;
        Py_BEGIN_ALLOW_THREADS
        end = tk_sim_run(&self->sim, &steps, &at, count);
        Py_END_ALLOW_THREADS
        self->busy = false;
        self->over = end == TK_SIM_LIMIT;
        self->broken = complain(end);
    }
    let_go(views, ROW_COLUMNS);
    return PyErr_Occurred() ? NULL : PyLong_FromLongLong(end == TK_SIM_LIMIT ? at : -1);
}

static PyObject *bytes_of(const void *items, size_t bytes) {
    return PyBytes_FromStringAndSize(items, (Py_ssize_t)bytes);
}

PyDoc_STRVAR(finish_doc, "finish()\n--\n\nWhat came out: 20 numbers, then rows of int64 as bytes: collections (6), points of the\n"
                         "timeline (7), arenas (3), places (1).");

static PyObject *simulator_finish(tk_simulator *self, PyObject *nothing) {
    (void)nothing;
    if (self->busy || self->broken) {
        is_usable(self);
        return NULL;
    }
    if (!tk_sim_finish(&self->sim)) {
        self->broken = true;
        return PyErr_NoMemory();
    }
    self->over = true;
    const tk_sim *sim = &self->sim;
    const tk_sim_pymalloc *pymalloc = &sim->pymalloc;
    const int64_t numbers[] = {
        pymalloc->narenas_currently_allocated, pymalloc->narenas_highwater, pymalloc->highwater_seq, pymalloc->next_number,
        sim->live_bytes, (int64_t)sim->live_blocks, sim->small_bytes, sim->older_bytes,
        sim->peak_live_bytes, sim->peak_seq, sim->peak_small_bytes, sim->peak_older_bytes, sim->peak_arenas,
        sim->memory.footprint_bytes, sim->memory.peak_footprint_bytes, sim->heap_bytes, sim->mapped_bytes,
        sim->peak_stack_bytes, sim->peak_stack_seq, sim->unknown_causes,
    };
    return Py_BuildValue("NNNNN", bytes_of(numbers, sizeof numbers),
                         bytes_of(sim->collector.collections, sim->collector.collections_count * sizeof *sim->collector.collections),
                         bytes_of(sim->points, sim->points_count * sizeof *sim->points),
                         bytes_of(pymalloc->spans, pymalloc->spans_count * sizeof *pymalloc->spans),
                         bytes_of(sim->places.items, sim->places.count * sizeof *sim->places.items));
}

static PyMethodDef simulator_methods[] = {
    {"feed", (PyCFunction)simulator_feed, METH_O, feed_doc},
    {"finish", (PyCFunction)simulator_finish, METH_NOARGS, finish_doc},
    {NULL, NULL, 0, NULL},
};

PyTypeObject tk_simulator_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "tracekit._native._kernels.Simulator",
    .tp_doc = "Simulator(numbers, columns): CPython's memory manager, driven by the events of a trace.",
    .tp_basicsize = sizeof(tk_simulator),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = simulator_new,
    .tp_dealloc = (destructor)simulator_dealloc,
    .tp_methods = simulator_methods,
};

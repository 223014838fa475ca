/* Walks the live objects to tell their types. Called by module.c at marks and at the end.

   Nothing is guessed: objects are reached through the collector's own lists (Include/internal/pycore_gc.h), through
   tp_traverse as the collector calls it, as keys of dictionaries and parts of code, and through the local variables of
   running frames; those that died and were kept for the next of their type stand in CPython's free lists. An object
   that only machine code refers to is not seen, and its block stays without a type. */
#include "live.h"
#include "kept.h"
#include "ring.h"
#include "types.h"

#include <internal/pycore_interp.h>

#include <stdbool.h>
#include <stdlib.h>

enum { TOLD = 4096, AHEAD = 16 };

typedef struct {
    PyObject *told[TOLD]; /* some of those that refer to nothing: to be told twice does no harm, only costs */
    uint32_t *seen;       /* untracked containers by half of their addresses; open addressing, 0: free */
    uint64_t mask, used;
    PyObject *ahead[AHEAD]; /* met and not looked at yet: their memory is on its way into the processor's cache */
    uint32_t turn;
    PyObject **pending;
    uint64_t waiting, room;
    uint16_t thread;
    int64_t written;
    bool failed;
} pass;

static uint64_t home(const pass *self, uint32_t name) { return (name * 0x9E3779B9u >> 4) & self->mask; }

static bool grow(pass *self) {
    uint32_t *old = self->seen;
    uint64_t old_mask = self->mask;
    uint32_t *larger = calloc(2 * (old_mask + 1), sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    self->seen = larger;
    self->mask = 2 * old_mask + 1;
    for (uint64_t i = 0; i <= old_mask; i++) {
        if (old[i] != 0) {
            uint64_t at = home(self, old[i]);
            while (larger[at] != 0) {
                at = (at + 1) & self->mask;
            }
            larger[at] = old[i];
        }
    }
    free(old);
    return true;
}

/* True when the object is new to this pass. Half of an address is enough: of two objects 64 GiB apart, one may stay
   without a type. */
static bool meet(pass *self, const PyObject *object) {
    if (4 * (self->used + 1) > 3 * (self->mask + 1) && !grow(self)) {
        self->failed = true;
        return false;
    }
    uint32_t half = (uint32_t)((uintptr_t)object >> 4);
    uint32_t name = half != 0 ? half : 1;
    uint64_t at = home(self, name);
    while (self->seen[at] != 0) {
        if (self->seen[at] == name) {
            return false;
        }
        at = (at + 1) & self->mask;
    }
    self->seen[at] = name;
    self->used++;
    return true;
}

static void tell(pass *self, PyObject *object) {
    const void *block;
    uint32_t number = tk_types_of_live(object, &block);
    if (number != 0) {
        tk_ring_put_as_holder(tk_slot_of(TK_TYPED, 0, self->thread, number, (uint64_t)(uintptr_t)block));
        self->written++;
    }
}

static bool put_aside(pass *self, PyObject *object) {
    if (self->waiting == self->room) {
        uint64_t room = 2 * self->room + 256;
        PyObject **larger = realloc(self->pending, room * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        self->pending = larger;
        self->room = room;
    }
    self->pending[self->waiting++] = object;
    return true;
}

/* What the collector tracks comes from its lists. Tuples and dictionaries of untracked things do not, nor does code,
   and of untracked objects only these are certain to be whole. The rest refers to nothing. */
static void look_at(pass *self, PyObject *object) {
    if (self->failed || (PyType_IS_GC(Py_TYPE(object)) && PyObject_GC_IsTracked(object))) {
        return;
    }
    if (PyTuple_CheckExact(object) || PyDict_CheckExact(object) || PyCode_Check(object)) {
        if (meet(self, object)) {
            tell(self, object);
            self->failed |= !put_aside(self, object);
        }
        return;
    }
    PyObject **told = &self->told[(uintptr_t)object >> 4 & (TOLD - 1)];
    if (*told != object) {
        *told = object;
        tell(self, object);
    }
}

static int visit(PyObject *object, void *context) {
    pass *self = context;
    __builtin_prefetch((PyGC_Head *)object - 1);
    __builtin_prefetch(object);
    PyObject **place = &self->ahead[self->turn++ % AHEAD];
    PyObject *earlier = *place;
    *place = object;
    if (earlier != NULL) {
        look_at(self, earlier);
    }
    return 0;
}

/* The traversal of a dictionary leaves out keys when all are texts, because these are in no cycle. */
static void visit_keys(pass *self, PyObject *dictionary) {
    PyObject *key;
    Py_ssize_t at = 0;
    while (PyDict_Next(dictionary, &at, &key, NULL)) {
        visit(key, self);
    }
}

/* Code has no traversal, for the same reason. */
static void visit_code(pass *self, const PyCodeObject *code) {
    PyObject *const parts[] = {
        code->co_consts,   code->co_names, code->co_localsplusnames, code->co_localspluskinds, code->co_filename,
        code->co_qualname, code->co_name,  code->co_exceptiontable,  code->co_linetable,
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] != NULL) {
            visit(parts[i], self);
        }
    }
}

static void visit_pending(pass *self) {
    while (self->waiting > 0) {
        PyObject *next = self->pending[--self->waiting];
        if (PyCode_Check(next)) {
            visit_code(self, (PyCodeObject *)next);
            continue;
        }
        Py_TYPE(next)->tp_traverse(next, visit, self);
        if (PyDict_CheckExact(next)) {
            visit_keys(self, next);
        }
    }
}

/* Look at those that are left; what they refer to takes their places. */
static void visit_ahead(pass *self) {
    for (int i = 0; i < AHEAD; i++) {
        PyObject *last = self->ahead[i];
        if (last != NULL) {
            self->ahead[i] = NULL;
            look_at(self, last);
            visit_pending(self);
            i = -1;
        }
    }
}

static void walk_generation(pass *self, PyGC_Head *head) {
    for (PyGC_Head *at = (PyGC_Head *)head->_gc_next; at != head && !self->failed; at = (PyGC_Head *)at->_gc_next) {
        PyObject *object = (PyObject *)(at + 1);
        tell(self, object);
        traverseproc traverse = Py_TYPE(object)->tp_traverse;
        if (traverse != NULL) {
            traverse(object, visit, self);
        }
        if (PyDict_Check(object)) {
            visit_keys(self, object);
        }
        visit_pending(self);
    }
}

static void walk_frames(pass *self, PyInterpreterState *interpreter) {
    for (PyThreadState *state = PyInterpreterState_ThreadHead(interpreter); state != NULL;
         state = PyThreadState_Next(state)) {
        for (tk_frame *frame = tk_top(state); frame != NULL; frame = frame->previous) {
            PyCodeObject *code = tk_frame_code(frame);
            for (int i = 0; code != NULL && i < code->co_nlocalsplus; i++) {
                if (frame->localsplus[i] != NULL) {
                    visit(frame->localsplus[i], self);
                    visit_pending(self);
                }
            }
        }
    }
}

/* What waits in free lists: nothing refers to it, its blocks are not given back, and its types are still there. (A
   float's is not: the list goes through it.) */
static void tell_kept(pass *self, PyInterpreterState *interpreter) {
    const tk_kept kept = tk_kept_of(interpreter);
    for (int i = 0; i < kept.tuple_sizes; i++) {
        for (PyTupleObject *tuple = kept.tuples[i]; tuple != NULL; tuple = (PyTupleObject *)tuple->ob_item[0]) {
            tell(self, (PyObject *)tuple);
        }
    }
    for (int i = 0; i < kept.list_count; i++) {
        tell(self, (PyObject *)kept.lists[i]);
    }
    for (int i = 0; i < kept.dictionary_count; i++) {
        tell(self, (PyObject *)kept.dictionaries[i]);
    }
}

int64_t tk_live_types(uint16_t thread) {
    PyInterpreterState *interpreter = PyInterpreterState_Get();
    pass *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return -1;
    }
    self->mask = (1 << 10) - 1;
    self->seen = calloc(self->mask + 1, sizeof *self->seen);
    self->thread = thread;
    if (self->seen != NULL) {
        for (int i = 0; i < NUM_GENERATIONS; i++) {
            walk_generation(self, &interpreter->gc.generations[i].head);
        }
        walk_generation(self, &interpreter->gc.permanent_generation.head);
        walk_frames(self, interpreter);
        visit_ahead(self);
        tell_kept(self, interpreter);
    }
    int64_t written = self->seen == NULL || self->failed ? -1 : self->written;
    free(self->seen);
    free(self->pending);
    free(self);
    return written;
}

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

enum { CHUNK_BITS = 18, CHUNK_CELLS = 1 << (CHUNK_BITS - 4), FEWEST_CHUNKS = 64, TYPES_BITS = 8 };
enum { AHEAD = 16, CODES_AHEAD = 8, LINE = 64 };

/* A quarter of a mebibyte of addresses, with a bit for every 16 bytes: whether the object that begins there was met. */
typedef struct {
    uintptr_t number;
    uint64_t *met; /* NULL: the entry is free */
} chunk;

/* What is the same for all objects of a type. */
typedef struct {
    PyTypeObject *type;
    uint32_t number;
    uint32_t front; /* bytes of the block before the object */
} kind;

typedef struct {
    chunk *chunks; /* open addressing, linear probing */
    uint64_t mask, used;
    kind kinds[1 << TYPES_BITS]; /* some of them, at a place by the type's address */
    PyObject *ahead[AHEAD];      /* met and not looked at yet: their memory is on its way into the processor's cache */
    PyObject *codes_ahead[CODES_AHEAD]; /* the same for code, whose parts are told of in further lines of memory */
    uint32_t turn, codes_turn;
    PyObject **pending;
    uint64_t waiting, room;
    uint16_t thread;
    int64_t written;
    bool failed;
} pass;

static inline uint64_t mix(uintptr_t value) { return (uint64_t)value * 0x9E3779B97F4A7C15ull; }

static inline chunk *place_of(const pass *self, uintptr_t number) {
    uint64_t at = mix(number) >> 32 & self->mask;
    while (self->chunks[at].met != NULL && self->chunks[at].number != number) {
        at = (at + 1) & self->mask;
    }
    return &self->chunks[at];
}

static bool grow(pass *self) {
    chunk *old = self->chunks;
    uint64_t old_mask = self->mask;
    chunk *larger = calloc(2 * (old_mask + 1), sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    self->chunks = larger;
    self->mask = 2 * old_mask + 1;
    for (uint64_t i = 0; i <= old_mask; i++) {
        if (old[i].met != NULL) {
            *place_of(self, old[i].number) = old[i];
        }
    }
    free(old);
    return true;
}

/* The chunk of that number, which nothing was met in before; NULL when memory is short. */
__attribute__((noinline, cold)) static chunk *add_chunk(pass *self, uintptr_t number) {
    uint64_t *met = calloc(CHUNK_CELLS / 64, sizeof *met);
    if (met == NULL || (2 * (self->used + 1) > self->mask + 1 && !grow(self))) {
        free(met);
        self->failed = true;
        return NULL;
    }
    chunk *added = place_of(self, number);
    *added = (chunk){number, met};
    self->used++;
    return added;
}

/* True when the object is new to this pass. No two begin in the same 16 bytes, which is the size of the least. */
static inline bool meet(pass *self, const PyObject *object) {
    uintptr_t number = (uintptr_t)object >> CHUNK_BITS;
    chunk *found = place_of(self, number);
    if (__builtin_expect(found->met == NULL, 0) && (found = add_chunk(self, number)) == NULL) {
        return false;
    }
    uint32_t cell = (uint32_t)((uintptr_t)object >> 4) & (CHUNK_CELLS - 1);
    uint64_t bit = 1ull << (cell & 63);
    bool met = found->met[cell >> 6] & bit;
    found->met[cell >> 6] |= bit;
    return !met;
}

static inline void tell(pass *self, PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    kind *known = &self->kinds[mix((uintptr_t)type) >> (64 - TYPES_BITS)];
    if (__builtin_expect(known->type != type, 0)) {
        const void *block;
        uint32_t number = tk_types_of_live(object, &block);
        *known = (kind){type, number, (uint32_t)((const char *)object - (const char *)block)};
    }
    if (known->number != 0) {
        uint64_t block = (uint64_t)(uintptr_t)object - known->front;
        tk_ring_put_as_holder(tk_slot_of(TK_TYPED, 0, self->thread, known->number, block));
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
    tell(self, object);
    if (PyCode_Check(object)) {
        __builtin_prefetch((char *)object + LINE);
        __builtin_prefetch((char *)object + 2 * LINE);
        PyObject **place = &self->codes_ahead[self->codes_turn++ % CODES_AHEAD];
        PyObject *earlier = *place;
        *place = object;
        self->failed |= earlier != NULL && !put_aside(self, earlier);
    } else if (PyTuple_CheckExact(object) || PyDict_CheckExact(object)) {
        self->failed |= !put_aside(self, object);
    }
}

static int visit(PyObject *object, void *context) {
    pass *self = context;
    if (!meet(self, object)) {
        return 0;
    }
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
    for (int i = 0; i < AHEAD + CODES_AHEAD; i++) {
        PyObject **place = i < AHEAD ? &self->ahead[i] : &self->codes_ahead[i - AHEAD];
        PyObject *last = *place;
        if (last != NULL) {
            *place = NULL;
            if (i < AHEAD) {
                look_at(self, last);
            } else {
                visit_code(self, (PyCodeObject *)last);
            }
            visit_pending(self);
            i = -1;
        }
    }
}

static inline PyGC_Head *after(const PyGC_Head *at, const PyGC_Head *head) {
    return at != head ? (PyGC_Head *)at->_gc_next : (PyGC_Head *)at;
}

static void walk_generation(pass *self, PyGC_Head *head) {
    PyGC_Head *ahead = (PyGC_Head *)head->_gc_next; /* a few objects further on: only to be brought into the cache */
    for (int i = 0; i < AHEAD; i++) {
        ahead = after(ahead, head);
    }
    for (PyGC_Head *at = (PyGC_Head *)head->_gc_next; at != head && !self->failed; at = (PyGC_Head *)at->_gc_next) {
        ahead = after(ahead, head);
        __builtin_prefetch((char *)ahead + LINE);
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

static void give_back(pass *self) {
    for (uint64_t i = 0; self->chunks != NULL && i <= self->mask; i++) {
        free(self->chunks[i].met);
    }
    free(self->chunks);
    free(self->pending);
    free(self);
}

int64_t tk_live_types(uint16_t thread) {
    PyInterpreterState *interpreter = PyInterpreterState_Get();
    pass *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return -1;
    }
    self->mask = FEWEST_CHUNKS - 1;
    self->chunks = calloc(FEWEST_CHUNKS, sizeof *self->chunks);
    self->thread = thread;
    if (self->chunks != NULL) {
        for (int i = 0; i < NUM_GENERATIONS; i++) {
            walk_generation(self, &interpreter->gc.generations[i].head);
        }
        walk_generation(self, &interpreter->gc.permanent_generation.head);
        walk_frames(self, interpreter);
        visit_ahead(self);
        tell_kept(self, interpreter);
    }
    int64_t written = self->chunks == NULL || self->failed ? -1 : self->written;
    give_back(self);
    return written;
}

/* Pass-through hooks for the raw, mem and object domains and for arenas.

   A free is recorded before the block is given back, an allocation after it was obtained, so that no other
   thread is ever seen to own a block before its last owner let it go. The hooks add no header to a block, so
   they can come and go while blocks live. CPython's own nesting (a large request of the object domain calls
   the raw allocator; tracemalloc's hooks call Python) is passed through: only the outermost call counts. */
#include "hooks.h"
#include "interest.h"
#include "ring.h"
#include "settings.h"
#include "stack.h"
#include "text.h"
#include "threads.h"
#include "types.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { DOMAINS = 3, ARENA_BYTES = 1 << 20, PROBING = -1000 };

static const PyMemAllocatorDomain domains[DOMAINS] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

typedef struct hook_set hook_set;

typedef struct {
    PyMemAllocatorEx below;
    PyMemAllocatorDomain domain;
    hook_set *set;
} hook;

/* One a recording. A set that could not be taken away, because somebody else's hooks lie above it, goes on passing
   calls through for good: whoever is above keeps its address. */
struct hook_set {
    atomic_bool recording;
    hook hooks[DOMAINS];
    PyObjectArenaAllocator arena_below;
};

static hook_set *current;
static PyInterpreterState *main_interpreter;
static _Atomic(uint32_t) arenas; /* that the program came to while it was recorded */

#define COLD __attribute__((noinline, cold))
/* Inlined three times over, their frames would be set up by every call that passes through. */
#define APART static __attribute__((noinline))
#define TLS static __thread __attribute__((tls_model("initial-exec")))
TLS int depth;
TLS uint8_t free_cause;
TLS int probed;

void tk_collection_starts(void) { free_cause = TK_CAUSE_GC; }
void tk_collection_stops(void) { free_cause = TK_CAUSE_REFCOUNT; }
void tk_hooks_quiet(void) { depth++; }
void tk_hooks_loud(void) { depth--; }

/* Whether a call at this depth is the program's own and to be recorded. */
static inline bool wanted(const hook *self, int at) {
    if (__builtin_expect(at != 0, 0)) {
        probed += at == PROBING;
        return false;
    }
    return atomic_load_explicit(&self->set->recording, memory_order_relaxed);
}

/* Several interpreters have several stacks of frames and, from 3.12 on, several locks: what is guarded by "the"
   lock here would not be. The recording ends, the program goes on. */
COLD static void refuse_interpreter(hook_set *set) {
    static const char code[] = "sub-interpreter";
    static const char text[] = "the program made a sub-interpreter; recording ended there";
    if (atomic_exchange(&set->recording, false)) {
        char payload[8 + sizeof code + sizeof text];
        size_t bytes = tk_put_bytes(payload, code, sizeof code - 1);
        bytes += tk_put_bytes(payload + bytes, text, sizeof text - 1);
        tk_ring_define(TK_DEF_NOTICE, tk_thread(false), 0, payload, bytes, NULL, 0, false);
    }
}

/* State of the calling thread if it holds the GIL, else NULL. The raw domain is also used without it; the others
   corrupt themselves when somebody tries. */
static inline PyThreadState *holder_of(const hook *self) {
    return self->domain == PYMEM_DOMAIN_RAW ? tk_current_state() : tk_holder_state();
}

static inline tk_slot allocation_slot(const hook *self, const void *block, size_t size, uint8_t flags, uint16_t thread,
                                      uint32_t node) {
    uint64_t word = (uint64_t)(uintptr_t)block >> 4 << TK_SIZE_BITS | (size < TK_SIZE_WIDE ? size : TK_SIZE_WIDE);
    return tk_slot_of(TK_ALLOC, (uint8_t)(flags | self->domain), thread, node, word);
}

static inline void put_allocation(tk_slot slot, size_t size, bool holder) {
    if (__builtin_expect(size >= TK_SIZE_WIDE, 0)) {
        tk_ring_put_two(tk_slot_of(TK_WIDE, 0, (uint16_t)(slot.head >> 16), 0, size), slot, holder);
    } else if (holder) {
        tk_ring_put_as_holder(slot);
    } else {
        tk_ring_put(slot, false);
    }
}

COLD static void record_foreign_allocation(const hook *self, const void *block, size_t size, uint8_t flags) {
    put_allocation(allocation_slot(self, block, size, flags, tk_thread(false), 0), size, false);
}

APART void record_allocation(hook *self, const void *block, size_t size, uint8_t flags) {
    PyThreadState *state = holder_of(self);
    if (__builtin_expect(state == NULL, 0)) {
        record_foreign_allocation(self, block, size, flags);
    } else if (__builtin_expect(state->interp != main_interpreter, 0)) {
        refuse_interpreter(self->set);
    } else {
        uint16_t thread = tk_thread(true);
        uint32_t node = tk_stack_node(state);
        if (flags == 0) { /* a free and the allocation of a realloc stand side by side */
            tk_threads_look(thread);
            tk_settings_look();
        }
        if (self->domain == PYMEM_DOMAIN_OBJ) {
            tk_types_large_block(block, size);
        }
        put_allocation(allocation_slot(self, block, size, flags, thread, node), size, true);
    }
}

COLD static void record_foreign_free(const void *block, uint8_t cause) {
    tk_ring_put(tk_slot_of(TK_FREE, cause, tk_thread(false), 0, (uint64_t)(uintptr_t)block), false);
}

/* A block that was a code object or a type goes, or one at an address that looks alike. */
COLD static void forget_block(const void *block) {
    tk_stack_forget_code(block);
    tk_types_forget_block(block);
}

APART void record_free(hook *self, const void *block, uint8_t cause) {
    PyThreadState *state = holder_of(self);
    if (__builtin_expect(state == NULL, 0)) {
        record_foreign_free(block, cause);
    } else if (__builtin_expect(state->interp != main_interpreter, 0)) {
        refuse_interpreter(self->set);
    } else {
        uint32_t type = 0;
        if (self->domain == PYMEM_DOMAIN_OBJ) {
            if (cause != TK_CAUSE_REALLOC) {
                type = tk_types_of_dying(block);
            }
            if (tk_is_interesting(block)) {
                forget_block(block);
            }
        }
        tk_ring_put_as_holder(tk_slot_of(TK_FREE, cause, tk_thread(true), type, (uint64_t)(uintptr_t)block));
    }
}

static void *hook_malloc(void *context, size_t size) {
    hook *self = context;
    int at = depth++;
    void *block = self->below.malloc(self->below.ctx, size);
    if (block != NULL && wanted(self, at)) {
        record_allocation(self, block, size, 0);
    }
    depth = at;
    return block;
}

static void *hook_calloc(void *context, size_t count, size_t size) {
    hook *self = context;
    int at = depth++;
    void *block = self->below.calloc(self->below.ctx, count, size);
    if (block != NULL && wanted(self, at)) {
        record_allocation(self, block, count * size, 0);
    }
    depth = at;
    return block;
}

static void *hook_realloc(void *context, void *old, size_t size) {
    hook *self = context;
    int at = depth++;
    bool record = wanted(self, at);
    if (record && old != NULL) {
        record_free(self, old, TK_CAUSE_REALLOC);
    }
    void *block = self->below.realloc(self->below.ctx, old, size);
    if (record && wanted(self, at)) {
        if (block != NULL) {
            record_allocation(self, block, size, old != NULL ? TK_REALLOCATED : 0);
        } else if (old != NULL) {
            bool holder = holder_of(self) != NULL;
            tk_ring_put(tk_slot_of(TK_UNFREE, 0, tk_thread(holder), 0, (uint64_t)(uintptr_t)old), holder);
        }
    }
    depth = at;
    return block;
}

static void hook_free(void *context, void *block) {
    hook *self = context;
    int at = depth++;
    if (block != NULL && wanted(self, at)) {
        record_free(self, block, free_cause);
    }
    self->below.free(self->below.ctx, block);
    depth = at;
}

/* Arenas come and go while a block is obtained or given back, so these calls are nested in ours; an arena belongs
   to all, whoever made the allocator want it. */
static void put_arena(const hook_set *set, const void *arena, size_t size, uint8_t returned) {
    /* Data stacks of threads come this way, too; an arena has one size. */
    if (arena != NULL && size == ARENA_BYTES && atomic_load_explicit(&set->recording, memory_order_relaxed)) {
        bool holder = tk_current_state() != NULL;
        tk_slot slot = tk_slot_of(TK_ARENA, returned, tk_thread(holder), (uint32_t)size, (uint64_t)(uintptr_t)arena);
        tk_ring_put(slot, holder);
        arenas += returned == 0;
    }
}

uint32_t tk_hooks_arenas(void) { return arenas; }

static void *arena_alloc(void *context, size_t size) {
    hook_set *set = context;
    void *arena = set->arena_below.alloc(set->arena_below.ctx, size);
    put_arena(set, arena, size, 0);
    return arena;
}

static void arena_free(void *context, void *arena, size_t size) {
    hook_set *set = context;
    put_arena(set, arena, size, 1);
    set->arena_below.free(set->arena_below.ctx, arena, size);
}

int tk_hooks_install(void) {
    arenas = 0;
    hook_set *set = calloc(1, sizeof *set);
    if (set == NULL) {
        return -1;
    }
    for (int i = 0; i < DOMAINS; i++) {
        hook *one = &set->hooks[i];
        one->domain = domains[i];
        one->set = set;
        PyMem_GetAllocator(domains[i], &one->below);
        PyMemAllocatorEx ours = {one, hook_malloc, hook_calloc, hook_realloc, hook_free};
        PyMem_SetAllocator(domains[i], &ours);
    }
    main_interpreter = PyInterpreterState_Main();
    PyObject_GetArenaAllocator(&set->arena_below);
    PyObjectArenaAllocator ours = {set, arena_alloc, arena_free};
    PyObject_SetArenaAllocator(&ours);
    current = set;
    atomic_store(&set->recording, true);
    return 0;
}

void tk_hooks_abandon(void) {
    if (current != NULL) {
        atomic_store(&current->recording, false);
    }
}

void tk_hooks_remove(void) {
    hook_set *set = current;
    if (set == NULL) {
        return;
    }
    current = NULL;
    atomic_store(&set->recording, false);
    for (int i = 0; i < DOMAINS; i++) {
        PyMemAllocatorEx now;
        PyMem_GetAllocator(domains[i], &now);
        if (now.ctx == &set->hooks[i] && now.malloc == hook_malloc) {
            PyMem_SetAllocator(domains[i], &set->hooks[i].below);
        }
    }
    PyObjectArenaAllocator now;
    PyObject_GetArenaAllocator(&now);
    if (now.ctx == set && now.alloc == arena_alloc) {
        PyObject_SetArenaAllocator(&set->arena_below);
    }
    /* The set itself stays: another thread may be inside one of its hooks, without the lock. */
}

bool tk_hooks_alive(void) {
    int before = depth;
    depth = PROBING;
    probed = 0;
    PyMem_RawFree(PyMem_RawMalloc(1));
    int raw = probed;
    PyMem_Free(PyMem_Malloc(1));
    int mem = probed;
    PyObject_Free(PyObject_Malloc(1));
    int object = probed;
    depth = before;
    return raw > 0 && mem > raw && object > mem;
}

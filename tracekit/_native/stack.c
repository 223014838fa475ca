/* Walks interpreter frames and numbers call paths; called by hooks.c for every allocation.

   A shadow array a thread holds the frames of the last walk, outermost first: frame address, instruction
   pointer, node. At the next walk the newest frame that is still in the array is found through a small hash
   table, and all older ones are verified against the array by value: `shadow[i].frame->previous` must be
   `shadow[i - 1].frame` and the instruction pointers must be the same. The loads do not depend on each other,
   and nothing is followed before it was verified. Less than the whole chain is not enough: the same frame
   address with the same instruction can come back under another caller. Only a frame that still has our mark (see
   `WALKED`) bounds how far down that can have happened, or time does (see `lowest_suspect`).

   Memory is libc's own (never Python's, which is hooked). */
#include "stack.h"
#include "nodes.h"
#include "threads.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RECENT = 1024, FEWEST_PLACES = 1024, LONG_CHAIN = 512 };

typedef struct {
    tk_frame *frame;
    void *ip;
    uint32_t node;
    uint32_t code; /* its number, 0: not asked for yet */
} shadow_frame;

typedef struct {
    /* The newest frame of the last walk, by itself: most allocations come from the one before, a little further on. */
    tk_frame *last; /* NULL: look into the array */
    const void *last_ip;
    shadow_frame *last_entry;
    uint32_t last_node;
    uint32_t last_parent;
    shadow_frame *frames;
    uint32_t count;
    uint32_t room;
    uint64_t epoch;
    uint64_t walked_at; /* ns, when the last walk ended; only of long chains, 0: not known */
    uint32_t *place;    /* index of a frame by its address; verified when used */
    uint32_t place_mask;
} shadow;

typedef struct {
    const void *ip; /* NULL: free */
    uint32_t parent;
    uint32_t node;
} recent_entry;

static recent_entry recent[RECENT];
static uint64_t epoch = 1; /* raised when a code object went: instruction pointers may mean something else */
static bool code_went;     /* and the epoch is yet to be raised */
static pthread_key_t at_thread_end;

/* Runs when a thread ends; it walks no more after that, because it has no frames left. */
static void forget_thread(void *own) {
    shadow *all = own;
    if (all != NULL) {
        free(all->frames);
        free(all->place);
        free(all);
        tk_mine.walk = NULL;
    }
}

__attribute__((noinline, cold)) static shadow *begin_thread(void) {
    shadow *all = calloc(1, sizeof *all);
    if (all == NULL) {
        return NULL;
    }
    all->place = calloc(FEWEST_PLACES, sizeof *all->place);
    all->place_mask = FEWEST_PLACES - 1;
    if (all->place == NULL || pthread_setspecific(at_thread_end, all) != 0) {
        free(all->place);
        free(all);
        all = NULL;
    }
    tk_mine.walk = all;
    return all;
}

int tk_stack_begin(void) {
    static bool has_key;
    if (!has_key && pthread_key_create(&at_thread_end, forget_thread) != 0) {
        return -1;
    }
    has_key = true;
    code_went = true;
    return tk_nodes_begin();
}

void tk_stack_forget_code(const void *address) { code_went |= tk_code_forget(address); }

/* -- nodes ------------------------------------------------------------------------------------------- */

/* What is walked next may not be compared with instructions of a code that is gone. Code goes by the dozen, a module's
   and its classes', and what comes in its place is not seen before it runs, in a frame that is new. */
static void begin_epoch(void) {
    memset(recent, 0, sizeof recent);
    epoch++;
    code_went = false;
}

/* What is known of the frame's code is its number, or 0; it is filled in. */
__attribute__((noinline)) static uint32_t intern_slowly(uint32_t parent, tk_frame *frame, uint32_t *code) {
    if (*code == 0) {
        PyCodeObject *found = tk_frame_code(frame);
        if (found == NULL) {
            return parent;
        }
        *code = tk_code_number(found);
    }
    const char *start = (const char *)_PyCode_CODE((PyCodeObject *)tk_frame_executable(frame));
    return tk_node(parent, *code, (uint32_t)((const char *)tk_frame_ip(frame) - start));
}

/* The same by instruction address, which says code and offset at once as long as no code object goes. */
static inline uint32_t intern(uint32_t parent, tk_frame *frame, uint32_t *code) {
    const void *ip = tk_frame_ip(frame);
    recent_entry *entry = &recent[((uintptr_t)ip >> 1 ^ parent * 0x9E3779B9u) & (RECENT - 1)];
    if (entry->ip != ip || entry->parent != parent) {
        uint32_t node = intern_slowly(parent, frame, code);
        *entry = (recent_entry){ip, parent, node};
    }
    return entry->node;
}

/* -- walking ----------------------------------------------------------------------------------------- */

static uint32_t *place_of(const shadow *all, const tk_frame *frame) {
    uintptr_t value = (uintptr_t)frame;
    return &all->place[(uint32_t)(value >> 4 ^ value >> 14) & all->place_mask];
}

/* A place for every frame of a long recursion: else each return would look for its caller to the end of the chain. */
static void grow_places(shadow *all) {
    uint32_t places = all->place_mask + 1;
    while (places < all->room && places < 1u << 30) {
        places *= 2;
    }
    uint32_t *larger = calloc(places, sizeof *larger);
    if (larger == NULL) {
        return; /* slower, not wrong */
    }
    free(all->place);
    all->place = larger;
    all->place_mask = places - 1;
    for (uint32_t i = 0; i < all->count; i++) {
        *place_of(all, all->frames[i].frame) = i;
    }
}

static bool make_room(shadow *all, uint32_t count) {
    if (count <= all->room) {
        return true;
    }
    uint32_t room = count + count / 2 + 64;
    shadow_frame *larger = realloc(all->frames, room * sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    all->frames = larger;
    all->room = room;
    if (room > all->place_mask + 1) {
        grow_places(all);
    }
    return true;
}

/* Index of a frame in the shadow array, or -1. */
static int64_t find(const shadow *all, const tk_frame *frame) {
    uint32_t index = *place_of(all, frame);
    return index < all->count && all->frames[index].frame == frame ? (int64_t)index : -1;
}

/* Nanoseconds of the monotonic clock. */
static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Below this index nothing can have changed since the last walk. For a frame to be another activation at the same
   address, or at another instruction, all frames above it have to be left and entered again, one after the other, and
   nobody does that in a nanosecond a frame. Without this bound a recursion of n calls would cost n * n. */
static int64_t lowest_suspect(const shadow *all, int64_t top) {
    if (top < LONG_CHAIN || all->walked_at == 0) {
        return 0;
    }
    uint64_t time = now();
    uint64_t sure = (uint64_t)(top - LONG_CHAIN / 2);
    if (time < all->walked_at || time - all->walked_at > sure) {
        return 0;
    }
    return (int64_t)(sure - (time - all->walked_at));
}

/* A running frame has the stacktop -1, and "<= 0" is all that CPython asks of it (pycore_frame.h,
   _PyFrame_GetStackPointer). The interpreter writes it anew whenever the frame is entered, left, suspended, resumed or
   calls another Python function by itself. So a frame that still has our own negative number is the very activation
   that was walked when it got it, and none of its callers can have moved since: no need to look at them. */
enum { RUNNING = -1, WALKED = -20776 };

/* Lowest index whose instruction pointer changed (top + 1 for none), or -1 when the chain is another one. */
static int64_t verify(const shadow *all, int64_t top) {
    const shadow_frame *frames = all->frames;
    const int64_t lowest = lowest_suspect(all, top);
    int64_t changed = top + 1;
    for (int64_t i = top; i > lowest; i--) {
        tk_frame *frame = frames[i].frame;
        if (tk_frame_ip(frame) != frames[i].ip) {
            changed = i;
        }
        if (frame->stacktop == WALKED) {
            return changed;
        }
        if (frame->previous != frames[i - 1].frame) {
            return -1;
        }
    }
    if (lowest == 0 && frames[0].frame->previous != NULL) {
        return -1;
    }
    return tk_frame_ip(frames[lowest].frame) != frames[lowest].ip ? lowest : changed;
}

/* Number of frames above the newest one that is in the array (all, when none is); its index, or -1. */
static uint32_t count_new(const shadow *all, tk_frame *top, int64_t *base) {
    uint32_t fresh = 0;
    for (tk_frame *frame = top; frame != NULL; frame = frame->previous, fresh++) {
        *base = find(all, frame);
        if (*base >= 0) {
            return fresh;
        }
    }
    *base = -1;
    return fresh;
}

static uint32_t count_all(tk_frame *top) {
    uint32_t count = 0;
    for (tk_frame *frame = top; frame != NULL; frame = frame->previous) {
        count++;
    }
    return count;
}

static uint32_t walk(shadow *all, tk_frame *top) {
    int64_t base;
    uint32_t fresh = count_new(all, top, &base);
    int64_t changed = base >= 0 ? verify(all, base) : -1;
    if (changed < 0) {
        base = -1;
        fresh = count_all(top);
        changed = 0;
    }
    uint32_t count = (uint32_t)(base + 1) + fresh;
    if (changed == (int64_t)count) {
        all->count = count; /* nothing new: frames may only have been left */
        return all->frames[count - 1].node;
    }
    if (!make_room(all, count)) {
        all->count = 0;
        return 0;
    }
    tk_frame *frame = top;
    for (uint32_t i = count; i > (uint32_t)(base + 1); i--, frame = frame->previous) {
        all->frames[i - 1].frame = frame;
        *place_of(all, frame) = i - 1;
    }
    uint32_t node = changed > 0 ? all->frames[changed - 1].node : 0;
    for (uint32_t i = (uint32_t)changed; i < count; i++) {
        tk_frame *current = all->frames[i].frame;
        all->frames[i].code = 0; /* it may be another activation at the same address */
        node = intern(node, current, &all->frames[i].code);
        all->frames[i].ip = tk_frame_ip(current);
        all->frames[i].node = node;
    }
    all->count = count;
    return node;
}

static inline void remember(shadow *all, uint32_t index) {
    shadow_frame *entry = &all->frames[index];
    all->count = index + 1;
    all->last = entry->frame;
    all->last_ip = entry->ip;
    all->last_entry = entry;
    all->last_node = entry->node;
    all->last_parent = index > 0 ? entry[-1].node : 0;
}

/* The activation that was walked last is still on top; its instruction may be another one. */
static inline uint32_t same_top(shadow *all, tk_frame *top) {
    const void *ip = tk_frame_ip(top);
    if (all->last_ip != ip) {
        all->last_ip = ip;
        all->last_node = intern(all->last_parent, top, &all->last_entry->code);
        all->last_entry->ip = (void *)ip;
        all->last_entry->node = all->last_node;
    }
    return all->last_node;
}

/* Another one is on top: one that was walked before, or one that has to be. */
__attribute__((noinline)) static uint32_t other_top(shadow *all, tk_frame *top) {
    if (__builtin_expect(code_went, 0)) {
        begin_epoch();
    }
    if (all->epoch != epoch) {
        all->epoch = epoch;
        all->count = 0;
    }
    int64_t index = top->stacktop == WALKED ? find(all, top) : -1;
    if (index >= 0) {
        remember(all, (uint32_t)index);
        return same_top(all, top);
    }
    all->last = NULL;
    uint32_t node = walk(all, top);
    all->walked_at = all->count > LONG_CHAIN ? now() : 0;
    if (all->count > 0 && (top->stacktop == RUNNING || top->stacktop == WALKED)) {
        top->stacktop = WALKED;
        remember(all, all->count - 1);
    }
    return node;
}

#ifdef TK_CHECK_STACKS
/* For the tests: what the short way says must be what the long way finds. */
static void check(const shadow *all, const tk_frame *top) {
    int64_t i = all->count;
    for (const tk_frame *frame = top; frame != NULL; frame = frame->previous) {
        if (--i < 0 || all->frames[i].frame != frame || all->frames[i].ip != tk_frame_ip((tk_frame *)frame)) {
            abort();
        }
    }
    if (i != 0) {
        abort();
    }
}
#else
#define check(all, top) ((void)0)
#endif

uint32_t tk_stack_node(PyThreadState *state) {
    tk_frame *top = tk_top(state);
    shadow *all = tk_mine.walk;
    if (__builtin_expect(top == NULL, 0) ||
        (__builtin_expect(all == NULL, 0) && (all = begin_thread()) == NULL)) {
        return 0;
    }
    uint32_t node;
    if (all->last == top && top->stacktop == WALKED) {
        node = same_top(all, top); /* its code and those of its callers cannot have gone: they run */
    } else {
        node = other_top(all, top);
    }
    check(all, top);
    return node;
}

uint32_t tk_stack_path(tk_frame *innermost) {
    static tk_frame **frames; /* with the GIL there is one user */
    static uint32_t room;
    uint32_t count = count_all(innermost), node = 0;
    if (count > room) {
        tk_frame **larger = realloc(frames, 2 * (size_t)count * sizeof *frames);
        if (larger == NULL) {
            return 0;
        }
        frames = larger;
        room = 2 * count;
    }
    if (code_went) {
        begin_epoch();
    }
    count = 0;
    for (tk_frame *frame = innermost; frame != NULL; frame = frame->previous) {
        frames[count++] = frame;
    }
    while (count > 0) {
        uint32_t code = 0;
        node = intern(node, frames[--count], &code);
    }
    return node;
}

void tk_stack_forget_walk(void) {
    shadow *all = tk_mine.walk;
    if (all != NULL) {
        all->count = 0;
        all->last = NULL;
    }
}

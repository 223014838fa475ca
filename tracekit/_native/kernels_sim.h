/* The simulator's fast machine: what its six files share. Public C API of Python only, and none of it but in
   kernels_sim_type.c: a machine runs without the GIL.

   kernels_sim_pymalloc.c   arenas, pools and blocks (tracekit/simulator/pymalloc.py)
   kernels_sim_collector.c  counts, thresholds, generations (tracekit/simulator/collector.py)
   kernels_sim_freelists.c  objects that wait to be used again (tracekit/simulator/freelists.py)
   kernels_sim_machine.c    the loop over events, live blocks, totals (tracekit/simulator/machine.py)
   kernels_sim_system.c     malloc, stacks of threads (tracekit/simulator/system.py, stack.py)
   kernels_sim_type.c       the machine as a Python object (tracekit/simulator/fast.py)

   The Python modules are the description and the oracle: every number that these files come to is theirs. */
#ifndef TRACEKIT_KERNELS_SIM_H
#define TRACEKIT_KERNELS_SIM_H

#include "kernels.h"

/* How an event went. STRANGE: numbers that no program makes; the machine is of no use any more then, nor when memory
   was short. */
typedef enum { TK_SIM_DONE, TK_SIM_LIMIT, TK_SIM_NO_MEMORY, TK_SIM_STRANGE } tk_sim_ending;

/* -- growing arrays -------------------------------------------------------------------------------------- */

typedef struct {
    int64_t *items;
    size_t count, room;
} tk_sim_list;

bool tk_sim_list_grow(tk_sim_list *list, size_t more);

static inline bool tk_sim_list_add(tk_sim_list *list, int64_t item) {
    if (list->count == list->room && !tk_sim_list_grow(list, 1)) {
        return false;
    }
    list->items[list->count++] = item;
    return true;
}

/* -- memory from the kernel ------------------------------------------------------------------------------ */

typedef struct {
    int64_t footprint_bytes, peak_footprint_bytes;
    int64_t limit; /* -1: none */
} tk_sim_memory;

/* Take so many bytes more (less, if below 0). False, with nothing changed: they do not fit. */
static inline bool tk_sim_obtain(tk_sim_memory *memory, int64_t bytes) {
    int64_t footprint = memory->footprint_bytes + bytes;
    if (memory->limit >= 0 && bytes > 0 && footprint > memory->limit) {
        return false;
    }
    memory->footprint_bytes = footprint;
    if (footprint > memory->peak_footprint_bytes) {
        memory->peak_footprint_bytes = footprint;
    }
    return true;
}

/* -- pymalloc -------------------------------------------------------------------------------------------- */

enum { TK_SIM_CLASSES = 512 };     /* most size classes: 512 bytes in steps of one */
#define TK_SIM_NO_BLOCK UINT32_MAX /* end of a list of free blocks */

typedef struct tk_sim_arena tk_sim_arena;
typedef struct tk_sim_pool tk_sim_pool;

/* struct pool_header, or the head of a usedpools list. */
struct tk_sim_pool {
    tk_sim_pool *nextpool, *prevpool; /* in a free pool: the next one of its arena */
    tk_sim_arena *arena;
    void *links; /* for a free block the next one: uint16_t, or uint32_t where pools are that large */
    uint32_t count, capacity;
    uint32_t freeblock; /* the one freed last */
    uint32_t fresh;     /* blocks from this one on were never handed out (nextoffset) */
    uint64_t place;     /* of its first block */
    uint32_t room;      /* of links */
    int16_t szidx;
    bool known; /* szidx and what follows from it are those of the last use */
};

/* struct arena_object */
struct tk_sim_arena {
    tk_sim_arena *nextarena, *prevarena;
    tk_sim_pool *freepools;
    uint32_t nfreepools, ntotalpools;
    uint32_t carved; /* pools from this one on were never used (pool_address) */
    uint32_t slot;   /* in `arenas` */
    int64_t number;  /* in order of allocation */
    int64_t span;    /* in `spans`, -1: older than the recording */
    tk_sim_pool pools[];
};

typedef struct {
    int64_t number, alloc_seq, free_seq;
} tk_sim_span;

typedef struct {
    int64_t arena_size, pool_size, pool_overhead, pools_per_arena;
    unsigned alignment_shift;
    uint32_t size_classes;
    uint32_t capacities[TK_SIM_CLASSES];
    bool wide;                             /* links are uint32_t */
    unsigned pool_bits, block_bits;        /* of a place: slot | pool | block */
    tk_sim_pool usedpools[TK_SIM_CLASSES]; /* heads */
    tk_sim_arena *usable_arenas;
    tk_sim_arena **nfp2lasta;
    tk_sim_arena **arenas; /* by slot, NULL: the slot is free */
    uint32_t slots, slots_room;
    tk_sim_list free_slots;
    int64_t next_number; /* ntimes_arena_allocated */
    const int64_t *later_ntotalpools; /* of the arenas that are obtained next; then it is pools_per_arena */
    int64_t later;
    int64_t narenas_currently_allocated, narenas_highwater, highwater_seq;
    int64_t recent_highwater; /* since the timeline's last point */
    int64_t now;              /* the event that is under way */
    tk_sim_span *spans;
    size_t spans_count, spans_room;
    tk_sim_memory *memory;
} tk_sim_pymalloc;

/* What there is at the start; see tracekit/simulator/older.py. */
typedef struct {
    int64_t arenas, pools, blocks; /* lengths of the columns */
    const int64_t *ntotalpools;
    const int64_t *pool_arena, *pool_number, *pool_szidx;
    const int64_t *address, *block_pool, *block_index;
    const int64_t *later_ntotalpools; /* must stay where it is */
    int64_t later;
} tk_sim_layout;

/* Sizes must be set. `places` of the layout's blocks are filled in. */
tk_sim_ending tk_sim_pymalloc_begin(tk_sim_pymalloc *self, const tk_sim_layout *layout, uint64_t *places);
void tk_sim_pymalloc_end(tk_sim_pymalloc *self);
/* pymalloc_alloc: a block of a size class. Its place is what it is freed by. */
tk_sim_ending tk_sim_pymalloc_new_pool(tk_sim_pymalloc *self, uint32_t szidx, uint64_t *place);
void tk_sim_pymalloc_insert_to_freepool(tk_sim_pymalloc *self, tk_sim_pool *pool);

static inline uint32_t tk_sim_link(const tk_sim_pymalloc *self, const tk_sim_pool *pool, uint32_t block) {
    if (self->wide) {
        return ((const uint32_t *)pool->links)[block];
    }
    uint16_t link = ((const uint16_t *)pool->links)[block];
    return link == UINT16_MAX ? TK_SIM_NO_BLOCK : link;
}

static inline void tk_sim_set_link(const tk_sim_pymalloc *self, tk_sim_pool *pool, uint32_t block, uint32_t to) {
    if (self->wide) {
        ((uint32_t *)pool->links)[block] = to;
    } else {
        ((uint16_t *)pool->links)[block] = (uint16_t)to;
    }
}

static inline tk_sim_pool *tk_sim_pool_of(const tk_sim_pymalloc *self, uint64_t place) {
    uint64_t pool = place >> self->block_bits;
    return &self->arenas[pool >> self->pool_bits]->pools[pool & (((uint64_t)1 << self->pool_bits) - 1)];
}

static inline tk_sim_ending tk_sim_pymalloc_allocate(tk_sim_pymalloc *self, uint32_t szidx, uint64_t *place) {
    tk_sim_pool *head = &self->usedpools[szidx], *pool = head->nextpool;
    if (__builtin_expect(pool == head, 0)) {
        return tk_sim_pymalloc_new_pool(self, szidx, place);
    }
    uint32_t block = pool->freeblock;
    if (block == TK_SIM_NO_BLOCK) {
        block = pool->fresh++; /* pymalloc_pool_extend */
    } else {
        pool->freeblock = tk_sim_link(self, pool, block);
    }
    if (++pool->count == pool->capacity) { /* full: it is the first of its list, unlink it */
        head->nextpool = pool->nextpool;
        pool->nextpool->prevpool = head;
    }
    *place = pool->place + block;
    return TK_SIM_DONE;
}

/* It was full and in no list, so it goes to the front of its class's. */
static inline void tk_sim_pymalloc_insert_to_usedpool(tk_sim_pymalloc *self, tk_sim_pool *pool) {
    tk_sim_pool *head = &self->usedpools[pool->szidx], *first = head->nextpool;
    pool->nextpool = first;
    pool->prevpool = head;
    first->prevpool = pool;
    head->nextpool = pool;
}

/* pymalloc_free */
static inline void tk_sim_pymalloc_free(tk_sim_pymalloc *self, uint64_t place) {
    tk_sim_pool *pool = tk_sim_pool_of(self, place);
    uint32_t block = (uint32_t)(place & (((uint64_t)1 << self->block_bits) - 1));
    tk_sim_set_link(self, pool, block, pool->freeblock);
    pool->freeblock = block;
    uint32_t count = pool->count--;
    if (__builtin_expect(count == pool->capacity, 0)) {
        tk_sim_pymalloc_insert_to_usedpool(self, pool);
    } else if (__builtin_expect(count == 1, 0)) {
        tk_sim_pymalloc_insert_to_freepool(self, pool);
    }
}

static inline int64_t tk_sim_block_bytes(const tk_sim_pymalloc *self, int32_t szidx) {
    return ((int64_t)szidx + 1) << self->alignment_shift;
}

/* -- the collector --------------------------------------------------------------------------------------- */

enum { TK_SIM_GENERATIONS = 3 };
enum { TK_SIM_RECORDED, TK_SIM_EARLY, TK_SIM_LATE, TK_SIM_LIKELY }; /* settings.Garbage */

typedef struct {
    int64_t seq, generation, examined, freed_blocks, freed_bytes, asked;
} tk_sim_collection;

/* A block that a recorded collection freed. `what`: its size * 2, plus 1 if its type is tracked. `which`: free list that
   its object goes to, -1: none. */
typedef struct {
    int64_t block;
    uint64_t what;
    int which;
} tk_sim_garbage;

typedef struct {
    tk_sim_garbage *items;
    size_t count, room;
} tk_sim_gone;

/* What may be in use for some time yet, from `ripe` on: blocks, and objects that the recording put into a free list, which
   have an `alloc_seq` of their own making and TK_SIM_HIDDEN for `what`. */
typedef struct {
    tk_sim_gone gone;
    size_t ripe;
} tk_sim_queue;

enum { TK_SIM_LAGS = 32 };
#define TK_SIM_HIDDEN UINT64_MAX

typedef struct {
    tk_sim_garbage garbage;
    int64_t next; /* -1: none */
} tk_sim_doomed;

typedef struct {
    /* Settings. */
    bool enabled, collects_at_checks, own_thresholds, freezes;
    int garbage;
    int64_t freeze_seq;
    /* The recording's own collections, `total` of them; see settings.Reference. */
    int64_t total;
    const int64_t *start_seq, *due_seq, *held_from, *generation, *correction, *recorded_thresholds;
    const uint8_t *asked, *off;
    const int64_t *set_seq, *set_thresholds; /* see settings.RecordedSettings, `settings` of them */
    const uint8_t *set_on;
    int64_t settings;
    const double *young_share, *full_share;
    const uint8_t *opaque;
    int64_t opaque_count;
    int64_t *first_middle, *last_full; /* of generation 1 or 2 behind it; of generation 2 before it */
    /* State. */
    int64_t count[TK_SIM_GENERATIONS], thresholds[TK_SIM_GENERATIONS];
    int64_t due_above; /* count 0 above this means to collect; INT64_MAX: it never does */
    int64_t long_lived_total, long_lived_pending, older_objects;
    int64_t next, next_due; /* recorded collections */
    int64_t next_setting;
    bool on; /* as the program set it */
    int64_t next_event; /* events after this one have something to be seen to before them */
    bool waits;
    int32_t waiting_at;
    int64_t young_from, middle_from, frozen_until;
    int64_t tracked[TK_SIM_GENERATIONS];
    tk_sim_gone unreachable[TK_SIM_GENERATIONS];
    int64_t lags[TK_SIM_LAGS]; /* events for which a block is in use, LIKELY */
    tk_sim_queue in_use[TK_SIM_LAGS];
    uint64_t turn;
    int64_t *doomed_first, *doomed_last; /* by recorded collection: number in `doomed`, -1: none */
    tk_sim_doomed *doomed;
    int64_t doomed_count, doomed_room, doomed_unused;
    tk_sim_collection *collections;
    size_t collections_count, collections_room;
} tk_sim_collector;

void tk_sim_collector_end(tk_sim_collector *self);

static inline int tk_sim_generation_of(const tk_sim_collector *self, int64_t alloc_seq) {
    return alloc_seq >= self->young_from ? 0 : alloc_seq >= self->middle_from ? 1 : 2;
}

/* Whether a recorded collection had been due since then, and was still waiting. */
static inline bool tk_sim_is_held(const tk_sim_collector *self, int64_t seq) {
    return self->next < self->total && self->held_from[self->next] <= seq;
}

/* -- free lists ------------------------------------------------------------------------------------------ */

enum { TK_SIM_LISTS = 24 }; /* dict, list, tuples of 1 to 20 items, float, keys of a dict: the last two do not count */
enum { TK_SIM_DICTS = 0, TK_SIM_KEYS = TK_SIM_LISTS - 1 };

typedef struct {
    bool known; /* and the collections of the model are not the recorded ones */
    const int64_t *stop_seq;
    const int16_t *waiting, *drift, *parked; /* see RecordedLists; TK_SIM_LISTS for each recorded collection */
    int slot;                      /* so many of the interval that is under way are over */
    int64_t numfree[TK_SIM_LISTS], recorded[TK_SIM_LISTS]; /* the latter: of the recording */
    int64_t owed[TK_SIM_LISTS];      /* blocks that the model has less than the recording */
    tk_sim_list spare[TK_SIM_LISTS]; /* places of those that it has beyond it */
    int64_t hidden[TK_SIM_GENERATIONS][TK_SIM_LISTS]; /* unreachable objects that the recording put into lists */
} tk_sim_lists;

static inline int64_t tk_sim_object_bytes(int which) {
    return which == 0 ? 64 : which == 1 ? 56 : which == 22 ? 24 : which == 23 ? 120 : 32 + 8 * which;
}

static inline bool tk_sim_lists_take(tk_sim_lists *lists, int which) {
    bool waited = lists->numfree[which] > 0;
    lists->numfree[which] -= waited;
    return waited;
}

static inline bool tk_sim_lists_put(tk_sim_lists *lists, int which) {
    /* PyDict_MAXFREELIST, PyList_MAXFREELIST, PyTuple_MAXFREELIST, PyFloat_MAXFREELIST */
    int most = which < 2 || which == 23 ? 80 : which == 22 ? 100 : 2000;
    bool waits = lists->numfree[which] < most;
    lists->numfree[which] += waits;
    return waits;
}

/* -- the machine ----------------------------------------------------------------------------------------- */

enum { TK_SIM_DOMAINS = 256, TK_SIM_YOUNG = 1 << 16, TK_SIM_BLOOM = 1 << 12 };
#define TK_SIM_MOST_BYTES ((int64_t)1 << 62) /* ever allocated: sums must not overflow */

/* The columns of tracekit/store/steps.py. */
typedef struct {
    const int64_t *seq, *time_ns;
    const uint8_t *is_free;
    const int64_t *alloc_seq, *size;
    const uint8_t *domain;
    const int32_t *stack_id;
    const uint8_t *cause;
    const int32_t *thread_id;
    const uint8_t *gc_tracked;
    const int64_t *realloc_of;
    const int32_t *garbage;
    const int64_t *address;
    const uint8_t *free_list;
} tk_sim_steps;

/* Where blocks of pymalloc are that died old, or did not yet. Those of malloc are in no table: a free says the size of
   its block. */
typedef struct {
    uint64_t key; /* alloc_seq + 1; 0: the cell is empty */
    uint64_t place;
} tk_sim_cell;

#define TK_SIM_MALLOC UINT64_MAX /* place of a block that malloc serves */

typedef struct {
    bool is_there, is_tracked;
    int64_t block, size;
    uint64_t place;
} tk_sim_parked;

typedef struct {
    int64_t seq, time_ns, live_bytes, peak_live_bytes, arenas, peak_arenas, footprint_bytes;
} tk_sim_point;

typedef struct {
    int32_t thread_id;
    bool used;
    int64_t bytes; /* of its last call path */
} tk_sim_thread;

typedef struct {
    tk_sim_memory memory;
    tk_sim_pymalloc pymalloc;
    tk_sim_collector collector;
    tk_sim_lists lists;
    int64_t page_size, heap_bytes, heap_used_bytes, mapped_bytes;

    /* How rows are understood; see tracekit/simulator/rows.py. */
    uint64_t small_threshold, small_domains; /* the latter by bits */
    uint8_t by_realloc, by_gc, of_unknown_cause; /* Cause */
    const int64_t *observed;                 /* rising */
    int64_t observed_count;
    uint8_t maybe_observed[TK_SIM_BLOOM]; /* by the last bits of alloc_seq */

    uint64_t *young;    /* by the last bits of alloc_seq: place + 1, 0: no block of pymalloc */
    int64_t young_from; /* the first of TK_SIM_YOUNG numbers that have their blocks there, the others in cells */
    tk_sim_cell *cells; /* open addressing, linear probing */
    uint64_t mask, cells_used;
    unsigned shift;
    tk_sim_parked parked[TK_SIM_DOMAINS]; /* a block that a realloc let go of, until its new one comes */
    const int64_t *older;                 /* addresses of blocks older than the recording, rising */
    uint64_t *older_places;               /* MALLOC: it was freed */
    int64_t older_count;

    int64_t live_bytes, live_blocks, small_bytes, older_bytes, last_seq;
    int64_t allocated_bytes, freed_bytes; /* ever */
    int64_t peak_live_bytes, peak_seq, peak_small_bytes, peak_older_bytes, peak_arenas;
    int64_t unknown_causes;

    const int64_t *path_bytes;
    int64_t paths;
    tk_sim_thread *threads; /* open addressing */
    uint32_t threads_mask, threads_count;
    tk_sim_thread *thread; /* of the last allocation */
    int64_t stack_bytes, peak_stack_bytes, peak_stack_seq;

    int64_t sample_every, span_from; /* the span that is under way begins with this event */
    int64_t span_peak_live_bytes, span_seq, span_time_ns;
    bool span_has_events;
    tk_sim_point *points;
    size_t points_count, points_room;

    bool keep_places, ran_out; /* a row did not fit */
    tk_sim_list places;
} tk_sim;

/* Settings of all parts must be set. */
tk_sim_ending tk_sim_begin(tk_sim *sim, const tk_sim_layout *layout);
void tk_sim_end(tk_sim *sim);
/* Take rows. LIMIT: row `*at` did not fit. */
tk_sim_ending tk_sim_run(tk_sim *sim, const tk_sim_steps *steps, int64_t *at, int64_t count);
/* No more rows come. False: memory is short. */
bool tk_sim_finish(tk_sim *sim);

/* kernels_sim_system.c, for the machine. False: over the memory limit, and nothing was changed. */
bool tk_sim_malloc_allocate(tk_sim *sim, int64_t size);
bool tk_sim_malloc_reallocate(tk_sim *sim, int64_t old_size, int64_t size);
void tk_sim_malloc_free(tk_sim *sim, int64_t size);
/* A thread allocated on a call path. */
tk_sim_ending tk_sim_stack_reached(tk_sim *sim, int64_t seq, int32_t thread_id, int32_t stack_id);

/* kernels_sim_machine.c, for the others. Free a block: how many bytes, -1: its object waits in a free list. */
tk_sim_ending tk_sim_release(tk_sim *sim, tk_sim_garbage gone, int64_t *freed);
tk_sim_ending tk_sim_new_block(tk_sim *sim, int64_t size, uint64_t *place); /* one that is live */
void tk_sim_give_back(tk_sim *sim, uint64_t place, int64_t size);
void tk_sim_may_be_the_peak(tk_sim *sim, int64_t seq);

/* kernels_sim_collector.c, for the machine. Settings, recording and counts must be set; false: memory is short. */
bool tk_sim_collector_begin(tk_sim *sim);
tk_sim_ending tk_sim_collector_before(tk_sim *sim, int64_t seq);
tk_sim_ending tk_sim_collect_generations(tk_sim *sim, int64_t seq);
tk_sim_ending tk_sim_collector_due(tk_sim *sim, int64_t seq, int32_t stack_id);
bool tk_sim_collector_in_use(tk_sim_collector *self, tk_sim_garbage garbage);
tk_sim_ending tk_sim_collector_doom(tk_sim_collector *self, tk_sim_garbage garbage, int64_t collection);

/* kernels_sim_freelists.c. Recorded collection `number` - 1 is over. */
void tk_sim_lists_interval(tk_sim *sim, int64_t number);
/* It freed so many tables of keys that waited, of which the model has what it did not free itself. */
tk_sim_ending tk_sim_lists_kept(tk_sim *sim, int64_t keys);
/* So many blocks less than the recording has; which ones nobody knows, so they keep their
   places. */
void tk_sim_lists_owe(tk_sim *sim, int which, int blocks);
/* For the collector. What happened unseen before an event, or all of it up to the next
   recorded collection. */
tk_sim_ending tk_sim_lists_before(tk_sim *sim, int64_t seq, bool all);
int64_t tk_sim_lists_next(const tk_sim *sim); /* events after this one have something of it before them */
/* invoke_gc_callback: the recorder is told with a dict, which then waits in a free list. Whether it had to be
   allocated is added to `count`. */
tk_sim_ending tk_sim_lists_tell(tk_sim *sim, int64_t *count);
void tk_sim_lists_collected(tk_sim *sim, int generation);
/* From now on it is unreachable what recorded collection `number` put into free lists. */
void tk_sim_lists_condemn(tk_sim *sim, int64_t number);
void tk_sim_lists_freeze(tk_sim *sim);
void tk_sim_lists_end(tk_sim *sim);

#endif

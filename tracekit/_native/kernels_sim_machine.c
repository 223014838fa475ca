/* The machine: allocations and frees in their order, driven through pymalloc, malloc and the collector.
   To be read beside tracekit/simulator/machine.py. */
#include "kernels_sim_blocks.h"

#include <stdlib.h>

enum { LARGE = -1, OLDER = -1, NONE = -1, AHEAD = 12 }; /* kind, alloc_seq, realloc_of, rows that are looked ahead */

/* -- live blocks ----------------------------------------------------------------------------------------- */

/* A block is not alive any more; where it was. */
static inline uint64_t forget(tk_sim *sim, int64_t block, int64_t size) {
    uint64_t place = take_block(sim, block);
    sim->live_blocks--;
    sim->live_bytes -= size;
    sim->freed_bytes += size;
    sim->small_bytes -= place == TK_SIM_MALLOC ? 0 : size;
    return place;
}

void tk_sim_give_back(tk_sim *sim, uint64_t place, int64_t size) {
    if (place == TK_SIM_MALLOC) {
        tk_sim_malloc_free(sim, size);
    } else {
        tk_sim_pymalloc_free(&sim->pymalloc, place);
    }
}

/* PyObject_GC_Del */
static inline void collector_freed(tk_sim_collector *collector, int64_t block, bool tracked, bool counts) {
    if (tracked && block >= collector->frozen_until) {
        collector->tracked[tk_sim_generation_of(collector, block)]--;
    }
    collector->count[0] -= counts && collector->count[0] > 0;
}

/* Its object waits in a free list. */
static inline bool keep(tk_sim *sim, int64_t block, int which) {
    return tk_sim_list_add(&sim->lists.spare[which], (int64_t)take_block(sim, block));
}

tk_sim_ending tk_sim_release(tk_sim *sim, tk_sim_garbage gone, int64_t *freed) {
    int64_t size = (int64_t)(gone.what >> 1);
    *freed = -1;
    if (gone.which >= 0 && tk_sim_lists_put(&sim->lists, gone.which)) {
        if (!keep(sim, gone.block, gone.which)) {
            return TK_SIM_NO_MEMORY;
        }
    } else if (size > TK_SIM_MOST_BYTES - sim->freed_bytes) {
        return TK_SIM_STRANGE;
    } else {
        tk_sim_give_back(sim, forget(sim, gone.block, size), size);
        *freed = size;
    }
    collector_freed(&sim->collector, gone.block, gone.what & 1, false);
    return TK_SIM_DONE;
}

static inline int64_t held_bytes(const tk_sim *sim, uint64_t place) {
    return tk_sim_block_bytes(&sim->pymalloc, tk_sim_pool_of(&sim->pymalloc, place)->szidx);
}

static void free_older(tk_sim *sim, int64_t address) {
    int64_t low = 0, high = sim->older_count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sim->older[middle] < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < sim->older_count && sim->older[low] == address && sim->older_places[low] != TK_SIM_MALLOC) {
        sim->older_bytes -= held_bytes(sim, sim->older_places[low]);
        tk_sim_pymalloc_free(&sim->pymalloc, sim->older_places[low]);
        sim->older_places[low] = TK_SIM_MALLOC;
    }
}

/* -- the timeline ---------------------------------------------------------------------------------------- */

/* A point for the span that is over, if there was an event in it. */
static bool end_span(tk_sim *sim) {
    if (!sim->span_has_events) {
        return true;
    }
    if (sim->points_count == sim->points_room) {
        size_t room = sim->points_room < 64 ? 64 : sim->points_room * 2;
        tk_sim_point *points = realloc(sim->points, room * sizeof *points);
        if (points == NULL) {
            return false;
        }
        sim->points = points;
        sim->points_room = room;
    }
    sim->points[sim->points_count++] = (tk_sim_point){
        sim->span_seq,
        sim->span_time_ns,
        sim->live_bytes,
        sim->span_peak_live_bytes,
        sim->pymalloc.narenas_currently_allocated,
        sim->pymalloc.recent_highwater,
        sim->memory.footprint_bytes,
    };
    return true;
}

static bool begin_span(tk_sim *sim, int64_t seq) {
    if (!end_span(sim)) {
        return false;
    }
    sim->span_has_events = false;
    sim->span_from = seq - seq % sim->sample_every;
    sim->span_peak_live_bytes = sim->live_bytes;
    sim->pymalloc.recent_highwater = sim->pymalloc.narenas_currently_allocated;
    return true;
}

/* -- events ---------------------------------------------------------------------------------------------- */

/* _PyObject_Malloc */
static inline tk_sim_ending allocate(tk_sim *sim, int kind, int64_t size, uint64_t *place) {
    if (kind >= 0) {
        return (uint32_t)kind < sim->pymalloc.size_classes
                   ? tk_sim_pymalloc_allocate(&sim->pymalloc, (uint32_t)kind, place)
                   : TK_SIM_STRANGE;
    }
    *place = TK_SIM_MALLOC;
    return tk_sim_malloc_allocate(sim, size) ? TK_SIM_DONE : TK_SIM_LIMIT;
}

/* pymalloc_realloc: the block stays in place, or a new one is obtained and then the old one freed. */
static tk_sim_ending reallocate(tk_sim *sim, const tk_sim_parked *old, int kind, int64_t size, uint64_t *place) {
    *place = old->place;
    if (old->place == TK_SIM_MALLOC) { /* what malloc manages stays with malloc, however small it gets */
        return tk_sim_malloc_reallocate(sim, old->size, size) ? TK_SIM_DONE : TK_SIM_LIMIT;
    }
    int64_t held = held_bytes(sim, old->place);
    if (size <= held && 4 * size > 3 * held) {
        return TK_SIM_DONE;
    }
    tk_sim_ending end = allocate(sim, kind, size, place);
    if (end == TK_SIM_DONE) {
        tk_sim_pymalloc_free(&sim->pymalloc, old->place);
    }
    return end;
}

/* The place of a block as the readable machine counts it. */
static int64_t plain_place(const tk_sim *sim, uint64_t place) {
    if (place == TK_SIM_MALLOC) {
        return -1;
    }
    const tk_sim_pymalloc *pymalloc = &sim->pymalloc;
    const tk_sim_pool *pool = tk_sim_pool_of(pymalloc, place);
    int64_t block = (int64_t)(place & (((uint64_t)1 << pymalloc->block_bits) - 1));
    return pool->arena->number * pymalloc->arena_size + (pool - pool->arena->pools) * pymalloc->pool_size +
           pymalloc->pool_overhead + block * tk_sim_block_bytes(pymalloc, pool->szidx);
}

void tk_sim_may_be_the_peak(tk_sim *sim, int64_t seq) {
    if (sim->live_bytes > sim->span_peak_live_bytes) {
        sim->span_peak_live_bytes = sim->live_bytes;
    }
    if (sim->live_bytes > sim->peak_live_bytes) {
        sim->peak_live_bytes = sim->live_bytes;
        sim->peak_seq = seq;
        sim->peak_small_bytes = sim->small_bytes;
        sim->peak_older_bytes = sim->older_bytes;
        sim->peak_arenas = sim->pymalloc.narenas_currently_allocated;
    }
}

static inline void more_is_live(tk_sim *sim, int64_t seq, int64_t size) {
    sim->live_blocks++;
    sim->live_bytes += size;
    tk_sim_may_be_the_peak(sim, seq);
}

static inline int kind_of(const tk_sim *sim, int64_t size) {
    /* pymalloc_alloc: no requests of 0 bytes, none above the threshold. */
    return (uint64_t)size - 1 < sim->small_threshold ? (int)((size - 1) >> sim->pymalloc.alignment_shift) : LARGE;
}

tk_sim_ending tk_sim_new_block(tk_sim *sim, int64_t size, uint64_t *place) {
    tk_sim_ending end = allocate(sim, kind_of(sim, size), size, place);
    if (end == TK_SIM_DONE) {
        sim->small_bytes += *place == TK_SIM_MALLOC ? 0 : size;
        more_is_live(sim, sim->pymalloc.now, size);
    }
    return end;
}

static bool is_observed(const tk_sim *sim, int64_t alloc_seq) {
    int64_t low = 0, high = sim->observed_count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sim->observed[middle] < alloc_seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < sim->observed_count && sim->observed[low] == alloc_seq;
}

/* Whether a row changes count 0 of the collector. */
static inline bool does_count(const tk_sim *sim, const tk_sim_steps *steps, int64_t row, bool otherwise) {
    int64_t alloc_seq = steps->alloc_seq[row];
    return steps->gc_tracked[row] && otherwise &&
           (__builtin_expect(!sim->maybe_observed[alloc_seq & (TK_SIM_BLOOM - 1)], 1) || !is_observed(sim, alloc_seq));
}

/* The free list that the object of a row comes from, or goes to; -1: none. A realloc goes past them. */
static inline int list_of(const tk_sim *sim, const tk_sim_steps *steps, int64_t row, bool goes_past) {
    int which = (int)steps->free_list[row] - 1;
    return sim->lists.known && !goes_past && which < TK_SIM_LISTS ? which : -1;
}

/* The recording allocated a block where an object waits in a free list of the model. */
static tk_sim_ending reuse(tk_sim *sim, int which, int kind, int64_t size, uint64_t *place) {
    tk_sim_list *spare = &sim->lists.spare[which];
    if (spare->count > 0) {
        *place = (uint64_t)spare->items[--spare->count];
        return TK_SIM_DONE;
    }
    /* One that the recording has not given back yet: so the model has one less. */
    tk_sim_ending end = allocate(sim, kind, size, place);
    if (end == TK_SIM_DONE) {
        tk_sim_lists_owe(sim, which, 1);
        sim->live_blocks++;
        sim->live_bytes += size;
        sim->small_bytes += *place == TK_SIM_MALLOC ? 0 : size;
    }
    return end;
}

static inline tk_sim_ending take_allocation(tk_sim *sim, const tk_sim_steps *steps, int64_t row) {
    tk_sim_collector *collector = &sim->collector;
    int64_t seq = steps->seq[row], size = steps->size[row], realloc_of = steps->realloc_of[row];
    int32_t stack_id = steps->stack_id[row], garbage = steps->garbage[row];
    uint8_t domain = steps->domain[row];
    if (steps->alloc_seq[row] != seq || size > TK_SIM_MOST_BYTES - sim->allocated_bytes) {
        return TK_SIM_STRANGE;
    }
    tk_sim_ending end = TK_SIM_DONE;
    if (__builtin_expect(collector->waits, 0) && collector->waiting_at != stack_id &&
        !tk_sim_is_held(collector, seq - 1)) {
        end = tk_sim_collect_generations(sim, seq);
        if (end != TK_SIM_DONE) {
            return end;
        }
    }
    int kind = domain < 64 && sim->small_domains >> domain & 1 ? kind_of(sim, size) : LARGE;
    int which = list_of(sim, steps, row, realloc_of != NONE);
    bool reused = which >= 0 && sim->lists.numfree[which] > sim->lists.recorded[which] &&
                  tk_sim_lists_take(&sim->lists, which);
    uint64_t place = TK_SIM_MALLOC;
    tk_sim_parked *parked = &sim->parked[domain];
    bool counted = reused; /* or when its first block was allocated */
    if (__builtin_expect(reused, 0)) {
        end = reuse(sim, which, kind, size, &place);
    } else if (__builtin_expect(parked->is_there && parked->block == realloc_of, 0)) {
        counted = parked->is_tracked;
        end = reallocate(sim, parked, kind, size, &place);
        parked->is_there = end != TK_SIM_DONE;
    } else {
        end = allocate(sim, kind, size, &place);
    }
    if (__builtin_expect(end != TK_SIM_DONE, 0)) {
        return end;
    }
    sim->allocated_bytes += size;
    if (place != TK_SIM_MALLOC) {
        if (!add_block(sim, seq, place)) {
            return TK_SIM_NO_MEMORY;
        }
        sim->small_bytes += reused ? 0 : size;
    }
    if (sim->keep_places && !tk_sim_list_add(&sim->places, plain_place(sim, place))) {
        return TK_SIM_NO_MEMORY;
    }
    if (__builtin_expect(!reused, 1)) {
        more_is_live(sim, seq, size);
    }
    end = tk_sim_stack_reached(sim, seq, steps->thread_id[row], stack_id);
    if (end == TK_SIM_DONE && does_count(sim, steps, row, !counted) && ++collector->count[0] > collector->due_above) {
        end = tk_sim_collector_due(sim, seq, stack_id);
    }
    bool tracked = steps->gc_tracked[row];
    collector->tracked[0] += tracked;
    if (end == TK_SIM_DONE && garbage >= 0 && collector->garbage != TK_SIM_RECORDED) {
        end = tk_sim_collector_doom(collector, (tk_sim_garbage){seq, (uint64_t)size << 1 | tracked, which}, garbage);
    }
    return end;
}

/* Whether a block that the recording freed is one that waits in a free list of the model. */
static bool waits(tk_sim *sim, int which, bool collected) {
    if (!collected) {
        return sim->lists.numfree[which] < sim->lists.recorded[which] && tk_sim_lists_put(&sim->lists, which);
    }
    /* A full collection freed what waited. */
    if (sim->lists.owed[which] == 0) {
        return true;
    }
    tk_sim_lists_owe(sim, which, -1);
    return false;
}

static inline tk_sim_ending take_free(tk_sim *sim, const tk_sim_steps *steps, int64_t row) {
    int64_t block = steps->alloc_seq[row], size = steps->size[row];
    uint8_t cause = steps->cause[row];
    bool by_collection = steps->garbage[row] >= 0, kept = false;
    sim->unknown_causes += cause == sim->of_unknown_cause;
    if (block == OLDER) {
        free_older(sim, steps->address[row]);
    } else if (by_collection && sim->collector.garbage != TK_SIM_RECORDED) {
        return TK_SIM_DONE; /* the collections of the model decide */
    } else if (size > TK_SIM_MOST_BYTES - sim->freed_bytes) {
        return TK_SIM_STRANGE;
    } else if (cause == sim->by_realloc) {
        tk_sim_parked *parked = &sim->parked[steps->domain[row]];
        if (parked->is_there) { /* its new block was not recorded */
            tk_sim_give_back(sim, parked->place, parked->size);
        }
        *parked = (tk_sim_parked){true, steps->gc_tracked[row], block, size, forget(sim, block, size)};
    } else {
        int which = list_of(sim, steps, row, false);
        kept = which >= 0 && waits(sim, which, cause == sim->by_gc);
        if (kept && !keep(sim, block, which)) {
            return TK_SIM_NO_MEMORY;
        }
        if (!kept) {
            tk_sim_give_back(sim, forget(sim, block, size), size);
        }
    }
    bool counts = !kept && does_count(sim, steps, row, cause != sim->by_realloc && cause != sim->by_gc);
    collector_freed(&sim->collector, block, steps->gc_tracked[row], counts);
    return TK_SIM_DONE;
}

tk_sim_ending tk_sim_run(tk_sim *sim, const tk_sim_steps *steps, int64_t *at, int64_t count) {
    for (int64_t row = 0; row < count; row++) {
        int64_t seq = steps->seq[row], ahead = row + AHEAD < count ? steps->alloc_seq[row + AHEAD] : -1;
        if (ahead >= 0 && ahead < sim->young_from) {
            __builtin_prefetch(&sim->cells[home_of(sim, (uint64_t)ahead + 1)]);
        }
        *at = row;
        if (seq <= sim->last_seq || seq > TK_SIM_MOST_BYTES || steps->size[row] < 0) {
            return TK_SIM_STRANGE;
        }
        sim->last_seq = seq;
        if (__builtin_expect(seq - sim->span_from >= sim->sample_every, 0) && !begin_span(sim, seq)) {
            return TK_SIM_NO_MEMORY;
        }
        sim->pymalloc.now = seq;
        tk_sim_ending end = TK_SIM_DONE;
        if (__builtin_expect(seq > sim->collector.next_event, 0)) {
            end = tk_sim_collector_before(sim, seq);
        }
        if (end == TK_SIM_DONE) {
            end = steps->is_free[row] ? take_free(sim, steps, row) : take_allocation(sim, steps, row);
        }
        if (__builtin_expect(end != TK_SIM_DONE, 0)) {
            sim->ran_out = end == TK_SIM_LIMIT;
            return end;
        }
        sim->span_seq = seq;
        sim->span_time_ns = steps->time_ns[row];
        sim->span_has_events = true;
    }
    return TK_SIM_DONE;
}

/* -- beginning and end ----------------------------------------------------------------------------------- */

tk_sim_ending tk_sim_begin(tk_sim *sim, const tk_sim_layout *layout) {
    sim->memory.footprint_bytes += layout->arenas * sim->pymalloc.arena_size;
    sim->memory.peak_footprint_bytes = sim->memory.footprint_bytes;
    sim->last_seq = sim->peak_seq = sim->peak_stack_seq = -1;
    sim->older = layout->address;
    sim->older_count = layout->blocks;
    sim->older_places = malloc((size_t)(layout->blocks + 1) * sizeof *sim->older_places);
    sim->young = calloc(TK_SIM_YOUNG, sizeof *sim->young);
    for (int64_t at = 0; at < sim->observed_count; at++) {
        sim->maybe_observed[sim->observed[at] & (TK_SIM_BLOOM - 1)] = 1;
    }
    if (sim->older_places == NULL || sim->young == NULL || !begin_cells(sim, 12) || !tk_sim_collector_begin(sim)) {
        return TK_SIM_NO_MEMORY;
    }
    tk_sim_ending end = tk_sim_pymalloc_begin(&sim->pymalloc, layout, sim->older_places);
    for (int64_t at = 0; end == TK_SIM_DONE && at < layout->blocks; at++) {
        sim->older_bytes += held_bytes(sim, sim->older_places[at]);
    }
    sim->span_from = -sim->sample_every; /* before any event */
    return end;
}

bool tk_sim_finish(tk_sim *sim) {
    /* Collections behind the last event. What does not fit of what happens unseen no event is in want of. */
    tk_sim_ending end = sim->ran_out ? TK_SIM_DONE : tk_sim_collector_before(sim, TK_SIM_MOST_BYTES);
    bool fine = end != TK_SIM_NO_MEMORY && end != TK_SIM_STRANGE && end_span(sim);
    sim->span_has_events = false;
    return fine;
}

void tk_sim_end(tk_sim *sim) {
    tk_sim_pymalloc_end(&sim->pymalloc);
    tk_sim_collector_end(&sim->collector);
    tk_sim_lists_end(sim);
    free(sim->young);
    free(sim->cells);
    free(sim->older_places);
    free(sim->threads);
    free(sim->points);
    free(sim->places.items);
}

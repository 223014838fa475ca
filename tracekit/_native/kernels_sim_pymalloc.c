/* pymalloc as Objects/obmalloc.c has it, block by block; the paths of every day are inline in kernels_sim.h.
   To be read beside tracekit/simulator/pymalloc.py. */
#include "kernels_sim.h"

#include <stdlib.h>
#include <string.h>

bool tk_sim_list_grow(tk_sim_list *list, size_t more) {
    size_t room = list->room < 16 ? 16 : list->room + list->room / 2;
    room = room < list->count + more ? list->count + more : room;
    int64_t *items = room > SIZE_MAX / sizeof *items ? NULL : realloc(list->items, room * sizeof *items);
    if (items == NULL) {
        return false;
    }
    list->items = items;
    list->room = room;
    return true;
}

/* -- arenas ---------------------------------------------------------------------------------------------- */

static void unlink_arena(tk_sim_pymalloc *self, tk_sim_arena *arena) {
    tk_sim_arena *before = arena->prevarena, *after = arena->nextarena;
    if (before == NULL) {
        self->usable_arenas = after;
    } else {
        before->nextarena = after;
    }
    if (after != NULL) {
        after->prevarena = before;
    }
    arena->prevarena = arena->nextarena = NULL;
}

/* Behind `before`, or at the head of the list for NULL. */
static void link_arena(tk_sim_pymalloc *self, tk_sim_arena *arena, tk_sim_arena *before) {
    tk_sim_arena *after = before == NULL ? self->usable_arenas : before->nextarena;
    arena->prevarena = before;
    arena->nextarena = after;
    if (before == NULL) {
        self->usable_arenas = arena;
    } else {
        before->nextarena = arena;
    }
    if (after != NULL) {
        after->prevarena = arena;
    }
}

/* An arena object in a slot of its own, with all pools free. NULL: memory is short. */
static tk_sim_arena *add_arena(tk_sim_pymalloc *self, uint32_t pools) {
    tk_sim_arena *arena = calloc(1, sizeof *arena + pools * sizeof(tk_sim_pool));
    if (arena == NULL) {
        return NULL;
    }
    if (self->free_slots.count > 0) {
        arena->slot = (uint32_t)self->free_slots.items[--self->free_slots.count];
    } else {
        if (self->slots == self->slots_room) {
            uint32_t room = self->slots_room < 8 ? 8 : self->slots_room * 2;
            bool too_many = room > 1u << 24; /* places must not need more bits than they have */
            tk_sim_arena **arenas = too_many ? NULL : realloc(self->arenas, room * sizeof *arenas);
            if (arenas == NULL) {
                free(arena);
                return NULL;
            }
            self->arenas = arenas;
            self->slots_room = room;
        }
        arena->slot = self->slots++;
    }
    self->arenas[arena->slot] = arena;
    arena->nfreepools = arena->ntotalpools = pools;
    arena->number = self->next_number++;
    for (uint32_t pool = 0; pool < pools; pool++) {
        arena->pools[pool].arena = arena;
        arena->pools[pool].place = ((uint64_t)arena->slot << self->pool_bits | pool) << self->block_bits;
    }
    arena->span = -1;
    self->narenas_currently_allocated++;
    return arena;
}

static void drop_arena(tk_sim_pymalloc *self, tk_sim_arena *arena) {
    for (uint32_t pool = 0; pool < arena->ntotalpools; pool++) {
        free(arena->pools[pool].links);
    }
    self->arenas[arena->slot] = NULL;
    free(arena);
}

static bool note_span(tk_sim_pymalloc *self, tk_sim_arena *arena) {
    if (self->spans_count == self->spans_room) {
        size_t room = self->spans_room < 8 ? 8 : self->spans_room * 2;
        tk_sim_span *spans = realloc(self->spans, room * sizeof *spans);
        if (spans == NULL) {
            return false;
        }
        self->spans = spans;
        self->spans_room = room;
    }
    arena->span = (int64_t)self->spans_count;
    self->spans[self->spans_count++] = (tk_sim_span){arena->number, self->now, -1};
    return true;
}

static tk_sim_ending new_arena(tk_sim_pymalloc *self) {
    if (!tk_sim_obtain(self->memory, self->arena_size)) {
        return TK_SIM_LIMIT;
    }
    int64_t pools = self->pools_per_arena;
    if (self->later > 0) {
        self->later--;
        pools = *self->later_ntotalpools++;
    }
    tk_sim_arena *arena = add_arena(self, (uint32_t)pools);
    if (arena == NULL || !note_span(self, arena)) {
        return TK_SIM_NO_MEMORY;
    }
    if (self->narenas_currently_allocated > self->recent_highwater) {
        self->recent_highwater = self->narenas_currently_allocated;
    }
    if (self->narenas_currently_allocated > self->narenas_highwater) {
        self->narenas_highwater = self->narenas_currently_allocated;
        self->highwater_seq = self->now;
    }
    self->usable_arenas = arena;
    self->nfp2lasta[arena->nfreepools] = arena;
    return TK_SIM_DONE;
}

/* -- pools ----------------------------------------------------------------------------------------------- */

/* The header of a pool for blocks of a size class, of which none is in use. */
static bool init_pool(tk_sim_pymalloc *self, tk_sim_pool *pool, uint32_t szidx) {
    if (pool->known && pool->szidx == (int16_t)szidx) {
        return true; /* its list of free blocks is that of its last use */
    }
    uint32_t capacity = self->capacities[szidx];
    if (pool->room < capacity) {
        free(pool->links);
        pool->room = 0;
        pool->links = malloc(capacity * (self->wide ? sizeof(uint32_t) : sizeof(uint16_t)));
        if (pool->links == NULL) {
            return false;
        }
        pool->room = capacity;
    }
    pool->known = true;
    pool->szidx = (int16_t)szidx;
    pool->capacity = capacity;
    pool->fresh = 0;
    pool->freeblock = TK_SIM_NO_BLOCK;
    return true;
}

tk_sim_ending tk_sim_pymalloc_new_pool(tk_sim_pymalloc *self, uint32_t szidx, uint64_t *place) {
    if (self->usable_arenas == NULL) {
        tk_sim_ending end = new_arena(self);
        if (end != TK_SIM_DONE) {
            return end;
        }
    }
    tk_sim_arena *arena = self->usable_arenas;
    tk_sim_pool *pool = arena->freepools;
    if (!init_pool(self, pool != NULL ? pool : &arena->pools[arena->carved], szidx)) {
        return TK_SIM_NO_MEMORY;
    }
    if (pool != NULL) {
        arena->freepools = pool->nextpool;
    } else {
        pool = &arena->pools[arena->carved++];
    }
    /* This arena had the smallest nfreepools already, so the list stays sorted. */
    uint32_t free = arena->nfreepools;
    if (self->nfp2lasta[free] == arena) {
        self->nfp2lasta[free] = NULL;
    }
    if (free > 1) {
        self->nfp2lasta[free - 1] = arena;
    }
    arena->nfreepools = free - 1;
    if (free == 1) { /* wholly allocated */
        unlink_arena(self, arena);
    }
    /* Frontlink to used pools; the list was empty. */
    tk_sim_pool *head = &self->usedpools[szidx];
    pool->count = 0;
    pool->nextpool = pool->prevpool = head;
    head->nextpool = head->prevpool = pool;
    return tk_sim_pymalloc_allocate(self, szidx, place);
}

void tk_sim_pymalloc_insert_to_freepool(tk_sim_pymalloc *self, tk_sim_pool *pool) {
    pool->nextpool->prevpool = pool->prevpool;
    pool->prevpool->nextpool = pool->nextpool;
    tk_sim_arena *arena = pool->arena;
    pool->nextpool = arena->freepools;
    arena->freepools = pool;
    uint32_t free = arena->nfreepools;
    tk_sim_arena *last = self->nfp2lasta[free];
    if (last == arena) {
        tk_sim_arena *before = arena->prevarena;
        self->nfp2lasta[free] = before != NULL && before->nfreepools == free ? before : NULL;
    }
    arena->nfreepools = ++free;
    if (free == arena->ntotalpools && arena->nextarena != NULL) {
        /* Case 1: all pools are free. Return the arena, unless it is the last of the list (bpo-37257). */
        unlink_arena(self, arena);
        self->narenas_currently_allocated--;
        self->memory->footprint_bytes -= self->arena_size;
        if (arena->span >= 0) {
            self->spans[arena->span].free_seq = self->now;
        }
        (void)tk_sim_list_add(&self->free_slots, arena->slot); /* if memory is short, the slot is lost */
        drop_arena(self, arena);
        return;
    }
    if (self->nfp2lasta[free] == NULL) {
        self->nfp2lasta[free] = arena;
    }
    if (free == 1) { /* Case 2: it was full and in no list. It becomes the head. */
        link_arena(self, arena, NULL);
    } else if (last != arena) { /* Case 3: arenas to its right have fewer free pools. Move it behind the last of them. */
        unlink_arena(self, arena);
        link_arena(self, arena, last);
    } /* Case 4: nothing more to do. */
}

/* -- beginning and end ----------------------------------------------------------------------------------- */

static unsigned bits_for(uint64_t most) {
    return most == 0 ? 1 : 64 - (unsigned)__builtin_clzll(most);
}

/* Put the older blocks into their pools, of which all blocks were used once: lowest free block first. */
static tk_sim_ending occupy(tk_sim_pymalloc *self, const tk_sim_layout *layout, uint64_t *places) {
    enum { FREE = 0, USED = 1 };
    for (int64_t at = 0; at < layout->pools; at++) {
        int64_t arena = layout->pool_arena[at], number = layout->pool_number[at], szidx = layout->pool_szidx[at];
        if (arena < 0 || arena >= layout->arenas || number < 0 || number >= layout->ntotalpools[arena] || szidx < 0 ||
            szidx >= self->size_classes || self->arenas[arena]->pools[number].known) {
            return TK_SIM_STRANGE;
        }
        tk_sim_pool *pool = &self->arenas[arena]->pools[number];
        if (!init_pool(self, pool, (uint32_t)szidx)) {
            return TK_SIM_NO_MEMORY;
        }
        pool->fresh = pool->capacity;
        for (uint32_t block = 0; block < pool->capacity; block++) {
            tk_sim_set_link(self, pool, block, FREE);
        }
    }
    for (int64_t at = 0; at < layout->blocks; at++) {
        int64_t which = layout->block_pool[at], block = layout->block_index[at];
        if (which < 0 || which >= layout->pools || (at > 0 && layout->address[at] <= layout->address[at - 1])) {
            return TK_SIM_STRANGE;
        }
        tk_sim_pool *pool = &self->arenas[layout->pool_arena[which]]->pools[layout->pool_number[which]];
        if (block < 0 || block >= pool->capacity || tk_sim_link(self, pool, (uint32_t)block) == USED) {
            return TK_SIM_STRANGE;
        }
        tk_sim_set_link(self, pool, (uint32_t)block, USED);
        pool->count++;
        places[at] = pool->place + (uint64_t)block;
    }
    for (int64_t at = layout->pools - 1; at >= 0; at--) {
        tk_sim_pool *pool = &self->arenas[layout->pool_arena[at]]->pools[layout->pool_number[at]];
        for (uint32_t block = pool->capacity; block-- > 0;) {
            if (tk_sim_link(self, pool, block) == FREE) {
                tk_sim_set_link(self, pool, block, pool->freeblock);
                pool->freeblock = block;
            }
        }
        if (pool->count < pool->capacity) {
            tk_sim_pymalloc_insert_to_usedpool(self, pool);
        }
    }
    return TK_SIM_DONE;
}

static int by_free_pools(const void *left, const void *right) {
    const tk_sim_arena *one = *(tk_sim_arena *const *)left, *other = *(tk_sim_arena *const *)right;
    if (one->nfreepools != other->nfreepools) {
        return one->nfreepools < other->nfreepools ? -1 : 1;
    }
    return one->number < other->number ? -1 : 1;
}

/* The list of usable arenas: fewest free pools first, then by number. */
static bool link_older_arenas(tk_sim_pymalloc *self, int64_t count) {
    tk_sim_arena **sorted = malloc((size_t)(count + 1) * sizeof *sorted);
    if (sorted == NULL) {
        return false;
    }
    for (int64_t at = 0; at < count; at++) {
        tk_sim_arena *arena = sorted[at] = self->arenas[at];
        arena->nfreepools = 0;
        arena->carved = arena->ntotalpools;
        for (uint32_t number = arena->ntotalpools; number-- > 0;) {
            tk_sim_pool *pool = &arena->pools[number];
            if (!pool->known) { /* lowest first */
                pool->nextpool = arena->freepools;
                arena->freepools = pool;
                arena->nfreepools++;
            }
        }
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_free_pools);
    for (int64_t at = count - 1; at >= 0 && sorted[at]->nfreepools > 0; at--) {
        link_arena(self, sorted[at], NULL);
        if (self->nfp2lasta[sorted[at]->nfreepools] == NULL) {
            self->nfp2lasta[sorted[at]->nfreepools] = sorted[at];
        }
    }
    free(sorted);
    return true;
}

tk_sim_ending tk_sim_pymalloc_begin(tk_sim_pymalloc *self, const tk_sim_layout *layout, uint64_t *places) {
    uint32_t most = 0;
    for (uint32_t szidx = 0; szidx < self->size_classes; szidx++) {
        int64_t capacity = (self->pool_size - self->pool_overhead) / tk_sim_block_bytes(self, (int32_t)szidx);
        self->capacities[szidx] = (uint32_t)capacity;
        most = self->capacities[szidx] > most ? self->capacities[szidx] : most;
        self->usedpools[szidx].nextpool = self->usedpools[szidx].prevpool = &self->usedpools[szidx];
    }
    uint64_t pools = (uint64_t)(self->arena_size / self->pool_size);
    self->wide = most > UINT16_MAX - 1;
    self->block_bits = bits_for(most);
    self->pool_bits = bits_for(pools);
    self->highwater_seq = -1;
    self->nfp2lasta = calloc(pools + 1, sizeof *self->nfp2lasta);
    if (self->nfp2lasta == NULL) {
        return TK_SIM_NO_MEMORY;
    }
    for (int64_t at = 0; at < layout->arenas; at++) {
        if (layout->ntotalpools[at] < 0 || (uint64_t)layout->ntotalpools[at] > pools) {
            return TK_SIM_STRANGE;
        }
        if (add_arena(self, (uint32_t)layout->ntotalpools[at]) == NULL) {
            return TK_SIM_NO_MEMORY;
        }
    }
    for (int64_t at = 0; at < layout->later; at++) {
        if (layout->later_ntotalpools[at] < 1 || (uint64_t)layout->later_ntotalpools[at] > pools) {
            return TK_SIM_STRANGE;
        }
    }
    self->later_ntotalpools = layout->later_ntotalpools;
    self->later = layout->later;
    self->narenas_highwater = self->narenas_currently_allocated;
    tk_sim_ending end = occupy(self, layout, places);
    return end != TK_SIM_DONE || link_older_arenas(self, layout->arenas) ? end : TK_SIM_NO_MEMORY;
}

void tk_sim_pymalloc_end(tk_sim_pymalloc *self) {
    for (uint32_t slot = 0; slot < self->slots; slot++) {
        if (self->arenas[slot] != NULL) {
            drop_arena(self, self->arenas[slot]);
        }
    }
    free(self->arenas);
    free(self->nfp2lasta);
    free(self->free_slots.items);
    free(self->spans);
}

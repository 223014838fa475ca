/* The simulator's live blocks by the number of the event that allocated them; for kernels_sim_machine.c. */
#ifndef TRACEKIT_KERNELS_SIM_BLOCKS_H
#define TRACEKIT_KERNELS_SIM_BLOCKS_H

#include "kernels_sim.h"

#include <stdlib.h>

/* Most blocks die young: those of the last TK_SIM_YOUNG numbers of events have a place of their own each, where nothing
   has to be looked for. What gets older moves into a table. */
static inline uint64_t home_of(const tk_sim *sim, uint64_t key) {
    return key * 0x9E3779B97F4A7C15ull >> sim->shift;
}

static bool begin_cells(tk_sim *sim, unsigned bits) {
    sim->cells = calloc((size_t)1 << bits, sizeof *sim->cells);
    if (sim->cells == NULL) {
        return false;
    }
    tk_large_pages(sim->cells, sizeof *sim->cells << bits);
    sim->mask = ((uint64_t)1 << bits) - 1;
    sim->shift = 64 - bits;
    return true;
}

static inline void put(tk_sim *sim, uint64_t key, uint64_t place) {
    uint64_t at = home_of(sim, key);
    while (sim->cells[at].key != 0) {
        at = (at + 1) & sim->mask;
    }
    sim->cells[at] = (tk_sim_cell){key, place};
}

static bool grow_cells(tk_sim *sim) {
    tk_sim_cell *old = sim->cells;
    uint64_t cells = sim->mask + 1;
    if (!begin_cells(sim, 64 - sim->shift + 1)) {
        sim->cells = old;
        return false;
    }
    for (uint64_t at = 0; at < cells; at++) {
        if (old[at].key != 0) {
            put(sim, old[at].key, old[at].place);
        }
    }
    free(old);
    return true;
}

/* Make `block` one of the young: the first ones of them are no longer. */
static bool grow_old(tk_sim *sim, int64_t block) {
    int64_t from = block - TK_SIM_YOUNG + TK_SIM_YOUNG / 4 + 1, end = sim->young_from + TK_SIM_YOUNG;
    for (int64_t old = sim->young_from; old < (from < end ? from : end); old++) {
        uint64_t *young = &sim->young[old & (TK_SIM_YOUNG - 1)];
        if (*young != 0) {
            if (sim->cells_used >= sim->mask / 4 * 3 && !grow_cells(sim)) {
                return false;
            }
            put(sim, (uint64_t)old + 1, *young - 1);
            sim->cells_used++;
            *young = 0;
        }
    }
    sim->young_from = from;
    return true;
}

/* `block` is higher than all before. */
static inline bool add_block(tk_sim *sim, int64_t block, uint64_t place) {
    if (__builtin_expect(block - sim->young_from >= TK_SIM_YOUNG, 0) && !grow_old(sim, block)) {
        return false;
    }
    sim->young[block & (TK_SIM_YOUNG - 1)] = place + 1;
    return true;
}

static uint64_t take_old(tk_sim *sim, int64_t block) {
    uint64_t key = (uint64_t)block + 1, at = home_of(sim, key);
    while (sim->cells[at].key != key) {
        if (sim->cells[at].key == 0) {
            return TK_SIM_MALLOC;
        }
        at = (at + 1) & sim->mask;
    }
    uint64_t place = sim->cells[at].place, gap = at;
    for (;;) { /* close the gap, so that every other is still found from its home on */
        at = (at + 1) & sim->mask;
        if (sim->cells[at].key == 0) {
            break;
        }
        uint64_t home = home_of(sim, sim->cells[at].key);
        if (((at - home) & sim->mask) >= ((at - gap) & sim->mask)) {
            sim->cells[gap] = sim->cells[at];
            gap = at;
        }
    }
    sim->cells[gap].key = 0;
    sim->cells_used--;
    return place;
}

/* Take a block out, and say where it was: with malloc, if it is not there. */
static inline uint64_t take_block(tk_sim *sim, int64_t block) {
    if (block < sim->young_from) {
        return block < 0 ? TK_SIM_MALLOC : take_old(sim, block);
    }
    if (block - sim->young_from >= TK_SIM_YOUNG) {
        return TK_SIM_MALLOC;
    }
    uint64_t place = sim->young[block & (TK_SIM_YOUNG - 1)] - 1;
    sim->young[block & (TK_SIM_YOUNG - 1)] = 0;
    return place;
}

#endif

/* What the parts of tracekit._native._kernels share. Public C API of Python only. */
#ifndef TRACEKIT_KERNELS_H
#define TRACEKIT_KERNELS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

/* Ask for large pages in memory that is large and used here and there: with small ones much of the time goes into
   finding out where these are. `start` may have any alignment. */
static inline void tk_large_pages(void *start, size_t bytes) {
#ifdef MADV_HUGEPAGE
    enum { PAGE = 1 << 12 };
    uintptr_t from = ((uintptr_t)start + PAGE - 1) & ~(uintptr_t)(PAGE - 1), to = ((uintptr_t)start + bytes) & ~(uintptr_t)(PAGE - 1);
    if (to > from && to - from >= 1 << 21) {
        madvise((void *)from, to - from, MADV_HUGEPAGE); /* refused: no harm done */
    }
#else
    (void)start;
    (void)bytes;
#endif
}

/* -- the live blocks (kernels_table.c) ------------------------------------------------------------------- */

enum { TK_REGION_BITS = 14, TK_REGION_CELLS = 1 << (TK_REGION_BITS - 4) };

typedef struct {
    uint64_t address; /* a multiple of 16 */
    int64_t seq;
    int64_t size;
    uint32_t node; /* in a record that is not in use: the next such one */
    uint32_t domain;
} tk_block;

typedef struct {
    uint64_t number; /* address / 16 KiB */
    uint32_t *cells; /* one every 16 bytes: which block begins there, 0: none. NULL: the entry is empty */
    uint64_t count;  /* of live blocks */
} tk_region;

typedef struct {
    tk_region *regions; /* open addressing, linear probing */
    uint64_t mask, regions_used;
    unsigned shift;
    tk_block *blocks; /* number 0 is none */
    uint32_t blocks_used, blocks_room, unused;
    uint32_t **spare; /* cells of regions that nothing lives in any more, all 0 */
    uint64_t spare_count, spare_room;
    struct tk_slab *slabs; /* that cells come from */
    uint32_t slab_cells; /* in units of a region */
    uint64_t count;
} tk_table;

bool tk_table_begin(tk_table *table);
void tk_table_end(tk_table *table);
/* The record of the block at an address that is a multiple of 16, a new one if there is none: `address` is 0 in
   that. NULL when memory is short; the table is as before then. */
tk_block *tk_table_place(tk_table *table, uint64_t address);
void tk_table_remove(tk_table *table, tk_block *gone);

static inline tk_region *tk_table_region(const tk_table *table, uint64_t address) {
    uint64_t number = address >> TK_REGION_BITS;
    uint64_t at = number * 0x9E3779B97F4A7C15ull >> table->shift;
    while (table->regions[at].cells != NULL && table->regions[at].number != number) {
        at = (at + 1) & table->mask;
    }
    return &table->regions[at];
}

static inline uint32_t tk_table_cell(uint64_t address) {
    return address >> 4 & (TK_REGION_CELLS - 1);
}

/* The block at an address, NULL when none lives there. */
static inline tk_block *tk_table_find(const tk_table *table, uint64_t address) {
    const tk_region *region = tk_table_region(table, address);
    uint32_t number = region->cells == NULL ? 0 : region->cells[tk_table_cell(address)];
    return number != 0 && table->blocks[number].address == address ? &table->blocks[number] : NULL;
}

/* -- what the module consists of ----------------------------------------------------------------------------- */

extern PyTypeObject tk_fold_type;   /* kernels_fold.c */
extern PyTypeObject tk_stamps_type; /* kernels_stamps.c */
extern PyTypeObject tk_codec_type;  /* kernels_codec_type.c */
extern PyTypeObject tk_stacks_type; /* kernels_stacks.c */
extern PyTypeObject tk_pairs_type;  /* kernels_pairs.c */
extern PyTypeObject tk_simulator_type; /* kernels_sim_type.c */
extern PyMethodDef tk_steps_methods[]; /* kernels_steps.c */

#endif

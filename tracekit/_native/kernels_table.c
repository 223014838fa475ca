/* The live blocks by address. Owned by a fold.

   A region of 16 KiB has a cell for every address at which a block can begin, so that nothing is searched for
   and neighbours in memory are neighbours here; the records themselves are handed out last in, first out. That is
   a quarter of the bytes between the blocks and 32 bytes a block. A region that nothing lives in costs nothing. */
#include "kernels.h"

#include <stdlib.h>

enum { FIRST_BITS = 8, FIRST_BLOCKS = 1024, FIRST_SLAB = 16, LARGEST_SLAB = 2048 };

/* Cells of many regions are one piece of memory, which lives as long as the table. */
typedef struct tk_slab {
    struct tk_slab *next;
    uint32_t *cells;
} tk_slab;

bool tk_table_begin(tk_table *table) {
    *table = (tk_table){.mask = (1u << FIRST_BITS) - 1, .shift = 64 - FIRST_BITS, .blocks_used = 1};
    table->regions = calloc(table->mask + 1, sizeof *table->regions);
    table->blocks = malloc(FIRST_BLOCKS * sizeof *table->blocks);
    table->blocks_room = FIRST_BLOCKS;
    return table->regions != NULL && table->blocks != NULL;
}

void tk_table_end(tk_table *table) {
    while (table->slabs != NULL) {
        tk_slab *slab = table->slabs;
        table->slabs = slab->next;
        free(slab->cells);
        free(slab);
    }
    free(table->spare);
    free(table->regions);
    free(table->blocks);
    *table = (tk_table){0};
}

static bool push_spare(tk_table *table, uint32_t *cells) {
    if (table->spare_count == table->spare_room) {
        uint64_t room = 2 * table->spare_room + 64;
        uint32_t **larger = realloc(table->spare, room * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        table->spare = larger;
        table->spare_room = room;
    }
    table->spare[table->spare_count++] = cells;
    return true;
}

/* Cells for a region, all 0; NULL when memory is short. */
static uint32_t *new_cells(tk_table *table) {
    if (table->spare_count == 0) {
        uint32_t count = table->slab_cells == 0 ? FIRST_SLAB : table->slab_cells;
        tk_slab *slab = malloc(sizeof *slab);
        uint32_t *cells = calloc((size_t)count * TK_REGION_CELLS, sizeof *cells);
        if (slab == NULL || cells == NULL) {
            free(slab);
            free(cells);
            return NULL;
        }
        tk_large_pages(cells, (size_t)count * TK_REGION_CELLS * sizeof *cells);
        *slab = (tk_slab){table->slabs, cells};
        table->slabs = slab;
        table->slab_cells = count < LARGEST_SLAB ? 2 * count : count;
        for (uint32_t number = count; number-- > 0;) {
            if (!push_spare(table, cells + (size_t)number * TK_REGION_CELLS)) {
                break;
            }
        }
    }
    return table->spare_count > 0 ? table->spare[--table->spare_count] : NULL;
}

static bool grow_regions(tk_table *table) {
    tk_table larger = *table;
    larger.mask = 2 * table->mask + 1;
    larger.shift = table->shift - 1;
    larger.regions = calloc(larger.mask + 1, sizeof *larger.regions);
    if (larger.regions == NULL) {
        return false;
    }
    for (uint64_t at = 0; at <= table->mask; at++) {
        if (table->regions[at].cells != NULL) {
            *tk_table_region(&larger, table->regions[at].number << TK_REGION_BITS) = table->regions[at];
        }
    }
    free(table->regions);
    *table = larger;
    return true;
}

/* Begin a region at an empty entry. NULL when memory is short. */
static tk_region *begin_region(tk_table *table, uint64_t address) {
    if (2 * (table->regions_used + 1) > table->mask + 1 && !grow_regions(table)) {
        return NULL;
    }
    tk_region *region = tk_table_region(table, address);
    uint32_t *cells = new_cells(table);
    if (cells == NULL) {
        return NULL;
    }
    *region = (tk_region){address >> TK_REGION_BITS, cells, 0};
    table->regions_used++;
    return region;
}

/* Take a region out whose last block died: its cells are all 0 again. */
static void end_region(tk_table *table, tk_region *gone) {
    if (!push_spare(table, gone->cells)) {
        return; /* then it stays */
    }
    table->regions_used--;
    uint64_t hole = (uint64_t)(gone - table->regions);
    uint64_t at = (hole + 1) & table->mask;
    for (; table->regions[at].cells != NULL; at = (at + 1) & table->mask) {
        uint64_t home = table->regions[at].number * 0x9E3779B97F4A7C15ull >> table->shift;
        /* An entry may fill the hole unless its home lies between the hole and itself. */
        if (((at - home) & table->mask) >= ((at - hole) & table->mask)) {
            table->regions[hole] = table->regions[at];
            hole = at;
        }
    }
    table->regions[hole].cells = NULL;
}

static uint32_t new_block(tk_table *table) {
    uint32_t number = table->unused;
    if (number != 0) {
        table->unused = table->blocks[number].node;
        return number;
    }
    if (table->blocks_used == table->blocks_room) {
        uint64_t room = 2 * (uint64_t)table->blocks_room;
        tk_block *larger = room <= UINT32_MAX ? realloc(table->blocks, room * sizeof *larger) : NULL;
        if (larger == NULL) {
            return 0;
        }
        tk_large_pages(larger, room * sizeof *larger);
        table->blocks = larger;
        table->blocks_room = (uint32_t)room;
    }
    return table->blocks_used++;
}

tk_block *tk_table_place(tk_table *table, uint64_t address) {
    tk_region *region = tk_table_region(table, address);
    if (region->cells == NULL) {
        region = begin_region(table, address);
        if (region == NULL) {
            return NULL;
        }
    }
    uint32_t *cell = &region->cells[tk_table_cell(address)];
    if (*cell == 0) {
        uint32_t number = new_block(table);
        if (number == 0) {
            return NULL; /* an empty region may be left, which the next block there takes */
        }
        *cell = number;
        region->count++;
        table->count++;
        table->blocks[number].address = 0;
    }
    return &table->blocks[*cell];
}

void tk_table_remove(tk_table *table, tk_block *gone) {
    tk_region *region = tk_table_region(table, gone->address);
    uint32_t *cell = &region->cells[tk_table_cell(gone->address)];
    gone->node = table->unused;
    table->unused = *cell;
    *cell = 0;
    table->count--;
    if (--region->count == 0) {
        end_region(table, region);
    }
}

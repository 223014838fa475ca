/* Pairs every free of a log with the allocation that it ends. Called by tracekit/log/lifetimes.py.

   The state is the live set, a table keyed by the number of the allocation. Rows that are complete go into columns
   that the caller hands in; when one of these is full the work stops at that event and is taken up again with a new
   one, so that nothing is copied a second time. */
#include "kernels_pairs.h"

#include <stdlib.h>

/* -- the live set ---------------------------------------------------------------------------------------- */

/* Blocks that were made one after the other are neighbours: they are used and die at similar times, and fewer cache
   lines are touched. */
static inline uint64_t place_of(const tk_pairs *self, int64_t key) {
    return ((uint64_t)key >> NEIGHBOURS) * 0x9E3779B97F4A7C15ull >> self->shift << NEIGHBOURS |
           ((uint64_t)key & ((1 << NEIGHBOURS) - 1));
}

static inline tk_lived *find(const tk_pairs *self, int64_t key) {
    uint64_t at = place_of(self, key);
    while (self->cells[at].key != key) {
        if (self->cells[at].key == 0) {
            return NULL;
        }
        at = (at + 1) & self->mask;
    }
    return &self->cells[at];
}

static bool begin_table(tk_pairs *self, unsigned bits) {
    self->cells = calloc((size_t)1 << bits, sizeof *self->cells);
    self->mask = ((uint64_t)1 << bits) - 1;
    self->shift = 64 - bits + NEIGHBOURS;
    return self->cells != NULL;
}

/* An empty cell for a key that is not there; there must be room. */
static inline tk_lived *put(tk_pairs *self, int64_t key) {
    uint64_t at = place_of(self, key);
    while (self->cells[at].key != 0) {
        at = (at + 1) & self->mask;
    }
    self->count++;
    self->cells[at].key = key;
    return &self->cells[at];
}

/* Room for one more. False when memory is short: all is as before then. */
static inline bool make_room(tk_pairs *self) {
    if (self->count < self->mask / 8 * 5) {
        return true;
    }
    tk_lived *old = self->cells;
    uint64_t cells = self->mask + 1, count = self->count;
    unsigned shift = self->shift;
    if (!begin_table(self, 64 + NEIGHBOURS - shift + 1)) {
        self->cells = old;
        self->mask = cells - 1;
        self->shift = shift;
        return false;
    }
    for (uint64_t at = 0; at < cells; at++) {
        if (old[at].key != 0) {
            *put(self, old[at].key) = old[at];
        }
    }
    self->count = count;
    free(old);
    return true;
}

/* Take a cell out and close the gap, so that every other is still found from its place on. */
static inline void take_out(tk_pairs *self, tk_lived *gone) {
    uint64_t gap = (uint64_t)(gone - self->cells), at = gap;
    for (;;) {
        at = (at + 1) & self->mask;
        if (self->cells[at].key == 0) {
            break;
        }
        uint64_t home = place_of(self, self->cells[at].key);
        if (((at - home) & self->mask) >= ((at - gap) & self->mask)) {
            self->cells[gap] = self->cells[at];
            gap = at;
        }
    }
    self->cells[gap].key = 0;
    self->count--;
}

bool tk_pairs_begin(tk_pairs *self) {
    return begin_table(self, 12);
}

tk_lived *tk_pairs_find(const tk_pairs *self, int64_t key) {
    return find(self, key);
}

tk_lived *tk_pairs_add(tk_pairs *self, int64_t key) {
    return make_room(self) ? put(self, key) : NULL;
}

/* -- the fold -------------------------------------------------------------------------------------------- */

#define COLUMN(out, which, type) ((type *)(out)->views[which].buf)

static void list_level(tk_pairs *self) {
    tk_output *out = &self->outputs[TIMELINE];
    Py_ssize_t row = out->rows++;
    COLUMN(out, 0, int64_t)[row] = self->last_seq;
    COLUMN(out, 1, int64_t)[row] = self->last_time_ns;
    COLUMN(out, 2, int64_t)[row] = self->last_bytes;
    COLUMN(out, 3, int64_t)[row] = self->last_blocks;
    self->peak_listed |= self->last_seq == self->peak_seq;
}

static void list_dead(tk_pairs *self, const tk_events *of, int64_t row, const tk_lived *block) {
    int64_t seq = of->first_seq + row, born = block->key - 1, life = seq - born;
    tk_output *out = &self->outputs[life < self->tier_ends[0] ? 0 : life < self->tier_ends[1] ? 1 : 2];
    Py_ssize_t to = out->rows++;
    COLUMN(out, 0, int64_t)[to] = born;
    COLUMN(out, 1, int64_t)[to] = seq;
    COLUMN(out, 2, int64_t)[to] = block->time_ns;
    COLUMN(out, 3, int64_t)[to] = of->time_ns[row];
    COLUMN(out, 4, int64_t)[to] = block->address;
    COLUMN(out, 5, int64_t)[to] = block->size;
    COLUMN(out, 6, uint8_t)[to] = block->domain;
    COLUMN(out, 7, int32_t)[to] = block->thread_id;
    COLUMN(out, 8, int32_t)[to] = block->stack_id;
    COLUMN(out, 9, int32_t)[to] = of->type_id[row];
    COLUMN(out, 10, uint8_t)[to] = of->cause[row];
    COLUMN(out, 11, int32_t)[to] = of->thread_id[row];
}

static void list_unmatched(tk_pairs *self, const tk_events *of, int64_t row) {
    tk_output *out = &self->outputs[UNMATCHED];
    Py_ssize_t to = out->rows++;
    COLUMN(out, 0, int64_t)[to] = of->first_seq + row;
    COLUMN(out, 1, int64_t)[to] = of->time_ns[row];
    COLUMN(out, 2, int32_t)[to] = of->thread_id[row];
    COLUMN(out, 3, int64_t)[to] = of->address[row];
    COLUMN(out, 4, int64_t)[to] = of->alloc_seq[row];
    COLUMN(out, 5, uint8_t)[to] = of->cause[row];
    COLUMN(out, 6, int32_t)[to] = of->type_id[row];
}

static bool take_allocation(tk_pairs *self, const tk_events *of, int64_t row) {
    int64_t seq = of->first_seq + row, size = of->size[row];
    tk_lived *block = find(self, seq + 1);
    if (block != NULL) { /* events out of order, which the rules of a log exclude */
        return false;
    }
    block = put(self, seq + 1);
    block->time_ns = of->time_ns[row];
    block->address = of->address[row];
    block->size = size;
    block->thread_id = of->thread_id[row];
    block->stack_id = of->stack_id[row];
    block->type_id = 0;
    block->domain = of->domain[row];
    self->allocations++;
    self->allocated_bytes += size;
    self->live_bytes += size;
    if (of->alloc_seq[row] >= 0) {
        tk_output *out = &self->outputs[REALLOCS];
        Py_ssize_t to = out->rows++;
        COLUMN(out, 0, int64_t)[to] = seq;
        COLUMN(out, 1, int64_t)[to] = of->alloc_seq[row];
    }
    return self->live_bytes <= MOST_BYTES && self->allocated_bytes <= MOST_BYTES;
}

static void take_free(tk_pairs *self, const tk_events *of, int64_t row) {
    int64_t ended = of->alloc_seq[row];
    tk_lived *block = ended < 0 ? NULL : find(self, ended + 1);
    self->frees++;
    if (block == NULL) {
        self->unmatched++;
        list_unmatched(self, of, row);
        return;
    }
    list_dead(self, of, row, block);
    self->live_bytes -= block->size;
    take_out(self, block);
}

/* So many events can be taken before an output is full: each adds one row to an output at most. */
static int64_t events_left(const tk_pairs *self) {
    int64_t least = INT64_MAX;
    for (int which = 0; which < OUTPUTS; which++) {
        int64_t left = self->outputs[which].room - self->outputs[which].rows;
        least = left < least ? left : least;
    }
    return least;
}

int tk_pairs_full(const tk_pairs *self) {
    for (int which = 0; which < OUTPUTS; which++) {
        if (self->outputs[which].rows >= self->outputs[which].room) {
            return which;
        }
    }
    return -1;
}

tk_ending tk_pairs_fold(tk_pairs *self, const tk_events *of, int64_t *at, int64_t rows) {
    tk_ending end = TK_DONE;
    int64_t row = *at, checked = row;
    for (; row < rows; row++) {
        if (row == checked) {
            int64_t left = events_left(self);
            if (left <= 0) {
                end = TK_FULL;
                break;
            }
            checked = left < rows - row ? row + left : rows;
        }
        if (row + AHEAD < rows && of->kind[row + AHEAD] == KIND_FREE) {
            __builtin_prefetch(&self->cells[place_of(self, of->alloc_seq[row + AHEAD] + 1)]);
        }
        if (self->last_seq >= 0 && self->last_time_ns != of->time_ns[row]) {
            list_level(self);
        }
        uint8_t kind = of->kind[row];
        if (kind == KIND_ALLOCATION) {
            if (!make_room(self)) {
                end = TK_NO_MEMORY;
                break;
            }
            if (!take_allocation(self, of, row)) {
                end = TK_IMPOSSIBLE;
                break;
            }
        } else if (kind == KIND_FREE) {
            take_free(self, of, row);
        } else {
            self->collections += kind == KIND_GC_START;
        }
        self->last_seq = of->first_seq + row;
        self->last_time_ns = of->time_ns[row];
        self->last_bytes = self->live_bytes;
        self->last_blocks = (int64_t)self->count;
        if (self->peak_seq < 0 || self->live_bytes > self->peak_bytes) {
            self->peak_bytes = self->live_bytes;
            self->peak_blocks = self->last_blocks;
            self->peak_seq = self->last_seq;
            self->peak_listed = false;
        }
    }
    *at = row;
    return end;
}

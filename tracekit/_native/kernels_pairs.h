/* What the two files of the pairing share: its state and what can be done with it. */
#ifndef TRACEKIT_KERNELS_PAIRS_H
#define TRACEKIT_KERNELS_PAIRS_H

#include "kernels.h"

enum { KIND_ALLOCATION = 0, KIND_FREE = 1, KIND_GC_START = 2 };
enum { KIND, TIME_NS, THREAD_ID, ADDRESS, SIZE, DOMAIN, STACK_ID, ALLOC_SEQ, CAUSE, TYPE_ID, COLUMNS };
enum { TIERS = 3, UNMATCHED = TIERS, REALLOCS, TIMELINE, OUTPUTS };
enum { MOST_COLUMNS = 12, AHEAD = 16, NEIGHBOURS = 5 };

#define MOST_BYTES ((int64_t)1 << 62) /* as in tracekit/log/columns.py: sums must not overflow */

typedef struct {
    int64_t key; /* 1 + number of the allocation; 0: the cell is empty */
    int64_t time_ns, address, size;
    int32_t thread_id, stack_id, type_id;
    uint8_t domain;
} tk_lived;

typedef struct {
    Py_buffer views[MOST_COLUMNS];
    int held;
    Py_ssize_t room, rows;
} tk_output;

typedef struct {
    PyObject_HEAD
    tk_lived *cells;
    uint64_t mask, count;
    unsigned shift;
    tk_output outputs[OUTPUTS];
    int64_t tier_ends[TIERS - 1];
    int64_t live_bytes;
    int64_t allocations, frees, unmatched, collections, allocated_bytes;
    int64_t peak_bytes, peak_blocks, peak_seq; /* peak_seq -1: no event yet */
    int64_t last_seq, last_time_ns, last_bytes, last_blocks; /* after the last event; last_seq -1: none */
    bool peak_listed; /* the timeline has a row for peak_seq */
    bool busy;
} tk_pairs;

/* Events in columns. */
typedef struct {
    const uint8_t *kind, *domain, *cause;
    const int64_t *time_ns, *address, *size, *alloc_seq;
    const int32_t *thread_id, *stack_id, *type_id;
    int64_t first_seq;
} tk_events;

typedef enum { TK_DONE, TK_FULL, TK_NO_MEMORY, TK_IMPOSSIBLE } tk_ending;

bool tk_pairs_begin(tk_pairs *self);
/* The block of an allocation, by 1 + its number; NULL: it is not alive. */
tk_lived *tk_pairs_find(const tk_pairs *self, int64_t key);
/* The same for one that is not alive: a cell for it. NULL when memory is short; all is as before then. */
tk_lived *tk_pairs_add(tk_pairs *self, int64_t key);
/* Number of an output that takes no more rows, -1: there is none. */
int tk_pairs_full(const tk_pairs *self);
/* Take events into account from `*at` on, until all is done or something is in the way. */
tk_ending tk_pairs_fold(tk_pairs *self, const tk_events *of, int64_t *at, int64_t rows);

#endif

/* A fold's state; kernels_fold.c works on it, kernels_fold_type.c shows it to Python. */
#ifndef TRACEKIT_KERNELS_FOLD_H
#define TRACEKIT_KERNELS_FOLD_H

#include "kernels.h"
#include "kernels_slots.h"

typedef struct {
    char *data;
    size_t bytes, room;
} tk_pile;

bool tk_pile_add(tk_pile *to, const void *data, size_t bytes);

enum { TK_KIND, TK_TIME_NS, TK_THREAD_ID, TK_ADDRESS, TK_SIZE, TK_DOMAIN, TK_STACK_ID, TK_ALLOC_SEQ, TK_CAUSE, TK_TYPE_ID };
enum { TK_COLUMNS = 10, TK_THREADS = 1 << 16 };
enum { TK_AHEAD = 32, TK_FAR = 24, TK_NEAR = 12 }; /* slots that a pass looks ahead */

typedef struct {
    PyObject_HEAD
    Py_buffer views[TK_COLUMNS]; /* the columns to be filled, `room` rows each */
    int held_views;
    Py_ssize_t room, rows;
    int64_t first_seq, time_ns, origin_ns, batch_bytes;
    tk_table live;
    tk_block *moved; /* one a thread: what its last free for a realloc gave back; address 0: none */
    int64_t live_bytes, live_blocks, peak_bytes, peak_blocks, peak_seq;
    int64_t allocations, frees, unmatched, allocated_bytes, damaged;
    uint64_t wide, repeat; /* what stood before the next event */
    bool has_wide, has_repeat;
    tk_slot rest; /* an ALLOC or FREE whose repetitions are not all written yet: `repeat` are left */
    bool in_rest;
    bool busy; /* a pass runs, without the GIL */
    tk_pile nodes, typed, stamps;
    const uint32_t *ahead[TK_AHEAD]; /* cells that soon will be needed, by number of the slot */
    uint32_t no_cell;
    size_t stamp_at;
} tk_fold;

#define TK_COLUMN(self, type, which) ((type *)(self)->views[which].buf)

/* Why a pass ended. */
enum { TK_REACHED_END, TK_FULL, TK_DEFINITION };

/* Take slots from *at on; `position` is where slots[0] stood in the ring. False when memory is short. */
bool tk_fold_run(tk_fold *self, const tk_slot *slots, Py_ssize_t count, Py_ssize_t *at, uint64_t position, int *why);

/* A row with nothing in it but what every event has; there must be room for it. */
Py_ssize_t tk_fold_row(tk_fold *self, uint8_t kind, uint16_t thread);

#endif

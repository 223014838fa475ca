/* One pass over slots of the ring: events become columns, frees find what they end, totals add up.

   Layout of slots: tracekit/record/slots.py. Used by record/pairing.py, whose PythonFold does the same in
   Python and says what is right. Whatever stands in a slot, nothing outside of the given buffers is touched:
   a slot that cannot be true is left out and counted in `damaged`. */
#include "kernels_fold.h"

#include <stdlib.h>
#include <string.h>

enum { CODE_NODE_BYTES = 16 };
enum { ALLOCATION = 0, FREE = 1, ARENA_ALLOCATION = 5, ARENA_FREE = 6 };
enum { DOMAINS = 6, CAUSES = 4 };

#define MAX_ADDRESS ((uint64_t)1 << 48)
#define MAX_SIZE ((uint64_t)1 << 47)
#define MAX_SUM ((int64_t)1 << 61)
#define MAX_REPEAT ((uint64_t)1 << 28)
#define SURELY ((int64_t)1 << 60) /* more than the usual slots of one pass can add up to */

bool tk_pile_add(tk_pile *to, const void *data, size_t bytes) {
    if (bytes == 0) {
        return true; /* there may be no memory to copy from or to yet */
    }
    if (to->room - to->bytes < bytes) {
        size_t room = 2 * to->room + bytes + 4096;
        char *larger = realloc(to->data, room);
        if (larger == NULL) {
            return false;
        }
        to->data = larger;
        to->room = room;
    }
    memcpy(to->data + to->bytes, data, bytes);
    to->bytes += bytes;
    return true;
}

/* A row with nothing in it but what every event has. */
static inline Py_ssize_t new_row(tk_fold *self, uint8_t kind, uint16_t thread) {
    Py_ssize_t row = self->rows++;
    TK_COLUMN(self, uint8_t, TK_KIND)[row] = kind;
    TK_COLUMN(self, int64_t, TK_TIME_NS)[row] = self->time_ns;
    TK_COLUMN(self, int32_t, TK_THREAD_ID)[row] = thread;
    TK_COLUMN(self, int64_t, TK_ADDRESS)[row] = 0;
    TK_COLUMN(self, int64_t, TK_SIZE)[row] = 0;
    TK_COLUMN(self, uint8_t, TK_DOMAIN)[row] = 0;
    TK_COLUMN(self, int32_t, TK_STACK_ID)[row] = 0;
    TK_COLUMN(self, int64_t, TK_ALLOC_SEQ)[row] = -1;
    TK_COLUMN(self, uint8_t, TK_CAUSE)[row] = 0;
    TK_COLUMN(self, int32_t, TK_TYPE_ID)[row] = 0;
    return row;
}

Py_ssize_t tk_fold_row(tk_fold *self, uint8_t kind, uint16_t thread) {
    return new_row(self, kind, thread);
}

static bool born(tk_fold *self, uint16_t thread, uint64_t address, uint64_t size, uint32_t node, uint8_t domain,
                 int64_t replaces) {
    tk_block *place = tk_table_place(&self->live, address);
    if (place == NULL) {
        return false;
    }
    Py_ssize_t row = new_row(self, ALLOCATION, thread);
    TK_COLUMN(self, int64_t, TK_ADDRESS)[row] = (int64_t)address;
    TK_COLUMN(self, int64_t, TK_SIZE)[row] = (int64_t)size;
    TK_COLUMN(self, uint8_t, TK_DOMAIN)[row] = domain;
    TK_COLUMN(self, int32_t, TK_STACK_ID)[row] = (int32_t)node;
    TK_COLUMN(self, int64_t, TK_ALLOC_SEQ)[row] = replaces;
    *place = (tk_block){address, self->first_seq + row, (int64_t)size, node, domain};
    self->batch_bytes += (int64_t)size;
    self->allocations++;
    self->allocated_bytes += (int64_t)size;
    self->live_blocks++;
    self->live_bytes += (int64_t)size;
    if (self->live_bytes > self->peak_bytes) {
        self->peak_bytes = self->live_bytes;
        self->peak_blocks = self->live_blocks;
        self->peak_seq = self->first_seq + row;
    }
    return true;
}

static inline void died(tk_fold *self, const tk_slot *slot, uint64_t address) {
    Py_ssize_t row = new_row(self, FREE, slot->thread);
    TK_COLUMN(self, uint8_t, TK_CAUSE)[row] = slot->flags;
    TK_COLUMN(self, int32_t, TK_TYPE_ID)[row] = (int32_t)slot->node;
    self->frees++;
    tk_block *place = tk_table_find(&self->live, address);
    if (slot->flags == TK_CAUSE_REALLOC) {
        self->moved[slot->thread] = place == NULL ? (tk_block){0} : *place;
    }
    if (place == NULL) {
        TK_COLUMN(self, int64_t, TK_ADDRESS)[row] = (int64_t)address;
        self->unmatched++;
    } else {
        TK_COLUMN(self, int64_t, TK_ALLOC_SEQ)[row] = place->seq;
        self->live_blocks--;
        self->live_bytes -= place->size;
        tk_table_remove(&self->live, place);
    }
}

/* Whether an ALLOC or FREE slot that stands for `times` events can be true. */
static inline bool possible(const tk_fold *self, const tk_slot *slot, uint64_t address, uint64_t size, uint64_t times) {
    if (address == 0 || address >= MAX_ADDRESS || slot->node > INT32_MAX || times > MAX_REPEAT) {
        return false;
    }
    if (slot->kind == TK_FREE) {
        return slot->flags < CAUSES;
    }
    return (slot->flags & 0xF) < DOMAINS && (slot->flags & 0x70) == 0 && size < MAX_SIZE &&
           self->live_bytes < MAX_SUM && self->batch_bytes < MAX_SUM && self->allocated_bytes < MAX_SUM;
}

/* One event of an ALLOC or FREE slot. False when memory is short. */
static inline bool event_of(tk_fold *self, const tk_slot *slot, uint64_t address, uint64_t size) {
    if (slot->kind == TK_FREE) {
        died(self, slot, address);
        return true;
    }
    int64_t replaces = -1;
    if (slot->flags & TK_REALLOCATED) {
        tk_block *last = &self->moved[slot->thread];
        replaces = last->address != 0 ? last->seq : -1;
        last->address = 0;
    }
    return born(self, slot->thread, address, size, slot->node, slot->flags & 0xF, replaces);
}

static inline uint64_t address_of(const tk_slot *slot) {
    return slot->kind == TK_FREE ? slot->word : slot->word >> TK_SIZE_BITS << 4;
}

static inline uint64_t size_of(const tk_fold *self, const tk_slot *slot) {
    return slot->kind == TK_FREE ? 0 : self->has_wide ? self->wide : slot->word & TK_SIZE_WIDE;
}

/* Go on with the repetitions of a slot until they or the columns are at their end. */
static bool repeat_rest(tk_fold *self) {
    uint64_t size = size_of(self, &self->rest);
    for (; self->repeat > 0 && self->rows < self->room; self->repeat--) {
        uint64_t address = address_of(&self->rest);
        if (!possible(self, &self->rest, address, size, 1)) {
            self->damaged++;
            self->repeat = 0;
            break;
        }
        if (!event_of(self, &self->rest, address, size)) {
            return false;
        }
        self->rest.word += self->rest.kind == TK_FREE ? 16 : (uint64_t)1 << TK_SIZE_BITS;
    }
    if (self->repeat == 0) {
        self->in_rest = self->has_repeat = self->has_wide = false;
    }
    return true;
}

static bool unfree(tk_fold *self, const tk_slot *slot) {
    tk_block *last = &self->moved[slot->thread];
    tk_block block = *last;
    if (block.address == 0) {
        return true; /* it was never known to live */
    }
    last->address = 0;
    if (block.address != slot->word) {
        self->damaged++;
        return true;
    }
    return born(self, slot->thread, block.address, (uint64_t)block.size, block.node, (uint8_t)block.domain, block.seq);
}

static void arena(tk_fold *self, const tk_slot *slot) {
    if (slot->word == 0 || slot->word >= MAX_ADDRESS || slot->flags > 1) {
        self->damaged++;
        return;
    }
    Py_ssize_t row = new_row(self, slot->flags ? ARENA_FREE : ARENA_ALLOCATION, slot->thread);
    TK_COLUMN(self, int64_t, TK_ADDRESS)[row] = (int64_t)slot->word;
    TK_COLUMN(self, int64_t, TK_SIZE)[row] = slot->node;
    self->batch_bytes += slot->node;
}

static bool typed(tk_fold *self, const tk_slot *slot) {
    const tk_block *place = tk_table_find(&self->live, slot->word);
    if (slot->word == 0 || slot->node > INT32_MAX) {
        self->damaged++;
        return true;
    }
    if (place == NULL) {
        return true;
    }
    int64_t pair[2] = {place->seq, slot->node};
    return tk_pile_add(&self->typed, pair, sizeof pair);
}

/* Everything but ALLOC, FREE and DEFINE. False when memory is short. */
static bool rare(tk_fold *self, const tk_slot *slot) {
    switch (slot->kind) {
    case TK_WIDE:
        self->has_wide = true;
        self->wide = slot->word;
        return true;
    case TK_REPEAT:
        self->has_repeat = true;
        self->repeat = slot->word;
        return true;
    case TK_TIME:
        if (slot->word <= INT64_MAX && (int64_t)slot->word > self->time_ns) {
            self->time_ns = (int64_t)slot->word;
        }
        return true;
    case TK_UNFREE:
        return unfree(self, slot);
    case TK_ARENA:
        arena(self, slot);
        return true;
    case TK_TYPED:
        return typed(self, slot);
    default:
        self->damaged++;
        return true;
    }
}

/* The position in the ring from which the next stamp holds; passes those that hold already. */
static uint64_t pass_stamps(tk_fold *self, uint64_t position) {
    while (self->stamp_at + 16 <= self->stamps.bytes) {
        uint64_t pair[2];
        memcpy(pair, self->stamps.data + self->stamp_at, sizeof pair);
        if (pair[0] > position) {
            return pair[0];
        }
        int64_t time_ns = (int64_t)pair[1] - self->origin_ns;
        self->time_ns = time_ns > self->time_ns ? time_ns : self->time_ns;
        self->stamp_at += 16;
    }
    self->stamp_at = self->stamps.bytes = 0;
    return UINT64_MAX;
}

/* A call path node, which comes by the 100,000: piled up instead of handed over. False when it is another
   definition or not all there. */
static bool pile_node(tk_fold *self, const tk_slot *slots, Py_ssize_t at, Py_ssize_t count, bool *short_of_memory) {
    if (slots[at].flags != TK_DEF_CODE_NODE || slots[at].node != CODE_NODE_BYTES || at + 1 >= count) {
        return false;
    }
    *short_of_memory = !tk_pile_add(&self->nodes, &slots[at + 1], CODE_NODE_BYTES);
    return true;
}

/* Have what the slots further on are about brought into the cache: first the cell of the address, then, when it has
   come, the block. A remembered cell may be that of another region by now, which does no harm. */
static inline void look_ahead(tk_fold *self, const tk_slot *slots, Py_ssize_t next) {
    const tk_slot *far = &slots[next + TK_FAR];
    uint64_t address = far->kind == TK_FREE ? far->word : far->word >> TK_SIZE_BITS << 4;
    const tk_region *region = tk_table_region(&self->live, address);
    const uint32_t *cell = region->cells == NULL ? &self->no_cell : &region->cells[tk_table_cell(address)];
    __builtin_prefetch(cell);
    self->ahead[(next + TK_FAR) & (TK_AHEAD - 1)] = cell;
    __builtin_prefetch(&self->live.blocks[*self->ahead[(next + TK_NEAR) & (TK_AHEAD - 1)]]);
}

/* What the usual run writes. Values of its own stay in registers, which those of the object cannot: a byte that is
   written may be one of theirs. */
typedef struct {
    uint8_t *kind, *domain, *cause;
    int64_t *time_ns, *address, *size, *alloc_seq;
    int32_t *thread_id, *stack_id, *type_id;
    int64_t first_seq, born_bytes, live_bytes, live_blocks, peak_bytes, peak_blocks, peak_seq;
    Py_ssize_t row, frees;
} tk_usual;

#define USUAL static inline __attribute__((always_inline))

USUAL tk_usual usual_begin(tk_fold *self) {
    return (tk_usual){
        .kind = TK_COLUMN(self, uint8_t, TK_KIND),
        .domain = TK_COLUMN(self, uint8_t, TK_DOMAIN),
        .cause = TK_COLUMN(self, uint8_t, TK_CAUSE),
        .time_ns = TK_COLUMN(self, int64_t, TK_TIME_NS),
        .address = TK_COLUMN(self, int64_t, TK_ADDRESS),
        .size = TK_COLUMN(self, int64_t, TK_SIZE),
        .alloc_seq = TK_COLUMN(self, int64_t, TK_ALLOC_SEQ),
        .thread_id = TK_COLUMN(self, int32_t, TK_THREAD_ID),
        .stack_id = TK_COLUMN(self, int32_t, TK_STACK_ID),
        .type_id = TK_COLUMN(self, int32_t, TK_TYPE_ID),
        .first_seq = self->first_seq,
        .live_bytes = self->live_bytes,
        .live_blocks = self->live_blocks,
        .peak_bytes = self->peak_bytes,
        .peak_blocks = self->peak_blocks,
        .peak_seq = self->peak_seq,
        .row = self->rows,
    };
}

USUAL void usual_end(tk_fold *self, const tk_usual *now) {
    int64_t births = now->row - self->rows - now->frees;
    self->rows = now->row;
    self->live.count += (uint64_t)births - (uint64_t)now->frees;
    self->allocations += births;
    self->frees += now->frees;
    self->batch_bytes += now->born_bytes;
    self->allocated_bytes += now->born_bytes;
    self->live_bytes = now->live_bytes;
    self->live_blocks = now->live_blocks;
    self->peak_bytes = now->peak_bytes;
    self->peak_blocks = now->peak_blocks;
    self->peak_seq = now->peak_seq;
}

/* An allocation at a free address of a region that has blocks. False, and nothing done, if it is anything else. */
USUAL bool usual_birth(tk_table *table, tk_usual *now, tk_slot slot) {
    uint64_t address = slot.word >> TK_SIZE_BITS << 4;
    int64_t size = (int64_t)(slot.word & TK_SIZE_WIDE);
    tk_region *region = tk_table_region(table, address);
    if (slot.flags >= DOMAINS || slot.node > INT32_MAX || address == 0 || region->cells == NULL) {
        return false;
    }
    uint32_t *cell = &region->cells[tk_table_cell(address)], number = table->unused;
    if (*cell != 0 || (number == 0 && table->blocks_used == table->blocks_room)) {
        return false;
    }
    if (number == 0) {
        number = table->blocks_used++;
    } else {
        table->unused = table->blocks[number].node;
        __builtin_prefetch(&table->blocks[table->unused], 1);
    }
    Py_ssize_t row = now->row;
    table->blocks[number] = (tk_block){address, now->first_seq + row, size, slot.node, slot.flags};
    *cell = number;
    region->count++;
    now->kind[row] = ALLOCATION;
    now->address[row] = (int64_t)address;
    now->size[row] = size;
    now->domain[row] = slot.flags;
    now->stack_id[row] = (int32_t)slot.node;
    now->alloc_seq[row] = -1;
    now->cause[row] = 0;
    now->type_id[row] = 0;
    now->born_bytes += size;
    now->live_bytes += size;
    now->live_blocks++;
    if (now->live_bytes > now->peak_bytes) {
        now->peak_bytes = now->live_bytes;
        now->peak_blocks = now->live_blocks;
        now->peak_seq = now->first_seq + row;
    }
    return true;
}

/* The free of a live block that is not the last of its region, and not for a realloc. False likewise. */
USUAL bool usual_death(tk_table *table, tk_usual *now, tk_slot slot) {
    tk_region *region = tk_table_region(table, slot.word);
    if (slot.flags >= CAUSES || slot.flags == TK_CAUSE_REALLOC || slot.node > INT32_MAX || region->cells == NULL) {
        return false;
    }
    uint32_t *cell = &region->cells[tk_table_cell(slot.word)], number = *cell;
    tk_block *block = &table->blocks[number];
    if (number == 0 || block->address != slot.word || region->count == 1) {
        return false;
    }
    Py_ssize_t row = now->row;
    now->live_bytes -= block->size;
    now->live_blocks--;
    now->frees++;
    now->kind[row] = FREE;
    now->address[row] = 0;
    now->size[row] = 0;
    now->domain[row] = 0;
    now->stack_id[row] = 0;
    now->alloc_seq[row] = block->seq;
    now->cause[row] = slot.flags;
    now->type_id[row] = (int32_t)slot.node;
    block->node = table->unused;
    table->unused = number;
    *cell = 0;
    region->count--;
    return true;
}

/* Slots from `next` on as long as they are usual, at most up to `end`: for so many there are rows. Returns the first
   slot that is left. */
static Py_ssize_t usual_run(tk_fold *self, const tk_slot *slots, Py_ssize_t next, Py_ssize_t end, Py_ssize_t count) {
    if (self->has_wide || self->has_repeat || self->live_bytes >= MAX_SUM - SURELY ||
        self->batch_bytes >= MAX_SUM - SURELY || self->allocated_bytes >= MAX_SUM - SURELY) {
        return next;
    }
    tk_usual now = usual_begin(self);
    const int64_t time_ns = self->time_ns;
    for (; next < end; next++) {
        const tk_slot slot = slots[next];
        if (next + TK_FAR < count) {
            look_ahead(self, slots, next);
        }
        if (slot.kind == TK_ALLOC) {
            if (!usual_birth(&self->live, &now, slot)) {
                break;
            }
        } else if (slot.kind != TK_FREE || !usual_death(&self->live, &now, slot)) {
            break;
        }
        now.time_ns[now.row] = time_ns;
        now.thread_id[now.row] = slot.thread;
        now.row++;
    }
    usual_end(self, &now);
    return next;
}

/* One slot, whatever it is. False when memory is short; `more` is false when it must be handed over. */
static bool any_slot(tk_fold *self, const tk_slot *slots, Py_ssize_t count, Py_ssize_t *next, bool *more) {
    const tk_slot *slot = &slots[*next];
    bool fine = true, short_of_memory = false;
    if (slot->kind == TK_ALLOC || slot->kind == TK_FREE) {
        uint64_t address = address_of(slot), size = size_of(self, slot);
        uint64_t times = self->has_repeat ? self->repeat : 1;
        if (!possible(self, slot, address, size, times)) {
            self->damaged++;
            self->has_wide = self->has_repeat = false;
        } else if (self->has_repeat) {
            self->rest = *slot;
            self->in_rest = true;
            fine = repeat_rest(self);
        } else {
            fine = event_of(self, slot, address, size);
            self->has_wide = false;
        }
    } else if (slot->kind != TK_DEFINE) {
        fine = rare(self, slot);
    } else if (pile_node(self, slots, *next, count, &short_of_memory)) {
        fine = !short_of_memory;
        *next += 1;
    } else if (slot->node > TK_MAX_PAYLOAD) {
        self->damaged++;
    } else {
        *more = false;
        return true;
    }
    *next += fine;
    return fine;
}

static inline Py_ssize_t least(Py_ssize_t one, uint64_t other) {
    return (uint64_t)one < other ? one : (Py_ssize_t)other;
}

bool tk_fold_run(tk_fold *self, const tk_slot *slots, Py_ssize_t count, Py_ssize_t *at, uint64_t position, int *why) {
    if (self->in_rest && !repeat_rest(self)) {
        return false;
    }
    Py_ssize_t next = *at;
    uint64_t stamp = 0;
    bool fine = true, more = true;
    while (fine && more && next < count && self->rows < self->room && !self->in_rest) {
        if (position + (uint64_t)next >= stamp) {
            stamp = pass_stamps(self, position + (uint64_t)next);
        }
        Py_ssize_t end = least(least(count, (uint64_t)(next + self->room - self->rows)), stamp - position);
        next = usual_run(self, slots, next, end, count);
        if (next < end) {
            fine = any_slot(self, slots, count, &next, &more);
        }
    }
    *why = !more ? TK_DEFINITION : next < count || self->in_rest ? TK_FULL : TK_REACHED_END;
    *at = next;
    return fine;
}

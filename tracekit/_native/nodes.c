/* Numbers code objects and the nodes of call paths, and defines them in the ring. Called by stack.c.

   Memory is libc's own (never Python's, which is hooked). */
#include "nodes.h"
#include "hooks.h"
#include "interest.h"
#include "ring.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKET = 4, FEWEST_BUCKETS = 1 << 6, BUCKETS_AT_FIRST = 1 << 9, MOST_BUCKETS = 1 << 13 };
enum { FEWEST_CODES = 1 << 7, TAG_BITS = 15, TAG = (1 << TAG_BITS) - 1, TURN_SHIFT = BUCKET * TAG_BITS };

typedef struct {
    uint32_t parent;
    uint32_t code;
    uint32_t offset;
    uint32_t node;
} node_entry;

typedef struct {
    const void *address; /* NULL: free; GONE: was deleted */
    uint32_t number;
} code_entry;

#define GONE ((const void *)1)

static node_entry *nodes;
static uint64_t *tags;
static uint64_t buckets_mask, overflows;
static uint32_t last_node;
static code_entry *codes;
static uint64_t codes_mask, codes_used;
static uint32_t next_code = 1;

static void give_back(void) {
    free(nodes);
    free(tags);
    free(codes);
    nodes = NULL;
    tags = NULL;
    codes = NULL;
}

int tk_nodes_begin(void) {
    give_back();
    buckets_mask = FEWEST_BUCKETS - 1;
    codes_mask = FEWEST_CODES - 1;
    nodes = aligned_alloc(64, FEWEST_BUCKETS * BUCKET * sizeof *nodes);
    tags = calloc(FEWEST_BUCKETS, sizeof *tags);
    codes = calloc(FEWEST_CODES, sizeof *codes);
    codes_used = overflows = last_node = 0;
    next_code = 1;
    if (nodes == NULL || tags == NULL || codes == NULL) {
        give_back();
        return -1;
    }
    return 0;
}

static uint64_t mix(uint64_t value) {
    value ^= value >> 33;
    value *= 0xff51afd7ed558ccdull;
    value ^= value >> 33;
    return value;
}

/* -- codes ------------------------------------------------------------------------------------------- */

static code_entry *code_place(const void *address) {
    code_entry *grave = NULL;
    for (uint64_t at = mix((uintptr_t)address) & codes_mask;; at = (at + 1) & codes_mask) {
        if (codes[at].address == address) {
            return &codes[at];
        }
        if (codes[at].address == GONE && grave == NULL) {
            grave = &codes[at];
        }
        if (codes[at].address == NULL) {
            return grave != NULL ? grave : &codes[at];
        }
    }
}

static bool grow_codes(void) {
    code_entry *old = codes;
    uint64_t old_mask = codes_mask;
    code_entry *larger = calloc(2 * (codes_mask + 1), sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    codes = larger;
    codes_mask = 2 * codes_mask + 1;
    codes_used = 0;
    for (uint64_t at = 0; at <= old_mask; at++) {
        if (old[at].address != NULL && old[at].address != GONE) {
            *code_place(old[at].address) = old[at];
            codes_used++;
        }
    }
    free(old);
    return true;
}

bool tk_code_forget(const void *address) {
    if (codes == NULL) {
        return false;
    }
    code_entry *entry = code_place(address);
    if (entry->address != address) {
        return false;
    }
    entry->address = GONE;
    return true;
}

static void define_code(uint32_t number, PyCodeObject *code) {
    char *buffer = tk_text_buffer;
    int32_t first_line = code->co_firstlineno;
    uint32_t words = (uint32_t)(code->co_nlocalsplus + code->co_stacksize);
    memcpy(buffer, &first_line, 4);
    memcpy(buffer + 4, &words, 4);
    size_t at = 8;
    at += tk_put_text(buffer + at, code->co_filename);
    at += tk_put_text(buffer + at, code->co_qualname);
    const char *table = PyBytes_AS_STRING(code->co_linetable);
    size_t table_bytes = (size_t)PyBytes_GET_SIZE(code->co_linetable);
    if (at + table_bytes > TK_MAX_PAYLOAD) {
        table_bytes = 0;
    }
    tk_ring_define(TK_DEF_CODE, 0, number, buffer, at, table, table_bytes, true);
}

uint32_t tk_code_number(PyCodeObject *code) {
    code_entry *entry = code_place(code);
    if (entry->address == code) {
        return entry->number;
    }
    if (4 * (codes_used + 1) > 3 * (codes_mask + 1)) {
        if (!grow_codes()) {
            return 0;
        }
        entry = code_place(code);
    }
    if (entry->address == NULL) {
        codes_used++;
    }
    entry->address = code;
    entry->number = next_code++;
    tk_interest_in(code);
    define_code(entry->number, code);
    return entry->number;
}

/* -- nodes ------------------------------------------------------------------------------------------- */

/* The nodes are a cache with a bound, not a table of all there are: a program that walks trees has a million call
   paths, and its memory is not ours to fill. A path that was forgotten gets another number when it comes again, and
   the collector finds out that it is the same. There are 64 KiB of nodes for every arena that the program has come to
   since the recording began, and half of that for one that has come to none.

   A bucket is one line of the processor's cache, and that line is most often somewhere else. So what is asked first,
   in most cases in vain, is a word a bucket: a tag for every entry (0: it is free), and whose turn it is to fall out. */
static inline uint64_t hash_of(uint32_t parent, uint32_t code, uint32_t offset) {
    return mix(((uint64_t)parent << 32 | code) * 0x9E3779B97F4A7C15ull + offset);
}

static inline uint64_t tag_of(uint64_t hash) { return (hash >> (64 - TAG_BITS)) | 1; }

static inline unsigned turn_of(uint64_t word) { return (unsigned)(word >> TURN_SHIFT); }

static inline uint64_t tag_at(uint64_t word, unsigned at) { return word >> (at * TAG_BITS) & TAG; }

/* Put an entry into its bucket; the oldest one falls out. */
static inline void put(uint64_t hash, node_entry entry) {
    uint64_t bucket = hash & buckets_mask, word = tags[bucket];
    unsigned at = turn_of(word);
    uint64_t others = word & (((uint64_t)1 << TURN_SHIFT) - 1) & ~((uint64_t)TAG << (at * TAG_BITS));
    tags[bucket] = others | tag_of(hash) << (at * TAG_BITS) | (uint64_t)((at + 1) % BUCKET) << TURN_SHIFT;
    nodes[bucket * BUCKET + at] = entry;
}

static void grow_nodes(void) {
    node_entry *old = nodes;
    uint64_t *old_tags = tags, old_mask = buckets_mask;
    node_entry *larger = aligned_alloc(64, 2 * (old_mask + 1) * BUCKET * sizeof *larger);
    uint64_t *larger_tags = calloc(2 * (old_mask + 1), sizeof *larger_tags);
    if (larger == NULL || larger_tags == NULL) {
        free(larger);
        free(larger_tags);
        return;
    }
    nodes = larger;
    tags = larger_tags;
    buckets_mask = 2 * old_mask + 1;
    for (uint64_t bucket = 0; bucket <= old_mask; bucket++) {
        unsigned oldest = turn_of(old_tags[bucket]);
        for (unsigned i = 0; i < BUCKET; i++) {
            unsigned at = (oldest + i) % BUCKET;
            if (tag_at(old_tags[bucket], at) != 0) {
                node_entry entry = old[bucket * BUCKET + at];
                put(hash_of(entry.parent, entry.code, entry.offset), entry);
            }
        }
    }
    free(old);
    free(old_tags);
}

static bool may_grow(void) {
    uint64_t buckets = buckets_mask + 1;
    return buckets < MOST_BUCKETS && buckets < BUCKETS_AT_FIRST * (1 + 2 * tk_hooks_arenas());
}

static uint32_t define_node(uint64_t hash, uint32_t parent, uint32_t code, uint32_t offset) {
    if (last_node >= INT32_MAX) {
        return parent;
    }
    uint64_t word = tags[hash & buckets_mask];
    if (tag_at(word, turn_of(word)) != 0 && may_grow() && ++overflows * 4 > buckets_mask) {
        grow_nodes();
        overflows = 0;
    }
    put(hash, (node_entry){parent, code, offset, ++last_node});
    tk_slot payload = {parent | (uint64_t)code << 32, offset | (uint64_t)last_node << 32};
    tk_ring_put_two_as_holder(tk_slot_of(TK_DEFINE, TK_DEF_CODE_NODE, 0, sizeof payload, last_node), payload);
    return last_node;
}

uint32_t tk_node(uint32_t parent, uint32_t code, uint32_t offset) {
    uint64_t hash = hash_of(parent, code, offset), tag = tag_of(hash);
    uint64_t bucket = hash & buckets_mask, word = tags[bucket];
    for (unsigned i = 0; i < BUCKET; i++) {
        const node_entry *entry = &nodes[bucket * BUCKET + i];
        if (tag_at(word, i) == tag && entry->parent == parent && entry->code == code && entry->offset == offset) {
            return entry->node;
        }
    }
    return define_node(hash, parent, code, offset);
}

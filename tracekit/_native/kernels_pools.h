/* Where will the next block be? A guess at the allocators that gave the addresses of a batch.

   pymalloc hands out the block of a pool that was freed last, from the pool that came last to the front of its
   size class (Objects/obmalloc.c); glibc's malloc is last in, first out by size for most. So freed addresses are
   kept in stacks: one a 16 KiB pool, with the pools of a size class in a list, and one a size for the others.
   Whoever writes a log and whoever reads it come to the same guesses, and only what differs is stored.
   docs/log-format.md has the rules. Used by kernels_codec.c. */
#ifndef TRACEKIT_KERNELS_POOLS_H
#define TRACEKIT_KERNELS_POOLS_H

#include <stdbool.h>
#include <stdint.h>

enum { TK_POOL_BITS = 14, TK_POOL_CELLS = 1 << (TK_POOL_BITS - 4), TK_POOLS = 1 << 13, TK_CLASSES = 32 };
enum { TK_POOL_BYTES = 1 << TK_POOL_BITS, TK_POOL_HEADER = 48, TK_MOST_SMALL = 512 };
enum { TK_NO_CELL = 0xFFFF, TK_NOT_FREE = 0xFEFE };
enum { TK_BINS = 1 << 10, TK_BIN_DEPTH = 32, TK_BASES = TK_CLASSES + TK_BINS };

typedef struct {
    int32_t before, after;
    uint32_t fresh;               /* offset of the first byte that was never handed out; POOL_BYTES: not known */
    uint16_t top;                 /* cell that was freed last, or NO_CELL */
    uint16_t below[TK_POOL_CELLS]; /* for a freed cell the one that was freed before it */
} tk_pool;

/* All that must be right for a pool to be the one that is meant, in one word: its address, its size class, whether it
   is in the list of that, and the round. Those of another round are empty, and so are bins. */
enum { TK_KEY_LISTED = 1 << 8, TK_KEY_CLASS = 9, TK_MOST_ROUNDS = 255 };

typedef struct {
    uint32_t round;
    uint64_t key[TK_POOLS];
    uint32_t bin_round[TK_BINS];
    int32_t front[TK_CLASSES]; /* first pool of a class, -1: none */
    uint64_t newest;           /* the pool that was begun last */
    int32_t guessed;           /* pool of the last guess, -1: none */
    tk_pool pools[TK_POOLS];
    uint16_t depth[TK_BINS];
    uint64_t bins[TK_BINS][TK_BIN_DEPTH];
    uint64_t base[TK_BASES]; /* last address that was no good guess, a class or bin */
} tk_pools;

static inline bool tk_pools_is_small(uint64_t size, uint8_t domain) {
    return domain != 0 && size <= TK_MOST_SMALL;
}

static inline int tk_pools_class(uint64_t size) {
    return size == 0 ? 0 : (int)((size - 1) >> 4);
}

static inline uint64_t tk_pools_key(const tk_pools *pools, uint64_t address, int size_class) {
    return (address & ~(uint64_t)(TK_POOL_BYTES - 1)) | (uint64_t)size_class << TK_KEY_CLASS | pools->round;
}

/* Forget everything. */
void tk_pools_begin(tk_pools *pools);
/* What an address that was not guessed is told relative to. */
uint64_t *tk_pools_base(tk_pools *pools, uint64_t size, uint8_t domain);

/* The three below, without the short cuts. */
uint64_t tk_pools_guess_any(tk_pools *pools, uint64_t size, uint8_t domain);
void tk_pools_take_any(tk_pools *pools, uint64_t size, uint8_t domain, uint64_t guess, uint64_t address);
void tk_pools_give_any(tk_pools *pools, uint64_t size, uint8_t domain, uint64_t address);

/* The address that an allocation will have, 0 for no idea. */
static inline uint64_t tk_pools_guess(tk_pools *pools, uint64_t size, uint8_t domain) {
    if (tk_pools_is_small(size, domain)) {
        int size_class = tk_pools_class(size);
        int32_t which = pools->front[size_class];
        if (which >= 0) {
            uint32_t offset = (uint32_t)pools->pools[which].top << 4, step = ((uint32_t)size_class + 1) << 4;
            if (offset + step <= TK_POOL_BYTES) { /* which no offset of TK_NO_CELL is */
                pools->guessed = which;
                return (pools->key[which] & ~(uint64_t)(TK_POOL_BYTES - 1)) + offset;
            }
        }
    }
    return tk_pools_guess_any(pools, size, domain);
}

/* The address that it had. Must follow the guess. */
static inline void tk_pools_take(tk_pools *pools, uint64_t size, uint8_t domain, uint64_t guess, uint64_t address) {
    if (guess == address && pools->guessed >= 0) {
        tk_pool *pool = &pools->pools[pools->guessed];
        uint32_t cell = ((uint32_t)address & (TK_POOL_BYTES - 1)) >> 4;
        if (pool->below[cell] != TK_NOT_FREE) { /* a guessed pool is in its list */
            pool->top = pool->below[cell];
            pool->below[cell] = TK_NOT_FREE;
            return;
        }
    }
    tk_pools_take_any(pools, size, domain, guess, address);
}

static inline int32_t tk_pools_place(uint64_t address) {
    return (int32_t)((address >> TK_POOL_BITS) * 0x9E3779B97F4A7C15ull >> 51);
}

/* A block was given back. */
static inline void tk_pools_give(tk_pools *pools, uint64_t size, uint8_t domain, uint64_t address) {
    int32_t which = tk_pools_place(address);
    if (tk_pools_is_small(size, domain) &&
        pools->key[which] == (tk_pools_key(pools, address, tk_pools_class(size)) | TK_KEY_LISTED)) {
        tk_pool *pool = &pools->pools[which];
        uint32_t cell = ((uint32_t)address & (TK_POOL_BYTES - 1)) >> 4;
        pool->below[cell] = pool->top;
        pool->top = (uint16_t)cell;
        return;
    }
    tk_pools_give_any(pools, size, domain, address);
}

#endif

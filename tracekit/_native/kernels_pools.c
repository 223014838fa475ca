/* The rules by which addresses are guessed; see kernels_pools.h. tracekit/log/guesses.py has the same in Python. */
#include "kernels_pools.h"

#include <string.h>

static inline unsigned bin_of(uint64_t size) {
    uint64_t units = (size + 23) >> 4;
    if (units < 256) {
        return (unsigned)units;
    }
    unsigned top = 63 - (unsigned)__builtin_clzll(units);
    return 256 + (((top - 8) << 5 | (unsigned)(units >> (top - 5) & 31)) & 511);
}

void tk_pools_begin(tk_pools *pools) {
    pools->round++;
    if (pools->round > TK_MOST_ROUNDS) {
        memset(pools->key, 0, sizeof pools->key);
        memset(pools->bin_round, 0, sizeof pools->bin_round);
        pools->round = 1;
    }
    memset(pools->front, 0xFF, sizeof pools->front);
    memset(pools->base, 0, sizeof pools->base);
    pools->newest = 0;
    pools->guessed = -1;
}

static inline unsigned class_of(const tk_pools *pools, int32_t which) {
    return pools->key[which] >> TK_KEY_CLASS & (TK_CLASSES - 1);
}

static void unlist(tk_pools *pools, int32_t which) {
    tk_pool *pool = &pools->pools[which];
    if (!(pools->key[which] & TK_KEY_LISTED)) {
        return;
    }
    pools->key[which] &= ~(uint64_t)TK_KEY_LISTED;
    if (pool->before >= 0) {
        pools->pools[pool->before].after = pool->after;
    } else {
        pools->front[class_of(pools, which)] = pool->after;
    }
    if (pool->after >= 0) {
        pools->pools[pool->after].before = pool->before;
    }
}

static void list(tk_pools *pools, int32_t which) {
    tk_pool *pool = &pools->pools[which];
    if (pools->key[which] & TK_KEY_LISTED) {
        return;
    }
    int32_t *front = &pools->front[class_of(pools, which)];
    pools->key[which] |= TK_KEY_LISTED;
    pool->before = -1;
    pool->after = *front;
    if (pool->after >= 0) {
        pools->pools[pool->after].before = which;
    }
    *front = which;
}

/* The pool of an address, as one of this size class: what was known of it as another's is gone. */
static int32_t pool_at(tk_pools *pools, uint64_t address, int size_class) {
    int32_t which = tk_pools_place(address);
    tk_pool *pool = &pools->pools[which];
    uint64_t key = tk_pools_key(pools, address, size_class), now = pools->key[which];
    if ((now & ~(uint64_t)TK_KEY_LISTED) == key) {
        return which;
    }
    if ((now & TK_MOST_ROUNDS) == pools->round) {
        unlist(pools, which);
    }
    pools->key[which] = key;
    pool->fresh = TK_POOL_BYTES;
    pool->top = TK_NO_CELL;
    memset(pool->below, TK_NOT_FREE & 0xFF, sizeof pool->below);
    return which;
}

uint64_t *tk_pools_base(tk_pools *pools, uint64_t size, uint8_t domain) {
    return &pools->base[tk_pools_is_small(size, domain) ? (unsigned)tk_pools_class(size) : TK_CLASSES + bin_of(size)];
}

uint64_t tk_pools_guess_any(tk_pools *pools, uint64_t size, uint8_t domain) {
    if (!tk_pools_is_small(size, domain)) {
        unsigned bin = bin_of(size);
        bool current = pools->bin_round[bin] == pools->round;
        pools->guessed = -1;
        return current && pools->depth[bin] > 0 ? pools->bins[bin][pools->depth[bin] - 1] : 0;
    }
    int size_class = tk_pools_class(size);
    uint32_t step = ((uint32_t)size_class + 1) << 4;
    int32_t which;
    while ((which = pools->front[size_class]) >= 0) {
        const tk_pool *pool = &pools->pools[which];
        uint32_t offset = pool->top != TK_NO_CELL ? (uint32_t)pool->top << 4 : pool->fresh;
        if (offset + step <= TK_POOL_BYTES) {
            pools->guessed = which;
            return (pools->key[which] & ~(uint64_t)(TK_POOL_BYTES - 1)) + offset;
        }
        unlist(pools, which);
    }
    pools->guessed = -1;
    return pools->newest == 0 ? 0 : pools->newest + TK_POOL_BYTES + TK_POOL_HEADER;
}

static void take_from_bin(tk_pools *pools, uint64_t size, uint64_t address) {
    unsigned bin = bin_of(size);
    unsigned depth = pools->bin_round[bin] == pools->round ? pools->depth[bin] : 0;
    uint64_t *stack = pools->bins[bin];
    for (unsigned at = depth; at-- > 0;) {
        if (stack[at] == address) {
            memmove(&stack[at], &stack[at + 1], (depth - 1 - at) * sizeof *stack);
            pools->depth[bin]--;
            return;
        }
    }
}

void tk_pools_take_any(tk_pools *pools, uint64_t size, uint8_t domain, uint64_t guess, uint64_t address) {
    if (!tk_pools_is_small(size, domain)) {
        take_from_bin(pools, size, address);
        return;
    }
    int size_class = tk_pools_class(size);
    int32_t which = pool_at(pools, address, size_class);
    if (guess != address && pools->guessed >= 0 && pools->guessed != which) {
        unlist(pools, pools->guessed); /* it was full, or given back as a whole */
    }
    tk_pool *pool = &pools->pools[which];
    uint32_t offset = (uint32_t)address & (TK_POOL_BYTES - 1);
    uint32_t cell = offset >> 4;
    if (pool->below[cell] != TK_NOT_FREE) {
        pool->top = pool->below[cell];
        pool->below[cell] = TK_NOT_FREE;
    } else {
        uint32_t end = offset + (((uint32_t)size_class + 1) << 4);
        if (pool->fresh == TK_POOL_BYTES || end > pool->fresh) {
            pool->fresh = end;
        }
        if (offset == TK_POOL_HEADER) {
            pools->newest = address - TK_POOL_HEADER;
        }
    }
    list(pools, which);
}

void tk_pools_give_any(tk_pools *pools, uint64_t size, uint8_t domain, uint64_t address) {
    if (tk_pools_is_small(size, domain)) {
        int32_t which = pool_at(pools, address, tk_pools_class(size));
        tk_pool *pool = &pools->pools[which];
        uint32_t cell = ((uint32_t)address & (TK_POOL_BYTES - 1)) >> 4;
        pool->below[cell] = pool->top;
        pool->top = (uint16_t)cell;
        list(pools, which);
        return;
    }
    unsigned bin = bin_of(size);
    if (pools->bin_round[bin] != pools->round) {
        pools->bin_round[bin] = pools->round;
        pools->depth[bin] = 0;
    }
    uint64_t *stack = pools->bins[bin];
    if (pools->depth[bin] == TK_BIN_DEPTH) {
        memmove(stack, stack + 1, (TK_BIN_DEPTH - 1) * sizeof *stack);
        pools->depth[bin]--;
    }
    stack[pools->depth[bin]++] = address;
}

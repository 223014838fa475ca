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
enum { TK_BINS = 1 << 10, TK_BIN_DEPTH = 32, TK_BASES = TK_CLASSES + TK_BINS };

typedef struct {
    uint64_t number; /* address / 16 KiB */
    int32_t before, after;
    int16_t size_class;
    bool listed;
    uint32_t fresh;               /* offset of the first byte that was never handed out; POOL_BYTES: not known */
    uint16_t top;                 /* cell that was freed last, or NO_CELL */
    uint16_t below[TK_POOL_CELLS]; /* for a freed cell the one that was freed before it */
} tk_pool;

typedef struct {
    uint32_t round; /* pools and bins of another round are empty */
    uint32_t pool_round[TK_POOLS], bin_round[TK_BINS];
    int32_t front[TK_CLASSES]; /* first pool of a class, -1: none */
    uint64_t newest;           /* the pool that was begun last */
    int32_t guessed;           /* pool of the last guess */
    tk_pool pools[TK_POOLS];
    uint16_t depth[TK_BINS];
    uint64_t bins[TK_BINS][TK_BIN_DEPTH];
    uint64_t base[TK_BASES]; /* last address that was no good guess, a class or bin */
} tk_pools;

/* Forget everything. */
void tk_pools_begin(tk_pools *pools);
/* The address that an allocation will have, 0 for no idea. */
uint64_t tk_pools_guess(tk_pools *pools, uint64_t size, uint8_t domain);
/* The address that it had. Must follow the guess. */
void tk_pools_take(tk_pools *pools, uint64_t size, uint8_t domain, uint64_t guess, uint64_t address);
/* A block was given back. */
void tk_pools_give(tk_pools *pools, uint64_t size, uint8_t domain, uint64_t address);
/* What an address that was not guessed is told relative to. */
uint64_t *tk_pools_base(tk_pools *pools, uint64_t size, uint8_t domain);

#endif

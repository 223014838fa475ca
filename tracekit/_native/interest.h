/* Blocks whose end matters beyond the event: code objects and types. Set by stack.c and types.c, asked by hooks.c.

   One bit for every address of an object, the same for addresses 8 MiB apart: a bit that is not set spares every free
   two lookups in tables. Neighbours have neighbouring bits, so little of the memory of the bits is ever touched. Bits
   are never cleared, since a set bit only costs those lookups. Needs the GIL. */
#ifndef TRACEKIT_INTEREST_H
#define TRACEKIT_INTEREST_H

#include <stdbool.h>
#include <stdint.h>

enum { TK_INTEREST_BITS = 1 << 19 };
extern uint64_t tk_interest[TK_INTEREST_BITS / 64];

static inline uint32_t tk_interest_bit(const void *block) {
    return (uint32_t)((uintptr_t)block >> 4) & (TK_INTEREST_BITS - 1);
}

static inline void tk_interest_in(const void *block) {
    uint32_t bit = tk_interest_bit(block);
    tk_interest[bit >> 6] |= 1ull << (bit & 63);
}

static inline bool tk_is_interesting(const void *block) {
    uint32_t bit = tk_interest_bit(block);
    return tk_interest[bit >> 6] >> (bit & 63) & 1;
}

#endif

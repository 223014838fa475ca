/* Slots of the ring as the collector reads them; layout in tracekit/record/slots.py. Apart from ring.h, which is
   how an engine writes them: the two programs share the layout and no code. */
#ifndef TRACEKIT_KERNELS_SLOTS_H
#define TRACEKIT_KERNELS_SLOTS_H

#include <stdint.h>

typedef struct {
    uint8_t kind;
    uint8_t flags;
    uint16_t thread;
    uint32_t node;
    uint64_t word;
} tk_slot;

_Static_assert(sizeof(tk_slot) == 16, "a slot has 16 bytes");

enum {
    TK_ALLOC = 1,
    TK_FREE = 2,
    TK_WIDE = 3,
    TK_REPEAT = 4,
    TK_TIME = 5,
    TK_DEFINE = 6,
    TK_UNFREE = 7,
    TK_ARENA = 8,
    TK_TYPED = 9,
};

enum { TK_DEF_CODE_NODE = 11, TK_CAUSE_REALLOC = 2, TK_REALLOCATED = 0x80 };

#define TK_SIZE_BITS 20
#define TK_SIZE_WIDE ((1u << TK_SIZE_BITS) - 1)
#define TK_MAX_PAYLOAD (1u << 20)

#endif

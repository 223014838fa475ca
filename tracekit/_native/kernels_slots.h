/* A slot of the ring as the collector reads it. */
#ifndef TRACEKIT_KERNELS_SLOTS_H
#define TRACEKIT_KERNELS_SLOTS_H

#include "slots.h"

#include <stdint.h>

typedef struct {
    uint8_t kind;
    uint8_t flags;
    uint16_t thread;
    uint32_t node;
    uint64_t word;
} tk_slot;

_Static_assert(sizeof(tk_slot) == 16, "a slot has 16 bytes");

#endif

/* Types of what is alive. Needs the GIL. */
#ifndef TRACEKIT_LIVE_H
#define TRACEKIT_LIVE_H

#include "compat.h"

/* Write a TYPED slot for every object that the collector tracks or that such an object or a running frame refers to.
   Returns how many, or -1 when memory did not suffice. */
int64_t tk_live_types(uint16_t thread);

#endif

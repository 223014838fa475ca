/* Types of blocks, read from object headers. Everything here needs the GIL. */
#ifndef TRACEKIT_TYPES_H
#define TRACEKIT_TYPES_H

#include "compat.h"

#include <stdint.h>

int tk_types_begin(void);

/* A type that is known to exist, since the caller holds it. */
void tk_types_know(PyTypeObject *type);

/* An allocation of the object domain that is large enough to hold a type. */
void tk_types_large_block(const void *block, size_t size);

/* A block of the object domain is about to be given back that tk_is_interesting(). */
void tk_types_forget_block(const void *block);

/* Number of the type of the object that dies in a block of the object domain, 0 where it cannot be told. Defines
   the type in the ring at its first use. Follows no pointer that was not proven. */
uint32_t tk_types_of_dying(const void *block);

/* Number of the type of a live object (0: none left), and the block the object lies in. */
uint32_t tk_types_of_live(PyObject *object, const void **block);

#endif

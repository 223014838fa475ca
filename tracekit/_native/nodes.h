/* Numbers of code objects and of nodes of call paths. Everything here needs the GIL. */
#ifndef TRACEKIT_NODES_H
#define TRACEKIT_NODES_H

#include "compat.h"

#include <stdbool.h>
#include <stdint.h>

/* A recording begins: nothing has a number. Returns 0, or -1 without memory. */
int tk_nodes_begin(void);

/* Number of a code object, which is defined in the ring at its first use; 0 when memory is short. */
uint32_t tk_code_number(PyCodeObject *code);

/* A block at this address is given back. True if a code object was there; its number is not used again. */
bool tk_code_forget(const void *address);

/* Number of the call path that leads from `parent` (0: from nowhere) to an instruction of a code object; defined in the
   ring unless it is remembered. */
uint32_t tk_node(uint32_t parent, uint32_t code, uint32_t offset);

#endif

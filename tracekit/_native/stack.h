/* Call paths as numbers: interned nodes of (parent, code, instruction). */
#ifndef TRACEKIT_STACK_H
#define TRACEKIT_STACK_H

#include "compat.h"

#include <stdint.h>

/* Everything below needs the GIL. */

int tk_stack_begin(void);

/* Node of the calling thread's current call path, 0 for none. Defines new nodes and codes in the ring. */
uint32_t tk_stack_node(PyThreadState *state);

/* Node of the call path whose innermost frame this is, of any thread, 0 for none. Remembers nothing of the walk. */
uint32_t tk_stack_path(tk_frame *innermost);

/* The calling thread walks anew: what it knows belongs to an earlier recording. */
void tk_stack_forget_walk(void);

/* A block at this address is given back: if a code object was there, its number is not used again. */
void tk_stack_forget_code(const void *address);

#endif

/* The allocator hooks. Called by module.c. */
#ifndef TRACEKIT_HOOKS_H
#define TRACEKIT_HOOKS_H

#include "compat.h"

#include <stdbool.h>
#include <stdint.h>

/* Put our hooks on top of the allocators of all domains and of arenas. Returns 0, or -1 without memory. */
int tk_hooks_install(void);

/* Stop recording. Hooks are taken away where they are on top and stay as pass-through where not. */
void tk_hooks_remove(void);

/* Whether every domain still leads to our hooks. A program that stops a tracemalloc which was started before the
   recording throws them away. Needs the GIL. */
bool tk_hooks_alive(void);

/* In a fork's child that is not followed: nothing of ours does anything any more. */
void tk_hooks_abandon(void);

/* What the calling thread allocates and frees until tk_hooks_loud() is our own and not recorded. */
void tk_hooks_quiet(void);
void tk_hooks_loud(void);

/* How many arenas the program was given in this recording, returned ones too. */
uint32_t tk_hooks_arenas(void);

/* Between these two, frees of the calling thread have the cause gc. */
void tk_collection_starts(void);
void tk_collection_stops(void);

#endif

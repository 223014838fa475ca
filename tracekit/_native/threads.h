/* Numbers and names of threads. */
#ifndef TRACEKIT_THREADS_H
#define TRACEKIT_THREADS_H

#include "compat.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The calling thread, in one place: the hooks look at all of it at every event. */
typedef struct {
    uint32_t recording; /* the one in which it has its number */
    uint16_t number;
    uint32_t look_in, look_after; /* allocations until its name is looked for, and how many that were in all */
    void *walk;                   /* belongs to stack.c */
} tk_thread_facts;

extern __thread tk_thread_facts tk_mine __attribute__((tls_model("initial-exec")));
extern _Atomic(uint32_t) tk_recording_number;

uint16_t tk_thread_becomes_known(uint32_t recording, bool holder);

/* Number of the calling thread; defined in the ring at its first use. `holder`: it holds the GIL. */
static inline uint16_t tk_thread(bool holder) {
    uint32_t recording = atomic_load_explicit(&tk_recording_number, memory_order_relaxed);
    return __builtin_expect(tk_mine.recording == recording, 1) ? tk_mine.number
                                                               : tk_thread_becomes_known(recording, holder);
}

/* All that follows needs the GIL. */

/* Number of the thread of a state, which has one kept for it if it has not allocated yet; 0 for a state that no thread
   has taken. */
uint16_t tk_thread_of(const PyThreadState *state);

/* A new recording begins: threads are numbered anew. */
void tk_threads_begin(void);

/* Define the names of all threads that have one and are not named yet. Makes no objects that last, runs no code of
   the program. */
void tk_threads_name_all(void);

/* Called for the calling thread's allocations: looks for its name now and then until it has one. */
void tk_threads_look_now(uint16_t number);

static inline void tk_threads_look(uint16_t number) {
    if (__builtin_expect(--tk_mine.look_in == 0, 0)) {
        tk_threads_look_now(number);
    }
}

#endif

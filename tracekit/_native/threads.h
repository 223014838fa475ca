/* Numbers and names of threads. */
#ifndef TRACEKIT_THREADS_H
#define TRACEKIT_THREADS_H

#include "compat.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

extern __thread uint16_t tk_my_number __attribute__((tls_model("initial-exec")));
extern __thread uint32_t tk_my_recording __attribute__((tls_model("initial-exec")));
extern _Atomic(uint32_t) tk_recording_number;

uint16_t tk_thread_becomes_known(uint32_t recording, bool holder);

/* Number of the calling thread; defined in the ring at its first use. `holder`: it holds the GIL. */
static inline uint16_t tk_thread(bool holder) {
    uint32_t recording = atomic_load_explicit(&tk_recording_number, memory_order_relaxed);
    return tk_my_recording == recording ? tk_my_number : tk_thread_becomes_known(recording, holder);
}

/* A new recording begins: threads are numbered anew. Needs the GIL, as does what follows. */
void tk_threads_begin(void);

/* Define the names of all threads that have one and are not named yet. Makes no objects that last, runs no code of
   the program. */
void tk_threads_name_all(void);

/* Called for the calling thread's allocations: looks for its name now and then until it has one. */
extern __thread uint32_t tk_looks __attribute__((tls_model("initial-exec")));
extern __thread uint32_t tk_next_look __attribute__((tls_model("initial-exec")));
void tk_threads_look_now(uint16_t number);

static inline void tk_threads_look(uint16_t number) {
    if (++tk_looks == tk_next_look) {
        tk_threads_look_now(number);
    }
}

#endif

/* The program's end of the ring, one a process: a shared mapping that belongs to the kernel. Every slot is written
   under the ring's lock (ring.c), which is never held while Python or an allocator runs. */
#ifndef TRACEKIT_RING_H
#define TRACEKIT_RING_H

#include "slots.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

/* kind u8 | flags u8 | thread u16 | node u32, little-endian, and the word. Put together in registers: a slot written
   field by field and read as a whole would wait for the processor's store buffer, which costs as much as the rest. */
typedef struct {
    uint64_t head;
    uint64_t word;
} tk_slot;

_Static_assert(sizeof(tk_slot) == 16, "a slot has 16 bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "slots are little-endian");

static inline tk_slot tk_slot_of(uint8_t kind, uint8_t flags, uint16_t thread, uint32_t node, uint64_t word) {
    return (tk_slot){kind | (uint64_t)flags << 8 | (uint64_t)thread << 16 | (uint64_t)node << 32, word};
}

/* Map the ring at a path. Returns 0, or an errno value (EBUSY when one is open). */
int tk_ring_open(const char *path);
/* Stop writing; called in a fork's child and when the collector is gone. */
void tk_ring_let_go(void);
bool tk_ring_is_open(void);
/* CLOCK_MONOTONIC at time 0 of the recording; to be told before the first event. */
void tk_ring_set_origin(uint64_t monotonic_ns);
/* Nanoseconds since then. */
uint64_t tk_ring_now(void);
void tk_ring_set_state(uint64_t state);
/* A word of the ring's first page, also after letting go; 0 when none is mapped. */
uint64_t tk_ring_word(unsigned number);
/* Give the memory of a ring that was let go back. Needs the GIL. */
void tk_ring_unmap(void);
/* In a fork's child, before there is another thread: the parent's ring, and a lock that a thread had which is not
   here, are no longer ours. */
void tk_ring_disown(void);

/* Append a slot; `holder`: the caller holds the GIL. Waits while the ring is full; drops it only when nobody reads any
   more. */
void tk_ring_put(tk_slot slot, bool holder);

/* The writing end; what every event touches is one line of the processor's cache. */
typedef struct {
    atomic_bool busy;      /* the holder of the GIL writes */
    atomic_uint attention; /* TK_ATTENTION_...: what keeps it from writing at once */
    uint64_t written;
    uint64_t limit; /* `written` must not pass this before the collector was asked how far it is */
    uint64_t mask;
    tk_slot *slots;
    _Atomic(uint64_t) *words; /* NULL: none is mapped */
} tk_ring_end;

/* Somebody without the GIL writes or waits; nothing is to be written; there is no membarrier. */
enum { TK_ATTENTION_OTHERS = 1, TK_ATTENTION_CLOSED = 2, TK_ATTENTION_SLOWLY = 4 };
enum { TK_AHEAD = 32, TK_TELL_EVERY = 64 };

extern tk_ring_end tk_ring;

/* Have a line of memory, which the collector's processor has by now, brought back. */
static inline void tk_prefetch_to_write(const void *address) {
#ifdef __x86_64__
    /* Compilers take this instruction for newer than it is; where it means nothing, it does nothing. */
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)address));
#else
    __builtin_prefetch(address, 1);
#endif
}

/* With the ring taken, and room in it. */
static inline void tk_ring_write(tk_slot slot) {
    uint64_t written = tk_ring.written;
    tk_prefetch_to_write(&tk_ring.slots[(written + TK_AHEAD) & tk_ring.mask]);
    /* Two stores of words: one of 16 bytes would have to wait until both are in memory. */
    tk_slot *to = &tk_ring.slots[written & tk_ring.mask];
    __atomic_store_n(&to->head, slot.head, __ATOMIC_RELAXED);
    __atomic_store_n(&to->word, slot.word, __ATOMIC_RELAXED);
    tk_ring.written = written + 1;
}

static inline void tk_ring_publish(void) {
    atomic_store_explicit(&tk_ring.words[TK_WORD_WRITTEN], tk_ring.written, memory_order_release);
}

/* tk_ring_put(slot, true), inline as long as nothing is in the way. */
static inline void tk_ring_put_as_holder(tk_slot slot) {
    atomic_store_explicit(&tk_ring.busy, true, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* the other side's membarrier does the rest */
    if (__builtin_expect(atomic_load_explicit(&tk_ring.attention, memory_order_acquire) == 0 &&
                             tk_ring.written != tk_ring.limit && (tk_ring.written & (TK_TELL_EVERY - 1)) != 0,
                         1)) {
        tk_ring_write(slot);
        tk_ring_publish();
        atomic_store_explicit(&tk_ring.busy, false, memory_order_release);
    } else {
        atomic_store_explicit(&tk_ring.busy, false, memory_order_release);
        tk_ring_put(slot, true);
    }
}
/* Append two that belong together. */
void tk_ring_put_two(tk_slot first, tk_slot second, bool holder);

/* tk_ring_put_two(first, second, true), inline as long as nothing is in the way. */
static inline void tk_ring_put_two_as_holder(tk_slot first, tk_slot second) {
    atomic_store_explicit(&tk_ring.busy, true, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    if (__builtin_expect(atomic_load_explicit(&tk_ring.attention, memory_order_acquire) == 0 &&
                             tk_ring.limit - tk_ring.written >= 2,
                         1)) {
        tk_ring_write(first);
        tk_ring_write(second);
        tk_ring_publish();
        atomic_store_explicit(&tk_ring.busy, false, memory_order_release);
    } else {
        atomic_store_explicit(&tk_ring.busy, false, memory_order_release);
        tk_ring_put_two(first, second, true);
    }
}

/* Append a definition: a header and two pieces of payload. */
void tk_ring_define(uint8_t what, uint16_t thread, uint64_t number, const void *first, size_t first_bytes,
                    const void *second, size_t second_bytes, bool holder);

#endif

/* Shared memory, the ring's lock, and waiting for the collector. Called by hooks.c, stack.c, types.c, module.c.

   Nearly all events come from the thread that holds the interpreter's lock (the GIL), a few from threads without
   it. An atomic exchange an event would cost as much as the rest of the writing, so the lock is lopsided: who holds
   the GIL marks itself busy with a plain store and looks whether somebody wants the ring; who does not, says so,
   makes all running threads of the process see it (membarrier(2)), and then waits until nobody is busy. Where the
   kernel has no membarrier, everybody takes the way of the second kind, with an atomic exchange. */
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RING_MAGIC 0x31474E4952544B54ull

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

enum { PAGE = 4096, SLOTS_AT_ONCE = 1 << 12 };
enum { SPINS = 200, PAUSE_NS = 50000, LOOK_EVERY = 200, TELL_NS = 250000 };

__attribute__((aligned(64))) tk_ring_end tk_ring = {.attention = TK_ATTENTION_CLOSED};
static size_t mapped_bytes;
static uint64_t at_hand; /* slots from the ring's beginning whose pages are in our page table */
static uint64_t origin_ns, told_ns;
static atomic_flag lock = ATOMIC_FLAG_INIT; /* among those without the GIL, or among all without membarrier */

static int map_file(int descriptor) {
    struct stat facts;
    if (fstat(descriptor, &facts) != 0) {
        return errno;
    }
    if (facts.st_size <= TK_HEADER_BYTES) {
        return EINVAL;
    }
    size_t bytes = (size_t)facts.st_size;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) {
        return errno;
    }
    _Atomic(uint64_t) *mapped = memory;
    uint64_t capacity = atomic_load(&mapped[TK_WORD_CAPACITY]);
    uint64_t room = (bytes - TK_HEADER_BYTES) / sizeof(tk_slot);
    if (atomic_load(&mapped[0]) != RING_MAGIC || capacity == 0 || (capacity & (capacity - 1)) || capacity > room) {
        munmap(memory, bytes);
        return EINVAL;
    }
    /* An earlier ring stays mapped if a thread may still be about to write to it; there are few in a process. */
    tk_ring.words = mapped;
    mapped_bytes = bytes;
    tk_ring.slots = (tk_slot *)((char *)memory + TK_HEADER_BYTES);
    tk_ring.mask = capacity - 1;
    tk_ring.written = atomic_load(&mapped[TK_WORD_WRITTEN]);
    tk_ring.limit = tk_ring.written; /* make_room() finds out */
    at_hand = 0;
    return 0;
}

static bool can_lopside(void) {
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* No thread is in here. */
static void reset_lock(void) {
    atomic_flag_clear(&lock);
    atomic_store(&tk_ring.busy, false);
    atomic_fetch_and(&tk_ring.attention, ~TK_ATTENTION_OTHERS);
}

int tk_ring_open(const char *path) {
    if (tk_ring_is_open()) {
        return EBUSY;
    }
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) {
        return errno;
    }
    int failure = map_file(descriptor);
    close(descriptor);
    if (failure == 0) {
        atomic_store(&tk_ring.words[TK_WORD_TARGET_PID], (uint64_t)getpid());
        if (!can_lopside()) {
            atomic_fetch_or(&tk_ring.attention, TK_ATTENTION_SLOWLY);
        }
        atomic_fetch_and(&tk_ring.attention, ~TK_ATTENTION_CLOSED);
    }
    return failure;
}

void tk_ring_let_go(void) {
    /* The mapping stays: another thread may be about to write. */
    atomic_fetch_or(&tk_ring.attention, TK_ATTENTION_CLOSED);
}

static inline bool has_attention(unsigned bit) {
    return atomic_load_explicit(&tk_ring.attention, memory_order_acquire) & bit;
}

bool tk_ring_is_open(void) { return !has_attention(TK_ATTENTION_CLOSED); }

void tk_ring_set_origin(uint64_t monotonic_ns) {
    origin_ns = monotonic_ns;
    told_ns = 0;
}

uint64_t tk_ring_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - origin_ns;
}

void tk_ring_set_state(uint64_t state) {
    if (tk_ring_is_open()) {
        atomic_store(&tk_ring.words[TK_WORD_STATE], state);
    }
}

uint64_t tk_ring_word(unsigned number) { return tk_ring.words != NULL ? atomic_load(&tk_ring.words[number]) : 0; }

__attribute__((noinline)) static void take_flag(void) {
    int spins = 0;
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {
        if (++spins > SPINS) {
            sched_yield();
        }
    }
}

/* Somebody without the GIL was first: step back until the ring is free. */
__attribute__((noinline, cold)) static void give_way(void) {
    do {
        atomic_store_explicit(&tk_ring.busy, false, memory_order_release);
        while (has_attention(TK_ATTENTION_OTHERS)) {
            sched_yield();
        }
        atomic_store_explicit(&tk_ring.busy, true, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
    } while (has_attention(TK_ATTENTION_OTHERS));
}

/* The GIL is held: only those without it are to be kept away. */
static void take_as_holder(void) {
    atomic_store_explicit(&tk_ring.busy, true, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* the other side's membarrier does the rest */
    if (has_attention(TK_ATTENTION_OTHERS)) {
        give_way();
    }
}

static void take_as_other(void) {
    take_flag();
    atomic_fetch_or(&tk_ring.attention, TK_ATTENTION_OTHERS);
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    while (atomic_load_explicit(&tk_ring.busy, memory_order_acquire)) {
        sched_yield();
    }
}

static void take(bool holder) {
    if (has_attention(TK_ATTENTION_SLOWLY)) {
        take_flag();
    } else if (holder) {
        take_as_holder();
    } else {
        take_as_other();
    }
}

static void give(bool holder) {
    if (has_attention(TK_ATTENTION_SLOWLY)) {
        atomic_flag_clear_explicit(&lock, memory_order_release);
    } else if (holder) {
        atomic_store_explicit(&tk_ring.busy, false, memory_order_release);
    } else {
        atomic_fetch_and(&tk_ring.attention, ~TK_ATTENTION_OTHERS);
        atomic_flag_clear_explicit(&lock, memory_order_release);
    }
}

void tk_ring_unmap(void) {
    take(true); /* nobody writes to it now, and who comes later looks first whether it is open */
    if (!tk_ring_is_open() && tk_ring.words != NULL) {
        munmap((void *)tk_ring.words, mapped_bytes);
        tk_ring.words = NULL;
        tk_ring.slots = NULL;
    }
    give(true);
}

void tk_ring_disown(void) {
    tk_ring_let_go();
    reset_lock();
    tk_ring_unmap();
}

/* Whether the collector is gone: no such process, or a zombie (it may be our own child). */
static bool collector_gone(void) {
    char path[40];
    char facts[512];
    snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)atomic_load(&tk_ring.words[TK_WORD_COLLECTOR_PID]));
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return errno == ENOENT;
    }
    ssize_t bytes = read(descriptor, facts, sizeof facts - 1);
    int failure = bytes < 0 ? errno : 0;
    close(descriptor);
    if (bytes <= 0) {
        return failure == ESRCH;
    }
    facts[bytes] = 0;
    const char *behind = strrchr(facts, ')'); /* the name in brackets may hold anything */
    return behind != NULL && behind[1] == ' ' && (behind[2] == 'Z' || behind[2] == 'X');
}

static inline bool has_room(uint64_t count) { return tk_ring.limit - tk_ring.written >= count; }

/* At the first write to a page the kernel has to enter it in the page table, one fault a page. Asked beforehand it
   enters many at once, for a third of that. Where it will not, the writes do it. */
static void get_pages(uint64_t until) {
    uint64_t all = tk_ring.mask + 1, end = until + SLOTS_AT_ONCE < all ? until + SLOTS_AT_ONCE : all;
    uintptr_t from = (uintptr_t)(tk_ring.slots + at_hand) & ~(uintptr_t)(PAGE - 1);
    madvise((void *)from, (uintptr_t)(tk_ring.slots + end) - from, MADV_POPULATE_READ);
    at_hand = end;
}

static void look_how_far(uint64_t count) {
    uint64_t all = tk_ring.mask + 1, until = tk_ring.written + count;
    if (at_hand < all && at_hand < until) {
        get_pages(until);
    }
    tk_ring.limit = atomic_load_explicit(&tk_ring.words[TK_WORD_DRAINED], memory_order_acquire) + all;
    if (at_hand < all && at_hand < tk_ring.limit) {
        tk_ring.limit = at_hand;
    }
}

/* With the ring taken: wait until `count` slots are free. False when nobody reads any more. */
static bool make_room(uint64_t count) {
    int saved = errno; /* the hooked allocators' callers look at it */
    look_how_far(count);
    for (unsigned turn = 1; !has_room(count); turn++) {
        if (atomic_load(&tk_ring.words[TK_WORD_CLOSED]) || (turn % LOOK_EVERY == 0 && collector_gone())) {
            tk_ring_let_go();
            break;
        }
        struct timespec pause = {0, PAUSE_NS};
        nanosleep(&pause, NULL);
        look_how_far(count);
    }
    errno = saved;
    return has_room(count);
}

/* The collector stamps positions of the ring with times, and may be late when it has to wait for a processor. So a
   program that writes much looks at the clock itself, now and then. */
static void tell_time(void) {
    uint64_t ns = tk_ring_now();
    if (ns - told_ns >= TELL_NS && (has_room(1) || make_room(1))) {
        told_ns = ns;
        tk_ring_write(tk_slot_of(TK_TIME, 0, 0, 0, ns));
    }
}

/* Take the ring and make room. False, and not taken: it is closed, or was while we waited. */
static bool enter(uint64_t count, bool holder) {
    if (!tk_ring_is_open()) {
        return false; /* also in a fork's child, where the lock may never be given back */
    }
    take(holder);
    if (tk_ring_is_open() && (has_room(count) || make_room(count))) {
        return true;
    }
    give(holder);
    return false;
}

static void leave(bool holder) {
    tk_ring_publish();
    give(holder);
}

__attribute__((noinline)) void tk_ring_put(tk_slot slot, bool holder) {
    if (enter(1, holder)) {
        tk_ring_write(slot);
        if ((tk_ring.written & (TK_TELL_EVERY - 1)) == 1) {
            tell_time();
        }
        leave(holder);
    }
}

__attribute__((noinline)) void tk_ring_put_two(tk_slot first, tk_slot second, bool holder) {
    if (enter(2, holder)) {
        tk_ring_write(first);
        tk_ring_write(second);
        leave(holder);
    }
}

/* With the ring taken: bytes to a place in it, counted from its beginning without end; it may wrap around there. */
static void copy_in(uint64_t at, const void *bytes, size_t count) {
    if (count == 0) {
        return; /* there may be nothing to copy from */
    }
    char *memory = (char *)tk_ring.slots;
    uint64_t all = (tk_ring.mask + 1) * sizeof(tk_slot), start = at & (all - 1);
    size_t first = count < all - start ? count : all - start;
    memcpy(memory + start, bytes, first);
    memcpy(memory, (const char *)bytes + first, count - first);
}

void tk_ring_define(uint8_t what, uint16_t thread, uint64_t number, const void *first, size_t first_bytes,
                    const void *second, size_t second_bytes, bool holder) {
    size_t bytes = first_bytes + second_bytes;
    size_t count = 1 + (bytes + sizeof(tk_slot) - 1) / sizeof(tk_slot);
    if (count > tk_ring.mask || !enter(count, holder)) {
        return;
    }
    uint64_t at = tk_ring.written;
    tk_ring.slots[(at + count - 1) & tk_ring.mask] = (tk_slot){0, 0}; /* which the payload need not fill */
    tk_ring.slots[at & tk_ring.mask] = tk_slot_of(TK_DEFINE, what, thread, (uint32_t)bytes, number);
    uint64_t behind = (at + 1) * sizeof(tk_slot);
    copy_in(behind, first, first_bytes);
    copy_in(behind + first_bytes, second, second_bytes);
    tk_ring.written = at + count;
    leave(holder);
}

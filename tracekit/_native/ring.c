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

enum { SPINS = 200, PAUSE_NS = 50000, LOOK_EVERY = 200, AHEAD = 32, TELL_EVERY = 64, TELL_NS = 250000 };

static _Atomic(uint64_t) *words;
static tk_slot *ring;
static uint64_t capacity_mask;
static uint64_t written;
static uint64_t drained_seen;
static size_t mapped_bytes;
static uint64_t origin_ns, told_ns;
static atomic_flag lock = ATOMIC_FLAG_INIT; /* among those without the GIL, or among all without membarrier */
static atomic_bool busy;                    /* the holder of the GIL writes */
static atomic_bool wanted;                  /* somebody without the GIL writes or waits for the ring */
static bool lopsided;
static atomic_bool is_open;

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
    words = mapped;
    mapped_bytes = bytes;
    ring = (tk_slot *)((char *)memory + TK_HEADER_BYTES);
    capacity_mask = capacity - 1;
    written = atomic_load(&words[TK_WORD_WRITTEN]);
    drained_seen = atomic_load(&words[TK_WORD_DRAINED]);
    return 0;
}

static bool can_lopside(void) {
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* No thread is in here. */
static void reset_lock(void) {
    atomic_flag_clear(&lock);
    atomic_store(&busy, false);
    atomic_store(&wanted, false);
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
        lopsided = can_lopside();
        atomic_store(&words[TK_WORD_TARGET_PID], (uint64_t)getpid());
        atomic_store(&is_open, true);
    }
    return failure;
}

void tk_ring_let_go(void) {
    /* The mapping stays: another thread may be about to write. */
    atomic_store(&is_open, false);
}

bool tk_ring_is_open(void) { return atomic_load_explicit(&is_open, memory_order_relaxed); }

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
        atomic_store(&words[TK_WORD_STATE], state);
    }
}

uint64_t tk_ring_word(unsigned number) { return words != NULL ? atomic_load(&words[number]) : 0; }

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
        atomic_store_explicit(&busy, false, memory_order_release);
        while (atomic_load_explicit(&wanted, memory_order_acquire)) {
            sched_yield();
        }
        atomic_store_explicit(&busy, true, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
    } while (atomic_load_explicit(&wanted, memory_order_acquire));
}

/* The GIL is held: only those without it are to be kept away. */
static inline void take_as_holder(void) {
    atomic_store_explicit(&busy, true, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* the other side's membarrier does the rest */
    if (__builtin_expect(atomic_load_explicit(&wanted, memory_order_acquire), 0)) {
        give_way();
    }
}

__attribute__((noinline)) static void take_as_other(void) {
    take_flag();
    atomic_store(&wanted, true);
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    while (atomic_load_explicit(&busy, memory_order_acquire)) {
        sched_yield();
    }
}

static inline void take(bool holder) {
    if (__builtin_expect(lopsided && holder, 1)) {
        take_as_holder();
    } else if (!lopsided) {
        take_flag();
    } else {
        take_as_other();
    }
}

static inline void give(bool holder) {
    if (__builtin_expect(lopsided && holder, 1)) {
        atomic_store_explicit(&busy, false, memory_order_release);
        return;
    }
    atomic_store_explicit(&wanted, false, memory_order_release);
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

void tk_ring_unmap(void) {
    take(true); /* nobody writes to it now, and who comes later looks first whether it is open */
    if (!tk_ring_is_open() && words != NULL) {
        munmap((void *)words, mapped_bytes);
        words = NULL;
        ring = NULL;
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
    snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)atomic_load(&words[TK_WORD_COLLECTOR_PID]));
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

/* With the lock held: wait until `count` slots are free. False when nobody reads any more. */
__attribute__((noinline, cold)) static bool make_room(uint64_t count) {
    uint64_t capacity = capacity_mask + 1;
    int saved = errno; /* the hooked allocators' callers look at it */
    bool room = true;
    drained_seen = atomic_load_explicit(&words[TK_WORD_DRAINED], memory_order_acquire);
    for (unsigned turn = 1; capacity - (written - drained_seen) < count; turn++) {
        if (atomic_load(&words[TK_WORD_CLOSED]) || (turn % LOOK_EVERY == 0 && collector_gone())) {
            tk_ring_let_go();
            room = false;
            break;
        }
        struct timespec pause = {0, PAUSE_NS};
        nanosleep(&pause, NULL);
        drained_seen = atomic_load_explicit(&words[TK_WORD_DRAINED], memory_order_acquire);
    }
    errno = saved;
    return room;
}

static inline bool has_room(uint64_t count) {
    return capacity_mask + 1 - (written - drained_seen) >= count || make_room(count);
}

static inline void put(tk_slot slot) {
    __builtin_prefetch(&ring[(written + AHEAD) & capacity_mask], 1);
    /* Two stores of words: one of 16 bytes would have to wait until both are in memory. */
    tk_slot *to = &ring[written & capacity_mask];
    __atomic_store_n(&to->head, slot.head, __ATOMIC_RELAXED);
    __atomic_store_n(&to->word, slot.word, __ATOMIC_RELAXED);
    written++;
}

/* The collector stamps positions of the ring with times, and may be late when it has to wait for a processor. So a
   program that writes much looks at the clock itself, now and then. */
__attribute__((noinline)) static void tell_time(void) {
    uint64_t ns = tk_ring_now();
    if (ns - told_ns >= TELL_NS && has_room(1)) {
        told_ns = ns;
        put(tk_slot_of(TK_TIME, 0, 0, 0, ns));
    }
}

static inline void publish(void) { atomic_store_explicit(&words[TK_WORD_WRITTEN], written, memory_order_release); }

void tk_ring_put(tk_slot slot, bool holder) {
    if (!tk_ring_is_open()) {
        return; /* also in a fork's child, where the lock may never be given back */
    }
    take(holder);
    if (tk_ring_is_open() && has_room(1)) {
        put(slot);
        if (__builtin_expect((written & (TELL_EVERY - 1)) == 0, 0)) {
            tell_time();
        }
        publish();
    }
    give(holder);
}

void tk_ring_put_two(tk_slot first, tk_slot second, bool holder) {
    if (!tk_ring_is_open()) {
        return;
    }
    take(holder);
    if (tk_ring_is_open() && has_room(2)) {
        put(first);
        put(second);
        publish();
    }
    give(holder);
}

/* Bytes of payload are copied slot by slot, since the ring may wrap around anywhere. */
typedef struct {
    const char *piece[2];
    size_t bytes[2];
} payload;

static void copy_out(const payload *from, size_t at, char *to, size_t count) {
    for (size_t i = 0; i < count; i++, at++) {
        to[i] = at < from->bytes[0]                    ? from->piece[0][at]
                : at < from->bytes[0] + from->bytes[1] ? from->piece[1][at - from->bytes[0]]
                                                       : 0;
    }
}

void tk_ring_define(uint8_t what, uint16_t thread, uint64_t number, const void *first, size_t first_bytes,
                    const void *second, size_t second_bytes, bool holder) {
    payload from = {{first, second}, {first_bytes, second_bytes}};
    size_t bytes = first_bytes + second_bytes;
    size_t count = 1 + (bytes + sizeof(tk_slot) - 1) / sizeof(tk_slot);
    if (!tk_ring_is_open()) {
        return;
    }
    tk_slot head = tk_slot_of(TK_DEFINE, what, thread, (uint32_t)bytes, number);
    take(holder);
    if (tk_ring_is_open() && count <= capacity_mask && has_room(count)) {
        ring[written & capacity_mask] = head;
        for (size_t i = 1; i < count; i++) {
            copy_out(&from, (i - 1) * sizeof(tk_slot), (char *)&ring[(written + i) & capacity_mask],
                     sizeof(tk_slot));
        }
        written += count;
        publish();
    }
    give(holder);
}

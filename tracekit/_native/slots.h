/* Layout of the ring as C sees it, for both sides: ring.h (the program under observation writes) and kernels_slots.h
   (the collector reads). tracekit/record/slots.py says what everything means, and a test holds the two equal. */
#ifndef TRACEKIT_SLOTS_H
#define TRACEKIT_SLOTS_H

enum {
    TK_HEADER_BYTES = 4096,
    TK_WORD_CAPACITY = 1,
    TK_WORD_CLOSED = 2,
    TK_WORD_STATE = 3,
    TK_WORD_COLLECTOR_PID = 4,
    TK_WORD_TARGET_PID = 5,
    TK_WORD_WRITTEN = 8,
    TK_WORD_DRAINED = 16,
    TK_WORD_OUTCOME = 24,
};

enum { TK_STATE_ATTACHED = 1, TK_STATE_ENDED = 2 };

enum {
    TK_ALLOC = 1,
    TK_FREE = 2,
    TK_WIDE = 3,
    TK_REPEAT = 4,
    TK_TIME = 5,
    TK_DEFINE = 6,
    TK_UNFREE = 7,
    TK_ARENA = 8,
    TK_TYPED = 9,
};

enum {
    TK_DEF_HELLO = 1,
    TK_DEF_THREAD = 2,
    TK_DEF_CODE = 3,
    TK_DEF_MARK = 6,
    TK_DEF_GC_START = 7,
    TK_DEF_GC_STOP = 8,
    TK_DEF_NOTICE = 9,
    TK_DEF_CODE_NODE = 11,
    TK_DEF_TYPE = 13,
    TK_DEF_NATIVE_THREAD = 14,
    TK_DEF_OLDER_ARENAS = 15,
    TK_DEF_OLDER_POOLS = 16,
    TK_DEF_GC_SETTING = 18,
};

enum { TK_CAUSE_REFCOUNT = 0, TK_CAUSE_GC = 1, TK_CAUSE_REALLOC = 2 };

/* In the flags of an allocation: it replaces the block of the thread's last free with cause realloc. */
enum { TK_REALLOCATED = 0x80 };

/* Dictionaries, lists, tuples of 1 to 20 items, floats, and tables of dictionaries' keys. */
enum { TK_FREE_LISTS = 24 };

#define TK_MAX_PAYLOAD (1u << 20)
#define TK_MAX_TEXT 60000u
#define TK_SIZE_BITS 20
#define TK_SIZE_WIDE ((1u << TK_SIZE_BITS) - 1)

#endif

/* The arenas and pools of CPython's object allocator (Objects/obmalloc.c), read where they lie. Called by module.c.

   Arenas are described by an array, and each pool by a header at its beginning. From 3.12 on the interpreter's state
   leads to the array. In 3.11 it hangs on a static variable that has no name outside of obmalloc.c: there it is looked
   for in the data of the module that CPython is in. It is the pointer to descriptions of which those fit that blocks
   from three pools say to lie in. What an unproven address points to is read by system call, which fails where there
   is nothing.

   Nothing is told unless everything fits: a block just obtained has to come from a pool as it should, the array has to
   know the arena of that pool, and every pool has to say that it belongs to the arena it lies in. So nothing is told
   of an allocator that is not CPython's own, or that has a layer above it which moves blocks (PYTHONMALLOC=debug).
   Everything here needs the GIL, without which nobody uses the allocator. */
#include "older.h"
#include "compat.h"
#include "ring.h"

#include <internal/pycore_interp.h>

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { ARENA_BYTES = 1 << 20, POOL_BYTES = 1 << 14, HEADER_BYTES = 48, CLASS_BYTES = 16, CLASSES = 32 };
enum { POOLS = ARENA_BYTES / POOL_BYTES, MOST_BLOCKS = (POOL_BYTES - HEADER_BYTES) / CLASS_BYTES };
enum { BITMAP_BYTES = MOST_BLOCKS / 8 + 1, PROOFS = 3, AHEAD = 8, LANES = 16 };

typedef struct {
    uint32_t used;
    uint32_t padding;
    uint8_t *free; /* the newest free block, which begins with the address of the next */
    void *neighbours[2];
    uint32_t arena;
    uint32_t class;
    uint32_t reached; /* bytes from the header to what was never a block */
    uint32_t most_reached;
} pool;

typedef struct {
    uintptr_t address; /* 0: there is none */
    uint8_t *reached;  /* what was never a pool */
    uint32_t free_pools;
    uint32_t all_pools;
    void *links[3];
} arena;

typedef struct {
    const arena *all;
    uint32_t count;
} arenas;

_Static_assert(sizeof(pool) == HEADER_BYTES && sizeof(arena) == 48, "as in obmalloc.c, with 64 bits");

/* -- proof ----------------------------------------------------------------------------------------------- */

static pool *pool_of(const void *block) { return (pool *)((uintptr_t)block & ~(uintptr_t)(POOL_BYTES - 1)); }

static uintptr_t first_pool(const arena *of) { return (of->address + POOL_BYTES - 1) & ~(uintptr_t)(POOL_BYTES - 1); }

static bool is_arena(const arena *one) {
    uintptr_t reached = (uintptr_t)one->reached;
    return one->address != 0 && (one->address & 15) == 0 && (reached & (POOL_BYTES - 1)) == 0 &&
           reached >= first_pool(one) && reached <= one->address + ARENA_BYTES && one->all_pools >= POOLS - 1 &&
           one->all_pools <= POOLS && one->free_pools <= one->all_pools;
}

/* Whether a pool lies in an arena, which may be none. */
static bool lies_in(const pool *of, const arena *one) {
    return is_arena(one) && (uintptr_t)of >= first_pool(one) && (uintptr_t)of < (uintptr_t)one->reached;
}

static bool is_pool(const pool *one, uint32_t arena_index) {
    if (one->arena != arena_index) {
        return false;
    }
    if (one->used == 0) {
        return true; /* and the rest may be anything */
    }
    uint32_t bytes = (one->class + 1) * CLASS_BYTES;
    return one->class < CLASSES && one->used <= (POOL_BYTES - HEADER_BYTES) / bytes && one->reached <= POOL_BYTES &&
           one->reached >= HEADER_BYTES + one->used * bytes && (one->reached - HEADER_BYTES) % bytes == 0;
}

/* -- where the arenas are -------------------------------------------------------------------------------- */

#if !defined(WITH_PYMALLOC) || SIZEOF_VOID_P != 8

static arenas find(const void *block) { return (arenas){NULL, 0}; }

#elif PY_VERSION_HEX >= 0x030C0000

_Static_assert(sizeof(struct pool_header) == sizeof(pool) && sizeof(struct arena_object) == sizeof(arena), "");
_Static_assert(offsetof(struct pool_header, nextoffset) == offsetof(pool, reached), "");
_Static_assert(offsetof(struct arena_object, ntotalpools) == offsetof(arena, all_pools), "");
_Static_assert(ARENA_SIZE == ARENA_BYTES && POOL_SIZE == POOL_BYTES, "");

static arenas find(const void *block) {
#if PY_VERSION_HEX >= 0x030D0000
    const struct _obmalloc_state *state = PyInterpreterState_Main()->obmalloc;
#else
    const struct _obmalloc_state *state = &PyInterpreterState_Main()->obmalloc;
#endif
    return state != NULL ? (arenas){(const arena *)state->mgmt.arenas, state->mgmt.maxarenas} : (arenas){NULL, 0};
}

#else

#include <internal/pycore_runtime.h>

#include <link.h>
#include <sys/uio.h>
#include <unistd.h>

enum { AT_ONCE = 64, MOST_ARENAS = 1 << 20, SEGMENTS = 16 };

typedef struct {
    const uintptr_t *start, *end;
} segment;

typedef struct {
    uintptr_t start, end; /* of the module */
    segment writable[SEGMENTS];
    int count;
} module_data;

/* Copy what lies at an address that may not exist. Returns the bytes that could be read, in front. */
static size_t read_safely(uintptr_t from, void *to, size_t bytes) {
    struct iovec here = {to, bytes}, there = {(void *)from, bytes};
    ssize_t done = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    return done > 0 ? (size_t)done : 0;
}

/* The module that has CPython's state, which is the interpreter's executable or its shared library. */
static int take_module(struct dl_phdr_info *info, size_t size, void *data) {
    module_data found = {UINTPTR_MAX};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr, end = start + header->p_memsz;
        if (header->p_type == PT_LOAD) {
            found.start = start < found.start ? start : found.start;
            found.end = end > found.end ? end : found.end;
            if ((header->p_flags & PF_W) && found.count < SEGMENTS) {
                found.writable[found.count++] =
                    (segment){(const uintptr_t *)((start + 7) & ~(uintptr_t)7), (const uintptr_t *)(end & ~(uintptr_t)7)};
            }
        }
    }
    bool right = (uintptr_t)&_PyRuntime >= found.start && (uintptr_t)&_PyRuntime < found.end;
    if (right) {
        *(module_data *)data = found;
    }
    return right;
}

/* How long an array of arenas is that begins here: up to the last one with a first pool that knows its place. */
static uint32_t count_arenas(uintptr_t array) {
    arena some[AT_ONCE];
    uint32_t count = 0;
    for (uint32_t at = 0; at < MOST_ARENAS; at += AT_ONCE) {
        size_t got = read_safely(array + at * sizeof *some, some, sizeof some) / sizeof *some;
        for (uint32_t i = 0; i < got; i++) {
            pool head;
            if (some[i].address == 0) {
                continue;
            }
            if (!lies_in((pool *)first_pool(&some[i]), &some[i]) ||
                read_safely(first_pool(&some[i]), &head, sizeof head) != sizeof head || !is_pool(&head, at + i)) {
                return count;
            }
            count = at + i + 1;
        }
        if (got < AT_ONCE) {
            break;
        }
    }
    return count;
}

__attribute__((no_sanitize("address", "undefined"))) static arenas find(const void *block) {
    module_data module = {0};
    pool head;
    if (read_safely((uintptr_t)pool_of(block), &head, sizeof head) != sizeof head || head.arena >= MOST_ARENAS ||
        dl_iterate_phdr(take_module, &module) == 0) {
        return (arenas){NULL, 0};
    }
    for (int i = module.count; i-- > 0;) {
        for (const uintptr_t *at = module.writable[i].end; at-- > module.writable[i].start;) {
            uintptr_t word = *at;
            arena one;
            if ((word & 15) == 0 && word >= POOL_BYTES && word < (uintptr_t)1 << 56 &&
                (word < module.start || word >= module.end) &&
                read_safely(word + head.arena * sizeof one, &one, sizeof one) == sizeof one &&
                lies_in(pool_of(block), &one)) {
                uint32_t count = count_arenas(word);
                if (count > head.arena) {
                    return (arenas){(const arena *)word, count};
                }
            }
        }
    }
    return (arenas){NULL, 0};
}

#endif

/* Whether a block of so many bytes is where the arenas let expect it. */
static bool explains(const arenas *found, const void *block, size_t bytes) {
    const pool *of = pool_of(block);
    uint32_t at = 0;
    while (at < found->count && !lies_in(of, &found->all[at])) {
        at++;
    }
    size_t behind = (size_t)((uintptr_t)block - (uintptr_t)of) - HEADER_BYTES;
    return at < found->count && is_pool(of, at) && of->class == (bytes - 1) / CLASS_BYTES &&
           behind % ((of->class + 1) * CLASS_BYTES) == 0;
}

static arenas find_proven(void) {
    static const size_t bytes[PROOFS] = {512, 16, 240}; /* with anything before or behind them, 512 are too many */
    void *blocks[PROOFS];
    bool fine = true;
    for (int i = 0; i < PROOFS; i++) {
        blocks[i] = PyObject_Malloc(bytes[i]);
        fine = fine && blocks[i] != NULL;
    }
    arenas found = fine ? find(blocks[0]) : (arenas){NULL, 0};
    for (int i = 0; i < PROOFS; i++) {
        fine = fine && found.all != NULL && explains(&found, blocks[i], bytes[i]);
        PyObject_Free(blocks[i]);
    }
    return fine ? found : (arenas){NULL, 0};
}

/* -- telling --------------------------------------------------------------------------------------------- */

/* Whether all pools of all arenas are what they should be. */
static bool all_fit(const arenas *found) {
    for (uint32_t i = 0; i < found->count; i++) {
        const arena *one = &found->all[i];
        if (one->address == 0) {
            continue;
        }
        if (!is_arena(one)) {
            return false;
        }
        for (uintptr_t at = first_pool(one); at < (uintptr_t)one->reached; at += POOL_BYTES) {
            __builtin_prefetch((void *)(at + AHEAD * POOL_BYTES)); /* an address that is not there does no harm */
            if (!is_pool((pool *)at, i)) {
                return false;
            }
        }
    }
    return true;
}

typedef struct {
    uint64_t first;
    uint32_t bytes;
    uint32_t count;
} pool_facts;

/* What is collected for a definition. It is memory of the program, so it is little. */
typedef struct {
    uint8_t what;
    size_t bytes;
    char data[1 << 13];
} payload;

static void flush(payload *of) {
    if (of->bytes > 0) {
        tk_ring_define(of->what, 0, 0, of->data, of->bytes, NULL, 0, true);
    }
    of->bytes = 0;
}

static void add(payload *to, const void *first, size_t first_bytes, const void *second, size_t second_bytes) {
    if (to->bytes + first_bytes + second_bytes > sizeof to->data) {
        flush(to);
    }
    memcpy(to->data + to->bytes, first, first_bytes);
    if (second_bytes > 0) {
        memcpy(to->data + to->bytes + first_bytes, second, second_bytes);
    }
    to->bytes += first_bytes + second_bytes;
}

/* A pool on its way to be told: its free blocks are found one after the other. */
typedef struct {
    const uint8_t *first, *next;
    uint32_t bytes, count, left;
    uint8_t bits[BITMAP_BYTES]; /* of the blocks in use */
} walk;

/* Several at a time, because most blocks have to come from memory. */
typedef struct {
    walk walks[LANES];
    uint32_t count;
    payload pools;
} walks;

static void begin_walk(walk *self, const pool *of) {
    self->first = (const uint8_t *)of + HEADER_BYTES;
    self->next = of->free;
    self->bytes = (of->class + 1) * CLASS_BYTES;
    self->count = (of->reached - HEADER_BYTES) / self->bytes;
    self->left = self->count - of->used;
    memset(self->bits, 0xFF, self->count / 8);
    self->bits[self->count / 8] = (uint8_t)((1u << self->count % 8) - 1);
    __builtin_prefetch(self->next);
}

/* On to the next free block. Returns whether there may be another one. */
static bool step(walk *self) {
    if (self->left == 0) {
        return false;
    }
    uintptr_t behind = (uintptr_t)self->next - (uintptr_t)self->first;
    uint32_t at = behind < POOL_BYTES ? (uint32_t)behind / self->bytes : self->count;
    if (at >= self->count || at * self->bytes != behind || !(self->bits[at / 8] >> at % 8 & 1)) {
        self->count = 0; /* its free blocks are not as many as it says: there is nothing to tell of it */
        self->left = 0;
        return false;
    }
    self->bits[at / 8] = (uint8_t)(self->bits[at / 8] & ~(1u << at % 8));
    memcpy(&self->next, self->next, sizeof self->next);
    __builtin_prefetch(self->next);
    return --self->left > 0;
}

static void finish(walks *all) {
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < all->count; i++) {
            more |= step(&all->walks[i]);
        }
    }
    for (uint32_t i = 0; i < all->count; i++) {
        const walk *one = &all->walks[i];
        pool_facts facts = {(uintptr_t)one->first, one->bytes, one->count};
        if (one->count > 0) {
            add(&all->pools, &facts, sizeof facts, one->bits, (one->count + 7) / 8);
        }
    }
    all->count = 0;
}

void tk_older_tell(void) {
    static payload of_arenas;
    static walks of_pools;
    of_arenas.what = TK_DEF_OLDER_ARENAS;
    of_pools.pools.what = TK_DEF_OLDER_POOLS;
    const arenas found = find_proven();
    if (found.all == NULL || !all_fit(&found)) {
        return;
    }
    for (uint32_t i = 0; i < found.count; i++) {
        const arena *one = &found.all[i];
        uint64_t facts[2] = {one->address, ARENA_BYTES};
        if (one->address == 0) {
            continue;
        }
        add(&of_arenas, facts, sizeof facts, NULL, 0);
        for (uintptr_t at = first_pool(one); at < (uintptr_t)one->reached; at += POOL_BYTES) {
            if (((pool *)at)->used > 0) {
                begin_walk(&of_pools.walks[of_pools.count++], (pool *)at);
            }
            if (of_pools.count == LANES) {
                finish(&of_pools);
            }
        }
    }
    finish(&of_pools);
    flush(&of_pools.pools);
    flush(&of_arenas);
}

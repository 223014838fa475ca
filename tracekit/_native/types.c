/* Which type an object has whose block is given back. Called by hooks.c and live.c.

   When the allocator sees a free, the object is dead: its reference count is 0, and its type pointer stands
   right behind that, at one of three offsets (the object may have a collector header and a pre-header for
   dictionary and weak references in front; Include/internal/pycore_object.h). The word at these places may be
   anything, because not every block holds an object. It is taken for a type only if it is the address of one:

   - it is in the table of known types, which begins with all that exist when recording starts; or
   - it points into a live block that was recorded and is large enough for a heap type, or into the writable data
     of a loaded library (a static type), and what lies there is an object whose own type is a known metatype.

   A type leaves the table when its block is given back. */
#include "types.h"
#include "interest.h"
#include "ring.h"
#include "text.h"

#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { GC_HEADER = 16, PRE_HEADER = 16, SEGMENTS = 4096 };

#if PY_VERSION_HEX >= 0x030C0000
#define HAS_PRE_HEADER Py_TPFLAGS_PREHEADER
#else
#define HAS_PRE_HEADER Py_TPFLAGS_MANAGED_DICT
#endif

uint64_t tk_interest[TK_INTEREST_BITS / 64];

/* Open addressing by address, linear probing, deletion by shifting back. */
typedef struct {
    uintptr_t key; /* 0: free */
    uint32_t value;
} slot;

typedef struct {
    slot *slots;
    uint64_t mask;
    uint64_t used;
} table;

static table types;  /* type object -> its number, 0 as long as it was not used */
static table blocks; /* blocks of the object domain that may hold a heap type */
static uint32_t next_type = 1;

static struct {
    uintptr_t start, end;
} segments[SEGMENTS];
static uint32_t segment_count;
static unsigned long long segments_adds;

static uint64_t home(const table *all, uintptr_t key) { return (uint64_t)key * 0x9E3779B97F4A7C15ull >> 32 & all->mask; }

static bool table_begin(table *all, uint64_t size) {
    free(all->slots);
    all->slots = calloc(size, sizeof *all->slots);
    all->mask = size - 1;
    all->used = 0;
    return all->slots != NULL;
}

static inline slot *table_place(const table *all, uintptr_t key) {
    uint64_t at = home(all, key);
    while (all->slots[at].key != 0 && all->slots[at].key != key) {
        at = (at + 1) & all->mask;
    }
    return &all->slots[at];
}

static void table_put(table *all, uintptr_t key, uint32_t value) {
    slot *place = table_place(all, key);
    if (place->key == 0) {
        if (2 * (all->used + 1) > all->mask + 1) {
            table larger = {0};
            if (!table_begin(&larger, 2 * (all->mask + 1))) {
                return;
            }
            for (uint64_t at = 0; at <= all->mask; at++) {
                if (all->slots[at].key != 0) {
                    *table_place(&larger, all->slots[at].key) = all->slots[at];
                }
            }
            larger.used = all->used;
            free(all->slots);
            *all = larger;
            place = table_place(all, key);
        }
        all->used++;
    }
    *place = (slot){key, value};
}

static void table_remove(table *all, uintptr_t key) {
    slot *place = table_place(all, key);
    if (place->key == 0) {
        return;
    }
    uint64_t hole = (uint64_t)(place - all->slots);
    for (uint64_t at = (hole + 1) & all->mask; all->slots[at].key != 0; at = (at + 1) & all->mask) {
        uint64_t wish = home(all, all->slots[at].key);
        if (((at - wish) & all->mask) >= ((at - hole) & all->mask)) {
            all->slots[hole] = all->slots[at];
            hole = at;
        }
    }
    all->slots[hole].key = 0;
    all->used--;
}

int tk_types_begin(void) {
    next_type = 1;
    segment_count = 0;
    segments_adds = 0;
    return table_begin(&types, 1 << 10) && table_begin(&blocks, 1 << 8) ? 0 : -1;
}

void tk_types_know(PyTypeObject *type) {
    if (types.slots != NULL && table_place(&types, (uintptr_t)type)->key == 0) {
        table_put(&types, (uintptr_t)type, 0);
        if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
            tk_interest_in((char *)type - GC_HEADER);
        }
    }
}

void tk_types_large_block(const void *block, size_t size) {
    if (size >= sizeof(PyHeapTypeObject) + GC_HEADER && blocks.slots != NULL) {
        table_put(&blocks, (uintptr_t)block, 0);
        tk_interest_in(block);
    }
}

void tk_types_forget_block(const void *block) {
    if (types.slots != NULL) {
        table_remove(&blocks, (uintptr_t)block);
        table_remove(&types, (uintptr_t)block + GC_HEADER);
    }
}

/* -- names ------------------------------------------------------------------------------------------- */

static size_t put_name(char *to, PyTypeObject *type) {
    char *text = to + 4;
    uint32_t bytes = 0;
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
        static PyObject *module_key;
        if (module_key == NULL) {
            module_key = PyUnicode_InternFromString("__module__");
        }
        /* No code of the program runs: the keys of a type's dictionary are exact texts. */
        PyObject *module = module_key && type->tp_dict ? PyDict_GetItemWithError(type->tp_dict, module_key) : NULL;
        if (module != NULL && PyUnicode_Check(module)) {
            bytes = (uint32_t)tk_put_utf8(text, module);
            text[bytes++] = '.';
        }
        bytes += (uint32_t)tk_put_utf8(text + bytes, ((PyHeapTypeObject *)type)->ht_qualname);
    } else {
        const char *name = type->tp_name ? type->tp_name : "?";
        const char *prefix = strchr(name, '.') ? "" : "builtins.";
        bytes = (uint32_t)strlen(prefix);
        memcpy(text, prefix, bytes);
        size_t length = strnlen(name, TK_MAX_TEXT);
        memcpy(text + bytes, name, length);
        bytes += (uint32_t)length;
    }
    if (bytes > TK_MAX_TEXT) {
        bytes = TK_MAX_TEXT;
    }
    memcpy(to, &bytes, 4);
    return 4 + (size_t)bytes;
}

/* Number and define a type. */
__attribute__((noinline, cold)) static uint32_t use_first(slot *known) {
    char *payload = tk_text_buffer;
    PyTypeObject *type = (PyTypeObject *)known->key;
    uint32_t number = known->value = next_type++;
    size_t bytes = 9 + put_name(payload + 9, type); /* first: it may allocate */
    uint64_t basic_size = (uint64_t)type->tp_basicsize;
    memcpy(payload, &basic_size, 8);
    payload[8] = (type->tp_flags & Py_TPFLAGS_HAVE_GC) != 0;
    tk_ring_define(TK_DEF_TYPE, 0, number, payload, bytes, NULL, 0, true);
    return number;
}

/* -- proving that a word is the address of a type ------------------------------------------------------ */

static int add_segments(struct dl_phdr_info *info, size_t size, void *data) {
    for (int i = 0; i < info->dlpi_phnum && segment_count < SEGMENTS; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && (header->p_flags & PF_W)) {
            segments[segment_count].start = (uintptr_t)(info->dlpi_addr + header->p_vaddr);
            segments[segment_count].end = (uintptr_t)(info->dlpi_addr + header->p_vaddr + header->p_memsz);
            segment_count++;
        }
    }
    *(unsigned long long *)data = info->dlpi_adds;
    return 0;
}

static int count_adds(struct dl_phdr_info *info, size_t size, void *data) {
    *(unsigned long long *)data = info->dlpi_adds;
    return 1;
}

static bool in_library_data(uintptr_t address, size_t bytes) {
    for (uint32_t i = 0; i < segment_count; i++) {
        if (address >= segments[i].start && address < segments[i].end && segments[i].end - address >= bytes) {
            return true;
        }
    }
    return false;
}

static bool looks_like_type(PyTypeObject *candidate, bool heap) {
    PyTypeObject *meta = Py_TYPE((PyObject *)candidate);
    if (table_place(&types, (uintptr_t)meta)->key == 0 || !PyType_HasFeature(meta, Py_TPFLAGS_TYPE_SUBCLASS)) {
        return false;
    }
    unsigned long flags = candidate->tp_flags;
    return (flags & Py_TPFLAGS_READY) && ((flags & Py_TPFLAGS_HEAPTYPE) != 0) == heap;
}

/* Libraries are looked at again only when one was loaded, and only for addresses that could be theirs: the same
   words come up again and again, so those that failed are remembered until then. */
__attribute__((noinline)) static bool prove(uintptr_t word) {
    enum { FAILED = 512 };
    static uintptr_t failed[FAILED];
    if (table_place(&blocks, word - GC_HEADER)->key != 0) {
        return looks_like_type((PyTypeObject *)word, true);
    }
    uintptr_t *memory = &failed[(word >> 4) & (FAILED - 1)];
    if (*memory == word) {
        return false;
    }
    if (!in_library_data(word, sizeof(PyTypeObject))) {
        unsigned long long adds = 0;
        dl_iterate_phdr(count_adds, &adds);
        if (adds == segments_adds) {
            *memory = word;
            return false;
        }
        segment_count = 0;
        dl_iterate_phdr(add_segments, &segments_adds);
        memset(failed, 0, sizeof failed);
        if (!in_library_data(word, sizeof(PyTypeObject))) {
            *memory = word;
            return false;
        }
    }
    /* Not remembered when it fails: a static type may not be ready yet. */
    return looks_like_type((PyTypeObject *)word, false);
}

static inline uint32_t number_of(uintptr_t word) {
    slot *known = table_place(&types, word);
    if (known->key == 0) {
        return 0;
    }
    return __builtin_expect(known->value != 0, 1) ? known->value : use_first(known);
}

__attribute__((no_sanitize("address", "undefined"))) uint32_t tk_types_of_dying(const void *block) {
    const uintptr_t *words = block;
    /* A block has at least 16 bytes. What lies behind it is readable within the same pool of 16 KiB, and the last
       block of a pool that is shorter than what is read here is left untyped. */
    int most = ((uintptr_t)block & 16383) + 48 > 16384 ? 1 : 3;
    uintptr_t unknown = 0;
    for (int i = 0; i < most; i++) {
        uintptr_t count = words[2 * i], word = words[2 * i + 1];
        if (count != 0 || word < 4096 || (word & 7)) {
            continue;
        }
        uint32_t number = number_of(word);
        if (number != 0) {
            return number;
        }
        unknown = unknown ? unknown : word;
    }
    if (unknown != 0 && prove(unknown)) {
        tk_types_know((PyTypeObject *)unknown);
        return number_of(unknown);
    }
    return 0;
}

uint32_t tk_types_of_live(PyObject *object, const void **block) {
    PyTypeObject *type = Py_TYPE(object);
    size_t front = (PyType_IS_GC(type) ? GC_HEADER : 0) + (PyType_HasFeature(type, HAS_PRE_HEADER) ? PRE_HEADER : 0);
    *block = (char *)object - front;
    tk_types_know(type);
    return number_of((uintptr_t)type);
}

/* Threads have numbers at once and names when they can be had. Called by hooks.c and module.c.

   A thread allocates before the threading module has entered it in threading._active, and it may end before the
   next mark. So its name is looked for after some of its allocations, seldom enough to cost nothing.

   A mark tells where all threads are, and some of them have not allocated yet since the recording began. They are
   given numbers then, which they find by the number that the kernel knows them by. (The identities that pthreads have
   are addresses, and given out again at once.) */
#include "threads.h"
#include "hooks.h"
#include "ring.h"
#include "stack.h"
#include "text.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

enum { MOST_THREADS = 65534, FIRST_LOOK = 48, LAST_LOOK = 1 << 20 };
enum { KERNEL_BITS = 17, KERNEL_SLOTS = 1 << KERNEL_BITS }; /* twice as many as there can be numbers */

#define KEPT (1ull << 16) /* the thread does not know its number yet */

static struct {
    uint64_t identity;
    bool named;
} owners[MOST_THREADS + 1]; /* by number */
/* Open addressing: the kernel's number << 32 | KEPT or not | ours; 0: free. Threads without the GIL write here, too. */
static _Atomic(uint64_t) by_kernel[KERNEL_SLOTS];
static atomic_uint next_thread = 1;
static PyObject *threads_active;

_Atomic(uint32_t) tk_recording_number; /* 0 before the first */
__thread tk_thread_facts tk_mine;

/* Where the entry of a thread is, or would be. */
static _Atomic(uint64_t) *entry_of(uint32_t kernel) {
    for (uint32_t at = kernel * 0x9E3779B1u >> (32 - KERNEL_BITS);; at = (at + 1) & (KERNEL_SLOTS - 1)) {
        uint64_t entry = atomic_load(&by_kernel[at]);
        if (entry == 0 || entry >> 32 == kernel) {
            return &by_kernel[at];
        }
    }
}

static void enter(uint32_t kernel, uint64_t number) {
    _Atomic(uint64_t) *place = entry_of(kernel);
    uint64_t before = atomic_load(place);
    while ((before != 0 && before >> 32 != kernel) ||
           !atomic_compare_exchange_weak(place, &before, (uint64_t)kernel << 32 | number)) {
        place = entry_of(kernel); /* another thread took it */
        before = atomic_load(place);
    }
}

/* The number that was kept for a thread, now its own, or 0. */
static uint16_t claim(uint32_t kernel) {
    _Atomic(uint64_t) *place = entry_of(kernel);
    uint64_t entry = atomic_load(place);
    bool mine = (entry & KEPT) != 0 && entry >> 32 == kernel;
    return mine && atomic_compare_exchange_strong(place, &entry, entry & ~KEPT) ? (uint16_t)entry : 0;
}

static uint16_t new_number(uint64_t identity, uint32_t kernel, uint64_t kept, bool holder) {
    unsigned number = atomic_fetch_add(&next_thread, 1);
    uint16_t given = (uint16_t)(number < MOST_THREADS ? number : MOST_THREADS);
    owners[given].identity = identity;
    owners[given].named = false;
    if (number <= MOST_THREADS) {
        tk_ring_define(TK_DEF_NATIVE_THREAD, given, given, NULL, 0, NULL, 0, holder);
    }
    if (number < MOST_THREADS) {
        enter(kernel, kept | given);
    }
    return given;
}

__attribute__((noinline, cold)) uint16_t tk_thread_becomes_known(uint32_t recording, bool holder) {
    uint32_t kernel = (uint32_t)PyThread_get_thread_native_id();
    uint16_t mine = claim(kernel);
    if (mine == 0) {
        mine = new_number((uint64_t)pthread_self(), kernel, 0, holder);
    }
    tk_mine.number = mine;
    tk_mine.recording = recording;
    tk_mine.look_in = tk_mine.look_after = FIRST_LOOK;
    tk_stack_forget_walk();
    return mine;
}

uint16_t tk_thread_of(const PyThreadState *state) {
    uint32_t kernel = (uint32_t)state->native_thread_id;
    if (kernel == 0) {
        return 0;
    }
    uint64_t entry = atomic_load(entry_of(kernel));
    bool known = entry != 0 && owners[(uint16_t)entry].identity == (uint64_t)state->thread_id;
    return known ? (uint16_t)entry : new_number((uint64_t)state->thread_id, kernel, KEPT, true);
}

void tk_threads_begin(void) {
    if (atomic_load(&next_thread) > 1) {
        for (uint32_t at = 0; at < KERNEL_SLOTS; at++) {
            if (atomic_load_explicit(&by_kernel[at], memory_order_relaxed) != 0) {
                atomic_store_explicit(&by_kernel[at], 0, memory_order_relaxed);
            }
        }
    }
    atomic_store(&next_thread, 1);
    atomic_fetch_add(&tk_recording_number, 1);
    Py_CLEAR(threads_active);
}

#if PY_VERSION_HEX >= 0x030D0000
#define IS_FINALIZING Py_IsFinalizing
#else
#define IS_FINALIZING _Py_IsFinalizing
#endif

/* threading._active (identity to Thread), once the program has imported that module; not a reason to import it.
   NULL when the interpreter is being torn down (a program can take our atexit callback away): it has no modules then,
   and asking for them is a fatal error. */
static PyObject *all_threads(void) {
    static PyObject *module_name, *dict_name;
    if (IS_FINALIZING()) {
        return NULL;
    }
    if (threads_active == NULL) {
        if (module_name == NULL) {
            module_name = PyUnicode_InternFromString("threading");
            dict_name = PyUnicode_InternFromString("_active");
        }
        PyObject *modules = PyImport_GetModuleDict();
        PyObject *module = module_name && PyDict_CheckExact(modules) ? PyDict_GetItemWithError(modules, module_name) : NULL;
        PyObject *names = module && PyModule_CheckExact(module) ? PyModule_GetDict(module) : NULL;
        PyObject *active = names && dict_name ? PyDict_GetItemWithError(names, dict_name) : NULL;
        if (active != NULL && PyDict_CheckExact(active)) {
            threads_active = Py_NewRef(active);
        }
    }
    return threads_active;
}

static PyObject *name_of(PyObject *thread) {
    static PyObject *key;
    if (key == NULL) {
        key = PyUnicode_InternFromString("_name");
    }
    PyTypeObject *type = Py_TYPE(thread);
    /* An attribute of the instance, found without running anything of the program's. */
    if (key == NULL || type->tp_getattro != PyObject_GenericGetAttr || _PyType_Lookup(type, key) != NULL) {
        return NULL;
    }
    PyObject *name = NULL;
#if PY_VERSION_HEX >= 0x030D0000
    PyObject_GetOptionalAttr(thread, key, &name);
#else
    _PyObject_LookupAttr(thread, key, &name);
#endif
    return name;
}

static void define_name(uint16_t number, PyObject *thread) {
    PyObject *name = name_of(thread);
    if (name != NULL && PyUnicode_Check(name)) {
        owners[number].named = true;
        size_t bytes = tk_put_text(tk_text_buffer, name);
        tk_ring_define(TK_DEF_THREAD, number, number, tk_text_buffer, bytes, NULL, 0, true);
    }
    Py_XDECREF(name);
}

/* The newest thread of an identity: the system gives identities of ended threads out again. */
static uint16_t newest(uint64_t identity) {
    uint32_t count = atomic_load(&next_thread);
    for (uint32_t i = count < MOST_THREADS ? count : MOST_THREADS; i-- > 1;) {
        if (owners[i].identity == identity) {
            return (uint16_t)i;
        }
    }
    return 0;
}

void tk_threads_name_all(void) {
    PyObject *identity, *thread;
    Py_ssize_t at = 0;
    PyObject *active = all_threads();
    while (active != NULL && PyDict_Next(active, &at, &identity, &thread)) {
        if (PyLong_CheckExact(identity)) {
            uint16_t number = newest(PyLong_AsUnsignedLongMask(identity));
            if (number != 0 && !owners[number].named) {
                define_name(number, thread);
            }
        }
    }
}

__attribute__((noinline, cold)) void tk_threads_look_now(uint16_t number) {
    if (owners[number].named) {
        return;
    }
    if (tk_mine.look_after < LAST_LOOK) {
        tk_mine.look_in = 3 * tk_mine.look_after;
        tk_mine.look_after *= 4;
    }
    /* Looking an attribute up makes CPython's cache of attributes let go of another name: the program's, maybe. */
    tk_hooks_loud();
    PyObject *identity, *thread;
    Py_ssize_t at = 0;
    PyObject *active = all_threads();
    while (active != NULL && PyDict_Next(active, &at, &identity, &thread)) {
        if (PyLong_CheckExact(identity) && PyLong_AsUnsignedLongMask(identity) == (uint64_t)pthread_self()) {
            define_name(number, thread);
            break;
        }
    }
    tk_hooks_quiet();
}

/* Objects that died and that CPython keeps for the next of their type: its free lists. Needs the GIL. */
#ifndef TRACEKIT_KEPT_H
#define TRACEKIT_KEPT_H

#include "compat.h"
#include "slots.h"

#include <internal/pycore_interp.h>

#include <stdint.h>

typedef struct {
    PyDictObject **dictionaries;
    PyListObject **lists;
    PyTupleObject **tuples; /* the first of each size; its first item is the next */
    const int *tuple_counts;
    int dictionary_count, list_count, tuple_sizes, float_count, keys_count;
} tk_kept;

static inline tk_kept tk_kept_of(PyInterpreterState *interpreter) {
    tk_kept kept = {0};
#ifdef WITH_FREELISTS
#if PY_VERSION_HEX >= 0x030D0000
    struct _Py_object_freelists *of = &interpreter->object_state.freelists;
    kept.dictionaries = of->dicts.items;
    kept.dictionary_count = of->dicts.numfree;
    kept.lists = of->lists.items;
    kept.list_count = of->lists.numfree;
    kept.tuples = of->tuples.items;
    kept.tuple_counts = of->tuples.numfree;
    kept.float_count = of->floats.numfree;
    kept.keys_count = of->dictkeys.numfree;
#else
    kept.dictionaries = interpreter->dict_state.free_list;
    kept.dictionary_count = interpreter->dict_state.numfree;
    kept.lists = interpreter->list.free_list;
    kept.list_count = interpreter->list.numfree;
    kept.tuples = interpreter->tuple.free_list;
    kept.tuple_counts = interpreter->tuple.numfree;
    kept.float_count = interpreter->float_state.numfree;
    kept.keys_count = interpreter->dict_state.keys_numfree;
#endif
    kept.tuple_sizes = PyTuple_NFREELISTS;
#else
    (void)interpreter;
#endif
    return kept;
}

/* CPython keeps at most 2000 of a kind. At its end it sets counts to -1: there are none, and none are kept. */
static inline uint16_t tk_kept_count(int count) {
    return (uint16_t)(count < 0 ? 0 : count > UINT16_MAX ? UINT16_MAX : count);
}

/* How many: dictionaries, lists, tuples of 1 item, of 2 items and so on, floats, tables of keys. */
static inline void tk_kept_counts(PyInterpreterState *interpreter, uint16_t counts[TK_FREE_LISTS]) {
    const tk_kept kept = tk_kept_of(interpreter);
    counts[0] = tk_kept_count(kept.dictionary_count);
    counts[1] = tk_kept_count(kept.list_count);
    for (int i = 0; i < TK_FREE_LISTS - 4; i++) {
        counts[2 + i] = i < kept.tuple_sizes ? tk_kept_count(kept.tuple_counts[i]) : 0;
    }
    counts[TK_FREE_LISTS - 2] = tk_kept_count(kept.float_count);
    counts[TK_FREE_LISTS - 1] = tk_kept_count(kept.keys_count);
}

#endif

/* What comes next? A guess at every field of the next event of a batch, from the events before it.

   Programs repeat themselves: the guess is what followed when the last few events were last seen in this order,
   field by field, and the encoder stores only what differs. Encoder and decoder (kernels_codec.c) share all of
   this; docs/log-format.md has the rules and tracekit/log/guesses.py says them in Python. */
#ifndef TRACEKIT_KERNELS_MODEL_H
#define TRACEKIT_KERNELS_MODEL_H

#include "kernels_pools.h"

#include <stddef.h>
#include <string.h>

enum { TK_CONTEXTS = 1 << 16, TK_SITES = 1 << 16, TK_MAX_ROWS = 1 << 20 };
enum { TK_EVENT_ALLOCATION = 0, TK_EVENT_FREE = 1, TK_EVENT_ARENA = 5 };

/* Bits of a step: what is stored because it was guessed wrong. */
enum {
    TK_STEP_KIND = 1,
    TK_STEP_STACK = 2,
    TK_STEP_SIZE = 4,
    TK_STEP_DOMAIN = 8,
    TK_STEP_ADDRESS = 16,
    TK_STEP_LINK = 32,
    TK_STEP_CAUSE = 2,
    TK_STEP_TYPE = 4,
    TK_STEP_ENDS = 8 + 16, /* 0 first guess, 8 second guess, 16 by distance, 24 by difference */
};

typedef struct {
    int64_t size;
    uint32_t stack;
    uint8_t domain;
} tk_site;

typedef struct {
    /* The rows of the batch: given to the encoder, filled in one by one by the decoder. */
    uint8_t *kind, *domain, *cause;
    int64_t *address, *size, *alloc_seq;
    int32_t *stack_id, *type_id;
    int64_t first_seq;

    uint32_t context;
    int64_t match;      /* row that looks like the next one, -1: none */
    int64_t last_born;  /* row, -1: none */
    int64_t last_ended; /* alloc_seq of the last free that had one */
    int64_t difference[TK_MAX_ROWS]; /* of a free's alloc_seq to that of the free before it, by row */
    uint32_t seen[TK_CONTEXTS];  /* 1 + the row after which the context was this */
    tk_site sites[TK_SITES];
    int32_t types[TK_SITES];
    tk_pools pools;
} tk_model;

static inline void tk_model_begin(tk_model *model) {
    model->context = 0;
    model->match = model->last_born = -1;
    model->last_ended = model->first_seq - 1;
    memset(model->seen, 0, sizeof model->seen);
    memset(model->sites, 0, sizeof model->sites);
    memset(model->types, 0, sizeof model->types);
    tk_pools_begin(&model->pools);
}

static inline tk_site *tk_model_site(tk_model *model, int32_t stack) {
    return &model->sites[(uint32_t)stack & (TK_SITES - 1)];
}

static inline int32_t *tk_model_type(tk_model *model, int64_t row) {
    uint32_t key = (uint32_t)model->stack_id[row] * 0x9E3779B1u ^ (uint32_t)model->size[row] * 0x85EBCA77u;
    return &model->types[key >> 16];
}

/* Row of an allocation of this batch, -1 when the number is of another one. */
static inline int64_t tk_model_row(const tk_model *model, int64_t seq, int64_t row) {
    int64_t born = seq - model->first_seq;
    return born >= 0 && born < row && model->kind[born] == TK_EVENT_ALLOCATION ? born : -1;
}

/* The two guesses at the allocation that the free in this row ends; `alike` is the row it looks like or -1. */
static inline void tk_model_ends(const tk_model *model, int64_t row, int64_t alike, int64_t guess[2]) {
    if (alike >= 0) {
        guess[0] = model->alloc_seq[alike] < 0 ? -1 : model->alloc_seq[alike] + (row - alike);
        guess[1] = (int64_t)((uint64_t)model->last_ended + (uint64_t)model->difference[alike]);
        return;
    }
    guess[0] = model->last_born < 0 ? -1 : model->first_seq + model->last_born;
    int64_t next = model->last_ended - model->first_seq;
    for (int tries = 0; tries < 16 && next + 1 < row && next >= -1; tries++) {
        next++;
        if (model->kind[next] == TK_EVENT_ALLOCATION) {
            break;
        }
    }
    guess[1] = model->first_seq + next;
}

/* The realloc that an allocation is guessed to complete: that of the free just before it. */
static inline int64_t tk_model_link(const tk_model *model, int64_t row) {
    bool moved = row > 0 && model->kind[row - 1] == TK_EVENT_FREE && model->cause[row - 1] == 2;
    return moved ? model->alloc_seq[row - 1] : -1;
}

/* Whether an event looked enough like the match that the next one is looked for behind it. */
static inline bool tk_model_went_on(uint8_t kind, uint8_t step) {
    return (step & (kind == TK_EVENT_ALLOCATION ? TK_STEP_STACK : kind == TK_EVENT_FREE ? 16 : 0)) == 0;
}

/* Once for the encoder and once for the decoder, where every event passes through. */
#define TK_INLINE static inline __attribute__((always_inline))

/* All fields of the row are known now: learn from them. Each returns what the row looks like to the context. */
TK_INLINE uint32_t tk_model_learn_allocation(tk_model *model, int64_t row) {
    uint32_t stack = (uint32_t)model->stack_id[row];
    uint8_t domain = model->domain[row];
    *tk_model_site(model, (int32_t)stack) = (tk_site){model->size[row], stack, domain};
    model->last_born = row;
    return stack << 2 | (domain & 3);
}

/* `born` is the row of the allocation that it ends, or -1. */
TK_INLINE uint32_t tk_model_learn_free(tk_model *model, int64_t row, int64_t born) {
    int64_t ended = model->alloc_seq[row], difference = 0;
    int32_t type = model->type_id[row];
    uint32_t sign = 0x80000000u | (uint32_t)type << 2 | model->cause[row];
    if (ended >= 0) {
        difference = ended - model->last_ended;
        model->last_ended = ended;
        if (born >= 0) {
            *tk_model_type(model, born) = type;
            tk_pools_give(&model->pools, (uint64_t)model->size[born], model->domain[born],
                          (uint64_t)model->address[born]);
        }
    }
    model->difference[row] = difference;
    return sign;
}

static inline uint32_t tk_model_learn_other(uint8_t kind) {
    return 0x40000000u | kind;
}

/* `hit`: the row was what the match looked like. */
TK_INLINE void tk_model_go_on(tk_model *model, int64_t row, uint32_t sign, bool hit) {
    model->context = model->context << 8 ^ sign * 0x9E3779B1u;
    uint32_t *seen = &model->seen[model->context * 0x85EBCA77u >> 16];
    /* What was remembered is the row after; 0 stands for none, since row 0 is after nothing. */
    model->match = hit ? model->match + 1 : *seen == 0 ? -1 : (int64_t)*seen;
    *seen = (uint32_t)row + 1;
}

#endif

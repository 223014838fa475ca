/* A batch of events to and from the steps and streams in which a log holds it (docs/log-format.md, coding of
   batches). Called by tracekit/log/columns.py. One step, a byte, an event: the bits say which fields were not
   guessed, and those are in the streams. Time and thread are runs. Nothing that a log may hold makes the decoder
   read or write outside of what it was given. */
#include "kernels_codec.h"

#include <stdlib.h>

static inline bool push(tk_values *to, int64_t value) {
    if (to->count == to->room) {
        size_t room = 2 * to->room + 1024;
        int64_t *larger = realloc(to->values, room * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        to->values = larger;
        to->room = room;
    }
    to->values[to->count++] = value;
    return true;
}

static inline int64_t zigzag(int64_t value) {
    return (int64_t)((uint64_t)value << 1 ^ (uint64_t)(value >> 63));
}

static inline int64_t zagzig(int64_t value) {
    return (int64_t)((uint64_t)value >> 1 ^ -((uint64_t)value & 1));
}

/* -- encoding -------------------------------------------------------------------------------------------- */

static uint8_t encode_allocation(tk_model *model, int64_t row, int64_t alike, tk_values *piles, bool *fine) {
    uint8_t step = 0;
    int32_t stack = alike >= 0 ? model->stack_id[alike] : model->last_born >= 0 ? model->stack_id[model->last_born] : 0;
    if (model->stack_id[row] != stack) {
        step |= TK_STEP_STACK;
        *fine &= push(&piles[TK_STACKS], model->stack_id[row]);
        alike = -1;
    }
    const tk_site *site = tk_model_site(model, model->stack_id[row]);
    int64_t size = alike >= 0 ? model->size[alike] : site->size;
    uint8_t domain = alike >= 0 ? model->domain[alike] : site->domain;
    if (model->size[row] != size) {
        step |= TK_STEP_SIZE;
        *fine &= push(&piles[TK_SIZES], model->size[row]);
    }
    if (model->domain[row] != domain) {
        step |= TK_STEP_DOMAIN;
        *fine &= push(&piles[TK_DOMAINS], model->domain[row]);
    }
    int64_t link = model->alloc_seq[row];
    if (link != tk_model_link(model, row)) {
        step |= TK_STEP_LINK;
        *fine &= push(&piles[TK_LINKS], link < 0 ? 0 : model->first_seq + row - link);
    }
    uint64_t bytes = (uint64_t)model->size[row], address = (uint64_t)model->address[row];
    uint64_t guess = tk_pools_guess(&model->pools, bytes, model->domain[row]);
    if (address != guess) {
        step |= TK_STEP_ADDRESS;
        uint64_t *base = tk_pools_base(&model->pools, bytes, model->domain[row]);
        *fine &= push(&piles[TK_ADDRESSES], zigzag((int64_t)(address - *base)));
        *base = address;
    }
    tk_pools_take(&model->pools, bytes, model->domain[row], guess, address);
    return step;
}

static uint8_t encode_free(tk_model *model, int64_t row, int64_t alike, int64_t born, tk_values *piles, bool *fine) {
    uint8_t step = 0;
    int64_t ended = model->alloc_seq[row], guess[2];
    tk_model_ends(model, row, alike, guess);
    if (ended == guess[0]) {
        /* nothing to say */
    } else if (ended == guess[1]) {
        step |= 8;
    } else {
        int64_t distance = ended < 0 ? 0 : model->first_seq + row - ended;
        int64_t difference = ended - model->last_ended;
        if (ended < 0 || distance <= llabs(difference)) {
            step |= 16;
            *fine &= push(&piles[TK_DISTANCES], distance);
        } else {
            step |= 24;
            *fine &= push(&piles[TK_DIFFERENCES], zigzag(difference));
        }
    }
    if (ended < 0) {
        *fine &= push(&piles[TK_ADDRESSES], model->address[row]);
    }
    uint8_t cause = alike >= 0 ? model->cause[alike] : 0;
    if (model->cause[row] != cause) {
        step |= TK_STEP_CAUSE;
        *fine &= push(&piles[TK_CAUSES], model->cause[row]);
    }
    int32_t type = born >= 0 ? *tk_model_type(model, born) : alike >= 0 ? model->type_id[alike] : 0;
    if (model->type_id[row] != type) {
        step |= TK_STEP_TYPE;
        *fine &= push(&piles[TK_TYPES], model->type_id[row]);
    }
    return step;
}

enum { TOGETHER = 64 };

/* Note where a column of numbers that are `width` bytes wide changes its value, from a row on that is not the first.
   Mostly it does not, so that many rows are looked at together: each is like the one before it. */
static inline bool runs(tk_values *values, tk_values *lengths, int64_t *since, const void *column, size_t width,
                        int64_t row, int64_t rows) {
    const char *bytes = column;
    bool fine = true;
    for (; row < rows; row++) {
        const char *at = bytes + (size_t)row * width;
        if (row + TOGETHER <= rows && memcmp(at, at - width, TOGETHER * width) == 0) {
            row += TOGETHER - 1;
        } else if (memcmp(at, at - width, width) != 0) {
            int64_t before = width == 8 ? ((const int64_t *)column)[row - 1] : ((const int32_t *)column)[row - 1];
            fine &= push(values, before) && push(lengths, row - *since);
            *since = row;
        }
    }
    return fine;
}

bool tk_encode(tk_model *model, tk_encoding *now, int64_t rows, const int64_t *time_ns, const int32_t *thread_id,
               uint8_t *steps) {
    tk_values *piles = now->piles;
    int64_t first = now->rows > 0 ? now->rows : 1;
    bool fine = runs(&piles[TK_TIMES], &piles[TK_TIME_RUNS], &now->time_from, time_ns, 8, first, rows) &&
                runs(&piles[TK_THREAD_IDS], &piles[TK_THREAD_RUNS], &now->thread_from, thread_id, 4, first, rows);
    for (int64_t row = now->rows; row < rows && fine; row++) {
        uint8_t step = 0, kind = model->kind[row];
        int64_t alike = model->match;
        uint8_t guess = alike >= 0 ? model->kind[alike] : TK_EVENT_ALLOCATION;
        if (kind != guess) {
            step = TK_STEP_KIND;
            fine &= push(&piles[TK_KINDS], kind);
            alike = -1;
        }
        uint32_t sign;
        if (kind == TK_EVENT_ALLOCATION) {
            step |= encode_allocation(model, row, alike, piles, &fine);
            sign = tk_model_learn_allocation(model, row);
        } else if (kind == TK_EVENT_FREE) {
            int64_t born = tk_model_row(model, model->alloc_seq[row], row);
            step |= encode_free(model, row, alike, born, piles, &fine);
            sign = tk_model_learn_free(model, row, born);
        } else {
            if (kind >= TK_EVENT_ARENA) {
                fine &= push(&piles[TK_ADDRESSES], model->address[row]) && push(&piles[TK_SIZES], model->size[row]);
            }
            sign = tk_model_learn_other(kind);
        }
        steps[row] = step;
        tk_model_go_on(model, row, sign, alike >= 0 && tk_model_went_on(kind, step));
    }
    now->rows = rows;
    return fine;
}

bool tk_encode_end(tk_encoding *now, const int64_t *time_ns, const int32_t *thread_id) {
    tk_values *piles = now->piles;
    int64_t last = now->rows - 1;
    return push(&piles[TK_TIMES], time_ns[last]) && push(&piles[TK_TIME_RUNS], now->rows - now->time_from) &&
           push(&piles[TK_THREAD_IDS], thread_id[last]) && push(&piles[TK_THREAD_RUNS], now->rows - now->thread_from);
}

/* -- decoding -------------------------------------------------------------------------------------------- */

/* The next value of a stream, which must lie in 0..top. */
static inline int64_t next(tk_stream *from, int64_t top, bool *fine) {
    if (from->values == from->end || *from->values < 0 || *from->values > top) {
        *fine = false;
        return 0;
    }
    return *from->values++;
}

/* The next value of a stream that may hold any. */
static inline int64_t next_any(tk_stream *from, bool *fine) {
    if (from->values == from->end) {
        *fine = false;
        return 0;
    }
    return *from->values++;
}

static void decode_allocation(tk_model *model, int64_t row, int64_t alike, uint8_t step, tk_stream *from, bool *fine) {
    int32_t stack = alike >= 0 ? model->stack_id[alike] : model->last_born >= 0 ? model->stack_id[model->last_born] : 0;
    if (step & TK_STEP_STACK) {
        stack = (int32_t)next(&from[TK_STACKS], INT32_MAX, fine);
        alike = -1;
    }
    model->stack_id[row] = stack;
    const tk_site *site = tk_model_site(model, stack);
    model->size[row] = step & TK_STEP_SIZE ? next(&from[TK_SIZES], INT64_MAX, fine)
                       : alike >= 0        ? model->size[alike]
                                           : site->size;
    model->domain[row] = step & TK_STEP_DOMAIN ? (uint8_t)next(&from[TK_DOMAINS], 255, fine)
                         : alike >= 0          ? model->domain[alike]
                                               : site->domain;
    int64_t seq = model->first_seq + row;
    if (step & TK_STEP_LINK) {
        int64_t distance = next(&from[TK_LINKS], seq, fine);
        model->alloc_seq[row] = distance == 0 ? -1 : seq - distance;
    } else {
        model->alloc_seq[row] = tk_model_link(model, row);
    }
    uint64_t bytes = (uint64_t)model->size[row];
    uint64_t guess = tk_pools_guess(&model->pools, bytes, model->domain[row]);
    uint64_t address = guess;
    if (step & TK_STEP_ADDRESS) {
        uint64_t *base = tk_pools_base(&model->pools, bytes, model->domain[row]);
        address = *base + (uint64_t)zagzig(next_any(&from[TK_ADDRESSES], fine));
        *base = address;
    }
    model->address[row] = (int64_t)address;
    model->cause[row] = 0;
    model->type_id[row] = 0;
    tk_pools_take(&model->pools, bytes, model->domain[row], guess, address);
}

/* Returns the row of the allocation that it ends, -1 if that is not of this batch. */
static int64_t decode_free(tk_model *model, int64_t row, int64_t alike, uint8_t step, tk_stream *from, bool *fine) {
    int64_t guess[2], ended, seq = model->first_seq + row;
    tk_model_ends(model, row, alike, guess);
    switch (step & TK_STEP_ENDS) {
    case 0:
        ended = guess[0];
        break;
    case 8:
        ended = guess[1];
        break;
    case 16:
        ended = next(&from[TK_DISTANCES], seq, fine);
        ended = ended == 0 ? -1 : seq - ended;
        break;
    default:
        ended = (int64_t)((uint64_t)model->last_ended + (uint64_t)zagzig(next_any(&from[TK_DIFFERENCES], fine)));
    }
    if (ended < -1 || ended >= seq) {
        *fine = false;
        ended = -1;
    }
    model->alloc_seq[row] = ended;
    model->address[row] = ended < 0 ? next(&from[TK_ADDRESSES], INT64_MAX, fine) : 0;
    model->size[row] = 0;
    model->domain[row] = 0;
    model->stack_id[row] = 0;
    model->cause[row] = step & TK_STEP_CAUSE ? (uint8_t)next(&from[TK_CAUSES], 255, fine)
                        : alike >= 0         ? model->cause[alike]
                                             : 0;
    int64_t born = tk_model_row(model, ended, row);
    model->type_id[row] = step & TK_STEP_TYPE ? (int32_t)next(&from[TK_TYPES], INT32_MAX, fine)
                          : born >= 0         ? *tk_model_type(model, born)
                          : alike >= 0        ? model->type_id[alike]
                                              : 0;
    return born;
}

static void decode_other(tk_model *model, int64_t row, uint8_t kind, tk_stream *from, bool *fine) {
    bool arena = kind >= TK_EVENT_ARENA;
    model->address[row] = arena ? next(&from[TK_ADDRESSES], INT64_MAX, fine) : 0;
    model->size[row] = arena ? next(&from[TK_SIZES], INT64_MAX, fine) : 0;
    model->domain[row] = 0;
    model->stack_id[row] = 0;
    model->alloc_seq[row] = -1;
    model->cause[row] = 0;
    model->type_id[row] = 0;
}

bool tk_decode(tk_model *model, int64_t count, const uint8_t *steps, tk_stream *from) {
    bool fine = true;
    for (int64_t row = 0; row < count && fine; row++) {
        uint8_t step = steps[row];
        int64_t alike = model->match;
        uint8_t kind = alike >= 0 ? model->kind[alike] : TK_EVENT_ALLOCATION;
        if (step & TK_STEP_KIND) {
            kind = (uint8_t)next(&from[TK_KINDS], 255, &fine);
            alike = -1;
        }
        model->kind[row] = kind;
        uint32_t sign;
        if (kind == TK_EVENT_ALLOCATION) {
            decode_allocation(model, row, alike, step, from, &fine);
            sign = tk_model_learn_allocation(model, row);
        } else if (kind == TK_EVENT_FREE) {
            int64_t born = decode_free(model, row, alike, step, from, &fine);
            sign = tk_model_learn_free(model, row, born);
        } else {
            decode_other(model, row, kind, from, &fine);
            sign = tk_model_learn_other(kind);
        }
        tk_model_go_on(model, row, sign, alike >= 0 && tk_model_went_on(kind, step));
    }
    for (int which = 0; which < TK_STREAMS; which++) {
        fine &= from[which].values == from[which].end;
    }
    return fine;
}

/* Batches of events to and from steps and streams; kernels_codec.c does it, kernels_codec_type.c shows it to Python. */
#ifndef TRACEKIT_KERNELS_CODEC_H
#define TRACEKIT_KERNELS_CODEC_H

#include "kernels_model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The streams of a batch, and what else an encoder piles up: values and lengths of the runs of time and thread. */
enum {
    TK_KINDS,
    TK_STACKS,
    TK_SIZES,
    TK_DOMAINS,
    TK_LINKS,
    TK_ADDRESSES,
    TK_CAUSES,
    TK_TYPES,
    TK_DISTANCES,
    TK_DIFFERENCES,
    TK_STREAMS,
    TK_TIMES = TK_STREAMS,
    TK_TIME_RUNS,
    TK_THREAD_IDS,
    TK_THREAD_RUNS,
    TK_PILES
};

typedef struct {
    int64_t *values;
    size_t count, room;
} tk_values;

/* How far a batch is encoded. */
typedef struct {
    int64_t rows, time_from, thread_from;
    tk_values piles[TK_PILES];
} tk_encoding;

typedef struct {
    const int64_t *values, *end;
} tk_stream;

/* Go on up to `rows` rows, each with a step. False when memory is short. */
bool tk_encode(tk_model *model, tk_encoding *now, int64_t rows, const int64_t *time_ns, const int32_t *thread_id,
               uint8_t *steps);
/* That was the last row; there must be one. False when memory is short. */
bool tk_encode_end(tk_encoding *now, const int64_t *time_ns, const int32_t *thread_id);
/* Fill in all rows but time and thread. False when the streams do not fit the steps. */
bool tk_decode(tk_model *model, int64_t count, const uint8_t *steps, tk_stream *from);

#endif

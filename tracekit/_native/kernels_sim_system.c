/* What a machine has besides pymalloc: malloc, and the stacks of its threads.
   To be read beside tracekit/simulator/system.py and stack.py. */
#include "kernels_sim.h"

#include <stdlib.h>

/* -- malloc (system.py) ---------------------------------------------------------------------------------- */

enum { SIZE_SZ = 8, MALLOC_ALIGNMENT = 16, MINSIZE = 32, MMAP_THRESHOLD = 128 * 1024 };

static inline int64_t round_up(int64_t size, int64_t multiple) {
    return (size + multiple - 1) & -multiple;
}

static inline int64_t chunk_bytes(int64_t size) {
    int64_t chunk = round_up(size + SIZE_SZ, MALLOC_ALIGNMENT);
    return chunk < MINSIZE ? MINSIZE : chunk;
}

static inline int64_t mapping_bytes(const tk_sim *sim, int64_t chunk) {
    return round_up(chunk + SIZE_SZ, sim->page_size);
}

/* The chunks of the heap take so much more (less, if it is below 0). False: over the limit. */
static inline bool use_heap(tk_sim *sim, int64_t growth) {
    int64_t used = sim->heap_used_bytes + growth;
    if (used > sim->heap_bytes) {
        int64_t pages = round_up(used - sim->heap_bytes, sim->page_size);
        if (!tk_sim_obtain(&sim->memory, pages)) {
            return false;
        }
        sim->heap_bytes += pages;
    }
    sim->heap_used_bytes = used;
    return true;
}

bool tk_sim_malloc_allocate(tk_sim *sim, int64_t size) {
    int64_t chunk = chunk_bytes(size);
    if (chunk < MMAP_THRESHOLD) {
        return use_heap(sim, chunk);
    }
    if (!tk_sim_obtain(&sim->memory, mapping_bytes(sim, chunk))) {
        return false;
    }
    sim->mapped_bytes += mapping_bytes(sim, chunk);
    return true;
}

void tk_sim_malloc_free(tk_sim *sim, int64_t size) {
    int64_t chunk = chunk_bytes(size);
    if (chunk < MMAP_THRESHOLD) {
        sim->heap_used_bytes -= chunk;
    } else {
        sim->memory.footprint_bytes -= mapping_bytes(sim, chunk);
        sim->mapped_bytes -= mapping_bytes(sim, chunk);
    }
}

bool tk_sim_malloc_reallocate(tk_sim *sim, int64_t old_size, int64_t size) {
    int64_t old_chunk = chunk_bytes(old_size), chunk = chunk_bytes(size);
    if ((old_chunk < MMAP_THRESHOLD) != (chunk < MMAP_THRESHOLD)) {
        if (!tk_sim_malloc_allocate(sim, size)) {
            return false;
        }
        tk_sim_malloc_free(sim, old_size);
        return true;
    }
    if (chunk < MMAP_THRESHOLD) {
        return use_heap(sim, chunk - old_chunk);
    }
    int64_t growth = mapping_bytes(sim, chunk) - mapping_bytes(sim, old_chunk);
    if (!tk_sim_obtain(&sim->memory, growth)) {
        return false;
    }
    sim->mapped_bytes += growth;
    return true;
}

/* -- stacks (stack.py) ----------------------------------------------------------------------------------- */

static uint32_t slot_of(const tk_sim *sim, int32_t thread_id) {
    uint32_t at = (uint32_t)thread_id * 0x9E3779B1u & sim->threads_mask;
    while (sim->threads[at].used && sim->threads[at].thread_id != thread_id) {
        at = (at + 1) & sim->threads_mask;
    }
    return at;
}

static bool find_thread(tk_sim *sim, int32_t thread_id) {
    if (sim->threads_count >= sim->threads_mask / 2) {
        tk_sim_thread *old = sim->threads;
        uint32_t count = sim->threads == NULL ? 0 : sim->threads_mask + 1, room = count == 0 ? 64 : count * 2;
        tk_sim_thread *threads = room == 0 ? NULL : calloc(room, sizeof *threads);
        if (threads == NULL) {
            return false;
        }
        sim->threads = threads;
        sim->threads_mask = room - 1;
        for (uint32_t at = 0; at < count; at++) {
            if (old[at].used) {
                threads[slot_of(sim, old[at].thread_id)] = old[at];
            }
        }
        free(old);
    }
    sim->thread = &sim->threads[slot_of(sim, thread_id)];
    if (!sim->thread->used) {
        *sim->thread = (tk_sim_thread){thread_id, true, 0};
        sim->threads_count++;
    }
    return true;
}

tk_sim_ending tk_sim_stack_reached(tk_sim *sim, int64_t seq, int32_t thread_id, int32_t stack_id) {
    if (__builtin_expect(sim->thread == NULL || sim->thread->thread_id != thread_id, 0)) {
        if (!find_thread(sim, thread_id)) {
            return TK_SIM_NO_MEMORY;
        }
    }
    int64_t reached = stack_id >= 0 && stack_id < sim->paths ? sim->path_bytes[stack_id] : 0;
    if (reached != sim->thread->bytes) {
        if (__builtin_add_overflow(sim->stack_bytes - sim->thread->bytes, reached, &sim->stack_bytes)) {
            return TK_SIM_STRANGE;
        }
        sim->thread->bytes = reached;
        if (sim->stack_bytes > sim->peak_stack_bytes) {
            sim->peak_stack_bytes = sim->stack_bytes;
            sim->peak_stack_seq = seq;
        }
    }
    return TK_SIM_DONE;
}

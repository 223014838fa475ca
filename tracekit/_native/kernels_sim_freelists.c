/* Free lists, and what happened to them between two recorded collections.
   To be read beside tracekit/simulator/freelists.py, and _unseen of collector.py. */
#include "kernels_sim.h"

#include <stdlib.h>

enum { SLOTS = 32, TRACKED_LISTS = 22 }; /* instants over which it is spread; the first lists, which count */

void tk_sim_lists_owe(tk_sim *sim, int which, int blocks) {
    int64_t bytes = blocks * tk_sim_object_bytes(which);
    sim->lists.owed[which] += blocks;
    sim->live_blocks -= blocks;
    sim->live_bytes -= bytes;
    sim->small_bytes -= (uint64_t)tk_sim_object_bytes(which) <= sim->small_threshold ? bytes : 0;
}

/* A block for an object that came from a free list in the recording. */
static tk_sim_ending obtain(tk_sim *sim, int which) {
    tk_sim_list *spare = &sim->lists.spare[which];
    if (sim->lists.owed[which] > 0) {
        tk_sim_lists_owe(sim, which, -1);
        tk_sim_may_be_the_peak(sim, sim->pymalloc.now);
        return TK_SIM_DONE;
    }
    uint64_t place;
    tk_sim_ending end = tk_sim_new_block(sim, tk_sim_object_bytes(which), &place);
    if (end == TK_SIM_DONE && !tk_sim_list_add(spare, (int64_t)place)) {
        return TK_SIM_NO_MEMORY;
    }
    return end;
}

/* A block goes whose object went to a free list in the recording, or waits in one there. */
static void give_up(tk_sim *sim, int which) {
    tk_sim_list *spare = &sim->lists.spare[which];
    if (spare->count == 0) {
        tk_sim_lists_owe(sim, which, 1);
        return;
    }
    int64_t size = tk_sim_object_bytes(which);
    uint64_t place = (uint64_t)spare->items[--spare->count];
    tk_sim_give_back(sim, place, size);
    sim->live_blocks--;
    sim->live_bytes -= size;
    sim->small_bytes -= place == TK_SIM_MALLOC ? 0 : size;
}

tk_sim_ending tk_sim_lists_tell(tk_sim *sim, int64_t *count) {
    tk_sim_lists *lists = &sim->lists;
    if (!lists->known || lists->numfree[TK_SIM_DICTS] > 0) {
        return TK_SIM_DONE;
    }
    tk_sim_ending end = obtain(sim, TK_SIM_DICTS);
    if (end == TK_SIM_DONE) {
        *count += tk_sim_lists_put(lists, TK_SIM_DICTS);
    }
    return end;
}

void tk_sim_lists_collected(tk_sim *sim, int generation) {
    tk_sim_lists *lists = &sim->lists;
    for (int younger = 0; younger <= generation; younger++) {
        for (int which = 0; which < TK_SIM_LISTS; which++) {
            for (; lists->hidden[younger][which] > 0; lists->hidden[younger][which]--) {
                if (!tk_sim_lists_put(lists, which)) {
                    give_up(sim, which);
                }
            }
        }
    }
    for (int which = 0; generation + 1 == TK_SIM_GENERATIONS && which < TK_SIM_LISTS; which++) {
        while (tk_sim_lists_take(lists, which)) { /* clear_freelists */
            give_up(sim, which);
        }
    }
}

static int64_t interval_from(const tk_sim *sim, int64_t number) {
    return number > 0 ? sim->lists.stop_seq[number - 1] : 0;
}

void tk_sim_lists_condemn(tk_sim *sim, int64_t number) {
    tk_sim_lists *lists = &sim->lists;
    int64_t *hidden = lists->hidden[tk_sim_generation_of(&sim->collector, interval_from(sim, number))];
    for (int which = 0; which < TK_SIM_LISTS; which++) {
        hidden[which] += lists->parked[number * TK_SIM_LISTS + which];
    }
}

void tk_sim_lists_freeze(tk_sim *sim) {
    for (int generation = 0; generation < TK_SIM_GENERATIONS; generation++) {
        for (int which = 0; which < TK_SIM_LISTS; which++) {
            sim->lists.hidden[generation][which] = 0;
        }
    }
}

/* The share of a slot of so many objects: of all together it is `count`. */
static int part(int count, int slot) {
    int whole = count < 0 ? -count : count, share = whole * slot / SLOTS - whole * (slot - 1) / SLOTS;
    return count < 0 ? -share : share;
}

/* What happened in a slot, the one that ends with event `end_seq`. */
static tk_sim_ending unseen(tk_sim *sim, int64_t end_seq) {
    tk_sim_lists *lists = &sim->lists;
    int64_t number = sim->collector.next;
    int slot = lists->slot;
    int64_t *count = &sim->collector.count[0];
    for (int which = 0; which < TK_SIM_LISTS; which++) {
        int64_t at = number * TK_SIM_LISTS + which;
        int objects = part(lists->drift[at], slot);
        lists->recorded[which] += objects;
        for (; objects < 0; objects++) {
            if (!tk_sim_lists_take(lists, which)) {
                tk_sim_ending end = obtain(sim, which);
                if (end != TK_SIM_DONE) {
                    return end;
                }
                *count += which < TRACKED_LISTS; /* whether it is above the threshold is looked at with the next block */
            }
        }
        for (; objects > 0; objects--) {
            if (!tk_sim_lists_put(lists, which)) {
                give_up(sim, which);
                *count -= which < TRACKED_LISTS && *count > 0;
            }
        }
        int parked = part(lists->parked[at], slot);
        if (sim->collector.garbage == TK_SIM_EARLY) {
            lists->hidden[0][which] += parked;
        }
        for (; sim->collector.garbage == TK_SIM_LIKELY && parked > 0; parked--) {
            if (!tk_sim_collector_in_use(&sim->collector, (tk_sim_garbage){end_seq, TK_SIM_HIDDEN, which})) {
                return TK_SIM_NO_MEMORY;
            }
        }
    }
    return TK_SIM_DONE;
}

tk_sim_ending tk_sim_lists_kept(tk_sim *sim, int64_t keys) {
    tk_sim_ending end = TK_SIM_DONE;
    for (; end == TK_SIM_DONE && keys > 0; keys--) {
        end = obtain(sim, TK_SIM_KEYS);
    }
    return end;
}

void tk_sim_lists_interval(tk_sim *sim, int64_t number) {
    tk_sim_lists *lists = &sim->lists;
    lists->slot = 0;
    for (int which = 0; lists->known && which < TK_SIM_LISTS; which++) {
        lists->recorded[which] = lists->waiting[number * TK_SIM_LISTS + which];
    }
}

int64_t tk_sim_lists_next(const tk_sim *sim) {
    const tk_sim_collector *collector = &sim->collector;
    if (!sim->lists.known || collector->next == collector->total || sim->lists.slot == SLOTS) {
        return INT64_MAX;
    }
    int64_t begin = interval_from(sim, collector->next), end = collector->start_seq[collector->next];
    int64_t step = end > begin ? (end - begin) / SLOTS : 0;
    return begin + step * (sim->lists.slot + 1);
}

tk_sim_ending tk_sim_lists_before(tk_sim *sim, int64_t seq, bool all) {
    tk_sim_lists *lists = &sim->lists;
    while (lists->known && sim->collector.next < sim->collector.total && lists->slot < SLOTS &&
           (all || tk_sim_lists_next(sim) < seq)) {
        int64_t end_seq = tk_sim_lists_next(sim);
        lists->slot++;
        tk_sim_ending end = unseen(sim, end_seq);
        if (end != TK_SIM_DONE) {
            return end;
        }
    }
    return TK_SIM_DONE;
}

void tk_sim_lists_end(tk_sim *sim) {
    for (int which = 0; which < TK_SIM_LISTS; which++) {
        free(sim->lists.spare[which].items);
    }
}

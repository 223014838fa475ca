/* The cyclic collector: counts, thresholds, and generations as spans of allocations.
   To be read beside tracekit/simulator/collector.py, which says why this is enough. */
#include "kernels_sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_OBJECTS ((int64_t)1 << 60) /* of which sums do not overflow */

/* -- what is due when ------------------------------------------------------------------------------------ */

static void look_ahead(tk_sim *sim) {
    tk_sim_collector *self = &sim->collector;
    int64_t unseen = tk_sim_lists_next(sim);
    /* What is due comes first: no collection is due after it begins. */
    self->next_event = self->next_due < self->total ? self->due_seq[self->next_due] : INT64_MAX;
    if (self->next < self->total && self->start_seq[self->next] < self->next_event) {
        self->next_event = self->start_seq[self->next];
    }
    self->next_event = unseen < self->next_event ? unseen : self->next_event;
    if (self->next_setting < self->settings && self->set_seq[self->next_setting] <= self->next_event) {
        self->next_event = self->set_seq[self->next_setting] - 1;
    }
    if (self->freezes && self->freeze_seq <= self->next_event) {
        self->next_event = self->freeze_seq == INT64_MIN ? INT64_MIN : self->freeze_seq - 1;
    }
}

/* _is_due, but for the comparison of count 0 itself. */
static void set_due(tk_sim_collector *self) {
    bool never = !self->on || self->waits || self->thresholds[0] == 0 || self->off[self->next];
    self->due_above = never ? INT64_MAX : self->thresholds[0];
}

static void set_thresholds(tk_sim_collector *self) {
    const int64_t *recorded = self->next_setting > 0
                                  ? &self->set_thresholds[(self->next_setting - 1) * TK_SIM_GENERATIONS]
                                  : &self->recorded_thresholds[self->next * TK_SIM_GENERATIONS];
    if (!self->own_thresholds) {
        memcpy(self->thresholds, recorded, sizeof self->thresholds);
    }
    set_due(self);
}

/* -- blocks that recorded collections freed -------------------------------------------------------------- */

static bool add_gone(tk_sim_gone *gone, tk_sim_garbage garbage) {
    if (gone->count == gone->room) {
        size_t room = gone->room < 64 ? 64 : gone->room + gone->room / 2;
        tk_sim_garbage *items = realloc(gone->items, room * sizeof *items);
        if (items == NULL) {
            return false;
        }
        gone->items = items;
        gone->room = room;
    }
    gone->items[gone->count++] = garbage;
    return true;
}

static bool is_unreachable(tk_sim_collector *self, tk_sim_garbage garbage) {
    return add_gone(&self->unreachable[tk_sim_generation_of(self, garbage.block)], garbage);
}

enum { LAG_STRIDE = 13 };

/* Blocks go through all lifetimes, and neighbours get one that is far from each other's. */
static int next_turn(tk_sim_collector *self) {
    return (int)(++self->turn * LAG_STRIDE % TK_SIM_LAGS);
}

bool tk_sim_collector_in_use(tk_sim_collector *self, tk_sim_garbage garbage) {
    return add_gone(&self->in_use[next_turn(self)].gone, garbage);
}

/* What is not in use any more at event `seq`. */
static bool ripen(tk_sim *sim, int64_t seq, bool all) {
    tk_sim_collector *self = &sim->collector;
    for (int which = 0; which < TK_SIM_LAGS; which++) {
        tk_sim_queue *queue = &self->in_use[which];
        int64_t since = seq - (all ? 0 : self->lags[which]);
        for (; queue->ripe < queue->gone.count && queue->gone.items[queue->ripe].block <= since; queue->ripe++) {
            tk_sim_garbage garbage = queue->gone.items[queue->ripe];
            if (garbage.what == TK_SIM_HIDDEN) {
                sim->lists.hidden[tk_sim_generation_of(self, garbage.block)][garbage.which]++;
            } else if (!is_unreachable(self, garbage)) {
                return false;
            }
        }
        if (queue->ripe > 0 && queue->ripe * 2 >= queue->gone.count) { /* at most as much is moved as was taken */
            queue->gone.count -= queue->ripe;
            memmove(queue->gone.items, queue->gone.items + queue->ripe, queue->gone.count * sizeof *queue->gone.items);
            queue->ripe = 0;
        }
    }
    return true;
}

/* Note a block as one that is unreachable from a recorded collection on. */
static bool doom(tk_sim_collector *self, int64_t collection, tk_sim_garbage garbage) {
    int64_t at = self->doomed_unused;
    if (at >= 0) {
        self->doomed_unused = self->doomed[at].next;
    } else {
        if (self->doomed_count == self->doomed_room) {
            int64_t room = self->doomed_room < 64 ? 64 : self->doomed_room + self->doomed_room / 2;
            tk_sim_doomed *doomed = realloc(self->doomed, (size_t)room * sizeof *doomed);
            if (doomed == NULL) {
                return false;
            }
            self->doomed = doomed;
            self->doomed_room = room;
        }
        at = self->doomed_count++;
    }
    self->doomed[at] = (tk_sim_doomed){garbage, -1};
    if (self->doomed_first[collection] < 0) {
        self->doomed_first[collection] = at;
    } else {
        self->doomed[self->doomed_last[collection]].next = at;
    }
    self->doomed_last[collection] = at;
    return true;
}

static bool condemn(tk_sim_collector *self, int64_t number) {
    int64_t at = self->doomed_first[number];
    if (at < 0) {
        return true;
    }
    for (;; at = self->doomed[at].next) {
        tk_sim_garbage garbage = self->doomed[at].garbage;
        if (garbage.block >= self->frozen_until && !is_unreachable(self, garbage)) {
            return false;
        }
        if (self->doomed[at].next < 0) {
            break;
        }
    }
    self->doomed[at].next = self->doomed_unused;
    self->doomed_unused = self->doomed_first[number];
    self->doomed_first[number] = -1;
    return true;
}

static bool has_doomed(tk_sim_collector *self, tk_sim_garbage garbage, int64_t collection) {
    if (self->garbage != TK_SIM_EARLY && collection < self->next_due) {
        return is_unreachable(self, garbage); /* it was made while that collection was waiting */
    }
    if (self->garbage == TK_SIM_LATE) {
        return doom(self, collection, garbage);
    }
    /* _last_survived */
    int64_t first = self->next;
    if (first >= collection) {
        return self->garbage == TK_SIM_LIKELY ? tk_sim_collector_in_use(self, garbage) : is_unreachable(self, garbage);
    }
    int64_t last = first, middle = self->generation[first] > 0 ? first : self->first_middle[first];
    if (middle < collection) {
        last = middle > self->last_full[collection] ? middle : self->last_full[collection];
    }
    if (self->garbage == TK_SIM_LIKELY) {
        /* Some time until the collection that found it, for each share of it in turn. */
        last += ((collection - last) * (2 * next_turn(self) + 1) + 2 * TK_SIM_LAGS - 1) / (2 * TK_SIM_LAGS);
    }
    return doom(self, last, garbage);
}

tk_sim_ending tk_sim_collector_doom(tk_sim_collector *self, tk_sim_garbage garbage, int64_t collection) {
    if (collection >= self->total) {
        return TK_SIM_STRANGE;
    }
    return has_doomed(self, garbage, collection) ? TK_SIM_DONE : TK_SIM_NO_MEMORY;
}

/* -- collections ----------------------------------------------------------------------------------------- */

static tk_sim_ending collect(tk_sim *sim, int64_t seq, int generation, bool asked) {
    tk_sim_collector *self = &sim->collector;
    if (self->collections_count == self->collections_room) {
        size_t room = self->collections_room < 64 ? 64 : self->collections_room * 2;
        tk_sim_collection *collections = realloc(self->collections, room * sizeof *collections);
        if (collections == NULL) {
            return TK_SIM_NO_MEMORY;
        }
        self->collections = collections;
        self->collections_room = room;
    }
    if (generation + 1 < TK_SIM_GENERATIONS) {
        self->count[generation + 1]++;
    }
    int64_t examined = 0, freed_blocks = 0, freed_bytes = 0, survivors = 0;
    if (!ripen(sim, seq, false)) {
        return TK_SIM_NO_MEMORY;
    }
    tk_sim_ending end = tk_sim_lists_tell(sim, &self->count[0]);
    for (int younger = 0; younger <= generation; younger++) {
        self->count[younger] = 0;
        examined += self->tracked[younger];
    }
    for (int younger = 0; end == TK_SIM_DONE && younger <= generation; younger++) {
        tk_sim_gone *gone = &self->unreachable[younger];
        for (size_t at = 0; at < gone->count; at++) {
            int64_t freed;
            end = tk_sim_release(sim, gone->items[at], &freed);
            if (end != TK_SIM_DONE) {
                return end;
            }
            freed_bytes += freed < 0 ? 0 : freed;
            freed_blocks += freed >= 0;
        }
        gone->count = 0;
    }
    if (sim->lists.known) {
        tk_sim_lists_collected(sim, generation);
        end = end == TK_SIM_DONE ? tk_sim_lists_tell(sim, &self->count[0]) : end;
    }
    if (end != TK_SIM_DONE) {
        return end;
    }
    self->collections[self->collections_count++] =
        (tk_sim_collection){seq, generation, examined, freed_blocks, freed_bytes, asked};
    /* What is left moves into the next generation. */
    for (int younger = 0; younger <= generation; younger++) {
        survivors += self->tracked[younger];
        self->tracked[younger] = 0;
    }
    self->tracked[generation + 1 < TK_SIM_GENERATIONS ? generation + 1 : TK_SIM_GENERATIONS - 1] += survivors;
    self->young_from = seq;
    if (generation > 0) {
        self->middle_from = seq;
    }
    if (generation > 0) {
        const double *shares = generation == 1 ? self->young_share : self->full_share;
        double objects = (double)survivors * (self->next > 0 ? shares[self->next - 1] : 1.0);
        if (fabs(objects) > MOST_OBJECTS || self->long_lived_pending > MOST_OBJECTS) {
            return TK_SIM_STRANGE;
        }
        self->long_lived_total = generation == 1 ? self->long_lived_total : self->older_objects + (int64_t)objects;
        self->long_lived_pending = generation == 1 ? self->long_lived_pending + (int64_t)objects : 0;
    }
    return TK_SIM_DONE;
}

tk_sim_ending tk_sim_collect_generations(tk_sim *sim, int64_t seq) {
    tk_sim_collector *self = &sim->collector;
    if (self->waits) {
        self->waits = false;
        set_due(self);
    }
    for (int generation = TK_SIM_GENERATIONS - 1; generation >= 0; generation--) {
        if (self->count[generation] > self->thresholds[generation]) {
            /* Full collections only when there is much that none has looked at yet: 25 %. The shift rounds down. */
            if (generation == 2 && self->long_lived_pending < self->long_lived_total >> 2) {
                continue;
            }
            return collect(sim, seq, generation, false);
        }
    }
    return TK_SIM_DONE;
}

tk_sim_ending tk_sim_collector_due(tk_sim *sim, int64_t seq, int32_t stack_id) {
    tk_sim_collector *self = &sim->collector;
    bool is_opaque = stack_id >= 0 && stack_id < self->opaque_count && self->opaque[stack_id];
    if (self->collects_at_checks && (is_opaque || tk_sim_is_held(self, seq))) {
        self->waits = true;
        self->waiting_at = stack_id;
        set_due(self);
        return TK_SIM_DONE;
    }
    return tk_sim_collect_generations(sim, seq);
}

/* -- what the recording knows ---------------------------------------------------------------------------- */

static void freeze_before(tk_sim *sim, int64_t seq) {
    tk_sim_collector *self = &sim->collector;
    if (!self->freezes || seq < self->freeze_seq) {
        return;
    }
    self->freezes = false;
    self->frozen_until = self->young_from = self->middle_from = self->freeze_seq;
    for (int generation = 0; generation < TK_SIM_GENERATIONS; generation++) {
        self->tracked[generation] = self->count[generation] = 0;
        self->unreachable[generation].count = 0;
    }
    for (int which = 0; which < TK_SIM_LAGS; which++) {
        self->in_use[which].gone.count = self->in_use[which].ripe = 0;
    }
    tk_sim_lists_freeze(sim);
}

static void set_until(tk_sim_collector *self, int64_t seq) {
    while (self->next_setting < self->settings && self->set_seq[self->next_setting] <= seq) {
        int64_t number = self->next_setting++;
        bool on = self->set_on[number] != 0;
        if (number == 0) {
            self->on = on && self->enabled;
        } else if (on != (self->set_on[number - 1] != 0)) {
            self->on = on;
        }
        set_thresholds(self);
    }
}

static tk_sim_ending recorded(tk_sim *sim, int64_t number) {
    tk_sim_collector *self = &sim->collector;
    int64_t seq = self->start_seq[number];
    self->next = number + 1;
    int64_t keys = sim->lists.known && self->generation[number] == 2 ? sim->lists.recorded[TK_SIM_KEYS] : 0;
    tk_sim_lists_interval(sim, number + 1);
    int64_t count = self->count[0] + self->correction[number];
    self->count[0] = count > 0 ? count : 0;
    tk_sim_ending end = TK_SIM_DONE;
    if (self->asked[number]) {
        end = collect(sim, seq, (int)self->generation[number], true);
    } else if (self->waits || (self->on && self->thresholds[0] > 0 && self->count[0] > self->thresholds[0])) {
        /* The eval breaker was checked, or the collector is on, or the true count is above the threshold. */
        end = tk_sim_collect_generations(sim, seq);
    }
    if (end == TK_SIM_DONE && self->garbage == TK_SIM_EARLY && !condemn(self, number)) {
        end = TK_SIM_NO_MEMORY;
    }
    set_thresholds(self);
    return end == TK_SIM_DONE ? tk_sim_lists_kept(sim, keys) : end;
}

/* _due_until */
static bool due_until(tk_sim *sim, int64_t seq) {
    tk_sim_collector *self = &sim->collector;
    while (self->next_due < self->total && self->due_seq[self->next_due] <= seq) {
        int64_t number = self->next_due++;
        if (self->garbage == TK_SIM_LIKELY && !ripen(sim, self->due_seq[number], true)) {
            return false;
        }
        if (self->garbage != TK_SIM_EARLY && !condemn(self, number)) {
            return false;
        }
        if (self->garbage == TK_SIM_LATE && sim->lists.known) {
            tk_sim_lists_condemn(sim, number);
        }
    }
    return true;
}

tk_sim_ending tk_sim_collector_before(tk_sim *sim, int64_t seq) {
    tk_sim_collector *self = &sim->collector;
    while (self->next < self->total && self->start_seq[self->next] < seq) {
        tk_sim_ending end = tk_sim_lists_before(sim, 0, true);
        if (end != TK_SIM_DONE) {
            return end;
        }
        freeze_before(sim, self->start_seq[self->next]);
        if (!due_until(sim, self->start_seq[self->next])) {
            return TK_SIM_NO_MEMORY;
        }
        set_until(self, self->start_seq[self->next]);
        end = recorded(sim, self->next);
        if (end != TK_SIM_DONE) {
            return end;
        }
    }
    tk_sim_ending end = tk_sim_lists_before(sim, seq, false);
    if (end != TK_SIM_DONE) {
        return end;
    }
    freeze_before(sim, seq);
    if (!due_until(sim, seq - 1)) {
        return TK_SIM_NO_MEMORY;
    }
    set_until(self, seq);
    look_ahead(sim);
    return TK_SIM_DONE;
}

/* -- beginning and end ----------------------------------------------------------------------------------- */

bool tk_sim_collector_begin(tk_sim *sim) {
    tk_sim_collector *self = &sim->collector;
    size_t total = (size_t)self->total;
    self->doomed_unused = -1;
    self->on = self->enabled;
    self->first_middle = malloc((total + 1) * sizeof *self->first_middle);
    self->last_full = malloc((total + 1) * sizeof *self->last_full);
    self->doomed_first = malloc((total + 1) * sizeof *self->doomed_first);
    self->doomed_last = malloc((total + 1) * sizeof *self->doomed_last);
    if (self->first_middle == NULL || self->last_full == NULL || self->doomed_first == NULL || self->doomed_last == NULL) {
        return false;
    }
    int64_t middle = self->total, full = -1;
    for (int64_t number = 0; number < self->total; number++) {
        self->doomed_first[number] = self->doomed_last[number] = -1;
        self->last_full[number] = full;
        full = self->generation[number] > 1 ? number : full;
    }
    for (int64_t number = self->total - 1; number >= 0; number--) {
        self->first_middle[number] = middle;
        middle = self->generation[number] > 0 ? number : middle;
    }
    set_thresholds(self);
    look_ahead(sim);
    return true;
}

void tk_sim_collector_end(tk_sim_collector *self) {
    free(self->first_middle);
    free(self->last_full);
    free(self->doomed_first);
    free(self->doomed_last);
    free(self->doomed);
    free(self->collections);
    for (int generation = 0; generation < TK_SIM_GENERATIONS; generation++) {
        free(self->unreachable[generation].items);
    }
    for (int which = 0; which < TK_SIM_LAGS; which++) {
        free(self->in_use[which].gone.items);
    }
}

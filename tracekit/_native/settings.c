/* Tells the collector's settings when the program has changed them. */
#include "settings.h"
#include "ring.h"
#include "threads.h"

#include <internal/pycore_interp.h>

#include <stdint.h>
#include <string.h>

enum { NUM_SETTINGS = 4 };

tk_settings_watch tk_settings;
static const struct _gc_runtime_state *state;
static int32_t told[NUM_SETTINGS]; /* enabled, thresholds */

static void read_settings(int32_t found[NUM_SETTINGS]) {
    found[0] = state->enabled;
    for (int i = 0; i < 3; i++) {
        found[1 + i] = state->generations[i].threshold;
    }
}

static void tell(uint64_t time_ns) {
    read_settings(told);
    tk_settings.told_enabled = told[0];
    tk_settings.told_threshold = told[1];
    tk_ring_define(TK_DEF_GC_SETTING, tk_thread(true), time_ns, told, sizeof told, NULL, 0, true);
}

void tk_settings_begin(PyInterpreterState *interpreter) {
    state = &interpreter->gc;
    tk_settings.enabled = &state->enabled;
    tk_settings.threshold = &state->generations[0].threshold;
    tell(0);
}

void tk_settings_compare(void) {
    int32_t now[NUM_SETTINGS];
    read_settings(now);
    if (memcmp(now, told, sizeof told) != 0) {
        tell(tk_ring_now());
    }
}

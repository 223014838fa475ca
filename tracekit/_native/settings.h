/* How the program set the collector: on or off, and its thresholds. No event of CPython's tells, so we look. */
#ifndef TRACEKIT_SETTINGS_H
#define TRACEKIT_SETTINGS_H

#include "compat.h"

/* All of this needs the GIL. */

/* What the interpreter has now, and what was told last. Another interpreter is not recorded. */
typedef struct {
    const int *enabled, *threshold;
    int told_enabled, told_threshold;
} tk_settings_watch;

extern tk_settings_watch tk_settings;

/* A recording begins: tell the settings. */
void tk_settings_begin(PyInterpreterState *interpreter);

/* Tell them again if any of them has changed. */
void tk_settings_compare(void);

/* Before an allocation, which is where CPython asks whether to collect: the two that decide it. */
static inline void tk_settings_look(void) {
    if (__builtin_expect(*tk_settings.enabled != tk_settings.told_enabled, 0) ||
        __builtin_expect(*tk_settings.threshold != tk_settings.told_threshold, 0)) {
        tk_settings_compare();
    }
}

#endif

/* Marks, and where all threads are at them. Everything here needs the GIL. */
#ifndef TRACEKIT_MARKS_H
#define TRACEKIT_MARKS_H

#include "compat.h"

#include <stdbool.h>
#include <stdint.h>

/* Frames of code whose file is in this folder are ours. */
void tk_marks_begin(PyObject *own_folder);

/* Write a mark with the call path of every thread that runs Python code. `own`: the recorder's own. */
void tk_mark(uint64_t time_ns, const char *name, size_t bytes, bool own);

#endif

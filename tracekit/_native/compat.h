/* What differs between CPython 3.11, 3.12 and 3.13, in one place.

   Frames: Include/internal/pycore_frame.h of each version. Thread states: Include/internal/pycore_pystate.h. */
#ifndef TRACEKIT_COMPAT_H
#define TRACEKIT_COMPAT_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE
#endif
#include <Python.h>
#include <internal/pycore_frame.h>
#if PY_VERSION_HEX < 0x030C0000
#include <internal/pycore_pystate.h>
#endif

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030E0000
#error "the native engine knows the frames of CPython 3.11, 3.12 and 3.13"
#endif
#ifdef Py_GIL_DISABLED
#error "the native engine needs the GIL"
#endif

typedef struct _PyInterpreterFrame tk_frame;

static inline tk_frame *tk_top(PyThreadState *state) {
#if PY_VERSION_HEX >= 0x030D0000
    return state->current_frame;
#else
    return state->cframe ? state->cframe->current_frame : NULL;
#endif
}

static inline void *tk_frame_ip(tk_frame *frame) {
#if PY_VERSION_HEX >= 0x030D0000
    return (void *)frame->instr_ptr;
#else
    return (void *)frame->prev_instr;
#endif
}

static inline PyObject *tk_frame_executable(tk_frame *frame) {
#if PY_VERSION_HEX >= 0x030D0000
    return frame->f_executable;
#else
    return (PyObject *)frame->f_code;
#endif
}

/* The code object of a frame that Python's own traceback would show, or NULL. */
static inline PyCodeObject *tk_frame_code(tk_frame *frame) {
#if PY_VERSION_HEX >= 0x030C0000
    if (frame->owner == FRAME_OWNED_BY_CSTACK) {
        return NULL;
    }
#endif
    PyObject *executable = tk_frame_executable(frame);
    if (executable == NULL || Py_TYPE(executable) != &PyCode_Type || _PyFrame_IsIncomplete(frame)) {
        return NULL;
    }
    return (PyCodeObject *)executable;
}

/* The thread state of this thread if it holds the GIL, else NULL. Never PyGILState_Check(): it is always true
   once a sub-interpreter was made. In 3.11 the current state is global and may be another thread's. */
static inline PyThreadState *tk_current_state(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked();
#elif PY_VERSION_HEX >= 0x030C0000
    return _PyThreadState_UncheckedGet();
#else
    PyThreadState *mine = PyGILState_GetThisThreadState();
    return mine != NULL && mine == _PyThreadState_UncheckedGet() ? mine : NULL;
#endif
}

/* The thread state of whoever holds the GIL, which the caller does. */
static inline PyThreadState *tk_holder_state(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked();
#elif PY_VERSION_HEX >= 0x030C0000
    return _PyThreadState_UncheckedGet();
#else
    return _PyThreadState_GET(); /* inline: it is the runtime's, not a thread's */
#endif
}

#endif

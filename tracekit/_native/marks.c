/* A mark names an instant and says where every thread is then. Called by module.c.

   Whoever calls us holds the GIL, so no frame of any thread moves while it is looked at. The innermost frames are
   left out as long as they are ours: what a program sees as the line of the mark is the line where it calls us. */
#include "marks.h"
#include "ring.h"
#include "stack.h"
#include "threads.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_MARK_BYTES = 4000, HEAD_BYTES = 5 };

typedef struct {
    uint32_t thread;
    uint32_t node;
} thread_stack;

_Static_assert(sizeof(thread_stack) == 8, "as slots.py has it");

static PyObject *own_folder;
static thread_stack *stacks;
static size_t room;

void tk_marks_begin(PyObject *folder) { Py_XSETREF(own_folder, PyUnicode_Check(folder) ? Py_NewRef(folder) : NULL); }

static bool is_own(PyCodeObject *code) {
    return own_folder != NULL && PyUnicode_Check(code->co_filename) &&
           PyUnicode_Tailmatch(code->co_filename, own_folder, 0, PY_SSIZE_T_MAX, -1) == 1;
}

static tk_frame *innermost(PyThreadState *state) {
    tk_frame *frame = tk_top(state);
    while (frame != NULL) {
        PyCodeObject *code = tk_frame_code(frame);
        if (code != NULL && !is_own(code)) {
            break;
        }
        frame = frame->previous;
    }
    return frame;
}

static bool put(size_t index, uint16_t thread, uint32_t node) {
    if (index >= room) {
        size_t more = 2 * index + 16;
        thread_stack *larger = realloc(stacks, more * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        stacks = larger;
        room = more;
    }
    stacks[index] = (thread_stack){thread, node};
    return true;
}

/* The calling thread first, then the others that have frames. Returns how many; what does not fit is left out. */
static size_t look_around(void) {
    enum { MOST = (TK_MAX_PAYLOAD - MOST_MARK_BYTES - HEAD_BYTES) / sizeof(thread_stack) };
    PyThreadState *mine = tk_holder_state();
    size_t count = put(0, tk_thread(true), tk_stack_path(innermost(mine)));
    for (PyThreadState *state = PyInterpreterState_ThreadHead(mine->interp); state != NULL && 0 < count && count < MOST;
         state = PyThreadState_Next(state)) {
        tk_frame *frame = state != mine ? innermost(state) : NULL;
        uint16_t thread = frame != NULL ? tk_thread_of(state) : 0;
        if (thread != 0) {
            count += put(count, thread, tk_stack_path(frame));
        }
    }
    return count;
}

void tk_mark(uint64_t time_ns, const char *name, size_t bytes, bool own) {
    static char head[HEAD_BYTES + MOST_MARK_BYTES];
    uint32_t length = bytes < MOST_MARK_BYTES ? (uint32_t)bytes : MOST_MARK_BYTES;
    size_t count = look_around();
    tk_threads_name_all();
    head[0] = (char)own;
    memcpy(head + 1, &length, 4);
    memcpy(head + HEAD_BYTES, name, length);
    tk_ring_define(TK_DEF_MARK, tk_thread(true), time_ns, head, HEAD_BYTES + length, stacks, count * sizeof *stacks, true);
}
